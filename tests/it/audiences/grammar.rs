//! The grammar of expressions: formatted expressions parse to the same expression, and no input panics.

use chrono::DateTime;
use larder::audience::{
    Decimal, EventKey, EventTerm, Expression, FeatureName, Literal, MAX_DEPTH, Operand, Operator, Position,
    TextMatch, events::Times,
};
use proptest::prelude::*;

fn operand() -> impl Strategy<Value = Operand> {
    let literal = prop_oneof![
        ".{0,8}".prop_map(Literal::Text),
        (any::<i64>(), 0_u32..12)
            .prop_map(|(mantissa, scale)| Literal::Number(Decimal::new(mantissa.into(), scale))),
        any::<bool>().prop_map(Literal::Boolean),
        (-62_000_000_000_i64..253_000_000_000, 0_u32..1_000_000_000)
            .prop_map(|(seconds, nanos)| Literal::Time(DateTime::from_timestamp(seconds, nanos).unwrap())),
    ];
    literal.prop_map(|literal| Operand { literal, at: Position(0) })
}

fn event(operator: impl Strategy<Value = Operator>) -> impl Strategy<Value = EventTerm> {
    let key = prop_oneof![
        Just(EventKey::Order),
        ".{1,8}".prop_map(EventKey::Product),
        ".{1,8}".prop_map(EventKey::Category),
        ".{1,8}".prop_map(EventKey::Interaction),
    ];
    let time = || prop::option::of(operand());
    let times = (operator, any::<u32>()).prop_map(|(operator, number)| Times { operator, number });
    (key, time(), time(), times).prop_map(|(key, since, before, times)| EventTerm {
        key,
        since,
        before,
        times,
        at: Position(0),
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    let feature =
        ("[a-z0-9_]{1,5}", "[a-z0-9_]{1,5}").prop_map(|(view, feature)| FeatureName::new(&view, &feature));
    let operator = proptest::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::AtMost,
        Operator::Greater,
        Operator::AtLeast,
    ]);
    let part =
        proptest::sample::select(vec![TextMatch::Contains, TextMatch::StartsWith, TextMatch::EndsWith]);
    let test = prop_oneof![
        ".{1,8}".prop_map(|name| Expression::Segment(name, Position(0))),
        (feature.clone(), operator.clone(), operand())
            .prop_map(|(name, operator, operand)| Expression::Compare(name, operator, operand)),
        (feature.clone(), prop::collection::vec(operand(), 1..4))
            .prop_map(|(name, operands)| Expression::In(name, operands)),
        (feature.clone(), part, operand())
            .prop_map(|(name, part, operand)| Expression::Match(name, part, operand)),
        (feature.clone(), operand()).prop_map(|(name, operand)| Expression::Has(name, operand)),
        feature.prop_map(Expression::IsNull),
        event(operator).prop_map(Expression::Event),
    ];
    test.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::Any),
            inner.prop_map(|part| Expression::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn formatted_expressions_parse_to_the_same_expression(expression in expression()) {
        let text = expression.to_string();
        prop_assert_eq!(Expression::parse(&text), Ok(expression), "{}", text);
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        if let Err(error) = Expression::parse(&text) {
            prop_assert!(error.position <= text.chars().count());
        }
    }

    #[test]
    fn random_tokens_do_not_panic(pieces in prop::collection::vec(proptest::sample::select(vec![
        "segment", ":", "champions", " ", "rfm.monetary", ">=", "1000", "not ", "(", ")", " and ", " or ",
        "in", ",", "is", "null", " between ", " contains ", " has ", " starts ", " ends ", " with ",
        "-30d", "2 weeks ago", "bought(", "did(", "product:", "event:", "since:", "times ",
        "\"", "'", "\\", "-", "1e9", "2011-12-09T12:50:00Z", "true", "é", "<",
    ]), 0..20)) {
        let text = pieces.concat();
        match Expression::parse(&text) {
            Ok(expression) => prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression)),
            Err(error) => prop_assert!(error.position <= text.chars().count()),
        }
    }
}

fn read(text: &str) -> String {
    Expression::parse(text).map_or_else(|error| error.to_string(), |expression| expression.to_string())
}

