//! Publish gate, open file limit and checks of uploads, tested through the binary.

use std::process::Output;

use crate::support::shop::{NO_MODELS, Shop};

const HEADER: &str = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n";

fn output_text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes raw files of `customers` customers who paid `price` each, the first `addresses` of them with an
/// email address.
fn write(shop: &Shop, customers: usize, price: u32, addresses: usize) {
    let lines = (0..customers).map(|at| format!("c{at},{at},p,1,{price},2024-01-01\n"));
    shop.raw("transactions/a.csv", format!("{HEADER}{}", lines.collect::<String>()));
    let profiles = (0..customers).map(|at| {
        let email = if at < addresses { format!("c{at}@example.com") } else { String::new() };
        format!("c{at},{email}\n")
    });
    shop.raw("customers/c.csv", format!("customer_id,email\n{}", profiles.collect::<String>()));
}

async fn current(shop: &Shop) -> String {
    larder::snapshot::read_current(&shop.lake()).await.unwrap().unwrap().snapshot.to_string()
}

#[tokio::test]
async fn implausible_build_is_held_back() {
    let rules =
        "[quality]\nrules = [\"customers >= 0.9 * previous\", \"null_share(profile.email) <= 0.6\"]\n";
    let shop = Shop::new(&format!("{rules}{NO_MODELS}"));
    write(&shop, 20, 10, 20);
    let first = shop.larder(&["build"]);
    assert!(first.status.success(), "{}", output_text(&first));
    let published = current(&shop).await;
    for (customers, price, addresses, reasons) in [
        (9, 30, 9, &["customers fell from 20 to 9", "`customers >= 0.9 * previous` does not hold"][..]),
        (20, 4, 20, &["revenue fell from 200 to 80"]),
        (20, 10, 9, &["profile.email is set for 45.0 % of the customers, previously for 100.0 %"]),
        (17, 12, 17, &["`customers >= 0.9 * previous` does not hold: customers is 17, compared with 18"]),
        (20, 10, 7, &["`null_share(profile.email) <= 0.6` does not hold"]),
    ] {
        write(&shop, customers, price, addresses);
        let held = shop.larder(&["build"]);
        let text = output_text(&held);
        assert_eq!(held.status.code(), Some(3), "{text}");
        for reason in reasons {
            assert!(text.contains(reason), "`{reason}` is not in {text}");
        }
        assert_eq!(current(&shop).await, published, "{text}");
    }
    // The command in the message publishes the held-back build.
    let built = shop.larder(&["build"]);
    let text = output_text(&built);
    let command =
        text.split("`larder publish ").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();
    let done = shop.larder(&["publish", &command]);
    assert!(done.status.success(), "{}", output_text(&done));
    assert_eq!(current(&shop).await, command);
    // A removed column holds the build back, and `--force` publishes it.
    shop.raw("customers/c.csv", "customer_id,mail\nc1,x\n");
    let held = shop.larder(&["build"]);
    assert!(
        held.status.code() == Some(3) && output_text(&held).contains("feature profile.email is missing"),
        "{}",
        output_text(&held)
    );
    let forced = shop.larder(&["build", "--force"]);
    assert!(forced.status.success(), "{}", output_text(&forced));
}

#[tokio::test]
async fn build_without_customers_is_held_back_and_invalid_rule_is_rejected() {
    let shop = Shop::new(NO_MODELS);
    shop.raw("transactions/a.csv", format!("{HEADER},1,p,1,10,2024-01-01\n"));
    let held = shop.larder(&["build"]);
    assert!(
        held.status.code() == Some(3) && output_text(&held).contains("the snapshot has no customers"),
        "{}",
        output_text(&held)
    );
    let shop = Shop::new(NO_MODELS);
    std::fs::write(shop.path().join("larder.toml"), "[quality]\nrules = [\"customers = 5\"]\n").unwrap();
    let refused = shop.larder(&["build"]);
    assert!(
        refused.status.code() == Some(1) && output_text(&refused).contains("is not a rule"),
        "{}",
        output_text(&refused)
    );
}

#[tokio::test]
async fn repaired_build_after_a_future_snapshot_is_published() {
    let shop = Shop::new(&format!("[raw]\nnewest = \"2999-01-01\"\n{NO_MODELS}"));
    shop.raw("transactions/a.csv", format!("{HEADER}a,1,p,1,10,2024-01-01\na,2,p,1,10,2942-01-01\n"));
    let wrong = shop.larder(&["build"]);
    assert!(wrong.status.success(), "{}", output_text(&wrong));
    shop.raw("transactions/a.csv", format!("{HEADER}a,1,p,1,10,2024-01-01\na,2,p,1,10,2024-02-01\n"));
    let repaired = shop.larder(&["build"]);
    assert!(repaired.status.success(), "{}", output_text(&repaired));
    assert!(current(&shop).await.starts_with("20240201T"));
}

/// Runs a build with many threads and partitions under a low limit of open files.
#[test]
fn build_respects_the_open_file_limit() {
    let shop = Shop::new(&format!("[build]\nthreads = 8\n{NO_MODELS}"));
    for file in 0..16 {
        let lines =
            (0..400).map(|at| format!("c{at},{file}-{at},p{},1,10,2024-01-{:02}\n", at % 7, 1 + at % 28));
        shop.raw(&format!("transactions/{file}.csv"), format!("{HEADER}{}", lines.collect::<String>()));
    }
    let limited = |limit: &str| {
        let binary = env!("CARGO_BIN_EXE_larder");
        let config = shop.path().join("larder.toml");
        let command = format!("ulimit {limit} && exec {binary} --config {} build", config.display());
        std::process::Command::new("bash")
            .args(["-c", &command])
            .env("LARDER_BUILD_STAGING", shop.path().join("staging"))
            .output()
            .unwrap()
    };
    let built = limited("-n 256");
    assert!(built.status.success(), "{}", output_text(&built));
    let refused = limited("-n 128");
    assert!(!refused.status.success(), "{}", output_text(&refused));
    assert!(
        output_text(&refused).contains("256 files open") && output_text(&refused).contains("ulimit -n 256"),
        "{}",
        output_text(&refused)
    );
}

#[test]
fn upload_rejects_invalid_files() {
    let shop = Shop::new(NO_MODELS);
    let cases = [
        ("transactions", format!("{HEADER}a,1,p,1,10,2942-06-01\n"), "a time after"),
        ("transactions", format!("{HEADER}a,1,p,4006381333931,10,2024-06-01\n"), "a quantity greater than"),
        ("transactions", format!("{HEADER}1.79E+04,1,p,1,10,2024-06-01\n"), "rounded number"),
        ("transactions", format!("{HEADER}a,1,p,1,10,2024-06-01,\"x\n"), "stray quote"),
        ("customers", "customer_id,Email,email\na,1,2\n".to_owned(), "would both be the feature `email`"),
        ("customers", "c1,Ann,ann@example.com\n".to_owned(), "look like values and are not shown"),
    ];
    for (table, content, expected) in cases {
        let file = shop.path().join("upload.csv");
        std::fs::write(&file, content).unwrap();
        let refused = shop.larder(&["upload", table, file.to_str().unwrap()]);
        assert!(
            !refused.status.success() && output_text(&refused).contains(expected),
            "{expected}: {}",
            output_text(&refused)
        );
        assert!(!output_text(&refused).contains("ann@example"), "{}", output_text(&refused));
    }
    assert!(!shop.path().join("lake/raw").exists());
}
