//! Usual names of columns, in the languages and systems of shops.
//!
//! Names are compared without case, blanks, punctuation, accents and articles: `Numéro de commande` is
//! `numerocommande`.

use crate::feature::feature_name;

mod price_names;
mod systems;

pub(super) use price_names::{PRICE_PARTS, is_clear_price, is_total_price};
pub(super) use systems::{ShopSystem, system};

/// The use of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ColumnRole {
    Customer,
    Order,
    Product,
    ProductName,
    Category,
    Country,
    Quantity,
    UnitPrice,
    Amount,
    OrderedAt,
    Currency,
    CreatedAt,
    UpdatedAt,
    Event,
    At,
}

impl ColumnRole {
    /// Returns the name of the column in Larder.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Customer => "customer_id",
            Self::Order => "order_id",
            Self::Product => "product_id",
            Self::ProductName => "product_name",
            Self::Category => "category",
            Self::Country => "country",
            Self::Quantity => "quantity",
            Self::UnitPrice => "unit_price",
            Self::Amount => "amount",
            Self::OrderedAt => "ordered_at",
            Self::Currency => "currency",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Event => "event",
            Self::At => "at",
        }
    }

    /// Returns the usual plain names of columns of this use, the surest first.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let names = match self {
            Self::Customer => CUSTOMER,
            Self::Order => ORDER,
            Self::Product => PRODUCT,
            Self::ProductName => PRODUCT_NAME,
            Self::Category => CATEGORY,
            Self::Country => COUNTRY,
            Self::Quantity => QUANTITY,
            Self::UnitPrice => UNIT_PRICE,
            Self::Amount => AMOUNT,
            Self::OrderedAt => ORDERED_AT,
            Self::Currency => CURRENCY,
            Self::CreatedAt => CREATED_AT,
            Self::UpdatedAt => UPDATED_AT,
            Self::Event => EVENT,
            Self::At => AT,
        };
        names.split_ascii_whitespace()
    }
}

const CUSTOMER: &str = "customerid custid customerno customernumber customernr customercode \
    customerkey clientid clientno userid memberid buyerid accountid shopperid contactid customer \
    client nclient ncliente kundennummer kundennr kundenid kundeid debitor debitornr kunde numeroclient \
    numclient idclient codeclient clienteid idcliente codigocliente codcliente numerocliente cliente 客户编号 \
    客户id 客户号 会员编号 会员id 会员号 用户id 用户编号 买家id 买家会员名 买家 客户 顧客id 顧客番号 会員id 会員番号 お客様番号 得意先コード 顧客コード kunnr kunag \
    soldtoparty soldto klaviyoid profileid personid visitorid buyeremail customeremail emailbilling \
    billingemail email emailaddress mail correo correoelectronico courriel 邮箱 メールアドレス メール \
    buyerusername username customername";
const ORDER: &str = "orderid invoiceno invoiceid invoicenumber invoice ordernumber orderno ordernr \
    ordername order orderreference orderref amazonorderid salesorderid salesordernumber salesorder \
    saleid incrementid transactionid transactionno transactionnumber transaction receiptid receiptno \
    receiptnumber receipt ticketid billno bestellnummer bestellnr bestellid bestellung auftragsnummer \
    auftragsnr auftrag belegnummer belegnr beleg rechnungsnummer rechnungsnr numerocommande ncommande \
    numcommande idcommande commandeid commande numerofacture numfacture facture pedidoid idpedido \
    numeropedido numpedido npedido codigopedido pedido numerofactura factura notafiscal 订单编号 订单号 订单id \
    交易号 注文番号 注文id 受注番号 受注id 伝票番号 vbeln paymentid chargeid";
