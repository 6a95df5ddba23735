//! Reads JSON by name, and says where it stands when it is not what it should be. A field that is null is absent, as all
//! clouds mean it; one that is there and wrong is an error, never a default.

use contract::{CAPACITY_MAX, Capacity};
use serde_json::Value;
use std::time::Duration;

/// A document that is not what it should be: where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub(crate) String);

pub(crate) type Read<T> = Result<T, Unreadable>;

/// A value with the way to it.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> At<'a> {
    pub fn root(value: &'a Value, path: &str) -> Self {
        Self { value, path: path.to_owned() }
    }

    /// An error that says where.
    pub fn wrong(&self, what: impl std::fmt::Display) -> Unreadable {
        Unreadable(format!("{}: {what}", self.path))
    }

    /// A field that may be absent.
    pub fn get(&self, key: &str) -> Option<At<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(At { value, path: format!("{}.{key}", self.path) })
    }

    /// The first of several spellings of one field.
    pub fn any(&self, keys: &[&str]) -> Option<At<'a>> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// A field that has to be there.
    pub fn need(&self, key: &str) -> Read<At<'a>> {
        self.get(key).ok_or_else(|| self.wrong(format!("`{key}` is missing")))
    }

    pub fn text(&self) -> Read<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("must be a text"))
    }

    /// A number, also one that is written as a text, as some APIs do with integers.
    pub fn number(&self) -> Read<f64> {
        let number = match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite()).ok_or_else(|| self.wrong("must be a number"))
    }

    /// A whole number within a million, of either sign.
    pub fn whole(&self) -> Read<i64> {
        let number = self.number()?;
        if number.fract() != 0.0 || number.abs() > f64::from(CAPACITY_MAX) {
            return Err(self.wrong(format!("must be a whole number of at most {CAPACITY_MAX}, not {number}")));
        }
        Ok(number as i64)
    }

    pub fn capacity(&self) -> Read<Capacity> {
        Capacity::try_from(self.whole()?).map_err(|_| self.wrong("must not be negative"))
    }

    pub fn secs(&self) -> Read<Duration> {
        let secs = self.number()?;
        let duration = Duration::try_from_secs_f64(secs).ok().filter(|span| span.as_secs() <= 366 * 86_400);
        duration.ok_or_else(|| self.wrong(format!("must be seconds within a year, not {secs}")))
    }

    pub fn is_true(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("must be true or false"))
    }

    pub fn list(&self) -> Read<Vec<At<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("must be a list"))?;
        let at = |(index, value)| At { value, path: format!("{}[{index}]", self.path) };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// The fields of an object, in their order.
    pub fn fields(&self) -> Read<Vec<(&'a str, At<'a>)>> {
        let fields = self.value.as_object().ok_or_else(|| self.wrong("must be an object"))?;
        let at =
            |(key, value): (&'a String, &'a Value)| (key.as_str(), At { value, path: format!("{}.{key}", self.path) });
        Ok(fields.iter().filter(|(_, value)| !value.is_null()).map(at).collect())
    }
}

/// Optional fields, read.
impl<'a> At<'a> {
    pub fn maybe<T>(&self, key: &str, read: impl FnOnce(&At<'a>) -> Read<T>) -> Read<Option<T>> {
        self.get(key).map(|at| read(&at)).transpose()
    }

    pub fn maybe_text(&self, key: &str) -> Read<Option<&'a str>> {
        self.maybe(key, At::text)
    }

    /// The items of a list; one that is absent has none.
    pub fn items(&self, key: &str) -> Read<Vec<At<'a>>> {
        self.get(key).map_or_else(|| Ok(Vec::new()), |at| at.list())
    }

    /// Whether this is the same place in the same document.
    pub fn is(&self, other: &At<'_>) -> bool {
        std::ptr::eq(self.value, other.value)
    }

    /// Whether a field says the same in another object.
    pub fn same(&self, key: &str, other: &At<'_>) -> bool {
        self.value.get(key) == other.value.get(key)
    }

    pub fn flag(&self, key: &str) -> Read<bool> {
        Ok(self.maybe(key, At::is_true)?.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let value = json!({"a": [{"n": "7", "bad": -1, "half": 0.5, "huge": 1e12, "null": null}]});
        let root = At::root(&value, "file.json");
        let item = &root.items("a").expect("a list")[0];
        assert_eq!(item.need("n").expect("there").capacity(), Ok(7));
        assert!(item.get("null").is_none(), "null is absent");
        for (key, words) in [("bad", "negative"), ("half", "whole"), ("huge", "at most")] {
            let error = item.need(key).expect("there").capacity().expect_err(key).to_string();
            assert!(error.starts_with(&format!("file.json.a[0].{key}: ")) && error.contains(words), "{error}");
        }
        assert!(item.need("none").expect_err("absent").to_string().contains("`none` is missing"));
    }
}
