"""Uses a cluster through the official Python client: python3 client.py NAMESPACE, with the cluster of KUBECONFIG."""

import sys

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

FIELD_MANAGER = "python"


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


def config_maps(core, namespace):
    """Create, patch, replace with a conflict, list by selector, delete."""
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py", labels={"by": "python"}), data={"a": "1"})
    made = core.create_namespaced_config_map(namespace, body)
    patched = core.patch_namespaced_config_map("py", namespace, {"data": {"b": "2"}})
    check("patched data", patched.data, {"a": "1", "b": "2"})
    made.data = {"a": "stale"}
    try:
        core.replace_namespaced_config_map("py", namespace, made)
        sys.exit("a stale replace was accepted")
    except ApiException as refused:
        check("a stale replace", (refused.status, refused.reason), (409, "Conflict"))
    listed = core.list_namespaced_config_map(namespace, label_selector="by in (python)")
    check("listed", [item.metadata.name for item in listed.items], ["py"])


def events(core, namespace):
    """A watch from a list's revision tells of everything after it, in order."""
    start = core.list_namespaced_secret(namespace).metadata.resource_version
    core.create_namespaced_secret(namespace, client.V1Secret(metadata=client.V1ObjectMeta(name="seen"), string_data={"k": "v"}))
    core.patch_namespaced_secret("seen", namespace, {"metadata": {"labels": {"x": "y"}}})
    core.delete_namespaced_secret("seen", namespace)
    seen = []
    for event in watch.Watch().stream(core.list_namespaced_secret, namespace, resource_version=start, timeout_seconds=30):
        if event["object"].metadata.name == "seen":
            seen.append(event["type"])
        if event["type"] == "DELETED":
            break
    check("events", seen, ["ADDED", "MODIFIED", "DELETED"])


def apply(api, namespace):
    """Server-side apply through the dynamic client, with a conflict between managers."""
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": "one"}}
    maps.server_side_apply(body=body, name="applied", namespace=namespace, field_manager=FIELD_MANAGER)
    body["data"]["k"] = "two"
    try:
        maps.server_side_apply(body=body, name="applied", namespace=namespace, field_manager="other")
        sys.exit("a conflict was not seen")
    except ApiException as refused:
        check("a conflict", refused.status, 409)
    forced = maps.server_side_apply(body=body, name="applied", namespace=namespace, field_manager="other", force_conflicts=True)
    check("after force", forced.data.k, "two")


def pods(core, namespace):
    """A pod runs, answers exec over WebSocket, and its log can be read."""
    spec = {
        "metadata": {"name": "runs"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "corten.test/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", "echo started; sleep 3600"],
            }],
        },
    }
    core.create_namespaced_pod(namespace, spec)
    for event in watch.Watch().stream(core.list_namespaced_pod, namespace, field_selector="metadata.name=runs", timeout_seconds=60):
        if event["object"].status.phase == "Running":
            break
    else:
        sys.exit("the pod did not run within a minute")
    said = stream(core.connect_get_namespaced_pod_exec, "runs", namespace, command=["echo", "over", "websocket"],
                  stderr=True, stdin=False, stdout=True, tty=False)
    check("exec", said, "over websocket\n")
    check("log", core.read_namespaced_pod_log("runs", namespace), "started\n")


def main():
    namespace = sys.argv[1]
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    config_maps(core, namespace)
    events(core, namespace)
    apply(api, namespace)
    pods(core, namespace)
    print("ok")


main()
