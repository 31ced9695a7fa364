//! The reasons of a prediction: the themes with the greatest effects, as sentences.
//!
//! The effects of all reasons add up to the distance of the customer's log-odds from the average. A sentence
//! names the customer's own number, and the comparison that agrees with the direction of the effect.

use super::{
    features::{
        ACTIVE_BUYERS, BASKET_ITEMS, BASKET_VALUE, BUILT_IN, FREQUENCY, FeatureSource, FeatureTable, GAP,
        LATE_SALES, MONETARY, PRODUCTS, RECENCY, RETURN_RATE, SPEND_30, SPEND_90, TENURE,
    },
    inputs::Theme,
    typical::TypicalCustomer,
};
use crate::config::Language;

mod sentences;

use sentences::{Sentences, number};

/// Greatest number of themes that are named.
const MAX_THEMES: usize = 3;
/// Least share of a named theme in the sum of absolute effects.
const MIN_SHARE: f64 = 0.05;
/// Least absolute effect of a named theme.
const MIN_EFFECT: f64 = 0.02;

/// A reason for a customer's probability.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChurnReason {
    pub(super) theme: String,
    pub(super) direction: &'static str,
    /// Change of the log-odds.
    pub(super) effect: f64,
    /// Share in the sum of the absolute effects of all reasons.
    pub(super) share: f64,
    pub(super) text: String,
}

/// A number of the customer that a sentence names.
struct Fact {
    /// Key of the sentence.
    key: &'static str,
    source: usize,
    /// Whether more of the number lowers the risk; `None` if it may do either.
    more_lowers: Option<bool>,
}

const fn fact(key: &'static str, source: usize, more_lowers: Option<bool>) -> Fact {
    Fact { key, source, more_lowers }
}

/// Returns the facts about a theme, most telling first.
fn facts(theme: Theme) -> &'static [Fact] {
    const SPENDING: [Fact; 4] = [
        fact("spend_90d", SPEND_90, Some(true)),
        fact("monetary", MONETARY, Some(true)),
        fact("basket_value", BASKET_VALUE, Some(true)),
        fact("spend_30d", SPEND_30, Some(true)),
    ];
    const ASSORTMENT: [Fact; 2] =
        [fact("products", PRODUCTS, Some(true)), fact("basket_items", BASKET_ITEMS, None)];
    const DEMAND: [Fact; 2] =
        [fact("late_sales", LATE_SALES, Some(true)), fact("active_buyers", ACTIVE_BUYERS, Some(true))];
    const RECENT: [Fact; 1] = [fact("since_last_order", RECENCY, Some(false))];
    const ORDERS: [Fact; 1] = [fact("orders", FREQUENCY, Some(true))];
    const RETURNS: [Fact; 1] = [fact("return_rate", RETURN_RATE, None)];
    match theme {
        Theme::Recency => &RECENT,
        Theme::Orders => &ORDERS,
        Theme::Spending => &SPENDING,
        Theme::Assortment => &ASSORTMENT,
        Theme::Returns => &RETURNS,
        Theme::ProductDemand => &DEMAND,
    }
}

/// The shop that customers are compared with.
pub(super) struct ReasonContext<'a> {
    pub(super) sources: &'a [FeatureSource],
    pub(super) language: Language,
    pub(super) typical: TypicalCustomer,
    /// Mean probability of all customers.
    pub(super) average: f64,
}

/// Writes the reasons of customers of a table.
pub(super) struct Reasons<'a> {
    table: &'a FeatureTable,
    shop: &'a ReasonContext<'a>,
    sentences: Sentences,
}

impl<'a> Reasons<'a> {
    pub(super) fn new(table: &'a FeatureTable, shop: &'a ReasonContext<'a>) -> Self {
        Self { table, shop, sentences: Sentences::of(shop.language) }
    }

