//! Parser and encoder for the part of RESP2 that Larder needs. No I/O.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

/// Answer of the server, borrowed from the input buffer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tair) enum RawReply<'a> {
    /// `*4…`, an array of texts.
    Array(Vec<Option<&'a [u8]>>),
    /// `$5…`
    Text(Option<&'a [u8]>),
    /// `-ERR …`
    Error(&'a [u8]),
    /// `:1`
    Number(i64),
    /// `+OK`
    Status,
}

/// Appends a command.
pub(in crate::tair) fn command(parts: &[&[u8]], out: &mut Vec<u8>) {
    head(b'*', parts.len(), out);
    for part in parts {
        text(part, out);
    }
}

/// Appends `*3\r\n` or `$3\r\n`.
pub(in crate::tair) fn head(kind: u8, number: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a text with its length.
pub(in crate::tair) fn text(text: &[u8], out: &mut Vec<u8>) {
    head(b'$', text.len(), out);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Appends a text that is the concatenation of `first` and `second`.
pub(in crate::tair) fn joined(first: &[u8], second: &[u8], out: &mut Vec<u8>) {
    head(b'$', first.len() + second.len(), out);
    out.extend_from_slice(first);
    out.extend_from_slice(second);
    out.extend_from_slice(b"\r\n");
}

/// Parses the answer at the start of `input`. Returns it with its length, or `None` if it is incomplete.
pub(in crate::tair) fn reply(input: &[u8]) -> Result<Option<(RawReply<'_>, usize)>, &'static str> {
    let mut at = 0;
    let Some(first) = line(input, &mut at) else { return Ok(None) };
    let found = match first.split_first() {
        Some((b'*', number)) => {
            let count = self::number(number)?.unwrap_or(0);
            let mut parts = Vec::with_capacity(count.min(1_024));
            for _ in 0..count {
                let Some(line) = line(input, &mut at) else { return Ok(None) };
                let Some((b'$', length)) = line.split_first() else {
                    return Err("an array holds something other than texts");
                };
                match body(input, &mut at, self::number(length)?)? {
                    Some(text) => parts.push(text),
                    None => return Ok(None),
                }
            }
            RawReply::Array(parts)
        }
        Some((b'$', length)) => match body(input, &mut at, self::number(length)?)? {
            Some(text) => RawReply::Text(text),
            None => return Ok(None),
        },
        Some((b'-', text)) => RawReply::Error(text),
        Some((b':', digits)) => RawReply::Number(integer(digits)?),
        Some((b'+', _)) => RawReply::Status,
        _ => return Err("the server does not speak RESP2"),
    };
    Ok(Some((found, at)))
}

/// Returns the line at `at` without its end, and moves `at` past it.
fn line<'a>(input: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = &input[*at..];
    let end = memchr::memchr(b'\n', rest)?;
    *at += end + 1;
    Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]))
}

/// Returns the text of `length` bytes at `at`: `Some(None)` for a null text, `None` if it is incomplete.
fn body<'a>(
    input: &'a [u8],
    at: &mut usize,
    length: Option<usize>,
) -> Result<Option<Option<&'a [u8]>>, &'static str> {
    let Some(length) = length else { return Ok(Some(None)) };
    let end = at.checked_add(length).ok_or("a text is too long")?;
    let Some(tail) = input.get(end..end.saturating_add(2)) else { return Ok(None) };
    if tail != b"\r\n" {
        return Err("a text is longer than its length");
    }
    let text = &input[*at..end];
    *at = end + 2;
    Ok(Some(Some(text)))
}

fn integer(digits: &[u8]) -> Result<i64, &'static str> {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or("a number is malformed")
}

/// Parses a length; −1 means null.
fn number(digits: &[u8]) -> Result<Option<usize>, &'static str> {
    if digits == b"-1" {
        return Ok(None);
    }
    let wrong = "a length is malformed";
    if digits.is_empty() || digits.len() > 10 {
        return Err(wrong);
    }
    digits
        .iter()
        .try_fold(0, |number: usize, digit| match digit {
            b'0'..=b'9' => Ok(number * 10 + usize::from(digit - b'0')),
            _ => Err(wrong),
        })
        .map(Some)
}

/// Checks that reading `data` does not panic, and that a reply is the same whatever follows and never read
/// from a part.
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(Some((found, length))) = reply(data) else { return };
    assert!(length <= data.len(), "the reply is longer than its input");
    assert_eq!(reply(&data[..length]), Ok(Some((found, length))));
    for cut in 0..length.min(1 << 10) {
        assert_eq!(reply(&data[..cut]), Ok(None), "a part of {cut} bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_answers_are_not_parsed() {
        let text =
            b"*3\r\n$5\r\n[1,2]\r\n$-1\r\n$0\r\n\r\n$2\r\nab\r\n$-1\r\n-ERR no\r\n+PONG\r\n:-7\r\n*-1\r\n";
        let expected = [
            RawReply::Array(vec![Some(b"[1,2]"), None, Some(b"")]),
            RawReply::Text(Some(b"ab")),
            RawReply::Text(None),
            RawReply::Error(b"ERR no"),
            RawReply::Status,
            RawReply::Number(-7),
            RawReply::Array(vec![]),
        ];
        let mut at = 0;
        for expected in expected {
            let (found, length) = reply(&text[at..]).expect("valid").expect("whole");
            assert_eq!(found, expected);
            for cut in 0..length {
                assert_eq!(reply(&text[at..at + cut]), Ok(None), "{expected:?} cut at {cut}");
            }
            at += length;
        }
        assert_eq!(at, text.len());
    }

    #[test]
    fn malformed_answers_are_errors() {
        for text in [
            "HTTP/1.1 400\r\n",
            "$x\r\n",
            "$\r\n",
            "$2\r\nabc\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*1\r\n",
            ":1x\r\n",
            "$99999999999\r\n",
        ] {
            assert!(reply(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn command_encodes_lengths() {
        let mut out = Vec::new();
        command(&[b"GET", "ä".as_bytes()], &mut out);
        assert_eq!(out, "*2\r\n$3\r\nGET\r\n$2\r\nä\r\n".as_bytes());
    }
}
