//! Text of the typed reasons, made only where it is shown.

use crate::placement::PlaceWhy;
use crate::policy::{Policy, RuleKind, Survive};
use crate::service::TRUSTED;
use crate::trace::{Answer, Bound, Calculation, Forecaster, LimitBy, Sizing, SizingBound, Why};
use contract::Timestamp;
use std::fmt::{self, Formatter, Result};
use std::time::Duration;

/// A duration as people write it: `90s`, `5m`, `1h30m`.
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let secs = self.0.as_secs();
        match (secs / 3600, secs % 3600 / 60, secs % 60) {
            (0, 0, _) if self.0.subsec_millis() > 0 => write!(f, "{}ms", self.0.as_millis()),
            (0, 0, s) => write!(f, "{s}s"),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m{s}s"),
            (h, 0, 0) => write!(f, "{h}h"),
            (h, m, 0) => write!(f, "{h}h{m}m"),
            (h, m, s) => write!(f, "{h}h{m}m{s}s"),
        }
    }
}

/// A time as RFC 3339, to the second.
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match jiff::Timestamp::from_microsecond(self.0.0) {
            Ok(time) => write!(f, "{time:.0}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

/// A number without noise: at most six significant digits.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let magnitude = self.0.abs();
        let decimals = if magnitude >= 1e5 {
            0
        } else if magnitude >= 100.0 {
            2
        } else {
            4
        };
        let text = format!("{:.decimals$}", self.0);
        let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        f.write_str(trimmed)
    }
}

/// A share as a percentage of two significant digits.
struct Share(f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let percent = self.0 * 100.0;
        if percent >= 0.995 {
            write!(f, "{percent:.1} %")
        } else if percent >= 0.000_1 {
            write!(f, "{percent:.4} %")
        } else {
            f.write_str("less than 0.0001 %")
        }
    }
}

/// What becomes of a load that may be larger than what was measured.
fn censored(saturated: bool) -> &'static str {
    if saturated { "; all busy, so not less" } else { "" }
}

fn rule_name(policy: &Policy, rule: u16) -> &str {
    policy.rules.get(usize::from(rule)).map_or("?", |rule| &rule.name)
}

fn metric_name(policy: &Policy, metric: u16) -> &str {
    policy.metrics.get(usize::from(metric)).map_or("?", |metric| &metric.name)
}

fn limited_by(f: &mut Formatter<'_>, by: LimitBy, policy: &Policy) -> Result {
    match by {
        LimitBy::Policy => f.write_str("by policy"),
        LimitBy::Schedule(rule) => write!(f, "by schedule {}", rule_name(policy, rule)),
        LimitBy::Cloud => f.write_str("by the cloud's own bounds"),
        LimitBy::Group => f.write_str("by the groups' bounds"),
    }
}

pub(crate) fn limit_by(policy: &Policy, by: LimitBy) -> String {
    match by {
        LimitBy::Policy => "policy".into(),
        LimitBy::Schedule(rule) => format!("schedule {}", rule_name(policy, rule)),
        LimitBy::Cloud => "cloud".into(),
        LimitBy::Group => "group".into(),
    }
}

pub(crate) fn why(f: &mut Formatter<'_>, why: &Why, policy: &Policy) -> Result {
    match why {
        Why::Nothing => Ok(()),
        Why::Combined { values, abstained, unknown, largest, reserve } => {
            combined(f, *values, *abstained, *unknown, *largest)?;
            match (reserve, policy.spread.survive) {
                (0, _) | (_, None) => Ok(()),
                (reserve, Some(Survive::Zone)) => write!(f, ", {reserve} of it to survive the loss of a zone"),
                (reserve, Some(Survive::Cloud)) => write!(f, ", {reserve} of it to survive the loss of a cloud"),
            }
        }
        Why::Blind => f.write_str("no rule has a usable reading"),
        Why::BlindRaise { blind_for } => {
            write!(f, "no rule has had a usable reading for {}: on_missing raises", Span(*blind_for))
        }
        Why::BoundsOnly => f.write_str("no rule recommends, the bounds decide"),
        Why::Pinned { until } => write!(f, "pinned until {}", Time(*until)),
        Why::PartialBlocksIn => f.write_str("a rule without a usable reading blocks scale-in"),
        Why::Guarded { rule, unknown, lingers } => {
            let state = if *unknown {
                "is unknown"
            } else if *lingers {
                "was true lately"
            } else {
                "is true"
            };
            write!(f, "guard {} {state}", rule_name(policy, *rule))
        }
        Why::Flap { rule } => write!(f, "{} would add back what is removed", rule_name(policy, *rule)),
        Why::SmallestInWindow(window) => write!(f, "smallest recommendation of the last {}", Span(*window)),
        Why::LargestInWindow(window) => write!(f, "largest recommendation of the last {}", Span(*window)),
        Why::Uncovered { observed, window } => {
            write!(f, "observed for {} of the window of {}", Span(*observed), Span(*window))
        }
        Why::Min(by) => f.write_str("min, ").and_then(|()| limited_by(f, *by, policy)),
        Why::Max(by) => f.write_str("max, ").and_then(|()| limited_by(f, *by, policy)),
        Why::MaxBlocked(reason) => write!(f, "max is lower, but scale-in is blocked: {reason}"),
        Why::Cooling { remaining, after_scale_out: false } => write!(f, "cooldown for {} more", Span(*remaining)),
        Why::Cooling { remaining, .. } => write!(f, "after a scale-out, for {} more", Span(*remaining)),
        Why::Paced { limit } => write!(f, "the rate allows {limit}"),
        Why::DirectionOff => f.write_str("select = \"off\""),
        Why::Braked { left } => write!(f, "the brakes leave {left}"),
        Why::Placed { asked } => write!(f, "what the groups make of {asked}"),
        Why::Removable { removable } => write!(f, "{removable} can be removed"),
        Why::Held(reason) => f.write_str(reason.meaning()),
        Why::Group(error) => write!(f, "a group could not be read: {error}"),
    }
}

