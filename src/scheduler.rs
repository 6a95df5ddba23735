//! When cycles run: the actor's loop, ticks with splay, and a graceful stop. In: control, answers, outcomes, time. One
//! task turns them into one order, and `select!` is always biased, so that a seed gives one run.
//!
//! ```text
//!  start --> turning --Stop--> draining --calls ended, or 35 s--> saved
//!    |          ^  |
//!    |          +--+ control, answers, outcomes, the next due time
//!    +--> no policies
//! ```

use crate::app::{Seams, Settings, StopReason};
use crate::control::{Control, OverrideRefused, ReloadRefused};
use crate::cycle::Cycle;
use crate::cycle::overrides::Asked;
use crate::published::Published;
use policies::policy::Policy;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages taken at once, so that fleets whose answers came together are decided together.
const MESSAGES: usize = 1_024;
/// The longest wait for running calls: their own deadline, and a little.
const DRAIN: Duration = Duration::from_secs(35);

/// Fleets by time.
#[derive(Debug, Default)]
pub(crate) struct Agenda(BTreeMap<Duration, Vec<u32>>);

impl Agenda {
    pub fn add(&mut self, at: Duration, fleet: u32) {
        self.0.entry(at).or_default().push(fleet);
    }

    pub fn first(&self) -> Option<Duration> {
        self.0.keys().next().copied()
    }

    pub fn last(&self) -> Option<Duration> {
        self.0.keys().next_back().copied()
    }

