#!/usr/bin/env python3
"""Judges the simulated Auto Scaling, EC2 and CloudWatch's alarms with boto3 and botocore's own description of the services.

    aws.py [URL] EXCHANGES.jsonl

boto3 drives the server at URL through a group's life, and every answer is held against the published service model: required
members are there, no member that the model does not know, enumerations have one of their values, numbers and times are such.
Then the requests and answers of EXCHANGES.jsonl are held against it, too; without a URL they alone. Prints what was judged as
JSON; exits with 1 and says what does not fit.
"""

import collections
import contextlib
import datetime
import json
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

import boto3
import botocore.exceptions
import botocore.parsers
from botocore.config import Config

*URLS, EXCHANGES = sys.argv[1:]
# The clients want one even where they only read their own description.
URL = URLS[0] if URLS else "http://127.0.0.1"
PROBLEMS = []
JUDGED = collections.Counter()
KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
CONFIG = Config(retries={"total_max_attempts": 1})


def bare(tag):
    return tag.split("}")[-1]


def number(text, kind):
    try:
        kind(text)
        return True
    except (TypeError, ValueError):
        return False


def is_time(text):
    try:
        datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return True
    except (AttributeError, ValueError):
        return False


def scalar(shape, text, where):
    kind = shape.type_name
    fits = {
        "string": lambda: not shape.enum or text in shape.enum,
        "integer": lambda: number(text, int),
        "long": lambda: number(text, int),
        "double": lambda: number(text, float),
        "float": lambda: number(text, float),
        "boolean": lambda: text in ("true", "false"),
        "timestamp": lambda: is_time(text),
    }.get(kind)
    if fits and not fits():
        PROBLEMS.append(f"{where}: {text!r} is no {kind} {list(shape.enum) if kind == 'string' else ''}")


def walk(shape, node, where):
    """Compares one XML element with the model's shape for it."""
    children = collections.defaultdict(list)
    for child in node:
        children[bare(child.tag)].append(child)
    if shape.type_name == "structure":
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name in children.keys() - names.keys():
            PROBLEMS.append(f"{where}: the model of {shape.name} knows no {name}")
        for name in shape.required_members:
            if shape.members[name].serialization.get("name", name) not in children:
                PROBLEMS.append(f"{where}: {shape.name} needs {name}")
        for name, elements in children.items():
            if name not in names:
                continue
            if len(elements) > 1:
                PROBLEMS.append(f"{where}.{name}: more than once")
            walk(names[name], elements[0], f"{where}.{name}")
    elif shape.type_name == "list":
        for name, elements in children.items():
            if name != shape.member.serialization.get("name", "member"):
                PROBLEMS.append(f"{where}: an item called {name}")
            for element in elements:
                walk(shape.member, element, where + "[]")
    else:
        scalar(shape, node.text or "", where)


def judge_answer(model, status, content):
    if status >= 400:
        return
    root = ElementTree.fromstring(content)
    if bare(root.tag) != f"{model.name}Response":
        PROBLEMS.append(f"{model.name}: answered by {root.tag}")
    JUDGED[model.name] += 1
    if model.output_shape is None:
        return
    wrapper = model.output_shape.serialization.get("resultWrapper")
    result = next((child for child in root if bare(child.tag) == wrapper), None) if wrapper else root
    if result is None:
        PROBLEMS.append(f"{model.name}: no {wrapper}")
        return
    for child in list(result):
        if bare(child.tag) in ("requestId", "ResponseMetadata"):
            result.remove(child)
    walk(model.output_shape, result, model.name)


def client(service):
    made = boto3.client(service, endpoint_url=URL, config=CONFIG, **KEYS)
    made.meta.events.register(
        "before-parse.*.*",
        lambda response_dict, operation_model, **_: judge_answer(
            operation_model, response_dict["status_code"], response_dict["body"]
        ),
    )
    return made


asg, ec2, cloudwatch = client("autoscaling"), client("ec2"), client("cloudwatch")


