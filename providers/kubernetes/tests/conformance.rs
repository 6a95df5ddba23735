//! The conformance suite over the simulated cluster, for each kind of object, with every exchange judged by the official
//! client's models.
#![allow(clippy::unwrap_used)]

mod stand;

use conformance::{Call, Fault};
use contract::Suspended;
use stand::Stand;

/// Objects in a page, so that the suite's 130 groups fill several.
const PAGE: usize = 50;

/// What the API has no way of saying or doing.
const NEVER: &[&str] = &[
    // A cluster has no capacity bounds of its own for an object, and no pod is protected from scaling.
    "raise_beyond_the_clouds_max_is_refused",
    "protection_is_shown",
    // Any object can be lowered, and no pod removed by name so that desired falls with it.
    "lower_without_the_ability_changes_nothing",
    "terminate_removes_exactly_the_named",
    "terminate_of_nothing_changes_nothing",
    "terminate_of_a_name_twice_removes_one",
    "terminate_of_many_removes_them_all",
    "terminate_skips_an_instance_that_is_gone",
    "terminate_spares_the_protected",
    "terminate_spares_another_groups_instance",
    "terminate_stops_at_the_clouds_min",
    "terminate_from_a_stale_view_is_a_conflict",
    "terminate_without_the_ability_changes_nothing",
    "terminate_in_a_gone_group_is_not_found",
    "a_throttled_termination_changes_nothing",
    "an_error_after_a_termination_is_unclear",
    "a_termination_that_times_out_is_unclear",
    // A scale is taken whatever room there is; the pods say later that there was none.
    "a_raise_without_machines_is_typed",
    "a_raise_beyond_the_quota_is_typed",
    // Only a connection as a whole can be refused, and then the read before the write is.
    "an_unsent_write_changes_nothing",
    // 401 is all that a server says of a token that is wrong, and the caller's clock is nothing to it.
    "wrong_credentials_are_typed",
    "a_clock_that_is_off_is_typed",
];

/// What is said of every kind of object.
const ALWAYS: &[&str] =
    &["GET HorizontalPodAutoscalerList", "GET PodList", "PATCH Scale", "PATCH PartialObjectMetadata", "GET Status"];

async fn run(
    prefix: &'static str,
    suspends: Vec<Suspended>,
    late: bool,
    not_applicable: &[&str],
    exchanged: &[&'static str],
) {
    let mut stand = Stand::start(prefix, PAGE).await;
    let provider = stand.provider().await;
    let said = [
        (Call::Read, Fault::WrongCredentials),
        (Call::Read, Fault::ClockOff),
        (Call::Write, Fault::OutOfCapacity),
        (Call::Write, Fault::QuotaExceeded),
    ];
    stand.wire = stand.wire.without(&said);
    stand.wire.offers.protect = false;
    stand.wire.offers.page = Some(PAGE);
    stand.wire.offers.suspends = suspends;
    stand.wire.late = late;
    // One read of the scale for each group: no list of a custom kind says its replicas.
    stand.wire.offers.counts_calls = !prefix.contains("rollouts");
    let report = conformance::run(&provider, &mut stand.wire).await.unwrap();
    report.assert_not_applicable(&[NEVER, not_applicable].concat());
    sim_cloud::judge("kubernetes.py", &[&stand.wire.server], &[ALWAYS, exchanged].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments() {
    let paused = Suspended::Other("rollout paused".into());
    run("deployment:shop/", vec![paused], false, &[], &["GET DeploymentList", "GET Deployment"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_sets() {
    // They have no rollouts to pause.
    let exchanged = ["GET StatefulSetList", "GET StatefulSet"];
    run("deployment:shop/statefulset/", vec![], true, &["suspension_is_shown"], &exchanged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_with_a_scale() {
    let exchanged = ["GET APIResourceList", "GET PartialObjectMetadataList", "GET Scale"];
    run("deployment:shop/rollouts.argoproj.io/", vec![], false, &["suspension_is_shown"], &exchanged).await;
}
