//! A recursive-descent parser of expressions, with one method per rule of the grammar.
//!
//! ```text
//! any       = all { "or" all }
//! all       = not { "and" not }
//! not       = "not" not | "(" any ")" | condition
//! condition = "segment" ( ( ":" | "=" | "!=" ) name | [ "not" ] "in" "(" name { "," name } ")" )
//!           | ( "bought" | "did" ) "(" [ argument { "," argument } ] ")"
//!           | view "." feature ( ( ":" | "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!                              | [ "not" ] "in" "(" value { "," value } ")"
//!                              | [ "not" ] "between" value "and" value
//!                              | [ "not" ] ( "contains" | "starts with" | "ends with" | "has" ) value
//!                              | "is" [ "not" ] "null" )
//! argument  = ( "product" | "category" | "event" ) ( ":" | "=" ) ( text in quotes | bare word )
//!           | ( "since" | "before" ) ( ":" | "=" ) value
//!           | "times" ( ":" | "=" | "!=" | "<" | "<=" | ">" | ">=" ) digits
//! value     = text in quotes | bare word | number | "true" | "false" | date | time of RFC 3339
//!           | "-" digits ( "h" | "d" | "w" | "mo" | "y" )
//!           | digits ( "hours" | "days" | "weeks" | "months" | "years" ) "ago"
//! ```

use super::{
    expression::{Expression, ExpressionError, FeatureName, Operand, TextMatch},
    literal::{self, Ago, Decimal, Literal},
    operator::Operator,
    tokens::{Parsed, Tokens, is_keyword, is_word, truncated},
};

/// Greatest length of an expression in bytes.
pub const MAX_BYTES: usize = 8_192;
/// Greatest nesting depth of parentheses and `not`.
pub const MAX_DEPTH: usize = 32;
/// Greatest number of values in a list.
pub const MAX_VALUES: usize = 1_000;

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
        let mut parser = Parser { tokens: Tokens { text, at: 0 }, depth: 0 };
        let expression = parser.any()?;
        parser.tokens.skip_whitespace();
        if parser.tokens.at < text.len() {
            return Err(parser.tokens.expected_next("`and`, `or` or the end"));
        }
        Ok(expression)
    }
}

/// A parser with its state.
pub(super) struct Parser<'a> {
    pub(super) tokens: Tokens<'a>,
    /// Current nesting depth.
    depth: usize,
}

