//! The part of the parser for conditions on events, such as `bought(product:"22423", since:-90d)`.

use super::{
    events::{EventKey, Times},
    expression::{EventTerm, Operand},
    operator::Operator,
    parse::Parser,
    tokens::{Parsed, is_word, truncated},
};

/// A function over events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    /// Orders of a product, of a category, or of anything.
    Bought,
    /// Interactions.
    Did,
}

/// Constructor of the key for the value of an argument.
type KeyOf = fn(String) -> EventKey;

/// Arguments that name what an event was about, by function.
const SUBJECTS: [(Function, &str, KeyOf); 3] = [
    (Function::Bought, "product", EventKey::Product),
    (Function::Bought, "category", EventKey::Category),
    (Function::Did, "event", EventKey::Interaction),
];

impl Function {
    /// Returns the function named `word`, ignoring case.
    fn of(word: &str) -> Option<Self> {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("bought") {
            Some(Self::Bought)
        } else if is("did") {
            Some(Self::Did)
        } else {
            None
        }
    }

    fn arguments(self) -> &'static str {
        match self {
            Self::Bought => "`product`, `category`, `since`, `before` or `times`",
            Self::Did => "`event`, `since`, `before` or `times`",
        }
    }
}

/// Arguments that were read.
#[derive(Debug, Default)]
struct Arguments {
    key: Option<EventKey>,
    since: Option<Operand>,
    before: Option<Operand>,
    times: Option<Times>,
}

impl Parser<'_> {
    /// Parses a condition on events; `None` if `word`, which is next, is no function over events.
    pub(super) fn event(&mut self, word: &str) -> Parsed<Option<EventTerm>> {
        let Some(function) = Function::of(word) else { return Ok(None) };
        let at = self.tokens.position(self.tokens.at);
        self.tokens.at += word.len();
        self.tokens.expect_symbol("(")?;
        let mut found = Arguments::default();
        if !self.tokens.take_symbol(")") {
            loop {
                self.argument(function, &mut found)?;
                if self.tokens.take_symbol(")") {
                    break;
                }
                if !self.tokens.take_symbol(",") {
                    return Err(self.tokens.expected_next("`,` or `)`"));
                }
            }
        }
        let key = match (found.key, function) {
            (Some(key), _) => key,
            (None, Function::Bought) => EventKey::Order,
            (None, Function::Did) => {
                return Err(self.tokens.error(self.tokens.at, "`did` needs an event: did(event:view)"));
            }
        };
        let times = found.times.unwrap_or(Times::ANY);
        Ok(Some(EventTerm { key, since: found.since, before: found.before, times, at }))
    }

    /// Parses one argument and adds the argument to `found`.
    fn argument(&mut self, function: Function, found: &mut Arguments) -> Parsed<()> {
        self.tokens.skip_whitespace();
        let (begun, name) = (self.tokens.at, self.tokens.prefix(is_word));
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let twice = || self.tokens.error(begun, format!("`{name}` is given twice"));
        let subject = SUBJECTS.iter().find(|(of, known, _)| *of == function && is(known));
        if let Some((.., key)) = subject {
            if found.key.is_some() {
                return Err(self.tokens.error(begun, "give one `product` or one `category`"));
            }
            self.tokens.at += name.len();
            self.assignment()?;
            found.key = Some(key(self.subject()?));
        } else if is("since") || is("before") {
            let time = if is("since") { &mut found.since } else { &mut found.before };
            if time.is_some() {
                return Err(twice());
            }
            self.tokens.at += name.len();
            self.assignment()?;
            *time = Some(self.value()?);
        } else if is("times") {
            if found.times.is_some() {
                return Err(twice());
            }
            self.tokens.at += name.len();
            found.times = Some(self.times()?);
        } else {
            return Err(self.tokens.expected(function.arguments()));
        }
        Ok(())
    }

    /// Consumes `:` or `=`.
    fn assignment(&mut self) -> Parsed<()> {
        match self.operator() {
            Some(Operator::Equal) => Ok(()),
            _ => Err(self.tokens.expected("`:`")),
        }
    }

    /// Parses a text in quotes, or a word or number that is taken as text.
    fn subject(&mut self) -> Parsed<String> {
        self.tokens.skip_whitespace();
        let text = if self.tokens.rest().starts_with(['"', '\'']) {
            self.tokens.quoted()?
        } else {
            self.tokens.bare_word().to_owned()
        };
        if text.is_empty() { Err(self.tokens.expected("a text")) } else { Ok(text) }
    }

    /// Parses the comparison after `times`.
    fn times(&mut self) -> Parsed<Times> {
        let Some(operator) = self.operator() else {
            return Err(self.tokens.expected("a comparison such as `>= 2`"));
        };
        self.tokens.skip_whitespace();
        let begun = self.tokens.at;
        let word = self.tokens.bare_word();
        let found = || format!("expected a whole number, found `{}`", truncated(word));
        let number = word.parse().map_err(|_| self.tokens.error(begun, found()))?;
        Ok(Times { operator, number })
    }
}