#[test]
fn every_form_is_parsed_to_its_canonical_form() {
    for (text, same) in [
        (
            "segment:champions and churn.risk:high and not profile.country:\"United Kingdom\" \
             and rfm.monetary >= 1000",
            "segment:champions and churn.risk = \"high\" and not profile.country = \"United Kingdom\" \
             and rfm.monetary >= 1000",
        ),
        ("a.b=1 or a.b=2 and a.c=3", "a.b = 1 or (a.b = 2 and a.c = 3)"),
        ("NOT (a.b = 'it\\'s') AND a.c IS NOT NULL", "not a.b = \"it's\" and not a.c is null"),
        ("a.b not in (1, 2.50, -3e2)", "not a.b in (1, 2.5, -300)"),
        (
            "segment in (loyal, new) and segment != at_risk",
            "(segment:loyal or segment:new) and not segment:at_risk",
        ),
        (
            "a.b < 2011-12-09 and a.c >= 2011-12-09T13:50:00+01:00",
            "a.b < 2011-12-09T00:00:00Z and a.c >= 2011-12-09T12:50:00Z",
        ),
        ("a.b : TRUE or a.c=Île-de-France", "a.b = true or a.c = \"Île-de-France\""),
        ("not not segment : x", "not not segment:x"),
        (
            "bought(product:22423, since:-90d, times >= 2) and not Did( EVENT = 'view' )",
            "bought(product:\"22423\", since:-90d, times >= 2) and not did(event:\"view\")",
        ),
        (
            "bought(times >= 1, before: 2011-12-09, category:\"Kitchen\") or bought()",
            "bought(category:\"Kitchen\", before:2011-12-09T00:00:00Z) or bought()",
        ),
        (
            "a.b between 1 and 2 and a.c not BETWEEN x and y",
            "(a.b >= 1 and a.b <= 2) and not (a.c >= \"x\" and a.c <= \"y\")",
        ),
        (
            "a.b contains 'ä b' or a.b not starts with x or a.b ends  WITH \"1\"",
            "a.b contains \"ä b\" or not a.b starts with \"x\" or a.b ends with \"1\"",
        ),
        (
            "a.b >= -30d and a.c < 1 year ago and a.d > 6 MONTHS ago",
            "a.b >= -30d and a.c < -1y and a.d > -6mo",
        ),
        ("a.b has x and a.b not has 'y z'", "a.b has \"x\" and not a.b has \"y z\""),
        ("a.b in (-1w, 12 hours ago, 30, days)", "a.b in (-1w, -12h, 30, \"days\")"),
    ] {
        assert_eq!(read(text), same, "{text}");
    }
}

#[test]
fn parse_errors_have_position_and_expectation() {
    for (text, position, part) in [
        ("", 0, "expected `segment:…`, a feature"),
        ("champions", 0, "write view.feature, or segment:champions"),
        ("segment:", 8, "expected the name of a segment, found the end"),
        ("segment > a", 7, "segments have no order"),
        ("é.b = 1 and", 11, "found the end"),
        ("a.b 1", 4, "`in`, `between`, `contains`, `starts with`, `ends with`, `has` or `is`, found `1`"),
        ("a.b between 1 or 2", 14, "expected `and` and the upper bound of `between`, found `or`"),
        ("a.b starts x", 11, "expected `with` after `starts`, found `x`"),
        ("a.b not like x", 4, "found `not`"),
        ("a.b > 30 days", 9, "found `days`"),
        ("a.b > -30m", 6, "neither a number"),
        ("a.b = null", 6, "write `is null`"),
        ("a.b = 85123A", 6, "put text in quotes"),
        ("a.b = United Kingdom", 13, "expected `and`, `or` or the end, found `Kingdom`"),
        ("a.b = \"x", 6, "has no closing \""),
        ("a.b = \"x\\n\"", 8, "a backslash in quotes"),
        ("a.b in (1 2)", 10, "expected `,` or `)`"),
        ("a.b in ()", 8, "expected a value"),
        ("(a.b = 1", 8, "expected `and`, `or` or `)`, found the end"),
        ("a.b = 1)", 7, "expected `and`, `or` or the end, found `)`"),
        ("a.b is not 1", 11, "expected `null`"),
        ("a.b = 2011-13-45", 6, "neither a number"),
        ("a.b.c = 1", 0, "is not a feature"),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
    let deep = |depth: usize| format!("{}a.b = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&deep(MAX_DEPTH)).is_ok());
    assert!(read(&deep(MAX_DEPTH + 1)).contains("nested"), "{}", read(&deep(MAX_DEPTH + 1)));
    assert!(read(&format!("{}a.b = 1", "not ".repeat(100_000))).contains("8192 bytes"));
    assert!(read(&"not ".repeat(1_000)).contains("nested"));
}
