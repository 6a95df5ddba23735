//! What a simulated cloud is made of, as skala.toml or a test describes it. Only numbers and names are checked here;
//! what they mean is `group.rs` and `script.rs`.

use crate::script::Script;
use crate::span::{Span, SpanVisitor};
use contract::{CAPACITY_MAX, Capacity, Foreign, GuardKind};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One simulated cloud: the keys of `[provider.NAME]` with `kind = "sim"`, without `kind` itself.
///
/// ```toml
/// seed = 7
/// boot = { min = "30s", mean = "70s", max = "10m" }    # or boot = "60s", for exactly that long
/// groups.web = { min = 2, max = 40, desired = 4, zones = ["a", "b"], price_per_hour = 0.1 }
/// groups."servers:batch" = { desired = 1 }
/// faults = [
///     { from = "10m", until = "15m", zone = "a", fault = "out-of-capacity" },
///     { from = "20m", until = "22m", operation = "raise", fault = "error-after-effect" },
///     { from = "30m", until = "31m", group = "web", fault = { throttle = { retry_after = "10s" } } },
/// ]
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where all chance comes from.
    pub seed: u64,
    /// How long an instance takes from its launch until it runs.
    pub boot: Boot,
    /// How long a terminated instance is still shown.
    pub terminating: Span,
    /// How soon the cloud tries a failed launch again.
    pub retry: Span,
    /// Share of launches that fail, 0 to 1.
    pub launch_failures: f64,
    /// Share of the running instances that die in an hour; above 1 is a short life.
    pub dies_per_hour: f64,
    /// Most instances over all groups.
    pub quota: Option<Capacity>,
    /// How long every call takes.
    pub latency: Span,
    /// How far reads lag behind.
    pub stale: Span,
    /// How many calls the account may make.
    pub rate: Option<Rate>,
    /// Groups in one page of an observation.
    pub page: u32,
    /// How stale plans are kept out.
    pub guard: Guard,
    /// How long a write claims its group for this daemon.
    pub claim: Span,
    /// The groups by name; a name's start (`servers:`, `deployment:`) tells its kind.
    pub groups: BTreeMap<String, GroupSettings>,
    /// What goes wrong, and when.
    pub faults: Vec<Script>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            boot: Boot::exactly(Span::secs(60)),
            terminating: Span::secs(20),
            retry: Span::secs(30),
            launch_failures: 0.0,
            dies_per_hour: 0.0,
            quota: None,
            latency: Span::default(),
            stale: Span::default(),
            rate: None,
            page: 100,
            guard: Guard::ReadThenWrite,
            claim: Span::secs(120),
            groups: BTreeMap::new(),
            faults: Vec::new(),
        }
    }
}

/// One group as it is when the cloud starts, with `desired` instances already running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSettings {
    /// The cloud's own smallest capacity.
    pub min: Capacity,
    /// The cloud's own largest capacity.
    pub max: Capacity,
    /// What it holds at the start.
    pub desired: Capacity,
    /// Its zones; instances are spread over them.
    pub zones: Vec<Box<str>>,
    /// What one instance costs in an hour, from its launch until it is gone.
    pub price_per_hour: f64,
    /// Its own boot time, when it differs from the cloud's.
    pub boot: Option<Boot>,
    /// The cloud's own scalers, which only show: `foreign = [{ name = "policy cpu50", removes = true }]`.
    pub foreign: Vec<Foreign>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            min: 0,
            max: 100,
            desired: 1,
            zones: vec!["a".into()],
            price_per_hour: 0.0,
            boot: None,
            foreign: Vec::new(),
        }
    }
}

/// How long boots take: one duration (`"90s"`) for exactly that long, or `{ min, mean, max }` with a long tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// The fastest.
    pub min: Span,
    /// The mean, before `max` cuts the tail.
    pub mean: Span,
    /// The slowest.
    pub max: Span,
}

impl Boot {
    /// Every boot takes exactly this long.
    pub const fn exactly(span: Span) -> Self {
        Self { min: span, mean: span, max: span }
    }

    pub(crate) fn later_by(&self, span: Duration) -> Self {
        Self { min: Span(self.min.0 + span), mean: Span(self.mean.0 + span), max: Span(self.max.0 + span) }
    }
}

impl<'de> Deserialize<'de> for Boot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BootVisitor)
    }
}

struct BootVisitor;

