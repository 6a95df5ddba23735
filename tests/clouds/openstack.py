"""Judges the simulated OpenStack, and what skala says to it, by OpenStack's own software.

    openstack.py URL EXCHANGES.jsonl

First openstacksdk uses the simulated clouds as any customer would: tokens, the catalog, microversions, paging, tags, servers
that come and go, ports. Then every exchange between skala and it is held against the schemas by which OpenStack's own
integration tests (tempest) judge a real Nova, and against Nova's reference for requests; of an answer that was broken on
purpose the request alone. With - instead of URL the exchanges are all that is judged. Prints what it judged; ends with 1 at
the first thing that is wrong.
"""

import collections
import json
import os
import re
import sys

# The folder of this file holds a script of the same name as the library.
sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != os.path.dirname(os.path.abspath(__file__))]

import openstack
from openstack import exceptions
from tempest.lib.api_schema.response.compute.v2_1 import servers as oldest
from tempest.lib.common import rest_client
from tempest.lib.services.compute.servers_client import ServersClient

IMAGE = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
NETWORK = "6b86b273-ff34-4ce1-9d6b-804eff5a3f57"
CREDENTIAL = ("d4735e3a265e16eee03f59718b9b5d03", "let-me-in")


def check(holds, what):
    if not holds:
        sys.exit(f"WRONG: {what}")


def connect(url, secret=CREDENTIAL[1], version="2.69"):
    return openstack.connection.Connection(
        auth_type="v3applicationcredential",
        auth={"auth_url": f"{url}/identity/v3", "application_credential_id": CREDENTIAL[0], "application_credential_secret": secret},
        region_name="RegionOne",
        compute_default_microversion=version,
    )


def use_as_a_customer(url):
    try:
        connect(url, secret="guess").authorize()
        check(False, "a wrong secret is refused")
    except exceptions.SDKException as error:
        check("401" in str(error), f"a wrong secret is unauthorized: {error}")
    by_password = openstack.connection.Connection(
        auth={"auth_url": f"{url}/identity", "username": "skala", "password": "let-me-in", "project_name": "skala",
              "user_domain_id": "default", "project_domain_id": "default"}, region_name="RegionOne")
    check(by_password.current_project_id == connect(url).current_project_id, "both ways lead to the same project")

    cloud = connect(url)
    compute = cloud.compute
    everybody = list(compute.servers())
    check(len(everybody) > 4 and len({server.id for server in everybody}) == len(everybody), f"all pages: {everybody}")
    check(all(server.status == "ACTIVE" and server.launched_at and server.availability_zone for server in everybody), "they run")
    web = list(compute.servers(tags="web"))
    check(len(web) == 3 and all("web" in server.tags for server in web), f"three carry the tag: {web}")
    either = list(compute.servers(any_tags="web,batch"))
    check(len(either) == len(everybody), f"any of two tags: {either}")
    check(not list(compute.servers(tags="nobody")), "nobody carries that")

    made = compute.create_server(
        name="by-hand", image_id=IMAGE, flavor_id="m1.small", networks=[{"uuid": NETWORK}], tags=["web", "by-hand"],
        metadata={"who": "a customer"},
    )
    check(compute.get_server(made.id).status == "BUILD", "a server is built first")
    made = compute.wait_for_server(made, interval=0.2, wait=60)
    check(made.status == "ACTIVE" and made.tags == ["web", "by-hand"] and made.metadata == {"who": "a customer"}, f"{made}")
    ports = list(cloud.network.ports(device_id=made.id))
    check(len(ports) == 1 and ports[0].device_owner == "compute:nova", f"its port: {ports}")
    compute.delete_server(made)
    compute.wait_for_delete(made, interval=0.2, wait=60)
    check(not list(cloud.network.ports(device_id=made.id)), "its port has gone with it")
    try:
        compute.delete_server("00000000-0000-4000-8000-ffffffffffff", ignore_missing=False)
        check(False, "a server that is not there cannot be deleted")
    except exceptions.NotFoundException:
        pass
    for wrong in ({"image_id": "nothing"}, {"flavor_id": "nothing"}, {"networks": None}, {"tags": ["a/b"]}):
        try:
            compute.create_server(**{"name": "x", "image_id": IMAGE, "flavor_id": "m1.small", "networks": "none", **wrong})
            check(False, f"{wrong} is refused")
        except exceptions.BadRequestException:
            pass
    # Before 2.26 there were no tags, and an API of another world is refused.
    check(all(server.tags is None or server.tags == [] for server in connect(url, version="2.25").compute.servers()), "no tags yet")
    try:
        list(connect(url, version="2.999").compute.servers())
        check(False, "a microversion that is not there is refused")
    except exceptions.SDKException:
        pass


