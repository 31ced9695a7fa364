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
    let at = match text.get(from) {
        Some(b'"') => string_end(text, from + 1) + 1,
        Some(b'[') => list_end(text, from).unwrap_or_else(|| nested_end(text, from)),
        Some(b'{') => nested_end(text, from),
        _ => from,
    };
    find(text, at, [b','])
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
    loop {
        at = find(text, at, [b'"', b'[', b'{', b']', b'}']);
        match text.get(at) {
            Some(b'"') => at = string_end(text, at + 1),
            Some(b'[' | b'{') => depth += 1,
            Some(_) if depth <= 1 => return at + 1,
            Some(_) => depth -= 1,
            None => return text.len(),
        }
        at += 1;
    }
}

/// The place of the quote that ends the string whose first character is at `start`, or the text's length.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        at = find(text, at, [b'"', b'\\']);
        match text.get(at) {
            Some(b'\\') => at += 2,
            _ => return at,
        }
    }
}

/// The place of the first of `bytes` in `text` from `from` on, or the text's length. Eight bytes are looked at together: elements
/// are so short that a search by many more at a time costs more than it saves.
fn find<const N: usize>(text: &[u8], from: usize, bytes: [u8; N]) -> usize {
    let mut at = from;
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let found = bytes.iter().fold(0, |found, byte| found | first_in(u64::from_le_bytes(*word), *byte));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().position(|byte| bytes.contains(byte)).map_or(text.len(), |place| at + place)
}

/// A number whose lowest bit that is set is the highest one of the first `byte` in `word`; 0 where there is none.
fn first_in(word: u64, byte: u8) -> u64 {
    const LOW: u64 = u64::MAX / 255;
    let zero_where_found = word ^ (LOW * u64::from(byte));
    zero_where_found.wrapping_sub(LOW) & !zero_where_found & (LOW << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A JSON text with the trouble that a split may have.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let text = || r#"[ab,:"\\\\\[\]{}ä]{0,20}"#.prop_map(serde_json::Value::from);
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            text(),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            let object = prop::collection::btree_map("[a,\"\\]}]{0,9}", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(serde_json::Value::from),
                object.prop_map(|object| serde_json::Value::Object(object.into_iter().collect())),
            ]
        })
    }

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

        #[test]
        fn elements_are_those_that_were_written(values in prop::collection::vec(value(), 0..6)) {
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            let array = serde_json::Value::from(values).to_string();
            let found: Vec<_> = elements(array.as_bytes()).map(|e| std::str::from_utf8(e).expect("text")).collect();
            prop_assert_eq!(found, texts);
        }

        #[test]
        fn whatever_is_no_array_does_no_harm(text in r#"[\[\]{},"\\a]{0,30}"#) {
            let length: usize = elements(text.as_bytes()).map(<[u8]>::len).sum();
            prop_assert!(length <= text.len());
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
