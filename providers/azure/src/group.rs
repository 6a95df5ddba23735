//! What a user writes as `group = "..."`: `RESOURCE_GROUP/NAME`, or the scale set's full ARM id. In: the text. Out: one
//! form of both, and the paths that requests are sent to. ARM compares names without regard to case, so does this.

use contract::{GroupId, ProviderError};

/// One scale set of the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetName {
    pub resource_group: Box<str>,
    pub name: Box<str>,
}

impl SetName {
    /// # Errors
    /// `Invalid` for what is neither form, for characters that ARM does not allow in names, and for another subscription.
    pub fn parse(group: &GroupId, subscription: &str) -> Result<Self, ProviderError> {
        let text = group.as_str();
        let invalid = |why: &str| ProviderError::Invalid { what: format!("group {text:?} {why}").into() };
        let parts: Vec<&str> = text.split('/').collect();
        let (resource_group, name) = match parts.as_slice() {
            [resource_group, name] => (*resource_group, *name),
            ["", subs, sub, groups, resource_group, providers, compute, sets, name]
                if subs.eq_ignore_ascii_case("subscriptions")
                    && groups.eq_ignore_ascii_case("resourceGroups")
                    && providers.eq_ignore_ascii_case("providers")
                    && compute.eq_ignore_ascii_case("Microsoft.Compute")
                    && sets.eq_ignore_ascii_case("virtualMachineScaleSets") =>
            {
                if !sub.eq_ignore_ascii_case(subscription) {
                    return Err(invalid("is in another subscription than the provider's"));
                }
                (*resource_group, *name)
            }
            _ => return Err(invalid("is neither RESOURCE_GROUP/NAME nor a scale set's ARM id")),
        };
        // Azure naming rules: letters, digits, and for a resource group also `_ - . ( )`.
        let fine = |part: &str, most: usize| {
            let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '(' | ')');
            // `.` and `..` would walk up the path.
            (1..=most).contains(&part.chars().count()) && part.chars().all(legal) && part.chars().any(|c| c != '.')
        };
        if !fine(resource_group, 90) || !fine(name, 64) {
            return Err(invalid("has a part that cannot be a name in Azure"));
        }
        Ok(Self { resource_group: resource_group.into(), name: name.into() })
    }

    /// The scale set of an ARM id; `None` for the id of anything else.
    pub fn of_id(id: &str, subscription: &str) -> Option<Self> {
        id.starts_with('/').then(|| Self::parse(&id.into(), subscription).ok()).flatten()
    }

    /// The same for every way to write this set.
    pub fn key(&self) -> Box<str> {
        format!("{}/{}", self.resource_group, self.name).to_lowercase().into()
    }

    /// Its path, which is also its id.
    pub fn path(&self, subscription: &str) -> String {
        format!(
            "/subscriptions/{subscription}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachineScaleSets/{}",
            self.resource_group, self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUB: &str = "00000000-1111-2222-3333-444444444444";

    #[test]
    fn both_forms_are_one_set() {
        let short = SetName::parse(&"shop-rg/Web".into(), SUB).unwrap();
        let long = format!(
            "/subscriptions/{}/resourcegroups/SHOP-RG/providers/microsoft.compute/virtualMachineScaleSets/web",
            SUB.to_uppercase()
        );
        assert_eq!(SetName::parse(&long.as_str().into(), SUB).unwrap().key(), short.key());
        assert_eq!(SetName::of_id(&short.path(SUB), SUB), Some(short));
        assert_eq!(SetName::of_id("shop-rg/Web", SUB), None);
    }

    #[test]
    fn what_is_no_set_of_this_subscription_is_invalid() {
        let vm = format!("/subscriptions/{SUB}/resourceGroups/a/providers/Microsoft.Compute/virtualMachines/b");
        let other = SetName::parse(&"a/b".into(), SUB).unwrap().path("99999999-1111-2222-3333-444444444444");
        for text in ["", "web", "a/b/c", "a/", "/b", "a/..", "../b", "a/b?x=1", "a/b%2f", "a b/c", &vm, &other] {
            let error = SetName::parse(&text.into(), SUB).unwrap_err();
            assert_eq!(error.code(), "invalid", "{text}");
        }
    }
}