def expect(what, holds):
    if not holds:
        PROBLEMS.append(f"behaviour: {what}")


@contextlib.contextmanager
def refused(code, words=""):
    try:
        yield
        PROBLEMS.append(f"behaviour: should be refused with {code}")
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]
        expect(f"{code} {words!r}, not {found}", found["Code"] == code and words in found["Message"])


def until(what, found):
    for _ in range(300):
        if found():
            return
        time.sleep(0.02)
    PROBLEMS.append(f"behaviour: {what} did not come")


def group(name="web"):
    return asg.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]


def states():
    return sorted(i["LifecycleState"] for i in group()["Instances"])


def ids():
    return [i["InstanceId"] for i in group()["Instances"]]


def activities():
    return asg.describe_scaling_activities(AutoScalingGroupName="web")["Activities"]


WEB = {"AutoScalingGroupName": "web"}


def scaling():
    asg.create_auto_scaling_group(
        **WEB,
        MinSize=1,
        MaxSize=10,
        DesiredCapacity=2,
        AvailabilityZones=["us-east-1a", "us-east-1b"],
        LaunchTemplate={"LaunchTemplateId": "lt-0123", "Version": "3"},
    )
    with refused("AlreadyExists"):
        asg.create_auto_scaling_group(**WEB, MinSize=0, MaxSize=1, AvailabilityZones=["us-east-1a"])
    expect("two run at once", states() == ["InService"] * 2)
    expect("zones are balanced", len({i["AvailabilityZone"] for i in group()["Instances"]}) == 2)
    asg.set_desired_capacity(**WEB, DesiredCapacity=5)
    expect("three boot", states() == ["InService"] * 2 + ["Pending"] * 3)
    expect("they are activities", [a["StatusCode"] for a in activities()] == ["PreInService"] * 3)
    until("five running ones", lambda: states() == ["InService"] * 5)
    expect("and end", [a["StatusCode"] for a in activities()] == ["Successful"] * 3)
    shown = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": ids()[:2]}])["Reservations"]
    expect("EC2 knows their launch", len(shown) == 2 and all(r["Instances"][0]["LaunchTime"] for r in shown))
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=["i-0"])
    with refused("ValidationError", "above max value 10"):
        asg.set_desired_capacity(**WEB, DesiredCapacity=11)
    with refused("ValidationError", "not found"):
        asg.set_desired_capacity(AutoScalingGroupName="nobody", DesiredCapacity=1)
    with refused("InvalidAction"):
        asg.describe_account_limits()
    unknown = asg.describe_auto_scaling_groups(AutoScalingGroupNames=["x"])["AutoScalingGroups"]
    expect("an unknown name is no group", unknown == [])


def removal():
    names = ids()
    lower = {"ShouldDecrementDesiredCapacity": True}
    answer = asg.terminate_instance_in_auto_scaling_group(**WEB, InstanceIds=names[:2], **lower)
    expect("two activities", len(answer["Activities"]) == 2)
    answer = asg.terminate_instance_in_auto_scaling_group(InstanceId=names[2], **lower)
    expect("one activity", answer["Activity"]["Description"].endswith(names[2]))
    expect("desired follows", group()["DesiredCapacity"] == 2)
    with refused("ValidationError", "not found"):
        asg.terminate_instance_in_auto_scaling_group(InstanceId=names[2], **lower)
    with refused("ValidationError", "min size constraint"):
        asg.terminate_instance_in_auto_scaling_group(**WEB, InstanceIds=names[3:], **lower)
    until("their end", lambda: sorted(ids()) == sorted(names[3:]))
    asg.set_instance_protection(**WEB, InstanceIds=names[3:], ProtectedFromScaleIn=True)
    asg.set_desired_capacity(**WEB, DesiredCapacity=1)
    expect("the protected stay", states() == ["InService"] * 2)
    asg.set_instance_protection(**WEB, InstanceIds=names[3:4], ProtectedFromScaleIn=False)
    until("the other one's end", lambda: ids() == names[4:])


