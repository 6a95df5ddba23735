//! skala.toml: any text gives a configuration or diagnostics with places inside the text, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policies::policy::{Severity, SourceFile};
use skala::config::{Kinds, SkalaToml};
use std::path::Path;

const KINDS: Kinds<'static> = Kinds { built: &["aws", "sim"], known: &["aws", "gcp", "sim"] };

fuzz_target!(|text: &str| {
    let file = SourceFile { name: "skala.toml".into(), text: text.into() };
    let (config, found) = SkalaToml::parse(&file, KINDS, Path::new("/etc/skala"), Path::new("/run/credentials"));
    for diagnostic in &found {
        assert!(diagnostic.span.end <= text.len() && diagnostic.line >= 1 && diagnostic.column >= 1);
    }
    let refused = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(config.is_none(), refused);
});
