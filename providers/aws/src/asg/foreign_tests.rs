use super::*;
use aws_sdk_autoscaling::types::{PredictiveScalingConfiguration, StepAdjustment, TargetTrackingConfiguration};
use aws_smithy_types::DateTime;

fn policy_of(kind: &str) -> aws_sdk_autoscaling::types::builders::ScalingPolicyBuilder {
    ScalingPolicy::builder().auto_scaling_group_name("web").policy_name("p").policy_type(kind)
}

fn tracking(disable_scale_in: bool) -> ScalingPolicy {
    let config = TargetTrackingConfiguration::builder().target_value(50.0).disable_scale_in(disable_scale_in).build();
    policy_of("TargetTrackingScaling").target_tracking_configuration(config).build()
}

fn predictive(mode: PredictiveScalingMode) -> ScalingPolicy {
    let config = PredictiveScalingConfiguration::builder().set_metric_specifications(Some(vec![])).mode(mode).build();
    policy_of("PredictiveScaling").predictive_scaling_configuration(config).build()
}

fn steps(changes: &[i32]) -> ScalingPolicy {
    let steps = changes.iter().map(|change| StepAdjustment::builder().scaling_adjustment(*change).build()).collect();
    policy_of("StepScaling").adjustment_type("ChangeInCapacity").set_step_adjustments(Some(steps)).build()
}

#[test]
fn a_policy_says_whether_it_can_remove() {
    for (what, given, expected) in [
        ("target tracking", tracking(false), Some(Some(true))),
        ("target tracking that only adds", tracking(true), Some(Some(false))),
        ("disabled", ScalingPolicy::builder().auto_scaling_group_name("web").enabled(false).build(), None),
        ("a forecast", predictive(PredictiveScalingMode::ForecastOnly), None),
        ("a forecast that scales", predictive(PredictiveScalingMode::ForecastAndScale), Some(Some(false))),
        ("steps that add", steps(&[1, 3]), Some(Some(false))),
        ("steps that remove", steps(&[1, -1]), Some(Some(true))),
        ("a simple one", policy_of("SimpleScaling").scaling_adjustment(-2).build(), Some(Some(true))),
        (
            "an exact number",
            policy_of("SimpleScaling").adjustment_type("ExactCapacity").scaling_adjustment(5).build(),
            Some(Some(true)),
        ),
        ("an unknown kind", policy_of("MagicScaling").build(), Some(None)),
        ("one of no group", ScalingPolicy::builder().policy_name("p").build(), None),
    ] {
        assert_eq!(policy(&given).map(|(_, foreign)| foreign.removes), expected, "{what}");
    }
}

#[test]
fn a_scheduled_action_says_whether_it_can_remove() {
    let now = Timestamp::from_secs(1_000);
    let action = || ScheduledUpdateGroupAction::builder().auto_scaling_group_name("web").scheduled_action_name("night");
    for (what, given, expected) in [
        ("a desired", action().desired_capacity(2), Some(Some(true))),
        ("a maximum", action().max_size(2), Some(Some(true))),
        ("a minimum", action().min_size(2), Some(Some(false))),
        ("nothing", action(), None),
        ("one that is over", action().desired_capacity(2).end_time(DateTime::from_secs(999)), None),
    ] {
        assert_eq!(schedule(&given.build(), now).map(|(_, foreign)| foreign.removes), expected, "{what}");
    }
}

#[test]
fn what_is_suspended_does_not_act() {
    let name = |given: &ScalingPolicy| policy(given).map(|(_, foreign)| foreign);
    let action = ScheduledUpdateGroupAction::builder().auto_scaling_group_name("web").scheduled_action_name("night");
    let mut all = vec![
        name(&tracking(false)).expect("acts"),
        name(&predictive(PredictiveScalingMode::ForecastAndScale)).expect("acts"),
    ];
    all.push(schedule(&action.desired_capacity(2).build(), Timestamp(0)).expect("acts").1);
    all.extend(Account::default().of("web", None));
    let names = |suspended: &[&str]| {
        let suspended: Vec<Suspended> = suspended.iter().map(|name| Suspended::Other((*name).into())).collect();
        awake(all.clone(), &suspended).into_iter().map(|foreign| foreign.name.to_string()).collect::<Vec<_>>()
    };
    let (policy, forecast, action) = ("scaling policy p", "predictive scaling policy p", "scheduled action night");
    let (no_policies, no_actions) =
        ("unknown scaling policies: not read yet", "unknown scheduled actions: not read yet");
    assert_eq!(names(&[]), [policy, forecast, action, no_policies, no_actions]);
    assert_eq!(names(&["HealthCheck"]).len(), 5);
    // What was not read may be a forecast, which waits for no alarm.
    assert_eq!(names(&[ALARMS]), [forecast, action, no_policies, no_actions]);
    assert_eq!(names(&[ALARMS, SCHEDULES]), [forecast, no_policies]);
}

