//! A cloud's own scaler of a group: what it is set to, and how its right to act is suspended and given back.
//!
//! Plain data, so that one writer of policies serves every cloud, and an [`Undo`] that outlives the process. Whoever
//! suspends records the undo first: [`Native::prepare`] only reads, [`Native::suspend`] does no more than was prepared,
//! and both it and [`Native::restore`] may be tried again after a crash.

use crate::{BoxFuture, Capacity, GroupId, ProviderError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What a provider can do with its cloud's own scaler.
pub trait Native: Send + Sync {
    /// What the cloud's own scaler of a group is set to, whether or not it may act now.
    ///
    /// # Errors
    /// `NotFound` when there is no such group; a group without a scaler is a policy without rules.
    fn describe<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<NativePolicy, ProviderError>>;

    /// What would have to be switched to take away the scaler's right to act, and how it stands now. Reads only; nothing
    /// that is off already is in it, so undoing never switches on what somebody else had switched off.
    ///
    /// # Errors
    /// As [`Native::describe`]; `Invalid` when this scaler cannot be suspended without losing something, with what to do.
    fn prepare<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<Undo, ProviderError>>;

    /// Makes the switches of an undo that was prepared and recorded. Reads again first; a switch that stands as wanted is
    /// left alone, so a second attempt is harmless.
    ///
    /// # Errors
    /// `Conflict` when something stands neither as it was prepared nor as wanted, or more would have to be switched by
    /// now: prepare again. `Unclear` when it may have taken effect: try again.
    fn suspend<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Switches back to what the undo says. Reads again first; what stands so already is left alone, and what was deleted
    /// meanwhile stays deleted.
    ///
    /// # Errors
    /// `Conflict` when something stands neither as it was nor as it was suspended: somebody has set it since, and a person
    /// has to choose. `Unclear` when it may have taken effect: try again.
    fn restore<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>>;
}

/// One setting of the cloud that suspends a scaler, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// What is switched, as a person would look for it: `process AlarmNotification`, `autoscaler web`.
    pub what: Box<str>,
    /// The setting in the cloud's own word: `suspended`, `mode`, `enabled`.
    pub setting: Box<str>,
    /// How it stood; `None`: it was not there.
    pub was: Option<Box<str>>,
    /// How it stands while suspended; `None`: it is taken away.
    pub becomes: Option<Box<str>>,
}

impl Switch {
    /// What to do with a switch of which the cloud now says `now`, on the way to `to` from `from`.
    ///
    /// # Errors
    /// `Conflict` when it stands in neither position.
    fn toward(
        &self,
        now: Option<&str>,
        from: &Option<Box<str>>,
        to: &Option<Box<str>>,
    ) -> Result<Needed, ProviderError> {
        match now {
            now if now == to.as_deref() => Ok(Needed::Nothing),
            now if now == from.as_deref() => Ok(Needed::Change),
            now => Err(ProviderError::Conflict {
                what: format!(
                    "{}: {} is {}, neither {} nor {}: somebody has set it since",
                    self.what,
                    self.setting,
                    shown(now),
                    shown(self.was.as_deref()),
                    shown(self.becomes.as_deref())
                )
                .into(),
            }),
        }
    }

    /// What suspending needs, by what the cloud says now.
    ///
    /// # Errors
    /// `Conflict` when it stands in neither position.
    pub fn to_suspend(&self, now: Option<&str>) -> Result<Needed, ProviderError> {
        self.toward(now, &self.was, &self.becomes)
    }

    /// What restoring needs, by what the cloud says now.
    ///
    /// # Errors
    /// `Conflict` when it stands in neither position.
    pub fn to_restore(&self, now: Option<&str>) -> Result<Needed, ProviderError> {
        self.toward(now, &self.becomes, &self.was)
    }
}

/// How to undo a suspension: every switch with both of its positions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The switches, in the order in which they are made; undoing goes the other way round.
    pub switches: Vec<Switch>,
}

