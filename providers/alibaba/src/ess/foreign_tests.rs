//! What acts by itself and what only waits to be executed.

use super::*;
use crate::api::Step;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn rule_of(kind: &str, adjustment: Option<i64>) -> Rule {
    Rule {
        scaling_group_id: Some("asg-1".into()),
        scaling_rule_ari: Some("ari-1".into()),
        scaling_rule_name: Some("r".into()),
        scaling_rule_type: Some(kind.into()),
        adjustment_value: adjustment,
        ..Rule::default()
    }
}

fn alarm_on(ari: &str) -> Alarm {
    Alarm {
        scaling_group_id: Some("asg-1".into()),
        name: Some("a".into()),
        alarm_actions: vec![ari.into()],
        ..Alarm::default()
    }
}

fn task_of(min: Option<i64>, max: Option<i64>) -> Task {
    Task {
        scaling_group_id: Some("asg-1".into()),
        scheduled_task_name: Some("t".into()),
        min_value: min,
        max_value: max,
        ..Task::default()
    }
}

fn found(rules: &[Rule], tasks: &[Task], alarms: &[Alarm]) -> Vec<(String, Option<bool>)> {
    let found = controllers(rules, tasks, alarms, NOW);
    found.into_iter().map(|(_, foreign)| (foreign.name.into(), foreign.removes)).collect()
}

#[test]
fn a_rule_acts_by_itself_or_through_a_task() {
    let check = |rules: &[Rule], alarms: &[Alarm], expected: &[(&str, Option<bool>)]| {
        let expected: Vec<_> = expected.iter().map(|(name, removes)| ((*name).to_owned(), *removes)).collect();
        assert_eq!(found(rules, &[], alarms), expected, "{rules:?} {alarms:?}");
    };
    let simple = |adjustment| [rule_of("SimpleScalingRule", Some(adjustment))];
    check(&simple(-2), &[], &[]);
    check(&simple(-2), &[alarm_on("ari-1")], &[("event-triggered task a", Some(true))]);
    check(&simple(2), &[alarm_on("ari-1")], &[("event-triggered task a", Some(false))]);
    check(&simple(2), &[Alarm { enable: Some(false), ..alarm_on("ari-1") }], &[]);
    check(&[], &[alarm_on("ari-9")], &[("event-triggered task a", None)]);
    let tracking = rule_of("TargetTrackingScalingRule", None);
    check(std::slice::from_ref(&tracking), &[alarm_on("ari-1")], &[("scaling rule r", Some(true))]);
    check(&[Rule { disable_scale_in: Some(true), ..tracking }], &[], &[("scaling rule r", Some(false))]);
    let predictive = rule_of("PredictiveScalingRule", None);
    check(&[Rule { predictive_scaling_mode: Some("PredictOnly".into()), ..predictive.clone() }], &[], &[]);
    check(&[predictive], &[], &[("scaling rule r", None)]);
    let step = |change| Step { scaling_adjustment: Some(change) };
    let steps = Rule { step_adjustments: vec![step(3), step(-1)], ..rule_of("StepScalingRule", None) };
    check(&[steps], &[alarm_on("ari-1")], &[("event-triggered task a", Some(true))]);
    let total = Rule { adjustment_type: Some("TotalCapacity".into()), ..rule_of("SimpleScalingRule", Some(5)) };
    check(&[total], &[alarm_on("ari-1")], &[("event-triggered task a", Some(true))]);
}

#[test]
fn a_scheduled_task_counts_while_it_can_still_act() {
    let check = |task: Task, expected: Option<Option<bool>>| {
        let rules = [rule_of("SimpleScalingRule", Some(2))];
        let shown = found(&rules, std::slice::from_ref(&task), &[]);
        assert_eq!(shown.first().map(|(_, removes)| *removes), expected, "{task:?}");
    };
    check(task_of(Some(1), None), Some(Some(false)));
    check(task_of(Some(1), Some(9)), Some(Some(true)));
    check(task_of(None, None), None);
    check(Task { task_enabled: Some(false), ..task_of(None, Some(9)) }, None);
    check(Task { scheduled_action: Some("ari-1".into()), ..task_of(None, None) }, Some(Some(false)));
    check(Task { scheduled_action: Some("ari-9".into()), ..task_of(None, None) }, Some(None));
    check(Task { launch_time: Some("2023-11-01T00:00Z".into()), ..task_of(Some(1), None) }, None);
    check(Task { launch_time: Some("2023-12-01T00:00Z".into()), ..task_of(Some(1), None) }, Some(Some(false)));
    let daily = Task {
        launch_time: Some("2023-11-01T00:00Z".into()),
        recurrence_type: Some("Daily".into()),
        ..task_of(Some(1), None)
    };
    check(daily.clone(), Some(Some(false)));
    check(Task { recurrence_end_time: Some("2023-11-10T00:00Z".into()), ..daily }, None);
}

#[test]
fn what_was_not_read_since_a_group_was_seen_is_unknown() {
    let start = Instant::now();
    let at = |secs| start + Duration::from_secs(secs);
    let mut account = Account::default();
    account.want(at(1));
    assert_eq!(account.due(at(1)), Some(Job::List));
    assert_eq!(account.due(at(2)), None);
    assert_eq!(account.due(at(17)), Some(Job::List));
    assert_eq!(account.of("asg-1", Some(at(1)))[0].removes, None);
    let found = vec![("asg-1".into(), Foreign { name: "x".into(), removes: Some(true) })];
    account.learn_all(found, at(17));
    assert_eq!(account.of("asg-1", Some(at(1))).len(), 1);
    assert_eq!(account.of("asg-2", Some(at(1))), vec![]);
    assert_eq!(account.age("asg-1", Some(at(1)), at(20)), Some(Duration::from_secs(3)));
    // A group that is new since then is not covered, and asked for at once.
    account.want(at(30));
    assert_eq!(account.age("asg-3", Some(at(30)), at(30)), None);
    assert_eq!(account.due(at(30)), Some(Job::List));
    account.failed("no answer");
    assert!(account.of("asg-3", Some(at(30)))[0].name.contains("no answer"));
    // What one group is asked for counts for it alone, and an older listing does not undo it.
    account.learn("asg-3", Vec::new(), at(40));
    account.learn_all(Vec::new(), at(16));
    assert_eq!(account.of("asg-3", Some(at(30))), vec![]);
    assert_eq!(account.of("asg-1", Some(at(1))).len(), 1);
}

#[test]
fn the_routine_jobs_take_turns() {
    let start = Instant::now();
    let mut account = Account::default();
    account.want(start);
    assert_eq!(account.due(start), Some(Job::List));
    account.learn_all(Vec::new(), start);
    let jobs: Vec<_> = (1..=1_300).filter_map(|secs| account.due(start + Duration::from_secs(secs))).collect();
    assert_eq!(jobs, [Job::RenewClaims, Job::List, Job::RenewClaims, Job::List]);
}
