//! `skala handover`: suspends the cloud's own scaler of a fleet's groups, and gives it back.
//!
//! The daemon says whether it is ready; the cloud is asked from here, with the credentials of whoever runs the command,
//! so that the daemon itself needs no right to change a scaler. Going back needs neither daemon nor store.

use super::client::{Asked as Answered, Daemon};
use super::{Exit, Out, invalid, outfit, usage};
use crate::registry;
use anyhow::{Context, bail};
use contract::native::Switch;
use contract::{GroupId, Owner, Provider};
use skala::api::answers::{Fleet, Status};
use skala::clock::{Clock, SystemClock};
use skala::config::SkalaToml;
use skala::handover::records::{self, Handover, Records};
use skala::handover::{Asked, HandoverError, Outcome, Returned, guards, hand_back, hand_over, preview};
use skala::store::url::StoreUrl;
use skala::telemetry::ProcessMetrics;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Suspend a cloud's own scaler so that skala scales alone, or give it back
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["what", "list"]))]
pub struct HandoverArgs {
    /// A fleet, or one group as PROVIDER/GROUP
    #[arg(value_name = "FLEET|PROVIDER/GROUP")]
    what: Option<String>,
    /// Show what was handed over
    #[arg(long)]
    list: bool,
    /// Give it back: restore exactly what was there; works with the daemon down
    #[arg(long, conflicts_with = "list")]
    back: bool,
    /// Show what would be switched and which guards refuse; nothing is changed
    #[arg(long, conflicts_with = "list")]
    dry_run: bool,
    /// Drop the record without touching the cloud, after somebody has set the scaler by hand
    #[arg(long, conflicts_with_all = ["list", "back", "dry_run"])]
    forget: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// One group to be handed over.
struct Place {
    fleet: String,
    provider: String,
    group: GroupId,
}

impl Place {
    fn of(record: &Handover) -> Self {
        Self {
            fleet: record.fleet.clone(),
            provider: record.provider.clone(),
            group: GroupId::from(record.group.as_str()),
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.provider, self.group)
    }
}

impl HandoverArgs {
    /// Runs the command.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let config = outfit::read_config(&self.daemon.config)?;
        let path = path(&config, &self.daemon.config)?;
        let Some(what) = self.what.as_deref() else { return list(&path, out) };
        if self.forget {
            return forget(&path, what, out);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        if self.back {
            return runtime.block_on(self.back(&config, &path, what, out));
        }
        let (fleet, places, refusals) = self.ready(what)?;
        if self.dry_run {
            runtime.block_on(dry_run(&config, &places, out))?;
            for refusal in &refusals {
                writeln!(out, "refused by {refusal}")?;
            }
            return Ok(if refusals.is_empty() { Exit::Ok } else { Exit::Failed });
        }
        if !refusals.is_empty() {
            let why: Vec<String> = refusals.iter().map(|refusal| format!("\n  {refusal}")).collect();
            bail!("{fleet} is not handed over, skala is not ready for it:{}", why.concat());
        }
        runtime.block_on(over(&config, &path, &places, out))
    }

    /// The fleet, its groups and every guard that refuses, as the running daemon says.
    fn ready(&self, what: &str) -> anyhow::Result<(String, Vec<Place>, Vec<guards::Refusal>)> {
        let status: Status = match self.daemon.try_get("/v1/status")? {
            Answered::Answer(status) => status,
            Answered::Down(error) => {
                return Err(error.context("daemon: nobody would scale the fleet; start skala first"));
            }
        };
        let is_it = |fleet: &&Fleet| match what.split_once('/') {
            None => fleet.fleet == what,
            Some((provider, group)) => fleet.groups.iter().any(|one| one.provider == provider && one.group == group),
        };
        let Some(fleet) = status.fleets.iter().find(is_it) else {
            return Err(usage(format!(
                "no fleet of the daemon {} `{what}`; `skala status` lists them",
                if what.contains('/') { "has the group" } else { "is" }
            )));
        };
        let wanted = |group: &&skala::api::answers::Group| {
            what.split_once('/').is_none_or(|(provider, name)| group.provider == provider && group.group == name)
        };
        let places = fleet.groups.iter().filter(wanted).map(|group| Place {
            fleet: fleet.fleet.clone(),
            provider: group.provider.clone(),
            group: GroupId::from(group.group.as_str()),
        });
        Ok((fleet.fleet.clone(), places.collect(), guards::refusals(&status, fleet)))
    }