def draining():
    hook = {**WEB, "LifecycleHookName": "drain"}
    with refused("ValidationError", "transition"):
        asg.put_lifecycle_hook(**hook, LifecycleTransition="autoscaling:EC2_INSTANCE_NAP")
    transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    asg.put_lifecycle_hook(**hook, LifecycleTransition=transition, HeartbeatTimeout=7200)
    leaving = ids()[0]
    asg.terminate_instance_in_auto_scaling_group(InstanceId=leaving, ShouldDecrementDesiredCapacity=True)
    # Far longer than a termination takes here.
    time.sleep(0.5)
    expect("a hook that holds an end", states() == ["InService", "InService", "Terminating:Wait"])
    expect("desired does not wait", group()["DesiredCapacity"] == 2)
    expect("shown by its activity, too", activities()[0]["StatusCode"] == "MidLifecycleAction")
    (shown,) = ec2.describe_instances(InstanceIds=[leaving])["Reservations"]
    expect("to EC2 it still runs", shown["Instances"][0]["State"]["Name"] == "running")
    with refused("ValidationError", "No active Lifecycle Action"):
        asg.complete_lifecycle_action(
            **WEB, LifecycleHookName="warm", InstanceId=leaving, LifecycleActionResult="CONTINUE"
        )
    asg.complete_lifecycle_action(**hook, InstanceId=leaving, LifecycleActionResult="CONTINUE")
    with refused("ValidationError", "No active Lifecycle Action"):
        asg.complete_lifecycle_action(**hook, InstanceId=leaving, LifecycleActionResult="CONTINUE")
    until("its end after the drain", lambda: leaving not in ids())
    expect("which was one", activities()[0]["StatusCode"] == "Successful" and len(ids()) == 2)