/// How many jobs come due in a time, the first listings answered at once.
fn jobs(groups: usize, secs: u64) -> Vec<Job> {
    let start = Instant::now();
    let mut account = Account::default();
    let mut done = Vec::new();
    for second in (0..secs).step_by(5) {
        let now = start + Duration::from_secs(second);
        for job in account.due(groups, now) {
            done.push(job);
            if let Job::List(kind) = job {
                account.learn_all(kind, BTreeMap::new(), now);
            }
        }
    }
    done
}

#[test]
fn after_the_first_two_listings_a_hundred_groups_cost_one_job_in_ten_minutes() {
    let policies = Job::List(Kind::Policies);
    let schedules = Job::List(Kind::Schedules);
    assert_eq!(jobs(100, 600), [policies, schedules]);
    assert_eq!(jobs(100, 2_400), [policies, schedules, policies, schedules, Job::RenewClaims]);
    // A thousand groups may cost ten in ten minutes; they take three.
    assert_eq!(jobs(1_000, 6_000).len() - 2, 29);
}

#[test]
fn what_was_never_listed_is_an_unknown_controller_and_asked_again() {
    let mut account = Account::default();
    let start = Instant::now();
    assert_eq!(account.due(1, start).len(), 2);
    assert_eq!(account.due(1, start + ASK_AGAIN / 2), []);
    let names = move |account: &mut Account| {
        account.of("web", Some(start)).iter().map(|f| f.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&mut account),
        ["unknown scaling policies: not read yet", "unknown scheduled actions: not read yet"]
    );
    account.trouble(Kind::Policies, "denied");
    account.learn_all(Kind::Schedules, BTreeMap::new(), start);
    assert_eq!(names(&mut account), ["unknown scaling policies: denied"]);
    assert_eq!(account.due(1, start + ASK_AGAIN), [Job::List(Kind::Policies)]);
    account.learn(Kind::Policies, "web", vec![Foreign { name: "scaling policy p".into(), removes: None }], start);
    assert_eq!(names(&mut account), ["scaling policy p"]);
    assert_eq!(account.age(Kind::Policies, "web", None, start + ASK_AGAIN), Some(ASK_AGAIN));
    assert_eq!(account.age(Kind::Policies, "api", None, start), None);
    // A later listing of the account replaces it; one that fails afterwards changes nothing.
    account.learn_all(Kind::Policies, BTreeMap::new(), start);
    account.trouble(Kind::Policies, "throttled");
    assert_eq!(names(&mut account), [] as [String; 0]);
}

#[test]
fn a_group_first_seen_after_the_last_listing_is_listed_at_once() {
    let mut account = Account::default();
    let start = Instant::now();
    for kind in [Kind::Policies, Kind::Schedules] {
        account.due(1, start);
        account.learn_all(kind, BTreeMap::new(), start);
    }
    assert_eq!((account.due(1, start).len(), account.of("web", Some(start)).len()), (0, 0));
    let later = start + Duration::from_secs(1);
    account.want(later);
    assert_eq!(account.of("new", Some(later)).len(), 2, "what is not read is unknown");
    assert_eq!(account.of("web", Some(start)).len(), 0);
    assert_eq!((account.due(1, later).len(), account.due(1, later).len()), (2, 0));
    for kind in [Kind::Policies, Kind::Schedules] {
        account.learn_all(kind, BTreeMap::new(), later);
    }
    // An older listing that comes late takes nothing back.
    account.learn_all(Kind::Policies, BTreeMap::new(), start);
    assert_eq!(account.of("new", Some(later)).len(), 0);
    assert_eq!(account.due(1, later + ASK_AGAIN), []);
}
