//! Lines of `transactions`: their checks, quantity and money, and their effect on spending.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    check::{LineError, LineFields, found},
    currency::currency_name,
    spec::TableSpec,
    table::transaction_column::{AMOUNT, CURRENCY, ORDER, ORDERED_AT, PRODUCT, QUANTITY, UNIT_PRICE},
    value::{NotNumber, trimmed},
};

/// A valid line of `transactions`.
#[derive(Debug)]
pub(crate) struct TransactionLine<'a> {
    pub(crate) customer_id: Option<Cow<'a, str>>,
    pub(crate) order_id: Cow<'a, str>,
    pub(crate) product_id: Cow<'a, str>,
    pub(crate) value: LineValue,
    /// Time in microseconds since 1970.
    pub(crate) ordered_at: i64,
    /// Currency of the line, in capital letters; empty if the line tells none.
    pub(crate) currency: Cow<'a, str>,
}

/// Quantity and money of a line of `transactions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineValue {
    /// Number of items, or ten-thousandths of an item if quantities are decimal.
    pub(crate) quantity: i64,
    /// Price of one item, or total of the line, in ten-thousandths.
    pub(crate) money: i64,
    /// Whether `money` is the total of the line.
    pub(crate) is_total: bool,
}

/// Effect of a line of `transactions` on its customer's spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Purchase,
    /// Returned goods.
    Return,
    /// Refund or discount, booked as a negative price.
    Reduction,
    Neither,
}

impl Effect {
    /// Returns the effect of a line. `free` is whether a line of price 0 is a purchase.
    pub(crate) fn of(value: LineValue, free: bool) -> Self {
        match (value.quantity.cmp(&0), value.money.cmp(&0)) {
            (Ordering::Greater, Ordering::Greater) => Self::Purchase,
            (Ordering::Greater, Ordering::Equal) if free => Self::Purchase,
            (Ordering::Greater, Ordering::Less) => Self::Reduction,
            (Ordering::Less, Ordering::Greater | Ordering::Less) => Self::Return,
            _ => Self::Neither,
        }
    }

    /// Returns the amount by which a line changes its customer's spending. `magnitude` is the line's.
    pub(crate) fn amount(self, magnitude: i128) -> i128 {
        match self {
            Self::Purchase => magnitude,
            Self::Return | Self::Reduction => -magnitude,
            Self::Neither => 0,
        }
    }

