//! Numbers with their nouns, for messages: `1 customer`, `2,000 customers`.

use indicatif::HumanCount;

/// Returns `number` with the noun `one` if it is 1, else with the plural `many`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {many}", HumanCount(number)) }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn only_one_is_singular() {
        for (number, expected) in
            [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (21, "21 entries"), (2_000, "2,000 entries")]
        {
            assert_eq!(counted(number, "entry", "entries"), expected);
        }
    }
}
