//! Random small shops: the same raw data with and without some of the customers.

use std::fmt::Write as _;

use crate::support::{dice::Dice, shop::Shop};

const CITIES: [&str; 4] = ["Oslo", "Bergen", "Tromsø", "Bodø"];
const COUNTRIES: [&str; 3] = ["Norway", "Sweden", "Denmark"];
const CATEGORIES: [&str; 3] = ["tea", "cups", "plates"];

/// Raw data of a shop, line by line.
pub(super) struct RandomShop {
    /// Ids as answers have them.
    pub(super) ids: Vec<String>,
    /// Customers to erase.
    pub(super) gone: Vec<String>,
    pub(super) products: Vec<String>,
    toml: String,
    /// Lines of the transactions, with the id of their customer.
    transactions: Vec<(String, String)>,
    customers: Vec<(String, String)>,
    /// Lines of a second customers file, whose objects have different keys.
    more_customers: Vec<(String, String)>,
    interactions: Vec<(String, String)>,
}

/// Returns a whole number below `end`.
pub(super) fn below(dice: &mut Dice, end: usize) -> usize {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small numbers"
    )]
    let number = (dice.next() * end as f64) as usize;
    number.min(end.saturating_sub(1))
}

fn any<'a, T>(dice: &mut Dice, of: &'a [T]) -> &'a T {
    &of[below(dice, of.len())]
}

/// Returns a time in 2024 as files have it.
fn time(dice: &mut Dice) -> String {
    let (month, day, hour) = (1 + below(dice, 12), 1 + below(dice, 28), below(dice, 24));
    format!("2024-{month:02}-{day:02}T{hour:02}:00:00Z")
}

impl RandomShop {
    /// Creates the raw data of `customers` customers.
    pub(super) fn new(dice: &mut Dice, customers: usize) -> Self {
        let mut shop = Self {
            ids: (0..customers).map(|at| format!("c{at:03}")).collect(),
            gone: Vec::new(),
            products: (0..12).map(|at| format!("p{at}")).collect(),
            toml: String::new(),
            transactions: Vec::new(),
            customers: Vec::new(),
            more_customers: Vec::new(),
            interactions: Vec::new(),
        };
        // Numbers, which spreadsheets write as 17.0.
        for at in 0..customers / 3 {
            shop.ids[at] = format!("{}", 17 + at);
        }
        for _ in 0..=below(dice, 3) {
            let id = any(dice, &shop.ids).clone();
            shop.gone.retain(|known| *known != id);
            shop.gone.push(id);
        }
        for at in 0..customers {
            shop.add_customer(dice, at);
        }
        shop.transactions
            .push((String::new(), ",guest-1,p1,Thing 1,tea,1,5.00,2024-03-03,Norway".to_owned()));
        let least = 5 + below(dice, 60);
        let min_count = [0, 0, 4][below(dice, 3)];
        shop.toml = format!(
            "[serving]\npoll = \"20ms\"\n[privacy]\nmin_count = {min_count}\n\
             [raw.customers]\npersonal = [\"email\"]\n\
             [audiences.spenders]\nwhere = \"rfm.monetary >= {least}\"\n\
             [audiences.norwegians]\nwhere = \"profile.country:Norway and rfm.frequency > 1\"\npriority = 1\n\
             [audiences.named]\nwhere = \"profile.email is not null\"\npriority = 2\n"
        );
        shop
    }

    fn add_customer(&mut self, dice: &mut Dice, at: usize) {
        let id = self.ids[at].clone();
        let is_gone = self.gone.contains(&id);
        let is_number = id.parse::<u64>().is_ok();
        let written = if is_number && dice.next() < 0.5 { format!("{id}.0") } else { id.clone() };
        for order in 0..below(dice, 6) {
            let (at, country) = (time(dice), any(dice, &COUNTRIES));
            for _ in 0..=below(dice, 3) {
                let product = below(dice, self.products.len());
                // A name and a category may be known from the erased customer alone.
                let name =
                    if is_gone { format!("Engraved {product} of {id}") } else { format!("Thing {product}") };
                let category = if is_gone { "engraving" } else { CATEGORIES[product % 3] };
                let (quantity, cents) = (1 + below(dice, 4), 100 + below(dice, 2_000));
                let sign = if dice.next() < 0.08 { "-" } else { "" };
                let line = format!(
                    "{written},o-{id}-{order},p{product},{name},{category},{sign}{quantity},{}.{:02},{}",
                    cents / 100,
                    cents % 100,
                    [&at, *country].join(",")
                );
                self.transactions.push((id.clone(), line));
            }
        }
        if is_gone {
            // A product, a country and the newest order are this customer's alone.
            let line = format!("{written},o-{id}-x,p-{id},Portrait of {id},portraits,1,77.50");
            let line = format!("{line},2024-12-30T10:00:00Z,Atlantis");
            self.transactions.push((id.clone(), line));
            self.products.push(format!("p-{id}"));
        }
        if dice.next() < 0.85 || is_gone {
            let city = if is_gone { format!("Hometown of {id}") } else { (*any(dice, &CITIES)).to_owned() };
            let email = if dice.next() < 0.8 { format!("mail-{id}@example.com") } else { String::new() };
            let age = match (is_gone, dice.next()) {
                (true, chance) if chance < 0.3 => "unknown".to_owned(),
                (_, chance) if chance < 0.2 => String::new(),
                _ => (18 + below(dice, 60)).to_string(),
            };
            let note = if is_gone && dice.next() < 0.5 { "vip" } else { "" };
            self.customers.push((id.clone(), format!("{written},{email},{city},{age},{note}")));
        }
        if at.is_multiple_of(5) || is_gone {
            // Only erased customers have a size; their points would make the column one of decimals.
            let (key, points) = if is_gone { (",\"size\":43", "7.5") } else { ("", "12") };
            let line = format!("{{\"customer_id\":\"{written}\",\"points\":{points}{key}}}");
            self.more_customers.push((id.clone(), line));
        }
        for _ in 0..below(dice, 4) {
            let line = format!("{written},view,{}", time(dice));
            self.interactions.push((id.clone(), line));
        }
    }

    /// Creates the shop with the settings `toml` and the raw data of the customers for whom `holds` is true.
    pub(super) fn create(&self, toml: &str, holds: impl Fn(&str) -> bool) -> Shop {
        let shop = Shop::new(&format!("{}{toml}", self.toml));
        let file = |header: &str, lines: &[(String, String)]| {
            let mut text = format!("{header}\n");
            for (_, line) in lines.iter().filter(|(id, _)| holds(id)) {
                writeln!(text, "{line}").unwrap();
            }
            text
        };
        let header =
            "customer_id,order_id,product_id,product_name,category,quantity,unit_price,ordered_at,country";
        shop.raw("transactions/x.csv", file(header, &self.transactions));
        shop.raw("customers/x.csv", file("customer_id,email,city,age,note", &self.customers));
        let more = self.more_customers.iter().filter(|(id, _)| holds(id)).map(|(_, line)| line.as_str());
        shop.raw("customers/y.jsonl", more.collect::<Vec<_>>().join("\n"));
        shop.raw("interactions/x.csv", file("customer_id,event,at", &self.interactions));
        shop
    }
}
