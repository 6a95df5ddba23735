//! A native scaler taken over by a living daemon and given back; the command and its guards through the real binary.

#![allow(clippy::disallowed_methods)] // On real time: a living daemon has to have its chance to do something wrong.

use crate::living::{Living, POLICY, run};
use contract::native::Switch;
use contract::{Foreign, GroupId, Owner, Timestamp, Undo};
use sim::Sim;
use skala::handover::records::{Handover, Records, Stage, path};
use skala::handover::{Asked, Outcome, hand_back, hand_over};
use std::sync::Arc;

fn native(removes: Option<bool>) -> Foreign {
    Foreign { name: "scaling policy cpu50".into(), removes }
}

fn hold(living: &Living) -> Option<String> {
    let fleet = living.published.fleet("web")?;
    Some(fleet.decision.as_ref()?.hold?.reason.word().to_owned())
}

#[test]
fn the_daemon_scales_once_the_native_scaler_may_not_and_stops_when_it_may() {
    let living = Living::start();
    let group = GroupId::from("web");
    assert!(living.cloud.set_foreign(&group, vec![native(Some(true))]));
    living.until("the foreign hold", |living| hold(living).as_deref() == Some("foreign"));
    living.set_load(500.0);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_ne!(living.desired(), Some(5), "beside another controller nothing is done");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let provider =
        Sim::new(living.cloud.clone(), Owner { id: "x".into() }, Arc::new(|span| Box::pin(tokio::time::sleep(span))));
    let mut records = Records::open(&path(&living.directory.path().join("skala.db"))).unwrap();
    let asked = Asked {
        fleet: "web".into(),
        provider: "cloud".into(),
        group: group.clone(),
        by: "ana".into(),
        at: Timestamp::from_secs(1_700_000_000),
    };
    let done = runtime.block_on(hand_over(&mut records, &provider, &asked)).unwrap();
    assert!(matches!(done, Outcome::Suspended(switches) if switches.len() == 1));
    assert_eq!(records.all()[0].stage, Stage::Suspended);
    living.until("five instances", |living| living.desired() == Some(5));

    // A daemon that is gone takes nothing away from the record.
    drop(records);
    let cloud = living.cloud.clone();
    let directory = living.stop();
    let mut records = Records::open(&path(&directory.path().join("skala.db"))).unwrap();
    runtime.block_on(hand_back(&mut records, &provider, "cloud", &group)).unwrap();
    assert!(records.all().is_empty());
    let ask = [contract::Ask::new("web")];
    let seen = runtime.block_on(contract::Provider::observe(&provider, &ask)).remove(0).unwrap();
    assert_eq!(seen.foreign, [native(Some(true))], "exactly what was there");
    drop(cloud);
}

#[test]
fn a_net_that_only_adds_stays_and_freezes_nothing() {
    let living =
        Living::start_with(&POLICY.replace("mode     = \"on\"", "mode = \"on\"\nforeign = \"allow-scale-out\""));
    let group = GroupId::from("web");
    assert!(living.cloud.set_foreign(&group, vec![native(Some(false))]));
    let current = |living: &Living| living.published.fleet("web")?.decision.as_ref()?.current;
    living.until("three instances", |living| living.desired() == Some(3) && current(living) == Some(3));
    // The net adds two on its own; the next scale-out of skala's is not delayed by it.
    assert!(living.cloud.set_desired(&group, 5));
    living.until("the five", |living| current(living) == Some(5));
    living.set_load(600.0);
    living.until("six instances", |living| living.desired() == Some(6));
    // One of which nobody knows whether it removes is none.
    assert!(living.cloud.set_foreign(&group, vec![native(None)]));
    living.until("the foreign hold", |living| hold(living).as_deref() == Some("foreign"));
    let said = living.run(&["explain", "web"]);
    assert!(said.out.contains("scaling policy cpu50 (it may remove instances, as far as is known)"), "{}", said.out);
}