/// What a switch needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// It stands as wanted.
    Nothing,
    /// It has to be written.
    Change,
}

fn shown(position: Option<&str>) -> &str {
    position.unwrap_or("not there")
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (was, becomes) = (shown(self.was.as_deref()), shown(self.becomes.as_deref()));
        write!(f, "{}: {} {was} -> {becomes}", self.what, self.setting)
    }
}

/// What a cloud's own scaler of one group is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct NativePolicy {
    /// The scaler as a person would look for it: `autoscaler web`, `HorizontalPodAutoscaler shop/web`.
    pub name: Box<str>,
    /// What it may do at present.
    pub mode: NativeMode,
    /// Smallest capacity, where it has one.
    pub min: Option<Capacity>,
    /// Largest capacity, where it has one.
    pub max: Option<Capacity>,
    /// Capacity that is kept at least while metrics are unknown (Azure's `default`).
    pub when_blind: Option<Capacity>,
    /// Its rules, in the cloud's order.
    pub rules: Vec<NativeRule>,
    /// How it adds.
    pub scale_out: NativePace,
    /// How it removes.
    pub scale_in: NativePace,
    /// An instance counts after this long, where it says so.
    pub warmup: Option<Duration>,
    /// How often it decides, where that is known.
    pub interval: Option<Duration>,
    /// What has no counterpart in this form, each a sentence for the person who takes over.
    pub notes: Vec<Box<str>>,
}

impl NativePolicy {
    /// A scaler of this name that is set to nothing.
    pub fn named(name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            mode: NativeMode::On,
            min: None,
            max: None,
            when_blind: None,
            rules: Vec::new(),
            scale_out: NativePace::default(),
            scale_in: NativePace::default(),
            warmup: None,
            interval: None,
            notes: Vec::new(),
        }
    }

    /// Notes something for the person who takes over.
    pub fn note(&mut self, text: impl Into<Box<str>>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }
}

/// What a cloud's own scaler may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeMode {
    /// Add and remove.
    On,
    /// Add alone.
    ScaleOutOnly,
    /// Nothing: it is switched off or suspended.
    Off,
}

/// One rule of a cloud's own scaler.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeRule {
    /// Its name at the cloud; one is made up where the cloud has none.
    pub name: Box<str>,
    /// What it does.
    pub kind: NativeKind,
}

/// What a rule does, in the forms that all clouds' rules have.
#[derive(Clone, Debug, PartialEq)]
pub enum NativeKind {
    /// Keeps an average over instances at a target: capacity x value / target.
    Average {
        /// The average.
        metric: NativeMetric,
        /// Where it is kept, in the metric's unit.
        target: f64,
        /// How far from the target nothing changes.
        band: Band,
        /// Whether it may remove.
        removes: bool,
    },
    /// Divides a total by what one instance should carry.
    Total {
        /// The total.
        metric: NativeMetric,
        /// One instance's share.
        target: f64,
        /// How far from the target nothing changes.
        band: Band,
        /// Whether it may remove.
        removes: bool,
    },
    /// Changes capacity beyond thresholds.
    Steps {
        /// What is compared.
        metric: NativeMetric,
        /// The rows. Where several match, the farthest counts.
        rows: Vec<NativeStep>,
    },
    /// Nothing is removed while a metric is beyond a limit.
    Veto {
        /// What is compared.
        metric: NativeMetric,
        /// True: while it is above, false: below.
        above: bool,
        /// The limit, in the metric's unit.
        limit: f64,
    },
    /// Other bounds for a time.
    Schedule(NativeSchedule),
    /// One that is known and not expressible here; the text says what it does and why it is not.
    Other(Box<str>),
}

/// How far off its target a value changes nothing, as shares of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Band {
    /// Above it.
    pub out: f64,
    /// Below it.
    pub r#in: f64,
}

/// One threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeStep {
    /// True: it counts above the threshold, false: below.
    pub above: bool,
    /// The threshold, in the metric's unit.
    pub limit: f64,
    /// How capacity changes: positive adds.
    pub change: NativeChange,
}

