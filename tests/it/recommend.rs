//! Recommendations: planted pairs, excluded products, best sellers, determinism, and the model card.

use std::{collections::BTreeSet, fmt::Write as _};

use larder::snapshot::{FileKind, models::RecommendationsModel};
use serde_json::{Value, json};

use crate::support::shop::{Service, Shop};

mod names;
mod not_products;
mod retrain;
mod returns;

const HEADER: &str = "customer_id,order_id,product_id,product_name,quantity,unit_price,ordered_at,country\n";

/// Returns the lines of a year of 600 customers. All customers buy random staples, and `tea` with every
/// order; `left-k` is bought together with `right-k`. The last 20 customers bought only the left product of a
/// pair. Each order contains postage.
fn planted_pairs() -> Vec<String> {
    let mut lines = Vec::new();
    let mut seed = 7_u64;
    let mut random = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    for customer in 0..600 {
        let country = if customer % 3 == 0 { "France" } else { "UK" };
        for order in 0..4 {
            let (month, day) = (1 + order * 3 + random(3), 1 + random(28));
            let mut line = |product: &str, name: &str| {
                lines.push(format!(
                    "c{customer:03},{customer}-{order},{product},{name},1,2.50,\
                     2024-{month:02}-{day:02},{country}"
                ));
            };
            line("POST", "Postage");
            line("tea", "Tea");
            let staple = random(30);
            line(&format!("staple-{staple:02}"), &format!("Staple {staple}"));
            // Each pair has half of its sales in summer and half in winter, so that no pair has a better
            // trend.
            if order == 2 + customer / 10 % 2 {
                let pair = customer % 10;
                line(&format!("left-{pair}"), &format!("Left {pair}"));
                if customer < 580 {
                    line(&format!("right-{pair}"), &format!("\"Right, {pair}\""));
                }
            }
        }
    }
    lines
}

/// Settings without the other models.
const ALONE: &str = "churn.enabled = false\nvalue.enabled = false\n";

/// Creates a shop with the settings `toml` and without the other models.
fn shop_of(lines: &[String], toml: &str) -> Shop {
    let shop = Shop::new(&format!("{ALONE}{toml}"));
    shop.raw("transactions/a.csv", format!("{HEADER}{}\n", lines.join("\n")));
    shop
}