impl Parser<'_> {
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
        while self.tokens.take_keyword(keyword) {
            parts.push(part(self)?);
        }
        Ok(if parts.len() > 1 { join(parts) } else { parts.remove(0) })
    }

    /// Parses the rule `not`.
    fn not(&mut self) -> Parsed<Expression> {
        self.tokens.skip_whitespace();
        let begun = self.tokens.at;
        let not = self.tokens.take_keyword("not");
        if !not && !self.tokens.take_symbol("(") {
            return self.condition();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self
                .tokens
                .error(begun, format!("parentheses and `not` may be nested at most {MAX_DEPTH} deep")));
        }
        let inner = if not {
            Expression::Not(Box::new(self.not()?))
        } else {
            let inner = self.any()?;
            if !self.tokens.take_symbol(")") {
                return Err(self.tokens.expected_next("`and`, `or` or `)`"));
            }
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    /// Parses the rule `condition`.
    fn condition(&mut self) -> Parsed<Expression> {
        let (begun, word) = (self.tokens.at, self.tokens.prefix(is_word));
        if word.is_empty() || is_keyword(word) {
            return Err(self.tokens.expected("`segment:…`, a feature such as `rfm.monetary`, `not` or `(`"));
        }
        if word.eq_ignore_ascii_case("segment") {
            self.tokens.at += word.len();
            return self.segment();
        }
        if let Some(event) = self.event(word)? {
            return Ok(Expression::Event(event));
        }
        let Some(mut feature) = FeatureName::parse(word) else {
            let word = truncated(word);
            let message = format!("`{word}` is not a feature; write view.feature, or segment:{word}");
            return Err(self.tokens.error(begun, message));
        };
        feature.at = self.tokens.position(begun);
        self.tokens.at += word.len();
        if let Some(operator) = self.operator() {
            let value = self.value()?;
            return Ok(Expression::Compare(feature, operator, value));
        }
        if self.tokens.take_keyword("is") {
            let not = self.tokens.take_keyword("not");
            if !self.tokens.take_keyword("null") {
                return Err(self.tokens.expected(if not { "`null`" } else { "`null` or `not null`" }));
            }
            return Ok(negate(not, Expression::IsNull(feature)));
        }
        let begun = self.tokens.at;
        let not = self.tokens.take_keyword("not");
        if self.tokens.take_keyword("between") {
            let least = self.value()?;
            if !self.tokens.take_keyword("and") {
                return Err(self.tokens.expected("`and` and the upper bound of `between`"));
            }
            let bounds = vec![
                Expression::Compare(feature.clone(), Operator::AtLeast, least),
                Expression::Compare(feature, Operator::AtMost, self.value()?),
            ];
            return Ok(negate(not, Expression::All(bounds)));
        }
        if let Some(part) = self.text_match()? {
            let text = self.value()?;
            return Ok(negate(not, Expression::Match(feature, part, text)));
        }
        if self.tokens.take_keyword("has") {
            return Ok(negate(not, Expression::Has(feature, self.value()?)));
        }
        self.tokens.at = begun;
        let not = self.membership(
            "`:`, `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `between`, `contains`, `starts with`, `ends with`, \
             `has` or `is`",
        )?;
        let values = self.values(Self::value)?;
        Ok(negate(not, Expression::In(feature, values)))
    }

    /// Consumes `contains`, `starts with` or `ends with`.
    fn text_match(&mut self) -> Parsed<Option<TextMatch>> {
        if self.tokens.take_keyword("contains") {
            return Ok(Some(TextMatch::Contains));
        }
        for (first, part) in [("starts", TextMatch::StartsWith), ("ends", TextMatch::EndsWith)] {
            if self.tokens.take_keyword(first) {
                return if self.tokens.take_keyword("with") {
                    Ok(Some(part))
                } else {
                    Err(self.tokens.expected(&format!("`with` after `{first}`")))
                };
            }
        }
        Ok(None)
    }

    /// Parses the rest of a condition after `segment`.
    fn segment(&mut self) -> Parsed<Expression> {
        let begun = self.tokens.at;
        match self.operator() {
            Some(operator @ (Operator::Equal | Operator::NotEqual)) => {
                let segment = self.segment_name()?;
                Ok(negate(operator == Operator::NotEqual, segment))
            }
            Some(_) => {
                Err(self.tokens.error(begun, "segments have no order; write segment:name or segment != name"))
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
        self.tokens.skip_whitespace();
        let at = self.tokens.at;
        let name = if self.tokens.rest().starts_with(['"', '\'']) {
            self.tokens.quoted()?
        } else {
            self.tokens.bare_word().to_owned()
        };
        if name.is_empty() {
            return Err(self.tokens.expected("the name of a segment"));
        }
        Ok(Expression::Segment(name, self.tokens.position(at)))
    }

    pub(super) fn operator(&mut self) -> Option<Operator> {
        OPERATORS.iter().find(|(symbol, _)| self.tokens.take_symbol(symbol)).map(|(_, operator)| *operator)
    }

    /// Consumes `in` or `not in`. Returns whether there was a `not`.
    fn membership(&mut self, or_else: &str) -> Parsed<bool> {
        let begun = self.tokens.at;
        let not = self.tokens.take_keyword("not");
        if self.tokens.take_keyword("in") {
            return Ok(not);
        }
        self.tokens.at = begun;
        self.tokens.skip_whitespace();
        Err(self.tokens.expected(or_else))
    }

    /// Parses a list in parentheses.
    fn values<T>(&mut self, one: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.tokens.expect_symbol("(")?;
        let mut values = vec![one(self)?];
        while self.tokens.take_symbol(",") {
            if values.len() == MAX_VALUES {
                return Err(self
                    .tokens
                    .error(self.tokens.at, format!("a list may have at most {MAX_VALUES} values")));
            }
            values.push(one(self)?);
        }
        if !self.tokens.take_symbol(")") {
            return Err(self.tokens.expected_next("`,` or `)`"));
        }
        Ok(values)
    }

    pub(super) fn value(&mut self) -> Parsed<Operand> {
        self.tokens.skip_whitespace();
        let begun = self.tokens.at;
        let literal = if self.tokens.rest().starts_with(['"', '\'']) {
            Literal::Text(self.tokens.quoted()?)
        } else {
            let word = self.tokens.bare_word();
            match self.ago(word) {
                Some(ago) => Literal::Ago(ago),
                None => self.literal(begun, word)?,
            }
        };
        Ok(Operand { literal, at: self.tokens.position(begun) })
    }

    /// Consumes the rest of `30 days ago`, whose first word is `word`.
    fn ago(&mut self, word: &str) -> Option<Ago> {
        if !word.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ago::parse(word);
        }
        let begun = self.tokens.at;
        self.tokens.skip_whitespace();
        let unit = self.tokens.bare_word();
        match Ago::of(word, unit) {
            Some(ago) if self.tokens.take_keyword("ago") => Some(ago),
            _ => {
                self.tokens.at = begun;
                None
            }
        }
    }

    fn literal(&self, begun: usize, word: &str) -> Parsed<Literal> {
        let Some(first) = word.chars().next() else {
            return Err(self
                .tokens
                .expected("a value: a word, text in quotes, a number, true, false, or a time"));
        };
        if matches!(first, '\u{201c}'..='\u{201e}' | '\u{2018}'..='\u{201a}' | '\u{ab}') {
            return Err(self.tokens.error(begun, "text must be in straight quotes, \" or '"));
        }
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if is("null") {
            return Err(self
                .tokens
                .error(begun, "a comparison with null is never true; write `is null` or `is not null`"));
        }
        if is("true") || is("false") {
            return Ok(Literal::Boolean(is("true")));
        }
        if is_keyword(word) {
            return Err(self
                .tokens
                .error(begun, format!("expected a value, found `{word}`; put text in quotes")));
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
        Err(self.tokens.error(begun, message))
    }
}

fn negate(not: bool, expression: Expression) -> Expression {
    if not { Expression::Not(Box::new(expression)) } else { expression }
}
