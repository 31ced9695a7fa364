//! Random requests over all endpoints, and their answers without what differs between equal worlds: ids of
//! snapshots, times of builds, tiers, and the version of the erasure list in cursors.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::random_shop::{RandomShop, below};
use crate::support::{callers::key, dice::Dice, shop::Service};

/// Segments of every shop, and one that there is not.
const SEGMENTS: [&str; 18] = [
    "champions",
    "loyal",
    "potential_loyalist",
    "new",
    "promising",
    "need_attention",
    "about_to_sleep",
    "at_risk",
    "cant_lose",
    "hibernating",
    "prospect",
    "churn_high",
    "churn_medium",
    "churn_low",
    "spenders",
    "norwegians",
    "named",
    "no_such",
];
const VIEWS: [&str; 7] = ["profile", "rfm", "behavior", "churn", "value", "recommendations", "rfm,profile"];
const ORDERS: [&str; 6] = [
    "rfm.monetary desc",
    "rfm.monetary",
    "rfm.recency_days",
    "churn.value_at_risk desc",
    "profile.first_seen_at",
    "profile.email",
];
const FORMATS: [&str; 3] = ["csv", "ndjson", "parquet"];

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Question {
    path: String,
    body: Option<Value>,
    /// Whether the caller sends `If-None-Match: *`.
    has_tag: bool,
}

/// Creates questions of one shop.
pub(super) struct Questions<'a> {
    dice: &'a mut Dice,
    shop: &'a RandomShop,
    all: Vec<Question>,
}

impl<'a> Questions<'a> {
    /// Returns random questions about `shop`.
    pub(super) fn about(shop: &'a RandomShop, dice: &'a mut Dice) -> Vec<Question> {
        let mut questions = Self { dice, shop, all: Vec::new() };
        for path in [
            "/v1/views",
            "/v1/models/churn",
            "/v1/models/value",
            "/v1/models/recommendations",
            "/v1/snapshots",
            "/v1/segments",
            "/v1/migration",
            "/v1/migration?kind=churn",
            "/openapi.json",
        ] {
            questions.get(path);
        }
        for view in ["profile", "rfm", "behavior", "churn", "value", "recommendations", "segments"] {
            questions.get(format!("/v1/views/{view}/statistics"));
        }
        questions.about_changes();
        questions.about_customers();
        questions.about_segments();
        for _ in 0..12 {
            questions.about_churn();
        }
        for _ in 0..60 {
            questions.about_audience();
        }
        questions.all
    }

    fn get(&mut self, path: impl Into<String>) {
        self.all.push(Question { path: path.into(), body: None, has_tag: false });
    }

    fn post(&mut self, path: &str, body: Value) {
        self.all.push(Question { path: path.to_owned(), body: Some(body), has_tag: false });
    }

    fn below(&mut self, end: usize) -> usize {
        below(self.dice, end)
    }

    fn any(&mut self, of: &[&str]) -> String {
        of[self.below(of.len())].to_owned()
    }

    /// Returns erased customers, others, and ids that nobody has.
    fn ids(&mut self) -> Vec<String> {
        let mut ids = self.shop.gone.clone();
        for _ in 0..4 {
            let at = self.below(self.shop.ids.len());
            ids.push(self.shop.ids[at].clone());
        }
        ids.extend(self.shop.gone.iter().map(|id| format!("{id}x")));
        ids
    }

    fn about_customers(&mut self) {
        let ids = self.ids();
        for id in &ids {
            let views = self.any(&VIEWS);
            for suffix in [
                "",
                "/segments",
                "/recommendations",
                "/history",
                "/history?views=profile,churn",
                "/purchases",
            ] {
                self.get(format!("/v1/customers/{id}{suffix}"));
                let path = format!("/v1/customers/{id}{suffix}");
                self.all.push(Question { path, body: None, has_tag: true });
            }
            self.get(format!("/v1/customers/{id}?views={views}"));
            let limit = 1 + self.below(3);
            self.get(format!("/v1/customers/{id}/purchases?limit={limit}"));
            self.get(format!("/v1/customers/{id}?views=segments&segments=true"));
            let (a, b) = (self.any(&SEGMENTS), self.any(&SEGMENTS));
            self.get(format!("/v1/customers/{id}/segments?in={a},{b}"));
        }
        let views = self.any(&VIEWS);
        let views: Vec<&str> = views.split(',').collect();
        self.post("/v1/customers/batch", json!({"ids": ids, "views": views, "segments": true}));
        self.post("/v1/customers/batch", json!({"ids": ids, "features": ["profile.email", "rfm.segment"]}));
        let features = ["rfm:segment", "profile:city", "profile:email", "churn:risk"];
        self.post("/get-online-features", json!({"features": features, "entities": {"customer_id": ids}}));
        for at in 0..4 {
            let product = self.shop.products[self.shop.products.len() - 1 - at].clone();
            self.get(format!("/v1/products/{product}/similar"));
        }
    }

