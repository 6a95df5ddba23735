//! A fleet's groups and how capacity is spread over them: `[[group]]`, `[spread]`, `stay_in`.

use super::diagnostic::{At, Finding};
use super::fleet::{PARTS_MAX, too_many};
use super::reader::{Fault, Reader};
use super::tree::{Node, Value};
use super::{Place, units};
use contract::{Capacity, GroupId};

/// One group of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The provider's name in skala.toml.
    pub provider: Box<str>,
    /// The group's name at that provider.
    pub group: GroupId,
    /// Smallest number of instances in this group.
    pub min: Option<Capacity>,
    /// Largest number of instances in this group.
    pub max: Option<Capacity>,
    /// What one instance counts for in the fleet's numbers.
    pub weight: u32,
    /// Smaller numbers are filled first.
    pub priority: u32,
    /// What one instance costs in an hour, in any currency that is the same for all groups of the fleet.
    pub price: Option<f64>,
    /// The zone that all of its instances are in, when it is in one alone and the cloud does not say so.
    pub zone: Option<Box<str>>,
    /// Where it stands.
    pub place: Place,
}

impl Group {
    /// What tells it from all other groups in memories: `provider/group`.
    pub fn key(&self) -> Box<str> {
        format!("{}/{}", self.provider, self.group).into()
    }

    /// Whether a key is this group's.
    pub fn is_key(&self, key: &str) -> bool {
        key.strip_prefix(&*self.provider).and_then(|rest| rest.strip_prefix('/')) == Some(self.group.as_str())
    }

    /// What an hour of one unit of the fleet's capacity costs.
    pub fn price_per_unit(&self) -> Option<f64> {
        self.price.map(|price| price / f64::from(self.weight))
    }
}

/// How capacity is spread over several groups.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The largest share of capacity in one group, 0 to 1.
    pub group_max: Option<f64>,
    /// The largest share in one cloud, which is one provider of skala.toml.
    pub cloud_max: Option<f64>,
    /// The largest share in one zone.
    pub zone_max: Option<f64>,
    /// What may be lost with desired still covered by the rest.
    pub survive: Option<Survive>,
}

impl Spread {
    /// The share of capacity that may be lost at once.
    pub fn lost_max(&self) -> Option<f64> {
        match self.survive? {
            Survive::Zone => self.zone_max,
            Survive::Cloud => self.cloud_max,
        }
    }
}

/// What a fleet survives without being short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survive {
    /// The loss of its largest zone.
    Zone,
    /// The loss of its largest cloud.
    Cloud,
}

/// An order by age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Age {
    /// The newest first: the old ones have proven themselves.
    #[default]
    Newest,
    /// The oldest first: the fleet renews itself.
    Oldest,
}

/// The providers that a fleet may be in; `None`: any.
type StayIn = Option<Vec<std::sync::Arc<str>>>;

/// Reads `[[group]]` and `stay_in`.
pub(super) fn read_groups(r: &mut Reader<'_>, providers: Option<&[&str]>) -> Vec<Group> {
    let stay_in = read_stay_in(r, providers);
    let mut groups = Vec::new();
    if !r.has("group") {
        let found = Finding::new("`group` is missing");
        r.lacks(&["group"], found.hint("a fleet needs a [[fleet.NAME.group]] with `provider` and `group`"));
    }
    let stay_at = r.at_of("stay_in");
    let list = r.list("group");
    too_many(r, "group", list.len());
    for mut r in list.into_iter().take(PARTS_MAX) {
        groups.extend(read_group(&mut r, providers, &stay_in, stay_at));
        r.finish();
    }
    groups
}

fn read_group(r: &mut Reader<'_>, providers: Option<&[&str]>, stay_in: &StayIn, stay_at: At) -> Option<Group> {
    let provider = r.need_or(
        "provider",
        units::listed("provider", providers),
        Some("the NAME of a [provider.NAME] in skala.toml"),
    );
    let group = r.need_or("group", units::line(512), Some("the group's name at its cloud"));
    let min = r.take("min", units::capacity);
    let max = r.take("max", units::capacity);
    let weight = r.take("weight", units::whole(1..=1_000)).unwrap_or(1);
    let priority = r.take("priority", units::whole(0..=1_000)).unwrap_or(1);
    let price = r.take("price", price);
    let zone = r.take("zone", units::line(64)).map(|zone| Box::from(zone.as_ref()));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let found = Finding::new(format!("the group's `min` is {min}, above its `max` of {max}"));
        r.findings().error(r.at_of("min"), found.related(r.at_of("max"), "`max` is here"));
    }
    if let (Some(provider), Some(allowed)) = (&provider, stay_in)
        && !allowed.contains(provider)
    {
        let found = Finding::new(format!("the group is in `{provider}`, and the fleet may not leave `stay_in`"));
        let found = found.related(stay_at, "`stay_in` is here").hint("remove the group, or let the fleet go there");
        r.findings().error(r.at_of("provider"), found);
    }
    let place: Place = r.findings().place(r.at());
    let (provider, group) = (provider?.as_ref().into(), GroupId::from(group?.as_ref()));
    Some(Group { provider, group, min, max, weight, priority, price, zone, place })
}

fn price(node: &Node) -> Result<f64, Fault> {
    let price = units::number(node)?;
    if (0.0..1e9).contains(&price) {
        Ok(price)
    } else {
        Err(Fault::new(format!("must be what an instance costs in an hour, 0 or more, not {price}")))
    }
}

fn read_stay_in(r: &mut Reader<'_>, providers: Option<&[&str]>) -> StayIn {
    let entry = r.entry("stay_in")?;
    let Value::List(names) = &entry.node.value else {
        let fault = Fault::new("must be a list of providers").hint("stay_in = [\"private-bank\"]");
        r.findings().error(entry.node.at, fault.of("stay_in"));
        return None;
    };
    if names.is_empty() {
        let fault = Fault::new("is empty, so the fleet could be nowhere").hint("stay_in = [\"private-bank\"]");
        r.findings().error(entry.node.at, fault.of("stay_in"));
        return None;
    }
    let mut allowed = Vec::new();
    for node in names {
        match units::listed("provider", providers)(node) {
            Ok(name) => allowed.push(name),
            Err(fault) => r.findings().error(node.at, fault.of("stay_in")),
        }
    }
    Some(allowed)
}

/// Reads `[spread]`.
pub(super) fn read_spread(r: &mut Reader<'_>) -> Spread {
    let mut spread = Spread::default();
    let Some(mut r) = r.table("spread") else { return spread };
    let share = |r: &mut Reader<'_>, key| r.take(key, units::positive_percent(100.0)).map(|percent| percent / 100.0);
    if let Some(mut r) = r.table("share_max") {
        spread.group_max = share(&mut r, "group");
        spread.cloud_max = share(&mut r, "cloud");
        spread.zone_max = share(&mut r, "zone");
        r.finish();
    }
    spread.survive = r.take("survive", units::choice(&[("zone", Survive::Zone), ("cloud", Survive::Cloud)]));
    if let Some(survive) = spread.survive
        && !spread.lost_max().is_some_and(|share| share < 1.0)
    {
        let (word, half) = match survive {
            Survive::Zone => ("zone", "share_max = { zone = \"50%\" }"),
            Survive::Cloud => ("cloud", "share_max = { cloud = \"50%\" }"),
        };
        let found = Finding::new(format!("to survive the loss of a {word}, less than everything may be in one"));
        r.findings().error(r.at_of("survive"), found.hint(format!("say how much at most: {half}")));
        spread.survive = None;
    }
    r.finish();
    spread
}
