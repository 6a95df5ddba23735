//! Where the provider stands in these tests: a simulated OpenStack over the wire.

use conformance::{Call, Fault, Offers};
use contract::{ActionId, Ask, Epoch, Observation, Owner, Provider, ProviderError, Target, Timestamp, Version};
use openstack::{Deadlines, OpenStack, Settings, Template};
use sim::Cloud;
use sim_cloud::Server;
use sim_cloud::fixture::{Clock, Wire};
use sim_cloud::openstack::{self as simulated, CREDENTIAL, FLAVOR, IMAGE, PREFIX};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A tag is no group to Nova: it has no desired, no bounds, no owner and no other controller, and is never missing; so no
/// view of it is stale. Want of machines is never said at once: it comes as data. Its list has no capacities that could be
/// out of range. Credentials and the time are Keystone's business, whose refusals `tests/wire.rs` shows: to Nova every
/// token that is not good is the same.
pub const NOT_OF_TAGS: &[&str] = &[
    "an_unknown_group_is_not_found_and_spoils_nobody",
    "unfilled_capacity_is_shown",
    "suspension_is_shown",
    "a_foreign_controller_is_shown",
    "an_atomic_guard_shows_a_token",
    "raise_beyond_the_clouds_max_is_refused",
    "raise_from_a_stale_view_is_a_conflict",
    "two_raises_from_one_view_are_one",
    "raise_with_an_old_token_is_a_conflict",
    "raise_of_an_unknown_group_is_not_found",
    "cancel_withdraws_only_what_is_unfilled",
    "cancel_from_a_stale_view_is_a_conflict",
    "lower_is_absolute",
    "lower_twice_is_one",
    "lower_never_raises",
    "lower_from_a_stale_view_is_a_conflict",
    "lower_without_the_ability_changes_nothing",
    "terminate_stops_at_the_clouds_min",
    "terminate_from_a_stale_view_is_a_conflict",
    "terminate_without_the_ability_changes_nothing",
    "terminate_in_a_gone_group_is_not_found",
    "a_raise_without_machines_is_typed",
    "an_unsent_write_changes_nothing",
    "wrong_credentials_are_typed",
    "a_clock_that_is_off_is_typed",
    "a_number_out_of_range_is_unknown",
    "a_write_claims_the_group",
    "anothers_claim_refuses_every_write",
    "anothers_expired_claim_is_taken_over",
    "an_older_epoch_is_refused",
];

/// Takes away what says nothing of tags.
pub fn without_what_tags_lack(offers: &mut Offers) {
    let lacking = [
        (Call::Write, Fault::OutOfCapacity),
        (Call::Read, Fault::WrongCredentials),
        (Call::Read, Fault::ClockOff),
        (Call::Read, Fault::OutOfRange),
    ];
    offers.faults.retain(|offered| !lacking.contains(offered));
    offers.knows_groups = false;
    offers.owner_tags = false;
    offers.foreign = false;
    offers.suspends = Vec::new();
}

/// What the suite said and heard is held against OpenStack's own schemas too, where the judge is installed.
pub fn assert_described(server: &Server) {
    let Ok(venv) = std::env::var("SKALA_VENV") else { return };
    let exchanges = std::env::temp_dir().join(format!("skala-openstack-suite-{}.jsonl", std::process::id()));
    let said = server.exchanges_as_lines();
    let each_once: BTreeSet<&str> = said.split_inclusive('\n').collect();
    std::fs::write(&exchanges, each_once.into_iter().collect::<String>()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/openstack.py");
    let verdict = Command::new(format!("{venv}/bin/python")).args([script, "-"]).arg(&exchanges).output();
    let verdict = verdict.expect("SKALA_VENV has no python");
    let words = format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    _ = std::fs::remove_file(&exchanges);
    assert!(verdict.status.success(), "{words}");
    assert!(words.contains("answers fit tempest's schemas"), "{words}");
}

/// A simulated OpenStack, its machines and its server.
pub struct Stand {
    pub wire: Wire,
    pub api: Arc<simulated::OpenStack>,
}

/// Settings that make any group's servers.
pub fn settings() -> Settings {
    let template = Template {
        image: IMAGE.into(),
        flavor: FLAVOR.into(),
        networks: Some(vec![simulated::NETWORK.into()]),
        ..Template::default()
    };
    Settings { groups: BTreeMap::from([("*".to_owned(), template)]), ..Settings::default() }
}

impl Stand {
    pub async fn new() -> Self {
        Self::of(sim::Settings::default()).await
    }

    pub async fn of(settings: sim::Settings) -> Self {
        let clock = Clock::at(Timestamp::from_secs(1_795_425_024));
        let cloud = Cloud::new(settings, clock.reader()).unwrap();
        let api = Arc::new(simulated::OpenStack::new(cloud.clone()));
        let wire = Wire::start(Arc::clone(&api) as _, cloud, clock, PREFIX).await;
        Self { wire, api }
    }

    /// A provider with the application credential that is good.
    pub fn provider(&self) -> OpenStack {
        self.provider_of(settings(), &[])
    }

    /// A provider with other settings and other variables; an empty one takes its variable away.
    pub fn provider_of(&self, settings: Settings, more: &[(&str, &str)]) -> OpenStack {
        self.try_provider(settings, more).unwrap()
    }

    pub fn try_provider(&self, settings: Settings, more: &[(&str, &str)]) -> Result<OpenStack, ProviderError> {
        let url = format!("{}/identity", self.wire.server.url());
        let mut variables = BTreeMap::from([
            ("OS_AUTH_URL".to_owned(), url),
            ("OS_AUTH_TYPE".into(), "v3applicationcredential".into()),
            ("OS_APPLICATION_CREDENTIAL_ID".into(), CREDENTIAL.0.into()),
            ("OS_APPLICATION_CREDENTIAL_SECRET".into(), CREDENTIAL.1.into()),
        ]);
        variables.extend(more.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        let owner = Owner { id: "daemon-1".into() };
        let environment = Arc::new(move |name: &str| variables.get(name).cloned());
        let deadlines = Deadlines { read: Duration::from_secs(2), write: Duration::from_secs(3) };
        let provider = OpenStack::connect_in(settings, owner, self.wire.clock.reader(), environment)?;
        Ok(provider.with_deadlines(deadlines))
    }
}

/// One look at a group.
pub async fn look(provider: &dyn Provider, group: &str) -> Result<Observation, ProviderError> {
    provider.observe(&[Ask::new(group)]).await.remove(0)
}

/// What a write of this action is aimed at.
pub fn target(group: &str, action: u128) -> Target {
    let seen = Version { desired: None, token: None, at: Timestamp(0) };
    Target { group: group.into(), action: ActionId(action), seen, lease: Epoch(1) }
}
