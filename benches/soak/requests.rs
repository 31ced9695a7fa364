//! The mix of requests: what a shop's systems ask, and what mistaken and hostile callers do.

use std::{fmt::Write, sync::Arc};

use larder::{feature::CustomerId, snapshot::Manifest};
use memchr::memmem;

use crate::{
    shop::Dice,
    wire,
    wrk::{batch_body, encoded},
};

/// Cursors that a connection keeps for later.
const CURSORS: usize = 50;
const OK: &[u16] = &[200];

/// Returns the API key of the caller `name`.
pub(crate) fn key(name: &str) -> String {
    format!("lrd_the-key-of-{name}")
}

/// Kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Customer,
    Batch,
    Page,
    NextPage,
    Audience,
    Hint,
    CustomerHistory,
    SegmentHistory,
    Recommendations,
    Feast,
    Export,
    Metrics,
    Description,
    Unknown,
    Malformed,
    Unauthorized,
    Limited,
    HangUp,
}

/// When the client stops reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    AfterHead,
    AtOnce,
}

/// A request, and what may be answered.
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    pub(crate) request: Vec<u8>,
    pub(crate) expected: &'static [u16],
    pub(crate) end: End,
    /// The path of a page, with which its cursor belongs.
    page: Option<String>,
}

/// Random requests.
#[derive(Clone)]
pub(crate) struct Mix {
    dice: Dice,
    ids: Arc<[CustomerId]>,
    segments: Arc<[String]>,
    /// Paths with the cursors of their next pages.
    cursors: Vec<String>,
}

impl Mix {
    pub(crate) fn new(ids: &[CustomerId], manifest: &Manifest) -> Self {
        let segments = manifest.segments.iter().map(|segment| segment.name.clone()).collect();
        Self { dice: Dice::new(), ids: ids.into(), segments, cursors: Vec::new() }
    }

    /// Returns a mix with random choices of its own.
    pub(crate) fn of_connection(&self, number: usize) -> Self {
        let mut mix = self.clone();
        for _ in 0..number * 7_919 {
            mix.dice.below(2);
        }
        mix
    }

    /// Keeps the cursor of a page.
    pub(crate) fn take_cursor(&mut self, ask: &Ask, body: &[u8]) {
        let Some(path) = &ask.page else { return };
        let Some(at) = memmem::find(body, b"\"next\":\"") else { return };
        let cursor = body[at + 8..].split(|byte| *byte == b'"').next().unwrap_or_default();
        let next = format!("{path}&cursor={}", String::from_utf8_lossy(cursor));
        if self.cursors.len() < CURSORS {
            self.cursors.push(next);
        } else {
            let at = self.dice.below(CURSORS);
            self.cursors[at] = next;
        }
    }

    /// Returns the next request.
    pub(crate) fn next(&mut self) -> Ask {
        match self.dice.below(1_000) {
            0..400 => {
                let path = format!("/v1/customers/{}{}", self.id(), self.pick(&["", "?views=rfm,profile"]));
                self.get(Kind::Customer, &path, OK)
            }
            400..480 => self.batch(),
            480..540 => self.page(),
            540..580 => {
                let Some(path) = self.dice.pick(&self.cursors).cloned() else { return self.page() };
                // A snapshot that was removed answers 503 while it is still open, and then 410.
                let mut ask = self.get(Kind::NextPage, &path, &[200, 410, 503]);
                ask.page = path.split_once("&cursor=").map(|(path, _)| path.to_owned());
                ask
            }
            580..700 => self.audience(),
            700..740 => self.hint(),
            740..790 => {
                let features = self.pick(&["", "?features=rfm.segment,rfm.monetary", "?views=rfm&limit=2"]);
                let path = format!("/v1/customers/{}/history{features}", self.id());
                self.get(Kind::CustomerHistory, &path, OK)
            }
            790..820 => self.segment_history(),
            820..860 => {
                let path = format!("/v1/customers/{}/recommendations", self.id());
                self.get(Kind::Recommendations, &path, OK)
            }
            860..900 => self.feast(),
            900..910 => self.export(),
            910..920 => self.get(Kind::Metrics, "/metrics", OK),
            920..940 => self.description(),
            940..955 => {
                let paths =
                    ["/v1/customers/nobody-", "/v1/segments/no_such_", "/v1/products/none-", "/none/"];
                let (start, number) = (self.pick(&paths), self.dice.below(1 << 40));
                let end = if start.contains("products") { "/similar" } else { "" };
                self.get(Kind::Unknown, &format!("{start}{number}{end}"), &[404])
            }
            955..970 => self.malformed(),
            970..980 => {
                let caller = self.pick(&["stranger", "reader"]);
                let segment = self.segment();
                let path = format!("/v1/segments/{segment}/export");
                ask(Kind::Unauthorized, wire::get(&path, &authorization(caller)), &[401, 403])
            }
            980..990 => {
                let path = format!("/v1/customers/{}", self.id());
                ask(Kind::Limited, wire::get(&path, &authorization("limited")), &[200, 429])
            }
            _ => {
                let ask = match self.dice.below(3) {
                    0 => self.export(),
                    1 => self.batch(),
                    _ => self.audience(),
                };
                let end = if self.dice.below(2) == 0 { End::AfterHead } else { End::AtOnce };
                Ask { kind: Kind::HangUp, end, page: None, ..ask }
            }
        }
    }

