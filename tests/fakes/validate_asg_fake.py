#!/usr/bin/env python3
"""Judges asg_fake.py by code that nobody here wrote: boto3 drives it, and botocore's service model checks every answer.

Its parsers must accept the answer; every required member of the model must be there, no member that the model does not
know, and every value of an enumeration must be one of its values. Needs boto3. Exits 0, or 1 with what is wrong.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ElementTree

import boto3
import botocore.exceptions
from botocore.config import Config

PROBLEMS = []
CHECKED = set()


def walk(shape, node, where):
    """Compares one XML element with the model's shape for it."""
    children = {}
    for child in node:
        children.setdefault(child.tag.split("}")[-1], []).append(child)
    if shape.type_name == "structure":
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name in children.keys() - names.keys():
            PROBLEMS.append(f"{where}: the model of {shape.name} knows no {name}")
        for name in shape.required_members:
            if shape.members[name].serialization.get("name", name) not in children:
                PROBLEMS.append(f"{where}: {shape.name} needs {name}")
        for name, elements in children.items():
            for element in elements if name in names else []:
                walk(names[name], element, f"{where}.{name}")
    elif shape.type_name == "list":
        for name, elements in children.items():
            if name != shape.member.serialization.get("name", "member"):
                PROBLEMS.append(f"{where}: an item called {name}")
            for element in elements:
                walk(shape.member, element, where + "[]")
    elif shape.type_name == "string" and shape.enum and node.text not in shape.enum:
        PROBLEMS.append(f"{where}: {node.text!r} is none of {shape.enum}")


def judge(http_response, model, **_):
    """Called by botocore with every raw answer."""
    if http_response.status_code >= 400 or model.output_shape is None:
        return
    root = ElementTree.fromstring(http_response.content)
    wrapper = model.output_shape.serialization.get("resultWrapper")
    result = next((child for child in root if child.tag.split("}")[-1] == wrapper), None) if wrapper else root
    if result is None:
        PROBLEMS.append(f"{model.name}: no {wrapper}")
        return
    for child in list(result):
        if child.tag.split("}")[-1] in ("requestId", "ResponseMetadata"):
            result.remove(child)
    CHECKED.add(model.name)
    walk(model.output_shape, result, model.name)


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


class Fake:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        config = Config(retries={"total_max_attempts": 1})
        self.asg = boto3.client("autoscaling", endpoint_url=self.url, config=config, **keys)
        self.ec2 = boto3.client("ec2", endpoint_url=self.url, config=config, **keys)
        for client in (self.asg, self.ec2):
            client.meta.events.register("before-parse.*.*", lambda response_dict, operation_model, **_: judge_parts(response_dict, operation_model))

    def control(self, what, given=None, method="POST"):
        body = json.dumps(given or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self.url}/_fake/{what}", data=body, method=method)
        return json.load(urllib.request.urlopen(request))

    def group(self, name="web"):
        return self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]

    def states(self, name="web"):
        return sorted(i["LifecycleState"] for i in self.group(name)["Instances"])


def judge_parts(response_dict, operation_model):
    class Parts:
        status_code, content = response_dict["status_code"], response_dict["body"]

    judge(Parts, operation_model)


