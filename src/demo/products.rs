//! Product catalog of the generated shop: names, prices, popularity, seasons, and products bought together.
//!
//! A product reads `KIT-0042,"Walnut Serving Board, large",Kitchen & Dining`. This module does not know
//! customers, orders or files.

use super::dice::{Dice, cumulative_sums};

/// A product category.
struct Category {
    name: &'static str,
    /// Prefix of product ids.
    prefix: &'static str,
    /// Median price in cents.
    median: f64,
    /// Weight among the categories.
    weight: f64,
    /// Whether products are used up and bought again.
    consumable: bool,
    /// Index of the category that is often bought together with this one.
    goes_with: usize,
    /// Demand in each month, in tenths.
    months: [u8; 12],
    /// First words of product names, separated by `|`.
    modifiers: &'static str,
    /// Second words of product names, separated by `|`.
    nouns: &'static str,
}

/// Full demand in every month.
const ALWAYS: [u8; 12] = [10; 12];
const MODIFIERS: usize = 8;
const NOUNS: usize = 10;
const VARIANTS: usize = 6;
const CATEGORY_COUNT: usize = CATEGORIES.len();
/// Variants of durable products: suffix of the name, factor of the price.
const DURABLE: [(&str, f64); VARIANTS] = [
    ("", 1.0),
    (", large", 1.4),
    (", small", 0.7),
    (", set of 4", 2.6),
    (" \"Classic\"", 1.2),
    (" in gift box", 1.3),
];
/// Variants of consumable products: suffix of the name, factor of the price.
const CONSUMABLE: [(&str, f64); VARIANTS] = [
    ("", 1.0),
    (", family size", 1.8),
    (", refill pack", 0.9),
    (", trial size", 0.5),
    (" \"Reserve\"", 1.7),
    (", pack of 3", 2.5),
];
/// Prefixes of names that repeat.
const SERIES: [&str; 5] = ["", "Nordlys ", "Ashgrove ", "Petit Jardin ", "Hearth & Co. "];
/// Order lines that are not products: id, name, price in cents.
const SERVICES: [(&str, &str, u32); 3] = [
    ("POSTAGE", "Postage", 495),
    ("GIFT-WRAP", "Gift wrapping", 350),
    ("MANUAL", "Manual adjustment", 1_000),
];

