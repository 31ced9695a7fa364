//! Alerts, recording rules and the dashboard: their syntax, their unit tests and their runbooks.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf, process::Command};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::{file, read};
use crate::support::python::run;

mod scrape;

/// A rule of `alerts.yml` or `recording.yml`.
struct Rule {
    name: String,
    is_alert: bool,
    yaml: Yaml,
}

/// Reads the rules of a file in `deploy/prometheus`.
fn rules(name: &str) -> Vec<Rule> {
    let document = YamlLoader::load_from_str(&read(&format!("deploy/prometheus/{name}"))).unwrap().remove(0);
    let groups = document["groups"].as_vec().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_vec().unwrap());
    let rule = |yaml: &Yaml| Rule {
        name: yaml["alert"].as_str().or(yaml["record"].as_str()).unwrap().to_owned(),
        is_alert: !yaml["alert"].is_badvalue(),
        yaml: yaml.clone(),
    };
    rules.map(rule).collect()
}

/// Reads the unit tests of the rules: path and text.
fn rule_tests() -> Vec<(PathBuf, String)> {
    let files = std::fs::read_dir(file("deploy/prometheus")).unwrap().map(|entry| entry.unwrap().path());
    let tests = files.filter(|path| path.to_string_lossy().ends_with("_test.yml"));
    tests.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/larder.json")).unwrap()
}

/// Returns the queries of panels and annotations, with an interval in place of Grafana's, for all replicas.
fn dashboard_queries() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let of_annotations = annotations.iter().map(|one| one["expr"].as_str().unwrap().to_owned());
    let all = queries.chain(of_annotations);
    all.map(|query| query.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*"))
        .collect()
}

/// Returns every expression of alerts, recording rules and the dashboard.
fn expressions() -> Vec<String> {
    let of_rules = ["alerts.yml", "recording.yml"].into_iter().flat_map(rules);
    let of_rules = of_rules.map(|rule| rule.yaml["expr"].as_str().unwrap().to_owned());
    of_rules.chain(dashboard_queries()).collect()
}

#[test]
fn rules_pass_their_unit_tests() {
    let files = ["alerts.yml", "recording.yml"].map(|name| file(&format!("deploy/prometheus/{name}")));
    run(Command::new("promtool").args(["check", "rules", "--lint-fatal"]).args(files));
    let tests = rule_tests();
    assert!(tests.len() > 3);
    run(Command::new("promtool").args(["test", "rules"]).args(tests.iter().map(|(path, _)| path)));
}

#[test]
fn every_alert_is_tested_and_explained() {
    let tests: String = rule_tests().into_iter().map(|(_, text)| text).collect();
    let runbooks = read("docs/operations.md");
    let headings: BTreeSet<&str> =
        runbooks.lines().filter_map(|line| line.strip_prefix("### Larder")).collect();
    let mut names = BTreeSet::new();
    let alerts: Vec<Rule> = rules("alerts.yml").into_iter().filter(|rule| rule.is_alert).collect();
    assert!(alerts.len() > 20);
    for Rule { name, yaml, .. } in alerts {
        let severity = yaml["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{name}");
        for annotation in ["summary", "description"] {
            assert!(yaml["annotations"][annotation].as_str().is_some_and(|text| text.len() > 10), "{name}");
        }
        let url = yaml["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/docs/operations.md#{}", name.to_lowercase())), "{name}: {url}");
        names.insert(name.strip_prefix("Larder").unwrap().to_owned());
        let fires = format!("alertname=\"{name}\", severity=\"{severity}\"");
        assert!(tests.contains(&fires), "no unit test of {name}, {severity}");
    }
    assert!(
        names.iter().map(String::as_str).eq(headings),
        "a runbook for each alert, and no other: {names:?}"
    );
    // Each of these conditions is also tested where it is not met.
    assert!(tests.matches("exp_samples: []").count() > 30);
}

/// Formulas of the capacity planning use what a benchmark printed.
#[test]
fn capacity_constants_are_those_of_the_benchmarks() {
    let (operations, benchmarks) = (read("docs/operations.md"), read("docs/benchmarks.md").replace(',', ""));
    let table = operations.split("## Capacity planning").nth(1).unwrap().split("\n### ").next().unwrap();
    let mut constants = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        for word in cells[1].replace(',', "").split(|c: char| !c.is_ascii_digit() && c != '.') {
            if word.contains(|c: char| c.is_ascii_digit()) {
                assert!(benchmarks.contains(word), "{word} of {row}");
                constants += 1;
            }
        }
        let command = cells[2].split('`').nth(1).unwrap_or("cargo bench");
        assert!(benchmarks.contains(command), "{command}");
    }
    assert!(constants > 10);
}

#[test]
fn dashboard_queries_are_valid() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38, "Grafana 10");
    let source = &dashboard["templating"]["list"][0];
    assert_eq!((source["type"].as_str(), source["name"].as_str()), (Some("datasource"), Some("datasource")));
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
        }
    }
    let mut rules = "groups: [{ name: dashboard, rules: [\n".to_owned();
    for (number, query) in dashboard_queries().iter().enumerate() {
        let _ =
            writeln!(rules, "{{ record: \"dashboard:{number}\", expr: {} }},", Value::from(query.as_str()));
    }
    rules.push_str("] }]\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.yml");
    std::fs::write(&path, rules).unwrap();
    run(Command::new("promtool").args(["check", "rules"]).arg(path));
}