    async fn back(&self, config: &SkalaToml, path: &Path, what: &str, out: &mut Out) -> anyhow::Result<Exit> {
        let mut records = open(path)?;
        let places = recorded(records.all(), what)?;
        let mut left = Vec::new();
        for place in &places {
            let record = records.find(&place.provider, place.group.as_str());
            let switches = record.map(|record| record.undo.switches.clone()).unwrap_or_default();
            if self.dry_run {
                writeln!(out, "{} would be given back:", place.name())?;
                show(&switches, true, out)?;
                continue;
            }
            match give_back(config, &mut records, place).await {
                Ok(Returned::Restored(switches)) => {
                    writeln!(out, "{} is given back:", place.name())?;
                    show(&switches, true, out)?;
                }
                Ok(Returned::Gone(switches)) => {
                    writeln!(out, "{} is gone, so nothing is left to give back; its record was:", place.name())?;
                    show(&switches, true, out)?;
                }
                // One group that fails keeps no other from its scaler.
                Err(error) if places.len() > 1 => {
                    writeln!(out, "{}: {error:#}", place.name())?;
                    left.push(place.name());
                }
                Err(error) => return Err(error),
            }
        }
        if !left.is_empty() {
            bail!("{} of {} groups are not given back, ask again: {}", left.len(), places.len(), left.join(", "));
        }
        Ok(Exit::Ok)
    }
}

async fn give_back(config: &SkalaToml, records: &mut Records, place: &Place) -> anyhow::Result<Returned> {
    let provider = connect(config, &place.provider).await?;
    let native = native_of(&*provider, &place.provider)?;
    Ok(hand_back(records, native, &place.provider, &place.group).await?)
}

/// The records that a name means: a fleet's, or one group's.
fn recorded(all: &[Handover], what: &str) -> anyhow::Result<Vec<Place>> {
    let is_it = |record: &&Handover| match what.split_once('/') {
        None => record.fleet == what,
        Some((provider, group)) => record.provider == provider && record.group == group,
    };
    let places: Vec<Place> = all.iter().filter(is_it).map(Place::of).collect();
    if places.is_empty() {
        return Err(HandoverError::NotHandedOver(what.into()).into());
    }
    Ok(places)
}

async fn over(config: &SkalaToml, path: &Path, places: &[Place], out: &mut Out) -> anyhow::Result<Exit> {
    let mut records = open(path)?;
    for place in places {
        let provider = connect(config, &place.provider).await?;
        let native = native_of(&*provider, &place.provider)?;
        let asked = Asked {
            fleet: place.fleet.clone(),
            provider: place.provider.clone(),
            group: place.group.clone(),
            by: super::hold::person(),
            at: SystemClock::new().now(),
        };
        let name = place.name();
        match hand_over(&mut records, native, &asked).await? {
            Outcome::Nothing => writeln!(out, "{name} has no scaler of its own that may act: nothing to hand over")?,
            Outcome::Already(switches) => {
                writeln!(out, "{name} was handed over already:")?;
                show(&switches, false, out)?;
            }
            Outcome::Suspended(switches) => {
                writeln!(out, "{name} is handed over; `skala handover {} --back` gives it back:", place.fleet)?;
                show(&switches, false, out)?;
            }
        }
    }
    Ok(Exit::Ok)
}

async fn dry_run(config: &SkalaToml, places: &[Place], out: &mut Out) -> anyhow::Result<()> {
    for place in places {
        let provider = connect(config, &place.provider).await?;
        let switches = preview(native_of(&*provider, &place.provider)?, &place.group).await?;
        match switches.is_empty() {
            true => writeln!(out, "{} has no scaler of its own that may act", place.name())?,
            false => writeln!(out, "{} would be handed over:", place.name())?,
        }
        show(&switches, false, out)?;
    }
    Ok(())
}

fn list(path: &Path, out: &mut Out) -> anyhow::Result<Exit> {
    let all = records::read(path).with_context(|| format!("cannot read the records {}", path.display()))?;
    if all.is_empty() {
        writeln!(out, "nothing is handed over")?;
    }
    for one in all {
        let (at, by, fleet) = (contract::Timestamp::from_secs_f64(one.at), &one.by, &one.fleet);
        let at = at.map_or_else(|| "an unknown time".into(), |at| at.to_string());
        writeln!(out, "{}/{} of {fleet}: {}, by {by} at {at}", one.provider, one.group, one.stage.word())?;
        show(&one.undo.switches, false, out)?;
    }
    Ok(Exit::Ok)
}

fn forget(path: &Path, what: &str, out: &mut Out) -> anyhow::Result<Exit> {
    let mut records = open(path)?;
    for place in recorded(records.all(), what)? {
        records.remove(&place.provider, place.group.as_str())?;
        writeln!(out, "the record of {} is dropped; what the cloud has was not touched", place.name())?;
    }
    Ok(Exit::Ok)
}

fn show(switches: &[Switch], back: bool, out: &mut Out) -> std::io::Result<()> {
    for switch in switches {
        let shown = match back {
            false => switch.clone(),
            true => Switch { was: switch.becomes.clone(), becomes: switch.was.clone(), ..switch.clone() },
        };
        writeln!(out, "  {shown}")?;
    }
    Ok(())
}

/// The records lie beside the store.
fn path(config: &SkalaToml, file: &Path) -> anyhow::Result<PathBuf> {
    match &config.store.url {
        StoreUrl::Sqlite(store) => Ok(records::path(store)),
        StoreUrl::Memory => {
            Err(usage(format!("{}: a store in memory has no place for the record of a handover", file.display())))
        }
    }
}

fn open(path: &Path) -> anyhow::Result<Records> {
    Records::open(path).with_context(|| format!("cannot use the records {}", path.display()))
}

async fn connect(config: &SkalaToml, name: &str) -> anyhow::Result<Arc<dyn Provider>> {
    let Some(provider) = config.providers.iter().find(|provider| *provider.name == *name) else {
        return Err(invalid(format!("the configuration has no provider `{name}`")));
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // A suspension is a person's act, not a claim on the group's capacity.
    let owner = Owner { id: config.daemon.id.clone().unwrap_or_default() };
    registry::connect(provider, &owner, &clock, &Arc::new(ProcessMetrics::new())).await
}

fn native_of<'a>(provider: &'a dyn Provider, name: &str) -> anyhow::Result<&'a dyn contract::Native> {
    provider.native().ok_or_else(|| {
        usage(format!("the provider `{name}` cannot switch its cloud's own scaler: do it by hand, skala sees it"))
    })
}
