//! Redis servers on free ports, a server that refuses every command, and a proxy that injects network faults.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::support::shop::PATIENCE;

/// A `redis-server` process; it is killed when dropped.
pub(crate) struct Redis {
    folder: Arc<TempDir>,
    pub(crate) port: u16,
    args: Vec<String>,
    cli: Vec<String>,
    child: Mutex<Option<Child>>,
}

/// Returns a port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    // A cluster node also listens on this port plus 10,000.
    loop {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}

impl Redis {
    /// Starts a server without TLS and cluster mode.
    pub(crate) fn start() -> Self {
        Self::with(&[], &[])
    }

    /// Starts a server with the arguments `args`; `cli` are the arguments with which `redis-cli` reaches the
    /// server.
    ///
    /// `PORT` in an argument is replaced by the port.
    pub(crate) fn with(args: &[&str], cli: &[&str]) -> Self {
        for _ in 0..20 {
            let port = free_port();
            let owned =
                |args: &[&str]| args.iter().map(|arg| arg.replace("PORT", &port.to_string())).collect();
            let redis = Self {
                folder: Arc::new(tempfile::tempdir().unwrap()),
                port,
                args: owned(args),
                cli: owned(cli),
                child: Mutex::new(None),
            };
            if redis.run() {
                return redis;
            }
        }
        panic!("no redis-server could be started");
    }

    /// Starts the process and waits until it answers; returns whether it does.
    fn run(&self) -> bool {
        let mut command = Command::new("redis-server");
        if !self.args.iter().any(|arg| arg == "--port") {
            command.args(["--port", &self.port.to_string()]);
        }
        command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--loglevel", "warning"]);
        command.arg("--dir").arg(self.folder.path()).args(&self.args);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot run redis-server; install the Debian package redis-server");
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            if self.try_cli(&["ping"]).is_some_and(|answer| answer == "PONG") {
                *self.child.lock().unwrap() = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Runs `redis-cli`; returns its output if it succeeds.
    fn try_cli(&self, args: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(&self.cli)
            .args(args)
            .output()
            .expect("cannot run redis-cli; install the Debian package redis-server");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs `redis-cli`, which must succeed, and returns its output.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        self.try_cli(args).unwrap_or_else(|| panic!("redis-cli {args:?} failed"))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.lock().unwrap().as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Suspends the process: connections are still accepted, commands are not answered.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// Resumes the process after [`Self::stop`].
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts the process again on the same port, with the data that was saved last.
    pub(crate) fn run_again(&self) {
        assert!(self.run(), "redis-server does not start again");
    }

    /// Saves all data and returns the path of a copy.
    pub(crate) fn save(&self) -> PathBuf {
        self.cli(&["save"]);
        let backup = self.folder().join("backup.rdb");
        std::fs::copy(self.folder().join("dump.rdb"), &backup).unwrap();
        backup
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server that answers every command with the same error.
pub(crate) struct Refusing {
    pub(crate) port: u16,
    /// Number of commands received.
    pub(crate) commands: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Refusing {
    /// Starts a server that answers with the error `why`.
    pub(crate) async fn with(why: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let commands = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&commands);
        let server = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(refuse(client, why, Arc::clone(&seen)));
            }
        });
        Self { port, commands, server }
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn refuse(mut client: TcpStream, why: &str, seen: Arc<AtomicU64>) {
    let mut buffer = vec![0; 4 << 10];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        // Each command is an array, which begins with `*`.
        let commands = memchr::memchr_iter(b'*', &buffer[..read]).count();
        seen.fetch_add(commands as u64, Ordering::Relaxed);
        if client.write_all(format!("-{why}\r\n").repeat(commands).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A fault that the proxy applies to the replies of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Replies are held back; connections stay open.
    Stall,
    /// Every read is delayed by this many milliseconds.
    Slow(u64),
    /// Connections are reset, also new ones.
    Reset,
    /// A reply is cut in the middle and the connection reset.
    Cut,
}

/// A TCP proxy that injects faults.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    fault: watch::Sender<Fault>,
    /// Number of reads from the server.
    pub(crate) answers: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for the server on the port `target`.
    pub(crate) async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, faults) = watch::channel(Fault::None);
        let answers = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&answers);
        let server = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(client, target, faults.clone(), Arc::clone(&seen)));
            }
        });
        Self { port, fault, answers, server }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn forward(
    client: TcpStream,
    target: u16,
    mut faults: watch::Receiver<Fault>,
    answers: Arc<AtomicU64>,
) {
    let reset = |client: TcpStream| {
        let _ = client.set_zero_linger();
        drop(client);
    };
    if *faults.borrow() == Fault::Reset {
        return reset(client);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return reset(client) };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let asking = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        from_client
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from_server.read(&mut buffer) => read.unwrap_or(0),
            _ = faults.changed() => {
                if *faults.borrow() == Fault::Reset {
                    break;
                }
                continue;
            }
        };
        if read == 0 {
            break;
        }
        answers.fetch_add(1, Ordering::Relaxed);
        let fault = *faults.borrow();
        let cut = match fault {
            Fault::None => false,
            Fault::Stall => {
                if faults.wait_for(|fault| *fault != Fault::Stall).await.is_err() {
                    break;
                }
                false
            }
            Fault::Slow(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                false
            }
            Fault::Reset => break,
            Fault::Cut => true,
        };
        let length = if cut { read / 2 } else { read };
        if to_client.write_all(&buffer[..length]).await.is_err() || cut {
            break;
        }
    }
    asking.abort();
    if let Ok(from_client) = asking.await
        && let Ok(client) = from_client.reunite(to_client)
    {
        reset(client);
    }
}