const PRODUCT: &str = "productid sku stockcode itemid itemno itemnumber itemcode productcode productno \
    productnumber productkey productsku itemsku lineitemsku variantsku variantid articleid articleno \
    articlenumber material materialnumber matnr asin ean upc gtin barcode artikelnummer artikelnr \
    artikelid artnr idproduit codeproduit referenceproduit refproduit reference idproducto \
    codigoproducto codproducto idproduto codigoproduto codproduto 商品编号 商品id 商品编码 货号 产品编号 产品id 商家编码 \
    商品コード 商品番号 品番 product item article artikel produit producto produto 商品";
const PRODUCT_NAME: &str = "productname productdescription description itemname itemdescription \
    lineitemname producttitle itemtitle title artikelname artikelbezeichnung bezeichnung produktname \
    artikel nomproduit designation libelle nombreproducto descripcion nomeproduto descricao 商品名称 产品名称 \
    宝贝标题 商品名 品名 arktx maktx product item article produit producto produto";
const CATEGORY: &str = "category productcategory itemcategory categoryname producttype department \
    kategorie warengruppe produktgruppe categorie rubrique categoria 类别 分类 品类 商品分类 商品类别 カテゴリ カテゴリー \
    商品カテゴリ matkl subcategory";
const COUNTRY: &str = "country shippingcountry shipcountry deliverycountry billingcountry \
    countrybilling countryshipping customercountry countrycode shippingcountrycode billingcountrycode \
    countryregion land lieferland pays pais 国家 国 国名 land1";
const QUANTITY: &str = "quantity qty lineitemquantity quantityordered orderedquantity orderquantity \
    quantitypurchased qtyordered itemquantity productquantity quantitysold units unitssold pieces pcs \
    itemcount menge anzahl stuckzahl stueckzahl bestellmenge quantite qte cantidad cant unidades \
    quantidade qtd qtde 数量 购买数量 商品数量 個数 注文数 kwmeng fkimg";
const UNIT_PRICE: &str = "unitprice priceperunit priceeach itemunitprice lineitemprice itemcost \
    sellingprice saleprice productprice price einzelpreis stuckpreis stueckpreis verkaufspreis preis \
    prixunitaire puht puttc prix preciounitario precio valorunitario precounitario preco 单价 商品单价 价格 単価 \
    販売価格 価格 netpr itemprice baseprice";
const AMOUNT: &str = "lineamount linetotal itemtotal orderlinetotal extendedprice extendedamount \
    linesubtotal rowtotal lineprice netsales netamount totalprice salesamount sales revenue turnover \
    amount grosssales grossamount total subtotal totalamount orderamount paymentamount \
    ordertotal zeilensumme positionsbetrag gesamtpreis umsatz betrag summe montant montantht \
    montantttc totalht totalttc importe monto ventas valortotal preciototal precototal valor 实付金额 金额 \
    总价 销售额 小计 金額 小計 合計 売上金額 売上 netwr dmbtr";
const ORDERED_AT: &str = "orderedat orderdate ordertime orderdatetime orderdateutc \
    orderpurchasetimestamp purchasedate purchasedat invoicedate transactiondate transactiontime \
    transactiondatetime saledate salesdate placedat dateplaced createdat createddate createddateutc \
    createdutc created datecreated processedat paidat paymentdate date datetime timestamp time \
    billingdate bestelldatum auftragsdatum rechnungsdatum belegdatum kaufdatum datum datecommande \
    datefacture dateachat fechapedido fechafactura fechacompra fecha datapedido datacompra data 订单时间 \
    下单时间 订单创建时间 订单付款时间 付款时间 订单日期 购买时间 交易时间 日期 时间 创建时间 注文日時 注文日 購入日 受注日 売上日 日付 日時 erdat audat fkdat \
    budat";
const CURRENCY: &str = "currency currencycode ordercurrency ordercurrencycode presentmentcurrency \
    wahrung waehrung devise moneda moeda 币种 货币 通貨 waerk waers";
