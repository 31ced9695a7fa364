//! A client that costs little: it sends prepared requests over a kept connection, and scans answers only for
//! their status and their end.

use std::{io, net::SocketAddr};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Size of the buffer of a connection in bytes; the longest head of an answer.
const BUFFER: usize = 128 << 10;

/// Returns a GET request; `headers` are whole lines.
pub(crate) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

/// Returns a POST request with a JSON body; `headers` are whole lines.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// Head of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) closes: bool,
    length: Length,
}

/// The length of the body of an answer.
#[derive(Debug, Clone, Copy)]
enum Length {
    Known(usize),
    Chunked,
}

/// A connection, which is opened again when the server has closed it.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// The received bytes that were not looked at yet are `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: vec![0; BUFFER], start: 0, end: 0 }
    }

    /// Sends `request`, opening the connection where necessary.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            (self.stream, self.start, self.end) = (Some(stream), 0, 0);
        }
        if let Some(stream) = &mut self.stream {
            stream.write_all(request).await?;
        }
        Ok(())
    }

    /// Closes the connection.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    /// Reads a whole answer. Appends its body, without the framing of chunks, to `kept`, if there is one.
    pub(crate) async fn answer(&mut self, mut kept: Option<&mut Vec<u8>>) -> anyhow::Result<Head> {
        let head = self.head().await?;
        match head.length {
            Length::Known(length) => self.take(length, &mut kept).await?,
            Length::Chunked => loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
                self.take(size, &mut kept).await?;
                self.take(2, &mut None).await?;
                if size == 0 {
                    break;
                }
            },
        }
        if head.closes {
            self.close();
        }
        Ok(head)
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self) -> anyhow::Result<Head> {
        let end = loop {
            if let Some(at) = memmem::find(&self.buffer[self.start..self.end], b"\r\n\r\n") {
                break self.start + at;
            }
            self.fill().await?;
        };
        let head = &self.buffer[self.start..end];
        let status = std::str::from_utf8(head.get(9..12).context("no status")?)?.parse()?;
        let length = match memmem::find(head, b"\r\ncontent-length: ") {
            Some(at) => {
                let digits = head[at + 18..].split(|byte| *byte == b'\r').next().unwrap_or_default();
                Length::Known(std::str::from_utf8(digits)?.parse()?)
            }
            None if memmem::find(head, b"\r\ntransfer-encoding: chunked").is_some() => Length::Chunked,
            None => {
                ensure!([204, 304].contains(&status), "no length: {}", String::from_utf8_lossy(head));
                Length::Known(0)
            }
        };
        let length = if status == 304 { Length::Known(0) } else { length };
        let closes = memmem::find(head, b"\r\nconnection: close").is_some();
        self.start = end + 4;
        Ok(Head { status, closes, length })
    }

    /// Passes over `count` bytes.
    async fn take(&mut self, mut count: usize, kept: &mut Option<&mut Vec<u8>>) -> anyhow::Result<()> {
        while count > 0 {
            if self.start == self.end {
                self.fill().await?;
            }
            let some = count.min(self.end - self.start);
            if let Some(kept) = kept {
                kept.extend_from_slice(&self.buffer[self.start..self.start + some]);
            }
            self.start += some;
            count -= some;
        }
        Ok(())
    }

    /// Reads a line with its end.
    async fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start..self.end]) {
                let line = self.buffer[self.start..=self.start + at].to_vec();
                self.start += at + 1;
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    /// Receives more bytes.
    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        ensure!(self.end < self.buffer.len(), "the head of an answer is too long");
        let Some(stream) = &mut self.stream else { bail!("the connection is closed") };
        let read = stream.read(&mut self.buffer[self.end..]).await?;
        ensure!(read > 0, "the server closed the connection");
        self.end += read;
        Ok(())
    }
}
