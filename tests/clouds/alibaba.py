#!/usr/bin/env python3
"""Judges the simulated Elastic Scaling Service with Alibaba Cloud's own client, which its authors did not write.

    alibaba.py EXCHANGES.jsonl [URL KEY_ID KEY_SECRET REGION]

First the official client (alibabacloud_ess20220222) speaks to the server at URL: it signs, scales, removes, follows and is
refused. Then every exchange of EXCHANGES.jsonl (what skala's provider and the server said to each other) is held against the
client's models, which are the published schema: no parameter, field or type that they do not know. Prints what was judged as
JSON; exits with 1 and says what does not fit. Without a URL the exchanges alone are judged.
"""

import datetime
import functools
import inspect
import json
import re
import sys
import time
import typing

from alibabacloud_ess20220222 import models
from alibabacloud_ess20220222.client import Client
from alibabacloud_tea_openapi import utils
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.runtime import RuntimeOptions

EXCHANGES, URL, KEY_ID, KEY_SECRET, REGION = (sys.argv[1:] + [""] * 4)[:5]
RUNTIME = RuntimeOptions(autoretry=False, max_attempts=1)
judged = {}


def count(what):
    judged[what] = judged.get(what, 0) + 1


def client(key_id=KEY_ID, secret=KEY_SECRET):
    endpoint = URL.removeprefix("http://")
    return Client(
        Config(access_key_id=key_id, access_key_secret=secret, endpoint=endpoint, protocol="HTTP", region_id=REGION)
    )


ess = client()


def call(name, of=ess, **fields):
    """Calls an operation of the official client; its answer as the client parsed it."""
    camel = "".join(part.capitalize() for part in name.split("_"))
    request = getattr(models, camel + "Request")(**fields)
    response = getattr(of, name + "_with_options")(request, RUNTIME)
    assert response.status_code == 200, response
    count("client " + name)
    return response.body


def refused(code, name, of=ess, **fields):
    try:
        answer = call(name, of, **fields)
    except Exception as error:  # the client has several classes, all with a code
        found = getattr(error, "code", None) or str(error)
        assert code in str(found), f"{name}: {found}, not {code}"
        count("refusal " + code)
        return
    raise AssertionError(f"{name}: not refused with {code}: {answer}")


def until(what, found):
    for _ in range(200):
        if found():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come")


def groups(**fields):
    return call("describe_scaling_groups", region_id=REGION, page_size=50, **fields).scaling_groups


def instances(group):
    return call("describe_scaling_instances", region_id=REGION, page_size=100, scaling_group_id=group).scaling_instances


def scale_and_follow():
    """A group's life as the official client sees it."""
    (group,) = groups(scaling_group_names=["judged"])
    id = group.scaling_group_id
    assert (group.desired_capacity, group.min_size, group.max_size) == (2, 0, 100), group
    assert group.enable_desired_capacity and group.lifecycle_state == "Active"
    assert groups(scaling_group_ids=[id])[0].scaling_group_name == "judged"
    first = call("describe_scaling_groups", region_id=REGION, page_size=1, page_number=1)
    second = call("describe_scaling_groups", region_id=REGION, page_size=1, page_number=2)
    assert first.total_count == second.total_count >= 2
    assert first.scaling_groups[0].scaling_group_id != second.scaling_groups[0].scaling_group_id

    to = dict(scaling_group_id=id, adjustment_type="TotalCapacity", client_token="judge-1", sync_activity=True)
    activity = call("scale_with_adjustment", adjustment_value=5, **to).scaling_activity_id
    again = call("scale_with_adjustment", adjustment_value=5, **to).scaling_activity_id
    assert activity == again, "the same client token is the same call"
    refused("IdempotentParameterMismatch", "scale_with_adjustment", adjustment_value=6, **to)

    def status(activity):
        of = call("describe_scaling_activities", region_id=REGION, scaling_activity_ids=[activity]).scaling_activities
        return of[0].status_code

    assert status(activity) == "InProgress"
    assert [i.lifecycle_state for i in instances(id)].count("Pending") == 3
    until("five instances", lambda: status(activity) == "Successful")
    there = instances(id)
    assert {i.lifecycle_state for i in there} == {"InService"} and len(there) == 5

    removed = call(
        "remove_instances",
        scaling_group_id=id,
        region_id=REGION,
        instance_ids=[there[0].instance_id, "i-nobody"],
        ignore_invalid_instance=True,
    )
    assert [i.instance_id for i in removed.ignored_instances] == ["i-nobody"]
    assert groups(scaling_group_ids=[id])[0].desired_capacity == 4
    assert [i.lifecycle_state for i in instances(id)].count("Removing") == 1
    until("its end", lambda: status(removed.scaling_activity_id) == "Successful")
    assert len(instances(id)) == 4
    refused("InvalidInstanceId.NotFound", "remove_instances", scaling_group_id=id, instance_ids=["i-nobody"])

    tag = models.TagResourcesRequestTags(key="team", value="shop & co", propagate=False)
    call("tag_resources", region_id=REGION, resource_type="scalinggroup", resource_ids=[id], tags=[tag])
    assert [(t.tag_key, t.tag_value) for t in groups(scaling_group_ids=[id])[0].tags] == [("team", "shop & co")]


