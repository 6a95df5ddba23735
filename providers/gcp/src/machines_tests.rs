use super::*;

const AT: Timestamp = Timestamp::from_secs(1_700_000_000);

fn one(number: u64, state: InstanceState) -> Member {
    Member {
        id: "z/web-1".into(),
        number: Some(number),
        state,
        zone: "z".into(),
        unfilled: false,
        settled: state == InstanceState::Running,
        outdated: false,
        failure: None,
    }
}

fn machines(number: u64, age: u64) -> Machines {
    let launched = Some(AT.before(Duration::from_secs(age)));
    let fact = Fact { launched, started: launched, asks: ASKS_MAX };
    Machines { facts: [(number, fact)].into(), ..Machines::default() }
}

#[test]
fn running_counts_from_the_start_of_this_very_machine() {
    let mut times = Times::default();
    let old = machines(7, 3_600);
    let (launched, since) = times.seen(&one(7, InstanceState::Running), &old, AT);
    assert_eq!((launched, since), (Some(AT.before(Duration::from_secs(3_600))), launched));
    // Another machine under the same name has not run for an hour.
    let (launched, since) = times.seen(&one(8, InstanceState::Running), &old, AT);
    assert_eq!((launched, since), (None, Some(AT)));
    let mut times = Times::default();
    // Young and never seen on its way: nobody knows, and the core counts from its own first sight.
    assert_eq!(times.seen(&one(7, InstanceState::Running), &machines(7, 60), AT).1, None);
    times.seen(&one(7, InstanceState::Pending), &old, AT);
    let later = AT.after(Duration::from_secs(9));
    assert_eq!(times.seen(&one(7, InstanceState::Running), &old, later).1, Some(later));
}

#[test]
fn a_sweep_comes_at_once_for_facts_and_seldom_for_nothing() {
    let start = Instant::now();
    let after = |secs| start + Duration::from_secs(secs);
    let mut machines = Machines::default();
    assert!(machines.take_due([7].into_iter(), start));
    assert!(!machines.take_due([7].into_iter(), after(100)), "one is under way");
    (machines.sweeping, machines.swept) = (false, Some(start));
    assert!(!machines.take_due([7].into_iter(), after(59)));
    assert!(machines.take_due([7].into_iter(), after(60)), "7 is still unknown");
    (machines.sweeping, machines.swept) = (false, Some(start));
    let known = Fact { launched: Some(AT), started: Some(AT), asks: 0 };
    machines.facts = [(7, known)].into();
    assert!(!machines.take_due([7].into_iter(), after(299)));
    assert!(machines.take_due([7].into_iter(), after(300)));
    (machines.sweeping, machines.denied) = (false, Some(after(300)));
    assert!(!machines.take_due([8].into_iter(), after(3_000)));
}

fn quiet(desired: u32) -> Head {
    Head {
        desired,
        idle: Some(desired),
        all: desired,
        creating: 0,
        leaving: 0,
        stable: true,
        templates: vec!["web-v2".into()],
        rolling: false,
        autoscaler: None,
        number: Some(1),
    }
}

fn name() -> GroupName {
    GroupName::parse(&"zones/europe-west1-b/web".into()).unwrap()
}

fn machine(name: &str, runs: bool, template: &str) -> Seen {
    let group = Some(self::name());
    let fact = Fact { launched: Some(AT), started: Some(AT), asks: 0 };
    Seen { fact, runs, group, zone: "europe-west1-b".into(), name: name.into(), template: Some(template.into()) }
}

#[test]
fn a_stranger_is_known_when_exactly_its_machines_are_there() {
    let check = |desired: u32, machines: &[(&str, bool)], expected: Option<usize>| {
        let mut all = All::default();
        let seen = (1..).zip(machines.iter().map(|(name, runs)| machine(name, *runs, "web-v1"))).collect();
        meet(&mut all, &seen, vec![(name(), quiet(desired))], Instant::now());
        let known = all.groups[&name()].known.as_ref();
        assert_eq!(known.map(|known| known.members.len()), expected, "{desired} of {machines:?}");
        assert!(known.is_none_or(|known| known.members.iter().all(|member| member.outdated)));
    };
    check(2, &[("web-a", true), ("web-b", true)], Some(2));
    check(0, &[], Some(0));
    check(2, &[("web-a", true)], None);
    check(2, &[("web-a", true), ("web-b", false)], None);
    // One was taken out of the group and runs on, with the metadata of its making.
    check(1, &[("web-a", true), ("web-b", true)], None);
}

#[test]
fn a_quiet_group_whose_machine_is_gone_is_doubted() {
    let begun = Instant::now() + Duration::from_secs(5);
    let check = |there: &[(u64, bool)], doubted: bool| {
        let members = vec![member(&quiet(2), 1, &machine("web-a", true, "web-v2"))];
        let asked = Instant::now();
        let (head, undecided) = (quiet(1), Vec::new());
        let known = Known { head, members, undecided, asked, confirmed: asked, doubted: false };
        let mut all = All::default();
        all.groups.entry(name()).or_default().known = Some(known);
        let seen = there.iter().map(|(number, runs)| (*number, machine("web-a", *runs, "web-v2"))).collect();
        confirm(&mut all, &seen, begun);
        let group = &all.groups[&name()];
        let known = group.known.as_ref().unwrap();
        assert_eq!((known.doubted, known.confirmed == begun), (doubted, !doubted), "{there:?}");
        let ask = contract::Ask::new("zones/europe-west1-b/web");
        assert_eq!(group.in_flux(&quiet(1), &ask), doubted, "{there:?}");
    };
    check(&[(1, true), (9, true)], false);
    // Another machine under the same name, one that is down, none.
    check(&[(2, true)], true);
    check(&[(1, false)], true);
    check(&[], true);
}
