"""Judges the simulated Azure, and what skala says to it, with Microsoft's own client libraries.

    azure.py URL EXCHANGES.jsonl CERTIFICATE.pem
    azure.py EXCHANGES.jsonl

First azure-mgmt-compute and azure-mgmt-monitor use the simulated API themselves, with their own paging, conditional writes
and long-running operations. Then every exchange between skala and it is held against the same libraries' request builders
and models: method, path, query, headers, and every key and type of every body. Last, the assertion with which skala logged
in is verified by PyJWT against the certificate. Of exchanges alone only the second is done. Prints what it judged; ends with 1
at the first thing that is wrong.
"""

import datetime
import enum
import functools
import json
import re
import sys
import time
import typing
import urllib.parse
import urllib.request

import jwt
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.compute import ComputeManagementClient, models
from azure.mgmt.compute.operations import _operations as builders
from azure.mgmt.monitor import MonitorManagementClient
from azure.mgmt.monitor._serialization import Deserializer
from azure.mgmt.monitor.v2018_01_01.operations._metrics_operations import build_list_request as build_metrics_request
from azure.mgmt.monitor.v2021_05_01 import models as metric_models
from azure.mgmt.monitor.v2022_10_01 import models as monitor_models
from azure.mgmt.monitor.v2022_10_01.operations import _autoscale_settings_operations as autoscale_builders
from cryptography import x509
from cryptography.hazmat.primitives import hashes

SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"
GROUP = "rg-skala"
TENANT = "contoso.example"
CLIENT = "55555555-6666-7777-8888-999999999999"
SECRET = "not-a-secret"


def check(holds, what):
    if not holds:
        sys.exit(f"WRONG: {what}")


class Impatient(RequestsTransport):
    """The libraries sleep as long as a Retry-After says; here it is noted, and slept for a moment."""

    slept = []

    def sleep(self, duration):
        self.slept.append(duration)
        time.sleep(0.05)


class Bearer(SansIOHTTPPolicy):
    """The libraries' own policy sends no token over plain HTTP, and rightly; this server is on loopback."""

    def __init__(self, url):
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET, "scope": f"{url}/.default"}
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{url}/{TENANT}/oauth2/v2.0/token", data) as answer:
            self.token = json.load(answer)["access_token"]

    def on_request(self, request):
        request.http_request.headers["Authorization"] = f"Bearer {self.token}"


class NoCredential:
    def get_token(self, *_, **__):
        return AccessToken("unused", int(time.time()) + 3600)


def client(kind, url, **more):
    policy = Bearer(url)
    return kind(
        NoCredential(), SUBSCRIPTION, base_url=url, authentication_policy=policy, transport=Impatient(), retry_total=0, **more
    )


def use_as_a_customer(url):
    compute = client(ComputeManagementClient, url)
    sets = compute.virtual_machine_scale_sets
    names = sorted(one.name for one in sets.list_all())
    check(names == sorted(one.name for one in sets.list(GROUP)), "both lists show the same sets")
    check(len(names) > 3, f"more than one page of sets: {names}")
    name = "judged"
    before = sets.get(GROUP, name)
    check(before.etag and before.sku.capacity == 2, f"an ETag and a capacity: {before}")
    uniform = before.properties.orchestration_mode == "Uniform"

    try:
        sets.begin_update(GROUP, name, {"sku": {"capacity": 9}}, etag='"0"', match_condition=MatchConditions.IfNotModified)
        check(False, "a write under an old ETag is refused")
    except ResourceModifiedError:
        pass
    poller = sets.begin_update(
        GROUP, name, {"sku": {"capacity": 4}}, etag=before.etag, match_condition=MatchConditions.IfNotModified
    )
    after = poller.result()
    check(poller.status() == "Succeeded" and after.sku.capacity == 4, f"raised: {poller.status()}, {after.sku}")
    check(after.etag != before.etag, "a write changes the ETag")
    check(10 in Impatient.slept, f"the client was told to wait ten seconds: {Impatient.slept}")

    members = list(compute.virtual_machine_scale_set_vms.list(GROUP, name, expand="instanceView"))
    check(len(members) == 4, f"four machines: {members}")
    if uniform:
        powers = {status.code for vm in members for status in vm.properties.instance_view.statuses}
        check("PowerState/running" in powers, f"they run: {powers}")
        ids = [vm.instance_id for vm in members]
    else:
        machines = list(
            compute.virtual_machines.list_all(filter=f"'virtualMachineScaleSet/id' eq '{before.id}'", expand="instanceView")
        )
        check(len(machines) == 4 and all(vm.properties.instance_view for vm in machines), f"machines: {machines}")
        ids = [vm.name for vm in machines]
    poller = sets.begin_delete_instances(GROUP, name, {"instanceIds": ids[1:3]})
    poller.result()
    left = sets.get(GROUP, name)
    check(poller.status() == "Succeeded" and left.sku.capacity == 2, f"two removed: {poller.status()}, {left.sku}")

    for missing in (
        lambda: sets.get(GROUP, "nobody"),
        lambda: compute.virtual_machine_scale_set_rolling_upgrades.get_latest(GROUP, name),
    ):
        try:
            missing()
            check(False, "what is not there is not found")
        except ResourceNotFoundError:
            pass
    monitor = client(MonitorManagementClient, url, api_version="2022-10-01")
    settings = list(monitor.autoscale_settings.list_by_subscription())
    check(len(settings) == 1 and settings[0].target_resource_uri.endswith("/scaled"), f"autoscale: {settings}")
    check([rule.scale_action.direction for rule in settings[0].profiles[0].rules] == ["Increase", "Decrease"], "its rules")
    use_a_setting(monitor, settings[0])
    read_metrics(url, before.id)


