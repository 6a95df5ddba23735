//! What an instance is made from: a domain's description as `virsh dumpxml` shows it, less what every instance has of its
//! own, with `{name}` wherever the instance's name belongs.
//!
//! In: the text of the file, once. Out: whether it will do, and the description of one instance.

use crate::member::{Member, escape};
use roxmltree::{Document, Node};

/// Where the instance's name goes.
const NAME: &str = "{name}";

/// A description that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    text: Box<str>,
    /// Where the membership goes in, and whether `<metadata>` has to be put around it.
    at: usize,
    wrap: bool,
    /// What a guest may take of its host's memory, in KiB.
    pub memory_kib: u64,
}

impl Template {
    /// Reads a description.
    ///
    /// # Errors
    /// All that is wrong with it, each in words that go on from the file's name.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let document = Document::parse(text).map_err(|error| vec![format!("is no XML: {error}")])?;
        let root = document.root_element();
        if root.tag_name().name() != "domain" {
            return Err(vec![format!("describes a <{}>, not a <domain>", root.tag_name().name())]);
        }
        let mut problems = Vec::new();
        if child(&root, "uuid").is_some() {
            problems.push("has a <uuid>, and every instance needs its own: take it out".to_owned());
        }
        if root.descendants().any(|node| node.tag_name().name() == "mac" && node.has_attribute("address")) {
            problems.push("has a <mac address>, and every instance needs its own: take it out".to_owned());
        }
        let name = child(&root, "name");
        if name.and_then(|name| name.text()).map(str::trim) != Some(NAME) {
            problems.push(format!("must say <name>{NAME}</name>"));
        }
        let memory_kib = child(&root, "memory").and_then(|memory| kib(&memory));
        if memory_kib.is_none() {
            problems.push("must say how much <memory> it takes".to_owned());
        }
        let metadata = child(&root, "metadata");
        let place = match (metadata.and_then(|metadata| metadata.first_child()), name) {
            // Beside what the template says of itself.
            (Some(first), _) => Some((first.range().start, false)),
            // An empty one cannot be written into, and a second one is one too many.
            (None, _) if metadata.is_some() => {
                problems.push("has an empty <metadata>: take it out".to_owned());
                None
            }
            (None, name) => name.map(|name| (name.range().end, true)),
        };
        match (place, memory_kib) {
            (Some((at, wrap)), Some(memory_kib)) if problems.is_empty() => {
                Ok(Self { text: text.into(), at, wrap, memory_kib })
            }
            _ => Err(problems),
        }
    }

    /// Whether the description speaks of a file or volume of this ending that is the instance's own: `{name}ENDING`.
    pub fn uses(&self, ending: &str) -> bool {
        self.text.contains(&format!("{NAME}{ending}"))
    }

    /// The description of one instance.
    pub fn instance(&self, name: &str, member: &Member) -> String {
        let (before, after) = self.text.split_at(self.at);
        let (before, after) = (before.replace(NAME, &escape(name)), after.replace(NAME, &escape(name)));
        let element = member.element_with_namespace();
        if self.wrap {
            return format!("{before}<metadata>{element}</metadata>{after}");
        }
        format!("{before}{element}{after}")
    }
}

fn child<'a, 'input>(node: &Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// An amount of memory in KiB, in any of libvirt's units; without one it is KiB.
fn kib(memory: &Node<'_, '_>) -> Option<u64> {
    let amount: u64 = memory.text()?.trim().parse().ok()?;
    let bytes = match memory.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1_000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1_u64 << 40,
        _ => return None,
    };
    Some(amount.checked_mul(bytes)?.div_ceil(1024)).filter(|kib| *kib > 0)
}

/// A fingerprint (FNV-1a, 64 bits) of what instances are made from: when it changes, those of before are outdated.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> Box<str> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // A byte that stands in no text keeps "ab" + "c" and "a" + "bc" apart.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "<domain type='test'><name>{name}</name><memory unit='MiB'>64</memory></domain>";

    fn member() -> Member {
        Member { group: "web".into(), ..Member::default() }
    }

    #[test]
    fn an_instance_has_its_name_and_its_membership() {
        let check = |text: &str, expected: &str| {
            let made = Template::parse(text).unwrap().instance("web-1", &member());
            assert_eq!(made, expected);
            assert!(Document::parse(&made).is_ok(), "{made}");
        };
        let ours = "<skala:member xmlns:skala=\"urn:skala:member\" group=\"web\"/>";
        check(
            PLAIN,
            &format!(
                "<domain type='test'><name>web-1</name><metadata>{ours}</metadata><memory unit='MiB'>64</memory></domain>"
            ),
        );
        check(
            "<domain><memory>1</memory><metadata><a:x xmlns:a='u'/></metadata><name>{name}</name><d f='{name}.log'/></domain>",
            &format!(
                "<domain><memory>1</memory><metadata>{ours}<a:x xmlns:a='u'/></metadata><name>web-1</name><d f='web-1.log'/></domain>"
            ),
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let text = "<domain><name>web</name><uuid>1</uuid><devices><mac address='52:54:00:0:0:1'/></devices><metadata/></domain>";
        let problems = Template::parse(text).unwrap_err();
        for what in ["<uuid>", "<mac address>", "{name}", "<memory>", "<metadata>"] {
            assert!(problems.iter().any(|problem| problem.contains(what)), "{what} in {problems:?}");
        }
        for (text, what) in [("<domain>", "no XML"), ("<network/>", "not a <domain>")] {
            let problems = Template::parse(text).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(what), "{problems:?}");
        }
    }

    #[test]
    fn memory_is_read_in_every_unit() {
        for (text, expected) in [
            ("<memory>2048</memory>", Some(2048)),
            ("<memory unit='bytes'>1025</memory>", Some(2)),
            ("<memory unit='GB'>1</memory>", Some(976_563)),
            ("<memory unit='GiB'> 2 </memory>", Some(2 << 20)),
            ("<memory unit='T'>1</memory>", Some(1 << 30)),
            ("<memory unit='PiB'>1</memory>", None),
            ("<memory unit='TiB'>99999999999</memory>", None),
            ("<memory>0</memory>", None),
            ("<memory/>", None),
        ] {
            assert_eq!(kib(&Document::parse(text).unwrap().root_element()), expected, "{text}");
        }
    }

    #[test]
    fn any_change_of_what_instances_are_made_from_shows() {
        assert_eq!(fingerprint([PLAIN]), fingerprint([PLAIN]));
        assert_ne!(fingerprint([PLAIN]), fingerprint([PLAIN, ""]));
        assert_ne!(fingerprint(["ab", "c"]), fingerprint(["a", "bc"]));
    }
}
