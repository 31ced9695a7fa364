//! Texts for a terminal: names of columns, products and files come from outside, and must not move the
//! cursor, recolour what stands there or turn the direction of a line.

use std::{borrow::Cow, fmt::Write};

/// `text` with the escapes of control characters in their place, of all but the newline.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if acts(character) {
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// The same for a text that must stay on its line.
pub(super) fn plain_line(text: &str) -> String {
    plain(text).replace('\n', "\\u{a}")
}

/// Whether a terminal does something at `character` other than to show it.
fn acts(character: char) -> bool {
    let overrides_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (character.is_control() && character != '\n') || overrides_direction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
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
    }

    #[test]
    fn everything_that_is_printed_goes_through_here() {
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
            assert!(!prints || text.contains("terminal::plain"), "{} prints what it likes", file.display());
        }
    }
}
