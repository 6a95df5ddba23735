//! What a fleet carries from one cycle to the next, and over a restart. Small on purpose: windows, not samples.

pub use crate::forecast::{Ceiling, Learned, Occasion};
pub use crate::placement::{DrainStage, Draining, Drains, Offering};
pub use crate::service::Service;
use contract::{Capacity, InstanceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format's version; a memory from a newer skala is refused, never guessed at.
///
/// 2 added [`FleetMemory::objectives`] at the end, 3 added [`FleetMemory::services`],
/// [`FleetMemory::ceilings`] and [`FleetMemory::occasions`], 4 added [`FleetMemory::offerings`] and
/// [`FleetMemory::operations`], 5 added [`FleetMemory::draining`].
pub const VERSION: u8 = 5;

/// One fleet's memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetMemory {
    /// The last decision's time; it never goes back.
    pub now: Option<Timestamp>,
    /// The groups, in the policy's order.
    pub groups: Vec<GroupMemory>,
    /// Recommendations of the scale-in window: the largest count.
    pub recommended_in: Series,
    /// Recommendations of the scale-out window: the smallest count.
    pub recommended_out: Series,
    /// Since when usable recommendations have come without too long a gap.
    pub covered_since: Option<Timestamp>,
    /// The last usable recommendation.
    pub covered_until: Option<Timestamp>,
    /// Changes of capacity, by anybody: what the rates count.
    pub changes: Series,
    /// The last scale-out that started a cooldown.
    pub last_out: Option<Timestamp>,
    /// The last scale-in that started a cooldown.
    pub last_in: Option<Timestamp>,
    /// Serving instances over time, noted at each change.
    pub serving: Series,
    /// First sight of running instances whose cloud does not tell since when they run.
    pub first_running: BTreeMap<InstanceId, Timestamp>,
    /// When each guard was last true, by its rule's name.
    pub guards: BTreeMap<Box<str>, Timestamp>,
    /// Instances that each step rule asked for and that may still be warming, by its rule's name.
    pub steps: BTreeMap<Box<str>, Capacity>,
    /// Since when no rule has had a usable reading.
    pub blind_since: Option<Timestamp>,
    /// An external change holds scale-in until then.
    pub external_in_until: Option<Timestamp>,
    /// An external change holds scale-out until then.
    pub external_out_until: Option<Timestamp>,
    /// A pin was in force at the last decision.
    pub pinned: bool,
    /// What was learned for each objective rule, by its name.
    #[serde(default)]
    pub objectives: BTreeMap<Box<str>, Learned>,
    /// What was learned of the instances for each objective rule that learns it, by its name.
    #[serde(default)]
    pub services: BTreeMap<Box<str>, Service>,
    /// What was seen of the metrics of objective rules that went beyond what the fleet could do, by the rule's name.
    #[serde(default)]
    pub ceilings: BTreeMap<Box<str>, Ceiling>,
    /// What was learned of the calendar's events of objective rules, by the rule's name.
    #[serde(default)]
    pub occasions: BTreeMap<Box<str>, Vec<Occasion>>,
    /// What is known of each place that a fleet of several groups may be in, by [`GroupMemory::key`].
    #[serde(default)]
    pub offerings: BTreeMap<Box<str>, Offering>,
    /// What accepted calls began at the clouds and has not been seen to end, by [`GroupMemory::key`].
    #[serde(default)]
    pub operations: BTreeMap<Box<str>, Begun>,
    /// Instances that drain before they are terminated, and those that are told that they stay, by [`GroupMemory::key`].
    #[serde(default)]
    pub draining: Drains,
    /// Raises in a row that had no effect, of groups that have others beside them, by [`GroupMemory::key`].
    ///
    /// Written only when there are any, and passed over by a skala that does not know it. What is added after it has to
    /// raise [`VERSION`], and to write both always.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fruitless: BTreeMap<Box<str>, u8>,
}

/// Operations of a cloud that an accepted call began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// When the call was accepted.
    pub at: Timestamp,
    /// The cloud's names for them.
    pub names: Vec<Box<str>>,
}

