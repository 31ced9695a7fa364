//! Routing of commands to the nodes of a cluster by hash slot, over pipelined connections to each node.
//!
//! `fred` keeps the slot map up to date, which this module follows. A read that a node redirects fails, so
//! that the snapshot answers it, and makes the map be read again. Redirects occur only while slots move.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use fred::types::cluster::ClusterRouting;
use futures::future::join_all;
use tokio::{runtime::Handle, sync::Notify};

use super::{
    Losses, TairError,
    connection::{Answers, ConnectionOptions, ConnectionPool, Decode},
};

/// Greatest hash slot.
const LAST_SLOT: u16 = 16_383;

/// Connections to all nodes of a cluster.
#[derive(Debug)]
pub(super) struct ClusterConnections<T> {
    /// Options of each connection, with the endpoint in the URL.
    options: ConnectionOptions,
    /// Number of connections to each node.
    count: usize,
    losses: Losses,
    /// Runtimes that the connections live on.
    handles: Vec<Handle>,
    map: ArcSwap<SlotMap<T>>,
    redirected: Notify,
}

/// Nodes of a cluster and the slots of each.
#[derive(Debug)]
struct SlotMap<T> {
    /// Ranges in ascending order.
    ranges: Vec<SlotRange>,
    nodes: Vec<ClusterNode<T>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SlotRange {
    first: u16,
    last: u16,
    /// Host and port of the node.
    node: (String, u16),
    /// Position of the node in the map.
    at: usize,
}

#[derive(Debug)]
struct ClusterNode<T> {
    /// Host and port.
    name: (String, u16),
    pool: Arc<ConnectionPool<T>>,
}

impl<T> SlotMap<T> {
    fn node_of(&self, slot: u16) -> Option<usize> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < slot))?;
        if range.first <= slot { Some(range.at) } else { None }
    }
}

impl<T: Decode> ClusterConnections<T> {
    /// Creates the connections of a cluster whose nodes are not known yet.
    pub(super) fn new(
        options: ConnectionOptions,
        count: usize,
        losses: &Losses,
        handles: Vec<Handle>,
    ) -> Self {
        let map = ArcSwap::from_pointee(SlotMap { ranges: Vec::new(), nodes: Vec::new() });
        Self { options, count, losses: losses.clone(), handles, map, redirected: Notify::new() }
    }

    /// Returns the number of connections, and how many of them are up.
    pub(super) fn counts(&self) -> (usize, usize) {
        let map = self.map.load();
        let counts = map.nodes.iter().map(|node| node.pool.counts());
        let (all, up) = counts.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
        (all.max(self.count), up)
    }

    /// Checks whether the nodes are known.
    pub(super) fn is_routed(&self) -> bool {
        !self.map.load().ranges.is_empty()
    }

    /// Waits until a node redirects a command.
    pub(super) async fn redirected(&self) {
        self.redirected.notified().await;
    }

    /// Follows the slot map of `routing`.
    pub(super) fn follow(&self, routing: &ClusterRouting) {
        let slots = routing.slots().iter();
        self.set_ranges(slots.map(|range| {
            let node = (range.primary.host.to_string(), range.primary.port);
            SlotRange { first: range.start, last: range.end, node, at: 0 }
        }));
    }

    /// Uses the endpoint in the URL for all slots.
    pub(super) fn use_single_node(&self) {
        let node = (self.options.endpoint.host.clone(), self.options.endpoint.port);
        self.set_ranges([SlotRange { first: 0, last: LAST_SLOT, node, at: 0 }].into_iter());
    }

