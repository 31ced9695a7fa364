//! A stored JSON array, split where its elements end. Pure; decodes nothing.

/// Splits a JSON array into the texts of its elements, without decoding them.
///
/// The array is trusted to be well formed and without spaces, as Larder's own writer makes it; of a malformed text the split is
/// arbitrary, but it never panics.
pub fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = inner(array);
    let mut at = usize::from(text.is_empty());
    std::iter::from_fn(move || {
        let from = at;
        let end = (from <= text.len()).then(|| element_end(text, from))?;
        at = end + 1;
        Some(&text[from..end])
    })
}

/// An array without its brackets.
fn inner(array: &[u8]) -> &[u8] {
    match array {
        [b'[', inner @ .., b']'] | [b'[', inner @ ..] | [inner @ .., b']'] => inner,
        _ => array,
    }
}

/// The place of the comma that ends the element of `text` at `from`, or the text's length.
fn element_end(text: &[u8], from: usize) -> usize {
    let mut at = match text.get(from) {
        Some(b'"') => string_end(text, from + 1) + 1,
        Some(b'[') => list_end(text, from).unwrap_or_else(|| nested_end(text, from)),
        Some(b'{') => nested_end(text, from),
        _ => from,
    };
    while text.get(at).is_some_and(|byte| *byte != b',') {
        at += 1;
    }
    at.min(text.len())
}

/// The place behind the array that begins at `from`, found many bytes at a time: its first `]` that is in no string. Nothing where there
/// are arrays in it, or escapes.
fn list_end(text: &[u8], from: usize) -> Option<usize> {
    let (mut at, mut quotes) = (from + 1, 0);
    loop {
        let end = at + memchr::memchr(b']', text.get(at..)?)?;
        let piece = &text[at..end];
        if memchr::memchr2(b'[', b'\\', piece).is_some() {
            return None;
        }
        quotes += memchr::memchr_iter(b'"', piece).count();
        if quotes % 2 == 0 {
            return Some(end + 1);
        }
        at = end + 1;
    }
}

/// The place behind the array or object that begins at `from`.
fn nested_end(text: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at + 1),
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 1 => return at + 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The place of the quote that ends the string whose first character is at `start`, or the text's length.
fn string_end(text: &[u8], start: usize) -> usize {
    /// Longer ones are searched by many bytes at a time.
    const SHORT: usize = 24;
    let mut at = start;
    while at < start + SHORT {
        match text.get(at) {
            Some(b'"') => return at,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if text[at + found] == b'"' {
            return at + found;
        }
        at += found + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_end_where_their_brackets_say(texts in prop::collection::vec(r#"[\[\]{}",a\\]{0,6}"#, 0..6), deep in any::<bool>()) {
            let list = serde_json::json!(texts).to_string();
            let list = if deep { format!("[{{\"k\":{list},\"l\":1}}]") } else { list };
            let row = format!("[{list},1,{list}]");
            let found: Vec<_> = elements(row.as_bytes()).collect();
            prop_assert_eq!(found, [list.as_bytes(), b"1", list.as_bytes()]);
            let end = list_end(list.as_bytes(), 0);
            prop_assert!(end.is_none_or(|end| end == nested_end(list.as_bytes(), 0)));
        }
    }

    #[test]
    fn arrays_split_at_their_own_commas_only() {
        let text = br#"[1,"a,\"b\\",[2,{"k":"]"}],null,-3.5]"#;
        let found: Vec<_> = elements(text).map(|e| std::str::from_utf8(e).expect("text")).collect();
        assert_eq!(found, ["1", r#""a,\"b\\""#, r#"[2,{"k":"]"}]"#, "null", "-3.5"]);
        assert_eq!(elements(b"[]").count(), 0);
        assert_eq!(elements(br#"["unterminated"#).count(), 1);
    }
}
