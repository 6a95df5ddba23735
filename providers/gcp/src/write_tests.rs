use super::*;
use contract::Scope;

fn group() -> GroupName {
    GroupName::parse(&"zones/europe-west1-b/web".into()).unwrap()
}

fn head(desired: Capacity) -> Head {
    Head {
        desired,
        idle: Some(desired),
        all: desired,
        creating: 0,
        leaving: 0,
        stable: true,
        templates: Vec::new(),
        rolling: false,
        autoscaler: None,
        number: Some(1),
    }
}

fn member(name: &str, unfilled: bool, failed: bool) -> Member {
    let failure = failed.then(|| shape::Failed { code: "X".into(), scope: Scope::Group, message: "x".into() });
    let state = if unfilled { InstanceState::Pending } else { InstanceState::Running };
    let id = crate::names::instance_id("europe-west1-b", name);
    let settled = !unfilled;
    Member { id, number: None, state, zone: "europe-west1-b".into(), unfilled, settled, outdated: false, failure }
}

#[test]
fn only_what_has_no_machine_is_withdrawn_and_what_failed_goes_first() {
    let members = [member("a", false, false), member("b", true, false), member("c", true, true)];
    let check_at = |head: Head, to: Capacity, expected: Result<&str, &str>| {
        let desired = head.desired;
        let todo = withdraw(&group(), &head, &members, to).map(|todo| match todo {
            Todo::Nothing => "nothing".to_owned(),
            Todo::Resize(to) => format!("resize {to}"),
            Todo::Delete(ids) => ids.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(" "),
        });
        let got = todo.as_deref().map_err(|error| error.code());
        assert_eq!(got, expected, "{desired} -> {to}");
    };
    let check = |desired: Capacity, to: Capacity, expected| check_at(head(desired), to, expected);
    check(3, 3, Ok("nothing"));
    check(3, 2, Ok("europe-west1-b/c"));
    check(3, 1, Ok("europe-west1-b/c europe-west1-b/b"));
    check(3, 0, Err("conflict"));
    check(3, 4, Err("invalid"));
    // Two more were asked for, and nothing was begun for them yet.
    let asked = || Head { all: 3, creating: 2, ..head(5) };
    check_at(asked(), 3, Ok("resize 3"));
    check_at(asked(), 4, Ok("resize 4"));
    check_at(asked(), 2, Err("conflict"));
    check_at(Head { all: 5, leaving: 2, ..asked() }, 3, Ok("resize 3"));
    // The group counts them already, so by number it could take a machine instead.
    check(5, 3, Err("conflict"));
    check(5, 4, Err("conflict"));
    check_at(Head { all: 4, ..asked() }, 3, Err("conflict"));
    check_at(Head { all: 4, ..asked() }, 4, Ok("resize 4"));
    check_at(Head { all: 0, idle: None, ..asked() }, 3, Err("conflict"));
}

#[test]
fn a_request_id_is_a_uuid_and_each_calls_own() {
    let ids: Vec<String> = [(0, 0), (0, 1), (1 << 32, 0), (u128::MAX, 0), (7, 0), (7, 1), (7, 2)]
        .into_iter()
        .map(|(action, index)| request_id(ActionId(action), index))
        .collect();
    for id in &ids {
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "8", "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
    assert_eq!(request_id(ActionId(7), 1), ids[5]);
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
}
