//! Values of settings as they may be shown: without passwords and keys.

use toml::Value;

use super::{
    keys::KEY_START,
    passwords::{has_password, shown_url},
    secrets::is_key_like,
};

/// Stands for a secret.
const STARS: &str = "***";

/// Returns the value of the setting `path`, such as `tair.url` or `keys[0].hash`, without secrets.
#[must_use]
pub fn without_secrets(path: &str, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(shown_text(path, text)),
        Value::Array(list) => Value::Array(list.iter().map(|value| without_secrets(path, value)).collect()),
        Value::Table(table) => {
            let shown = |(key, value): (&String, &Value)| {
                (key.clone(), without_secrets(&format!("{path}.{key}"), value))
            };
            Value::Table(table.iter().map(shown).collect())
        }
        other => other.clone(),
    }
}

fn shown_text(path: &str, text: &str) -> String {
    let is_hash = path.starts_with("keys[") && path.rsplit('.').next() == Some("hash");
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c));
    if is_hash || text.contains(KEY_START) {
        return STARS.to_owned();
    }
    let shown = if text.contains("://") || has_password(text) { shown_url(text) } else { text.to_owned() };
    if shown == text && words.any(is_key_like) { STARS.to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_starred_wherever_they_are() {
        let shown = |path: &str, text: &str| without_secrets(path, &Value::from(text)).to_string();
        assert_eq!(shown("tair.url", "rediss://larder:s3cret@host:6379"), "\"rediss://***@host:6379\"");
        assert_eq!(shown("lake.url", "redis:/u:s3cret@host"), "\"***@host\"");
        assert_eq!(shown("keys[0].hash", "sha256:00"), "\"***\"");
        assert_eq!(shown("keys[0].name", "lrd_s3cret"), "\"***\"");
        assert_eq!(shown("http.timeout", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "\"***\"");
        assert_eq!(shown("http.listen", "127.0.0.1:8080"), "\"127.0.0.1:8080\"");
        assert_eq!(shown("lake.url", "s3://bucket/path"), "\"s3://bucket/path\"");
        let list = Value::Array(vec![Value::from("a://u:p@h")]);
        assert_eq!(without_secrets("x.y", &list).to_string(), "[\"a://***@h\"]");
    }
}
