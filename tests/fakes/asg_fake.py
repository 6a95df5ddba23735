#!/usr/bin/env python3
"""A stateful fake of the Auto Scaling Query API and the little of EC2's that goes with it.

It shows what moto cannot: instances that boot slowly, launches that fail as scaling activities in AWS' own words,
several zones, suspended processes that are obeyed, lifecycle hooks, instance refreshes, a batch of terminations, and
faults before and after the effect. `validate_asg_fake.py` judges its answers by botocore's service model.

Time is the machine's plus what `/_fake/advance` added, so a test never has to wait for a boot. Standard library only.

    asg_fake.py [--port PORT]     listens on 127.0.0.1, prints `listening on PORT`

Control, JSON in and out:
    GET    /_fake/calls           {"counts": {operation: n}, "log": [{"at", "operation", "params"}]}; DELETE forgets them
    POST   /_fake/advance         {"secs": 30}
    POST   /_fake/faults          one rule, see `Faults`; DELETE removes all
    POST   /_fake/groups/NAME     {"boot_secs", "terminate_secs", "launch_limit", "fail_launches": WHAT|null}
    POST   /_fake/zones           {"us-east-1a": "out"|"ok"}
    POST   /_fake/account         {"instance_quota": 20|null}
    POST   /_fake/kill            {"instance": "i-..."}: the machine dies, the group replaces it
    POST   /_fake/refresh         {"group": NAME, "status": "Successful"}: ends or changes the running refresh
    POST   /_fake/reset           forgets everything
"""

import argparse
import json
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

from asg_cloud import ApiError, Cloud, stamp

ASG_NS = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
EC2_NS = "http://ec2.amazonaws.com/doc/2016-11-15/"
REGION = "us-east-1"
ACCOUNT = "123456789012"
# Parameters of the Query API: `A.member.1.B=x` becomes {"A": [{"B": "x"}]}; EC2 leaves `member` out. -----------------


def nest(pairs):
    tree = {}
    for key, value in pairs:
        at = tree
        parts = key.split(".")
        for part in parts[:-1]:
            at = at.setdefault(part, {})
        at[parts[-1]] = value
    return flatten(tree)


def flatten(node):
    if not isinstance(node, dict):
        return node
    if set(node) == {"member"}:
        return flatten(node["member"])
    if node and all(key.isdigit() for key in node):
        return [flatten(node[key]) for key in sorted(node, key=int)]
    return {key: flatten(value) for key, value in node.items()}


def number(params, key, default=None):
    if key not in params:
        return default
    try:
        return int(params[key])
    except ValueError:
        raise ApiError("ValidationError", f"{params[key]} is not a number for {key}") from None


def flag(params, key, default=False):
    return params.get(key, "true" if default else "false").lower() == "true"


def page(items, params, most):
    size = min(number(params, "MaxRecords", number(params, "MaxResults", most)), most)
    token = params.get("NextToken", "0")
    if not token.isdigit():
        raise ApiError("InvalidNextToken", f"The token '{token}' is invalid.")
    start = int(token)
    more = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return items[start : start + size], more


# The operations ------------------------------------------------------------------------------------------------------


