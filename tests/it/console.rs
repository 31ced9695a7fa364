//! The console at `/`: its files over HTTP, and every page in Chromium.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{key, keys, shop},
    chromium::Chromium,
    python::run,
    redis::Redis,
    shop::{MORE, Service, Shop, corners, corners_with, eventually},
};

mod events;
mod files;
mod large;
mod pictures;
mod purchases;

/// Addresses of all pages and of their parts.
const PAGES: &[&str] = &[
    "",
    "?map=churn&by=revenue",
    "segments",
    "segments/loyal",
    "segments?tab=migration",
    "segments?tab=migration&look=matrix",
    "segments?tab=overlap&measure=share",
    "churn",
    "churn?risk=high&min_value=1",
    "churn?tab=model",
    "customers",
    "customers/17850",
    "customers/prospect",
    "customers/nobody",
    "audiences",
    "audiences?where=rfm.frequency%20%3E%3D%201%20and%20(segment%3Aloyal%20or%20rfm.monetary%20%3E%205)",
    "audiences?where=rfm.frequency%20%3E",
    "audiences?where=bought(product%3Ap1%2Csince%3A-90d%2Ctimes%3E%3D2)%20and%20not%20did(event%3Aview)",
    "data",
    "data?view=rfm",
    "data?tab=models",
    "data?tab=snapshots",
    "data?tab=lines",
    "data?tab=build",
    "no_such_page",
];

/// The checker of accessibility.
const AXE: &str = include_str!("../console/axe.min.js");

/// Builds an earlier snapshot beside the current one, and serves both.
async fn two_snapshots(shop: &Shop) -> Service {
    shop.try_build(Some("2024-03-01T12:00:00Z")).await.unwrap();
    shop.open().await
}

