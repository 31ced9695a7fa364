//! `larder inspect` and `larder init`: exports of several systems load without an edit.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};
use serde_json::json;

use crate::support::shop::{NO_MODELS, Shop};

/// The expected numbers of an export.
struct Export {
    file: &'static str,
    customers: u64,
    orders: u64,
    /// Revenue in cents, rounded.
    cents: i64,
}

const fn export(file: &'static str, customers: u64, orders: u64, cents: i64) -> Export {
    Export { file, customers, orders, cents }
}

/// The exports of `tests/exports`, with numbers that the program that made them counted.
const EXPORTS: [Export; 6] = [
    export("online-retail.csv", 5, 14, 118_314),
    export("superstore.csv", 4, 12, 572_454),
    export("shopify-orders.csv", 3, 10, 47_600),
    export("woocommerce-orders.csv", 3, 12, 2_308_360),
    export("amazon-orders.txt", 3, 14, 88_715),
    export("stripe-payments.csv", 4, 15, 504_500),
];

fn exports() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports")
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(exports().join(file)).unwrap()
}

/// Runs `larder` in `folder`.
fn larder(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.current_dir(folder).args(args).env("LARDER_BUILD_STAGING", folder.join("staging"));
    command.output().unwrap()
}

/// Returns the output of a command that succeeds.
fn ok(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Returns what `larder inspect` prints for `files`.
fn inspect(files: &[&Path]) -> String {
    let mut args = vec!["inspect"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let printed = ok(&larder(folder.path(), &args));
    let parsed: Result<toml::Table, _> = printed.parse();
    assert!(parsed.is_ok(), "{parsed:?}\n{printed}");
    printed
}

/// Numbers of a snapshot.
#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    fingerprint: String,
    customers: u64,
    orders: u64,
    cents: i64,
    bad: u64,
}

/// Builds a snapshot with the settings `toml`, and returns its numbers.
async fn numbers(name: &str, toml: &str) -> Numbers {
    let shop = Shop::new(&format!("{toml}\n{NO_MODELS}"));
    let built = shop.try_build(None).await.unwrap_or_else(|error| panic!("{name}: {error}\n{toml}"));
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let request = json!({"where": "rfm.frequency >= 0", "limit": 1000, "views": ["rfm"]});
    let found = service.post("/v1/audiences", request.to_string()).await.json();
    let rows = found["customers"].as_array().unwrap();
    let sum =
        |feature: &str| rows.iter().map(|row| row["views"]["rfm"][feature].as_f64().unwrap()).sum::<f64>();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]
    Numbers {
        fingerprint: built.manifest.fingerprint.clone(),
        customers: built.manifest.customers,
        orders: sum("frequency") as u64,
        cents: (sum("monetary") * 100.0).round() as i64,
        bad: built.manifest.counts["transactions"].fates.get("bad").copied().unwrap_or(0),
    }
}

/// Returns the hand-written configuration of an export.
fn by_hand(export: &str, file: &Path) -> String {
    let stem = export.split('.').next().unwrap();
    let toml = std::fs::read_to_string(exports().join(format!("{stem}.toml"))).unwrap();
    toml.replace("FILE", file.to_str().unwrap())
}

#[tokio::test]
async fn exports_load_as_by_hand() {
    for Export { file, customers, orders, cents } in EXPORTS {
        let path = exports().join(file);
        let expected = numbers(file, &by_hand(file, &path)).await;
        let fingerprint = expected.fingerprint.clone();
        assert_eq!(expected, Numbers { fingerprint, customers, orders, cents, bad: 0 }, "{file}");
        let printed = inspect(&[&path]);
        assert_eq!(numbers(file, &printed).await, expected, "{file}\n{printed}");
    }
}

