//! What a decision would have been without each stage: asked of any decision, and never a panic.

use crate::fleet::*;
use policies::memory::FleetMemory;
use policies::policy::{ParseOptions, SourceFile, parse};
use policies::trace::Stage;
use policies::wire::{Line, parse_line};

/// Desired of one first cycle without a stage.
fn without(text: &str, cycle: &Cycle, stage: Stage) -> Option<u32> {
    let files = [SourceFile { name: "web.toml".into(), text: text.into() }];
    let (set, _) = parse(&files, &ParseOptions::default());
    let Ok(Line::Cycle(line)) = parse_line(&cycle.line.to_string()) else { panic!("{}", cycle.line) };
    let policy = set.fleet(&line.fleet).unwrap();
    let mut facts = line.facts(policy).unwrap();
    facts.without = Some(stage);
    let proposal = policies::propose(policy, &facts, &FleetMemory::default());
    policies::settle(vec![proposal], line.budget).fleets.pop().unwrap().decision.desired
}

#[test]
fn a_decision_at_its_limits_can_be_told_without_them() {
    let free = format!("{}{FREE}", rps(1.0));
    for (keys, current, load, bare) in [("min = 8", 8, 6.0, 8), ("max = 10", 10, 14.0, 14), ("min = 8", 3, 2.0, 3)] {
        let text = policy(keys, &free)
            .replace("min = 1\nmax = 100\n", if keys.starts_with("min") { "max = 100\n" } else { "min = 1\n" });
        let cycle = Cycle::new(0.0, current).read("rps", load);
        for stage in Stage::ALL {
            let desired = without(&text, &cycle, stage);
            assert!(desired.is_some(), "{keys} {current} without {stage}");
            if stage == Stage::Limits {
                assert_eq!(desired, Some(bare), "{keys} {current}");
            }
        }
    }
}
