//! The series about the process itself, held by a Prometheus recorder that is a value: nothing is installed globally, so
//! that two daemons fit in one process and a test reads only its own numbers. Series of fleets are not in here but
//! written at scrape time (`exposition`): in a registry they cost a hash entry and labels each, 124 MB at 10,000 fleets.

use crate::published::ProcessStatus;
use contract::{Call, OnCall};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds of all histograms' buckets, in seconds.
const BOUNDS_SECS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0];

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

const COUNTERS: [(&str, &str); 9] = [
    ("skala_actions_total", "Calls that change a group, by how they ended. (stable)"),
    ("skala_readings_missing_total", "Readings without a usable number, by why. (stable)"),
    ("skala_history_requests_total", "Queries whose recorded values were asked for, by how that ended. (experimental)"),
    ("skala_source_answers_total", "Queries to a composite source that one of its sources answered. (experimental)"),
    ("skala_provider_requests_total", "Calls to a cloud. (stable)"),
    ("skala_provider_throttled_total", "Calls to a cloud that it turned down as too many. (stable)"),
    ("skala_drain_requests_total", "Times that a drainer was asked, by what and by how that ended. (experimental)"),
    ("skala_faults_total", "Fleets held because skala itself failed. (experimental)"),
    ("skala_late_answers_total", "Answers after their deadline, dropped. (experimental)"),
];

const HISTOGRAMS: [(&str, &str); 3] = [
    ("skala_provider_request_duration_seconds", "Duration of calls to a cloud, by their result. (stable)"),
    ("skala_source_request_duration_seconds", "Duration of queries to a source of readings. (stable)"),
    ("skala_cycle_duration_seconds", "From the start of a fleet's observation to its decision. (stable)"),
];

const GAUGES: [(&str, &str); 7] = [
    ("skala_build_info", "Always 1; the version is in the label. (stable)"),
    ("skala_cycle_lag_seconds", "How late the last cycles began, at worst. (stable)"),
    (
        "skala_config_last_reload_successful",
        "1 when the last load of the policies was taken, 0 when it was refused. (stable)",
    ),
    ("skala_store_bytes", "Size of the store on disk. (stable)"),
    ("skala_store_healthy", "1 when the store takes decisions and its disk is not full. (experimental)"),
    ("skala_lease_held", "1 when this daemon holds the lease and may write. (experimental)"),
    ("skala_hold_all_active", "1 while `skala hold --all` is in force. (experimental)"),
];

/// Counters, durations and conditions of one daemon since its start. Every method may be called from anywhere and is cheap.
pub struct ProcessMetrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    cycles: Histogram,
    lag: Gauge,
    faults: Counter,
    late_answers: Counter,
}

impl ProcessMetrics {
    /// All series that have no labels, at zero.
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // The one refusal of set_buckets is an empty list.
        let builder = builder.set_buckets(&BOUNDS_SECS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        for (name, help) in COUNTERS {
            recorder.describe_counter(name.into(), None, help.into());
        }
        for (name, help) in HISTOGRAMS {
            recorder.describe_histogram(name.into(), None, help.into());
        }
        for (name, help) in GAUGES {
            recorder.describe_gauge(name.into(), None, help.into());
        }
        let version = Label::from_static_parts("version", env!("CARGO_PKG_VERSION"));
        recorder.register_gauge(&Key::from_parts("skala_build_info", vec![version]), &METADATA).set(1.0);
        Self {
            handle: recorder.handle(),
            cycles: recorder.register_histogram(&Key::from_static_name("skala_cycle_duration_seconds"), &METADATA),
            lag: recorder.register_gauge(&Key::from_static_name("skala_cycle_lag_seconds"), &METADATA),
            faults: recorder.register_counter(&Key::from_static_name("skala_faults_total"), &METADATA),
            late_answers: recorder.register_counter(&Key::from_static_name("skala_late_answers_total"), &METADATA),
            recorder,
        }
    }

    /// A call that changes a group has ended.
    pub fn action(&self, provider: &Arc<str>, action: &'static str, outcome: &'static str) {
        let labels = [shared("provider", provider), fixed("action", action), fixed("outcome", outcome)];
        self.count("skala_actions_total", labels);
    }

    /// A drainer was asked: `drain` or `return`, and `done`, `going` or `error`.
    pub fn drain_request(&self, drainer: &Arc<str>, asked: &'static str, outcome: &'static str) {
        let labels = [shared("drainer", drainer), fixed("do", asked), fixed("outcome", outcome)];
        self.count("skala_drain_requests_total", labels);
    }

    /// A source was asked and gave no usable number.
    pub fn reading_missing(&self, source: &Arc<str>, why: &'static str) {
        self.count("skala_readings_missing_total", [shared("source", source), fixed("why", why)]);
    }

    /// A source that asks others took the answer of this one.
    pub fn source_answered(&self, source: &Arc<str>, from: &Arc<str>) {
        self.count("skala_source_answers_total", [shared("source", source), shared("from", from)]);
    }

    /// A source was asked for what it recorded of a query: `ok`, or why nothing came.
    pub fn history_request(&self, source: &Arc<str>, outcome: &'static str) {
        self.count("skala_history_requests_total", [shared("source", source), fixed("outcome", outcome)]);
    }

    /// What a provider of this name tells of its requests.
    pub fn on_call(self: &Arc<Self>, provider: &str) -> OnCall {
        let (metrics, provider) = (Arc::clone(self), Arc::from(provider));
        Arc::new(move |call: &Call| metrics.provider_request(&provider, call))
    }

