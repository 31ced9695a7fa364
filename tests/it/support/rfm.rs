//! A reference implementation of RFM by its definition, without SQL and decimals: integers only.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use chrono::{DateTime, NaiveDateTime, Utc};
use larder::snapshot::Manifest;
use serde_json::json;

use crate::support::shop::Service;

/// A line of transactions. Money is in ten-thousandths.
pub(crate) struct Line {
    customer: String,
    order: String,
    quantity: i64,
    price: i64,
    at: DateTime<Utc>,
}

/// The expected row of a customer. Money is in ten-thousandths.
#[derive(Default)]
pub(crate) struct Customer {
    recency: Option<i64>,
    pub(crate) frequency: i64,
    monetary: i64,
    scores: Option<(i64, i64, i64)>,
    pub(crate) segment: &'static str,
}

pub(crate) struct Expected {
    pub(crate) customers: BTreeMap<String, Customer>,
    /// Quintile edges × 5, which are integers.
    edges: BTreeMap<&'static str, Vec<i64>>,
}

/// Reads a CSV file with the columns customer, order, _, _, quantity, price, time.
pub(crate) fn lines(csv: impl Read) -> Vec<Line> {
    let records = csv::Reader::from_reader(csv).into_records();
    records.map(|record| line(&record.unwrap(), [0, 1, 4, 5, 6]).unwrap()).collect()
}

/// Reads a generated CSV file with the columns customer, order, _, _, _, quantity, price, time, country. Bad
/// lines are left out.
pub(crate) fn generated_lines(csv: impl Read) -> Vec<Line> {
    let records = csv::ReaderBuilder::new().flexible(true).from_reader(csv).into_records();
    let good = records.map(Result::unwrap).filter(|record| record.len() == 9);
    good.filter_map(|record| line(&record, [0, 1, 5, 6, 7])).collect()
}

/// Returns the line of a record; `None` without a price or a time.
fn line(record: &csv::StringRecord, [customer, order, quantity, price, at]: [usize; 5]) -> Option<Line> {
    let money = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{part:0<4}");
        assert!(part.len() <= 4, "{text}");
        digits.parse().ok()
    };
    let time = record[at].replace('T', " ").replace('Z', "");
    Some(Line {
        customer: record[customer].trim().trim_end_matches(".0").to_owned(),
        order: record[order].trim().to_owned(),
        quantity: record[quantity].parse().unwrap(),
        price: money(&record[price])?,
        at: NaiveDateTime::parse_from_str(&time, "%Y-%m-%d %H:%M:%S").ok()?.and_utc(),
    })
}

/// Returns the expected rows of all customers of `lines`, and of `prospects`, at `as_of`.
pub(crate) fn by_definition(lines: &[Line], as_of: DateTime<Utc>, prospects: &[&str]) -> Expected {
    let mut customers: BTreeMap<String, Customer> = BTreeMap::new();
    let mut orders: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut returned = BTreeSet::new();
    for line in lines.iter().filter(|line| !line.customer.is_empty()) {
        let customer = customers.entry(line.customer.clone()).or_default();
        if line.price > 0 && line.quantity > 0 {
            let days = (as_of - line.at).num_seconds() / 86_400;
            customer.recency = Some(customer.recency.map_or(days, |known| known.min(days)));
            customer.frequency += i64::from(orders.insert((&line.customer, &line.order)));
            customer.monetary += line.quantity * line.price;
        } else if line.price > 0 && line.quantity < 0 {
            returned.insert(line.customer.as_str());
            customer.monetary += line.quantity * line.price;
        }
    }
    customers.extend(prospects.iter().map(|id| ((*id).to_owned(), Customer::default())));
    let edges = |value: fn(&Customer) -> i64| {
        five_edges(customers.values().filter(|customer| customer.frequency > 0).map(value).collect())
    };
    let edges = BTreeMap::from([
        ("recency_days", edges(|customer| customer.recency.unwrap())),
        ("frequency", edges(|customer| customer.frequency)),
        ("monetary", edges(|customer| customer.monetary)),
    ]);
    for (id, customer) in &mut customers {
        customer.scores = customer.recency.map(|recency| {
            let above = |measure: &str, value: i64| {
                edges[measure].iter().map(|edge| i64::from(*edge < value * 5)).sum::<i64>()
            };
            let (f, m) =
                (1 + above("frequency", customer.frequency), 1 + above("monetary", customer.monetary));
            (5 - above("recency_days", recency), f, m)
        });
        customer.segment = match customer.scores {
            Some((r, f, _)) => segment(r, f),
            None if returned.contains(id.as_str()) => "returns_only",
            None => "prospect",
        };
    }
    Expected { customers, edges }
}

