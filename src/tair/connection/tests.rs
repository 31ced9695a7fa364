//! Tests of a connection against a scripted server.

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::*;

#[derive(Debug, Clone, PartialEq)]
struct Number(i64);

impl Decode for Number {
    fn decode(reply: RawReply<'_>) -> Result<Self, &'static str> {
        match reply {
            RawReply::Number(number) => Ok(Self(number)),
            _ => Err("not a number"),
        }
    }
}

/// Returns a pool with one connection, the server's end of the connection, and the counter of lost
/// connections.
async fn pool(unresponsive: Duration) -> (ConnectionPool<Number>, TcpStream, Losses) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let host = "127.0.0.1".to_owned();
    let endpoint = Endpoint { host, port, tls: None, user: None, password: None, database: None };
    let options = ConnectionOptions { endpoint, connect_timeout: Duration::from_secs(5), unresponsive };
    let losses = Losses::default();
    let pool = ConnectionPool::connect(&options, 1, &losses, &[]);
    let (mut server, _) = listener.accept().await.expect("a connection");
    read(&mut server, b"*1\r\n$4\r\nPING\r\n".len()).await;
    server.write_all(b"+PONG\r\n").await.expect("sent");
    pool.wait_for_connect().await;
    (pool, server, losses)
}

async fn read(server: &mut TcpStream, length: usize) {
    let mut buffer = vec![0; length];
    server.read_exact(&mut buffer).await.expect("commands");
}

fn increment(out: &mut Vec<u8>) {
    resp::command(&[b"INCR", b"a"], out);
}

#[tokio::test]
async fn answers_in_pieces_complete_calls_in_order() {
    let (pool, mut server, losses) = pool(Duration::from_secs(5)).await;
    let mut command = Vec::new();
    increment(&mut command);
    let serving = async {
        read(&mut server, 3 * command.len()).await;
        for piece in b":1\r\n-ERR no\r\n:3\r\n".chunks(2) {
            server.write_all(piece).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let twice = |out: &mut Vec<u8>| (0..2).for_each(|_| increment(out));
    let (first, second, ()) = tokio::join!(pool.call(1, increment), pool.call(2, twice), serving);
    assert!(matches!(first.expect("answers")[..], [Ok(Number(1))]));
    let second = second.expect("answers");
    assert!(matches!(&second[..], [Err(TairError::Refused(why)), Ok(Number(3))] if why == "ERR no"));
    assert_eq!(losses.count(), 0);
}

#[tokio::test]
async fn unexpected_answer_closes_connection() {
    let (pool, mut server, losses) = pool(Duration::from_secs(5)).await;
    let (call, sent) = tokio::join!(pool.call(1, increment), server.write_all(b"$1\r\na\r\n"));
    sent.expect("sent");
    assert!(matches!(call, Err(TairError::Unreachable(why)) if !why.is_empty()));
    assert_eq!((losses.count(), pool.counts()), (1, (1, 0)));
}

#[tokio::test]
async fn unresponsive_server_fails_calls_and_closes_connection() {
    let (pool, _server, losses) = pool(Duration::from_millis(50)).await;
    let call = pool.call(1, increment).await;
    assert!(matches!(call, Err(TairError::Unreachable(why)) if why == OVERDUE));
    assert_eq!(losses.last_error().as_deref(), Some(OVERDUE));
    assert!(matches!(pool.call(1, increment).await, Err(TairError::Unreachable(_))), "no connection");
}
