//! Exports of audiences, compared with `POST /v1/audiences` and with the snapshot.

use std::{collections::BTreeMap, fs, path::Path};

use larder::config::{Config, Scope};
use serde_json::{Value, json};

use super::{EMAIL, bytes_of, csv, duck, shop, without_loyal, write};
use crate::support::{
    callers::{key, keys},
    large::large,
    program::Program,
    shop::{Answer, Service, eventually},
};

const PATH: &str = "/v1/audiences/export";

async fn ask(service: &Service, body: Value) -> Answer {
    service.post(PATH, body.to_string()).await
}

/// Returns the ids, without the prefix of texts that look like formulas.
fn ids(rows: &[BTreeMap<String, String>]) -> Vec<&str> {
    rows.iter().map(|row| row["customer_id"].trim_start_matches('\'')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_matches_audience_query() {
    let shop = shop();
    let service = shop.open().await;
    let customers = shop.snapshot_folders()[0].join("customers/*.parquet").display().to_string();
    let mut queries = Vec::new();
    for (at, (expression, sql)) in [
        ("profile.country:UK and rfm.monetary > 5", "profile.country = 'UK' AND rfm.monetary > 5"),
        ("not segment:hibernating", "rfm.segment IS DISTINCT FROM 'hibernating'"),
        ("profile.age < 30 or profile.age is null", "profile.age < 30 OR profile.age IS NULL"),
        ("not profile.age < 30", "NOT profile.age < 30"),
        (
            "profile.note:\"=HYPERLINK(\\\"http://x\\\",\\\"y\\\")\"",
            "profile.note = '=HYPERLINK(\"http://x\",\"y\")'",
        ),
        ("rfm.monetary > 1e9", "rfm.monetary > 1e9"),
        ("rfm.monetary is null or rfm.monetary is not null", "true"),
    ]
    .into_iter()
    .enumerate()
    {
        for order_by in ["rfm.monetary desc", "behavior.first_purchase_at"] {
            let page = json!({"where": expression, "order_by": order_by, "limit": 1000,
                "views": ["profile", "rfm", "behavior", "churn", "value", "recommendations"]});
            let page = service.post("/v1/audiences", page.to_string()).await.json();
            let expected = page["customers"].as_array().unwrap();
            let asked = json!({"where": expression, "order_by": order_by, "format": "ndjson"});
            let answer = ask(&service, asked).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, "application/x-ndjson"),
                "{expression}"
            );
            assert_eq!(answer.header("larder-rows"), page["total"].to_string());
            assert_eq!(answer.header("larder-snapshot"), page["snapshot"].as_str().unwrap());
            let found: Vec<Value> =
                answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(&found, expected, "{expression} by {order_by}");

            let text = ask(&service, json!({"where": expression, "order_by": order_by, "limit": 2})).await;
            let named = text.header("content-disposition");
            assert!(
                named.starts_with("attachment; filename=\"audience-2024") && named.ends_with(".csv\""),
                "{named}"
            );
            let (rows, first) = (csv(text.text.as_bytes()), &expected[..expected.len().min(2)]);
            let first: Vec<&str> =
                first.iter().map(|member| member["customer_id"].as_str().unwrap()).collect();
            assert_eq!(ids(&rows), first);
            assert_eq!(text.header("larder-rows"), first.len().to_string());
        }
        // The default order is by id.
        let body = json!({"where": expression, "format": "parquet"});
        let file = write(&shop, &format!("{at}.parquet"), bytes_of(&service, PATH, &body).await);
        let (here, there) = (
            format!("SELECT * EXCLUDE (segments) FROM read_parquet('{customers}') WHERE {sql}"),
            format!("SELECT * EXCLUDE (rank) FROM '{}'", file.display()),
        );
        queries.push(format!(
            "SELECT count(*) FROM (({here} EXCEPT ALL {there}) UNION ALL ({there} EXCEPT ALL {here}))"
        ));
        queries.push(format!("SELECT customer_id FROM '{}'", file.display()));
        queries.push(format!("SELECT customer_id FROM ({here}) ORDER BY customer_id"));
    }
    let answers = duck(&queries);
    for (answer, query) in answers.chunks(3).zip(queries.chunks(3)) {
        assert_eq!(answer[0], json!([[0]]), "{}", query[0]);
        assert_eq!(answer[1], answer[2], "{}", query[2]);
    }
    let all = ask(&service, json!({"where": "not rfm.monetary > 1e9"})).await;
    let rows = csv(all.text.as_bytes());
    assert!(ids(&rows).is_sorted() && rows.len() > 10, "{}", all.text);
    let some = json!({
        "where": "not rfm.monetary > 1e9", "columns": ["rank", "profile.note", "rfm"], "order": "rank",
    });
    assert!(ask(&service, some).await.text.starts_with("rank,profile.note,rfm.recency_days,"));
}

