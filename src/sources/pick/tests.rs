use super::*;
use crate::sources::sim::SimSource;
use policies::policy::{Place, Unit};
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn at(age_secs: u64) -> Timestamp {
    NOW.before(Duration::from_secs(age_secs))
}

fn pairs(labels: &[(&str, &str)]) -> Box<[(Box<str>, Box<str>)]> {
    labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn metric(select: &[(&str, &str)], by: Option<&str>) -> Metric {
    Metric {
        name: "rps".into(),
        source: "prometheus".into(),
        query: "q".into(),
        select: pairs(select),
        unit: Unit::Count,
        max_age: Duration::from_secs(180),
        offset: Duration::ZERO,
        members: None,
        min_members: 0.8,
        absent_zero_if: None,
        by: by.map(Into::into),
        freshness: None,
        place: Place::default(),
    }
}

/// A series as labels, value and age in seconds.
type Row<'a> = (&'a [(&'a str, &'a str)], f64, u64);

fn answer(rows: &[Row<'_>]) -> Answer {
    Ok(rows.iter().map(|(labels, value, age)| SimSource::point(labels, *value, at(*age))).collect())
}

/// Picks by searching and by index, which must agree.
fn picked(metric: &Metric, value: &Answer, members: Option<&Answer>, proof: Option<&Answer>) -> OwnedReading {
    let searched = pick(metric, value, members, proof);
    let index = |answer: &Answer| AnswerIndex::new(answer.clone());
    let (value, members, proof) = (index(value), members.map(index), proof.map(index));
    for _ in 0..2 {
        assert_eq!(pick(metric, &value, members.as_ref(), proof.as_ref()), searched);
    }
    searched
}

fn value(value: f64, age_secs: u64, members: Option<f64>) -> OwnedReading {
    OwnedReading::Value { value, at: at(age_secs), members, from: None }
}

fn missing(why: MissingWhy) -> OwnedReading {
    OwnedReading::Missing(why)
}

const A: &[(&str, &str)] = &[("asg", "a")];
const B: &[(&str, &str)] = &[("asg", "b")];

#[test]
fn one_series_is_picked_or_none() {
    let check = |select: &[(&str, &str)], rows: &[Row<'_>], expected: OwnedReading| {
        assert_eq!(picked(&metric(select, None), &answer(rows), None, None), expected, "{select:?} of {rows:?}");
    };
    check(&[], &[(A, 1.0, 5)], value(1.0, 5, None));
    check(&[], &[(&[], 1.0, 5)], value(1.0, 5, None));
    check(&[], &[], missing(MissingWhy::Empty));
    check(&[], &[(A, 1.0, 5), (B, 2.0, 6)], missing(MissingWhy::Ambiguous));
    check(A, &[(A, 1.0, 5), (B, 2.0, 6)], value(1.0, 5, None));
    check(B, &[(A, 1.0, 5), (B, 2.0, 6)], value(2.0, 6, None));
    check(B, &[(A, 1.0, 5)], missing(MissingWhy::Empty));
    check(A, &[(&[], 1.0, 5)], missing(MissingWhy::Empty));
    // The same series twice is no more one series than two different ones.
    check(A, &[(A, 1.0, 5), (A, 1.0, 5)], missing(MissingWhy::Ambiguous));
    check(
        A,
        &[(&[("asg", "a"), ("az", "1")], 1.0, 5), (&[("asg", "a"), ("az", "2")], 2.0, 5)],
        missing(MissingWhy::Ambiguous),
    );
    let both = &[("asg", "a"), ("az", "2")];
    check(both, &[(&[("asg", "a"), ("az", "1")], 1.0, 5), (both, 2.0, 5)], value(2.0, 5, None));
    // Values swapped between labels are another series.
    check(&[("x", "1"), ("y", "2")], &[(&[("x", "2"), ("y", "1")], 1.0, 5)], missing(MissingWhy::Empty));
    check(A, &[(A, f64::INFINITY, 5)], value(f64::INFINITY, 5, None));
}

#[test]
fn a_nan_passes_for_the_core_to_judge() {
    let read = picked_nan();
    assert!(matches!(read, OwnedReading::Value { value, .. } if value.is_nan()), "{read:?}");
}

fn picked_nan() -> OwnedReading {
    pick(&metric(&[], None), &answer(&[(A, f64::NAN, 5)]), None, None)
}

#[test]
fn a_failed_answer_keeps_its_reason_whatever_the_proof_says() {
    let alive = answer(&[(&[], 1.0, 0)]);
    for why in [MissingWhy::Timeout, MissingWhy::Partial, MissingWhy::Empty, MissingWhy::Other("redirect".into())] {
        let read = picked(&metric(A, None), &Err(why.clone()), Some(&alive), Some(&alive));
        assert_eq!(read, missing(why));
    }
}

#[test]
fn a_series_without_a_time_is_never_a_reading() {
    let timeless = |labels| SeriesPoint { at: None, ..SimSource::point(labels, 1.0, NOW) };
    let alive = answer(&[(&[], 1.0, 0)]);
    let read = picked(&metric(A, None), &Ok(Arc::new([timeless(A)])), None, Some(&alive));
    assert_eq!(read, missing(MissingWhy::NoTime));
    let instance = timeless(&[("asg", "a"), ("id", "i-1")]);
    let read = picked(&metric(A, Some("id")), &Ok(Arc::new([instance])), None, Some(&alive));
    assert_eq!(read, missing(MissingWhy::NoTime));
    // Nor does it prove life, or count members.
    let dead: Answer = Ok(Arc::new([timeless(&[])]));
    assert_eq!(picked(&metric(A, None), &answer(&[]), None, Some(&dead)), missing(MissingWhy::Empty));
    assert_eq!(picked(&metric(A, None), &answer(&[(A, 3.0, 5)]), Some(&dead), None), value(3.0, 5, None));
}

#[test]
fn members_are_counted_by_this_fleets_series_alone() {
    let check = |members: Answer, expected: Option<f64>| {
        let read = picked(&metric(A, None), &answer(&[(A, 9.0, 20)]), Some(&members), None);
        assert_eq!(read, value(9.0, 20, expected), "{members:?}");
    };
    check(answer(&[(A, 3.0, 5)]), Some(3.0));
    check(answer(&[(A, 3.0, 5), (B, 4.0, 5)]), Some(3.0));
    check(answer(&[(&[], 3.0, 5)]), Some(3.0));
    check(answer(&[(&[("job", "web")], 3.0, 5)]), Some(3.0));
    check(answer(&[(&[], 0.0, 5)]), Some(0.0));
    // Another fleet's count is not ours, and of several none is picked.
    check(answer(&[(B, 4.0, 5)]), None);
    check(answer(&[(A, 3.0, 5), (A, 4.0, 5)]), None);
    check(answer(&[(&[("x", "1")], 3.0, 5), (&[("x", "2")], 4.0, 5)]), None);
    check(answer(&[]), None);
    check(Err(MissingWhy::Timeout), None);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        check(answer(&[(A, bad, 5)]), None);
    }
    // A count may be older than the value, by max_age at most.
    check(answer(&[(A, 3.0, 200)]), Some(3.0));
    check(answer(&[(A, 3.0, 201)]), None);
}

