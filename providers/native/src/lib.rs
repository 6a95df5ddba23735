//! The clouds' own scalers, as their APIs and command lines describe them in JSON, read into [`contract::NativePolicy`].
//!
//! One file for each scaler. In come documents that somebody has fetched, a provider or a person with the cloud's own
//! command line; out goes plain data, or what cannot be understood and where. There are no calls here and no SDK, so that
//! a provider, an import from files and their tests share one reading. What a cloud's rule means beyond its form (how
//! often a threshold must be crossed, which of several rules wins) is said here too, with its source.

pub mod aws;
mod aws_schedules;
pub mod azure;
mod azure_profiles;
mod cloudwatch;
pub mod gcp;
mod json;
pub mod keda;
pub mod kubernetes;
mod promql;
mod zones;

pub use json::Unreadable;
