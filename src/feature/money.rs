//! Exact decimal text of money amounts, with up to four decimals.

/// Formats ten-thousandths as a decimal number without trailing zeros: `52886300` becomes `5288.63`.
#[must_use]
pub fn money(ten_thousandths: i128) -> String {
    let sign = if ten_thousandths < 0 { "-" } else { "" };
    let (whole, rest) = (ten_thousandths.unsigned_abs() / 10_000, ten_thousandths.unsigned_abs() % 10_000);
    let text = format!("{sign}{whole}.{rest:04}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_without_trailing_zeros() {
        let texts = [52_886_300, 0, -5, 10_000, 1_200, -123_456, 1_000_000].map(money);
        assert_eq!(texts, ["5288.63", "0", "-0.0005", "1", "0.12", "-12.3456", "100"]);
        assert_eq!(money(i128::MIN), "-17014118346046923173168730371588410.5728");
    }
}
