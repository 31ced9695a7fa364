//! Every way in which an answer reveals personal values, with every caller: the status, the audit lines and
//! `Cache-Control`.

use std::collections::{BTreeMap, BTreeSet};

use larder::config::Scope;
use serde_json::{Value, json};

use super::{CALLERS, key, keys, rule, shop};
use crate::support::{
    program::{Program, json_lines},
    shop::eventually,
};

/// Settings with a personal number, besides the texts `profile.email` and `contact.phone`, and with audiences
/// over personal values.
const SETTINGS: &str = "personal = [\"contact.orders\"]\n\
    [audiences.ours]\nwhere = 'profile.email:\"new@example.com\"'\n\
    [audiences.theirs]\nwhere = 'segment:ours or rfm.monetary > 1e9'\n\
    [log]\nformat = \"json\"\naudit = \"audit.log\"\n";

/// Callers besides [`CALLERS`].
const EXPORTERS: &[(&str, &[Scope])] = &[
    ("whole", &[Scope::Export, Scope::Pii]),
    ("matcher", &[Scope::Export, Scope::Match]),
    ("operator", &[Scope::Features, Scope::Export, Scope::Metrics, Scope::Admin]),
];

/// A request, and what its answer reveals to a caller with the scope `pii`.
struct Probe {
    path: &'static str,
    body: Option<Value>,
    /// Personal features with values in the answer.
    features: &'static [&'static str],
    /// Personal features that the answer depends on.
    asked_by: &'static [&'static str],
}

fn get(path: &'static str, features: &'static [&'static str], asked_by: &'static [&'static str]) -> Probe {
    Probe { path, body: None, features, asked_by }
}

fn post(
    path: &'static str,
    body: Value,
    features: &'static [&'static str],
    asked_by: &'static [&'static str],
) -> Probe {
    Probe { path, body: Some(body), features, asked_by }
}

const MAIL: &[&str] = &["profile.email"];
const PHONE: &[&str] = &["contact.phone"];
const ORDERS: &[&str] = &["contact.orders"];
const CONTACT: &[&str] = &["contact.phone", "contact.orders"];
const ALL: &[&str] = &["profile.email", "contact.phone", "contact.orders"];
const NONE: &[&str] = &[];

