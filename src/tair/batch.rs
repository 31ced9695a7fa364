//! Commands as they go over the wire, and what the server answers to one. Pure.

use bytes::Bytes;

use super::wire::resp;

/// Commands, one after the other in one piece, encoded once for whoever sends them. The first argument of each is its key.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// The arguments of a command that was begun.
#[derive(Debug)]
pub struct Args<'a>(&'a mut Vec<u8>);

impl Batch {
    /// The number of commands.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// All of them as they go over the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins the command `name`; `count` arguments must follow.
    pub fn command(&mut self, name: &'static str, count: usize) -> Args<'_> {
        self.starts.push(self.bytes.len());
        resp::head(b'*', 1 + count, &mut self.bytes);
        Args(&mut self.bytes).text(name.as_bytes())
    }

    /// Adds the command `name` with `args`.
    pub fn push(&mut self, name: &'static str, args: &[&[u8]]) {
        args.iter().fold(self.command(name, args.len()), |command, arg| command.text(arg));
    }

    /// Adds the command that removes `key`.
    pub fn remove(&mut self, key: &str) {
        self.push("UNLINK", &[key.as_bytes()]);
    }

    /// The command at `at`.
    fn get(&self, at: usize) -> &[u8] {
        let end = self.starts.get(at + 1).copied().unwrap_or(self.bytes.len());
        &self.bytes[self.starts[at]..end]
    }

    /// Adds the command at `at` of `other`, after another that removes what its key holds.
    pub(super) fn replace(&mut self, other: &Self, at: usize) {
        let command = other.get(at);
        if let Some(key) = parts(command).get(1) {
            self.push("UNLINK", &[key]);
        }
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(command);
    }

    /// The commands taken apart, each with its name in front.
    pub fn commands(&self) -> impl Iterator<Item = Vec<Bytes>> {
        let all = Bytes::copy_from_slice(&self.bytes);
        (0..self.len()).map(move |at| {
            parts(self.get(at)).into_iter().map(|part| place(&all, &self.bytes, part)).collect()
        })
    }
}

/// The bytes of `all`, a copy of `original`, where `part` lies in that.
fn place(all: &Bytes, original: &[u8], part: &[u8]) -> Bytes {
    let start = part.as_ptr().addr() - original.as_ptr().addr();
    all.slice(start..start + part.len())
}

/// Name and arguments of an encoded command.
fn parts(command: &[u8]) -> Vec<&[u8]> {
    match resp::reply(command) {
        Ok(Some((resp::Reply::Array(parts), _))) => parts.into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}

impl Args<'_> {
    /// Adds one.
    #[must_use]
    pub fn text(self, text: &[u8]) -> Self {
        resp::text(text, self.0);
        self
    }

    /// Adds one that consists of two.
    #[must_use]
    pub fn joined(self, first: &[u8], second: &[u8]) -> Self {
        resp::joined(first, second, self.0);
        self
    }

    /// Adds some that are encoded already.
    #[must_use]
    pub fn encoded(self, args: &Encoded) -> Self {
        self.0.extend_from_slice(&args.bytes);
        self
    }
}

/// Arguments that many commands have in common, encoded once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    bytes: Vec<u8>,
    count: usize,
}

impl Encoded {
    /// One.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let mut encoded = Self::default();
        encoded.push(text);
        encoded
    }

    /// Adds one.
    pub fn push(&mut self, text: &[u8]) {
        resp::text(text, &mut self.bytes);
        self.count += 1;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

/// The answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Done,
    /// A number.
    Number(i64),
    /// A text, or that there is none.
    Text(Option<Bytes>),
    /// A list of texts.
    Texts(Vec<Option<Bytes>>),
}

impl Reply {
    /// The number that it is.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { u64::try_from(*number).ok() } else { None }
    }

    /// The texts of the list that it is.
    #[must_use]
    pub fn texts(self) -> Vec<Option<Bytes>> {
        if let Self::Texts(texts) = self { texts } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_encoded_and_taken_apart_again() {
        let mut batch = Batch::default();
        batch.push("SADD", &[b"key", b"", "ä\r\n".as_bytes()]);
        let mut common = Encoded::of(b"field");
        common.push(b"7");
        let _ = batch.command("HSET", 1 + common.count()).joined(b"larder:", b"one").encoded(&common);
        batch.remove("gone");
        assert_eq!(batch.len(), 3);
        let commands: Vec<Vec<Bytes>> = batch.commands().collect();
        let expected: [&[&str]; 3] =
            [&["SADD", "key", "", "ä\r\n"], &["HSET", "larder:one", "field", "7"], &["UNLINK", "gone"]];
        assert_eq!(commands, expected);
        let mut again = Batch::default();
        again.replace(&batch, 1);
        assert_eq!(again.bytes(), b"*2\r\n$6\r\nUNLINK\r\n$10\r\nlarder:one\r\n*4\r\n$4\r\nHSET\r\n$10\r\nlarder:one\r\n$5\r\nfield\r\n$1\r\n7\r\n");
        assert_eq!(again.len(), 2);
    }
}
