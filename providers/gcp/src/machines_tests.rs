use super::*;

const AT: Timestamp = Timestamp::from_secs(1_700_000_000);

fn member(number: u64, state: InstanceState) -> Member {
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
    let (launched, since) = times.seen(&member(7, InstanceState::Running), &old, AT);
    assert_eq!((launched, since), (Some(AT.before(Duration::from_secs(3_600))), launched));
    // Another machine under the same name has not run for an hour.
    let (launched, since) = times.seen(&member(8, InstanceState::Running), &old, AT);
    assert_eq!((launched, since), (None, Some(AT)));
    let mut times = Times::default();
    // Young and never seen on its way: nobody knows, and the core counts from its own first sight.
    assert_eq!(times.seen(&member(7, InstanceState::Running), &machines(7, 60), AT).1, None);
    times.seen(&member(7, InstanceState::Pending), &old, AT);
    let later = AT.after(Duration::from_secs(9));
    assert_eq!(times.seen(&member(7, InstanceState::Running), &old, later).1, Some(later));
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
