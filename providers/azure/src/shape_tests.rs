//! Azure's words, and what becomes of them. The shapes are those of the published examples of the compute API.

#![allow(clippy::unwrap_used)]

use super::*;
use InstanceState::{Failed, Pending, Running, Terminating};
use contract::{FailureKind, Scope};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_738_800_000);
const ID: &str = "/subscriptions/{subscription-id}/resourceGroups/myResourceGroup/providers/Microsoft.Compute/virtualMachineScaleSets/{vmss-name}";

fn set(change: impl FnOnce(&mut Value)) -> ScaleSet {
    let mut value = json!({
        "sku": { "tier": "Standard", "capacity": 3, "name": "Standard_D1_v2" },
        "location": "westus",
        "properties": {
            "overprovision": true,
            "virtualMachineProfile": { "priority": "Regular", "licenseType": "aaaaaaaaaa" },
            "upgradePolicy": { "mode": "Manual" },
            "provisioningState": "succeeded",
            "singlePlacementGroup": true,
            "orchestrationMode": "Uniform",
        },
        "zones": ["1"],
        "id": ID,
        "name": "{vmss-name}",
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "tags": { "key8425": "aaa" },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn vm(change: impl FnOnce(&mut Value)) -> Vm {
    let mut value = json!({
        "name": "{vmss-vm-name}_1",
        "id": format!("{ID}/virtualMachines/1"),
        "instanceId": "1",
        "sku": { "name": "Standard_D2ls_v5", "tier": "Standard" },
        "properties": {
            "latestModelApplied": true,
            "provisioningState": "Succeeded",
            "vmId": "eb282db2-12d4-4fc6-8bd5-0c6473a4078c",
            "timeCreated": "2025-02-05T20:11:32.5722157+00:00",
            "instanceView": { "statuses": [
                { "code": "ProvisioningState/succeeded", "level": "Info", "time": "2025-02-05T20:12:00+00:00" },
                { "code": "PowerState/running", "level": "Info", "displayStatus": "VM running" },
            ] },
        },
        "etag": "\"4\"",
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn of(vms: &[Vm]) -> Result<(Vec<Machine>, Vec<LaunchFailure>), ProviderError> {
    Facts::default().machines(&set(|_| {}), Mode::Uniform, vms, NOW)
}

#[test]
fn a_machine_is_read_whole() {
    let (machines, failures) = of(&[vm(|vm| vm["zones"] = json!(["2"]))]).unwrap();
    let expected = Instance {
        id: "{vmss-vm-name}_1".into(),
        state: Running,
        launched: Some(Timestamp(1_738_786_292_572_215)),
        // It was made hours ago.
        running_since: Some(Timestamp(1_738_786_292_572_215)),
        zone: Some("2".into()),
        protected: false,
        outdated: false,
    };
    assert_eq!(machines, [Machine { shown: expected, number: "1".into() }]);
    assert_eq!(failures, []);
}

#[test]
fn a_state_is_two_words_together() {
    let check = |provisioning: &str, power: Option<&str>, expected: Option<InstanceState>| {
        let found = of(&[vm(|vm| {
            vm["properties"]["provisioningState"] = provisioning.into();
            let power = power.map(|power| json!({ "code": format!("PowerState/{power}") }));
            vm["properties"]["instanceView"]["statuses"] = power.into_iter().collect();
        })]);
        let found = found.ok().map(|(machines, _)| machines[0].shown.state);
        assert_eq!(found, expected, "{provisioning} {power:?}");
    };
    check("Succeeded", Some("running"), Some(Running));
    check("Updating", Some("running"), Some(Running));
    check("Failed", Some("running"), Some(Running));
    check("Failed", Some("stopped"), Some(Failed));
    check("Failed", None, Some(Failed));
    check("Creating", None, Some(Pending));
    check("Creating", Some("running"), Some(Pending));
    check("Succeeded", Some("starting"), Some(Pending));
    check("Succeeded", Some("deallocated"), Some(Failed));
    check("Deleting", Some("running"), Some(Terminating));
    check("Succeeded", None, Some(Pending));
    check("Succeeded", Some("unknown"), Some(Pending));
    check("Frobnicating", Some("running"), Some(Running));
    check("Frobnicating", Some("stopped"), None);
    check("Succeeded", Some("frobnicating"), None);
}

#[test]
fn a_word_that_nobody_knows_changes_nothing_of_what_was_seen() {
    let mut facts = Facts::default();
    let set = set(|_| {});
    facts.machines(&set, Mode::Uniform, &[vm(|_| {})], NOW).unwrap();
    let strange = vm(|vm| {
        vm["properties"]["provisioningState"] = "Frobnicating".into();
        vm["properties"]["instanceView"] = Value::Null;
    });
    let (machines, _) = facts.machines(&set, Mode::Uniform, std::slice::from_ref(&strange), NOW).unwrap();
    assert_eq!(machines[0].shown.state, Running);
    assert_eq!(of(&[strange]).unwrap_err().code(), "transport");
}

#[test]
fn protection_and_age_are_shown() {
    let check = |policy: Value, latest: Value, expected: (bool, bool)| {
        let (machines, _) = of(&[vm(|vm| {
            vm["properties"]["protectionPolicy"] = policy.clone();
            vm["properties"]["latestModelApplied"] = latest.clone();
        })])
        .unwrap();
        assert_eq!((machines[0].shown.protected, machines[0].shown.outdated), expected, "{policy} {latest}");
    };
    check(json!({ "protectFromScaleIn": true }), json!(true), (true, false));
    check(json!({ "protectFromScaleIn": false, "protectFromScaleSetActions": true }), json!(false), (true, true));
    check(json!({}), Value::Null, (false, false));
    check(Value::Null, json!(false), (false, true));
}

#[test]
fn a_launch_that_failed_says_why() {
    let failed = |code: &str, time: &str| {
        vm(|vm| {
            vm["properties"]["provisioningState"] = "Failed".into();
            let status = json!({ "code": format!("ProvisioningState/failed/{code}"), "message": "no", "time": time });
            vm["properties"]["instanceView"]["statuses"] = json!([status]);
        })
    };
    let (_, failures) = of(&[failed("ZonalAllocationFailed", "2025-02-05T20:25:40+00:00")]).unwrap();
    let expected = LaunchFailure {
        kind: FailureKind::OutOfCapacity,
        scope: Scope::Zone("1".into()),
        at: Timestamp::from_secs(1_738_787_140),
        message: "ZonalAllocationFailed: no".into(),
    };
    assert_eq!(failures, [expected]);
    // One from the future is now; one of a machine that has run is no launch.
    let (_, failures) = of(&[failed("AllocationFailed", "2035-02-05T20:25:40+00:00")]).unwrap();
    assert_eq!(failures[0].at, NOW);
    let mut facts = Facts::default();
    facts.machines(&set(|_| {}), Mode::Uniform, &[vm(|_| {})], NOW).unwrap();
    let later = failed("AllocationFailed", "2025-02-05T20:25:40+00:00");
    assert_eq!(facts.machines(&set(|_| {}), Mode::Uniform, &[later], NOW).unwrap().1, []);
}

#[test]
fn a_machine_runs_since_it_was_seen_to_start() {
    let mut facts = Facts::default();
    let set = set(|_| {});
    let mut see = |provisioning: &str, at: Timestamp| {
        let machine = vm(|vm| {
            vm["properties"]["provisioningState"] = provisioning.into();
            vm["properties"]["timeCreated"] = Value::Null;
        });
        facts.machines(&set, Mode::Uniform, &[machine], at).unwrap().0[0].shown.running_since
    };
    assert_eq!(see("Creating", NOW), None);
    let later = NOW.after(Duration::from_secs(60));
    assert_eq!(see("Succeeded", later), Some(later));
    assert_eq!(see("Succeeded", later.after(Duration::from_secs(60))), Some(later));
    assert_eq!(see("Creating", later.after(Duration::from_secs(120))), None);
}

#[test]
fn machines_have_names_and_come_once() {
    assert_eq!(of(&[vm(|_| {}), vm(|_| {})]).unwrap().0.len(), 1);
    for broken in [vm(|vm| vm["name"] = Value::Null), vm(|vm| vm["instanceId"] = "".into())] {
        assert_eq!(of(&[broken]).unwrap_err().code(), "transport");
    }
    // A Flexible set's machines are called by their names.
    let flexible = vm(|vm| vm["instanceId"] = Value::Null);
    let (machines, _) = Facts::default().machines(&set(|_| {}), Mode::Flexible, &[flexible], NOW).unwrap();
    assert_eq!(&*machines[0].number, "{vmss-vm-name}_1");
}

#[test]
fn a_set_needs_a_capacity_that_can_be() {
    let check = |change: fn(&mut Value), expected: Result<(u32, Mode), &str>| {
        let found = sized(&set(change)).map(|sized| (sized.capacity, sized.mode));
        assert_eq!(found.map_err(|error| error.code()), expected);
    };
    check(|_| {}, Ok((3, Mode::Uniform)));
    check(|set| set["properties"]["orchestrationMode"] = "Flexible".into(), Ok((3, Mode::Flexible)));
    check(|set| set["properties"]["orchestrationMode"] = Value::Null, Ok((3, Mode::Uniform)));
    check(|set| set["properties"]["orchestrationMode"] = "Liquid".into(), Err("transport"));
    check(|set| set["sku"] = Value::Null, Err("invalid"));
    check(|set| set["sku"]["capacity"] = 2_000_000.into(), Err("transport"));
    for number in [json!(-1), json!(3.5), json!(1e30), json!("3")] {
        let mut value = json!({ "id": ID, "sku": { "capacity": number }, "properties": {} });
        assert!(serde_json::from_value::<ScaleSet>(value.take()).is_err());
    }
}

#[test]
fn a_set_at_work_is_told_from_one_at_rest() {
    let check = |state: Value, expected: bool| {
        let set = set(|set| set["properties"]["provisioningState"] = state.clone());
        assert_eq!(at_work(&set), expected, "{state}");
    };
    check(json!("succeeded"), false);
    check(json!("Succeeded"), false);
    check(json!("Failed"), false);
    check(json!("Updating"), true);
    check(json!("Frobnicating"), true);
    check(Value::Null, true);
}
