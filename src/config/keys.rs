//! `[[keys]]`: who may read what. A key itself is never stored, only its hash.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read features, segments, lists and what they are made from.
    Features,
    /// See what is personal in them.
    Pii,
    /// Take whole lists away.
    Export,
    /// Read `/metrics`.
    Metrics,
    /// Read what is for operators, such as manifests with the names of files.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Features, Self::Pii, Self::Export, Self::Metrics, Self::Admin];

    /// The scope's name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Pii => "pii",
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
            format!("`{text}` is no scope; there are {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}

/// One of `[[keys]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// What the key is called in logs and metrics: `[a-z0-9_-]{1,64}`, each once, and not `anonymous`.
    pub name: String,
    /// `sha256:` and the 64 hex digits of the key's SHA-256, as `larder key` prints it.
    pub hash: String,
    /// What its holder may do: `features`, `pii`, `export`, `metrics`, `admin`.
    pub scopes: Vec<Scope>,
    /// Requests a second, with a burst of one second; default: as many as there come.
    pub rate: Option<NonZeroU32>,
}

/// Who has no key, in logs and metrics.
pub const ANONYMOUS: &str = "anonymous";

/// The SHA-256 of `key`. Keys are random and long, so that nobody finds one by trying; a slow hash, which is for the
/// passwords of people, would only make requests slow.
#[must_use]
pub fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

impl KeyConfig {
    /// The digest that [`KeyConfig::hash`] spells.
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

/// Whether `name` may name a key.
///
/// # Errors
/// Says what a name may be.
pub fn check_name(name: &str) -> Result<(), String> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let well_formed = (1..=64).contains(&name.len()) && name.bytes().all(letters) && name != ANONYMOUS;
    // A name is shown, and a key must not be.
    (well_formed && !name.starts_with(KEY_START)).then_some(()).ok_or_else(|| {
        format!("a key's name has 1 to 64 of the characters a-z, 0-9, _ and -, is not `{ANONYMOUS}`, and begins not with {KEY_START}")
    })
}

/// What every key begins with, so that one is known where it should not be.
pub const KEY_START: &str = "lrd_";

/// What is wrong with the first key of `keys` that is not as it should be. It does not show what was given as the hash, since that may be
/// the key itself.
pub(super) fn wrong(keys: &[KeyConfig]) -> Option<String> {
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
            return Some(format!("key {}: `scopes` is empty, it would open nothing", key.name));
        }
        if before.iter().any(|other| other.name == key.name) {
            return Some(format!("key {}: the name is taken by a key before it", key.name));
        }
        let same = before.iter().find(|other| other.digest() == key.digest())?;
        Some(format!("key {}: it is the same key as {}", key.name, same.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, hash: &str) -> KeyConfig {
        KeyConfig { name: name.to_owned(), hash: hash.to_owned(), scopes: vec![Scope::Features], rate: None }
    }

    #[test]
    fn keys_have_names_of_their_own_and_hashes() {
        let (a, b) = (format!("sha256:{}", "0a".repeat(32)), format!("sha256:{}", "0B".repeat(32)));
        assert_eq!(wrong(&[key("dashboard", &a), key("mail-2", &b)]), None);
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
            (vec![key("x", &a), key("x", &b)], "taken"),
            (vec![key("x", &a), key("y", &a.to_uppercase().replace("SHA", "sha"))], "same key as x"),
            (vec![KeyConfig { scopes: Vec::new(), ..key("x", &a) }], "empty"),
        ] {
            let why = wrong(&keys).unwrap_or_else(|| panic!("{keys:?} passes"));
            assert!(why.contains(word) && !why.contains("secret"), "{why}");
        }
    }
}
