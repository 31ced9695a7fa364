//! Deserialization of a JSON object to a list of members, with borrowed texts where possible. Does not depend
//! on raw tables.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

/// Members of a JSON object, sorted by name. Of several members of one name, only the last is kept.
#[derive(Debug)]
pub(crate) struct JsonObject<'a, V> {
    pub(crate) members: Vec<(JsonText<'a>, V)>,
    /// Names that occurred several times.
    pub(crate) repeated: Vec<JsonText<'a>>,
}

/// A JSON string, borrowed if it has no escapes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JsonText<'a>(pub(crate) Cow<'a, str>);

impl<V> JsonObject<'_, V> {
    /// Returns the member of the given name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.members.iter().find(|(known, _)| known.0 == name).map(|(_, value)| value)
    }
}

impl<V: Copy> JsonObject<'_, V> {
    /// Returns the member of the given name, or else the first one of the name in another case.
    pub(crate) fn get_in_any_case(&self, name: &str) -> Option<V> {
        let other = || self.members.iter().find(|(known, _)| known.0.eq_ignore_ascii_case(name));
        self.get(name).copied().or_else(|| other().map(|(_, value)| *value))
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for JsonObject<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<'a, V>(PhantomData<(&'a str, V)>);

        impl<'de: 'a, 'a, V: Deserialize<'de>> Visitor<'de> for Members<'a, V> {
            type Value = JsonObject<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(JsonText<'a>, V)> = Vec::with_capacity(16);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                // After the stable sort, the last of several members of one name comes first. `dedup_by`
                // keeps the first.
                members.reverse();
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                let mut repeated = Vec::new();
                members.dedup_by(|(later, _), (kept, _)| {
                    let same = later == kept;
                    if same {
                        repeated.push(kept.clone());
                    }
                    same
                });
                Ok(JsonObject { members, repeated })
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing<'a>(PhantomData<&'a str>);

        impl<'de: 'a, 'a> Visitor<'de> for Borrowing<'a> {
            type Value = JsonText<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(JsonText(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(JsonText(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrowing(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_and_last_duplicate_key_wins() {
        let object: JsonObject<'_, JsonText<'_>> =
            serde_json::from_str(r#"{"b":"1","a":"x\ny","b":"2","c":"3"}"#).expect("an object");
        let members: Vec<(&str, &str)> =
            object.members.iter().map(|(name, text)| (&*name.0, &*text.0)).collect();
        assert_eq!(members, [("a", "x\ny"), ("b", "2"), ("c", "3")]);
        assert_eq!(object.repeated.first().map(|name| &*name.0), Some("b"));
        assert_eq!(object.get("b").map(|text| &*text.0), Some("2"));
        assert!(matches!(object.members[1].1.0, Cow::Borrowed(_)));
        assert!(serde_json::from_str::<JsonObject<'_, JsonText<'_>>>("[1]").is_err());
    }
}
