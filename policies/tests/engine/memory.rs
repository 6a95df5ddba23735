//! Memory of every version so far can be read: `tests/memory/vN.hex` holds bytes as version N wrote them.

use policies::memory::{Begun, DrainStage, Draining, FleetMemory, Learned, Occasion, Offering, Service};
use std::path::Path;

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/memory").join(name);
    let text: String = std::fs::read_to_string(path).expect("golden").split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn version_1_had_no_objectives() {
    let memory = FleetMemory::decode(&golden("v1.hex")).expect("readable");
    assert!(memory.objectives.is_empty() && memory.pinned && memory.groups[0].desired == Some(7));
    let again = memory.encode();
    assert_eq!(again[0], 5);
    assert_eq!(FleetMemory::decode(&again), Ok(memory));
}

#[test]
fn version_2_had_nothing_of_instances() {
    let mut memory = FleetMemory::decode(&golden("v1.hex")).expect("readable");
    memory.objectives.insert("objective".into(), Learned::default());
    assert_eq!(FleetMemory::decode(&golden("v2.hex")), Ok(memory));
}

#[test]
fn version_3_had_no_places_to_choose_from() {
    let mut memory = FleetMemory::decode(&golden("v2.hex")).expect("readable");
    memory.services.insert("objective".into(), Service::default());
    memory.occasions.insert("objective".into(), vec![Occasion::default()]);
    assert_eq!(FleetMemory::decode(&golden("v3.hex")), Ok(memory));
}

#[test]
fn version_4_drained_nothing() {
    let mut memory = FleetMemory::decode(&golden("v3.hex")).expect("readable");
    let offering = Offering { alive: 7, serving: 6, probe: 2, failed_at: memory.now, ..Offering::default() };
    memory.offerings.insert("aws-prod/checkout-web".into(), offering);
    let begun = Begun { at: memory.now.expect("a time"), names: vec!["operation-1".into()] };
    memory.operations.insert("aws-prod/checkout-web".into(), begun);
    assert_eq!(FleetMemory::decode(&golden("v4.hex")), Ok(memory));
}

#[test]
fn raises_without_effect_are_kept_and_were_not_before() {
    let mut memory = FleetMemory::decode(&golden("v5.hex")).expect("readable");
    assert!(memory.fruitless.is_empty());
    let before = memory.encode();
    memory.fruitless.insert("aws-prod/checkout-web".into(), 2);
    let after = memory.encode();
    assert!(after.starts_with(&before), "an older skala reads what it knows: {}", hex(&after));
    assert_eq!(FleetMemory::decode(&after), Ok(memory));
}

#[test]
fn version_5_is_as_it_was_written() {
    let mut memory = FleetMemory::decode(&golden("v4.hex")).expect("readable");
    let since = memory.now.expect("a time");
    let stages =
        [DrainStage::Draining, DrainStage::Drained, DrainStage::Leaving(since), DrainStage::Returning].into_iter();
    let one = |(n, stage): (usize, DrainStage)| Draining {
        id: format!("i-{n}").as_str().into(),
        since,
        stage,
        with: "lb".into(),
    };
    memory.draining.insert("aws-prod/checkout-web".into(), stages.enumerate().map(one).collect());
    assert_eq!(hex(&memory.encode()), hex(&golden("v5.hex")));
    assert_eq!(FleetMemory::decode(&golden("v5.hex")), Ok(memory));
}
