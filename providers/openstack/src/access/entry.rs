//! One cloud as clouds.yaml describes it, or the environment in the same shape, to an [`Access`].

use super::{Access, Environment, Identity, Secret};
use contract::ProviderError;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// The environment's variables behind the keys of `auth`.
const AUTH: &[(&str, &[&str])] = &[
    ("auth_url", &["OS_AUTH_URL"]),
    ("application_credential_id", &["OS_APPLICATION_CREDENTIAL_ID"]),
    ("application_credential_name", &["OS_APPLICATION_CREDENTIAL_NAME"]),
    ("application_credential_secret", &["OS_APPLICATION_CREDENTIAL_SECRET"]),
    ("username", &["OS_USERNAME"]),
    ("user_id", &["OS_USER_ID"]),
    ("password", &["OS_PASSWORD"]),
    ("user_domain_id", &["OS_USER_DOMAIN_ID"]),
    ("user_domain_name", &["OS_USER_DOMAIN_NAME"]),
    ("project_id", &["OS_PROJECT_ID", "OS_TENANT_ID"]),
    ("project_name", &["OS_PROJECT_NAME", "OS_TENANT_NAME"]),
    ("project_domain_id", &["OS_PROJECT_DOMAIN_ID"]),
    ("project_domain_name", &["OS_PROJECT_DOMAIN_NAME"]),
    ("default_domain", &["OS_DEFAULT_DOMAIN"]),
];
/// Those behind the keys beside it.
const REST: &[(&str, &[&str])] = &[
    ("auth_type", &["OS_AUTH_TYPE"]),
    ("region_name", &["OS_REGION_NAME"]),
    ("interface", &["OS_INTERFACE", "OS_ENDPOINT_TYPE"]),
    ("identity_api_version", &["OS_IDENTITY_API_VERSION"]),
    ("cacert", &["OS_CACERT"]),
    ("insecure", &["OS_INSECURE"]),
];

/// One cloud's settings, and where they stand.
pub(super) struct Entry {
    pub place: String,
    pub settings: Map<String, Value>,
}

impl Entry {
    /// The cloud that the environment's `OS_*` describe.
    pub fn of_environment(environment: &Environment) -> Self {
        let read = |keys: &[(&str, &[&str])]| -> Map<String, Value> {
            let value = |names: &[&str]| names.iter().find_map(|name| environment(name)).filter(|v| !v.is_empty());
            keys.iter().filter_map(|(key, names)| Some(((*key).to_owned(), Value::String(value(names)?)))).collect()
        };
        let mut settings = read(REST);
        settings.insert("auth".into(), Value::Object(read(AUTH)));
        Self { place: "the environment".into(), settings }
    }

    /// What it says, complete or with everything that is wrong.
    pub fn access(&self, endpoint_url: Option<&str>) -> Result<Access, ProviderError> {
        let given = endpoint_url.map(str::to_owned).map_or_else(|| self.auth("auth_url"), |url| Ok(Some(url)))?;
        let profile = self.text("profile")?;
        let missing = match profile {
            Some(profile) => format!("no auth.auth_url, and vendor profiles ({profile}) are not looked up"),
            None => "no auth.auth_url".to_owned(),
        };
        let auth_url = auth_url(&given.ok_or_else(|| self.wrong(&missing))?).map_err(|why| self.wrong(&why))?;
        if let Some(version) = self.scalar("identity_api_version")?
            && !version.starts_with('3')
        {
            return Err(self.wrong(&format!("identity_api_version is {version}, only 3 is spoken")));
        }
        let named = self.text("interface")?.or(self.text("endpoint_type")?).unwrap_or_else(|| "public".into());
        let insecure = self.flag("insecure")?.unwrap_or(false);
        Ok(Access {
            auth_url,
            identity: self.identity()?,
            region: self.text("region_name")?,
            interface: interface(&named).ok_or_else(|| self.wrong(&format!("interface is {named:?}")))?,
            verify: self.flag("verify")?.unwrap_or(!insecure),
            ca_file: self.text("cacert")?.map(PathBuf::from),
            compute: self.text("compute_endpoint_override")?,
            network: self.text("network_endpoint_override")?,
        })
    }

