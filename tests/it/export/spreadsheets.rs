//! CSV exports as spreadsheets open them.

use reqwest::header;
use serde_json::json;

use super::{bytes, bytes_of, csv};
use crate::support::shop::{CORNERS, CORNERS_TOML, Shop};

/// Customers whose texts a spreadsheet would evaluate, or must not change.
const CUSTOMERS: &str = concat!(
    r#"{"customer_id": "17850", "note": "=HYPERLINK(\"http://x\",\"y\")", "tel": "+49 (0)151 12345", "#,
    r#""email": "zoë@example.com"}"#,
    "\n",
    r#"{"customer_id": "loyal", "note": "x;=1+1", "tel": "030/123-45"}"#,
    "\n",
    r#"{"customer_id": "tie-a", "note": "\u200b=1+1", "tel": "+1+12345"}"#,
    "\n",
    r#"{"customer_id": "=1+1", "note": "＝1+1", "tel": "+49 151 12345; +49 30 12345"}"#,
    "\n",
);

const PATH: &str = "/v1/segments/prospect/export?columns=customer_id,profile.note,profile.tel";

fn shop() -> Shop {
    let shop = Shop::new(CORNERS_TOML);
    shop.raw("transactions/all.csv", CORNERS);
    shop.raw("customers/people.jsonl", CUSTOMERS);
    shop
}

/// Returns the cells of the customers in the order of their ids.
fn cells(file: &[u8]) -> Vec<[String; 3]> {
    let cell = |row: &std::collections::BTreeMap<String, String>, name: &str| row[name].clone();
    csv(file)
        .iter()
        .map(|row| ["customer_id", "profile.note", "profile.tel"].map(|name| cell(row, name)))
        .filter(|row| !row[1].is_empty())
        .collect()
}

#[tokio::test]
async fn formulas_are_guarded_unless_kept() {
    let shop = shop();
    let service = shop.open().await;
    let guarded = [
        ["17850", "'=HYPERLINK(\"http://x\",\"y\")", "+49 (0)151 12345"],
        ["=1+1", "'＝1+1", "'+49 151 12345;' +49 30 12345"],
        ["loyal", "x;'=1+1", "030/123-45"],
        ["tie-a", "'\u{200b}=1+1", "'+1+12345"],
    ];
    let kept = [
        ["17850", "=HYPERLINK(\"http://x\",\"y\")", "+49 (0)151 12345"],
        ["=1+1", "＝1+1", "+49 151 12345; +49 30 12345"],
        ["loyal", "x;=1+1", "030/123-45"],
        ["tie-a", "\u{200b}=1+1", "+1+12345"],
    ];
    let everybody = "rfm.monetary >= 0 or rfm.monetary is null";
    let columns = ["customer_id", "profile.note", "profile.tel"];
    let body = |formulas: &str| json!({"where": everybody, "columns": columns, "formulas": formulas});
    for (formulas, expected) in [("guard", &guarded), ("keep", &kept)] {
        let expected: Vec<[String; 3]> = expected.iter().map(|row| row.map(str::to_owned)).collect();
        assert_eq!(cells(&bytes_of(&service, "/v1/audiences/export", &body(formulas)).await), expected);
        let out = shop.path().join("out.csv");
        let args = ["export", "audience", everybody, "--columns", &columns.join(","), "--formulas", formulas];
        let output = shop.larder(&[&args[..], &["--out", out.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(cells(&std::fs::read(&out).unwrap()), expected);
    }
    let prospects = |expected: &[[&str; 3]; 4]| vec![expected[1].map(str::to_owned)];
    assert_eq!(cells(&bytes(&service, PATH).await), prospects(&guarded));
    assert_eq!(cells(&bytes(&service, &format!("{PATH}&formulas=keep")).await), prospects(&kept));
    let churn = "/v1/churn/export?columns=customer_id,profile.note,profile.tel&formulas=keep";
    assert!(cells(&bytes(&service, churn).await).contains(&kept[0].map(str::to_owned)));
    for options in ["formulas=none", "formulas=guard&format=parquet", "formulas=guard&format=ndjson"] {
        let answer = service.get(&format!("{PATH}&{options}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-parameter"), "{options}");
        assert!(answer.text.contains("`formulas`"), "{}", answer.text);
    }
    assert_eq!(service.get(&format!("{PATH}&format=ndjson&formulas=keep")).await.status, 200);
    let failed = shop.larder(&["export", "churn", "--formulas", "guard", "--out", "x.parquet"]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("--formulas guard is for csv"), "{failed:?}");
}

#[tokio::test]
async fn csv_begins_with_a_byte_order_mark_if_asked() {
    const BOM: &str = "\u{feff}";
    let shop = shop();
    let service = shop.open().await;
    let body =
        json!({"where": "rfm.monetary >= 0", "columns": ["customer_id", "profile.email"], "bom": true});
    let mut marked = bytes_of(&service, "/v1/audiences/export", &body).await;
    let file = String::from_utf8(marked.split_off(BOM.len())).unwrap();
    assert_eq!(marked, BOM.as_bytes());
    assert!(file.starts_with("customer_id,profile.email\r\n"), "{file}");
    assert!(file.contains("17850,zoë@example.com\r\n"), "{file}");
    for path in ["/v1/churn/export", "/v1/segments/prospect/export"] {
        let path = format!("{path}?columns=customer_id");
        let plain = bytes(&service, &path).await;
        assert!(plain.starts_with(b"customer_id\r\n"));
        assert_eq!(bytes(&service, &format!("{path}&bom=false")).await, plain);
        assert_eq!(bytes(&service, &format!("{path}&bom=true")).await, [BOM.as_bytes(), &plain].concat());
        let marked = service.client.get(format!("{}{path}&bom=true", service.url)).send().await.unwrap();
        assert_eq!(marked.headers()[header::CONTENT_TYPE], "text/csv; charset=utf-8; header=present");
    }
    for (options, cause) in [
        ("bom=true&format=parquet", "`bom` can be true in csv only, not in parquet"),
        ("bom=true&format=ndjson", "`bom` can be true in csv only, not in ndjson"),
        ("bom=yes", "`bom` must be true or false"),
    ] {
        let answer = service.get(&format!("/v1/churn/export?{options}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-parameter"), "{options}");
        assert!(answer.text.contains(cause), "{}", answer.text);
    }
    assert_eq!(service.get("/v1/churn/export?bom=false&format=ndjson").await.status, 200);

    let out = shop.path().join("out.csv");
    let args = ["export", "churn", "--columns", "customer_id", "--out"];
    let output = shop.larder(&[&args[..], &[out.to_str().unwrap(), "--bom"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_to_string(&out).unwrap().starts_with("\u{feff}customer_id\r\n"));
    let failed = shop.larder(&[&args[..], &["x.parquet", "--bom"]].concat());
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains("--bom is for csv, not for parquet"),
        "{failed:?}"
    );
}
