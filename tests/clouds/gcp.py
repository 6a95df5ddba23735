#!/usr/bin/env python3
"""Judges the simulated Compute Engine and Cloud Monitoring with software that its authors did not write.

    gcp.py URL EXCHANGES.jsonl PROJECT

First Google's own clients speak to the server at URL: google-cloud-compute, and google-api-python-client over the
published descriptions of the APIs. Then every exchange of EXCHANGES.jsonl (what skala's provider and the server said to
each other) is held against those descriptions: path, method, parameters, body and reply. Of an answer that was broken on
purpose, and is no refusal, the request alone is. With - instead of URL the exchanges are all that is judged. Exits with 1
and says what does not fit.
"""

import collections
import json
import re
import sys
import time

import googleapiclient.errors
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.discovery_cache import get_static_doc

# The minute before which the metrics of the test lie.
NOW = 1_700_000_040
PLACE = {"zones": "zone", "regions": "region"}
# Documented for all of Google's APIs, some of them by other names than the description's.
COMMON = {"$alt", "$apiVersion", "alt", "prettyPrint", "quotaUser", "fields", "key", "$.xgafv"}


FORMS = {
    "google-datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z",
    "google-duration": r"\d+(\.\d{1,9})?s",
}


def say(what):
    print(what, flush=True)


class Schema:
    """The published description: finds methods by path, checks values against schemas."""

    def __init__(self, document, before):
        self.before = before
        self.schemas = document["schemas"]
        self.methods = []
        self.walk(document)
        self.problems = []

    def walk(self, node):
        for method in node.get("methods", {}).values():
            # Where a parameter is a path itself, as in {+name}, its own pattern says which.
            path = method["path"] if "{+" in method["path"] else method.get("flatPath", method["path"])
            pattern = re.escape(self.before + path)
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
            pattern = re.sub(r"\\\{\\\+(\w+)\\\}", r"(?P<\1>.+)", pattern)
            self.methods.append((method["httpMethod"], re.compile(pattern + "$"), method))
        for resource in node.get("resources", {}).values():
            self.walk(resource)

    def find(self, verb, path):
        for known, pattern, method in self.methods:
            match = pattern.match(path)
            if known == verb and match:
                specs = method.get("parameters", {})
                if all(re.search(specs.get(k, {}).get("pattern", ""), v) for k, v in match.groupdict().items()):
                    return method, match.groupdict()
        return None, None

    def wrong(self, where, what):
        self.problems.append(f"{where}: {what}")

    def check(self, where, schema, value):
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        kind = schema.get("type")
        if kind == "any":
            return
        if kind == "object":
            if not isinstance(value, dict):
                return self.wrong(where, f"{value!r} is no object")
            known, rest = schema.get("properties", {}), schema.get("additionalProperties")
            for key, item in value.items():
                if key in known:
                    self.check(f"{where}.{key}", known[key], item)
                elif rest is not None:
                    self.check(f"{where}.{key}", rest, item)
                else:
                    self.wrong(where, f"nobody knows {key!r}")
        elif kind == "array":
            if not isinstance(value, list):
                return self.wrong(where, f"{value!r} is no array")
            for index, item in enumerate(value):
                self.check(f"{where}[{index}]", schema["items"], item)
        else:
            self.scalar(where, schema, kind, value)

    def scalar(self, where, schema, kind, value):
        fits = {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        }
        if not fits[kind]:
            return self.wrong(where, f"{value!r} is no {kind}")
        form = schema.get("format")
        if form == "int32" and not -(2**31) <= value < 2**31:
            self.wrong(where, f"{value} is no int32")
        if form in ("uint64", "int64") and not re.fullmatch(r"-?\d+", value):
            self.wrong(where, f"{value!r} is no {form}")
        if "enum" in schema and value not in schema["enum"]:
            self.wrong(where, f"{value!r} is none of {schema['enum']}")
        if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
            self.wrong(where, f"{value!r} does not match {schema['pattern']}")

    def parameter(self, where, spec, text):
        kind = spec.get("type")
        if kind == "integer":
            try:
                number = int(text)
            except ValueError:
                return self.wrong(where, f"{text!r} is no integer")
            if "minimum" in spec and number < int(spec["minimum"]):
                self.wrong(where, f"{number} is below {spec['minimum']}")
            if "maximum" in spec and number > int(spec["maximum"]):
                self.wrong(where, f"{number} is above {spec['maximum']}")
        elif kind == "boolean" and text not in ("true", "false"):
            self.wrong(where, f"{text!r} is no boolean")
        if "enum" in spec and text not in spec["enum"]:
            self.wrong(where, f"{text!r} is none of {spec['enum']}")
        if spec.get("format") in FORMS and not re.fullmatch(FORMS[spec["format"]], text):
            self.wrong(where, f"{text!r} is no {spec['format']}")
        if "pattern" in spec and not re.fullmatch(spec["pattern"], text):
            self.wrong(where, f"{text!r} does not match {spec['pattern']}")

    def exchange(self, number, exchange):
        where = f"exchange {number}: {exchange['method']} {exchange['path']}"
        method, in_path = self.find(exchange["method"], exchange["path"])
        if method is None:
            return self.wrong(where, "the API has no such method")
        query = dict(exchange["query"])
        known = method.get("parameters", {})
        single = [name for name, _ in exchange["query"] if not known.get(name, {}).get("repeated")]
        if len(set(single)) != len(single):
            self.wrong(where, f"a parameter twice: {exchange['query']}")
        for name, text in [*in_path.items(), *exchange["query"]]:
            if name in known:
                self.parameter(f"{where} {name}", known[name], text)
            elif name not in COMMON:
                self.wrong(where, f"the method has no parameter {name!r}")
        for name, spec in known.items():
            if spec.get("required") and name not in query and name not in in_path:
                self.wrong(where, f"the parameter {name!r} is missing")
        if "request" in method:
            self.check(f"{where} body", method["request"], json.loads(exchange["body"] or "{}"))
        elif exchange["body"] not in ("", "{}"):
            self.wrong(where, f"a body where none belongs: {exchange['body']}")
        # What was broken on purpose says nothing of the API; a refusal is in its own words all the same.
        if exchange["status"] < 400 and (exchange["broken"] or exchange["status"] == 0):
            return None
        reply = json.loads(exchange["reply"])
        if exchange["status"] == 200:
            return self.check(f"{where} reply", method["response"], reply)
        error = reply.get("error", {})
        reason = error.get("errors") or error.get("status")
        if error.get("code") != exchange["status"] or not error.get("message") or not reason:
            self.wrong(where, f"this is no error of the API: {reply}")
        return None


