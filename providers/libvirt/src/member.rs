//! What skala writes into a domain's `<metadata>`: to which group it belongs, which launch made it, what has to go with it,
//! and until when it may take to shut down. It is all that skala knows of a domain over a restart.
//!
//! One element without children, under a namespace of its own, so that `virsh metadata DOMAIN urn:skala:member` shows it
//! and a person can put a domain into a group: `--key skala --set "<member group='web'/>" --live --config`.

use contract::Timestamp;
use roxmltree::{Document, Node};
use std::fmt::Write;

/// The namespace of the membership.
pub(crate) const MEMBER: &str = "urn:skala:member";
/// The namespace of a person's mark that a domain must be left alone: `<protected/>`.
pub(crate) const PROTECTED: &str = "urn:skala:protected";
/// The prefix under which both stand.
pub(crate) const PREFIX: &str = "skala";

/// A volume that was made for one domain and goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeName {
    pub pool: Box<str>,
    pub name: Box<str>,
}

/// A domain's membership in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub group: Box<str>,
    /// The launch that it came from: ActionId-index. None: a person put it into the group.
    pub launch: Option<Box<str>>,
    /// The daemon that made it.
    pub by: Option<Box<str>>,
    /// When it was asked for.
    pub launched: Option<Timestamp>,
    /// When it was first started. None with `launched`: its launch has not come that far.
    pub started: Option<Timestamp>,
    /// The fingerprint of the template that it was made from.
    pub template: Option<Box<str>>,
    /// Its own copy of the template volume.
    pub volume: Option<VolumeName>,
    /// Its cloud-init seed.
    pub seed: Option<VolumeName>,
    /// It is to go, and is destroyed when it still runs then.
    pub stop_by: Option<Timestamp>,
}

impl Member {
    /// As libvirt gives it back; none when it names no group.
    ///
    /// # Errors
    /// The group, and which part of it cannot be read.
    pub fn parse(text: &str) -> Result<Option<Self>, (Box<str>, String)> {
        let Ok(document) = Document::parse(text) else { return Ok(None) };
        let element = document.root_element();
        let Some(group) = element.attribute("group").filter(|group| !group.is_empty()) else { return Ok(None) };
        let group: Box<str> = group.into();
        let time = |key: &str| match element.attribute(key) {
            None => Ok(None),
            Some(text) => match text.parse::<f64>().ok().and_then(Timestamp::from_secs_f64) {
                Some(time) => Ok(Some(time)),
                None => Err((group.clone(), format!("{key}={text:?} is no time"))),
            },
        };
        let (launched, started, stop_by) = (time("launched")?, time("started")?, time("stop_by")?);
        let word = |key: &str| element.attribute(key).map(Into::into);
        Ok(Some(Self {
            launch: word("launch"),
            by: word("by"),
            launched,
            started,
            template: word("template"),
            volume: volume(&element, "volume"),
            seed: volume(&element, "seed"),
            stop_by,
            group,
        }))
    }

    /// It was launched, and does not say that it came to run.
    pub fn lacks_its_start(&self) -> bool {
        self.launched.is_some() && self.started.is_none() && self.stop_by.is_none()
    }

    /// As it is handed to libvirt, which puts the namespace to it.
    pub fn element(&self) -> String {
        self.write("member", "")
    }

    /// As it stands in a domain's description.
    pub fn element_with_namespace(&self) -> String {
        self.write(&format!("{PREFIX}:member"), &format!(" xmlns:{PREFIX}=\"{MEMBER}\""))
    }

    fn write(&self, name: &str, namespace: &str) -> String {
        let mut text = format!("<{name}{namespace} group=\"{}\"", escape(&self.group));
        let times = [("launched", self.launched), ("started", self.started), ("stop_by", self.stop_by)];
        let times = times.iter().map(|(key, time)| (*key, time.map(|time| time.to_string())));
        let words = [("launch", &self.launch), ("by", &self.by), ("template", &self.template)];
        let words = words.iter().map(|(key, word)| (*key, word.as_deref().map(str::to_owned)));
        let path = |volume: &VolumeName| format!("{}/{}", volume.pool, volume.name);
        let volumes = [("volume", &self.volume), ("seed", &self.seed)];
        let volumes = volumes.iter().map(|(key, volume)| (*key, volume.as_ref().map(path)));
        for (key, value) in words.chain(times).chain(volumes) {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = write!(text, " {key}=\"{}\"", escape(&value));
            }
        }
        text.push_str("/>");
        text
    }
}

/// `POOL/NAME`; a pool's name has no slash.
fn volume(element: &Node<'_, '_>, key: &str) -> Option<VolumeName> {
    let (pool, name) = element.attribute(key)?.split_once('/')?;
    Some(VolumeName { pool: pool.into(), name: name.into() })
}

/// Text as it may stand in an attribute in double quotes, or between elements.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_survives_the_way_there_and_back() {
        let member = Member {
            group: "web".into(),
            launch: Some("00ff-0".into()),
            by: Some("site <\"a\" & 'b'>".into()),
            launched: Some(Timestamp(1_700_000_000_123_456)),
            started: Some(Timestamp::from_secs(1_700_000_002)),
            template: Some("abc".into()),
            volume: Some(VolumeName { pool: "default".into(), name: "web-00ff-0.qcow2".into() }),
            seed: None,
            stop_by: Some(Timestamp::from_secs(1_700_000_060)),
        };
        for text in [member.element(), member.element_with_namespace()] {
            assert_eq!(Member::parse(&text), Ok(Some(member.clone())), "{text}");
        }
    }

    #[test]
    fn what_a_person_wrote_is_read_as_far_as_it_goes() {
        let web = Member { group: "web".into(), ..Member::default() };
        assert_eq!(Member::parse("<member group='web'/>"), Ok(Some(web)));
        for nobodys in ["<member/>", "<member group=''/>", "<other xmlns='x'/>", "no XML"] {
            assert_eq!(Member::parse(nobodys), Ok(None), "{nobodys}");
        }
        for broken in ["<member group='web' stop_by='soon'/>", "<member group='web' launched='NaN'/>"] {
            assert_eq!(Member::parse(broken).map_err(|(group, _)| group), Err("web".into()), "{broken}");
        }
    }
}
