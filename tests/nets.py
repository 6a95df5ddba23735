#!/usr/bin/env python3
"""The Terraform examples of nets under skala: each is HCL by a parser that nobody here wrote, and each only ever adds.

    nets.py     exits with 1 and says what is wrong
"""

import pathlib
import sys

import hcl2

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "policies" / "examples" / "terraform"


def plain(node):
    """The parser's tree without its marks: texts unquoted, blocks as lists of their bodies."""
    if isinstance(node, dict):
        return {plain(key): plain(value) for key, value in node.items() if not str(key).startswith("__")}
    if isinstance(node, list):
        return [plain(item) for item in node]
    if isinstance(node, str) and len(node) > 1 and node[0] == node[-1] == '"':
        return node[1:-1]
    return node


def resource(file, kind):
    tree = plain(hcl2.loads((EXAMPLES / file).read_text()))
    found = [bodies for one in tree["resource"] for name, bodies in one.items() if name == kind]
    assert len(found) == 1 == len(tree["resource"]), f"{file} has one resource, of kind {kind}"
    (body,) = found[0].values()
    used = sorted(word for word in references(body))
    declared = sorted(name for one in tree["variable"] for name in one)
    assert used == declared, f"{file} uses {used} and declares {declared}"
    return body


def references(node):
    """The variables that a tree uses, each once."""
    if isinstance(node, dict):
        return set().union(*map(references, node.values()))
    if isinstance(node, list):
        return set().union(*map(references, node))
    return {node[6:-1]} if isinstance(node, str) and node.startswith("${var.") else set()


def aws():
    body = resource("aws.tf", "aws_autoscaling_policy")
    assert body["policy_type"] == "TargetTrackingScaling"
    (tracking,) = body["target_tracking_configuration"]
    assert tracking["disable_scale_in"] is True


def gcp():
    (policy,) = resource("gcp.tf", "google_compute_autoscaler")["autoscaling_policy"]
    assert policy["mode"] == "ONLY_SCALE_OUT"
    assert policy["min_replicas"] <= policy["max_replicas"]


def azure():
    profiles = resource("azure.tf", "azurerm_monitor_autoscale_setting")["profile"]
    for profile in profiles:
        directions = [action["direction"] for rule in profile["rule"] for action in rule["scale_action"]]
        assert directions and set(directions) == {"Increase"}, directions
        (capacity,) = profile["capacity"]
        assert capacity["minimum"] <= capacity["default"] <= capacity["maximum"]


def main():
    checks = {"aws.tf": aws, "azure.tf": azure, "gcp.tf": gcp}
    assert {path.name for path in EXAMPLES.iterdir()} == set(checks), "every example is checked"
    for name, check in checks.items():
        try:
            check()
        except Exception as error:  # whatever is wrong with an example is this test's answer
            sys.exit(f"{name}: {type(error).__name__}: {error}")
    print(f"{len(checks)} nets only add")


if __name__ == "__main__":
    main()
