//! From text to expression, by hand: one function for each storey of the grammar.
//!
//! ```text
//! any     = all { "or" all }
//! all     = not { "and" not }
//! not     = "not" not | "(" any ")" | test
//! test    = "segment" ( ( ":" | "=" | "!=" ) name | [ "not" ] "in" "(" name { "," name } ")" )
//!         | view "." feature ( ( ":" | "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!                            | [ "not" ] "in" "(" value { "," value } ")" | "is" [ "not" ] "null" )
//! value   = text in quotes | bare word | number | "true" | "false" | date | time of RFC 3339
//! ```

use super::{
    expression::{At, Expression, ExpressionError, FeatureName, Operator, Value},
    literal::{self, Decimal, Literal},
};
use crate::feature::is_name_char;

type Parsed<T> = Result<T, ExpressionError>;

/// The longest expression in bytes.
pub const MAX_BYTES: usize = 8_192;
/// How deep brackets and `not` may be nested.
pub const MAX_DEPTH: usize = 32;

/// Words that are part of the grammar.
const KEYWORDS: [&str; 6] = ["and", "or", "not", "in", "is", "null"];
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    (":", Operator::Equal),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Says what was expected, and where.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        expression(text)
    }
}

fn expression(text: &str) -> Parsed<Expression> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    if text.len() > MAX_BYTES {
        let message = format!("an expression may have {MAX_BYTES} bytes, this one has {}", text.len());
        return Err(ExpressionError { position: 0, message });
    }
    let expression = parser.any()?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.expected_next("`and`, `or` or the end"));
    }
    Ok(expression)
}

struct Parser<'a> {
    text: &'a str,
    /// The byte that is next.
    at: usize,
    depth: usize,
}

