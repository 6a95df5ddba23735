"""Judges skala's objective on recorded load beside the reference and beside rivals; benches/traces/run calls it.

Prints Markdown: skala and the reference for each load, and (with --rivals) scalers whose target was chosen in hindsight, load by
load. A target is searched between 2 % and 98 % in steps of 2 %, on the ground that a lower one is short less often.
"""

import argparse
import math
import multiprocessing
import os
import sys

import numpy

RIVALS = {"k8s_hpa": "Kubernetes HPA", "aws_tt": "AWS target tracking", "gcp_mig": "GCP", "cham_like": "Chameleon-like"}
SHORT_PCT = 1.0


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools")
    parser.add_argument("traces")
    parser.add_argument("--skala", required=True)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--boot", type=int, default=120)
    parser.add_argument("--lag", type=int, default=60)
    parser.add_argument("--only", help="loads, with commas between them")
    parser.add_argument("--rivals", action="store_true")
    return parser.parse_args()


def judged(simulator, scene, name, target=None):
    """The score of one scaler on one load, with the instances it started a day."""
    before, scene.target = scene.target, target or scene.target
    score, _, paid = simulator.run(scene, name)
    scene.target = before
    started = numpy.maximum(0, numpy.diff(paid[scene.warm :])).sum()
    score["starts_per_day"] = float(started) / score["days"]
    return score


def tuned(simulator, scene, name, short):
    """The highest target with which a rival is short in no more than this share of the minutes; None if none is."""
    low, high, found = 0, 49, None
    while low < high:
        middle = (low + high + 1) // 2
        score = judged(simulator, scene, name, middle * 0.02)
        if score["tau_U"] <= short:
            low, found = middle, dict(score, target=middle * 0.02)
        else:
            high = middle - 1
    return found


def one(job):
    trace, args = job
    sys.path.insert(0, args.tools)
    import baseline_sim as simulator

    engine = os.path.join(args.tools, "skala_engine.py")
    simulator.Ext.cmd = f"{sys.executable} {engine} --skala {args.skala} --policy {args.policy}"
    simulator.ALG["ext"] = simulator.Ext
    scene = simulator.scenarios(args.traces, [trace], boot=args.boot, lag=args.lag)[0]
    found = {name: judged(simulator, scene, name) for name in ("ext", "ref_hybrid")}
    if args.rivals:
        for name in RIVALS:
            found[name] = tuned(simulator, scene, name, SHORT_PCT)
        found["gcp_alike"] = tuned(simulator, scene, "gcp_mig", found["ext"]["tau_U"])
    print(f"{trace}: done", file=sys.stderr, flush=True)
    return trace, found


def table(head, rows):
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def beside_reference(found):
    head = ["load", "tau_U %", "lack %", "over-cost %", "reference", "ratio", "changes a day", "longest shortage"]
    rows, ratios = [], []
    for trace, scores in found:
        ours, reference = scores["ext"], scores["ref_hybrid"]
        ratios.append(ours["over_cost_pct"] / reference["over_cost_pct"])
        rows.append([
            trace,
            f"{ours['tau_U']:.2f}",
            f"{ours['lack_pct']:.2f}",
            f"{ours['over_cost_pct']:.1f}",
            f"{reference['over_cost_pct']:.1f} ({reference['tau_U']:.2f} short)",
            f"{ratios[-1]:.2f}",
            f"{ours['actions_per_day']:.0f}",
            f"{ours['longest_under_s'] / 60:.0f} min",
        ])
    table(head, rows)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    short = sum(scores["ext"]["tau_U"] for _, scores in found) / len(found)
    print(f"mean tau_U {short:.2f} %, geometric mean of the over-cost ratios {mean:.2f}\n")


def beside_rivals(found):
    rows = []
    for trace, scores in found:
        ours = scores["ext"]["over_cost_pct"]
        able = {name: scores[name] for name in RIVALS if scores[name]}
        shown = [f"{able[name]['over_cost_pct']:.0f} ({able[name]['target'] * 100:.0f} %)" if name in able else "-" for name in RIVALS]
        best = min((score["over_cost_pct"] for score in able.values()), default=None)
        rows.append([trace, f"{ours:.0f}", *shown, f"{ours / best:.2f}" if best else "-"])
    print(f"over-cost in %, each rival with the highest target that is short in at most {SHORT_PCT:.0f} % of the minutes\n")
    table(["load", "skala", *RIVALS.values(), "skala / best rival"], rows)

    rows, sums = [], [0.0] * 4
    for trace, scores in found:
        gcp = scores["gcp_alike"]
        if gcp is None:
            rows.append([trace, *["-"] * 4])
            continue
        numbers = [one[key] for key in ("actions_per_day", "starts_per_day") for one in (scores["ext"], gcp)]
        sums = [total + number for total, number in zip(sums, numbers)]
        rows.append([trace, *[f"{number:.0f}" for number in numbers]])
    count = max(1, sum(scores["gcp_alike"] is not None for _, scores in found))
    rows.append(["mean", *[f"{total / count:.0f}" for total in sums]])
    print("a day, beside GCP's rule with the highest target that is short no more often than skala\n")
    table(["load", "changes, skala", "changes, GCP", "starts, skala", "starts, GCP"], rows)


def main():
    args = arguments()
    names = sorted(name[:-4] for name in os.listdir(args.traces) if name.endswith(".csv"))
    if args.only:
        names = [name for name in names if name in args.only.split(",")]
    with multiprocessing.Pool() as pool:
        found = pool.map(one, [(name, args) for name in names], chunksize=1)
    beside_reference(found)
    if args.rivals:
        beside_rivals(found)


main()
