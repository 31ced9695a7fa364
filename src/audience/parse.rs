//! A recursive-descent parser of expressions, with one method per rule of the grammar.
//!
//! ```text
//! any       = all { "or" all }
//! all       = not { "and" not }
//! not       = "not" not | "(" any ")" | condition
//! condition = "segment" ( ( ":" | "=" | "!=" ) name | [ "not" ] "in" "(" name { "," name } ")" )
//!           | view "." feature ( ( ":" | "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!                              | [ "not" ] "in" "(" value { "," value } ")" | "is" [ "not" ] "null" )
//! value     = text in quotes | bare word | number | "true" | "false" | date | time of RFC 3339
//! ```

use super::{
    expression::{Expression, ExpressionError, FeatureName, Operand, Operator, Position},
    literal::{self, Decimal, Literal},
};
use crate::feature::is_name_char;

type Parsed<T> = Result<T, ExpressionError>;

/// Greatest length of an expression in bytes.
pub const MAX_BYTES: usize = 8_192;
/// Greatest nesting depth of parentheses and `not`.
pub const MAX_DEPTH: usize = 32;
/// Greatest number of values in a list.
pub const MAX_VALUES: usize = 1_000;

/// Reserved words.
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
    /// Parses an expression.
    ///
    /// # Errors
    /// Fails with the position of the error and the expected token.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_BYTES {
            let message =
                format!("an expression may have at most {MAX_BYTES} bytes, this one has {}", text.len());
            return Err(ExpressionError { position: 0, message });
        }
        let mut parser = Parser { text, at: 0, depth: 0 };
        let expression = parser.any()?;
        parser.skip_whitespace();
        if parser.at < text.len() {
            return Err(parser.expected_next("`and`, `or` or the end"));
        }
        Ok(expression)
    }
}