#[test]
fn absent_is_zero_only_with_a_proof_of_life() {
    let check = |proof: Answer, expected: OwnedReading| {
        let read = picked(&metric(A, None), &answer(&[(B, 9.0, 1)]), None, Some(&proof));
        assert_eq!(read, expected, "{proof:?}");
    };
    check(answer(&[(&[], 1.0, 7)]), value(0.0, 7, None));
    check(answer(&[(A, 1.0, 7)]), value(0.0, 7, None));
    check(answer(&[(A, 0.0, 3), (&[("asg", "a"), ("az", "2")], 2.0, 7)]), value(0.0, 7, None));
    check(answer(&[]), missing(MissingWhy::Empty));
    check(answer(&[(&[], 0.0, 7)]), missing(MissingWhy::Empty));
    check(answer(&[(&[], -1.0, 7)]), missing(MissingWhy::Empty));
    check(answer(&[(&[], f64::NAN, 7)]), missing(MissingWhy::Empty));
    check(Err(MissingWhy::Timeout), missing(MissingWhy::Empty));
    // Another fleet's life proves nothing about this one.
    check(answer(&[(B, 1.0, 7)]), missing(MissingWhy::Empty));
    check(answer(&[(A, 0.0, 7), (B, 1.0, 7)]), missing(MissingWhy::Empty));
    assert_eq!(picked(&metric(A, None), &answer(&[]), None, None), missing(MissingWhy::Empty));
    // A proof says nothing where there is a number, and zero is no value per instance.
    let alive = answer(&[(&[], 1.0, 0)]);
    assert_eq!(picked(&metric(A, None), &answer(&[(A, 4.0, 9)]), None, Some(&alive)), value(4.0, 9, None));
    assert_eq!(picked(&metric(A, Some("id")), &answer(&[]), None, Some(&alive)), missing(MissingWhy::Empty));
    let ambiguous = answer(&[(A, 4.0, 9), (A, 5.0, 9)]);
    assert_eq!(picked(&metric(A, None), &ambiguous, None, Some(&alive)), missing(MissingWhy::Ambiguous));
}