    /// Returns the reasons of the customer at `row` with this `risk` level. `effects` are log-odds by theme,
    /// relative to the mean over customers.
    ///
    /// The themes that agree with the level come first, then the greater ones. If all themes together point
    /// away from the level, the average of the shop is the first reason.
    pub(super) fn of(&self, row: usize, risk: &str, effects: &[f64]) -> Vec<ChurnReason> {
        let all: f64 = effects.iter().map(|effect| effect.abs()).sum();
        let agrees = |effect: f64| match risk {
            "high" => effect > 0.0,
            "low" => effect < 0.0,
            _ => true,
        };
        let is_named = |theme: &usize| effects[*theme].abs() >= MIN_EFFECT.max(MIN_SHARE * all);
        let mut named: Vec<usize> = (0..effects.len()).filter(is_named).collect();
        let order = |theme: usize| (agrees(effects[theme]), effects[theme].abs());
        named.sort_by(|a, b| {
            let (a, b) = (order(*a), order(*b));
            b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        named.truncate(MAX_THEMES);
        let sum: f64 = effects.iter().sum();
        let rest = sum - named.iter().map(|theme| effects[*theme]).sum::<f64>();
        let listed = named.iter().map(|theme| effects[*theme].abs()).sum::<f64>() + rest.abs();
        let share = |effect: f64| if listed > 0.0 { effect.abs() / listed } else { 0.0 };
        let reason = |theme: String, effect: f64, raises: bool, text: &str| {
            let direction = if raises { "raises" } else { "lowers" };
            let text = self.sentences.text(direction, &[("text", text)]);
            ChurnReason { theme, direction, effect, share: share(effect), text }
        };
        let mut reasons = Vec::with_capacity(MAX_THEMES + 2);
        if risk != "medium" && !agrees(sum) {
            let horizon = self.sentences.days(self.table.horizon);
            let percent = number((self.shop.average * 100.0).round());
            let text = self.sentences.text("average", &[("value", &percent), ("horizon", &horizon)]);
            reasons.push(reason("average".to_owned(), 0.0, risk == "high", &text));
        }
        for theme in named {
            let (effect, raises) = (effects[theme], effects[theme] > 0.0);
            let name = Theme::ALL.get(theme).map_or_else(|| self.own(theme).name(), |t| t.name().to_owned());
            reasons.push(reason(name, effect, raises, &self.sentence(theme, row, raises)));
        }
        if rest.abs() >= 0.000_05 {
            let text = self.sentences.text("other", &[]);
            reasons.push(reason("other".to_owned(), rest, rest > 0.0, &text));
        }
        reasons
    }

    /// Returns the user's feature that is the theme at `theme`.
    fn own(&self, theme: usize) -> &FeatureSource {
        &self.shop.sources[theme - Theme::ALL.len() + BUILT_IN.len()]
    }

    /// Returns a sentence about the theme for a customer whose risk it raises or lowers. Changing a text
    /// changes the part files of a snapshot.
    fn sentence(&self, theme: usize, row: usize, raises: bool) -> String {
        match Theme::ALL.get(theme) {
            None => self.own_sentence(theme, row),
            Some(Theme::Recency) => self.recency_sentence(row, raises),
            Some(Theme::Orders) if self.table.days[row] < self.table.raw[FREQUENCY][row] => {
                self.order_days_sentence(row, raises)
            }
            Some(theme) => self.fact_sentence(facts(*theme), row, raises),
        }
    }

    fn own_sentence(&self, theme: usize, row: usize) -> String {
        let (name, source) = (self.own(theme).name(), theme - Theme::ALL.len() + BUILT_IN.len());
        let value = self.table.raw[source][row];
        if !value.is_finite() {
            return self.sentences.text("unknown", &[("name", &name)]);
        }
        let text = self.sentences.text("own", &[("name", &name), ("value", &number(value))]);
        let median = number(self.shop.typical.medians[source]);
        self.sentences.text("median", &[("text", &text), ("value", &median)])
    }

    /// Returns a sentence about the time since the last order, compared with the customer's usual interval
    /// if that agrees with the direction.
    fn recency_sentence(&self, row: usize, raises: bool) -> String {
        let (since, gap) = (self.table.raw[RECENCY][row], self.table.raw[GAP][row]);
        let value = self.sentences.days(since);
        let (key, compared, usual) = if gap.is_finite() {
            ("since_last_order", "usual_interval", gap)
        } else {
            ("since_only_order", "usual_interval_of_others", self.shop.typical.medians[GAP])
        };
        let text = self.sentences.text(key, &[("value", &value)]);
        if (since - usual) * if raises { 1.0 } else { -1.0 } > 0.0 {
            let usual = self.sentences.days(usual);
            return self.sentences.text(compared, &[("text", &text), ("value", &usual)]);
        }
        let [fact] = facts(Theme::Recency) else { return text };
        self.compared(fact, row, raises).map_or(text.clone(), |(key, value)| {
            self.sentences.text(key, &[("text", &text), ("value", &value)])
        })
    }

    /// Returns a sentence about the orders of a customer with several orders on a day. The days count, so
    /// they are compared.
    fn order_days_sentence(&self, row: usize, raises: bool) -> String {
        let (orders, days) = (self.table.raw[FREQUENCY][row], self.table.days[row]);
        let tenure = self.sentences.days(self.table.raw[TENURE][row].floor());
        let (orders, on) = (number(orders), self.sentences.days(days));
        let text =
            self.sentences.text("order_days", &[("value", &orders), ("days", &on), ("tenure", &tenure)]);
        if (self.shop.typical.median_days - days) * if raises { 1.0 } else { -1.0 } <= 0.0 {
            return text;
        }
        let median = self.sentences.days(self.shop.typical.median_days);
        self.sentences.text("median", &[("text", &text), ("value", &median)])
    }

    /// Returns a sentence about the first fact with a comparison that agrees with the direction, else about
    /// the first known fact.
    fn fact_sentence(&self, facts: &[Fact], row: usize, raises: bool) -> String {
        let known = || facts.iter().filter(|fact| self.table.raw[fact.source][row].is_finite());
        let found = known().find_map(|fact| Some((fact, Some(self.compared(fact, row, raises)?))));
        let Some((fact, comparison)) = found.or_else(|| Some((known().next()?, None))) else {
            let name = self.shop.sources[facts[0].source].name();
            return self.sentences.text("unknown", &[("name", &name)]);
        };
        let text = self.value_sentence(fact, row);
        comparison.map_or(text.clone(), |(key, value)| {
            self.sentences.text(key, &[("text", &text), ("value", &value)])
        })
    }

    /// Returns the comparison of a fact with the median or the mean that agrees with the direction: the key
    /// of its sentence, and the value.
    fn compared(&self, fact: &Fact, row: usize, raises: bool) -> Option<(&'static str, String)> {
        let value = self.table.raw[fact.source][row];
        [("median", self.shop.typical.medians[fact.source]), ("mean", self.shop.typical.means[fact.source])]
            .into_iter()
            .find(|(_, typical)| {
                let is_more = value > *typical;
                let is_less = value < *typical;
                match fact.more_lowers {
                    _ if shown(fact, value) == shown(fact, *typical) => false,
                    Some(lowers) => {
                        if lowers == raises {
                            is_less
                        } else {
                            is_more
                        }
                    }
                    None => is_more || is_less,
                }
            })
            .map(|(key, typical)| {
                let is_time = fact.source == RECENCY;
                let text = if is_time { self.sentences.days(typical) } else { with_unit(fact, typical) };
                (key, text)
            })
    }

    /// Returns the sentence about the customer's own number.
    fn value_sentence(&self, fact: &Fact, row: usize) -> String {
        let raw = |source: usize| self.table.raw[source][row];
        let value = raw(fact.source);
        let text = shown(fact, value);
        let key = match fact.key {
            "orders" if value <= 1.0 => "only_order",
            "products" if value <= 1.0 => "product",
            "return_rate" if value <= 0.0 => "no_returns",
            key => key,
        };
        let days = |count: f64| self.sentences.days(count);
        self.sentences.text(
            key,
            &[
                ("value", &text),
                ("tenure", &days(raw(TENURE).floor())),
                ("horizon", &days(self.table.horizon)),
                ("half", &days(self.table.horizon / 2.0)),
            ],
        )
    }
}

/// Returns whether the number is a share, which sentences show in percent.
fn is_share(fact: &Fact) -> bool {
    [RETURN_RATE, LATE_SALES, ACTIVE_BUYERS].contains(&fact.source)
}

/// Returns a number as sentences show it.
fn shown(fact: &Fact, value: f64) -> String {
    number(if is_share(fact) { value * 100.0 } else { value })
}

fn with_unit(fact: &Fact, value: f64) -> String {
    let text = shown(fact, value);
    if is_share(fact) { text + " %" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::churn::features::sources;

    /// Returns a table of three customers: a new one, a loyal one who is overdue, and a loyal one.
    fn table(own: &[f64; 3]) -> (Vec<FeatureSource>, FeatureTable) {
        let mut sources = sources([], |_, _| false);
        sources.push(FeatureSource { view: "loyalty".to_owned(), column: "points".to_owned() });
        let mut table = FeatureTable { horizon: 90.0, ..FeatureTable::default() };
        table.ids = ["new", "overdue", "loyal"].map(str::to_owned).to_vec();
        table.raw = sources.iter().map(|_| vec![f64::NAN; 3]).collect();
        table.days = vec![1.0, 19.0, 20.0];
        table.raw[RECENCY] = vec![1.0, 153.0, 12.0];
        table.raw[FREQUENCY] = vec![1.0, 19.0, 20.0];
        table.raw[TENURE] = vec![1.5, 326.0, 310.0];
        table.raw[GAP] = vec![f64::NAN, 10.0, 15.0];
        table.raw[SPEND_90] = vec![20.0, 0.0, 900.0];
        table.raw[MONETARY] = vec![20.0, 5_000.0, 4_000.0];
        table.raw[PRODUCTS] = vec![1.0, 100.0, 90.0];
        table.raw[RETURN_RATE] = vec![0.0, 0.0, 0.25];
        *table.raw.last_mut().expect("own") = own.to_vec();
        (sources, table)
    }

    fn effects(of: &[(Theme, f64)]) -> Vec<f64> {
        let mut effects = vec![0.0; Theme::ALL.len() + 1];
        for (theme, effect) in of {
            effects[*theme as usize] = *effect;
        }
        effects
    }

    fn shop<'a>(
        sources: &'a [FeatureSource],
        table: &FeatureTable,
        language: Language,
        average: f64,
    ) -> ReasonContext<'a> {
        ReasonContext { sources, language, typical: TypicalCustomer::of(table), average }
    }

    #[test]
    fn sentences_have_the_number_and_a_comparison_that_agrees() {
        let (sources, table) = table(&[1.0, f64::NAN, 3.0]);
        let english = shop(&sources, &table, Language::En, 0.4);
        let reasons = Reasons::new(&table, &english);
        let texts = |row: usize, risk: &str, of: &[(Theme, f64)]| {
            let found = reasons.of(row, risk, &effects(of));
            found.into_iter().map(|reason| reason.text).collect::<Vec<String>>()
        };
        assert_eq!(
            texts(1, "high", &[(Theme::Orders, -0.9), (Theme::Recency, 2.0), (Theme::Spending, 0.8)]),
            [
                "153 days since the last order; this customer usually orders every 10 days: \
                 this raises the risk",
                "spent 0 within the last 90 days; the median is 20: this raises the risk",
                "19 orders in 326 days; the average is 13.33: this lowers the risk",
            ]
        );
        let mut few_days = table.clone();
        few_days.days[1] = 2.0;
        let of_few_days = shop(&sources, &few_days, Language::En, 0.4);
        let found = Reasons::new(&few_days, &of_few_days).of(1, "medium", &effects(&[(Theme::Orders, -0.9)]));
        assert_eq!(found[0].text, "19 orders on 2 days within 326 days: this lowers the risk");
        assert_eq!(
            texts(2, "low", &[(Theme::Spending, -0.8), (Theme::Recency, -0.7), (Theme::Returns, 0.1)]),
            [
                "spent 900 within the last 90 days; the median is 20: this lowers the risk",
                "12 days since the last order; this customer usually orders every 15 days: \
                 this lowers the risk",
                "returned 25 % of the purchases' worth; the median is 0 %: this raises the risk",
            ]
        );
        assert_eq!(
            texts(0, "medium", &[(Theme::Orders, 0.9), (Theme::Recency, -0.7), (Theme::Assortment, 0.3)]),
            [
                "only one order so far; the median is 19: this raises the risk",
                "1 day since the only order; the median interval between orders is 15 days: \
                 this lowers the risk",
                "bought one product; the median is 90: this raises the risk",
            ]
        );
    }

    #[test]
    fn reasons_add_up_and_agree_with_the_level() {
        let (sources, table) = table(&[1.0, 2.0, 3.0]);
        let chinese = shop(&sources, &table, Language::Zh, 0.624);
        let reasons = Reasons::new(&table, &chinese);
        let own = Theme::ALL.len();
        let mut of = effects(&[
            (Theme::Recency, 0.5),
            (Theme::Orders, -0.6),
            (Theme::Returns, -0.3),
            (Theme::Assortment, 0.01),
        ]);
        of[own] = 0.2;
        let found = reasons.of(0, "high", &of);
        let themes: Vec<&str> = found.iter().map(|reason| reason.theme.as_str()).collect();
        assert_eq!(themes, ["average", "recency", "loyalty.points", "orders", "other"]);
        assert_eq!(found[0].text, "全部客户中有 62 % 在 90 天内不再下单：风险升高");
        assert_eq!(found[2].text, "loyalty.points 为 1，中位数为 2：风险升高");
        assert!((found.iter().map(|reason| reason.effect).sum::<f64>() + 0.19).abs() < 1e-9);
        assert!((found.iter().map(|reason| reason.share).sum::<f64>() - 1.0).abs() < 1e-9);
        // A customer whom nothing distinguishes from the average.
        let found = reasons.of(0, "low", &effects(&[]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].theme.as_str(), found[0].direction), ("average", "lowers"));
        assert!(reasons.of(0, "medium", &effects(&[])).is_empty());
    }
}