/// One group's memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupMemory {
    /// `provider/group`, so that an edited policy does not hand one group's memory to another.
    pub key: Box<str>,
    /// Desired as skala last saw or set it; where the cloud keeps none, this is the only place it lives.
    pub desired: Option<Capacity>,
    /// A write that has not shown yet.
    pub in_flight: Option<InFlight>,
}

/// A write that has not shown at the cloud yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// Desired before it.
    pub from: Capacity,
    /// Desired that was asked for.
    pub to: Capacity,
    /// When it was recorded.
    pub at: Timestamp,
    /// What to put back when the cloud refuses before any effect.
    pub undo: Option<Undo>,
}

impl InFlight {
    /// It asks for more.
    pub(crate) fn is_raise(&self) -> bool {
        self.to > self.from
    }
}

/// What a refusal puts back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// The change that was booked.
    pub change: i32,
    /// The last scale-out before it.
    pub last_out: Option<Timestamp>,
    /// The last scale-in before it.
    pub last_in: Option<Timestamp>,
}

/// A short list of numbers over time, oldest first; saved as differences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(pub Vec<(Timestamp, i32)>);

impl Serialize for Series {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut last = 0_i64;
        serializer.collect_seq(self.0.iter().map(|(at, value)| {
            let step = at.0 - last;
            last = at.0;
            (step, *value)
        }))
    }
}

impl<'de> Deserialize<'de> for Series {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let steps = Vec::<(i64, i32)>::deserialize(deserializer)?;
        let mut last = 0_i64;
        let mut entries = Vec::with_capacity(steps.len());
        for (step, value) in steps {
            last = last.checked_add(step).ok_or_else(|| serde::de::Error::custom("a time out of range"))?;
            entries.push((Timestamp(last), value));
        }
        Ok(Self(entries))
    }
}

/// Something that happened since the last decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A call ended.
    Outcome {
        /// Index into the policy's groups.
        group: u16,
        /// How.
        outcome: Outcome,
        /// It was refused for want of machines, quota or patience: the group cannot launch now.
        cannot_launch: bool,
        /// It was refused for what the group or its cloud is, not for what the plan was.
        blames_group: bool,
    },
    /// A drainer is done with an instance.
    Drain {
        /// Index into the policy's groups.
        group: u16,
        /// Which.
        instance: InstanceId,
        /// With what.
        end: DrainEnd,
    },
    /// The daemon was away: time since the last decision was not observed.
    Restarted,
}

impl Event {
    /// A call ended so, with this code.
    pub fn ended(group: u16, outcome: Outcome, code: &str) -> Self {
        let refused = outcome == Outcome::Refused;
        Event::Outcome {
            group,
            outcome,
            cannot_launch: refused && Outcome::cannot_launch(code),
            blames_group: refused && Outcome::blames_group(code),
        }
    }

    /// The cloud took a call.
    pub fn accepted(group: u16) -> Self {
        Event::ended(group, Outcome::Accepted, "")
    }
}

/// What a drainer is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainEnd {
    /// The instance has let go of its work.
    Drained,
    /// The instance takes work again.
    Returned,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The cloud took it.
    Accepted,
    /// It was refused before any effect.
    Refused,
    /// It may have taken effect.
    Unclear,
}

impl Outcome {
    /// Whether a code says that a group cannot launch now.
    pub fn cannot_launch(code: &str) -> bool {
        matches!(code, "out_of_capacity" | "quota_exceeded" | "throttled")
    }

    /// Whether a refusal's code says something of the group or its cloud: another try may be refused as well. The others
    /// say that the plan came too late, or from one who may not write any more.
    pub fn blames_group(code: &str) -> bool {
        !matches!(code, "conflict" | "expired_plan" | "no_lease" | "dropped")
    }

    /// Reads an outcome's word: `accepted`, or any code of [`contract::ProviderError`], or `timeout`.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "accepted" | "ok" => Some(Outcome::Accepted),
            "unclear" | "timeout" => Some(Outcome::Unclear),
            "refused" | "not_found" | "conflict" | "owned" | "out_of_capacity" | "quota_exceeded" | "throttled"
            | "denied" | "expired" | "invalid" | "transport" => Some(Outcome::Refused),
            _ => None,
        }
    }
}