/// Returns the requests of the table.
fn probes() -> Vec<Probe> {
    let audience = |body: Value, features, asked_by| post("/v1/audiences", body, features, asked_by);
    let everybody = "rfm.monetary >= 0";
    vec![
        get("/v1/customers/17850", ALL, NONE),
        get("/v1/customers/17850?views=rfm", NONE, NONE),
        post("/v1/customers/batch", json!({"ids": ["17850"], "features": ["profile.email"]}), MAIL, NONE),
        post(
            "/get-online-features",
            json!({"entities": {"customer_id": ["17850"]}, "features": ["contact:phone"]}),
            PHONE,
            NONE,
        ),
        get("/v1/customers/17850/history?views=contact", CONTACT, NONE),
        get("/v1/customers/17850/recommendations", NONE, NONE),
        get("/v1/churn?views=profile", MAIL, NONE),
        get("/v1/churn?min_probability=0", NONE, NONE),
        get("/v1/segments/loyal/customers", NONE, NONE),
        get("/v1/segments/loyal/customers?views=profile", MAIL, NONE),
        get("/v1/segments/ours/customers", NONE, MAIL),
        get("/v1/segments/theirs/customers?views=contact", CONTACT, MAIL),
        get("/v1/segments/loyal", NONE, NONE),
        get("/v1/segments/ours", NONE, MAIL),
        get("/v1/segments/theirs", NONE, MAIL),
        get("/v1/segments/ours/history", NONE, MAIL),
        get("/v1/overlap?segments=loyal,ours", NONE, MAIL),
        get("/v1/overlap?segments=loyal,prospect", NONE, NONE),
        get("/v1/views", NONE, NONE),
        get("/v1/views/rfm/statistics", NONE, NONE),
        get("/v1/views/contact/statistics", CONTACT, NONE),
        get("/v1/customers/17850/segments", &["segments.personal_names"], NONE),
        get("/v1/customers/17850/segments?in=loyal", NONE, NONE),
        get("/v1/customers/17850/segments?in=theirs", NONE, MAIL),
        get("/v1/customers/17850?views=rfm&segments=true", &["segments.personal_names"], NONE),
        get("/v1/audiences?where=rfm.monetary%20%3E%3D%200&limit=1&views=profile", MAIL, NONE),
        audience(json!({"where": everybody, "limit": 0}), NONE, NONE),
        audience(json!({"where": everybody, "limit": 1, "views": ["profile"]}), MAIL, NONE),
        audience(
            json!({"where": everybody, "limit": 0, "breakdown": {"feature": "profile.email"}}),
            NONE,
            MAIL,
        ),
        audience(
            json!({"where": everybody, "limit": 0, "breakdown": {"feature": "contact.orders", "buckets": 2}}),
            NONE,
            ORDERS,
        ),
        // A hint quotes the address that somebody has.
        audience(json!({"where": "profile.email:\"new@example.con\"", "limit": 0}), NONE, MAIL),
        audience(json!({"where": "profile.email:\"new@example.com\"", "limit": 1}), NONE, MAIL),
        audience(json!({"where": "not contact.phone is null", "views": ["contact"]}), CONTACT, PHONE),
        audience(json!({"where": everybody, "order_by": "contact.orders", "limit": 2}), NONE, ORDERS),
        audience(json!({"where": "segment:theirs", "limit": 0}), NONE, MAIL),
        get("/v1/segments/loyal/export?columns=customer_id", NONE, NONE),
        get("/v1/segments/loyal/export", ALL, NONE),
        get("/v1/segments/ours/export?columns=customer_id", NONE, MAIL),
        get("/v1/churn/export?columns=profile", MAIL, NONE),
        post("/v1/audiences/export", json!({"where": everybody, "columns": ["profile.email"]}), MAIL, NONE),
        post(
            "/v1/audiences/export",
            json!({"where": "profile.email is null", "columns": ["customer_id"]}),
            NONE,
            MAIL,
        ),
        post(
            "/v1/audiences/export",
            json!({"where": everybody, "order_by": "contact.orders", "columns": ["rank"]}),
            NONE,
            ORDERS,
        ),
        post(
            "/v1/audiences/export",
            json!({"where": "segment:ours", "columns": ["customer_id"]}),
            NONE,
            MAIL,
        ),
    ]
}

