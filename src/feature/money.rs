//! Exact decimal text of money amounts, with up to four decimals.

/// Formats ten-thousandths as a decimal number without trailing zeros: `52886300` becomes `5288.63`.
#[must_use]
pub fn money(ten_thousandths: i128) -> String {
    let sign = if ten_thousandths < 0 { "-" } else { "" };
    let (whole, rest) = (ten_thousandths.unsigned_abs() / 10_000, ten_thousandths.unsigned_abs() % 10_000);
    let text = format!("{sign}{whole}.{rest:04}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a decimal number with up to four decimals as ten-thousandths; `None` for any other text.
#[must_use]
pub fn ten_thousandths(text: &str) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 4 || !is_number {
        return None;
    }
    let amount: i128 = format!("{whole}{decimals:0<4}").parse().ok()?;
    Some(if is_negative { -amount } else { amount })
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

    #[test]
    fn money_is_read_back() {
        for amount in [52_886_300, 0, -5, 10_000, 1_200, -123_456, 1_000_000] {
            assert_eq!(ten_thousandths(&money(amount)), Some(amount));
        }
        assert_eq!([ten_thousandths("5.0"), ten_thousandths("1.23456")], [Some(50_000), None]);
        assert_eq!(["", "-", ".5", "1e3", "+1", "null"].map(ten_thousandths), [None; 6]);
    }
}
