//! What the provider makes of answers that no healthy server gives, and of refusals: one typed error each, and never a
//! capacity of 0.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod server;

use aws::{Aws, Deadlines, Settings};
use contract::{ActionId, Ask, Epoch, InstanceId, InstanceState, Observation, Owner, Provider, ProviderError, Target};
use contract::{Timestamp, Version};
use server::{Reply, Server, answer, error, group, instance};
use sim_cloud::untrusted::Untrusted;
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

async fn provider(url: &str) -> Aws {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(aws_credential_types::Credentials::from_keys("test", "test", None))
        .load()
        .await;
    let settings = Settings { region: "us-east-1".into(), ..Settings::default() };
    let deadlines = Deadlines { read: Duration::from_millis(700), write: Duration::from_millis(1_500) };
    Aws::over(config, &settings, Owner { id: "me".into() }, Arc::new(|| NOW)).with_deadlines(deadlines)
}

fn target(seen: u32) -> Target {
    Target {
        group: "web".into(),
        action: ActionId(1),
        seen: Version { desired: Some(seen), token: None, at: NOW },
        lease: Epoch(3),
    }
}

async fn observe(provider: &Aws, names: &[&str]) -> Vec<Result<Observation, ProviderError>> {
    let asks: Vec<Ask> = names.iter().map(|name| Ask::new(*name)).collect();
    provider.observe(&asks).await
}

/// One observation of the group `web` from a server that answers DescribeAutoScalingGroups so.
async fn observed(replies: Vec<Reply>) -> Result<Observation, ProviderError> {
    let server = Server::start(&[("DescribeAutoScalingGroups", replies)]).await;
    observe(&provider(&server.url).await, &["web"]).await.remove(0)
}

async fn check_read(what: &str, reply: Reply, expected: &str) {
    match observed(vec![reply]).await {
        Ok(observation) => panic!("{what}: taken for {observation:?}"),
        Err(error) => assert_eq!(error.code(), expected, "{what}: {error}"),
    }
}

const PAGE: &str = "<!doctype html><title>500 Internal Server Error</title><h1>Internal Server Error</h1>";