/// A configuration of the same daemon whose provider is a cloud of the command's own, with a scaler.
fn configured(living: &Living, more: &str) -> std::path::PathBuf {
    let at = living.directory.path().display();
    let text = format!(
        "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite://{at}/skala.db\"\n[api]\nsocket = \"skala.sock\"\n\
         [provider.cloud]\nkind = \"sim\"\n\
         groups.web = {{ desired = 2, foreign = [{{ name = \"scaling policy cpu50\", removes = true }}] }}\n{more}"
    );
    let path = living.directory.path().join("with-provider.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_command_records_what_it_does_and_says_which_guard_refuses() {
    let living = Living::start();
    living.until("three instances", |living| living.desired() == Some(3));
    let config = configured(&living, "").display().to_string();
    let handover = |arguments: &[&str]| run(&[&["handover"], arguments, &["--config", &config]].concat());
    let check = |arguments: &[&str], code: i32, out: &str, err: &str| {
        let said = handover(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.out.contains(out) && said.err.contains(err), "{arguments:?}: {said:?}");
    };
    let switch = "scaling policy cpu50: enabled true -> false";
    check(&["--list"], 0, "nothing is handed over", "");
    check(&["web", "--dry-run"], 0, switch, "");
    check(&["--list"], 0, "nothing is handed over", "");
    check(&["nobody"], 64, "", "no fleet of the daemon is `nobody`");
    check(&["cloud/nobody"], 64, "", "no fleet of the daemon has the group `cloud/nobody`");
    check(&["web", "--back"], 1, "", "web has not been handed over");
    check(&[], 64, "", "Usage");
    check(&["web"], 0, switch, "");
    check(&["--list"], 0, "cloud/web of web: suspended, by ", "");
    // The command's cloud is made anew each time, so its scaler acts again: suspended again, with the first undo.
    check(&["cloud/web"], 0, "was handed over already", "");
    assert_eq!(living.run(&["hold", "web", "--for", "1h", "--reason", "incident 42"]).code, 0);
    check(&["web"], 1, "", "override: the fleet is not free: held by");
    check(&["web", "--dry-run"], 1, "refused by override: ", "");
    let directory = living.stop();
    check(&["web"], 1, "", "daemon: nobody would scale the fleet");
    check(&["web", "--back", "--dry-run"], 0, "enabled false -> true", "");
    check(&["web", "--back"], 0, "cloud/web is given back", "");
    check(&["--list"], 0, "nothing is handed over", "");
    check(&["web", "--forget"], 1, "", "has not been handed over");
    drop(directory);
}

#[test]
fn going_back_stops_at_no_group_that_fails() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let config = directory.path().join("skala.toml");
    let text = format!(
        "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite://{at}/skala.db\"\n[api]\nsocket = \"skala.sock\"\n\
         [provider.cloud]\nkind = \"sim\"\ngroups.web = {{ desired = 2 }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let switch = Switch {
        what: "scaling policy cpu50".into(),
        setting: "enabled".into(),
        was: Some("true".into()),
        becomes: Some("false".into()),
    };
    let record = |provider: &str, group: &str| Handover {
        fleet: "shop".into(),
        provider: provider.into(),
        group: group.into(),
        by: "ana".into(),
        at: 1_700_000_000.0,
        stage: Stage::Suspended,
        undo: Undo { switches: (group == "gone").then(|| switch.clone()).into_iter().collect() },
    };
    let path = path(&directory.path().join("skala.db"));
    let mut records = Records::open(&path).unwrap();
    for (provider, group) in [("nowhere", "api"), ("cloud", "gone"), ("cloud", "web")] {
        records.put(record(provider, group)).unwrap();
    }
    drop(records);
    let config = config.display().to_string();
    let handover = |arguments: &[&str]| run(&[&["handover"], arguments, &["--config", &config]].concat());
    let said = handover(&["shop", "--back"]);
    assert_eq!(said.code, 1, "{said:?}");
    for words in ["nowhere/api: the configuration has no provider", "cloud/gone is gone", "cloud/web is given back"] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    assert!(said.err.contains("1 of 3 groups are not given back, ask again: nowhere/api"), "{said:?}");
    let left = skala::handover::records::read(&path).unwrap();
    assert_eq!(left.iter().map(|one| &*one.group).collect::<Vec<_>>(), ["api"]);
    assert_eq!(handover(&["nowhere/api", "--forget"]).code, 0);
}

