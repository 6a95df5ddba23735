//! The chain of sources, and renewal ahead of the end. What a service answers is tested over the wire.
#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

fn credentials(environment: &[(&str, &str)], change: impl FnOnce(&mut Sources), now: &Arc<AtomicI64>) -> Credentials {
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut sources = crate::Settings { region: "eu-central-1".into(), ..Default::default() }.sources();
    change(&mut sources);
    let now = Arc::clone(now);
    Credentials::new(
        sources,
        Surroundings::new(move |name| environment.get(name).cloned()),
        reqwest::Client::new(),
        Arc::new(move || Timestamp(now.load(SeqCst))),
    )
}

fn origin(environment: &[(&str, &str)], change: impl FnOnce(&mut Sources)) -> Result<Origin, ProviderError> {
    credentials(environment, change, &Arc::new(AtomicI64::new(0))).origin()
}

fn key(id: &str, secret: &str, token: Option<&str>) -> Origin {
    Origin::Key(Key { id: id.into(), secret: secret.into(), token: token.map(Into::into), until: None })
}

const OIDC: [(&str, &str); 3] = [
    ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/skala"),
    ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/ack"),
    ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "token"),
];

#[test]
fn the_environment_comes_first_then_workload_identity_then_the_instance() {
    let access = [("ALIBABA_CLOUD_ACCESS_KEY_ID", "id"), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s")];
    let all = [&access[..], &OIDC[..]].concat();
    assert_eq!(origin(&all, |_| ()).unwrap(), key("id", "s", None));
    let with_token = [&access[..], &[("ALIBABA_CLOUD_SECURITY_TOKEN", "t")]].concat();
    assert_eq!(origin(&with_token, |_| ()).unwrap(), key("id", "s", Some("t")));
    assert!(matches!(origin(&OIDC, |_| ()).unwrap(), Origin::Oidc { session, .. } if session == "skala"));
    assert_eq!(origin(&[], |_| ()).unwrap(), Origin::Ecs { role: None });
    assert_eq!(
        origin(&[("ALIBABA_CLOUD_ECS_METADATA", "web")], |_| ()).unwrap(),
        Origin::Ecs { role: Some("web".into()) }
    );
    let off = origin(&[("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")], |_| ()).unwrap_err();
    assert_eq!(off.code(), "denied");
    let half = origin(&access[..1], |_| ()).unwrap_err();
    assert!(half.to_string().contains("ACCESS_KEY_SECRET is not"), "{half}");
}

const INI: &str = "
# comment
[default]
type = access_key
access_key_id = one   # the first
access_key_secret = s1
[sts]
type=sts
access_key_id=two
access_key_secret=s2
security_token=t2
[ecs]
type = ecs_ram_role
role_name = web
[assumed]
type = ram_role_arn
[broken]
type = access_key
access_key_id = three
";

#[test]
fn a_profile_of_the_sdks_file_is_read() {
    let read = |profile: &str| files::ini(INI, Path::new("c.ini"), profile);
    assert_eq!(read("default").unwrap(), key("one", "s1", None));
    assert_eq!(read("sts").unwrap(), key("two", "s2", Some("t2")));
    assert_eq!(read("ecs").unwrap(), Origin::Ecs { role: Some("web".into()) });
    for (profile, words) in [("assumed", "ram_role_arn"), ("broken", "access_key_secret is missing"), ("x", "no such")]
    {
        let error = read(profile).unwrap_err();
        assert!(error.code() == "invalid" && error.to_string().contains(words), "{profile}: {error}");
    }
}

#[test]
fn a_profile_of_the_command_line_is_read() {
    let text = r#"{"current": "b", "profiles": [
        {"name": "a", "mode": "AK", "access_key_id": "one", "access_key_secret": "s1", "sts_token": "old"},
        {"name": "b", "mode": "StsToken", "access_key_id": "two", "access_key_secret": "s2", "sts_token": "t2"},
        {"name": "c", "mode": "EcsRamRole"},
        {"name": "d", "mode": "CloudSSO"}]}"#;
    let read = |profile: Option<&str>| files::cli(text, Path::new("config.json"), profile);
    assert_eq!(read(None).unwrap().unwrap(), key("two", "s2", Some("t2")));
    assert_eq!(read(Some("a")).unwrap().unwrap(), key("one", "s1", None));
    assert_eq!(read(Some("c")).unwrap().unwrap(), Origin::Ecs { role: None });
    assert!(read(Some("d")).unwrap_err().to_string().contains("CloudSSO"));
    assert!(read(Some("e")).unwrap_err().to_string().contains("no such"));
    assert_eq!(files::cli("{}", Path::new("config.json"), None).unwrap(), None);
    let wrong = files::cli(r#"{"current": 5, "profiles": "secret"}"#, Path::new("config.json"), None).unwrap_err();
    assert!(!wrong.to_string().contains("secret"), "{wrong}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_nothing_else_is_tried() {
    let access = [("ALIBABA_CLOUD_ACCESS_KEY_ID", "id"), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s")];
    let missing = origin(&access, |sources| sources.file = Some("credential:ali".into())).unwrap_err();
    assert!(missing.to_string().contains("ali") && missing.code() == "invalid", "{missing}");
    let profile = origin(&access, |sources| sources.profile = Some("prod".into())).unwrap_err();
    assert!(profile.to_string().contains("prod"), "{profile}");
}

#[tokio::test]
async fn a_key_is_kept_until_shortly_before_its_end_and_forgotten_when_refused() {
    let now = Arc::new(AtomicI64::new(0));
    let off = [("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")];
    let credentials = credentials(&off, |_| (), &now);
    let until = Timestamp::from_secs(1_000);
    let key = Key { id: "i".into(), secret: "s".into(), token: None, until: Some(until) };
    credentials.kept.lock().await.key = Some(key.clone());
    for (secs, holds) in [(0, true), (699, true), (701, true), (999, true), (1_000, false)] {
        // From 700 s on a renewal is tried and fails, as there is nowhere to get one: the old key goes on to its end.
        now.store(Timestamp::from_secs(secs).0, SeqCst);
        assert_eq!(credentials.key().await.is_ok(), holds, "{secs}");
        assert_eq!(credentials.kept.lock().await.renew_after.is_some(), secs > 700, "{secs}");
    }
    now.store(0, SeqCst);
    credentials.kept.lock().await.renew_after = None;
    credentials.forget(&Key { id: "other".into(), ..key.clone() }).await;
    assert!(credentials.key().await.is_ok());
    credentials.forget(&key).await;
    assert_eq!(credentials.key().await.unwrap_err().code(), "denied");
    assert!(!format!("{key:?}").contains("\"s\""));
}