async fn card(service: &Service) -> RecommendationsModel {
    let model = service.get("/v1/models/recommendations").await;
    assert_eq!((model.status, &model.json()["name"]), (200, &"recommendations".into()));
    serde_json::from_value(model.json()["card"].clone()).unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["product_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn planted_pair_is_recommended_with_its_reason() {
    let service = shop_of(&planted_pairs(), "").open().await;
    for customer in 580..600 {
        let pair = customer % 10;
        let body = service.get(&format!("/v1/customers/c{customer}/recommendations")).await.json();
        let first = &body["products"][0];
        assert_eq!(first["product_id"], format!("right-{pair}"), "{body}");
        assert_eq!(first["name"], format!("Right, {pair}"));
        assert_eq!(
            first["because"],
            json!({"product_id": format!("left-{pair}"), "name": format!("Left {pair}")})
        );
        let scores: Vec<f64> =
            body["products"].as_array().unwrap().iter().map(|one| one["score"].as_f64().unwrap()).collect();
        assert!(scores[0] > 0.0 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
    let similar = service.get("/v1/products/left-3/similar").await;
    assert_eq!(similar.status, 200, "{}", similar.text);
    let similar = similar.json();
    assert_eq!((similar["name"].as_str(), similar["tier"].as_str()), (Some("Left 3"), Some("snapshot")));
    assert_eq!(similar["similar"][0]["product_id"], "right-3");
    assert_eq!(similar["similar"][0]["name"], "Right, 3");
    // 58 of 600 customers bought both and 2 only the left one: highly significant.
    assert!(similar["similar"][0]["score"].as_f64().unwrap() > 100.0);
}

#[tokio::test]
async fn lists_have_new_or_own_products_and_no_excluded_ones() {
    let lines = planted_pairs();
    let service = shop_of(&lines, "").open().await;
    for customer in [0, 1, 99, 300, 599] {
        let id = format!("c{customer:03}");
        let own: BTreeSet<&str> = lines
            .iter()
            .filter(|line| line.starts_with(&format!("{id},")))
            .map(|line| line.split(',').nth(2).unwrap())
            .collect();
        let body = service.get(&format!("/v1/customers/{id}/recommendations")).await.json();
        assert_eq!((&body["customer_id"], body["as_of"].as_str().unwrap().len()), (&json!(id), 20));
        let (products, again) = (ids(&body["products"]), ids(&body["buy_again"]));
        assert_eq!(products.len(), 10, "{body}");
        assert_eq!(products.iter().collect::<BTreeSet<_>>().len(), 10, "{products:?}");
        assert!(products.iter().all(|product| !own.contains(product) && *product != "POST"), "{products:?}");
        assert!(
            !again.is_empty() && again.iter().all(|product| own.contains(product) && *product != "POST"),
            "{again:?}"
        );
        assert_eq!((again[0], &body["buy_again"][0]["name"]), ("tea", &json!("Tea")));
        assert!(body["buy_again"][0]["due_on"].as_str() > body["buy_again"][0]["last_on"].as_str(), "{body}");
    }
    assert_eq!(service.get("/v1/products/POST/similar").await.problem(), "product-not-found");
    let own = shop_of(&lines, "[recommendations]\nexclude = [\"TEA\", \"right-*\"]\n").open().await;
    let body = own.get("/v1/customers/c599/recommendations").await.json();
    let all = [ids(&body["products"]), ids(&body["buy_again"])].concat();
    assert!(
        all.contains(&"POST") && !all.iter().any(|id| *id == "tea" || id.starts_with("right")),
        "{all:?}"
    );
    assert_eq!(card(&own).await.excluded_products, 11);
}

#[tokio::test]
async fn customers_without_purchases_get_best_sellers_of_their_country() {
    let mut lines = planted_pairs();
    // Every other French customer buys croissants, and one customer per country returned the only purchase.
    for customer in (0..300).step_by(3) {
        lines.push(format!("c{customer:03},{customer}-x,croissant,Croissant,1,1.00,2024-12-28,France"));
    }
    for (customer, country) in [("cold-f", "France"), ("cold-u", "UK")] {
        lines.push(format!("{customer},{customer},tea,Tea,3,2.50,2024-12-01,{country}"));
        lines.push(format!("{customer},C{customer},tea,Tea,-3,2.50,2024-12-02,{country}"));
    }
    let shop = shop_of(&lines, "");
    shop.raw("customers/people.csv", "customer_id,age\nprospect,41\n");
    let service = shop.open().await;
    // Two of the three have returned `tea`, the best seller, so it is not new to them.
    for (customer, first) in [("cold-f", "croissant"), ("cold-u", "left-"), ("prospect", "tea")] {
        let body = service.get(&format!("/v1/customers/{customer}/recommendations")).await.json();
        assert!(ids(&body["products"])[0].starts_with(first), "{customer}: {body}");
        assert_eq!((ids(&body["products"]).len(), &body["buy_again"]), (10, &json!([])));
        assert_eq!(
            (&body["products"][0]["score"], &body["products"][0]["because"]),
            (&json!(0), &Value::Null)
        );
    }
    assert_eq!(card(&service).await.customers_without_history, 3);
    // A personal country would show in the list.
    let shop = shop_of(&lines, "[views]\npersonal = [\"profile.country\"]\n");
    let built = shop.build().await;
    assert!(built.warnings().iter().any(|warning| warning.contains("do not depend on country")), "{built:?}");
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let french = service.get("/v1/customers/cold-f/recommendations").await.json();
    let british = service.get("/v1/customers/cold-u/recommendations").await.json();
    assert_eq!(french["products"], british["products"]);
}

/// There are three categories of five products; `x` sells best. The customers have too few purchases for
/// votes.
#[tokio::test]
async fn lists_are_filled_from_the_favorite_category() {
    let header = "customer_id,order_id,product_id,category,quantity,unit_price,ordered_at,country\n";
    let mut text = String::from(header);
    for customer in 0..300 {
        let category = ["a", "b", "x", "x", "x", "x", "x", "x", "x", "x"][customer % 10];
        let product = customer / 10 % 5;
        let day = 1 + customer % 28;
        writeln!(
            text,
            "k{customer},{customer},{category}{product},cat {category},1,1.00,2024-01-{day:02},UK"
        )
        .unwrap();
    }
    // One customer bought an otherwise unsold product of `a`; another one returned it.
    text += "thin,t1,a9,cat a,1,1.00,2024-01-10,UK\nback,t2,a9,cat a,1,1.00,2024-01-10,UK\n\
             back,t3,a9,cat a,-1,1.00,2024-01-11,UK\n";
    let people = "customer_id,favourite_category,likes\nstated,cat b,cat a\nnowhere,cat z,\nback,cat b,\n\
        thin,cat b,\nlooks,,\n";
    let looks = "customer_id,event,product_id,at\nlooks,view,b1,2024-01-02\nlooks,view,a1,2024-01-03\n\
        looks,view,a2,2024-01-04\nlooks,search,,2024-01-05\nstated,view,a1,2024-01-05\n\
        looks,view,b1,2025-01-05\nlooks,view,b2,2025-01-05\nlooks,view,b3,2025-01-05\n";
    let open = async |toml: &str| {
        let shop = Shop::new(toml);
        shop.raw("transactions/a.csv", &text);
        shop.raw("customers/people.csv", people);
        shop.raw("interactions/looks.csv", looks);
        let built = shop.try_build(Some("2024-02-01T00:00:00Z")).await.unwrap().manifest;
        shop.publish(&built.id).await;
        shop.serve().await
    };
    let firsts = async |service: &Service, id: &str| {
        let body = service.get(&format!("/v1/customers/{id}/recommendations")).await.json();
        let list = ids(&body["products"]);
        assert_eq!(list.len(), 10, "{body}");
        list[..5].iter().map(|id| &id[..1]).collect::<BTreeSet<_>>().into_iter().collect::<String>()
    };
    let service = open("").await;
    for (id, category) in [("thin", "a"), ("stated", "b"), ("looks", "a"), ("back", "b"), ("nowhere", "x")] {
        assert_eq!(firsts(&service, id).await, category, "{id}");
    }
    let renamed = open("[recommendations]\ncategory_column = \"likes\"\n").await;
    assert_eq!(firsts(&renamed, "stated").await, "a");
    // A personal category would show in the list, so the list falls back to the interactions.
    for personal in [
        "[raw.customers]\npersonal = [\"favourite_category\"]\n",
        "[views]\npersonal = [\"profile.favourite_category\"]\n",
    ] {
        let service = open(personal).await;
        assert_eq!(firsts(&service, "stated").await, "a", "{personal}");
        assert!(card(&service).await.notes.iter().any(|note| note.contains("favourite_category")));
    }
}

#[tokio::test]
async fn model_card_has_the_metrics_of_all_candidates() {
    let service = shop_of(&planted_pairs(), "[recommendations]\nhorizon = \"60d\"\n").open().await;
    let card = card(&service).await;
    assert_eq!((card.products, card.excluded_products, card.customers_with_history), (51, 1, 600));
    assert!(card.notes.is_empty(), "{:?}", card.notes);
    let measured = card.measured.unwrap();
    assert!((measured.horizon_days - 60.0).abs() < 1e-9);
    assert_eq!(measured.split.to_rfc3339(), "2024-10-29T00:00:00+00:00");
    let names: Vec<&str> = measured.products.candidates.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["most popular", "raw co-occurrence", "served"]);
    let all = || measured.products.candidates.iter().chain(&measured.buy_again.candidates);
    assert!(
        all().flat_map(|one| [one.hit_rate, one.recall, one.ndcg]).all(|value| (0.0..=1.0).contains(&value))
    );
    assert!(measured.products.customers > 100 && measured.products.customers <= measured.buy_again.customers);
    // All customers buy tea again, so `buy_again` has hits, and about as many products as customers buy
    // again.
    assert!(measured.buy_again.candidates.last().unwrap().hit_rate > 0.95, "{measured:?}");
    assert!((1..=3).contains(&card.buy_again_length), "{}", card.buy_again_length);
    assert!(measured.repeat_share > 0.2 && measured.repeat_share < 0.8);
}

#[tokio::test]
async fn too_little_data_is_noted_without_an_evaluation() {
    let service = shop_of(&planted_pairs()[..30], "").open().await;
    let few = card(&service).await;
    assert!(
        few.measured.is_none() && few.notes.iter().any(|note| note.contains("customers")),
        "{:?}",
        few.notes
    );
    let service = shop_of(&["a,1,p,,1,2.5,2024-01-01,UK".to_owned()], "").open().await;
    let one = card(&service).await;
    assert!(
        one.measured.is_none() && one.notes.iter().any(|note| note.contains("three days")),
        "{:?}",
        one.notes
    );
    // A customer who owns all products gets no new ones; the product has no name.
    let body = service.get("/v1/customers/a/recommendations").await.json();
    assert_eq!((&body["products"], &body["buy_again"][0]["product_id"]), (&json!([]), &json!("p")));
    assert_eq!(
        (&body["buy_again"][0]["name"], &body["buy_again"][0]["due_on"]),
        (&Value::Null, &Value::Null)
    );
    let service = shop_of(&["a,1,p,,-1,2.5,2024-01-01,UK".to_owned()], "").open().await;
    assert!(card(&service).await.notes[0].contains("no purchases"));
}

/// Builds with `threads` threads. Returns the bytes of the rows and products files, and the model cards.
async fn build_bytes(shop: &Shop, threads: usize) -> (Vec<Vec<u8>>, Value) {
    let mut config = shop.config.clone();
    config.build.threads = Some(threads);
    let progress = larder::telemetry::Progress::default();
    let built = larder::pipeline::build(&shop.lake(), &config, None, &progress).await.unwrap();
    let folder = shop.path().join("lake/snapshots").join(built.manifest.id.as_str());
    let kinds = [FileKind::Rows, FileKind::Products];
    let files = built.manifest.files.iter().filter(|file| kinds.contains(&file.kind));
    let bytes: Vec<Vec<u8>> = files.map(|file| std::fs::read(folder.join(&file.path)).unwrap()).collect();
    assert!(bytes.len() >= 2);
    (bytes, serde_json::to_value(&built.manifest.models).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn output_is_independent_of_row_order_duplicate_files_and_threads() {
    let mut lines = planted_pairs();
    let shop = shop_of(&lines, "");
    let first = build_bytes(&shop, 1).await;
    assert!(first.1["recommendations"]["measured"].is_object());
    assert_eq!(first, build_bytes(&shop, 3).await, "threads");
    lines.reverse();
    let other = Shop::new(ALONE);
    for (at, part) in lines.chunks(1_000).enumerate() {
        other.raw(&format!("transactions/{at}.csv"), format!("{HEADER}{}\n", part.join("\n")));
        other.raw(&format!("transactions/copy-{at}.csv"), format!("{HEADER}{}\n", part.join("\n")));
    }
    assert_eq!(first, build_bytes(&other, 2).await, "order and copies");
}

#[tokio::test]
async fn recommendations_have_problems_etags_and_a_view() {
    let service = shop_of(&planted_pairs(), "").open().await;
    for (path, status, kind) in [
        ("/v1/customers/nobody/recommendations", 404, "customer-not-found"),
        ("/v1/customers/%20/recommendations", 400, "bad-customer-id"),
        ("/v1/customers/%FF/recommendations", 400, "bad-customer-id"),
        ("/v1/products/nope/similar", 404, "product-not-found"),
        ("/v1/products/%FF/similar", 404, "product-not-found"),
        ("/v1/products/zzz/similar", 404, "product-not-found"),
        ("/v1/products/%00/similar", 404, "product-not-found"),
    ] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{path}: {}", answer.text);
    }
    for path in ["/v1/customers/c001/recommendations", "/v1/products/tea/similar"] {
        let tag = service.get(path).await.header("etag").to_owned();
        let again = service.client.get(format!("{}{path}", service.url)).header("if-none-match", &tag);
        assert_eq!(service.send(again).await.status, 304, "{path}");
    }
    // The view has the same lists with ids only.
    let lists = service.get("/v1/customers/c001/recommendations").await.json();
    let view =
        service.get("/v1/customers/c001?views=recommendations").await.json()["views"]["recommendations"]
            .clone();
    assert_eq!(json!(ids(&lists["products"])), view["products"]);
    assert_eq!(json!(ids(&lists["buy_again"])), view["buy_again"]);
    let views = service.get("/v1/views").await.json();
    let last =
        views["views"].as_array().unwrap().iter().find(|view| view["name"] == "recommendations").unwrap();
    assert_eq!(last["source"], "model");
    assert!(
        last["features"].as_array().unwrap().iter().all(|feature| feature["description"] != ""),
        "{last}"
    );
}

/// Two wholesale customers have more products than fit into a basket; the others have two.
#[tokio::test]
async fn large_baskets_are_limited_to_the_latest_products() {
    let mut lines = Vec::new();
    for (whale, product) in (0..3_000).flat_map(|product| [("whale-a", product), ("whale-b", product)]) {
        lines.push(format!("{whale},{whale},w{product:04},,1,1.00,2024-01-{:02},UK", 1 + product % 28));
    }
    for customer in 0..60 {
        for product in ["cup", "saucer"] {
            lines.push(format!("c{customer:02},{customer},{product},,1,1.00,2024-03-01,UK"));
        }
    }
    lines.push("last,L,cup,,1,1.00,2024-03-02,UK".to_owned());
    let service = shop_of(&lines, "").open().await;
    let body = service.get("/v1/customers/last/recommendations").await.json();
    assert_eq!(body["products"][0]["product_id"], "saucer");
    // The latest 100 products count, of the same day the first ones by id: day 28 without the last ids.
    let latest = service.get("/v1/products/w0027/similar").await.json();
    let cut = service.get("/v1/products/w0000/similar").await.json();
    assert_eq!((ids(&latest["similar"]).len(), ids(&cut["similar"]).len()), (10, 0), "{latest} {cut}");
}

#[tokio::test]
async fn missing_product_files_only_remove_names() {
    let mut shop = shop_of(&planted_pairs(), "");
    shop.config.serving.cache = 0;
    let service = shop.open().await;
    let first = service.get("/v1/customers/c001/recommendations").await.json();
    assert!(first["products"][0]["name"].is_string());
    std::fs::remove_dir_all(shop.snapshot_folders()[0].join("products")).unwrap();
    let body = service.get("/v1/customers/c001/recommendations").await;
    assert_eq!(body.status, 200, "{}", body.text);
    let body = body.json();
    assert_eq!(
        (ids(&body["products"]), &body["products"][0]["name"]),
        (ids(&first["products"]), &Value::Null)
    );
    let similar = service.get("/v1/products/tea/similar").await;
    assert_eq!((similar.status, similar.problem().as_str()), (503, "unavailable"));
}
