//! Which clouds there are, by name: their APIs, what their groups are called, and what a skala.toml says to reach them.

use crate::api::Api;
use crate::{alibaba, aws, azure, gcp, kubernetes, openstack};
use sim::Cloud;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The project of a simulated Google Cloud.
const GCP_PROJECT: &str = "simulated";

/// One of the clouds that are simulated, by the word that skala.toml has for its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloudKind {
    /// Alibaba Cloud.
    Alibaba,
    /// Amazon Web Services.
    Aws,
    /// Azure.
    Azure,
    /// Google Cloud.
    Gcp,
    /// A Kubernetes cluster.
    Kubernetes,
    /// OpenStack.
    Openstack,
}

/// What it takes to reach a simulated cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The table for skala.toml.
    pub toml: String,
    /// Variables of the environment with the credentials; they guard nothing.
    pub variables: Vec<(&'static str, String)>,
}

impl CloudKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Alibaba, Self::Aws, Self::Azure, Self::Gcp, Self::Kubernetes, Self::Openstack];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alibaba => "alibaba",
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Kubernetes => "kubernetes",
            Self::Openstack => "openstack",
        }
    }

    /// Its API over these machines.
    pub fn api(self, cloud: Cloud) -> Arc<dyn Api> {
        match self {
            Self::Alibaba => Arc::new(alibaba::Alibaba::new(cloud)),
            Self::Aws => Arc::new(aws::Aws::new(cloud)),
            Self::Azure => Arc::new(azure::Azure::new(cloud)),
            Self::Gcp => Arc::new(gcp::Gcp::new(cloud, GCP_PROJECT)),
            Self::Kubernetes => Arc::new(kubernetes::Kubernetes::new(cloud)),
            Self::Openstack => Arc::new(openstack::OpenStack::new(cloud)),
        }
    }

    /// The simulated group behind what a person calls it: the name alone, or as skala's policies have it.
    pub fn simulated(self, group: &str) -> String {
        let last = group.rsplit('/').next().unwrap_or(group);
        match self {
            Self::Alibaba => group.to_owned(),
            Self::Aws => match group.strip_prefix("ec2:") {
                Some(tag) => format!("servers:{tag}"),
                None => group.to_owned(),
            },
            Self::Azure | Self::Gcp => last.to_owned(),
            Self::Kubernetes if group.contains('/') => format!("{}{group}", kubernetes::PREFIX),
            Self::Kubernetes => format!("{}default/{group}", kubernetes::PREFIX),
            Self::Openstack => format!("{}{group}", openstack::PREFIX),
        }
    }

    /// What policies call a simulated group.
    pub fn group_id(self, api: &dyn Api, simulated: &str) -> String {
        match self {
            // Its id works as well, and says nothing to a reader.
            Self::Alibaba => simulated.to_owned(),
            _ => api.group_id(simulated).as_str().to_owned(),
        }
    }

    /// How a skala with a provider of this name reaches this cloud at `url`.
    pub fn access(self, provider: &str, url: &str) -> Access {
        let keystone = format!("{url}/identity");
        let (lines, variables): (String, Vec<(&str, &str)>) = match self {
            Self::Alibaba => (
                format!("region = \"{}\"\nendpoint_url = \"{url}\"\n", alibaba::REGION),
                vec![
                    ("ALIBABA_CLOUD_ACCESS_KEY_ID", alibaba::KEY_ID),
                    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", alibaba::KEY_SECRET),
                ],
            ),
            Self::Aws => (
                format!("region = \"{}\"\nendpoint_url = \"{url}\"\n", aws::REGION),
                vec![("AWS_ACCESS_KEY_ID", "simulated"), ("AWS_SECRET_ACCESS_KEY", "simulated")],
            ),
            Self::Azure => (
                format!(
                    "subscription = \"{}\"\nauth = \"client_secret\"\ntenant = \"{}\"\nclient_id = \"{}\"\n\
                     authority_host = \"{url}\"\nendpoint_url = \"{url}\"\n",
                    azure::SUBSCRIPTION,
                    azure::TENANT,
                    azure::CLIENT
                ),
                vec![("AZURE_CLIENT_SECRET", azure::SECRET)],
            ),
            Self::Gcp => (
                format!("project = \"{GCP_PROJECT}\"\ncredentials = \"anonymous\"\nendpoint_url = \"{url}\"\n"),
                Vec::new(),
            ),
            Self::Kubernetes => (format!("endpoint_url = \"{url}\"\n"), Vec::new()),
            Self::Openstack => (
                format!(
                    "endpoint_url = \"{keystone}\"\n\
                     groups.\"*\" = {{ image = \"{}\", flavor = \"{}\", networks = [\"{}\"] }}\n",
                    openstack::IMAGE,
                    openstack::FLAVOR,
                    openstack::NETWORK
                ),
                vec![
                    ("OS_AUTH_URL", &keystone),
                    ("OS_AUTH_TYPE", "v3applicationcredential"),
                    ("OS_APPLICATION_CREDENTIAL_ID", openstack::CREDENTIAL.0),
                    ("OS_APPLICATION_CREDENTIAL_SECRET", openstack::CREDENTIAL.1),
                ],
            ),
        };
        Access {
            toml: format!("[provider.{provider}]\nkind = \"{}\"\n{lines}", self.word()),
            variables: variables.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
        }
    }
}

impl fmt::Display for CloudKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for CloudKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.word() == text);
        let all = Self::ALL.map(Self::word).join(", ");
        found.ok_or_else(|| format!("`{text}` is none of {all}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_what_people_call_it() {
        let cloud = Cloud::new(sim::Settings::default(), Arc::new(contract::Timestamp::default)).unwrap();
        let check = |kind: CloudKind, given: &str, simulated: &str, id: &str| {
            assert_eq!(kind.simulated(given), simulated);
            assert_eq!(kind.group_id(&*kind.api(cloud.clone()), simulated), id);
            let full = CloudKind::simulated(kind, id);
            assert_eq!(full, simulated, "a policy's name leads there too");
        };
        check(CloudKind::Alibaba, "web", "web", "web");
        check(CloudKind::Aws, "web", "web", "web");
        check(CloudKind::Aws, "ec2:web", "servers:web", "ec2:web");
        check(CloudKind::Azure, "web", "web", "rg-skala/web");
        check(CloudKind::Gcp, "web", "web", "zones/europe-west1-b/web");
        check(CloudKind::Gcp, "web-2", "web-2", "regions/europe-west1/web-2");
        check(CloudKind::Kubernetes, "web", "deployment:default/web", "default/web");
        check(CloudKind::Kubernetes, "shop/statefulset/db", "deployment:shop/statefulset/db", "shop/statefulset/db");
        check(CloudKind::Openstack, "web", "servers:web", "web");
    }

    #[test]
    fn every_cloud_is_known_by_its_word() {
        for kind in CloudKind::ALL {
            assert_eq!(kind.word().parse(), Ok(kind));
        }
        assert!("ibm".parse::<CloudKind>().is_err_and(|why| why.contains("alibaba, aws")));
    }
}
