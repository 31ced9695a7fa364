//! Parser of amounts of money with currency signs and accounting signs.

use super::value::{NotNumber, NumberRule, trimmed, without_sign};

impl NumberRule {
    /// Parses an amount of money as [`Self::price`] does, also with a currency sign (`$12.00`, `12,00 €`) or
    /// with the accounting forms of a negative number (`(12.00)`, `12.00-`). Returns the amount and the sign.
    ///
    /// # Errors
    /// Fails if the text is not such an amount.
    #[inline]
    pub(crate) fn money(self, text: &str) -> Result<(i64, &str), NotNumber> {
        match self.price(text) {
            Ok(price) => Ok((price, "")),
            Err(_) => self.signed_money(trimmed(text)),
        }
    }

    fn signed_money(self, text: &str) -> Result<(i64, &str), NotNumber> {
        let (text, outer) = without_sign(text).unwrap_or((text, false));
        let (text, currency) = without_currency(text);
        let (text, inner) = match without_sign(text) {
            Some(_) if outer => return Err(NotNumber::Form),
            Some(found) => found,
            None => (text, false),
        };
        let price = self.price(text)?;
        if (outer || inner) && price < 0 {
            return Err(NotNumber::Form);
        }
        Ok((if outer || inner { -price } else { price }, currency))
    }
}

/// Signs and common abbreviations of currencies. A sign may follow letters, as in `US$`.
const SIGNS: [char; 16] = ['$', '€', '£', '¥', '₹', '₩', '₽', '₺', '₫', '฿', '₴', '₦', '₪', '₱', '₡', '￥'];
const ABBREVIATIONS: [&str; 40] = [
    "USD", "EUR", "GBP", "JPY", "CNY", "RMB", "INR", "KRW", "RUB", "TRY", "BRL", "MXN", "CAD", "AUD", "NZD",
    "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON", "BGN", "HKD", "TWD", "SGD", "THB", "IDR", "MYR",
    "PHP", "VND", "ZAR", "AED", "SAR", "ILS", "kr", "zł", "Kč", "元",
];

/// Splits the currency before or after a number from the number.
fn without_currency(text: &str) -> (&str, &str) {
    let is_number =
        |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '−' | '+' | '(' | ')' | '\'');
    let is_currency = |name: &str| {
        ABBREVIATIONS.contains(&name)
            || name.strip_suffix(SIGNS).is_some_and(|letters| {
                letters.len() <= 3 && letters.bytes().all(|byte| byte.is_ascii_uppercase())
            })
    };
    let start = text.find(is_number).unwrap_or(0);
    let before = text[..start].trim_end();
    if is_currency(before) {
        return (&text[start..], before);
    }
    let end = text.rmatch_indices(is_number).next().map_or(text.len(), |(at, last)| at + last.len());
    let after = text[end..].trim_start();
    if before.is_empty() && is_currency(after) { (&text[..end], after) } else { (text, "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_may_have_a_currency_or_an_accounting_sign() {
        let english = NumberRule { decimal: Some(b'.'), thousands: Some(b',') };
        let german = NumberRule { decimal: Some(b','), thousands: Some(b'.') };
        for (text, money, currency) in [
            ("$1,234.50", 12_345_000, "$"),
            ("US$ 12", 120_000, "US$"),
            ("EUR 12.5", 125_000, "EUR"),
            ("(12.00)", -120_000, ""),
            ("($12.00)", -120_000, "$"),
            ("$(12.00)", -120_000, "$"),
            ("12.00-", -120_000, ""),
            ("-£12", -120_000, "£"),
            ("£-12", -120_000, "£"),
            ("+12", 120_000, ""),
            ("−12.50", -125_000, ""),
            ("−$12", -120_000, "$"),
            ("12−", -120_000, ""),
            ("€ −12", -120_000, "€"),
            ("12− €", -120_000, "€"),
        ] {
            assert_eq!(english.money(text), Ok((money, currency)), "{text}");
        }
        assert_eq!(german.money("1.234,50 €"), Ok((12_345_000, "€")));
        assert_eq!(german.money("12,00- €"), Ok((-120_000, "€")));
        assert_eq!(german.money("99 kr"), Ok((990_000, "kr")));
        for text in ["12O", "12abc", "€", "", "--12", "(-12)", "(12)-", "-12-", "$12€", "12 mm", "1 2 $"]
        {
            assert_eq!(english.money(text), Err(NotNumber::Form), "{text}");
        }
        let french = NumberRule { decimal: Some(b','), thousands: Some(b' ') };
        for text in ["1 234,50 €", "1\u{a0}234,50\u{a0}€", "1\u{202f}234,50\u{202f}€", "1\u{2009}234,50"]
        {
            assert_eq!(french.money(text).map(|(money, _)| money), Ok(12_345_000), "{text}");
        }
        assert_eq!(french.money("−1\u{202f}234,50"), Ok((-12_345_000, "")));
        let swiss = NumberRule { decimal: Some(b'.'), thousands: Some(b'\'') };
        assert_eq!(swiss.money("CHF 1’234.50"), Ok((12_345_000, "CHF")));
        assert_eq!(english.quantity("(12)", 100), Ok(-12));
        assert_eq!(english.quantity("−12", 100), Ok(-12));
        assert_eq!(english.quantity("12-", 100), Ok(-12));
        for text in ["$12", "(-5)", "--5", "-5-", "−-5", "(5)-", "-9223372036854775808-"] {
            assert_eq!(english.quantity(text, 100), Err(NotNumber::Form), "{text}");
        }
    }
}
