//! `skala plan --replay`: the policies of one directory against those of another, on the same recorded load. Nothing is
//! observed and nothing is changed.

mod notes;
mod show;

use super::super::backtest::arguments::{self, named_file};
use super::super::backtest::recorded::{Recorded, check_total};
use super::super::{Exit, Out, exit_of, invalid, outfit, usage};
use contract::Timestamp;
use policies::policy::units::duration_text;
use policies::policy::{Metric, Mode, Policy, PolicySet, SourceFile, nearest};
use skala::backtest::compare::{Comparison, Difference, Pair, compare, differences, pairs, placeless};
use skala::backtest::{Backtest, Model, Series, is_utilization};
use skala::clock::{Clock, SystemClock};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Two directories of policies and how much of the past to compare them on.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Instead: compare two directories of policies on this much of the recorded past
    #[arg(long, value_name = "DURATION", requires_all = ["policies", "against"], value_parser = super::super::duration)]
    pub replay: Option<Duration>,
    /// With --replay: the new policies
    #[arg(long, value_name = "DIR", requires = "replay")]
    policies: Option<PathBuf>,
    /// With --replay: the policies that they are compared with
    #[arg(long, value_name = "DIR", requires = "replay")]
    against: Option<PathBuf>,
    /// With --replay: what an instance can do, costs, and how long it boots; without it an `objective` rule's own numbers
    #[arg(long, value_name = "FILE.toml", requires = "replay")]
    model: Option<PathBuf>,
    /// With --replay: a metric's recorded values as CSV, instead of asking the metrics' sources of skala.toml
    #[arg(long, value_name = "METRIC=FILE.csv", requires = "replay", value_parser = named_file)]
    series: Vec<(String, PathBuf)>,
    /// With --replay: print Markdown, for a pull request
    #[arg(long, requires = "replay", conflicts_with = "json")]
    markdown: bool,
}

/// What the plan's own arguments say.
pub struct Common<'a> {
    /// skala.toml.
    pub config: &'a Path,
    /// Only this fleet.
    pub fleet: Option<&'a str>,
    /// Print JSON.
    pub json: bool,
    /// Exit with 2 when something would change.
    pub detailed_exitcode: bool,
}

/// One directory of policies.
struct Shelf {
    set: PolicySet,
    files: Vec<SourceFile>,
}

/// What is said of a fleet.
enum Verdict {
    Unchanged,
    Added,
    Removed,
    Compared(Box<Compared>),
    /// It could not be replayed, and why.
    Refused(String),
}

/// A fleet, replayed with both policies.
struct Compared {
    settings: Vec<Difference>,
    model: Model,
    /// The rule that the model comes from; `None`: the model is a file's, and its price is known.
    implied_by: Option<String>,
    /// The first step, the first that is scored, and the end.
    times: (Timestamp, Timestamp, Timestamp),
    steps: usize,
    /// Those after the warm-up in which the load is unknown: they are not scored.
    unknown: usize,
    /// The modes of both.
    modes: (Mode, Mode),
    /// One asks otherwise for a metric, and a file gave both the same values: what that does is not known.
    uncompared: bool,
    /// What a reader has to know of the numbers, in sentences.
    notes: Vec<String>,
    comparison: Comparison,
}

impl ReplayArgs {
    /// Runs the comparison over this much of the past.
    pub fn run(&self, last: Duration, common: &Common<'_>, out: &mut Out) -> anyhow::Result<Exit> {
        // Both are there when --replay is: clap sees to it.
        let (Some(new), Some(old)) = (&self.policies, &self.against) else {
            return Err(usage("--replay needs --policies and --against"));
        };
        let shelf = |directory: &Path| -> anyhow::Result<Shelf> {
            let (set, report) = super::super::read_policies(directory)?;
            Ok(Shelf { set, files: report.files })
        };
        let (old, new) = (shelf(old)?, shelf(new)?);
        let replay = Replay { args: self, config: common.config, last, now: SystemClock::new().now() };
        let verdicts = replay.verdicts(&old, &new, common.fleet)?;
        if common.json {
            show::json(&verdicts, last, out)?;
        } else if self.markdown {
            show::markdown(&verdicts, last, out)?;
        } else {
            show::text(&verdicts, last, out)?;
        }
        let refused = verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Refused(_))).count();
        if refused > 0 {
            out.flush()?;
            return Err(invalid(format!("{refused} of {} fleets could not be replayed", verdicts.len())));
        }
        let changes = verdicts.iter().any(|(_, verdict)| verdict.changes());
        Ok(if changes && common.detailed_exitcode { Exit::Changes } else { Exit::Ok })
    }
}

