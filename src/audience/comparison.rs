//! Comparison of an audience with all customers, feature by feature: how strongly the values of the members
//! differ.
//!
//! Numbers and times are compared by their means, in standard deviations over all customers. Texts and
//! booleans are compared by the shares of their values; the strength is Cohen's w, the root of the squared
//! differences of shares, each divided by the share of all customers. The sum that random members of the same
//! number would have is subtracted first, since it grows with the number of values.

use std::collections::BTreeMap;

use super::{
    bitmap::Bitmap,
    column::{ColumnKind, ColumnValues, FeatureColumn, integers, wide},
};

/// Number of values of a text that are compared one by one, the most frequent ones.
const MAX_VALUES: usize = 1_000;
/// Least number of customers with a value that is compared one by one; fewer say little about a share.
const FEW: usize = 10;

/// A feature of an audience and of all customers.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureComparison {
    /// How strongly the feature distinguishes the members; 0 if it does not.
    pub strength: f64,
    /// Number of members without a value.
    pub null: usize,
    /// Number of customers without a value.
    pub null_all: usize,
    /// Values of the feature.
    pub values: ComparedValues,
}

/// Values of a compared feature.
#[derive(Debug, Clone, PartialEq)]
pub enum ComparedValues {
    /// Mean of a number or a time.
    Mean(ComparedMean),
    /// Counts by value, by the ratio of the shares, greatest first.
    Shares(Vec<ComparedShare>),
}

/// Means of a number or a time.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedMean {
    /// Difference of the means in standard deviations over all customers.
    pub difference: f64,
    /// Mean of the members and of all customers as JSON: numbers, or times to the second.
    pub means: [String; 2],
}

/// Counts of one value.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedShare {
    /// The value as JSON.
    pub value: String,
    /// Number of members with the value.
    pub customers: usize,
    /// Number of customers with the value.
    pub customers_all: usize,
}

/// The sizes of an audience and of the group of all customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparedSizes {
    /// Number of members.
    pub members: usize,
    /// Number of customers.
    pub all: usize,
}

/// Checks whether there are fewer than `least` `members`, or as few other customers among `all`. None are not
/// few.
#[must_use]
pub fn tells_few(members: usize, all: usize, least: usize) -> bool {
    [members, all - members.min(all)].iter().any(|count| (1..least).contains(count))
}

/// Count, sum and sum of squares of some values.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Moments {
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    fn mean(self) -> f64 {
        self.sum / self.count as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "a variance")]
    fn deviation(self) -> f64 {
        (self.squares / self.count as f64 - self.mean() * self.mean()).max(0.0).sqrt()
    }
}

impl FeatureComparison {
    /// Compares `members` with `all` customers, of whom they are a part. Returns `None` if no member or no
    /// customer has a value, or if the feature is a list.
    #[must_use]
    pub fn of(column: &FeatureColumn, members: &Bitmap, all: &Bitmap) -> Option<Self> {
        let null = members.count_common(&column.nulls);
        let null_all = all.count_common(&column.nulls);
        let (strength, values) = match column.kind {
            ColumnKind::Decimal(_) | ColumnKind::Float | ColumnKind::Time(_) => {
                let mean = ComparedMean::of(column, members, all)?;
                (mean.difference.abs(), ComparedValues::Mean(mean))
            }
            ColumnKind::Text(_) | ColumnKind::Boolean => {
                let sizes = ComparedSizes { members: members.count(), all: all.count() };
                let (strength, shares) = shares(column, members, all, sizes)?;
                (strength, ComparedValues::Shares(shares))
            }
            ColumnKind::List(_) | ColumnKind::Nested => return None,
        };
        strength.is_finite().then_some(Self { strength, null, null_all, values })
    }

    /// Withholds counts of fewer than `least` members, or of as few other customers. Returns `None` if
    /// nothing is left, or if the number of values tells about few customers.
    #[must_use]
    pub fn withhold(mut self, sizes: ComparedSizes, least: usize) -> Option<Self> {
        let valued = (sizes.members - self.null, sizes.all - self.null_all);
        if tells_few(self.null, self.null_all, least) || tells_few(valued.0, valued.1, least) {
            return None;
        }
        if let ComparedValues::Shares(shares) = &mut self.values {
            shares.retain(|one| !tells_few(one.customers, one.customers_all, least));
            // The number of customers with other values follows from the listed ones.
            let listed = |count: fn(&ComparedShare) -> usize| shares.iter().map(count).sum::<usize>();
            let mut members = sizes.members - self.null - listed(|one| one.customers);
            let mut all = sizes.all - self.null_all - listed(|one| one.customers_all);
            while tells_few(members, all, least) {
                let smallest = (0..shares.len()).min_by_key(|at| shares[*at].customers_all)?;
                let added = shares.remove(smallest);
                members += added.customers;
                all += added.customers_all;
            }
            if shares.is_empty() {
                return None;
            }
        }
        if least > 1 {
            // From more digits, the shares of withheld values could be tried out.
            self.strength = (self.strength * 100.0).round() / 100.0;
        }
        Some(self)
    }
}

