//! `skala iam print`: the cloud permissions that the loaded configuration needs, and no other.

use super::check::CONFIG_DEFAULT;
use super::{Exit, Out, outfit, usage};
use crate::registry::{self, Permissions};
use contract::GroupId;
use skala::config::{ProviderConfig, SkalaToml, SourceKind};
use std::io::{self, Write};
use std::path::PathBuf;

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

impl Iam {
    /// Prints it.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let What::Print(print) = self.what;
        let config = outfit::read_config(&print.config)?;
        let Some(provider) = config.providers.iter().find(|provider| *provider.name == *print.provider) else {
            let known: Vec<&str> = config.providers.iter().map(|provider| &*provider.name).collect();
            return Err(usage(format!("no provider `{}`; there are: {}", print.provider, known.join(", "))));
        };
        let mut permissions = registry::permissions(provider, &groups(&config, provider)?);
        if reads_metrics(&config, provider) {
            permissions = registry::with_metrics(provider, permissions);
        }
        match permissions {
            Permissions::Document(document) => {
                serde_json::to_writer_pretty(&mut *out, &document)?;
                writeln!(out)?;
            }
            Permissions::Words(words) => words.iter().try_for_each(|word| writeln!(out, "{word}"))?,
        }
        Ok(Exit::Ok)
    }
}

/// Whether a source reads this provider's own metrics.
fn reads_metrics(config: &SkalaToml, of: &ProviderConfig) -> bool {
    let reads = |kind: &SourceKind| matches!(kind, SourceKind::Cloud { provider, .. } if *provider == of.name);
    config.sources.iter().any(|source| reads(&source.kind))
}

/// The groups that the policies have at this provider; without any, one of the usual kind.
fn groups(config: &SkalaToml, provider: &ProviderConfig) -> anyhow::Result<Vec<GroupId>> {
    let (set, report) = skala::config::load_policies(&config.daemon.policies, Some(config));
    if report.has_errors() {
        return Err(super::invalid(skala::config::diagnostics::render(&report)));
    }
    let all = set.fleets.iter().flat_map(|fleet| &fleet.groups);
    let groups: Vec<GroupId> =
        all.filter(|group| group.provider == provider.name).map(|group| group.group.clone()).collect();
    if !groups.is_empty() {
        return Ok(groups);
    }
    writeln!(io::stderr(), "no policy has a group of {} yet: this is for groups of the usual kind", provider.name)?;
    Ok(vec![GroupId::from("any")])
}
