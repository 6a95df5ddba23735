//! How instances are drained before they are terminated: `[drain]`.

use super::reader::Reader;
use super::units;
use std::time::Duration;

/// An instance leaves at the latest after this, unless the policy says otherwise.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// What is done before an instance is terminated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The drainer's name in skala.toml.
    pub with: Box<str>,
    /// An instance that has not finished by then is terminated all the same.
    pub deadline: Duration,
}

/// Reads `[drain]`.
pub(super) fn read_drain(r: &mut Reader<'_>, drainers: Option<&[&str]>) -> Option<Drain> {
    let mut r = r.table("drain")?;
    let why = Some("the NAME of a [drainer.NAME] in skala.toml");
    let with = r.need_or("with", units::listed("drainer", drainers), why);
    let deadline = r.take("deadline", units::duration(Duration::from_secs(1)..=units::DAY));
    r.finish();
    Some(Drain { with: with?.as_ref().into(), deadline: deadline.unwrap_or(DEADLINE_DEFAULT) })
}
