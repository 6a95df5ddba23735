//! One fleet's table, complete, to a [`Policy`].

use super::diagnostic::{At, Finding, Findings};
use super::parse::{ParseOptions, QueryError, QueryFacts};
use super::reader::{Fault, Reader};
use super::tree::{Table, Value};
use super::{
    Age, Amount, Combine, Direction, Drain, ForeignPolicy, Group, Mode, OnExternalChange, OnMissing, Places, Policy,
    Spread,
};
use super::{BOOT_DEFAULT, Rate, Select, Setting, WARMUP_DEFAULT};
use super::{checks, drain, group, metric, rule, units};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most groups, metrics and rules of a fleet, and rates of a direction: far beyond use, and indices stay small.
pub(super) const PARTS_MAX: usize = 64;
const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// A query's source and text.
type QueryKey = (Option<Arc<str>>, Arc<str>);

/// What all fleets of a directory share while they are read.
pub(super) struct Context<'f> {
    pub findings: &'f Findings<'f>,
    pub options: ParseOptions<'f>,
    texts: BTreeSet<Arc<str>>,
    queries: BTreeMap<QueryKey, Result<QueryFacts, QueryError>>,
}

impl<'f> Context<'f> {
    pub fn new(findings: &'f Findings<'f>, options: ParseOptions<'f>) -> Self {
        Self { findings, options, texts: BTreeSet::new(), queries: BTreeMap::new() }
    }

    /// The same text in many fleets is kept once.
    pub fn intern(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(&text) {
            return Arc::clone(known);
        }
        self.texts.insert(Arc::clone(&text));
        text
    }

    /// The sources that a composite asks; `None`: it is none, as far as is known.
    pub fn composite(&self, source: &str) -> Option<&'f [&'f str]> {
        self.options.composites.iter().find(|(name, _)| *name == source).map(|(_, parts)| parts.as_slice())
    }

    /// Asks the shell about a query, once for each text.
    pub fn query(&mut self, source: Option<&Arc<str>>, text: &Arc<str>) -> Result<QueryFacts, QueryError> {
        let Some(check) = self.options.query else { return Ok(QueryFacts::default()) };
        let key = (source.cloned(), Arc::clone(text));
        self.queries.entry(key).or_insert_with(|| check(source.map(|name| &**name), text)).clone()
    }
}

/// Reads a fleet; `own` is its table before anything was laid under it. `None` when it has an error or was spoiled.
pub(super) fn read(context: &mut Context<'_>, name: &str, at: At, table: &Table, own: &Table) -> Option<Policy> {
    let before = context.findings.errors();
    let draft = Draft::read(context, Reader::new(context.findings, at, table));
    let policy = draft.into_policy(context, name, at, table, own);
    policy.filter(|_| context.findings.errors() == before && !table.broken)
}

/// Reads `[defaults]` or a template, which need not be complete.
pub(super) fn read_layer(context: &mut Context<'_>, at: At, table: &Table) {
    for (key, why) in [("group", "a group belongs to one fleet"), ("extends", "only a fleet extends a template")] {
        if let Some(entry) = table.get(key) {
            context.findings.error(entry.at, Finding::new(format!("`{key}` cannot stand here")).hint(why));
        }
    }
    read_partly(context, at, table);
}

/// Reads what is there, for its mistakes alone.
pub(super) fn read_partly(context: &mut Context<'_>, at: At, table: &Table) {
    Draft::read(context, Reader::new(context.findings, at, table).partial(true));
}

/// A fleet as far as it could be read.
struct Draft {
    owner: Box<str>,
    mode: Option<Mode>,
    min: Option<u32>,
    max: Option<u32>,
    interval: Duration,
    warmup: Duration,
    boot: Duration,
    combine: Combine,
    on_external_change: OnExternalChange,
    foreign: ForeignPolicy,
    priority: i32,
    groups: Vec<Group>,
    spread: Spread,
    leaves_first: Age,
    drain: Option<Drain>,
    metrics: metric::Drafts,
    rules: Vec<super::Rule>,
    scale_out: Direction,
    scale_in: Direction,
    on_missing: Option<OnMissing>,
    places: Places,
}

