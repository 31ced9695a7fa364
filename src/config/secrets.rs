//! The parts of a wrong configuration that are shown: names and places, and no value that may be secret.
//!
//! URLs hold passwords, somebody may have put a key where its hash belongs, and a mistake may be a value in
//! the wrong place. So it is said which sections are harmless, and of all others only the names are shown.

use std::{fmt, ops::Range};

use super::keys::KEY_START;

/// The sections whose values are shown.
const HARMLESS: [&str; 10] =
    ["http", "serving", "raw", "views", "recommendations", "build", "churn", "audiences", "feast", "log"];
/// A value that is not shown even there, since it stands in the wrong section.
const SECRET: [&str; 10] =
    ["tair", "lake", "keys", "url", "hash", "endpoint", "password", "secret", "namespace", "scopes"];

/// The marks that texts of several lines begin and end with.
const TEXTS: [&str; 2] = ["\"\"\"", "'''"];

/// A mistake in a TOML text, with its place.
#[derive(Debug)]
pub struct Mistake(String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

impl Mistake {
    /// Of `error` in `text`, which is no TOML. The parser's words hold nothing of the text.
    pub(super) fn of_form(text: &str, error: toml::de::Error) -> Self {
        let message = error.message().to_owned();
        Self::at_its_place(text, error, &message)
    }

    /// Of `error` in `text`, which sets what does not exist, or to what it cannot be.
    pub(super) fn of_content(text: &str, error: toml::de::Error) -> Self {
        let message = message(text, &error);
        Self::at_its_place(text, error, &message)
    }

    fn at_its_place(text: &str, mut error: toml::de::Error, message: &str) -> Self {
        let above = error.span().and_then(|span| key_above(text, span.start));
        error.set_input(Some(&hidden(text)));
        let shown = error.to_string();
        let place = shown.rfind(error.message()).map_or("", |at| &shown[..at]);
        let above = above.map(|(key, line)| format!("; the value of `{key}` begins in line {line}"));
        Self(format!("{place}{message}{}", above.unwrap_or_default()))
    }

    /// Of `error` in `text`, which was put together from the environment and has no lines that anybody knows.
    pub(super) fn of_environment(text: &str, error: &toml::de::Error) -> Self {
        let message = message(text, error);
        let section = error.span().and_then(|span| section_at(text, &span)).unwrap_or_default();
        Self(if section.is_empty() { message } else { format!("{message}, in [{section}]") })
    }
}

/// A URL without the user and the password in it.
#[must_use]
pub fn shown_url(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
    parts.map_or_else(|| url.to_owned(), |(scheme, rest)| format!("{scheme}://***@{rest}"))
}

/// The message of `error`, without the value where that is hidden, and with the name of the key whose value
/// it is about.
fn message(text: &str, error: &toml::de::Error) -> String {
    let hidden = hidden(text);
    let is_shown = |span: &Range<usize>| line_at(text, span) == line_at(&hidden, span);
    let message = match error.span() {
        Some(span) if is_shown(&span) => error.message().to_owned(),
        _ => without_value(error.message()),
    };
    match error.span().and_then(|span| key_before(text, span.start)) {
        Some(key) => format!("{message}; the key is `{key}`"),
        None => message,
    }
}

/// A message without the value that it quotes.
fn without_value(message: &str) -> String {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_bare);
    let quoted = |start: &str| message.strip_prefix(start)?.split_once('`').map(|(name, _)| name);
    let field = ["unknown field `", "missing field `", "duplicate field `"].into_iter().find_map(quoted);
    if field.is_some_and(is_name) || !message.contains(['`', '"', '\'']) {
        return message.to_owned();
    }
    if let Some((_, kind)) = message.rsplit_once("` is no ") {
        return format!("the value is no {kind}");
    }
    let known =
        ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant ", "unknown field "];
    match message.rsplit_once(", expected ") {
        Some((value, expected)) if known.iter().any(|start| value.starts_with(start)) => {
            let kind = value.split(['`', '"', '\'']).next().unwrap_or_default();
            format!("{}, expected {expected}", kind.trim_end())
        }
        _ => "the value cannot be used".to_owned(),
    }
}

/// The name of the key whose value begins at `at`.
fn key_before(text: &str, at: usize) -> Option<&str> {
    let line = text.get(..at)?.rsplit('\n').next()?;
    let key = line.trim_end().strip_suffix('=')?.trim_end();
    let start = key.bytes().rposition(|byte| !is_bare(byte)).map_or(0, |at| at + 1);
    Some(&key[start..]).filter(|key| !key.is_empty())
}

