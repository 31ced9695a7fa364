//! redis-server, the tools that come with it, and a recording proxy.

use std::{
    fs::File,
    io::{BufWriter, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// A redis-server on a free port, killed when dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    scheme: &'static str,
    /// Arguments with which `redis-cli` reaches the server.
    cli: Vec<String>,
    child: Child,
    folder: TempDir,
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    // Cluster nodes also take the port 10,000 above.
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if port < 55_000 {
            return Ok(port);
        }
    }
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

impl Redis {
    /// Starts a single server without TLS.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let args = owned(&["--port", &port.to_string()]);
        Self::with("redis", port, folder, &args, Vec::new())
    }

    /// Starts a single server with TLS and a self-signed certificate for `localhost`.
    pub(crate) fn with_tls() -> anyhow::Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, secret) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&certificate, key.cert.pem())?;
        std::fs::write(&secret, key.signing_key.serialize_pem())?;
        let (certificate, secret) = (certificate.display().to_string(), secret.display().to_string());
        let mut args = owned(&["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
        args.extend(owned(&["--tls-cert-file", &certificate, "--tls-key-file", &secret]));
        args.extend(owned(&["--tls-ca-cert-file", &certificate]));
        let cli = owned(&["--tls", "--cacert", &certificate, "-h", "localhost"]);
        Self::with("rediss", port, folder, &args, cli)
    }

    /// Starts a cluster of one node that owns all slots.
    pub(crate) fn cluster() -> anyhow::Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let mut args = owned(&["--port", &port.to_string(), "--cluster-enabled", "yes"]);
        args.extend(owned(&["--cluster-announce-ip", "127.0.0.1"]));
        let redis = Self::with("redis-cluster", port, folder, &args, Vec::new())?;
        redis.cli(&["cluster", "addslotsrange", "0", "16383"])?;
        wait_until("the cluster is up", || {
            Ok(redis.cli(&["cluster", "info"])?.contains("cluster_state:ok"))
        })?;
        Ok(redis)
    }

    fn with(
        scheme: &'static str,
        port: u16,
        folder: TempDir,
        args: &[String],
        cli: Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]).args(args);
        let child = command.arg("--dir").arg(folder.path()).stdout(Stdio::null()).spawn();
        let redis = Self { port, scheme, cli, child: child.context("cannot run redis-server")?, folder };
        wait_until("redis-server answers", || Ok(redis.cli(&["ping"]).is_ok()))?;
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        let host = if self.scheme == "rediss" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.port)
    }

    /// Returns the certificate that clients must trust.
    pub(crate) fn ca_file(&self) -> Option<PathBuf> {
        if self.scheme == "rediss" { Some(self.folder.path().join("cert.pem")) } else { None }
    }

    pub(crate) fn cli(&self, args: &[&str]) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(&self.cli).args(args).output()?;
        ensure!(output.status.success(), "redis-cli {args:?} failed");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Returns the seconds that `redis-cli --pipe` takes to send `file`.
    pub(crate) fn pipe(&self, file: &Path) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--pipe"])
            .stdin(File::open(file)?)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success() && text.contains("errors: 0"), "redis-cli --pipe printed: {text}");
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Returns the requests per second that `redis-benchmark` reaches.
    pub(crate) fn benchmark(&self, requests: usize, args: &[&str], command: &[&str]) -> anyhow::Result<f64> {
        let output = Command::new("redis-benchmark")
            .args(["-p", &self.port.to_string(), "-n", &requests.to_string(), "--csv"])
            .args(args)
            .args(command)
            .output()
            .context("cannot run redis-benchmark; `apt-get install redis-tools` puts it on Debian")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().context("redis-benchmark printed nothing")?;
        let figure =
            last.split("\",\"").nth(1).with_context(|| format!("redis-benchmark printed: {text}"))?;
        figure.trim_matches('"').parse().with_context(|| format!("redis-benchmark printed: {text}"))
    }

    /// Returns the number of commands executed since the last `config resetstat`.
    pub(crate) fn commands(&self) -> anyhow::Result<u64> {
        let info = self.cli(&["info", "stats"])?;
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        Ok(line.context("no total_commands_processed")?.trim().parse()?)
    }

    /// Returns the number of bytes that the server's data takes.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        let info = self.cli(&["info", "memory"])?;
        let line =
            info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
        Ok(line.trim().parse()?)
    }
}

/// Waits at most ten seconds until `condition` holds.
fn wait_until(what: &str, condition: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !condition()? {
        ensure!(begun.elapsed() < Duration::from_secs(10), "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// File of commands in wire format.
pub(crate) struct Commands(BufWriter<File>);

impl Commands {
    pub(crate) fn create(file: &Path) -> anyhow::Result<Self> {
        Ok(Self(BufWriter::with_capacity(1 << 20, File::create(file)?)))
    }

    pub(crate) fn write(&mut self, parts: &[&[u8]]) -> anyhow::Result<()> {
        write!(self.0, "*{}\r\n", parts.len())?;
        for part in parts {
            write!(self.0, "${}\r\n", part.len())?;
            self.0.write_all(part)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}

/// Proxy that records all commands sent to a server, one file per connection.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    files: Arc<Mutex<Vec<PathBuf>>>,
}

impl Recorder {
    pub(crate) fn before(server: u16, folder: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let files: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let (recorded, folder) = (Arc::clone(&files), folder.to_path_buf());
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let file = folder.join(format!("commands-{number}"));
                if let Ok(mut files) = recorded.lock() {
                    files.push(file.clone());
                }
                std::thread::spawn(move || record(client, server, &file));
            }
        });
        Ok(Self { port, files })
    }

    /// Writes the commands of those connections that carried customer rows.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let files = self.files.lock().map_err(|_| anyhow::anyhow!("the proxy panicked"))?;
        let mut out = File::create(path)?;
        for file in files.iter() {
            let mut start = vec![0; 64 << 10];
            let length = File::open(file)?.read(&mut start)?;
            if start[..length].windows(8).any(|word| word == b"_publish") {
                std::io::copy(&mut File::open(file)?, &mut out)?;
            }
        }
        Ok(())
    }
}

fn record(mut client: TcpStream, server: u16, file: &Path) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server))?;
    server.set_nodelay(true)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    back.set_nodelay(true)?;
    std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
    let mut recorded = File::create(file)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return server.shutdown(std::net::Shutdown::Both);
        }
        recorded.write_all(&buffer[..length])?;
        server.write_all(&buffer[..length])?;
    }
}
