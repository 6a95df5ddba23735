"""Fills a new cloud: register.py services|project NAME=VALUE...

`services` registers the endpoints; `project` makes what the tests scale in: a project, its user, an application
credential limited to the calls that skala makes, flavors, an image, a network, zones.
"""
import sys

import openstack

what, given = sys.argv[1], dict(pair.split("=", 1) for pair in sys.argv[2:])
cloud = openstack.connect()
identity = cloud.identity

if what == "services":
    for name, kind, url in (
        ("placement", "placement", given["placement"]),
        ("glance", "image", given["glance"]),
        ("nova", "compute", given["nova"]),
        ("neutron", "network", given["neutron"]),
    ):
        service = identity.create_service(name=name, type=kind)
        for interface in ("public", "internal"):
            identity.create_endpoint(service_id=service.id, interface=interface, url=url, region_id="RegionOne")
    sys.exit()

compute = cloud.compute
project = identity.create_project(name="skala", domain_id="default")
user = identity.create_user(name="skala", password="skala", domain_id="default", default_project_id=project.id)
role = next(identity.roles(name="member"))
identity.assign_project_role_to_user(project, user, role)
as_skala = openstack.connection.Connection(
    auth={
        "auth_url": given["keystone"], "username": "skala", "password": "skala", "project_id": project.id,
        "user_domain_id": "default",
    },
    region_name="RegionOne",
)
# Only what a provider of skala does, as `skala iam print` says it.
rules = [line.split() for line in given["permissions"].splitlines() if line.strip()]
credential = as_skala.identity.post(
    f"/users/{user.id}/application_credentials",
    json={"application_credential": {
        "name": "skala",
        "access_rules": [{"service": service, "method": method, "path": path} for service, method, path in rules],
    }},
).json()["application_credential"]

image = cloud.image.create_image(name="web", disk_format="raw", container_format="bare", visibility="public", data=b"x" * 512)
small = compute.create_flavor(name="small", ram=64, vcpus=1, disk=1)
huge = compute.create_flavor(name="huge", ram=64, vcpus=4096, disk=1)
network = cloud.network.create_network(name="web", is_shared=True)
cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.9.0.0/16", enable_dhcp=False)
spread = as_skala.compute.post(
    "/os-server-groups",
    json={"server_group": {"name": "web", "policies": ["soft-anti-affinity"]}},
    microversion="2.15",
).json()["server_group"]
for number in range(1, int(given["computes"]) + 1):
    zone = compute.create_aggregate(name=f"zone-{number}", availability_zone=f"zone-{number}")
    compute.add_host_to_aggregate(zone, f"fake-{number}")

variables = {
    "OS_AUTH_URL": given["keystone"], "OS_REGION_NAME": "RegionOne", "OS_AUTH_TYPE": "v3applicationcredential",
    "OS_APPLICATION_CREDENTIAL_ID": credential["id"], "OS_APPLICATION_CREDENTIAL_SECRET": credential["secret"],
    "SKALA_TEST_PROJECT": project.id, "SKALA_TEST_USER": user.id, "SKALA_TEST_IMAGE": image.id,
    "SKALA_TEST_NETWORK": network.id, "SKALA_TEST_SMALL": small.id, "SKALA_TEST_HUGE": huge.id,
    "SKALA_TEST_SERVER_GROUP": spread["id"],
}
with open(given["rc"], "w", encoding="utf-8") as rc:
    rc.writelines(f"export {name}={value}\n" for name, value in variables.items())
