//! The only file that names concrete providers: kind to constructor, each behind its cargo feature. In: what skala.toml
//! says. Out: providers that the library knows by their trait alone.

use crate::commands::invalid;
use contract::{GroupId, NativePolicy, Owner, Provider};
use serde::de::DeserializeOwned;
use skala::clock::Clock;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use skala::config::MetricsKind;
use skala::config::{Kinds, ProviderConfig};
use skala::telemetry::ProcessMetrics;
use std::sync::Arc;

/// The kinds of providers that skala.toml may name.
pub const KINDS: Kinds<'static> = Kinds {
    built: &[
        #[cfg(feature = "alibaba")]
        "alibaba",
        #[cfg(feature = "aws")]
        "aws",
        #[cfg(feature = "azure")]
        "azure",
        #[cfg(feature = "kubernetes")]
        "kubernetes",
        #[cfg(feature = "gcp")]
        "gcp",
        #[cfg(feature = "openstack")]
        "openstack",
        #[cfg(feature = "libvirt")]
        "libvirt",
        "sim",
    ],
    known: &["alibaba", "aws", "gcp", "azure", "openstack", "libvirt", "kubernetes", "sim"],
    metrics: &[
        #[cfg(feature = "aws")]
        MetricsKind { kind: "cloudwatch", provider: "aws", language: "a CloudWatch query", check: aws::check_query },
        #[cfg(feature = "azure")]
        MetricsKind {
            kind: "azure-monitor",
            provider: "azure",
            language: "an Azure Monitor query",
            check: azure::check_query,
        },
        #[cfg(feature = "gcp")]
        MetricsKind {
            kind: "cloud-monitoring",
            provider: "gcp",
            language: "a Cloud Monitoring query",
            check: gcp::check_query,
        },
    ],
    known_metrics: &["cloudwatch", "cloud-monitoring", "azure-monitor"],
};