#[test]
fn each_instance_has_its_value_and_the_oldest_tells_the_time() {
    let check = |rows: &[Row<'_>], expected: OwnedReading| {
        assert_eq!(picked(&metric(A, Some("id")), &answer(rows), None, None), expected, "{rows:?}");
    };
    let of = |id: &'static str| [("asg", "a"), ("id", id)];
    let instances = |values: &[(&str, f64)], age| OwnedReading::PerInstance {
        values: values.iter().map(|(id, value)| (InstanceId::from(*id), *value)).collect(),
        at: at(age),
        from: None,
    };
    let other: Row<'_> = (&[("asg", "b"), ("id", "i-9")], 0.9, 99);
    check(&[(&of("i-2"), 0.2, 5), (&of("i-1"), 0.1, 30), other], instances(&[("i-1", 0.1), ("i-2", 0.2)], 30));
    // A series that belongs to no instance is left out: the instance that it should be counts as missing.
    check(&[(&of("i-1"), 0.1, 5), (A, 0.7, 60)], instances(&[("i-1", 0.1)], 5));
    check(&[(A, 0.7, 5)], missing(MissingWhy::WrongShape));
    check(
        &[(&of("i-1"), 0.1, 5), (&[("asg", "a"), ("id", "i-1"), ("cpu", "1")], 0.2, 5)],
        missing(MissingWhy::Ambiguous),
    );
    check(&[other], missing(MissingWhy::Empty));
    check(&[], missing(MissingWhy::Empty));
}

#[test]
fn an_instance_that_is_gone_takes_no_other_instances_reading_with_it() {
    let live = SimSource::point(&[("id", "i-1")], 0.1, at(5));
    let check = |gone: SeriesPoint, expected: &[(&str, f64)], age| {
        let answer: Answer = Ok(Arc::new([live.clone(), gone]));
        let values = expected.iter().map(|(id, value)| (InstanceId::from(*id), *value)).collect();
        let expected = OwnedReading::PerInstance { values, at: at(age), from: None };
        assert_eq!(picked(&metric(&[], Some("id")), &answer, None, None), expected);
    };
    let gone = SimSource::point(&[("id", "i-2")], 0.2, NOW);
    check(SeriesPoint { at: None, ..gone.clone() }, &[("i-1", 0.1)], 5);
    check(SeriesPoint { at: Some(at(186)), ..gone.clone() }, &[("i-1", 0.1)], 5);
    check(SeriesPoint { at: Some(at(185)), ..gone }, &[("i-1", 0.1), ("i-2", 0.2)], 185);
    // The same instance's earlier life is no second value of it.
    let before = SimSource::point(&[("id", "i-1"), ("boot", "1")], 0.9, NOW);
    check(SeriesPoint { at: None, ..before }, &[("i-1", 0.1)], 5);
}

#[test]
fn the_core_takes_what_was_picked() {
    assert!(matches!(value(1.0, 5, Some(2.0)).as_raw(), RawReading::Value { value: 1.0, members: Some(2.0), .. }));
    assert!(matches!(missing(MissingWhy::Empty).as_raw(), RawReading::Missing(MissingWhy::Empty)));
    let values = Box::new([(InstanceId::from("i-1"), 0.5)]);
    let owned = OwnedReading::PerInstance { values, at: NOW, from: None };
    assert!(matches!(owned.as_raw(), RawReading::PerInstance { values: [(_, 0.5)], at: NOW }));
}

#[test]
fn an_index_serves_fleets_that_pick_by_different_labels() {
    let names: Vec<(String, String)> = (0..1000).map(|n| (format!("fleet-{n}"), format!("{}", n % 7))).collect();
    let rows: Vec<SeriesPoint> = names
        .iter()
        .zip(0..)
        .map(|((asg, az), n)| SimSource::point(&[("asg", asg), ("az", az)], f64::from(n), NOW))
        .collect();
    let index = AnswerIndex::new(Ok(rows.into()));
    for (n, (asg, az)) in names.iter().enumerate() {
        for select in [&[("asg", asg.as_str())][..], &[("asg", asg), ("az", az)]] {
            let read = pick(&metric(select, None), &index, None, None);
            assert_eq!(read, OwnedReading::Value { value: n as f64, at: NOW, members: None, from: None });
        }
        let nowhere = metric(&[("asg", asg), ("az", "9")], None);
        assert_eq!(pick(&nowhere, &index, None, None), missing(MissingWhy::Empty));
    }
    assert_eq!(pick(&metric(&[("az", "3")], None), &index, None, None), missing(MissingWhy::Ambiguous));
    assert_eq!(index.by_names.read().unwrap().len(), 3);
}
