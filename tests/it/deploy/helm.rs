//! The chart, rendered by Helm itself, checked against the schemas of Kubernetes, and with its configuration
//! given to the real binary.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use larder::config::env;
use yaml_rust2::{Yaml, YamlLoader};

use super::{assert_runs, file, read, strings};
use crate::support::python::{installed_without_dependencies, run};

const CHART: &str = "deploy/helm/larder";

/// Versions of Kubernetes: the oldest that the chart accepts, and the newest that there are schemas of.
const KUBERNETES: [&str; 2] = ["1.29", "1.37"];

/// Returns the path of Helm, unpacked once from its package.
fn helm() -> PathBuf {
    let folder = installed_without_dependencies("helm").parent().unwrap().to_path_buf();
    let lock = File::create(folder.join("helm.lock")).unwrap();
    lock.lock().unwrap();
    let helm = folder.join("bin/helm");
    if !helm.exists() {
        let mut find = Command::new("find");
        let found = run(find.arg(&folder).args(["-name", "lambda-layer-kubectl-*.tgz"]));
        let archive = String::from_utf8(found.stdout).unwrap();
        let mut tar = Command::new("tar");
        run(tar.args(["-xzf", archive.trim(), "-C"]).arg(&folder).arg("package/lib/layer.zip"));
        let layer = File::open(folder.join("package/lib/layer.zip")).unwrap();
        let mut layer = zip::ZipArchive::new(layer).unwrap();
        let unpacked = folder.join("helm.tmp");
        let mut program = layer.by_name("helm/helm").unwrap();
        std::io::copy(&mut program, &mut File::create(&unpacked).unwrap()).unwrap();
        fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(unpacked, &helm).unwrap();
    }
    helm
}

/// Returns a command of Helm that reads and writes no settings of the user, and knows no cluster.
fn helm_with(args: &[&str]) -> Command {
    let mut command = Command::new(helm());
    let home = std::env::temp_dir().join("larder-helm");
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, &home);
    }
    command.env("KUBECONFIG", "/dev/null").args(args);
    command
}

/// Renders the chart with values of `ci/<name>-values.yaml`, or with its own.
fn render(name: Option<&str>, more: &[&str]) -> String {
    let chart = file(CHART);
    let mut command = helm_with(&["template", "larder"]);
    command.arg(&chart).args(["--namespace", "shop"]).args(more);
    if let Some(name) = name {
        command.arg("--values").arg(chart.join(format!("ci/{name}-values.yaml")));
    }
    String::from_utf8(run(&mut command).stdout).unwrap()
}

fn documents(rendered: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(rendered).unwrap()
}

fn of_kind<'a>(documents: &'a [Yaml], kind: &str) -> Vec<&'a Yaml> {
    documents.iter().filter(|document| document["kind"].as_str() == Some(kind)).collect()
}

/// Returns the specifications of the pods in rendered documents.
fn pods(documents: &[Yaml]) -> Vec<&Yaml> {
    let deployments = of_kind(documents, "Deployment").into_iter();
    let of_deployments = deployments.map(|deployment| &deployment["spec"]["template"]["spec"]);
    let of_jobs = of_kind(documents, "CronJob").into_iter();
    let of_jobs = of_jobs.map(|job| &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]);
    of_deployments.chain(of_jobs).collect()
}

