//! Who the made-up customers are: what they like, how often they come, when they joined and when they lose interest.
//!
//! Nothing here knows orders or files.

use super::dice::Dice;
use super::products::Catalogue;
use super::year::{DAY, DAYS, END, later, shop_time, weekday};

/// A country, the share of customers up to and with it, its code, and its cities.
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
/// Forty each.
const FIRST_NAMES: &str = "Anna Ben Chloé Daniel Elena Finn Grace Hugo Ingrid Jakub Karin Liam María Noah \
    Olivia Pierre Quinn Rosa Søren Tomás Ursula Viktor Wanda Xavier Yasmin Zoë Aoife Björn Clara Dário Emma \
    François Giulia Hannah Isla José Katarzyna Lukas Mia Niamh";
const SURNAMES: &str = "Smith Müller Dubois Jansen García O'Neill Rossi Lindqvist Kowalski Meier Jones Schmidt \
    Bernard Visser Fernández Murphy Bianchi Johansson Nowak Keller Taylor Weber Moreau Bakker López Byrne Romano \
    Nyström Wójcik Frei Brown Fischer Laurent Smit Núñez Walsh Ferrari Bergström Zieliński Baumann";
/// Favourite hours, and weekdays from 0 for Monday, as often as they are somebody's.
const HOURS: [f64; 8] = [8.5, 10.5, 12.5, 14.0, 17.0, 19.0, 20.0, 21.0];
const WEEKDAYS: [u32; 10] = [0, 1, 2, 3, 3, 4, 5, 5, 6, 6];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Buyer,
    /// Buys once without telling who they are.
    Guest,
    /// Signed up and never ordered.
    Prospect,
    /// One huge order, cancelled at once.
    Whale,
    /// Only brings back what was bought the year before.
    Returner,
}

/// Who somebody is and how they tend to shop.
#[expect(clippy::struct_excessive_bools, reason = "independent habits")]
#[derive(Debug)]
pub(super) struct Customer {
    pub(super) index: u32,
    pub(super) role: Role,
    /// The country they live in, and the one they move to at some time, mostly never.
    pub(super) countries: [usize; 2],
    pub(super) moves: u32,
    /// When they signed up; negative before the year.
    pub(super) joined: i64,
    /// When they first order, if they joined in the year.
    pub(super) first_at: u32,
    /// How often they order, 1 being the average.
    pub(super) rate: f64,
    /// Whether orders come at steady intervals.
    pub(super) steady: bool,
    /// The days from the first order to the end of interest.
    pub(super) lifetime: f64,
    /// Tends to the size of a basket.
    pub(super) basket: f64,
    /// Buys to sell again.
    pub(super) trade: bool,
    /// What they like, most first.
    pub(super) categories: [usize; 3],
    pub(super) style: usize,
    weekday: u32,
    hour: f64,
    /// The probability that a line comes back.
    pub(super) returning: f64,
    pub(super) opted_in: bool,
    /// A buyer whom the customers' table does not have.
    pub(super) unlisted: bool,
}

impl Customer {
    /// The customer of that index; the dice are left for what they do.
    pub(super) fn meet(index: u32, role: Role, catalogue: &Catalogue, dice: &mut Dice) -> Self {
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
            categories: [(); 3].map(|()| catalogue.category(dice)),
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
            // Before the newest order of the year, or they would be unknown.
            Role::Prospect => i64::from(customer.first_at) - 5 * i64::from(DAY),
            _ => i64::from(customer.first_at) - 60 - dice.below(2_400) as i64,
        };
        customer
    }

    /// A time on about that day, on their weekday and at their hour if it suits, not before `earliest`.
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

    /// A name and an e-mail address.
    pub(super) fn name(&self, dice: &mut Dice) -> (String, String) {
        let mut pick = |names: &'static str| names.split(' ').nth(dice.below(40)).unwrap_or_default();
        let (first, last) = (pick(FIRST_NAMES), pick(SURNAMES));
        let code = COUNTRIES[self.countries[0]].2;
        let address = format!("{}.{}{}@{code}.example.com", plain(first), plain(last), self.index);
        (format!("{first} {last}"), address)
    }

    /// Nearly all ids are like `C0012345`; a few have signs that a URL or a naive reader trips over.
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

/// A name as it stands in an e-mail address.
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