/// Returns Online Retail as a workbook with typed cells.
fn workbook() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let date = Format::new().set_num_format("m/d/yyyy h:mm");
    let csv = read("online-retail.csv");
    let mut records = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_slice());
    for (row, record) in (0..).zip(records.records()) {
        for (column, text) in (0..).zip(&record.unwrap()) {
            let time = chrono::NaiveDateTime::parse_from_str(text, "%m/%d/%Y %H:%M");
            if let Ok(time) = time {
                let time = ExcelDateTime::from_timestamp(time.and_utc().timestamp()).unwrap();
                sheet.write_with_format(row, column, &time, &date).unwrap();
            } else if let Ok(number) = text.parse::<f64>() {
                sheet.write(row, column, number).unwrap();
            } else if !text.is_empty() {
                sheet.write(row, column, text).unwrap();
            }
        }
    }
    book.save_to_buffer().unwrap()
}

#[tokio::test]
async fn one_export_in_several_formats_loads_alike() {
    let folder = tempfile::tempdir().unwrap();
    let csv = read("online-retail.csv");
    let text = String::from_utf8(csv.clone()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&csv).unwrap();
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let with_preamble = format!("Report of May\n\n{text}");
    let expected = numbers("csv", &by_hand("online-retail.csv", &exports().join("online-retail.csv"))).await;
    for (name, content) in [
        ("retail.csv.gz", gzip.finish().unwrap()),
        ("retail.xlsx", workbook()),
        ("utf16.csv", utf16),
        ("preamble.csv", with_preamble.into_bytes()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let printed = inspect(&[&path]);
        assert_eq!(numbers(name, &printed).await, expected, "{name}\n{printed}");
    }
}

#[tokio::test]
async fn nested_orders_load() {
    let folder = tempfile::tempdir().unwrap();
    let order = |id: u32, customer: u32| {
        json!({
            "id": id,
            "created_at": format!("2024-01-{:02}T10:00:00+01:00", id % 28 + 1),
            "currency": "EUR",
            "customer": {"id": customer, "email": "x@example.com"},
            "total_price": "30.00",
            "line_items": [
                {"sku": "a", "name": "Tea pot", "quantity": 2, "price": "10.00"},
                {"sku": "b", "name": "Mug", "quantity": 1, "price": "10.00"},
            ],
        })
    };
    let orders: Vec<_> = (1..9).map(|id| order(id, id % 3)).collect();
    let path = folder.path().join("orders.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&json!({"orders": orders})).unwrap()).unwrap();
    let printed = inspect(&[&path]);
    let found = numbers("nested", &printed).await;
    // 0 stands for a customer here.
    assert_eq!((found.customers, found.orders, found.cents), (3, 8, 24_000), "{printed}");
    let expected = [
        "currency=orders[].currency",
        "customer_id=orders[].customer.id",
        "order_id=orders[].id",
        "ordered_at=orders[].created_at",
        "product_id=orders[].line_items[].sku",
        "product_name=orders[].line_items[].name",
        "quantity=orders[].line_items[].quantity",
        "unit_price=orders[].line_items[].price",
    ];
    assert_eq!(columns(&printed, "transactions"), expected);
}

#[tokio::test]
async fn files_of_several_dialects_load_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let old = "Customer ID;Invoice;StockCode;Quantity;Price;InvoiceDate\n1;10;a;2;1,50;13.05.2010\n\
               2;11;b;1;10,25;14.05.2010\n";
    let new = "CustomerID,InvoiceNo,StockCode,Quantity,UnitPrice,InvoiceDate\n1,12,a,4,1.50,5/13/2011 8:26\n\
               2,13,b,2,10.25,5/14/2011 9:00\n";
    std::fs::write(path("old.csv"), old).unwrap();
    std::fs::write(path("new.csv"), new).unwrap();
    std::fs::copy(exports().join("customers.csv"), path("people.csv")).unwrap();
    let printed = inspect(&[&path("old.csv"), &path("new.csv"), &path("people.csv")]);
    let found = numbers("dialects", &printed).await;
    assert_eq!((found.orders, found.cents, found.bad), (4, 300 + 1025 + 600 + 2050, 0), "{printed}");
    assert_eq!(found.customers, 5, "{printed}");
    let table: toml::Table = printed.parse().unwrap();
    let customers = &table["raw"]["customers"];
    let personal: Vec<&str> =
        customers["personal"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(personal, ["birthday", "e_mail_address", "full_name", "phone", "postal_code"]);
    let types = customers["types"].as_table().unwrap();
    assert_eq!(types["loyalty_points"].as_str(), Some("integer"));
    assert_eq!(types["birthday"].as_str(), Some("date"));
    assert!(!types.contains_key("postal_code") && !types.contains_key("phone"), "{printed}");
}

#[test]
fn report_has_no_values() {
    for Export { file, .. } in EXPORTS {
        let printed = inspect(&[&exports().join(file)]);
        let bytes = read(file);
        let (content, ..) = encoding_rs::WINDOWS_1252.decode(&bytes);
        check_absent(&content, &printed, file);
    }
    let printed = inspect(&[&exports().join("customers.csv")]);
    check_absent(&String::from_utf8(read("customers.csv")).unwrap(), &printed, "customers.csv");
    assert!(printed.contains("Full Name") && printed.contains("Aaa Aaaaa"), "{printed}");
    // A file without a header shows nothing of its first line.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    std::fs::write(&path, "17850,ada@example.com,Ada\n17851,jon@example.com,Jon\n").unwrap();
    let refused = larder(folder.path(), &["inspect", path.to_str().unwrap()]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && message.contains("3 fields"), "{message}");
    assert!(!message.contains("Ada") && !message.contains("17850"), "{message}");
}

/// Asserts that `printed` has no value of the columns of `content` whose values are those of persons.
fn check_absent(content: &str, printed: &str, file: &str) {
    let text = content.trim_start_matches("ï»¿");
    let delimiter = [b'\t', b';', b',']
        .into_iter()
        .find(|mark| text.lines().next().unwrap().bytes().filter(|byte| byte == mark).count() > 3);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter.unwrap())
        .quoting(file != "amazon-orders.txt")
        .from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let mut checked = 0;
    for record in reader.records() {
        for (name, value) in header.iter().zip(&record.unwrap()) {
            let name = name.to_lowercase();
            let words = [
                "name",
                "mail",
                "phone",
                "street",
                "address",
                "birthday",
                "customerid",
                "customer id",
                "zip",
            ];
            if value.chars().count() > 3 && words.iter().any(|word| name.contains(word)) {
                assert!(!printed.contains(value), "{file}: `{value}` of `{name}` is in\n{printed}");
                checked += 1;
            }
        }
    }
    assert!(checked > 5, "{file}");
}

#[test]
fn doubts_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let doubts = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        inspect(&[&path])
    };
    let unclear = "customer,order,item,qty,price,date\n1,1,a,1,2.5,1/2/2024\n2,2,b,2,3.5,3/4/2024\n";
    let printed = doubts("a.csv", unclear.as_bytes());
    for words in ["line total or unit price? `price`", "day or month first? no value of `date` tells"] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let latin =
        b"customer;order;item;qty;unit price;date\n1;1;Caf\xe9;1;2,5;13.2.2024\n2;2;b;2;3,5;14.2.2024\n";
    let printed = doubts("b.csv", latin);
    assert!(printed.contains("the encoding is a guess") && printed.contains("windows-1252"), "{printed}");
    let absent = doubts("c.csv", b"order,qty,price,date\n1,1,2.5,2024-01-01\n2,2,3.5,2024-01-02\n");
    assert!(absent.contains("there is no column for `customer_id`"), "{absent}");
    let currencies = doubts(
        "d.csv",
        b"customer,order,sku,qty,unit price,date,currency\n1,1,a,1,2.5,2024-01-01,EUR\n\
          2,2,b,1,2,2024-01-02,USD\n",
    );
    assert!(
        currencies.contains("several currencies") && currencies.contains("#[raw.currency]"),
        "{currencies}"
    );
}

