//! Files for deployments, tested without a container engine or a cluster: their syntax, and that named files,
//! settings, commands and metrics exist.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use larder::config::env;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{
    redis::{Redis, free_port},
    shop::{corners_with, eventually},
};

mod alibaba_cloud;
mod helm;
mod prometheus;
mod systemd;

/// Returns the path of a file of this repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

fn strings(yaml: &Yaml) -> Vec<String> {
    yaml.as_vec().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Asserts that `larder` accepts these arguments.
fn assert_runs(command: &[String]) {
    assert_eq!(command[0], "larder");
    let output =
        Command::new(env!("CARGO_BIN_EXE_larder")).args(&command[1..]).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn compose_file_names_existing_settings_commands_and_files() {
    let compose = YamlLoader::load_from_str(&read("docker-compose.yml")).unwrap().remove(0);
    let known = env::names();
    let mut settings = 0;
    for (name, _) in compose["x-larder"]["environment"].as_hash().unwrap() {
        let name = name.as_str().unwrap();
        if name.starts_with("LARDER_") {
            assert!(known.iter().any(|known| known == name), "{name} is not a setting");
            settings += 1;
        }
    }
    assert!(settings > 4);
    let services = compose["services"].as_hash().unwrap();
    let names: Vec<&str> = services.keys().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names, ["tair", "s3", "demo", "larder", "prometheus"]);
    for name in ["demo", "larder"] {
        assert_runs(&strings(&compose["services"][name]["command"]));
    }
    for (name, service) in services {
        let needed = &service["depends_on"];
        let needed = needed.as_hash().map_or_else(
            || strings(needed),
            |all| all.keys().map(|k| k.as_str().unwrap().to_owned()).collect(),
        );
        for other in needed {
            assert!(names.contains(&other.as_str()), "{name:?} depends on {other}");
        }
        for volume in strings(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            assert!(file(source).exists(), "{source}");
        }
    }
    // A service without keys is for this machine only.
    for name in ["larder", "prometheus"] {
        let ports = strings(&services[&Yaml::from_str(name)]["ports"]);
        assert!(!ports.is_empty() && ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{ports:?}");
    }
    for (name, key) in [("prometheus", Some("/etc/prometheus/larder.key")), ("prometheus-demo", None)] {
        let prometheus =
            YamlLoader::load_from_str(&read(&format!("deploy/prometheus/{name}.yml"))).unwrap().remove(0);
        let job = &prometheus["scrape_configs"][0];
        assert_eq!(job["static_configs"][0]["targets"][0].as_str().unwrap(), "larder:8080");
        assert_eq!(job["authorization"]["credentials_file"].as_str(), key, "{name}");
    }
}

#[test]
fn dockerfile_names_existing_files_and_commands() {
    let dockerfile = read("Dockerfile");
    let ignored = read(".dockerignore");
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for source in &words[1..words.len() - 1] {
            assert!(file(source).exists(), "{source}");
            assert!(ignored.lines().all(|ignored| ignored != *source), "{source} is ignored");
        }
    }
    let stages: Vec<&str> = dockerfile.lines().filter_map(|line| line.split(" AS ").nth(1)).collect();
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY --from=")) {
        assert!(stages.contains(&line.split(' ').next().unwrap()), "{line}");
    }
    // A change of src reuses the layer of the dependencies.
    let at = |text: &str| dockerfile.rfind(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at("cargo chef cook") < at("COPY src src") && at("COPY src src") < at("cargo auditable build"));
    let steps: Vec<&str> = dockerfile.lines().filter(|line| line.contains("$FEATURES")).collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    let command = dockerfile.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    assert_runs(&serde_json::from_str::<Vec<String>>(command).unwrap());
    // Kubernetes accepts only a number as a user that is not root.
    assert!(dockerfile.contains("USER 10001:10001"));
    // The image uses the compiler version of the project.
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("rust-version = \"1.95\"") && dockerfile.contains("rust:1.95"));
}

/// Files that the program includes must be copied into the build.
#[test]
fn dockerfile_copies_what_sources_include() {
    let dockerfile = read("Dockerfile");
    let build = dockerfile.split(" AS build").nth(1).unwrap();
    let copied: Vec<&str> = build.lines().filter_map(|line| line.strip_prefix("COPY ")).collect();
    let mut folders = BTreeSet::new();
    let mut command = Command::new("grep");
    let found = command.args(["-rhoE", "include_(str|bytes)!.*"]).arg(file("src")).output().unwrap();
    for line in String::from_utf8(found.stdout).unwrap().lines() {
        // `../` leads out of src; files beside the sources come with them.
        if let Some((_, path)) = line.split_once("../") {
            folders.insert(path.trim_start_matches("../").split(['/', '"']).next().unwrap().to_owned());
        }
    }
    assert!(folders.contains("console") && folders.contains("openapi"), "{folders:?}");
    // Cargo runs the build script in the image.
    folders.insert("build.rs".to_owned());
    for folder in folders {
        let is_copied = |line: &&str| line.split(' ').any(|word| word == folder);
        assert!(copied.iter().any(is_copied), "{folder}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_check_of_the_image_asks_the_service() {
    let shop = corners_with("");
    let service = shop.open().await;
    let dockerfile = read("Dockerfile").replace("\\\n", "");
    let check = dockerfile.lines().find(|line| line.starts_with("HEALTHCHECK")).unwrap();
    let check: Vec<String> = serde_json::from_str(check.split_once("CMD ").unwrap().1).unwrap();
    let port = service.url.rsplit(':').next().unwrap().to_owned();
    let is_healthy = |port: &str, path: &str| {
        let script = check[2].replace("8080", port).replace("/healthz", path);
        Command::new(&check[0]).arg(&check[1]).arg(script).output().unwrap().status.success()
    };
    assert!(is_healthy(&port, "/healthz"));
    assert!(!is_healthy(&port, "/nothing"));
    assert!(!is_healthy(&free_port().to_string(), "/healthz"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tair_acl_grants_sufficient_rights() {
    let redis = Redis::start();
    for line in read("deploy/tair.acl").lines() {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let mut args = vec!["acl", "setuser"];
        args.extend(words);
        assert_eq!(redis.cli(&args), "OK", "{line}");
    }
    // A connection without a password has no rights any more.
    assert!(redis.cli(&["ping"]).contains("NOAUTH"), "{}", redis.cli(&["ping"]));
    let url = |user: &str, secret: &str| format!("redis://{user}:{secret}@127.0.0.1:{}", redis.port);
    let mut shop = corners_with(&format!("[tair]\nurl = \"{}\"\n", url("larder-publish", "change-me-too")));
    let id = shop.build().await.manifest.id;
    shop.publish(&id).await;
    crate::support::shop::assert_clean(&shop).await;
    shop.config.tair.as_mut().unwrap().url = url("larder-serve", "change-me");
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    assert_eq!(service.get("/v1/segments/prospect/customers?views=rfm").await.status, 200);
    assert_eq!(service.metric("larder_tair_fallbacks_total{reason=\"refused\"}").await, 0.0);
}