impl ComparedMean {
    fn of(column: &FeatureColumn, members: &Bitmap, all: &Bitmap) -> Option<Self> {
        let (of_members, of_all) = (column.moments(members), column.moments(all));
        if of_members.count == 0 || of_all.count == 0 {
            return None;
        }
        let (mean, mean_all) = (of_members.mean(), of_all.mean());
        let deviation = of_all.deviation();
        let difference = if deviation > 0.0 { (mean - mean_all) / deviation } else { 0.0 };
        Some(Self { difference, means: [mean, mean_all].map(|mean| column.number_json(mean)) })
    }
}

/// Compares the shares of the values of a text or a boolean.
#[expect(clippy::cast_precision_loss, reason = "shares")]
fn shares(
    column: &FeatureColumn,
    members: &Bitmap,
    all: &Bitmap,
    sizes: ComparedSizes,
) -> Option<(f64, Vec<ComparedShare>)> {
    if sizes.members == 0 || sizes.all == 0 {
        return None;
    }
    let (in_members, in_all) = (column.counts(members), column.counts(all));
    let mut frequent: Vec<(i128, usize)> = in_all.into_iter().filter(|(_, count)| *count >= FEW).collect();
    frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    frequent.truncate(MAX_VALUES);
    let (size, size_all) = (sizes.members as f64, sizes.all as f64);
    let squared = |members: usize, all: usize| {
        let (share, share_all) = (members as f64 / size, all as f64 / size_all);
        if all == 0 { 0.0 } else { (share - share_all).powi(2) / share_all }
    };
    let (mut left, mut left_all, mut sum) = (sizes.members, sizes.all, 0.0);
    let mut compared: Vec<ComparedShare> = Vec::with_capacity(frequent.len());
    for (value, customers_all) in frequent {
        let customers = in_members.get(&value).copied().unwrap_or(0);
        sum += squared(customers, customers_all);
        left -= customers;
        left_all -= customers_all;
        compared.push(ComparedShare { value: column.json_of(value), customers, customers_all });
    }
    // All other customers, those without a value included, are one group.
    sum += squared(left, left_all);
    let lift = |one: &ComparedShare| one.customers as f64 / one.customers_all as f64;
    compared.sort_by(|a, b| lift(b).total_cmp(&lift(a)).then_with(|| a.value.cmp(&b.value)));
    let by_chance = compared.len() as f64 / size * (1.0 - size / size_all);
    if compared.is_empty() { None } else { Some(((sum - by_chance).max(0.0).sqrt(), compared)) }
}

impl FeatureColumn {
    /// Returns the moments of `customers` with a value, in the integers of the column.
    #[expect(clippy::cast_precision_loss, reason = "means and variances need no more digits")]
    fn moments(&self, customers: &Bitmap) -> Moments {
        let mut moments = Moments::default();
        let mut add = |value: f64| {
            moments.count += 1;
            moments.sum += value;
            moments.squares += value * value;
        };
        let mut valued = customers.clone();
        valued.remove_all(&self.nulls);
        match &self.values {
            ColumnValues::Float(values) => valued.iter().for_each(|customer| add(values[customer])),
            of => integers!(of, values => {
                valued.iter().for_each(|customer| add(wide(values[customer]) as f64));
            }, ()),
        }
        moments
    }

    /// Counts the `customers` by value.
    fn counts(&self, customers: &Bitmap) -> BTreeMap<i128, usize> {
        let mut counts = BTreeMap::new();
        let mut valued = customers.clone();
        valued.remove_all(&self.nulls);
        integers!(&self.values, values => {
            valued.iter().for_each(|customer| *counts.entry(wide(values[customer])).or_default() += 1);
        }, ());
        counts
    }

