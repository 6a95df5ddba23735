"""The state behind asg_fake.py and the laws by which it changes: booting, launching, failing, going away.

In come changes of desired and of settings, and the passing of time; out go instances and scaling activities. It knows
no HTTP. Every method is called with the lock held.
"""

import itertools
import json
import threading
import time

ACTIVE_REFRESH = {"Pending", "InProgress", "Cancelling", "Baking", "RollbackInProgress"}

# What a launch that fails is told to say; {type} and {zone} are filled in. In AWS' own words.
WORDS = {
    "capacity": "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone}). Our "
    "system will be working on provisioning additional capacity. You can currently get {type} capacity by not specifying "
    "an Availability Zone in your request. Launching EC2 instance failed.",
    "quota": "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that "
    "the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an "
    "adjustment to this limit. Launching EC2 instance failed.",
    "addresses": "There are not enough free addresses in subnet 'subnet-0d1' to satisfy the requested number of instances. "
    "Launching EC2 instance failed.",
    "image": "The image id '[ami-0abc]' does not exist. Launching EC2 instance failed.",
    "denied": "You are not authorized to perform this operation. Encoded authorization failure message: Zx1. Launching EC2 "
    "instance failed.",
    "spot": "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request "
    "configuration. Please adjust your request and try again. Launching EC2 instance failed.",
}


class ApiError(Exception):
    def __init__(self, code, message, status=400):
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Cloud:
    """All groups and machines of one account and region."""

    def __init__(self):
        self.lock = threading.RLock()
        self.skew = 0.0
        self.reset()

    def reset(self):
        self.groups = {}
        self.machines = {}  # every instance ever, for DescribeInstances
        self.zones_out = set()
        self.quota = None
        self.rules = []
        self.log = []
        self.ids = itertools.count(1)

    def now(self):
        return time.time() + self.skew

    # The passing of time ------------------------------------------------------------------------------------------

    def tick(self):
        for group in list(self.groups.values()):
            self.boot(group)
            self.fade(group)
            self.launch_missing(group)
            self.remove_surplus(group)

    def boot(self, group):
        for machine in group["instances"].values():
            state, since = machine["state"], machine["since"]
            if state == "Pending" and self.now() >= since + group["boot_secs"]:
                hook = next((h for h in group["hooks"].values() if h["transition"].endswith("LAUNCHING")), None)
                self.enter(machine, "Pending:Wait" if hook else "InService")
                if not hook:
                    self.finish(machine["activity"], "Successful")
            elif state == "Pending:Wait":
                hook = next(iter(group["hooks"].values()), None)
                if not hook or self.now() >= since + hook["timeout"]:
                    # The default result of a hook is ABANDON: the instance is thrown away.
                    self.finish(
                        machine["activity"],
                        "Cancelled",
                        "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token 4d was abandoned: "
                        "Heartbeat Timeout",
                    )
                    self.enter(machine, "Terminating")

    def fade(self, group):
        for id_, machine in list(group["instances"].items()):
            if machine["state"] == "Terminating" and self.now() >= machine["since"] + group["terminate_secs"]:
                machine["state"] = "Terminated"
                del group["instances"][id_]

    def launch_missing(self, group):
        if "Launch" in group["suspended"] or group["deleting"]:
            return
        counted = [m for m in group["instances"].values() if m["state"] in ("Pending", "Pending:Wait", "InService")]
        missing = group["desired"] - len(counted)
        if missing <= 0 or self.now() < group["retry_at"]:
            return
        for _ in range(missing):
            if not self.launch(group):
                group["retry_at"] = self.now() + 20
                return

    def launch(self, group):
        """One launch, tried in every zone as AWS does; False when it failed everywhere."""
        limit = group["launch_limit"]
        if limit is not None and len(group["instances"]) >= limit:
            return False
        load = {zone: 0 for zone in group["zones"]}
        for machine in group["instances"].values():
            load[machine["zone"]] = load.get(machine["zone"], 0) + 1
        for zone in sorted(group["zones"], key=lambda z: (load[z], z)):
            what = group["fail_launches"]
            if self.quota is not None and self.alive_everywhere() >= self.quota:
                what = "quota"
            if what is None and zone in self.zones_out:
                what = "capacity"
            if what is None:
                self.start(group, zone)
                return True
            words = WORDS.get(what, what).replace("{type}", group["type"]).replace("{zone}", zone)
            self.activity(group, "Launching a new EC2 instance.  Status Reason: " + words, "Failed", words, zone)
        return False

    def alive_everywhere(self):
        return sum(len(group["instances"]) for group in self.groups.values())

    def start(self, group, zone):
        id_ = "i-%017x" % next(self.ids)
        machine = {
            "id": id_,
            "group": group["name"],
            "zone": zone,
            "type": group["type"],
            "template": dict(group["template"]),
            "protected": group["protect_new"],
            "health": "Healthy",
            "launched": self.now(),
        }
        self.enter(machine, "Pending")
        machine["activity"] = self.activity(group, f"Launching a new EC2 instance: {id_}", "PreInService", None, zone)
        group["instances"][id_] = machine
        self.machines[id_] = machine
        self.boot(group)

    def remove_surplus(self, group):
        if "Terminate" in group["suspended"]:
            return
        alive = [m for m in group["instances"].values() if m["state"] in ("Pending", "Pending:Wait", "InService")]
        surplus = len(alive) - group["desired"]
        # A protected instance is passed over; then the group stays above desired, as AWS' does.
        victims = sorted((m for m in alive if not m["protected"]), key=lambda m: (m["state"] == "InService", m["launched"]))
        for machine in victims[: max(surplus, 0)]:
            self.terminate(group, machine)

    def terminate(self, group, machine):
        self.enter(machine, "Terminating")
        return self.activity(group, f"Terminating EC2 instance: {machine['id']}", "InProgress", None, machine["zone"])

    def enter(self, machine, state):
        machine["state"], machine["since"] = state, self.now()

    def activity(self, group, description, status, message, zone):
        made = {
            "ActivityId": "%08x-0000-4000-8000-000000000000" % next(self.ids),
            "AutoScalingGroupName": group["name"],
            "Description": description,
            "Cause": f"At {stamp(self.now())} an instance was started in response to a difference between desired and actual "
            "capacity.",
            "StartTime": stamp(self.now()),
            "StatusCode": status,
            "Progress": 100 if status in ("Failed", "Successful", "Cancelled") else 30,
            "Details": json.dumps({"Subnet ID": "subnet-0d1", "Availability Zone": zone}, separators=(",", ":")),
        }
        if message:
            made["StatusMessage"] = message
        if made["Progress"] == 100:
            made["EndTime"] = stamp(self.now())
        group["activities"].insert(0, made)
        return made

    def finish(self, activity, status, message=None):
        activity.update(StatusCode=status, Progress=100, EndTime=stamp(self.now()))
        if message:
            activity["StatusMessage"] = message

    # Lookups ------------------------------------------------------------------------------------------------------

    def group(self, name):
        if name not in self.groups:
            raise ApiError("ValidationError", f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
        return self.groups[name]

    def member(self, id_, name=None):
        for group in self.groups.values():
            machine = group["instances"].get(id_)
            if machine and machine["state"] not in ("Terminating", "Terminated") and name in (None, group["name"]):
                return group, machine
        raise ApiError("ValidationError", f"Instance Id not found - No managed instance found for instance ID: {id_}")

    def running_refresh(self, group):
        return next((r for r in group["refreshes"] if r["Status"] in ACTIVE_REFRESH), None)


def stamp(seconds):
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + ".%03dZ" % int((seconds - whole) * 1000)