#[tokio::test]
async fn an_answer_that_is_none_is_an_error_and_never_a_capacity() {
    let whole =
        answer("DescribeAutoScalingGroups", &format!("<AutoScalingGroups>{}</AutoScalingGroups>", group("web", 3, "")));
    let cut = whole[..whole.len() / 2].to_owned();
    check_read("an HTML 500", Reply::Status(500, PAGE.into()), "transport").await;
    check_read("an HTML 503", Reply::Status(503, PAGE.into()), "transport").await;
    check_read("a redirect", Reply::Redirect, "transport").await;
    check_read("another server's 404", Reply::Status(404, "<html>not found".into()), "invalid").await;
    check_read("an empty 200", Reply::Status(200, String::new()), "transport").await;
    check_read("a 200 in HTML", Reply::Status(200, PAGE.into()), "transport").await;
    check_read("a 200 in JSON", Reply::Status(200, r#"{"AutoScalingGroups":[]}"#.into()), "transport").await;
    check_read("another call's answer", Reply::Status(200, answer("DescribePolicies", "")), "transport").await;
    check_read("a document that stops in the middle", Reply::Status(200, cut), "transport").await;
    check_read("a body shorter than announced", Reply::Short(whole), "transport").await;
    check_read("a connection closed at once", Reply::Close, "transport").await;
    check_read("a connection that hangs", Reply::Hang, "transport").await;
}

#[tokio::test]
async fn numbers_that_no_group_can_have_are_an_error() {
    for (what, group) in [
        ("a negative desired", group("web", -3, "")),
        ("a huge desired", group("web", 2_000_000, "")),
        ("a desired that is no number", group("web", 7, "").replace(">7<", ">seven<")),
        ("no desired", group("web", 7, "").replace("DesiredCapacity", "Other")),
        ("a negative maximum", group("web", 7, "").replace("<MaxSize>10", "<MaxSize>-10")),
        ("an instance without an id", group("web", 1, &instance("", "InService", ""))),
    ] {
        check_read(what, Reply::groups(&[group]), "transport").await;
    }
    let weighted = instance("i-1", "InService", "<WeightedCapacity>4</WeightedCapacity>");
    check_read("weights", Reply::groups(&[group("web", 4, &weighted)]), "invalid").await;
    let deleted = group("web", 4, "").replace("<MinSize>", "<Status>Delete in progress</Status><MinSize>");
    check_read("a group that is being deleted", Reply::groups(&[deleted]), "not_found").await;
    check_read("a complete answer without the group", Reply::groups(&[]), "not_found").await;
    check_read("an answer with other groups only", Reply::groups(&[group("other", 3, "")]), "not_found").await;
}

#[tokio::test]
async fn every_refusal_is_named_by_what_to_do_next() {
    for (status, code, message, expected) in [
        (400, "Throttling", "Rate exceeded", "throttled"),
        (503, "RequestLimitExceeded", "Request limit exceeded.", "throttled"),
        (403, "AccessDenied", "User: x is not authorized to perform: autoscaling:DescribeAutoScalingGroups", "denied"),
        (403, "InvalidClientTokenId", "The security token included in the request is invalid.", "denied"),
        (403, "SignatureDoesNotMatch", "The request signature we calculated does not match", "denied"),
        (403, "SignatureDoesNotMatch", "Signature expired: 20261122T000000Z is now earlier than ...", "expired"),
        (403, "ExpiredToken", "The security token included in the request is expired", "expired"),
        (400, "RequestExpired", "Request has expired.", "expired"),
        (400, "ValidationError", "1 validation error detected", "invalid"),
        (500, "InternalFailure", "An internal error has occurred.", "transport"),
        (503, "ServiceUnavailable", "Service unavailable", "transport"),
    ] {
        check_read(code, Reply::Status(status, error(code, message)), expected).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_read_that_failed_and_a_write_that_was_not_sent() {
    // Port 9 of the loopback address: nobody listens there. And a name that no resolver knows.
    for url in ["http://127.0.0.1:9", "http://nowhere.invalid"] {
        let provider = provider(url).await;
        assert_eq!(observe(&provider, &["web"]).await[0].as_ref().unwrap_err().code(), "transport", "{url}");
        assert_eq!(provider.raise(&target(3), 5).await.unwrap_err().code(), "transport", "{url}");
    }
}

#[tokio::test]
async fn pages_are_followed_also_empty_ones_and_duplicates_are_one_group() {
    let empty = Reply::page(&[], Some("more"));
    let one = Reply::page(&[group("web", 3, ""), group("web", 9, "")], Some("again"));
    let two = Reply::page(&[group("web", 8, ""), group("api", 4, "")], None);
    let server = Server::start(&[("DescribeAutoScalingGroups", vec![empty, one, two])]).await;
    let seen = observe(&provider(&server.url).await, &["web", "api", "gone", "web"]).await;
    let desired = |index: usize| seen[index].as_ref().unwrap().desired;
    assert_eq!((desired(0), desired(1), desired(3)), (Some(3), Some(4), Some(3)));
    assert_eq!(seen[2].as_ref().unwrap_err().code(), "not_found");
    assert_eq!(server.count("DescribeAutoScalingGroups"), 3);
}

#[tokio::test]
async fn a_page_that_fails_leaves_the_rest_unknown_not_missing() {
    let one = Reply::page(&[group("web", 3, "")], Some("more"));
    let server =
        Server::start(&[("DescribeAutoScalingGroups", vec![one.clone(), Reply::Status(500, PAGE.into())])]).await;
    let seen = observe(&provider(&server.url).await, &["web", "api"]).await;
    assert_eq!(seen[0].as_ref().unwrap().desired, Some(3));
    assert_eq!(seen[1].as_ref().unwrap_err().code(), "transport");

    // A token that comes again would be followed for ever.
    let server = Server::start(&[("DescribeAutoScalingGroups", vec![one])]).await;
    let seen = observe(&provider(&server.url).await, &["web", "api"]).await;
    assert_eq!(seen[1].as_ref().unwrap_err().code(), "transport");
    assert_eq!(server.count("DescribeAutoScalingGroups"), 2);
}

#[tokio::test]
async fn unknown_states_are_counted_but_do_not_serve_and_are_never_victims() {
    let instances = instance("i-1", "Levitating", "") + &instance("i-2", "InService", "");
    let web = Reply::groups(&[group("web", 2, &instances)]);
    let server = Server::start(&[("DescribeAutoScalingGroups", vec![web])]).await;
    let provider = provider(&server.url).await;
    let seen = observe(&provider, &["web"]).await.remove(0).unwrap();
    assert_eq!((seen.instances[0].state, seen.instances[0].protected), (InstanceState::Pending, true));
    assert_eq!((seen.instances[1].state, seen.instances[1].protected), (InstanceState::Running, false));
    let accepted = provider.terminator().unwrap().terminate(&target(2), &[InstanceId::from("i-1")]).await.unwrap();
    assert_eq!(accepted.skipped, vec![InstanceId::from("i-1")]);
    assert_eq!(server.count("TerminateInstanceInAutoScalingGroup"), 0);
}

/// Raises `web` from 3 to 5 at a server that answers SetDesiredCapacity so; the error's code and the writes it took.
async fn raised(replies: Vec<Reply>) -> (Result<(), &'static str>, usize) {
    let web = Reply::groups(&[group("web", 3, "")]);
    let server = Server::start(&[("DescribeAutoScalingGroups", vec![web]), ("SetDesiredCapacity", replies)]).await;
    let provider = provider(&server.url).await;
    observe(&provider, &["web"]).await[0].as_ref().unwrap();
    let result = provider.raise(&target(3), 5).await;
    (result.map(|_| ()).map_err(|error| error.code()), server.count("SetDesiredCapacity"))
}

#[tokio::test]
async fn a_write_without_a_clear_answer_is_unclear_and_never_tried_again() {
    for (what, reply) in [
        ("an HTML 500", Reply::Status(500, PAGE.into())),
        ("an HTML 503", Reply::Status(503, PAGE.into())),
        ("an API's 500", Reply::Status(500, error("InternalFailure", "An internal error has occurred."))),
        ("a 200 in HTML", Reply::Status(200, PAGE.into())),
        ("a redirect", Reply::Redirect),
        ("a connection closed after the request", Reply::Close),
        ("a connection that hangs", Reply::Hang),
    ] {
        assert_eq!(raised(vec![reply]).await, (Err("unclear"), 1), "{what}");
    }
}

#[tokio::test]
async fn a_refusal_without_effect_is_tried_once_more_after_another_read() {
    let ok = Reply::Status(200, answer("SetDesiredCapacity", ""));
    for (status, code) in [(400, "Throttling"), (500, "ResourceContention")] {
        let refusal = Reply::Status(status, error(code, "later"));
        assert_eq!(raised(vec![refusal.clone(), ok.clone()]).await, (Ok(()), 2), "{code}");
        assert_eq!(raised(vec![refusal]).await, (Err("throttled"), 2), "{code}");
    }
    let refusal = Reply::Status(400, error("ValidationError", "New SetDesiredCapacity value 5 is above max value 4"));
    assert_eq!(raised(vec![refusal]).await, (Err("invalid"), 1));
    let refusal = Reply::Status(400, error("ScalingActivityInProgress", "busy"));
    assert_eq!(raised(vec![refusal]).await, (Err("conflict"), 1));

    // Between the attempts somebody else changes desired: the second attempt sees it.
    let groups = vec![Reply::groups(&[group("web", 3, "")]), Reply::groups(&[group("web", 3, "")])];
    let groups = [groups, vec![Reply::groups(&[group("web", 3, "")]), Reply::groups(&[group("web", 4, "")])]].concat();
    let throttled = vec![Reply::Status(400, error("Throttling", "Rate exceeded"))];
    let server = Server::start(&[("DescribeAutoScalingGroups", groups), ("SetDesiredCapacity", throttled)]).await;
    let provider = provider(&server.url).await;
    observe(&provider, &["web"]).await[0].as_ref().unwrap();
    assert_eq!(provider.raise(&target(3), 5).await.unwrap_err().code(), "conflict");
    assert_eq!(server.count("SetDesiredCapacity"), 1);
}

#[tokio::test]
async fn a_refused_write_changes_nothing_at_all() {
    let tag = |value: &str| format!("<Tags><member><Key>skala:owner</Key><Value>{value}</Value></member></Tags>");
    let with = |extra: &str| group("web", 3, "").replace("<MinSize>", &format!("{extra}<MinSize>"));
    let suspended = "<SuspendedProcesses><member><ProcessName>Launch</ProcessName></member></SuspendedProcesses>";
    for (what, described, to, expected) in [
        ("another owner", with(&tag("you/1/1700000060")), 5, "owned"),
        ("a later lease of our own", with(&tag("me/4/1700000060")), 5, "owned"),
        ("a changed desired", group("web", 4, ""), 5, "conflict"),
        ("launching is suspended", with(suspended), 5, "conflict"),
        ("above the maximum", group("web", 3, ""), 11, "invalid"),
        ("lower than desired", group("web", 3, ""), 2, "invalid"),
        ("a group that is gone", String::new(), 5, "not_found"),
    ] {
        let server = Server::start(&[("DescribeAutoScalingGroups", vec![Reply::groups(&[described])])]).await;
        let error = provider(&server.url).await.raise(&target(3), to).await.unwrap_err();
        assert_eq!(error.code(), expected, "{what}: {error}");
        assert_eq!((server.count("SetDesiredCapacity"), server.count("CreateOrUpdateTags")), (0, 0), "{what}");
    }
}

#[tokio::test]
async fn another_controller_that_the_plan_did_not_know_is_a_conflict_and_shown_the_next_time() {
    let policy = "<ScalingPolicies><member><AutoScalingGroupName>web</AutoScalingGroupName><PolicyName>cpu50</PolicyName>\
                  <PolicyType>TargetTrackingScaling</PolicyType><Enabled>true</Enabled></member></ScalingPolicies>";
    let server = Server::start(&[
        ("DescribeAutoScalingGroups", vec![Reply::groups(&[group("web", 3, "")])]),
        ("DescribePolicies", vec![Reply::Status(200, answer("DescribePolicies", policy))]),
    ])
    .await;
    let provider = provider(&server.url).await;
    // Never observed by this process: what a write finds is new to the plan.
    let error = provider.raise(&target(3), 5).await.unwrap_err();
    assert_eq!(error.code(), "conflict", "{error}");
    let seen = observe(&provider, &["web"]).await.remove(0).unwrap();
    assert_eq!(seen.foreign.len(), 1);
    assert_eq!((&*seen.foreign[0].name, seen.foreign[0].removes), ("scaling policy cpu50", Some(true)));
    // Now the plan knew it, and decided to go on.
    provider.raise(&target(3), 5).await.unwrap();
    assert_eq!((server.count("SetDesiredCapacity"), server.count("CreateOrUpdateTags")), (1, 1));
}

#[tokio::test]
async fn controllers_that_cannot_be_listed_are_unknown_ones() {
    let server = Server::start(&[
        ("DescribeAutoScalingGroups", vec![Reply::groups(&[group("web", 3, "")])]),
        ("DescribeScheduledActions", vec![Reply::Status(403, error("AccessDenied", "not authorized"))]),
    ])
    .await;
    let provider = provider(&server.url).await;
    let seen = observe(&provider, &["web"]).await.remove(0).unwrap();
    assert_eq!(seen.foreign.len(), 1, "{:?}", seen.foreign);
    assert!(seen.foreign[0].name.starts_with("unknown scheduled actions: denied"), "{:?}", seen.foreign);
    assert_eq!(seen.foreign[0].removes, None);
    assert_eq!(provider.raise(&target(3), 5).await.unwrap_err().code(), "denied");
}

#[tokio::test]
async fn an_unparsable_5xx_to_a_batch_is_unclear_and_then_it_goes_one_by_one() {
    let instances: String = (1..=3).map(|i| instance(&format!("i-{i}"), "InService", "")).collect();
    let page = Reply::Status(500, PAGE.into());
    let done = Reply::Status(200, answer("TerminateInstanceInAutoScalingGroup", ""));
    let server = Server::start(&[
        ("DescribeAutoScalingGroups", vec![Reply::groups(&[group("web", 3, &instances)])]),
        ("TerminateInstanceInAutoScalingGroup", vec![page, done]),
    ])
    .await;
    let provider = provider(&server.url).await;
    observe(&provider, &["web"]).await[0].as_ref().unwrap();
    let victims = [InstanceId::from("i-1"), InstanceId::from("i-3")];
    let terminator = provider.terminator().unwrap();
    assert_eq!(terminator.terminate(&target(3), &victims).await.unwrap_err().code(), "unclear");
    assert_eq!(server.count("TerminateInstanceInAutoScalingGroup"), 1);
    assert_eq!(terminator.terminate(&target(3), &victims).await.unwrap().skipped, vec![]);
    assert_eq!(server.count("TerminateInstanceInAutoScalingGroup"), 3);
    let bodies = server.bodies("TerminateInstanceInAutoScalingGroup");
    assert!(bodies[0].contains("InstanceIds.member.1=i-1&InstanceIds.member.2=i-3"), "{}", bodies[0]);
    assert!(bodies[1..].iter().all(|body| body.contains("&InstanceId=i-")), "{bodies:?}");
    assert!(bodies.iter().all(|body| body.contains("ShouldDecrementDesiredCapacity=true")), "{bodies:?}");
}

#[tokio::test]
async fn one_strange_answer_is_no_word_on_refreshes() {
    const ASK: &str = "DescribeInstanceRefreshes";
    let page = || Reply::Status(500, PAGE.into());
    let none = || Reply::Status(200, answer(ASK, ""));
    let runs = "<InstanceRefreshes><member><Status>InProgress</Status></member></InstanceRefreshes>";
    let runs = || Reply::Status(200, answer(ASK, runs));
    let unknown = || Reply::Status(400, error("InvalidAction", "The action is not valid for this web service."));
    let refused = || Reply::Status(403, error("AccessDenied", "not authorized"));
    let elsewhere = || Reply::Status(404, "<html>not found".into());
    // What each of several terminations comes to, and how often was asked in all.
    let check = async |replies: Vec<Reply>, expected: &[Result<(), &str>], asked: usize| {
        let server = Server::start(&[
            ("DescribeAutoScalingGroups", vec![Reply::groups(&[group("web", 1, &instance("i-1", "InService", ""))])]),
            (ASK, replies),
        ])
        .await;
        let deadlines = Deadlines { read: Duration::from_secs(2), write: Duration::from_secs(20) };
        let provider = provider(&server.url).await.with_deadlines(deadlines);
        for (index, expected) in expected.iter().enumerate() {
            let done = provider.terminator().unwrap().terminate(&target(1), &["i-1".into()]).await;
            assert_eq!(done.map(drop).map_err(|error| error.code()), *expected, "{index}");
        }
        assert_eq!(server.count(ASK), asked);
    };
    tokio::join!(
        check(vec![page(), runs()], &[Err("conflict")], 2),
        check(vec![elsewhere(), page(), runs(), none()], &[Err("conflict"), Ok(())], 4),
        check(vec![page(), page(), none()], &[Ok(())], 3),
        // It does not know the call; and still an answer counts.
        check(vec![page()], &[Ok(()), Ok(())], 4),
        check(
            vec![page(), page(), page(), page(), runs(), page(), runs()],
            &[Ok(()), Ok(()), Err("conflict"), Err("conflict")],
            7
        ),
        check(vec![unknown(), page(), runs()], &[Ok(()), Ok(()), Err("conflict")], 3),
        check(vec![refused()], &[Err("denied")], 1),
    );
}

#[tokio::test]
async fn zones_that_have_no_machines_are_the_group_when_there_are_no_others() {
    let zones = |zones: &[&str]| {
        let zones: String = zones.iter().map(|zone| format!("<member>us-east-1{zone}</member>")).collect();
        format!("<AvailabilityZones>{zones}</AvailabilityZones><MinSize>")
    };
    let failed = |zone: &str| {
        format!(
            "<member><ActivityId>{zone}</ActivityId><AutoScalingGroupName>web</AutoScalingGroupName>\
             <Description>Launching a new EC2 instance.</Description><Cause>x</Cause>\
             <StartTime>2023-11-14T22:12:00Z</StartTime><EndTime>2023-11-14T22:12:01Z</EndTime>\
             <StatusCode>Failed</StatusCode><StatusMessage>We currently do not have sufficient m5.large capacity in the \
             Availability Zone you requested (us-east-1{zone}).</StatusMessage></member>"
        )
    };
    let check = async |of_group: &[&str], dry: &[&str], instances: &str, expected: &[&str]| {
        let web = group("web", 4, instances).replace("<MinSize>", &zones(of_group));
        let activities: String = dry.iter().map(|zone| failed(zone)).collect();
        let activities = answer("DescribeScalingActivities", &format!("<Activities>{activities}</Activities>"));
        let server = Server::start(&[
            ("DescribeAutoScalingGroups", vec![Reply::groups(&[web])]),
            ("DescribeScalingActivities", vec![Reply::Status(200, activities)]),
        ])
        .await;
        let provider = provider(&server.url).await;
        let mut seen = observe(&provider, &["web"]).await.remove(0).unwrap();
        for _ in 0..100 {
            if !seen.launch_failures.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            seen = observe(&provider, &["web"]).await.remove(0).unwrap();
        }
        let scopes: Vec<String> = seen.launch_failures.iter().map(|failure| format!("{:?}", failure.scope)).collect();
        assert_eq!(scopes, expected, "{of_group:?} {dry:?}");
    };
    let one = instance("i-1", "InService", "");
    check(&["a"], &["a"], &one, &["Group"]).await;
    check(&["a", "b", "c"], &["a", "b", "c"], "", &["Group"; 3]).await;
    check(&["a", "b", "c"], &["a", "b", "c"], &one, &["Group"; 3]).await;
    check(&["a", "b", "c"], &["a", "b"], "", &["Zone(\"us-east-1a\")", "Zone(\"us-east-1b\")"]).await;
}

#[tokio::test]
async fn a_hanging_ec2_costs_the_groups_nothing_and_its_own_no_more_than_one_read() {
    let server = Server::start(&[
        ("DescribeAutoScalingGroups", vec![Reply::groups(&[group("web", 0, "")])]),
        ("DescribeInstances", vec![Reply::Hang]),
    ])
    .await;
    let provider = provider(&server.url).await;
    // More than are asked for at once, each by a key of its own.
    let tags: Vec<String> = (0..12).map(|index| format!("ec2:key{index}=web")).collect();
    let names: Vec<&str> = tags.iter().map(String::as_str).chain(["web"]).collect();
    let begun = tokio::time::Instant::now();
    let seen = observe(&provider, &names).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1_350), "one read may take 700 ms: {took:?}");
    assert_eq!(seen[12].as_ref().unwrap().desired, Some(0));
    assert!(seen[..12].iter().all(|seen| seen.as_ref().is_err_and(|error| error.code() == "transport")), "{seen:?}");
}

/// RunInstances' answer with so many instances, and its refusals.
fn launched(count: u32) -> Reply {
    let one = |index| {
        format!("<item><instanceId>i-{index}</instanceId><instanceState><name>pending</name></instanceState></item>")
    };
    let all: String = (0..count).map(one).collect();
    Reply::Status(200, format!("<RunInstancesResponse><instancesSet>{all}</instancesSet></RunInstancesResponse>"))
}

fn ec2_refuses(status: u16, code: &str) -> Reply {
    let error = format!("<Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors>");
    Reply::Status(status, format!("<Response>{error}<RequestID>r</RequestID></Response>"))
}

#[tokio::test]
async fn a_launch_that_came_in_part_is_told_also_when_nobody_says_why() {
    for (then, kind) in [
        (ec2_refuses(503, "RequestLimitExceeded"), contract::FailureKind::OutOfCapacity),
        (ec2_refuses(400, "Unsupported"), contract::FailureKind::Invalid),
    ] {
        let server = Server::start(&[("RunInstances", vec![launched(3), then])]).await;
        let provider = provider(&server.url).await;
        provider.raise(&Target { group: "ec2:web".into(), ..target(0) }, 5).await.unwrap();
        let seen = observe(&provider, &["ec2:web"]).await.remove(0).unwrap();
        let kinds: Vec<_> = seen.launch_failures.iter().map(|failure| failure.kind).collect();
        assert_eq!((seen.instances.len(), kinds), (3, vec![kind]), "{:?}", seen.launch_failures);
        let bodies = server.bodies("RunInstances");
        assert!(bodies[0].contains("&MaxCount=5&") && bodies[1].contains("&MaxCount=2&"), "{bodies:?}");
    }
}

#[tokio::test]
async fn what_the_accounts_limit_refuses_as_a_whole_is_asked_for_in_part() {
    let over = ec2_refuses(400, "VcpuLimitExceeded");
    let replies = vec![over.clone(), over.clone(), launched(25), over];
    let server = Server::start(&[("RunInstances", replies)]).await;
    let provider = provider(&server.url).await;
    let tagged = |action: u128| Target { group: "ec2:web".into(), action: ActionId(action), ..target(0) };
    provider.raise(&tagged(1), 100).await.unwrap();
    let asked = |wanted: &str| server.bodies("RunInstances").iter().filter(|body| body.contains(wanted)).count();
    let most = |most: u32| asked(&format!("&MaxCount={most}&"));
    assert_eq!((server.count("RunInstances"), most(100), most(50), most(25)), (3, 1, 1, 1));
    let seen = observe(&provider, &["ec2:web"]).await.remove(0).unwrap();
    assert_eq!((seen.instances.len(), seen.launch_failures.len()), (25, 1));
    assert_eq!(seen.launch_failures[0].kind, contract::FailureKind::QuotaExceeded);
    // Of several calls that are refused one is tried in part; where not even one instance can be had, that is the answer.
    let error = provider.raise(&tagged(2), 29).await.unwrap_err();
    assert_eq!((error.code(), server.count("RunInstances")), ("quota_exceeded", 6), "{error}");
    let fresh = self::provider(&server.url).await;
    let error = fresh.raise(&tagged(3), 200).await.unwrap_err();
    assert_eq!((error.code(), most(100), most(50)), ("quota_exceeded", 3, 2), "{error}");
}

#[tokio::test]
async fn a_termination_leaves_the_protected_the_gone_and_the_minimum_alone() {
    let instances = instance("i-1", "InService", "<ProtectedFromScaleIn>true</ProtectedFromScaleIn>")
        + &instance("i-2", "Terminating:Wait", "")
        + &instance("i-3", "InService", "")
        + &instance("i-4", "Pending", "");
    let refresh = "<InstanceRefreshes><member><Status>InProgress</Status></member></InstanceRefreshes>";
    let done = Reply::Status(200, answer("TerminateInstanceInAutoScalingGroup", ""));
    let check =
        async |described: String, refreshes: &str, ids: &[&str], expected: Result<&[&str], &str>, writes: usize| {
            let server = Server::start(&[
                ("DescribeAutoScalingGroups", vec![Reply::groups(&[described])]),
                ("DescribeInstanceRefreshes", vec![Reply::Status(200, answer("DescribeInstanceRefreshes", refreshes))]),
                ("TerminateInstanceInAutoScalingGroup", vec![done.clone()]),
            ])
            .await;
            let provider = provider(&server.url).await;
            let ids: Vec<InstanceId> = ids.iter().map(|id| InstanceId::from(*id)).collect();
            let result = provider.terminator().unwrap().terminate(&target(3), &ids).await;
            let expected = expected.map(|ids| ids.iter().map(|id| InstanceId::from(*id)).collect::<Vec<_>>());
            assert_eq!(result.map(|accepted| accepted.skipped).map_err(|error| error.code()), expected, "{ids:?}");
            assert_eq!(server.count("TerminateInstanceInAutoScalingGroup"), writes, "{ids:?}");
        };
    let web = group("web", 3, &instances);
    check(web.clone(), "", &["i-1", "i-2", "i-3", "i-9"], Ok(&["i-1", "i-2", "i-9"]), 1).await;
    check(web.clone(), "", &["i-1", "i-2"], Ok(&["i-1", "i-2"]), 0).await;
    check(web.clone(), "", &["i-3", "i-4"], Ok(&[]), 1).await;
    check(web.clone(), "", &[], Ok(&[]), 0).await;
    check(web.clone(), refresh, &["i-3"], Err("conflict"), 0).await;
    check(web.replace("<MinSize>0", "<MinSize>3"), "", &["i-3"], Err("conflict"), 0).await;
    let suspended = "<SuspendedProcesses><member><ProcessName>Terminate</ProcessName></member></SuspendedProcesses>";
    check(web.replace("<MinSize>", &format!("{suspended}<MinSize>")), "", &["i-3"], Err("conflict"), 0).await;
}

#[tokio::test]
async fn cancelling_never_goes_below_the_instances_that_are_there() {
    let instances =
        instance("i-1", "InService", "") + &instance("i-2", "Pending", "") + &instance("i-3", "Terminating", "");
    let check = async |to: u32, expected: Result<(), &str>, writes: usize| {
        let web = Reply::groups(&[group("web", 6, &instances)]);
        let server = Server::start(&[("DescribeAutoScalingGroups", vec![web])]).await;
        let result = provider(&server.url).await.cancel_unfilled(&target(6), to).await;
        assert_eq!(result.map(|_| ()).map_err(|error| error.code()), expected, "{to}");
        assert_eq!(server.count("SetDesiredCapacity"), writes, "{to}");
    };
    check(7, Err("invalid"), 0).await;
    check(6, Ok(()), 0).await;
    check(3, Ok(()), 1).await;
    check(2, Ok(()), 1).await;
    check(1, Err("conflict"), 0).await;
}

#[tokio::test]
async fn names_that_no_group_can_have_are_not_sent() {
    let server = Server::start(&[]).await;
    let long = "x".repeat(256);
    let seen = observe(&provider(&server.url).await, &["", &long, "a\nb"]).await;
    assert!(seen.iter().all(|result| result.as_ref().is_err_and(|error| error.code() == "invalid")), "{seen:?}");
    assert_eq!(server.count("DescribeAutoScalingGroups"), 0);
}

#[tokio::test]
async fn five_hundred_groups_are_five_calls_and_two_beside_them_once() {
    let names: Vec<String> = (0..500).map(|i| format!("g{i:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let groups: Vec<String> =
        names.iter().map(|name| group(name, 1, &instance(&format!("i-{name}"), "InService", ""))).collect();
    let server = Server::start(&[("DescribeAutoScalingGroups", vec![Reply::groups(&groups)])]).await;
    let provider = provider(&server.url).await;
    for cycle in 1..=3 {
        let seen = observe(&provider, &names).await;
        assert!(seen.iter().all(|result| result.is_ok()), "{:?}", seen.iter().find(|r| r.is_err()));
        assert_eq!(server.count("DescribeAutoScalingGroups"), 5 * cycle);
    }
    let beside = ["DescribePolicies", "DescribeScheduledActions", "DescribeInstances"].map(|call| server.count(call));
    // The launch times of five hundred instances, once; the last of them may still be on their way.
    assert!(beside[0] == 1 && beside[1] == 1 && beside[2] <= 5, "{beside:?}");
    assert_eq!(server.count("DescribeScalingActivities") + server.count("DescribeInstanceRefreshes"), 0);
}

#[tokio::test]
async fn a_retry_after_is_told_and_obeyed_by_every_later_call() {
    let server = Server::start(&[("DescribeAutoScalingGroups", vec![Reply::Throttled(7)])]).await;
    let provider = provider(&server.url).await;
    let told = |error: &ProviderError| match error {
        ProviderError::Throttled { retry_after } => *retry_after,
        other => panic!("{other}"),
    };
    let seen = observe(&provider, &["web"]).await.remove(0);
    assert_eq!(told(&seen.unwrap_err()), Some(Duration::from_secs(7)));
    // From now on nothing is sent, and who asks is told how long that lasts.
    let again = told(&provider.raise(&target(3), 5).await.unwrap_err()).unwrap();
    assert!(again > Duration::from_secs(5) && again <= Duration::from_secs(7), "{again:?}");
    assert_eq!(server.count("DescribeAutoScalingGroups"), 1);
}

#[tokio::test]
async fn every_call_is_told_to_whoever_counts() {
    let server = Server::start(&[("DescribeAutoScalingGroups", vec![Reply::groups(&[group("web", 0, "")])])]).await;
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&calls);
    let provider = provider(&server.url).await;
    let provider = provider.with_on_call(Arc::new(move |call| kept.lock().unwrap().push((call.operation, call.code))));
    observe(&provider, &["web"]).await.remove(0).unwrap();
    let mut calls = calls.lock().unwrap().clone();
    calls.sort_unstable();
    assert_eq!(
        calls,
        [("DescribeAutoScalingGroups", "ok"), ("DescribePolicies", "ok"), ("DescribeScheduledActions", "ok")]
    );
}

#[tokio::test]
async fn a_certificate_that_does_not_match_is_not_trusted() {
    let cloud = sim::Cloud::new(sim::Settings::default(), Arc::new(|| NOW)).unwrap();
    cloud.create("web", &sim::GroupSettings { desired: 3, ..sim::GroupSettings::default() }).unwrap();
    let api = Arc::new(sim_cloud::aws::Aws::new(cloud.clone()));
    let untrusted = Untrusted::start(api as Arc<dyn sim_cloud::Api>).await;
    let provider = provider(&untrusted.url).await;
    let mut errors = Vec::new();
    // Auto Scaling's client, and EC2's.
    for (group, seen) in ["web", "ec2:web"].iter().zip(observe(&provider, &["web", "ec2:web"]).await) {
        errors.push(seen.unwrap_err());
        errors.push(provider.raise(&Target { group: (*group).into(), ..target(3) }, 5).await.unwrap_err());
    }
    errors.push(provider.metrics().unwrap().query("Jobs:Depth{Queue=\"a\"} Maximum 1m", NOW).await.unwrap_err());
    for error in errors {
        let words = error.to_string();
        assert_eq!(error.code(), "transport", "{words}");
        for part in ["certificate", "check endpoint_url", "SSL_CERT_FILE"] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
    // Nothing was asked of who is not trusted.
    assert_eq!(cloud.truth(&"web".into()).unwrap().desired, Some(3));
    assert_eq!(cloud.groups().len(), 1);
}
