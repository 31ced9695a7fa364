//! "Did you mean" hints for misspelled names.

/// Number of compared characters: one more than a name may have.
const LONGEST: usize = 65;

/// Returns `; did you mean a or b?` for a `word` that is not in `known`, or an empty text if no name is
/// similar.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = most_similar(word, known);
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// Returns the names in `known` that are most similar to `word`, at most three. Case is ignored.
pub fn most_similar<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).take(LONGEST).collect::<String>();
    let word = lower(word);
    let most = (word.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (strsim::osa_distance(&word, &lower(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort_unstable();
    near.dedup();
    let best = near.first().map_or(0, |(distance, _)| *distance);
    near.into_iter().filter(|(distance, _)| *distance == best).take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested() {
        let known = ["champions", "loyal", "churn_high", "churn_low"];
        assert_eq!(most_similar("champoins", known), ["champions"]);
        assert_eq!(most_similar("Loyal", known), ["loyal"]);
        assert_eq!(most_similar("churn_hig", known), ["churn_high"]);
        assert!(most_similar("whales", known).is_empty());
        assert_eq!(hint("loayl", known), "; did you mean loyal?");
    }
}
