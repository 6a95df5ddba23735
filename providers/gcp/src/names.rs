//! Names: which group, where it is, and what its instances are called. Purely text.

use contract::{GroupId, InstanceId, ProviderError};
use std::fmt;

/// A zone, or a region for what lies in several of its zones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Zone(Box<str>),
    Region(Box<str>),
}

impl Place {
    /// Reads the first `zones/Z` or `regions/R` in a path or an address.
    pub fn find_in(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        while let Some(part) = parts.next() {
            match part {
                "zones" => return parts.next().filter(|z| is_label(z)).map(|z| Place::Zone(z.into())),
                "regions" => return parts.next().filter(|r| is_label(r)).map(|r| Place::Region(r.into())),
                _ => {}
            }
        }
        None
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Zone(zone) => write!(f, "zones/{zone}"),
            Place::Region(region) => write!(f, "regions/{region}"),
        }
    }
}

/// A managed instance group's name in its project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupName {
    pub place: Place,
    pub name: Box<str>,
}

impl GroupName {
    /// Reads `zones/ZONE/NAME` or `regions/REGION/NAME`. There is one spelling of a group, so that no two fleets can hold
    /// the same one without anybody noticing.
    ///
    /// # Errors
    /// `Invalid`, with the right spelling when an address or a longer path was written.
    pub fn parse(group: &GroupId) -> Result<Self, ProviderError> {
        let text = group.as_str();
        let parts: Vec<&str> = text.split('/').collect();
        let (place, name) = match parts.as_slice() {
            ["zones", zone, name] if is_label(zone) => (Place::Zone((*zone).into()), *name),
            ["regions", region, name] if is_label(region) => (Place::Region((*region).into()), *name),
            _ => return Err(invalid(text)),
        };
        if !is_label(name) {
            return Err(invalid(text));
        }
        Ok(Self { place, name: name.into() })
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place, self.name)
    }
}

fn invalid(text: &str) -> ProviderError {
    let hint = match (Place::find_in(text), text.rsplit('/').next()) {
        (Some(place), Some(name)) if text.contains("/instanceGroupManagers/") && is_label(name) => {
            format!("write \"{place}/{name}\"")
        }
        _ => "write \"zones/ZONE/NAME\" or \"regions/REGION/NAME\"".to_owned(),
    };
    ProviderError::Invalid { what: format!("{text:?} does not name a managed instance group; {hint}").into() }
}

/// Compute Engine's names: RFC 1035 labels.
pub(crate) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// An instance's id: `ZONE/NAME`, unique in a project, and what the consoles show.
pub(crate) fn instance_id(zone: &str, name: &str) -> InstanceId {
    InstanceId::from(format!("{zone}/{name}"))
}

/// The path that Compute Engine takes for an instance of ours; `None` for an id that is not one.
pub(crate) fn instance_path(id: &InstanceId) -> Option<String> {
    let (zone, name) = id.as_str().split_once('/')?;
    (is_label(zone) && is_label(name)).then(|| format!("zones/{zone}/instances/{name}"))
}

/// The last part of a path or an address.
pub(crate) fn last(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_one_spelling() {
        for text in ["zones/europe-west1-b/web", "regions/europe-west1/web-2"] {
            assert_eq!(GroupName::parse(&text.into()).unwrap().to_string(), text);
        }
        let check = |text: &str, hint: &str| {
            let error = GroupName::parse(&text.into()).unwrap_err();
            assert_eq!(error.code(), "invalid", "{text}");
            assert!(error.to_string().contains(hint), "{error}");
        };
        let either = "write \"zones/ZONE/NAME\" or";
        check("", either);
        check("web", either);
        check("zones/europe-west1-b", either);
        check("zones//web", either);
        check("zones/europe-west1-b/Web", either);
        check("zones/europe-west1-b/web/x", either);
        check("zones/../web", either);
        check("global/x/web", either);
        let path = "projects/p/zones/europe-west1-b/instanceGroupManagers/web";
        check(path, "write \"zones/europe-west1-b/web\"");
        check(&format!("https://www.googleapis.com/compute/v1/{path}"), "write \"zones/europe-west1-b/web\"");
    }

    #[test]
    fn instances_are_named_by_zone() {
        let id = instance_id("europe-west1-b", "web-x1z0");
        assert_eq!(instance_path(&id).unwrap(), "zones/europe-west1-b/instances/web-x1z0");
        for text in ["web", "a/../b", "A/b", "a/b/c"] {
            assert_eq!(instance_path(&InstanceId::from(text)), None, "{text}");
        }
    }
}