def scaling(fake):
    fake.asg.create_auto_scaling_group(
        AutoScalingGroupName="web",
        MinSize=1,
        MaxSize=10,
        DesiredCapacity=2,
        AvailabilityZones=["us-east-1a", "us-east-1b"],
        LaunchTemplate={"LaunchTemplateId": "lt-0123", "Version": "3"},
    )
    expect("two run at once without a boot time", fake.states() == ["InService"] * 2)
    expect("zones are balanced", len({i["AvailabilityZone"] for i in fake.group()["Instances"]}) == 2)
    fake.control("groups/web", {"boot_secs": 30})
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    expect("three boot", fake.states() == ["InService"] * 2 + ["Pending"] * 3)
    fake.control("advance", {"secs": 31})
    expect("five run", fake.states() == ["InService"] * 5)
    ids = [i["InstanceId"] for i in fake.group()["Instances"]]
    shown = fake.ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": ids[:2]}])["Reservations"]
    expect("EC2 knows their launch", all(r["Instances"][0]["LaunchTime"] for r in shown) and len(shown) == 2)
    with refused("InvalidInstanceID.NotFound"):
        fake.ec2.describe_instances(InstanceIds=["i-0"])
    with refused("ValidationError", "above max value 10"):
        fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=11)
    with refused("ValidationError", "not found"):
        fake.asg.set_desired_capacity(AutoScalingGroupName="nobody", DesiredCapacity=1)
    expect("an unknown name is no group", fake.asg.describe_auto_scaling_groups(AutoScalingGroupNames=["x"])["AutoScalingGroups"] == [])
    removal(fake, ids)


def removal(fake, ids):
    answer = fake.asg.terminate_instance_in_auto_scaling_group(
        AutoScalingGroupName="web", InstanceIds=ids[:2], ShouldDecrementDesiredCapacity=True
    )
    expect("two activities", len(answer["Activities"]) == 2)
    expect("three are left", fake.group()["DesiredCapacity"] == 3 and fake.states() == ["InService"] * 3)
    fake.asg.terminate_instance_in_auto_scaling_group(InstanceId=ids[2], ShouldDecrementDesiredCapacity=True)
    with refused("ValidationError", "not found"):
        fake.asg.terminate_instance_in_auto_scaling_group(InstanceId=ids[2], ShouldDecrementDesiredCapacity=True)
    with refused("ValidationError", "min size constraint"):
        fake.asg.terminate_instance_in_auto_scaling_group(
            AutoScalingGroupName="web", InstanceIds=ids[3:], ShouldDecrementDesiredCapacity=True
        )
    fake.asg.set_instance_protection(AutoScalingGroupName="web", InstanceIds=ids[3:], ProtectedFromScaleIn=True)
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    expect("the protected stay", fake.states() == ["InService"] * 2)
    fake.asg.set_instance_protection(AutoScalingGroupName="web", InstanceIds=ids[3:4], ProtectedFromScaleIn=False)
    expect("the other one goes", [i["InstanceId"] for i in fake.group()["Instances"]] == ids[4:])


def launches(fake):
    fake.control("groups/web", {"boot_secs": 0})
    fake.control("zones", {"us-east-1a": "out"})
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
    zones = [i["AvailabilityZone"] for i in fake.group()["Instances"]]
    expect("launches move to the other zone", zones.count("us-east-1b") >= 2 and len(zones) == 3)
    failed = [a for a in fake.asg.describe_scaling_activities(AutoScalingGroupName="web")["Activities"] if a["StatusCode"] == "Failed"]
    expect("and are activities", failed and "(us-east-1a)" in failed[0]["StatusMessage"])
    fake.control("groups/web", {"fail_launches": "quota"})
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    newest = fake.asg.describe_scaling_activities(AutoScalingGroupName="web", MaxRecords=1)
    expect("newest first", "vCPU limit" in newest["Activities"][0]["StatusMessage"] and newest["NextToken"])
    expect("unfilled", fake.group()["DesiredCapacity"] == 4 and len(fake.states()) == 3)
    fake.control("groups/web", {"fail_launches": None})
    fake.control("zones", {"us-east-1a": "ok"})
    expect("filled again", len(fake.states()) == 4)
    fake.control("account", {"instance_quota": 4})
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    expect("no more than the quota", len(fake.states()) == 4)
    fake.control("account", {"instance_quota": None})
    fake.control("advance", {"secs": 21})
    expect("tried again by itself", len(fake.states()) == 5)
    fake.control("kill", {"instance": fake.group()["Instances"][0]["InstanceId"]})
    expect("a dead one is replaced", len(fake.states()) == 5)


