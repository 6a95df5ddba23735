//! One run of a kubeconfig's exec plugin: no input, a deadline, and its end with all that it started. In: what the
//! kubeconfig says of it. Out: what it gives, or what a person has to do. It must never show what it printed: that is a secret.

use crate::errors::cut;
use crate::shapes::time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::{ProviderError, Timestamp};
use kube::config::ExecConfig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// What helps with most failures of a plugin.
pub(crate) const ADVICE: &str = "run the plugin by hand, as the user that skala runs as, and see what it asks for";
/// The most that it may print: certificates are a few kilobytes.
const OUTPUT_MAX: u64 = 1 << 20;
/// What is kept of its complaints.
const COMPLAINT_MAX: u64 = 4 << 10;

/// What a plugin gives.
#[derive(Default)]
pub(crate) struct Credential {
    pub token: Option<String>,
    /// A client certificate and its key, each as a kubeconfig holds it.
    pub identity: Option<(String, String)>,
    pub expires: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Printed {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Its process group, which goes with it: a plugin is often a script around the one that hangs.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // That nobody is left is no error.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

/// Runs it once.
pub(crate) async fn run(exec: &ExecConfig, patience: Duration) -> Result<Credential, ProviderError> {
    let name = exec.command.as_deref().unwrap_or_default();
    let told = |why: String| cut(&format!("no credentials: the kubeconfig's plugin {name} {why}; {ADVICE}"), 400);
    let denied = |why: String| ProviderError::Denied { what: told(why) };
    let mut child = command(exec, name).spawn().map_err(|error| {
        let hint = exec.install_hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        denied(format!("cannot be started: {error}{hint}"))
    })?;
    // Dropped before the child, which is not reaped by then: the number is nobody else's.
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let ended = tokio::time::timeout(patience, follow(&mut child)).await;
    let (status, output, complaint) = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(denied(format!("cannot be followed: {error}"))),
        Err(_) => {
            let what = told(format!("did not end within {patience:?} and was killed"));
            return Err(ProviderError::Transport { what, source: None });
        }
    };
    group.0 = None;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint).into_owned();
        return Err(denied(format!("ended with {status}: {}", cut(&complaint, 150))));
    }
    read(&output).map_err(|why| denied(why.into()))
}

fn command(exec: &ExecConfig, name: &str) -> Command {
    let mut spec = json!({ "interactive": false });
    if exec.provide_cluster_info {
        spec["cluster"] = serde_json::to_value(&exec.cluster).unwrap_or_default();
    }
    let info = json!({ "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec });
    let given = exec.env.iter().flatten().filter_map(|pair| Some((pair.get("name")?, pair.get("value")?)));
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten()).envs(given).env("KUBERNETES_EXEC_INFO", info.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// Reads what it prints until it ends.
async fn follow(child: &mut Child) -> std::io::Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (output, complaint) = futures_util::join!(all(stdout, OUTPUT_MAX), all(stderr, COMPLAINT_MAX));
    Ok((child.wait().await?, output?, complaint?))
}

/// The first bytes; what comes after them is read and dropped, so that nobody waits for a reader.
async fn all(from: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut from) = from else { return Ok(bytes) };
    (&mut from).take(most).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

fn read(output: &[u8]) -> Result<Credential, &'static str> {
    // The parser's own words may hold a part of the secret.
    let printed: Printed = serde_json::from_slice(output).map_err(|_| "printed what is no ExecCredential")?;
    let status = printed.status.ok_or("printed an ExecCredential without a status")?;
    let expires = match &status.expiration_timestamp {
        None => None,
        Some(text) => Some(time(Some(text)).ok_or("gave an expirationTimestamp that is no time")?),
    };
    let pair = status.client_certificate_data.zip(status.client_key_data);
    let identity = pair.map(|(certificate, key)| (STANDARD.encode(certificate), STANDARD.encode(key)));
    if identity.is_none() && status.token.is_none() {
        return Err("gave neither a token nor a certificate");
    }
    Ok(Credential { token: status.token, identity, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_prints_is_taken_whole_or_not_at_all() {
        let read = |status: &str| read(format!(r#"{{"kind":"ExecCredential","status":{status}}}"#).as_bytes());
        let token = read(r#"{"token":"t","expirationTimestamp":"2027-01-15T08:00:00Z"}"#).unwrap_or_default();
        assert_eq!((token.token.as_deref(), token.expires), (Some("t"), Some(Timestamp::from_secs(1_800_000_000))));
        let pair = read(r#"{"clientCertificateData":"cert","clientKeyData":"key"}"#).unwrap_or_default();
        assert_eq!((pair.token, pair.identity, pair.expires), (None, Some(("Y2VydA==".into(), "a2V5".into())), None));
        for odd in [
            "null",
            "{}",
            "7",
            r#"{"clientKeyData":"key"}"#,
            r#"{"token":"secret","expirationTimestamp":"soon"}"#,
            r#"{"token":"secret"#,
        ] {
            let told = read(odd).err();
            assert!(told.is_some_and(|told| !told.contains("secret")), "{odd}: {told:?}");
        }
    }
}
