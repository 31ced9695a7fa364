//! Messages to systemd, and signals.

use std::{fs, os::unix::net::UnixDatagram};

use larder::config::Scope;

use crate::support::{
    callers::{key, keys, shop},
    program::Program,
    shop::{PATIENCE, corners, eventually},
};

/// Receives messages until one contains `word`, and returns all of them.
fn received(socket: &UnixDatagram, word: &str) -> String {
    let mut all = String::new();
    while !all.contains(word) {
        let mut message = [0; 512];
        let length = socket.recv(&mut message).unwrap_or_else(|error| panic!("{error}: {word} after {all}"));
        all += &String::from_utf8_lossy(&message[..length]);
    }
    all
}

#[tokio::test]
async fn systemd_is_told_of_readiness_and_stop() {
    let shop = corners();
    let id = shop.build().await.manifest.id;
    let path = shop.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("LARDER_SERVING_POLL", "20ms");
    let mut program = Program::start(command);
    let before = received(&socket, "EXTEND_TIMEOUT_USEC=");
    assert!(!before.contains("READY=1"), "nothing is published yet: {before}");
    shop.publish(&id).await;
    received(&socket, "READY=1");
    assert_eq!(reqwest::get(format!("{}/readyz", program.url)).await.unwrap().status(), 200);
    program.stop();
    received(&socket, "STOPPING=1");
}

#[tokio::test]
async fn hangup_reloads_keys_and_does_not_end_the_service() {
    let caller = |name: &'static str| keys(&[(name, &[Scope::Features])]);
    let shop = shop(&caller("old"));
    drop(shop.open().await);
    let (toml, log) = (shop.path().join("larder.toml"), shop.path().join("log"));
    let program = Program::serve(&shop, &log);
    let client = reqwest::Client::new();
    let status = async |name: &str| {
        let request = client.get(format!("{}/v1/views", program.url)).bearer_auth(key(name));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status("old").await, status("new").await), (200, 401));
    let text = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, text.replace(&caller("old"), &caller("new"))).unwrap();
    program.signal("HUP");
    let read = || async { fs::read_to_string(&log).unwrap_or_default() };
    let logged = eventually(read, |log| log.contains("API keys reloaded")).await;
    assert!(logged.contains("SIGHUP"), "{logged}");
    assert_eq!((status("old").await, status("new").await), (401, 200));
}
