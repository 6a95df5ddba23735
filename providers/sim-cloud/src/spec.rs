//! Faults as a person writes them: `throttle,for=30s` or `out-of-capacity,zone=a,group=web,from=2m,for=10m`. Text in, a
//! [`Spec`] out, or what would be right.

use crate::api::Kind;
use crate::faults::{Fault, Refusal};
use sim::{Process, Span};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A fault, whom it meets and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// As it was written.
    pub text: Box<str>,
    /// How long until it begins.
    pub from: Duration,
    /// How long it lasts; until it is ended, when not said.
    pub lasts: Option<Duration>,
    /// The one group that it meets, as a person calls it.
    pub group: Option<Box<str>>,
    pub(crate) zone: Option<Box<str>>,
    pub(crate) what: What,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Connections are refused.
    Down,
    /// At the wire, for these kinds of calls.
    Calls(Fault, Vec<Kind>),
    /// With the machines.
    Machines(sim::Fault),
}

/// A text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongSpec(String);

impl fmt::Display for WrongSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongSpec {}

impl WrongSpec {
    pub(crate) fn no_group(group: &str) -> Self {
        Self(format!("there is no group `{group}` in this cloud"))
    }
}

impl Spec {
    /// The language, for `--help`: what each word does.
    pub const WORDS: &str = "\
Faults at the wire, met by reads and writes (or one of them: `calls=reads`, `calls=writes`):
  throttle[=10s]       refused as too many calls; with what the cloud says to wait
  error                internal errors, and nothing is done
  error-after          it does what it is told, and answers with an internal error
  denied, expired      no permission; credentials past their time
  hang                 connections are accepted and never answered
  slow=2s              every answer takes so much longer
  reset, truncated     connections that break, before or in the middle of an answer
  html                 a proxy's page instead of an answer
  down                 connections are refused
Faults of the machines (narrowed by `group=NAME` and, where zones matter, `zone=a`):
  out-of-capacity      launches fail for want of machines
  launch-failures=0.3  this share of launches fails
  slow-boot=5m         boots take so much longer
  stuck-terminating    what is terminated does not go away
  kill=0.5             this share of the instances dies, at once
  set-desired=5        somebody sets desired by hand, at once
  suspend=launch       launching (or `terminate`) is switched off
When: `from=2m` (from now on), `for=10m` (until it is ended).
";
}

impl FromStr for Spec {
    type Err = WrongSpec;

    fn from_str(text: &str) -> Result<Self, WrongSpec> {
        let wrong = |what: String| Err(WrongSpec(what));
        let text = text.trim();
        let mut parts = text.split(',').map(str::trim);
        let (word, value) = pair(parts.next().unwrap_or_default());
        let (mut from, mut lasts, mut group, mut zone, mut calls) = (Duration::ZERO, None, None, None, None);
        for part in parts {
            match pair(part) {
                ("from", Some(value)) => from = span(value)?,
                ("for", Some(value)) => lasts = Some(span(value)?),
                ("group", Some(value)) => group = Some(value.into()),
                ("zone", Some(value)) => zone = Some(value.into()),
                ("calls", Some("reads")) => calls = Some(vec![Kind::Read]),
                ("calls", Some("writes")) => calls = Some(vec![Kind::Write]),
                _ => {
                    return wrong(format!("`{part}` is none of from=, for=, group=, zone=, calls=reads, calls=writes"));
                }
            }
        }
        let is_narrow = group.is_some() || zone.is_some();
        let what = match (at_wire(word, value)?, of_machines(word, value)?) {
            (Some(_), _) if is_narrow => {
                return wrong(format!("group= and zone= are not for `{word}`: it meets all calls"));
            }
            (Some(fault), _) => What::Calls(fault, calls.unwrap_or_else(|| vec![Kind::Read, Kind::Write])),
            (None, _) if calls.is_some() => return wrong(format!("calls= is not for `{word}`")),
            (None, Some(fault)) => What::Machines(fault),
            (None, None) if word == "down" && value.is_none() && !is_narrow => What::Down,
            (None, None) => return wrong(format!("`{}` is no fault", text.split(',').next().unwrap_or_default())),
        };
        Ok(Self { text: text.into(), from, lasts, group, zone, what })
    }
}

fn pair(part: &str) -> (&str, Option<&str>) {
    part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)))
}

fn span(text: &str) -> Result<Duration, WrongSpec> {
    Span::parse(text).map(|span| span.0).ok_or_else(|| WrongSpec(format!("`{text}` is no duration such as 90s or 5m")))
}

