//! Redaction of secrets in configuration errors.
//!
//! URLs hold passwords, a key may have been pasted in place of its hash, and an error may be about a value in
//! the wrong section. Values are therefore shown only in sections known to be public; everywhere else only
//! section and key names are shown.

use std::{fmt, ops::Range};

use super::{
    keys::KEY_START,
    passwords::has_password,
    units::{DURATION, SIZE},
};

/// Sections whose values are shown.
const PUBLIC: [&str; 12] = [
    "http",
    "serving",
    "raw",
    "quality",
    "views",
    "recommendations",
    "build",
    "churn",
    "value",
    "audiences",
    "feast",
    "log",
];
/// Words that hide a line even in a public section, since the line may be in the wrong section.
const SECRET: [&str; 10] =
    ["tair", "lake", "keys", "url", "hash", "endpoint", "password", "secret", "namespace", "scopes"];

/// Delimiters of multi-line strings.
const MULTI_LINE: [&str; 2] = ["\"\"\"", "'''"];

/// An error in a TOML text with its position and without secret values.
#[derive(Debug)]
pub struct RedactedError(String);

impl fmt::Display for RedactedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RedactedError {}

impl RedactedError {
    /// Creates the error for a `text` that is not TOML. The parser's messages do not quote the text.
    pub(super) fn syntax(text: &str, error: toml::de::Error) -> Self {
        let message = error.message().to_owned();
        Self::with_position(text, error, &message)
    }

    /// Creates the error for a `text` with an unknown setting or an invalid value.
    pub(super) fn content(text: &str, error: toml::de::Error) -> Self {
        let message = message(text, &error);
        Self::with_position(text, error, &message)
    }

    /// Prefixes `message` with the position of `error` and the redacted line.
    fn with_position(text: &str, mut error: toml::de::Error, message: &str) -> Self {
        let above = error.span().and_then(|span| key_above(text, span.start));
        error.set_input(Some(&redacted(text)));
        let shown = error.to_string();
        let position = shown.rfind(error.message()).map_or("", |at| &shown[..at]);
        let above = above.map(|(key, line)| format!("; the value of `{key}` begins in line {line}"));
        Self(format!("{position}{message}{}", above.unwrap_or_default()))
    }

    /// Creates the error for a `text` merged with the environment, whose line numbers mean nothing to the
    /// user.
    pub(super) fn environment(text: &str, error: &toml::de::Error) -> Self {
        let message = message(text, error);
        let section = error.span().and_then(|span| section_at(text, &span)).unwrap_or_default();
        Self(if section.is_empty() { message } else { format!("{message}, in [{section}]") })
    }
}

/// Returns the message of `error` with the key name, and without the value if its line is redacted.
fn message(text: &str, error: &toml::de::Error) -> String {
    let redacted = redacted(text);
    let is_shown = |span: &Range<usize>| line_at(text, span) == line_at(&redacted, span);
    let message = match error.span() {
        Some(span) if is_shown(&span) => error.message().to_owned(),
        _ => without_value(error.message()),
    };
    match error.span().and_then(|span| key_before(text, span.start)) {
        Some(key) => format!("{message}; the key is `{key}`"),
        None => message,
    }
}

/// Returns a message without the value that it quotes.
fn without_value(message: &str) -> String {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_bare);
    let quoted = |start: &str| message.strip_prefix(start)?.split_once('`').map(|(name, _)| name);
    let field = ["unknown field `", "missing field `", "duplicate field `"].into_iter().find_map(quoted);
    if field.is_some_and(is_name) || !message.contains(['`', '"', '\'']) {
        return message.to_owned();
    }
    let kinds = [SIZE, DURATION];
    if let Some(kind) = kinds.into_iter().find(|kind| message.ends_with(&format!("` is not {kind}"))) {
        return format!("the value is not {kind}");
    }
    let known =
        ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant ", "unknown field "];
    match message.rsplit_once(", expected ") {
        Some((value, expected)) if known.iter().any(|start| value.starts_with(start)) => {
            let kind = value.split(['`', '"', '\'']).next().unwrap_or_default();
            format!("{}, expected {expected}", kind.trim_end())
        }
        _ => "invalid value".to_owned(),
    }
}

