//! What is given on the command line: groups, and for which cloud something is.

use std::str::FromStr;

/// Something, and the one cloud that it is for: `VALUE[@CLOUD]`.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The cloud; all of them, when not said.
    pub cloud: Option<String>,
}

impl<T: FromStr<Err: ToString>> FromStr for At<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (value, cloud) = text.rsplit_once('@').map_or((text, None), |(value, cloud)| (value, Some(cloud)));
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Self { value, cloud: cloud.map(str::to_owned) })
    }
}

/// A group at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What a person calls it.
    pub name: String,
    /// How many instances run.
    pub desired: u32,
    /// The cloud's own smallest capacity.
    pub min: u32,
    /// The cloud's own largest capacity.
    pub max: u32,
}

/// The largest capacity when it is not said.
const MAX_DEFAULT: u32 = 100;

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no group; write \"web=3\" or \"web=3:1..20\"");
        let (name, numbers) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let (desired, bounds) =
            numbers.split_once(':').map_or((numbers, None), |(desired, rest)| (desired, Some(rest)));
        let desired = number(desired)?;
        let (min, max) = match bounds.map(|bounds| bounds.split_once("..").ok_or_else(wrong)).transpose()? {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (0, MAX_DEFAULT.max(desired)),
        };
        Ok(Self { name: name.into(), desired, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_their_clouds() {
        let group = |name: &str, desired, min, max| Group { name: name.into(), desired, min, max };
        let check = |text: &str, value: Group, cloud: Option<&str>| {
            assert_eq!(text.parse(), Ok(At { value, cloud: cloud.map(str::to_owned) }), "{text}");
        };
        check("web=3", group("web", 3, 0, 100), None);
        check("web=300", group("web", 300, 0, 300), None);
        check("shop/web=0:0..20@kubernetes", group("shop/web", 0, 0, 20), Some("kubernetes"));
        check("ec2:web=2@aws-2", group("ec2:web", 2, 0, 100), Some("aws-2"));
        for text in ["", "web", "=3", "web=", "web=-1", "web=3:1", "web=3:1..", "web=3:a..b", "web=3..5"] {
            assert!(text.parse::<At<Group>>().is_err_and(|why| why.contains("web=3:1..20")), "{text}");
        }
    }
}
