//! The suite that every provider passes, over the simulated OpenStack. `tests/real.rs` passes it over a real one.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use stand::{NOT_OF_TAGS, Stand};
use std::time::Duration;

async fn stand() -> Stand {
    let mut stand = Stand::new().await;
    let offers = &mut stand.wire.offers;
    stand::without_what_tags_lack(offers);
    // Small pages: two servers of a group may well stand on two.
    stand.api.set_up(|setup| setup.page = 7);
    offers.page = Some(7);
    stand
}

#[tokio::test]
async fn tagged_servers_hold_the_contract() {
    let mut stand = stand().await;
    let provider = stand.provider();
    let report = conformance::run(&provider, &mut stand.wire).await.unwrap();
    report.assert_not_applicable(NOT_OF_TAGS);
    stand::assert_described(&stand.wire.server);
}

#[tokio::test]
async fn a_write_that_comes_late_holds_the_contract_too() {
    let mut stand = stand().await;
    stand.wire.late = true;
    let provider = stand.provider();
    let times_out = |name: &str| name.contains("times_out");
    let report = conformance::run_if(&provider, &mut stand.wire, times_out).await.unwrap();
    assert_eq!(report.passed.len(), 3, "{report}");
    stand.wire.clock.pass(Duration::from_secs(1));
}
