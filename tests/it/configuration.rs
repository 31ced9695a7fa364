//! Settings from the environment and from files, as the binary reads them.

use std::process::Output;

use crate::support::shop::Shop;

/// Runs `larder snapshots` with the environment variables `vars`.
fn snapshots(shop: &Shop, vars: &[(&str, &str)]) -> Output {
    shop.command(&["snapshots"]).envs(vars.iter().copied()).output().unwrap()
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn variables_of_kubernetes_services_are_ignored() {
    let shop = Shop::new("");
    let output = snapshots(
        &shop,
        &[
            ("LARDER_SERVICE_HOST", "10.0.0.1"),
            ("LARDER_SERVICE_PORT", "8080"),
            ("LARDER_SERVICE_PORT_HTTP", "8080"),
            ("LARDER_PORT", "tcp://10.0.0.1:8080"),
            ("LARDER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("LARDER_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("LARDER_PORT_8080_TCP_PORT", "8080"),
            ("LARDER_PORT_8080_TCP_PROTO", "tcp"),
            ("LARDER_SERVE_SERVICE_HOST", "10.0.0.2"),
            ("LARDER_SERVE_SERVICE_PORT_METRICS", "9090"),
            ("LARDER_SERVE_PORT", "udp://10.0.0.2:9090"),
            ("LARDER_SERVE_PORT_9090_UDP_ADDR", "10.0.0.2"),
        ],
    );
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn unknown_variable_is_refused_with_the_nearest_setting() {
    let shop = Shop::new("");
    for (name, value, near) in [
        ("LARDER_HTTP_LISEN", "127.0.0.1:1", "did you mean LARDER_HTTP_LISTEN?"),
        ("LARDER_SERVING_MEM0RY", "1MiB", "did you mean LARDER_SERVING_MEMORY?"),
        // Not the address of a Service.
        ("LARDER_HTTP_PORT", "8080", "did you mean LARDER_HTTP_"),
        ("LARDER_PORT_X_TCP", "1", "docs/configuration.md"),
    ] {
        let message = error(&snapshots(&shop, &[(name, value)]));
        assert!(message.contains(&format!("unknown environment variable {name}")), "{message}");
        assert!(message.contains(near) && message.len() < 200, "{message}");
    }
}

/// Writes files next to `larder.toml`.
fn write(shop: &Shop, files: &[(&str, &str)]) {
    for (name, text) in files {
        let file = shop.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

/// Runs `larder config`, and returns the section `[section]`.
fn shown(shop: &Shop, section: &str, args: &[&str], vars: &[(&str, &str)]) -> String {
    let output = shop.command(&[&["config"], args].concat()).envs(vars.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    toml::from_str::<toml::Table>(&text).unwrap();
    let sections = text.trim_end().split("\n\n").filter(|part| part.starts_with(&format!("{section}\n")));
    sections.collect::<Vec<_>>().join("\n")
}

const KEY: &str = "[[keys]]\nname = \"NAME\"\nhash = \"sha256:HASH\"\nscopes = [\"features\"]\n";

fn key(name: &str, digit: &str) -> String {
    KEY.replace("NAME", name).replace("HASH", &digit.repeat(64))
}

#[test]
fn settings_are_read_from_included_files() {
    let first = format!("include = [\"conf/keys.toml\", \"tair.toml\"]\n{}", key("first", "a"));
    let shop = Shop::new("");
    let nested = format!("include = [\"more.toml\"]\n{}", key("second", "b"));
    write(
        &shop,
        &[
            ("larder.toml", &format!("{first}[http]\ntimeout = \"3s\"\n")),
            ("conf/keys.toml", &nested),
            ("conf/more.toml", "[http]\ncors_origins = [\"https://a.example\"]\n"),
            ("tair.toml", "[tair]\npool = 3\n"),
            ("extra.toml", "[audiences.big]\nwhere = \"rfm.monetary > 1000\"\n"),
        ],
    );
    let vars = [("LARDER_INCLUDE", " extra.toml, ")];
    let keys = shown(&shop, "[[keys]]", &[], &vars);
    let places = ["larder.toml line 3", "conf/keys.toml line 3"].map(|place| keys.find(place).unwrap());
    assert!(places[0] < places[1] && !keys.contains("aaaa"), "{keys}");
    let http = shown(&shop, "[http]", &[], &vars);
    assert!(http.contains("conf/more.toml line 2") && http.contains("timeout = \"3s\"  # "), "{http}");
    assert!(shown(&shop, "[tair]", &[], &vars).contains("pool = 3  # "));
    assert!(shown(&shop, "[audiences.big]", &[], &vars).contains("extra.toml line 2"));
}

#[test]
fn faults_of_included_files_name_the_files() {
    let shop = Shop::new("");
    for (files, words) in [
        (
            &[
                ("larder.toml", "include = [\"a.toml\"]\n[http]\ntimeout = \"3s\"\n"),
                ("a.toml", "[http]\n\ntimeout = \"3s\"\n"),
            ][..],
            &["`http.timeout` is set twice", "larder.toml line 3", "a.toml line 3"][..],
        ),
        (
            &[
                ("larder.toml", "include = [\"a.toml\"]\nhttp.cors_origins = [\"https://a.example\"]\n"),
                ("a.toml", "[http]\ncors_origins = []\n"),
            ],
            &["`http.cors_origins` is set twice", "larder.toml line 2", "a.toml line 2"],
        ),
        (
            &[("larder.toml", "include = [\"a.toml\"]\n"), ("a.toml", "include = [\"./larder.toml\"]\n")],
            &["larder.toml is included more than once"],
        ),
        (&[("larder.toml", "include = [\"none.toml\"]\n")], &["cannot read", "none.toml", "No such file"]),
        (
            &[("larder.toml", "include = [\"a.toml\"]\n"), ("a.toml", "\n[http]\nlisen = 1\n")],
            &["a.toml", "line 3", "lisen"],
        ),
        (
            &[
                ("larder.toml", &format!("include = [\"a.toml\"]\n{}", key("x", "a"))),
                ("a.toml", &key("x", "b")),
            ],
            &["a.toml", "an earlier key has the same name"],
        ),
        (&[("larder.toml", "include = \"a.toml\"\n")], &["larder.toml", "include"]),
    ] {
        write(&shop, files);
        let message = error(&snapshots(&shop, &[]));
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
    }
}

#[test]
fn value_of_a_setting_is_read_from_a_file() {
    let shop = Shop::new("");
    write(&shop, &[("url", "redis://u:s3cret@tair.example:6379\r\n"), ("threads", "3\n")]);
    let url = shop.path().join("url");
    let vars = [("LARDER_TAIR_URL_FILE", url.to_str().unwrap()), ("LARDER_BUILD_THREADS_FILE", "threads")];
    let tair = shown(&shop, "[tair]", &[], &vars);
    assert!(tair.contains("url = \"redis://***@tair.example:6379\"  # "), "{tair}");
    assert!(tair.contains("(LARDER_TAIR_URL_FILE)") && tair.contains("pool = 2  # default"), "{tair}");
    assert!(shown(&shop, "[build]", &[], &vars).contains("threads = 3  # "));
    // The name of a setting.
    let password = shown(&shop, "[tair]", &[], &[("LARDER_TAIR_PASSWORD_FILE", "/none")]);
    assert!(password.contains("password_file = \"/none\"  # LARDER_TAIR_PASSWORD_FILE"), "{password}");

    for (vars, words) in [
        (&[("LARDER_TAIR_URL_FILE", "/none")][..], &["cannot read /none", "LARDER_TAIR_URL_FILE"][..]),
        (
            &[("LARDER_TAIR_URL_FILE", "url"), ("LARDER_TAIR_URL", "redis://h")],
            &["`tair.url` is set twice", "LARDER_TAIR_URL_FILE"],
        ),
        (&[("LARDER_TAIR_POOL_FILE", "url")], &["`pool`"]),
        (&[("LARDER_TAIR_ULR_FILE", "url")], &["unknown environment variable LARDER_TAIR_ULR_FILE"]),
    ] {
        let message = error(&snapshots(&shop, vars));
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn config_prints_settings_with_their_sources() {
    let shop =
        Shop::new("[http]\n# A comment.\nlisten = \"127.0.0.1:1\"\n[lake]\nurl = \"s3://k:s3cret@b\"\n");
    let vars = [("LARDER_HTTP_TIMEOUT", "7s")];
    let http = shown(&shop, "[http]", &[], &vars);
    assert!(http.contains("timeout = \"7s\"  # LARDER_HTTP_TIMEOUT"), "{http}");
    assert!(http.contains("listen = \"127.0.0.1:1\"  # ") && http.contains("larder.toml line 3"), "{http}");
    assert!(http.contains("queue = 1024  # default") && !http.contains("anonymous_rate"), "{http}");
    assert!(shown(&shop, "[lake]", &[], &[]).contains("url = \"s3://***@b\"  # "));
    assert_eq!(shown(&shop, "[tair]", &[], &[]), "");
    let flags = ["--lake", "/data", "--tair", "redis://h"];
    assert!(shown(&shop, "[lake]", &flags, &[]).contains("url = \"/data\"  # --lake"));
    assert!(shown(&shop, "[tair]", &flags, &[]).contains("url = \"redis://h\"  # --tair"));

    let output = shop.command(&["config", "--json"]).envs(vars).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let timeout = list.as_array().unwrap().iter().find(|one| one["setting"] == "http.timeout").unwrap();
    assert_eq!((&timeout["value"], &timeout["source"]), (&"7s".into(), &"LARDER_HTTP_TIMEOUT".into()));
    assert!(!String::from_utf8(output.stdout).unwrap().contains("s3cret"));
}
