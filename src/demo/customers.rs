//! Generated customers: preferences, purchase rate, sign-up date and lifetime.
//!
//! This module does not know orders or files.

use super::dice::Dice;
use super::products::ProductCatalog;
use super::year::{DAY, DAYS, END, later, shop_time, weekday};

/// Countries: name, cumulative share of customers, code, and cities.
pub(super) const COUNTRIES: [(&str, f64, &str, &str); 10] = [
    ("United Kingdom", 0.45, "uk", "London|Manchester|Bristol|Leeds|Edinburgh|Cardiff"),
    ("Germany", 0.59, "de", "Berlin|München|Köln|Hamburg|Leipzig"),
    ("France", 0.70, "fr", "Paris|Lyon|Orléans|Nantes|Saint-Étienne"),
    ("Netherlands", 0.78, "nl", "Amsterdam|Utrecht|'s-Hertogenbosch|Groningen"),
    ("Spain", 0.84, "es", "Madrid|Málaga|Valencia|A Coruña"),
    ("Ireland", 0.89, "ie", "Dublin|Cork|Galway"),
    ("Italy", 0.93, "it", "Milano|Roma|Bologna|Torino"),
    ("Sweden", 0.96, "se", "Stockholm|Malmö|Göteborg"),
    ("Poland", 0.985, "pl", "Warszawa|Łódź|Kraków"),
    ("Switzerland", 1.0, "ch", "Zürich|Genève|Basel"),
];
/// 40 first names.
const FIRST_NAMES: &str = "Anna Ben Chloé Daniel Elena Finn Grace Hugo Ingrid Jakub Karin Liam María Noah \
    Olivia Pierre Quinn Rosa Søren Tomás Ursula Viktor Wanda Xavier Yasmin Zoë Aoife Björn Clara Dário Emma \
    François Giulia Hannah Isla José Katarzyna Lukas Mia Niamh";
/// 40 surnames.
const SURNAMES: &str = "Smith Müller Dubois Jansen García O'Neill Rossi Lindqvist Kowalski Meier Jones \
    Schmidt Bernard Visser Fernández Murphy Bianchi Johansson Nowak Keller Taylor Weber Moreau Bakker \
    López Byrne Romano Nyström Wójcik Frei Brown Fischer Laurent Smit Núñez Walsh Ferrari Bergström \
    Zieliński Baumann";
/// Preferred hours, each as often as its weight.
const HOURS: [f64; 8] = [8.5, 10.5, 12.5, 14.0, 17.0, 19.0, 20.0, 21.0];
/// Preferred weekdays from 0 for Monday, each as often as its weight.
const WEEKDAYS: [u32; 10] = [0, 1, 2, 3, 3, 4, 5, 5, 6, 6];

/// The purchase pattern of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Buys and returns.
    Buyer,
    /// Buys once, without a customer id.
    Guest,
    /// Signed up without ever ordering.
    Prospect,
    /// Places one huge order, canceled soon after.
    Whale,
    /// Only returns purchases of the previous year.
    Returner,
}

/// A generated customer with shopping habits.
#[expect(clippy::struct_excessive_bools, reason = "independent habits")]
#[derive(Debug)]
pub(super) struct Customer {
    /// Index of the customer, from 0.
    pub(super) index: u32,
    pub(super) role: Role,
    /// Country of residence, and the country after a move.
    pub(super) countries: [usize; 2],
    /// Second of the move, for most customers after the year.
    pub(super) moves: u32,
    /// Second of the sign-up, negative before the year.
    pub(super) joined: i64,
    /// Second of the first order, for customers who sign up in the year.
    pub(super) first_at: u32,
    /// Order rate relative to the average of 1.
    pub(super) rate: f64,
    /// Whether intervals between orders are regular.
    pub(super) steady: bool,
    /// Days from the first order to churn.
    pub(super) lifetime: f64,
    /// Typical basket size in lines.
    pub(super) basket: f64,
    /// Whether the customer is a reseller, who buys large quantities.
    pub(super) trade: bool,
    /// Preferred categories, most preferred first.
    pub(super) categories: [usize; 3],
    /// Preferred style, 0 to 3.
    pub(super) style: usize,
    /// Preferred weekday, 0 for Monday.
    weekday: u32,
    /// Preferred hour of the day.
    hour: f64,
    /// Probability that a line is returned.
    pub(super) returning: f64,
    /// Whether the customer receives e-mails.
    pub(super) opted_in: bool,
    /// Whether the customer is missing in the customers table.
    pub(super) unlisted: bool,
}

