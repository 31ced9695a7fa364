//! "Did you mean" hints for misspelled names.

/// Number of compared characters: one more than a name may have.
const LONGEST: usize = 65;
/// Greatest number of edits between a word and a similar name. It bounds the cost of a comparison: only the
/// cells near the diagonal of the table of edits are computed.
const MOST_EDITS: usize = 4;

/// Returns `; did you mean a or b?` for a `word` that is not in `known`, or an empty text if no name is
/// similar.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = most_similar(word, known);
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// Returns the names in `known` that are most similar to `word`, at most three. Case is ignored.
pub fn most_similar<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).take(LONGEST).collect::<Vec<char>>();
    let word = lower(word);
    let most = (word.len() / 3).clamp(1, MOST_EDITS);
    let mut near: Vec<(usize, &str)> =
        known.into_iter().filter_map(|name| Some((edits(&word, &lower(name), most)?, name))).collect();
    near.sort_unstable();
    near.dedup();
    let best = near.first().map_or(0, |(distance, _)| *distance);
    near.into_iter().filter(|(distance, _)| *distance == best).take(3).map(|(_, name)| name).collect()
}

/// Returns the number of insertions, deletions, substitutions and swaps of neighbors between `a` and `b`
/// (the optimal string alignment distance); `None` if there are more than `most`.
fn edits(a: &[char], b: &[char], most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let far = most + 1;
    let mut before = vec![far; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).map(|at| at.min(far)).collect();
    let mut row = vec![far; b.len() + 1];
    for (i, from) in a.iter().enumerate() {
        let (first, end) = ((i + 1).saturating_sub(most).max(1), (i + 1 + most).min(b.len()));
        row.fill(far);
        row[0] = (i + 1).min(far);
        for j in first..=end {
            let to = b[j - 1];
            let replaced = last[j - 1] + usize::from(*from != to);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 0 && j > 1 && a[i - 1] == to && *from == b[j - 2] {
                least = least.min(before[j - 2] + 1);
            }
            row[j] = least.min(far);
        }
        if row.iter().chain(&last).all(|edits| *edits > most) {
            return None;
        }
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    match last.last() {
        Some(edits) if *edits <= most => Some(*edits),
        _ => None,
    }
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

    #[test]
    fn edits_are_those_of_the_full_table_up_to_the_limit() {
        let words =
            ["", "a", "ab", "ba", "abc", "acb", "loyal", "loayl", "champions", "champoins", "campion"];
        for (a, b) in words.iter().flat_map(|a| words.iter().map(move |b| (*a, *b))) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let full = strsim::osa_distance(a, b);
            for most in 0..6 {
                let expected = if full <= most { Some(full) } else { None };
                assert_eq!(edits(&chars(a), &chars(b), most), expected, "{a} {b} {most}");
            }
        }
    }
}
