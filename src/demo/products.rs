//! What the made-up shop sells: the words for it, its prices, what is popular, in season, or bought together.
//!
//! A product reads `KIT-0042,"Walnut Serving Board, large",Kitchen & Dining`. Nothing here knows customers, orders
//! or files.

use super::dice::{Dice, running_sums};

/// A kind of thing on sale, and how it sells.
struct Category {
    name: &'static str,
    prefix: &'static str,
    /// The median price in cents.
    median: f64,
    /// How often it is bought, against the others.
    weight: f64,
    /// Used up and bought again.
    consumable: bool,
    /// The category, by place in the list, that goes with it.
    goes_with: usize,
    /// How willingly it is bought in each month, in tenths.
    months: [u8; 12],
    modifiers: &'static str,
    nouns: &'static str,
}

const ALWAYS: [u8; 12] = [10; 12];
const MODIFIERS: usize = 8;
const NOUNS: usize = 10;
const VARIANTS: usize = 6;
const CATEGORIES: usize = SHELVES.len();
const DURABLE: [(&str, f64); VARIANTS] = [
    ("", 1.0),
    (", large", 1.4),
    (", small", 0.7),
    (", set of 4", 2.6),
    (" \"Classic\"", 1.2),
    (" in gift box", 1.3),
];
const CONSUMABLE: [(&str, f64); VARIANTS] = [
    ("", 1.0),
    (", family size", 1.8),
    (", refill pack", 0.9),
    (", trial size", 0.5),
    (" \"Reserve\"", 1.7),
    (", pack of 3", 2.5),
];
const SERIES: [&str; 5] = ["", "Nordlys ", "Ashgrove ", "Petit Jardin ", "Hearth & Co. "];
/// Lines of a bill that are no products.
const SERVICES: [(&str, &str, u32); 3] = [
    ("POSTAGE", "Postage", 495),
    ("GIFT-WRAP", "Gift wrapping", 350),
    ("MANUAL", "Manual adjustment", 1_000),
];

