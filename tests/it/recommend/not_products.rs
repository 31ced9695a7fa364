//! Ids that are not products: never a favorite product, and `is_product` in views of the shop.

use std::{fmt::Write as _, fs};

use serde_json::{Value, json};

use super::HEADER;
use crate::support::shop::{Service, Shop};

/// Ids that the default list takes for no products.
const CODES: [&str; 12] = [
    "POST",
    "post",
    "DOT",
    "M",
    "C2",
    "BANK CHARGES",
    "D",
    "S",
    "AMAZONFEE",
    "CRUK",
    "gift_0001_20",
    "gift_0001_50",
];

async fn behavior(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/customers/{id}?views=behavior")).await.json()["views"]["behavior"].clone()
}

#[tokio::test]
async fn favorite_product_and_category_are_never_those_of_postage_and_fees() {
    let header = "customer_id,order_id,product_id,category,quantity,unit_price,ordered_at\n";
    let mut text = String::from(header);
    for (at, code) in CODES.iter().enumerate() {
        // Three lines of the code and one of a product.
        for order in 0..3 {
            writeln!(text, "c{at},c{at}-{order},{code},Fees,9,1.00,2024-01-0{}", order + 1).unwrap();
        }
        writeln!(text, "c{at},c{at}-9,85123A,Lights,1,1.00,2024-01-09").unwrap();
    }
    text += "only,o1,POST,Fees,1,1.00,2024-01-01\nonly,o2,M,Fees,1,1.00,2024-01-02\n";
    text += "poster,p1,POSTER,Paper,1,1.00,2024-01-01\n";
    let shop = Shop::new("");
    shop.raw("transactions/a.csv", &text);
    let service = shop.open().await;
    for (at, code) in CODES.iter().enumerate() {
        let behavior = behavior(&service, &format!("c{at}")).await;
        assert_eq!((&behavior["favourite_product"], &behavior["products"]), (&json!("85123A"), &json!(2)));
        assert_eq!(behavior["favourite_category"], "Lights", "{code}");
    }
    let only = behavior(&service, "only").await;
    let nothing = (&only["favourite_product"], &only["favourite_category"], &only["items"]);
    assert_eq!(nothing, (&Value::Null, &Value::Null, &json!(2)));
    assert_eq!(behavior(&service, "poster").await["favourite_product"], "POSTER");
}

#[tokio::test]
async fn configured_patterns_hold_for_favorites_and_for_views_of_the_shop() {
    let shop =
        Shop::new("[recommendations]\nenabled = false\nexclude = [\"bag-*\"]\n[views]\nfolder = \"views\"\n");
    fs::create_dir(shop.path().join("views")).unwrap();
    let view = "-- Lines of products.\n-- lines: Their number.\nSELECT customer_id, count(*) AS lines \
        FROM transactions WHERE is_product(product_id) GROUP BY customer_id";
    fs::write(shop.path().join("views/goods.sql"), view).unwrap();
    let lines = "a,1,Bag-1,,1,0.10,2024-01-01,UK\na,2,BAG-2,,1,0.10,2024-01-02,UK\n\
        a,3,POST,,1,2.50,2024-01-03,UK\n";
    shop.raw("transactions/a.csv", format!("{HEADER}{lines}"));
    let service = shop.open().await;
    assert_eq!(behavior(&service, "a").await["favourite_product"], "POST");
    let goods = service.get("/v1/customers/a?views=goods").await.json();
    assert_eq!(goods["views"]["goods"]["lines"], 1, "{goods}");
}
