//! Personal columns in the configuration of a service: kept, or refused by name.

use std::{fs, sync::Arc};

use larder::{config::ColumnRef, serving::Serving, telemetry::Metrics};
use serde_json::json;

use super::{CALLERS, get, keys, shop};
use crate::support::shop::Shop;

fn column(text: &str) -> ColumnRef {
    ColumnRef::try_from(text.to_owned()).unwrap()
}

/// Opens the current snapshot as a service with the settings of `shop` does.
async fn opened(shop: &Shop) -> Result<(), String> {
    let serving = Serving::new(shop.lake(), &shop.config.serving, Arc::new(Metrics::new().unwrap()));
    let serving = serving.declaring(shop.config.personal());
    serving.refresh().await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn service_refuses_declarations_that_it_cannot_keep() {
    let mut shop = shop(&keys(CALLERS));
    drop(shop.open().await);
    for (name, why) in [
        ("profile.e-mial", "did you mean email"),
        ("profile.customer_id", "the id is part of every answer"),
        ("contact.phnoe", "did you mean phone"),
        ("contcat.phone", "did you mean contact"),
        ("rfm.monetary", "cannot be"),
        ("churn.probability", "cannot be"),
    ] {
        shop.config.views.personal = vec![column(name)];
        let error = opened(&shop).await.expect_err(name);
        assert!(error.contains(&format!("`{name}` ")) && error.contains(why), "{error}");
        let answer = get(&shop.serve().await, "/v1/customers/17850", "features").await;
        assert_eq!(answer.problem(), "no-snapshot", "{name}");
    }
    for name in ["contact.orders", "recommendations.buy_again", "churn.reasons", "profile.Email"] {
        shop.config.views.personal = vec![column(name)];
        assert_eq!(opened(&shop).await, Ok(()), "{name}");
    }
    // A column that only another snapshot has is not misspelled.
    let current = larder::snapshot::read_current(&shop.lake()).await.unwrap().unwrap().snapshot;
    shop.config.views.personal = vec![column("mail.email")];
    assert!(opened(&shop).await.is_err());
    fs::write(shop.path().join("views/mail.sql"), "SELECT customer_id, email FROM customers").unwrap();
    shop.build().await;
    assert_eq!(opened(&shop).await, Ok(()));
    assert_eq!(larder::snapshot::read_current(&shop.lake()).await.unwrap().unwrap().snapshot, current);

    let toml = shop.path().join("larder.toml");
    let text = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, text.replace("[views]\n", "[views]\npersonal = [\"rfm.segment\"]\n")).unwrap();
    let output = shop.larder(&["serve", "--listen", "127.0.0.1:0"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("`rfm.segment` cannot be personal"), "{error}");
    // An export would show the values of a misspelled column to whoever reads the file.
    for (name, why) in [("profile.e-mial", "did you mean email"), ("rfm.segment", "cannot be personal")] {
        let personal = format!("[views]\npersonal = [\"{name}\"]\n");
        fs::write(&toml, text.replace("[views]\n", &personal)).unwrap();
        let out = shop.path().join("out.csv");
        let output = shop.larder(&["export", "segment", "prospect", "--out", out.to_str().unwrap()]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(&format!("`{name}`")), "{error}");
        assert!(error.contains(why) && !out.exists(), "{error}");
    }
}

#[tokio::test]
async fn personal_recommendations_are_masked() {
    let mut shop = shop(&keys(CALLERS));
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    shop.config.views.personal = vec![column("recommendations.buy_again")];
    let service = shop.serve().await;
    let path = "/v1/customers/17850/recommendations";
    let whole = get(&service, path, "reader").await;
    assert!(!whole.json()["buy_again"].as_array().unwrap().is_empty(), "{}", whole.text);
    assert_eq!((whole.header("cache-control"), whole.json().get("masked")), ("no-store", None));
    let masked = get(&service, path, "features").await.json();
    assert_eq!(masked["buy_again"], json!([]));
    assert_eq!(masked["masked"], json!(["recommendations.buy_again"]));
    assert_eq!(masked["products"], whole.json()["products"]);
}