impl<'de> Visitor<'de> for BootVisitor {
    type Value = Boot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration like \"90s\", or { min = \"30s\", mean = \"90s\", max = \"10m\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Boot, E> {
        SpanVisitor.visit_str(text).map(Boot::exactly)
    }

    fn visit_f64<E: de::Error>(self, secs: f64) -> Result<Boot, E> {
        SpanVisitor.visit_f64(secs).map(Boot::exactly)
    }

    fn visit_u64<E: de::Error>(self, secs: u64) -> Result<Boot, E> {
        SpanVisitor.visit_u64(secs).map(Boot::exactly)
    }

    fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Boot, E> {
        SpanVisitor.visit_i64(secs).map(Boot::exactly)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Boot, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            min: Span,
            mean: Span,
            max: Span,
        }
        let Table { min, mean, max } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Boot { min, mean, max })
    }
}

/// A token bucket over all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls a second, on the long run.
    pub per_second: u32,
    /// Calls at once.
    pub burst: u32,
}

/// How the cloud keeps stale plans out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// No token: the provider compares desired just before it writes.
    ReadThenWrite,
    /// Every observation has a token, and a write with an old one is refused.
    Atomic,
}

impl Guard {
    /// The contract's word for it.
    pub fn kind(self) -> GuardKind {
        match self {
            Guard::ReadThenWrite => GuardKind::ReadThenWrite,
            Guard::Atomic => GuardKind::Atomic,
        }
    }
}

/// Settings that no cloud could have; the text names the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSettings(pub String);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidSettings {}

impl Settings {
    /// Checks everything that types do not.
    ///
    /// # Errors
    /// The first value that makes no sense, with its key.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        self.boot.check("boot")?;
        share("launch_failures", self.launch_failures)?;
        wrong_unless(self.dies_per_hour.is_finite() && self.dies_per_hour >= 0.0, || {
            format!("dies_per_hour is {}, must be 0 or more", self.dies_per_hour)
        })?;
        wrong_unless(self.page > 0, || "page is 0, must be 1 or more".into())?;
        // Failed launches tried again without a pause would keep one moment busy for ever.
        wrong_unless(self.retry.0 >= Duration::from_secs(1), || "retry must be at least 1s".into())?;
        if let Some(rate) = self.rate {
            wrong_unless(rate.per_second > 0 && rate.burst > 0, || "rate: both numbers must be 1 or more".into())?;
        }
        for (name, group) in &self.groups {
            group.check(name)?;
        }
        for (index, script) in self.faults.iter().enumerate() {
            script.check(index)?;
            if let Some(group) = script.group.as_deref() {
                wrong_unless(self.groups.contains_key(group), || format!("faults[{index}]: no group {group:?}"))?;
            }
        }
        Ok(())
    }
}

impl GroupSettings {
    pub(crate) fn check(&self, name: &str) -> Result<(), InvalidSettings> {
        let Self { min, max, desired, zones, price_per_hour, boot, foreign: _ } = self;
        wrong_unless(*max <= CAPACITY_MAX, || format!("groups.{name}: max is {max}, above {CAPACITY_MAX}"))?;
        wrong_unless(min <= desired && desired <= max, || {
            format!("groups.{name}: min {min}, desired {desired} and max {max} are out of order")
        })?;
        wrong_unless(!zones.is_empty(), || format!("groups.{name}: zones is empty"))?;
        wrong_unless(price_per_hour.is_finite() && *price_per_hour >= 0.0, || {
            format!("groups.{name}: price_per_hour is {price_per_hour}, must be 0 or more")
        })?;
        boot.map_or(Ok(()), |boot| boot.check(&format!("groups.{name}: boot")))
    }
}

impl Boot {
    fn check(&self, key: &str) -> Result<(), InvalidSettings> {
        wrong_unless(self.min <= self.mean && self.mean <= self.max, || format!("{key}: min, mean, max out of order"))
    }
}

pub(crate) fn share(key: &str, value: f64) -> Result<(), InvalidSettings> {
    wrong_unless((0.0..=1.0).contains(&value), || format!("{key} is {value}, must be a share from 0 to 1"))
}

pub(crate) fn wrong_unless(right: bool, what: impl FnOnce() -> String) -> Result<(), InvalidSettings> {
    if right { Ok(()) } else { Err(InvalidSettings(what())) }
}
