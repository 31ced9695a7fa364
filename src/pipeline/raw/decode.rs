//! Conversion of text in any encoding to UTF-8.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

/// Bytes of the buffers.
const BUFFER: usize = 1 << 16;
/// A byte that UTF-8 never has. The decoder writes it for bytes that are no text, so that their line is a bad
/// line and not a line with other characters.
const NO_TEXT: u8 = 0xff;
/// Bytes of the longest byte order mark.
const MARK: usize = 3;

/// Reader of text as UTF-8. UTF-8 passes unchanged and unchecked.
pub(crate) struct Utf8Reader<R> {
    source: R,
    /// Bytes of the source that are read and not decoded.
    input: Vec<u8>,
    from: usize,
    ended: bool,
    /// Whether the decoder has decoded all bytes of the source.
    finished: bool,
    /// Decoder of another encoding.
    decoder: Option<Decoder>,
    /// Decoded bytes that are not passed on.
    output: Vec<u8>,
    passed: usize,
}

impl<R: Read> Utf8Reader<R> {
    /// Reads `source`, whose encoding is the one that a byte order mark tells, or else `configured`, or else
    /// UTF-8.
    pub(crate) fn new(mut source: R, configured: Option<&'static Encoding>) -> io::Result<Self> {
        let mut input = vec![0; MARK];
        let mut length = 0;
        while length < MARK {
            match source.read(&mut input[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        input.truncate(length);
        let (encoding, mark) = Encoding::for_bom(&input).unwrap_or((configured.unwrap_or(UTF_8), 0));
        let decoder = (encoding != UTF_8).then(|| encoding.new_decoder_without_bom_handling());
        let ended = length < MARK;
        Ok(Self { source, input, from: mark, ended, finished: false, decoder, output: Vec::new(), passed: 0 })
    }

    /// Decodes until the output has bytes or the source ends.
    fn decode(&mut self, mut decoder: Decoder) -> io::Result<Decoder> {
        self.output.resize(BUFFER, 0);
        self.passed = 0;
        let mut written = 0;
        while written == 0 {
            if self.from == self.input.len() && !self.ended {
                self.input.resize(BUFFER, 0);
                // A caller repeats an interrupted read, but an error would end the decoder.
                let length = loop {
                    match self.source.read(&mut self.input) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => break read?,
                    }
                };
                self.input.truncate(length);
                (self.from, self.ended) = (0, length == 0);
            }
            // The last bytes may yield up to three replacements.
            let room = BUFFER - MARK;
            let (result, read, bytes) = decoder.decode_to_utf8_without_replacement(
                &self.input[self.from..],
                &mut self.output[..room],
                self.ended,
            );
            self.from += read;
            written = bytes;
            match result {
                DecoderResult::Malformed(..) => {
                    self.output[written] = NO_TEXT;
                    written += 1;
                }
                DecoderResult::InputEmpty if self.ended => {
                    self.finished = true;
                    break;
                }
                DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            }
        }
        self.output.truncate(written);
        Ok(decoder)
    }
}

impl<R: Read> Read for Utf8Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = self.decoder.take() else {
            if self.from < self.input.len() {
                let length = buffer.len().min(self.input.len() - self.from);
                buffer[..length].copy_from_slice(&self.input[self.from..self.from + length]);
                self.from += length;
                return Ok(length);
            }
            return self.source.read(buffer);
        };
        if self.passed == self.output.len() && !self.finished {
            self.decoder = Some(self.decode(decoder)?);
        } else {
            self.decoder = Some(decoder);
        }
        let length = buffer.len().min(self.output.len() - self.passed);
        buffer[..length].copy_from_slice(&self.output[self.passed..self.passed + length]);
        self.passed += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{GB18030, SHIFT_JIS, UTF_16LE, WINDOWS_1252};
    use proptest::prelude::*;

    use super::*;

    /// Reader that returns a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    /// Reader that is interrupted before each read.
    struct Interrupted<'a>(Slow<'a>, bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(buffer) }
        }
    }

    #[test]
    fn interrupted_reads_are_repeated() {
        let bytes = utf16("Müller, 5 €", b"\xff\xfe", u16::to_le_bytes);
        let mut all = String::new();
        let reader = Utf8Reader::new(Interrupted(Slow(&bytes, 3), false), None);
        reader.and_then(|mut reader| reader.read_to_string(&mut all)).expect("reads");
        assert_eq!(all, "Müller, 5 €");
    }

    fn read(bytes: &[u8], step: usize, configured: Option<&'static Encoding>) -> Vec<u8> {
        let mut all = Vec::new();
        Utf8Reader::new(Slow(bytes, step), configured)
            .and_then(|mut reader| reader.read_to_end(&mut all))
            .expect("reads");
        all
    }

    fn utf16(text: &str, mark: &[u8], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.iter().copied().chain(text.encode_utf16().flat_map(bytes)).collect()
    }

    proptest! {
        #[test]
        fn text_is_the_same_in_every_encoding(text in "[a-zé€李🎁\n]{0,30}", step in 1_usize..9) {
            for bytes in [
                text.clone().into_bytes(),
                [b"\xef\xbb\xbf", text.as_bytes()].concat(),
                utf16(&text, b"\xff\xfe", u16::to_le_bytes),
                utf16(&text, b"\xfe\xff", u16::to_be_bytes),
            ] {
                prop_assert_eq!(read(&bytes, step, None), text.as_bytes());
                // A mark counts for more than the configuration.
                if !text.is_empty() && bytes.starts_with(b"\xef\xbb\xbf") {
                    prop_assert_eq!(read(&bytes, step, Some(WINDOWS_1252)), text.as_bytes());
                }
            }
            let unmarked = utf16(&text, b"", u16::to_le_bytes);
            prop_assert_eq!(read(&unmarked, step, Some(UTF_16LE)), text.as_bytes());
        }
    }

    #[test]
    fn configured_encodings_are_decoded_and_other_bytes_are_marked() {
        for (encoding, text) in
            [(WINDOWS_1252, "Müller, 5 €"), (GB18030, "李雷,北京"), (SHIFT_JIS, "山田,東京")]
        {
            let (bytes, ..) = encoding.encode(text);
            assert_eq!(read(&bytes, 1, Some(encoding)), text.as_bytes());
            assert_eq!(read(&bytes.repeat(50_000), 70_000, Some(encoding)), text.repeat(50_000).as_bytes());
        }
        // Half of a character in the middle and at the end.
        assert_eq!(read(b"a\x81\xff\nb\x81", 2, Some(SHIFT_JIS)), b"a\xff\nb\xff");
        assert_eq!(read(b"", 1, Some(SHIFT_JIS)), b"");
        assert_eq!(read(b"\xff\xfea\0b", 1, None), b"a\xff");
    }
}
