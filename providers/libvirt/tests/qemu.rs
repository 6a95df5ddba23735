//! The suite again, over real QEMU guests in a libvirtd of the test's own. The guests have nothing to boot and ignore
//! every request to shut down, so all of them are destroyed by the deadline.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use stand::fixture::{Domains, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn guests_of_qemu_hold_the_contract() {
    let (mut fixture, provider) = Domains::new(Kind::Qemu).await;
    let report = conformance::run(&provider, &mut fixture).await.unwrap();
    // conformance.rs says why most of them do not apply. No fault is made here, and memory is not scarce.
    assert_eq!(report.passed.len(), 18, "{report}");
}