#[tokio::test]
async fn prices_of_whole_lines_are_amounts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales.csv");
    let found = |text: &str| {
        std::fs::write(&path, text).unwrap();
        inspect(&[&path])
    };
    let named = |name: &str| {
        let lines = "1,1,a,3,30.00,2024-01-15\n2,2,b,2,7.00,2024-01-16\n";
        columns(&found(&format!("customer,order,sku,qty,{name},date\n{lines}")), "transactions")
    };
    for name in [
        "Gesamtpreis",
        "Preis gesamt",
        "Zeilenpreis",
        "Positionspreis",
        "Total Price",
        "Price Total",
        "Extended Price",
        "Line Price",
        "Order Price",
        "Prix total",
        "Precio Total",
        "Gesamtbetrag",
    ] {
        assert!(named(name).contains(&format!("amount={name}")), "{name}: {:?}", named(name));
    }
    for name in ["Price", "Unit Price", "Online Price", "Item Price", "Einzelpreis", "Prix unitaire HT"] {
        assert!(named(name).contains(&format!("unit_price={name}")), "{name}: {:?}", named(name));
    }
    let german = "Kunde;Beleg;Artikel;Menge;Gesamtpreis;Datum\n1;R1;A-1;3;30,00;15.01.2024\n\
                  2;R2;A-2;2;7,50;16.01.2024\n";
    let printed = found(german);
    assert!(!printed.contains("line total or unit price?"), "{printed}");
    assert!(columns(&printed, "transactions").contains(&"order_id=Beleg".to_owned()), "{printed}");
    assert_eq!(numbers("german", &printed).await.cents, 3_750, "{printed}");
    // The values tell that the column has prices of one item in spite of its name.
    let checked = "customer,order,sku,qty,Line Price,Amount,date\n1,1,a,3,10.00,30.00,2024-01-15\n\
                   2,2,b,2,3.50,7.00,2024-01-16\n3,3,c,4,2.00,8.00,2024-01-17\n";
    let printed = found(checked);
    assert!(columns(&printed, "transactions").contains(&"unit_price=Line Price".to_owned()), "{printed}");
}

