//! The access log: one line per request, at the configured level and in the configured format.

use larder::config::Scope;
use serde_json::json;

use crate::support::{
    callers::{keys, shop},
    program::{Program, json_lines},
};

#[tokio::test]
async fn request_is_logged_unless_filtered_out() {
    for (level, audit) in
        [("info", ""), ("info", "audit = \"audit.log\"\n"), ("info,larder::request=off", "")]
    {
        let shop = shop(&format!("[log]\nlevel = \"{level}\"\nformat = \"json\"\n{audit}"));
        drop(shop.open().await);
        let log = shop.path().join("log");
        let mut program = Program::serve(&shop, &log);
        let client = reqwest::Client::new();
        let path = format!("{}/v1/customers/nobody%20here", program.url);
        let answer = client.get(path).header("x-request-id", "\"one\"").send().await.unwrap();
        assert_eq!(answer.status(), 404);
        drop((answer, client));
        // A shutdown writes all buffered lines.
        program.stop();
        let logged = json_lines(&log);
        let requests: Vec<_> = logged.iter().filter(|line| line["target"] == "larder::request").collect();
        if level != "info" {
            assert!(requests.is_empty() && !logged.is_empty(), "{logged:?}");
            continue;
        }
        let [line] = requests[..] else { panic!("{logged:?}") };
        assert_eq!(line["client"], "127.0.0.1", "{line}");
        let expected =
            [("level", json!("INFO")), ("message", json!("request")), ("request_id", json!("\"one\""))];
        let route =
            [("method", json!("GET")), ("route", json!("/v1/customers/{id}")), ("status", json!(404))];
        for (name, value) in expected.into_iter().chain(route) {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        assert!(line["micros"].is_u64() && line["timestamp"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn client_of_unauthorized_requests_is_logged_once_a_minute() {
    let shop = shop(&format!(
        "[log]\nlevel = \"info,larder::request=off\"\nformat = \"json\"\n{}",
        keys(&[("all", &Scope::ALL)])
    ));
    let log = shop.path().join("log");
    let mut program = Program::serve(&shop, &log);
    let client = reqwest::Client::new();
    for _ in 0..5 {
        let request = client.get(format!("{}/v1/views", program.url)).header("x-api-key", "lrd_wrong");
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    drop(client);
    program.stop();
    let logged = json_lines(&log);
    let lines: Vec<_> = logged.iter().filter(|line| line["message"] == "unauthorized request").collect();
    let [line] = lines[..] else { panic!("{logged:?}") };
    assert_eq!((&line["client"], &line["route"]), (&json!("127.0.0.1"), &json!("/v1/views")), "{line}");
    assert!(!logged.iter().any(|line| line.to_string().contains("lrd_wrong")), "{logged:?}");
}

#[tokio::test]
async fn lines_have_the_names_of_the_common_schema_and_successes_are_sampled() {
    let shop = shop("[log]\nformat = \"ecs\"\nrequests = 0.1\n");
    drop(shop.open().await);
    let log = shop.path().join("log");
    let mut program = Program::serve(&shop, &log);
    let client = reqwest::Client::new();
    for path in ["/v1/segments", "/v1/customers/nobody"] {
        for _ in 0..100 {
            client.get(format!("{}{path}", program.url)).send().await.unwrap();
        }
    }
    drop(client);
    program.stop();
    let logged = json_lines(&log);
    let of = |status: u32| logged.iter().filter(|line| line["http.response.status_code"] == status).count();
    // Each thread logs every tenth success; a failure is always logged.
    assert!((8..=12).contains(&of(200)), "{}", of(200));
    assert_eq!(of(404), 100);
    for line in &logged {
        assert!(line["@timestamp"].is_string() && line["message"].is_string(), "{line}");
        assert_eq!((&line["service.name"], &line["ecs.version"]), (&json!("larder"), &json!("8.11.0")));
    }
    let activated = logged.iter().find(|line| line["message"] == "snapshot activated").unwrap();
    assert_eq!((&activated["log.level"], &activated["labels"]["publish"]), (&json!("info"), &json!(1)));
}
