//! Compares audiences with DuckDB on the same Parquet files, for thousands of random expressions.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
};

use larder::{
    audience::EventKey,
    demo::{Retail, generate},
    snapshot::{Manifest, SnapshotFiles, audience_loader::AudienceLoader},
};
use serde_json::{Value, json};

use crate::support::{
    python,
    shop::{Service, Shop},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audiences/counts.py");

/// A view with types that the built-in views lack, and with texts that need quoting.
const ODD: &str = r#"-- Odd types and values.
SELECT customer_id,
    CASE WHEN count(*) % 5 = 0 THEN CAST('NaN' AS DOUBLE)
        WHEN count(*) % 5 = 1 THEN -CAST(sum(revenue) AS DOUBLE) / 3
        ELSE CAST(sum(revenue) AS DOUBLE) / 7 END AS ratio,
    CASE WHEN count(*) > 2 THEN count(*) % 2 = 0 END AS even,
    CAST(max(ordered_at) AS DATE) AS last_day,
    CASE count(*) % 5 WHEN 0 THEN 'it''s "so"' WHEN 1 THEN 'back\slash' WHEN 2 THEN 'Ünï' WHEN 3 THEN ''
        END AS word,
    CAST(CAST(sum(revenue) AS DECIMAL(20, 4)) * 10000000000000 AS DECIMAL(38, 4)) AS huge
FROM orders GROUP BY customer_id"#;

/// A deterministic random number generator (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

struct Feature {
    view: String,
    name: String,
    kind: String,
    /// Values that occur in the snapshot.
    seen: Vec<Value>,
    as_of: String,
}

impl Feature {
    fn ours(&self) -> String {
        format!("{}.{}", self.view, self.name)
    }

    fn sql(&self) -> String {
        let column = format!("\"{}\".\"{}\"", self.view, self.name);
        match self.kind.as_str() {
            // Larder serves NaN and infinity as null.
            "Float64" => format!("CASE WHEN isfinite({column}) THEN {column} END"),
            "Date32" | "Timestamp" => format!("CAST({column} AS TIMESTAMP)"),
            _ => column,
        }
    }

    /// Returns a random value in Larder's syntax and in SQL.
    fn value(&self, dice: &mut Dice) -> (String, String) {
        let seen = dice.one(&self.seen).clone();
        match (self.kind.as_str(), seen) {
            ("Utf8", Value::String(text)) => {
                let text = match dice.below(10) {
                    0 => format!("{text}x"),
                    _ => text,
                };
                let plain = text.chars().all(char::is_alphabetic) && !text.is_empty();
                let keyword =
                    ["and", "or", "not", "in", "is", "null", "true", "false"].contains(&text.as_str());
                let ours = match dice.below(3) {
                    0 if plain && !keyword => text.clone(),
                    1 => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
                    _ => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
                };
                (ours, format!("'{}'", text.replace('\'', "''")))
            }
            ("Boolean", value) => (value.to_string(), value.to_string()),
            ("Date32" | "Timestamp", _) if dice.below(4) == 0 => {
                let (symbol, word, sql) = *dice.one(&[
                    ("h", "hours", "HOUR"),
                    ("d", "days", "DAY"),
                    ("w", "weeks", "WEEK"),
                    ("mo", "months", "MONTH"),
                    ("y", "year", "YEAR"),
                ]);
                let count = dice.below(20);
                let ours = match dice.below(2) {
                    0 => format!("-{count}{symbol}"),
                    _ => format!("{count} {word} ago"),
                };
                (ours, format!("(TIMESTAMP '{}' - INTERVAL {count} {sql})", self.as_of))
            }
            ("Date32", Value::String(day)) => (day.clone(), format!("TIMESTAMP '{day}'")),
            ("Timestamp", Value::String(time)) => {
                let sql = format!("TIMESTAMP '{}'", time.trim_end_matches('Z').replace('T', " "));
                if dice.below(4) == 0 {
                    return (time[..10].to_owned(), format!("TIMESTAMP '{}'", &time[..10]));
                }
                (time, sql)
            }
            (kind, value) => {
                // DuckDB reads numbers with an exponent as floating point.
                let text =
                    if value.is_f64() { value.as_f64().unwrap().to_string() } else { value.to_string() };
                let text = match dice.below(5) {
                    0 if text.contains('.') => format!("{text}1"),
                    1 if !text.contains('.') => format!("{text}.5"),
                    2 if text.starts_with('-') => text[1..].to_owned(),
                    _ => text,
                };
                let sql =
                    if kind == "Float64" { format!("CAST('{text}' AS DOUBLE)") } else { format!("({text})") };
                (text, sql)
            }
        }
    }
}

/// Names that expressions can have.
struct Names {
    features: Vec<Feature>,
    segments: Vec<String>,
    /// Conditions on what was bought or done, with the key of such events in DuckDB's table `events`.
    events: Vec<(String, String)>,
    /// Times of events.
    times: Vec<String>,
    as_of: String,
}

/// Returns a random condition on events.
fn event(dice: &mut Dice, names: &Names) -> (String, String) {
    let (subject, key) = dice.one(&names.events).clone();
    let function = if key.starts_with("event:") { "did" } else { "bought" };
    let mut arguments: Vec<String> = if subject.is_empty() { Vec::new() } else { vec![subject] };
    let mut sql = format!(
        "SELECT count(*) FROM events WHERE events.customer_id = customers.customer_id AND key = '{}'",
        key.replace('\'', "''")
    );
    for (name, operator) in [("since", ">="), ("before", "<")] {
        let (ours, theirs) = match dice.below(4) {
            0 => {
                let days = dice.below(400);
                (format!("-{days}d"), format!("TIMESTAMP '{}' - INTERVAL {days} DAY", names.as_of))
            }
            1 => {
                let time = dice.one(&names.times);
                (time.clone(), format!("TIMESTAMP '{}'", time.trim_end_matches('Z').replace('T', " ")))
            }
            _ => continue,
        };
        arguments.push(format!("{name}:{ours}"));
        sql = format!("{sql} AND CAST(events.time AS TIMESTAMP) {operator} {theirs}");
    }
    let (mut ours, mut theirs, mut number) = (">=", ">=", 1);
    if dice.below(2) == 0 {
        let operators = [(">=", ">="), (">", ">"), ("=", "="), ("!=", "<>"), ("<", "<"), ("<=", "<=")];
        (ours, theirs) = *dice.one(&operators);
        number = dice.below(4);
    }
    if (ours, number) != (">=", 1) || dice.below(4) == 0 {
        arguments.push(format!("times {ours} {number}"));
    }
    (format!("{function}({})", arguments.join(", ")), format!("(({sql}) {theirs} {number})"))
}

/// Returns a random expression in Larder's syntax and in SQL.
fn expression(dice: &mut Dice, names: &Names, depth: usize) -> (String, String) {
    let Names { features, segments, .. } = names;
    if depth > 0 && dice.below(3) > 0 {
        let (a, b) = (expression(dice, names, depth - 1), expression(dice, names, depth - 1));
        return match dice.below(4) {
            0 => (format!("not ({})", a.0), format!("NOT ({})", a.1)),
            1 => (format!("({}) or {}", a.0, bracketed(&b.0)), format!("(({}) OR ({}))", a.1, b.1)),
            _ => (format!("({}) AND {}", a.0, bracketed(&b.0)), format!("(({}) AND ({}))", a.1, b.1)),
        };
    }
    if dice.below(5) == 0 {
        return event(dice, names);
    }
    if dice.below(4) == 0 {
        let (one, other) = (dice.one(segments).clone(), dice.one(segments).clone());
        let sql = |names: &str| {
            format!("customer_id IN (SELECT customer_id FROM members WHERE segment IN ({names}))")
        };
        return match dice.below(4) {
            0 => (format!("segment != {one}"), format!("NOT {}", sql(&format!("'{one}'")))),
            1 => (format!("segment in ({one}, {other})"), sql(&format!("'{one}', '{other}'"))),
            _ => (format!("segment:{one}"), sql(&format!("'{one}'"))),
        };
    }
    let feature = dice.one(features);
    let (ours, sql) = (feature.ours(), feature.sql());
    let nested = matches!(feature.kind.as_str(), "List" | "Struct");
    if feature.kind == "Utf8" && dice.below(4) == 0 {
        return part_of_text(dice, feature);
    }
    if feature.kind == "List" && feature.seen.iter().any(|list| list[0].is_string()) && dice.below(2) == 0 {
        return element_of_list(dice, feature);
    }
    match if nested { 0 } else { dice.below(9) } {
        0 => {
            let not = if dice.below(2) == 0 { "" } else { " not" };
            (format!("{ours} is{not} null"), format!("{sql} IS{not} NULL"))
        }
        1 => {
            let values: Vec<_> = (0..=dice.below(5)).map(|_| feature.value(dice)).collect();
            let list = |of: fn(&(String, String)) -> &String| {
                values.iter().map(of).cloned().collect::<Vec<_>>().join(", ")
            };
            let not = if dice.below(3) == 0 { "not " } else { "" };
            (format!("{ours} {not}in ({})", list(|v| &v.0)), format!("{sql} {not}IN ({})", list(|v| &v.1)))
        }
        2 if feature.kind != "Boolean" => {
            let (least, most) = (feature.value(dice), feature.value(dice));
            let not = if dice.below(3) == 0 { "not " } else { "" };
            (
                format!("{ours} {not}between {} and {}", least.0, most.0),
                format!("{sql} {not}BETWEEN {} AND {}", least.1, most.1),
            )
        }
        _ => {
            let operators: &[(&str, &str)] = match feature.kind.as_str() {
                "Boolean" => &[(":", "="), ("!=", "<>")],
                _ => &[
                    (":", "="),
                    ("=", "="),
                    ("!=", "<>"),
                    ("<", "<"),
                    ("<=", "<="),
                    (">", ">"),
                    (">=", ">="),
                ],
            };
            let (operator, value) = (dice.one(operators), feature.value(dice));
            (format!("{ours} {} {}", operator.0, value.0), format!("{sql} {} {}", operator.1, value.1))
        }
    }
}

/// Returns a condition on a part of a text, which occurs in one of the feature's values.
fn part_of_text(dice: &mut Dice, feature: &Feature) -> (String, String) {
    let seen = dice.one(&feature.seen).as_str().unwrap_or_default().to_owned();
    let chars: Vec<char> = seen.chars().collect();
    let from = dice.below(chars.len() + 1);
    let to = from + dice.below(chars.len() - from + 1);
    let part: String = chars[from..to].iter().collect();
    let (ours, sql) =
        *dice.one(&[("contains", "contains"), ("starts with", "starts_with"), ("ends with", "ends_with")]);
    let not = *dice.one(&["", "not "]);
    (
        format!("{} {not}{ours} \"{}\"", feature.ours(), part.replace('\\', "\\\\").replace('"', "\\\"")),
        format!("{not}{sql}({}, '{}')", feature.sql(), part.replace('\'', "''")),
    )
}

/// Returns a condition on an element of a list, which mostly occurs in one of the feature's values.
fn element_of_list(dice: &mut Dice, feature: &Feature) -> (String, String) {
    let list = dice.one(&feature.seen).as_array().unwrap().clone();
    let not = *dice.one(&["", "not "]);
    let (ours, sql) = match list.get(dice.below(list.len() + 1)) {
        Some(Value::String(text)) => (format!("\"{text}\""), format!("'{text}'")),
        _ => ("nobody".to_owned(), "'nobody'".to_owned()),
    };
    (format!("{} {not}has {ours}", feature.ours()), format!("{not}list_contains({}, {sql})", feature.sql()))
}

fn bracketed(text: &str) -> String {
    format!("({text})")
}

/// Builds and serves a shop with generated customers and the view [`ODD`].
async fn open() -> (Shop, Manifest, Service) {
    let shop = Shop::new(
        "[raw.customers]\ncolumns = { created_at = \"signed_up_at\" }\n[views]\nfolder = \"views\"\n\
         [recommendations]\nenabled = false\n[churn]\ncuts = 2\ntraining_rows = 2000\n\
         [serving]\naudience_memory = \"8KiB\"\n",
    );
    let raw = shop.path().join("lake/raw");
    std::fs::create_dir_all(&raw).unwrap();
    let retail = Retail { customers: 900, lines: 12_000, compress: false, seed: 7 };
    generate(&retail, &raw, &|_, _| {}).unwrap();
    std::fs::create_dir(shop.path().join("views")).unwrap();
    std::fs::write(shop.path().join("views/odd.sql"), ODD).unwrap();
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    (shop, built.manifest, service)
}

/// Returns all features, with values that occur.
async fn features(manifest: &Manifest, service: &Service) -> Vec<Feature> {
    let views: Vec<&String> = manifest.views.iter().map(|view| &view.name).collect();
    let all_customers = json!({"where": "profile.country is null or profile.country is not null",
        "limit": 200, "order_by": "odd.ratio", "views": views});
    let some = service.post("/v1/audiences", all_customers.to_string()).await;
    assert_eq!(some.status, 200, "{}", some.text);
    let some = some.json();
    let as_of = manifest.as_of.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let mut features = Vec::new();
    for view in &manifest.views {
        for feature in &view.features {
            let customers = some["customers"].as_array().unwrap().iter();
            let values = customers.map(|customer| customer["views"][&view.name][&feature.name].clone());
            let seen: Vec<Value> = values.filter(|value| !value.is_null()).collect();
            let kind = feature.data_type.split('(').next().unwrap().to_owned();
            if !seen.is_empty() {
                let (view, name) = (view.name.clone(), feature.name.clone());
                features.push(Feature { view, name, kind, seen, as_of: as_of.clone() });
            }
        }
    }
    let kinds: BTreeSet<&str> = features.iter().map(|feature| feature.kind.as_str()).collect();
    for kind in ["Utf8", "Int64", "Decimal128", "Float64", "Boolean", "Date32", "Timestamp"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    features
}

/// Returns conditions on events with their keys, and some times of events.
async fn events(shop: &Shop, manifest: &Manifest, service: &Service) -> (Vec<(String, String)>, Vec<String>) {
    let (mut products, mut times) = (BTreeSet::new(), BTreeSet::new());
    for id in customer_ids(service).await {
        let answer = service.get(&format!("/v1/customers/{id}/purchases?limit=5")).await.json();
        for line in answer["purchases"].as_array().unwrap() {
            products.insert(line["product_id"].as_str().unwrap().to_owned());
            times.insert(line["at"].as_str().unwrap().to_owned());
        }
    }
    let index = SnapshotFiles::offline(&shop.lake(), &Arc::new(manifest.clone()));
    let index = AudienceLoader::new(index);
    let mut events = vec![(String::new(), "order".to_owned())];
    events.push(("product:unknown".to_owned(), "product:unknown".to_owned()));
    events.extend(products.into_iter().map(|id| (format!("product:\"{id}\""), format!("product:{id}"))));
    let mut known = Vec::new();
    for name in ["Stationery", "Kitchen & Dining", "Tea & Coffee"] {
        known.push((
            EventKey::Category(name.to_owned()),
            format!("category:'{name}'"),
            format!("category:{name}"),
        ));
    }
    for name in ["view", "wishlist"] {
        known.push((
            EventKey::Interaction(name.to_owned()),
            format!("event:{name}"),
            format!("event:{name}"),
        ));
    }
    for (key, ours, theirs) in known {
        assert!(!index.events(&key).await.unwrap().customers().is_empty(), "{theirs}");
        // As frequent as the many products.
        events.extend(std::iter::repeat_n((ours, theirs), 40));
    }
    (events, times.into_iter().collect())
}

/// Returns the ids of some customers.
async fn customer_ids(service: &Service) -> Vec<String> {
    let asked = json!({"where": "bought()", "limit": 50, "order_by": "rfm.monetary desc"});
    let answer = service.post("/v1/audiences", asked.to_string()).await.json();
    let customers = answer["customers"].as_array().unwrap().iter();
    customers.map(|customer| customer["customer_id"].as_str().unwrap().to_owned()).collect()
}

/// Returns DuckDB's answers to `questions`.
fn duckdb(folder: &std::path::Path, questions: &[Value]) -> Vec<Value> {
    let python = python::installed("duckdb").join("python");
    let input = tempfile::NamedTempFile::new().unwrap();
    let lines: String = questions.iter().map(|question| question.to_string() + "\n").collect();
    input.as_file().write_all(lines.as_bytes()).unwrap();
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(folder).stdin(Stdio::from(input.reopen().unwrap()));
    let output = python::run(command.env("PYTHONDONTWRITEBYTECODE", "1"));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the ids of the export of the audience in `body`.
async fn exported_ids(service: &Service, body: &Value) -> Vec<Value> {
    let (expression, order_by, limit) = (&body["where"], &body["order_by"], &body["limit"]);
    let asked = json!({"where": expression, "order_by": order_by, "limit": limit,
        "columns": ["customer_id"], "format": "ndjson"});
    let file = service.post("/v1/audiences/export", asked.to_string()).await;
    assert_eq!(file.status, 200, "{}", file.text);
    file.text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["customer_id"].clone())
        .collect()
}

/// Returns random queries as bodies for Larder and as questions for DuckDB.
fn random_queries(names: &Names) -> (Vec<Value>, Vec<Value>) {
    let features = &names.features;
    let of_kinds =
        |kinds: &[&str]| features.iter().filter(|f| kinds.contains(&f.kind.as_str())).collect::<Vec<_>>();
    let unordered = ["Utf8", "Boolean", "List", "Struct"];
    let ordered: Vec<&Feature> = features.iter().filter(|f| !unordered.contains(&f.kind.as_str())).collect();
    let counted = of_kinds(&["Utf8", "Boolean", "Int32", "Int64"]);
    let numbers = of_kinds(&["Int32", "Int64", "Decimal128", "Float64"]);
    let mut dice = Dice(2_024);
    let (mut bodies, mut questions) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        let depth = dice.below(4);
        let (ours, sql) = expression(&mut dice, names, depth);
        let (by, descending, limit) = (*dice.one(&ordered), dice.below(2) == 0, dice.below(40));
        let direction = if descending { "desc" } else { "asc" };
        let mut body =
            json!({"where": ours, "limit": limit, "order_by": format!("{} {direction}", by.ours())});
        let mut question = json!({"where": sql, "limit": limit, "kind": "",
            "order": format!("{} {direction} NULLS LAST", by.sql())});
        match dice.below(4) {
            0 => {
                let by = dice.one(&counted);
                body["breakdown"] = json!({"feature": by.ours(), "top": 1_000});
                (question["by"], question["kind"]) = (json!(by.sql()), json!("values"));
            }
            1 => {
                let by = dice.one(&numbers);
                body["breakdown"] = json!({"feature": by.ours(), "buckets": 4});
                (question["by"], question["kind"]) = (json!(by.sql()), json!("buckets"));
            }
            _ => {}
        }
        bodies.push(body);
        questions.push(question);
    }
    (bodies, questions)
}

/// Both answers to a query.
struct Answers<'a> {
    question: &'a Value,
    duckdb: &'a Value,
    larder: Value,
    /// Query and answers for failure messages.
    context: String,
}

