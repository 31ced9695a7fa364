//! Splitting of a stored JSON array into its elements, without decoding them.

/// Splits a JSON array into the texts of its elements, without decoding them.
///
/// The array must be well formed and without spaces, as Larder's own writer produces it. For a malformed text
/// the split is arbitrary, but there is no panic.
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

/// Returns the text between the brackets of an array.
fn inner(array: &[u8]) -> &[u8] {
    match array {
        [b'[', inner @ .., b']'] | [b'[', inner @ ..] | [inner @ .., b']'] => inner,
        _ => array,
    }
}

/// Returns the position of the comma after the element of `text` that begins at `from`, or the length of the
/// text.
fn element_end(text: &[u8], from: usize) -> usize {
    let at = match text.get(from) {
        Some(b'"') => string_end(text, from + 1) + 1,
        Some(b'[') => list_end(text, from).unwrap_or_else(|| nested_end(text, from)),
        Some(b'{') => nested_end(text, from),
        _ => from,
    };
    find(text, at, [b','])
}

/// Returns the position after the array that begins at `from`: after its first `]` outside a string. Fast
/// path that searches many bytes at a time; `None` if the array contains nested arrays or escapes.
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

/// Returns the position after the array or object that begins at `from`.
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

/// Returns the position of the closing quote of the string whose first character is at `start`, or the length
/// of the text.
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

/// Returns the position of the first of `bytes` in `text` at or after `from`, or the length of the text.
/// Searches eight bytes at a time; elements are too short for a wider search to pay off.
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

/// Returns a number whose lowest set bit is the highest bit of the first `byte` in `word`, or 0 if `word`
/// does not contain `byte`.
fn first_in(word: u64, byte: u8) -> u64 {
    const LOW: u64 = u64::MAX / 255;
    let zero_where_found = word ^ (LOW * u64::from(byte));
    zero_where_found.wrapping_sub(LOW) & !zero_where_found & (LOW << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A JSON value with brackets, quotes and escapes that may mislead a split.
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
        fn nested_lists_end_at_their_brackets(
            texts in prop::collection::vec(r#"[\[\]{}",a\\]{0,6}"#, 0..6),
            deep in any::<bool>(),
        ) {
            let list = serde_json::json!(texts).to_string();
            let list = if deep { format!("[{{\"k\":{list},\"l\":1}}]") } else { list };
            let row = format!("[{list},1,{list}]");
            let found: Vec<_> = elements(row.as_bytes()).collect();
            prop_assert_eq!(found, [list.as_bytes(), b"1", list.as_bytes()]);
            let end = list_end(list.as_bytes(), 0);
            prop_assert!(end.is_none_or(|end| end == nested_end(list.as_bytes(), 0)));
        }

        #[test]
        fn written_elements_are_read_back(values in prop::collection::vec(value(), 0..6)) {
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            let array = serde_json::Value::from(values).to_string();
            let found = elements(array.as_bytes()).map(|e| std::str::from_utf8(e).expect("text"));
            let found: Vec<_> = found.collect();
            prop_assert_eq!(found, texts);
        }

        #[test]
        fn malformed_array_does_not_panic(text in r#"[\[\]{},"\\a]{0,30}"#) {
            let length: usize = elements(text.as_bytes()).map(<[u8]>::len).sum();
            prop_assert!(length <= text.len());
        }
    }

    #[test]
    fn nested_commas_do_not_split() {
        let text = br#"[1,"a,\"b\\",[2,{"k":"]"}],null,-3.5]"#;
        let found: Vec<_> = elements(text).map(|e| std::str::from_utf8(e).expect("text")).collect();
        assert_eq!(found, ["1", r#""a,\"b\\""#, r#"[2,{"k":"]"}]"#, "null", "-3.5"]);
        assert_eq!(elements(b"[]").count(), 0);
        assert_eq!(elements(br#"["unterminated"#).count(), 1);
    }
}
