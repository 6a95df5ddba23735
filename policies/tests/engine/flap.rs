//! Under a load that does not change, what was removed is never added back.

use crate::fleet::*;
use proptest::prelude::*;

const METRICS: &str = "[template.t.metric.rps]\nsource = \"p\"\nquery = \"r\"\n[template.t.metric.cpu]\nsource = \"p\"\nquery = \"c\"\nunit = \"ratio\"\n";

/// A rule of each kind that a fleet of these metrics may have.
fn rule() -> impl Strategy<Value = String> {
    let step = (0.3..1.2_f64, 0.05..0.9_f64, 1..20_u32, 1..20_u32, any::<bool>()).prop_map(|(above, share, add, remove, of)| {
        let below = above * share;
        let amount = |n: u32| if of { format!("\"{}%\"", n * 5) } else { n.to_string() };
        format!(
            "kind = \"step\"\nmetric = \"cpu\"\nsteps = [ {{ above = {above:?}, add = {} }}, {{ below = {below:?}, remove = {} }} ]",
            amount(add),
            amount(remove)
        )
    });
    let expression = (0.1..1.2_f64, 1..60_u32, 1..60_u32, 0..4_usize).prop_map(|(at, high, low, shape)| {
        let text = match shape {
            0 => format!("cpu > {at:?} ? {high} : {low}"),
            1 => format!("cpu * {high}"),
            2 => format!("max(rps / {high}, cpu > {at:?} ? {low} : 0)"),
            _ => format!("cpu > {at:?} && rps > 100 ? rps / {low} : rps / {high}"),
        };
        format!("kind = \"expression\"\nexpr = \"{text}\"")
    });
    let per_instance = (1.0..60.0_f64, 0.0..0.3_f64, 0.0..0.3_f64).prop_map(|(target, out, inward)| {
        let tolerance = format!("tolerance = {{ out = {out:?}, in = {inward:?} }}");
        format!("kind = \"per-instance\"\nmetric = \"rps\"\ntarget = {target:?}\n{tolerance}")
    });
    let utilization = (0.1..0.9_f64, 0.0..0.3_f64, 0.0..0.3_f64).prop_map(|(target, out, inward)| {
        let tolerance = format!("tolerance = {{ out = {out:?}, in = {inward:?} }}");
        format!("kind = \"utilization\"\nmetric = \"cpu\"\ntarget = {target:?}\n{tolerance}")
    });
    prop_oneof![step, expression, per_instance, utilization]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_removed_to_be_added_back(
        rules in prop::collection::vec(rule(), 1..4), largest in any::<bool>(), start in 2..90_u32,
        work in 0.5..40.0_f64, rps in 0.0..900.0_f64
    ) {
        let rules: String =
            rules.iter().enumerate().map(|(at, rule)| format!("[[fleet.web.rule]]\nname = \"r{at}\"\n{rule}\n")).collect();
        let combine = if largest { "combine = \"max\"\nextends = \"t\"" } else { "combine = \"min\"\nextends = \"t\"" };
        let text = policy(&format!("warmup = \"0s\"\n{combine}"), &format!("{rules}{FREE}[template.t]\n{METRICS}"));
        let mut fleet = Fleet::new(&text);
        let (mut current, mut removed) = (start, None);
        for n in 0..40 {
            let cpu = (work / f64::from(current)).min(1.4);
            let decision = fleet.decide(Cycle::new(f64::from(n) * 15.0, current).read("rps", rps).read("cpu", cpu));
            let next = desired(&decision) as u32;
            prop_assert!(next <= current || removed.is_none(), "{removed:?}\n{decision:#}\n{text}");
            if next < current {
                removed = Some((current, next));
            }
            current = next;
        }
    }
}
