//! Simulation of the generated year: orders with baskets, cancellations, returns, and interactions.
//!
//! Every customer has its own stream of random numbers, so the number of threads does not change the result.
//! This module does not know files.

use std::ops::Range;

use super::customers::{Customer, Role};
use super::dice::{Dice, exp, ln};
use super::ledger::{Interaction, InteractionKind, OrderKind, OrderLine, PackedOrder, Shard, count_lines};
use super::products::ProductCatalog;
use super::year::{DAY, DAYS, END, later, month, month_start, shop_time};
use super::{Retail, in_parallel};

/// Customers simulated by one task. Fixed, since it determines the order of equal times.
const SHARD: u32 = 2_048;
/// Random stream of the catalog; the streams of the customers begin at 0.
const CATALOG_DICE: u64 = u64::MAX;
/// Share of lines bought by guests, and their mean basket size in lines.
const GUESTS: (f64, f64) = (0.08, 5.3);

/// Catalog and calibrated parameters of the simulation.
#[derive(Debug)]
pub(super) struct Shop<'a> {
    pub(super) retail: &'a Retail,
    pub(super) catalog: ProductCatalog,
    /// Number of customers and guests; guests have the last indexes.
    population: u32,
    /// Share of prospects among the customers.
    prospects: f64,
    /// Orders per day of an average customer.
    pace: f64,
}

impl<'a> Shop<'a> {
    /// Draws the catalog and calibrates the pace on a sample, so that about `retail.lines` lines are
    /// bought.
    pub(super) fn open(retail: &'a Retail, threads: usize) -> Self {
        let (lines, customers) = (retail.lines as f64, f64::from(retail.customers));
        let size = (1_500.0 * (lines / 500_000.0).sqrt()).clamp(120.0, 20_000.0);
        let mut shop = Self {
            retail,
            catalog: ProductCatalog::new(size as usize, &mut Dice::new(retail.seed, CATALOG_DICE)),
            population: retail.customers.saturating_add((lines * GUESTS.0 / GUESTS.1) as u32),
            prospects: (1.0 - lines / customers / 9.0).max(0.06),
            pace: lines / customers / 600.0,
        };
        let every = (shop.population / 100_000).max(1);
        let (mut best, mut best_miss) = (shop.pace, f64::INFINITY);
        for _ in 0..10 {
            let ratio = lines / (count_lines(&shop.play(every, threads)) as f64 * f64::from(every));
            let miss = (ratio - 1.0).abs();
            if miss < best_miss {
                (best, best_miss) = (shop.pace, miss);
            }
            // Stops within the sampling error of the number of lines.
            if miss < (1.7 / lines.sqrt()).max(0.004) {
                break;
            }
            // Lines grow less than in proportion to the pace, since customers churn.
            shop.pace *= (1.0 + 1.5 * (ratio - 1.0)).clamp(0.2, 5.0);
        }
        shop.pace = best;
        shop
    }

    /// Simulates the year of every `every`-th customer and guest.
    pub(super) fn play(&self, every: u32, threads: usize) -> Vec<Shard> {
        in_parallel(self.population.div_ceil(SHARD) as usize, threads, |place| {
            let mut shard = Shard::default();
            let first = place as u32 * SHARD;
            let end = first.saturating_add(SHARD).min(self.population);
            for index in (first.next_multiple_of(every)..end).step_by(every as usize) {
                let (customer, dice) = self.customer(index);
                Life { shop: self, customer: &customer, dice, repeats: Vec::new(), shard: &mut shard }.play();
            }
            shard
        })
    }

    /// Draws the customer at `index`, and returns the random stream of the customer.
    pub(super) fn customer(&self, index: u32) -> (Customer, Dice) {
        let customers = self.retail.customers;
        let mut dice = Dice::new(self.retail.seed, u64::from(index));
        let prospect = dice.chance(self.prospects);
        let role = if index >= customers {
            Role::Guest
        } else if index == customers / 3 || index == customers / 3 * 2 {
            Role::Whale
        } else if index == customers / 4 || index == customers / 2 || index % 997 == 496 {
            Role::Returner
        } else if prospect {
            Role::Prospect
        } else {
            Role::Buyer
        };
        (Customer::draw(index, role, &self.catalog, &mut dice), dice)
    }
}

/// The simulation of one customer.
struct Life<'a> {
    shop: &'a Shop<'a>,
    customer: &'a Customer,
    dice: Dice,
    /// Consumables in use, and the day on which each is used up.
    repeats: Vec<(u16, f64)>,
    shard: &'a mut Shard,
}

