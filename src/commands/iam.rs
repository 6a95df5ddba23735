//! `skala iam print`: the cloud permissions that the loaded configuration needs, and no other.

use super::check::CONFIG_DEFAULT;
use super::{Exit, Out, outfit, usage};
use contract::Owner;
use serde_json::json;
use skala::clock::{Clock, SystemClock};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Print what a provider's account has to allow
#[derive(Debug, clap::Args)]
pub struct Iam {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the permissions that the configuration needs: for aws as an IAM policy, else one a line
    Print(Print),
}

#[derive(Debug, clap::Args)]
struct Print {
    /// The provider's name in the configuration
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
}