    /// Takes out everything up to and including `now`.
    pub fn pop(&mut self, now: Duration) -> Vec<(Duration, u32)> {
        let mut all = Vec::new();
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() <= now) {
            let at = *entry.key();
            all.extend(entry.remove().into_iter().map(|fleet| (at, fleet)));
        }
        all
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// When a fleet's next cycle is due after one that began at `now`. The times lie on a grid whose splay is its account's:
/// fleets of one account meet in one call, accounts do not all call at once.
pub(crate) fn next_due(now: Duration, policy: &Policy) -> Duration {
    let mut hasher = DefaultHasher::new();
    policy.groups.first().map(|group| &group.provider).hash(&mut hasher);
    grid(now, policy.interval, hasher.finish())
}

/// The first time on the grid that is at least half an interval away, so that no two cycles crowd.
fn grid(now: Duration, interval: Duration, hash: u64) -> Duration {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let step = micros(interval).max(1);
    let splay = hash % step;
    let soonest = micros(now).saturating_add(step / 2);
    let steps = soonest.saturating_sub(splay).div_ceil(step);
    Duration::from_micros(splay.saturating_add(steps.saturating_mul(step)))
}

/// Runs a daemon until it is asked to stop.
pub(crate) async fn run(seams: Seams, settings: Settings, published: Published) -> StopReason {
    let mut seams = seams;
    let (finished_in, mut finished) = mpsc::channel(MESSAGES);
    let (ended_in, mut ended) = mpsc::channel(MESSAGES);
    let (_closed, never) = mpsc::channel(1);
    let mut control = Some(std::mem::replace(&mut seams.control, never));
    let mut cycle = Cycle::new(seams, settings, published, finished_in, ended_in);
    if let Some(reason) = cycle.start().await {
        return reason;
    }
    let (mut answers, mut outcomes) = (Vec::new(), Vec::new());
    loop {
        cycle.turn().await;
        let wait = cycle.next_wake().saturating_sub(cycle.clock.monotonic());
        tokio::select! {
            biased;
            asked = next(&mut control) => match asked {
                Some(Control::Stop) => break,
                Some(asked) => carry_out(&mut cycle, asked).await,
                None => control = None,
            },
            _ = ended.recv_many(&mut outcomes, MESSAGES) => {}
            _ = finished.recv_many(&mut answers, MESSAGES) => {}
            () = tokio::time::sleep(cycle.clock.timer(wait)) => {}
        }
        // A flood of answers must not keep outcomes waiting.
        while let Ok(one) = ended.try_recv() {
            outcomes.push(one);
        }
        if !outcomes.is_empty() {
            cycle.ended(std::mem::take(&mut outcomes)).await;
        }
        cycle.arrived(answers.drain(..));
    }
    cycle.show_stopping();
    let refusals = refuse_rest(control);
    drain(&mut cycle, &mut ended).await;
    drop(refusals);
    cycle.finish_run().await
}

/// The next request; none ever again when nobody is left who could ask.
async fn next(control: &mut Option<mpsc::Receiver<Control>>) -> Option<Control> {
    match control {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

async fn carry_out(cycle: &mut Cycle, asked: Control) {
    // Whoever asked may have gone: the answer is for them alone.
    match asked {
        Control::Stop => {}
        Control::Reload { allow_removal, reply } => {
            let answer = cycle.reload(allow_removal).await;
            if let Some(reply) = reply {
                let _ = reply.send(answer);
            }
        }
        Control::Save { fleet, reply } => {
            cycle.save_fleet(&fleet).await;
            let _ = reply.send(());
        }
        Control::Override { fleet, ask, lasts, reason, by, reply } => {
            let _ = reply.send(cycle.override_fleet(Asked { fleet, ask, lasts, reason, by }).await);
        }
        Control::Release { fleet, by, reply } => {
            let _ = reply.send(cycle.release_fleet(fleet, &by).await);
        }
    }
}

/// Tells everybody who still asks that the daemon is stopping.
fn refuse_rest(control: Option<mpsc::Receiver<Control>>) -> Option<mpsc::Receiver<Control>> {
    let mut control = control?;
    control.close();
    while let Ok(asked) = control.try_recv() {
        match asked {
            Control::Stop | Control::Reload { reply: None, .. } => {}
            Control::Reload { reply: Some(reply), .. } => drop(reply.send(Err(ReloadRefused::Stopping))),
            Control::Save { reply, .. } => drop(reply.send(())),
            Control::Override { reply, .. } => drop(reply.send(Err(OverrideRefused::Stopping))),
            Control::Release { reply, .. } => drop(reply.send(Err(OverrideRefused::Stopping))),
        }
    }
    Some(control)
}

/// Waits for running calls, so that their outcomes are recorded.
async fn drain(cycle: &mut Cycle, ended: &mut mpsc::Receiver<crate::cycle::act::Ended>) {
    let until = cycle.clock.monotonic() + DRAIN;
    let mut outcomes = Vec::new();
    while cycle.calls_in_air() > 0 {
        let left = until.saturating_sub(cycle.clock.monotonic());
        if tokio::time::timeout(left, ended.recv_many(&mut outcomes, MESSAGES)).await.is_err() {
            tracing::warn!(calls = cycle.calls_in_air(), "Stopped with calls under way; the next start looks first.");
            return;
        }
        cycle.ended(std::mem::take(&mut outcomes)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_keep_to_the_grid_and_never_crowd() {
        let secs = Duration::from_secs;
        for hash in [0, 7, u64::MAX] {
            let mut now = secs(3);
            let first = grid(now, secs(15), hash);
            assert!(first >= secs(10) && first <= secs(26), "{first:?}");
            for step in 1..100 {
                now = grid(now, secs(15), hash);
                assert_eq!(now, first + secs(15) * (step - 1));
            }
            // A loop that was late for three intervals goes on at the next point, it does not catch up.
            let late = grid(now + secs(46), secs(15), hash);
            assert_eq!((late - first).as_micros() % secs(15).as_micros(), 0);
            assert!(late >= now + secs(53) && late <= now + secs(69), "{late:?}");
        }
    }

    #[test]
    fn an_agenda_gives_what_is_due_in_order() {
        let mut agenda = Agenda::default();
        for (at, fleet) in [(5, 1), (3, 2), (5, 3), (9, 4)] {
            agenda.add(Duration::from_secs(at), fleet);
        }
        let fleets = |due: Vec<(Duration, u32)>| due.into_iter().map(|(_, fleet)| fleet).collect::<Vec<_>>();
        assert_eq!(fleets(agenda.pop(Duration::from_secs(5))), [2, 1, 3]);
        assert_eq!(agenda.first(), Some(Duration::from_secs(9)));
    }
}
