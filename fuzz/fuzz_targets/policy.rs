//! Policy files: any text gives policies and diagnostics with places inside the text, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policies::policy::{ParseOptions, SourceFile, parse};

fuzz_target!(|text: &str| {
    let files = [SourceFile { name: "web.toml".into(), text: text.into() }];
    let (set, found) = parse(&files, &ParseOptions::default());
    for diagnostic in &found {
        assert!(diagnostic.span.end <= text.len() && diagnostic.line >= 1 && diagnostic.column >= 1);
    }
    for fleet in &set.fleets {
        assert!(fleet.min <= fleet.max || !found.is_empty());
    }
});