#[test]
fn import_reads_files_and_says_what_is_missing() {
    let file = |name: &str| format!("{}/tests/import/{name}", env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("web.toml");
    let out_text = out.display().to_string();
    let import = ["import", "aws", "checkout-web", "--from", &file("aws.json"), "--provider", "aws-prod"];
    let said = run(&[&import[..], &["--out", &out_text]].concat());
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert!(said.err.contains("not imported: the scaling policy fifty"), "{}", said.err);
    assert!(said.err.contains("probable, check it: metric.cpu: "), "{}", said.err);
    assert!(said.err.contains("note: AWS does not publish"), "{}", said.err);
    let checked = run(&["check", "--policies", &directory.path().display().to_string()]);
    assert_eq!((checked.code, checked.out.as_str()), (0, "ok: 1 file, 1 fleet\n"), "{checked:?}");
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.contains("mode = \"observe\"") && text.contains("provider = \"aws-prod\""), "{text}");
    // The same from a file for each of AWS' calls, as people have them.
    let whole: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file("aws.json")).unwrap()).unwrap();
    let mut parted =
        vec!["import".to_owned(), "aws".into(), "checkout-web".into(), "--provider".into(), "aws-prod".into()];
    for (key, value) in whole.as_object().unwrap() {
        let part = directory.path().join(format!("{key}.json"));
        std::fs::write(&part, serde_json::json!({ key.as_str(): value }).to_string()).unwrap();
        parted.extend(["--from".into(), part.display().to_string()]);
    }
    let said = run(&parted.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((said.code, said.out.as_str()), (0, text.as_str()), "{said:?}");
    // A file that is there is somebody's.
    assert_eq!(run(&[&import[..], &["--out", &out_text]].concat()).code, 1);
    let check = |arguments: &[&str], code: i32, err: &str| {
        let said = run(&[&["import"], arguments].concat());
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(err), "{said:?}");
    };
    check(&["aws", "other", "--from", &file("aws.json")], 78, "describe-auto-scaling-groups");
    check(&["oracle", "x"], 64, "possible values: aws, gcp, azure, kubernetes");
    check(&["gcp", "x", "--from", &file("aws.json")], 78, "gcloud compute");
    check(&["gcp", "x", "--from", "/nowhere.json"], 64, "/nowhere.json");
    check(&["gcp", "x", "--from", &file("aws.toml")], 78, "is not JSON");
    let config = directory.path().join("skala.toml");
    std::fs::write(&config, "[daemon]\npolicies = \"p\"\n[provider.a]\nkind = \"sim\"\n").unwrap();
    let config = config.display().to_string();
    check(&["gcp", "x", "--config", &config], 64, "no provider of the configuration is of kind `gcp`");
}

