//! Where things are: one region with three zones.

use contract::GroupId;
use std::fmt;

const REGION: &str = "europe-west1";
const ZONES: [&str; 3] = ["europe-west1-a", "europe-west1-b", "europe-west1-c"];

/// A zone or a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Zone(String),
    Region(String),
}

impl Place {
    /// Reads `zones/Z` or `regions/R`.
    pub fn of(text: &str) -> Option<Self> {
        match text.split_once('/')? {
            ("zones", zone) => Some(Place::Zone(zone.to_owned())),
            ("regions", region) => Some(Place::Region(region.to_owned())),
            _ => None,
        }
    }

    /// The place of a simulated group.
    pub fn of_group(name: &str) -> Self {
        let last = name.bytes().last().unwrap_or(b'1');
        if last.is_ascii_digit() && last.is_multiple_of(2) {
            return Place::Region(REGION.to_owned());
        }
        Place::Zone(ZONES[1].to_owned())
    }

    /// Whether there is such a place.
    pub fn exists(&self) -> bool {
        Self::all().contains(self)
    }

    /// All places.
    pub fn all() -> Vec<Self> {
        let zones = ZONES.iter().map(|zone| Place::Zone((*zone).to_owned()));
        zones.chain([Place::Region(REGION.to_owned())]).collect()
    }

    /// Its zones.
    pub fn zones(&self) -> Vec<String> {
        match self {
            Place::Zone(zone) => vec![zone.clone()],
            Place::Region(_) => ZONES.iter().map(|zone| (*zone).to_owned()).collect(),
        }
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

/// The zone of a simulated instance: its group's, or in a region the one that its own zone's last letter stands for.
pub(super) fn zone_of(group: &GroupId, zone: Option<&str>) -> String {
    match Place::of_group(group.as_str()) {
        Place::Zone(zone) => zone,
        Place::Region(_) => {
            let letter = zone.and_then(|zone| zone.bytes().last()).unwrap_or(b'a');
            ZONES[usize::from(letter) % ZONES.len()].to_owned()
        }
    }
}