impl Answers<'_> {
    /// Compares total, revenue, mean scores and members. `text` is Larder's answer.
    fn compare_figures(&self, text: &str) {
        let Self { duckdb, larder, context, .. } = self;
        assert_eq!(larder["total"], duckdb["total"], "{context}");
        let revenue = format!("\"revenue\":{},", duckdb["revenue"].as_str().unwrap());
        assert!(text.contains(&revenue), "{context}");
        for (at, name) in ["mean_r_score", "mean_f_score", "mean_m_score"].iter().enumerate() {
            match (larder[name].as_f64(), duckdb["means"][at].as_f64()) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12, "{context}"),
                (a, b) => assert_eq!(a, b, "{context}"),
            }
        }
        let members: Vec<&Value> =
            larder["customers"].as_array().unwrap().iter().map(|c| &c["customer_id"]).collect();
        assert_eq!(json!(members), duckdb["members"], "{context}");
    }

    /// Compares the breakdown, if there is one.
    fn compare_breakdown(&self) {
        let Self { question, duckdb, larder, context } = self;
        let rows = |of: &Value, keys: &[&str]| -> Vec<Vec<Value>> {
            let row = |row: &Value| keys.iter().map(|key| row[key].clone()).collect();
            of.as_array().unwrap().iter().map(row).collect()
        };
        match question["kind"].as_str().unwrap() {
            "values" => {
                let mut values = rows(&larder["breakdown"]["values"], &["value", "customers"]);
                let is_sorted = values.windows(2).all(|two| two[0][1].as_u64() >= two[1][1].as_u64());
                assert!(is_sorted, "{context}");
                let mut theirs: Vec<Vec<Value>> = serde_json::from_value(duckdb["values"].clone()).unwrap();
                values.sort_by_key(|row| json!(row).to_string());
                theirs.sort_by_key(|row| json!(row).to_string());
                assert_eq!(values, theirs, "{context}");
            }
            "buckets" => {
                let number = |value: &Value| value.as_f64().unwrap();
                let buckets = rows(&larder["breakdown"]["buckets"], &["from", "to", "customers"]);
                let theirs: Vec<Vec<Value>> = serde_json::from_value(duckdb["buckets"].clone()).unwrap();
                let numbers = |rows: &[Vec<Value>]| -> Vec<Vec<f64>> {
                    rows.iter().map(|row| row.iter().map(number).collect()).collect()
                };
                assert_eq!(numbers(&buckets), numbers(&theirs), "{context}");
            }
            _ => return,
        }
        assert_eq!(larder["breakdown"]["null"], duckdb["null"], "{context}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audiences_match_duckdb() {
    // The memory budget holds no column, so each query reads its columns again.
    let (shop, manifest, service) = open().await;
    let features = features(&manifest, &service).await;
    let segments: Vec<String> = manifest.segments.iter().map(|segment| segment.name.clone()).collect();
    let (events, times) = events(&shop, &manifest, &service).await;
    let as_of = manifest.as_of.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let names = Names { features, segments, events, times, as_of };
    let (bodies, questions) = random_queries(&names);
    let folder = shop.path().join("lake/snapshots").join(manifest.id.as_str());
    let expected = duckdb(&folder, &questions);
    assert_eq!(expected.len(), bodies.len());
    let (mut partial, mut exported) = (0, 0);
    for (at, ((body, question), expected)) in bodies.iter().zip(&questions).zip(&expected).enumerate() {
        let answer = service.post("/v1/audiences", body.to_string()).await;
        let context = format!("{body}\n{question}\nDuckDB: {expected}\nLarder: {}", answer.text);
        assert_eq!(answer.status, 200, "{context}");
        let answers = Answers { question, duckdb: expected, larder: answer.json(), context };
        answers.compare_figures(&answer.text);
        answers.compare_breakdown();
        // An export has the same members.
        if at % 20 == 0 && body["limit"] != 0 {
            let ids = exported_ids(&service, body).await;
            assert_eq!(json!(ids), expected["members"], "{}", answers.context);
            exported += ids.len();
        }
        let total = answers.larder["total"].as_u64().unwrap();
        partial += usize::from(total > 0 && total < manifest.customers);
    }
    // Ensures that most audiences are neither empty nor complete.
    assert!(partial > 1_000 && exported > 500, "{partial} {exported}");
    assert!(service.metric("larder_cache_bytes{cache=\"audiences\"}").await <= 8_192.0);
}