    fn about_segments(&mut self) {
        for name in SEGMENTS {
            let (views, limit) = (self.any(&VIEWS), 1 + self.below(9));
            let (format, order) = (self.any(&FORMATS), self.any(&["id", "rank"]));
            self.get(format!("/v1/segments/{name}"));
            self.get(format!("/v1/segments/{name}/history"));
            self.get(format!("/v1/segments/{name}/customers?limit={limit}"));
            self.get(format!("/v1/segments/{name}/customers?limit=1000&views={views}"));
            self.get(format!("/v1/segments/{name}/export?format={format}&order={order}"));
            let (a, b) = (self.any(&SEGMENTS), self.any(&SEGMENTS));
            self.get(format!("/v1/overlap?segments={name},{a}"));
            self.get(format!("/v1/overlap?segments={name},{a},{b}&snapshot=OLDER"));
        }
    }

    fn about_changes(&mut self) {
        for name in SEGMENTS {
            let (views, limit) = (self.any(&VIEWS), 1 + self.below(9));
            let direction = self.any(&["entered", "left", "both"]);
            let (format, order) = (self.any(&FORMATS), self.any(&["id", "rank"]));
            let list = format!("/v1/segments/{name}/changes");
            self.get(format!("{list}?limit={limit}&views={views}&direction={direction}"));
            self.get(format!("{list}?from=OLDER&limit=1000"));
            self.get(format!("{list}/export?format={format}&order={order}&direction={direction}"));
        }
        for feature in
            ["rfm.segment", "rfm.monetary", "churn.probability", "profile.email", "profile.first_seen_at"]
        {
            let (views, limit) = (self.any(&VIEWS), 1 + self.below(20));
            self.get(format!("/v1/changes?feature={feature}&limit={limit}&views={views}"));
        }
    }

    fn about_churn(&mut self) {
        let mut filters = Vec::new();
        if self.below(2) == 0 {
            filters.push(format!("risk={}", self.any(&["high", "medium", "low"])));
        }
        if self.below(2) == 0 {
            filters.push(format!("min_probability=0.{}", self.below(9)));
        }
        if self.below(3) == 0 {
            filters.push(format!("segment={}", self.any(&SEGMENTS)));
        }
        if self.below(3) == 0 {
            filters.push(format!("min_value={}", self.below(30)));
        }
        let filters = filters.join("&");
        let (limit, format, order) = (1 + self.below(9), self.any(&FORMATS), self.any(&["id", "rank"]));
        self.get(format!("/v1/churn?limit={limit}&{filters}"));
        self.get(format!("/v1/churn/export?format={format}&order={order}&{filters}"));
    }

    fn about_audience(&mut self) {
        let expression = self.expression(2);
        let mut body = json!({"where": expression, "limit": self.below(8), "order_by": self.any(&ORDERS)});
        match self.below(4) {
            0 => {
                let feature = self.any(&[
                    "profile.city",
                    "profile.country",
                    "rfm.segment",
                    "profile.email",
                    "profile.age",
                    "churn.risk",
                ]);
                body["breakdown"] = json!({"feature": feature, "top": 1 + self.below(6)});
            }
            1 => {
                let feature = self.any(&["rfm.monetary", "profile.first_seen_at", "churn.probability"]);
                body["breakdown"] = json!({"feature": feature, "buckets": 2 + self.below(6)});
            }
            2 => body["views"] = json!([self.any(&["profile", "rfm"])]),
            _ => {}
        }
        if self.below(3) == 0 {
            body["compare"] = json!(true);
        }
        self.post("/v1/audiences", body);
        if self.below(3) == 0 {
            let format = self.any(&FORMATS);
            let body = match self.below(2) {
                0 => json!({"where": expression, "format": format}),
                _ => json!({"where": expression, "format": format, "limit": 1 + self.below(9),
                    "order_by": self.any(&ORDERS)}),
            };
            self.post("/v1/audiences/export", body);
        }
    }