fn at_wire(word: &str, value: Option<&str>) -> Result<Option<Fault>, WrongSpec> {
    let refuse = |refusal| Some(Fault::Refuse(refusal));
    Ok(match (word, value) {
        ("throttle", value) => refuse(Refusal::Throttled { retry_after: value.map(span).transpose()? }),
        ("slow", Some(value)) => Some(Fault::Slow(span(value)?)),
        ("error", None) => refuse(Refusal::Internal),
        ("denied", None) => refuse(Refusal::Denied),
        ("expired", None) => refuse(Refusal::Expired),
        ("error-after", None) => Some(Fault::ErrorAfterEffect),
        ("hang", None) => Some(Fault::Hang { effect: false }),
        ("reset", None) => Some(Fault::Reset),
        ("truncated", None) => Some(Fault::Truncated),
        ("html", None) => Some(Fault::Html),
        _ => None,
    })
}

fn of_machines(word: &str, value: Option<&str>) -> Result<Option<sim::Fault>, WrongSpec> {
    let share = |text: &str| {
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| WrongSpec(format!("`{text}` is no share from 0 to 1")))
    };
    let number = |text: &str| text.parse().map_err(|_| WrongSpec(format!("`{text}` is no number of instances")));
    Ok(match (word, value) {
        ("out-of-capacity", None) => Some(sim::Fault::OutOfCapacity),
        ("stuck-terminating", None) => Some(sim::Fault::StuckTerminating),
        ("launch-failures", Some(value)) => Some(sim::Fault::LaunchFailures { share: share(value)? }),
        ("kill", Some(value)) => Some(sim::Fault::Kill { share: share(value)? }),
        ("slow-boot", Some(value)) => Some(sim::Fault::SlowBoot { span: Span(span(value)?) }),
        ("set-desired", Some(value)) => Some(sim::Fault::SetDesired { to: number(value)? }),
        ("suspend", Some("launch")) => Some(sim::Fault::Suspend { process: Process::Launch }),
        ("suspend", Some("terminate")) => Some(sim::Fault::Suspend { process: Process::Terminate }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Spec {
        text.parse().unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    #[test]
    fn faults_are_read_as_people_write_them() {
        let whole = read(" out-of-capacity, zone=a,group=web,from=2m,for=10m");
        assert_eq!((whole.from.as_secs(), whole.lasts.map(|span| span.as_secs())), (120, Some(600)));
        assert_eq!((whole.group.as_deref(), whole.zone.as_deref()), (Some("web"), Some("a")));
        assert_eq!(whole.what, What::Machines(sim::Fault::OutOfCapacity));
        let both = vec![Kind::Read, Kind::Write];
        assert_eq!(read("hang").what, What::Calls(Fault::Hang { effect: false }, both));
        let retry_after = Some(Duration::from_secs(10));
        let throttle = Fault::Refuse(Refusal::Throttled { retry_after });
        assert_eq!(read("throttle=10s,calls=writes").what, What::Calls(throttle, vec![Kind::Write]));
        assert_eq!(read("down,for=1m").what, What::Down);
    }

    #[test]
    fn every_word_of_the_help_is_a_fault() {
        let words = Spec::WORDS.lines().filter_map(|line| line.strip_prefix("  "));
        let examples = words.flat_map(|line| line.split("  ").next().unwrap_or_default().split(", "));
        let mut seen = 0;
        for example in examples {
            let plain = example.split('[').next().unwrap_or(example);
            let valued = example.replace(['[', ']'], "");
            let one = |text: &str| text.parse::<Spec>().unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
            assert_eq!((&*one(plain).text, &*one(&valued).text), (plain, &*valued));
            seen += 1;
        }
        assert_eq!(seen, 18);
    }

    #[test]
    fn what_is_no_fault_is_said() {
        let check = |text: &str, part: &str| {
            let wrong = text.parse::<Spec>().expect_err(text);
            assert!(wrong.to_string().contains(part), "{text}: {wrong}");
        };
        check("", "is no fault");
        check("earthquake", "`earthquake` is no fault");
        check("kill", "`kill` is no fault");
        check("hang=3", "`hang=3` is no fault");
        check("kill=2", "no share");
        check("slow=2", "no duration");
        check("set-desired=-1", "no number");
        check("hang,zone=a", "meets all calls");
        check("kill=1,calls=reads", "calls= is not for");
        check("hang,until=5m", "`until=5m` is none of");
        check("down,group=web", "is no fault");
    }
}
