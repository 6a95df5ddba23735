//! A real Prometheus that scrapes the load generator every second, and questions to it that do not go through skala.

use super::http::{encoded, tcp};
use super::process::{Process, free_port};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running Prometheus with a storage of its own.
pub struct Prometheus {
    pub port: u16,
    pub process: Process,
    dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes one endpoint.
    pub fn scraping(exporter: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: load, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}]\n"
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let port = free_port();
        let process = run(&dir, port);
        Self { port, process, dir }
    }

    /// Starts it again over its storage, after it was killed.
    pub fn restart(&mut self) {
        self.process = run(&self.dir, self.port);
    }

    /// One number now, if exactly one comes back.
    pub fn instant(&self, query: &str) -> Option<f64> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(query)))?;
        match answer["data"]["result"].as_array()?.as_slice() {
            [one] => one["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// A query's value at each second from one time to another; a second without exactly one series is left out.
    pub fn range(&self, query: &str, from: f64, to: f64) -> Vec<(f64, f64)> {
        let path = format!("/api/v1/query_range?query={}&start={from:.3}&end={to:.3}&step=1", encoded(query));
        let answer = self.ask(&path).unwrap_or_else(|| panic!("Prometheus does not answer\n{}", self.process.tail()));
        match answer["data"]["result"].as_array().unwrap().as_slice() {
            [one] => one["values"].as_array().unwrap().iter().filter_map(point).collect(),
            _ => Vec::new(),
        }
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let answer = tcp(self.port, "GET", path, "text/plain", "", PATIENCE)?;
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        Some(answer)
    }
}

fn point(pair: &Value) -> Option<(f64, f64)> {
    Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?))
}

fn run(dir: &tempfile::TempDir, port: u16) -> Process {
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut process = Process::start("prometheus (tests/run installs it)", command, &dir.path().join("log"));
    process.wait_listening(port);
    process
}
