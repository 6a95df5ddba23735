//! What a group is called: which object of which kind in which namespace.
//!
//! `NAMESPACE/NAME` is a Deployment, `NAMESPACE/statefulset/NAME` a StatefulSet, and `NAMESPACE/PLURAL.GROUP/NAME`
//! (`shop/rollouts.argoproj.io/web`) anything else that has a scale subresource; its version is discovered. Each object
//! has one id and no other, so that two fleets cannot hold it under two.

use contract::ProviderError;

/// A parsed group id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub namespace: Box<str>,
    pub resource: Resource,
    pub name: Box<str>,
}

/// The kind of an object, as the API's paths name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Deployment,
    StatefulSet,
    /// Anything with a scale subresource.
    Custom {
        plural: Box<str>,
        group: Box<str>,
    },
}

impl Name {
    /// Reads a group id.
    ///
    /// # Errors
    /// `Invalid` for everything that is not exactly one of the three forms.
    pub fn parse(id: &str) -> Result<Self, ProviderError> {
        let parts: Vec<&str> = id.split('/').collect();
        let (namespace, resource, name) = match parts.as_slice() {
            [namespace, name] => (namespace, Resource::Deployment, name),
            [namespace, kind, name] => (namespace, resource(id, kind)?, name),
            _ => return Err(wrong(id, "it has not two or three parts")),
        };
        if !is_label(namespace) {
            return Err(wrong(id, &format!("{namespace:?} is not a namespace")));
        }
        if !is_subdomain(name) {
            return Err(wrong(id, &format!("{name:?} is not an object's name")));
        }
        Ok(Self { namespace: (*namespace).into(), resource, name: (*name).into() })
    }
}

fn resource(id: &str, kind: &str) -> Result<Resource, ProviderError> {
    match kind {
        "statefulset" => Ok(Resource::StatefulSet),
        "deployment" | "deployments.apps" => Err(wrong(id, "a Deployment is NAMESPACE/NAME")),
        "statefulsets.apps" => Err(wrong(id, "a StatefulSet is NAMESPACE/statefulset/NAME")),
        other => match other.split_once('.') {
            Some((plural, group)) if is_label(plural) && is_subdomain(group) => {
                Ok(Resource::Custom { plural: plural.into(), group: group.into() })
            }
            _ => Err(wrong(id, &format!("{kind:?} is neither \"statefulset\" nor PLURAL.GROUP"))),
        },
    }
}

fn wrong(id: &str, why: &str) -> ProviderError {
    let what = format!(
        "group {id:?}: {why}; NAMESPACE/NAME is a Deployment, NAMESPACE/statefulset/NAME a StatefulSet, \
         NAMESPACE/PLURAL.GROUP/NAME anything else with a scale subresource"
    );
    ProviderError::Invalid { what: what.into() }
}

/// RFC 1123 labels, as namespaces are: at most 63 of lower case, digits and dashes, the ends alphanumeric.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_plain(text)
}

/// RFC 1123 subdomains, as most objects' names are: parts joined by dots, at most 253 in all. The API does not ask for
/// parts of at most 63.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_plain)
}

fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_has_one_id() {
        let check = |id: &str, expected: Option<(&str, Resource, &str)>| {
            let parsed = Name::parse(id).ok();
            let expected = expected.map(|(namespace, resource, name)| Name {
                namespace: namespace.into(),
                resource,
                name: name.into(),
            });
            assert_eq!(parsed, expected, "{id}");
        };
        let rollout = Resource::Custom { plural: "rollouts".into(), group: "argoproj.io".into() };
        check("shop/web", Some(("shop", Resource::Deployment, "web")));
        check("shop/web.v2", Some(("shop", Resource::Deployment, "web.v2")));
        check("shop/statefulset/db", Some(("shop", Resource::StatefulSet, "db")));
        check("shop/rollouts.argoproj.io/web", Some(("shop", rollout, "web")));
        for id in ["", "web", "/web", "shop/", "shop//web", "a/b/c/d", "Shop/web", "shop/Web", "shop/-web", "shop/w b"]
        {
            check(id, None);
        }
        for id in ["shop/deployment/web", "shop/deployments.apps/web", "shop/statefulsets.apps/db"] {
            check(id, None);
        }
        for id in
            ["shop/StatefulSet/db", "shop/pods/web", "shop/rollouts./web", "shop/.argoproj.io/web", "shop/..%2f/x"]
        {
            check(id, None);
        }
        // All of a name is looked at, however long, in whatever letters.
        let long = "a".repeat(64);
        check(&format!("shop/{long}"), Some(("shop", Resource::Deployment, &long)));
        for id in [format!("shop/{long}?dryRun=All"), format!("shop/{}", "é".repeat(40)), format!("{long}/web")] {
            check(&id, None);
        }
    }
}