/// A change of capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NativeChange {
    /// By so many instances.
    Instances(i64),
    /// By so many percent of what is there.
    Percent(f64),
}

/// Other bounds for a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeSchedule {
    /// When it begins: minute hour day month weekday.
    pub cron: Box<str>,
    /// When it ends, as a cron expression ...
    pub until: Option<Box<str>>,
    /// ... or this long after it began. Neither: it never ends by itself.
    pub lasts: Option<Duration>,
    /// The IANA time zone.
    pub tz: Box<str>,
    /// Smallest capacity meanwhile.
    pub min: Option<Capacity>,
    /// Largest capacity meanwhile.
    pub max: Option<Capacity>,
}

/// What a rule reads.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeMetric {
    /// Its name at the cloud: `AWS/EC2 CPUUtilization`.
    pub name: Box<str>,
    /// A short name for it, of lower-case letters, digits and `_`.
    pub short: Box<str>,
    /// What its number means.
    pub unit: NativeUnit,
    /// The same number in PromQL.
    pub query: Query,
    /// Over how long the cloud averages it.
    pub window: Option<Duration>,
    /// How old a sample of that exporter can be when it comes, where that is much.
    pub max_age: Option<Duration>,
}

/// What a metric's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeUnit {
    /// 0 to 1.
    Ratio,
    /// 0 to 100.
    Percent,
    /// A number of things, or things a second.
    Count,
    /// Seconds.
    Seconds,
}

/// A metric's PromQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// The scaler itself asks this of a Prometheus.
    Exact(Box<str>),
    /// What the usual exporter of this metric offers, named; labels may differ where it runs.
    Probable {
        /// The query.
        text: Box<str>,
        /// Whose it is: `node_exporter`.
        exporter: Box<str>,
    },
}

impl Query {
    /// The query's text.
    pub fn text(&self) -> &str {
        match self {
            Query::Exact(text) | Query::Probable { text, .. } => text,
        }
    }
}

/// How a cloud's own scaler moves in one direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativePace {
    /// It cannot move in this direction at all.
    pub off: bool,
    /// The stabilization window, or for how long a threshold must be crossed; `None`: not said.
    pub window: Option<Duration>,
    /// Nothing more in this direction for this long after a change.
    pub cooldown: Option<Duration>,
    /// Scale-in alone: nothing for this long after a scale-out.
    pub after_scale_out: Option<Duration>,
    /// How fast; empty and known: all at once.
    pub rates: Vec<NativeRate>,
    /// The strictest of several rates counts, not the most generous.
    pub strictest: bool,
}

/// At most so much in so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeRate {
    /// How much; positive in both directions.
    pub amount: NativeChange,
    /// In how long.
    pub per: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_moves_only_between_its_two_positions() {
        let switch = Switch {
            what: "autoscaler web".into(),
            setting: "mode".into(),
            was: Some("ON".into()),
            becomes: Some("OFF".into()),
        };
        assert_eq!(switch.to_suspend(Some("ON")).expect("as it was"), Needed::Change);
        assert_eq!(switch.to_suspend(Some("OFF")).expect("again"), Needed::Nothing);
        assert_eq!(switch.to_restore(Some("OFF")).expect("as left"), Needed::Change);
        assert_eq!(switch.to_restore(Some("ON")).expect("again"), Needed::Nothing);
        for now in [Some("ONLY_SCALE_OUT"), None] {
            for answer in [switch.to_suspend(now), switch.to_restore(now)] {
                let error = answer.expect_err("neither");
                assert!(matches!(error, ProviderError::Conflict { .. }), "{error}");
                assert!(error.to_string().contains("neither ON nor OFF"), "{error}");
            }
        }
        let added = Switch { was: None, becomes: Some("true".into()), ..switch };
        assert_eq!(added.to_suspend(None).expect("it was not there"), Needed::Change);
        assert_eq!(added.to_string(), "autoscaler web: mode not there -> true");
    }
}