#[tokio::test]
async fn invalid_request_is_rejected_before_export() {
    let service = shop().open().await;
    for (body, kind, part) in [
        (json!({"where": "rfm.monetary >= and"}), "bad-expression", "expected a value"),
        (json!({"where": "segment:champoins"}), "bad-expression", "did you mean champions?"),
        (json!({"where": ""}), "bad-expression", "found the end"),
        (json!({}), "bad-body", "where"),
        (json!({"where": "segment:new", "limit": 0}), "bad-body", "`limit`"),
        (json!({"where": "segment:new", "views": ["rfm"]}), "bad-body", "views"),
        (json!({"where": "segment:new", "format": "xlsx"}), "bad-body", "`format`"),
        (json!({"where": "segment:new", "order": "name"}), "bad-body", "`order`"),
        (json!({"where": "segment:new", "columns": ["rfm.nope"]}), "bad-body", "rfm.nope"),
        (json!({"where": "segment:new", "columns": []}), "bad-body", "`columns`"),
        (json!({"where": "segment:new", "order_by": "rfm.segment"}), "unknown-feature", "neither"),
        (
            json!({"where": "segment:new", "order_by": "rfm.monetari"}),
            "unknown-feature",
            "did you mean monetary?",
        ),
        (json!({"where": "segment:new", "order_by": "rfm.monetary down"}), "bad-body", "`asc` or `desc`"),
    ] {
        let answer = ask(&service, body.clone()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, kind), "{body}: {}", answer.text);
        let problem = answer.json();
        assert!(problem["detail"].as_str().unwrap().contains(part), "{body}: {problem}");
        assert_eq!(problem["position"].is_u64(), kind == "bad-expression", "{problem}");
    }
    let text =
        service.client.post(format!("{}{PATH}", service.url)).header("content-type", "text/csv").body("x");
    assert_eq!(service.send(text).await.problem(), "unsupported-media-type");
    assert_eq!(service.get(PATH).await.problem(), "bad-parameter");
    assert_eq!(service.metric("larder_exports_open").await, 0.0);
}

/// Keys with the scopes `export` and `match`, `export` and `pii`, and `features`.
const CALLERS: &[(&str, &[Scope])] = &[
    ("plain", &[Scope::Export, Scope::Match]),
    ("whole", &[Scope::Export, Scope::Pii]),
    ("reader", &[Scope::Features]),
];

#[tokio::test]
async fn audience_export_requires_pii_for_personal_features() {
    let mut shop = shop();
    shop.config.keys = Config::parse(&keys(CALLERS), "keys", []).unwrap().keys;
    let service = shop.open().await;
    let ask = async |body: &Value, name: &str| {
        let request = service.client.post(format!("{}{PATH}", service.url)).json(body);
        service.send(request.bearer_auth(key(name))).await
    };
    for format in ["csv", "ndjson"] {
        let body = json!({
            "where": "not rfm.monetary > 1e9", "format": format, "columns": ["customer_id", "profile"],
        });
        let plain = ask(&body, "plain").await;
        assert_eq!(plain.text.matches(EMAIL).count(), 2, "{}", plain.text);
        assert!(
            !["xample.com", "Countess", "(151)"].iter().any(|word| plain.text.contains(word)),
            "{}",
            plain.text
        );
        let whole = ask(&body, "whole").await;
        assert!(whole.text.contains("Ada@Example.com") && whole.text.contains("Zoë"), "{}", whole.text);
        assert_eq!(ask(&body, "reader").await.problem(), "forbidden");
        assert_eq!(service.post(PATH, body.to_string()).await.status, 401);
    }
    for expression in [
        "profile.email:\"ADA@example.com\"",
        "segment:new or not (profile.age > 1 and profile.full_name is null)",
        "profile.mobile in (a, b)",
    ] {
        let body = json!({"where": expression, "columns": ["customer_id"]});
        let plain = ask(&body, "plain").await;
        assert_eq!(
            (plain.status, plain.problem().as_str()),
            (403, "forbidden"),
            "{expression}: {}",
            plain.text
        );
        assert!(plain.text.contains("is personal") && plain.text.contains("`pii`"), "{}", plain.text);
        assert_eq!(ask(&body, "whole").await.status, 200, "{expression}");
    }
    let body = json!({"where": "segment:new", "order_by": "profile.email"});
    assert_eq!(ask(&body, "plain").await.problem(), "forbidden");
    // A caller with `pii` gets the customers that match the personal feature.
    let body = json!({"where": "profile.email:\"ADA@example.com\"", "columns": ["customer_id"]});
    assert_eq!(csv(ask(&body, "whole").await.text.as_bytes()).len(), 1);
}

