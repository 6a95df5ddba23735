//! Where kinds are found: the API path of what a group's name means. Deployments and StatefulSets have theirs by heart;
//! of other kinds the version and the kind's name are discovered, and discovered again after a while, since a new version
//! may be preferred.

use crate::call::Call;
use crate::cluster::Cluster;
use crate::errors::Failure;
use crate::names::{Name, Resource};
use crate::shapes::{ApiGroup, ApiResource, ResourceList};
use contract::ProviderError;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const KEPT: Duration = Duration::from_secs(600);

/// A kind's place in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// `/apis/apps/v1`
    pub base: String,
    pub plural: String,
    /// As references name it: `Deployment`.
    pub kind: String,
    pub group: String,
}

impl Kind {
    pub fn object(&self, name: &Name) -> String {
        format!("{}/namespaces/{}/{}/{}", self.base, name.namespace, self.plural, name.name)
    }

    pub fn scale(&self, name: &Name) -> String {
        format!("{}/scale", self.object(name))
    }

    fn apps(plural: &str, kind: &str) -> Self {
        Self { base: "/apis/apps/v1".into(), plural: plural.into(), kind: kind.into(), group: "apps".into() }
    }
}

/// Kinds that were discovered, and when.
pub(crate) type Kinds = BTreeMap<Resource, (Kind, Instant)>;

impl Cluster {
    /// Where this kind is found.
    ///
    /// # Errors
    /// `NotFound` when the cluster has no such kind: then it has no such object either; `Invalid` when the kind cannot be
    /// scaled.
    pub async fn kind(&self, resource: &Resource, deadline: Instant) -> Result<Kind, ProviderError> {
        let (plural, group) = match resource {
            Resource::Deployment => return Ok(Kind::apps("deployments", "Deployment")),
            Resource::StatefulSet => return Ok(Kind::apps("statefulsets", "StatefulSet")),
            Resource::Custom { plural, group } => (plural, group),
        };
        let known = self.memory(|memory| memory.kinds.get(resource).cloned());
        if let Some((kind, at)) = known
            && Instant::now().saturating_duration_since(at) < KEPT
        {
            return Ok(kind);
        }
        let kind = self.discover(plural, group, deadline).await?;
        self.memory(|memory| memory.kinds.insert(resource.clone(), (kind.clone(), Instant::now())));
        Ok(kind)
    }

    /// What was discovered of a kind, without a call.
    pub fn known_kind(&self, resource: &Resource) -> Option<Kind> {
        match resource {
            Resource::Deployment => Some(Kind::apps("deployments", "Deployment")),
            Resource::StatefulSet => Some(Kind::apps("statefulsets", "StatefulSet")),
            custom => self.memory(|memory| memory.kinds.get(custom).map(|(kind, _)| kind.clone())),
        }
    }

    async fn discover(&self, plural: &str, group: &str, deadline: Instant) -> Result<Kind, ProviderError> {
        let absent = || ProviderError::NotFound { what: format!("the cluster has no {plural}.{group}").into() };
        let told = |failure: Failure| if failure.missing { absent() } else { failure.error };
        let call = Call::get("DiscoverGroup", format!("/apis/{group}"));
        let found: ApiGroup = self.lane.make(&call, deadline).await.map_err(told)?;
        let preferred = &found.preferred_version;
        let others = found.versions.iter().filter(|version| version.version != preferred.version);
        let mut unscaled = None;
        for version in std::iter::once(preferred).chain(others) {
            let base = format!("/apis/{group}/{}", version.version);
            let call = Call::get("DiscoverVersion", base.clone());
            let list: ResourceList = self.lane.make(&call, deadline).await.map_err(told)?;
            let named = |name: &str| list.resources.iter().find(|resource| resource.name == *name);
            let Some(ApiResource { kind, namespaced: true, .. }) = named(plural) else { continue };
            if named(&format!("{plural}/scale")).is_some() {
                return Ok(Kind { base, plural: plural.into(), kind: kind.clone(), group: group.into() });
            }
            let what = format!("{plural}.{group}: the kind {kind} has no scale subresource, so it cannot be scaled");
            unscaled.get_or_insert(ProviderError::Invalid { what: what.into() });
        }
        Err(unscaled.as_ref().map_or_else(absent, ProviderError::again))
    }
}
