//! Detection of clusters of one node.
//!
//! A node that was never told its address reports none in `CLUSTER SLOTS`, and `fred` then uses the empty
//! name as the host. Only a single node can be without an address: when nodes meet, each learns the address
//! that it was met at. A cluster of one node is therefore used like a single server, at the address in the
//! URL, as other clients do.

use std::time::Duration;

use super::{connection::handshake, endpoint::Endpoint};

/// Checks whether the cluster of `endpoint` has one node. Returns `None` if the node does not answer.
pub(super) async fn is_single(endpoint: &Endpoint, timeout: Duration) -> Option<bool> {
    let asked = tokio::time::timeout(timeout, handshake::ask_once(endpoint, &[b"CLUSTER", b"NODES"]));
    has_one_line(&asked.await.ok()?.ok()?.ok()?)
}

/// Checks whether the answer to `CLUSTER NODES`, with a line for each node, has one line.
fn has_one_line(nodes: &[u8]) -> Option<bool> {
    let lines = nodes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    if lines == 0 { None } else { Some(lines == 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_nodes_with_one_line_is_single_node() {
        let alone = "98ad :7130@17130 myself,master - 0 0 0 connected 0-16383\n";
        let other = "b99a 127.0.0.1:7122@17122 slave 98ad 0 1 2 connected\n";
        assert_eq!(has_one_line(alone.as_bytes()), Some(true));
        assert_eq!(has_one_line(format!("{alone}{other}").as_bytes()), Some(false));
        assert_eq!(has_one_line(b"\r\n"), None);
    }
}