    /// All effects, with their fates in the line counts.
    pub(crate) const FATES: [(Self, &'static str); 4] = [
        (Self::Purchase, "purchase"),
        (Self::Return, "return"),
        (Self::Reduction, "reduction"),
        (Self::Neither, "neither"),
    ];
}

/// Unit of decimal quantities: ten-thousandths.
pub(crate) const QUANTITY_UNIT: i64 = 10_000;

/// Returns the column with the money of a line.
fn money_column(fields: LineFields<'_>) -> usize {
    if fields.kind.is_total { AMOUNT } else { UNIT_PRICE }
}

impl TableSpec {
    /// Checks the fields of a line of `transactions`.
    pub(crate) fn check_transaction<'a>(
        &self,
        fields: LineFields<'a>,
    ) -> Result<TransactionLine<'a>, Box<LineError>> {
        let quantity = self.quantity(fields);
        let money = self.money(fields);
        let (customer_id, order_id) = (self.customer_id(fields)?, self.required_id(fields, ORDER)?);
        let product_id = self.required_id(fields, PRODUCT)?;
        let quantity = quantity.map_err(|why| Box::new(self.number_error(fields, QUANTITY, why)))?;
        let (money, sign) =
            money.map_err(|why| Box::new(self.number_error(fields, money_column(fields), why)))?;
        let written = trimmed(fields.texts[CURRENCY]);
        let currency = currency_name(if written.is_empty() { sign } else { written });
        let value = LineValue { quantity, money, is_total: fields.kind.is_total };
        let value = if self.currency.converts() { self.converted(value, &currency)? } else { value };
        Ok(TransactionLine {
            customer_id,
            order_id,
            product_id,
            value,
            ordered_at: self.event(fields, ORDERED_AT)?,
            currency,
        })
    }

    /// Returns the quantity of a line, in ten-thousandths if quantities are decimal.
    #[inline]
    fn quantity(&self, fields: LineFields<'_>) -> Result<i64, NotNumber> {
        let (numbers, text) = (self.numbers(fields, QUANTITY), fields.texts[QUANTITY]);
        if !self.decimal_quantities {
            return numbers.quantity(text, self.max_quantity);
        }
        let (quantity, currency) = numbers.money(text)?;
        if !currency.is_empty() {
            return Err(NotNumber::Form);
        }
        if quantity.unsigned_abs() <= self.max_quantity.unsigned_abs() * QUANTITY_UNIT.unsigned_abs() {
            Ok(quantity)
        } else {
            Err(NotNumber::TooGreat)
        }
    }

    /// Returns the price or the total of a line, and the currency sign of the field.
    #[inline]
    fn money<'a>(&self, fields: LineFields<'a>) -> Result<(i64, &'a str), NotNumber> {
        let at = money_column(fields);
        let (money, sign) = self.numbers(fields, at).money(fields.texts[at])?;
        if self.scale == 0 {
            return Ok((money, sign));
        }
        let divisor = 10_i64.pow(self.scale);
        if money % divisor == 0 { Ok((money / divisor, sign)) } else { Err(NotNumber::Form) }
    }

    /// Converts `value` from the currency `name` to the base.
    fn converted(&self, value: LineValue, name: &str) -> Result<LineValue, Box<LineError>> {
        match self.currency.convert(value.money, name) {
            Some(money) => Ok(LineValue { money, ..value }),
            None => Err(Box::new(LineError {
                cause: "a currency without a rate in [raw.currency]".to_owned(),
                found: found(name),
            })),
        }
    }

    /// Returns the absolute amount of a line, in ten-thousandths. The product of a decimal quantity and a
    /// price is rounded half up.
    #[inline]
    pub(crate) fn magnitude(&self, value: LineValue) -> i128 {
        let money = i128::from(value.money).abs();
        if value.is_total {
            return money;
        }
        let product = i128::from(value.quantity).abs() * money;
        if self.decimal_quantities {
            (product + i128::from(QUANTITY_UNIT / 2)) / i128::from(QUANTITY_UNIT)
        } else {
            product
        }
    }

    /// Returns the number of units of an item in which quantities are kept.
    pub(crate) fn quantity_unit(&self) -> u64 {
        if self.decimal_quantities { QUANTITY_UNIT.unsigned_abs() } else { 1 }
    }

    /// Returns the price of one item, rounded half up; `None` for the total of no items.
    #[inline]
    pub(crate) fn unit_price(&self, value: LineValue) -> Option<i128> {
        if !value.is_total {
            return Some(value.money.into());
        }
        let items = i128::from(value.quantity).abs();
        let total = i128::from(value.money) * i128::from(self.quantity_unit());
        Some((total.abs() + items / 2).checked_div(items)? * total.signum())
    }

    /// Returns the effect of a line, and the amount by which the line changes its customer's spending.
    #[inline]
    pub(crate) fn effect(&self, value: LineValue) -> (Effect, i128) {
        let effect = Effect::of(value, self.free_orders);
        (effect, effect.amount(self.magnitude(value)))
    }

    /// Returns how many of quantity, price and time are valid in a line of `transactions`.
    pub(crate) fn valid_typed_fields(&self, fields: LineFields<'_>) -> usize {
        let (quantity, price) = (self.quantity(fields).is_ok(), self.money(fields).is_ok());
        let time = self.times.event(fields.texts[ORDERED_AT], fields.is_typed(ORDERED_AT)).is_ok();
        [quantity, price, time].into_iter().filter(|read| *read).count()
    }
}