/// Opens a page and waits until all of it is there.
async fn open(chromium: &Chromium, service: &Service, page: &str) {
    chromium.open(&format!("{}/#/{page}", service.url)).await;
    chromium.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_accessible_and_fits_narrow_and_wide_screens_in_light_and_dark() {
    let shop = corners_with("[audiences.buyers]\nwhere = \"rfm.frequency >= 1\"\n");
    let service = two_snapshots(&shop).await;
    let chromium = Chromium::start("en-US").await;
    for (width, scheme) in [(1280, "light"), (360, "dark")] {
        chromium.show_as(width, 900, scheme).await;
        for page in PAGES {
            open(&chromium, &service, page).await;
            chromium.run(&format!("if (!window.axe) {{ {AXE} }}")).await;
            let violations = chromium
                .run(
                    "const { violations } = await window.axe.run(); \
                     const texts = (nodes) => nodes.map(({ html }) => html).join(' ').slice(0, 300); \
                     return violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${texts(nodes)}`);",
                )
                .await;
            assert_eq!(violations, json!([]), "#/{page} at {width} in {scheme}");
            let overflow = chromium.run("return document.documentElement.scrollWidth - innerWidth;").await;
            assert!(overflow.as_i64() <= Some(0), "#/{page} at {width}: {overflow} px too wide");
            let complaints = chromium.complaints().await;
            assert!(complaints.is_empty(), "#/{page}: {complaints:?}");
            let text = chromium.text("main").await;
            assert!(!text.contains("undefined") && !text.contains("NaN"), "#/{page}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_visit_loads_little_from_this_service_only_and_nothing_jumps() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "").await;
    let resources = chromium
        .run(
            "const entries = performance.getEntriesByType('resource'); \
             return entries.map(({ name, transferSize }) => [name, transferSize]);",
        )
        .await;
    let resources: Vec<(String, u64)> = serde_json::from_value(resources).unwrap();
    assert!(
        resources.len() > 10 && resources.iter().all(|(name, _)| name.starts_with(&service.url)),
        "{resources:?}"
    );
    let files = resources.iter().filter(|(name, _)| name.contains("/console/"));
    let size: u64 = files.map(|(_, size)| size).sum();
    println!("first visit: {size} bytes of files, compressed");
    assert!(size > 10_000 && size < 350_000, "{size}");
    let list = |selector: &str, field: &str| {
        format!("return [...document.querySelectorAll({selector:?})].map((element) => element.{field});")
    };
    let preloaded = chromium.run(&list("link[rel=modulepreload]", "href")).await;
    let preloaded: BTreeSet<String> = serde_json::from_value(preloaded).unwrap();
    let is_module = |name: &&String| name.contains(".js") && !name.contains("/theme-");
    let loaded: BTreeSet<String> =
        resources.iter().map(|(name, _)| name).filter(is_module).cloned().collect();
    assert_eq!(preloaded, loaded);
    let shift = chromium
        .run(
            "return new Promise((resolve) => { \
             new PerformanceObserver((list) => resolve(list.getEntries().reduce(\
             (sum, { value }) => sum + value, 0))).observe({ type: 'layout-shift', buffered: true }); \
             setTimeout(() => resolve(0), 500); });",
        )
        .await;
    assert!(shift.as_f64() < Some(0.1), "the layout shifts by {shift}");
}

/// With `CONSOLE_URL=http://127.0.0.1:8080`, measures the pages of the service that runs there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_complete_within_seconds() {
    let shop = corners();
    let service = two_snapshots(&shop).await;
    let url = std::env::var("CONSOLE_URL").unwrap_or_else(|_| service.url.clone());
    let chromium = Chromium::start("en-US").await;
    for page in PAGES {
        let begun = Instant::now();
        chromium.open(&format!("{url}/#/{page}")).await;
        chromium.settled().await;
        println!("#/{page}: {} ms", begun.elapsed().as_millis());
        assert!(begun.elapsed() < Duration::from_secs(20), "#/{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builder_and_expression_change_each_other_and_count_as_the_api_does() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "audiences").await;
    let count = async |expression: &str| {
        let body = json!({"where": expression, "limit": 0}).to_string();
        service.post("/v1/audiences", body).await.json()["total"].as_u64().unwrap()
    };
    let shows = async |total: u64| {
        chromium.wait(&format!("document.querySelector('[data-total=\"{total}\"]') !== null")).await
    };
    // The text changes the conditions.
    let written = "rfm.frequency >= 1 and profile.country:UK";
    chromium.fill("#expression", written).await;
    shows(count(written).await).await;
    let fields = "[...document.querySelectorAll('.condition')].map((row) => \
                  [...row.querySelectorAll('select, input')].map((field) => field.value).join(' '))\
                  .join('; ')";
    let conditions = chromium.run(&format!("return {fields};")).await;
    assert_eq!(conditions, "rfm.frequency >= 1; profile.country = UK");
    // The conditions change the text.
    chromium.fill(".condition:nth-of-type(2) .value", "2").await;
    let expression = chromium.wait("document.querySelector('#expression').value").await;
    let expression = expression.as_str().unwrap();
    assert_eq!(expression, "rfm.frequency >= 2 and profile.country:UK");
    let total = count(expression).await;
    assert!(total > 0 && total < count(written).await);
    shows(total).await;
    // The address has all of it.
    let shared = chromium.wait("location.hash.includes('frequency') && location.href").await;
    chromium.open(shared.as_str().unwrap()).await;
    shows(total).await;
    assert_eq!(chromium.run(&format!("return {fields};")).await, "rfm.frequency >= 2; profile.country = UK");
    // A mistake is named, with its place.
    chromium.fill("#expression", "segment:nothing_like_this").await;
    chromium.wait("document.querySelector('main').innerText.includes('nothing_like_this`')").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builder_keeps_the_meaning_of_every_expression() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "audiences").await;
    let outcome = chromium.run(include_str!("../console/expressions.js")).await;
    assert_eq!(outcome["wrong"], json!([]));
    assert!(outcome["found"].as_u64() > Some(30), "{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copied_commands_answer_as_the_panel_does() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "audiences?where=profile.country%3A'UK'&by=rfm.segment").await;
    let total = chromium.wait("document.querySelector('[data-total]')?.dataset.total").await;
    chromium.run("navigator.clipboard.writeText = async (text) => { window.copied = text; };").await;
    chromium.click("[aria-label='Copy as curl: Customers in the audience']").await;
    let command = chromium.wait("window.copied").await.as_str().unwrap().to_owned();
    assert!(command.contains("-d '") && command.contains(r"'\''UK"), "{command}");
    let output = tokio::task::spawn_blocking(move || run(Command::new("bash").args(["-c", &command]))).await;
    let answer: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(answer["total"].to_string(), total.as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_are_saved_as_files() {
    let service = corners().open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "segments/loyal?columns=rfm.monetary,rfm.segment").await;
    for format in ["csv", "ndjson", "parquet"] {
        let open_dialog =
            "[...document.querySelectorAll('main button')].find(({ innerText }) => innerText === 'Export')";
        chromium.wait(&format!("{open_dialog} !== undefined")).await;
        chromium.run(&format!("{open_dialog}.click();")).await;
        chromium.fill("dialog select", format).await;
        chromium.click("dialog button.primary").await;
        chromium.wait("document.querySelector('dialog .good') !== null").await;
        let file = chromium.downloaded(&format!(".{format}")).await;
        let query = format!("format={format}&columns=customer_id,rank,rfm.monetary,rfm.segment&order=rank");
        let bom = if format == "csv" { "&bom=true" } else { "" };
        let url = format!("{}/v1/segments/loyal/export?{query}{bom}", service.url);
        let expected = service.client.get(url).send().await.unwrap().bytes().await.unwrap();
        assert!(file == expected && file.len() > 30, "{format}: {} bytes", file.len());
        chromium.click("dialog header button").await;
        chromium.wait("document.querySelector('dialog') === null").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_is_asked_for_and_masked_values_look_masked() {
    let callers = [("reader", &[Scope::Features][..]), ("all", &Scope::ALL)];
    let service = shop(&keys(&callers)).open().await;
    let chromium = Chromium::start("en-US").await;
    chromium.open(&format!("{}/#/customers/17850", service.url)).await;
    let use_key = async |key: &str| {
        chromium.fill("dialog input[name=key]", key).await;
        chromium.click("dialog button.primary").await;
    };
    use_key("lrd_wrong").await;
    chromium.wait("document.querySelector('dialog [role=alert]') !== null").await;
    use_key(&key("reader")).await;
    chromium
        .wait("document.querySelector('dialog') === null && document.querySelectorAll('.masked').length > 1")
        .await;
    assert!(!chromium.text("main").await.contains("new@example.com"));
    // The reader learns what the key allows, and cannot export.
    chromium.click(".settings button:last-child").await;
    let scopes = chromium.wait("document.querySelectorAll('.scopes .is-missing').length").await;
    assert_eq!(scopes, 5);
    open(&chromium, &service, "segments/loyal").await;
    let disabled = "[...document.querySelectorAll('button:disabled')]";
    chromium.wait(&format!("{disabled}.some(({{ innerText }}) => innerText === 'Export')")).await;
    open(&chromium, &service, "data?tab=lines").await;
    assert!(chromium.text("main").await.contains("lacks the scope `admin`"));
    // The key is not in the commands that can be copied, and not kept beyond the tab.
    let kept =
        chromium.run("return JSON.stringify([{ ...localStorage }, document.cookie, location.href]);").await;
    assert!(!kept.as_str().unwrap().contains("lrd_"), "{kept}");
    chromium.click(".settings button:last-child").await;
    use_key(&key("all")).await;
    chromium.open(&format!("{}/#/customers/17850", service.url)).await;
    chromium.wait("document.querySelector('main').innerText.includes('new@example.com')").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withheld_numbers_leave_the_others_and_no_sum_is_made_without_them() {
    let reader = keys(&[("reader", &[Scope::Features])]);
    let service = two_snapshots(&shop(&format!("[privacy]\nmin_count = 4\n{reader}"))).await;
    let chromium = Chromium::start("en-US").await;
    chromium.open(&service.url).await;
    chromium.fill("dialog input[name=key]", &key("reader")).await;
    chromium.click("dialog button.primary").await;
    chromium.wait("document.querySelector('.heat-map a') !== null").await;
    chromium.settled().await;
    let figures = chromium.text(".figures").await;
    assert!(figures.contains("Revenue\n–"), "{figures}");
    let cells = "[...document.querySelectorAll('.heat-map b')].map(({ innerText }) => innerText)";
    let cells: Vec<String> = serde_json::from_value(chromium.run(&format!("return {cells};")).await).unwrap();
    assert!(cells.iter().any(|cell| cell == "–") && cells.iter().any(|cell| cell != "–"), "{cells:?}");
    assert!(chromium.text("main").await.contains("withheld"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_goes_on_while_tair_is_down() {
    let redis = Redis::start();
    let shop = corners_with(&format!("[tair]\nurl = \"{}\"\n", redis.url()));
    let service = shop.open().await;
    let used = |ready: &Value| ready["tiers"]["tair"]["used"] == true;
    eventually(async || service.get("/readyz").await.json(), used).await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "customers/17850").await;
    assert_eq!(chromium.text(".facts .chip").await, "Tair");
    redis.kill();
    eventually(async || service.get("/readyz").await.json(), |ready| !used(ready)).await;
    open(&chromium, &service, "customers/17850").await;
    assert_eq!(chromium.text(".facts .chip.is-bad").await, "Tair is not used");
    assert!(chromium.text("main").await.contains("Lamp"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_snapshot_is_announced_and_shown_on_request() {
    let shop = corners();
    let service = shop.open().await;
    let chromium = Chromium::start("en-US").await;
    open(&chromium, &service, "customers/new").await;
    assert!(chromium.text("main").await.contains("There is no customer"));
    let before = chromium.text(".facts").await;
    shop.raw("transactions/more.csv", MORE);
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let id = built.manifest.id.to_string();
    eventually(async || service.get("/v1/segments").await.json(), |answer| answer["snapshot"] == id.as_str())
        .await;
    chromium.run("document.dispatchEvent(new Event('visibilitychange'));").await;
    chromium.click(".notice button").await;
    chromium.wait("document.querySelector('main').innerText.includes('Lamp')").await;
    chromium.wait(&format!("document.querySelector('.facts').innerText !== {before:?}")).await;
    assert!(chromium.run("return document.querySelector('.notice') === null;").await == true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_speaks_the_language_of_the_browser() {
    let service = corners().open().await;
    let chromium = Chromium::start("zh-CN").await;
    open(&chromium, &service, "").await;
    assert_eq!(chromium.text("h1").await, "概览");
    assert_eq!(chromium.run("return document.documentElement.lang;").await, "zh");
    chromium.fill(".settings select", "en").await;
    chromium.wait("document.querySelector('h1').innerText === 'Overview'").await;
    open(&chromium, &service, "churn").await;
    assert_eq!(chromium.text("h1").await, "Churn");
}

/// Returns the path of a file of the repository.
fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