/// The key whose value goes on in the line of `at`, and the number of the line where it begins.
fn key_above(text: &str, at: usize) -> Option<(&str, usize)> {
    let end = text.get(at..)?.find('\n').map_or(text.len(), |end| at + end);
    let mut lines = Lines::default();
    let here = text[..end].split('\n').map(|line| lines.next(line)).count();
    lines.key.filter(|(_, line)| *line < here)
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The line that `span` begins in.
fn line_at<'a>(text: &'a str, span: &Range<usize>) -> Option<&'a [u8]> {
    let (before, after) = text.as_bytes().split_at_checked(span.start)?;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
    Some(&text.as_bytes()[start..span.start + end])
}

/// The section that `span` begins in.
fn section_at<'a>(text: &'a str, span: &Range<usize>) -> Option<&'a str> {
    let end = text[span.start.min(text.len())..].find('\n').map_or(text.len(), |at| span.start + at);
    text[..end].lines().rev().find_map(|line| header(line.trim()))
}

/// `text` with stars in place of all values that may be secret, byte for byte, so that every place in it
/// stays.
fn hidden(text: &str) -> String {
    let mut lines = Lines::default();
    text.split('\n').map(|line| lines.next(line)).collect::<Vec<_>>().join("\n")
}

/// The state of a text, line by line. In doubt a line is hidden.
#[derive(Debug, Default)]
struct Lines<'a> {
    number: usize,
    section: &'a str,
    /// The last key of the section, and the number of its line.
    key: Option<(&'a str, usize)>,
    /// Whether the value of the last key is hidden, which may go on for some lines.
    hides: bool,
    /// The mark that ends the text of several lines that has begun.
    until: Option<&'static str>,
}

impl<'a> Lines<'a> {
    fn next(&mut self, line: &'a str) -> String {
        self.number += 1;
        let inside = self.until.is_some();
        self.note_texts(line);
        match header(line.trim()) {
            // What stands in a text is no header, but nothing that follows should be shown because of an
            // odd quote.
            Some(section) if !inside || !is_harmless(section) => {
                (self.section, self.key) = (section, None);
                self.hides = !is_harmless(section);
            }
            // A section whose name was mistyped, and perhaps no section at all.
            _ if !inside && begins_section(line) => {
                (self.section, self.key) = ("?", None);
                self.hides = true;
            }
            _ => {}
        }
        if let Some(key) = key_of(line).filter(|_| !inside) {
            self.key = Some((key, self.number));
            let section = if self.section.is_empty() { key } else { self.section };
            self.hides = !is_harmless(section) || holds_secret(line);
        }
        let first = self.section.is_empty() && !inside && key_of(line).is_none();
        if self.hides || first || holds_secret(line) { stars(line, inside) } else { line.to_owned() }
    }

    /// Notes where texts of several lines begin and end.
    fn note_texts(&mut self, line: &str) {
        let mut rest = line;
        loop {
            let find = |mark: &'static str| rest.find(mark).map(|at| (at, mark));
            let found = self.until.map_or_else(|| TEXTS.into_iter().filter_map(find).min(), find);
            let Some((at, mark)) = found else { return };
            self.until = if self.until.is_some() { None } else { Some(mark) };
            rest = &rest[at + mark.len()..];
        }
    }
}

/// The name in a line that begins a section, and nothing else.
fn header(line: &str) -> Option<&str> {
    let inner = line.split('#').next()?.trim().strip_prefix('[')?.strip_suffix(']')?;
    let name = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(inner).trim();
    (!name.is_empty() && name.bytes().all(is_bare)).then_some(name)
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name.split('.').next().unwrap_or_default())
}

/// Whether `line` may have been meant to begin a section, or have swallowed such a line.
fn begins_section(line: &str) -> bool {
    let no_key = key_of(line).is_none() && !line.trim_start().starts_with('#');
    let odd = no_key && (line.contains('=') || holds_secret(line));
    line.trim_start().starts_with('[') || odd || (holds_secret(line) && line.contains('['))
}

/// The key that `line` begins with.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    Some(key.trim()).filter(|key| !key.is_empty() && key.bytes().all(is_bare))
}

/// Whether `line` holds what is hidden in every section.
fn holds_secret(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let user = line.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    user || line.contains(KEY_START) || words.any(|word| SECRET.contains(&word))
}

/// `line` with stars for all but the name of a section or a key at its start.
fn stars(line: &str, inside: bool) -> String {
    let kept = if inside { 0 } else { name_length(line) };
    let star = |byte| if byte == b'\r' { '\r' } else { '*' };
    let (name, value) = line.split_at(kept);
    name.chars().chain(value.bytes().map(star)).collect()
}

