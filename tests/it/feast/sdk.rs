//! The SDK of Feast from PyPI reads from a service through the repository that `larder feast-repo` wrote.
//!
//! Installing the SDK takes 40 s and 0.6 GB.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers,
    python::{installed, run},
    shop::{Service, Shop, corners_with},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/feast/sdk.py");

/// Returns a command for a program of Feast that neither reads nor writes settings in the home folder.
fn program(shop: &Shop, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", shop.path()).env("FEAST_USAGE", "False").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs the SDK with the repository that `larder feast-repo` writes and `key` in its environment, and returns
/// a response to each of `questions`.
fn answers(shop: &Shop, service: &Service, key: Option<&str>, questions: &[Value]) -> Vec<Value> {
    let programs = installed("feast");
    let repository = shop.path().join("repository");
    run(&mut shop.command(&["feast-repo", repository.to_str().unwrap(), "--url", &service.url]));
    run(program(shop, &programs.join("feast")).arg("apply").current_dir(&repository));
    let mut sdk = program(shop, &programs.join("python"));
    sdk.envs(key.map(|key| ("LARDER_KEY", key)));
    sdk.arg(SCRIPT).arg(&repository).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = sdk.spawn().unwrap();
    let lines: String = questions.iter().map(|question| question.to_string() + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A view with a list and a list of structs.
const BOUGHT: &str = "-- Products bought.\n\
    SELECT customer_id, array_agg(product_id ORDER BY product_id) AS products, \
    array_agg(named_struct('id', product_id) ORDER BY product_id) AS lines \
    FROM transactions WHERE quantity > 0 GROUP BY customer_id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feast_sdk_reads_all_features() {
    let shop = corners_with(
        "[views]\nfolder = \"views\"\n[feast]\nmax_age = { behavior = \"2d\" }\n\
         services = { next = [\"rfm:segment\", \"behavior:items\", \"bought\"] }\n",
    );
    fs::create_dir(shop.path().join("views")).unwrap();
    fs::write(shop.path().join("views/bought.sql"), BOUGHT).unwrap();
    let service = shop.open().await;
    let views = service.get("/v1/views").await.json()["views"].clone();
    let mut features = Vec::new();
    for view in views.as_array().unwrap() {
        let named = |value: &Value| value["name"].as_str().unwrap().to_owned();
        features.extend(view["features"].as_array().unwrap().iter().map(|f| (named(view), named(f))));
    }
    let all: Vec<String> = features.iter().map(|(view, feature)| format!("{view}:{feature}")).collect();
    let ids = ["loyal", "nobody", "17850", "prospect"];
    let questions = [
        json!({"ask": "schema"}),
        json!({"ask": "online", "ids": ids, "features": all, "full": true}),
        json!({"ask": "online", "ids": [17850, 17850], "service": "next"}),
        json!({
            "ask": "rows",
            "view": "rfm",
            "features": ["segment", "monetary", "frequency"],
            "ids": ["17850", "prospect"],
        }),
        json!({"ask": "rows", "view": "bought", "features": ["products", "lines"], "ids": ["17850"]}),
        json!({"ask": "online", "ids": ["loyal"], "features": ["nope:segment"]}),
        json!({"ask": "online", "ids": [""], "features": ["rfm:segment"]}),
    ];
    let [schema, online, served, rows, nested, unknown, guest] =
        answers(&shop, &service, None, &questions).try_into().unwrap_or_else(|found| panic!("{found:?}"));

    assert_eq!(schema["views"]["rfm"]["recency_days"], "Int64", "{schema}");
    assert_eq!(schema["views"]["rfm"]["monetary"], "Float64");
    assert_eq!(schema["views"]["behavior"]["first_purchase_at"], "String");
    assert_eq!(
        (&schema["views"]["bought"]["products"], &schema["views"]["bought"]["lines"]),
        (&json!("Array(String)"), &json!("String"))
    );
    assert_eq!(
        schema["services"]["next"],
        json!(["rfm:segment", "behavior:items", "bought:products", "bought:lines"])
    );
    assert_eq!((&schema["ages"]["behavior"], &schema["ages"]["rfm"]), (&json!(172_800.0), &json!(0.0)));
    let known: usize =
        schema["views"].as_object().unwrap().values().map(|view| view.as_object().unwrap().len()).sum();
    assert_eq!(known, features.len(), "{schema}");

    // Every value equals the REST value, unless it is older than `max_age`.
    assert_eq!(online["values"]["customer_id"], json!(ids), "{online}");
    for (at, id) in ids.iter().enumerate() {
        let path = format!("/v1/customers/{id}?views={}", super::all_views(&views));
        let rest = service.get(&path).await.json();
        for (view, feature) in &features {
            let name = format!("{view}__{feature}");
            let value = &rest["views"][view][feature];
            let status = match (rest["views"][view].is_object(), super::is_nothing(value, feature)) {
                (true, _) if view == "behavior" => "OUTSIDE_MAX_AGE",
                (false, _) => "NOT_FOUND",
                (true, true) => "NULL_VALUE",
                (true, false) => "PRESENT",
            };
            assert_eq!(online["statuses"][&name][at], status, "{id} {name}");
            let value = if status == "PRESENT" { value } else { &Value::Null };
            assert!(super::same(&online["values"][&name][at], value, feature), "{id} {name}: {online}");
        }
    }
    assert_eq!(online["frame"].as_array().unwrap().len(), features.len() + 1);

    assert_eq!(served["values"]["segment"], json!(["loyal", "loyal"]), "{served}");
    assert_eq!(served["statuses"]["items"], json!(["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE"]));
    assert_eq!(served["values"]["products"], json!([["p1", "p1", "p2"], ["p1", "p1", "p2"]]));

    // Values by declared type, as versions of Feast before 0.64 read them.
    assert_eq!(rows[0]["as_of"], "2024-03-10T11:30:00+00:00", "{rows}");
    assert_eq!(
        rows[0]["values"],
        json!({
            "segment": ["string_val", "loyal"],
            "monetary": ["double_val", 35.5],
            "frequency": ["int64_val", 2],
        })
    );
    assert_eq!(rows[1]["values"]["monetary"], json!(["double_val", 0.0]));
    assert_eq!(nested[0]["values"]["products"], json!(["string_list_val", ["p1", "p1", "p2"]]));
    assert_eq!(nested[0]["values"]["lines"][0], "string_val");

    assert_eq!(unknown["error"], "FeatureViewNotFoundException", "{unknown}");
    assert!(unknown["message"].as_str().unwrap().contains("nope"), "{unknown}");
    assert_eq!(guest["statuses"]["segment"], json!(["NOT_FOUND"]), "{guest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feast_sdk_sends_the_api_key() {
    let shop = callers::shop(&callers::keys(&[
        ("reader", &[Scope::Features, Scope::Pii]),
        ("features", &[Scope::Features]),
    ]));
    let service = shop.open().await;
    let question =
        json!({"ask": "online", "ids": ["17850"], "features": ["contact:phone", "contact:orders"]});
    for (key, phone, status) in
        [("reader", json!("phone-17850"), "PRESENT"), ("features", Value::Null, "NULL_VALUE")]
    {
        let answers = answers(&shop, &service, Some(&callers::key(key)), std::slice::from_ref(&question));
        let answer = &answers[0];
        assert_eq!(
            (&answer["values"]["phone"][0], &answer["statuses"]["phone"][0]),
            (&phone, &json!(status)),
            "{answer}"
        );
        assert_eq!(answer["values"]["orders"], json!([2]), "{answer}");
    }
    let refused = answers(&shop, &service, Some("lrd_unknown"), &[question]);
    assert!(refused[0]["message"].as_str().unwrap().contains("401"), "{refused:?}");
}
