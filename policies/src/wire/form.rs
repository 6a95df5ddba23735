//! The lines' form as serde reads and writes it: names, defaults, and what is refused. No meaning; that is `input`'s.

use super::secs;
use crate::memory::DrainEnd;
use contract::{Abilities, Capacity, Foreign, InstanceState, OwnerTag, Timestamp};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireLine<'a> {
    #[serde(borrow)]
    pub(super) fleet: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    pub(super) now: Option<Timestamp>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) groups: Option<Vec<WireGroup<'a>>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) readings: Option<Pairs<'a, WireReading<'a>>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) outcomes: Vec<WireOutcome<'a>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) drains: Vec<WireDrain<'a>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) restarted: bool,
    #[serde(default, borrow, rename = "override", skip_serializing_if = "Option::is_none")]
    pub(super) override_now: Option<WireOverride<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<WireBudget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authority: Option<WireAuthority>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<Pairs<'a, Vec<(f64, f64)>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireDrain<'a> {
    #[serde(borrow)]
    pub(super) group: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) instance: Cow<'a, str>,
    pub(super) end: DrainEnd,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireGroup<'a> {
    #[serde(borrow)]
    pub(super) provider: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) group: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<Capacity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cloud_min: Option<Capacity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cloud_max: Option<Capacity>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) instances: Option<Vec<WireInstance<'a>>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) launch_failures: Vec<WireFailure<'a>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) suspended: Vec<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) foreign: Vec<WireForeign<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<OwnerTag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) abilities: Option<Abilities>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    pub(super) at: Option<Timestamp>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireInstance<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    pub(super) state: InstanceState,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    pub(super) launched: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    pub(super) running_since: Option<Timestamp>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) zone: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) protected: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) outdated: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireFailure<'a> {
    pub(super) kind: contract::FailureKind,
    pub(super) scope: contract::Scope,
    #[serde(with = "secs")]
    pub(super) at: Timestamp,
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    pub(super) message: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum WireForeign<'a> {
    #[serde(borrow)]
    Name(Cow<'a, str>),
    Full(Foreign),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireReading<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Number>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) values: Option<Pairs<'a, Number>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    pub(super) at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<f64>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireOutcome<'a> {
    #[serde(borrow)]
    pub(super) group: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) result: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum WireOverride<'a> {
    Hold {
        #[serde(with = "secs")]
        until: Timestamp,
        #[serde(default)]
        scale_in_only: bool,
        #[serde(default)]
        reason: Cow<'a, str>,
    },
    Pin {
        n: Capacity,
        #[serde(with = "secs")]
        until: Timestamp,
        #[serde(default)]
        now: bool,
        #[serde(default)]
        reason: Cow<'a, str>,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireBudget {
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub(super) scale_in: Option<Capacity>,
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    pub(super) scale_out: Option<Capacity>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireAuthority {
    NoScaleIn,
    Store,
    Owner,
    HoldAll,
}

/// A number, or one of Prometheus' words for what is none: JSON cannot say NaN.
#[derive(Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"NaN\", \"+Inf\" or \"-Inf\"")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                match text {
                    "NaN" => Ok(Number(f64::NAN)),
                    "Inf" | "+Inf" => Ok(Number(f64::INFINITY)),
                    "-Inf" => Ok(Number(f64::NEG_INFINITY)),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value => serializer.serialize_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
        }
    }
}

/// A JSON object kept in its order, with duplicate keys refused.
pub(super) struct Pairs<'a, T>(pub(super) Vec<(Cow<'a, str>, T)>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Pairs<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<'a, T>(std::marker::PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Read<'a, T> {
            type Value = Pairs<'a, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some(pair) = map.next_entry::<Key<'a>, T>()? {
                    pairs.push((pair.0.0, pair.1));
                }
                if let Some(name) = first_duplicate(pairs.iter().map(|(name, _)| name.as_ref())) {
                    return Err(serde::de::Error::custom(format_args!("duplicate key `{name}`")));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read(std::marker::PhantomData))
    }
}

impl<T: Serialize> Serialize for Pairs<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A key that borrows from the line where JSON allows it.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first name that comes twice; short lists are compared directly, long ones sorted.
pub(super) fn first_duplicate<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
