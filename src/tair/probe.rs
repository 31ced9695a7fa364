//! A first look at a cluster: whether it is one node and no more.
//!
//! A node that was never told its address names none in `CLUSTER SLOTS`, and `fred` takes the empty name
//! for that of a host. Only a node by itself can be without one: when nodes meet, each learns the address
//! that it was met at. So a cluster of one node is spoken to as the server that it is, at the address in
//! the URL, as other clients do.

use std::sync::Arc;

use fred::rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    connect::{Address, Settings},
    wire,
};

/// Whether the cluster of `settings` is one node; nothing where it does not say.
pub(super) async fn is_lone(settings: &Settings) -> Option<bool> {
    tokio::time::timeout(settings.connect_timeout, ask(settings)).await.ok()?
}

async fn ask(settings: &Settings) -> Option<bool> {
    let address = &settings.address;
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.ok()?;
    let Some(tls) = &settings.tls else { return nodes(stream, address).await };
    let name = ServerName::try_from(address.host.clone()).ok()?;
    nodes(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.ok()?, address).await
}

async fn nodes(mut stream: impl AsyncRead + AsyncWrite + Unpin, address: &Address) -> Option<bool> {
    let answer = wire::introduce(&mut stream, address, &[b"CLUSTER", b"NODES"]).await.ok()?;
    one_line(&answer.ok()?)
}

/// Whether what `CLUSTER NODES` answered is one node, a line each.
fn one_line(nodes: &[u8]) -> Option<bool> {
    let lines = nodes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    (lines > 0).then_some(lines == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_one_node_is_a_line() {
        let alone = "98ad :7130@17130 myself,master - 0 0 0 connected 0-16383\n";
        let other = "b99a 127.0.0.1:7122@17122 slave 98ad 0 1 2 connected\n";
        assert_eq!(one_line(alone.as_bytes()), Some(true));
        assert_eq!(one_line(format!("{alone}{other}").as_bytes()), Some(false));
        assert_eq!(one_line(b"\r\n"), None);
    }
}