impl Verdict {
    /// Whether capacity differs anywhere.
    fn differs(&self) -> bool {
        match self {
            Verdict::Added | Verdict::Removed => true,
            Verdict::Compared(compared) => compared.comparison.differing_steps > 0,
            Verdict::Unchanged | Verdict::Refused(_) => false,
        }
    }

    /// Whether anything would change: capacity, whether skala acts on it, or what nobody can know here.
    fn changes(&self) -> bool {
        let more = match self {
            Verdict::Compared(compared) => compared.modes.0 != compared.modes.1 || compared.uncompared,
            _ => false,
        };
        more || self.differs()
    }
}

/// Both policies, ready to be replayed.
struct Sides {
    before: Backtest,
    after: Backtest,
    uncompared: bool,
    notes: Vec<String>,
}

struct Replay<'a> {
    args: &'a ReplayArgs,
    config: &'a Path,
    last: Duration,
    now: Timestamp,
}

impl Replay<'_> {
    fn verdicts(&self, old: &Shelf, new: &Shelf, only: Option<&str>) -> anyhow::Result<Vec<(String, Verdict)>> {
        let mut pairs = pairs(&old.set.fleets, &new.set.fleets);
        if let Some(fleet) = only {
            if !pairs.contains_key(fleet) {
                let near = nearest(fleet, pairs.keys().copied());
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(usage(format!("no policy for fleet `{fleet}` in either directory{hint}")));
            }
            pairs.retain(|name, _| *name == fleet);
        }
        let differ = |pair: &Pair<'_>| match pair {
            (Some(before), Some(after)) => placeless(before) != placeless(after),
            _ => false,
        };
        let changed = pairs.values().filter(|pair| differ(pair)).count();
        if changed > 1 && !self.args.series.is_empty() {
            return Err(usage(format!("--series is one fleet's load, and {changed} fleets differ: add --fleet")));
        }
        if changed > 0 && self.args.series.is_empty() {
            // What is wrong with it is said once, not for each fleet.
            outfit::read_config(self.config)?;
        }
        let mut verdicts = Vec::new();
        for (name, pair) in &pairs {
            let verdict = match pair {
                (None, _) => Verdict::Added,
                (_, None) => Verdict::Removed,
                (Some(_), Some(_)) if !differ(pair) => Verdict::Unchanged,
                (Some(before), Some(after)) => match self.compare(before, after) {
                    Ok(mut compared) => {
                        compared.settings = differences(&old.files, &new.files, name);
                        Verdict::Compared(Box::new(compared))
                    }
                    // One fleet that cannot be replayed does not hide the others.
                    Err(error) if changed > 1 && exit_of(&error) == Exit::Invalid => {
                        Verdict::Refused(error.to_string())
                    }
                    Err(error) => return Err(error),
                },
            };
            verdicts.push(((*name).to_owned(), verdict));
        }
        Ok(verdicts)
    }

    fn compare(&self, before: &Policy, after: &Policy) -> anyhow::Result<Compared> {
        let (name, model, implied_by) = self.model(before, after)?;
        if self.last.as_micros() < 2 * model.step.as_micros() {
            return Err(usage("--replay is shorter than two steps of the model"));
        }
        let of = |policy: &Policy| -> anyhow::Result<Model> {
            let metric = index(policy, &name).ok_or_else(|| {
                invalid(format!(
                    "fleet `{}`: `{name}` is the load, and one of the two policies has no metric of this name: there is \
                     no common ground to compare them on",
                    policy.id
                ))
            })?;
            Ok(Model { metric, ..model.clone() })
        };
        let (model_before, model_after) = (of(before)?, of(after)?);
        let sides = self.sides(before, after, &model_before, &model_after)?;
        let mut said = notes::modes(before.mode, after.mode).into_iter().collect::<Vec<_>>();
        said.extend(sides.notes);
        if self.args.model.is_none() {
            said.extend(notes::claims(before, after));
        }
        let (one, other) = (sides.before, sides.after);
        self.warn(&one, &other)?;
        let scene = other.scene();
        if scene.known(scene.first_scored()..scene.steps()).is_empty() {
            return Err(invalid(format!(
                "fleet `{}`: the load is unknown in all of the time that is scored",
                after.id
            )));
        }
        Ok(Compared {
            settings: Vec::new(),
            implied_by,
            times: (scene.time(0), scene.time(scene.first_scored()), scene.time(scene.steps())),
            steps: scene.steps(),
            unknown: scene.unknown(scene.first_scored()..scene.steps()),
            modes: (before.mode, after.mode),
            uncompared: sides.uncompared,
            notes: said,
            comparison: compare(&one, &other),
            model,
        })
    }

    /// Both policies on what was recorded. Need is judged by the load as the old one asks for it; each sees its own.
    fn sides(&self, before: &Policy, after: &Policy, old: &Model, new: &Model) -> anyhow::Result<Sides> {
        let from_files = !self.args.series.is_empty();
        if !from_files {
            check_total(before, old)?;
            check_total(after, new)?;
        }
        let asked_alike = |at: u16, other: u16| {
            let pair = before.metrics.get(usize::from(at)).zip(after.metrics.get(usize::from(other)));
            pair.is_some_and(|(one, other)| is_asked_alike(one, other))
        };
        let series_before = self.series(before, after, old, Vec::new())?;
        let known = series_before.iter().filter_map(|(at, series)| {
            let own = index(after, &before.metrics.get(usize::from(*at))?.name)?;
            // A file is read once: it may be a pipe.
            (from_files || asked_alike(*at, own)).then(|| (own, series.clone()))
        });
        let mut series_after = self.series(after, before, new, known.collect())?;
        let mut said = Vec::new();
        let mut own = None;
        if from_files {
            let given = |name: &str| self.args.series.iter().any(|(known, _)| known == name);
            said.extend(notes::same_files(before, after, given));
        } else if !asked_alike(old.metric, new.metric) {
            let truth = series_before.iter().find(|(at, _)| *at == old.metric);
            let place = series_after.iter_mut().find(|(at, _)| *at == new.metric);
            if let Some(((_, truth), (_, place))) = truth.zip(place) {
                own = Some(std::mem::replace(place, truth.clone()));
            }
            said.push(notes::own_load(&before.metrics[usize::from(old.metric)].name));
        }
        let made = |policy: &Policy, model: &Model, series| {
            let made = Backtest::new(policy, model.clone(), series);
            made.map_err(|error| invalid(format!("fleet `{}`: {error}", policy.id)))
        };
        let mut other = made(after, new, series_after)?;
        if let Some(own) = own {
            other = other.seeing(own);
        }
        let uncompared = from_files && !said.is_empty();
        Ok(Sides { before: made(before, old, series_before)?, after: other, uncompared, notes: said })
    }

    /// The load's name, the model, and the rule that it comes from.
    fn model(&self, before: &Policy, after: &Policy) -> anyhow::Result<(Box<str>, Model, Option<String>)> {
        let named = |policy: &Policy, model: &Model| policy.metrics[usize::from(model.metric)].name.clone();
        if let Some(path) = &self.args.model {
            let model = arguments::read_model(path, after)?;
            return Ok((named(after, &model), model, None));
        }
        // A change is not judged by its own claim.
        for policy in [before, after] {
            if let Some((model, rule)) = Model::implied(policy) {
                return Ok((named(policy, &model), model, Some(rule.to_owned())));
            }
        }
        // An average over instances is hardly the load.
        let mut metrics = (0..after.metrics.len()).filter(|at| !is_utilization(after, *at));
        let metric = metrics.next().map_or("rps", |at| &after.metrics[at].name);
        Err(invalid(format!(
            "fleet `{}` has no rule of kind `objective` that says what an instance can do: write a model and give it with \
             --model FILE.toml:\n  metric = \"{metric}\"  # the metric that is the load\n  capacity_per_instance = 250.0  # \
             what one instance can do at 100 %\n  slo_utilization = 0.8\n  boot_delay = \"{}\"",
            after.id,
            duration_text(after.boot)
        )))
    }

    /// The series of a policy's metrics: files, or what the metrics' own sources have.
    fn series(
        &self,
        policy: &Policy,
        other: &Policy,
        model: &Model,
        mut known: Vec<(u16, Series)>,
    ) -> anyhow::Result<Vec<(u16, Series)>> {
        if self.args.series.is_empty() {
            let asked = |(at, metric): (usize, &Metric)| {
                let at = u16::try_from(at).ok()?;
                let worked_out = metric.by.is_some() || (is_utilization(policy, usize::from(at)) && at != model.metric);
                let has = known.iter().any(|(known, _)| *known == at);
                (!worked_out && !has).then(|| Arc::clone(&metric.source))
            };
            let sources: BTreeSet<Arc<str>> = policy.metrics.iter().enumerate().filter_map(asked).collect();
            for source in &sources {
                let recorded = Recorded { config: self.config, source, last: self.last };
                known = recorded.read_until(self.now, policy, model, known)?;
            }
            return Ok(known);
        }
        let mut named = BTreeSet::new();
        for (name, path) in &self.args.series {
            if !named.insert(name) {
                return Err(usage(format!("--series {name} is given twice")));
            }
            let Some(metric) = index(policy, name) else {
                if index(other, name).is_some() {
                    continue;
                }
                let names = || policy.metrics.iter().map(|metric| metric.name.as_ref());
                let near = nearest(name, names()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(usage(format!("--series {name}: fleet `{}` has no such metric{near}", policy.id)));
            };
            if known.iter().all(|(known, _)| *known != metric) {
                let series = arguments::read_series(path, model.step)?;
                known.push((metric, if metric == model.metric { self.cut(series) } else { series }));
            }
        }
        Ok(known)
    }

    /// The last part of a longer series.
    fn cut(&self, series: Series) -> Series {
        let steps = usize::try_from(self.last.as_micros() / series.step.as_micros().max(1)).unwrap_or(usize::MAX);
        let skip = series.values.len().saturating_sub(steps);
        let offset = series.step * u32::try_from(skip).unwrap_or(u32::MAX);
        Series { start: series.start.after(offset), step: series.step, values: series.values[skip..].to_vec() }
    }

    /// Warns of what nothing feeds, each metric once.
    fn warn(&self, one: &Backtest, other: &Backtest) -> io::Result<()> {
        let named = || self.args.series.iter().map(|(name, _)| name.as_str());
        arguments::warn(other, named())?;
        let more = one.unfed().iter().any(|metric| !other.unfed().contains(metric));
        if more || one.patchy().iter().any(|patch| !other.patchy().contains(patch)) {
            arguments::warn(one, named())?;
        }
        Ok(())
    }
}

fn index(policy: &Policy, name: &str) -> Option<u16> {
    policy.metrics.iter().position(|metric| metric.name.as_ref() == name).and_then(|at| u16::try_from(at).ok())
}

/// Whether two policies ask the same of the same source.
fn is_asked_alike(one: &Metric, other: &Metric) -> bool {
    one.source == other.source && one.query == other.query && one.select == other.select && one.by == other.by
}
