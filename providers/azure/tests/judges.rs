//! Software that nobody here wrote judges the simulated Azure and what the provider says to it: Microsoft's Python client
//! libraries, from the venv that `SKALA_VENV` names (`tests/clouds/azure.py`). Without it the test fails: one that quietly
//! does nothing proves nothing.

#![allow(clippy::unwrap_used)]

mod stand;

use stand::everything::{Stand, used};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::NamedTempFile;

async fn judged(flexible: bool) -> BTreeMap<String, u64> {
    let venv = std::env::var("SKALA_VENV").expect("no judges: set SKALA_VENV; tests/run installs them and sets it");
    let Stand { clock, server, pem } = used(flexible).await;
    let mut exchanges = NamedTempFile::new().unwrap();
    write!(exchanges, "{}", server.exchanges_as_lines()).unwrap();

    let mut judge = Command::new(format!("{venv}/bin/python"))
        // Without the script's folder in the search path: its name is also the libraries'.
        .args(["-P", concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/azure.py")])
        .args([server.url().as_str(), exchanges.path().to_str().unwrap(), pem.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python of SKALA_VENV does not start");
    // The cloud's time passes while the libraries wait for it.
    while judge.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        clock.pass(Duration::from_secs(5));
    }
    let output = judge.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All of these were there to be judged.
fn assert_judged(found: &BTreeMap<String, u64>, expected: &[&str]) {
    let missing: Vec<_> = expected.iter().filter(|name| found.get(**name).is_none_or(|count| *count == 0)).collect();
    assert!(missing.is_empty(), "{missing:?} were not judged: {found:?}");
}

const ALWAYS: &[&str] = &[
    "token",
    "refusal",
    "autoscale",
    "autoscale_settings_get",
    "autoscale_settings_put",
    "metrics_list",
    "operation",
    "virtual_machine_scale_sets_list_all",
    "virtual_machine_scale_sets_get",
    "virtual_machine_scale_sets_update",
    "virtual_machine_scale_sets_delete_instances",
    "virtual_machine_scale_set_vms_list",
    "virtual_machine_scale_set_rolling_upgrades_get_latest",
];

#[tokio::test]
async fn microsofts_libraries_judge_uniform_sets() {
    assert_judged(&judged(false).await, ALWAYS);
}

#[tokio::test]
async fn microsofts_libraries_judge_flexible_sets() {
    let found = judged(true).await;
    assert_judged(&found, ALWAYS);
    assert_judged(&found, &["virtual_machines_list_all"]);
}