def use_a_setting(monitor, listed):
    settings = monitor.autoscale_settings
    own = [one.id for one in settings.list_by_resource_group(GROUP)]
    check(own == [listed.id], f"the list of the resource group: {own}")
    setting = settings.get(GROUP, "cpu")
    check(setting.enabled and setting.as_dict() == listed.as_dict(), f"one setting is as in the list: {setting}")
    setting.enabled = False
    off = settings.create_or_update(GROUP, "cpu", setting)
    check(off.enabled is False and off.profiles[0].as_dict() == listed.profiles[0].as_dict(), f"switched off: {off}")
    on = settings.update(GROUP, "cpu", {"properties": {"enabled": True, "profiles": [listed.profiles[0].serialize()]}})
    check(on.as_dict() == listed.as_dict(), f"and on again: {on}")
    for what in (lambda: settings.get(GROUP, "none"), lambda: settings.update(GROUP, "none", {})):
        try:
            what()
            check(False, "a setting that is not there is not found")
        except ResourceNotFoundError:
            pass


def read_metrics(url, of):
    """The library has the metrics of one resource in an older version of the API; the newer one is asked all the same."""
    metrics = client(MonitorManagementClient, url, api_version="2018-01-01").metrics
    asked = {
        "metricnames": "Percentage CPU",
        "aggregation": "Average,Maximum",
        "interval": datetime.timedelta(minutes=1),
        "timespan": "2027-01-15T07:50:00Z/2027-01-15T08:00:00Z",
        "params": {"api-version": "2023-10-01"},
    }
    whole = metrics.list(of, **asked)
    check(whole.interval == datetime.timedelta(minutes=1) and len(whole.value) == 1, f"one metric: {whole}")
    metric = whole.value[0]
    check((metric.name.value, metric.unit, len(metric.timeseries)) == ("Percentage CPU", "Percent", 1), f"it: {metric}")
    data = metric.timeseries[0].data
    check(len(data) == 10 and data[0].average is None, f"ten minutes, of which one has no value: {data}")
    check((data[-1].average, data[-1].maximum) == (45.0, 60.0), f"the last one: {data[-1]}")
    check(data[-1].time_stamp.isoformat() == "2027-01-15T07:59:00+00:00", f"its beginning: {data[-1]}")
    split = metrics.list(of, filter="VMName eq '*'", top=5, **asked).value[0].timeseries
    found = {one.metadatavalues[0].value: one.data[-1].average for one in split}
    check(found == {"judged_0": 30.0, "judged_1": 60.0}, f"by machine: {found}")
    try:
        metrics.list(of, **{**asked, "metricnames": "Nobody's"})
        check(False, "an unknown metric is an error")
    except HttpResponseError as error:
        check(error.status_code == 400, f"an unknown metric: {error}")