    fn provider_request(&self, provider: &Arc<str>, call: &Call) {
        let Call { operation, code, took } = *call;
        let labels = [shared("provider", provider), fixed("operation", operation)];
        self.count("skala_provider_requests_total", labels);
        if code == "throttled" {
            self.count("skala_provider_throttled_total", [shared("provider", provider)]);
        }
        let labels = vec![shared("provider", provider), fixed("operation", operation), fixed("code", code)];
        let key = Key::from_parts("skala_provider_request_duration_seconds", labels);
        self.recorder.register_histogram(&key, &METADATA).record(took);
    }

    /// A source has answered, or failed to.
    pub fn source_request(&self, source: &Arc<str>, took: Duration) {
        let key = Key::from_parts("skala_source_request_duration_seconds", vec![shared("source", source)]);
        self.recorder.register_histogram(&key, &METADATA).record(took);
    }

    /// A fleet was decided, so long after its observation began.
    pub fn cycle(&self, took: Duration) {
        self.cycles.record(took);
    }

    /// How late the latest of the cycles that begin now is.
    pub fn lag(&self, late: Duration) {
        self.lag.set(late.as_secs_f64());
    }

    /// A fleet panicked or broke the trace law.
    pub fn fault(&self) {
        self.faults.increment(1);
    }

    /// An answer came after its deadline and was dropped.
    pub fn late_answer(&self) {
        self.late_answers.increment(1);
    }

    /// Takes the samples of durations into their buckets. Until then each is kept by itself, so this must be called now
    /// and then also when nobody scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text of all series, in Prometheus' format.
    pub fn render(&self, process: &ProcessStatus) -> String {
        let set = |name: &'static str, value: f64| {
            self.recorder.register_gauge(&Key::from_static_name(name), &METADATA).set(value);
        };
        let flag = |yes: bool| f64::from(u8::from(yes));
        set("skala_config_last_reload_successful", flag(process.config.last_reload_ok));
        // Exact up to 2^53 bytes, far above any store.
        set("skala_store_bytes", process.store.bytes as f64);
        set("skala_store_healthy", flag(process.store_fault.is_none() && !process.store.full));
        set("skala_lease_held", flag(process.lease_held));
        set("skala_hold_all_active", flag(process.hold_all.is_some()));
        self.handle.render()
    }

    fn count<const N: usize>(&self, name: &'static str, labels: [Label; N]) {
        self.recorder.register_counter(&Key::from_parts(name, labels.to_vec()), &METADATA).increment(1);
    }
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ProcessMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessMetrics").finish_non_exhaustive()
    }
}

fn fixed(label: &'static str, value: &'static str) -> Label {
    Label::from_static_parts(label, value)
}

fn shared(label: &'static str, value: &Arc<str>) -> Label {
    Label::new(label, SharedString::from(Arc::clone(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_counted_shows() {
        let metrics = Arc::new(ProcessMetrics::new());
        let (cloud, load): (Arc<str>, Arc<str>) = ("cl\"oud".into(), "load".into());
        metrics.action(&cloud, "raise", "accepted");
        metrics.reading_missing(&load, "stale");
        metrics.reading_missing(&load, "stale");
        metrics.history_request(&load, "ok");
        metrics.source_answered(&load, &"spare".into());
        let on_call = metrics.on_call(&cloud);
        on_call(&Call { operation: "observe", code: "ok", took: Duration::from_millis(7) });
        on_call(&Call { operation: "observe", code: "throttled", took: Duration::from_secs(60) });
        metrics.source_request(&load, Duration::from_millis(1));
        metrics.cycle(Duration::from_millis(1));
        metrics.upkeep();
        metrics.cycle(Duration::from_millis(2));
        metrics.lag(Duration::from_millis(1_500));
        metrics.drain_request(&Arc::from("balancer"), "drain", "done");
        metrics.fault();
        metrics.late_answer();
        let text = metrics.render(&ProcessStatus { lease_held: true, ..ProcessStatus::default() });
        for line in [
            r#"actions_total{provider="cl\"oud",action="raise",outcome="accepted"} 1"#,
            r#"readings_missing_total{source="load",why="stale"} 2"#,
            r#"history_requests_total{source="load",outcome="ok"} 1"#,
            r#"source_answers_total{source="load",from="spare"} 1"#,
            r#"provider_requests_total{provider="cl\"oud",operation="observe"} 2"#,
            r#"provider_throttled_total{provider="cl\"oud"} 1"#,
            r#"provider_request_duration_seconds_bucket{provider="cl\"oud",operation="observe",code="ok",le="0.005"} 0"#,
            r#"provider_request_duration_seconds_bucket{provider="cl\"oud",operation="observe",code="ok",le="0.01"} 1"#,
            r#"provider_request_duration_seconds_bucket{provider="cl\"oud",operation="observe",code="throttled",le="30"} 0"#,
            r#"provider_request_duration_seconds_count{provider="cl\"oud",operation="observe",code="throttled"} 1"#,
            r#"source_request_duration_seconds_count{source="load"} 1"#,
            r#"drain_requests_total{drainer="balancer",do="drain",outcome="done"} 1"#,
            "cycle_duration_seconds_count 2",
            "cycle_lag_seconds 1.5",
            "faults_total 1",
            "late_answers_total 1",
            "config_last_reload_successful 0",
            "store_bytes 0",
            "store_healthy 1",
            "lease_held 1",
            "hold_all_active 0",
        ] {
            assert!(text.lines().any(|shown| shown == format!("skala_{line}")), "{line} is not in\n{text}");
        }
        let all = COUNTERS.iter().chain(&HISTOGRAMS).chain(&GAUGES);
        for (name, help) in all {
            assert!(text.contains(&format!("# HELP {name} {help}\n# TYPE {name} ")), "{name} is not in\n{text}");
        }
        let other = ProcessMetrics::new().render(&ProcessStatus::default());
        assert!(other.contains("skala_faults_total 0"), "two daemons in one process count apart");
    }
}
