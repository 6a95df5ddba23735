//! `skala plan`: what the next cycle would do and why, from one live observation. It records nothing and acts on nothing;
//! the daemon may run meanwhile. With `--replay`: two directories of policies on the same recorded load.

mod replay;

use super::check::CONFIG_DEFAULT;
use super::{Exit, Out, invalid, outfit, usage};
use contract::Owner;
use policies::plan::{Direction, FleetPlan};
use policies::policy::PolicySet;
use policies::wire;
use skala::app::{App, DryRun, DryRunRefused, Seams};
use skala::clock::{Clock, SystemClock};
use skala::config::SkalaToml;
use skala::entropy::SystemEntropy;
use skala::policy_sources::directory::Directory;
use skala::store::memory::MemoryStore;
use skala::store::sqlite::SqliteStore;
use skala::store::url::StoreUrl;
use skala::store::{Options, Store};
use skala::telemetry::ProcessMetrics;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Show what the next cycle would do and why; nothing is changed
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// Only this fleet
    #[arg(long, value_name = "FLEET")]
    fleet: Option<String>,
    /// Print one JSON object a fleet, as `skala decide` does
    #[arg(long)]
    json: bool,
    /// Exit with 2 when something would change
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    replay: replay::ReplayArgs,
}

impl Plan {
    /// Runs the command.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        if let Some(last) = self.replay.replay {
            let common = replay::Common {
                config: &self.config,
                fleet: self.fleet.as_deref(),
                json: self.json,
                detailed_exitcode: self.detailed_exitcode,
            };
            return self.replay.run(last, &common, out);
        }
        let config = outfit::read_config(&self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let dry = runtime.block_on(self.dry_run(&config))?;
        let mut changes = false;
        for plan in &dry.plans {
            changes |= plan.decision.direction() != Direction::None;
            if self.json {
                writeln!(out, "{}", wire::plan_json(&dry.set, plan))?;
            } else {
                show(&dry.set, plan, out)?;
            }
        }
        if dry.failed > 0 {
            anyhow::bail!("{} fleets could not be decided: a fault of skala, please report it", dry.failed);
        }
        Ok(if changes && self.detailed_exitcode { Exit::Changes } else { Exit::Ok })
    }

    async fn dry_run(&self, config: &SkalaToml) -> anyhow::Result<DryRun> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = read_store(config)?;
        let stored = store.load().await.map(|loaded| loaded.store_id).unwrap_or_default();
        let owner = Owner { id: config.daemon.id.clone().unwrap_or_else(|| stored.into()) };
        let (_control, asked) = mpsc::channel(1);
        let metrics = Arc::new(ProcessMetrics::new());
        let providers = outfit::providers(config, &owner, &clock, &metrics).await?;
        let sources = outfit::sources(config, &providers)?;
        let seams = Seams {
            entropy: Arc::new(SystemEntropy::default()),
            store,
            providers,
            metrics,
            sources,
            drainers: BTreeMap::new(),
            policy_source: Arc::new(Directory::new(&config.daemon.policies)),
            hold_all: outfit::hold_all(config),
            compile: outfit::compile(config.clone()),
            control: asked,
            clock,
        };
        let app = App::new(seams, outfit::settings(config, true));
        app.plan(self.fleet.as_deref()).await.map_err(|refused| match refused {
            DryRunRefused::Invalid(text) => invalid(text),
            DryRunRefused::NoFleet(_) => usage(refused.to_string()),
        })
    }
}

/// The daemon's store to read only; without one every fleet is planned as at a first start, and that is said.
fn read_store(config: &SkalaToml) -> anyhow::Result<Arc<dyn Store>> {
    let why = match &config.store.url {
        StoreUrl::Sqlite(path) => match SqliteStore::open_read_only(path) {
            Ok(store) => return Ok(Arc::new(store)),
            Err(error) => error.to_string(),
        },
        StoreUrl::Memory => "it is in the daemon's memory".to_string(),
    };
    writeln!(io::stderr(), "note: planned without the daemon's memory, as at a first start: {why}")?;
    Ok(Arc::new(MemoryStore::new(Options::new(""))))
}

fn show(set: &PolicySet, plan: &FleetPlan, out: &mut Out) -> io::Result<()> {
    let (policy, decision) = (&plan.policy, &plan.decision);
    let known = |capacity: Option<u32>| capacity.map_or_else(|| "unknown".to_string(), |n| n.to_string());
    let (current, desired) = (known(decision.current), known(decision.desired));
    match decision.hold {
        None => writeln!(out, "{}: {current} -> {desired}", policy.id)?,
        Some(hold) => {
            let place = policy.place(hold.setting);
            let (name, file) = (policy.setting_name(hold.setting), set.file(place));
            writeln!(out, "{}: {current}, held: {} ({name}, {file}:{})", policy.id, hold.reason, place.line)?;
        }
    }
    for recommendation in &decision.recommendations {
        let name = policy.rules.get(usize::from(recommendation.rule)).map_or("", |rule| &rule.name);
        let value = known(recommendation.answer.value());
        writeln!(out, "  rule {name:<20} {value:>8}  {}", recommendation.answer.text(policy))?;
    }
    for step in &decision.trace {
        let (before, after, why) = (known(step.before), known(step.after), step.why.text(policy).to_string());
        if before != after || !why.is_empty() {
            writeln!(out, "  {:<12} {before:>7} -> {after:<7}  {why}", step.stage.name())?;
        }
    }
    for group in plan.effect.groups() {
        let Some(of) = policy.groups.get(usize::from(group.group)) else { continue };
        for step in &group.steps {
            writeln!(out, "  {}/{}: {} -> {}, {}", of.provider, of.group, step.before, step.after, step.why)?;
        }
        for action in &group.actions {
            writeln!(out, "  would {} {}/{} to {}", action.word(), of.provider, of.group, action.to())?;
        }
        for (instance, why) in group.terminate().iter().zip(&group.victims) {
            writeln!(out, "    terminate {instance}: {}", why.text())?;
        }
        for (instance, why) in &group.drain {
            writeln!(out, "    drain {instance}: {}", why.text())?;
        }
        for instance in &group.take_back {
            writeln!(out, "    take back {instance}, which drains")?;
        }
    }
    Ok(())
}