/// A simulated Azure with one set that an autoscale setting scales, and skala's configuration for it.
#[cfg(feature = "azure")]
fn azure(
    directory: &std::path::Path,
) -> (sim_cloud::Server, sim_cloud::azure::Settings, tokio::runtime::Runtime, String) {
    use sim_cloud::azure::{Azure, CLIENT, SECRET, SUBSCRIPTION, TENANT};
    let clock: Arc<dyn skala::clock::Clock> = Arc::new(skala::clock::SystemClock::new());
    let cloud = sim::Cloud::new(sim::Settings::default(), Arc::new(move || clock.now())).unwrap();
    cloud.create("web", &sim::GroupSettings { desired: 2, ..sim::GroupSettings::default() }).unwrap();
    assert!(cloud.set_foreign(&"web".into(), vec![native(Some(true))]));
    let api = Azure::new(cloud);
    let settings = api.settings();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(sim_cloud::Server::start(Arc::new(api), ([127, 0, 0, 1], 0).into())).unwrap();
    let (at, url) = (directory.display(), server.url());
    std::fs::write(directory.join("secret"), SECRET).unwrap();
    let text = format!(
        "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite://{at}/skala.db\"\n[api]\nsocket = \"skala.sock\"\n\
         [provider.cloud]\nkind = \"azure\"\nsubscription = \"{SUBSCRIPTION}\"\nauth = \"client_secret\"\n\
         tenant = \"{TENANT}\"\nclient_id = \"{CLIENT}\"\nclient_secret_file = \"{at}/secret\"\n\
         authority_host = \"{url}\"\nendpoint_url = \"{url}\"\n"
    );
    let config = directory.join("azure.toml");
    std::fs::write(&config, text).unwrap();
    (server, settings, runtime, config.display().to_string())
}

#[cfg(feature = "azure")]
#[test]
fn azures_own_scaler_is_imported_handed_over_and_given_back_by_the_commands() {
    use sim_cloud::azure::RESOURCE_GROUP;
    let group = format!("{RESOURCE_GROUP}/web");
    let living = Living::start_with(&POLICY.replace("group    = \"web\"", &format!("group    = \"{group}\"")));
    living.cloud.create(&group, &sim::GroupSettings { desired: 2, ..sim::GroupSettings::default() }).unwrap();
    living.until("three instances", |living| living.desired() == Some(3));
    let (_server, settings, _runtime, config) = azure(living.directory.path());

    let import = || run(&["import", "azure", &group, "--config", &config]);
    let said = import();
    assert_eq!(said.code, 0, "{said:?}");
    for line in ["provider = \"cloud\"", &format!("group = \"{group}\""), "mode = \"observe\"", "min = 1", "max = 10"] {
        assert!(said.out.lines().any(|found| found.trim().starts_with(line)), "{line}: {}", said.out);
    }
    assert!(said.err.contains("probable, check it: metric."), "{}", said.err);
    let policies = tempfile::tempdir().unwrap();
    std::fs::write(policies.path().join("web.toml"), &said.out).unwrap();
    let checked = run(&["check", "--policies", &policies.path().display().to_string()]);
    assert_eq!(checked.code, 0, "{checked:?}");

    let handover = |arguments: &[&str], code: i32, out: &str| {
        let said = run(&[&["handover"], arguments, &["--config", &config]].concat());
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.out.contains(out), "{arguments:?}: {said:?}");
    };
    let enabled = || settings.get(RESOURCE_GROUP, "cpu").map(|setting| setting["properties"]["enabled"].clone());
    let switch = format!("autoscale setting {RESOURCE_GROUP}/cpu: enabled true -> false");
    handover(&["web", "--dry-run"], 0, &switch);
    assert_eq!(enabled(), None, "nobody has written it");
    handover(&["web"], 0, &switch);
    assert_eq!(enabled(), Some(false.into()));
    handover(&["web"], 0, "was handed over already");
    assert!(import().err.contains("note: The autoscale setting is disabled."));
    let directory = living.stop();
    handover(&["web", "--back"], 0, &format!("cloud/{group} is given back"));
    assert_eq!(enabled(), Some(true.into()));
    handover(&["--list"], 0, "nothing is handed over");
    // The command line's document of the same setting says the same.
    let file = directory.path().join("setting.json");
    std::fs::write(&file, settings.get(RESOURCE_GROUP, "cpu").unwrap().to_string()).unwrap();
    let from = run(&["import", "azure", &group, "--config", &config, "--from", &file.display().to_string()]);
    assert_eq!((from.code, from.out, from.err), (0, said.out, said.err));
}
