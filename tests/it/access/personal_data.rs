//! Ways other than feature values by which personal data could reach a caller without the scope `pii`:
//! warnings, segment definitions, errors, orders, cursors, `ETag` headers and exports.

use std::fs;

use larder::config::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use super::{CALLERS, ask, get, keys, prospect_cursor, shop, shows};
use crate::support::shop::{CORNERS, Shop, eventually};

/// Adds a view to the shop.
fn view(shop: &Shop, name: &str, sql: &str) {
    fs::write(shop.path().join(format!("views/{name}.sql")), sql).unwrap();
}

/// A caller with all scopes but `pii`.
const OPERATOR: &[(&str, &[Scope])] =
    &[("operator", &[Scope::Features, Scope::Export, Scope::Metrics, Scope::Admin])];

#[tokio::test]
async fn bad_lines_are_reported_without_their_values() {
    let shop = shop(&format!("{}{}[raw]\nmax_bad_share = 0.5\n", keys(CALLERS), keys(OPERATOR)));
    let cut_wrongly = "17850,A9,p1,Lamp,eve@example.com,10.00,2024-01-01 10:00:00,UK\n\
        17850,A9,p1,Lamp,1,phone-17850,2024-01-01 10:00:00,UK\n17850,A9,p1,Lamp,1,1,phone-12 of January,UK\n";
    shop.raw("transactions/all.csv", format!("{CORNERS}{cut_wrongly}"));
    let customers = "\"mallory@example.com\"\n[\"phone-1\"]\n{\"customer_id\": phone-1}\n\
        {\"customer_id\": \"x\", \"email\": \"x@example.com\"}\n";
    shop.raw("customers/more.jsonl", customers);
    let output = shop.larder(&["build"]);
    let success = output.status.success();
    let output =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(success, "{output}");
    let service = shop.serve().await;
    let snapshots = get(&service, "/v1/snapshots", "operator").await.json();
    let path = format!("/v1/snapshots/{}", snapshots["snapshots"][0]["id"].as_str().unwrap());
    for text in [output, get(&service, &path, "operator").await.text, get(&service, &path, "all").await.text]
    {
        for value in ["@example.com", "phone-", "mallory", "January"] {
            assert!(!text.contains(value), "{value} is in {text}");
        }
        for reported in [
            "column `Qty`: expected a whole number",
            "all.csv, line 25: found a value like `aaa@aaaaaaa.aaa`",
            "column `Price`: expected a number",
            "all.csv, line 26: found a value like `aaaaa-99999`",
            "column `When`: expected a time",
            "not a JSON object",
            "more.jsonl, line 1: found another value",
        ] {
            assert!(text.contains(reported), "{reported} is not in {text}");
        }
    }
}

#[tokio::test]
async fn definitions_of_audiences_hide_personal_values() {
    let named = "[audiences.ours]\n\
        where = 'profile.email:\"new@example.com\" or profile.email:\"nwe@example.com\"'\n\
        [audiences.old]\nwhere = 'profile.age > 30'\n";
    let shop = shop(&format!("{named}{}{}", keys(CALLERS), keys(OPERATOR)));
    let built = shop.build().await;
    let warnings = built.warnings().join("\n");
    assert!(warnings.contains("nwe@example.com") && !warnings.contains("mean"), "{warnings}");
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let manifest = format!("/v1/snapshots/{}", built.manifest.id);
    for path in ["/v1/segments", "/v1/segments/ours", "/v1/segments/ours/history", manifest.as_str()] {
        let answer = get(&service, path, "operator").await;
        let status = if path.contains("ours") { 403 } else { 200 };
        assert!(answer.status == status && !shows(&answer), "{path}: {}", answer.text);
        // With the scope `pii` the definition is complete.
        let whole = get(&service, path, "all").await;
        assert_eq!(shows(&whole), !path.ends_with("history"), "{path}: {}", whole.text);
    }
    assert_eq!(get(&service, "/v1/segments/old", "operator").await.json()["definition"], "profile.age > 30");
}

#[tokio::test]
async fn history_hides_what_was_personal_in_an_older_snapshot() {
    let mut shop = shop(&format!("[audiences.ours]\nwhere = 'contact.phone is not null'\n{}", keys(CALLERS)));
    shop.try_build(Some("2024-02-25T00:00:00Z")).await.unwrap();
    // The next snapshot has an audience of this name without the personal column, and no such column.
    fs::remove_file(shop.path().join("views/contact.sql")).unwrap();
    shop.config.audiences.get_mut("ours").unwrap().r#where = "rfm.monetary > 0".to_owned();
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let path = "/v1/segments/ours/history";
    let (masked, whole) = (get(&service, path, "features").await, get(&service, path, "all").await);
    assert_eq!(masked.status, 403, "{}", masked.text);
    assert_eq!((whole.status, whole.header("cache-control")), (200, "no-store"), "{}", whole.text);
    assert_eq!(get(&service, "/v1/segments/ours", "features").await.status, 200);
}

