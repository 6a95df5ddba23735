//! What may be in one place at most, and what that is worth when it is lost.

use super::stand::Stand;
use crate::policy::{Policy, Spread};
use contract::Capacity;
use std::collections::BTreeMap;

/// The shared limits of a fleet's groups.
#[derive(Debug, Default)]
pub(super) struct Domains {
    /// The largest share of each.
    pub shares: Vec<f64>,
    /// For each group: which it counts against, and with what part of its capacity.
    pub of: Vec<Vec<(usize, f64)>>,
}

/// The limits that a policy sets: one for each group, each cloud and each zone that anything is in.
pub(super) fn domains(policy: &Policy, stands: &[Stand]) -> Domains {
    let Spread { group_max, cloud_max, zone_max, .. } = policy.spread;
    let mut domains = Domains { shares: Vec::new(), of: vec![Vec::new(); stands.len()] };
    let mut clouds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut zones: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, (own, stand)) in policy.groups.iter().zip(stands).enumerate() {
        if let Some(share) = group_max {
            domains.of[at].push((domains.shares.len(), 1.0));
            domains.shares.push(share);
        }
        if let Some(share) = cloud_max {
            let cloud = clouds.entry(&own.provider).or_insert_with(|| {
                domains.shares.push(share);
                domains.shares.len() - 1
            });
            domains.of[at].push((*cloud, 1.0));
        }
        let Some(share) = zone_max else { continue };
        // Where nothing is yet, the cloud will choose; a group that names its zone is in that one.
        let named = own.zone.iter().map(|zone| (zone, 1)).take(usize::from(stand.zones.is_empty()));
        let there: Vec<_> = stand.zones.iter().map(|(zone, n)| (zone, *n)).chain(named).collect();
        let all: Capacity = there.iter().map(|(_, n)| n).sum();
        for (zone, n) in there {
            // Zones of the same name in two clouds are two zones.
            let domain = zones.entry((&own.provider, zone)).or_insert_with(|| {
                domains.shares.push(share);
                domains.shares.len() - 1
            });
            domains.of[at].push((*domain, f64::from(n) / f64::from(all.max(1))));
        }
    }
    domains
}

/// How much capacity there must be so that `need` is left when the largest zone or cloud is lost, which holds at most its
/// share of it: need / (1 - share).
pub(crate) fn reserve(policy: &Policy, need: Capacity) -> Capacity {
    let Some(share) = policy.spread.lost_max() else { return need };
    let whole = f64::from(need) / (1.0 - share);
    (whole - whole * 1e-12).ceil().min(f64::from(Capacity::MAX)) as Capacity
}