const CREATED_AT: &str = "createdat signupdate signedupat signupat registrationdate registeredat \
    registered dateregistered joindate joinedat membersince customersince created createddate \
    createddateutc createdutc datecreated profilecreatedon firstseen anlagedatum registrierungsdatum \
    dateinscription datecreation fecharegistro fechaalta datacadastro 注册时间 注册日期 登録日 登録日時 erdat";
const UPDATED_AT: &str = "updatedat lastupdated lastmodified modifiedat updated dateupdated \
    aenderungsdatum";
const EVENT: &str = "event eventname eventtype action actiontype activity activitytype metric \
    metricname interaction interactiontype behavior behaviour ereignis aktion evenement evento 事件 行为 \
    行为类型 イベント";
const AT: &str = "at eventtime eventtimestamp eventdate eventat occurredat timestamp time datetime \
    createdat ts date zeitpunkt zeit datum horodatage fecha data 时间 行为时间 日時";

/// Articles and prepositions that names have with or without.
const SMALL_WORDS: [&str; 11] = ["de", "of", "the", "do", "da", "du", "del", "la", "le", "der", "des"];

/// Returns `name` without case, blanks, punctuation, accents and articles. A path to the elements of a list
/// counts from the element on.
pub(super) fn plain_name(name: &str) -> String {
    let inner = name.rsplit("[].").next().unwrap_or(name);
    let name = feature_name(inner);
    let words = || name.split('_').filter(|word| !word.is_empty());
    let kept = words().filter(|word| !SMALL_WORDS.contains(word));
    let plain: String = kept.flat_map(str::chars).map(without_accent).collect();
    if plain.is_empty() { words().collect() } else { plain }
}

fn without_accent(letter: char) -> char {
    match letter {
        'á' | 'à' | 'â' | 'ã' | 'ä' | 'å' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'õ' | 'ö' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ç' => 'c',
        'ñ' => 'n',
        other => other,
    }
}

/// Returns how many of the uses that only order lines have the `keys` are usual names of.
pub(super) fn fields_of_lines(keys: &[&str]) -> usize {
    let plain: Vec<String> = keys.iter().map(|key| plain_name(key)).collect();
    let has = |role: ColumnRole| role.names().any(|name| plain.iter().any(|key| key == name));
    let price = has(ColumnRole::UnitPrice) || has(ColumnRole::Amount);
    [has(ColumnRole::Product), has(ColumnRole::Quantity), price].into_iter().filter(|is| *is).count()
}

/// Returns whether `name` may be a value: a mail address, or a number.
pub(super) fn looks_like_value(name: &str) -> bool {
    let digits = name.chars().filter(char::is_ascii_digit).count();
    name.contains('@') || digits > 4 || (digits > 0 && digits * 2 > name.chars().count())
}

/// Returns whether `name` is a usual name of a column of any use.
pub(super) fn is_usual(name: &str) -> bool {
    const ROLES: [ColumnRole; 15] = [
        ColumnRole::Customer,
        ColumnRole::Order,
        ColumnRole::Product,
        ColumnRole::ProductName,
        ColumnRole::Category,
        ColumnRole::Country,
        ColumnRole::Quantity,
        ColumnRole::UnitPrice,
        ColumnRole::Amount,
        ColumnRole::OrderedAt,
        ColumnRole::Currency,
        ColumnRole::CreatedAt,
        ColumnRole::UpdatedAt,
        ColumnRole::Event,
        ColumnRole::At,
    ];
    let plain = plain_name(name);
    plain == "id" || ROLES.into_iter().any(|role| role.names().any(|known| known == plain))
}

/// Returns whether a column of the plain name `name` may hold times.
pub(super) fn is_time_name(name: &str) -> bool {
    const PARTS: [&str; 16] = [
        "date",
        "time",
        "datum",
        "zeit",
        "fecha",
        "created",
        "updated",
        "birth",
        "geburt",
        "日",
        "时间",
        "erdat",
        "fkdat",
        "audat",
        "budat",
        "timestamp",
    ];
    let ends = name.ends_with("at") && (name.len() == 2 || name.ends_with("edat") || name.ends_with("dat"));
    ends || name == "data" || name == "ts" || PARTS.iter().any(|part| name.contains(part))
}

