//! What happened since the last decision goes into memory: outcomes of calls, and a restart.

use crate::memory::{Event, FleetMemory, GroupMemory, Outcome};
use crate::observe::keep_groups;
use crate::placement::{drain, offering};
use crate::policy::Policy;
use contract::Timestamp;

/// Takes in what happened since the last decision.
///
/// An accepted call changes nothing: its booking was made when the plan was recorded. A refusal before any effect puts
/// the booking back (safety rule 6). An unclear outcome keeps it: it may have taken effect.
pub fn absorb(policy: &Policy, memory: &mut FleetMemory, events: &[Event], now: Timestamp) {
    // Events speak of the policy's groups, which a reload may have put into another order.
    keep_groups(policy, memory);
    for event in events {
        match event {
            Event::Outcome { group, outcome: Outcome::Refused, cannot_launch, blames_group } => {
                let group = usize::from(*group);
                note_refusal(policy, memory, group, [*cannot_launch, *blames_group], now);
                put_back(memory, group);
            }
            Event::Outcome { .. } => {}
            Event::Drain { group, instance, end } => drain::note(memory, usize::from(*group), instance, *end),
            Event::Restarted => count_absence(policy, memory, now),
        }
    }
}

/// Takes in recorded values of one metric, by its name and oldest first: from a metrics store at the start or after a gap.
///
/// They feed the forecasters of `objective` rules only: no window counts them as observed, and what such a rule knows
/// already is not learned twice. Values of metrics that the fleet does not have are ignored.
pub fn absorb_history(policy: &Policy, memory: &mut FleetMemory, metric: &str, values: &[(Timestamp, f64)]) {
    let index = policy.metrics.iter().position(|own| own.name.as_ref() == metric);
    if let Some(index) = index.and_then(|index| u16::try_from(index).ok()) {
        crate::rules::learn_history(policy, memory, index, values);
    }
}

/// What a refusal says of the place where there is a choice of places.
fn note_refusal(
    policy: &Policy,
    memory: &mut FleetMemory,
    group: usize,
    [cannot_launch, blames_group]: [bool; 2],
    now: Timestamp,
) {
    let Some(offering) = offering::of_mut(policy, memory, group) else { return };
    if cannot_launch {
        offering.fail(now);
    }
    let flight = memory.groups.get(group).and_then(|group| group.in_flight.as_ref());
    let Some((at, is_raise)) = flight.map(|flight| (flight.at, flight.is_raise())) else { return };
    if let Some(offering) = offering::of_mut(policy, memory, group) {
        offering.refused(at);
    }
    if is_raise && blames_group {
        offering::note_raise(policy, memory, group, false, now);
    }
}

fn put_back(memory: &mut FleetMemory, group: usize) {
    let Some(group) = memory.groups.get_mut(group) else { return };
    let Some(flight) = group.in_flight.take() else { return };
    group.desired = Some(flight.from);
    let Some(undo) = flight.undo else { return };
    // A cooldown is the fleet's: it stays while another group's part of the same plan does.
    let same_plan = |other: &GroupMemory| other.in_flight.as_ref().is_some_and(|other| other.at == flight.at);
    if !memory.groups.iter().any(same_plan) {
        memory.last_out = undo.last_out;
        memory.last_in = undo.last_in;
    }
    let booked = memory.changes.0.iter().rposition(|entry| entry.0 == flight.at && entry.1 == undo.change);
    if let Some(at) = booked {
        memory.changes.0.remove(at);
    }
}

/// Windows count observed time only (safety rule 8): what the daemon did not see, it waits for again.
fn count_absence(policy: &Policy, memory: &mut FleetMemory, now: Timestamp) {
    let Some(last) = memory.now else { return };
    let absence = now.since(last);
    drain::count_absence(memory, absence);
    if absence > policy.gap_max() {
        // The next recommendation finds the gap by itself and starts the window again.
        return;
    }
    memory.recommended_in.shift(absence);
    memory.covered_since = memory.covered_since.map(|since| since.after(absence));
    memory.covered_until = memory.covered_until.map(|until| until.after(absence));
}