    fn identity(&self) -> Result<Identity, ProviderError> {
        let kind = self.text("auth_type")?;
        let secret = self.auth("application_credential_secret")?;
        match (kind.as_deref(), secret) {
            (Some("v3applicationcredential"), Some(secret)) | (None, Some(secret)) => self.application(secret),
            (Some("v3applicationcredential"), None) => Err(self.wrong("no auth.application_credential_secret")),
            (None | Some("password" | "v3password"), _) => self.password(),
            (Some(other), _) => {
                Err(self.wrong(&format!("auth_type is {other:?}; v3applicationcredential and password are known")))
            }
        }
    }

    fn application(&self, secret: String) -> Result<Identity, ProviderError> {
        let secret = Secret(secret);
        if let Some(id) = self.auth("application_credential_id")? {
            return Ok(Identity::Application { who: json!({ "id": id }), secret });
        }
        let Some(name) = self.auth("application_credential_name")? else {
            return Err(self.wrong("neither auth.application_credential_id nor auth.application_credential_name"));
        };
        Ok(Identity::Application { who: json!({ "name": name, "user": self.user()? }), secret })
    }

    fn password(&self) -> Result<Identity, ProviderError> {
        let password = Secret(self.auth("password")?.ok_or_else(|| self.wrong("no auth.password"))?);
        let project = match (self.auth("project_id")?, self.auth("project_name")?) {
            (Some(id), _) => json!({ "id": id }),
            (None, Some(name)) => json!({ "name": name, "domain": self.domain("project")? }),
            (None, None) => return Err(self.wrong("neither auth.project_id nor auth.project_name")),
        };
        Ok(Identity::Password { user: self.user()?, password, project })
    }

    fn user(&self) -> Result<Value, ProviderError> {
        match (self.auth("user_id")?, self.auth("username")?) {
            (Some(id), _) => Ok(json!({ "id": id })),
            (None, Some(name)) => Ok(json!({ "name": name, "domain": self.domain("user")? })),
            (None, None) => Err(self.wrong("neither auth.user_id nor auth.username")),
        }
    }

    /// The domain of a user or project; Keystone's own default has the id `default`.
    fn domain(&self, of: &str) -> Result<Value, ProviderError> {
        if let Some(id) = self.auth(&format!("{of}_domain_id"))? {
            return Ok(json!({ "id": id }));
        }
        if let Some(name) = self.auth(&format!("{of}_domain_name"))? {
            return Ok(json!({ "name": name }));
        }
        Ok(json!({ "id": self.auth("default_domain")?.unwrap_or_else(|| "default".into()) }))
    }

    fn auth(&self, key: &str) -> Result<Option<String>, ProviderError> {
        match self.settings.get("auth") {
            None => Ok(None),
            Some(Value::Object(auth)) => self.read(auth, "auth.", key),
            Some(_) => Err(self.wrong("auth is not a table")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, ProviderError> {
        self.read(&self.settings, "", key)
    }

    fn read(&self, table: &Map<String, Value>, before: &str, key: &str) -> Result<Option<String>, ProviderError> {
        match table.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            // A secret of digits alone would have lost its leading zeros by now.
            Some(_) => Err(self.wrong(&format!("{before}{key} is no text: put it in quotes"))),
        }
    }

    /// A text, or a number that somebody wrote without quotes.
    fn scalar(&self, key: &str) -> Result<Option<String>, ProviderError> {
        match self.settings.get(key) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            _ => self.text(key),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ProviderError> {
        match self.settings.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) => match &*text.to_ascii_lowercase() {
                "true" | "1" | "yes" => Ok(Some(true)),
                "false" | "0" | "no" => Ok(Some(false)),
                _ => Err(self.wrong(&format!("{key} is {text:?}, neither true nor false"))),
            },
            Some(_) => Err(self.wrong(&format!("{key} is neither true nor false"))),
        }
    }

    fn wrong(&self, what: &str) -> ProviderError {
        ProviderError::Invalid { what: format!("{}: {what}", self.place).into() }
    }
}

/// Keystone's URL with the version that is spoken.
fn auth_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(format!("auth_url: {text:?} must begin with http:// or https://"));
    }
    if url.ends_with("/v2.0") {
        return Err(format!("auth_url: {text:?} is of version 2.0, only 3 is spoken"));
    }
    Ok(if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") })
}

/// An interface's name, also in the older form `publicURL`.
pub(super) fn interface(text: &str) -> Option<String> {
    let plain = text.strip_suffix("URL").unwrap_or(text);
    matches!(plain, "public" | "internal" | "admin").then(|| plain.to_owned())
}