#[test]
fn dashes_and_signs_do_not_hide_prices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("verkauf.csv");
    let found = |total: &str, lines: &[&str]| {
        let header = "Kundennummer;Belegnummer;Artikelnummer;Belegdatum;Menge;Einzelpreis";
        let lines: Vec<String> = (1..)
            .zip(lines)
            .map(|(at, line)| format!("{at};R{at};A{at};{}.01.2024;{line}\n", at + 10))
            .collect();
        std::fs::write(&path, format!("{header}{total}\n{}", lines.concat())).unwrap();
        let printed = inspect(&[&path]);
        let mut prices = columns(&printed, "transactions");
        prices.retain(|column| column.starts_with("amount=") || column.starts_with("unit_price="));
        (prices, printed)
    };
    let with_totals = [
        "10;1,50;15,00",
        "1;1.234,50;1.234,50",
        "1.000;1,50;1.500,00",
        "2;9,99;19,98",
        "5;1,50;7,50",
        "3;-;0,00",
        "1;29,00 €;29,00 €",
    ];
    let (prices, printed) = found(";Gesamtpreis", &with_totals);
    assert_eq!(prices, ["unit_price=Einzelpreis"], "{printed}");
    assert!(
        printed.contains("checked: quantity × `Einzelpreis` is `Gesamtpreis` in 4 of 4 lines"),
        "{printed}"
    );
    assert!(
        printed.contains("lines in which `Einzelpreis` is not a number would be bad lines: 1"),
        "{printed}"
    );
    // A discount on a line of one item is in its total alone.
    let mut discounted = with_totals.to_vec();
    discounted.push("1;1.234,50;1.111,05");
    let (prices, printed) = found(";Gesamtpreis", &discounted);
    assert_eq!(prices, ["amount=Gesamtpreis"], "{printed}");
    let (prices, printed) = found("", &["2;EUR 1.234,50", "1;EUR 9,90", "3;12,00 EUR"]);
    assert_eq!(prices, ["unit_price=Einzelpreis"], "{printed}");
    let (prices, printed) = found("", &["2;CHF 1'234.50", "1;CHF 9.90", "3;CHF 12'000.00"]);
    assert_eq!(prices, ["unit_price=Einzelpreis"], "{printed}");
    assert!(printed.contains("thousands = \"'\""), "{printed}");
}