# What each exchange must be: method, path, the library's own request, the models of both bodies.
SETS = r"/subscriptions/(?P<sub>[^/]+)(/resourceGroups/(?P<rg>[^/]+))?/providers/Microsoft.Compute/virtualMachineScaleSets"
CALLS = [
    ("GET", SETS + "$", lambda m: builders.build_virtual_machine_scale_sets_list_all_request(m["sub"]), None, [models.VirtualMachineScaleSet]),
    ("GET", SETS + "/(?P<set>[^/]+)$", lambda m: builders.build_virtual_machine_scale_sets_get_request(m["rg"], m["set"], m["sub"]), None, models.VirtualMachineScaleSet),
    ("PATCH", SETS + "/(?P<set>[^/]+)$", lambda m: builders.build_virtual_machine_scale_sets_update_request(m["rg"], m["set"], m["sub"], etag="x", match_condition=MatchConditions.IfNotModified), models.VirtualMachineScaleSetUpdate, models.VirtualMachineScaleSet),
    ("POST", SETS + "/(?P<set>[^/]+)/delete$", lambda m: builders.build_virtual_machine_scale_sets_delete_instances_request(m["rg"], m["set"], m["sub"]), models.VirtualMachineScaleSetVMInstanceRequiredIDs, None),
    ("GET", SETS + "/(?P<set>[^/]+)/virtualMachines$", lambda m: builders.build_virtual_machine_scale_set_vms_list_request(m["rg"], m["set"], m["sub"], expand="x"), None, [models.VirtualMachineScaleSetVM]),
    ("GET", SETS + "/(?P<set>[^/]+)/rollingUpgrades/latest$", lambda m: builders.build_virtual_machine_scale_set_rolling_upgrades_get_latest_request(m["rg"], m["set"], m["sub"]), None, models.RollingUpgradeStatusInfo),
    ("GET", r"/subscriptions/(?P<sub>[^/]+)/providers/Microsoft.Compute/virtualMachines$", lambda m: builders.build_virtual_machines_list_all_request(m["sub"], filter="x", expand="x"), None, [models.VirtualMachine]),
]
AUTOSCALE = re.compile(r"/subscriptions/[^/]+/providers/Microsoft.Insights/autoscaleSettings$")
SETTING = re.compile(r"/subscriptions/(?P<sub>[^/]+)/resourceGroups/(?P<rg>[^/]+)/providers/microsoft.insights/autoscalesettings/(?P<name>[^/]+)$", re.IGNORECASE)
METRICS = re.compile(r"(?P<of>/.+)/providers/Microsoft.Insights/metrics$")
OPERATION = re.compile(r"/subscriptions/[^/]+/providers/Microsoft.Compute/locations/[^/]+/operations/[^/]+$")


@functools.cache
def described(model):
    """The attributes of a model by the keys that it knows, and their types."""
    model({})  # the library finishes its classes at their first use
    fields = {field._rest_name: attribute for attribute, field in model._attr_to_rest_field.items()}
    hints = {}
    for base in reversed(model.__mro__):
        spaces = {**vars(sys.modules[base.__module__]), "_models": models}
        for name, annotation in vars(base).get("__annotations__", {}).items():
            hints[name] = typing.get_type_hints(type("One", (), {"__annotations__": {name: annotation}}), spaces)[name]
    return fields, hints


def matches(value, hint, where):
    """A JSON value is what the library's annotation says, with no key that it does not know."""
    if value is None or hint is typing.Any:
        return
    args = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Union:
        known = [arg for arg in args if arg is not type(None)]
        words = [arg for arg in known if isinstance(arg, type) and issubclass(arg, enum.Enum)]
        if words:
            check(any(value in [word.value for word in one] for one in words), f"{where}: {value!r} is no word of {words}")
        elif len(known) == 1:
            matches(value, known[0], where)
    elif origin is list:
        check(isinstance(value, list), f"{where} is a list: {value!r}")
        for index, item in enumerate(value):
            matches(item, args[0], f"{where}[{index}]")
    elif origin is dict:
        check(isinstance(value, dict), f"{where} is an object: {value!r}")
        for key, item in value.items():
            matches(item, args[1], f"{where}.{key}")
    elif isinstance(hint, type) and hasattr(hint, "_is_model"):
        check(isinstance(value, dict), f"{where} is an object: {value!r}")
        fields, hints = described(hint)
        for key, item in value.items():
            check(key in fields, f"{where}.{key} is not a key of {hint.__name__}")
            matches(item, hints[fields[key]], f"{where}.{key}")
    elif hint is datetime.datetime:
        check(isinstance(value, str) and datetime.datetime.fromisoformat(value), f"{where} is a time: {value!r}")
    elif hint in (str, bool, int, float):
        kinds = (int, float) if hint is float else hint
        check(isinstance(value, kinds) and (hint is bool or not isinstance(value, bool)), f"{where} is a {hint}: {value!r}")


