use super::*;
use std::collections::BTreeMap;
use std::path::Path;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let map: BTreeMap<String, String> = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Arc::new(move |name| map.get(name).cloned())
}

fn source(cloud: Option<&str>, environment: Environment) -> Source {
    Source { cloud: cloud.map(Into::into), endpoint_url: None, region: None, interface: None, environment }
}

fn complaint(result: Result<Access, ProviderError>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(_) => "no complaint".into(),
    }
}

/// A folder of its own, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skala-openstack-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

const CLOUDS: &str = "
clouds:
  bank:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://keystone.example:5000
      application_credential_id: 0123abcd
    region_name: north
    interface: internalURL
    verify: true
    cacert: /etc/ssl/bank.pem
  lab: &lab
    auth: { auth_url: 'http://127.0.0.1:5000/v3/', username: skala, project_name: web, user_domain_name: Lab }
    identity_api_version: 3
  numbers:
    <<: *lab
    auth: { auth_url: 'http://127.0.0.1/v3', username: skala, password: 007, project_name: web }
";

#[test]
fn a_cloud_of_a_file_is_joined_with_its_secret() {
    let folder = Folder::new("files");
    folder.write("clouds.yaml", CLOUDS);
    folder.write("secure.yaml", "clouds:\n  bank:\n    auth:\n      application_credential_secret: s3cret\n");
    let place = folder.0.display().to_string();
    let access = source(Some("bank"), environment(&[("CREDENTIALS_DIRECTORY", &place)])).load();
    let Ok(access) = access else { panic!("{}", complaint(access)) };
    assert_eq!(access.auth_url, "https://keystone.example:5000/v3");
    assert_eq!((access.region.as_deref(), &*access.interface, access.verify), (Some("north"), "internal", true));
    assert_eq!(
        access.identity.request(),
        json!({"auth": {"identity": {"methods": ["application_credential"],
            "application_credential": {"id": "0123abcd", "secret": "s3cret"}}}})
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_without_secrets() {
    let folder = Folder::new("wrong");
    let path = folder.write("c.yaml", CLOUDS);
    let broken = folder.write("broken.yaml", "clouds:\n  bank:\n    auth: {password: hunter2\n");
    let at = |file: &str, cloud: &str| {
        let nowhere = folder.0.join("none").display().to_string();
        let pairs = [("OS_CLIENT_CONFIG_FILE", file), ("OS_CLIENT_SECURE_FILE", nowhere.as_str())];
        complaint(source(Some(cloud), environment(&pairs)).load())
    };
    assert!(at(&path, "bank").contains("c.yaml: clouds.bank: no auth.application_credential_secret"));
    assert!(at(&path, "lab").contains("clouds.lab: no auth.password"));
    assert!(at(&path, "numbers").contains("auth.password is no text: put it in quotes"), "{}", at(&path, "numbers"));
    assert!(at(&path, "shop").contains("no cloud \"shop\"; there are bank, lab, numbers"));
    let message = at(&broken, "bank");
    assert!(message.contains("not YAML") && !message.contains("hunter2"), "{message}");
    assert!(at("/nonexistent/clouds.yaml", "bank").contains("no clouds.yaml (looked for /nonexistent/clouds.yaml)"));
}

#[test]
fn the_environment_is_a_cloud_too() {
    let pairs = [
        ("OS_AUTH_URL", "http://127.0.0.1:5000"),
        ("OS_USERNAME", "skala"),
        ("OS_PASSWORD", "007"),
        ("OS_PROJECT_NAME", "web"),
        ("OS_USER_DOMAIN_NAME", "Default"),
        ("OS_REGION_NAME", "RegionOne"),
    ];
    let access = source(None, environment(&pairs)).load();
    let Ok(access) = access else { panic!("{}", complaint(access)) };
    assert_eq!(
        access.identity.request(),
        json!({"auth": {
            "identity": {"methods": ["password"],
                "password": {"user": {"name": "skala", "domain": {"name": "Default"}, "password": "007"}}},
            "scope": {"project": {"name": "web", "domain": {"id": "default"}}},
        }})
    );
    assert_eq!(access.region.as_deref(), Some("RegionOne"));
    assert!(complaint(source(None, environment(&[])).load()).contains("no cloud"));
}

#[test]
fn an_application_credential_may_be_named_by_its_user() {
    let pairs = [
        ("OS_AUTH_URL", "http://127.0.0.1:5000"),
        ("OS_AUTH_TYPE", "v3applicationcredential"),
        ("OS_APPLICATION_CREDENTIAL_NAME", "skala"),
        ("OS_APPLICATION_CREDENTIAL_SECRET", "x"),
        ("OS_USER_ID", "u1"),
    ];
    let access = source(None, environment(&pairs)).load();
    let Ok(access) = access else { panic!("{}", complaint(access)) };
    let sent = &access.identity.request()["auth"]["identity"]["application_credential"];
    assert_eq!(*sent, json!({"name": "skala", "user": {"id": "u1"}, "secret": "x"}));
}

#[test]
fn what_is_not_spoken_is_refused() {
    let check = |more: &[(&str, &str)], expected: &str| {
        let mut pairs = vec![
            ("OS_AUTH_URL", "http://127.0.0.1:5000"),
            ("OS_USERNAME", "u"),
            ("OS_PASSWORD", "p"),
            ("OS_PROJECT_ID", "1"),
        ];
        pairs.extend(more);
        let message = complaint(source(None, environment(&pairs)).load());
        assert!(message.contains(expected), "{message} has {expected}");
    };
    check(&[("OS_AUTH_TYPE", "v3oidcpassword")], "auth_type is \"v3oidcpassword\"");
    check(&[("OS_IDENTITY_API_VERSION", "2")], "only 3 is spoken");
    check(&[("OS_AUTH_URL", "http://127.0.0.1:5000/v2.0")], "only 3 is spoken");
    check(&[("OS_AUTH_URL", "keystone:5000")], "must begin with http");
    check(&[("OS_INTERFACE", "sideways")], "interface is \"sideways\"");
    check(&[("OS_INSECURE", "maybe")], "neither true nor false");
    check(&[], "no complaint");
}