/// Returns the name of the key whose value begins at `at`.
fn key_before(text: &str, at: usize) -> Option<&str> {
    let line = text.get(..at)?.rsplit('\n').next()?;
    let key = line.trim_end().strip_suffix('=')?.trim_end();
    let start = key.bytes().rposition(|byte| !is_bare(byte)).map_or(0, |at| at + 1);
    let name = &key[start..];
    (!name.is_empty()).then_some(name)
}

/// Returns the key whose multi-line value includes the line of `at`, and the number of its first line.
fn key_above(text: &str, at: usize) -> Option<(&str, usize)> {
    let end = text.get(at..)?.find('\n').map_or(text.len(), |end| at + end);
    let mut redactor = Redactor::default();
    let here = text[..end].split('\n').map(|line| redactor.redact(line)).count();
    redactor.key.filter(|(_, line)| *line < here)
}

/// Checks whether a byte may be part of a bare or dotted key.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Returns the line in which `span` begins.
fn line_at<'a>(text: &'a str, span: &Range<usize>) -> Option<&'a [u8]> {
    let (before, after) = text.as_bytes().split_at_checked(span.start)?;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
    Some(&text.as_bytes()[start..span.start + end])
}

/// Returns the section in which `span` begins.
fn section_at<'a>(text: &'a str, span: &Range<usize>) -> Option<&'a str> {
    let end = text[span.start.min(text.len())..].find('\n').map_or(text.len(), |at| span.start + at);
    text[..end].lines().rev().find_map(|line| header(line.trim()))
}

/// Returns `text` with every byte of a possibly secret value replaced by a star, so that all positions stay
/// valid.
fn redacted(text: &str) -> String {
    let mut redactor = Redactor::default();
    text.split('\n').map(|line| redactor.redact(line)).collect::<Vec<_>>().join("\n")
}

/// A line-by-line redactor. In doubt a line is hidden.
#[derive(Debug, Default)]
struct Redactor<'a> {
    /// Number of the current line, from 1.
    number: usize,
    /// Name of the current section.
    section: &'a str,
    /// Last key of the section, and the number of its line.
    key: Option<(&'a str, usize)>,
    /// Whether the value of the last key is hidden. The value may span several lines.
    hides: bool,
    /// Delimiter that ends the open multi-line string.
    until: Option<&'static str>,
}

impl<'a> Redactor<'a> {
    /// Returns the next line, redacted if needed.
    fn redact(&mut self, line: &'a str) -> String {
        self.number += 1;
        let inside = self.until.is_some();
        self.track_multi_line_strings(line);
        match header(line.trim()) {
            // A header inside a string is not a header. A private section is honored there all the same, so
            // that a stray quote does not reveal the lines below.
            Some(section) if !inside || !is_public(section) => {
                (self.section, self.key) = (section, None);
                self.hides = !is_public(section);
            }
            // A malformed section header.
            _ if !inside && begins_section(line) => {
                (self.section, self.key) = ("?", None);
                self.hides = true;
            }
            _ => {}
        }
        let key = if inside { None } else { key_of(line) };
        if let Some(key) = key {
            self.key = Some((key, self.number));
            let section = if self.section.is_empty() { key } else { self.section };
            self.hides = !is_public(section) || holds_secret(line);
        }
        let before_sections = self.section.is_empty() && !inside && key.is_none();
        if self.hides || before_sections || holds_secret(line) {
            stars(line, inside)
        } else {
            line.to_owned()
        }
    }

    /// Updates `until` for the multi-line strings that begin or end in `line`.
    fn track_multi_line_strings(&mut self, line: &str) {
        let mut rest = line;
        loop {
            let find = |mark: &'static str| rest.find(mark).map(|at| (at, mark));
            let found = self.until.map_or_else(|| MULTI_LINE.into_iter().filter_map(find).min(), find);
            let Some((at, mark)) = found else { return };
            self.until = if self.until.is_some() { None } else { Some(mark) };
            rest = &rest[at + mark.len()..];
        }
    }
}