impl Draft {
    fn read(context: &mut Context<'_>, mut reader: Reader<'_>) -> Self {
        let r = &mut reader;
        r.entry("extends");
        let owner = r.take("owner", units::line(256)).map_or_else(Box::default, |owner| owner.as_ref().into());
        let modes =
            [("on", Mode::On), ("observe", Mode::Observe), ("scale-out-only", Mode::ScaleOutOnly), ("off", Mode::Off)];
        let mode = r.need_or(
            "mode",
            units::choice(&modes),
            Some("say what skala may do: \"on\", \"observe\", \"scale-out-only\" or \"off\""),
        );
        let min = r.need_or("min", units::capacity, Some("the smallest capacity over all groups: min = 2"));
        let max = r.need_or("max", units::capacity, Some("the largest capacity over all groups: max = 20"));
        let default = context.options.default_interval;
        let interval = r.take("interval", units::duration(SECOND..=HOUR)).unwrap_or(default);
        let warmup = r.take("warmup", units::up_to_a_day).unwrap_or(WARMUP_DEFAULT);
        let boot = r.take("boot", units::up_to_a_day).unwrap_or(BOOT_DEFAULT);
        let combine = r.take("combine", units::choice(&[("max", Combine::Max), ("min", Combine::Min)]));
        let changes = [
            ("adopt", OnExternalChange::Adopt),
            ("hold-scale-in", OnExternalChange::HoldScaleIn),
            ("hold", OnExternalChange::Hold),
            ("override", OnExternalChange::Override),
        ];
        let on_external_change = r.take("on_external_change", units::choice(&changes));
        let foreigns = [("refuse", ForeignPolicy::Refuse), ("allow-scale-out", ForeignPolicy::AllowScaleOut)];
        let foreign = r.take("foreign", units::choice(&foreigns));
        let priority = r.take("priority", units::signed).unwrap_or(0);
        let groups = group::read_groups(r, context.options.providers);
        let spread = group::read_spread(r);
        let drain = drain::read_drain(r, context.options.drainers);
        let metrics = metric::read(context, r);
        let rules = rule::read(r, &metrics);
        let mut places = places(r);
        let out = Direction::scale_out_default();
        let scale_out = read_direction(r, "scale_out", out, &mut places, &mut Age::default());
        let mut leaves_first = Age::default();
        let scale_in = read_direction(r, "scale_in", Direction::scale_in_default(), &mut places, &mut leaves_first);
        let on_missing = read_on_missing(r);
        reader.finish();
        Self {
            owner,
            mode,
            min,
            max,
            interval,
            warmup,
            boot,
            combine: combine.unwrap_or(Combine::Max),
            on_external_change: on_external_change.unwrap_or(OnExternalChange::HoldScaleIn),
            foreign: foreign.unwrap_or(ForeignPolicy::Refuse),
            priority,
            groups,
            spread,
            leaves_first,
            drain,
            metrics,
            rules,
            scale_out,
            scale_in,
            on_missing: on_missing.flatten(),
            places,
        }
    }

    fn into_policy(self, context: &Context<'_>, name: &str, at: At, table: &Table, own: &Table) -> Option<Policy> {
        let policy = Policy {
            id: name.into(),
            owner: self.owner,
            mode: self.mode?,
            min: self.min?,
            max: self.max?,
            interval: self.interval,
            warmup: self.warmup,
            boot: self.boot,
            combine: self.combine,
            on_external_change: self.on_external_change,
            foreign: self.foreign,
            priority: self.priority,
            groups: self.groups.into(),
            spread: self.spread,
            leaves_first: self.leaves_first,
            drain: self.drain,
            metrics: self.metrics.into_metrics(),
            rules: self.rules.into(),
            scale_out: self.scale_out,
            scale_in: self.scale_in,
            on_missing: self.on_missing,
            places: self.places,
        };
        if !table.broken {
            checks::check(context.findings, &policy, at, table, own);
        }
        Some(policy)
    }
}

fn places(r: &Reader<'_>) -> Places {
    let mut places = Places::default();
    places.set(Setting::Fleet, r.findings().place(r.at()));
    for setting in [
        Setting::Mode,
        Setting::Min,
        Setting::Max,
        Setting::Warmup,
        Setting::Combine,
        Setting::OnExternalChange,
        Setting::Foreign,
        Setting::OnMissing,
        Setting::Drain,
    ] {
        if r.has(setting.key()) {
            places.set(setting, r.findings().place(r.at_of(setting.key())));
        }
    }
    places
}

/// Notes when a list is longer than anybody needs.
pub(super) fn too_many(r: &Reader<'_>, key: &str, count: usize) {
    if count > PARTS_MAX {
        r.findings().error(r.at_of(key), Finding::new(format!("more than {PARTS_MAX} entries of `{key}`")));
    }
}

