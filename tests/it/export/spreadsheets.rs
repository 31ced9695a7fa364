//! CSV exports as spreadsheets open them.

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