impl Life<'_> {
    /// Simulates the year of the customer.
    fn play(&mut self) {
        let (orders, first) = (self.shard.orders.len(), self.shard.lines.len());
        let at = self.customer.first_at;
        match self.customer.role {
            Role::Prospect => self.browse(0.0..365.0, orders),
            Role::Guest => {
                self.order(at);
            }
            Role::Buyer => {
                let active = self.buy();
                self.browse(active, orders);
            }
            Role::Whale => {
                let at = at.min(END - DAY);
                let product = self.dice.below(30) as u16;
                let quantity = 70_000 + self.dice.below(11_000) as i32;
                let soon = at + 700 + self.dice.below(400) as u32;
                self.add(product, quantity, at);
                self.close(first, at, OrderKind::Purchase);
                self.negate_lines(first..first + 1, 1.0);
                self.close(first + 1, soon, OrderKind::Cancellation);
            }
            Role::Returner => {
                let at = at % (45 * DAY);
                for _ in 0..=self.dice.below(3) {
                    let product = self.want(at);
                    let quantity = -1 - self.dice.below(2) as i32;
                    self.add(product, quantity, at);
                }
                self.close(first, at, OrderKind::Return);
            }
        }
    }

    /// Simulates all orders of a buyer. Returns the days from the first order to churn.
    fn buy(&mut self) -> Range<f64> {
        let customer = self.customer;
        let rate = customer.rate * self.shop.pace;
        let mut at = customer.first_at;
        if customer.joined < 0 {
            // First interval of an order stream that is known to have an order within the year.
            let within = 1.0 - exp(-rate * shop_time());
            let day = later(0.0, -ln(1.0 - self.dice.unit() * within) / rate);
            at = customer.moment(day.min(364.9), 0, &mut self.dice);
        }
        let mut day = f64::from(at) / f64::from(DAY);
        let begin = day;
        let mut end = day + customer.lifetime;
        loop {
            if !self.order(at) {
                // A return shortens the lifetime.
                end = day + (end - day) * 0.6;
            }
            let throws = if customer.steady { 3 } else { 1 };
            let wait = (0..throws).map(|_| self.dice.exponential()).sum::<f64>() / f64::from(throws);
            let next = later(day, wait / rate);
            // A consumable that is used up at about this time determines the day.
            let about = |due: f64| (due - next).abs() < 9.0 && due > day + 1.0;
            let due = self.repeats.iter().map(|repeat| repeat.1).find(|due| about(*due));
            day = due.unwrap_or(next);
            if day >= end.min(365.0) {
                return begin..end;
            }
            at = customer.moment(day, at + 60, &mut self.dice);
        }
    }

    /// Simulates one order with a possible cancellation or return. Returns `false` if something is returned.
    fn order(&mut self, at: u32) -> bool {
        let first = self.shard.lines.len();
        self.fill_basket(at);
        let basket = first..self.shard.lines.len();
        if self.dice.chance(0.015) {
            let gift = self.shard.lines[first + self.dice.below(basket.len() as u32)];
            self.shard.lines.push(OrderLine { quantity: 1, cents: 0, ..gift });
        }
        if self.dice.chance(0.05) {
            let service = self.shop.catalog.service(&mut self.dice);
            self.add(service, 1, at);
        }
        for place in basket.clone() {
            if self.dice.chance(0.002) {
                self.shard.lines.push(self.shard.lines[place]);
            }
        }
        self.close(first, at, OrderKind::Purchase);
        let end = self.shard.lines.len();
        if self.dice.chance(0.01) {
            self.negate_lines(first..end, 1.0);
            let soon = (at + 90 + self.dice.below(1_800) as u32).min(END - 1);
            self.close(end, soon, OrderKind::Cancellation);
            return true;
        }
        let back = at / DAY + 4 + self.dice.below(36) as u32;
        if back < DAYS {
            self.negate_lines(basket, self.customer.returning);
        }
        let content = self.shard.lines.len() == end;
        if !content {
            let at = self.customer.moment(f64::from(back), at + DAY, &mut self.dice);
            self.close(end, at, OrderKind::Return);
        }
        content
    }

    /// Adds the lines of one basket: used-up consumables, preferred products, and companions.
    fn fill_basket(&mut self, at: u32) {
        let (today, first) = (f64::from(at / DAY), self.shard.lines.len());
        let size = 1.0 + self.dice.exponential() * (self.customer.basket - 0.6).max(0.2);
        let size = size.min(30.0) as usize;
        let mut due = self.repeats.clone();
        due.retain(|repeat| repeat.1 < today + 4.0);
        while self.shard.lines.len() - first < size {
            let count = self.shard.lines.len() - first;
            let product = if let Some((product, _)) = due.pop() {
                product
            } else if count > 0 && self.dice.chance(0.3) {
                let other = self.shard.lines[first + self.dice.below(count as u32)].product;
                self.shop.catalog.companion(other, &mut self.dice)
            } else {
                self.want(at)
            };
            if self.shard.lines[first..].iter().any(|line| line.product == product) {
                // A smaller basket is better than an endless search.
                if self.dice.chance(0.2) {
                    break;
                }
                continue;
            }
            let quantity = match self.dice.below(100) {
                place if self.customer.trade => 6 * (1 + place as i32 % 8),
                0..=69 => 1,
                70..=86 => 2,
                87..=92 => 3,
                93..=96 => 4,
                97..=98 => 6,
                _ => 12,
            };
            self.add(product, quantity, at);
            if let Some(interval) = self.shop.catalog.interval(product) {
                let due = today + interval * (0.85 + 0.3 * self.dice.unit());
                match self.repeats.iter().position(|repeat| repeat.0 == product) {
                    Some(place) => self.repeats[place].1 = due,
                    None if self.repeats.len() < 5 && self.dice.chance(0.5) => {
                        self.repeats.push((product, due));
                    }
                    None => {}
                }
            }
        }
    }

    /// Draws a product of the customer's taste, in season.
    fn want(&mut self, at: u32) -> u16 {
        let (customer, catalog, dice) = (self.customer, &self.shop.catalog, &mut self.dice);
        loop {
            let category = match dice.below(20) {
                0..=7 => customer.categories[0],
                8..=11 => customer.categories[1],
                12..=13 => customer.categories[2],
                _ => catalog.category(dice),
            };
            if let Some(product) = catalog.pick(category, month(at), dice)
                && (catalog.style(product) == customer.style || dice.chance(0.5))
            {
                return product;
            }
        }
    }

    /// Simulates interactions of the last three months: before orders, without an order, and in e-mails.
    fn browse(&mut self, active: Range<f64>, orders: usize) {
        let (customer, opening) = (self.customer, month_start(9));
        for place in orders..self.shard.orders.len() {
            let order = &self.shard.orders[place];
            if order.kind != OrderKind::Purchase || order.at < opening {
                continue;
            }
            let at = i64::from(order.at);
            for place in order.first as usize..order.first as usize + usize::from(order.count) {
                let product = self.shard.lines[place].product;
                let is_product = self.shop.catalog.is_product(product);
                for (kind, probability, within) in [
                    (InteractionKind::View, 0.3, 2 * DAY),
                    (InteractionKind::Cart, 0.12, 7_200),
                    (InteractionKind::Wishlist, 0.02, 20 * DAY),
                ] {
                    if is_product && self.dice.chance(probability) {
                        let before = 20 + self.dice.below(within) as i64;
                        self.interact(kind, product, at - before);
                    }
                }
            }
        }
        let opening = f64::from(opening / DAY).max(customer.joined as f64 / f64::from(DAY));
        let visits = 0.01 + customer.rate * self.shop.pace;
        let mut day = active.start.max(opening) + self.dice.exponential() / visits;
        while day < active.end.min(365.0) {
            let at = customer.moment(day, 0, &mut self.dice);
            let product = self.want(at);
            self.interact(InteractionKind::View, product, i64::from(at));
            match self.dice.below(20) {
                0..=2 => self.interact(InteractionKind::Cart, product, i64::from(at) + 45),
                3..=4 => self.interact(InteractionKind::Wishlist, product, i64::from(at) + 30),
                _ => {}
            }
            day += self.dice.exponential() / visits;
        }
        let mut day = opening + 14.0 * self.dice.unit();
        while customer.opted_in && day < 365.0 {
            if self.dice.chance(if active.contains(&day) { 0.4 } else { 0.06 }) {
                let at = customer.moment(day, 0, &mut self.dice);
                let product = self.want(at);
                self.interact(InteractionKind::EmailOpen, product, i64::from(at));
            }
            day += 14.0;
        }
    }

    /// Adds an interaction if it is in the last three months and after the sign-up.
    fn interact(&mut self, kind: InteractionKind, product: u16, at: i64) {
        let mark = self.dice.below(1 << 16) as u16;
        if at >= i64::from(month_start(9)).max(self.customer.joined) && at < i64::from(END) {
            self.shard.interactions.push(Interaction {
                at: at as u32,
                customer: self.customer.index,
                product,
                kind,
                mark,
            });
        }
    }

    /// Adds a line at the price of the day.
    fn add(&mut self, product: u16, quantity: i32, at: u32) {
        let cents = self.shop.catalog.price(product, at / DAY);
        self.shard.lines.push(OrderLine { product, quantity, cents });
    }

    /// Adds lines with negated quantities, each with the given probability.
    fn negate_lines(&mut self, range: Range<usize>, probability: f64) {
        for place in range {
            if self.dice.chance(probability) {
                let line = self.shard.lines[place];
                self.shard.lines.push(OrderLine { quantity: -line.quantity, ..line });
            }
        }
    }

    /// Adds an order of the lines from `first` on.
    fn close(&mut self, first: usize, at: u32, kind: OrderKind) {
        self.shard.orders.push(PackedOrder {
            at,
            customer: self.customer.index,
            first: first as u32,
            count: (self.shard.lines.len() - first) as u16,
            kind,
            country: self.customer.countries[usize::from(at >= self.customer.moves)] as u8,
            blanks: if self.dice.chance(0.02) { 1 + self.dice.below(3) as u8 } else { 0 },
        });
    }
}
