//! The console over 1,000,000 customers: pages stay responsive, however long the service takes.

use serde_json::json;

use crate::{
    console::open,
    support::{
        chromium::Chromium,
        made::{Extent, Made},
        shop::{Service, Shop},
    },
};

const CUSTOMERS: u32 = 1_000_000;
/// Longest time in milliseconds during which the page may not answer.
const MOST_MILLIS: f64 = 500.0;
/// Most bytes of answers that a page may load: far less than a list of all customers.
const MOST_BYTES: u64 = 500_000;
/// Pages with all kinds of panels: figures, lists, a count over features, an order, a breakdown, statistics.
const PAGES: &[&str] = &[
    "",
    "segments",
    "segments/churn_high",
    "churn",
    "churn?risk=high&min_value=1000",
    "audiences?where=rfm.monetary%20>%201000%20and%20churn.risk:high%20and%20not%20profile.country:France",
    "audiences?where=rfm.f_score%20>%202&order_by=churn.value_at_risk%20desc&by=profile.country",
    "data",
    "data?view=rfm",
];
/// Observes the tasks of every document that take longer than 50 ms.
const OBSERVER: &str = "window.tasks = []; new PerformanceObserver((list) => \
    window.tasks.push(...list.getEntries().map(({ duration }) => duration)))\
    .observe({ type: 'longtask', buffered: true });";
/// Types 10 expressions, each while the count of the one before runs, if that is slow. Measures how long an
/// expression takes to be in the field and in the conditions, and how often a count was running.
const TYPING: &str = "const field = document.querySelector('#expression'); \
    const painted = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))); \
    const value = () => document.querySelector('.condition input.value')?.value; \
    let [longest, running] = [0, 0]; \
    for (let least = 1001; least <= 1010; least += 1) { \
        running += document.querySelector('[aria-busy=true]') === null ? 0 : 1; \
        const begun = performance.now(); \
        field.value = `rfm.monetary >= ${least} and churn.risk:high`; \
        field.dispatchEvent(new Event('input', { bubbles: true })); \
        do await painted(); while (value() !== String(least)); \
        longest = Math.max(longest, performance.now() - begun); \
        do await painted(); while (!location.hash.includes(least)); \
    } \
    return { longest, running };";

/// Publishes and serves a snapshot of 1,000,000 customers.
async fn serve() -> Service {
    let shop = Shop::new("");
    let mut state = 42_u64;
    let below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit
    };
    Made::write(&shop.lake(), CUSTOMERS, Extent::Pages, below).await.unwrap();
    shop.serve().await
}

/// Checks the tasks and the answers of the document so far.
async fn assert_light(chromium: &Chromium, page: &str) {
    assert_eq!(
        chromium.run("return document.querySelector('.problem')?.innerText ?? null;").await,
        json!(null)
    );
    let figures = chromium
        .run(
            "const answers = performance.getEntriesByType('resource').filter(({ name }) => \
             name.includes('/v1/')); \
             return { longest: Math.max(0, ...window.tasks), answers: answers.length, \
             bytes: answers.reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0) };",
        )
        .await;
    println!("#/{page}: {figures}");
    assert!(figures["longest"].as_f64() <= Some(MOST_MILLIS), "#/{page}: {figures}");
    assert!(figures["answers"].as_u64() > Some(0), "#/{page}: {figures}");
    assert!(figures["bytes"].as_u64() < Some(MOST_BYTES), "#/{page}: {figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_over_a_million_customers_stay_responsive() {
    let service = serve().await;
    let chromium = Chromium::start("en-US").await;
    chromium.prepare(OBSERVER).await;
    for page in PAGES {
        open(&chromium, &service, page).await;
        assert_light(&chromium, page).await;
    }
    // A list is read page by page, and input is answered while counts run.
    let audience = "audiences?where=rfm.frequency%20>%204";
    open(&chromium, &service, audience).await;
    chromium.click(".pager button:last-child").await;
    chromium.wait("document.querySelector('.pager span').innerText.startsWith('26–50 of ')").await;
    let typed = chromium.run(TYPING).await;
    println!("typing: {typed}");
    assert!(typed["longest"].as_f64() <= Some(MOST_MILLIS), "{typed}");
    assert!(typed["running"].as_u64() > Some(0), "{typed}");
    let body = json!({"where": "rfm.monetary >= 1010 and churn.risk:high", "limit": 0}).to_string();
    let total = service.post("/v1/audiences", body).await.json()["total"].as_u64().unwrap();
    assert!(total > 100_000, "{total}");
    chromium.wait(&format!("document.querySelector('[data-total=\"{total}\"]') !== null")).await;
    chromium.settled().await;
    assert_light(&chromium, audience).await;
    // The observer sees long tasks.
    chromium.run("setTimeout(() => { const end = Date.now() + 120; while (Date.now() < end); });").await;
    chromium.wait("window.tasks.some((duration) => duration > 100)").await;
}