#[rustfmt::skip]
const SHELVES: [Category; 12] = [
    Category { name: "Kitchen & Dining", prefix: "KIT", median: 1_650.0, weight: 15.0, consumable: false, goes_with: 4, months: ALWAYS,
        modifiers: "Walnut|Stoneware|Enamel|Copper|Oak|Porcelain|Cast-Iron|Marble",
        nouns: "Serving Board|Mixing Bowl|Teapot|Mug|Salad Bowl|Casserole Dish|Cake Stand|Pepper Mill|Rolling Pin|Milk Jug" },
    Category { name: "Home Decor", prefix: "DEC", median: 1_950.0, weight: 13.0, consumable: false, goes_with: 7, months: ALWAYS,
        modifiers: "Rattan|Ceramic|Brass|Linen|Driftwood|Glass|Velvet|Terracotta",
        nouns: "Vase|Picture Frame 8\" x 10\"|Wall Clock|Mirror|Basket|Cushion|Bookend|Tray|Doorstop|Coat Hook" },
    Category { name: "Lighting", prefix: "LGT", median: 3_400.0, weight: 5.0, consumable: false, goes_with: 1, months: ALWAYS,
        modifiers: "Brass|Paper|Opal Glass|Bamboo|Concrete|Smoked Glass|Linen|Wire",
        nouns: "Table Lamp|Floor Lamp|Pendant|Lantern|String Lights|Night Light|Wall Light|Desk Lamp|Lamp Shade|Tealight Holder" },
    Category { name: "Bed & Bath", prefix: "BED", median: 2_700.0, weight: 8.0, consumable: false, goes_with: 6, months: ALWAYS,
        modifiers: "Cotton|Linen|Waffle|Bamboo|Wool|Striped|Quilted|Jersey",
        nouns: "Bath Towel|Pillowcase|Duvet Cover|Bath Mat|Bathrobe|Blanket|Fitted Sheet|Hand Towel|Throw|Laundry Bag" },
    Category { name: "Pantry", prefix: "PAN", median: 620.0, weight: 14.0, consumable: true, goes_with: 0, months: ALWAYS,
        modifiers: "Organic|Smoked|Tuscan|Wildflower|Roasted|Spiced|Sicilian|Sea Salt",
        nouns: "Olive Oil|Honey|Granola|Tomato Sauce|Almonds|Chutney|Mustard|Crackers|Lemon Marmalade|Chocolate" },
    Category { name: "Tea & Coffee", prefix: "TEA", median: 890.0, weight: 10.0, consumable: true, goes_with: 0, months: ALWAYS,
        modifiers: "Assam|Ethiopian|Jasmine|Colombian|Breakfast|Espresso|Rooibos|Mint",
        nouns: "Blend|Loose Leaf|Beans|Ground Roast|Tea Bags|Dark Roast|Light Roast|Tin|Capsules|Cold Brew" },
    Category { name: "Beauty", prefix: "BTY", median: 1_150.0, weight: 9.0, consumable: true, goes_with: 3, months: ALWAYS,
        modifiers: "Lavender|Rose|Oat Milk|Sea Kelp|Charcoal|Almond|Fig|Citrus",
        nouns: "Hand Cream|Soap Bar|Shampoo|Body Lotion|Bath Salts|Lip Balm|Face Wash|Shower Gel|Night Cream|Conditioner" },
    Category { name: "Candles & Scents", prefix: "CND", median: 1_400.0, weight: 7.0, consumable: true, goes_with: 1,
        months: [9, 8, 7, 6, 6, 5, 5, 6, 8, 9, 10, 10],
        modifiers: "Sandalwood|Cedar|Vanilla|Fig Leaf|Amber|Bergamot|Tonka|Sea Breeze",
        nouns: "Candle|Reed Diffuser|Room Spray|Wax Melts|Incense|Pillar Candle|Taper Candles|Scented Sachet|Tealights|Oil Burner Refill" },
    Category { name: "Stationery", prefix: "STA", median: 540.0, weight: 9.0, consumable: false, goes_with: 9, months: ALWAYS,
        modifiers: "Botanical|Kraft|Marbled|Gingham|Recycled|Letterpress|Pastel|Dotted",
        nouns: "Notebook|Gift Wrap|Greeting Cards|Pencil Case|Desk Planner|Washi Tape|Sketchbook|Envelopes|Bookmark|Stickers" },
    Category { name: "Toys & Games", prefix: "TOY", median: 1_580.0, weight: 7.0, consumable: false, goes_with: 8,
        months: [5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 10, 10],
        modifiers: "Wooden|Knitted|Felt|Magnetic|Retro|Rainbow|Woodland|Travel",
        nouns: "Train Set|Puzzle|Bear|Building Blocks|Card Game|Spinning Top|Dominoes|Doll House|Xylophone|Kite" },
    Category { name: "Garden", prefix: "GDN", median: 1_850.0, weight: 7.0, consumable: false, goes_with: 2,
        months: [2, 4, 8, 10, 10, 9, 7, 5, 5, 3, 2, 2],
        modifiers: "Galvanised|Terracotta|Heritage|Bamboo|Zinc|Willow|Cedar|Enamel",
        nouns: "Plant Pot|Watering Can|Bird Feeder|Trowel|Seed Box|Planter|Hanging Basket|Garden Twine|Herb Kit|Wind Chime" },
    Category { name: "Christmas", prefix: "XMS", median: 980.0, weight: 22.0, consumable: false, goes_with: 7,
        months: [1, 0, 0, 0, 0, 0, 0, 0, 1, 4, 10, 10],
        modifiers: "Felt|Glass|Tartan|Frosted|Nordic|Gold|Wooden|Silver",
        nouns: "Bauble|Advent Calendar|Wreath|Stocking|Garland|Tree Topper|Star|Reindeer|Cracker Set|Snow Globe" },
];

/// A thing that an order line can name.
#[derive(Debug)]
struct Product {
    id: String,
    /// `id,name,category` as they stand in a CSV line.
    csv: String,
    cents: u32,
    /// Which of four tastes it suits.
    style: usize,
    /// After how many days it is used up.
    interval: Option<f64>,
    /// What it is bought together with.
    companions: Vec<u16>,
}

/// All products: the categories one after another, each by popularity; the services last.
#[derive(Debug)]
pub(super) struct Catalogue {
    products: Vec<Product>,
    per_category: usize,
    /// The running sums of Zipf's law (exponent 1, shifted by 2), up to 1.
    popularity: Vec<f64>,
    /// The running sums of the categories' weights, up to 1.
    weights: Vec<f64>,
}