def is_autoscale(item):
    """Read and written again by the library, it is the same: nothing was unknown to it."""
    found = monitor_models.AutoscaleSettingResource.deserialize(item)
    again = found.serialize(keep_readonly=True)
    again["properties"] = {**item["properties"], **again["properties"]}
    check(set(again) == set(item), f"an autoscale setting: {item}")
    for ours, theirs in zip(item["properties"]["profiles"], again["properties"]["profiles"], strict=True):
        check(sorted(ours) == sorted(theirs), f"a profile: {ours}")
        for one, other in zip(ours["rules"], theirs["rules"], strict=True):
            for part in ("metricTrigger", "scaleAction"):
                check(sorted(one[part]) == sorted(other[part]), f"{part}: {one[part]}, to the library {other[part]}")
    check(found.enabled in (True, False) and found.target_resource_uri, f"it is on or off, and has a target: {item}")


def is_setting(exchange, match, reply):
    """Returns what it was: one setting, read or written whole."""
    method, where = exchange["method"], f"{exchange['method']} {exchange['path']}"
    builder = {"GET": autoscale_builders.build_get_request, "PUT": autoscale_builders.build_create_or_update_request}
    check(method in builder, f"{where} is a call of the library")
    arguments = {"resource_group_name": match["rg"], "autoscale_setting_name": match["name"], "subscription_id": match["sub"]}
    request = builder[method](**arguments)
    url = urllib.parse.urlsplit(request.url)
    path = urllib.parse.unquote(url.path).lower()
    check(request.method == method and path == exchange["path"].lower(), f"{where} is {request.url}")
    check(set(dict(exchange["query"])) == set(urllib.parse.parse_qs(url.query)), f"{where} has the library's query")
    if method == "PUT":
        is_autoscale(json.loads(exchange["body"]))
    is_autoscale(reply)
    return f"autoscale_settings_{method.lower()}"


def is_metrics(exchange, match, reply):
    where, query = f"{exchange['method']} {exchange['path']}", dict(exchange["query"])
    names = ["aggregation", "filter", "interval", "metricnames", "metricnamespace", "timespan", "top"]
    given = {name: query.get("$filter" if name == "filter" else name) for name in names}
    interval = Deserializer.deserialize_duration(given["interval"])
    request = build_metrics_request(match["of"].lstrip("/"), api_version="2023-10-01", **{**given, "interval": interval})
    url = urllib.parse.urlsplit(request.url)
    check(exchange["method"] == "GET" and not exchange["body"], where)
    check(urllib.parse.unquote(url.path).lower() == exchange["path"].lower(), f"{where} is {request.url}")
    # The same pairs, and the very same spelling of each value.
    check(dict(urllib.parse.parse_qsl(url.query)) == query, f"{where}: {query} is {request.url} to the library")
    words = {word.value for word in metric_models.AggregationType}
    check(set(query["aggregation"].split(",")) <= words, f"{where}: aggregations of {words}")
    for time in query["timespan"].split("/"):
        Deserializer.deserialize_iso(time)
    found = metric_models.Response.deserialize(reply)
    again = found.serialize(keep_readonly=True)
    check(set(again) == set(reply), f"an answer about metrics: {set(reply)}, to the library {set(again)}")
    units = {word.value for word in metric_models.MetricUnit} if hasattr(metric_models, "MetricUnit") else None
    for ours, theirs in zip(reply["value"], again["value"], strict=True):
        check(sorted(ours) == sorted(theirs), f"a metric: {sorted(ours)}, to the library {sorted(theirs)}")
        check(units is None or ours["unit"] in units, f"a unit of {units}: {ours['unit']}")
        for one, other in zip(ours["timeseries"], theirs["timeseries"], strict=True):
            check(sorted(one) == sorted(other), f"a series: {sorted(one)}")
            for point, same in zip(one["data"], other["data"], strict=True):
                check(sorted(point) == sorted(same), f"a point: {point}, to the library {same}")
    return "metrics_list"


