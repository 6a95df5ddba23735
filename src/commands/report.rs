//! `skala report`: what a fleet really had over the last days beside what skala would have done, from the metrics store
//! alone. It asks Prometheus, replays the policy, and changes nothing.

mod asked;
mod matching;
mod show;

use super::check::CONFIG_DEFAULT;
use super::{Exit, Out, duration, invalid, outfit, usage};
use anyhow::bail;
use asked::{Ask, Asked, Window};
use contract::Timestamp;
use matching::Matcher;
use policies::policy::units::duration_text;
use policies::policy::{Policy, PolicySet, nearest};
use skala::backtest::observed::Compared;
use skala::backtest::{Backtest, Change, Model, Supply};
use skala::clock::{Clock, SystemClock};
use skala::config::{self, SkalaToml, diagnostics, read_file};
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The longest history before the window that is asked for unless somebody says more: a week's profile.
const HISTORY_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The longest time to ask for: more is a slip.
const LAST_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Show what skala would have done beside what a fleet really had
#[derive(Debug, clap::Args)]
pub struct Report {
    /// The fleet
    fleet: String,
    /// How much of the past to look at
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    last: Duration,
    /// The daemon's configuration: it has the policies and the sources
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// What an instance can do, costs, and how long it boots [default: as the fleet's objective rule says]
    #[arg(long, value_name = "FILE.toml")]
    model: Option<PathBuf>,
    /// The source of skala.toml to ask for everything [default: the load's own]
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// A label that skala's own series carry, to pick one daemon's of several
    #[arg(long = "match", value_name = "LABEL=VALUE")]
    matchers: Vec<Matcher>,
    /// History before it, from which the replay learns and which is not scored [default: as much again, up to 7d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    warmup: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything that is shown.
struct Found<'a> {
    policy: &'a Policy,
    backtest: Backtest,
    window: Window,
    /// The window's steps in the replay; those before the load's first sample are not in it.
    steps: Range<usize>,
    /// How much history was asked for.
    warmup: Duration,
    /// The model is the objective rule's.
    derived: bool,
    asked: Asked,
    supply: Supply,
    changes: Vec<Change>,
    compared: Compared,
}

impl Report {
    /// Runs the command.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let config = outfit::read_config(&self.config)?;
        let set = policies(&config)?;
        let policy = self.policy(&set, &config)?;
        let model = self.model(policy)?;
        let found = self.found(policy, model)?;
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &show::Json::new(&found))?;
            writeln!(out)?;
        } else {
            show::text(&found, out)?;
        }
        Ok(Exit::Ok)
    }
}

impl Report {
    fn policy<'s>(&self, set: &'s PolicySet, config: &SkalaToml) -> anyhow::Result<&'s Arc<Policy>> {
        set.fleet(&self.fleet).ok_or_else(|| {
            let known = set.fleets.iter().map(|policy| policy.id.as_ref());
            usage(match nearest(&self.fleet, known) {
                Some(near) => format!("no policy for fleet `{}`; did you mean `{near}`?", self.fleet),
                None => format!("no policy for fleet `{}` below {}", self.fleet, config.daemon.policies.display()),
            })
        })
    }

    fn model(&self, policy: &Policy) -> anyhow::Result<Model> {
        let Some(path) = &self.model else {
            return Model::implied(policy).map(|(model, _)| model).ok_or_else(|| {
                let metrics: Vec<&str> = policy.metrics.iter().map(|metric| metric.name.as_ref()).collect();
                usage(format!(
                    "fleet `{}` has no objective rule, so nobody knows what an instance can do: give --model FILE.toml with \
                     metric (one of {}), capacity_per_instance (the work of one instance at 100 %) and slo_utilization",
                    policy.id,
                    metrics.join(", "),
                ))
            });
        };
        let (file, trouble) = read_file(path);
        let (model, found) = match trouble {
            Some(trouble) => (None, vec![trouble]),
            None => Model::parse(&file, policy),
        };
        model.ok_or_else(|| {
            let report = config::Report { files: vec![file], diagnostics: found };
            invalid(diagnostics::render(&report).trim_end())
        })
    }

    fn window(&self, step: Duration) -> anyhow::Result<Window> {
        let step_text = duration_text(step);
        if self.last < step * 2 {
            let last = duration_text(self.last);
            return Err(usage(format!(
                "--last {last} is shorter than two steps of the model, which are {step_text} each"
            )));
        }
        for (option, span) in [("--last", Some(self.last)), ("--warmup", self.warmup)] {
            if span.is_some_and(|span| span > LAST_MAX) {
                return Err(usage(format!("{option} is longer than {}", duration_text(LAST_MAX))));
            }
        }
        let micros = contract::micros(step);
        let on_grid = |time: Timestamp| Timestamp(time.0.div_euclid(micros) * micros);
        let end = on_grid(SystemClock::new().now());
        let start = on_grid(end.before(self.last));
        Ok(Window { history: on_grid(start.before(self.history())), start, end })
    }

    fn history(&self) -> Duration {
        self.warmup.unwrap_or_else(|| self.last.min(HISTORY_MAX))
    }

    fn found<'a>(&self, policy: &'a Policy, model: Model) -> anyhow::Result<Found<'a>> {
        let window = self.window(model.step)?;
        let ask = Ask {
            policy,
            model: &model,
            config: &self.config,
            source: self.source.as_deref(),
            matchers: &self.matchers,
            window,
        };
        let mut asked = ask.run()?;
        ask.nothing_recorded(&asked)?;
        let series = asked.overlapping(policy, &model);
        let mut backtest = Backtest::new(policy, model, series).map_err(|error| invalid(error.to_string()))?;
        if let Some(capacity) = asked.observed.current.at(backtest.scene().time(0)) {
            // The cast saturates; what is recorded is a capacity.
            backtest = backtest.starting_with(capacity.round() as contract::Capacity);
        }
        let (supply, changes) = backtest.replay(backtest.scene().steps(), &mut |_| {});
        let scene = backtest.scene();
        let before = window.start.since(scene.time(0)).as_micros() / scene.model.step.as_micros().max(1);
        let steps = usize::try_from(before).unwrap_or(usize::MAX).min(scene.steps())..scene.steps();
        let compared = asked.observed.compare(scene, &supply, steps.clone());
        if compared.steps == 0 {
            let last = duration_text(self.last);
            let load = policy.metrics.get(usize::from(scene.model.metric)).map_or("?", |metric| &metric.name);
            let loads = steps.filter(|step| scene.load.values[*step].is_some()).count();
            bail!(
                "no step in the last {last} has both the load and the real capacity: metric `{load}` is known in {loads} \
                 steps of {}, and in none of those is skala_fleet_current and skala_fleet_serving",
                duration_text(scene.model.step),
            );
        }
        let (derived, warmup) = (self.model.is_none(), self.history());
        Ok(Found { policy, backtest, window, steps, warmup, derived, asked, supply, changes, compared })
    }
}

/// The policies that the configuration names, with its sources and providers.
fn policies(config: &SkalaToml) -> anyhow::Result<PolicySet> {
    let (set, report) = config::load_policies(&config.daemon.policies, Some(config));
    if report.has_errors() {
        return Err(invalid(diagnostics::render(&report).trim_end()));
    }
    Ok(set)
}
