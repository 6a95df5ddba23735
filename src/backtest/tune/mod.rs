//! Searches a policy's settings on the first part of recorded load, and judges what it found on the rest.
//!
//! A candidate is never a changed [`Policy`]: its files are edited and read again, so what was scored is what the diff
//! does. The search goes up and down the ladders of `knobs`: all demands together and each setting alone, ever farther from
//! the present ones; then from the best so far either way, by ever fewer rungs. It is deterministic, on however many threads.

mod diff;
mod edit;
mod front;
mod knobs;
#[cfg(test)]
mod tests;

pub use knobs::Knob;

use super::compare::placeless;
use super::{Backtest, Model, Score, Series, Unusable};
use edit::{Home, Origin};
use front::{Worth, beats, spread};
use policies::policy::{Mode, ParseOptions, Policy, PolicySet, Severity, SourceFile, parse, testing};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

/// Rungs that a step of the search skips, round by round.
const STRIDES: [usize; 4] = [4, 2, 1, 1];
/// The points of the front that are judged, at most.
const JUDGED_MAX: usize = 24;
/// A setting that is short for more than this share of the time, in percent, and for more than twice the present one's, is
/// nobody's choice.
const SHORT_MAX: f64 = 5.0;
/// The share of the settings' own sweeps in all replays: one in so many.
const SWEEP_SHARE: usize = 2;

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The share of the load that is searched on; the rest judges.
    pub train: f64,
    /// Candidates that are replayed over the first part, at most.
    pub replays: usize,
    /// Threads.
    pub threads: usize,
    /// A share of time short, in percent, that is of interest in any case.
    pub short_max: Option<f64>,
}

/// A fleet's policy in its files, recorded load and a model.
#[derive(Debug)]
pub struct Tuning<'a> {
    files: &'a [SourceFile],
    set: &'a PolicySet,
    policy: Arc<Policy>,
    model: &'a Model,
    series: &'a [(u16, Series)],
    search: Search,
    home: Home,
    /// The fleet's own files, and where it is in them.
    kept: Vec<SourceFile>,
    near: Home,
    /// The settings that are searched.
    knobs: Vec<Knob>,
    left_out: Vec<(String, &'static str)>,
    /// The first step that is scored, the first of the judging part, and the one after the last.
    parts: (usize, usize, usize),
}

/// A place on each ladder.
type Point = Vec<usize>;

/// One candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    point: Point,
    /// Its score on the first part.
    pub trained: Score,
    /// Its score on the rest.
    pub judged: Score,
}

impl Candidate {
    /// The share of time short, in percent: the worse of the two parts'. The judging part alone may be a calm one.
    pub fn short(&self) -> f64 {
        self.trained.tau_u.max(self.judged.tau_u)
    }
}

/// What came of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The front of shortage, the worse of the two parts', against cost on the judging part; from least short to cheapest.
    pub front: Vec<Candidate>,
    /// The policy as it is.
    pub present: Candidate,
    /// Where on the front that is; `None`: some point is better.
    pub on_front: Option<usize>,
    /// The cheapest point of the front that is at least as good in both, on both parts.
    pub beaten_by: Option<usize>,
    /// Candidates replayed over the first part.
    pub replays: usize,
    /// Points of the first part's front that are not on this one.
    pub dropped: usize,
}

/// A setting as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// The setting's name.
    pub name: String,
    /// Its present value.
    pub now: String,
    /// The dearest and the cheapest value that may be tried.
    pub ladder: (String, String),
    /// `FILE:LINE`, `inherited` or `default`.
    pub written: String,
}