/// Returns the name in a well-formed section header.
fn header(line: &str) -> Option<&str> {
    let inner = line.split('#').next()?.trim().strip_prefix('[')?.strip_suffix(']')?;
    let name = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(inner).trim();
    (!name.is_empty() && name.bytes().all(is_bare)).then_some(name)
}

/// Checks whether the values of a section are shown.
fn is_public(name: &str) -> bool {
    PUBLIC.contains(&name.split('.').next().unwrap_or_default())
}

/// Checks whether `line` may be a malformed section header, or may contain one.
fn begins_section(line: &str) -> bool {
    let no_key = key_of(line).is_none() && !line.trim_start().starts_with('#');
    let odd = no_key && (line.contains('=') || holds_secret(line));
    line.trim_start().starts_with('[') || odd || (holds_secret(line) && line.contains('['))
}

/// Returns the key at the start of `line`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && key.bytes().all(is_bare)).then_some(key)
}

/// Checks whether `line` contains something that is hidden in every section.
fn holds_secret(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let user = line.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) || has_password(line);
    let mut values = line.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c));
    user || line.contains(KEY_START) || words.any(|word| SECRET.contains(&word)) || values.any(is_key_like)
}

/// Minimum length of a text that may be a key.
const KEY_LENGTH: usize = 20;

/// Checks whether `text` looks like a random key: long, of letters and digits, and not a path or a name in
/// lower case.
pub(super) fn is_key_like(text: &str) -> bool {
    let count = |kind: fn(&u8) -> bool| text.bytes().filter(kind).count();
    let (digits, upper) = (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase));
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.len() >= KEY_LENGTH && digits > 0 && (upper > 1 || is_hex)
}

/// Returns `line` with stars for everything but the section or key name at its start.
fn stars(line: &str, inside: bool) -> String {
    let kept = if inside { 0 } else { name_length(line) };
    let star = |byte| if byte == b'\r' { '\r' } else { '*' };
    let (name, value) = line.split_at(kept);
    name.chars().chain(value.bytes().map(star)).collect()
}