def functions():
    asg.suspend_processes(**WEB, ScalingProcesses=["Launch", "AZRebalance"])
    asg.set_desired_capacity(**WEB, DesiredCapacity=2)
    time.sleep(0.1)
    expect("nothing is launched", len(ids()) == 1)
    suspended = {p["ProcessName"] for p in group()["SuspendedProcesses"]}
    expect("and it is shown", suspended == {"Launch", "AZRebalance"})
    asg.resume_processes(**WEB, ScalingProcesses=["Launch", "AZRebalance"])
    until("a launch", lambda: len(ids()) == 2)
    until("its boot", lambda: states() == ["InService"] * 2)
    asg.suspend_processes(**WEB, ScalingProcesses=["Terminate"])
    asg.set_desired_capacity(**WEB, DesiredCapacity=1)
    time.sleep(0.1)
    expect("nothing is terminated", states() == ["InService"] * 2)
    asg.set_desired_capacity(**WEB, DesiredCapacity=2)
    asg.resume_processes(**WEB, ScalingProcesses=["Terminate"])
    newest = asg.describe_scaling_activities(**WEB, MaxRecords=1)
    expect("newest first, in pages", newest["Activities"] == activities()[:1] and newest["NextToken"])
    hook = {**WEB, "LifecycleHookName": "warm"}
    transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    asg.put_lifecycle_hook(**hook, LifecycleTransition=transition, HeartbeatTimeout=7200)
    asg.set_desired_capacity(**WEB, DesiredCapacity=3)
    until("a hook that holds", lambda: states() == ["InService", "InService", "Pending:Wait"])
    expect("shown by its activity", activities()[0]["StatusCode"] == "MidLifecycleAction")
    waiting = next(i["InstanceId"] for i in group()["Instances"] if i["LifecycleState"] == "Pending:Wait")
    asg.complete_lifecycle_action(**hook, InstanceId=waiting, LifecycleActionResult="CONTINUE")
    expect("until it is completed", states() == ["InService"] * 3)
    draining()
    asg.start_instance_refresh(**WEB)
    refreshes = asg.describe_instance_refreshes(**WEB)["InstanceRefreshes"]
    expect("a refresh runs", refreshes[0]["Status"] == "InProgress")
    with refused("InstanceRefreshInProgress"):
        asg.start_instance_refresh(**WEB)
    tag = {"ResourceId": "web", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    asg.create_or_update_tags(Tags=[{**tag, "Key": "k", "Value": "a & b"}])
    expect("tags are kept", group()["Tags"][0]["Value"] == "a & b")
    metric = {"PredefinedMetricType": "ASGAverageCPUUtilization"}
    tracking = {"PredefinedMetricSpecification": metric, "TargetValue": 50.0}
    policy = {"PolicyName": "cpu", "PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": tracking}
    asg.put_scaling_policy(**WEB, **policy)
    expect("policies are listed", asg.describe_policies()["ScalingPolicies"][0]["PolicyName"] == "cpu")
    asg.put_scheduled_update_group_action(**WEB, ScheduledActionName="night", MinSize=1, Recurrence="0 0 * * *")
    expect("schedules are listed", len(asg.describe_scheduled_actions()["ScheduledUpdateGroupActions"]) == 1)


def pages():
    for index in range(120):
        asg.create_auto_scaling_group(
            AutoScalingGroupName=f"g{index:03}", MinSize=0, MaxSize=1, AvailabilityZones=["us-east-1a"]
        )
    found = list(asg.get_paginator("describe_auto_scaling_groups").paginate(PaginationConfig={"PageSize": 100}))
    # With `web`.
    expect("two pages", [len(p["AutoScalingGroups"]) for p in found] == [100, 21])


def machines():
    tags = [{"Key": "skala:group", "Value": "batch"}, {"Key": "skala:launch", "Value": "one"}]
    launch = {
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": "one",
        "LaunchTemplate": {"LaunchTemplateName": "batch"},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
    }
    (started,) = ec2.run_instances(**launch)["Instances"]
    (again,) = ec2.run_instances(**launch)["Instances"]
    expect("a token is one launch", started["InstanceId"] == again["InstanceId"])
    with refused("IdempotentParameterMismatch"):
        ec2.run_instances(**{**launch, "MaxCount": 2})
    by_tag = {"Name": "tag:skala:group", "Values": ["batch"]}

    def found(*more):
        pages = ec2.get_paginator("describe_instances").paginate(
            Filters=[by_tag, *more], PaginationConfig={"PageSize": 100}
        )
        return [i for page in pages for r in page["Reservations"] for i in r["Instances"]]

    (shown,) = found()
    expect("its tags", {t["Key"]: t["Value"] for t in shown["Tags"]} == {t["Key"]: t["Value"] for t in tags})
    until("its boot", lambda: found()[0]["State"] == {"Code": 16, "Name": "running"})
    ec2.create_tags(Resources=[shown["InstanceId"]], Tags=[{"Key": "skala:protected", "Value": "true"}])
    expect("a new tag", {"Key": "skala:protected", "Value": "true"} in found()[0]["Tags"])
    (change,) = ec2.terminate_instances(InstanceIds=[shown["InstanceId"]])["TerminatingInstances"]
    expect("it goes", (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "shutting-down"))
    until("its end", lambda: found()[0]["State"]["Name"] == "terminated")
    running = {"Name": "instance-state-name", "Values": ["pending", "running"]}
    expect("none is left", found(running) == [])
    with refused("InvalidInstanceID.NotFound"):
        ec2.terminate_instances(InstanceIds=["i-0"])
    with refused("InvalidParameterValue", "colour"):
        ec2.describe_instances(Filters=[{"Name": "colour", "Values": ["red"]}])


def nested(pairs):
    tree = {}
    for name, value in pairs:
        node, parts = tree, name.split(".")
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
    return tree


def judge_request(shape, node, ec2_names, where):
    """Compares parameters with the model's shape of them."""
    if shape.type_name == "structure":
        names = {}
        for name, member in shape.members.items():
            plain = member.serialization.get("name", name)
            if ec2_names:
                plain = member.serialization.get("queryName") or plain[:1].upper() + plain[1:]
            names[plain] = member
        for name, value in node.items():
            if name in names:
                judge_request(names[name], value, ec2_names, f"{where}.{name}")
            else:
                PROBLEMS.append(f"{where}: the model of {shape.name} knows no {name}")
    elif shape.type_name == "list":
        items = node if ec2_names else node.get("member", {})
        expect(f"{where} is numbered", sorted(items, key=int) == [str(n + 1) for n in range(len(items))])
        for number_of, value in items.items():
            judge_request(shape.member, value, ec2_names, f"{where}.{number_of}")
    else:
        scalar(shape, node, where)


def judge_json(shape, value, where):
    """Compares a JSON value with the model's shape of it."""
    if shape.type_name == "structure":
        for name in value.keys() - shape.members.keys():
            PROBLEMS.append(f"{where}: the model of {shape.name} knows no {name}")
        for name in set(shape.required_members) - value.keys():
            PROBLEMS.append(f"{where}: {shape.name} needs {name}")
        for name in value.keys() & shape.members.keys():
            judge_json(shape.members[name], value[name], f"{where}.{name}")
    elif shape.type_name == "list":
        fewest, most = shape.metadata.get("min", 0), shape.metadata.get("max", len(value))
        expect(f"{where} has {len(value)} items", fewest <= len(value) <= most)
        for item in value:
            judge_json(shape.member, item, where + "[]")
    elif shape.type_name in ("integer", "long", "double", "float"):
        whole = shape.type_name in ("integer", "long")
        expect(f"{where}: {value!r} is a number", type(value) is int or (type(value) is float and not whole))
        fewest, most = shape.metadata.get("min", value), shape.metadata.get("max", value)
        expect(f"{where}: {value} is in range", fewest <= value <= most)
    elif shape.type_name == "boolean":
        expect(f"{where}: {value!r} is a boolean", type(value) is bool)
    elif shape.type_name == "string":
        expect(f"{where}: {value!r} is a string", type(value) is str)
        scalar(shape, value, where)


def judge_cloudwatch(exchange, target):
    service = cloudwatch.meta.service_model
    prefix, action = target.split(".")
    expect(f"{target} is a target", prefix == service.metadata["targetPrefix"])
    version = service.metadata["jsonVersion"]
    expect("the content type", exchange["headers"]["content-type"] == f"application/x-amz-json-{version}")
    model = service.operation_model(action)
    judge_json(model.input_shape, json.loads(exchange["body"]), f"{action} request")
    if exchange["status"] < 400:
        judge_json(model.output_shape, json.loads(exchange["reply"]), action)
    else:
        reply = {"status_code": exchange["status"], "headers": {}, "body": exchange["reply"].encode()}
        error = botocore.parsers.JSONParser().parse(reply, model.output_shape)["Error"]
        expect(f"{action}: an error has a code", bool(error["Code"]))
    JUDGED[f"exchange {action}"] += 1


def judge_exchange(exchange):
    exchange["headers"] = dict(exchange["headers"])
    target = exchange["headers"].get("x-amz-target")
    if target and not exchange["broken"]:
        judge_cloudwatch(exchange, target)
        return
    pairs = dict(urllib.parse.parse_qsl(exchange["body"], keep_blank_values=True))
    if "Action" not in pairs or exchange["broken"]:
        return
    version, action = pairs.pop("Version"), pairs.pop("Action")
    of = ec2 if version == "2016-11-15" else asg
    model = of.meta.service_model.operation_model(action)
    judge_request(model.input_shape, nested(pairs.items()), of is ec2, f"{action} request")
    judge_answer(model, exchange["status"], exchange["reply"])
    JUDGED[f"exchange {action}"] += 1


for part in (scaling, removal, functions, pages, machines) if URLS else ():
    part()
for line in open(EXCHANGES, encoding="utf-8"):
    judge_exchange(json.loads(line))
if PROBLEMS:
    sys.exit("\n".join(sorted(set(PROBLEMS))))
print(json.dumps(JUDGED))
