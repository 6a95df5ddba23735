//! How a capacity is best laid out over the groups: minima first, then one group after the other in the order of
//! preference, within each group's own bounds and the shares that no group, cloud or zone may exceed. Pure arithmetic; who
//! moves where from what there is is the planner's (`several.rs`).

use contract::Capacity;

/// One group, in the order of preference.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// What one instance counts for.
    pub weight: u64,
    /// Instances at least and at most.
    pub low: u64,
    pub high: u64,
    /// The shared limits that it counts against: which, and the part of its capacity that does.
    pub domains: Vec<(usize, f64)>,
}

/// A layout: instances of each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub instances: Vec<u64>,
    /// What could not be laid out, in the fleet's numbers.
    pub rest: u64,
    /// Of the instances, those within the shares. For the others the shares were given up: capacity that is missing is
    /// worse than capacity in one place.
    pub within: Vec<u64>,
}

/// Lays out `need`; `shares` are the largest shares of the domains.
pub(super) fn fill(slots: &[Slot], need: Capacity, shares: &[f64]) -> Layout {
    let limits: Vec<f64> = shares.iter().map(|share| limit(*share, need)).collect();
    let need = u64::from(need);
    let mut filling = Filling { slots, instances: slots.iter().map(|slot| slot.low).collect() };
    filling.add(need, Some(&limits));
    let within = filling.instances.clone();
    filling.add(need, None);
    let rest = need.saturating_sub(filling.total());
    Layout { instances: filling.instances, rest, within }
}

/// What a share of a capacity is, in whole numbers: the least that is no less.
pub(super) fn limit(share: f64, need: Capacity) -> f64 {
    (share * f64::from(need) - 1e-9).ceil()
}

struct Filling<'s> {
    slots: &'s [Slot],
    instances: Vec<u64>,
}

impl Filling<'_> {
    fn total(&self) -> u64 {
        self.slots.iter().zip(&self.instances).map(|(slot, n)| slot.weight * n).sum()
    }

    fn used(&self, domain: usize) -> f64 {
        let part = |slot: &Slot| slot.domains.iter().filter(|(of, _)| *of == domain).map(|(_, part)| part).sum::<f64>();
        self.slots.iter().zip(&self.instances).map(|(slot, n)| part(slot) * (slot.weight * n) as f64).sum()
    }

    fn add(&mut self, need: u64, limits: Option<&[f64]>) {
        for (at, slot) in self.slots.iter().enumerate() {
            let missing = need.saturating_sub(self.total());
            if missing == 0 {
                return;
            }
            let room = slot.high.saturating_sub(self.instances[at]);
            let mut more = missing.div_ceil(slot.weight).min(room);
            for (domain, part) in slot.domains.iter().filter(|_| limits.is_some()) {
                let limit = limits.and_then(|limits| limits.get(*domain)).copied().unwrap_or(f64::INFINITY);
                let left = (limit - self.used(*domain)) / (part * slot.weight as f64);
                more = more.min((left + 1e-9).max(0.0) as u64);
            }
            self.instances[at] += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(weight: u64, low: u64, high: u64, domains: &[(usize, f64)]) -> Slot {
        Slot { weight, low, high, domains: domains.to_vec() }
    }

    #[test]
    fn the_preferred_is_filled_first_and_minima_before_it() {
        let slots = [slot(1, 0, 6, &[]), slot(1, 2, 100, &[]), slot(1, 0, 100, &[])];
        assert_eq!(fill(&slots, 5, &[]).instances, [3, 2, 0]);
        assert_eq!(fill(&slots, 20, &[]).instances, [6, 14, 0]);
        assert_eq!(fill(&slots, 1, &[]).instances, [0, 2, 0], "a minimum holds also where less is needed");
    }

    #[test]
    fn weights_cover_what_is_needed_with_less_than_one_instance_too_much() {
        let slots = [slot(4, 0, 3, &[]), slot(1, 0, 100, &[])];
        assert_eq!(fill(&slots, 10, &[]).instances, [3, 0]);
        assert_eq!(fill(&slots, 14, &[]).instances, [3, 2]);
    }

    #[test]
    fn what_has_no_place_is_said() {
        let layout = fill(&[slot(2, 0, 3, &[])], 10, &[]);
        assert_eq!((layout.instances, layout.rest), (vec![3], 4));
    }

    #[test]
    fn shares_hold_until_capacity_would_be_missing() {
        let slots = [slot(1, 0, 100, &[(0, 1.0)]), slot(1, 0, 100, &[(1, 1.0)])];
        let shares = [0.5, 0.5];
        assert_eq!(fill(&slots, 9, &shares).instances, [5, 4]);
        let narrow = [slots[0].clone(), slot(1, 0, 2, &[(1, 1.0)])];
        let layout = fill(&narrow, 10, &shares);
        assert_eq!((layout.instances, layout.within), (vec![8, 2], vec![5, 2]));
    }

    #[test]
    fn a_group_over_several_zones_counts_in_parts() {
        // Zones a and b at most a half each; the first group is in both, the second in b alone.
        let slots = [slot(1, 0, 4, &[(0, 0.5), (1, 0.5)]), slot(1, 0, 100, &[(1, 1.0)])];
        assert_eq!(
            fill(&slots, 6, &[0.5, 0.5]).instances,
            [4, 2],
            "2 + 1 in b, and the last one by giving the share up"
        );
    }
}