/// A memory that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum MemoryError {
    /// Written by a newer skala: acting on it could be wrong.
    #[error("memory of version {found} is newer than this skala's {VERSION}; run the newer skala, or restore a backup")]
    Newer {
        /// The version found.
        found: u8,
    },
    /// Not a memory.
    #[error("unreadable memory: {0}")]
    Unreadable(String),
}

impl FleetMemory {
    /// The memory as bytes: one version byte, then the fields.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        // Encoding plain data into a growing vector has no way to fail.
        bytes.extend(postcard::to_stdvec(self).unwrap_or_default());
        bytes
    }

    /// How many instances a group's cloud holds beside [`GroupMemory::desired`]: those that drain.
    pub fn held(&self, group: &GroupMemory) -> Capacity {
        crate::placement::drain::held(&self.draining, &group.key)
    }

    /// Whether what forecasters learned has the shape they count on; nothing else can be wrong in a memory that decodes.
    pub(crate) fn is_sound(&self) -> bool {
        self.objectives.values().all(Learned::is_sound)
            && self.services.values().all(Service::is_sound)
            && self.ceilings.values().all(Ceiling::is_sound)
            && self.occasions.values().flatten().all(Occasion::is_sound)
    }

    /// Reads [`FleetMemory::encode`]'s bytes.
    ///
    /// # Errors
    /// When they come from a newer version, or are not a memory.
    pub fn decode(bytes: &[u8]) -> Result<Self, MemoryError> {
        match bytes.split_first() {
            None => Err(MemoryError::Unreadable("no bytes".into())),
            Some((&found, _)) if found > VERSION => Err(MemoryError::Newer { found }),
            Some((0, _)) => Err(MemoryError::Unreadable("version 0".into())),
            // Every version so far added maps at the end, and an empty one is one zero byte.
            Some((1, rest)) => read(&with_empty(rest, 8)),
            Some((2, rest)) => read(&with_empty(rest, 7)),
            Some((3, rest)) => read(&with_empty(rest, 4)),
            Some((4, rest)) => read(&with_empty(rest, 2)),
            // The last map may be left out; a zero too many is not read.
            Some((_, rest)) => read(&with_empty(rest, 1)),
        }
    }
}

fn read(fields: &[u8]) -> Result<FleetMemory, MemoryError> {
    let memory: FleetMemory =
        postcard::from_bytes(fields).map_err(|error| MemoryError::Unreadable(error.to_string()))?;
    if memory.is_sound() { Ok(memory) } else { Err(MemoryError::Unreadable("damaged forecasts".into())) }
}

fn with_empty(fields: &[u8], maps: usize) -> Vec<u8> {
    let mut fields = fields.to_vec();
    fields.resize(fields.len() + maps, 0);
    fields
}

impl Series {
    /// Entries of the scale-in window at most; the other series keep half.
    pub const WINDOW_MAX: usize = 64;
    /// Entries of rates and serving history at most.
    pub const SHORT_MAX: usize = 32;

    /// Adds a value to a sliding window of which only the extreme counts: what a newer value outdoes is dropped, so a
    /// few entries stand for any number of samples. `outdoes(new, old)` says whether the old value no longer matters.
    pub fn push_extreme(&mut self, at: Timestamp, value: Capacity, outdoes: fn(i32, i32) -> bool) {
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        while self.0.last().is_some_and(|last| outdoes(value, last.1)) {
            self.0.pop();
        }
        self.0.push((at, value));
        if self.0.len() > Self::WINDOW_MAX {
            // The older entry's value with the younger one's time: it counts for longer, never shorter.
            let oldest = self.0.remove(0);
            self.0[0].1 = oldest.1;
        }
    }

    /// Drops what is older than `start`; an entry exactly as old as a window still counts.
    pub fn expire(&mut self, start: Timestamp) {
        self.0.retain(|entry| entry.0 >= start);
    }