/// All categories.
const CATEGORIES: [Category; 12] = [
    Category {
        name: "Kitchen & Dining",
        prefix: "KIT",
        median: 1_650.0,
        weight: 15.0,
        consumable: false,
        goes_with: 4,
        months: ALWAYS,
        modifiers: "Walnut|Stoneware|Enamel|Copper|Oak|Porcelain|Cast-Iron|Marble",
        nouns: "Serving Board|Mixing Bowl|Teapot|Mug|Salad Bowl|Casserole Dish|Cake Stand|\
            Pepper Mill|Rolling Pin|Milk Jug",
    },
    Category {
        name: "Home Decor",
        prefix: "DEC",
        median: 1_950.0,
        weight: 13.0,
        consumable: false,
        goes_with: 7,
        months: ALWAYS,
        modifiers: "Rattan|Ceramic|Brass|Linen|Driftwood|Glass|Velvet|Terracotta",
        nouns: "Vase|Picture Frame 8\" x 10\"|Wall Clock|Mirror|Basket|Cushion|Bookend|Tray|\
            Doorstop|Coat Hook",
    },
    Category {
        name: "Lighting",
        prefix: "LGT",
        median: 3_400.0,
        weight: 5.0,
        consumable: false,
        goes_with: 1,
        months: ALWAYS,
        modifiers: "Brass|Paper|Opal Glass|Bamboo|Concrete|Smoked Glass|Linen|Wire",
        nouns: "Table Lamp|Floor Lamp|Pendant|Lantern|String Lights|Night Light|Wall Light|\
            Desk Lamp|Lamp Shade|Tealight Holder",
    },
    Category {
        name: "Bed & Bath",
        prefix: "BED",
        median: 2_700.0,
        weight: 8.0,
        consumable: false,
        goes_with: 6,
        months: ALWAYS,
        modifiers: "Cotton|Linen|Waffle|Bamboo|Wool|Striped|Quilted|Jersey",
        nouns: "Bath Towel|Pillowcase|Duvet Cover|Bath Mat|Bathrobe|Blanket|Fitted Sheet|Hand Towel|\
            Throw|Laundry Bag",
    },
    Category {
        name: "Pantry",
        prefix: "PAN",
        median: 620.0,
        weight: 14.0,
        consumable: true,
        goes_with: 0,
        months: ALWAYS,
        modifiers: "Organic|Smoked|Tuscan|Wildflower|Roasted|Spiced|Sicilian|Sea Salt",
        nouns: "Olive Oil|Honey|Granola|Tomato Sauce|Almonds|Chutney|Mustard|Crackers|\
            Lemon Marmalade|Chocolate",
    },
    Category {
        name: "Tea & Coffee",
        prefix: "TEA",
        median: 890.0,
        weight: 10.0,
        consumable: true,
        goes_with: 0,
        months: ALWAYS,
        modifiers: "Assam|Ethiopian|Jasmine|Colombian|Breakfast|Espresso|Rooibos|Mint",
        nouns: "Blend|Loose Leaf|Beans|Ground Roast|Tea Bags|Dark Roast|Light Roast|Tin|Capsules|Cold Brew",
    },
    Category {
        name: "Beauty",
        prefix: "BTY",
        median: 1_150.0,
        weight: 9.0,
        consumable: true,
        goes_with: 3,
        months: ALWAYS,
        modifiers: "Lavender|Rose|Oat Milk|Sea Kelp|Charcoal|Almond|Fig|Citrus",
        nouns: "Hand Cream|Soap Bar|Shampoo|Body Lotion|Bath Salts|Lip Balm|Face Wash|Shower Gel|\
            Night Cream|Conditioner",
    },
    Category {
        name: "Candles & Scents",
        prefix: "CND",
        median: 1_400.0,
        weight: 7.0,
        consumable: true,
        goes_with: 1,
        months: [9, 8, 7, 6, 6, 5, 5, 6, 8, 9, 10, 10],
        modifiers: "Sandalwood|Cedar|Vanilla|Fig Leaf|Amber|Bergamot|Tonka|Sea Breeze",
        nouns: "Candle|Reed Diffuser|Room Spray|Wax Melts|Incense|Pillar Candle|Taper Candles|\
            Scented Sachet|Tealights|Oil Burner Refill",
    },
    Category {
        name: "Stationery",
        prefix: "STA",
        median: 540.0,
        weight: 9.0,
        consumable: false,
        goes_with: 9,
        months: ALWAYS,
        modifiers: "Botanical|Kraft|Marbled|Gingham|Recycled|Letterpress|Pastel|Dotted",
        nouns: "Notebook|Gift Wrap|Greeting Cards|Pencil Case|Desk Planner|Washi Tape|Sketchbook|\
            Envelopes|Bookmark|Stickers",
    },
    Category {
        name: "Toys & Games",
        prefix: "TOY",
        median: 1_580.0,
        weight: 7.0,
        consumable: false,
        goes_with: 8,
        months: [5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 10, 10],
        modifiers: "Wooden|Knitted|Felt|Magnetic|Retro|Rainbow|Woodland|Travel",
        nouns: "Train Set|Puzzle|Bear|Building Blocks|Card Game|Spinning Top|Dominoes|Doll House|\
            Xylophone|Kite",
    },
    Category {
        name: "Garden",
        prefix: "GDN",
        median: 1_850.0,
        weight: 7.0,
        consumable: false,
        goes_with: 2,
        months: [2, 4, 8, 10, 10, 9, 7, 5, 5, 3, 2, 2],
        modifiers: "Galvanized|Terracotta|Heritage|Bamboo|Zinc|Willow|Cedar|Enamel",
        nouns: "Plant Pot|Watering Can|Bird Feeder|Trowel|Seed Box|Planter|Hanging Basket|\
            Garden Twine|Herb Kit|Wind Chime",
    },
    Category {
        name: "Christmas",
        prefix: "XMS",
        median: 980.0,
        weight: 22.0,
        consumable: false,
        goes_with: 7,
        months: [1, 0, 0, 0, 0, 0, 0, 0, 1, 4, 10, 10],
        modifiers: "Felt|Glass|Tartan|Frosted|Nordic|Gold|Wooden|Silver",
        nouns: "Bauble|Advent Calendar|Wreath|Stocking|Garland|Tree Topper|Star|Reindeer|\
            Cracker Set|Snow Globe",
    },
];

