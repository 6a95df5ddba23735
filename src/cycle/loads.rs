//! Which load each `objective` rule learned. It is kept with what was learned, so that nobody forecasts from the profile of
//! another load: policies and skala.toml may change while the daemon is away, between two writes, or while a fleet is out of
//! the set. In: a policy, and bytes of the store. Out: bytes, and what may be gone on with.

use policies::history;
use policies::memory::{FleetMemory, MemoryError};
use policies::policy::{Metric, Policy, RuleKind};
use std::collections::BTreeMap;

/// By rule, what tells its load from others: see [`fingerprint`].
pub(super) type Loads = BTreeMap<Box<str>, u64>;

/// The loads that a policy's rules learn.
pub(super) fn of(policy: &Policy) -> Loads {
    let learning = policy.rules.iter().filter_map(|rule| match &rule.kind {
        RuleKind::Objective(objective) => {
            let metric = |index: u16| policy.metrics.get(usize::from(index));
            // What one instance can do was learned from two metrics, and is as much another's if one of them is.
            let busy = objective.learn_from().and_then(metric).map_or(0, fingerprint);
            Some((rule.name.clone(), fingerprint(metric(objective.metric)?) ^ busy.rotate_left(1)))
        }
        _ => None,
    });
    learning.collect()
}

/// What a memory's rules have learned under a policy, as bytes: a line of JSON with the loads, then the memory's own form.
pub(super) fn encode(policy: &Policy, memory: &FleetMemory) -> Vec<u8> {
    // A map of texts and numbers has no way to fail.
    let mut bytes = serde_json::to_vec(&of(policy)).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend(history::encode_learned(memory));
    bytes
}

/// Puts back what [`encode`] wrote, in place of what the memory has; gives the loads that it was learned of.
///
/// # Errors
/// When the bytes come from a newer version, or are nothing learned; the memory is as it was then.
pub(super) fn restore(memory: &mut FleetMemory, bytes: &[u8]) -> Result<Loads, MemoryError> {
    let unreadable = |error: &dyn std::fmt::Display| MemoryError::Unreadable(format!("what was learned: {error}"));
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| unreadable(&"it has no loads"))?;
    let loads = serde_json::from_slice(&bytes[..end]).map_err(|error| unreadable(&error))?;
    history::restore_learned(memory, &bytes[end + 1..])?;
    Ok(loads)
}

/// Drops what rules have learned of loads that they do not read now; says which rules now learn another.
pub(super) fn keep_same(memory: &mut FleetMemory, learned: &Loads, now: &Loads) -> Vec<Box<str>> {
    let is_same = |rule: &str| now.get(rule).is_some_and(|load| learned.get(rule) == Some(load));
    let other = now.iter().filter(|(rule, load)| learned.get(*rule).is_some_and(|old| old != *load));
    let other: Vec<Box<str>> = other.map(|(rule, _)| rule.clone()).collect();
    let untold: Vec<Box<str>> = memory.objectives.keys().filter(|rule| !is_same(rule)).cloned().collect();
    untold.iter().chain(&other).for_each(|rule| history::forget(memory, rule));
    other
}

/// FNV-1a over what makes a metric the load that it is, texts with their lengths: the same in every version and on every
/// machine, since it is kept. Under the same name, another query, or the same of another source, is another load.
fn fingerprint(metric: &Metric) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    take(metric.source.as_bytes());
    take(metric.query.as_bytes());
    for (label, value) in &metric.select {
        take(label.as_bytes());
        take(value.as_bytes());
    }
    take(format!("{:?}", metric.unit).as_bytes());
    take(&metric.offset.as_nanos().to_le_bytes());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::memory::{Learned, Service};
    use policies::policy::{Severity, SourceFile};
    use std::time::Duration;

    const FIRST: u64 = 8_993_555_876_826_190_058;
    const TEXT: &str = r#"
        [fleet.web]
        owner = "sre"
        mode = "on"
        min = 1
        max = 9
        [[fleet.web.group]]
        provider = "cloud"
        group = "web"
        [fleet.web.metric.rps]
        source = "load"
        query = "sum by (app) (rps)"
        select = { app = "web" }
        unit = "count"
        [[fleet.web.rule]]
        name = "goal"
        kind = "objective"
        metric = "rps"
        capacity = 10.0
        utilization = 0.5
    "#;

    fn policy(text: &str) -> Policy {
        let files = [SourceFile { name: "web.toml".into(), text: text.into() }];
        let (set, found) = crate::config::parse_policies(&files, Duration::from_secs(15), None);
        assert!(found.iter().all(|one| one.severity != Severity::Error), "{found:?}");
        (*set.fleets[0]).clone()
    }

    #[test]
    fn a_load_is_told_from_every_other_and_the_same_for_ever() {
        let cpu = "capacity = \"learn\"\nlearn_from = \"cpu\"";
        let learning = TEXT.replace("capacity = 10.0", cpu)
            + "\n[fleet.web.metric.cpu]\nsource = \"load\"\nquery = \"avg(busy)\"\nunit = \"ratio\"\n";
        let all = [
            TEXT.to_owned(),
            TEXT.replace("\"load\"", "\"other\""),
            TEXT.replace("(rps)", "(more)"),
            TEXT.replace("app = \"web\"", "app = \"other\""),
            TEXT.replace("\"count\"", "\"seconds\""),
            TEXT.replace("unit =", "offset = \"1m\"\nunit ="),
            learning.clone(),
            learning.replace("(busy)", "(busier)"),
        ];
        let mut prints: Vec<u64> = all.iter().map(|text| of(&policy(text))["goal"]).collect();
        assert_eq!(prints[0], FIRST, "what is in stores was made with it");
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), all.len());
        // What does not make it another load.
        let same = TEXT.replace("0.5", "0.6").replace("max = 9", "max = 8").replace("rps]", "r]");
        assert_eq!(of(&policy(&same.replace("\"rps\"", "\"r\""))), of(&policy(TEXT)));
    }

    #[test]
    fn what_was_learned_comes_back_with_its_loads() {
        let goal = || Box::<str>::from("goal");
        let learned = FleetMemory { objectives: [(goal(), Learned::default())].into(), ..FleetMemory::default() };
        let (policy, other) = (policy(TEXT), policy(&TEXT.replace("(rps)", "(more)")));
        let bytes = encode(&policy, &learned);
        let mut memory = FleetMemory::default();
        let loads = restore(&mut memory, &bytes).unwrap();
        assert_eq!((&memory, &loads), (&learned, &of(&policy)));
        assert!(keep_same(&mut memory, &loads, &of(&policy)).is_empty());
        assert_eq!(memory, learned);
        memory.services.insert(goal(), Service::default());
        assert_eq!(keep_same(&mut memory, &loads, &of(&other)), [goal()]);
        assert_eq!(memory, FleetMemory::default(), "nor what one instance can do of the other load");
        // Of a load that nobody knows.
        memory = learned.clone();
        assert!(keep_same(&mut memory, &Loads::new(), &of(&policy)).is_empty());
        assert!(memory.objectives.is_empty());
        memory = learned.clone();
        let newer = [b"{}\n".as_slice(), &[u8::MAX, 0]].concat();
        assert!(matches!(restore(&mut memory, &newer), Err(MemoryError::Newer { .. })));
        for bad in [&b""[..], b"{}", b"x\n", &learned.encode()] {
            assert!(matches!(restore(&mut memory, bad), Err(MemoryError::Unreadable(_))), "{bad:?}");
        }
        assert_eq!(memory, learned);
    }
}
