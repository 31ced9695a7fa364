//! The encoding of text of which nothing is known: by validity, and by the letters that would come out.

use encoding_rs::{Encoding, GB18030, SHIFT_JIS, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// The likely encoding of a text.
pub(super) struct EncodingGuess {
    /// Encoding to configure; none for UTF-8 and for a byte order mark.
    pub(super) configured: Option<&'static Encoding>,
    /// Description of the encoding.
    pub(super) words: String,
    pub(super) doubt: Option<String>,
}

/// Share of bytes beyond ASCII between two of ASCII from which a text has one byte for a letter.
const SINGLE: f64 = 0.5;

/// Returns the likely encoding of `bytes`. If `is_whole` is not set, the last character may be cut.
pub(super) fn guess(bytes: &[u8], is_whole: bool) -> EncodingGuess {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        let words = format!("{} by its byte order mark", encoding.name());
        return EncodingGuess { configured: None, words, doubt: None };
    }
    for (encoding, zero) in [(UTF_16LE, 1), (UTF_16BE, 0)] {
        if bytes.len() > 3 && bytes[zero] == 0 && bytes[zero ^ 1] != 0 && bytes[zero + 2] == 0 {
            let words = format!("{} without a byte order mark", encoding.name());
            return EncodingGuess { configured: Some(encoding), words, doubt: None };
        }
    }
    let is_utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => !is_whole && error.error_len().is_none(),
    };
    if is_utf8 {
        let words = if bytes.is_ascii() { "ASCII" } else { "UTF-8" };
        return EncodingGuess { configured: None, words: words.to_owned(), doubt: None };
    }
    let found = other_than_utf8(bytes);
    let name = found.name().to_ascii_lowercase();
    EncodingGuess {
        configured: Some(found),
        words: format!("{name} (a guess)"),
        doubt: Some(format!(
            "the encoding is a guess: the text is not UTF-8, and its letters look like {name}; check names \
             with letters such as é or 李 after the first build"
        )),
    }
}

/// Returns the likeliest encoding of bytes that are not UTF-8.
fn other_than_utf8(bytes: &[u8]) -> &'static Encoding {
    let is_high = |at: usize| bytes.get(at).is_some_and(|byte| *byte >= 0x80);
    let high: Vec<usize> = (0..bytes.len()).filter(|at| is_high(*at)).collect();
    let alone =
        high.iter().filter(|at| !is_high(**at + 1) && !at.checked_sub(1).is_some_and(is_high)).count();
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
    let share_alone = alone as f64 / high.len().max(1) as f64;
    let chinese =
        pairs(bytes, |lead| lead >= 0x81, |lead, trail| (0xb0..=0xf7).contains(&lead) && trail >= 0xa1);
    let is_japanese_lead = |lead: u8| (0x81..=0x9f).contains(&lead) || (0xe0..=0xfc).contains(&lead);
    let japanese = pairs(bytes, is_japanese_lead, |lead, trail| lead <= 0x97 && trail >= 0x40);
    let is_valid = |encoding: &'static Encoding| {
        let cut = bytes.len() - bytes.len().min(4);
        let whole = |end: usize| {
            encoding.decode_without_bom_handling_and_without_replacement(&bytes[..end]).is_some()
        };
        (cut..=bytes.len()).rev().any(whole)
    };
    if japanese > 0.7 && japanese > chinese && is_valid(SHIFT_JIS) {
        return SHIFT_JIS;
    }
    if share_alone < SINGLE && chinese > 0.7 && is_valid(GB18030) {
        return GB18030;
    }
    WINDOWS_1252
}

/// Returns the share of characters beyond ASCII that are pairs of bytes as `is_usual` accepts.
fn pairs(bytes: &[u8], is_lead: impl Fn(u8) -> bool, is_usual: impl Fn(u8, u8) -> bool) -> f64 {
    let (mut usual, mut all, mut at) = (0_u32, 0_u32, 0);
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        if byte < 0x80 {
            continue;
        }
        all += 1;
        if is_lead(byte) {
            usual += u32::from(bytes.get(at).is_some_and(|trail| is_usual(byte, *trail)));
            at += 1;
        }
    }
    f64::from(usual) / f64::from(all.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_by_their_letters() {
        for (encoding, text) in [
            (WINDOWS_1252, "Müller,Köln,5 €\nDupré,Orléans,7 £\nGröße,Straße"),
            (GB18030, "李雷,北京,红色的杯子\n韩梅梅,上海,茶壶"),
            (SHIFT_JIS, "山田太郎,東京,あかいカップ\n佐藤,大阪,ティーポット"),
        ] {
            let (bytes, ..) = encoding.encode(text);
            let found = guess(&bytes, true);
            assert_eq!(found.configured.map(Encoding::name), Some(encoding.name()), "{text}");
            assert!(found.doubt.is_some());
        }
        for bytes in [&b"plain"[..], "Müller".as_bytes(), b"\xff\xfea\0", b"\xef\xbb\xbfa"] {
            let found = guess(bytes, true);
            assert!(found.configured.is_none() && found.doubt.is_none());
        }
        assert!(guess(&"Müller é".as_bytes()[..9], false).configured.is_none());
        assert_eq!(guess(b"a\0b\0c\0", true).configured.map(Encoding::name), Some("UTF-16LE"));
    }
}
