//! Auto Scaling and EC2 by a client of a few lines. boto3, which nobody here wrote, judges both beside the provider.
#![allow(clippy::unwrap_used, reason = "a test")]

use contract::{GroupId, Suspended, Timestamp, micros};
use sim::{Cloud, GroupSettings, Script, Settings};
use sim_cloud::aws::Aws;
use sim_cloud::{Api, Fault, Garble, Kind, Refusal, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Stand {
    server: Server,
    api: Arc<Aws>,
    cloud: Cloud,
    time: Arc<AtomicI64>,
}

impl Stand {
    async fn new(settings: Settings) -> Self {
        let time = Arc::new(AtomicI64::new(Timestamp::from_secs(1_700_000_000).0));
        let clock = Arc::clone(&time);
        let cloud = Cloud::new(settings, Arc::new(move || Timestamp(clock.load(SeqCst)))).unwrap();
        let api = Arc::new(Aws::new(cloud.clone()));
        let server = Server::start(Arc::clone(&api) as Arc<dyn Api>, ([127, 0, 0, 1], 0).into()).await.unwrap();
        Self { server, api, cloud, time }
    }

    fn pass(&self, secs: u64) {
        self.time.fetch_add(micros(Duration::from_secs(secs)), SeqCst);
    }

    fn group(&self, name: &str, desired: u32) {
        let zones = vec!["a".into(), "b".into()];
        self.cloud.create(name, &GroupSettings { desired, zones, ..GroupSettings::default() }).unwrap();
    }

    async fn call(&self, action: &str, pairs: &[(&str, &str)]) -> (u16, String) {
        self.send("2011-01-01", action, pairs).await
    }

    async fn ec2(&self, action: &str, pairs: &[(&str, &str)]) -> (u16, String) {
        self.send("2016-11-15", action, pairs).await
    }

    async fn send(&self, version: &str, action: &str, pairs: &[(&str, &str)]) -> (u16, String) {
        let escape = |text: &str| text.replace('%', "%25").replace('&', "%26").replace('=', "%3D").replace(' ', "+");
        let fixed = [("Action", action), ("Version", version)];
        let all = fixed.iter().chain(pairs).map(|(key, value)| format!("{key}={}", escape(value)));
        let body = all.collect::<Vec<_>>().join("&");
        let mut stream = TcpStream::connect(self.server.url().trim_start_matches("http://")).await.unwrap();
        let head =
            "POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded";
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// What stands in these elements of the group's description.
    async fn described(&self, name: &str, element: &str) -> Vec<String> {
        let (status, text) = self.call("DescribeAutoScalingGroups", &[("AutoScalingGroupNames.member.1", name)]).await;
        assert_eq!(status, 200, "{text}");
        all(&text, element)
    }

    async fn activities(&self, name: &str) -> Vec<(String, String)> {
        let (_, text) = self.call("DescribeScalingActivities", &[("AutoScalingGroupName", name)]).await;
        all(&text, "StatusCode").into_iter().zip(all(&text, "Description")).collect()
    }
}

/// The texts of all elements of this name.
fn all(text: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    text.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().to_owned()).collect()
}

const WEB: (&str, &str) = ("AutoScalingGroupName", "web");

#[tokio::test]
async fn a_group_boots_and_its_activities_tell() {
    let stand = Stand::new(Settings::default()).await;
    stand.group("web", 2);
    assert_eq!(stand.described("web", "LifecycleState").await, ["InService", "InService"]);
    assert_eq!(stand.activities("web").await, []);
    let (status, text) = stand.call("SetDesiredCapacity", &[WEB, ("DesiredCapacity", "3")]).await;
    assert!(status == 200 && text.starts_with("<SetDesiredCapacityResponse") && !text.contains("Result"), "{text}");
    assert_eq!(stand.described("web", "LifecycleState").await.last().unwrap(), "Pending");
    let (status, what) = stand.activities("web").await.remove(0);
    assert!(status == "PreInService" && what.starts_with("Launching a new EC2 instance: i-"), "{status} {what}");
    stand.pass(61);
    assert_eq!(stand.described("web", "LifecycleState").await, ["InService"; 3]);
    assert_eq!(stand.activities("web").await[0].0, "Successful");
    let (status, text) = stand.call("SetDesiredCapacity", &[WEB, ("DesiredCapacity", "101")]).await;
    assert!(status == 400 && text.contains("above max value 100"), "{text}");
    let (status, text) =
        stand.call("SetDesiredCapacity", &[("AutoScalingGroupName", "x"), ("DesiredCapacity", "1")]).await;
    assert!(status == 400 && text.contains("not found") && text.contains("<Type>Sender</Type>"), "{text}");
}

#[tokio::test]
async fn instances_go_by_name_one_or_many() {
    let stand = Stand::new(Settings::default()).await;
    stand.group("web", 4);
    let ids = stand.described("web", "InstanceId").await;
    let lower = ("ShouldDecrementDesiredCapacity", "true");
    let many = [WEB, ("InstanceIds.member.1", ids[0].as_str()), ("InstanceIds.member.2", ids[1].as_str()), lower];
    let (status, text) = stand.call("TerminateInstanceInAutoScalingGroup", &many).await;
    assert!(status == 200 && all(&text, "Activities")[0].matches("<member>").count() == 2, "{text}");
    let (status, text) =
        stand.call("TerminateInstanceInAutoScalingGroup", &[("InstanceId", ids[2].as_str()), lower]).await;
    assert!(status == 200 && text.contains("<Activity>") && text.contains("Terminating EC2 instance"), "{text}");
    assert_eq!(stand.described("web", "DesiredCapacity").await, ["1"]);
    let (status, _) =
        stand.call("TerminateInstanceInAutoScalingGroup", &[("InstanceId", ids[2].as_str()), lower]).await;
    assert_eq!(status, 400, "it is on its way out");
    stand.cloud.set_bounds(&"web".into(), 1, 9);
    let (status, text) =
        stand.call("TerminateInstanceInAutoScalingGroup", &[("InstanceId", ids[3].as_str()), lower]).await;
    assert!(status == 400 && text.contains("min size constraint"), "{text}");
    stand.pass(60);
    assert_eq!(stand.described("web", "InstanceId").await, [ids[3].clone()]);
    assert_eq!(stand.activities("web").await.iter().filter(|(status, _)| status == "Successful").count(), 3);
}

#[tokio::test]
async fn failed_launches_are_activities_in_sentences() {
    let stand = Stand::new(Settings { quota: Some(4), ..Settings::default() }).await;
    stand.group("web", 2);
    stand.cloud.inject(Script { zone: Some("a".into()), ..Script::new(sim::Fault::OutOfCapacity) });
    stand.cloud.inject(Script { zone: Some("b".into()), ..Script::new(sim::Fault::OutOfCapacity) });
    stand.call("SetDesiredCapacity", &[WEB, ("DesiredCapacity", "6")]).await;
    let told = stand.activities("web").await;
    assert!(told.len() == 2 && told.iter().all(|(status, _)| status == "Failed"), "{told:?}");
    assert!(told.iter().any(|(_, words)| words.contains("m5.large capacity") && words.contains("(us-east-1b)")));
    // Looking again does not make more of it.
    assert_eq!(stand.activities("web").await.len(), 2);
    stand.cloud.clear_faults();
    stand.pass(31);
    let told = stand.activities("web").await;
    assert!(told.iter().any(|(_, words)| words.contains("vCPU limit")), "{told:?}");
    stand.api.say_of_failures(&"web".into(), Some("The image id '[ami-1]' does not exist."));
    stand.pass(31);
    assert!(stand.activities("web").await[0].1.contains("ami-1"));
}

#[tokio::test]
async fn every_attempt_to_launch_is_told_and_what_went_is_replaced() {
    let stand = Stand::new(Settings::default()).await;
    stand.group("web", 2);
    stand.described("web", "InstanceId").await;
    stand.cloud.inject(Script { zone: Some("a".into()), ..Script::new(sim::Fault::OutOfCapacity) });
    stand.call("SetDesiredCapacity", &[WEB, ("DesiredCapacity", "3")]).await;
    assert_eq!(stand.described("web", "LifecycleState").await, ["InService", "InService", "Pending"]);
    let told = stand.activities("web").await;
    let failed: Vec<&String> = told.iter().filter(|(status, _)| status == "Failed").map(|(_, words)| words).collect();
    assert!(failed.len() == 1 && failed[0].contains("(us-east-1a)"), "{told:?}");
    stand.cloud.clear_faults();
    // One dies: its end and the launch of another are activities.
    let victim = stand.described("web", "InstanceId").await.remove(0);
    assert!(stand.cloud.kill(&"web".into(), &victim.as_str().into()));
    assert_eq!(stand.described("web", "InstanceId").await.len(), 3);
    let told = stand.activities("web").await;
    let ends = ("Successful".to_owned(), format!("Terminating EC2 instance: {victim}"));
    assert!(told.contains(&ends), "{told:?}");
    assert_eq!(told.iter().filter(|(status, _)| status == "PreInService").count(), 2, "{told:?}");
}

#[tokio::test]
async fn a_hook_holds_until_it_is_completed_or_over() {
    let stand = Stand::new(Settings::default()).await;
    stand.group("web", 1);
    let hook = [WEB, ("LifecycleHookName", "warm")];
    let launching = ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING");
    stand.call("PutLifecycleHook", &[&hook[..], &[launching, ("HeartbeatTimeout", "300")]].concat()).await;
    stand.call("SetDesiredCapacity", &[WEB, ("DesiredCapacity", "3")]).await;
    stand.pass(61);
    let states = stand.described("web", "LifecycleState").await;
    assert_eq!(states, ["InService", "Pending:Wait", "Pending:Wait"]);
    assert_eq!(stand.activities("web").await[0].0, "MidLifecycleAction");
    let ids = stand.described("web", "InstanceId").await;
    let complete = [&hook[..], &[("InstanceId", ids[1].as_str()), ("LifecycleActionResult", "CONTINUE")]].concat();
    assert_eq!(stand.call("CompleteLifecycleAction", &complete).await.0, 200);
    assert_eq!(stand.call("CompleteLifecycleAction", &complete).await.0, 400, "it waits no more");
    assert_eq!(stand.described("web", "LifecycleState").await[1], "InService");
    stand.pass(300);
    let states = stand.described("web", "LifecycleState").await;
    assert!(states.contains(&"Terminating".into()) && states.contains(&"Pending".into()), "{states:?}");
    assert!(stand.activities("web").await.iter().any(|(status, _)| status == "Cancelled"));
}

#[tokio::test]
async fn a_hook_on_ends_drains_until_it_is_completed_or_over() {
    let stand = Stand::new(Settings::default()).await;
    stand.group("web", 3);
    let hook = [WEB, ("LifecycleHookName", "drain")];
    let ending = ("LifecycleTransition", "autoscaling:EC2_INSTANCE_TERMINATING");
    stand.call("PutLifecycleHook", &[&hook[..], &[ending, ("HeartbeatTimeout", "300")]].concat()).await;
    let ids = stand.described("web", "InstanceId").await;
    for id in &ids[..2] {
        let gone = [("InstanceId", id.as_str()), ("ShouldDecrementDesiredCapacity", "true")];
        assert_eq!(stand.call("TerminateInstanceInAutoScalingGroup", &gone).await.0, 200);
    }
    stand.pass(299);
    let waiting = "Terminating:Wait";
    assert_eq!(stand.described("web", "LifecycleState").await, [waiting, waiting, "InService"]);
    assert_eq!(stand.activities("web").await[0].0, "MidLifecycleAction");
    let (_, text) = stand.ec2("DescribeInstances", &[("InstanceId.1", ids[0].as_str())]).await;
    assert!(text.contains("<name>running</name>") && !text.contains("stateReason"), "{text}");
    // Abandoned or not: there is no way back.
    let complete = [&hook[..], &[("InstanceId", ids[0].as_str()), ("LifecycleActionResult", "ABANDON")]].concat();
    assert_eq!(stand.call("CompleteLifecycleAction", &complete).await.0, 200);
    assert_eq!(stand.call("CompleteLifecycleAction", &complete).await.0, 400, "it waits no more");
    assert_eq!(stand.described("web", "LifecycleState").await, ["Terminating:Proceed", waiting, "InService"]);
    let (_, text) = stand.ec2("DescribeInstances", &[("InstanceId.1", ids[0].as_str())]).await;
    assert!(text.contains("<name>shutting-down</name>"), "{text}");
    // Nobody says anything of the other one.
    stand.pass(1);
    assert_eq!(stand.described("web", "LifecycleState").await[1], "Terminating:Proceed");
    stand.pass(20);
    assert_eq!(stand.described("web", "InstanceId").await, ids[2..]);
    let ended = stand.activities("web").await;
    assert!(ended.iter().all(|(status, _)| status == "Successful") && ended.len() == 2, "{ended:?}");
    assert_eq!(stand.described("web", "DesiredCapacity").await, ["1"]);
    // EC2 itself waits for nothing.
    assert_eq!(stand.ec2("TerminateInstances", &[("InstanceId.1", ids[2].as_str())]).await.0, 200);
    assert_eq!(stand.described("web", "LifecycleState").await[0], "Terminating:Proceed");
}

#[tokio::test]
async fn functions_tags_controllers_and_refreshes_are_kept() {
    let stand = Stand::new(Settings::default()).await;
    stand.group("web", 1);
    let processes = [WEB, ("ScalingProcesses.member.1", "Launch"), ("ScalingProcesses.member.2", "AZRebalance")];
    stand.call("SuspendProcesses", &processes).await;
    assert_eq!(stand.described("web", "ProcessName").await, ["Launch", "AZRebalance"]);
    stand.call("ResumeProcesses", &processes[..2]).await;
    assert_eq!(stand.described("web", "ProcessName").await, ["AZRebalance"]);
    let tag =
        |key, value| [("Tags.member.1.ResourceId", "web"), ("Tags.member.1.Key", key), ("Tags.member.1.Value", value)];
    stand.call("CreateOrUpdateTags", &tag("skala:owner", "site/a/7/1700003600")).await;
    stand.call("CreateOrUpdateTags", &tag("team", "shop")).await;
    assert_eq!(stand.cloud.look(&"web".into()).unwrap().owner.unwrap().id, "site/a".into());
    assert_eq!(stand.described("web", "Value").await, ["shop", "site/a/7/1700003600"]);
    stand.cloud.set_foreign(&"web".into(), vec![stand.api.foreign()]);
    let (_, text) = stand.call("DescribePolicies", &[]).await;
    assert_eq!((all(&text, "PolicyName"), all(&text, "DisableScaleIn")), (vec!["cpu50".into()], vec!["false".into()]));
    assert_eq!(stand.call("StartInstanceRefresh", &[WEB]).await.0, 200);
    let (status, text) = stand.call("StartInstanceRefresh", &[WEB]).await;
    assert!(status == 400 && text.contains("InstanceRefreshInProgress"), "{text}");
    assert!(stand.api.set_refresh(&"web".into(), "Successful"));
    stand.cloud.set_suspended(&"web".into(), vec![Suspended::Refresh]);
    let (_, text) = stand.call("DescribeInstanceRefreshes", &[WEB]).await;
    assert_eq!(all(&text, "Status"), ["InProgress", "Successful"]);
}

#[tokio::test]
async fn tagged_machines_are_launched_once_for_each_token() {
    let stand = Stand::new(Settings::default()).await;
    let run = |token: &'static str| {
        vec![
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("ClientToken", token),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "skala:group"),
            ("TagSpecification.1.Tag.1.Value", "batch"),
            ("TagSpecification.1.Tag.2.Key", "skala:launch"),
            ("TagSpecification.1.Tag.2.Value", token),
        ]
    };
    let started = async |token| {
        let (status, text) = stand.ec2("RunInstances", &run(token)).await;
        assert_eq!(status, 200, "{text}");
        all(&text, "instanceId").remove(0)
    };
    let (one, two) = (started("t-1").await, started("t-2").await);
    assert!(one != two && started("t-1").await == one);
    let more = [run("t-1"), vec![("TagSpecification.1.Tag.3.Key", "x")]].concat();
    let (status, text) = stand.ec2("RunInstances", &more).await;
    assert!(status == 400 && text.contains("IdempotentParameterMismatch"), "{text}");
    let tagged = [("Filter.1.Name", "tag:skala:group"), ("Filter.1.Value.1", "batch")];
    let (_, text) = stand.ec2("DescribeInstances", &tagged).await;
    assert_eq!(all(&text, "name"), ["pending", "pending"]);
    assert!(all(&text, "value").contains(&"t-2".into()), "{text}");
    stand.ec2("CreateTags", &[("ResourceId.1", &two), ("Tag.1.Key", "skala:protected"), ("Tag.1.Value", "true")]).await;
    assert!(stand.cloud.truth(&"servers:batch".into()).unwrap().instances.iter().any(|instance| instance.protected));
    stand.pass(61);
    assert_eq!(stand.ec2("TerminateInstances", &[("InstanceId.1", &one)]).await.0, 200);
    let states = async |pairs: &[(&str, &str)]| all(&stand.ec2("DescribeInstances", pairs).await.1, "name");
    assert_eq!(states(&tagged).await, ["shutting-down", "running"]);
    stand.pass(60);
    assert_eq!(states(&tagged).await, ["running", "terminated"]);
    // A retry of a launch that is over is that launch, not another one.
    assert_eq!(started("t-1").await, one);
    let running = [&tagged[..], &[("Filter.2.Name", "instance-state-name"), ("Filter.2.Value.1", "running")]].concat();
    assert_eq!(states(&running).await, ["running"]);
    stand.pass(3_700);
    assert_eq!(states(&tagged).await, ["running"]);
    let (status, text) = stand.ec2("TerminateInstances", &[("InstanceId.1", "i-0")]).await;
    assert!(status == 400 && text.contains("InvalidInstanceID.NotFound") && text.starts_with("<Response>"), "{text}");
    assert_eq!(stand.api.group_id("servers:batch"), GroupId::from("ec2:batch"));
}