/// A parser with its state.
struct Parser<'a> {
    text: &'a str,
    /// Index of the next byte.
    at: usize,
    /// Current nesting depth.
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

    /// Skips whitespace.
    fn skip_whitespace(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Returns the longest prefix of the rest whose characters all match `fits`.
    fn prefix(&self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())]
    }

    /// Returns the position of the character at the index `byte`.
    fn position(&self, byte: usize) -> Position {
        Position(self.text[..byte].chars().count())
    }

    fn error(&self, byte: usize, message: impl Into<String>) -> ExpressionError {
        ExpressionError { position: self.position(byte).0, message: message.into() }
    }

    /// Returns an error with the expected and the found token.
    fn expected(&self, what: &str) -> ExpressionError {
        let word = self.prefix(is_word);
        let found = match self.rest().chars().next() {
            None => "the end".to_owned(),
            Some(c) if word.is_empty() => format!("`{}`", c.escape_debug()),
            Some(_) => format!("`{}`", truncated(word)),
        };
        self.error(self.at, format!("expected {what}, found {found}"))
    }

    /// Returns the same error after a value, with a hint if the value seems to continue.
    fn expected_next(&self, what: &str) -> ExpressionError {
        let (mut error, word) = (self.expected(what), self.prefix(is_word));
        if !word.is_empty() && !word.contains('.') && !word.eq_ignore_ascii_case("segment") {
            error.message.push_str("; put text of several words in quotes");
        }
        error
    }

    /// Consumes `symbol` if it is next.
    fn take_symbol(&mut self, symbol: &str) -> bool {
        self.skip_whitespace();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len() } else { 0 };
        found
    }

    /// Consumes `keyword` if it is next, ignoring case.
    fn take_keyword(&mut self, keyword: &str) -> bool {
        self.skip_whitespace();
        let found = self.prefix(is_word).eq_ignore_ascii_case(keyword);
        self.at += if found { keyword.len() } else { 0 };
        found
    }

    /// Consumes `symbol`, or fails.
    fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("`{symbol}`"))) }
    }

    /// Parses the rule `any`.
    fn any(&mut self) -> Parsed<Expression> {
        self.list("or", Self::all, Expression::Any)
    }

    /// Parses the rule `all`.
    fn all(&mut self) -> Parsed<Expression> {
        self.list("and", Self::not, Expression::All)
    }

    /// Parses one or more parts that are separated by `keyword`.
    fn list(
        &mut self,
        keyword: &str,
        part: fn(&mut Self) -> Parsed<Expression>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Parsed<Expression> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.take_keyword(keyword) {
            parts.push(part(self)?);
        }
        Ok(if parts.len() > 1 { join(parts) } else { parts.remove(0) })
    }

    /// Parses the rule `not`.
    fn not(&mut self) -> Parsed<Expression> {
        self.skip_whitespace();
        let begun = self.at;
        let not = self.take_keyword("not");
        if !not && !self.take_symbol("(") {
            return self.condition();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(
                self.error(begun, format!("parentheses and `not` may be nested at most {MAX_DEPTH} deep"))
            );
        }
        let inner = if not {
            Expression::Not(Box::new(self.not()?))
        } else {
            let inner = self.any()?;
            if !self.take_symbol(")") {
                return Err(self.expected_next("`and`, `or` or `)`"));
            }
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    /// Parses the rule `condition`.
    fn condition(&mut self) -> Parsed<Expression> {
        let (begun, word) = (self.at, self.prefix(is_word));
        if word.is_empty() || is_keyword(word) {
            return Err(self.expected("`segment:…`, a feature such as `rfm.monetary`, `not` or `(`"));
        }
        if word.eq_ignore_ascii_case("segment") {
            self.at += word.len();
            return self.segment();
        }
        let Some(mut feature) = FeatureName::parse(word) else {
            let word = truncated(word);
            let message = format!("`{word}` is not a feature; write view.feature, or segment:{word}");
            return Err(self.error(begun, message));
        };
        feature.at = self.position(begun);
        self.at += word.len();
        if let Some(operator) = self.operator() {
            let value = self.value()?;
            return Ok(Expression::Compare(feature, operator, value));
        }
        if self.take_keyword("is") {
            let not = self.take_keyword("not");
            if !self.take_keyword("null") {
                return Err(self.expected(if not { "`null`" } else { "`null` or `not null`" }));
            }
            return Ok(negate(not, Expression::IsNull(feature)));
        }
        let not = self.membership("`:`, `=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `is`")?;
        let values = self.values(Self::value)?;
        Ok(negate(not, Expression::In(feature, values)))
    }

    /// Parses the rest of a condition after `segment`.
    fn segment(&mut self) -> Parsed<Expression> {
        let begun = self.at;
        match self.operator() {
            Some(operator @ (Operator::Equal | Operator::NotEqual)) => {
                let segment = self.segment_name()?;
                Ok(negate(operator == Operator::NotEqual, segment))
            }
            Some(_) => {
                Err(self.error(begun, "segments have no order; write segment:name or segment != name"))
            }
            None => {
                let not = self.membership("`:`, `=`, `!=` or `in`")?;
                let mut segments = self.values(Self::segment_name)?;
                let any = if segments.len() > 1 { Expression::Any(segments) } else { segments.remove(0) };
                Ok(negate(not, any))
            }
        }
    }

    /// Parses the name of a segment.
    fn segment_name(&mut self) -> Parsed<Expression> {
        self.skip_whitespace();
        let at = self.at;
        let name =
            if self.rest().starts_with(['"', '\'']) { self.quoted()? } else { self.bare_word().to_owned() };
        if name.is_empty() {
            return Err(self.expected("the name of a segment"));
        }
        Ok(Expression::Segment(name, self.position(at)))
    }

    fn operator(&mut self) -> Option<Operator> {
        OPERATORS.iter().find(|(symbol, _)| self.take_symbol(symbol)).map(|(_, operator)| *operator)
    }

    /// Consumes `in` or `not in`. Returns whether there was a `not`.
    fn membership(&mut self, or_else: &str) -> Parsed<bool> {
        let begun = self.at;
        let not = self.take_keyword("not");
        if self.take_keyword("in") {
            return Ok(not);
        }
        self.at = begun;
        self.skip_whitespace();
        Err(self.expected(or_else))
    }

    /// Parses a list in parentheses.
    fn values<T>(&mut self, one: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect_symbol("(")?;
        let mut values = vec![one(self)?];
        while self.take_symbol(",") {
            if values.len() == MAX_VALUES {
                return Err(self.error(self.at, format!("a list may have at most {MAX_VALUES} values")));
            }
            values.push(one(self)?);
        }
        if !self.take_symbol(")") {
            return Err(self.expected_next("`,` or `)`"));
        }
        Ok(values)
    }

    fn value(&mut self) -> Parsed<Operand> {
        self.skip_whitespace();
        let begun = self.at;
        let literal = if self.rest().starts_with(['"', '\'']) {
            Literal::Text(self.quoted()?)
        } else {
            let word = self.bare_word();
            self.literal(begun, word)?
        };
        Ok(Operand { literal, at: self.position(begun) })
    }

    /// Consumes a token without quotes.
    fn bare_word(&mut self) -> &'a str {
        let word = self.prefix(|c| {
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
            return Err(self.error(begun, "text must be in straight quotes, \" or '"));
        }
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if is("null") {
            return Err(
                self.error(begun, "a comparison with null is never true; write `is null` or `is not null`")
            );
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
        let message = format!(
            "`{}` is neither a number of at most 38 digits, a date, nor a time with its zone such as \
             2011-12-09T12:50:00Z; put text in quotes",
            truncated(word)
        );
        Err(self.error(begun, message))
    }

    /// Parses a text in quotes. A backslash escapes quotes and backslashes.
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
                        return Err(self.error(
                            begun + at,
                            "a backslash in quotes can only escape a quote or a backslash",
                        ));
                    }
                },
                c => c,
            });
        }
        Err(self.error(begun, format!("the text that begins here has no closing {quote}")))
    }
}

fn negate(not: bool, expression: Expression) -> Expression {
    if not { Expression::Not(Box::new(expression)) } else { expression }
}

/// Returns at most 64 characters of `word` for a message.
fn truncated(word: &str) -> String {
    word.chars().take(64).collect()
}
