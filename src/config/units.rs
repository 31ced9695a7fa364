//! Sizes and durations as people write them.

use std::time::Duration;

/// A number of bytes: `65536`, `512KiB`, `256MiB`, `2GiB`, also `KB`, `MB`, `GB` for powers of 1,000.
///
/// # Errors
/// A sentence that shows the text.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write e.g. 65536, 512KiB, 256MiB or 2GiB");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A duration: `250ms`, `5s`, `10m`, `1h`, `30d`.
///
/// # Errors
/// A sentence that shows the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write e.g. 250ms, 5s, 10m, 1h or 90d");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(parse_bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("10"), Ok(10));
        assert!(parse_bytes("1.5GiB").is_err() && parse_bytes("GiB").is_err() && parse_bytes("").is_err());
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_hours(1)));
        assert!(parse_duration("5").is_err() && parse_duration("99999999999999999999d").is_err());
    }
}