def other_controllers():
    (group,) = groups(scaling_group_names=["scaled"])
    of = dict(region_id=REGION, scaling_group_id=group.scaling_group_id)
    (rule,) = call("describe_scaling_rules", **of).scaling_rules
    assert rule.scaling_rule_type == "TargetTrackingScalingRule" and rule.scaling_rule_name == "cpu50"
    (alarm,) = call("describe_alarms", **of).alarm_list
    assert alarm.alarm_actions == [rule.scaling_rule_ari] and alarm.enable
    assert call("describe_scheduled_tasks", **of).total_count == 0
    assert call("describe_instance_refreshes", max_results=50, **of).instance_refresh_tasks == []


def refusals():
    refused("InvalidScalingGroupId.NotFound", "describe_scaling_instances", region_id=REGION, scaling_group_id="asg-x")
    refused("InvalidParameter", "describe_scaling_groups", region_id=REGION, page_size=51)
    refused("SignatureDoesNotMatch", "describe_scaling_groups", client(secret="guessed"), region_id=REGION)
    refused("InvalidAccessKeyId.NotFound", "describe_scaling_groups", client(key_id="nobody"), region_id=REGION)
    stamp, nonce = utils.Utils.get_timestamp, utils.Utils.get_nonce

    def off(minutes):
        at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)
        utils.Utils.get_timestamp = staticmethod(lambda: at.strftime("%Y-%m-%dT%H:%M:%SZ"))

    try:
        # The gateway's window is 15 minutes to each side.
        off(10)
        call("describe_scaling_groups", region_id=REGION)
        off(16)
        refused("InvalidTimeStamp.Expired", "describe_scaling_groups", region_id=REGION)
        utils.Utils.get_timestamp = stamp
        utils.Utils.get_nonce = staticmethod(lambda: "the same")
        call("describe_scaling_groups", region_id=REGION)
        refused("SignatureNonceUsed", "describe_scaling_groups", region_id=REGION)
    finally:
        utils.Utils.get_timestamp, utils.Utils.get_nonce = stamp, nonce


problems = []


def check(kind, value, where):
    """Holds a JSON value against a type of the models."""
    if value is None:
        return
    origin = typing.get_origin(kind)
    if origin in (list, typing.List):
        if not isinstance(value, list):
            problems.append(f"{where}: {value!r} is no list")
            return
        for index, item in enumerate(value):
            check(typing.get_args(kind)[0], item, f"{where}[{index}]")
    elif kind in (str, int, bool, float):
        fits = type(value) in ((int, float) if kind is float else (kind,))
        if not fits:
            problems.append(f"{where}: {value!r} is no {kind.__name__}")
    elif inspect.isclass(kind):
        check_model(kind, value, where)


@functools.cache
def described(model):
    """The keys that a model knows, and the types of its attributes."""
    known = set(re.findall(r"m\.get\('(\w+)'\)", inspect.getsource(model.from_map)))
    return known, typing.get_type_hints(model.__init__, vars(inspect.getmodule(model)))


def check_model(model, value, where):
    if not isinstance(value, dict):
        problems.append(f"{where}: {value!r} is no object")
        return
    known, hints = described(model)
    blank = vars(model())
    for key, item in value.items():
        if key not in known:
            problems.append(f"{where}: {model.__name__} knows no {key}")
            continue
        if item is None or item == [] or item == {}:
            continue
        try:
            filled = vars(model().from_map({key: item}))
        except Exception as error:
            problems.append(f"{where}.{key}: {error}")
            continue
        # The attribute that this key fills.
        (attribute,) = [name for name in filled if filled[name] != blank.get(name) and filled[name] != []]
        check(hints[attribute], item, f"{where}.{key}")


def nested(query):
    """`A.1.B=x` as the structure that the client had flattened."""
    tree = {}
    for name, value in query:
        node, parts = tree, name.split(".")
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value

    def settle(node):
        if not isinstance(node, dict):
            return node
        if node and all(key.isdigit() for key in node):
            numbers = sorted(int(key) for key in node)
            assert numbers == list(range(1, len(numbers) + 1)), f"a list with gaps: {numbers}"
            return [settle(node[str(number)]) for number in numbers]
        return {key: settle(value) for key, value in node.items()}

    return settle(tree)


def typed(model, key, text):
    """A parameter's text as its type's value: everything is text in a query."""
    if isinstance(text, list):
        return [typed(model, key, item) for item in text]
    if isinstance(text, dict):
        return {name: typed(model, name, value) for name, value in text.items()}
    if key in ("Propagate", "SyncActivity", "DecreaseDesiredCapacity", "IgnoreInvalidInstance"):
        return {"true": True, "false": False}.get(text, text)
    if key in ("PageNumber", "PageSize", "MaxResults", "AdjustmentValue"):
        return int(text)
    return text


def judge(exchange):
    headers = dict(exchange["headers"])
    action = headers.get("x-acs-action")
    if action is None:
        return
    assert headers["x-acs-version"] == "2022-02-22" and exchange["method"] == "POST" and exchange["path"] == "/"
    request = getattr(models, action + "Request")
    asked = {key: typed(request, key, value) for key, value in nested(exchange["query"]).items()}
    check_model(request, asked, f"{action} request")
    if exchange["broken"]:
        count("request alone")
        return
    reply = json.loads(exchange["reply"])
    if exchange["status"] == 200:
        check_model(getattr(models, action + "ResponseBody"), reply, f"{action} reply")
        count(f"exchange {action}")
    else:
        assert set(reply) == {"RequestId", "HostId", "Code", "Message"}, reply
        count("exchange refused")


if URL:
    scale_and_follow()
    other_controllers()
    refusals()
for line in open(EXCHANGES, encoding="utf-8"):
    judge(json.loads(line))
if problems:
    sys.exit("\n".join(sorted(set(problems))))
print(json.dumps(judged))