def judge(exchange):
    """Returns what it was; of one that was broken on purpose the request alone is judged."""
    method, path = exchange["method"], exchange["path"]
    query, headers = dict(exchange["query"]), dict(exchange["headers"])
    broken, refused = exchange["broken"], exchange["status"] >= 400
    reply = json.loads(exchange["reply"]) if exchange["reply"] and not broken else None
    where = f"{method} {path}"
    if path.endswith("/oauth2/v2.0/token"):
        return "token"
    check("api-version" in query, f"{where} has an api-version")
    if refused and not broken:
        # Azure Monitor's stand alone.
        error = reply if METRICS.match(path) and "error" not in reply else reply["error"]
        check({"code", "message"} <= set(error), f"{where}: an error of ARM's: {reply}")
    unanswered = "request alone" if broken else "refusal" if refused else None
    if unanswered and any(other.match(path) for other in (SETTING, METRICS, OPERATION)):
        return unanswered
    if AUTOSCALE.match(path):
        check(method == "GET" and query["api-version"] == "2022-10-01", where)
        if unanswered:
            return unanswered
        for item in reply["value"]:
            is_autoscale(item)
        return "autoscale"
    if match := SETTING.match(path):
        check(query["api-version"] == "2022-10-01", where)
        return is_setting(exchange, match, reply)
    if match := METRICS.match(path):
        return is_metrics(exchange, match, reply)
    if OPERATION.match(path):
        check(reply["status"] in ("InProgress", "Succeeded", "Failed") and "startTime" in reply, f"{where}: {reply}")
        return "operation"
    for wanted, pattern, build, request_model, reply_model in CALLS:
        match = re.match(pattern, path)
        if method != wanted or not match:
            continue
        request = build(match)
        url = urllib.parse.urlsplit(request.url)
        check(request.method == method and urllib.parse.unquote(url.path).lower() == path.lower(), f"{where} is {request.url}")
        allowed = set(urllib.parse.parse_qs(url.query)) | {"$skiptoken"}
        check(set(query) <= allowed, f"{where} has a query of {sorted(query)}, of {sorted(allowed)}")
        for name in request.headers:
            if name.lower() == "if-match":
                check(headers.get("if-match", "").startswith('"'), f"{where} is conditional")
        if request_model:
            matches(json.loads(exchange["body"]), request_model, f"{where} body")
        else:
            check(not exchange["body"], f"{where} has no body")
        if unanswered:
            return unanswered
        if isinstance(reply_model, list):
            check(set(reply) <= {"value", "nextLink"}, f"{where}: a page: {set(reply)}")
            for index, item in enumerate(reply["value"]):
                matches(item, reply_model[0], f"{where}[{index}]")
        elif reply_model:
            matches(reply, reply_model, where)
        return build.__code__.co_names[1].removeprefix("build_").removesuffix("_request")
    sys.exit(f"WRONG: no call of the libraries: {where}")


def verify(exchanges, pem):
    """Entra's own rules for a client assertion."""
    with open(pem, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    bodies = [dict(urllib.parse.parse_qsl(e["body"])) for e in exchanges if e["path"].endswith("/token")]
    assertions = [body["client_assertion"] for body in bodies if "client_assertion" in body]
    check(assertions, "skala logged in with a certificate")
    for assertion in assertions:
        header = jwt.get_unverified_header(assertion)
        thumbprint = jwt.utils.base64url_encode(certificate.fingerprint(hashes.SHA256())).decode()
        check(header == {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}, f"the header: {header}")
        options = {"require": ["aud", "exp", "iss", "jti", "nbf", "sub"], "verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims = jwt.decode(assertion, certificate.public_key(), algorithms=["PS256"], options=options, issuer=CLIENT)
        check(claims["sub"] == CLIENT and claims["aud"].endswith(f"/{TENANT}/oauth2/v2.0/token"), f"the claims: {claims}")
        check(0 < claims["exp"] - claims["nbf"] <= 600, f"it holds for at most ten minutes: {claims}")


def main():
    alone = len(sys.argv) == 2
    if not alone:
        use_as_a_customer(sys.argv[1])
    with open(sys.argv[1 if alone else 2], encoding="utf-8") as file:
        exchanges = [json.loads(line) for line in file]
    judged = {}
    for exchange in exchanges:
        kind = judge(exchange)
        judged[kind] = judged.get(kind, 0) + 1
    if not alone:
        verify(exchanges, sys.argv[3])
    print(json.dumps(judged, sort_keys=True))


if __name__ == "__main__":
    main()