#[tokio::test]
async fn a_call_for_several_machines_is_answered_again_with_those_that_came() {
    let stand = Stand::new(Settings { quota: Some(2), ..Settings::default() }).await;
    let run = [("MinCount", "1"), ("MaxCount", "3"), ("ClientToken", "t")];
    let started = async || all(&stand.ec2("RunInstances", &run).await.1, "instanceId");
    let first = started().await;
    assert_eq!(first.len(), 2);
    assert_eq!(stand.ec2("TerminateInstances", &[("InstanceId.1", &first[0])]).await.0, 200);
    stand.pass(120);
    assert_eq!(started().await, first, "also when there is room again");
    let shown = async || all(&stand.ec2("DescribeInstances", &[]).await.1, "instanceId").len();
    assert_eq!(shown().await, 2);
    for (most, expected) in [(Some(1), 1), (Some(0), 0), (None, 2)] {
        stand.api.show_of_launches(most);
        assert_eq!(shown().await, expected, "{most:?}");
    }
}

#[tokio::test]
async fn a_launch_that_cannot_be_had_is_refused_at_once() {
    let stand = Stand::new(Settings { quota: Some(1), ..Settings::default() }).await;
    let run = [("MinCount", "2"), ("MaxCount", "3")];
    let (status, text) = stand.ec2("RunInstances", &run).await;
    assert!(status == 400 && text.contains("VcpuLimitExceeded"), "{text}");
    let stand = Stand::new(Settings::default()).await;
    stand.cloud.inject(Script::new(sim::Fault::OutOfCapacity));
    let (status, text) = stand.ec2("RunInstances", &run).await;
    assert!(status == 500 && text.contains("InsufficientInstanceCapacity") && text.contains("(us-east-1a)"), "{text}");
}