fn is_word(c: char) -> bool {
    c == '.' || is_name_char(c)
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// The characters from here on that `fits` likes.
    fn run(&self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())]
    }

    fn place(&self, byte: usize) -> At {
        At(self.text[..byte].chars().count())
    }

    fn error(&self, byte: usize, message: impl Into<String>) -> ExpressionError {
        ExpressionError { position: self.place(byte).0, message: message.into() }
    }

    /// An error that tells what should stand here, and what does.
    fn expected(&self, what: &str) -> ExpressionError {
        let word = self.run(is_word);
        let found = match self.rest().chars().next() {
            None => "the end".to_owned(),
            Some(c) if word.is_empty() => format!("`{}`", c.escape_debug()),
            Some(_) => format!("`{}`", shown(word)),
        };
        self.error(self.at, format!("expected {what}, found {found}"))
    }

    /// The same behind a value, which may have been meant to go on.
    fn expected_next(&self, what: &str) -> ExpressionError {
        let (mut error, word) = (self.expected(what), self.run(is_word));
        if !word.is_empty() && !word.contains('.') && !word.eq_ignore_ascii_case("segment") {
            error.message.push_str("; text of several words goes in quotes");
        }
        error
    }

    /// Takes `symbol` if it is next.
    fn symbol(&mut self, symbol: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len() } else { 0 };
        found
    }

    /// Takes `keyword` if it is next, in whatever case.
    fn keyword(&mut self, keyword: &str) -> bool {
        self.space();
        let found = self.run(is_word).eq_ignore_ascii_case(keyword);
        self.at += if found { keyword.len() } else { 0 };
        found
    }

    fn require(&mut self, symbol: &str) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("`{symbol}`"))) }
    }

    fn any(&mut self) -> Parsed<Expression> {
        self.list("or", Self::all, Expression::Any)
    }

    fn all(&mut self) -> Parsed<Expression> {
        self.list("and", Self::not, Expression::All)
    }

    fn list(
        &mut self,
        keyword: &str,
        part: fn(&mut Self) -> Parsed<Expression>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Parsed<Expression> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.keyword(keyword) {
            parts.push(part(self)?);
        }
        Ok(if parts.len() > 1 { join(parts) } else { parts.remove(0) })
    }

    fn not(&mut self) -> Parsed<Expression> {
        self.space();
        let begun = self.at;
        let not = self.keyword("not");
        if !not && !self.symbol("(") {
            return self.test();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(begun, format!("brackets and `not` may be nested {MAX_DEPTH} deep")));
        }
        let inner = if not {
            Expression::Not(Box::new(self.not()?))
        } else {
            let inner = self.any()?;
            if !self.symbol(")") {
                return Err(self.expected_next("`and`, `or` or `)`"));
            }
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    fn test(&mut self) -> Parsed<Expression> {
        let (begun, word) = (self.at, self.run(is_word));
        if word.is_empty() || is_keyword(word) {
            return Err(self.expected("`segment:…`, a feature such as `rfm.monetary`, `not` or `(`"));
        }
        if word.eq_ignore_ascii_case("segment") {
            self.at += word.len();
            return self.segment();
        }
        let Some(mut feature) = FeatureName::parse(word) else {
            let word = shown(word);
            let message = format!("`{word}` is no feature; write view.feature, or segment:{word}");
            return Err(self.error(begun, message));
        };
        feature.at = self.place(begun);
        self.at += word.len();
        if let Some(operator) = self.operator() {
            let value = self.value()?;
            return Ok(Expression::Compare(feature, operator, value));
        }
        if self.keyword("is") {
            let not = self.keyword("not");
            if !self.keyword("null") {
                return Err(self.expected(if not { "`null`" } else { "`null` or `not null`" }));
            }
            return Ok(negate(not, Expression::IsNull(feature)));
        }
        let not = self.membership("`:`, `=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `is`")?;
        let values = self.values(Self::value)?;
        Ok(negate(not, Expression::In(feature, values)))
    }

    fn segment(&mut self) -> Parsed<Expression> {
        let begun = self.at;
        match self.operator() {
            Some(operator @ (Operator::Equal | Operator::NotEqual)) => {
                let segment = self.name()?;
                Ok(negate(operator == Operator::NotEqual, segment))
            }
            Some(_) => {
                Err(self
                    .error(begun, "a customer is in a segment or not; write segment:name or segment != name"))
            }
            None => {
                let not = self.membership("`:`, `=`, `!=` or `in`")?;
                let mut segments = self.values(Self::name)?;
                let any = if segments.len() > 1 { Expression::Any(segments) } else { segments.remove(0) };
                Ok(negate(not, any))
            }
        }
    }

    /// The name of a segment.
    fn name(&mut self) -> Parsed<Expression> {
        self.space();
        let at = self.at;
        let name = if self.rest().starts_with(['"', '\'']) { self.quoted()? } else { self.bare().to_owned() };
        if name.is_empty() {
            return Err(self.expected("the name of a segment"));
        }
        Ok(Expression::Segment(name, self.place(at)))
    }

    fn operator(&mut self) -> Option<Operator> {
        OPERATORS.iter().find(|(symbol, _)| self.symbol(symbol)).map(|(_, operator)| *operator)
    }

    /// Takes `in` or `not in`; tells whether it is the latter.
    fn membership(&mut self, or_else: &str) -> Parsed<bool> {
        let begun = self.at;
        let not = self.keyword("not");
        if self.keyword("in") {
            return Ok(not);
        }
        self.at = begun;
        self.space();
        Err(self.expected(or_else))
    }

    /// A list in brackets.
    fn values<T>(&mut self, one: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.require("(")?;
        let mut values = vec![one(self)?];
        while self.symbol(",") {
            values.push(one(self)?);
        }
        if !self.symbol(")") {
            return Err(self.expected_next("`,` or `)`"));
        }
        Ok(values)
    }

    fn value(&mut self) -> Parsed<Value> {
        self.space();
        let begun = self.at;
        let literal = if self.rest().starts_with(['"', '\'']) {
            Literal::Text(self.quoted()?)
        } else {
            let word = self.bare();
            self.literal(begun, word)?
        };
        Ok(Value { literal, at: self.place(begun) })
    }

    /// Takes what stands without quotes.
    fn bare(&mut self) -> &'a str {
        let word = self.run(|c| {
            !c.is_whitespace() && !matches!(c, '(' | ')' | ',' | '"' | '\'' | '<' | '>' | '=' | '!')
        });
        self.at += word.len();
        word
    }

    fn literal(&self, begun: usize, word: &str) -> Parsed<Literal> {
        let Some(first) = word.chars().next() else {
            return Err(self.expected("a value: a word, text in quotes, a number, true, false, or a time"));
        };
        if matches!(first, '\u{201c}'..='\u{201e}' | '\u{2018}'..='\u{201a}' | '\u{ab}') {
            return Err(self.error(begun, "text goes in straight quotes, \" or '"));
        }
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if is("null") {
            return Err(self.error(begun, "nothing equals null; write `is null` or `is not null`"));
        }
        if is("true") || is("false") {
            return Ok(Literal::Boolean(is("true")));
        }
        if is_keyword(word) {
            return Err(self.error(begun, format!("expected a value, found `{word}`; put text in quotes")));
        }
        if let Some(number) = Decimal::parse(word) {
            return Ok(Literal::Number(number));
        }
        if let Some(time) = literal::time(word) {
            return Ok(Literal::Time(time));
        }
        if (first.is_alphabetic() || first == '_')
            && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        {
            return Ok(Literal::Text(word.to_owned()));
        }
        let what = "neither a number of at most 38 digits, a date, nor a time with its zone such as 2011-12-09T12:50:00Z";
        Err(self.error(begun, format!("`{}` is {what}; put text in quotes", shown(word))))
    }

    /// Takes a text in quotes; a backslash goes before quotes and backslashes in it.
    fn quoted(&mut self) -> Parsed<String> {
        let begun = self.at;
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map_or('"', |(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at += at + c.len_utf8();
                return Ok(text);
            }
            text.push(match c {
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\'' | '\\'))) => escaped,
                    _ => {
                        return Err(self
                            .error(begun + at, "a backslash in quotes goes before a quote or a backslash"));
                    }
                },
                c => c,
            });
        }
        Err(self.error(begun, format!("the text that begins here has no {quote} at its end")))
    }
}

fn negate(not: bool, expression: Expression) -> Expression {
    if not { Expression::Not(Box::new(expression)) } else { expression }
}

/// A caller's word, cut to a length that a message may have.
fn shown(word: &str) -> String {
    word.chars().take(64).collect()
}
