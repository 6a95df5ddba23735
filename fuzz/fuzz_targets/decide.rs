//! `decide` lines: any bytes give one answer or none, and never a panic; a good line after them is still served.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policies::policy::{ParseOptions, SourceFile, parse};
use policies::wire::Decider;

const POLICY: &str = include_str!("../../policies/tests/cases/blind.toml");
const GOOD: &str = r#"{"fleet":"web","now":9e9,"groups":[],"readings":{}}"#;

fuzz_target!(|data: &[u8]| {
    let files = [SourceFile { name: "web.toml".into(), text: POLICY.into() }];
    let mut decider = Decider::new(parse(&files, &ParseOptions::default()).0);
    for line in String::from_utf8_lossy(data).lines() {
        if let Some(answer) = decider.line(line) {
            assert!(answer.starts_with('{') && answer.ends_with('}') && !answer.contains('\n'));
        }
    }
    assert!(decider.line(GOOD).is_some());
    let saved = decider.save();
    decider.load(&saved).expect("what was saved can be loaded");
});