#[tokio::test]
async fn answers_are_bent_and_refusals_are_the_apis() {
    let stand = Stand::new(Settings::default()).await;
    stand.group("web", 2);
    let shown = async |element: &str| stand.described("web", element).await;
    stand.server.inject(Kind::Read, Fault::Garble(Garble::OutOfRange));
    assert_eq!(shown("DesiredCapacity").await, ["-1"]);
    stand.server.clear();
    stand.server.inject(Kind::Read, Fault::Garble(Garble::UnknownWords));
    assert_eq!(shown("LifecycleState").await, ["Hatching", "Hatching"]);
    stand.server.clear();
    stand.server.inject(Kind::Read, Fault::Garble(Garble::Duplicates));
    assert_eq!((shown("AutoScalingGroupName").await.len(), shown("InstanceId").await.len()), (2, 8));
    stand.server.clear();
    stand.server.inject(Kind::Read, Fault::Garble(Garble::EmptyPages));
    let (mut token, mut pages) = (String::new(), Vec::new());
    loop {
        let next: Vec<_> = [("NextToken", token.as_str())].into_iter().filter(|(_, token)| !token.is_empty()).collect();
        let (_, text) = stand.call("DescribeAutoScalingGroups", &next).await;
        pages.push(all(&text, "AutoScalingGroupName").len());
        match all(&text, "NextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(pages, [0, 0, 1]);
    stand.server.clear();
    for (refusal, asg, ec2) in [
        (Refusal::Throttled { retry_after: Some(Duration::from_secs(7)) }, "Throttling", "RequestLimitExceeded"),
        (Refusal::Denied, "AccessDenied", "UnauthorizedOperation"),
        (Refusal::WrongCredentials, "InvalidClientTokenId", "AuthFailure"),
    ] {
        stand.server.inject(Kind::Read, Fault::Refuse(refusal));
        assert_eq!(all(&stand.call("DescribePolicies", &[]).await.1, "Code"), [asg]);
        assert_eq!(all(&stand.ec2("DescribeInstances", &[]).await.1, "Code"), [ec2]);
        stand.server.clear();
    }
}
