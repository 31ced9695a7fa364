//! Erasure as a property: a world in which a customer was erased answers as one without the customer.
//!
//! A kept snapshot has numbers that the build computed with the data of everybody: quintile scores, models,
//! lists of products. The rewritten snapshot has the same numbers, so the property has two parts, each for
//! random shops and random requests:
//!
//! - a kept snapshot with an erasure list answers as the snapshot that was rewritten without the customers;
//! - a build that reads an erasure list answers as a build from raw data without the customers.

use std::{collections::BTreeSet, ops::Range};

use larder::{config::Scope, feature::CustomerId, snapshot::Forgotten};

use super::{assert_success, forget, forget_only};
use crate::support::{
    callers::{Caller, key, keys},
    dice::Dice,
    redis::Redis,
    shop::{Service, Shop, eventually},
};

mod questions;
mod random_shop;

use questions::{Questions, answers};
use random_shop::{RandomShop, below};

/// Numbers of the random shops, besides one with enough customers to train a model. `ERASURE_SHOPS=10..50`
/// chooses others.
const SHOPS: Range<u64> = 1..3;
const CALLERS: &[Caller<'_>] = &[
    ("reader", &[Scope::Features, Scope::Pii, Scope::Export]),
    ("features", &[Scope::Features, Scope::Export]),
];
const NAMES: [&str; 2] = ["reader", "features"];
const EARLIER: &str = "2024-09-01T00:00:00Z";

/// Asserts that two worlds answered alike.
fn assert_equal(seed: u64, worlds: &str, one: &[(String, String)], other: &[(String, String)]) {
    assert_eq!(one.len(), other.len());
    for ((asked, one), (_, other)) in one.iter().zip(other) {
        assert!(one == other, "shop {seed}, {worlds}: {asked}\n--- one\n{one}\n--- the other\n{other}");
    }
}

/// Builds an earlier and a current snapshot, and publishes the current one.
async fn build_two(shop: &Shop) -> Vec<String> {
    let mut fingerprints = Vec::new();
    for as_of in [Some(EARLIER), None] {
        let built = shop.try_build(as_of).await.unwrap().manifest;
        fingerprints.push(format!("{} {}", built.as_of, built.fingerprint));
        shop.publish(&built.id).await;
    }
    fingerprints
}

async fn assert_erased(service: &Service, id: &str) {
    let url = format!("{}/v1/customers/{id}", service.url);
    let ask = || service.send(service.client.get(&url).bearer_auth(key("features")));
    eventually(ask, |answer| answer.status == 404).await;
}

/// Checks both parts of the property for one random shop, the first with `tair` if it is given.
async fn check(seed: u64, customers: Option<usize>, tair: Option<&Redis>) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let customers = customers.unwrap_or_else(|| 20 + below(&mut dice, 40));
    let random = RandomShop::new(&mut dice, customers);
    let questions = Questions::about(&random, &mut dice);
    println!("shop {seed}: {customers} customers, {:?} erased, {} questions", random.gone, questions.len());

    let settings = keys(CALLERS);
    let online = tair.map(|redis| format!("[tair]\nurl = \"{}\"\nlease = \"2s\"\n", redis.url()));
    let shop = random.create(&format!("{settings}{}", online.unwrap_or_default()), |_| true);
    build_two(&shop).await;
    let service = shop.serve().await;
    if tair.is_some() {
        let other = random.ids.iter().find(|id| !random.gone.contains(id)).unwrap();
        let url = format!("{}/v1/customers/{other}?views=rfm", service.url);
        let ask = || service.send(service.client.get(&url).bearer_auth(key("features")));
        eventually(ask, |answer| answer.json()["tier"] == "tair").await;
    }
    let before = answers(&service, &NAMES, &questions).await;
    let mut arguments: Vec<&str> = random.gone.iter().map(String::as_str).collect();
    arguments.push("--allow-unknown");
    assert_success(&forget_only(&shop, &arguments));
    for id in &random.gone {
        assert_erased(&service, id).await;
    }
    let kept = answers(&service, &NAMES, &questions).await;
    let changed = before.iter().zip(&kept).filter(|(before, kept)| before != kept).count();
    println!("{changed} of {} answers changed", kept.len());
    assert!(changed > questions.len() / 10, "the erased customers are in few answers");
    drop(service);
    assert_equal(
        seed,
        "kept, another replica",
        &kept,
        &answers(&shop.serve().await, &NAMES, &questions).await,
    );
    assert_success(&forget(&shop, &["--allow-unknown"]));
    let rewritten = answers(&shop.serve().await, &NAMES, &questions).await;
    assert_equal(seed, "kept and rewritten", &kept, &rewritten);

    let never = random.create(&settings, |id| !random.gone.iter().any(|gone| gone == id));
    let early = random.create(&settings, |_| true);
    let ids: BTreeSet<CustomerId> = random.gone.iter().map(|id| CustomerId::parse(id).unwrap()).collect();
    Forgotten::add(&early.lake(), &ids).await.unwrap();
    assert_eq!(build_two(&early).await, build_two(&never).await, "shop {seed}: the data of the snapshots");
    let early = answers(&early.serve().await, &NAMES, &questions).await;
    let never = answers(&never.serve().await, &NAMES, &questions).await;
    assert_equal(seed, "erased before the build and never known", &early, &never);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_a_world_without_the_erased_customers() {
    let chosen = std::env::var("ERASURE_SHOPS");
    let shops = chosen.map_or(SHOPS, |chosen| {
        let (first, end) = chosen.split_once("..").unwrap();
        first.parse().unwrap()..end.parse().unwrap()
    });
    for seed in shops {
        Box::pin(check(seed, None, None)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_tair_and_with_a_trained_model_are_those_of_a_world_without_the_erased_customers() {
    let redis = Redis::start();
    Box::pin(check(100, Some(240), Some(&redis))).await;
}
