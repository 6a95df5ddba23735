//! A policy as the core reads it: every default filled in, every name resolved, every unit converted.
//!
//! Text comes in through [`crate::policy::parse`]; nothing here fails or allocates once it is built.

use super::drain::Drain;
use super::expression::Expression;
use super::group::{Age, Group, Spread};
use super::objective::Objective;
use super::places::{Place, Places, Setting};
use super::queueing::{Latency, Queue};
use super::tables::PolicyTest;
use contract::Capacity;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The interval of a fleet when neither its policy nor skala.toml says one.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(15);
/// An instance serves after this long running, unless the policy says otherwise.
pub const WARMUP_DEFAULT: Duration = Duration::from_secs(60);
/// How long an instance is taken to boot before anything was learned.
pub const BOOT_DEFAULT: Duration = Duration::from_secs(120);
/// A reading older than this is stale, unless the metric says otherwise.
pub const MAX_AGE_DEFAULT: Duration = Duration::from_secs(180);
/// What was asked for and has not come after this long counts as failed (safety rule 5).
pub const LAUNCH_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// All policies of a directory, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySet {
    /// The fleets, sorted by id.
    pub fleets: Vec<Arc<Policy>>,
    /// The `[[test]]` tables.
    pub tests: Vec<PolicyTest>,
    /// The files' names, as [`Place::file`] counts them.
    pub files: Vec<Box<str>>,
    /// The interval of fleets that say none.
    pub default_interval: Duration,
    /// A short hash of that interval and the files' names and contents: what decides alike has the same revision
    /// everywhere.
    pub revision: Box<str>,
}

impl PolicySet {
    /// The fleet with this id.
    pub fn fleet(&self, id: &str) -> Option<&Arc<Policy>> {
        self.fleets.binary_search_by(|fleet| fleet.id.as_ref().cmp(id)).ok().map(|at| &self.fleets[at])
    }

    /// The name of the file that a place is in.
    pub fn file(&self, place: Place) -> &str {
        self.files.get(place.file as usize).map_or("", |name| name)
    }
}

/// One fleet's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The fleet's name.
    pub id: Box<str>,
    /// Free text, shown everywhere.
    pub owner: Box<str>,
    /// What skala may do.
    pub mode: Mode,
    /// Smallest capacity over all groups.
    pub min: Capacity,
    /// Largest capacity over all groups.
    pub max: Capacity,
    /// How often the fleet is decided.
    pub interval: Duration,
    /// An instance serves after this long running.
    pub warmup: Duration,
    /// How long an instance takes to boot, until it is learned.
    pub boot: Duration,
    /// How several recommendations become one.
    pub combine: Combine,
    /// What a change of desired by others means.
    pub on_external_change: OnExternalChange,
    /// What another controller on the same group means.
    pub foreign: ForeignPolicy,
    /// Fleets with a larger number are served first when the brakes are short.
    pub priority: i32,
    /// The groups, in the order of the file; at least one.
    pub groups: Box<[Group]>,
    /// How capacity is spread over several groups.
    pub spread: Spread,
    /// Which of two instances that are alike leaves first.
    pub leaves_first: Age,
    /// What is done before an instance is terminated.
    pub drain: Option<Drain>,
    /// The metrics, sorted by name.
    pub metrics: Box<[Metric]>,
    /// The rules, in the order of the file.
    pub rules: Box<[Rule]>,
    /// Limits on scale-out.
    pub scale_out: Direction,
    /// Limits on scale-in.
    pub scale_in: Direction,
    /// What to do when every rule has been blind for a while.
    pub on_missing: Option<OnMissing>,
    /// Where each setting stands.
    pub places: Places,
}

impl Policy {
    /// The longest age that a reading of this fleet may have: what a gap in its readings is measured against.
    pub fn max_age(&self) -> Duration {
        self.metrics.iter().map(|metric| metric.max_age).max().unwrap_or(MAX_AGE_DEFAULT)
    }

    /// The longest time between two usable recommendations that still counts as unbroken (safety rule 1).
    pub fn gap_max(&self) -> Duration {
        (self.interval * 3).max(self.max_age())
    }

    /// The scale-in window: never shorter than two intervals (safety rule 1).
    pub fn scale_in_window(&self) -> Duration {
        self.scale_in.stabilization.max(self.interval * 2)
    }

    /// Whether there is more than one place for the fleet's capacity, or instances count for more than one.
    pub fn has_choice(&self) -> bool {
        self.groups.len() > 1 || self.groups.iter().any(|group| group.weight != 1)
    }

