use super::*;

fn plan(query: &str, by: &[&str], freshness: Option<&str>) -> Plan {
    let by = by.iter().map(|name| (*name).into()).collect();
    Plan::of(&QueryAsk { freshness: freshness.map(Into::into), by, ..QueryAsk::new(query) })
}

#[test]
fn one_query_asks_for_all_selectors() {
    let check = |query: &str, by: &[&str], expected: &str, count: usize| {
        assert_eq!(plan(query, by, None), Plan::Selectors { query: expected.to_owned(), count }, "{query}");
    };
    check("up", &[], r#"label_replace(max by () (timestamp({__name__="up"})),"skala_selector","0","","")"#, 1);
    check(
        "rate(a[1m]) / b offset 1m",
        &["asg", "the zone"],
        concat!(
            r#"label_replace(max by (asg,"the zone") (timestamp({__name__="a"})),"skala_selector","0","","")"#,
            r#" or label_replace(max by (asg,"the zone") (timestamp({__name__="b"} offset 60000ms)),"skala_selector","1","","")"#
        ),
        2,
    );
}

#[test]
fn what_needs_no_selector_or_has_an_override_is_told_apart() {
    assert_eq!(plan("vector(1) + time()", &[], None), Plan::Evaluation);
    assert_eq!(plan("up", &[], Some("time()")), Plan::Override { query: "time()".to_owned() });
    assert_eq!(plan("not promql(", &[], Some("time()")), Plan::Override { query: "time()".to_owned() });
    assert!(matches!(plan("not promql(", &[], None), Plan::Unknown(_)));
    let long = format!("up{{job=\"{}\"}}", "a".repeat(5000));
    assert!(matches!(plan(&long, &[], None), Plan::Unknown(_)));
}

/// Labels as `a=1 b=2`.
fn labels(text: &str) -> Box<[(Box<str>, Box<str>)]> {
    text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect()
}

fn rows(rows: &[(&str, f64)]) -> Decoded {
    Decoded::Vector(rows.iter().map(|(text, value)| Series { labels: labels(text), value: *value }).collect())
}

fn check(stamps: &mut Stamps, cases: &[(&str, Option<i64>)]) {
    for (series, expected) in cases {
        assert_eq!(stamps.at(&labels(series)), expected.map(Timestamp::from_secs), "{series:?}");
    }
}

fn by(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

#[test]
fn the_oldest_selector_counts_and_every_one_must_have_a_time() {
    let told = rows(&[("skala_selector=0", 90.0), ("skala_selector=1", 70.0)]);
    check(&mut Stamps::of_selectors(told.clone(), 2, &[]), &[("", Some(70)), ("asg=a", Some(70))]);
    check(&mut Stamps::of_selectors(told, 3, &[]), &[("", None)]);
    check(&mut Stamps::of_selectors(rows(&[]), 1, &[]), &[("", None)]);
    check(&mut Stamps::of_selectors(Decoded::Scalar(90.0), 1, &[]), &[("", None)]);
    let odd = rows(&[("skala_selector=0", f64::NAN)]);
    check(&mut Stamps::of_selectors(odd, 1, &[]), &[("", None)]);
}

#[test]
fn labels_that_both_carry_tell_series_apart() {
    // The second selector carries no `asg`: it has one time for all.
    let told = rows(&[("skala_selector=0 asg=a", 90.0), ("skala_selector=0 asg=b", 20.0), ("skala_selector=1", 80.0)]);
    check(
        &mut Stamps::of_selectors(told, 2, &by(&["asg"])),
        &[
            ("asg=a", Some(80)),
            ("asg=b", Some(20)),
            // No series of the first selector vouches for c.
            ("asg=c", None),
            // A series that carries no `asg` was summed over all.
            ("", Some(80)),
            ("job=x", Some(80)),
        ],
    );
    // Series that lack the label vouch for no series that has it.
    let told = rows(&[("skala_selector=0 asg=a", 20.0), ("skala_selector=0", 90.0)]);
    check(&mut Stamps::of_selectors(told, 1, &by(&["asg"])), &[("asg=a", Some(20)), ("asg=b", None), ("", Some(90))]);
}

#[test]
fn several_labels_agree_where_both_have_them() {
    let told = rows(&[("skala_selector=0 asg=a az=1", 10.0), ("skala_selector=0 asg=a az=2", 20.0)]);
    check(
        &mut Stamps::of_selectors(told, 1, &by(&["asg", "az"])),
        &[
            ("asg=a az=1", Some(10)),
            ("asg=a az=2", Some(20)),
            ("asg=a", Some(20)),
            ("az=1", Some(10)),
            ("az=3", None),
            ("asg=b az=1", None),
        ],
    );
}

#[test]
fn a_policys_own_times_count_with_the_oldest_first() {
    check(&mut Stamps::of_override(Decoded::Scalar(50.0), &[]), &[("", Some(50)), ("asg=a", Some(50))]);
    check(&mut Stamps::of_override(Decoded::Scalar(f64::INFINITY), &[]), &[("", None)]);
    check(&mut Stamps::of_override(rows(&[]), &[]), &[("", None)]);
    let told = rows(&[("asg=a id=1", 30.0), ("asg=a id=2", 10.0), ("asg=b id=3", 40.0)]);
    check(
        &mut Stamps::of_override(told.clone(), &by(&["asg"])),
        &[("asg=a", Some(10)), ("asg=b", Some(40)), ("asg=c", None)],
    );
    check(&mut Stamps::of_override(told, &[]), &[("asg=b", Some(10))]);
    // One time that is none leaves nothing to rely on.
    let told = rows(&[("asg=a", f64::NAN), ("asg=a", 10.0)]);
    check(&mut Stamps::of_override(told, &by(&["asg"])), &[("asg=a", None)]);
}
