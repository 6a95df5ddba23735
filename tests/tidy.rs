//! The house rules that neither the compiler nor clippy can hold: who may name whom, sizes, and what the README says.
//! A rule that is not tested is a wish.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file that are not tests, at most.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function, at most.
const FUNCTION_LINES_MAX: usize = 70;
/// Loose files in src/, at most.
const LOOSE_FILES_MAX: usize = 12;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder with this ending, with paths as seen from the root.
fn files(below: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().join(below)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if name.ends_with(ending) {
                let shown = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((shown, fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<(String, String)> {
    files(".", ".rs").into_iter().map(|(path, text)| (path.trim_start_matches("./").to_owned(), text)).collect()
}

/// The part of a file above its inline tests, without line comments.
fn code(text: &str) -> String {
    let above = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    above.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &str) -> bool {
    let folders = path.contains("/tests/") || path.starts_with("tests/") || path.starts_with("benches/");
    // A scripted server is declared below `#[cfg(test)]`.
    folders || path.ends_with("tests.rs") || path.ends_with("scripted.rs")
}

fn assert_none(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

/// Files outside tests, but for the allowed ones, in which a pattern stands.
fn standing(below: &[&str], pattern: &str, allowed: &[&str]) -> Vec<String> {
    rust_files()
        .into_iter()
        .filter(|(path, _)| below.iter().any(|room| path.starts_with(room)) && !is_test(path))
        .filter(|(path, _)| !allowed.iter().any(|a| path.starts_with(a)))
        .filter(|(_, text)| code(text).contains(pattern))
        .map(|(path, _)| format!("{path}: {pattern}"))
        .collect()
}

fn list(manifest: &str, key: &str) -> BTreeSet<String> {
    let text = read(manifest);
    let from = text.find(&format!("\n{key} = [")).unwrap_or_else(|| panic!("{key} in {manifest}"));
    let list = &text[from..];
    list[..list.find(']').expect("closed")].split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn plain_cargo_test_tests_every_member() {
    let mut members = list("Cargo.toml", "members");
    members.insert(".".into());
    assert_eq!(members, list("Cargo.toml", "default-members"));
    for (path, _) in files("providers", "Cargo.toml") {
        let member = path.trim_end_matches("/Cargo.toml");
        assert!(members.contains(member), "{member} is a member");
    }
}

/// The workspace crates that a manifest depends on, by section.
fn depends(manifest: &str, section: &str) -> BTreeSet<String> {
    let text = read(manifest);
    let ours = [
        "skala",
        "policies",
        "contract",
        "conformance",
        "sim",
        "sim-cloud",
        "aws",
        "gcp",
        "azure",
        "openstack",
        "libvirt",
        "kubernetes",
        "alibaba",
        "native",
    ];
    let Some(from) = text.find(&format!("\n[{section}]")) else { return BTreeSet::new() };
    let lines = text[from + 2..].lines().skip(1).take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| ours.contains(name)).map(str::to_owned).collect()
}

#[test]
fn rooms_know_only_whom_they_may() {
    let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(depends("providers/contract/Cargo.toml", "dependencies"), only(&[]));
    assert_eq!(depends("providers/conformance/Cargo.toml", "dependencies"), only(&["contract"]));
    assert_eq!(depends("policies/Cargo.toml", "dependencies"), only(&["contract"]));
    for (path, _) in files("providers", "Cargo.toml") {
        if path.contains("contract") || path.contains("conformance") {
            continue;
        }
        if path.contains("sim-cloud") {
            // No provider, but the clouds behind some: their machines are the simulated ones.
            assert_eq!(depends(&path, "dependencies"), only(&["contract", "conformance", "sim"]), "{path}");
            continue;
        }
        let mut needs = depends(&path, "dependencies");
        // How a cloud's own scaler reads is shared with imports from files.
        needs.remove("native");
        assert_eq!(needs, only(&["contract"]), "{path}");
        if path.contains("providers/native/") {
            continue;
        }
        assert!(depends(&path, "dev-dependencies").contains("conformance"), "{path} has a conformance test");
        let folder = root().join(&path);
        let test = folder.parent().expect("folder").join("tests/conformance.rs");
        assert!(test.exists(), "{} is the conformance test", test.display());
    }
    let core = read("policies/Cargo.toml");
    for heavy in ["tokio", "reqwest", "hyper", "aws-", "rusqlite"] {
        assert!(!core.contains(heavy), "the core is pure: no {heavy}");
    }
}

#[test]
fn only_the_registry_names_a_cloud() {
    let mut offenders = standing(&["src/"], "aws::", &["src/registry.rs"]);
    let simulated = ["src/registry.rs", "src/commands/demo", "src/commands/sim_cloud", "src/sources/"];
    offenders.extend(standing(&["src/"], "sim::", &simulated));
    // The TLS provider is called aws_lc_rs, the fake sources are ours.
    offenders.retain(|line| !line.starts_with("src/main.rs"));
    assert_none("only src/registry.rs names a concrete provider", offenders);
}

#[test]
fn time_and_chance_have_one_room_each() {
    let rooms = ["src/", "policies/src/", "providers/"];
    let mut offenders = Vec::new();
    for pattern in ["SystemTime::now", "std::time::Instant", "time::SystemTime"] {
        // The stamps of log lines are the log library's; nothing is decided by them.
        offenders.extend(standing(&rooms, pattern, &["src/clock.rs", "src/telemetry/logs.rs"]));
    }
    for pattern in ["RandomState", "rand::", "getrandom"] {
        // A PSS signature is salted, and an assertion needs an id that nobody guesses; nothing is decided by them.
        let rooms_of_chance = ["src/entropy.rs", "providers/azure/src/certificate.rs"];
        offenders.extend(standing(&rooms, pattern, &rooms_of_chance));
    }
    assert_none("only src/clock.rs reads time, only src/entropy.rs is random", offenders);
}

#[test]
fn concurrency_keeps_to_the_rules() {
    let mut offenders = standing(&["src/", "providers/"], "spawn_blocking", &["src/store/sqlite", "providers/libvirt"]);
    for (path, text) in rust_files() {
        let text = code(&text);
        for (at, _) in text.match_indices("select! {").filter(|_| !is_test(&path)) {
            if !text[at..].trim_start_matches("select! {").trim_start().starts_with("biased;") {
                offenders.push(format!("{path}: a select! that is not biased"));
            }
        }
        let is_static = |line: &str| {
            let line = line.trim_start();
            line.starts_with("static ") || line.starts_with("pub static ") || line.starts_with("thread_local!")
        };
        let lines: Vec<&str> = text.lines().collect();
        // The allocator is one by its nature.
        let is_state = |pair: &[&str]| is_static(pair[1]) && pair[0] != "#[global_allocator]";
        if !is_test(&path) && lines.windows(2).any(is_state) {
            offenders.push(format!("{path}: a static"));
        }
    }
    for name in ["counter!(", "gauge!(", "histogram!("] {
        offenders.extend(standing(&["src/", "policies/src/", "providers/"], name, &["src/telemetry"]));
    }
    assert_none(
        "select! is biased, blocking stays in the store, nothing is static, metrics live in telemetry",
        offenders,
    );
}

#[test]
fn nothing_is_left_for_later() {
    let mut offenders = Vec::new();
    for (path, text) in rust_files() {
        if path == "tests/tidy.rs" {
            continue;
        }
        for word in ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX", "dbg!("] {
            if text.contains(word) {
                offenders.push(format!("{path}: {word}"));
            }
        }
        if !is_test(&path) && code(&text).contains(".unwrap()") {
            offenders.push(format!("{path}: unwrap"));
        }
    }
    assert_none("no stub, no skipped test, no unwrap outside tests", offenders);
}

#[test]
fn files_and_functions_stay_small() {
    let mut offenders = Vec::new();
    for (path, text) in rust_files() {
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text).lines().count();
        if lines > FILE_LINES_MAX && !is_test(&path) {
            offenders.push(format!("{path}: {lines} lines"));
        }
        for (name, length) in functions(&text) {
            // A test's table of cases may be as long as there are cases.
            if length > FUNCTION_LINES_MAX && !is_test(&path) {
                offenders.push(format!("{path}: fn {name} has {length} lines"));
            }
        }
    }
    let loose = fs::read_dir(root().join("src")).expect("src").flatten().filter(|e| e.path().is_file()).count();
    if loose > LOOSE_FILES_MAX {
        offenders.push(format!("src/ has {loose} loose files"));
    }
    assert_none("files, functions and src/ stay small", offenders);
}

/// Names and lengths of functions; rustfmt puts the closing brace below the `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_start();
        let is_fn = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(super) fn ", "const fn "];
        if !is_fn.iter().any(|start| words.starts_with(start)) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[at..].iter().position(|line| *line == closing) {
            let name = words.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next()).unwrap_or("?");
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

#[test]
fn the_cores_clippy_rules_repeat_the_roots() {
    let own = read("policies/clippy.toml");
    for line in read("clippy.toml").lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        assert!(own.contains(line), "policies/clippy.toml repeats `{line}`");
    }
}

#[test]
fn every_path_in_the_readme_exists() {
    let readme = read("README.md");
    let mut missing = Vec::new();
    for quoted in readme.split('`').skip(1).step_by(2) {
        let first = quoted.split(['/', ' ']).next().unwrap_or("");
        let known = ["src", "policies", "providers", "systemd", "tests", "benches", "fuzz", ".ci"].contains(&first);
        let path = quoted.split([' ', '\n']).next().unwrap_or("").trim_end_matches('/');
        let pattern = path.contains(['*', '{', '<', '.']) && path.contains('*');
        if known && quoted.contains('/') && !pattern && !root().join(path).exists() {
            missing.push(quoted.to_owned());
        }
    }
    assert_none("every path in the README exists", missing);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Put together here, so that this file does not contain what it looks for.
    let words = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["/home", "/"].concat()];
    let mut offenders = Vec::new();
    for ending in [".rs", ".toml", ".md", ".sh", ".py", ".yml", ".service", "run"] {
        for (path, text) in files(".", ending) {
            offenders.extend(words.iter().filter(|w| text.contains(*w)).map(|w| format!("{path}: {w}")));
        }
    }
    assert_none("nothing names a path of the machine it was written on", offenders);
}