impl<'a> Tuning<'a> {
    /// Prepares a search. `files` are all files of the directory, `set` what they read as; `policy` is one of it.
    ///
    /// # Errors
    /// When there is nothing to search, or no time to judge on.
    pub fn new(
        files: &'a [SourceFile],
        set: &'a PolicySet,
        policy: &Arc<Policy>,
        model: &'a Model,
        series: &'a [(u16, Series)],
        search: Search,
    ) -> Result<Self, Unusable> {
        if policy.mode == Mode::Off {
            return Err(Unusable(format!("fleet `{}` has mode = \"off\": no setting changes anything", policy.id)));
        }
        let whole = Backtest::new(policy, model.clone(), series.to_vec())?;
        let (first, end) = (whole.scene().first_scored(), whole.scene().steps());
        // The cast saturates, and what is left of either part is checked.
        let split = (end as f64 * search.train).round() as usize;
        if split < first + 2 || end < split + 2 {
            return Err(Unusable("the load is too short to search on one part and judge on the rest".into()));
        }
        for (part, steps) in [("searched", first..split), ("judging", split..end)] {
            if whole.scene().known(steps).is_empty() {
                return Err(Unusable(format!("the load is unknown in all of the {part} part")));
            }
        }
        let home = Home::find(files, &policy.id)
            .ok_or_else(|| Unusable(format!("fleet `{}` has no table of its own", policy.id)))?;
        let kept: Vec<SourceFile> = home.files.iter().map(|file| files[*file].clone()).collect();
        let near = home.alone();
        let mut tuning = Self {
            files,
            set,
            policy: Arc::clone(policy),
            model,
            series,
            search,
            home,
            kept,
            near,
            knobs: Vec::new(),
            left_out: Vec::new(),
            parts: (first, split, end),
        };
        for knob in Knob::all(policy, model) {
            match tuning.check(&knob) {
                Ok(()) => tuning.knobs.push(knob),
                Err(why) => tuning.left_out.push((knob.name, why)),
            }
        }
        if tuning.knobs.is_empty() {
            let why = tuning.left_out.first().map_or("its rules have none", |(_, why)| why);
            return Err(Unusable(format!("fleet `{}` has no setting that can be searched: {why}", policy.id)));
        }
        Ok(tuning)
    }

    /// The settings that are searched.
    pub fn searched(&self) -> Vec<Searched> {
        let shown = |knob: &Knob| {
            let last = knob.values.len() - 1;
            Searched {
                name: knob.name.clone(),
                now: knob.text(knob.values[knob.now]),
                ladder: (knob.text(knob.values[0]), knob.text(knob.values[last])),
                written: match self.home.origin(self.files, &knob.spot) {
                    Origin::Own(file, line) => format!("{}:{line}", self.files[file].name),
                    Origin::Inherited => "inherited".into(),
                    Origin::Default => "default".into(),
                },
            }
        };
        self.knobs.iter().map(shown).collect()
    }