    fn batch(&mut self) -> Ask {
        let size = if self.dice.below(8) == 0 { 1_000 } else { 1 + self.dice.below(200) };
        let ids = self.dice.some(&self.ids, size);
        self.post(Kind::Batch, "/v1/customers/batch", &batch_body(&ids), OK)
    }

    fn page(&mut self) -> Ask {
        let limit = 1 + self.dice.below(500);
        let path = match self.dice.below(3) {
            0 => format!("/v1/churn?limit={limit}"),
            1 => format!("/v1/churn?risk={}&limit={limit}", self.pick(&["high", "medium", "low"])),
            _ => format!("/v1/segments/{}/customers?limit={limit}", self.segment()),
        };
        let mut ask = self.get(Kind::Page, &path, OK);
        ask.page = Some(path);
        ask
    }

    /// Returns an audience that was never asked for before.
    fn audience(&mut self) -> Ask {
        let limit = [0, 100, 1_000][self.dice.below(3)];
        let body = serde_json::json!({"where": self.expression(), "limit": limit});
        self.post(Kind::Audience, "/v1/audiences", &body.to_string(), OK)
    }

    fn expression(&mut self) -> String {
        let mut text = format!("rfm.monetary >= {}.{:04}", self.dice.below(2_000), self.dice.below(10_000));
        for _ in 0..self.dice.below(4) {
            let (join, segment) = (self.pick(&["and", "or", "and not"]), self.segment());
            let number = self.dice.below(5_000);
            let condition = match self.dice.below(4) {
                0 => format!("segment:{segment}"),
                1 => format!("behavior.spend_90d < {number}.5"),
                2 => format!("rfm.recency_days in ({}, {number})", self.dice.below(400)),
                _ => format!("churn.probability >= 0.{number:04}"),
            };
            let _ = write!(text, " {join} {condition}");
        }
        text
    }

    /// Returns an audience by values that nobody has.
    fn hint(&mut self) -> Ask {
        let mut text = String::new();
        for _ in 0..=self.dice.below(6) {
            let name = self.pick(&["profile.city", "profile.country", "rfm.segment", "profile.email"]);
            let start = self.pick(&["Germny", "Berln", "champion", "Londn"]);
            let or = if text.is_empty() { "" } else { " or " };
            let _ = write!(text, "{or}{name}:\"{start}{}\"", self.dice.below(1 << 30));
        }
        let body = serde_json::json!({"where": text, "limit": 10}).to_string();
        self.post(Kind::Hint, "/v1/audiences", &body, OK)
    }

    fn segment_history(&mut self) -> Ask {
        let (first, second) = (self.segment(), self.segment());
        let path = match self.dice.below(4) {
            0 => "/v1/migration?kind=rfm".to_owned(),
            1 if first != second => format!("/v1/overlap?segments={first},{second}"),
            2 => "/v1/migration?kind=churn".to_owned(),
            _ => format!("/v1/segments/{first}/history"),
        };
        self.get(Kind::SegmentHistory, &path, OK)
    }

