//! Names: a group's tag, a launch's tag, a server's name.

use contract::{GroupId, ProviderError};

/// What the tag of a launch begins with; the rest is [`contract::ActionId::launch`], 53 characters in all.
const LAUNCH: &str = "skala-launch=";
/// Nova's limit for a tag.
const TAG_MAX: usize = 60;
/// A server's name is also its host name, of which DNS takes so many characters.
const NAME_MAX: usize = 63;

/// The tag that a group's id is.
///
/// # Errors
/// `Invalid` for what Nova would not take as a tag.
pub(crate) fn tag(group: &GroupId) -> Result<&str, ProviderError> {
    let tag = group.as_str();
    match complaint(tag) {
        None => Ok(tag),
        Some(why) => Err(ProviderError::Invalid { what: format!("{tag:?} is no server tag: {why}").into() }),
    }
}

/// What is wrong with a tag.
pub(crate) fn complaint(tag: &str) -> Option<&'static str> {
    if tag.is_empty() || tag.chars().count() > TAG_MAX {
        Some("it has 1 to 60 characters")
    } else if tag.contains(['/', ',']) {
        Some("it has neither / nor ,")
    } else if tag.chars().any(char::is_control) || tag.trim() != tag {
        Some("it has neither control characters nor blanks at its ends")
    } else if tag == "*" || tag.starts_with(LAUNCH) {
        Some("this one is skala's own")
    } else {
        None
    }
}

/// The tag of a launch.
pub(crate) fn launch_tag(launch: &str) -> String {
    format!("{LAUNCH}{launch}")
}

/// The launch that a tag names.
pub(crate) fn launch_of(tag: &str) -> Option<&str> {
    tag.strip_prefix(LAUNCH)
}

/// A server's name: the prefix as far as it fits, and the launch, so that it is one of a kind.
pub(crate) fn server_name(prefix: &str, launch: &str) -> String {
    let room = NAME_MAX.saturating_sub(launch.len() + 1);
    let plain = prefix.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let prefix: String = plain.take(room).collect();
    match prefix.trim_matches('-') {
        "" => launch.to_owned(),
        prefix => format!("{prefix}-{launch}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::ActionId;

    #[test]
    fn a_group_is_a_tag() {
        for (name, good) in [
            ("web", true),
            ("skala-group=web", true),
            ("web tier", true),
            (&*"x".repeat(60), true),
            (&*"x".repeat(61), false),
            ("", false),
            ("a/b", false),
            ("a,b", false),
            (" web", false),
            ("we\nb", false),
            ("*", false),
            ("skala-launch=1-0", false),
        ] {
            assert_eq!(tag(&GroupId::from(name)).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn a_launchs_names_keep_the_limits() {
        let launch = ActionId(u128::MAX).launch(999_999);
        assert!(launch_tag(&launch).len() <= TAG_MAX);
        assert_eq!(launch_of(&launch_tag(&launch)), Some(&*launch));
        let name = server_name("Checkout_Web in the North-West", &launch);
        assert!(name.len() <= NAME_MAX && name.starts_with("checkout-web") && name.ends_with(&launch), "{name}");
        assert_eq!(server_name("///", "a-0"), "a-0");
    }
}