#[tokio::test]
async fn unknown_quantity_is_a_doubt_and_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.csv");
    let found = |name: &str, first: &str, second: &str| {
        let lines = format!("1,1,a,{first},2.50,2024-01-15\n2,2,b,{second},3.50,2024-01-16\n");
        std::fs::write(&path, format!("customer,order,sku,{name},unit price,date\n{lines}")).unwrap();
        let printed = inspect(&[&path]);
        assert!(!printed.contains("defaults"), "{printed}");
        let doubt = format!("each line counts as one item; if it is in `{name}`, name that column");
        assert!(printed.contains(&doubt), "{printed}");
        Shop::new(&format!("{printed}\n{NO_MODELS}"))
    };
    let built = found("Ordered", "2", "-1").try_build(None).await.unwrap();
    let kinds: Vec<&str> = built.manifest.warnings.iter().map(|warning| warning.kind.as_str()).collect();
    assert!(kinds.contains(&"no_quantity"), "{kinds:?}");
    let Err(refused) = found("Qty", "2 pcs", "1 pcs").try_build(None).await else {
        panic!("a quantity that is not mapped counts as one item");
    };
    assert!(refused.contains("no column `quantity`") && refused.contains("Qty"), "{refused}");
}

#[test]
fn folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = larder::pipeline::inspect::inspect(&[folder.path().to_owned()]) else {
        panic!("a folder is no file");
    };
    assert!(error.to_string().contains("is a folder; name its files"), "{error}");
}

#[test]
fn capital_letters_in_mail_addresses_as_ids_are_a_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.csv");
    let found = |first: &str, second: &str| {
        let lines = format!("{first},1,a,1,2.50,2024-01-15\n{second},2,b,2,3.50,2024-01-16\n");
        std::fs::write(&path, format!("email,order,sku,quantity,unit price,date\n{lines}")).unwrap();
        inspect(&[&path])
    };
    let doubt = "ids are compared exactly";
    assert!(found("Ann@example.org", "ann@example.org").contains(doubt));
    assert!(!found("ann@example.org", "bob@example.org").contains(doubt));
}

#[test]
fn copies_of_the_header_and_empty_records_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pos.csv");
    let header = "customer_id,order_id,product_id,quantity,unit_price,ordered_at";
    let lines = "1,10,P1,2,5.00,2024-01-15\n2,11,P1,1,5.00,2024-01-16\n, ,,,,";
    std::fs::write(&path, format!("{header}\n{lines}\n{header}\n1,12,P2,3,7.25,2024-01-17\n")).unwrap();
    let printed = inspect(&[&path]);
    let expected = [
        "customer_id=customer_id",
        "order_id=order_id",
        "ordered_at=ordered_at",
        "product_id=product_id",
        "quantity=quantity",
        "unit_price=unit_price",
    ];
    assert_eq!(columns(&printed, "transactions"), expected, "{printed}");
    assert!(printed.contains("copies of the header within the file would be bad lines: 1"), "{printed}");
}

/// Returns the columns of `table` in the configuration `printed`, as `customer_id=KUNNR`.
fn columns(printed: &str, table: &str) -> Vec<String> {
    let config: toml::Table = printed.parse().unwrap();
    let columns = config["raw"][table]["columns"].as_table().unwrap();
    let mut columns: Vec<String> =
        columns.iter().map(|(name, source)| format!("{name}={}", source.as_str().unwrap())).collect();
    columns.sort();
    columns
}

