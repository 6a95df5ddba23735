//! Made-up load of a realistic size, for benches and tests: numbers in, memories, entries and runs out. Never used by the
//! daemon.

use super::{JournalEntry, RunExtension};
use contract::Timestamp;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Encoded memories by fleet.
pub type Memories = Vec<(Arc<str>, Vec<u8>)>;

/// The name of the `index`-th made-up fleet.
pub fn fleet(index: u32) -> Arc<str> {
    format!("fleet-{index:05}").into()
}

/// What a checkpoint of `fleets` fleets saves: for each a memory of `bytes` bytes and a run that went on.
pub fn checkpoint(fleets: u32, bytes: usize, now: Timestamp) -> (Memories, Vec<RunExtension>) {
    let memories = (0..fleets).map(|index| {
        let seed = index.wrapping_add(now.0 as u32);
        (fleet(index), (0..bytes).map(|at| (seed.wrapping_mul(31).wrapping_add(at as u32) >> 3) as u8).collect())
    });
    let runs = (0..fleets).map(|index| RunExtension { fleet: fleet(index), until: now, count: 2 });
    (memories.collect(), runs.collect())
}

/// An entry of a fleet with so many instances, as `decide` would write it; `round` varies load and answer.
pub fn entry(index: u32, instances: u32, round: u32, at: Timestamp) -> JournalEntry {
    let name = fleet(index);
    let noise = round.wrapping_mul(2_654_435_761) >> 8;
    let load = f64::from(200 * instances + noise % 4_001) / 1.3;
    let mut list = String::new();
    for number in 0..instances {
        let id = (u64::from(index) << 32 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4;
        let comma = if number == 0 { "" } else { "," };
        let launched = 1_699_990_000 + number * 61;
        let zone = ["a", "b", "c"][number as usize % 3];
        // Writing to a String cannot fail.
        let _ = write!(
            list,
            r#"{comma}{{"id":"i-{id:017x}","state":"running","launched":{launched}.0,"running_since":{}.0,"zone":"{zone}","protected":false}}"#,
            launched + 40
        );
    }
    let now = at.as_secs_f64();
    let read = at.before(Duration::from_millis(u64::from(noise % 15_000))).as_secs_f64();
    let desired = (load / 220.0).ceil();
    let facts = format!(
        r#"{{"fleet":"{name}","now":{now},"groups":[{{"provider":"aws-prod","group":"{name}-web","desired":{instances},"cloud_min":0,"cloud_max":500,"instances":[{list}],"launch_failures":[],"suspended":[],"foreign":[],"abilities":{{"terminate_named":true,"lower":false,"keeps_desired":true,"terminate_batch":100}}}}],"readings":{{"rps":{{"value":{load},"at":{read},"members":{instances}}},"cpu":{{"value":0.{noise},"at":{read}}}}},"budget":{{"in":40,"out":500}}}}"#
    );
    let steps = ["combine", "guard", "flap", "stabilize", "limits", "cooldown", "pace", "brakes", "hold", "bounds"];
    let trace: Vec<String> = steps
        .iter()
        .map(|stage| format!(r#"{{"stage":"{stage}","before":{instances},"after":{desired},"why":"largest of 2"}}"#))
        .collect();
    let decision = format!(
        r#"{{"fleet":"{name}","now":{now},"current":{instances},"serving":{instances},"desired":{desired},"groups":[{{"provider":"aws-prod","group":"{name}-web","desired":{desired},"terminate":[]}}],"recommendations":[{{"rule":"requests","value":{desired},"why":"{load} rps / 220 per instance"}},{{"rule":"utilization","value":{instances},"why":"0.{noise} of 0.6"}}],"limits":{{"min":4,"max":500,"by":"policy"}},"trace":[{}],"hold":null}}"#,
        trace.join(",")
    );
    JournalEntry {
        fleet: name,
        at,
        until: at,
        count: 1,
        revision: "3f1c2a9d5b7e4f60a1b2c3d4e5f60718293a4b5c6d7e8f901122334455667788".into(),
        engine: "0.1.0".into(),
        facts,
        memory_before: (0..300).map(|byte: u32| (byte.wrapping_mul(noise | 1) >> 5) as u8).collect(),
        decision,
    }
}