    /// Settings that cannot be searched, and why.
    pub fn left_out(&self) -> &[(String, &'static str)] {
        &self.left_out
    }

    /// The first step that is scored, the first of the judging part, and the one after the last.
    pub fn parts(&self) -> (usize, usize, usize) {
        self.parts
    }

    /// Setting and value of what a candidate changes.
    pub fn changes(&self, candidate: &Candidate) -> Vec<(String, String)> {
        let changed = self.knobs.iter().zip(&candidate.point).filter(|(knob, at)| knob.now != **at);
        changed.map(|(knob, at)| (knob.name.clone(), knob.text(knob.values[*at]))).collect()
    }

    /// Searches. `progress` is told how many of how many replays are done.
    ///
    /// # Errors
    /// When a candidate cannot be replayed: a fault of this project, since each setting was checked before.
    pub fn run(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Tuned, Unusable> {
        let present: Point = self.knobs.iter().map(|knob| knob.now).collect();
        let most = self.search.replays.max(1) + JUDGED_MAX;
        let mut known: BTreeMap<Point, Score> = BTreeMap::new();
        let mut budget = self.search.replays.max(1);
        let mut first = vec![present.clone()];
        first.extend(self.sweep(&present).into_iter().take(budget / SWEEP_SHARE));
        let (_, split, _) = self.parts;
        let mut add = |points: Vec<Point>, known: &mut BTreeMap<Point, Score>| -> Result<usize, Unusable> {
            let done = known.len();
            let scores = self.replay_all(&points, split, &mut |more| progress(done + more, most))?;
            let count = points.len();
            known.extend(points.into_iter().zip(scores.into_iter().map(|(trained, _)| trained)));
            Ok(count)
        };
        budget -= add(first, &mut known)?.min(budget);
        for (round, stride) in STRIDES.iter().enumerate() {
            let share = budget / (STRIDES.len() - round);
            budget -= add(self.around(&known, &present, *stride, share), &mut known)?;
        }
        let replays = known.len();
        let mut best = self.best(&known, &present);
        let order = spread(best.len());
        best = order.into_iter().take(JUDGED_MAX - 1).map(|at| best[at].clone()).collect();
        if !best.contains(&present) {
            best.push(present.clone());
        }
        let (_, _, end) = self.parts;
        let scores = self.replay_all(&best, end, &mut |more| progress((replays + more).min(most), most))?;
        let judged: Vec<Candidate> = best
            .into_iter()
            .zip(scores)
            .map(|(point, (trained, judged))| Candidate { point, trained, judged })
            .collect();
        Ok(self.settle(judged, &present, replays))
    }

    fn settle(&self, judged: Vec<Candidate>, present: &Point, replays: usize) -> Tuned {
        let worst = |one: &Candidate| {
            let (_, cost, changed) = self.worth(&one.point, &one.judged);
            (one.short(), cost, changed)
        };
        let worths: Vec<Worth> = judged.iter().map(worst).collect();
        let front: Vec<Candidate> = front::front(&worths).into_iter().map(|at| judged[at].clone()).collect();
        // The present policy was judged with the others.
        let own = judged.iter().position(|one| one.point == *present).unwrap_or(0);
        let present_is = &judged[own];
        let better = |one: &Candidate| {
            let part = |one: &Score, present: &Score| {
                let worth = |score: &Score| (score.tau_u, score.instance_hours, 0);
                let (one, present) = (worth(one), worth(present));
                (one.0 <= present.0 && one.1 <= present.1, beats(one, present))
            };
            let parts = [part(&one.trained, &present_is.trained), part(&one.judged, &present_is.judged)];
            parts.iter().all(|(no_worse, _)| *no_worse) && parts.iter().any(|(_, better)| *better)
        };
        let dropped = judged.len() - front.len();
        Tuned {
            present: judged[own].clone(),
            on_front: front.iter().position(|one| one.point == *present),
            beaten_by: front.iter().rposition(better),
            dropped: dropped - usize::from(!front.iter().any(|one| one.point == *present)).min(dropped),
            front,
            replays,
        }
    }

    /// The diff that makes a candidate of the files, and the names of `[[test]]` tables that pass before and not after.
    /// Empty for the policy as it is.
    ///
    /// # Errors
    /// When the edited files do not read and score exactly as the candidate did.
    pub fn patch(&self, candidate: &Candidate) -> Result<(String, Vec<String>), Unusable> {
        let wrong = |what: &str| Unusable(format!("the edited policy {what}: a fault of skala, please report it"));
        let mut files = self.files.to_vec();
        self.edit(&self.home, &mut files, &candidate.point).map_err(wrong)?;
        let set = self.read_again(&files).map_err(wrong)?;
        let policy = set.fleet(&self.policy.id).ok_or_else(|| wrong("has lost its fleet"))?;
        let (trained, judged) = self.score(policy, self.parts.2)?;
        if (trained, judged) != (candidate.trained, candidate.judged) {
            return Err(wrong("does not score as it did"));
        }
        let changed = self.files.iter().zip(&files);
        let text = changed.map(|(old, new)| diff::unified(old, new)).collect();
        Ok((text, newly_failing(self.set, &set)))
    }

    /// Whether a setting can be written so that it, and nothing else, reads otherwise.
    fn check(&self, knob: &Knob) -> Result<(), &'static str> {
        let at = if knob.now == 0 { 1 } else { 0 };
        let value = knob.values[at];
        let mut files = self.files.to_vec();
        self.home.set(&mut files, &knob.spot, &knob.written(&self.policy, value))?;
        let set = self.read_again(&files)?;
        let strange = "the edited file does not read as it should";
        let edited = set.fleet(&self.policy.id).ok_or(strange)?;
        if !knob.read(edited).is_some_and(|read| knobs::is_near(read, value)) {
            return Err(strange);
        }
        let mut back = placeless(edited);
        let now = knob.values[knob.now];
        knob.write(&mut back, now);
        let mut own = placeless(&self.policy);
        knob.write(&mut own, now);
        if back != own {
            return Err(strange);
        }
        // A fleet's own few files must give the same policy as all of them.
        let mut kept = self.kept.clone();
        self.near.set(&mut kept, &knob.spot, &knob.written(&self.policy, value))?;
        let (near, _) = parse(&kept, &self.options());
        match near.fleet(&self.policy.id) {
            Some(near) if placeless(near) == placeless(edited) => Ok(()),
            _ => Err(strange),
        }
    }

    fn options(&self) -> ParseOptions<'static> {
        ParseOptions { default_interval: self.set.default_interval, ..ParseOptions::default() }
    }