#[tokio::test]
async fn audience_export_is_audited() {
    let shop = shop();
    let file = shop.path().join("larder.toml");
    let toml = fs::read_to_string(&file).unwrap()
        + &keys(CALLERS)
        + "[log]\nformat = \"json\"\naudit = \"audit.log\"\n";
    fs::write(&file, toml).unwrap();
    drop(shop.open().await);
    let program = Program::start(shop.command(&["serve", "--listen", "127.0.0.1:0"]));
    let client = reqwest::Client::new();
    for (name, expression) in [
        ("plain", "segment:hibernating  and rfm.monetary<99999"),
        ("whole", "profile.email:\"ADA@example.com\" and segment:hibernating"),
    ] {
        let body = json!({"where": expression, "columns": ["customer_id", "profile.email"]});
        let request = client.post(format!("{}{PATH}", program.url)).json(&body).bearer_auth(key(name));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let lines = || async { fs::read_to_string(shop.path().join("audit.log")).unwrap_or_default() };
    let text = eventually(lines, |text| text.lines().count() == 2).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = |line: &Value| {
        ["key", "list", "expression", "asked_by", "features", "hashed"].map(|name| line[name].clone())
    };
    assert_eq!(
        fields(&lines[0]),
        [
            json!("plain"),
            json!("audience"),
            json!("segment:hibernating and rfm.monetary < 99999"),
            Value::Null,
            json!(""),
            json!("profile.email")
        ]
    );
    assert_eq!(
        fields(&lines[1]),
        [
            json!("whole"),
            json!("audience"),
            Value::Null,
            json!("profile.email"),
            json!("profile.email"),
            json!("")
        ]
    );
    assert!(!text.to_lowercase().contains("example.com"), "{text}");
}

#[tokio::test]
async fn erased_customers_are_not_in_audience_export() {
    let shop = shop();
    let service = shop.open().await;
    let body = json!({"where": "rfm.monetary > 0", "order": "rank", "columns": ["customer_id", "rank"]});
    let before = ask(&service, body.clone()).await;
    assert!(before.text.contains("loyal,"), "{}", before.text);
    assert!(shop.larder(&["forget", "--keep-snapshots", "loyal"]).status.success());
    let after = eventually(|| ask(&service, body.clone()), |after| after.text != before.text).await;
    let without = without_loyal(&before.text);
    assert_eq!(after.text.lines().collect::<Vec<_>>(), without);
    assert_eq!(after.header("larder-rows"), (without.len() - 1).to_string());
    let mut first = body;
    first["limit"] = json!(1);
    assert_eq!(ask(&service, first).await.text.lines().collect::<Vec<_>>(), without[..2]);
}

#[tokio::test]
async fn export_command_exports_audience() {
    let shop = shop();
    shop.open().await;
    let run =
        |args: &[&str], out: &str| shop.larder(&[&["export", "audience"], args, &["--out", out]].concat());
    let file = shop.path().join("out.csv");
    let out = file.to_str().unwrap();
    let done = |args: &[&str], out: &str, file: &Path| {
        let output = run(args, out);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), fs::read(file).unwrap())
    };
    let (said, text) =
        done(&["rfm.monetary > 5 and profile.country:UK", "--order", "rank", "--limit", "2"], out, &file);
    assert_eq!(ids(&csv(&text)), ["loyal", "tie-b"]);
    assert!(
        said.contains("2 customers") && said.contains("left out, as personal data: profile.email"),
        "{said}"
    );
    let ascending = ["rfm.monetary > 15 and profile.country:UK", "--order-by", "rfm.monetary"];
    let (said, text) = done(&[&ascending[..], &["--columns", "customer_id"]].concat(), out, &file);
    assert_eq!(ids(&csv(&text)), ["tie-a", "tie-b", "loyal"], "{said}");
    let (said, _) = done(&["profile.country:Frnace"], out, &file);
    assert!(
        said.contains("at character 16: no customer has profile.country \"Frnace\"; did you mean `France`?"),
        "{said}"
    );
    let place = shop.path().join("lake/exports/out.parquet");
    done(&["rfm.monetary > 0", "--format", "parquet"], "lake:exports/out.parquet", &place);
    let customers = shop.snapshot_folders()[0].join("customers/*.parquet");
    let found = duck(&[
        format!("SELECT count(*) FROM '{}'", place.display()),
        format!("SELECT count(*) FROM read_parquet('{}') WHERE rfm.monetary > 0", customers.display()),
    ]);
    assert_eq!(found[0], found[1]);
    let personal = "profile.email:\"ADA@example.com\"";
    let (_, text) = done(&[personal, "--pii"], out, &file);
    assert_eq!(ids(&csv(&text)), ["tie-a"]);

    fs::remove_file(&file).unwrap();
    for (args, part) in [
        (&["rfm.monetary > and"][..], "at character 15: expected a value"),
        (&["segment:champoins"], "at character 8: there is no segment `champoins`; did you mean champions?"),
        (&["segment:new", "--order-by", "rfm.segment"], "neither"),
        (&["segment:new", "--order-by", "monetary"], "view.feature"),
        (&["segment:new", "--limit", "0"], "--limit"),
        (&[personal], "profile.email is personal"),
        (&["segment:new", "--order-by", "profile.email"], "profile.email is personal"),
        (&["profile.country:United Kingdom"], "put text of several words in quotes"),
    ] {
        let output = run(args, out);
        assert!(!output.status.success(), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(part), "{args:?}: {output:?}");
        assert!(!file.exists(), "{args:?}");
    }
}

