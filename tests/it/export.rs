//! Exports, read back with the csv crate and DuckDB and compared with the snapshot.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    python::installed,
    shop::{Answer, CORNERS, CORNERS_TOML, Service, Shop, eventually},
};

mod audience;
mod limits;
mod platforms;
mod spreadsheets;

/// Output of `printf %s ada@example.com | sha256sum`.
const EMAIL: &str = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";
/// Output of `printf %s +4915112345 | sha256sum`.
const MOBILE: &str = "364ced1f73c4dedfadeee756d8a0337e2b1379e2229545f22af60bb8c6147fcd";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/duck.py");

/// Customers with values that need quoting, escaping or masking.
const CUSTOMERS: &str = concat!(
    r#"{"customer_id": "17850", "email": " Ada@Example.com ", "mobile": "0049 (151) 123-45", "#,
    r#""full_name": "Ada, \"the\" Countess", "age": 36, "note": "=HYPERLINK(\"http://x\",\"y\")"}"#,
    "\n",
    r#"{"customer_id": "loyal", "email": "", "mobile": "n/a", "full_name": "two\nlines", "age": null, "#,
    r#""note": "-5.25"}"#,
    "\n",
    r#"{"customer_id": "tie-a", "email": "ADA@example.com", "mobile": "+4915112345", "full_name": "Zoë", "#,
    r#""age": 7, "note": "@SUM(A1:A9)"}"#,
    "\n",
    r#"{"customer_id": "tie-b", "note": "+49 151"}"#,
    "\n",
    r#"{"customer_id": "whale", "note": "indented, and \"quoted\""}"#,
    "\n",
    r#"{"customer_id": "=1+1", "email": "f@example.com", "note": "the id is a formula"}"#,
    "\n",
);

fn shop() -> Shop {
    let toml = CORNERS_TOML.replace("[\"email\"]", "[\"email\", \"mobile\", \"full_name\"]");
    let shop = Shop::new(&format!("{toml}types = {{ age = \"integer\" }}\n"));
    shop.raw("transactions/all.csv", CORNERS);
    shop.raw("customers/people.jsonl", CUSTOMERS);
    shop
}

/// Runs `queries` in DuckDB, and returns the rows of each.
fn duck(queries: &[String]) -> Vec<Value> {
    let python = installed("duckdb").join("python");
    let mut child = Command::new(python)
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all((queries.join("\n") + "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn write(shop: &Shop, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = shop.path().join(name);
    std::fs::write(&file, content).unwrap();
    file
}

async fn bytes(service: &Service, path: &str) -> Vec<u8> {
    let response = service.client.get(format!("{}{path}", service.url)).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.bytes().await.unwrap().to_vec()
}

async fn bytes_of(service: &Service, path: &str, body: &Value) -> Vec<u8> {
    let response = service.client.post(format!("{}{path}", service.url)).json(body).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path} {body}");
    response.bytes().await.unwrap().to_vec()
}

/// Parses a CSV file. Returns the cells of each record by column name.
fn csv(text: &[u8]) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text);
    let names = reader.headers().unwrap().clone();
    let cells = |record: csv::StringRecord| {
        names.iter().map(str::to_owned).zip(record.iter().map(str::to_owned)).collect()
    };
    reader.records().map(|record| cells(record.unwrap())).collect()
}