def expect(holds, what):
    if not holds:
        raise SystemExit(f"not as it should be: {what}")


def typed_client(url, project):
    """google-cloud-compute: groups of a zone and of a region, from listing to an operation's end."""
    # Loading it takes seconds, which exchanges alone do not need.
    from google.cloud import compute_v1
    from google.cloud.compute_v1.services.instance_group_managers.transports import rest as zonal_groups
    from google.cloud.compute_v1.services.region_instance_group_managers.transports import rest as regional_groups
    from google.cloud.compute_v1.services.region_operations.transports import rest as region_operations
    from google.cloud.compute_v1.services.zone_operations.transports import rest as zone_operations

    common = {"host": url.removeprefix("http://"), "url_scheme": "http", "credentials": AnonymousCredentials()}
    zonal = compute_v1.InstanceGroupManagersClient(transport=zonal_groups.InstanceGroupManagersRestTransport(**common))
    regional = compute_v1.RegionInstanceGroupManagersClient(
        transport=regional_groups.RegionInstanceGroupManagersRestTransport(**common)
    )
    # The clients would follow operations at Google's own address, whatever theirs is.
    zonal.transport._extended_operations_services["zone_operations"] = compute_v1.ZoneOperationsClient(
        transport=zone_operations.ZoneOperationsRestTransport(**common)
    )
    regional.transport._extended_operations_services["region_operations"] = compute_v1.RegionOperationsClient(
        transport=region_operations.RegionOperationsRestTransport(**common)
    )
    found = {}
    request = compute_v1.AggregatedListInstanceGroupManagersRequest(project=project, max_results=2)
    for scope, listed in zonal.aggregated_list(request=request):
        for group in listed.instance_group_managers:
            found[group.name] = (scope, group)
    expect(len(found) >= 3, f"{len(found)} groups, page by page")
    kinds = set()
    for name, (scope, group) in sorted(found.items()):
        kind, place = scope.split("/")
        client, key = (zonal, "zone") if kind == "zones" else (regional, "region")
        kinds.add(kind)
        where = {"project": project, key: place, "instance_group_manager": name}
        expect(client.get(**where).target_size == group.target_size, f"{name} alone is as it is in the list")
        members = list(client.list_managed_instances(**where))
        expect(len(members) == group.target_size, f"{name} has {group.target_size} instances: {len(members)}")
        expect(group.current_actions.none == group.target_size and group.status.is_stable, f"{name} is at rest")
        operation = client.resize(size=group.target_size + 2, **where)
        expect(operation.name.startswith("operation-"), f"an operation: {operation.name}")
        operation.result(timeout=20)
        now = client.get(**where)
        expect(now.target_size == group.target_size + 2, f"{name} was resized: {now.target_size}")
        expect(not now.status.is_stable and now.current_actions.creating == 2, f"two are on their way: {now}")
        gone = members[0].instance
        if key == "zone":
            body = compute_v1.InstanceGroupManagersDeleteInstancesRequest(instances=[gone])
            operation = client.delete_instances(
                instance_group_managers_delete_instances_request_resource=body, **where
            )
        else:
            body = compute_v1.RegionInstanceGroupManagersDeleteInstancesRequest(instances=[gone])
            operation = client.delete_instances(
                region_instance_group_managers_delete_instances_request_resource=body, **where
            )
        operation.result(timeout=20)
        expect(client.get(**where).target_size == group.target_size + 1, f"{name} holds one less")
        leaving = [m for m in client.list_managed_instances(**where) if m.instance == gone]
        expect(all(m.current_action == "DELETING" for m in leaving), f"{gone} leaves: {leaving}")
    expect(kinds == {"zones", "regions"}, f"groups of both kinds: {kinds}")
    try:
        zonal.get(project=project, zone="europe-west1-b", instance_group_manager="never")
    except exceptions.NotFound as error:
        say(f"google-cloud-compute understands a refusal: {error.code} {error.message}")
    else:
        raise SystemExit("a group that does not exist was found")
    say(f"google-cloud-compute drove {len(found)} groups")


