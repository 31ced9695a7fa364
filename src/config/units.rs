//! Sizes and durations in the configuration, such as `512MiB` and `250ms`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// Description of a size in error messages.
pub(super) const SIZE: &str = "a size; write e.g. 65536, 512KiB, 256MiB or 2GiB";
/// Description of a duration in error messages.
pub(super) const DURATION: &str = "a duration; write e.g. 250ms, 5s, 10m, 1h or 90d";

/// Parses a size in bytes: `65536`, `512KiB`, `256MiB`, `2GiB`; `KB`, `MB` and `GB` are powers of 1,000.
///
/// # Errors
/// A message that quotes the text.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let invalid = || format!("`{text}` is not {SIZE}");
    let (number, unit) = split(text).ok_or_else(invalid)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(invalid()),
    };
    number.checked_mul(factor).ok_or_else(invalid)
}

/// Parses a duration: `250ms`, `5s`, `10m`, `1h`, `30d`.
///
/// # Errors
/// A message that quotes the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not {DURATION}");
    let (number, unit) = split(text).ok_or_else(invalid)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(invalid()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(invalid)
}

/// Splits a text into a whole number and its unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

/// Deserializes a duration from its text.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(D::Error::custom)
}

/// Deserializes a size in bytes from a number or a text.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(u64),
        Text(String),
    }
    match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(bytes) => Ok(bytes),
        NumberOrText::Text(text) => parse_bytes(&text).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_parsed() {
        assert_eq!(parse_bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("10"), Ok(10));
        assert!(parse_bytes("1.5GiB").is_err() && parse_bytes("GiB").is_err() && parse_bytes("").is_err());
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_hours(1)));
        assert!(parse_duration("5").is_err() && parse_duration("99999999999999999999d").is_err());
    }
}
