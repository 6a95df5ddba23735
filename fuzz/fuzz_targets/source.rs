//! A source's side: any answer of Prometheus and any query is read or refused, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skala::sources::prometheus::{check_query, count_series};

fuzz_target!(|text: &str| {
    if let Ok(count) = count_series(text) {
        // A series is at least its braces, its time and its value.
        assert!(count <= text.len() / 10);
    }
    let _ = check_query(text);
});
