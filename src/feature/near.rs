//! Near misses: which known name a wrong one was probably meant to be.

/// `, did you mean a or b?` for a word that is none of `known`; nothing where none is near.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = misses(word, known);
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// The names of `known` that are nearest to `word`, three at most.
pub fn misses<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).take(65).collect::<Vec<char>>();
    let word = lower(word);
    let most = (word.len() / 3).max(1);
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (distance(&word, &lower(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort_unstable();
    near.dedup();
    let best = near.first().map_or(0, |(distance, _)| *distance);
    near.into_iter().filter(|(distance, _)| *distance == best).take(3).map(|(_, name)| name).collect()
}

/// How many letters have to be put in, taken out, replaced, or swapped with their neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_found_and_no_strangers() {
        let known = ["champions", "loyal", "churn_high", "churn_low"];
        assert_eq!(misses("champoins", known), ["champions"]);
        assert_eq!(misses("Loyal", known), ["loyal"]);
        assert_eq!(misses("churn_hig", known), ["churn_high"]);
        assert!(misses("whales", known).is_empty());
        assert_eq!(hint("loayl", known), "; did you mean loyal?");
    }
}