    /// The same fleet for replays of recorded load: they know one kind of instance, in one place without bounds of its
    /// own, and nothing of the work that one has to let go of, so it leaves at once. What several groups could hold at most
    /// still bounds it.
    pub fn for_replay(&self) -> Policy {
        let replayed = if self.has_choice() { self.in_one_group() } else { self.clone() };
        Policy { drain: None, ..replayed }
    }

    fn in_one_group(&self) -> Policy {
        let mut one = self.clone();
        let most = self
            .groups
            .iter()
            .try_fold(0_u32, |sum, group| group.max.map(|max| sum.saturating_add(max.saturating_mul(group.weight))));
        one.max = most.map_or(self.max, |most| most.min(self.max)).max(self.min);
        one.groups = self.groups.iter().take(1).cloned().collect();
        for group in &mut one.groups {
            (group.min, group.max, group.weight) = (None, None, 1);
        }
        one
    }

    /// How long a write may take to show at the cloud (safety rule 2).
    pub fn settle(&self) -> Duration {
        (self.interval * 2).max(Duration::from_secs(60))
    }

    /// The setting's name as it stands in the file: `scale_in.stabilization`, `rule.requests`.
    pub fn setting_name(&self, setting: Setting) -> Cow<'static, str> {
        match setting {
            Setting::Metric(at) => format!("metric.{}", self.metrics[at as usize].name).into(),
            Setting::Rule(at) => format!("rule.{}", self.rules[at as usize].name).into(),
            other => other.key().into(),
        }
    }

    /// Where the setting stands; the fleet's own header when it is a default.
    pub fn place(&self, setting: Setting) -> Place {
        match setting {
            Setting::Metric(at) => self.metrics[at as usize].place,
            Setting::Rule(at) => self.rules[at as usize].place,
            Setting::Group(at) => self.groups[at as usize].place,
            other => self.places.get(other),
        }
    }
}

/// What skala may do with a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    On,
    /// Plan and record, never act.
    Observe,
    /// Add, never remove.
    ScaleOutOnly,
    /// Nothing.
    Off,
}

impl Mode {
    /// The word that policy files use.
    pub fn word(self) -> &'static str {
        match self {
            Mode::On => "on",
            Mode::Observe => "observe",
            Mode::ScaleOutOnly => "scale-out-only",
            Mode::Off => "off",
        }
    }
}

/// How several recommendations become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The largest: every rule is satisfied.
    Max,
    /// The smallest.
    Min,
}

/// What a change of desired by others means (safety rule 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExternalChange {
    /// Nothing: it is the new truth.
    Adopt,
    /// A raise stops scale-in for one window.
    HoldScaleIn,
    /// Any change stops both directions for one window.
    Hold,
    /// It is not respected: the next decision goes on at once.
    Override,
}

/// What another controller on the same group means (safety rule 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignPolicy {
    /// Refuse to write.
    Refuse,
    /// One that is known to only add is welcome, and what it adds is an external change as any other.
    AllowScaleOut,
}

/// What a metric's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 1; above 1.5 it is missing, not 150 %.
    Ratio,
    /// 0 to 100, divided by 100 before any use.
    Percent,
    /// A number of things, or things a second.
    Count,
    /// Seconds.
    Seconds,
}

/// Label names and values.
pub type Labels = Box<[(Box<str>, Box<str>)]>;

/// One metric of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name in the policy.
    pub name: Box<str>,
    /// The source's name in skala.toml.
    pub source: Arc<str>,
    /// The query's text; the same text in many fleets is one shared string.
    pub query: Arc<str>,
    /// Labels that pick this fleet's series, sorted; empty: exactly one series must come back.
    pub select: Labels,
    /// What the number means.
    pub unit: Unit,
    /// A reading older than this is stale.
    pub max_age: Duration,
    /// The source is asked for this long ago.
    pub offset: Duration,
    /// A query for the number of instances that the value covers.
    pub members: Option<Arc<str>>,
    /// The share of serving instances that must be covered for the value to recommend less, 0 to 1.
    pub min_members: f64,
    /// Proof of life: when this query answers above zero, absent means 0.
    pub absent_zero_if: Option<Arc<str>>,
    /// The label that names the instance: one value per instance.
    pub by: Option<Box<str>>,
    /// A query for the sample's time, instead of the one derived from the query.
    pub freshness: Option<Arc<str>>,
    /// Where it stands.
    pub place: Place,
}

/// One rule of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name; the kind's by default.
    pub name: Box<str>,
    /// The calculation.
    pub kind: RuleKind,
    /// Where it stands.
    pub place: Place,
}