impl fmt::Display for PlaceWhy {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            PlaceWhy::Preferred => "preferred",
            PlaceWhy::NextWithRoom => "the next one with room",
            PlaceWhy::TakesOver => "takes over what others cannot launch",
            PlaceWhy::GivesUp => "cannot launch it; asked for elsewhere",
            PlaceWhy::Probe => "a probe: it could not launch lately",
            PlaceWhy::TakenBack => "drains there, and is wanted again",
            PlaceWhy::Returns => "can launch again, and is preferred",
            PlaceWhy::Spreads => "others hold more than their bounds or share",
            PlaceWhy::Withdrawn => "not needed any more, and never came",
            PlaceWhy::LeastPreferred => "the least preferred that can spare it",
            PlaceWhy::Bounds => "its own min",
            PlaceWhy::KeptServing => "kept until what boots serves",
            PlaceWhy::Closed(reason) => return write!(f, "left alone: {reason}"),
            PlaceWhy::CannotLaunch => "left alone: it could not launch lately",
            PlaceWhy::NoEffect(raises) => return write!(f, "left alone: its last {raises} raises had no effect"),
            PlaceWhy::AboveShare { survives: false } => "above its share: no other place can take it",
            PlaceWhy::AboveShare { survives: true } => {
                "above its share: no other place can take it, and its loss may leave too little"
            }
        })
    }
}

fn combined(f: &mut Formatter<'_>, values: u16, abstained: u16, unknown: u16, largest: bool) -> Result {
    match (values, largest) {
        (0, _) => f.write_str("no rule asks for a change")?,
        (1, _) => f.write_str("the only value")?,
        (n, true) => write!(f, "largest of {n}")?,
        (n, false) => write!(f, "smallest of {n}")?,
    }
    if abstained > 0 {
        write!(f, ", {abstained} abstained")?;
    }
    if unknown > 0 {
        write!(f, ", {unknown} unknown")?;
    }
    Ok(())
}

pub(crate) fn answer(f: &mut Formatter<'_>, answer: &Answer, policy: &Policy) -> Result {
    match answer {
        Answer::Value(_, calculation) => self::calculation(f, calculation, policy),
        Answer::OutOnly(_, calculation) => {
            self::calculation(f, calculation, policy)?;
            f.write_str(match calculation {
                Calculation::Learning { .. } => ", and not less",
                Calculation::Objective { sizing: Some(Sizing { unknown: true, .. }), .. } => {
                    "; the utilization is unknown now, so not less"
                }
                _ => "; too few members to recommend less",
            })
        }
        Answer::Abstain(value) => write!(f, "no step matches {}", Number(*value)),
        Answer::Unknown(metric, why) => {
            write!(f, "{}: {why}", metric_name(policy, *metric))
        }
        Answer::Undefined(why) => write!(f, "{why}"),
    }
}

