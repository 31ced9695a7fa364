//! Hashes of email addresses and phone numbers for advertising platforms.

use std::collections::BTreeMap;

use larder::config::{Config, digest};
use serde_json::{Value, json};

use super::{csv, duck};
use crate::support::shop::{Answer, CORNERS, CORNERS_TOML, Service, Shop};

/// Contacts as shops keep them. `email_ok` and `tel_checked` are flags, `mobile` has numbers kept as floats.
const CUSTOMERS: &str = concat!(
    r#"{"customer_id": "17850", "email": " Ada.Lovelace+shop@Gmail.com", "tel": "+49 (0)151 12345 ext. 5", "#,
    r#""mobile": 4915112345.0, "email_ok": true, "name": "Ada"}"#,
    "\n",
    r#"{"customer_id": "loyal", "email": "n/a", "tel": "+49 151 12345, +49 30 12345", "#,
    r#""mobile": 1.5, "email_ok": false, "name": "Bob"}"#,
    "\n",
    r#"{"customer_id": "tie-a", "#,
    r#""email": "B5FC85E55755F9E0D030A10AB4429B6B2944855F9A0D60077FE832BECBC41D72", "#,
    r#""tel": "011 49 151 12345", "mobile": null, "email_ok": null, "name": "Cid"}"#,
    "\n",
);
/// Output of `printf %s +4915112345 | sha256sum`.
const PLUS: &str = "364ced1f73c4dedfadeee756d8a0337e2b1379e2229545f22af60bb8c6147fcd";
const KEPT: &str = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";
const COLUMNS: &str = "customer_id,profile.email,profile.tel,profile.mobile,profile.email_ok,profile.name";

fn sha256(text: &str) -> String {
    larder::snapshot::hex(&digest(text.as_bytes()))
}

fn shop() -> Shop {
    let personal = "[\"email\", \"tel\", \"mobile\", \"email_ok\", \"name\"]";
    let mut shop = Shop::new(&CORNERS_TOML.replace("[\"email\"]", personal));
    shop.raw("transactions/all.csv", CORNERS);
    shop.raw("customers/people.jsonl", CUSTOMERS);
    let key = |name: &str, scopes: &str| {
        let hash = sha256(name);
        format!("[[keys]]\nname = \"{name}\"\nhash = \"sha256:{hash}\"\nscopes = {scopes}\n")
    };
    let keys = key("matching", "[\"export\", \"match\"]")
        + &key("bare", "[\"export\"]")
        + &key("whole", "[\"export\", \"pii\"]");
    shop.config.keys = Config::parse(&keys, "keys", []).unwrap().keys;
    shop
}

async fn get(service: &Service, path: &str, key: &str) -> Answer {
    service.send(service.client.get(format!("{}{path}", service.url)).bearer_auth(key)).await
}

/// Returns the contacts that a file for `platform` must have, by customer.
fn expected(platform: &str) -> BTreeMap<&'static str, [String; 3]> {
    let digits = if platform == "meta" { sha256("4915112345") } else { PLUS.to_owned() };
    let email =
        sha256(if platform == "google" { "adalovelace@gmail.com" } else { "ada.lovelace+shop@gmail.com" });
    BTreeMap::from([
        ("17850", [email, digits.clone(), digits.clone()]),
        ("loyal", [String::new(), String::new(), String::new()]),
        ("tie-a", [KEPT.to_owned(), digits, String::new()]),
    ])
}

/// Checks the contacts of a CSV file, and that it has no other personal value.
fn check(file: &[u8], platform: &str) {
    let rows = csv(file);
    for (id, contacts) in expected(platform) {
        let row = rows.iter().find(|row| row["customer_id"] == id).unwrap();
        let found = ["email", "tel", "mobile"].map(|name| row[&format!("profile.{name}")].clone());
        assert_eq!(found, contacts, "{id} for {platform:?}");
        assert_eq!((row["profile.email_ok"].as_str(), row["profile.name"].as_str()), ("", ""), "{id}");
    }
}

#[tokio::test]
async fn hashes_have_the_form_of_the_platform() {
    let shop = shop();
    let service = shop.open().await;
    let everybody = json!({"where": "rfm.monetary >= 0", "columns": COLUMNS.split(',').collect::<Vec<_>>()});
    for platform in ["", "google", "meta"] {
        for key in ["matching", "whole"] {
            if (platform, key) == ("", "whole") {
                continue;
            }
            let option = if platform.is_empty() { String::new() } else { format!("&platform={platform}") };
            let churn = get(&service, &format!("/v1/churn/export?columns={COLUMNS}{option}"), key).await;
            assert_eq!(churn.status, 200, "{}", churn.text);
            check(churn.text.as_bytes(), platform);
            let mut body = everybody.clone();
            if !platform.is_empty() {
                body["platform"] = platform.into();
            }
            let request = service.client.post(format!("{}/v1/audiences/export", service.url));
            check(service.send(request.json(&body).bearer_auth(key)).await.text.as_bytes(), platform);
        }
    }
    let path = format!("/v1/churn/export?columns={COLUMNS}");
    let clear = get(&service, &path, "whole").await;
    assert!(clear.text.contains("Ada.Lovelace+shop@Gmail.com"), "{}", clear.text);

    let refused = get(&service, &format!("{path}&platform=google"), "bare").await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("`platform` asks for hashes"), "{}", refused.text);
    assert!(refused.text.contains("lacks the scope `match`"), "{}", refused.text);
    let unknown = get(&service, &format!("{path}&platform=x"), "matching").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (400, "bad-parameter"));
    assert!(unknown.text.contains("`platform` must be google or meta"), "{}", unknown.text);
}

#[tokio::test]
async fn command_hashes_for_a_platform() {
    let shop = shop();
    shop.open().await;
    for platform in ["google", "meta"] {
        let export = |name: &str| {
            let out = shop.path().join(name);
            let columns = ["--columns", COLUMNS, "--match", "--platform", platform];
            let args = [&["export", "churn", "--out", out.to_str().unwrap()][..], &columns].concat();
            let output = shop.larder(&args);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains("hashed, as personal data: profile.email, profile.tel, profile.mobile"));
            assert!(said.contains("left out, as personal data: profile.email_ok, profile.name"), "{said}");
            out
        };
        check(&std::fs::read(export("out.csv")).unwrap(), platform);
        let query = format!(
            "SELECT customer_id, profile.email, profile.tel, profile.mobile FROM '{}' \
             WHERE customer_id IN ('17850', 'loyal', 'tie-a') ORDER BY customer_id",
            export("out.parquet").display()
        );
        let contact = |hash: &String| if hash.is_empty() { Value::Null } else { json!(hash) };
        let rows: Vec<Value> = expected(platform)
            .iter()
            .map(|(id, contacts)| {
                let [email, tel, mobile] = contacts.each_ref().map(contact);
                json!([id, email, tel, mobile])
            })
            .collect();
        assert_eq!(duck(&[query])[0], json!(rows), "{platform}");
    }
    let failed = shop.larder(&["export", "churn", "--platform", "google", "--out", "x.csv"]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("--match"), "{failed:?}");
}