/// Returns the quintile edges × 5 (type 7): v[j]·(5−f) + v[j+1]·f for each k.
fn five_edges(mut values: Vec<i64>) -> Vec<i64> {
    values.sort_unstable();
    let last = values.len() - 1;
    let edge = |k: usize| {
        let (j, f) = (last * k / 5, i64::try_from(last * k % 5).unwrap());
        values[j] * (5 - f) + if f > 0 { values[j + 1] * f } else { 0 }
    };
    (1..=4).map(edge).collect()
}

/// Returns the segment of a cell of the 5 × 5 grid.
fn segment(r: i64, f: i64) -> &'static str {
    let rows = [
        "hibernating hibernating at_risk at_risk cant_lose",
        "hibernating hibernating at_risk at_risk cant_lose",
        "about_to_sleep about_to_sleep need_attention loyal loyal",
        "promising potential_loyalist potential_loyalist loyal loyal",
        "new potential_loyalist potential_loyalist champions champions",
    ];
    let (r, f) = (usize::try_from(r).unwrap(), usize::try_from(f).unwrap());
    rows[r - 1].split(' ').nth(f - 1).unwrap()
}

/// Compares the served RFM rows of all customers, and the edges and segment sizes in the manifest, with the
/// expected ones.
#[expect(clippy::cast_precision_loss, reason = "numbers of less than 53 bits")]
pub(crate) async fn compare(service: &Service, manifest: &Manifest, expected: &Expected) {
    assert_eq!(manifest.customers, expected.customers.len() as u64);
    let all: Vec<(&String, &Customer)> = expected.customers.iter().collect();
    for chunk in all.chunks(1_000) {
        let ids: Vec<&String> = chunk.iter().map(|(id, _)| *id).collect();
        let answer =
            service.post("/v1/customers/batch", json!({"ids": ids, "views": ["rfm"]}).to_string()).await;
        let body = answer.json();
        for ((id, customer), result) in chunk.iter().zip(body["results"].as_array().unwrap()) {
            let found = &result["views"]["rfm"];
            assert_eq!(found["monetary"].as_f64().unwrap(), customer.monetary as f64 / 10_000.0, "{id}");
            let wanted = json!({
                "recency_days": customer.recency,
                "frequency": customer.frequency,
                "monetary": found["monetary"],
                "r_score": customer.scores.map(|scores| scores.0),
                "f_score": customer.scores.map(|scores| scores.1),
                "m_score": customer.scores.map(|scores| scores.2),
                "rfm_score": customer.scores.map(|(r, f, m)| format!("{r}{f}{m}")),
                "segment": customer.segment,
            });
            assert_eq!(*found, wanted, "{id}");
        }
    }
    for (measure, edges) in &expected.edges {
        // Money is in ten-thousandths, other measures in ones.
        let unit = if *measure == "monetary" { 50_000.0 } else { 5.0 };
        let wanted: Vec<f64> = edges.iter().map(|edge| *edge as f64 / unit).collect();
        let found: Vec<f64> = manifest.edges[*measure].iter().map(|edge| edge.parse().unwrap()).collect();
        assert_eq!(found, wanted, "{measure}");
    }
    let of_rfm =
        |segment: &&larder::snapshot::SegmentStats| segment.kind == larder::feature::SegmentKind::Rfm;
    for segment in manifest.segments.iter().filter(of_rfm) {
        let members = expected.customers.values().filter(|customer| customer.segment == segment.name);
        assert_eq!(segment.size, members.count() as u64, "{}", segment.name);
    }
}
