//! What a fleet costs at the cloud: calls counted at its server while nothing changes.

use super::cloud::Cloud;
use super::daemon::{Daemon, Setup};
use super::exporter::Exporter;
use super::prometheus::Prometheus;
use super::proxy::Proxy;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Until all has been asked that is asked once: launch times, other controllers, refreshes.
const STEADY_AFTER: Duration = Duration::from_secs(12);
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the calls of `groups` groups for a while, by action.
fn count(groups: usize, interval_secs: u64, cycles: u64) {
    let (cloud, exporter) = (Cloud::start(), Exporter::start());
    let prometheus = Prometheus::scraping(exporter.port);
    exporter.add("all", Duration::ZERO, 50.0, &["i-1".into()], false);
    let mut policies = format!("[defaults]\nmode = \"on\"\nmin = 1\nmax = 5\ninterval = \"{interval_secs}s\"\n");
    for at in 0..groups {
        let name = format!("g{at:04}");
        cloud.create(&name, 0, 10, 1);
        _ = write!(
            policies,
            "[fleet.{name}]\n[[fleet.{name}.group]]\nprovider = \"aws\"\ngroup = \"{name}\"\n\
             [fleet.{name}.metric.rps]\nsource = \"prometheus\"\nquery = 'sum(rps)'\nunit = \"count\"\n\
             [[fleet.{name}.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100\n"
        );
    }
    let proxy = Proxy::before(cloud.port, "calls");
    let mut daemon = Daemon::new(&Setup {
        id: "calls",
        providers: &[("aws", proxy.port)],
        sources: &[("prometheus", prometheus.port)],
    });
    for (at, part) in policies_in_files(&policies).into_iter().enumerate() {
        daemon.write_policy(&format!("part{at}"), &part);
    }
    daemon.start();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let status = daemon.status();
        let fleets = status["fleets"].as_array().map_or(&[][..], Vec::as_slice);
        if fleets.len() == groups && fleets.iter().all(|fleet| fleet["hold"]["reason"] == "on_target") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{groups} fleets do not come to rest");
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(STEADY_AFTER);
    let (from, before) = (super::now(), proxy.calls().len());
    std::thread::sleep(Duration::from_secs(interval_secs * cycles));
    let secs = super::now() - from;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for call in &proxy.calls()[before..] {
        *counts.entry(call.action.clone()).or_default() += 1;
    }
    println!("{groups} groups, {secs:.0} s at an interval of {interval_secs} s: {counts:?}");
    let describes = counts.remove("DescribeAutoScalingGroups").unwrap_or(0);
    // One cycle more may have begun within the time.
    let most = groups.div_ceil(100) as u64 * (cycles + 1);
    assert!(describes <= most, "{describes} calls to describe {groups} groups in {cycles} cycles, at most {most}");
    assert!(describes > 0, "nothing was described");
    let others: u64 = counts.values().sum();
    let most = (groups as f64 / 100.0 * secs / 600.0).ceil();
    assert!(others as f64 <= most, "{counts:?} beside the describes, at most {most}");
    daemon.stop();
}

/// One file has at most 256 KiB.
fn policies_in_files(text: &str) -> Vec<String> {
    let (mut parts, mut last) = (Vec::new(), String::new());
    for line in text.split_inclusive('\n') {
        let begins = line.starts_with("[fleet.") && line.matches('.').count() == 1;
        if begins && last.len() > 100_000 {
            parts.push(std::mem::take(&mut last));
        }
        last.push_str(line);
    }
    parts.push(last);
    parts
}

#[test]
fn one_group() {
    count(1, 1, 20);
}

#[test]
fn a_hundred_groups() {
    count(100, 1, 20);
}

#[test]
fn a_thousand_groups() {
    count(1000, 5, 4);
}
