//! The purchases on the page of a customer.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    console::open,
    support::{
        chromium::Chromium,
        shop::{Shop, corners, corners_with},
    },
};

const LINES: usize = 2_500;

/// The section of the purchases; `undefined` if there is none.
const SECTION: &str =
    "[...document.querySelectorAll('section')].find((section) => section.innerText.startsWith('Purchases'))";

/// Returns a shop with a customer of 2,500 lines in orders of 2 lines of 1.5 each. Half of the lines are of
/// January 2023; the others, which are on the first page, are of June and July 2023. The as-of time is in
/// October 2023.
fn large_shop() -> Shop {
    let shop = Shop::new("[churn]\nenabled = false\n");
    let mut text = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n".to_owned();
    for line in 0..LINES {
        let month = match line {
            0..1_250 => 1,
            1_250..1_750 => 6,
            _ => 7,
        };
        let (hour, minute) = (line / 60 % 24, line % 60);
        let day = 1 + line / 2 / 720;
        let order = line / 2;
        writeln!(text, "many,o{order},p{line},1,1.5,2023-{month:02}-{day:02} {hour:02}:{minute:02}:00")
            .unwrap();
    }
    text.push_str("other,x1,p1,1,1,2023-10-05\n");
    shop.raw("transactions/x.csv", text);
    shop
}

/// Returns the rows of the chart as a table: periods and amounts.
async fn chart(chromium: &Chromium) -> Value {
    chromium
        .run(&format!(
            "return [...{SECTION}.querySelectorAll('details tbody tr')].map(({{ textContent }}) => \
             textContent.replace(/\\s+/g, ' ').trim());"
        ))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_purchases_come_in_pages_and_months_without_purchases_are_shown() {
    let service = large_shop().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "customers/many").await;
    let shows = async |text: &str| {
        chromium.wait(&format!("{SECTION}.querySelector('.count').innerText.includes({text:?})")).await;
        chromium.settled().await;
    };
    let orders = "return document.querySelectorAll('.is-tall tbody').length;";
    let more = "section .count button";
    shows("The newest 1,000 of 2,500 lines are shown.").await;
    assert_eq!(chromium.run(orders).await, 500);
    // June is not complete on this page.
    assert_eq!(chart(&chromium).await, json!(["Jul 231.13K", "Aug 230", "Sep 230", "Oct 230"]));
    chromium.click(more).await;
    shows("The newest 2,000 of 2,500 lines are shown.").await;
    assert_eq!(chromium.run(orders).await, 1_000);
    chromium.click(more).await;
    shows("2,500 lines").await;
    assert_eq!(chromium.run(orders).await, 1_250);
    let months = [
        "Jan 231.88K",
        "Feb 230",
        "Mar 230",
        "Apr 230",
        "May 230",
        "Jun 23750",
        "Jul 231.13K",
        "Aug 230",
        "Sep 230",
        "Oct 230",
    ];
    assert_eq!(chart(&chromium).await, json!(months));
    assert_eq!(chromium.run(&format!("return document.querySelector({more:?});")).await, Value::Null);
    // Each order has its sum above its lines.
    let order = chromium.run("return document.querySelector('.is-tall tbody').innerText;").await;
    let order = order.as_str().unwrap();
    assert!(order.contains("o1249\t3.00") && order.contains("p2499\t1\t1.50"), "{order}");
    assert!(chromium.complaints().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_histories_are_in_years() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "customers/loyal").await;
    let outcome = chromium
        .run(
            "const { amountsOverTime } = await import('/console/lib/purchases.js'); \
             const lines = [['2024-12-31T23:59:59Z', 2], ['2024-01-01T00:00:00Z', 1], \
                 ['2010-05-01T00:00:00Z', 4]].map(([at, amount]) => ({ at, amount })); \
             const { unit, periods } = amountsOverTime(lines, \
                 { asOf: '2025-02-01T00:00:00Z', isComplete: true }); \
             return [unit, periods.length, periods[0], periods.at(-2), periods.at(-1).amount];",
        )
        .await;
    let year = |start: &str, amount: u32| json!({"start": start, "amount": amount});
    let (first, last) = (year("2010-01-01T00:00:00.000Z", 4), year("2024-01-01T00:00:00.000Z", 3));
    assert_eq!(outcome, json!(["year", 16, first, last, 0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_jumps_when_purchases_arrive() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    chromium
        .prepare(
            "const send = window.fetch; \
             const held = new Promise((resolve) => { window.release = resolve; }); \
             window.fetch = async (target, ...rest) => { \
                 if (String(target).includes('/purchases')) await held; \
                 return send(target, ...rest); };",
        )
        .await;
    let places = "return [...document.querySelectorAll('section')].map((section) => {\
                      const { top, height } = section.getBoundingClientRect(); return [top, height]; });";
    for width in [1280, 360] {
        chromium.show_as(width, 900, "light").await;
        for customer in ["17850", "prospect"] {
            chromium.open(&format!("{}/#/customers/{customer}", service.url)).await;
            chromium
                .wait("document.querySelectorAll('[aria-busy=true]').length === 1 && document.fonts.ready")
                .await;
            let before = chromium.run(places).await;
            chromium.run("window.release();").await;
            chromium.settled().await;
            assert_eq!(chromium.run(places).await, before, "{customer} at {width}");
            let text = chromium.run(&format!("return {SECTION}.innerText;")).await;
            let expected = if customer == "prospect" { "The customer has bought nothing" } else { "3 lines" };
            assert!(text.as_str().unwrap().contains(expected), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_without_purchases_have_no_panel_of_purchases() {
    let service = corners_with("[build]\npurchases = false\n").open().await;
    let chromium = Chromium::start("en-US").await;
    for customer in ["loyal", "17850"] {
        open(&chromium, &service, &format!("customers/{customer}")).await;
        assert!(chromium.text("main").await.contains("Next products"));
        assert_eq!(chromium.run(&format!("return {SECTION} === undefined;")).await, true, "{customer}");
        assert_eq!(chromium.run("return document.querySelector('.problem');").await, Value::Null);
    }
}