#[tokio::test]
async fn personal_declarations_must_name_existing_columns() {
    let built = async |toml: &str, views: &[(&str, &str)]| {
        let shop = shop(toml);
        for (name, sql) in views {
            view(&shop, name, sql);
        }
        let built = shop.try_build(None).await;
        assert_eq!(shop.snapshot_folders().len(), usize::from(built.is_ok()), "{toml} {views:?}");
        built
    };
    let refused = async |toml: &str, views: &[(&str, &str)], word: &str| {
        let error = built(toml, views).await.expect_err(word);
        assert!(error.contains(word), "{error}");
    };
    let sql = "SELECT customer_id, email FROM customers";
    let head = format!("-- Mail.\n-- emial (personal): The address.\n{sql}");
    refused(
        "",
        &[("mail", &head)],
        "`mail.emial` is declared personal, and there is no such column; did you mean email",
    )
    .await;
    // The settings of the shop end in [views].
    refused("personal = [\"contact.fone\"]\n", &[], "`contact.fone` is declared personal").await;
    refused("personal = [\"contcat.phone\"]\n", &[], "did you mean contact").await;
    let rfm = "-- RFM.\n-- segment (personal): Which.\n\
        SELECT customer_id, 1.0 AS monetary, 1 AS r_score, 1 AS f_score, 1 AS m_score, 'x' AS segment \
        FROM orders GROUP BY customer_id";
    refused("", &[("rfm", rfm)], "`rfm.segment` cannot be personal").await;

    // Lists, orders and filters show some columns all the same; the others of the models can be personal.
    let declared = |column: &str| format!("personal = [\"{column}\"]\n");
    for column in ["churn.probability", "churn.value_at_risk", "churn.risk", "rfm.monetary"] {
        refused(&declared(column), &[], &format!("`{column}` cannot be personal")).await;
    }
    for column in ["churn.reasons", "recommendations.buy_again"] {
        let manifest = built(&declared(column), &[]).await.unwrap().manifest;
        let personal: Vec<String> =
            manifest.personal().map(|(view, name)| format!("{view}.{name}")).collect();
        assert!(personal.iter().any(|name| name == column), "{personal:?}");
    }
    refused(&declared("churn.probabilty"), &[], "no such column; did you mean probability?").await;
    refused(&declared("recommendations.bye_again"), &[], "no such column; did you mean buy_again?").await;
    refused(&declared("profile.customer_id"), &[], "`profile.customer_id` cannot be personal").await;

    // The id cannot be personal under any of its names.
    let mut identified = shop("");
    identified.config.raw.customers.columns.insert("customer_id".to_owned(), vec!["Kunde".to_owned()]);
    for name in ["customer_id", "Customer ID", "Kunde", "kunde"] {
        identified.config.raw.customers.personal = vec![name.to_owned()];
        let error = identified.try_build(None).await.expect_err(name);
        assert!(error.contains(&format!("`personal` names {name}, the customer id")), "{error}");
    }

    let mut misspelled = shop("");
    misspelled.config.raw.customers.personal = vec!["emial".to_owned()];
    let error = misspelled.try_build(None).await.expect_err("a misspelled column");
    assert!(error.contains("`emial`, and no file has such a column; did you mean email"), "{error}");

    // A column is personal under the name in the files too, and in every view that selects the column.
    let mut shop = shop("personal = [\"contact.orders\"]\n");
    shop.config.raw.customers.personal = vec![" EMAIL".to_owned()];
    view(&shop, "mail", sql);
    view(&shop, "again", "SELECT customer_id, email, email IS NULL AS hidden FROM mail");
    view(&shop, "land", "SELECT customer_id, min(country) AS email FROM transactions GROUP BY customer_id");
    let manifest = shop.build().await.manifest;
    let found: Vec<String> = manifest.personal().map(|(view, feature)| format!("{view}.{feature}")).collect();
    assert_eq!(found, ["profile.email", "again.email", "contact.phone", "contact.orders", "mail.email"]);
}

