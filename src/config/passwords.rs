//! URLs with a password, and messages that may quote them.

/// Returns a URL without its user and password.
#[must_use]
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((_, host)) if !scheme.is_empty() => format!("{scheme}://***@{host}"),
        // A mistyped URL, such as `redis:/user:password@host`. A path may contain `@`.
        Some((user, host)) if user.contains(':') => format!("***@{host}"),
        _ => url.to_owned(),
    }
}

/// Checks whether a URL has a password.
#[must_use]
pub fn has_password(url: &str) -> bool {
    let user =
        url.rsplit_once('@').map(|(before, _)| before.split_once("://").map_or(before, |(_, user)| user));
    user.is_some_and(|user| user.contains(':'))
}

/// Returns `message` without the users and passwords of the URLs that are among its words.
#[must_use]
pub fn without_passwords(message: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`');
    let words = message.split_inclusive(is_end).map(|word| {
        let url = word.trim_end_matches(is_end);
        if has_password(url) { format!("{}{}", shown_url(url), &word[url.len()..]) } else { word.to_owned() }
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_shown_without_credentials() {
        assert_eq!(shown_url("https://u:p@ss@host/x"), "https://***@host/x");
        assert_eq!(shown_url("s3://bucket/path"), "s3://bucket/path");
        assert_eq!(shown_url("redis:/u:p@host"), "***@host");
        assert_eq!(shown_url("u:p@host"), "***@host");
        assert_eq!(shown_url("/data/a@b"), "/data/a@b");
    }

    #[test]
    fn passwords_in_messages_are_hidden() {
        let message = "error: unexpected argument 'redis://u:s3cret@host' found\n\nUsage: larder [OPTIONS]\n";
        let shown = "error: unexpected argument 'redis://***@host' found\n\nUsage: larder [OPTIONS]\n";
        assert_eq!(without_passwords(message), shown);
        assert!(has_password("redis://:pw@host") && has_password("redis:/u:pw@host"));
        assert!(!has_password("redis://user@host") && !has_password("redis://host:6379"));
    }
}
