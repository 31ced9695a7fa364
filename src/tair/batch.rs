//! Encoded commands and the answer to a command. No I/O.

use bytes::Bytes;

use super::connection::resp;

/// Commands encoded one after the other in one buffer. The first argument of each command is its key.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// Encoder of the arguments of the last command.
#[derive(Debug)]
pub struct Args<'a>(&'a mut Vec<u8>);

impl Batch {
    /// Returns the number of commands.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Checks whether there are no commands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Returns all commands as sent to the server.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins the command `name`. The caller must append `count` arguments.
    pub fn command(&mut self, name: &'static str, count: usize) -> Args<'_> {
        self.starts.push(self.bytes.len());
        resp::head(b'*', 1 + count, &mut self.bytes);
        Args(&mut self.bytes).text(name.as_bytes())
    }

    /// Appends the command `name` with `args`.
    pub fn push(&mut self, name: &'static str, args: &[&[u8]]) {
        args.iter().fold(self.command(name, args.len()), |command, arg| command.text(arg));
    }

    /// Appends the command that removes `key`.
    pub fn remove(&mut self, key: &str) {
        self.push("UNLINK", &[key.as_bytes()]);
    }

    /// Returns the command at `at`.
    fn get(&self, at: usize) -> &[u8] {
        let end = self.starts.get(at + 1).copied().unwrap_or(self.bytes.len());
        &self.bytes[self.starts[at]..end]
    }

    /// Appends the command at `at` of `other`, preceded by the removal of its key.
    pub(super) fn replace(&mut self, other: &Self, at: usize) {
        let command = other.get(at);
        if let Some(key) = parts(command).get(1) {
            self.push("UNLINK", &[key]);
        }
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(command);
    }

    /// Returns the name and arguments of each command.
    pub fn commands(&self) -> impl Iterator<Item = Vec<Bytes>> {
        let all = Bytes::copy_from_slice(&self.bytes);
        (0..self.len()).map(move |at| {
            parts(self.get(at)).into_iter().map(|part| slice_of(&all, &self.bytes, part)).collect()
        })
    }
}

/// Returns the range of `all`, a copy of `original`, that corresponds to `part` of `original`.
fn slice_of(all: &Bytes, original: &[u8], part: &[u8]) -> Bytes {
    let start = part.as_ptr().addr() - original.as_ptr().addr();
    all.slice(start..start + part.len())
}

/// Returns the name and arguments of an encoded command.
fn parts(command: &[u8]) -> Vec<&[u8]> {
    match resp::reply(command) {
        Ok(Some((resp::RawReply::Array(parts), _))) => parts.into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}

impl Args<'_> {
    /// Appends an argument.
    #[must_use]
    pub fn text(self, text: &[u8]) -> Self {
        resp::text(text, self.0);
        self
    }

    /// Appends an argument that is the concatenation of `first` and `second`.
    #[must_use]
    pub fn joined(self, first: &[u8], second: &[u8]) -> Self {
        resp::joined(first, second, self.0);
        self
    }

    /// Appends arguments that are encoded already.
    #[must_use]
    pub fn encoded(self, args: &Encoded) -> Self {
        self.0.extend_from_slice(&args.bytes);
        self
    }
}

/// Arguments that many commands share, encoded once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    bytes: Vec<u8>,
    count: usize,
}

impl Encoded {
    /// Encodes one argument.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let mut encoded = Self::default();
        encoded.push(text);
        encoded
    }

    /// Appends an argument.
    pub fn push(&mut self, text: &[u8]) {
        resp::text(text, &mut self.bytes);
        self.count += 1;
    }

    /// Returns the number of arguments.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Removes all arguments.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

/// Answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status such as `OK`.
    Done,
    /// A number.
    Number(i64),
    /// A text, or null.
    Text(Option<Bytes>),
    /// A list of texts.
    Texts(Vec<Option<Bytes>>),
}

impl Reply {
    /// Returns the number, or `None` if the answer is not a number or is negative.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { u64::try_from(*number).ok() } else { None }
    }

    /// Returns the texts of a list, or nothing if the answer is not a list.
    #[must_use]
    pub fn texts(self) -> Vec<Option<Bytes>> {
        if let Self::Texts(texts) = self { texts } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_encoded_and_decoded() {
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
        let expected = "*2\r\n$6\r\nUNLINK\r\n$10\r\nlarder:one\r\n\
                        *4\r\n$4\r\nHSET\r\n$10\r\nlarder:one\r\n$5\r\nfield\r\n$1\r\n7\r\n";
        assert_eq!(again.bytes(), expected.as_bytes());
        assert_eq!(again.len(), 2);
    }
}