    /// Reads all files again; every other fleet must be as it was.
    fn read_again(&self, files: &[SourceFile]) -> Result<PolicySet, &'static str> {
        let (set, found) = parse(files, &self.options());
        if found.iter().any(|one| one.severity == Severity::Error) {
            return Err("there is no place for it in the way the file is written");
        }
        let others = |set: &PolicySet| -> Vec<Policy> {
            let own = |policy: &&Arc<Policy>| policy.id != self.policy.id;
            set.fleets.iter().filter(own).map(|policy| placeless(policy)).collect()
        };
        if others(&set) != others(self.set) {
            return Err("writing it would change another fleet");
        }
        Ok(set)
    }

    fn edit(&self, home: &Home, files: &mut [SourceFile], point: &[usize]) -> Result<(), &'static str> {
        for (knob, at) in self.knobs.iter().zip(point).filter(|(knob, at)| knob.now != **at) {
            home.set(files, &knob.spot, &knob.written(&self.policy, knob.values[*at]))?;
        }
        Ok(())
    }

    /// All demands together and then each setting alone, ever farther from the present ones.
    fn sweep(&self, present: &Point) -> Vec<Point> {
        let longest = self.knobs.iter().map(|knob| knob.values.len()).max().unwrap_or(0);
        let strides: Vec<usize> = std::iter::successors(Some(STRIDES[0]), |stride| Some(stride * 2))
            .take_while(|stride| *stride < longest)
            .collect();
        let mut points: Vec<Point> = strides.iter().flat_map(|stride| self.together(present, *stride)).collect();
        points.extend(strides.iter().flat_map(|stride| self.alone(present, *stride)));
        unique(points).into_iter().filter(|point| point != present).collect()
    }

    /// Neighbours of the best so far that are not known yet, at most so many.
    fn around(&self, known: &BTreeMap<Point, Score>, present: &Point, stride: usize, most: usize) -> Vec<Point> {
        let best = self.best(known, present);
        let moves = |at: usize| [self.together(&best[at], stride), self.alone(&best[at], stride)].concat();
        let points = spread(best.len()).into_iter().flat_map(moves).collect();
        unique(points).into_iter().filter(|point| !known.contains_key(point)).take(most).collect()
    }

    /// One step of this many rungs on all ladders that say how much is needed; either way.
    fn together(&self, from: &Point, stride: usize) -> Vec<Point> {
        let step = |cheaper: bool| {
            let all = self.knobs.iter().zip(from);
            all.map(|(knob, at)| if knob.is_demand() { step(*at, knob, stride, cheaper) } else { *at }).collect()
        };
        vec![step(true), step(false)]
    }

    /// One step of this many rungs on each ladder alone; either way.
    fn alone(&self, from: &Point, stride: usize) -> Vec<Point> {
        let mut points = Vec::new();
        for (index, knob) in self.knobs.iter().enumerate() {
            for cheaper in [true, false] {
                let mut point = from.clone();
                point[index] = step(from[index], knob, stride, cheaper);
                points.push(point);
            }
        }
        points
    }

    /// The front of the first part, as far as anybody would want to be short.
    fn best(&self, known: &BTreeMap<Point, Score>, present: &Point) -> Vec<Point> {
        let own = known.get(present).map_or(0.0, |score| score.tau_u);
        let limit = SHORT_MAX.max(2.0 * own).max(self.search.short_max.unwrap_or(0.0));
        let wanted: Vec<(&Point, &Score)> = known.iter().filter(|(_, score)| score.tau_u <= limit).collect();
        let worths: Vec<Worth> = wanted.iter().map(|(point, score)| self.worth(point, score)).collect();
        front::front(&worths).into_iter().map(|at| wanted[at].0.clone()).collect()
    }

    fn worth(&self, point: &[usize], score: &Score) -> Worth {
        let changed = self.knobs.iter().zip(point).filter(|(knob, at)| knob.now != **at).count();
        (score.tau_u, score.instance_hours, changed)
    }

    /// Replays candidates up to before the step `end`, each with its scores on both parts, in their order.
    fn replay_all(
        &self,
        points: &[Point],
        end: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<(Score, Score)>, Unusable> {
        let next = AtomicUsize::new(0);
        let (send, results) = mpsc::channel();
        let mut scores: Vec<Option<Result<(Score, Score), Unusable>>> = points.iter().map(|_| None).collect();
        std::thread::scope(|scope| {
            for _ in 0..self.search.threads.clamp(1, points.len().max(1)) {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    while let Some((at, point)) = next_of(next, points) {
                        // Nobody waits for it any more only when another has failed.
                        let _ = send.send((at, self.replay(point, end)));
                    }
                });
            }
            drop(send);
            for (done, (at, score)) in results.iter().enumerate() {
                scores[at] = Some(score);
                progress(done + 1);
            }
        });
        let lost = || Err(Unusable("a replay was lost: a fault of skala, please report it".into()));
        scores.into_iter().map(|score| score.unwrap_or_else(lost)).collect()
    }

    fn replay(&self, point: &[usize], end: usize) -> Result<(Score, Score), Unusable> {
        let mut files = self.kept.clone();
        self.edit(&self.near, &mut files, point).map_err(|why| Unusable(why.into()))?;
        let (set, _) = parse(&files, &self.options());
        let policy = set.fleet(&self.policy.id).ok_or_else(|| {
            let changed = self.knobs.iter().zip(point).filter(|(knob, at)| knob.now != **at);
            let shown: Vec<String> =
                changed.map(|(knob, at)| format!("{} = {}", knob.name, knob.text(knob.values[*at]))).collect();
            Unusable(format!("no policy with {}: a fault of skala, please report it", shown.join(", ")))
        })?;
        self.score(policy, end)
    }

    /// A policy's scores on both parts, where the load is known, when it is replayed up to before the step `end`.
    fn score(&self, policy: &Policy, end: usize) -> Result<(Score, Score), Unusable> {
        let backtest = Backtest::new(policy, self.model.clone(), self.series.to_vec())?;
        let (first, split, _) = self.parts;
        let (supply, _) = backtest.replay(end, &mut |_| {});
        Ok((backtest.score_known(&supply, first..split), backtest.score_known(&supply, split..end)))
    }
}

/// So many rungs along a ladder, as far as it goes.
fn step(at: usize, knob: &Knob, stride: usize, cheaper: bool) -> usize {
    if cheaper { (at + stride).min(knob.values.len() - 1) } else { at.saturating_sub(stride) }
}

fn next_of<'p>(next: &AtomicUsize, points: &'p [Point]) -> Option<(usize, &'p Point)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    points.get(at).map(|point| (at, point))
}

/// Each once, in the order of their first mention.
fn unique(points: Vec<Point>) -> Vec<Point> {
    let mut seen = std::collections::BTreeSet::new();
    points.into_iter().filter(|point| seen.insert(point.clone())).collect()
}

/// Tests that pass with one set and fail with the other.
fn newly_failing(before: &PolicySet, after: &PolicySet) -> Vec<String> {
    let failing = |set: &PolicySet| -> Vec<(String, bool)> {
        let results = testing::run(set).into_iter();
        results.map(|one| (format!("{}: {}", one.fleet, one.name), !one.failures.is_empty())).collect()
    };
    let (before, after) = (failing(before), failing(after));
    let new = after.into_iter().zip(before).filter(|((_, now), (_, then))| *now && !*then);
    new.map(|((name, _), _)| name).collect()
}
