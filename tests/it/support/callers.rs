//! Callers with API keys, and a shop with personal columns.

use std::fs;

use larder::{
    config::{Scope, digest},
    snapshot::hex,
};

use crate::support::shop::{Shop, corners_with};

/// A view with a personal and another column.
const CONTACT: &str = "-- How to reach a customer.\n-- phone (personal): The number.\n-- orders: Orders.\n\
    SELECT customer_id, 'phone-' || customer_id AS phone, count(*) AS orders\n\
    FROM orders GROUP BY customer_id";

/// Name and scopes of an API key.
pub(crate) type Caller<'a> = (&'a str, &'a [Scope]);

/// Returns the API key of the caller `name`.
pub(crate) fn key(name: &str) -> String {
    format!("lrd_the-key-of-{name}")
}

/// Returns the `[[keys]]` settings of `callers`.
pub(crate) fn keys(callers: &[Caller<'_>]) -> String {
    let key = |(name, scopes): &Caller<'_>| {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        format!(
            "[[keys]]\nname = \"{name}\"\nhash = \"sha256:{}\"\nscopes = {scopes:?}\n",
            hex(&digest(key(name).as_bytes()))
        )
    };
    callers.iter().map(key).collect()
}

/// Creates a shop with personal columns and the settings `toml`.
pub(crate) fn shop(toml: &str) -> Shop {
    let shop = corners_with(&format!("[views]\nfolder = \"views\"\n{toml}"));
    fs::create_dir(shop.path().join("views")).unwrap();
    fs::write(shop.path().join("views/contact.sql"), CONTACT).unwrap();
    shop
}