    /// Returns the median of `customers` with a value as JSON; `None` if no customer has one. Of two middle
    /// values it is the lower one.
    #[must_use]
    pub fn median(&self, customers: &Bitmap) -> Option<String> {
        let mut valued: Vec<usize> = {
            let mut valued = customers.clone();
            valued.remove_all(&self.nulls);
            valued.iter().collect()
        };
        let middle = valued.len().checked_sub(1)? / 2;
        let middle = match &self.values {
            ColumnValues::Float(values) => {
                *valued.select_nth_unstable_by(middle, |a, b| values[*a].total_cmp(&values[*b])).1
            }
            of => integers!(of, values => {
                *valued.select_nth_unstable_by_key(middle, |customer| values[*customer]).1
            }, return None),
        };
        Some(self.json(middle))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array, StringArray};

    use super::*;

    fn first(members: usize, all: usize) -> (Bitmap, Bitmap) {
        let mut bitmap = Bitmap::empty(all);
        (0..members).for_each(|member| bitmap.insert(member));
        (bitmap, Bitmap::full(all))
    }

    #[test]
    fn means_differ_in_standard_deviations() {
        let numbers =
            FeatureColumn::of_values(&(0..101).map(|n| (n < 100).then_some(n % 10)).collect::<Int64Array>());
        let (members, all) = first(5, 101);
        let compared = FeatureComparison::of(&numbers, &members, &all).expect("values");
        let ComparedValues::Mean(mean) = &compared.values else { panic!("{compared:?}") };
        assert_eq!(mean.means, ["2.0", "4.5"].map(str::to_owned));
        assert!((mean.difference + 2.5 / 8.25_f64.sqrt()).abs() < 1e-12, "{mean:?}");
        assert_eq!((compared.null, compared.null_all), (0, 1));
        assert_eq!([&members, &all].map(|set| numbers.median(set)), ["2", "4"].map(|n| Some(n.to_owned())));
        let same = FeatureColumn::of_values(&Int64Array::from(vec![7; 101]));
        assert_eq!(FeatureComparison::of(&same, &members, &all).map(|one| one.strength), Some(0.0));
        assert_eq!(FeatureComparison::of(&numbers, &Bitmap::empty(101), &all), None);
    }

    #[test]
    fn shares_are_ordered_by_lift_and_rare_values_are_left_out() {
        let text = |at: usize| match at {
            0..20 => "a",
            20..60 => "b",
            60..97 => "c",
            _ => "rare",
        };
        let texts = FeatureColumn::of_values(&(0..100).map(|at| Some(text(at))).collect::<StringArray>());
        let (members, all) = first(30, 100);
        let compared = FeatureComparison::of(&texts, &members, &all).expect("values");
        let ComparedValues::Shares(shares) = &compared.values else { panic!("{compared:?}") };
        let found: Vec<_> =
            shares.iter().map(|one| (one.value.as_str(), one.customers, one.customers_all)).collect();
        assert_eq!(found, [("\"a\"", 20, 20), ("\"b\"", 10, 40), ("\"c\"", 0, 37)]);
        assert!(compared.strength > 0.5, "{compared:?}");
        let sizes = ComparedSizes { members: 30, all: 100 };
        // The three rare values follow from the others, so values are withheld until enough do.
        let withheld = compared.clone().withhold(sizes, 5).expect("values");
        let ComparedValues::Shares(shares) = withheld.values else { panic!("shares") };
        assert_eq!(shares.iter().map(|one| one.value.as_str()).collect::<Vec<_>>(), ["\"b\""]);
        // Of a hundred values with ten customers each, each third customer is a member.
        let many = FeatureColumn::of_values(
            &(0..1_000).map(|at| Some(format!("t{}", at / 10))).collect::<StringArray>(),
        );
        let mut third = Bitmap::empty(1_000);
        (0..1_000).step_by(3).for_each(|member| third.insert(member));
        let chance = FeatureComparison::of(&many, &third, &Bitmap::full(1_000)).expect("values");
        assert!(chance.strength < 0.01, "{}", chance.strength);
        let flags = FeatureColumn::of_values(&(0..100).map(|at| Some(at < 28)).collect::<BooleanArray>());
        let compared = FeatureComparison::of(&flags, &members, &all).expect("values");
        assert_eq!(compared.withhold(sizes, 5), None, "two members with one value tell about few");
        let numbers = (0..100).map(|at| (!(2..=50).contains(&at)).then_some(at));
        let numbers = FeatureColumn::of_values(&numbers.collect::<Int64Array>());
        let compared = FeatureComparison::of(&numbers, &members, &all).expect("values");
        assert_eq!(compared.withhold(sizes, 5), None, "two members have a value");
    }
}