impl Catalogue {
    /// A catalogue of about `size` products.
    pub(super) fn new(size: usize, dice: &mut Dice) -> Self {
        let per_category = size.div_ceil(CATEGORIES);
        let mut products: Vec<Product> = (0..CATEGORIES * per_category)
            .map(|place| Product::new(&SHELVES[place / per_category], place % per_category, dice))
            .collect();
        for (place, product) in products.iter_mut().enumerate() {
            let (category, rank) = (place / per_category, place % per_category);
            for _ in 0..2 + dice.below(2) {
                let shelf = if dice.chance(0.6) { category } else { SHELVES[category].goes_with };
                let companion = shelf * per_category + (rank + 1 + dice.below(8)) % per_category;
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
        let weights = SHELVES.iter().map(|shelf| shelf.weight);
        let popularity = (0..per_category).map(|rank| 1.0 / (rank as f64 + 2.0));
        Self { products, per_category, popularity: running_sums(popularity), weights: running_sums(weights) }
    }

    /// A category, by its weight.
    pub(super) fn category(&self, dice: &mut Dice) -> usize {
        dice.choose(&self.weights)
    }

    /// A product of `category` by its popularity, or none when the category is out of season.
    pub(super) fn pick(&self, category: usize, month: usize, dice: &mut Dice) -> Option<u16> {
        let willing = f64::from(SHELVES[category].months[month]) / 10.0;
        dice.chance(willing).then(|| (category * self.per_category + dice.choose(&self.popularity)) as u16)
    }

    /// A line that is no product.
    pub(super) fn service(&self, dice: &mut Dice) -> u16 {
        let kind = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2][dice.below(10)];
        (self.products.len() - SERVICES.len() + kind) as u16
    }

    /// Whether `product` is a product, not a service.
    pub(super) fn is_product(&self, product: u16) -> bool {
        usize::from(product) < self.products.len() - SERVICES.len()
    }

    pub(super) fn id(&self, product: u16) -> &str {
        &self.get(product).id
    }

    /// `id,name,category` as they stand in a CSV line.
    pub(super) fn csv(&self, product: u16) -> &str {
        &self.get(product).csv
    }

    /// Which of four tastes the product suits.
    pub(super) fn style(&self, product: u16) -> usize {
        self.get(product).style
    }

    /// After how many days the product is used up, if it ever is.
    pub(super) fn interval(&self, product: u16) -> Option<f64> {
        self.get(product).interval
    }

    /// Something that goes with the product.
    pub(super) fn companion(&self, product: u16, dice: &mut Dice) -> u16 {
        let companions = &self.get(product).companions;
        companions[dice.below(companions.len() as u32)]
    }

    fn get(&self, product: u16) -> &Product {
        &self.products[usize::from(product)]
    }

    /// The price in cents on a day of the year: one product in 23 is on sale in any week.
    pub(super) fn price(&self, product: u16, day: u32) -> u32 {
        let cents = self.get(product).cents;
        let on_sale = self.is_product(product) && (u32::from(product) * 31 + day / 7 * 17).is_multiple_of(23);
        if on_sale { cents * 4 / 5 } else { cents }
    }
}

impl Product {
    fn new(shelf: &Category, rank: usize, dice: &mut Dice) -> Self {
        const NAMES: usize = MODIFIERS * NOUNS * VARIANTS;
        const COPRIME: usize = 343;
        let mix = rank * COPRIME % NAMES;
        let modifier = word(shelf.modifiers, mix % MODIFIERS);
        let noun = word(shelf.nouns, mix / MODIFIERS % NOUNS);
        let variants = if shelf.consumable { CONSUMABLE } else { DURABLE };
        let (variant, factor) = variants[mix / MODIFIERS / NOUNS];
        let name = format!("{}{modifier} {noun}{variant}", SERIES[rank / NAMES]);
        let id = format!("{}-{:04}", shelf.prefix, rank + 1);
        let exact = dice.log_normal(shelf.median * factor, 0.55);
        let whole = exact.clamp(30.0, 900_000.0) as u32;
        let ending = [99, 99, 95, 50, 0, 25][dice.below(6)];
        Self {
            csv: format!("{id},{},{}", quoted(&name), quoted(shelf.name)),
            id,
            cents: if whole < 200 { whole } else { whole / 100 * 100 + ending },
            style: mix % MODIFIERS % 4,
            interval: shelf.consumable.then(|| 14.0 + dice.below(57) as f64),
            companions: Vec::new(),
        }
    }
}

/// The word at a place of a list like `Oak|Brass`, counted around.
pub(super) fn word(list: &'static str, place: usize) -> &'static str {
    list.split('|').cycle().nth(place).unwrap_or_default()
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_largest_catalogue_has_distinct_ids_and_names() {
        let catalogue = Catalogue::new(20_000, &mut Dice::new(42, 0));
        assert!((20_000..=20_020).contains(&catalogue.products.len()));
        let names: HashSet<&str> = catalogue
            .products
            .iter()
            .filter_map(|product| product.csv.split_once(','))
            .map(|it| it.1)
            .collect();
        let ids: HashSet<&str> = catalogue.products.iter().map(|product| product.id.as_str()).collect();
        assert_eq!((names.len(), ids.len()), (catalogue.products.len(), catalogue.products.len()));
        assert!(catalogue.products.iter().any(|product| product.csv.contains("\"\"Classic\"\"")));
    }
}