    /// Returns an expression, nested at most `depth` deep.
    fn expression(&mut self, depth: usize) -> String {
        if depth > 0 && self.below(2) == 0 {
            let (left, right) = (self.expression(depth - 1), self.expression(depth - 1));
            return match self.below(3) {
                0 => format!("({left} and {right})"),
                1 => format!("({left} or {right})"),
                _ => format!("not ({left})"),
            };
        }
        let at = self.below(self.shop.gone.len());
        let gone = self.shop.gone[at].clone();
        let known = self.any(&["Oslo", "Osol", "Bergen"]);
        let product = self.below(self.shop.products.len());
        let product = self.shop.products[product].clone();
        match self.below(18) {
            0 => format!("segment:{}", self.any(&SEGMENTS[..17])),
            1 => format!("rfm.monetary >= {}", self.below(90)),
            2 => format!("rfm.segment in ({}, {})", self.any(&SEGMENTS), self.any(&SEGMENTS)),
            3 => format!("profile.city:\"Hometown of {gone}\""),
            4 => format!("profile.city in (\"Hometown off {gone}\", {known})"),
            5 => format!("profile.email:\"mail-{gone}@example.com\""),
            6 => format!("profile.email:\"mail-{gone}@example.co\""),
            7 => format!("profile.country:{}", self.any(&["Atlantis", "Atlantic", "Norwy", "Sweden"])),
            8 => format!("profile.note:{}", self.any(&["vip", "vop"])),
            9 => format!("profile.age >= {}", 18 + self.below(60)),
            10 => format!(
                "{} is null",
                self.any(&["profile.city", "profile.age", "rfm.monetary", "churn.risk"])
            ),
            11 => format!("churn.risk:{}", self.any(&["high", "medium", "low", "hihg"])),
            12 => format!("churn.probability >= 0.{}", self.below(9)),
            13 => format!("bought(product:\"{product}\", since:-{}d)", self.below(500)),
            14 => format!("bought(product:\"p-{gone}\", times < {})", self.below(3)),
            15 => format!("bought(category:{})", self.any(&["engraving", "graving", "things"])),
            16 => format!("did(event:{}, times >= {})", self.any(&["view", "click", "views"]), self.below(3)),
            _ => format!("behavior.items > {}", self.below(9)),
        }
    }
}

/// Asks all `questions` as each of `callers`. Returns a description of each request with its answer; the
/// answers of a list are those of all its pages.
pub(super) async fn answers(
    service: &Service,
    callers: &[&str],
    questions: &[Question],
) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for caller in callers {
        let snapshots = get(service, caller, "/v1/snapshots").await;
        let oldest =
            snapshots["snapshots"].as_array().unwrap().iter().min_by_key(|one| one["as_of"].to_string());
        let oldest = oldest.unwrap()["id"].as_str().unwrap().to_owned();
        for question in questions {
            let question = Question { path: question.path.replace("OLDER", &oldest), ..question.clone() };
            let asked = format!("{caller}: {question:?}").replace(&oldest, "OLDER");
            answers.push((asked, answer(service, caller, &question).await));
        }
    }
    answers
}

async fn get(service: &Service, caller: &str, path: &str) -> Value {
    let request = service.client.get(format!("{}{path}", service.url)).bearer_auth(key(caller));
    service.send(request).await.json()
}

/// Returns all pages of the answer, without what differs between equal worlds.
async fn answer(service: &Service, caller: &str, question: &Question) -> String {
    let (mut all, mut cursor) = (String::new(), None);
    loop {
        let mut path = question.path.clone();
        let mut body = question.body.clone();
        if let Some(cursor) = &cursor {
            match &mut body {
                Some(body) => body["cursor"] = json!(cursor),
                None => path = format!("{path}&cursor={cursor}"),
            }
        }
        let url = format!("{}{path}", service.url);
        let mut request = match &body {
            Some(body) => service.client.post(url).json(body),
            None => service.client.get(url),
        };
        if question.has_tag {
            request = request.header("if-none-match", "*");
        }
        let response = request.bearer_auth(key(caller)).send().await.unwrap();
        let status = response.status();
        let headers = response.headers().clone();
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let shown =
            ["content-type", "cache-control", "larder-rows", "larder-as-of", "retry-after"].map(header);
        let media_type = shown[0].clone();
        writeln!(all, "{status} {shown:?}").unwrap();
        let bytes = response.bytes().await.unwrap();
        if media_type == "application/vnd.apache.parquet" {
            return all + &rows(bytes);
        }
        let Ok(mut json) = serde_json::from_slice::<Value>(&bytes) else {
            return all + &String::from_utf8_lossy(&bytes);
        };
        cursor = json["next"].as_str().map(str::to_owned);
        normalize(&mut json);
        writeln!(all, "{json:#}").unwrap();
        if cursor.is_none() {
            return all;
        }
    }
}

/// Removes what differs between equal worlds.
fn normalize(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            for name in ["snapshot", "tier", "id", "created_at", "fingerprint", "request_id"] {
                fields.remove(name);
            }
            if let Some(next) = fields.get_mut("next")
                && let Some(cursor) = next.as_str()
            {
                let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).unwrap()).unwrap();
                let parts: Vec<&str> = text.split(' ').collect();
                // Cursors of changes end with the earlier snapshot.
                let is_change = ["changes:", "values:"].iter().any(|list| parts[2].starts_with(list));
                let list = if is_change { parts[2].rsplit_once(':').unwrap().0 } else { parts[2] };
                *next = json!([list, parts[3]]);
            }
            fields.values_mut().for_each(normalize);
        }
        Value::Array(values) => values.iter_mut().for_each(normalize),
        _ => {}
    }
}

/// Returns the rows of a Parquet file as text.
fn rows(file: bytes::Bytes) -> String {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut text = String::new();
    for batch in reader {
        let batch = batch.unwrap();
        writeln!(text, "{:?}", batch.schema().fields()).unwrap();
        for row in 0..batch.num_rows() {
            writeln!(text, "{:?}", batch.slice(row, 1).columns()).unwrap();
        }
    }
    text
}