#[tokio::test]
async fn export_into_reserved_lake_path_is_rejected() {
    let shop = shop();
    let service = shop.open().await;
    let current = fs::read(shop.path().join("lake/CURRENT")).unwrap();
    let lock = shop.path().join("lake/.publish.lock");
    fs::write(&lock, "locked").unwrap();
    for place in [
        "CURRENT",
        "/CURRENT",
        "snapshots/x.csv",
        "forgotten/x.csv",
        "raw/transactions/x.csv",
        ".publish.lock",
        ".hidden/x.csv",
        "exports",
        "exports/.x.csv",
        "exports/.x/y.csv",
        "elsewhere/x.csv",
        "x.csv",
        "",
        "/",
    ] {
        let output = shop.larder(&["export", "audience", "segment:new", "--out", &format!("lake:{place}")]);
        assert!(!output.status.success(), "{place}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr.contains("choose one below lake:exports/, such as lake:exports/"),
            "{place}: {stderr}"
        );
    }
    assert_eq!(fs::read(shop.path().join("lake/CURRENT")).unwrap(), current);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "locked");
    assert_eq!(service.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audience_export_stops_when_receiver_disconnects() {
    let mut shop = large(60_000).await;
    shop.config.serving.exports = 1;
    let service = shop.serve().await;
    let ask = || {
        let body = json!({"where": "rfm.monetary > 1000", "order_by": "rfm.monetary", "format": "ndjson"});
        service.client.post(format!("{}{PATH}", service.url)).json(&body).send()
    };
    let mut response = ask().await.unwrap();
    assert_eq!(response.headers()["larder-rows"], "59000");
    assert!(!response.chunk().await.unwrap().unwrap().is_empty());
    let busy = ask().await.unwrap();
    assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    drop(response);
    eventually(|| service.metric("larder_exports_open"), |open| *open == 0.0).await;
    assert_eq!(service.metric("larder_exports_total{outcome=\"left\"}").await, 1.0);
    let whole = ask().await.unwrap().text().await.unwrap();
    let first: Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    assert_eq!((whole.lines().count(), &first["views"]["rfm"]["monetary"]), (59_000, &json!(1000.25)));
}