def described_client(url, project):
    """google-api-python-client, made from the published description."""
    service = build(
        "compute",
        "v1",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url + "/compute/v1/"},
        static_discovery=True,
    )
    groups = service.instanceGroupManagers()
    items = groups.list(project=project, zone="europe-west1-b").execute()["items"]
    where = {"project": project, "zone": "europe-west1-b", "instanceGroupManager": items[0]["name"]}
    size = items[0]["targetSize"]
    identity = "0fa1c8c2-5f0b-4b52-8d9e-1c6c1d5a7b11"
    first = groups.resize(size=size + 3, requestId=identity, **where).execute()
    again = groups.resize(size=size + 3, requestId=identity, **where).execute()
    expect(first["name"] == again["name"], "the same request is the same operation")
    for _ in range(100):
        asked = service.zoneOperations().get(project=project, zone="europe-west1-b", operation=first["name"])
        if asked.execute()["status"] == "DONE":
            break
        time.sleep(0.1)
    else:
        raise SystemExit("the operation does not end")
    machines = service.instances().aggregatedList(project=project, maxResults=3).execute()
    expect(machines["nextPageToken"], "machines come in pages")
    try:
        groups.resize(size=size, requestId="00000000-0000-0000-0000-000000000000", **where).execute()
    except googleapiclient.errors.HttpError as error:
        expect(error.status_code == 400, f"zero is no request id: {error}")
    else:
        raise SystemExit("zero was taken for a request id")
    scalers = service.autoscalers()
    where = {"project": project, "zone": "europe-west1-b", "autoscaler": "native"}
    before = scalers.get(**where).execute()["autoscalingPolicy"]
    expect(before["mode"] == "ON", f"an autoscaler that acts: {before}")
    body = {"autoscalingPolicy": {"mode": "OFF"}}
    scalers.patch(project=project, zone="europe-west1-b", autoscaler="native", body=body).execute()
    after = scalers.get(**where).execute()["autoscalingPolicy"]
    expect(after == {**before, "mode": "OFF"}, f"its mode alone has changed: {after}")
    say("google-api-python-client drove a group and its autoscaler")