class Answer:
    """What tempest asks of an answer."""

    def __init__(self, status):
        self.status = status


def schema_for(minor):
    for info in ServersClient.schema_versions_info:
        low = int((info["min"] or "2.1").split(".")[1])
        high = int(info["max"].split(".")[1]) if info["max"] else 10_000
        if low <= minor <= high:
            return info["schema"]
    sys.exit(f"WRONG: no schema for 2.{minor}")


# What Nova's reference says of a request for a server at 2.52 to 2.69, as far as skala uses it.
SERVER = {"name": str, "imageRef": str, "flavorRef": str, "networks": (list, str), "tags": list, "metadata": dict,
          "availability_zone": str, "security_groups": list, "key_name": str, "user_data": str, "config_drive": bool,
          "block_device_mapping_v2": list}


def judge_request(exchange):
    headers = dict(exchange["headers"])
    check("x-auth-token" in headers or exchange["path"].startswith("/identity") or exchange["path"] == "/compute/v2.1/",
          f"a token: {exchange['path']}")
    if exchange["method"] != "POST" or not exchange["path"].endswith("/servers"):
        return
    body = json.loads(exchange["body"])
    check(set(body) <= {"server", "os:scheduler_hints"}, f"keys of a request: {set(body)}")
    for key, value in body["server"].items():
        check(key in SERVER and isinstance(value, SERVER[key]), f"{key}: {value!r}")
    check({"name", "flavorRef", "networks"} <= set(body["server"]), "what a request needs")
    check(all(0 < len(tag) <= 60 and not re.search("[/,]", tag) for tag in body["server"]["tags"]), "tags as Nova takes them")
    check(0 < len(body["server"]["name"]) <= 255, "a name")


def judge_reply(exchange):
    """Tempest's verdict; what it has no schema for is told apart by the caller."""
    path, status, headers = exchange["path"], exchange["status"], dict(exchange["headers"])
    if exchange["broken"]:
        return None
    if not path.startswith("/compute/v2.1/servers") or not 200 <= status < 300:
        return None
    minor = int(headers["openstack-api-version"].removeprefix("compute 2."))
    schema = schema_for(minor)
    body = json.loads(exchange["reply"]) if exchange["reply"] else None
    names = {("GET", "/compute/v2.1/servers"): "list_servers", ("GET", "/compute/v2.1/servers/detail"): "list_servers_detail",
             ("POST", "/compute/v2.1/servers"): "create_server"}
    name = names.get((exchange["method"], path)) or {"GET": "get_server", "DELETE": "delete_server"}[exchange["method"]]
    # Whether Nova makes up passwords is its operator's choice.
    if name == "create_server" and "adminPass" in body["server"]:
        name = "create_server_with_admin_pass"
    # What no microversion has changed is in the first one's schemas alone.
    schema = getattr(schema, name, None) or getattr(oldest, name)
    rest_client.RestClient.validate_response(schema, Answer(status), body)
    return name


def judge(lines, wanted):
    judged = collections.Counter()
    for line in lines:
        exchange = json.loads(line)
        judge_request(exchange)
        name = judge_reply(exchange)
        if name:
            judged[name.removesuffix("_with_admin_pass")] += 1
    for name in wanted:
        check(judged[name], f"{name} was never judged: {judged}")
    print(f"{sum(judged.values())} answers fit tempest's schemas: {dict(judged)}")


if __name__ == "__main__":
    wanted = ["list_servers", "list_servers_detail", "create_server", "delete_server"]
    if sys.argv[1] != "-":
        use_as_a_customer(sys.argv[1])
        print("openstacksdk is content")
        wanted.append("get_server")
    with open(sys.argv[2], encoding="utf-8") as lines:
        judge(lines, wanted)
