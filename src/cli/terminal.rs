//! Escaping of control characters in terminal output. Names of columns, products and files come from user
//! data and must not move the cursor, change colors or reverse the text direction.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write as _},
};

/// Replaces control characters, except newlines, by escapes.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_control(character) {
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Replaces control characters, including newlines, by escapes.
pub(super) fn plain_line(text: &str) -> String {
    plain(text).replace('\n', "\\u{a}")
}

/// Replaces control characters, except newlines, in a JSON text by the escapes of JSON.
#[cfg(feature = "build")]
pub(super) fn plain_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_control(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// Prints a line to standard error, so that it is not mixed with results.
pub(super) fn warn(line: &str) {
    report(&plain_line(line));
}

/// Prints a text of one or more lines to standard error. Goes on if nobody reads it, where `eprintln!` would
/// panic.
pub(super) fn report(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", plain(text));
}

/// Checks whether a terminal interprets `character` instead of showing it.
fn is_control(character: char) -> bool {
    let overrides_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (character.is_control() && character != '\n') || overrides_direction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, expected) in [
            ("plain, ä 東京 🙂\nand another line", "plain, ä 東京 🙂\nand another line"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("bell\u{7} back\u{8} tab\t return\r", "bell\\u{7} back\\u{8} tab\\u{9} return\\u{d}"),
            ("\0\u{7f}\u{80}\u{9b}31m\u{9f}", "\\u{0}\\u{7f}\\u{80}\\u{9b}31m\\u{9f}"),
            ("\u{202a}\u{202e}txt.exe\u{2066}\u{2069}", "\\u{202a}\\u{202e}txt.exe\\u{2066}\\u{2069}"),
            ("\u{2029}\u{2030}\u{2065}\u{206a}", "\u{2029}\u{2030}\u{2065}\u{206a}"),
        ] {
            assert_eq!(plain(text), expected);
        }
        assert!(matches!(plain("nothing to do"), Cow::Borrowed(_)));
        assert_eq!(plain_line("a\nb\u{1b}"), "a\\u{a}b\\u{1b}");
        #[cfg(feature = "build")]
        assert_eq!(plain_json("{\n\"a\": \"\u{9b}\u{202e}ä\"}"), "{\n\"a\": \"\\u009b\\u202eä\"}");
    }

    #[test]
    fn all_output_is_escaped() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli");
        let mut folders = vec![std::path::PathBuf::from(folder)];
        let mut files = vec![std::path::PathBuf::from(format!("{folder}.rs"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the sources") {
                let path = entry.expect("a file").path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        let printing = ["println!", "print!(", "stdout().lock()", "set_message("];
        for file in files.iter().filter(|file| !file.ends_with("terminal.rs")) {
            let text = std::fs::read_to_string(file).expect("a text");
            let prints = text.lines().any(|line| printing.iter().any(|word| line.contains(word)));
            assert!(!prints || text.contains("terminal::plain"), "{} prints unescaped text", file.display());
        }
    }
}