/// A file: its name, its encoding, its text, its table, and the expected columns.
type MappedFile<'a> = (&'a str, &'static encoding_rs::Encoding, &'a str, &'a str, &'a [&'a str]);

/// Asserts that the columns of each of the files are mapped as expected.
fn assert_mapped(files: &[MappedFile<'_>]) {
    let folder = tempfile::tempdir().unwrap();
    for (name, encoding, text, table, expected) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, encoding.encode(text).0).unwrap();
        let printed = inspect(&[&path]);
        assert_eq!(columns(&printed, table), *expected, "{printed}");
        let config: toml::Table = printed.parse().unwrap();
        let found = config["raw"][*table].get("encoding").and_then(toml::Value::as_str);
        let is_utf8 = *encoding == encoding_rs::UTF_8;
        let expected = if is_utf8 { None } else { Some(encoding.name().to_lowercase()) };
        assert_eq!(found.map(str::to_owned), expected, "{printed}");
    }
}

#[test]
fn columns_of_other_languages_are_mapped() {
    assert_mapped(&[
        (
            "taobao.csv",
            encoding_rs::GB18030,
            "订单编号,买家会员名,商品编号,商品名称,数量,实付金额,下单时间\n\
             1,李雷,9,红色杯子,2,25.00,2024/1/5 10:00\n2,韩梅梅,9,红色杯子,1,12.50,2024/1/16 11:00\n",
            "transactions",
            &[
                "amount=实付金额",
                "customer_id=买家会员名",
                "order_id=订单编号",
                "ordered_at=下单时间",
                "product_id=商品编号",
                "product_name=商品名称",
                "quantity=数量",
            ],
        ),
        (
            "commandes.csv",
            encoding_rs::WINDOWS_1252,
            "Numéro de commande;Date de commande;Numéro client;Référence produit;Quantité;Prix unitaire\n\
             F1;13/02/2024;C1;R1;2;1 250,50 €\nF2;14/02/2024;C2;R2;1;5,50 €\n",
            "transactions",
            &[
                "customer_id=Numéro client",
                "order_id=Numéro de commande",
                "ordered_at=Date de commande",
                "product_id=Référence produit",
                "quantity=Quantité",
                "unit_price=Prix unitaire",
            ],
        ),
        (
            "ventes.csv",
            encoding_rs::UTF_8,
            "N° client;N° commande;Référence;Désignation;Quantité;Prix unitaire HT;Date commande\n\
             1;F1;R1;Thé vert;2;9,90 €;13/02/2024\n2;F2;R2;Café moulu;1;5,50 €;14/02/2024\n",
            "transactions",
            &[
                "customer_id=N° client",
                "order_id=N° commande",
                "ordered_at=Date commande",
                "product_id=Référence",
                "product_name=Désignation",
                "quantity=Quantité",
                "unit_price=Prix unitaire HT",
            ],
        ),
        (
            "uriage.csv",
            encoding_rs::SHIFT_JIS,
            "注文番号,注文日時,会員番号,商品コード,商品名,数量,単価\n\
             1,2024年1月5日 12:00,7,S1,あかいカップ,1,1200\n2,2024年1月6日 12:30,8,S2,おはし,2,80\n",
            "transactions",
            &[
                "customer_id=会員番号",
                "order_id=注文番号",
                "ordered_at=注文日時",
                "product_id=商品コード",
                "product_name=商品名",
                "quantity=数量",
                "unit_price=単価",
            ],
        ),
    ]);
}

