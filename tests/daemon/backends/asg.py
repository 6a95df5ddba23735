#!/usr/bin/env python3
"""The independent reader, and the person at the console: boto3 against the cloud's own port, never through skala's path.

One JSON request a line on standard input, one JSON answer a line on standard output: {"ok": ...} or {"error": "..."}.

    asg.py URL [zones]                                   `zones`: groups are made over zones; there are no networks there
    {"op": "create", "name", "min", "max", "desired"}    a launch template, and a group over three subnets
    {"op": "groups"}                                     {name: {"desired", "min", "max", "instances": [...]}}
    {"op": "desired", "name", "to"}                      as a person would
    {"op": "protect", "name", "ids", "on"}
    {"op": "suspend", "name", "process", "on"}
    {"op": "tags", "name"}                               the group's tags
    {"op": "put_policy", "name"}                         a scaling policy of the cloud's own
"""

import json
import sys

import boto3
from botocore.config import Config


class Cloud:
    def __init__(self, url, over_zones):
        self.over_zones = over_zones
        access = dict(
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="person",
            aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 0}),
        )
        self.asg = boto3.client("autoscaling", **access)
        self.ec2 = boto3.client("ec2", **access)
        self.subnets = None

    def create(self, name, min, max, desired):
        if self.over_zones:
            place = {"AvailabilityZones": ["us-east-1a", "us-east-1b", "us-east-1c"]}
        else:
            place = {"VPCZoneIdentifier": self.network(name)}
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": name, "Version": "$Latest"},
            MinSize=min,
            MaxSize=max,
            DesiredCapacity=desired,
            **place,
        )

    def network(self, name):
        """A launch template, which moto asks for, and three subnets."""
        if self.subnets is None:
            found = self.ec2.describe_subnets()["Subnets"]
            self.subnets = ",".join(subnet["SubnetId"] for subnet in found[:3])
        self.ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"},
        )
        return self.subnets

    def groups(self):
        groups = {}
        for page in self.asg.get_paginator("describe_auto_scaling_groups").paginate():
            for group in page["AutoScalingGroups"]:
                groups[group["AutoScalingGroupName"]] = {
                    "desired": group["DesiredCapacity"],
                    "min": group["MinSize"],
                    "max": group["MaxSize"],
                    "instances": [
                        {
                            "id": instance["InstanceId"],
                            "state": instance["LifecycleState"],
                            "protected": instance["ProtectedFromScaleIn"],
                        }
                        for instance in group["Instances"]
                    ],
                }
        return groups

    def desired(self, name, to):
        self.asg.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=to)

    def protect(self, name, ids, on):
        self.asg.set_instance_protection(AutoScalingGroupName=name, InstanceIds=ids, ProtectedFromScaleIn=on)

    def suspend(self, name, process, on):
        call = self.asg.suspend_processes if on else self.asg.resume_processes
        call(AutoScalingGroupName=name, ScalingProcesses=[process])

    def tags(self, name):
        group = self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
        return {tag["Key"]: tag["Value"] for tag in group["Tags"]}

    def put_policy(self, name):
        self.asg.put_scaling_policy(
            AutoScalingGroupName=name,
            PolicyName="half-busy",
            PolicyType="TargetTrackingScaling",
            TargetTrackingConfiguration={
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
                "TargetValue": 50.0,
            },
        )


def main():
    cloud = Cloud(sys.argv[1], sys.argv[2:] == ["zones"])
    operations = ("create", "groups", "desired", "protect", "suspend", "tags", "put_policy")
    for line in sys.stdin:
        request = json.loads(line)
        operation = request.pop("op")
        try:
            if operation not in operations:
                raise ValueError(f"no operation {operation!r}; there are {operations}")
            answer = {"ok": getattr(cloud, operation)(**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
