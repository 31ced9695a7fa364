//! The HTTP interface of Feast, and the repository that `larder feast-repo` writes.

mod sdk;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    redis::Redis,
    shop::{Answer, Service, corners, corners_with, eventually},
};

const URL: &str = "/get-online-features";
const AS_OF: &str = "2024-03-10T11:30:00Z";
const EPOCH: &str = "1970-01-01T00:00:00Z";

async fn ask(service: &Service, body: Value) -> Value {
    let answer = service.post(URL, body.to_string()).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{body}: {}",
        answer.text
    );
    answer.json()
}

/// Returns the vector of the feature `name` in a response.
fn of<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let names = answer["metadata"]["feature_names"].as_array().unwrap();
    &answer["results"][names.iter().position(|known| known == name).unwrap()]
}

/// Parses the class and message of a Feast error, which is JSON in a JSON string.
fn feast_error(answer: &Answer) -> (String, String) {
    let inner: Value = serde_json::from_str(answer.json().as_str().unwrap()).unwrap();
    assert_eq!(inner["module"], "feast.errors");
    (inner["class"].as_str().unwrap().to_owned(), inner["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn response_is_feature_major_with_statuses() {
    let service = corners().open().await;
    let features = ["rfm:segment", "behavior:items", "rfm:recency_days"];
    let ids = json!(["loyal", "nobody", 17850, "prospect", "loyal"]);
    let unknown = json!({"fields": ["are ignored"]});
    let body = json!({"entities": {"customer_id": ids}, "features": features, "unknown": unknown});
    let known = |values: Value, statuses: Value, times: [&str; 5]| {
        let times = json!(times);
        json!({"values": values, "statuses": statuses, "event_timestamps": times})
    };
    let seen = [AS_OF, EPOCH, AS_OF, AS_OF, AS_OF];
    assert_eq!(
        ask(&service, body).await,
        json!({
            "metadata": {"feature_names": ["customer_id", "segment", "items", "recency_days"]},
            "results": [
                known(ids.clone(), json!(vec!["PRESENT"; 5]), [EPOCH; 5]),
                known(
                    json!(["champions", null, "loyal", "prospect", "champions"]),
                    json!(["PRESENT", "NOT_FOUND", "PRESENT", "PRESENT", "PRESENT"]),
                    seen
                ),
                known(
                    json!([5, null, 4, null, 5]),
                    json!(["PRESENT", "NOT_FOUND", "PRESENT", "NOT_FOUND", "PRESENT"]),
                    [AS_OF, EPOCH, AS_OF, EPOCH, AS_OF]
                ),
                known(
                    json!([2, null, 9, null, 2]),
                    json!(["PRESENT", "NOT_FOUND", "PRESENT", "NULL_VALUE", "PRESENT"]),
                    seen
                ),
            ]
        })
    );
    // A number, a text and the float that pandas makes of a number are the same customer; the response
    // repeats each as sent.
    let ids = r#"[17850, "17850", 17850.0, " 17850 "]"#;
    let text = format!(r#"{{"entities": {{"customer_id": {ids}}}, "features": ["rfm:frequency"]}}"#);
    let answer = service.post(URL, text).await;
    assert_eq!(of(&answer.json(), "frequency")["values"], json!([2, 2, 2, 2]));
    assert!(answer.text.contains(r#"[17850,"17850",17850.0," 17850 "]"#), "{}", answer.text);
    let none = ask(&service, json!({"entities": {"customer_id": []}, "features": ["rfm:segment"]})).await;
    assert_eq!(none["results"][1], json!({"values": [], "statuses": [], "event_timestamps": []}));
}

#[tokio::test]
async fn full_feature_names_and_name_collisions() {
    let service = corners().open().await;
    let body = |features: Value, full: bool| {
        let entities = json!({"customer_id": ["loyal"]});
        json!({"entities": entities, "features": features, "full_feature_names": full})
    };
    let full = ask(&service, body(json!(["rfm:segment", "profile:country"]), true)).await;
    assert_eq!(full["metadata"]["feature_names"], json!(["customer_id", "rfm__segment", "profile__country"]));
    for full in [false, true] {
        let twice = service.post(URL, body(json!(["rfm:segment", "rfm:segment"]), full).to_string()).await;
        assert_eq!((twice.status, feast_error(&twice).0.as_str()), (422, "FeatureNameCollisionError"));
    }
}

/// Features with structs, which are strings of JSON in Feast.
const STRUCTS: [&str; 2] = ["reasons", "lines"];

/// Checks whether `value` is null in Feast, which cannot hold an empty list.
fn is_nothing(value: &Value, feature: &str) -> bool {
    value.is_null() || (*value == json!([]) && !STRUCTS.contains(&feature))
}

/// Checks whether the Feast value `feast` stands for the REST value `value`.
fn same(feast: &Value, value: &Value, feature: &str) -> bool {
    match (feast, value) {
        _ if is_nothing(value, feature) => feast.is_null(),
        (Value::String(text), Value::Array(_)) if STRUCTS.contains(&feature) => {
            serde_json::from_str::<Value>(text).unwrap() == *value
        }
        (Value::Array(feast), Value::Array(value)) => {
            feast.len() == value.len()
                && feast.iter().zip(value).all(|(a, b)| a == b || (b.is_null() && a == ""))
        }
        _ => feast == value,
    }
}

/// Compares every feature of every customer with the REST response for that customer.
/// Returns the names of all views, those that are not read by default included.
fn all_views(views: &Value) -> String {
    let names = views.as_array().unwrap().iter().map(|view| view["name"].as_str().unwrap());
    names.collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn values_equal_rest() {
    let service = corners().open().await;
    let views = service.get("/v1/views").await.json()["views"].clone();
    let mut names: Vec<(String, String)> = Vec::new();
    for view in views.as_array().unwrap() {
        for feature in view["features"].as_array().unwrap() {
            let word = |value: &Value| value["name"].as_str().unwrap().to_owned();
            names.push((word(view), word(feature)));
        }
    }
    assert!(names.len() > 25, "{names:?}");
    let ids = ["loyal", "17850", "whale", "returner", "prospect", "zero", "a/b c+d", "one-order", "nobody"];
    // In reverse order: the response has the order of the request, not of the row.
    names.reverse();
    let features: Vec<String> = names.iter().map(|(view, feature)| format!("{view}:{feature}")).collect();
    let body = json!({"entities": {"customer_id": ids}, "features": features, "full_feature_names": true});
    let answer = ask(&service, body).await;
    let (mut present, mut null, mut absent) = (0, 0, 0);
    for (at, id) in ids.iter().enumerate() {
        let path = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
        let rest = service.get(&format!("/v1/customers/{path}?views={}", all_views(&views))).await.json();
        for (view, feature) in &names {
            let vector = of(&answer, &format!("{view}__{feature}"));
            let value = &rest["views"][view][feature];
            assert!(
                same(&vector["values"][at], value, feature),
                "{id} {view}:{feature}: {vector} is not {value}"
            );
            let status = match (rest["views"][view].is_object(), is_nothing(value, feature)) {
                (false, _) => "NOT_FOUND",
                (true, true) => "NULL_VALUE",
                (true, false) => "PRESENT",
            };
            assert_eq!(vector["statuses"][at], status, "{id} {view}:{feature}");
            *match status {
                "PRESENT" => &mut present,
                "NULL_VALUE" => &mut null,
                _ => &mut absent,
            } += 1;
        }
    }
    assert!(present > 100 && null > 10 && absent > 30, "{present} {null} {absent}");
}

#[tokio::test]
async fn feature_services_and_max_age_are_configured() {
    let shop = corners_with(
        "[feast]\nservices = { next = [\"behavior:items\", \"rfm\"], odd = [\"rfm:nope\"] }\n\
         max_age = { behavior = \"2d\", rfm = \"36500d\" }\n",
    );
    let service = shop.open().await;
    let body = json!({
        "entities": {"customer_id": ["loyal", "prospect"]},
        "feature_service": "next",
        "features": ["ignored:then"],
    });
    let answer = ask(&service, body).await;
    let names = answer["metadata"]["feature_names"].as_array().unwrap();
    assert_eq!(
        (&names[..3], names.len()),
        (&json!(["customer_id", "items", "recency_days"]).as_array().unwrap()[..], 10)
    );
    // The snapshot is of 2024: older than two days, younger than a century. A customer without a row in a
    // view has no age.
    assert_eq!(
        of(&answer, "items"),
        &json!({
            "values": [null, null],
            "statuses": ["OUTSIDE_MAX_AGE", "NOT_FOUND"],
            "event_timestamps": [AS_OF, EPOCH],
        })
    );
    assert_eq!(of(&answer, "segment")["statuses"], json!(["PRESENT", "PRESENT"]));
    for (name, class, word) in [
        ("nope", "FeatureServiceNotFoundException", "nope"),
        ("odd", "FeastObjectNotFoundException", "there is no feature rfm:nope"),
    ] {
        let body = json!({"entities": {"customer_id": ["loyal"]}, "feature_service": name});
        let refused = service.post(URL, body.to_string()).await;
        let (found, message) = feast_error(&refused);
        assert_eq!((refused.status, found.as_str()), (404, class));
        assert!(message.contains(word), "{message}");
    }
    let written = shop.larder(&["feast-repo", "never"]);
    let error = String::from_utf8_lossy(&written.stderr).into_owned();
    assert!(!written.status.success() && error.contains("there is no feature rfm:nope"), "{error}");
    // An error that needs no snapshot to be found is reported with its line in the file.
    std::fs::write(
        shop.path().join("larder.toml"),
        "[feast]\nservices = { a = [\"rfm.segment\", \"rfm:\"] }",
    )
    .unwrap();
    let error = String::from_utf8_lossy(&shop.larder(&["serve"]).stderr).into_owned();
    assert!(error.contains("`rfm:` is not a feature") && error.contains("line 2"), "{error}");
}

#[tokio::test]
async fn errors_have_the_form_of_feast() {
    let service = corners().open().await;
    let many: Vec<u32> = (0..1_001).collect();
    let with =
        |features: Value| json!({"entities": {"customer_id": ["loyal"]}, "features": features}).to_string();
    for (body, loc, word) in [
        ("{".to_owned(), json!(["body", 1]), "JSON"),
        (String::new(), json!(["body", 0]), "JSON"),
        ("{\n\"entities\": nope}".to_owned(), json!(["body", 16]), "JSON"),
        ("[]".to_owned(), json!(["body"]), "dictionary"),
        ("{}".to_owned(), json!(["body", "entities"]), "required"),
        (r#"{"entities": []}"#.to_owned(), json!(["body", "entities"]), "dictionary"),
        (r#"{"entities": {}}"#.to_owned(), json!(["body", "entities", "customer_id"]), "required"),
        (
            r#"{"entities": {"customer_id": 1}}"#.to_owned(),
            json!(["body", "entities", "customer_id"]),
            "list",
        ),
        (
            json!({"entities": {"customer_id": many}}).to_string(),
            json!(["body", "entities", "customer_id"]),
            "1000 items, not 1001",
        ),
        (
            r#"{"entities": {"customer_id": ["a", null]}}"#.to_owned(),
            json!(["body", "entities", "customer_id", 1]),
            "string or an integer",
        ),
        (
            r#"{"entities": {"customer_id": [1.5]}}"#.to_owned(),
            json!(["body", "entities", "customer_id", 0]),
            "string or an integer",
        ),
        (r#"{"entities": {"customer_id": []}}"#.to_owned(), json!(["body", "features"]), "feature_service"),
        (with(json!("rfm:segment")), json!(["body", "features"]), "list"),
        (with(json!(["rfm:segment", "rfm"])), json!(["body", "features", 1]), "view:feature"),
        (
            r#"{"entities": {"customer_id": []}, "full_feature_names": "x"}"#.to_owned(),
            json!(["body", "full_feature_names"]),
            "boolean",
        ),
        (
            r#"{"entities": {"customer_id": []}, "feature_service": 1}"#.to_owned(),
            json!(["body", "feature_service"]),
            "string",
        ),
    ] {
        let answer = service.post(URL, body.as_str()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text);
        let detail = &answer.json()["detail"][0];
        assert_eq!(detail["loc"], loc, "{body}: {}", answer.text);
        assert!(detail["msg"].as_str().unwrap().contains(word), "{body}: {}", answer.text);
    }
    for (body, class, word) in [
        (with(json!(["nope:segment"])), "FeatureViewNotFoundException", "nope"),
        (
            with(json!(["rfm:nope"])),
            "FeastObjectNotFoundException",
            "Feature nope does not exist in feature view rfm",
        ),
        (with(json!(["rfm@v2:segment"])), "FeatureViewNotFoundException", "rfm@v2"),
        (
            r#"{"entities": {"driver_id": [1]}}"#.to_owned(),
            "EntityNotFoundException",
            "the join key is customer_id",
        ),
    ] {
        let answer = service.post(URL, body.as_str()).await;
        let (found, message) = feast_error(&answer);
        assert_eq!((answer.status, found.as_str()), (404, class), "{body}");
        assert!(message.contains(word), "{body}: {message}");
    }
    let large = service.post(URL, "x".repeat(2 << 20)).await;
    assert_eq!((large.status, large.problem().as_str()), (413, "body-too-large"));
    let get = service.get(URL).await;
    assert_eq!((get.status, get.problem().as_str()), (405, "method-not-allowed"));
}

#[tokio::test]
async fn structs_are_json_strings_and_lists_are_lists() {
    let shop = corners_with("[views]\nfolder = \"views\"\n");
    std::fs::create_dir(shop.path().join("views")).unwrap();
    let sql = "-- Products bought.\n--\n-- products: The products, \"by\" id.\n\
        SELECT customer_id, array_agg(product_id ORDER BY product_id) AS products, \
        array_agg(named_struct('id', product_id, 'name', product_name) ORDER BY product_id) AS lines, \
        named_struct('at', max(ordered_at)) AS last \
        FROM transactions WHERE quantity > 0 GROUP BY customer_id";
    std::fs::write(shop.path().join("views/bought.sql"), sql).unwrap();
    let service = shop.open().await;
    let body = json!({
        "entities": {"customer_id": ["17850", "prospect"]},
        "features": ["bought:products", "bought:lines", "bought:last"],
    });
    let answer = ask(&service, body).await;
    assert_eq!(of(&answer, "products")["values"], json!([["p1", "p1", "p2"], null]));
    let rest = service.get("/v1/customers/17850?views=bought").await.json()["views"]["bought"].clone();
    for name in ["lines", "last"] {
        let text = of(&answer, name)["values"][0].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), rest[name]);
    }
    let repository = shop.path().join("repository");
    let folder = repository.to_str().unwrap();
    assert!(shop.larder(&["feast-repo", folder]).status.success());
    let python = std::fs::read_to_string(repository.join("larder.py")).unwrap();
    for line in [
        r#"Field(name="products", dtype=Array(String), description="The products, \"by\" id."),"#,
        r#"Field(name="lines", dtype=String, description=""),"#,
        "from feast.types import Array, Bool, Float64, Int32, Int64, String",
    ] {
        assert!(python.contains(line), "{python} lacks {line}");
    }
}

/// A row that cannot be read is reported as invalid, not as missing.
#[tokio::test]
async fn unreadable_row_is_invalid_and_503_if_it_is_the_only_one() {
    let shop = corners();
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let rows =
        shop.path().join("lake/snapshots").join(built.manifest.id.as_str()).join("rows/part-00000.parquet");
    std::fs::remove_file(rows).unwrap();
    let service = shop.serve().await;
    let body =
        json!({"entities": {"customer_id": ["loyal", "0 is before all ids"]}, "features": ["rfm:segment"]});
    let answer = ask(&service, body).await;
    assert_eq!(
        of(&answer, "segment"),
        &json!({
            "values": [null, null],
            "statuses": ["INVALID", "NOT_FOUND"],
            "event_timestamps": [EPOCH, EPOCH],
        })
    );
    let body = json!({"entities": {"customer_id": ["loyal"]}, "features": ["rfm:segment"]});
    let gone = service.post(URL, body.to_string()).await;
    assert_eq!((gone.status, gone.problem().as_str(), gone.header("retry-after")), (503, "unavailable", "1"));
}

/// An invalid id does not affect the values of other ids.
#[tokio::test]
async fn invalid_ids_are_not_found() {
    let service = corners().open().await;
    let (long, digits) = ("x".repeat(257), "1".repeat(257));
    let ids = format!(r#"["loyal", "", "{long}", "a\u0000b", true, {digits}, "prospect"]"#);
    let body = format!(r#"{{"entities": {{"customer_id": {ids}}}, "features": ["rfm:segment"]}}"#);
    let answer = service.post(URL, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // The response repeats each id as sent.
    assert!(answer.text.contains(&ids.replace(", ", ",")), "{}", answer.text);
    let (found, none) = (("PRESENT", AS_OF), ("NOT_FOUND", EPOCH));
    let expected = [found, none, none, none, none, none, found];
    assert_eq!(
        of(&answer.json(), "segment"),
        &json!({
            "values": ["champions", null, null, null, null, null, "prospect"],
            "statuses": expected.map(|(status, _)| status),
            "event_timestamps": expected.map(|(_, time)| time),
        })
    );
    // Without a valid id, nothing is read.
    let alone =
        ask(&service, json!({"entities": {"customer_id": ["", false]}, "features": ["rfm:segment"]})).await;
    assert_eq!(of(&alone, "segment")["statuses"], json!(["NOT_FOUND", "NOT_FOUND"]));
}

/// During a publish, a row of the next snapshot has the time of that snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_timestamp_is_that_of_the_row() {
    let redis = Redis::start();
    let mut shop = corners_with(&format!("[tair]\nurl = \"{}\"\n[serving]\nmemory = 0\n", redis.url()));
    // The service does not notice the next publish.
    shop.config.serving.poll = Duration::from_hours(1);
    let earlier = shop.try_build(Some("2024-03-05T12:00:00Z")).await.unwrap().manifest.id;
    shop.publish(&earlier).await;
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let body = json!({"entities": {"customer_id": ["loyal", "prospect"]}, "features": ["rfm:segment"]});
    let before = ask(&service, body.clone()).await;
    assert_eq!(
        of(&before, "segment")["event_timestamps"],
        json!(["2024-03-05T12:00:00Z", "2024-03-05T12:00:00Z"])
    );
    let later = shop.build().await.manifest.id;
    shop.publish(&later).await;
    // The row of the prospect has not changed and is not written again.
    let times = json!([AS_OF, "2024-03-05T12:00:00Z"]);
    let ahead = |answer: &Value| of(answer, "segment")["event_timestamps"] == times;
    let after = eventually(|| ask(&service, body.clone()), ahead).await;
    assert_eq!(of(&after, "segment")["statuses"], json!(["PRESENT", "PRESENT"]));
}

#[tokio::test]
async fn health_is_503_without_a_snapshot() {
    let shop = corners();
    let service = shop.serve().await;
    assert_eq!(service.get("/health").await.status, 503);
    let refused =
        service.post(URL, r#"{"entities": {"customer_id": [1]}, "features": ["rfm:segment"]}"#).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "no-snapshot"));
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let healthy = eventually(|| service.get("/health"), |answer| answer.status == 200).await;
    assert_eq!(healthy.text, "");
}

#[tokio::test]
async fn feast_repo_updates_its_own_file_only() {
    let shop = corners();
    let built = shop.build().await;
    let repository = shop.path().join("repository");
    let folder = repository.to_str().unwrap();
    let refused = shop.larder(&["feast-repo", folder]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no current snapshot"), "{refused:?}");
    shop.publish(&built.manifest.id).await;
    let written = shop.larder(&["feast-repo", folder, "--url", "http://features:80"]);
    let output = String::from_utf8_lossy(&written.stdout).into_owned();
    assert!(
        written.status.success() && output.contains("behavior") && output.contains("feast apply"),
        "{written:?}"
    );
    let (store, python) = (repository.join("feature_store.yaml"), repository.join("larder.py"));
    assert!(std::fs::read_to_string(&store).unwrap().contains("path: \"http://features:80\""));
    std::fs::write(&store, "project: mine\n").unwrap();
    let first = std::fs::read_to_string(&python).unwrap();
    assert!(shop.larder(&["feast-repo", folder]).status.success());
    assert_eq!(std::fs::read_to_string(&store).unwrap(), "project: mine\n");
    assert_eq!(std::fs::read_to_string(&python).unwrap(), first);
    std::fs::write(&python, "# mine\n").unwrap();
    let refused = shop.larder(&["feast-repo", folder]);
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("larder.py"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(&python).unwrap(), "# mine\n");
}