def described_metrics(url, project):
    """Cloud Monitoring, from its published description."""
    service = build(
        "monitoring",
        "v3",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
        static_discovery=True,
    )
    series = service.projects().timeSeries()
    end = time.gmtime(NOW)
    asked = {
        "name": f"projects/{project}",
        "filter": 'metric.type = "custom.googleapis.com/jobs" AND metric.labels.queue != "c"',
        "interval_startTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 300)),
        "interval_endTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", end),
        "aggregation_alignmentPeriod": "60s",
        "aggregation_perSeriesAligner": "ALIGN_MAX",
        "view": "FULL",
    }
    request, values = series.list(pageSize=3, **asked), {}
    pages = 0
    while request is not None:
        answer = request.execute()
        pages += 1
        for one in answer.get("timeSeries", []):
            key = one["metric"]["labels"]["queue"]
            values.setdefault(key, []).extend(point["value"]["int64Value"] for point in one["points"])
        request = series.list_next(request, answer)
    expect(values == {"a": ["5", "4", "3", "2", "1"], "b": ["50", "40", "30", "20", "10"]}, f"newest first: {values}")
    expect(pages == 4, f"{pages} pages of three values")
    asked["aggregation_crossSeriesReducer"] = "REDUCE_SUM"
    summed = series.list(**asked).execute()["timeSeries"]
    expect([one["points"][0]["value"]["int64Value"] for one in summed] == ["55"], f"added up: {summed}")
    for key, value, status in [
        ("filter", 'metric.type = "custom.googleapis.com/never"', 404),
        ("filter", "resource.type = \"global\"", 400),
        ("aggregation_alignmentPeriod", "30s", 400),
        ("aggregation_perSeriesAligner", "ALIGN_RATE", 400),
    ]:
        try:
            series.list(**{**asked, key: value}).execute()
        except googleapiclient.errors.HttpError as error:
            expect(error.status_code == status, f"{key} {value}: {error}")
        else:
            raise SystemExit(f"{key} was taken as {value}")
    say("google-api-python-client read Cloud Monitoring")


def main():
    url, exchanges, project = sys.argv[1:4]
    if url != "-":
        typed_client(url, project)
        described_client(url, project)
        described_metrics(url, project)
    compute = Schema(json.loads(get_static_doc("compute", "v1")), "/compute/v1/")
    monitoring = Schema(json.loads(get_static_doc("monitoring", "v3")), "/")
    # Whoever brings exchanges alone need not have asked for metrics.
    counts = {"/compute/": 0, "/v3/": 0} if url != "-" else collections.Counter({"/compute/": 0})
    with open(exchanges, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            exchange = json.loads(line)
            for start, schema in [("/compute/", compute), ("/v3/", monitoring)]:
                if exchange["path"].startswith(start):
                    counts[start] += 1
                    schema.exchange(number, exchange)
    expect(all(counts.values()), f"there are exchanges of each API to judge: {counts}")
    problems = compute.problems + monitoring.problems
    for problem in problems[:40]:
        say(problem)
    if problems:
        raise SystemExit(f"{len(problems)} things do not fit the published descriptions of the APIs")
    say(f"{sum(counts.values())} exchanges fit the published descriptions of the APIs")


if __name__ == "__main__":
    main()