/// A product or service in an order line.
#[derive(Debug)]
struct Product {
    id: String,
    /// Fields `id,name,category` of a CSV line.
    csv: String,
    cents: u32,
    /// Style of the product, 0 to 3.
    style: usize,
    /// Days until the product is used up.
    interval: Option<f64>,
    /// Products bought together with this one.
    companions: Vec<u16>,
}

/// All products: category by category, each by popularity; then the services.
#[derive(Debug)]
pub(super) struct ProductCatalog {
    products: Vec<Product>,
    per_category: usize,
    /// Cumulative sums of Zipf's law (exponent 1, shifted by 2), up to 1.
    popularity: Vec<f64>,
    /// Cumulative sums of the weights of the categories, up to 1.
    weights: Vec<f64>,
}

impl ProductCatalog {
    /// Draws a catalog of about `size` products.
    pub(super) fn new(size: usize, dice: &mut Dice) -> Self {
        let per_category = size.div_ceil(CATEGORY_COUNT);
        let mut products: Vec<Product> = (0..CATEGORY_COUNT * per_category)
            .map(|place| Product::new(&CATEGORIES[place / per_category], place % per_category, dice))
            .collect();
        for (place, product) in products.iter_mut().enumerate() {
            let (category, rank) = (place / per_category, place % per_category);
            for _ in 0..2 + dice.below(2) {
                let companion_category =
                    if dice.chance(0.6) { category } else { CATEGORIES[category].goes_with };
                let companion = companion_category * per_category + (rank + 1 + dice.below(8)) % per_category;
                if companion != place && !product.companions.contains(&(companion as u16)) {
                    product.companions.push(companion as u16);
                }
            }
        }
        products.extend(SERVICES.map(|(id, name, cents)| Product {
            csv: format!("{id},{name},"),
            id: id.to_owned(),
            cents,
            style: 0,
            interval: None,
            companions: Vec::new(),
        }));
        let weights = CATEGORIES.iter().map(|category| category.weight);
        let popularity = (0..per_category).map(|rank| 1.0 / (rank as f64 + 2.0));
        Self {
            products,
            per_category,
            popularity: cumulative_sums(popularity),
            weights: cumulative_sums(weights),
        }
    }

    /// Draws a category by weight.
    pub(super) fn category(&self, dice: &mut Dice) -> usize {
        dice.choose(&self.weights)
    }

    /// Draws a product of `category` by popularity, or `None` if the category is out of season.
    pub(super) fn pick(&self, category: usize, month: usize, dice: &mut Dice) -> Option<u16> {
        let willing = f64::from(CATEGORIES[category].months[month]) / 10.0;
        dice.chance(willing).then(|| (category * self.per_category + dice.choose(&self.popularity)) as u16)
    }