/// A declaration counts without a new build, and also after a rollback.
#[tokio::test]
async fn personal_setting_of_the_service_applies_at_once() {
    let mut shop = shop(&keys(CALLERS));
    shop.config.raw.customers.personal.clear();
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    assert!(
        get(&shop.serve().await, "/v1/customers/17850", "features").await.text.contains("new@example.com")
    );
    shop.config.raw.customers.personal.push("email".to_owned());
    let service = shop.serve().await;
    let masked = get(&service, "/v1/customers/17850", "features").await;
    assert!(!shows(&masked) && masked.json()["masked"][0] == "profile.email", "{}", masked.text);
    let by_mail = json!({"where": "profile.email is not null", "limit": 0});
    let query =
        ask(&service, &Method::POST, "/v1/audiences", Some(&by_mail), Some(&super::key("features"))).await;
    assert_eq!(query.status, 403, "{}", query.text);
    let next = shop.build().await;
    shop.publish(&next.manifest.id).await;
    let of_next =
        |answer: &crate::support::shop::Answer| answer.json()["snapshot"] == next.manifest.id.as_str();
    eventually(|| get(&service, "/v1/customers/17850", "features"), of_next).await;
    shop.publish(&built.manifest.id).await;
    let of_first = |answer: &crate::support::shop::Answer| !of_next(answer);
    let back = eventually(|| get(&service, "/v1/customers/17850", "features"), of_first).await;
    assert!(!shows(&back), "{}", back.text);
}

/// Errors, suggestions, counts, orders, cursors and `ETag` headers reveal nothing about a personal feature.
#[tokio::test]
async fn queries_by_personal_features_reveal_nothing() {
    let sql = "-- born (personal): The year.\n\
        SELECT customer_id, 1900 + CAST(age AS BIGINT) AS born, 1 AS one FROM profile WHERE age IS NOT NULL";
    let shop = shop(&keys(CALLERS));
    view(&shop, "birth", sql);
    let service = shop.open().await;
    let query = async |body: &Value, name: &str| {
        ask(&service, &Method::POST, "/v1/audiences", Some(body), Some(&super::key(name))).await
    };
    let bodies = [
        json!({"where": "birth.born = 1931"}),
        json!({"where": "birth.born is null", "limit": 0}),
        json!({"where": "birth.one = 2 and birth.born in (1931, 1941)", "limit": 0}),
        json!({"where": "birth.born = \"soon\""}),
        json!({"where": "profile.email:\"new@example.con\"", "limit": 0}),
        json!({"where": "birth.one = 1", "order_by": "birth.born"}),
        json!({"where": "birth.one = 1", "order_by": "birth.born", "limit": 0}),
        json!({"where": "birth.one = 1", "breakdown": {"feature": "birth.born"}}),
        json!({"where": "birth.one = 1", "breakdown": {"feature": "birth.born", "buckets": 2}}),
    ];
    for body in &bodies {
        let answer = query(body, "features").await;
        assert_eq!(answer.status, 403, "{body}: {}", answer.text);
        assert!(!shows(&answer) && !answer.text.contains("1941"), "{body}: {}", answer.text);
    }
    // The same expressions as exports.
    for body in bodies.iter().filter(|body| body.get("breakdown").is_none()) {
        let file =
            json!({"where": body["where"], "order_by": body.get("order_by").unwrap_or(&json!("birth.one"))});
        let answer =
            ask(&service, &Method::POST, "/v1/audiences/export", Some(&file), Some(&super::key("export")))
                .await;
        assert_eq!(answer.status, 403, "{file}: {}", answer.text);
    }
    // The cursor of a caller with `pii` does not help another caller.
    let mut body = json!({"where": "birth.one = 1", "order_by": "birth.born", "limit": 1});
    let first = query(&body, "reader").await;
    body["cursor"] = first.json()["next"].clone();
    assert!(body["cursor"].is_string(), "{}", first.text);
    assert_eq!(query(&body, "reader").await.status, 200);
    assert_eq!(query(&body, "features").await.status, 403);
    body["order_by"] = json!("birth.one");
    assert_eq!(query(&body, "features").await.problem(), "bad-cursor");
    // A cursor of a segment reveals no order.
    let cursor = prospect_cursor(first.json()["snapshot"].as_str().unwrap());
    assert_eq!(
        get(&service, &format!("/v1/segments/prospect/customers?cursor={cursor}"), "features").await.status,
        200
    );
    // Valid and invalid columns of an export.
    for columns in ["birth.born", "birth", "birth.bron", "customer_id,birth.born,birth.born"] {
        for format in ["csv", "ndjson"] {
            let path = format!("/v1/segments/prospect/export?format={format}&columns={columns}");
            let answer = get(&service, &path, "all").await;
            assert!(answer.status == 400 || answer.text.contains("1941"), "{path}: {}", answer.text);
            let treated = get(&service, &path, "export").await;
            assert!(
                treated.status == answer.status && !treated.text.contains("1941"),
                "{path}: {}",
                treated.text
            );
        }
    }
    // The ETag of a masked response does not depend on the values of the customer.
    let tag = get(&service, "/v1/customers/17850", "features").await.header("etag").to_owned();
    assert_eq!(get(&service, "/v1/customers/prospect", "features").await.header("etag"), tag);
}
