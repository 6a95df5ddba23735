use super::*;
use serde_json::json;

const SUB: &str = "00000000-1111-2222-3333-444444444444";

fn document(name: &str, target: &str, enabled: Value) -> Value {
    let target = format!(
        "/subscriptions/{SUB}/resourceGroups/Shop/providers/Microsoft.Compute/virtualMachineScaleSets/{target}"
    );
    json!({
        "id": format!("/subscriptions/{SUB}/resourceGroups/shop/providers/microsoft.insights/autoscalesettings/{name}"),
        "name": name, "type": "Microsoft.Insights/autoscaleSettings", "location": "westeurope", "etag": "\"1\"",
        "systemData": { "createdBy": "ana" }, "tags": { "team": "payments" }, "kind": "of another version",
        "properties": { "enabled": enabled, "targetResourceUri": target, "profiles": [], "somethingNew": [1, null] },
    })
}

fn setting(name: &str, target: &str, enabled: Value) -> Setting {
    Setting::read(&document(name, target, enabled).to_string(), SUB).expect("a setting")
}

fn standing(settings: Vec<Setting>) -> Standing {
    Standing { set: "shop/web".into(), settings }
}

#[test]
fn only_what_may_act_on_the_set_is_switched() {
    let shown = |settings: Vec<Setting>| -> Vec<String> {
        standing(settings).undo().expect("readable").switches.iter().map(ToString::to_string).collect()
    };
    let all = vec![
        setting("cpu", "WEB", json!(true)),
        setting("night", "web", json!(false)),
        setting("silent", "web", Value::Null),
        setting("other", "api", json!(true)),
    ];
    assert_eq!(
        shown(all),
        [
            "autoscale setting shop/cpu: enabled true -> false",
            "autoscale setting shop/silent: enabled not there -> false"
        ]
    );
    assert!(shown(vec![]).is_empty());
    let error = standing(vec![setting("cpu", "web", json!("true"))]).undo().expect_err("a text");
    assert!(matches!(error, ProviderError::Transport { .. }), "{error}");
}

#[test]
fn a_switch_finds_its_setting_or_says_what_became_of_it() {
    let before = standing(vec![setting("cpu", "web", json!(true))]);
    let switch = &before.undo().expect("readable").switches[0];
    assert_eq!(before.of(switch).expect("known").expect("there").enabled().expect("readable"), Some("true"));
    assert!(standing(vec![]).of(switch).expect("known").is_none(), "one that was deleted stays deleted");
    let moved = standing(vec![setting("CPU", "api", json!(true))]);
    assert!(matches!(moved.of(switch), Err(ProviderError::Conflict { .. })));
    for edited in
        [Switch { what: "autoscaler".into(), ..switch.clone() }, Switch { setting: "x".into(), ..switch.clone() }]
    {
        assert!(matches!(before.of(&edited), Err(ProviderError::Invalid { .. })));
    }
}

#[test]
fn a_setting_is_written_as_it_was_read_but_for_its_switch() {
    let setting = setting("cpu", "web", json!(true));
    let mut expected = document("cpu", "web", json!(false));
    READ_ONLY.iter().for_each(|key| drop(expected.as_object_mut().expect("an object").remove(*key)));
    assert_eq!(setting.with(Some("false")).expect("whole"), expected);
    expected["properties"].as_object_mut().expect("an object").remove("enabled");
    assert_eq!(setting.with(None).expect("whole"), expected);
}

#[test]
fn what_is_no_setting_is_unknown() {
    let mut other = document("cpu", "web", json!(true));
    other["id"] = "/subscriptions/99999999-1111-2222-3333-444444444444/resourceGroups/a/providers/b/c/d".into();
    for text in ["<html>", "{}", "[]", "{\"id\": 7}", "{\"id\": \"/subscriptions\"}", &other.to_string()] {
        let error = Setting::read(text, SUB).err().expect(text);
        assert_eq!(error.code(), "transport", "{error}");
    }
}