fn read_direction(
    r: &mut Reader<'_>,
    key: &'static str,
    default: Direction,
    places: &mut Places,
    leaves_first: &mut Age,
) -> Direction {
    let is_in = key == "scale_in";
    let Some(mut r) = r.table(key) else { return default };
    let mut direction = default;
    let kept = if is_in {
        [Setting::InStabilization, Setting::InCooldown, Setting::InAfterScaleOut, Setting::InRate, Setting::InSelect]
    } else {
        [Setting::OutStabilization, Setting::OutCooldown, Setting::Fleet, Setting::OutRate, Setting::OutSelect]
    };
    for (setting, key) in kept.into_iter().zip(["stabilization", "cooldown", "after_scale_out", "rate", "select"]) {
        if setting != Setting::Fleet && r.has(key) {
            places.set(setting, r.findings().place(r.at_of(key)));
        }
    }
    direction.stabilization = r.take("stabilization", units::up_to_a_day).unwrap_or(direction.stabilization);
    direction.cooldown = r.take("cooldown", units::up_to_a_day).unwrap_or(direction.cooldown);
    if is_in {
        direction.after_scale_out = r.take("after_scale_out", units::up_to_a_day).unwrap_or(direction.after_scale_out);
        let ages = [("newest", Age::Newest), ("oldest", Age::Oldest)];
        *leaves_first = r.take("remove", units::choice(&ages)).unwrap_or_default();
    }
    let has_rate = r.has("rate");
    let rates = r.rows("rate");
    too_many(&r, "rate", rates.len());
    // A scale-in of everything at once is 100 %; nothing sensible grows more than a hundredfold in one period.
    let percent_max = if is_in { 100.0 } else { 10_000.0 };
    let count = rates.len();
    let rates: Vec<Rate> = rates.into_iter().take(PARTS_MAX).filter_map(|rate| read_rate(rate, percent_max)).collect();
    let selects = [("max", Select::Max), ("min", Select::Min), ("off", Select::Off)];
    let select = r.take("select", units::choice(&selects));
    if has_rate && count > 1 && !r.has("select") {
        let found = Finding::new("`select` is missing: it says which of several rates counts");
        let hint = "select = \"max\" takes the most generous, \"min\" the strictest";
        r.lacks_at(r.at_of("rate"), &["select"], found.hint(hint));
    }
    if has_rate {
        direction.rate = rates.into();
        direction.select = Select::Max;
    }
    direction.select = select.unwrap_or(direction.select);
    r.finish();
    direction
}

/// `{ percent = "100%", per = "1m" }` or `{ instances = 4, per = "1m" }`.
pub fn read_rate(mut r: Reader<'_>, percent_max: f64) -> Option<Rate> {
    let percent = r.take("percent", units::positive_percent(percent_max));
    let instances = r.take("instances", units::whole(1..=contract::CAPACITY_MAX));
    let per = r.need_or(
        "per",
        units::duration(SECOND..=units::DAY),
        Some("the time in which that much may change: per = \"1m\""),
    );
    let (has_percent, has_instances) = (r.has("percent"), r.has("instances"));
    let hint = "write { percent = \"10%\", per = \"1m\" } or { instances = 4, per = \"1m\" }";
    if has_percent && has_instances {
        r.findings().error(r.at(), Finding::new("a rate is `percent` or `instances`, not both").hint(hint));
    } else if !has_percent && !has_instances {
        r.lacks(&["percent", "instances"], Finding::new("a rate needs `percent` or `instances`").hint(hint));
    }
    r.finish();
    let amount = percent.map(Amount::Percent).or(instances.map(Amount::Instances))?;
    Some(Rate { amount, per: per? })
}

fn read_on_missing(r: &mut Reader<'_>) -> Option<Option<OnMissing>> {
    let entry = r.entry("on_missing")?;
    if let Value::Text(text) = &entry.node.value {
        // The default may be written out.
        if text.as_ref() != "hold" {
            let fault = Fault::new("must be \"hold\" or a table with `after` and `raise_to`");
            r.findings().error(entry.node.at, fault.of("on_missing"));
        }
        return None;
    }
    let mut r = r.table("on_missing")?;
    let after = r.need_or("after", units::up_to_a_day, Some("how long every rule has to be blind: after = \"5m\""));
    let raise_to =
        r.need_or("raise_to", units::whole(1..=contract::CAPACITY_MAX), Some("it never lowers: raise_to = 20"));
    r.finish();
    Some(Some(OnMissing { after: after?, raise_to: raise_to? }))
}
