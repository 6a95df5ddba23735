use super::*;

const SUB: &str = "00000000-1111-2222-3333-444444444444";

#[test]
fn a_query_names_one_metric_of_one_resource() {
    let read = |text: &str| Query::parse(text).unwrap();
    let query = read(EXAMPLE);
    let id = format!("/subscriptions/{SUB}/resourceGroups/shop/providers/Microsoft.ServiceBus/namespaces/orders");
    assert_eq!((query.resource.path(SUB), &*query.metric), (id.clone(), "ActiveMessages"));
    assert_eq!(query.filter().as_deref(), Some("EntityName eq 'jobs'"));
    assert_eq!((query.aggregation, query.period.secs, query.namespace), (Aggregation::Average, 60, None));
    let query = read(&format!(" {id}/queues/jobs : \"Incoming \\\"all\\\"\" Rate 5m "));
    assert_eq!((query.resource.path("other"), &*query.metric), (format!("{id}/queues/jobs"), "Incoming \"all\""));
    assert_eq!((query.aggregation.asked(), query.period.iso, query.filter()), ("Total", "PT5M", None));
    let query = read("\"Ö (1)/A.B/c/d\":Guest.Metrics:\"% idle\"{ z = \"it's\\\\\", a=\"*\", } Maximum 1d");
    assert!(query.resource.path(SUB).ends_with("/resourceGroups/Ö (1)/providers/A.B/c/d"));
    assert_eq!((query.namespace.as_deref(), &*query.metric), (Some("Guest.Metrics"), "% idle"));
    assert_eq!(query.filter().as_deref(), Some("a eq '*' and z eq 'it''s\\'"));
    for (text, secs) in [("1m", 60), ("300s", 300), ("60m", 3_600), ("24h", 86_400), ("12h", 43_200)] {
        assert_eq!(read(&format!("a/B.C/d/e:F Count {text}")).period.secs, secs);
    }
}

#[test]
fn every_mistake_has_a_sentence() {
    for (text, expected) in [
        ("", "the resource has no name"),
        ("a/B.C/d/e", "a `:`"),
        ("a/B.C/d/e:", "the metric has no name"),
        ("a/B.C/d/e:N:", "the metric has no name"),
        ("a/B.C/d/e:F", "an aggregation and a period"),
        ("a/B.C/d/e:F Total", "an aggregation and a period"),
        ("a/B.C/d/e:F Total 1m 2m", "an aggregation and a period"),
        ("a/B.C/d/e:Percentage CPU Average 1m", "an aggregation and a period"),
        ("a/B.C/d/e:\"F,G\" Total 1m", "has a comma"),
        ("a/B.C/d/e:F total 1m", "`total` is no aggregation"),
        ("a/B.C/d/e:F Sum 1m", "`Sum` is no aggregation"),
        ("a/B.C/d/e:F Total 2m", "`2m` is no period"),
        ("a/B.C/d/e:F Total 0m", "`0m` is no period"),
        ("a/B.C/d/e:F Total m", "`m` is no period"),
        ("a/B.C/d/e:F Total 1é", "`1é` is no period"),
        ("a/B.C/d/e:F Total 99999999999h", "is no period"),
        ("a/B.C/d/e:F{g} Total 1m", "`g` has no `=`"),
        ("a/B.C/d/e:F{g=h} Total 1m", "double quotes"),
        ("a/B.C/d/e:F{g=\"h\" Total 1m", "not closed"),
        ("a/B.C/d/e:F{g=\"h Total 1m", "not closed"),
        ("a/B.C/d/e:F{g=\"\"} Total 1m", "1 to 256"),
        ("a/B.C/d/e:F{=\"x\"} Total 1m", "a dimension has no name"),
        ("a/B.C/d/e:F{g=\"1\",G=\"2\"} Total 1m", "comes twice"),
        ("a/B.C/d/e:F{\"g eq 'x' or h\"=\"1\"} Total 1m", "is no name"),
        ("a/B.C/d/e:\"F\\n\" Total 1m", "backslash"),
        ("web:F Total 1m", "neither RESOURCE_GROUP"),
        ("a/B/c/d:F Total 1m", "neither RESOURCE_GROUP"),
        ("a/B.C/d:F Total 1m", "neither RESOURCE_GROUP"),
        ("a/B.C/d/e/f:F Total 1m", "neither RESOURCE_GROUP"),
        ("/a/B.C/d/e:F Total 1m", "neither RESOURCE_GROUP"),
        ("a/B.C/../e:F Total 1m", "cannot be a name"),
        ("a//B.C/d/e:F Total 1m", "cannot be a name"),
        ("\"a/B.C/d/e?x=1\":F Total 1m", "cannot be a name"),
        ("\"a/B.C/d/e%2f\":F Total 1m", "cannot be a name"),
        ("sum(rate(x[1m]))", "a `:`"),
    ] {
        let error = Query::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