/// Makes the provider of one `[provider.NAME]`, which will tell `metrics` of its requests. No call is made yet.
///
/// # Errors
/// When its settings are wrong: exit 78.
pub async fn connect(
    config: &ProviderConfig,
    owner: &Owner,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<ProcessMetrics>,
) -> anyhow::Result<Arc<dyn Provider>> {
    let time = Arc::clone(clock);
    let now: Arc<dyn Fn() -> contract::Timestamp + Send + Sync> = Arc::new(move || time.now());
    let on_call = metrics.on_call(&config.name);
    match &*config.kind {
        #[cfg(feature = "alibaba")]
        "alibaba" => {
            let alibaba = alibaba::Alibaba::connect(settings(config)?, owner.clone(), now).await;
            Ok(Arc::new(alibaba.map_err(|error| wrong(config, &error))?.with_on_call(on_call)))
        }
        #[cfg(feature = "aws")]
        "aws" => {
            let aws = aws::Aws::connect(settings(config)?, owner.clone(), now).await;
            Ok(Arc::new(aws.map_err(|error| wrong(config, &error))?.with_on_call(on_call)))
        }
        #[cfg(feature = "azure")]
        "azure" => {
            let azure = azure::Azure::connect(settings(config)?, owner.clone(), now).await;
            Ok(Arc::new(azure.map_err(|error| wrong(config, &error))?.with_on_call(on_call)))
        }
        #[cfg(feature = "kubernetes")]
        "kubernetes" => {
            let cluster = kubernetes::Kubernetes::connect(settings(config)?, owner.clone(), now).await;
            Ok(Arc::new(cluster.map_err(|error| wrong(config, &error))?.with_on_call(on_call)))
        }
        #[cfg(feature = "gcp")]
        "gcp" => {
            let gcp = gcp::Gcp::connect(settings(config)?, owner.clone(), now).await;
            Ok(Arc::new(gcp.map_err(|error| wrong(config, &error))?.with_on_call(on_call)))
        }
        #[cfg(feature = "openstack")]
        "openstack" => {
            let openstack = openstack::OpenStack::connect(settings(config)?, owner.clone(), now).await;
            Ok(Arc::new(openstack.map_err(|error| wrong(config, &error))?.with_on_call(on_call)))
        }
        #[cfg(feature = "libvirt")]
        "libvirt" => {
            let libvirt = libvirt::Libvirt::connect(settings(config)?, owner.clone(), now).await;
            Ok(Arc::new(libvirt.map_err(|error| wrong(config, &error))?.with_on_call(on_call)))
        }
        "sim" => {
            let cloud = sim::Cloud::new(settings(config)?, now).map_err(|error| wrong(config, &error))?;
            let sleep = Arc::new(|span| -> contract::BoxFuture<'static, ()> { Box::pin(tokio::time::sleep(span)) });
            Ok(Arc::new(sim::Sim::new(cloud, owner.clone(), sleep).with_on_call(on_call)))
        }
        other => Err(wrong(config, &format!("this skala was built without `{other}`"))),
    }
}

/// The kinds whose own scalers can be read from what their command lines print.
pub const NATIVE: [&str; 4] = ["aws", "gcp", "azure", "kubernetes"];

/// What these documents say of a group's own scaler.
///
/// # Errors
/// When they are not what that cloud's command line prints, or say nothing of the group: exit 78.
pub fn native_policy(kind: &str, group: &str, documents: &[serde_json::Value]) -> anyhow::Result<NativePolicy> {
    let read = match kind {
        "aws" => native::aws::policy(group, documents),
        "gcp" => native::gcp::policy(group, documents),
        "azure" => native::azure::policy(group, documents),
        "kubernetes" => native::kubernetes::policy(group, documents),
        other => return Err(invalid(format!("no scaler of `{other}` is known"))),
    };
    read.map_err(|error| invalid(error.to_string()))
}

/// What an account has to allow.
pub enum Permissions {
    /// In the form that the cloud takes.
    #[cfg_attr(not(any(feature = "alibaba", feature = "aws", feature = "azure")), allow(dead_code))]
    Document(serde_json::Value),
    /// The cloud's own words for it, one a line; empty: nothing has to be allowed.
    Words(Vec<&'static str>),
}

/// The permissions that a provider of this kind needs for these groups, and no other.
#[allow(unused_variables, reason = "none is needed when no cloud is built in")]
pub fn permissions(config: &ProviderConfig, groups: &[GroupId]) -> Permissions {
    match &*config.kind {
        #[cfg(feature = "alibaba")]
        "alibaba" => Permissions::Document(serde_json::json!({
            "Version": "1",
            "Statement": [{
                "Effect": "Allow",
                "Action": alibaba::permissions(groups),
                // Listings know no resources smaller than everything.
                "Resource": "*",
            }],
        })),
        #[cfg(feature = "aws")]
        "aws" => Permissions::Document(serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": "Skala",
                "Effect": "Allow",
                "Action": aws::permissions(groups),
                // Most of these calls do not know resources smaller than everything.
                "Resource": "*",
            }],
        })),
        #[cfg(feature = "azure")]
        "azure" => {
            let config = config.to_toml();
            let subscription = config.get("subscription").and_then(toml::Value::as_str).unwrap_or_default();
            // A custom role, as `az role definition create` takes it.
            Permissions::Document(serde_json::json!({
                "Name": "skala",
                "IsCustom": true,
                "Description": "Sizes virtual machine scale sets.",
                "Actions": azure::permissions(groups),
                "NotActions": [],
                "AssignableScopes": [format!("/subscriptions/{subscription}")],
            }))
        }
        #[cfg(feature = "kubernetes")]
        "kubernetes" => Permissions::Words(kubernetes::permissions(groups)),
        #[cfg(feature = "gcp")]
        "gcp" => Permissions::Words(gcp::permissions(groups)),
        #[cfg(feature = "openstack")]
        "openstack" => Permissions::Words(openstack::permissions(groups)),
        #[cfg(feature = "libvirt")]
        "libvirt" => Permissions::Words(libvirt::permissions(groups)),
        _ => Permissions::Words(Vec::new()),
    }
}

/// The same, and what reading the provider's own metrics needs.
pub fn with_metrics(config: &ProviderConfig, permissions: Permissions) -> Permissions {
    match (&*config.kind, permissions) {
        #[cfg(feature = "aws")]
        ("aws", Permissions::Document(mut document)) => {
            let actions = document.pointer_mut("/Statement/0/Action").and_then(serde_json::Value::as_array_mut);
            actions.into_iter().for_each(|actions| actions.push(aws::METRICS_PERMISSION.into()));
            Permissions::Document(document)
        }
        #[cfg(feature = "azure")]
        ("azure", Permissions::Document(mut document)) => {
            let actions = document.get_mut("Actions").and_then(serde_json::Value::as_array_mut);
            actions.into_iter().for_each(|actions| actions.push(azure::METRICS_PERMISSION.into()));
            Permissions::Document(document)
        }
        #[cfg(feature = "gcp")]
        ("gcp", Permissions::Words(mut words)) => {
            words.push(gcp::METRICS_PERMISSION);
            Permissions::Words(words)
        }
        (_, permissions) => permissions,
    }
}

fn settings<T: DeserializeOwned>(config: &ProviderConfig) -> anyhow::Result<T> {
    T::deserialize(toml::Value::Table(config.to_toml())).map_err(|error| wrong(config, &error.message()))
}

fn wrong(config: &ProviderConfig, what: &dyn std::fmt::Display) -> anyhow::Error {
    invalid(format!("[provider.{}] in line {} of skala.toml: {what}", config.name, config.place.line))
}
