//! The JSON lines of `skala decide`, which are also how the journal keeps facts and decisions.
//!
//! [`parse_line`] reads an input line, [`facts_json`] writes one back for the journal, [`plan_json`] writes an output
//! line, and [`Decider`] is the whole filter. Every malformed line is one clear error; nothing is half-applied.

mod decider;
mod facts;
mod form;
mod input;
mod output;

pub use decider::Decider;
pub use facts::facts_json;
pub use input::{Cycle, Line, Recorded, parse_line};
pub use output::{error_json, plan_json};

/// What is wrong with a line, in one sentence.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct LineError(pub String);

/// Seconds since the epoch in JSON, microseconds in memory.
mod secs {
    use contract::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(at.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let secs = f64::deserialize(deserializer)?;
        Timestamp::from_secs_f64(secs).ok_or_else(|| serde::de::Error::custom("a time in seconds since 1970"))
    }

    pub mod option {
        use contract::Timestamp;
        use serde::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.serialize_f64(at.as_secs_f64()),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            match Option::<f64>::deserialize(deserializer)? {
                None => Ok(None),
                Some(secs) => Timestamp::from_secs_f64(secs)
                    .map(Some)
                    .ok_or_else(|| serde::de::Error::custom("a time in seconds since 1970")),
            }
        }
    }
}