def processes(fake):
    fake.asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch", "Terminate", "AZRebalance"])
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=6)
    expect("nothing is launched", len(fake.states()) == 5)
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    expect("nothing is terminated", len(fake.states()) == 5)
    fake.asg.resume_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch", "Terminate", "AZRebalance"])
    expect("and then it is", len(fake.states()) == 4)
    hook = {"AutoScalingGroupName": "web", "LifecycleHookName": "warm"}
    fake.asg.put_lifecycle_hook(**hook, LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING", HeartbeatTimeout=60)
    fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    expect("a hook holds it", fake.states() == ["InService"] * 4 + ["Pending:Wait"])
    waiting = next(i["InstanceId"] for i in fake.group()["Instances"] if i["LifecycleState"] == "Pending:Wait")
    fake.asg.complete_lifecycle_action(**hook, InstanceId=waiting, LifecycleActionResult="CONTINUE")
    expect("until it is completed", fake.states() == ["InService"] * 5)
    fake.asg.start_instance_refresh(AutoScalingGroupName="web")
    refreshes = fake.asg.describe_instance_refreshes(AutoScalingGroupName="web")["InstanceRefreshes"]
    expect("a refresh runs", refreshes[0]["Status"] == "InProgress")
    with refused("InstanceRefreshInProgress"):
        fake.asg.start_instance_refresh(AutoScalingGroupName="web")
    fake.control("refresh", {"group": "web", "status": "Successful"})
    tag = {"ResourceId": "web", "ResourceType": "auto-scaling-group", "Key": "k", "Value": "v", "PropagateAtLaunch": False}
    fake.asg.create_or_update_tags(Tags=[tag])
    expect("tags are kept", fake.group()["Tags"][0]["Value"] == "v")
    tracking = {"PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"}, "TargetValue": 50.0}
    fake.asg.put_scaling_policy(
        AutoScalingGroupName="web", PolicyName="cpu", PolicyType="TargetTrackingScaling", TargetTrackingConfiguration=tracking
    )
    expect("policies are listed", fake.asg.describe_policies()["ScalingPolicies"][0]["PolicyName"] == "cpu")
    fake.asg.put_scheduled_update_group_action(AutoScalingGroupName="web", ScheduledActionName="night", MinSize=1, Recurrence="0 0 * * *")
    expect("schedules are listed", len(fake.asg.describe_scheduled_actions()["ScheduledUpdateGroupActions"]) == 1)


def faults(fake):
    fake.control("faults", {"operation": "SetDesiredCapacity", "times": 1, "code": "Throttling", "message": "Rate exceeded", "retry_after": 7})
    with refused("Throttling"):
        fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=6)
    expect("without effect", fake.group()["DesiredCapacity"] == 5)
    fake.control("faults", {"operation": "SetDesiredCapacity", "times": 1, "code": "InternalFailure", "status": 500, "after_effect": True})
    with refused("InternalFailure"):
        fake.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=6)
    expect("with effect", fake.group()["DesiredCapacity"] == 6)
    for index in range(120):
        fake.asg.create_auto_scaling_group(AutoScalingGroupName=f"g{index:03}", MinSize=0, MaxSize=1, AvailabilityZones=["us-east-1a"])
    pages = list(fake.asg.get_paginator("describe_auto_scaling_groups").paginate(PaginationConfig={"PageSize": 100}))
    expect("two pages", [len(p["AutoScalingGroups"]) for p in pages] == [100, 21])
    counts = fake.control("calls", method="GET")["counts"]
    expect("calls are counted", counts["SetDesiredCapacity"] >= 10)


def main():
    path = pathlib.Path(__file__).with_name("asg_fake.py")
    server = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        fake = Fake(int(server.stdout.readline().split()[-1]))
        for part in (scaling, launches, processes, faults):
            part(fake)
    finally:
        server.kill()
        server.wait()
    for problem in PROBLEMS:
        print(problem, file=sys.stderr)
    print(f"{len(CHECKED)} operations judged by botocore's model: {', '.join(sorted(CHECKED))}")
    return 1 if PROBLEMS else 0


if __name__ == "__main__":
    sys.exit(main())
