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
        ("LARDER_SERVING_MEMROY", "1MiB", "did you mean LARDER_SERVING_MEMORY?"),
        // Not the address of a Service.
        ("LARDER_HTTP_PORT", "8080", "did you mean LARDER_HTTP_"),
        ("LARDER_PORT_X_TCP", "1", "docs/configuration.md"),
    ] {
        let message = error(&snapshots(&shop, &[(name, value)]));
        assert!(message.contains(&format!("unknown environment variable {name}")), "{message}");
        assert!(message.contains(near) && message.len() < 200, "{message}");
    }
}
