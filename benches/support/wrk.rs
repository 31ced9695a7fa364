//! Server processes, and the load generator `wrk`.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use larder::feature::CustomerId;

/// Clock ticks per second in `/proc`, the same on every Linux.
pub(crate) const TICKS: f64 = 100.0;

/// A server process; it is killed when dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    child: Option<Child>,
}

impl Server {
    /// Starts `command`, which prints its address.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut server = Self { name, url: String::new(), child: Some(child) };
        for line in BufReader::new(output).lines() {
            if let Some((_, url)) = line?.split_once("listening on ") {
                url.trim().clone_into(&mut server.url);
                return Ok(server);
            }
        }
        bail!("{name} did not start")
    }

    /// Returns a server that was started elsewhere.
    pub(crate) fn elsewhere(name: &'static str, url: String) -> Self {
        Self { name, url, child: None }
    }

    /// Returns the id of the process; `None` for a server that was started elsewhere.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Returns the processor time used so far in seconds; 0 for a server that was started elsewhere.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let Some(child) = &self.child else { return Ok(0.0) };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th fields after
        // the name.
        let (_, fields) = stat.rsplit_once(')').context("no process status")?;
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / TICKS)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A load: connections that send the requests of a script.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) path: String,
    pub(crate) script: PathBuf,
}

/// Figures of one run of wrk.
pub(crate) struct Run {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Median latency in microseconds.
    pub(crate) median: f64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99: f64,
    /// Processor time of the server per request in microseconds.
    pub(crate) cpu: f64,
}

/// A wrk script that prints the figures of a run in fixed units.
pub(crate) const DONE: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("\nresult %d %d %f %f %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.timeout + e.status))
end
"#;

/// Runs a load for `seconds`; fails if a request fails.
pub(crate) fn run(server: &Server, load: &Load, seconds: u64) -> anyhow::Result<Run> {
    let before = server.cpu()?;
    let output = Command::new("wrk")
        .args(["--latency", "--threads", "2", "--connections", &load.connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--script"])
        .arg(&load.script)
        .arg(format!("{}{}", server.url, load.path))
        .output()
        .context("cannot run wrk; install the Debian package wrk")?;
    let used = server.cpu()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("result "));
    let result = result.with_context(|| {
        format!("unexpected output of wrk: {text}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    let figures: Vec<f64> = result.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, micros, median, p99, errors] = figures.as_slice() else {
        bail!("unexpected output of wrk: {result}")
    };
    ensure!(*errors == 0.0, "{errors} of {requests} requests to {} failed", server.name);
    Ok(Run { rate: requests / micros * 1e6, median: *median, p99: *p99, cpu: used / requests * 1e6 })
}

/// Returns the percent-encoded id.
pub(crate) fn encoded(id: &CustomerId) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.as_str()
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Returns the body of a batch request.
pub(crate) fn batch_body(ids: &[CustomerId]) -> String {
    serde_json::json!({ "ids": ids.iter().map(CustomerId::as_str).collect::<Vec<_>>() }).to_string()
}

/// Writes a script that sends `requests` in turn; each thread starts at another request.
pub(crate) fn script(folder: &Path, name: &str, requests: &[String]) -> anyhow::Result<PathBuf> {
    let list = folder.join(format!("{name}.txt"));
    std::fs::write(&list, requests.join("\n"))?;
    let path = folder.join(format!("{name}.lua"));
    let make = match name {
        "batches" => "wrk.format('POST', nil, {['content-type'] = 'application/json'}, line)",
        _ => "wrk.format('GET', line)",
    };
    let text = format!(
        r#"
local threads = 0
function setup(thread) thread:set("start", threads * 3571); threads = threads + 1 end
function init(args)
  requests = {{}}
  for line in io.lines("{}") do requests[#requests + 1] = {make} end
  at = start
end
request = function()
  at = at + 1
  return requests[at % #requests + 1]
end
{DONE}"#,
        list.display()
    );
    std::fs::write(&path, text)?;
    Ok(path)
}
