//! Features whose values are ids of products, and the keys under which answers add the names.

/// View, feature, and the key of the names.
const PRODUCT_IDS: [(&str, &str, &str); 4] = [
    ("behavior", "favourite_product", "favourite_product_name"),
    ("recommendations", "products", "product_names"),
    ("recommendations", "product_because", "product_because_names"),
    ("recommendations", "buy_again", "buy_again_names"),
];

/// Returns the key for the names of the products whose ids are the values of the feature `view.feature`;
/// `None` if its values are not ids of products.
#[must_use]
pub fn product_names_key(view: &str, feature: &str) -> Option<&'static str> {
    let mut known = PRODUCT_IDS.iter();
    known.find(|(of_view, name, _)| *of_view == view && *name == feature).map(|(.., key)| *key)
}