#[test]
fn columns_of_other_systems_are_mapped() {
    assert_mapped(&[
        (
            "sap.txt",
            encoding_rs::UTF_8,
            "VBELN\tKUNNR\tMATNR\tARKTX\tFKIMG\tNETWR\tWAERK\tFKDAT\n\
             0090\t0001\tM-1\tTeil\t2.000\t10.50\tEUR\t20240105\n\
             0091\t0002\tM-2\tTeil\t1.000\t7.25\tEUR\t20240116\n",
            "transactions",
            &[
                "amount=NETWR",
                "currency=WAERK",
                "customer_id=KUNNR",
                "order_id=VBELN",
                "ordered_at=FKDAT",
                "product_id=MATNR",
                "product_name=ARKTX",
                "quantity=FKIMG",
            ],
        ),
        (
            "square.csv",
            encoding_rs::UTF_8,
            "Date,Time,Category,Item,Qty,SKU,Gross Sales,Net Sales,Transaction ID,Customer ID\n\
             2024-01-05,10:00:00,Coffee,Latte,2.0,,\"$1,350.00\",\"$1,300.00\",T1,C1\n\
             2024-01-16,11:00:00,Coffee,Latte,1.0,,$4.50,$4.50,T2,C2\n",
            "transactions",
            &[
                "amount=Net Sales",
                "category=Category",
                "customer_id=Customer ID",
                "order_id=Transaction ID",
                "ordered_at=Date",
                "product_id=Item",
                "quantity=Qty",
            ],
        ),
        (
            "charges.json",
            encoding_rs::UTF_8,
            "{\"object\":\"list\",\"data\":[{\"id\":\"ch_1\",\"object\":\"charge\",\"amount\":1999,\
             \"amount_refunded\":0,\
             \"currency\":\"eur\",\"created\":1704067200,\"customer\":\"cus_1\"}]}",
            "transactions",
            &[
                "amount=data[].amount",
                "currency=data[].currency",
                "customer_id=data[].customer",
                "order_id=data[].id",
                "ordered_at=data[].created",
            ],
        ),
        (
            "events.jsonl",
            encoding_rs::UTF_8,
            "{\"user_id\":1,\"event\":\"view\",\"timestamp\":1704067200000,\"product_id\":\"p1\"}\n\
             {\"user_id\":2,\"event\":\"cart\",\"timestamp\":1704067201000,\"product_id\":\"p2\"}\n",
            "interactions",
            &["at=timestamp", "customer_id=user_id", "event=event", "product_id=product_id"],
        ),
    ]);
}

#[test]
fn day_and_month_are_told_by_other_columns_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, lines: &str| {
        let path = folder.path().join(name);
        let header = "customer,order,sku,qty,unit price,order date,ship date\n";
        std::fs::write(&path, format!("{header}{lines}")).unwrap();
        path
    };
    let unclear = path("a.csv", "1,1,a,1,2.5,1/2/2024,\n2,2,b,2,3.5,2/3/2024,\n");
    let by_column = path("b.csv", "1,3,a,1,2.5,3/4/2024,3/14/2024\n");
    let by_value = path("c.csv", "1,3,a,1,2.5,13/4/2024,\n");
    let format = |files: &[&Path]| {
        let printed = inspect(files);
        let config: toml::Table = printed.parse().unwrap();
        let format = config["raw"]["transactions"]["time_format"].as_str().unwrap().to_owned();
        (format, printed.contains("day or month first?"))
    };
    assert!(format(&[&unclear]).1);
    assert_eq!(format(&[&by_column]), ("%m/%d/%Y".to_owned(), false));
    assert_eq!(format(&[&unclear, &by_column]), ("%m/%d/%Y".to_owned(), false));
    assert_eq!(format(&[&unclear, &by_value]), ("%d/%m/%Y".to_owned(), false));
}

#[test]
fn init_writes_a_configuration_that_builds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(exports().join("online-retail.csv"), folder.path().join("retail.csv")).unwrap();
    let written = ok(&larder(folder.path(), &["init", "retail.csv"]));
    assert!(written.contains("wrote larder.toml") && written.contains("larder build"), "{written}");
    let built = ok(&larder(folder.path(), &["build"]));
    assert!(built.contains("published"), "{built}");
    let refused = larder(folder.path(), &["init", "retail.csv"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--force"));
    ok(&larder(folder.path(), &["init", "--force", "retail.csv"]));
    // Without files, the configuration is a start with comments; it replaces even a broken one.
    std::fs::write(folder.path().join("larder.toml"), "broken").unwrap();
    ok(&larder(folder.path(), &["init", "--force"]));
    ok(&larder(folder.path(), &["snapshots"]));
    let other = larder(folder.path(), &["init", "--force", "retail.xyz"]);
    assert!(String::from_utf8(other.stderr).unwrap().contains("cannot tell its format"));
}
