//! `[[keys]]`: API keys and their scopes. Only the hash of a key is stored, never the key.

use std::{fmt, num::NonZeroU32, str::FromStr};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, de::Error};
use sha2::{Digest, Sha256};

/// A permission of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read features, segments, rankings and descriptions of views and models.
    Features,
    /// Read personal values unmasked.
    Pii,
    /// Read email addresses and phone numbers as hashes in exports.
    Match,
    /// Export whole lists.
    Export,
    /// Read `/metrics`.
    Metrics,
    /// Read details for operators, such as manifests with file names.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 6] =
        [Self::Features, Self::Pii, Self::Match, Self::Export, Self::Metrics, Self::Admin];

    /// Returns the name of the scope in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Pii => "pii",
            Self::Match => "match",
            Self::Export => "export",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or_else(|| {
            format!("unknown scope `{text}`; known scopes are {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}

/// One entry of `[[keys]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Unique name of the key in logs and metrics: `[a-z0-9_-]{1,64}`, but not `anonymous`.
    ///
    /// Required. Example: `"dashboard"`.
    pub name: String,
    /// SHA-256 hash of the key as `larder key` prints it: `sha256:` and 64 hex digits.
    ///
    /// Required.
    /// Example: `"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`.
    pub hash: String,
    /// Scopes of the key: `features`, `pii`, `match`, `export`, `metrics`, `admin`.
    ///
    /// Required. Example: `["features", "metrics"]`.
    pub scopes: Vec<Scope>,
    /// Rate limit of the key, with a burst of one second. A batch, a page or an export counts as its number
    /// of customers, any other request as one. A request beyond the burst is answered, and further requests
    /// get 429 until that one is paid for.
    ///
    /// Default: unlimited. Unit: customers per second. Example: `1000`.
    pub rate: Option<NonZeroU32>,
    /// Time (RFC 3339) or date (its midnight in UTC) from which the key is refused.
    ///
    /// Default: never. Example: `"2027-01-31"`.
    #[serde(default, deserialize_with = "instant")]
    pub not_after: Option<DateTime<Utc>>,
}

/// Reads a time in RFC 3339 or a date, as text or as a TOML value.
fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let written = toml::Value::deserialize(from)?;
    let text = match &written {
        toml::Value::String(text) => text.clone(),
        toml::Value::Datetime(time) => time.to_string(),
        _ => String::new(),
    };
    let time = parse_instant(&text).ok_or_else(|| {
        Error::custom("expected a time such as 2027-01-31T18:00:00Z, or a date such as 2027-01-31")
    })?;
    Ok(Some(time))
}

/// Parses a time in RFC 3339, or a date, which stands for its midnight in UTC.
#[must_use]
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    let midnight = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(midnight)
}

/// Name of callers without a key in logs and metrics.
pub const ANONYMOUS: &str = "anonymous";

/// Returns the SHA-256 digest of `key`. A fast hash is enough because keys are long and random; a slow
/// password hash would only slow requests down.
#[must_use]
pub fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Returns the hash of `key` in the form of [`KeyConfig::hash`].
#[must_use]
pub fn key_hash(key: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(key))
}

impl KeyConfig {
    /// Returns the digest in [`KeyConfig::hash`], or `None` if the hash is malformed.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        let digits = self.hash.strip_prefix("sha256:")?;
        let mut digest = [0; 32];
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        Some(digest)
    }
}

/// Checks the name of a key.
///
/// # Errors
/// A message with the rules for names.
pub fn check_name(name: &str) -> Result<(), String> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let well_formed = (1..=64).contains(&name.len()) && name.bytes().all(letters) && name != ANONYMOUS;
    // Names appear in logs; a key pasted as its own name must not.
    if well_formed && !name.starts_with(KEY_START) {
        return Ok(());
    }
    Err(format!(
        "a key name has 1 to 64 of the characters a-z, 0-9, _ and -, is not `{ANONYMOUS}`, and does \
         not begin with {KEY_START}"
    ))
}

/// Prefix of every key, by which a leaked key is recognized.
pub const KEY_START: &str = "lrd_";

/// Returns a message about the first invalid entry of `keys`. The message does not quote the hash, since the
/// configured value may be the key itself.
pub(super) fn invalid_key(keys: &[KeyConfig]) -> Option<String> {
    keys.iter().enumerate().find_map(|(at, key)| {
        let before = &keys[..at];
        if let Err(why) = check_name(&key.name) {
            return Some(format!("key {}: {why}", at + 1));
        }
        if key.digest().is_none() {
            let form = "`hash` must be sha256: and 64 hex digits, as `larder key` prints it";
            return Some(format!("key {}: {form}", key.name));
        }
        if key.scopes.is_empty() {
            return Some(format!("key {}: `scopes` is empty", key.name));
        }
        if before.iter().any(|other| other.name == key.name) {
            return Some(format!("key {}: an earlier key has the same name", key.name));
        }
        let same = before.iter().find(|other| other.digest() == key.digest())?;
        Some(format!("key {}: same key as {}", key.name, same.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, hash: &str) -> KeyConfig {
        KeyConfig {
            name: name.to_owned(),
            hash: hash.to_owned(),
            scopes: vec![Scope::Features],
            rate: None,
            not_after: None,
        }
    }

    #[test]
    fn keys_need_unique_names_and_valid_hashes() {
        let (a, b) = (format!("sha256:{}", "0a".repeat(32)), format!("sha256:{}", "0B".repeat(32)));
        assert_eq!(invalid_key(&[key("dashboard", &a), key("mail-2", &b)]), None);
        assert_eq!(key("x", &b).digest(), Some([0x0b; 32]));
        let long = "x".repeat(65);
        for (keys, word) in [
            (vec![key("", &a)], "1 to 64"),
            (vec![key("Upper", &a)], "1 to 64"),
            (vec![key(&long, &a)], "1 to 64"),
            (vec![key(ANONYMOUS, &a)], "anonymous"),
            (vec![key("lrd_secret", &a)], "1 to 64"),
            (vec![key("x", "lrd_secret")], "64 hex"),
            (vec![key("x", &a[..70])], "64 hex"),
            (vec![key("x", &format!("sha256:{}", "é".repeat(32)))], "64 hex"),
            (vec![key("x", &a), key("x", &b)], "same name"),
            (vec![key("x", &a), key("y", &a.to_uppercase().replace("SHA", "sha"))], "same key as x"),
            (vec![KeyConfig { scopes: Vec::new(), ..key("x", &a) }], "empty"),
        ] {
            let why = invalid_key(&keys).unwrap_or_else(|| panic!("{keys:?} passes"));
            assert!(why.contains(word) && !why.contains("secret"), "{why}");
        }
    }
}