/// Returns the length of the section header or key at the start of `line`: `[[keys]]`, `url = `, also if the
/// `=` is missing.
fn name_length(line: &str) -> usize {
    let indent = line.len() - line.trim_start().len();
    let rest = &line[indent..];
    if rest.starts_with('[') {
        let name = rest.bytes().take_while(|byte| is_bare(*byte) || *byte == b'[').count();
        let end = rest[name..].bytes().take_while(|byte| *byte == b']').count();
        let word = rest[..name].trim_start_matches('[');
        let whole = end > 0 || (rest.trim_end().len() == name && (is_public(word) || SECRET.contains(&word)));
        return if whole { indent + name + end } else { 0 };
    }
    let name = rest.bytes().take_while(|byte| is_bare(*byte)).count();
    let after = &rest[name..];
    let is_plain = rest[..name].bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match after.trim_start().as_bytes() {
        _ if name == 0 => 0,
        [b'=', value @ ..] => line.len() - value.trim_ascii_start().len(),
        [b':', b' ' | b'"', ..] | [b'"' | b'\'', ..] if is_plain => indent + name,
        [_, ..] if SECRET.contains(&&rest[..name]) => indent + name,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Config, *};

    /// Returns the whole error chain and the debug output for an invalid text.
    fn error_text(text: &str, vars: &[(&str, &str)]) -> String {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let error = Config::parse(text, "larder.toml", vars).expect_err(text);
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let messages: Vec<String> = causes.map(ToString::to_string).collect();
        format!("{}\n{error:?}", messages.join(": "))
    }

    #[test]
    fn error_names_key_and_line_without_the_secret() {
        for (text, key, line) in [
            ("[tair]\nurl = \"redis://u:s3cret@host\"\npoool = 3", "poool", 3),
            ("[tair]\nurll = \"redis://u:s3cret@host\"", "urll", 2),
            ("[tair]\npool = \"s3cret\"", "pool", 2),
            ("[tair]\npool = \"a, expected s3cret\"", "pool", 2),
            ("[tair]\npool = \"a` is not s3cret\"", "pool", 2),
            ("[tair]\ntimeout = \"s3cret\"", "timeout", 2),
            ("[tair]\nurl = { s3cret = 1 }", "url", 2),
            ("[tair]\nurl = \"redis://u:s3cret@host", "url", 2),
            ("[tair]\nurl = redis://u:s3cret@host", "url", 2),
            ("[tair]\nurl \"redis://u:s3cret@host\"", "url", 2),
            ("[tair]\nurl: \"redis://u:s3cret@host\"", "url", 2),
            ("[tair]\nurl redis://u:s3cret@host", "url", 2),
            ("[tair]\nurl =\ns3cret word", "url", 3),
            ("[tair]\nurl = 'x'\ns3cret word", "line 3", 3),
            ("[tair]\nurl = \"redis://u:s3cret@host\" pool = 3", "url", 2),
            ("[tair]\nurl = 'redis://u:s3cret@host'\nurl = \"s3cret\"", "url", 3),
            ("[tair]\nurl = \"redis://u:\\q-s3cret@host\"", "url", 2),
            ("[tair]\nnamespace = \"\"\"\n s3cret\n\"\"\"\npoool = \"s3cret\"", "poool", 5),
            ("[tair]\nurl = \"\"\"\n[http]\ntimeout = \\q s3cret", "`url` begins in line 2", 4),
            ("[[keys]]\nscopes = [\n 'features',\n 's3cret'\n]", "`scopes` begins in line 2", 4),
            ("tair = \"redis://u:s3cret@host\"", "tair", 1),
            ("tair = { url = \"redis://u:s3cret@host\", pool = \"s3cret\" }", "pool", 1),
            ("tair.url = 's3cret'\ntair.pool = 's3cret'", "tair.pool", 2),
            ("[tiar]\nurl = \"redis://u:s3cret@host\"", "tiar", 1),
            ("[http]\ntimeout = \"3s\"\ntair = { url = \"redis://u:s3cret@host\" }", "tair", 3),
            ("[log]\nlevel = \"'''\"\n[tair]\npool = \"s3cret\"", "pool", 4),
            ("[log]\nlevel = [\n \"redis://u:s3cret@host\" ]", "level", 2),
            ("[lake]\nurl = 's3://b'\nendpointt = 'https://u:s3cret@host'", "endpointt", 3),
            ("[lake]\npath_style = 's3cret'", "path_style", 2),
            ("[lake]\nresolve = 's3cret'", "resolve", 2),
            ("[lake] url = 's3cret'", "[lake]", 1),
            ("[tair]\nurl = 's3cret'\n[http", "[http", 3),
            ("[[keys]]\nname = 'x'\nhash = 's3cret'\nscopes = ['features', 's3cret']", "scopes", 4),
            ("[[keys]]\nname = 'x'\nhash = 53\nscopes = ['s3cret']", "hash", 3),
            ("[[keys]]\nname = 'x'\nkey = 'lrd_s3cret'", "key", 3),
            ("[http]\ncors = 'lrd_s3cret'", "line 2", 2),
        ] {
            let message = error_text(text, &[]);
            assert!(!message.contains("s3cret"), "{text}\n{message}");
            assert!(message.contains(key) && message.contains(&format!("line {line},")), "{text}\n{message}");
        }
    }

    #[test]
    fn error_in_environment_variable_hides_the_value() {
        for (name, value, key) in [
            ("LARDER_TAIR_POOL", "s3cret", "`pool`, in [tair]"),
            ("LARDER_TAIR_TIMEOUT", "s3cret", "`timeout`, in [tair]"),
            ("LARDER_LAKE_RESOLVE", "s3cret", "`resolve`, in [lake]"),
            ("LARDER_LAKE_PATH_STYLE", "s3cret", "`path_style`, in [lake]"),
        ] {
            let message = error_text("[tair]\nurl = \"redis://u:s3cret@host\"", &[(name, value)]);
            assert!(message.contains(key) && !message.contains("s3cret"), "{name}: {message}");
        }
        let message = error_text("", &[("LARDER_HTTP_TIMEOUT", "3 weeks")]);
        assert!(message.contains("3 weeks") && message.contains("`timeout`, in [http]"), "{message}");
    }

    /// A configuration with a secret in every place that can hold one.
    const WHOLE: &str = "[http]\ntimeout = \"3s\"\n\n[tair]\nurl = \"redis://u:s3cret@host\" # s3cret\n\
        namespace = 's3cret'\npool = 2\n[lake]\nurl = \"\"\"\ns3cret\"\"\"\n[log]\nlevel = \"info\"\n\
        [[keys]]\nname = \"x\"\nhash = 's3cret'\nscopes = [\n  \"features\", # s3cret\n]\n\
        [feast]\nservices = { a = [\"rfm\"] }\n";

    proptest::proptest! {
        #[test]
        fn no_typo_reveals_the_secret(
            typed in proptest::collection::vec(
                (0..WHOLE.len(), "[\"'\\[\\]={}#\n.\\\\ ax,]{0,3}", 0..3_usize),
                1..4,
            ),
        ) {
            let mut text = WHOLE.to_owned();
            for (at, new, gone) in typed {
                let range = at.min(text.len())..(at + gone).min(text.len());
                text.replace_range(range, &new);
            }
            // Part of the secret is not the secret, and the secret may have become a key name, which is
            // shown.
            let whole = text.matches("s3cret").count() == WHOLE.matches("s3cret").count();
            let name = |line: &str| {
                line.contains(['=', ']']) && line.trim_start().trim_start_matches('[').starts_with("s3cret")
            };
            let names = text.lines().any(name);
            if let (true, false, Err(error)) = (whole, names, Config::parse(&text, "x", [])) {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                let message = format!("{error}: {source:?}");
                proptest::prop_assert!(!message.contains("s3cret"), "{text}\n{message}");
            }
        }
    }

    #[test]
    fn values_of_public_sections_are_shown() {
        let message =
            error_text("[serving] # memory\n# poll = \"5s\"\nlake_reads = 3\ncache = \"12 bananas\"", &[]);
        assert!(
            message.contains("4 | cache = \"12 bananas\"") && message.contains("`12 bananas` is not a size"),
            "{message}"
        );
    }

    #[test]
    fn redaction_keeps_positions() {
        let text = "[tair]\r\nurl = \"rédis://ü\" # x\n\n[http]\nlisten = \"é\"\n[[keys]]\nhash = \"lrd_x\"";
        let expected =
            "[tair]\r\nurl = ****************\n\n[http]\nlisten = \"é\"\n[[keys]]\nhash = ********";
        let found = redacted(text);
        let lengths = |text: &str| text.split('\n').map(str::len).collect::<Vec<_>>();
        assert_eq!(lengths(&found), lengths(text));
        assert_eq!(found.replace('*', ""), expected.replace('*', ""));
    }

    #[test]
    fn values_that_look_like_keys_are_hidden() {
        for key in
            ["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AKIAIOSFODNN7EXAMPLE", "9f86d081884c7d659a2f"]
        {
            let message = error_text(&format!("[http]\ntimeout = \"{key}\""), &[]);
            assert!(!message.contains(key) && message.contains("timeout"), "{message}");
        }
        for value in ["raw/transactions/2024/", "20111209T125000Z", "2024-01-01T00:00:00+01:00"] {
            let message = error_text(&format!("[http]\ntimeout = \"{value}\""), &[]);
            assert!(message.contains(value), "{message}");
        }
    }
}
