use super::*;
use aws_sdk_autoscaling::types::{
    MetricType, PredefinedMetricSpecification, PredictiveScalingConfiguration, SuspendedProcess,
    TargetTrackingConfiguration,
};
use contract::native::{NativeKind, NativeMode};

const NOW: Timestamp = Timestamp(0);

fn tracking(enabled: bool) -> ScalingPolicy {
    let metric = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AsgAverageCpuUtilization);
    let config = TargetTrackingConfiguration::builder()
        .predefined_metric_specification(metric.build())
        .target_value(50.0)
        .build();
    of("cpu50", "TargetTrackingScaling").enabled(enabled).target_tracking_configuration(config).build()
}

fn predictive(mode: PredictiveScalingMode) -> ScalingPolicy {
    let config = PredictiveScalingConfiguration::builder().set_metric_specifications(Some(vec![])).mode(mode).build();
    of("ahead", "PredictiveScaling").predictive_scaling_configuration(config).build()
}

fn of(name: &str, kind: &str) -> aws_sdk_autoscaling::types::builders::ScalingPolicyBuilder {
    ScalingPolicy::builder().auto_scaling_group_name("web").policy_name(name).policy_type(kind)
}

fn action() -> ScheduledUpdateGroupAction {
    let action = ScheduledUpdateGroupAction::builder().auto_scaling_group_name("web").scheduled_action_name("night");
    action.recurrence("0 22 * * *").desired_capacity(2).build()
}

fn standing(suspended: &[&str], policies: Vec<ScalingPolicy>, actions: Vec<ScheduledUpdateGroupAction>) -> Standing {
    let processes = suspended.iter().map(|name| SuspendedProcess::builder().process_name(*name).build()).collect();
    let group = AutoScalingGroup::builder()
        .auto_scaling_group_name("web")
        .min_size(1)
        .max_size(9)
        .set_suspended_processes(Some(processes))
        .build();
    Standing { group, policies, actions }
}

fn shown(standing: &Standing) -> Vec<String> {
    standing.undo(NOW).switches.iter().map(ToString::to_string).collect()
}

#[test]
fn only_what_may_act_is_switched() {
    use PredictiveScalingMode::{ForecastAndScale, ForecastOnly};
    let alarms = "process AlarmNotification: suspended false -> true";
    let schedules = "process ScheduledActions: suspended false -> true";
    let forecast = "predictive scaling policy ahead: mode ForecastAndScale -> ForecastOnly";
    let none = &[][..];
    for (suspended, policies, actions, expected) in [
        (none, vec![tracking(true)], vec![], vec![alarms]),
        (none, vec![tracking(true), predictive(ForecastAndScale)], vec![action()], vec![alarms, schedules, forecast]),
        (&["AlarmNotification"], vec![tracking(true)], vec![action()], vec![schedules]),
        (none, vec![tracking(false)], vec![], vec![]),
        (none, vec![predictive(ForecastOnly)], vec![], vec![]),
        (none, vec![predictive(ForecastAndScale)], vec![], vec![forecast]),
        (none, vec![], vec![], vec![]),
    ] {
        assert_eq!(shown(&standing(suspended, policies, actions)), expected);
    }
}

#[test]
fn a_switch_stands_as_the_group_says() {
    let before = standing(&[], vec![tracking(true), predictive(PredictiveScalingMode::ForecastAndScale)], vec![]);
    let after =
        standing(&["AlarmNotification"], vec![tracking(true), predictive(PredictiveScalingMode::ForecastOnly)], vec![]);
    let gone = standing(&[], vec![], vec![]);
    for switch in &before.undo(NOW).switches {
        let needed = |standing: &Standing| switch.to_suspend(standing.stands(switch).expect("known").as_deref());
        assert_eq!(needed(&before).expect("as it was"), Needed::Change, "{switch}");
        assert_eq!(needed(&after).expect("again"), Needed::Nothing, "{switch}");
        let back = switch.to_restore(after.stands(switch).expect("known").as_deref());
        assert_eq!(back.expect("as left"), Needed::Change, "{switch}");
    }
    let forecast = &before.undo(NOW).switches[1];
    assert_eq!(gone.stands(forecast).expect("known"), None, "a policy that was deleted stays deleted");
    let edited = Switch { what: "process".into(), ..forecast.clone() };
    assert!(matches!(before.stands(&edited), Err(ProviderError::Invalid { .. })));
}

#[test]
fn an_answer_reads_as_the_command_lines_output_does() {
    let standing = standing(&["AlarmNotification"], vec![tracking(true)], vec![action()]);
    let document = document::of(&standing.group, &standing.policies, &standing.actions, Vec::new());
    let native = native::aws::policy("web", &[document]).expect("readable");
    assert_eq!((native.min, native.max, native.mode), (Some(1), Some(9), NativeMode::Off));
    let NativeKind::Average { metric, target, removes, .. } = &native.rules[0].kind else { panic!("{native:?}") };
    assert_eq!((&*metric.short, *target, *removes), ("cpu", 50.0, true));
    assert!(matches!(native.rules[1].kind, NativeKind::Other(_)), "a single action has no end: {native:?}");
}