/// How much of `line` is a name and what belongs to it: `[[keys]]`, `url = `, also where the `=` was left
/// out.
fn name_length(line: &str) -> usize {
    let indent = line.len() - line.trim_start().len();
    let rest = &line[indent..];
    if rest.starts_with('[') {
        let name = rest.bytes().take_while(|byte| is_bare(*byte) || *byte == b'[').count();
        let end = rest[name..].bytes().take_while(|byte| *byte == b']').count();
        let word = rest[..name].trim_start_matches('[');
        let whole =
            end > 0 || (rest.trim_end().len() == name && (is_harmless(word) || SECRET.contains(&word)));
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

    /// Everything that is said of a wrong text.
    fn told(text: &str, vars: &[(&str, &str)]) -> String {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let error = Config::parse(text, "larder.toml", vars).expect_err(text);
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let told: Vec<String> = causes.map(ToString::to_string).collect();
        format!("{}\n{error:?}", told.join(": "))
    }

    #[test]
    fn a_mistake_is_told_by_its_key_and_line_and_without_the_secret() {
        for (text, key, line) in [
            ("[tair]\nurl = \"redis://u:s3cret@host\"\npoool = 3", "poool", 3),
            ("[tair]\nurll = \"redis://u:s3cret@host\"", "urll", 2),
            ("[tair]\npool = \"s3cret\"", "pool", 2),
            ("[tair]\npool = \"a, expected s3cret\"", "pool", 2),
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
            let told = told(text, &[]);
            assert!(!told.contains("s3cret"), "{text}\n{told}");
            assert!(told.contains(key) && told.contains(&format!("line {line},")), "{text}\n{told}");
        }
    }

    #[test]
    fn a_variable_of_the_wrong_kind_is_told_without_its_value() {
        for (name, value, key) in [
            ("LARDER_TAIR_POOL", "s3cret", "`pool`, in [tair]"),
            ("LARDER_TAIR_TIMEOUT", "s3cret", "`timeout`, in [tair]"),
            ("LARDER_LAKE_RESOLVE", "s3cret", "`resolve`, in [lake]"),
            ("LARDER_LAKE_PATH_STYLE", "s3cret", "`path_style`, in [lake]"),
        ] {
            let told = told("[tair]\nurl = \"redis://u:s3cret@host\"", &[(name, value)]);
            assert!(told.contains(key) && !told.contains("s3cret"), "{name}: {told}");
        }
        let told = told("", &[("LARDER_HTTP_TIMEOUT", "3 weeks")]);
        assert!(told.contains("3 weeks") && told.contains("`timeout`, in [http]"), "{told}");
    }

    /// A configuration with a secret in each place that may hold one.
    const WHOLE: &str = "[http]\ntimeout = \"3s\"\n\n[tair]\nurl = \"redis://u:s3cret@host\" # s3cret\nnamespace = 's3cret'\n\
        pool = 2\n[lake]\nurl = \"\"\"\ns3cret\"\"\"\n[log]\nlevel = \"info\"\n[[keys]]\nname = \"x\"\nhash = 's3cret'\n\
        scopes = [\n  \"features\", # s3cret\n]\n[feast]\nservices = { a = [\"rfm\"] }\n";

    proptest::proptest! {
        #[test]
        fn whatever_was_mistyped_the_secret_is_not_told(
            typed in proptest::collection::vec((0..WHOLE.len(), "[\"'\\[\\]={}#\n.\\\\ ax,]{0,3}", 0..3_usize), 1..4),
        ) {
            let mut text = WHOLE.to_owned();
            for (at, new, gone) in typed {
                let range = at.min(text.len())..(at + gone).min(text.len());
                text.replace_range(range, &new);
            }
            // Half a secret is none, and a name that it was made is one.
            let whole = text.matches("s3cret").count() == WHOLE.matches("s3cret").count();
            let name = |line: &str| line.contains(['=', ']']) && line.trim_start().trim_start_matches('[').starts_with("s3cret");
            let names = text.lines().any(name);
            if let (true, false, Err(error)) = (whole, names, Config::parse(&text, "x", [])) {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                let told = format!("{error}: {source:?}");
                proptest::prop_assert!(!told.contains("s3cret"), "{text}\n{told}");
            }
        }
    }

    #[test]
    fn what_is_harmless_is_shown() {
        let told = told("[serving] # memory\n# poll = \"5s\"\nlake_reads = 3\ncache = \"12 bananas\"", &[]);
        assert!(
            told.contains("4 | cache = \"12 bananas\"") && told.contains("`12 bananas` is no size"),
            "{told}"
        );
    }

    #[test]
    fn every_place_stays_the_same() {
        let text = "[tair]\r\nurl = \"rédis://ü\" # x\n\n[http]\nlisten = \"é\"\n[[keys]]\nhash = \"lrd_x\"";
        let expected =
            "[tair]\r\nurl = ****************\n\n[http]\nlisten = \"é\"\n[[keys]]\nhash = ********";
        let found = hidden(text);
        let lengths = |text: &str| text.split('\n').map(str::len).collect::<Vec<_>>();
        assert_eq!(lengths(&found), lengths(text));
        assert_eq!(found.replace('*', ""), expected.replace('*', ""));
    }

    #[test]
    fn a_url_is_shown_without_its_user() {
        assert_eq!(shown_url("https://u:p@ss@host/x"), "https://***@host/x");
        assert_eq!(shown_url("s3://bucket/path"), "s3://bucket/path");
    }
}