    /// Draws a service.
    pub(super) fn service(&self, dice: &mut Dice) -> u16 {
        let kind = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2][dice.below(10)];
        (self.products.len() - SERVICES.len() + kind) as u16
    }

    /// Checks whether `product` is a product and not a service.
    pub(super) fn is_product(&self, product: u16) -> bool {
        usize::from(product) < self.products.len() - SERVICES.len()
    }

    /// Returns the product id.
    pub(super) fn id(&self, product: u16) -> &str {
        &self.get(product).id
    }

    /// Returns the fields `id,name,category` of a CSV line.
    pub(super) fn csv(&self, product: u16) -> &str {
        &self.get(product).csv
    }

    /// Returns the style of the product, 0 to 3.
    pub(super) fn style(&self, product: u16) -> usize {
        self.get(product).style
    }

    /// Returns the days until the product is used up, or `None` for a durable product.
    pub(super) fn interval(&self, product: u16) -> Option<f64> {
        self.get(product).interval
    }

    /// Draws a product that is often bought together with `product`.
    pub(super) fn companion(&self, product: u16, dice: &mut Dice) -> u16 {
        let companions = &self.get(product).companions;
        companions[dice.below(companions.len() as u32)]
    }

    fn get(&self, product: u16) -> &Product {
        &self.products[usize::from(product)]
    }

    /// Returns the price in cents on a day of the year. One product in 23 is on sale in any week.
    pub(super) fn price(&self, product: u16, day: u32) -> u32 {
        let cents = self.get(product).cents;
        let on_sale = self.is_product(product) && (u32::from(product) * 31 + day / 7 * 17).is_multiple_of(23);
        if on_sale { cents * 4 / 5 } else { cents }
    }
}

impl Product {
    /// Draws the product at `rank` of a category.
    fn new(category: &Category, rank: usize, dice: &mut Dice) -> Self {
        const NAMES: usize = MODIFIERS * NOUNS * VARIANTS;
        const COPRIME: usize = 343;
        let mix = rank * COPRIME % NAMES;
        let modifier = word(category.modifiers, mix % MODIFIERS);
        let noun = word(category.nouns, mix / MODIFIERS % NOUNS);
        let variants = if category.consumable { CONSUMABLE } else { DURABLE };
        let (variant, factor) = variants[mix / MODIFIERS / NOUNS];
        let name = format!("{}{modifier} {noun}{variant}", SERIES[rank / NAMES]);
        let id = format!("{}-{:04}", category.prefix, rank + 1);
        let exact = dice.log_normal(category.median * factor, 0.55);
        let whole = exact.clamp(30.0, 900_000.0) as u32;
        let ending = [99, 99, 95, 50, 0, 25][dice.below(6)];
        Self {
            csv: format!("{id},{},{}", quoted(&name), quoted(category.name)),
            id,
            cents: if whole < 200 { whole } else { whole / 100 * 100 + ending },
            style: mix % MODIFIERS % 4,
            interval: category.consumable.then(|| 14.0 + dice.below(57) as f64),
            companions: Vec::new(),
        }
    }
}

/// Returns the word at an index of a list such as `Oak|Brass`, modulo its length.
pub(super) fn word(list: &'static str, place: usize) -> &'static str {
    list.split('|').cycle().nth(place).unwrap_or_default()
}

/// Quotes a CSV field if needed.
fn quoted(field: &str) -> String {
    if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn largest_catalog_has_distinct_ids_and_names() {
        let catalog = ProductCatalog::new(20_000, &mut Dice::new(42, 0));
        assert!((20_000..=20_020).contains(&catalog.products.len()));
        let names: HashSet<&str> = catalog
            .products
            .iter()
            .filter_map(|product| product.csv.split_once(','))
            .map(|it| it.1)
            .collect();
        let ids: HashSet<&str> = catalog.products.iter().map(|product| product.id.as_str()).collect();
        assert_eq!((names.len(), ids.len()), (catalog.products.len(), catalog.products.len()));
        assert!(catalog.products.iter().any(|product| product.csv.contains("\"\"Classic\"\"")));
    }
}