    /// Replaces the slot map if it differs. Connections to nodes that stay are kept.
    fn set_ranges(&self, ranges: impl Iterator<Item = SlotRange>) {
        let old = self.map.load_full();
        let mut nodes: Vec<ClusterNode<T>> = Vec::new();
        let mut place = |name: &(String, u16)| {
            if let Some(at) = nodes.iter().position(|node| node.name == *name) {
                return at;
            }
            let kept = old.nodes.iter().find(|node| node.name == *name);
            let pool = kept.map_or_else(|| Arc::new(self.connect(name)), |node| Arc::clone(&node.pool));
            nodes.push(ClusterNode { name: name.clone(), pool });
            nodes.len() - 1
        };
        let mut ranges: Vec<SlotRange> =
            ranges.map(|range| SlotRange { at: place(&range.node), ..range }).collect();
        ranges.sort_by_key(|range| range.first);
        if ranges.is_empty() || ranges == old.ranges {
            return;
        }
        if !old.ranges.is_empty() {
            // State that was read from the old nodes may not hold for the new ones.
            self.losses.count_one();
        }
        self.map.store(Arc::new(SlotMap { ranges, nodes }));
    }

    fn connect(&self, (host, port): &(String, u16)) -> ConnectionPool<T> {
        let mut options = self.options.clone();
        options.endpoint.host.clone_from(host);
        options.endpoint.port = *port;
        ConnectionPool::connect(&options, self.count, &self.losses, &self.handles)
    }

    /// Returns the answers to `count` commands. `key` returns the key of a command, and `write` appends the
    /// command. A node that does not answer within `timeout` fails its own commands only.
    pub(super) async fn call(
        &self,
        count: usize,
        timeout: Duration,
        key: impl Fn(usize) -> String,
        write: impl Fn(usize, &mut Vec<u8>),
    ) -> Answers<T> {
        let map = self.map.load_full();
        let mut by_node: Vec<Vec<usize>> = map.nodes.iter().map(|_| Vec::new()).collect();
        let mut answers: Answers<T> = Vec::with_capacity(count);
        for at in 0..count {
            let unknown = match map.node_of(fred::util::redis_keyslot(key(at).as_bytes())) {
                Some(node) => {
                    by_node[node].push(at);
                    TairError::Timeout
                }
                None => TairError::Unreachable("the cluster node is not known".to_owned()),
            };
            answers.push(Err(unknown));
        }
        let write = &write;
        let asked = map.nodes.iter().zip(&by_node).filter(|(_, commands)| !commands.is_empty());
        let calls = asked.map(|(node, commands)| async move {
            let call = node.pool.call(commands.len(), |out| commands.iter().for_each(|at| write(*at, out)));
            let called = tokio::time::timeout(timeout, call).await.unwrap_or(Err(TairError::Timeout));
            (commands, called.unwrap_or_else(|error| vec![Err(error); commands.len()]))
        });
        for (commands, mut of_node) in join_all(calls).await {
            self.note_redirects(&mut of_node);
            for (at, answer) in commands.iter().zip(of_node) {
                answers[*at] = answer;
            }
        }
        answers
    }

    /// Returns the value of `key` over each connection to its node.
    pub(super) async fn get(&self, key: &str) -> Answers<T> {
        let map = self.map.load_full();
        let Some(node) = map.node_of(fred::util::redis_keyslot(key.as_bytes())) else { return Vec::new() };
        let mut answers = map.nodes[node].pool.get(key).await;
        self.note_redirects(&mut answers);
        answers
    }

    /// Names redirects as such, and asks for the slot map to be read again.
    fn note_redirects(&self, answers: &mut Answers<T>) {
        for answer in answers {
            if let Err(TairError::Refused(why)) = answer
                && (why.starts_with("MOVED") || why.starts_with("ASK"))
            {
                *why = format!("cluster redirect: {why}");
                self.redirected.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_outside_all_ranges_have_no_node() {
        let range = |first, last, at| SlotRange { first, last, node: (String::new(), 0), at };
        let map: SlotMap<()> = SlotMap {
            ranges: vec![range(0, 99, 0), range(100, 199, 1), range(300, 399, 0)],
            nodes: Vec::new(),
        };
        for (slot, expected) in
            [(0, Some(0)), (99, Some(0)), (100, Some(1)), (250, None), (300, Some(0)), (400, None)]
        {
            assert_eq!(map.node_of(slot), expected, "slot {slot}");
        }
    }
}
