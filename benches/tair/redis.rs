//! A redis-server, and the tools that come with it.

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

/// A server on a free port, killed when dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    child: Child,
    _folder: TempDir,
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Redis {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--bind",
            "127.0.0.1",
        ]);
        let child = command.arg("--dir").arg(folder.path()).stdout(Stdio::null()).spawn();
        let redis = Self { port, child: child.context("cannot run redis-server")?, _folder: folder };
        let begun = Instant::now();
        while redis.cli(&["ping"]).is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(10), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn cli(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(args).output()?;
        ensure!(output.status.success(), "redis-cli {args:?} failed");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Seconds that `redis-cli --pipe` takes to send `file`.
    pub(crate) fn pipe(&self, file: &Path) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--pipe"])
            .stdin(File::open(file)?)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success() && text.contains("errors: 0"), "redis-cli --pipe said: {text}");
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Requests a second that `redis-benchmark` reaches.
    pub(crate) fn benchmark(&self, requests: usize, args: &[&str], command: &[&str]) -> anyhow::Result<f64> {
        let output = Command::new("redis-benchmark")
            .args(["-p", &self.port.to_string(), "-n", &requests.to_string(), "--csv"])
            .args(args)
            .args(command)
            .output()
            .context("cannot run redis-benchmark; `apt-get install redis-tools` puts it on Debian")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().context("redis-benchmark said nothing")?;
        let figure = last.split("\",\"").nth(1).with_context(|| format!("redis-benchmark said: {text}"))?;
        figure.trim_matches('"').parse().with_context(|| format!("redis-benchmark said: {text}"))
    }

    /// Commands that it carried out since its figures were reset.
    pub(crate) fn commands(&self) -> anyhow::Result<u64> {
        let info = self.cli(&["info", "stats"])?;
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        Ok(line.context("no total_commands_processed")?.trim().parse()?)
    }

    /// Bytes that the server's data takes.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        let info = self.cli(&["info", "memory"])?;
        let line =
            info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Commands in a file, in the form that goes over the wire.
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

/// A proxy that keeps what is said to a server, a file a connection.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    files: Arc<Mutex<Vec<PathBuf>>>,
}

impl Recorder {
    pub(crate) fn before(server: u16, folder: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let files: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let (said, folder) = (Arc::clone(&files), folder.to_path_buf());
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let file = folder.join(format!("said-{number}"));
                if let Ok(mut files) = said.lock() {
                    files.push(file.clone());
                }
                std::thread::spawn(move || record(client, server, &file));
            }
        });
        Ok(Self { port, files })
    }

    /// Writes what was said on the connections that carried customers.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let files = self.files.lock().map_err(|_| anyhow::anyhow!("the proxy died"))?;
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
    let mut said = File::create(file)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return server.shutdown(std::net::Shutdown::Both);
        }
        said.write_all(&buffer[..length])?;
        server.write_all(&buffer[..length])?;
    }
}