impl Customer {
    /// Draws the customer at `index`. The dice continue with the behavior of the customer.
    pub(super) fn draw(index: u32, role: Role, catalog: &ProductCatalog, dice: &mut Dice) -> Self {
        let place = dice.unit();
        let country = COUNTRIES.partition_point(|country| country.1 <= place);
        let quits = dice.chance(0.2);
        let mut customer = Self {
            index,
            role,
            countries: [country, dice.below(10)],
            moves: if dice.chance(0.02) { dice.below(END) as u32 } else { END },
            joined: 0,
            first_at: 0,
            rate: dice.gamma(0.75).max(0.02),
            steady: dice.chance(0.5),
            lifetime: if quits { 0.0 } else { 330.0 * dice.exponential() / dice.gamma(1.5) },
            basket: dice.log_normal(5.0, 0.5),
            trade: dice.chance(0.04),
            categories: [(); 3].map(|()| catalog.category(dice)),
            style: dice.below(4),
            weekday: WEEKDAYS[dice.below(10)],
            hour: HOURS[dice.below(8)],
            returning: (0.038 * dice.gamma(1.0)).min(0.4),
            opted_in: dice.chance(0.6),
            unlisted: role == Role::Buyer && dice.chance(0.03),
        };
        let first_day = later(0.0, dice.unit() * shop_time());
        customer.first_at = customer.moment(first_day, 0, dice);
        customer.joined = match role {
            _ if role == Role::Returner || dice.chance(0.45) => -1 - dice.below(1_400 * DAY) as i64,
            // Before the newest order of the year, else the prospect would be later than the as-of time.
            Role::Prospect => i64::from(customer.first_at) - 5 * i64::from(DAY),
            _ => i64::from(customer.first_at) - 60 - dice.below(2_400) as i64,
        };
        customer
    }

    /// Draws a time at about `day`, often on the preferred weekday and hour, not before `earliest`.
    pub(super) fn moment(&self, day: f64, earliest: u32, dice: &mut Dice) -> u32 {
        let mut day = day as u32;
        if dice.chance(0.5) {
            let ahead = (self.weekday + 7 - weekday(day)) % 7;
            let shifted = if ahead > 3 { (day + ahead).saturating_sub(7) } else { day + ahead };
            day = if (earliest / DAY..DAYS).contains(&shifted) { shifted } else { day };
        }
        let (hour, spread) = if dice.chance(0.75) { (self.hour, 1.6) } else { (15.0, 3.4) };
        let second = (hour + spread * dice.normal()).clamp(1.0, 23.9) * 3_600.0;
        (day * DAY + second as u32).max(earliest).min(END - 1)
    }

    /// Draws a name and an e-mail address.
    pub(super) fn name(&self, dice: &mut Dice) -> (String, String) {
        let mut pick = |names: &'static str| names.split(' ').nth(dice.below(40)).unwrap_or_default();
        let (first, last) = (pick(FIRST_NAMES), pick(SURNAMES));
        let code = COUNTRIES[self.countries[0]].2;
        let address = format!("{}.{}{}@{code}.example.com", plain(first), plain(last), self.index);
        (format!("{first} {last}"), address)
    }

    /// Returns the id of the customer at `index`, such as `C0012345`. A few ids contain characters that need
    /// escaping in URLs.
    pub(super) fn id(index: u32) -> String {
        let prefix = match index % 4_001 {
            17 => "KØ",
            29 => "EU/",
            43 => "C+",
            _ => "C",
        };
        format!("{prefix}{:07}", u64::from(index) + 1)
    }
}

/// Returns the ASCII letters of a name for an e-mail address.
fn plain(name: &str) -> String {
    let letters = name.chars().flat_map(char::to_lowercase);
    let plain = letters.filter_map(|letter| match letter {
        'á' | 'ä' => Some('a'),
        'é' | 'ë' => Some('e'),
        'í' => Some('i'),
        'ó' | 'ö' | 'ø' => Some('o'),
        'ú' | 'ü' => Some('u'),
        'ç' => Some('c'),
        'ñ' | 'ń' => Some('n'),
        _ => letter.is_ascii_alphabetic().then_some(letter),
    });
    plain.collect()
}