/// The calculations. A metric is an index into [`Policy::metrics`].
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// Keep an average over instances at a target; capacity moves it inversely.
    Utilization {
        /// The average, or one value per instance.
        metric: u16,
        /// The target, in the metric's unit after conversion (percent becomes 0 to 1).
        target: f64,
        /// How far off the target nothing changes.
        tolerance: Tolerance,
    },
    /// Divide a total by what one instance should carry.
    PerInstance {
        /// The fleet's total.
        metric: u16,
        /// One instance's share.
        target: f64,
        /// How far off the target nothing changes.
        tolerance: Tolerance,
    },
    /// A table of thresholds.
    Step {
        /// The metric compared; thresholds are in its unit after conversion (percent becomes 0 to 1).
        metric: u16,
        /// The table, in the order of the file.
        steps: Box<[StepRow]>,
    },
    /// Drain a backlog in time.
    Queue(Queue),
    /// Keep the share of requests that wait too long.
    Latency(Latency),
    /// One number from several metrics.
    Expression(Expression),
    /// Other bounds while it is open.
    Schedule(Box<Schedule>),
    /// Keep utilization under a limit for a share of the time, by forecast.
    Objective(Objective),
    /// A veto while it is true.
    Guard {
        /// The metric compared.
        metric: u16,
        /// True above or below this.
        when: Threshold,
        /// What it blocks.
        blocks: Blocks,
        /// How long it goes on after it was last true.
        linger: Duration,
    },
}

/// The band around a target in which nothing changes, as ratios: 0.1 is 10 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Above the target.
    pub out: f64,
    /// Below the target.
    pub r#in: f64,
}

/// A comparison with a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// True while the value is larger.
    Above(f64),
    /// True while the value is smaller.
    Below(f64),
}

impl Threshold {
    /// Whether the value is beyond the threshold.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Threshold::Above(limit) => value > limit,
            Threshold::Below(limit) => value < limit,
        }
    }
}

/// One row of a step rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRow {
    /// When it applies.
    pub when: Threshold,
    /// Adds for `Above`, removes for `Below`; either may stand under either.
    pub change: Change,
}

/// How a step changes capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// More instances; a percentage rounds up.
    Add(Amount),
    /// Fewer instances; a percentage rounds down, at least 1.
    Remove(Amount),
}

/// A number of instances or a share of the capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Instances.
    Instances(Capacity),
    /// Percent: 50.0 is a half.
    Percent(f64),
}

/// A schedule: bounds while it is open. It is state, not an edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// When it opens, in wall-clock time of `tz`.
    pub cron: croner::Cron,
    /// When it closes.
    pub closes: Closes,
    /// The time zone.
    pub tz: jiff::tz::TimeZone,
    /// It opens this much earlier.
    pub lead: Duration,
    /// The fleet's min while it is open.
    pub min: Option<Capacity>,
    /// The fleet's max while it is open.
    pub max: Option<Capacity>,
}

/// When a schedule closes.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // There is one for each schedule, and a schedule is behind a Box already.
pub enum Closes {
    /// At the next match after it opened.
    Until(croner::Cron),
    /// This long after it opened.
    After(Duration),
}

/// The directions a guard blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// Scale-in.
    In,
    /// Scale-out.
    Out,
    /// Both.
    Both,
}

/// The limits of one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// The stabilization window.
    pub stabilization: Duration,
    /// No further action in this direction for this long after one.
    pub cooldown: Duration,
    /// Scale-in only: none for this long after a scale-out.
    pub after_scale_out: Duration,
    /// How fast; empty: no limit.
    pub rate: Box<[Rate]>,
    /// Which of several rates counts.
    pub select: Select,
}

impl Direction {
    /// Scale-out when the policy is silent.
    pub fn scale_out_default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            stabilization: Duration::ZERO,
            cooldown: Duration::ZERO,
            after_scale_out: Duration::ZERO,
            rate: Box::new([
                Rate { amount: Amount::Percent(100.0), per: minute },
                Rate { amount: Amount::Instances(4), per: minute },
            ]),
            select: Select::Max,
        }
    }

    /// Scale-in when the policy is silent.
    pub fn scale_in_default() -> Self {
        Self {
            stabilization: Duration::from_secs(600),
            cooldown: Duration::ZERO,
            after_scale_out: Duration::ZERO,
            rate: Box::new([Rate { amount: Amount::Percent(10.0), per: Duration::from_secs(60) }]),
            select: Select::Max,
        }
    }
}

/// At most so much in so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How much.
    pub amount: Amount,
    /// In how long.
    pub per: Duration,
}

/// Which of several rates counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The most generous.
    Max,
    /// The strictest.
    Min,
    /// The direction is off.
    Off,
}

/// What to do when every rule has been blind for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnMissing {
    /// After this long.
    pub after: Duration,
    /// Raise desired to this; never lowers.
    pub raise_to: Capacity,
}
