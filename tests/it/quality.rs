//! The gate before a publish, and what a build may use of the machine, seen through the real binary.

use std::process::Output;

use crate::shop::Shop;

const QUICK: &str = "[churn]\nenabled = false\n[recommendations]\nenabled = false\n";
const HEADER: &str = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A shop of `customers` who paid `price` each, with addresses for so many of them.
fn write(shop: &Shop, customers: usize, price: u32, addresses: usize) {
    let lines = (0..customers).map(|at| format!("c{at},{at},p,1,{price},2024-01-01\n"));
    shop.raw("transactions/a.csv", format!("{HEADER}{}", lines.collect::<String>()));
    let people = (0..customers).map(|at| {
        let email = if at < addresses { format!("c{at}@example.com") } else { String::new() };
        format!("c{at},{email}\n")
    });
    shop.raw("customers/c.csv", format!("customer_id,email\n{}", people.collect::<String>()));
}

async fn current(shop: &Shop) -> String {
    larder::snapshot::read_current(&shop.lake()).await.unwrap().unwrap().snapshot.to_string()
}

#[tokio::test]
async fn an_implausible_build_is_kept_and_not_published() {
    let rules =
        "[quality]\nrules = [\"customers >= 0.9 * previous\", \"null_share(profile.email) <= 0.6\"]\n";
    let shop = Shop::new(&format!("{rules}{QUICK}"));
    write(&shop, 20, 10, 20);
    let first = shop.larder(&["build"]);
    assert!(first.status.success(), "{}", said(&first));
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
        let told = said(&held);
        assert_eq!(held.status.code(), Some(3), "{told}");
        for reason in reasons {
            assert!(told.contains(reason), "`{reason}` is not in {told}");
        }
        assert_eq!(current(&shop).await, published, "{told}");
    }
    // The command that the message names publishes it all the same.
    let built = shop.larder(&["build"]);
    let told = said(&built);
    let command =
        told.split("`larder publish ").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();
    let done = shop.larder(&["publish", &command]);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(current(&shop).await, command);
    // A column that is gone, and a build that is to be published whatever it holds.
    shop.raw("customers/c.csv", "customer_id,mail\nc1,x\n");
    let held = shop.larder(&["build"]);
    assert!(
        held.status.code() == Some(3) && said(&held).contains("feature profile.email is missing"),
        "{}",
        said(&held)
    );
    let forced = shop.larder(&["build", "--force"]);
    assert!(forced.status.success(), "{}", said(&forced));
}

#[tokio::test]
async fn nobody_is_not_published_and_a_rule_that_is_none_is_refused() {
    let shop = Shop::new(QUICK);
    shop.raw("transactions/a.csv", format!("{HEADER},1,p,1,10,2024-01-01\n"));
    let held = shop.larder(&["build"]);
    assert!(
        held.status.code() == Some(3) && said(&held).contains("the snapshot has no customers"),
        "{}",
        said(&held)
    );
    let shop = Shop::new(QUICK);
    std::fs::write(shop.path().join("larder.toml"), "[quality]\nrules = [\"customers = 5\"]\n").unwrap();
    let refused = shop.larder(&["build"]);
    assert!(refused.status.code() == Some(1) && said(&refused).contains("is no rule"), "{}", said(&refused));
}

#[tokio::test]
async fn a_snapshot_from_the_future_does_not_keep_the_repaired_one_out() {
    let shop = Shop::new(&format!("[raw]\nnewest = \"2999-01-01\"\n{QUICK}"));
    shop.raw("transactions/a.csv", format!("{HEADER}a,1,p,1,10,2024-01-01\na,2,p,1,10,2942-01-01\n"));
    let wrong = shop.larder(&["build"]);
    assert!(wrong.status.success(), "{}", said(&wrong));
    shop.raw("transactions/a.csv", format!("{HEADER}a,1,p,1,10,2024-01-01\na,2,p,1,10,2024-02-01\n"));
    let repaired = shop.larder(&["build"]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    assert!(current(&shop).await.starts_with("20240201T"));
}

/// Many threads and partitions under the limit of open files that some systems set.
#[test]
fn a_build_works_with_few_open_files_or_is_refused_before_it_reads() {
    let shop = Shop::new(&format!("[build]\nthreads = 8\n{QUICK}"));
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
    assert!(built.status.success(), "{}", said(&built));
    let refused = limited("-n 128");
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(
        said(&refused).contains("256 files open") && said(&refused).contains("ulimit -n 256"),
        "{}",
        said(&refused)
    );
}

#[test]
fn upload_refuses_what_build_refuses() {
    let shop = Shop::new(QUICK);
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
            !refused.status.success() && said(&refused).contains(expected),
            "{expected}: {}",
            said(&refused)
        );
        assert!(!said(&refused).contains("ann@example"), "{}", said(&refused));
    }
    assert!(!shop.path().join("lake/raw").exists());
}
