//! Configuration: skala.toml and the policy directory, read, checked against each other, and reported all at once.
//! Files come in; settings, a policy set and a [`Report`] go out. Nothing here asks a cloud or a source.

pub mod diagnostics;
mod drainers;
mod fetch;
mod kinds;
mod load;
mod promql;
mod queries;
mod skala_toml;
mod sources;
#[cfg(test)]
mod tests;

pub use drainers::{DrainerConfig, DrainerKind};
pub use kinds::{Kinds, MetricsKind};
pub use load::{list_directory, read_directory, read_file};
pub use promql::check as check_query;
pub use skala_toml::{ApiConfig, Brakes, DaemonConfig, ProviderConfig, SkalaToml, StoreConfig};
pub use sources::{SourceConfig, SourceKind};

use policies::policy::{Composite, Diagnostic, ParseOptions, PolicySet, Severity, SourceFile, parse};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was read, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The files that the diagnostics count.
    pub files: Vec<SourceFile>,
    /// Everything found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Whether anything makes it unusable.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }
}

/// Where `credential:NAME` points when systemd does not say: where it puts them for the unit that is shipped.
const CREDENTIALS_DEFAULT: &str = "/run/credentials/skala.service";

/// Reads skala.toml. `None` when it has errors.
pub fn load_skala_toml(path: &Path, kinds: Kinds<'_>) -> (Option<SkalaToml>, Report) {
    let (file, trouble) = load::read_file(path);
    if let Some(trouble) = trouble {
        return (None, Report { files: vec![file], diagnostics: vec![trouble] });
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    let credentials =
        std::env::var_os("CREDENTIALS_DIRECTORY").map_or_else(|| CREDENTIALS_DEFAULT.into(), PathBuf::from);
    let (config, diagnostics) = SkalaToml::parse(&file, kinds, directory, &credentials);
    (config, Report { files: vec![file], diagnostics })
}

/// The policy directory of a skala.toml that has errors, so that everything is reported at once all the same.
pub fn policies_of(report: &Report) -> Option<PathBuf> {
    let file = report.files.first()?;
    skala_toml::policies_directory(file, Path::new(file.name.as_ref()).parent().unwrap_or(Path::new("")))
}

/// Reads all policies below a directory; with skala.toml, the providers and sources they name must be there.
pub fn load_policies(directory: &Path, skala_toml: Option<&SkalaToml>) -> (PolicySet, Report) {
    let (files, mut troubles) = load::read_directory(directory);
    let interval = skala_toml.map_or(policies::policy::INTERVAL_DEFAULT, |config| config.daemon.interval);
    let (set, found) = parse_policies(&files, interval, skala_toml);
    troubles.extend(found);
    troubles.sort_by_key(|one| (one.file, one.span.start, one.severity));
    (set, Report { files, diagnostics: troubles })
}

/// Checks policy files that are in memory already, as a reload or the store's last good set has them.
pub fn parse_policies(
    files: &[SourceFile],
    default_interval: Duration,
    skala_toml: Option<&SkalaToml>,
) -> (PolicySet, Vec<Diagnostic>) {
    let providers: Option<Vec<&str>> =
        skala_toml.map(|config| config.providers.iter().map(|provider| provider.name.as_ref()).collect());
    let sources: Option<Vec<&str>> =
        skala_toml.map(|config| config.sources.iter().map(|source| source.name.as_ref()).collect());
    let drainers: Option<Vec<&str>> =
        skala_toml.map(|config| config.drainers.iter().map(|drainer| drainer.name.as_ref()).collect());
    let composite = |source| match source {
        &SourceConfig { ref name, kind: SourceKind::Composite { ref sources, .. }, .. } => {
            Some((&**name, sources.iter().map(|part| &**part).collect()))
        }
        _ => None,
    };
    let composites: Vec<Composite<'_>> =
        skala_toml.map_or(&[][..], |config| &config.sources).iter().filter_map(composite).collect();
    let check = |source: Option<&str>, query: &str| queries::check(skala_toml, source, query);
    let options = ParseOptions {
        default_interval,
        query: Some(&check),
        providers: providers.as_deref(),
        sources: sources.as_deref(),
        composites: &composites,
        drainers: drainers.as_deref(),
    };
    parse(files, &options)
}