    fn feast(&mut self) -> Ask {
        let count = 1 + self.dice.below(50);
        let ids: Vec<String> =
            self.dice.some(&self.ids, count).iter().map(|id| id.as_str().to_owned()).collect();
        let body = serde_json::json!({
            "entities": {"customer_id": ids},
            "features": ["rfm:segment", "behavior:spend_90d", "churn:probability"],
        });
        self.post(Kind::Feast, "/get-online-features", &body.to_string(), OK)
    }

    fn export(&mut self) -> Ask {
        let format = self.pick(&["csv", "ndjson", "parquet"]);
        let order = self.pick(&["id", "rank"]);
        // More exports may run than have a place.
        let expected = &[200, 503];
        match self.dice.below(3) {
            0 => self.get(Kind::Export, &format!("/v1/churn/export?format={format}&order={order}"), expected),
            1 => {
                let path = format!("/v1/segments/{}/export?format={format}&order={order}", self.segment());
                self.get(Kind::Export, &path, expected)
            }
            _ => {
                let body = serde_json::json!({"where": self.expression(), "format": format, "order": order});
                self.post(Kind::Export, "/v1/audiences/export", &body.to_string(), expected)
            }
        }
    }

    fn description(&mut self) -> Ask {
        let paths = [
            "/v1/views",
            "/v1/segments",
            "/v1/snapshots",
            "/v1/models/churn",
            "/v1/models/recommendations",
            "/openapi.json",
            "/docs/",
            "/healthz",
            "/readyz",
        ];
        let path = self.pick(&paths);
        let mut headers = authorization("all");
        if self.dice.below(4) == 0 {
            headers.push_str("if-none-match: *\r\n");
        }
        ask(Kind::Description, wire::get(path, &headers), &[200, 304])
    }

    fn malformed(&mut self) -> Ask {
        let number = self.dice.below(1 << 40);
        let where_ = [format!("rfm.monetary >> {number}"), format!("rfm.no_{number} = 1"), "(".repeat(40)];
        let expected = &[400];
        match self.dice.below(3) {
            0 => self.get(Kind::Malformed, &format!("/v1/churn?cursor=bad{number}"), expected),
            1 => {
                self.post(Kind::Malformed, "/v1/customers/batch", &format!("{{\"ids\": [{number}"), expected)
            }
            _ => {
                let text = where_[self.dice.below(where_.len())].as_str();
                let body = serde_json::json!({"where": text}).to_string();
                self.post(Kind::Malformed, "/v1/audiences", &body, expected)
            }
        }
    }

    fn id(&mut self) -> String {
        let at = self.dice.below(self.ids.len());
        encoded(&self.ids[at])
    }

    fn segment(&mut self) -> String {
        let at = self.dice.below(self.segments.len());
        self.segments[at].clone()
    }

    fn pick(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.dice.below(texts.len())]
    }

    /// Returns the headers of a caller with all scopes; some accept compressed answers.
    fn headers(&mut self) -> String {
        let encoding = match self.dice.below(8) {
            0 => "accept-encoding: gzip\r\n",
            1 => "accept-encoding: zstd\r\n",
            _ => "",
        };
        format!("{}{encoding}", authorization("all"))
    }

    fn get(&mut self, kind: Kind, path: &str, expected: &'static [u16]) -> Ask {
        let headers = self.headers();
        ask(kind, wire::get(path, &headers), expected)
    }

    fn post(&mut self, kind: Kind, path: &str, body: &str, expected: &'static [u16]) -> Ask {
        let headers = self.headers();
        ask(kind, wire::post(path, &headers, body), expected)
    }
}

fn ask(kind: Kind, request: Vec<u8>, expected: &'static [u16]) -> Ask {
    Ask { kind, request, expected, end: End::Whole, page: None }
}

fn authorization(caller: &str) -> String {
    format!("authorization: Bearer {}\r\n", key(caller))
}