fn calculation(f: &mut Formatter<'_>, calculation: &Calculation, policy: &Policy) -> Result {
    let kept = |tolerated: bool| if tolerated { ", within tolerance" } else { "" };
    match calculation {
        Calculation::PerInstance { total, target, tolerated } => {
            write!(f, "{} / {} per instance{}", Number(*total), Number(*target), kept(*tolerated))
        }
        Calculation::Utilization { value, serving, target, tolerated } => {
            write!(f, "{} x {serving} serving / {}{}", Number(*value), Number(*target), kept(*tolerated))
        }
        Calculation::Members { ready_mean, ready, missing, unready, target, kept } => {
            write!(f, "mean {} of {ready} ready / {}", Number(*ready_mean), Number(*target))?;
            if *missing > 0 {
                write!(f, ", {missing} missing")?;
            }
            if *unready > 0 {
                write!(f, ", {unready} not ready")?;
            }
            f.write_str(if *kept { ", kept" } else { "" })
        }
        Calculation::Objective { .. } => objective(f, calculation, policy),
        Calculation::Learning { busy, serving, limit, full, windows } => {
            let twice = if *full { " x 2, since all may be busy," } else { "" };
            write!(f, "{} x {serving} serving / {}{twice}", Number(*busy), Number(*limit))?;
            write!(f, " until an instance's capacity is learned from {TRUSTED} windows, {windows} so far")
        }
        Calculation::Step { value, row, warming } => {
            write!(f, "{} matches step {}", Number(*value), row + 1)?;
            if *warming > 0 { write!(f, ", {warming} of it still warming") } else { Ok(()) }
        }
        Calculation::Queue { backlog, arrivals, service_secs, drain_within, workers, serving, saturated } => {
            let (backlog, arrivals, secs) = (Number(*backlog), Number(*arrivals), Number(*service_secs));
            write!(f, "{backlog} waiting and {arrivals}/s x {secs} s / {workers} workers, in {}", Span(*drain_within))?;
            if let Some(serving) = serving {
                write!(f, ", more than {serving} serving can do")?;
            }
            f.write_str(censored(*saturated))
        }
        Calculation::Expression { value, inputs, saturated } => {
            write!(f, "{}", Number(*value))?;
            for (at, (metric, value)) in inputs.first().iter().enumerate() {
                let before = if at == 0 { " from " } else { ", " };
                write!(f, "{before}{} {}", metric_name(policy, *metric), Number(*value))?;
            }
            if inputs.others() > 0 {
                write!(f, " and {} more", inputs.others())?;
            }
            f.write_str(if *saturated { "; full, so not less" } else { "" })
        }
        Calculation::Latency { workers: 0, .. } => f.write_str("no load"),
        Calculation::Latency { load, workers, max_wait, late, saturated } => {
            let (load, wait, late) = (Number(*load), Span(*max_wait), Share(*late));
            write!(f, "{load} busy of {workers} workers needed, {late} wait longer than {wait}{}", censored(*saturated))
        }
    }
}

fn event_name(policy: &Policy, event: Option<(u16, u8)>) -> Option<&str> {
    let (rule, event) = event?;
    match &policy.rules.get(usize::from(rule))?.kind {
        RuleKind::Objective(objective) => objective.events.get(usize::from(event)).map(|event| event.name.as_ref()),
        _ => None,
    }
}

/// Where a forecast comes from: `blend`, or `event:month-end (9.5 x blend)`.
struct By<'a> {
    forecaster: Forecaster,
    event: Option<&'a str>,
    factor: f64,
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.event {
            None => self.forecaster.fmt(f),
            Some(event) => write!(f, "event:{event} ({} x {})", Number(self.factor), self.forecaster),
        }
    }
}

fn objective(f: &mut Formatter<'_>, calculation: &Calculation, policy: &Policy) -> Result {
    let Calculation::Objective { forecaster, load, ahead, headroom, share, now, bound, event, factor, sizing } =
        calculation
    else {
        return Ok(());
    };
    let forecaster = By { forecaster: *forecaster, event: event_name(policy, *event), factor: *factor };
    match bound {
        Bound::Present => write!(f, "{} now", Number(*now))?,
        Bound::Censored => write!(f, "{} now, which may be all that the fleet can do", Number(*now))?,
        Bound::CatchUp => write!(f, "{} now and growing beyond the plan", Number(*now))?,
        Bound::Learned | Bound::Cold | Bound::HeadroomMax => {
            write!(f, "{} in {} by {forecaster}", Number(*load), Span(*ahead))?;
            write!(f, " + {} head-room", Number(*headroom))?;
        }
    }
    f.write_str(match bound {
        Bound::Cold => " (nothing learned yet)",
        Bound::HeadroomMax => " (cut by headroom_max)",
        _ => "",
    })?;
    write!(f, " / {} per instance", Number(*share))?;
    match bound {
        Bound::Present | Bound::CatchUp | Bound::Censored => {
            write!(f, "; {forecaster} expects {} + {}", Number(*load), Number(*headroom))?;
        }
        _ => {}
    }
    let Some(Sizing { capacity, background, windows, bound, .. }) = sizing else { return Ok(()) };
    write!(f, "; capacity {} learned from {windows} windows", Number(*capacity))?;
    f.write_str(match bound {
        SizingBound::Law => "",
        SizingBound::Sustained => " (1.25 x the most that one has carried)",
        SizingBound::Rising => " (and rising)",
    })?;
    match background {
        Some(background) => write!(f, ", {} of it background", Share(*background)),
        None => f.write_str(", with no background known"),
    }
}
