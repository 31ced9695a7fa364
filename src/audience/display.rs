//! Formats expressions as text in a canonical form.

use std::fmt;

use super::{
    events::{EventKey, Times},
    expression::{EventTerm, Expression, Operand, TextMatch},
    literal::Literal,
};
use crate::feature::is_name;

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contains => "contains",
            Self::StartsWith => "starts with",
            Self::EndsWith => "ends with",
        })
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => joined(f, parts, " and "),
            Self::Any(parts) => joined(f, parts, " or "),
            Self::Not(part) => {
                f.write_str("not ")?;
                bracketed(f, part)
            }
            Self::Segment(name, _) if is_name(name) => write!(f, "segment:{name}"),
            Self::Segment(name, _) => write!(f, "segment:{}", Literal::Text(name.clone())),
            Self::Compare(feature, operator, value) => write!(f, "{feature} {operator} {}", value.literal),
            Self::In(feature, values) => {
                write!(f, "{feature} in (")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{}", if at > 0 { ", " } else { "" }, value.literal)?;
                }
                f.write_str(")")
            }
            Self::Match(feature, part, text) => write!(f, "{feature} {part} {}", text.literal),
            Self::Has(feature, element) => write!(f, "{feature} has {}", element.literal),
            Self::IsNull(feature) => write!(f, "{feature} is null"),
            Self::Event(term) => write!(f, "{term}"),
        }
    }
}

impl fmt::Display for EventTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| Literal::Text(text.to_owned()).to_string();
        let (function, subject) = match &self.key {
            EventKey::Order => ("bought", None),
            EventKey::Product(id) => ("bought", Some(format!("product:{}", text(id)))),
            EventKey::Category(name) => ("bought", Some(format!("category:{}", text(name)))),
            EventKey::Interaction(event) => ("did", Some(format!("event:{}", text(event)))),
        };
        let time = |name, time: &Option<Operand>| Some(format!("{name}:{}", time.as_ref()?.literal));
        let times = (self.times != Times::ANY)
            .then(|| format!("times {} {}", self.times.operator, self.times.number));
        let parts = [subject, time("since", &self.since), time("before", &self.before), times];
        write!(f, "{function}({})", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Expression], word: &str) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        f.write_str(if at > 0 { word } else { "" })?;
        bracketed(f, part)?;
    }
    Ok(())
}

fn bracketed(f: &mut fmt::Formatter<'_>, part: &Expression) -> fmt::Result {
    match part {
        Expression::All(_) | Expression::Any(_) => write!(f, "({part})"),
        _ => write!(f, "{part}"),
    }
}
