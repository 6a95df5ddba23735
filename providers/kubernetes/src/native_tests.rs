use super::*;

fn whole(kind: &str, name: &str, meta: Value, spec: Value) -> Whole {
    let mut object = json!({"kind": kind, "metadata": meta, "spec": spec});
    for (key, value) in [("name", name), ("namespace", "shop"), ("uid", "u"), ("resourceVersion", "7")] {
        object["metadata"][key] = value.into();
    }
    object["spec"]["scaleTargetRef"] = json!({"kind": "Deployment", "name": "web"});
    object["spec"]["maxReplicas"] = 9.into();
    serde_json::from_value(object).unwrap()
}

fn hpa(behavior: Value) -> Whole {
    whole("HorizontalPodAutoscaler", "web", json!({}), json!({ "behavior": behavior }))
}

fn owned(kind: &str, owner: &str) -> Whole {
    let owner = json!([{"kind": kind, "name": owner, "controller": true}]);
    whole("HorizontalPodAutoscaler", "keda-hpa-web", json!({ "ownerReferences": owner }), json!({}))
}

fn scaled(annotations: Value) -> Whole {
    whole("ScaledObject", "web", json!({ "annotations": annotations }), json!({"triggers": []}))
}

fn shown(hpas: Vec<Whole>, scaled: Vec<Whole>) -> Result<Vec<String>, &'static str> {
    let undo = Standing { hpas, scaled }.undo();
    undo.map(|undo| undo.switches.iter().map(ToString::to_string).collect()).map_err(|error| error.code())
}

#[test]
fn only_what_may_act_is_switched() {
    let (disabled, max) = (json!({"selectPolicy": "Disabled"}), json!({"selectPolicy": "Max"}));
    let down = "HorizontalPodAutoscaler shop/web: spec.behavior.scaleDown.selectPolicy";
    let up = "HorizontalPodAutoscaler shop/web: spec.behavior.scaleUp.selectPolicy";
    let paused = "ScaledObject shop/web: autoscaling.keda.sh/paused";
    let check = |hpas: Vec<Whole>, scaled: Vec<Whole>, expected: Result<&[String], &str>| {
        assert_eq!(
            shown(hpas, scaled),
            expected.map(<[String]>::to_vec).map_err(|code| match code {
                "conflict" => "conflict",
                _ => "invalid",
            })
        );
    };
    check(vec![], vec![], Ok(&[]));
    let both = [format!("{down} not there -> Disabled"), format!("{up} not there -> Disabled")];
    check(vec![hpa(Value::Null)], vec![], Ok(&both));
    let rest = [format!("{up} Max -> Disabled")];
    check(vec![hpa(json!({"scaleUp": max, "scaleDown": disabled}))], vec![], Ok(&rest));
    check(vec![hpa(json!({"scaleUp": disabled, "scaleDown": disabled}))], vec![], Ok(&[]));
    let pause = [format!("{paused} not there -> true")];
    check(vec![owned("ScaledObject", "web")], vec![scaled(json!({}))], Ok(&pause));
    let again = [format!("{paused} false -> true")];
    check(vec![], vec![scaled(json!({PAUSED: "false"}))], Ok(&again));
    check(vec![], vec![scaled(json!({PAUSED: "true"}))], Ok(&[]));
    // Held at a number it is not off.
    let held = [format!("{paused} not there -> true"), format!("{paused}-replicas 4 -> not there")];
    check(vec![], vec![scaled(json!({PAUSED_AT: "4"}))], Ok(&held));
    check(vec![], vec![scaled(json!({PAUSED_AT: "4", PAUSED: "1"}))], Ok(&held[1..]));
    check(vec![owned("ScaledObject", "web")], vec![scaled(json!({PAUSED: "true"}))], Err("conflict"));
    check(vec![owned("ScaledObject", "web")], vec![], Err("invalid"));
    check(vec![owned("Operator", "web")], vec![], Err("invalid"));
}

#[test]
fn what_the_api_fills_in_is_as_if_it_was_not_there() {
    let undo = Standing { hpas: vec![hpa(Value::Null)], scaled: vec![] }.undo().unwrap();
    let [down, up] = &undo.switches[..] else { panic!("{undo:?}") };
    for (now, expected) in [(None, Needed::Nothing), (Some("Max"), Needed::Nothing), (Some("Disabled"), Needed::Change)]
    {
        assert_eq!(up.to_restore(position(up, now)).unwrap(), expected, "{now:?}");
    }
    assert!(up.to_restore(position(up, Some("Min"))).is_err());
    // It was Max in so many words, and somebody took the behavior away: the same.
    let said = Switch { was: Some("Max".into()), ..up.clone() };
    assert_eq!(said.to_restore(position(&said, None)).unwrap(), Needed::Nothing);

    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let way = |more: Value| {
        let mut way = json!({"selectPolicy": "Disabled"});
        way.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        way
    };
    let back = |behavior: Value| patch(&hpa(behavior), &[(down, None), (up, None)])["spec"]["behavior"].clone();
    let filled = json!({
        "scaleUp": way(json!({"stabilizationWindowSeconds": 0, "policies": [pods, percent]})),
        "scaleDown": way(json!({"policies": [percent]})),
    });
    assert_eq!(back(filled.clone()), Value::Null, "there was none");
    for (way, key, value) in [
        ("scaleDown", "stabilizationWindowSeconds", json!(60)),
        ("scaleUp", "policies", json!([pods])),
        ("scaleUp", "tolerance", json!("50m")),
    ] {
        let mut edited = filled.clone();
        edited[way][key] = value;
        let kept = json!({"scaleUp": {"selectPolicy": null}, "scaleDown": {"selectPolicy": null}});
        assert_eq!(back(edited), kept, "somebody has set {way}.{key} meanwhile");
    }
}

#[test]
fn a_patch_is_the_switches_and_the_version() {
    let it = scaled(json!({PAUSED_AT: "4", "other": "x"}));
    let undo = Standing { hpas: vec![], scaled: vec![scaled(json!({PAUSED_AT: "4"}))] }.undo().unwrap();
    let changes: Vec<_> = undo.switches.iter().map(|switch| (switch, switch.becomes.as_deref())).collect();
    let expected = json!({"metadata": {"resourceVersion": "7", "annotations": {PAUSED: "true", PAUSED_AT: null}}});
    assert_eq!(patch(&it, &changes), expected);
    let edited = Switch { setting: "spec.replicas".into(), ..undo.switches[0].clone() };
    assert!(matches!(it.stands(&edited), Err(ProviderError::Invalid { .. })));
}
