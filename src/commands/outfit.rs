//! What `run` and `plan` share: from skala.toml to the seams of a daemon. Nothing is asked of a cloud yet.

use super::invalid;
use crate::registry;
use contract::Owner;
use policies::policy::{Severity, SourceFile};
use skala::app::{Compile, Drainers, HoldAll, Providers, Settings, Sources};
use skala::clock::Clock;
use skala::config::{self, DrainerKind, Report, SkalaToml, SourceConfig, SourceKind, diagnostics};
use skala::cycle::brakes::BrakeSettings;
use skala::drainers::{self, Drainer};
use skala::sources::MetricSource;
use skala::sources::cloud::CloudMetrics;
use skala::sources::composite::Composite;
use skala::sources::exec::Exec;
use skala::sources::http_json::HttpJson;
use skala::sources::prometheus::Prometheus;
use skala::store::hold_all;
use skala::store::url::StoreUrl;
use skala::telemetry::ProcessMetrics;
use std::path::Path;
use std::sync::Arc;

/// Reads skala.toml, or says everything that is wrong with it: exit 78.
pub fn read_config(path: &Path) -> anyhow::Result<SkalaToml> {
    let (config, report) = config::load_skala_toml(path, registry::KINDS);
    config.ok_or_else(|| invalid(diagnostics::render(&report)))
}

/// All providers by name.
pub async fn providers(
    config: &SkalaToml,
    owner: &Owner,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<ProcessMetrics>,
) -> anyhow::Result<Providers> {
    let mut providers = Providers::new();
    for provider in &config.providers {
        providers.insert((&*provider.name).into(), registry::connect(provider, owner, clock, metrics).await?);
    }
    Ok(providers)
}

/// All sources by name; some ask a provider, and some each other.
pub fn sources(config: &SkalaToml, providers: &Providers) -> anyhow::Result<Sources> {
    let mut sources = Sources::new();
    let is_composite = |source: &&SourceConfig| matches!(source.kind, SourceKind::Composite { .. });
    let (composites, plain): (Vec<_>, Vec<_>) = config.sources.iter().partition(is_composite);
    for source in plain.into_iter().chain(composites) {
        let wrong = |what: &dyn std::fmt::Display| {
            invalid(format!("[source.{}] in line {} of skala.toml: {what}", source.name, source.place.line))
        };
        let made: Arc<dyn MetricSource> = match &source.kind {
            SourceKind::Prometheus { url, settings } => {
                Arc::new(Prometheus::new(&source.name, url, settings.clone()).map_err(|error| wrong(&error))?)
            }
            SourceKind::HttpJson { url, settings, time } => Arc::new(
                HttpJson::new(&source.name, url, settings.clone(), time.clone()).map_err(|error| wrong(&error))?,
            ),
            SourceKind::Exec(settings) => {
                Arc::new(Exec::new(&source.name, settings.clone(), |name| std::env::var_os(name)))
            }
            SourceKind::Cloud { provider, timeout, .. } => {
                let of = providers.get(&**provider).cloned();
                let made = of.and_then(|of| CloudMetrics::new(&source.name, of, *timeout));
                Arc::new(made.ok_or_else(|| wrong(&format!("provider `{provider}` has no metrics")))?)
            }
            SourceKind::Composite { sources: parts, patience } => {
                let known = parts.iter().filter_map(|name| sources.get_key_value(&**name));
                let parts = known.map(|(name, of)| (Arc::clone(name), Arc::clone(of))).collect();
                Arc::new(Composite::new(&source.name, parts, *patience))
            }
            SourceKind::Sim { .. } => return Err(wrong(&"simulated load belongs to `skala demo`")),
        };
        sources.insert((&*source.name).into(), made);
    }
    Ok(sources)
}

/// All drainers by name.
pub fn drainers(config: &SkalaToml) -> anyhow::Result<Drainers> {
    let mut all = Drainers::new();
    for drainer in &config.drainers {
        let wrong = |what: &dyn std::fmt::Display| {
            invalid(format!("[drainer.{}] in line {} of skala.toml: {what}", drainer.name, drainer.place.line))
        };
        let made: Arc<dyn Drainer> = match &drainer.kind {
            DrainerKind::Webhook { url, settings } => {
                Arc::new(drainers::webhook::Webhook::new(url, settings.clone()).map_err(|error| wrong(&error))?)
            }
            DrainerKind::Exec { command, environment } => {
                let value = |name: &str| std::env::var_os(name);
                Arc::new(drainers::exec::Exec::new(command.clone(), environment.clone(), value))
            }
        };
        all.insert((&*drainer.name).into(), made);
    }
    Ok(all)
}

/// Reads policies as this skala.toml allows them.
pub fn compile(config: SkalaToml) -> Compile {
    Arc::new(move |files: &[SourceFile]| {
        let (set, diagnostics) = config::parse_policies(files, config.daemon.interval, Some(&config));
        if diagnostics.iter().any(|one| one.severity == Severity::Error) {
            return Err(diagnostics::render(&Report { files: files.to_vec(), diagnostics }));
        }
        Ok(set)
    })
}

/// Looks at the file of `hold --all` beside the store.
pub fn hold_all(config: &SkalaToml) -> HoldAll {
    match &config.store.url {
        StoreUrl::Sqlite(path) => {
            let file = hold_all::path(path);
            Arc::new(move |now| hold_all::read(&file).in_force(now))
        }
        StoreUrl::Memory => Arc::new(|_| None),
    }
}

/// The process's settings.
pub fn settings(config: &SkalaToml, allow_removal: bool) -> Settings {
    let brakes = BrakeSettings { scale_in: config.brakes.max_scale_in, scale_out: config.brakes.max_scale_out };
    Settings { brakes, allow_removal, owner: config.daemon.id.as_deref().map(Arc::from) }
}