/// Returns whether the numbers of the column `name` are identifiers and no figures.
pub(super) fn is_identifier(name: &str) -> bool {
    const WORDS: [&str; 18] = [
        "id", "no", "nr", "number", "code", "sku", "ean", "upc", "zip", "postcode", "postal", "plz", "phone",
        "tel", "mobile", "fax", "numero", "invoice",
    ];
    let spaced = feature_name(name);
    let plain = plain_name(name);
    let is_id = |role: ColumnRole| role.names().any(|known| known == plain);
    spaced.split('_').any(|word| WORDS.contains(&word))
        || plain.ends_with("id")
        || [ColumnRole::Customer, ColumnRole::Order].into_iter().any(is_id)
}

/// Returns why the column of the name `name` is likely to be personal, or `None` if it is not.
pub(super) fn personal_reason(name: &str) -> Option<&'static str> {
    const KINDS: [(&str, &[&str]); 6] = [
        ("a mail address", &["email", "mail", "courriel", "correo", "邮箱", "メール"]),
        (
            "a phone number",
            &[
                "phone",
                "telefon",
                "telephone",
                "telefono",
                "mobile",
                "handy",
                "fax",
                "telf",
                "电话",
                "手机",
                "電話",
            ],
        ),
        (
            "a part of an address",
            &[
                "address",
                "adresse",
                "anschrift",
                "street",
                "strasse",
                "straße",
                "stras",
                "zip",
                "postcode",
                "postal",
                "postleitzahl",
                "plz",
                "pstlz",
                "direccion",
                "endereco",
                "地址",
                "邮编",
                "住所",
                "郵便番号",
            ],
        ),
        (
            "a name",
            &[
                "firstname",
                "lastname",
                "surname",
                "fullname",
                "givenname",
                "familyname",
                "middlename",
                "vorname",
                "nachname",
                "prenom",
                "apellido",
                "sobrenome",
                "customername",
                "contactname",
                "billingname",
                "shippingname",
                "buyername",
                "recipientname",
                "username",
                "nickname",
                "company",
                "姓名",
                "名前",
                "氏名",
                "昵称",
                "name1",
                "name2",
            ],
        ),
        (
            "a birthday",
            &[
                "birth",
                "dob",
                "geburt",
                "naissance",
                "nacimiento",
                "nascimento",
                "生日",
                "出生",
                "生年月日",
                "誕生日",
            ],
        ),
        (
            "an identifier of a person",
            &["ssn", "passport", "taxid", "vatnumber", "iban", "ipaddress", "身份证"],
        ),
    ];
    const NAMES: [&str; 8] = ["name", "nom", "nombre", "nome", "tel", "ip", "vat", "kontakt"];
    let plain = plain_name(name);
    let found = KINDS.iter().find(|(_, parts)| parts.iter().any(|part| plain.contains(part)));
    let short = NAMES.contains(&plain.as_str()).then_some("a name or a contact");
    found.map(|(reason, _)| *reason).or(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_accents_and_articles() {
        for (name, plain) in [
            ("CustomerID", "customerid"),
            ("Customer ID", "customerid"),
            ("Numéro de commande", "numerocommande"),
            ("amazon-order-id", "amazonorderid"),
            ("line_items[].sku", "sku"),
            ("客户编号", "客户编号"),
            ("N° client", "nclient"),
            ("de", "de"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
        assert!(is_identifier("Order ID") && !is_identifier("Unit Price"));
        assert!(is_time_name("orderdate") && is_time_name("createdat") && !is_time_name("quantity"));
        assert!(!is_time_name("category") && looks_like_value("a@b.c") && !looks_like_value("Address 2"));
        assert_eq!(personal_reason("Billing Name"), Some("a name"));
        assert_eq!(personal_reason("Segment"), None);
    }
}