#[tokio::test]
async fn answers_that_reveal_personal_values_are_audited_and_not_cached() {
    let shop = shop(&format!("{SETTINGS}{}{}", keys(CALLERS), keys(EXPORTERS)));
    drop(shop.open().await);
    let program = Program::start(shop.command(&["serve", "--listen", "127.0.0.1:0"]));
    let client = reqwest::Client::new();
    let ask = async |probe: &Probe, name: &str, id: &str| {
        let url = format!("{}{}", program.url, probe.path);
        let request = match &probe.body {
            None => client.get(url),
            Some(body) => client.post(url).json(body),
        };
        let answer = request.bearer_auth(key(name)).header("x-request-id", id).send().await.unwrap();
        let status = answer.status().as_u16();
        let control = answer.headers()["cache-control"].to_str().unwrap().to_owned();
        (status, control, answer.text().await.unwrap())
    };
    let probes = probes();
    let callers: Vec<_> = CALLERS.iter().chain(EXPORTERS).collect();
    let mut expected = BTreeMap::new();
    for (at, probe) in probes.iter().enumerate() {
        for (name, scopes) in &callers {
            let has = |scope: Scope| scopes.contains(&scope);
            let id = format!("{name}-{at}");
            let (status, control, text) = ask(probe, name, &id).await;
            let path = probe.path.split('?').next().unwrap();
            let may = rule(path).is_none_or(has) && (probe.asked_by.is_empty() || has(Scope::Pii));
            assert_eq!(
                status,
                if may { 200 } else { 403 },
                "{} {:?} as {name}: {text}",
                probe.path,
                probe.body
            );
            let is_export = path.ends_with("/export");
            let reveals = has(Scope::Pii) && !(probe.features.is_empty() && probe.asked_by.is_empty());
            let is_audited = may && (reveals || is_export);
            let no_store = is_audited || !may;
            assert_eq!(
                control,
                if no_store { "no-store" } else { "private, no-cache" },
                "{} as {name}",
                probe.path
            );
            if is_audited {
                expected.insert(id, (probe, is_export, has(Scope::Pii), has(Scope::Match)));
            }
        }
    }
    let file = shop.path().join("audit.log");
    let lines = eventually(async || json_lines(&file), |lines| lines.len() >= expected.len()).await;
    let mut found = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for line in &lines {
        let id = line["request_id"].as_str().unwrap();
        assert!(found.insert(id, line).is_none(), "two lines for one answer: {line}");
        let audit_id = line["audit_id"].as_str().unwrap();
        assert!(audit_id != id && ids.insert(audit_id), "{line}");
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (id, (probe, is_export, pii, matches)) in &expected {
        let line = found[id.as_str()];
        let names = |field: &str| -> BTreeSet<&str> {
            line[field].as_str().unwrap_or_default().split(',').filter(|name| !name.is_empty()).collect()
        };
        let shown = if *pii { probe.features } else { NONE };
        assert_eq!(names("features"), shown.iter().copied().collect(), "{line}");
        assert_eq!(names("asked_by"), probe.asked_by.iter().copied().collect(), "{line}");
        assert!(line["route"].is_string() && line["key"] == *id.rsplit_once('-').unwrap().0, "{line}");
        let hashed: BTreeSet<&str> = probe
            .features
            .iter()
            .copied()
            .filter(|name| *matches && !pii && !name.ends_with("orders"))
            .collect();
        assert_eq!(names("hashed"), hashed, "{line}");
        if *is_export || !probe.asked_by.is_empty() && probe.path.contains("customers") {
            assert!(line["total"].is_u64() && line["customers"].is_u64(), "{line}");
        }
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("example.com") && !text.contains("phone-") && !text.contains("lrd_"), "{text}");
}

#[tokio::test]
async fn audiences_over_personal_values_are_closed_without_pii() {
    let shop = shop(&format!("{SETTINGS}{}{}", keys(CALLERS), keys(EXPORTERS)));
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let manifest = format!("/v1/snapshots/{}", built.manifest.id);
    for path in ["/v1/segments", manifest.as_str()] {
        let answer = super::get(&service, path, "operator").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(
            !answer.text.contains("\"ours\"") && !answer.text.contains("\"theirs\""),
            "{path}: {}",
            answer.text
        );
        assert!(answer.text.contains("loyal"), "{path}: {}", answer.text);
        let whole = super::get(&service, path, "all").await;
        assert!(
            whole.text.contains("\"ours\"") && whole.header("cache-control") == "no-store",
            "{}",
            whole.text
        );
    }
    let closed = super::get(&service, "/v1/segments/theirs", "operator").await;
    assert_eq!(closed.problem(), "forbidden");
    assert!(closed.text.contains("`theirs` depends on personal features"), "{}", closed.text);
}

/// An audience that takes customers first decides about the audiences after it.
#[tokio::test]
async fn audience_after_a_personal_one_is_personal() {
    let named = "[audiences.first]\nwhere = 'profile.email is null'\npriority = 1\n\
        [audiences.second]\nwhere = 'rfm.monetary > 0'\npriority = 2\n\
        [audiences.apart]\nwhere = 'rfm.monetary > 0'\n";
    let service = shop(&format!("{named}{}", keys(CALLERS))).open().await;
    for (name, status) in [("first", 403), ("second", 403), ("apart", 200)] {
        let answer = super::get(&service, &format!("/v1/segments/{name}/customers"), "features").await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
    }
}
