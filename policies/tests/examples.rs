//! The shipped policies are valid and do what their tests say; what is made of them does not depend on where they are.

#![allow(clippy::disallowed_methods)] // The core is pure; its tests read their cases.

use policies::policy::testing::{self, TestResult};
use policies::policy::{ParseOptions, PolicySet, SourceFile, parse};
use std::path::Path;

fn examples() -> Vec<SourceFile> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<_> =
        std::fs::read_dir(directory).expect("examples").map(|entry| entry.expect("entry").path()).collect();
    // Beside the policies is Terraform that goes with them.
    names.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    names.sort();
    let read = |path: &std::path::PathBuf| SourceFile {
        name: path.file_name().expect("a name").to_string_lossy().into(),
        text: std::fs::read_to_string(path).expect("text"),
    };
    names.iter().map(read).collect()
}

fn sound(files: &[SourceFile]) -> PolicySet {
    let (set, found) = parse(files, &ParseOptions::default());
    assert_eq!(found, [], "{:?}", set.files);
    set
}

fn describe(set: &PolicySet, result: &TestResult) -> String {
    let lines = result.failures.iter().map(|failure| {
        let place = format!("{}:{}", set.file(failure.place), failure.place.line);
        format!("{place} {}\n  expected {}\n  got {}\n{}", result.name, failure.expected, failure.got, failure.trace)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_example_does_what_its_tests_say() {
    for file in examples() {
        let set = sound(&[file]);
        let results = testing::run(&set);
        assert!(!results.is_empty(), "{:?} has no test", set.files);
        let failed: Vec<String> =
            results.iter().filter(|result| !result.failures.is_empty()).map(|result| describe(&set, result)).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    }
}