/// Returns the CSV cell that is expected for the value `json`.
fn cell(json: &Value) -> String {
    match json {
        Value::Null => String::new(),
        Value::String(text) => {
            let number = text.parse::<f64>().is_ok_and(f64::is_finite) || text == "+49 151";
            let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !number;
            if formula { format!("'{text}") } else { text.clone() }
        }
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_matches_list_pages() {
    let shop = shop();
    let service = shop.open().await;
    let views: Vec<String> = service.get("/v1/views").await.json()["views"]
        .as_array()
        .unwrap()
        .iter()
        .map(|view| view["name"].as_str().unwrap().to_owned())
        // An export has this view only on request.
        .filter(|view| view != "segments")
        .collect();
    let lists = service.get("/v1/segments").await.json()["segments"].clone();
    let mut lists: Vec<String> = lists
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| format!("segments/{}", segment["name"].as_str().unwrap()))
        .collect();
    lists.push("churn".to_owned());
    let mut seen = 0;
    for list in &lists {
        let members = if list == "churn" { "/v1/churn".to_owned() } else { format!("/v1/{list}/customers") };
        let page = service.get(&format!("{members}?limit=1000&views={}", views.join(","))).await.json();
        let expected = page["customers"].as_array().unwrap();
        let answer = service.get(&format!("/v1/{list}/export?format=ndjson&order=rank")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
        assert_eq!(answer.header("larder-rows"), expected.len().to_string());
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("larder-snapshot"), page["snapshot"].as_str().unwrap());
        let found: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(&found, expected, "{list}");

        let text = bytes(&service, &format!("/v1/{list}/export")).await;
        let mut rows = csv(&text);
        let mut by_id: Vec<&Value> = expected.iter().collect();
        by_id.sort_by_key(|member| member["customer_id"].as_str().unwrap());
        assert_eq!(rows.len(), by_id.len(), "{list}");
        for (row, member) in rows.iter_mut().zip(by_id) {
            assert_eq!(row.remove("rank"), Some(member["rank"].to_string()));
            assert_eq!(row.remove("customer_id"), member["customer_id"].as_str().map(str::to_owned));
            for (name, found) in row.iter() {
                let (view, feature) = name.split_once('.').unwrap();
                let json = &member["views"][view][feature];
                if json.is_array() || json.is_object() || json.is_f64() {
                    assert_eq!(&serde_json::from_str::<Value>(found).unwrap(), json, "{name}");
                } else {
                    assert_eq!(found, &cell(json), "{name}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 500, "{seen}");

    let names = "columns=profile.note,customer_id,rfm.segment,profile.note";
    let answer = service.get(&format!("/v1/churn/export?{names}&risk=high&order=rank")).await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert!(
        answer.header("content-disposition").starts_with("attachment; filename=\"churn-2024"),
        "{:?}",
        answer.headers
    );
    assert!(answer.text.starts_with("profile.note,customer_id,rfm.segment\r\n"), "{}", answer.text);
    let high = service.get("/v1/churn?risk=high").await.json();
    let ids: Vec<&str> =
        high["customers"].as_array().unwrap().iter().map(|c| c["customer_id"].as_str().unwrap()).collect();
    let found: Vec<String> =
        csv(answer.text.as_bytes()).iter().map(|row| row["customer_id"].clone()).collect();
    assert_eq!(found, ids);
    let filtered = service.get("/v1/churn/export?columns=customer_id&min_probability=0.2&min_value=5").await;
    let listed = service.get("/v1/churn?min_probability=0.2&min_value=5").await.json();
    assert_eq!(filtered.header("larder-rows"), listed["total"].to_string());
    assert_eq!(csv(filtered.text.as_bytes()).len() as u64, listed["total"].as_u64().unwrap());

    for (path, status, kind) in [
        ("/v1/segments/nope/export", 404, "segment-not-found"),
        ("/v1/segments/champions/export?format=xlsx", 400, "bad-parameter"),
        ("/v1/segments/champions/export?order=name", 400, "bad-parameter"),
        ("/v1/segments/champions/export?columns=rfm.nope", 400, "bad-parameter"),
        ("/v1/segments/champions/export?columns=,", 400, "bad-parameter"),
        ("/v1/segments/champions/export?limit=1", 400, "bad-parameter"),
        ("/v1/churn/export?risk=some", 400, "bad-parameter"),
        ("/v1/churn/export?segment=nope", 400, "bad-parameter"),
    ] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{path}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duckdb_reads_parquet_and_csv_exports() {
    let shop = shop();
    let service = shop.open().await;
    let file = write(
        &shop,
        "loyal.parquet",
        bytes(&service, "/v1/segments/hibernating/export?format=parquet").await,
    );
    let ranked = write(
        &shop,
        "ranked.parquet",
        bytes(&service, "/v1/segments/hibernating/export?format=parquet&order=rank&columns=rank,rfm").await,
    );
    let none =
        write(&shop, "none.parquet", bytes(&service, "/v1/segments/at_risk/export?format=parquet").await);
    let text = write(
        &shop,
        "notes.csv",
        bytes(&service, "/v1/churn/export?columns=customer_id,profile.note,profile.full_name,rfm.monetary")
            .await,
    );
    let customers = shop.snapshot_folders()[0].join("customers/*.parquet");
    let [file, ranked, none, text, customers] =
        [file, ranked, none, text, customers].map(|path| path.display().to_string());
    let members = format!(
        "SELECT * EXCLUDE (segments) FROM read_parquet('{customers}') WHERE rfm.segment = 'hibernating'"
    );
    let (here, there) = (members.clone(), format!("SELECT * EXCLUDE (rank) FROM '{file}'"));
    let answers = duck(&[
        format!("SELECT count(*) FROM ({here} EXCEPT ALL {there})"),
        format!("SELECT count(*) FROM ({there} EXCEPT ALL {here})"),
        format!("SELECT column_name, column_type FROM (DESCRIBE SELECT * EXCLUDE (rank) FROM '{file}')"),
        format!("SELECT column_name, column_type FROM (DESCRIBE {members})"),
        format!("SELECT customer_id FROM '{file}' ORDER BY rank"),
        format!("SELECT rank, rfm.monetary FROM '{ranked}'"),
        format!(
            "SELECT decode(value) FROM parquet_kv_metadata('{file}') WHERE decode(key) = 'larder.snapshot'"
        ),
        format!("SELECT count(*) FROM '{none}'"),
        format!(
            "SELECT customer_id, \"profile.note\", \"profile.full_name\" \
             FROM read_csv('{text}', all_varchar = true) ORDER BY customer_id"
        ),
        format!(
            "SELECT sum(\"rfm.monetary\") \
             FROM read_csv('{text}', types = {{'rfm.monetary': 'DECIMAL(38,4)'}})"
        ),
        format!("SELECT sum(rfm.monetary) FROM read_parquet('{customers}') WHERE churn IS NOT NULL"),
    ]);
    assert_eq!((&answers[0], &answers[1]), (&json!([[0]]), &json!([[0]])));
    assert_eq!(answers[2], answers[3]);
    let page = service.get("/v1/segments/hibernating/customers?limit=1000&views=rfm").await.json();
    let members = page["customers"].as_array().unwrap();
    let ids: Vec<Value> = members.iter().map(|member| json!([member["customer_id"]])).collect();
    assert_eq!(answers[4], json!(ids));
    let ranks: Vec<Value> = answers[5].as_array().unwrap().iter().map(|row| row[0].clone()).collect();
    assert_eq!(ranks, (1..=members.len()).map(|rank| json!(rank)).collect::<Vec<_>>());
    assert_eq!(answers[6], json!([[page["snapshot"]]]));
    assert_eq!(answers[7], json!([[0]]));
    let notes: BTreeMap<&str, (&Value, &Value)> = answers[8]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap(), (&row[1], &row[2])))
        .collect();
    assert_eq!(notes["17850"], (&json!("'=HYPERLINK(\"http://x\",\"y\")"), &json!("Ada, \"the\" Countess")));
    assert_eq!(notes["loyal"], (&json!("-5.25"), &json!("two\nlines")));
    assert_eq!(notes["whale"].0, &json!("indented, and \"quoted\""));
    assert_eq!(answers[9], answers[10]);
}

#[tokio::test]
async fn export_command_masks_personal_values_without_pii() {
    let shop = shop();
    shop.open().await;
    let out = shop.path().join("out.csv");
    let run = |args: &[&str]| {
        let output = shop.larder(&[&["export", "churn"], args, &["--out", out.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), csv(&std::fs::read(&out).unwrap()))
    };
    let columns = ["--columns", "customer_id,profile", "--order", "rank"];
    let (said, bare) = run(&columns);
    assert!(said.contains("left out, as personal data: profile.email"), "{said}");
    assert!(bare.iter().all(|row| row["profile.email"].is_empty()), "{bare:?}");
    let (said, rows) = run(&[&columns[..], &["--match"]].concat());
    assert!(said.contains("hashed, as personal data: profile.email, profile.mobile"), "{said}");
    assert!(said.contains("left out, as personal data: profile.full_name"), "{said}");
    let of = |rows: &[BTreeMap<String, String>], id: &str, feature: &str| {
        let row = rows.iter().find(|row| row["customer_id"] == id).unwrap();
        row[&format!("profile.{feature}")].clone()
    };
    let (email, mobile) = (EMAIL, MOBILE);
    for id in ["17850", "tie-a"] {
        assert_eq!(
            (of(&rows, id, "email").as_str(), of(&rows, id, "mobile").as_str()),
            (email, mobile),
            "{id}"
        );
    }
    assert_eq!((of(&rows, "loyal", "email").as_str(), of(&rows, "loyal", "mobile").as_str()), ("", ""));
    assert!(rows.iter().all(|row| row["profile.full_name"].is_empty()), "{rows:?}");
    assert_eq!(of(&rows, "17850", "age"), "36");
    let (_, shown) = run(&[&columns[..], &["--pii"]].concat());
    assert_eq!(
        (of(&shown, "tie-a", "mobile").as_str(), of(&shown, "tie-a", "full_name").as_str()),
        ("+4915112345", "Zoë")
    );

    // The other formats, into the lake.
    for format in ["ndjson", "parquet"] {
        let file = shop.path().join(format!("lake/exports/out.{format}"));
        let place = format!("lake:exports/out.{format}");
        // The format is given by option, or by the file name.
        let said: &[&str] = if format == "ndjson" { &["--format", format] } else { &[] };
        let args = ["export", "churn", "--match", "--columns", "customer_id,profile", "--out", &place];
        let output = shop.larder(&[&args, said].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let from = if format == "ndjson" {
            format!("(SELECT views.profile, customer_id FROM read_ndjson('{}'))", file.display())
        } else {
            format!("'{}'", file.display())
        };
        let found = duck(&[format!(
            "SELECT profile.email, profile.mobile, profile.full_name::VARCHAR, profile.age \
             FROM {from} WHERE customer_id = '17850'"
        )]);
        assert_eq!(found[0], json!([[email, mobile, null, 36]]), "{format}");
        let secret = |content: &[u8], word: &str| {
            content.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
        };
        let content = std::fs::read(&file).unwrap();
        assert!(
            !["ada@example", "Countess", "(151)"]
                .iter()
                .any(|word| format == "ndjson" && secret(&content, word))
        );
    }

    let failed = shop.larder(&["export", "segment", "nope", "--out", out.to_str().unwrap()]);
    assert!(!failed.status.success());
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains("there is no segment `nope`; there are champions")
    );
    let failed = shop.larder(&["export", "churn", "--columns", "rfm.nope", "--out", "x.csv"]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("`rfm.nope`"), "{failed:?}");
    let failed = shop.larder(&["export", "churn", "--min-probability", "2", "--out", "x.csv"]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("from 0 to 1"), "{failed:?}");
}

#[tokio::test]
async fn key_with_match_exports_hashes_and_other_keys_nothing() {
    let mut shop = shop();
    let key = |name: &str, scopes: &str| {
        let hash = larder::snapshot::hex(&larder::config::digest(name.as_bytes()));
        format!("[[keys]]\nname = \"{name}\"\nhash = \"sha256:{hash}\"\nscopes = {scopes}\n")
    };
    let keys = key("plain", "[\"export\", \"match\"]")
        + &key("bare", "[\"export\"]")
        + &key("whole", "[\"export\", \"pii\"]");
    shop.config.keys = larder::config::Config::parse(&keys, "keys", []).unwrap().keys;
    let service = shop.open().await;
    let get = async |path: &str, key: &str| {
        service.send(service.client.get(format!("{}{path}", service.url)).bearer_auth(key)).await
    };
    for format in ["csv", "ndjson"] {
        let path = format!("/v1/churn/export?format={format}&columns=customer_id,profile");
        let plain = get(&path, "plain").await;
        assert_eq!(plain.status, 200, "{}", plain.text);
        assert_eq!(plain.text.matches(EMAIL).count(), 2, "{}", plain.text);
        assert_eq!(plain.text.matches(MOBILE).count(), 2, "{}", plain.text);
        assert!(
            !["xample.com", "Countess", "(151)"].iter().any(|word| plain.text.contains(word)),
            "{}",
            plain.text
        );
        let bare = get(&path, "bare").await;
        assert!(
            bare.status == 200 && !bare.text.contains(EMAIL) && !bare.text.contains(MOBILE),
            "{}",
            bare.text
        );
        let whole = get(&path, "whole").await;
        assert!(
            whole.text.contains("Ada@Example.com") && whole.text.contains("0049 (151) 123-45"),
            "{}",
            whole.text
        );
    }
    assert_eq!(service.get("/v1/churn/export").await.status, 401);
    assert_eq!(get("/v1/churn", "plain").await.status, 403);
}

/// Returns the lines of an export of ids and ranks without the customer `loyal`, whose place the next ones
/// take.
fn without_loyal(text: &str) -> Vec<String> {
    let lines = || text.lines().filter_map(|line| Some((line, line.rsplit_once(',')?)));
    let rank_of_loyal = lines().find(|(_, (id, _))| *id == "loyal").unwrap().1.1.parse::<u32>().unwrap();
    let others = lines().filter(|(_, (id, _))| *id != "loyal");
    let moved = others.map(|(line, (id, rank))| match rank.parse::<u32>() {
        Ok(rank) if rank > rank_of_loyal => format!("{id},{}", rank - 1),
        _ => line.to_owned(),
    });
    moved.collect()
}

#[tokio::test]
async fn erased_customers_are_not_exported() {
    let shop = shop();
    let service = shop.open().await;
    let rows = |answer: &Answer| answer.header("larder-rows").parse::<usize>().unwrap();
    let path = "/v1/churn/export?columns=customer_id,rank";
    let before = service.get(path).await;
    assert!(before.text.contains("loyal,"), "{}", before.text);
    assert_eq!(service.get("/v1/customers/loyal/history").await.status, 200);
    let output = shop.larder(&["forget", "--keep-snapshots", "loyal"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = eventually(|| service.get(path), |after| after.text != before.text).await;
    let without = without_loyal(&before.text);
    assert_eq!(after.text.lines().collect::<Vec<_>>(), without);
    assert_eq!(rows(&after), rows(&before) - 1);
    assert_eq!(service.get("/v1/customers/loyal/history").await.problem(), "customer-not-found");
    let out = shop.path().join("out.csv");
    let args = [
        "export",
        "churn",
        "--columns",
        "customer_id,rank",
        "--min-probability",
        "0",
        "--out",
        out.to_str().unwrap(),
    ];
    assert!(shop.larder(&args).status.success());
    assert_eq!(std::fs::read_to_string(out).unwrap(), after.text);
}