    /// Adds a change; when there are too many, the oldest counts with the next one of its direction: longer, never shorter.
    pub fn push_change(&mut self, at: Timestamp, change: i32) {
        if change == 0 {
            return;
        }
        self.0.push((at, change));
        if self.0.len() > Self::SHORT_MAX {
            // Changes of opposite directions must not cancel out: the oldest goes into the next of its own sign.
            let oldest = self.0.remove(0);
            if let Some(next) = self.0.iter_mut().find(|entry| (entry.1 > 0) == (oldest.1 > 0)) {
                next.1 = next.1.saturating_add(oldest.1);
            }
        }
    }

    /// Notes a value if it differs from the last one.
    pub fn push_level(&mut self, at: Timestamp, value: Capacity) {
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        if self.0.last().is_some_and(|last| last.1 == value) {
            return;
        }
        self.0.push((at, value));
        if self.0.len() > Self::SHORT_MAX {
            self.0.remove(0);
        }
    }

    /// The level at a time: the last one noted at or before it, else the first one known.
    pub fn level_at(&self, at: Timestamp) -> Option<Capacity> {
        let after = self.0.partition_point(|entry| entry.0 <= at);
        self.0.get(after.saturating_sub(1)).and_then(|entry| u32::try_from(entry.1).ok())
    }

    /// Moves every entry later.
    pub fn shift(&mut self, by: std::time::Duration) {
        for entry in &mut self.0 {
            entry.0 = entry.0.after(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    #[test]
    fn a_full_memory_stays_within_a_kibibyte() {
        let mut memory = FleetMemory { now: Some(at(0)), ..Default::default() };
        memory.groups.push(GroupMemory { key: "aws-prod/checkout-web".into(), ..Default::default() });
        for i in 0..500 {
            memory.recommended_in.push_extreme(at(i * 15), 5_000 - i as u32, |new, old| new >= old);
            memory.changes.push_change(at(i * 15), if i % 2 == 0 { 3 } else { -2 });
            memory.serving.push_level(at(i * 15), (i % 90) as u32 + 1);
        }
        assert!(memory.recommended_in.0.len() == Series::WINDOW_MAX && memory.changes.0.len() == Series::SHORT_MAX);
        let size = memory.encode().len();
        assert!(size <= 1024, "{size} bytes");
    }

    #[test]
    fn a_crowded_window_forgets_later_never_sooner() {
        let mut series = Series::default();
        for i in 0..100 {
            series.push_extreme(at(i), 200 - i as u32, |new, old| new >= old);
        }
        series.expire(at(20));
        assert!(series.0.iter().map(|e| e.1).max() >= Some(200 - 21), "the window's maximum is at least the true one");
    }

    #[test]
    fn crowded_changes_keep_their_sums_by_direction() {
        let mut series = Series::default();
        for i in 0..100 {
            series.push_change(at(i), if i % 3 == 0 { -1 } else { 2 });
        }
        let sum = |sign: bool| series.0.iter().filter(|e| (e.1 > 0) == sign).map(|e| e.1).sum::<i32>();
        assert_eq!((sum(true), sum(false)), (132, -34));
    }

    #[test]
    fn a_memory_survives_the_way_there_and_back() {
        let mut memory = FleetMemory { now: Some(at(9)), ..Default::default() };
        memory.changes.push_change(at(1), -4);
        memory.guards.insert("errors".into(), at(3));
        assert_eq!(FleetMemory::decode(&memory.encode()), Ok(memory.clone()));
        memory.fruitless.insert("aws-prod/checkout-web".into(), 2);
        assert_eq!(FleetMemory::decode(&memory.encode()), Ok(memory));
    }

    #[test]
    fn foreign_bytes_are_refused_not_guessed() {
        assert_eq!(FleetMemory::decode(&[9, 1, 2]), Err(MemoryError::Newer { found: 9 }));
        for bytes in [&[][..], &[0, 1][..], &[1, 255, 255, 255][..]] {
            assert!(matches!(FleetMemory::decode(bytes), Err(MemoryError::Unreadable(_))), "{bytes:?}");
        }
    }
}