/// Asserts that a pod runs without rights, and that its command, settings and volumes exist.
fn assert_sound(pod: &Yaml) {
    assert_eq!(pod["enableServiceLinks"].as_bool(), Some(false));
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"].as_str(), Some("RuntimeDefault"));
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(security["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
    assert!(container["resources"]["limits"]["memory"].as_str().is_some(), "{container:?}");
    assert_runs(&strings(&container["command"]));
    let known = env::names();
    for variable in container["env"].as_vec().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(name == "LARDER_CONFIG" || known.iter().any(|known| known == name), "{name}");
    }
    let names = |list: &Yaml| -> Vec<String> {
        let all = list.as_vec().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let (mut mounts, mut volumes) = (names(&container["volumeMounts"]), names(&pod["volumes"]));
    mounts.sort();
    volumes.sort();
    assert_eq!(mounts, volumes);
}

/// Asserts that the real binary accepts the rendered `larder.toml` with the environment of each pod.
fn assert_accepted(documents: &[Yaml]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.toml");
    fs::write(&path, of_kind(documents, "ConfigMap")[0]["data"]["larder.toml"].as_str().unwrap()).unwrap();
    for pod in pods(documents) {
        // Reads the whole configuration, and no store.
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.args(["key", "another"]);
        for variable in pod["containers"][0]["env"].as_vec().unwrap() {
            command.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
        }
        run(command.env("LARDER_CONFIG", &path));
    }
}

#[test]
fn chart_renders_to_valid_and_sound_objects() {
    let programs = installed_without_dependencies("helm");
    let folder = tempfile::tempdir().unwrap();
    for (name, kinds) in [(None, 7), (Some("everything"), 16), (Some("minimal"), 4)] {
        let chart = file(CHART);
        let mut lint = helm_with(&["lint", "--strict"]);
        if let Some(name) = name {
            lint.arg("--values").arg(chart.join(format!("ci/{name}-values.yaml")));
        }
        run(lint.arg(&chart));
        let rendered = render(name, &[]);
        let path = folder.path().join("rendered.yaml");
        fs::write(&path, &rendered).unwrap();
        for version in KUBERNETES {
            let mut validate = Command::new(programs.join("kubernetes-validate"));
            run(validate.args(["--strict", "--kubernetes-version", version]).arg(&path));
        }
        let documents = documents(&rendered);
        assert_eq!(documents.len(), kinds, "{name:?}");
        pods(&documents).into_iter().for_each(assert_sound);
        assert_accepted(&documents);
        let serving = &of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(serving["livenessProbe"]["httpGet"]["path"].as_str(), Some("/healthz"));
        assert_eq!(serving["readinessProbe"]["httpGet"]["path"].as_str(), Some("/readyz"));
        let scheme = if name == Some("everything") { "HTTPS" } else { "HTTP" };
        assert_eq!(serving["readinessProbe"]["httpGet"]["scheme"].as_str(), Some(scheme));
    }
}

/// Workers connect to a Service that leads to the build, with the certificate that `config` names.
#[test]
fn workers_of_the_chart_reach_the_build() {
    let documents = documents(&render(Some("everything"), &[]));
    let of_name = |kind: &str, name: &str| {
        let mut found = of_kind(&documents, kind).into_iter();
        found.find(|document| document["metadata"]["name"].as_str() == Some(name)).unwrap()
    };
    let service = of_name("Service", "larder-build");
    let template = |job: &str| &of_name("CronJob", job)["spec"]["jobTemplate"]["spec"]["template"];
    let (build, worker) = (template("larder-build"), template("larder-worker"));
    for (label, value) in service["spec"]["selector"].as_hash().unwrap() {
        assert_eq!(build["metadata"]["labels"][label.as_str().unwrap()], *value);
    }
    let [build, worker] = [build, worker].map(|template| &template["spec"]["containers"][0]);
    let address = strings(&worker["command"])[3].clone();
    let port = service["spec"]["ports"][0]["port"].as_i64().unwrap();
    assert_eq!(address, format!("larder-build.shop.svc:{port}"));
    assert_eq!(service["spec"]["ports"][0]["targetPort"], build["ports"][0]["name"]);
    assert_eq!(build["ports"][0]["containerPort"].as_i64(), Some(port));
    let variable = |name: &str| {
        let mut all = build["env"].as_vec().unwrap().iter();
        all.find(|variable| variable["name"].as_str() == Some(name)).unwrap()["value"].as_str().unwrap()
    };
    assert_eq!(variable("LARDER_BUILD_ENGINE"), "cluster");
    assert_eq!(variable("LARDER_BUILD_LISTEN"), format!("0.0.0.0:{port}"));
    let config = of_name("ConfigMap", "larder")["data"]["larder.toml"].as_str().unwrap();
    for container in [build, worker] {
        let mounts = container["volumeMounts"].as_vec().unwrap().iter();
        let paths: Vec<&str> = mounts.map(|mount| mount["mountPath"].as_str().unwrap()).collect();
        assert!(paths.contains(&"/etc/larder/build-tls") && paths.contains(&"/staging"), "{paths:?}");
        assert!(config.contains("ca = \"/etc/larder/build-tls/ca.crt\""));
    }
    // Without workers, a build is one process.
    let plain = self::documents(&render(None, &[]));
    assert!(
        of_kind(&plain, "CronJob")
            .iter()
            .all(|job| job["metadata"]["name"].as_str() != Some("larder-worker"))
    );
    assert!(!render(None, &[]).contains("LARDER_BUILD_ENGINE"));
}

#[test]
fn chart_brings_rules_and_dashboard() {
    let documents = documents(&render(Some("everything"), &[]));
    let folder = tempfile::tempdir().unwrap();
    let rules = of_kind(&documents, "PrometheusRule");
    assert_eq!(rules.len(), 2);
    for rule in rules {
        let path = folder.path().join("rules.yml");
        let mut text = String::new();
        yaml_rust2::YamlEmitter::new(&mut text).dump(&rule["spec"]).unwrap();
        assert!(!text.contains("larder.example"));
        fs::write(&path, text).unwrap();
        run(Command::new("promtool").args(["check", "rules"]).arg(path));
    }
    let mut maps = of_kind(&documents, "ConfigMap").into_iter();
    let dashboard = maps.find_map(|map| map["data"]["larder.json"].as_str()).unwrap();
    assert_eq!(dashboard, read("deploy/grafana/larder.json"));
}

#[test]
fn chart_refuses_mistakes_and_restarts_pods_only_for_settings() {
    for mistake in ["replica=3", "build.tairUrl=rediss://larder:secret@tair:6379", "prune.keep=0"] {
        let output = helm_with(&["template", "larder", "--set", mistake]).arg(file(CHART)).output().unwrap();
        assert!(!output.status.success(), "{mistake}");
        let error = String::from_utf8_lossy(&output.stderr);
        let name = mistake.split(['=', '.']).next().unwrap();
        assert!(error.contains("don't meet the specifications") && error.contains(name), "{error}");
    }
    let checksum = |config: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("larder.toml");
        fs::write(&path, config).unwrap();
        let rendered = render(None, &["--set-file", &format!("config={}", path.display())]);
        rendered.lines().find(|line| line.contains("checksum/config")).unwrap().to_owned()
    };
    let key = |name: &str| format!("[[keys]]\nname = \"{name}\"\nscopes = [\"features\"]\n");
    let one = checksum(&format!("{}{}[http]\nqueue = 1\n", key("a"), key("b")));
    assert_eq!(one, checksum(&format!("{}[http]\nqueue = 1\n", key("c"))));
    assert_ne!(one, checksum(&format!("{}[http]\nqueue = 2\n", key("c"))));
}

/// Without keys, the service refuses to start, which the notes after an installation say.
#[test]
fn notes_of_the_chart_warn_of_missing_keys() {
    for (name, warns) in [(None, true), (Some("everything"), false), (Some("minimal"), false)] {
        let mut install = helm_with(&["install", "larder", "--dry-run=client"]);
        if let Some(name) = name {
            install.arg("--values").arg(file(&format!("{CHART}/ci/{name}-values.yaml")));
        }
        let notes = String::from_utf8(run(install.arg(file(CHART))).stdout).unwrap();
        assert_eq!(notes.contains("WARNING"), warns, "{name:?}");
    }
}

#[test]
fn chart_has_the_version_of_the_program() {
    let chart = YamlLoader::load_from_str(&read(&format!("{CHART}/Chart.yaml"))).unwrap().remove(0);
    assert_eq!(chart["appVersion"].as_str(), Some(env!("CARGO_PKG_VERSION")));
}
