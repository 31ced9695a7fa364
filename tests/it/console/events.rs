//! Conditions on what customers bought and did, in the builder of audiences.

use serde_json::json;

use crate::{
    console::open,
    support::{
        chromium::Chromium,
        shop::{Service, corners},
    },
};

/// The texts of all fields of the builder.
const FIELDS: &str = "[...document.querySelectorAll('.builder .condition')].map((row) => \
    [...row.querySelectorAll('select, input')].map((field) => field.value).join(' ')).join('; ')";

async fn count(service: &Service, expression: &str) -> u64 {
    let body = json!({"where": expression, "limit": 0}).to_string();
    let answer = service.post("/v1/audiences", body).await;
    assert_eq!(answer.status, 200, "{expression}: {}", answer.text);
    answer.json()["total"].as_u64().unwrap()
}

/// Waits for an expression and for the number of its members.
async fn shows(chromium: &Chromium, service: &Service, expression: &str) -> u64 {
    let total = count(service, expression).await;
    let is_written = format!("document.querySelector('#expression')?.value === {expression:?}");
    let is_counted = format!("document.querySelector('[data-total=\"{total}\"]') !== null");
    chromium.wait(&format!("{is_written} && {is_counted}")).await;
    total
}

/// Returns the selector of the fields of a group in the details of a condition.
fn detail(name: &str, field: &str) -> String {
    format!(".event-details [role=group][aria-label='{name}'] {field}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_and_events_are_chosen_by_clicks_and_counted_as_the_api_does() {
    let shop = corners();
    shop.raw(
        "interactions/all.csv",
        "customer_id,event,product_id,at\nloyal,view,p1,2024-03-09 10:00:00\nprospect,view,p1,2024-01-01\n",
    );
    let service = shop.open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "audiences").await;
    chromium.fill(".condition select", "bought").await;
    let buyers = shows(&chromium, &service, "bought()").await;
    chromium.fill(".condition select.value", "product").await;
    // A condition without a value is left out.
    chromium.wait("document.querySelector('#expression').value === ''").await;
    chromium.fill(".event-details input.value", "p1").await;
    chromium.fill(&detail("From", "select"), "days").await;
    shows(&chromium, &service, "bought(product:p1, since:-30d)").await;
    chromium.fill(&detail("From", "input"), "90").await;
    chromium.fill(&detail("Times", "input"), "2").await;
    let expression = "bought(product:p1, since:-90d, times >= 2)";
    let twice = shows(&chromium, &service, expression).await;
    assert!(twice > 0 && twice < buyers, "{twice} of {buyers}");
    chromium.fill(&detail("Before", "select"), "day").await;
    chromium.fill(&detail("Before", "input"), "2024-03-05").await;
    shows(&chromium, &service, "bought(product:p1, since:-90d, before:2024-03-05, times >= 2)").await;
    chromium.fill(&detail("Before", "select"), "open").await;
    chromium.fill("select[aria-label='Whether it is true']", "no").await;
    let others = shows(&chromium, &service, &format!("not {expression}")).await;
    assert_eq!(others, count(&service, "bought() or not bought()").await - twice);
    // The address has all of it.
    let shared = chromium.wait("location.hash.includes('not+bought') && location.href").await;
    chromium.open(shared.as_str().unwrap()).await;
    shows(&chromium, &service, &format!("not {expression}")).await;
    assert_eq!(chromium.run(&format!("return {FIELDS};")).await, "bought no product p1 days 90 open >= 2");
    // Another condition beside the first.
    chromium.click(".builder .group-head:last-child button").await;
    chromium.fill(".condition:nth-of-type(3) select", "did").await;
    chromium.fill(".condition:nth-of-type(3) input.value", "view").await;
    chromium.fill(&format!(".condition:nth-of-type(3) {}", detail("Times", "select")), "=").await;
    let both = format!("not {expression} and did(event:view, times = 1)");
    assert_eq!(shows(&chromium, &service, &both).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builder_leaves_texts_alone_that_its_fields_cannot_show() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "audiences").await;
    // Times that are no number of days and no day are texts.
    let written = "bought(since:-2mo, before:2024-03-01T00:00:00Z) and bought(times = 0)";
    chromium.fill("#expression", written).await;
    shows(&chromium, &service, written).await;
    let fields = "bought yes  time -2mo time 2024-03-01T00:00:00Z >= 1; bought yes  open open = 0";
    assert_eq!(chromium.run(&format!("return {FIELDS};")).await, fields);
    chromium.fill(".condition:nth-of-type(3) [aria-label='Times'] input", "3").await;
    shows(&chromium, &service, "bought(since:-2mo, before:2024-03-01T00:00:00Z) and bought(times = 3)").await;
    let unknown = "bought(product:p1, color:red) and rfm.frequency > 1";
    chromium.fill("#expression", unknown).await;
    chromium.wait("document.querySelector('.builder') === null").await;
    chromium.wait("document.querySelector('main').innerText.includes('`color`')").await;
    assert_eq!(chromium.wait("document.querySelector('#expression').value").await, unknown);
}