class Asg:
    """The Auto Scaling operations: a method each, taking parameters and giving the result's members."""

    def __init__(self, cloud):
        self.cloud = cloud

    def CreateAutoScalingGroup(self, p):
        name = p["AutoScalingGroupName"]
        if name in self.cloud.groups:
            raise ApiError("AlreadyExists", f"AutoScalingGroup by this name already exists - {name}")
        smallest, largest = number(p, "MinSize"), number(p, "MaxSize")
        desired = number(p, "DesiredCapacity", smallest)
        if not smallest <= desired <= largest:
            raise ApiError("ValidationError", "Desired capacity must be between the specified min size and max size")
        template = p.get("LaunchTemplate", {})
        self.cloud.groups[name] = {
            "name": name,
            "min": smallest,
            "max": largest,
            "desired": desired,
            "zones": p.get("AvailabilityZones") or [REGION + "a"],
            "template": {
                "LaunchTemplateId": template.get("LaunchTemplateId", "lt-0a1"),
                "LaunchTemplateName": template.get("LaunchTemplateName", "lt"),
                "Version": template.get("Version", "1"),
            },
            "type": "m5.large",
            "instances": {},
            "tags": {t["Key"]: t.get("Value", "") for t in p.get("Tags", [])},
            "suspended": set(),
            "policies": {},
            "scheduled": {},
            "hooks": {},
            "refreshes": [],
            "activities": [],
            "protect_new": flag(p, "NewInstancesProtectedFromScaleIn"),
            "boot_secs": 0.0,
            "terminate_secs": 0.0,
            "launch_limit": None,
            "fail_launches": None,
            "retry_at": 0.0,
            "created": self.cloud.now(),
            "deleting": False,
        }
        return {}

    def UpdateAutoScalingGroup(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        smallest, largest = number(p, "MinSize", group["min"]), number(p, "MaxSize", group["max"])
        desired = number(p, "DesiredCapacity", min(max(group["desired"], smallest), largest))
        if not smallest <= desired <= largest:
            raise ApiError("ValidationError", "Desired capacity must be between the specified min size and max size")
        group.update(min=smallest, max=largest, desired=desired)
        if "LaunchTemplate" in p:
            group["template"].update(p["LaunchTemplate"])
        return {}

    def DeleteAutoScalingGroup(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        if group["instances"] and not flag(p, "ForceDelete"):
            raise ApiError("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances still in it.")
        del self.cloud.groups[group["name"]]
        return {}

    def DescribeAutoScalingGroups(self, p):
        names = p.get("AutoScalingGroupNames")
        if names is not None and len(names) > 100 or number(p, "MaxRecords", 50) > 100:
            raise ApiError("ValidationError", "at most 100 names or records")
        groups = [g for g in self.cloud.groups.values() if names is None or g["name"] in names]
        shown, more = page(sorted(groups, key=lambda g: g["name"]), p, 100)
        with_instances = flag(p, "IncludeInstances", True)
        return {"AutoScalingGroups": [self.show(g, with_instances) for g in shown], **more}

    def show(self, g, with_instances):
        return {
            "AutoScalingGroupName": g["name"],
            "AutoScalingGroupARN": f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/{g['name']}",
            "LaunchTemplate": g["template"],
            "MinSize": g["min"],
            "MaxSize": g["max"],
            "DesiredCapacity": g["desired"],
            "DefaultCooldown": 300,
            "AvailabilityZones": g["zones"],
            "HealthCheckType": "EC2",
            "HealthCheckGracePeriod": 0,
            "CreatedTime": stamp(g["created"]),
            "SuspendedProcesses": [
                {"ProcessName": n, "SuspensionReason": f"User suspended at {stamp(g['created'])}"} for n in sorted(g["suspended"])
            ],
            "Instances": [self.show_instance(m) for m in g["instances"].values()] if with_instances else [],
            "Tags": [
                {
                    "ResourceId": g["name"],
                    "ResourceType": "auto-scaling-group",
                    "Key": key,
                    "Value": value,
                    "PropagateAtLaunch": False,
                }
                for key, value in sorted(g["tags"].items())
            ],
            "NewInstancesProtectedFromScaleIn": g["protect_new"],
            **({"Status": "Delete in progress"} if g["deleting"] else {}),
        }

    def show_instance(self, m):
        return {
            "InstanceId": m["id"],
            "InstanceType": m["type"],
            "AvailabilityZone": m["zone"],
            "LifecycleState": m["state"],
            "HealthStatus": m["health"],
            "LaunchTemplate": m["template"],
            "ProtectedFromScaleIn": m["protected"],
        }

    def SetDesiredCapacity(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        desired = number(p, "DesiredCapacity")
        if desired > group["max"]:
            text = f"New SetDesiredCapacity value {desired} is above max value {group['max']} for the AutoScalingGroup."
            raise ApiError("ValidationError", text)
        if desired < group["min"]:
            text = f"New SetDesiredCapacity value {desired} is below min value {group['min']} for the AutoScalingGroup."
            raise ApiError("ValidationError", text)
        group["desired"] = desired
        group["retry_at"] = 0.0
        return {}

    def TerminateInstanceInAutoScalingGroup(self, p):
        one, several, name = p.get("InstanceId"), p.get("InstanceIds"), p.get("AutoScalingGroupName")
        if bool(one) == bool(several) or (several and not name) or len(several or []) > 100:
            raise ApiError("ValidationError", "Either InstanceId, or AutoScalingGroupName and at most 100 InstanceIds")
        found = [self.cloud.member(id_, name) for id_ in ([one] if one else several)]
        decrement = flag(p, "ShouldDecrementDesiredCapacity")
        group = found[0][0]
        if decrement and group["desired"] - len(found) < group["min"]:
            raise ApiError(
                "ValidationError",
                "Terminating instance without replacement will violate group's min size constraint. Either set "
                "shouldDecrementDesiredCapacity flag to false or lower group's min size.",
            )
        if decrement:
            group["desired"] -= len(found)
        activities = [self.cloud.terminate(group, machine) for _, machine in found]
        return {"Activity": activities[0]} if one else {"Activities": activities}

    def SetInstanceProtection(self, p):
        for id_ in p["InstanceIds"]:
            self.cloud.member(id_, p["AutoScalingGroupName"])[1]["protected"] = flag(p, "ProtectedFromScaleIn")
        return {}

    def SetInstanceHealth(self, p):
        self.cloud.member(p["InstanceId"])[1]["health"] = p["HealthStatus"]
        return {}

    def EnterStandby(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        for id_ in p["InstanceIds"]:
            self.cloud.enter(self.cloud.member(id_, group["name"])[1], "Standby")
            group["desired"] -= flag(p, "ShouldDecrementDesiredCapacity")
        return {"Activities": []}

    def SuspendProcesses(self, p):
        self.cloud.group(p["AutoScalingGroupName"])["suspended"].update(p.get("ScalingProcesses") or ["Launch", "Terminate"])
        return {}

    def ResumeProcesses(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        group["suspended"] -= set(p.get("ScalingProcesses") or group["suspended"])
        return {}

    def CreateOrUpdateTags(self, p):
        for tag in p["Tags"]:
            self.cloud.group(tag["ResourceId"])
        for tag in p["Tags"]:
            self.cloud.groups[tag["ResourceId"]]["tags"][tag["Key"]] = tag.get("Value", "")
        return {}

    def DeleteTags(self, p):
        for tag in p["Tags"]:
            self.cloud.group(tag["ResourceId"])["tags"].pop(tag["Key"], None)
        return {}

    def PutScalingPolicy(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        arn = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:1:policyName/{p['PolicyName']}"
        kept = ("AutoScalingGroupName", "PolicyName", "PolicyType", "AdjustmentType", "ScalingAdjustment", "Enabled")
        policy = {key: p[key] for key in kept if key in p}
        for key in ("TargetTrackingConfiguration", "PredictiveScalingConfiguration", "StepAdjustments"):
            if key in p:
                policy[key] = p[key]
        policy.setdefault("PolicyType", "SimpleScaling")
        policy.setdefault("Enabled", "true")
        group["policies"][p["PolicyName"]] = {**policy, "PolicyARN": arn}
        return {"PolicyARN": arn}

    def DeletePolicy(self, p):
        self.cloud.group(p["AutoScalingGroupName"])["policies"].pop(p["PolicyName"], None)
        return {}

    def DescribePolicies(self, p):
        shown, more = page(self.listed(p, "policies"), p, 100)
        return {"ScalingPolicies": shown, **more}

    def PutScheduledUpdateGroupAction(self, p):
        kept = ("AutoScalingGroupName", "ScheduledActionName", "Recurrence", "StartTime", "EndTime", "MinSize", "MaxSize")
        action = {key: p[key] for key in (*kept, "DesiredCapacity") if key in p}
        self.cloud.group(p["AutoScalingGroupName"])["scheduled"][p["ScheduledActionName"]] = action
        return {}

    def DescribeScheduledActions(self, p):
        shown, more = page(self.listed(p, "scheduled"), p, 100)
        return {"ScheduledUpdateGroupActions": shown, **more}

    def listed(self, p, what):
        name = p.get("AutoScalingGroupName")
        groups = [self.cloud.group(name)] if name else self.cloud.groups.values()
        return [item for group in groups for item in group[what].values()]

    def DescribeScalingActivities(self, p):
        name = p.get("AutoScalingGroupName")
        groups = [self.cloud.group(name)] if name else self.cloud.groups.values()
        activities = sorted((a for g in groups for a in g["activities"]), key=lambda a: a["StartTime"], reverse=True)
        shown, more = page(activities, p, 100)
        return {"Activities": shown, **more}

    def PutLifecycleHook(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        timeout = number(p, "HeartbeatTimeout", 3600)
        group["hooks"][p["LifecycleHookName"]] = {"transition": p["LifecycleTransition"], "timeout": timeout}
        return {}

    def CompleteLifecycleAction(self, p):
        group, machine = self.cloud.member(p["InstanceId"], p["AutoScalingGroupName"])
        if machine["state"] != "Pending:Wait":
            raise ApiError("ValidationError", f"No active Lifecycle Action found with instance ID {machine['id']}")
        goes_on = p["LifecycleActionResult"] == "CONTINUE"
        self.cloud.enter(machine, "InService" if goes_on else "Terminating")
        self.cloud.finish(machine["activity"], "Successful" if goes_on else "Cancelled")
        return {}

    def StartInstanceRefresh(self, p):
        group = self.cloud.group(p["AutoScalingGroupName"])
        if self.cloud.running_refresh(group):
            raise ApiError("InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution.")
        made = {
            "InstanceRefreshId": "%08x-0000-4000-8000-000000000001" % next(self.cloud.ids),
            "AutoScalingGroupName": group["name"],
            "Status": "InProgress",
            "StartTime": stamp(self.cloud.now()),
            "PercentageComplete": 0,
            "InstancesToUpdate": len(group["instances"]),
        }
        group["refreshes"].insert(0, made)
        return {"InstanceRefreshId": made["InstanceRefreshId"]}

    def DescribeInstanceRefreshes(self, p):
        shown, more = page(self.cloud.group(p["AutoScalingGroupName"])["refreshes"], p, 100)
        return {"InstanceRefreshes": shown, **more}


class Ec2:
    """The EC2 operations used."""

    def __init__(self, cloud):
        self.cloud = cloud

    def DescribeInstances(self, p):
        machines = list(self.cloud.machines.values())
        for id_ in p.get("InstanceId", []):
            if id_ not in self.cloud.machines:
                raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{id_}' does not exist")
        if "InstanceId" in p:
            machines = [m for m in machines if m["id"] in p["InstanceId"]]
        for wanted in p.get("Filter", []):
            if wanted["Name"] != "instance-id":
                raise ApiError("InvalidParameterValue", f"The filter '{wanted['Name']}' is invalid")
            machines = [m for m in machines if m["id"] in wanted["Value"]]
        shown, more = page(machines, p, 1000)
        states = {"Pending": (0, "pending"), "Terminating": (32, "shutting-down"), "Terminated": (48, "terminated")}
        reservations = []
        for machine in shown:
            code, name = states.get(machine["state"].split(":")[0], (16, "running"))
            instance = {
                "instanceId": machine["id"],
                "instanceType": machine["type"],
                "launchTime": stamp(machine["launched"]),
                "placement": {"availabilityZone": machine["zone"]},
                "instanceState": {"code": code, "name": name},
            }
            reservations.append({"reservationId": "r-" + machine["id"][2:], "ownerId": ACCOUNT, "instancesSet": [instance]})
        return {"reservationSet": reservations, **({"nextToken": more["NextToken"]} if more else {})}


def xml(value, item):
    if isinstance(value, dict):
        return "".join(f"<{key}>{xml(inner, item)}</{key}>" for key, inner in value.items())
    if isinstance(value, list):
        return "".join(f"<{item}>{xml(inner, item)}</{item}>" for inner in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))


class Faults:
    """Rules that spoil answers. A rule: {"operation": "SetDesiredCapacity" or "*", "times": 1 (none: always),
    "skip": calls to let pass first, "status": 400, "code": "Throttling", "message": "...", "retry_after": seconds,
    "after_effect": true to do the work first, "html": true for a web server's page, "delay_ms": 20000, "reset": true}."""

    def __init__(self, cloud):
        self.cloud = cloud

    def find(self, operation):
        for rule in self.cloud.rules:
            if rule["operation"] not in ("*", operation) or rule.get("times", 1) <= 0:
                continue
            if rule.get("skip", 0) > 0:
                rule["skip"] -= 1
                continue
            if "times" in rule:
                rule["times"] -= 1
            return rule
        return None


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; with Nagle's algorithm the second waits 40 ms for the other side.
    disable_nagle_algorithm = True
    cloud = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.control("GET")

    def do_DELETE(self):
        self.control("DELETE")

    def do_POST(self):
        if self.path.startswith("/_fake/"):
            self.control("POST")
        else:
            self.query()

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()

    def send(self, status, text, kind, extra=()):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in extra:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def query(self):
        pairs = urllib.parse.parse_qsl(self.body(), keep_blank_values=True)
        params = nest(pairs)
        operation = params.get("Action", "")
        is_ec2 = params.get("Version", "").startswith("2016")
        with self.cloud.lock:
            plain = {key: value for key, value in pairs if key not in ("Action", "Version")}
            self.cloud.log.append({"at": self.cloud.now(), "operation": operation, "params": plain})
            fault = Faults(self.cloud).find(operation)
        if fault and "delay_ms" in fault:
            time.sleep(fault["delay_ms"] / 1000)
        spoiled = fault and ("code" in fault or "html" in fault or "reset" in fault)
        answer = (200, "", "text/xml", ())
        if not spoiled or fault.get("after_effect"):
            answer = self.perform(operation, params, is_ec2)
        if spoiled and fault.get("reset"):
            self.close_connection = True
            return
        self.send(*(self.spoil(fault) if spoiled else answer))

    def spoil(self, fault):
        extra = [("Retry-After", str(fault["retry_after"]))] if "retry_after" in fault else []
        if fault.get("html"):
            return fault.get("status", 500), "<!doctype html><h1>Internal Server Error</h1>", "text/html", extra
        return self.refusal(fault.get("status", 400), fault["code"], fault.get("message", "injected"), False, extra)

    def perform(self, operation, params, is_ec2):
        with self.cloud.lock:
            self.cloud.tick()
            service = Ec2(self.cloud) if is_ec2 else Asg(self.cloud)
            do = getattr(service, operation, None) if operation[:1].isupper() else None
            try:
                if do is None:
                    raise ApiError("InvalidAction", f"The action {operation} is not valid for this web service.")
                result = do(params)
                self.cloud.tick()
            except ApiError as error:
                return self.refusal(error.status, error.code, error.message, is_ec2)
            except KeyError as error:
                return self.refusal(400, "MissingParameter", f"The request must contain the parameter {error}", is_ec2)
        request = "00000000-0000-4000-8000-%012d" % next(self.cloud.ids)
        if is_ec2:
            text = f'<{operation}Response xmlns="{EC2_NS}"><requestId>{request}</requestId>{xml(result, "item")}</{operation}Response>'
        else:
            inner = f"<{operation}Result>{xml(result, 'member')}</{operation}Result>"
            meta = f"<ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata>"
            text = f'<{operation}Response xmlns="{ASG_NS}">{inner}{meta}</{operation}Response>'
        return 200, text, "text/xml", ()

    def refusal(self, status, code, message, is_ec2, extra=()):
        detail = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        if is_ec2:
            text = f"<Response><Errors><Error>{detail}</Error></Errors><RequestID>r-1</RequestID></Response>"
        else:
            kind = "Sender" if status < 500 else "Receiver"
            text = f'<ErrorResponse xmlns="{ASG_NS}"><Error><Type>{kind}</Type>{detail}</Error><RequestId>r-1</RequestId></ErrorResponse>'
        return status, text, "text/xml", extra

    def control(self, method):
        path = urllib.parse.unquote(self.path)
        try:
            given = json.loads(self.body() or "{}") if method == "POST" else {}
            with self.cloud.lock:
                answer = self.controlled(method, path.removeprefix("/_fake/"), given)
                self.cloud.tick()
        except (KeyError, ValueError, ApiError) as error:
            self.send(400, json.dumps({"error": repr(error)}), "application/json")
            return
        self.send(200, json.dumps(answer), "application/json")

    def controlled(self, method, what, given):
        cloud = self.cloud
        if what == "calls" and method == "GET":
            counts = {}
            for entry in cloud.log:
                counts[entry["operation"]] = counts.get(entry["operation"], 0) + 1
            return {"counts": counts, "log": cloud.log}
        if what == "calls":
            cloud.log.clear()
        elif what == "advance":
            cloud.skew += float(given["secs"])
        elif what == "faults" and method == "POST":
            cloud.rules.append({"operation": given["operation"], **given})
        elif what == "faults":
            cloud.rules.clear()
        elif what.startswith("groups/"):
            group = cloud.group(what.removeprefix("groups/"))
            group.update({key: given[key] for key in ("boot_secs", "terminate_secs", "launch_limit", "fail_launches") if key in given})
            group["retry_at"] = 0.0
        elif what == "zones":
            cloud.zones_out = {z for z in cloud.zones_out | set(given) if given.get(z, "out") == "out"}
        elif what == "account":
            cloud.quota = given["instance_quota"]
        elif what == "kill":
            group, machine = cloud.member(given["instance"])
            cloud.terminate(group, machine)
        elif what == "refresh":
            cloud.running_refresh(cloud.group(given["group"]))["Status"] = given["status"]
        elif what == "reset":
            cloud.reset()
        else:
            raise KeyError(what)
        return {}


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    arguments = argparse.ArgumentParser(description="A stateful fake of the Auto Scaling Query API.")
    arguments.add_argument("--port", type=int, default=0)
    Server.cloud = Cloud()
    server = Listener(("127.0.0.1", arguments.parse_args().port), Server)
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
