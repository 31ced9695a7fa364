//! Exports of known systems: the columns by which an export is recognized, and the use of its columns where
//! their names alone would mislead.

use super::ColumnRole::{self, Amount, Customer, Event, Order, OrderedAt, Product, Quantity, UnitPrice};

/// An export of a known system.
#[derive(Debug)]
pub(in crate::pipeline::inspect) struct ShopSystem {
    pub(in crate::pipeline::inspect) name: &'static str,
    /// Plain names of columns that the export has.
    signature: &'static [&'static str],
    /// Plain names of the columns of a use, the surest first.
    roles: &'static [(ColumnRole, &'static [&'static str])],
    /// Doubts that hold for every such export.
    pub(in crate::pipeline::inspect) doubts: &'static [&'static str],
}

impl ShopSystem {
    /// Returns the plain names of columns of the use `role`.
    pub(in crate::pipeline::inspect) fn names(&self, role: ColumnRole) -> &'static [&'static str] {
        self.roles.iter().find(|(known, _)| *known == role).map_or(&[], |(_, names)| names)
    }
}

const SYSTEMS: &[ShopSystem] = &[
    ShopSystem {
        name: "Shopify, orders",
        signature: &["lineitemname", "lineitemprice", "lineitemquantity", "name"],
        roles: &[
            (Customer, &["customerid", "email"]),
            (Order, &["name"]),
            (Product, &["lineitemsku", "lineitemname"]),
            (UnitPrice, &["lineitemprice"]),
            (OrderedAt, &["createdat", "paidat"]),
        ],
        doubts: &[
            "discounts and refunds of whole orders are not in the prices of lines, and are not subtracted",
        ],
    },
    ShopSystem {
        name: "Shopify, customers",
        signature: &["firstname", "lastname", "totalspent", "totalorders"],
        roles: &[(Customer, &["email"])],
        doubts: &["the mail address is the customer id, as in Shopify's export of orders"],
    },
    ShopSystem {
        name: "Amazon, orders",
        signature: &["amazonorderid", "purchasedate", "itemprice"],
        roles: &[
            (Customer, &["buyeremail", "buyerid", "buyername"]),
            (Order, &["amazonorderid"]),
            (Amount, &["itemprice"]),
            (OrderedAt, &["purchasedate"]),
        ],
        doubts: &["lines of every status are read, also of cancelled orders"],
    },
    ShopSystem {
        name: "Amazon, orders",
        signature: &["orderid", "orderitemid", "purchasedate", "quantitypurchased", "itemprice"],
        roles: &[(Customer, &["buyeremail", "buyername"]), (Order, &["orderid"]), (Amount, &["itemprice"])],
        doubts: &[],
    },
    ShopSystem {
        name: "Stripe, payments",
        signature: &["id", "amount", "amountrefunded", "currency"],
        roles: &[
            (Customer, &["customerid", "customer", "customeremail", "receiptemail"]),
            (Order, &["id"]),
            (Amount, &["amount"]),
            (OrderedAt, &["createddateutc", "createdutc", "created"]),
        ],
        doubts: &[
            "refunds (`Amount Refunded`) are not subtracted",
            "payments of every status are read, also those that failed: export the successful ones only",
        ],
    },
    ShopSystem {
        name: "Square, items",
        signature: &["grosssales", "netsales", "transactionid", "qty"],
        roles: &[
            (Order, &["transactionid"]),
            (Product, &["sku", "item"]),
            (Amount, &["netsales"]),
            (OrderedAt, &["date"]),
        ],
        doubts: &["the time of day is in a column of its own and is not read"],
    },
    ShopSystem {
        name: "Magento, order lines",
        signature: &["incrementid", "sku", "qtyordered"],
        roles: &[
            (Order, &["incrementid"]),
            (Quantity, &["qtyordered"]),
            (UnitPrice, &["price", "baseprice"]),
        ],
        doubts: &[],
    },
    ShopSystem {
        name: "SAP, sales documents",
        signature: &["vbeln", "matnr", "kunnr"],
        roles: &[(Amount, &["netwr"]), (Order, &["vbeln"]), (Product, &["matnr"]), (Customer, &["kunnr"])],
        doubts: &[],
    },
    ShopSystem {
        name: "Klaviyo, events",
        signature: &["metricname", "timestamp"],
        roles: &[(Event, &["metricname"]), (Customer, &["profileid", "personid", "email"])],
        doubts: &[],
    },
];

/// Returns the system whose export has columns of the plain names `columns`.
pub(in crate::pipeline::inspect) fn system(columns: &[&str]) -> Option<&'static ShopSystem> {
    SYSTEMS.iter().find(|system| system.signature.iter().all(|name| columns.contains(name)))
}
