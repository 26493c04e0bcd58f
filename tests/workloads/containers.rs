//! What a container sees and how it ends: environment, volumes, order, exit codes, hooks, identity.

use anyhow::Result;
use corten_tests::{Cluster, expect_equal, expect_parts, manifests};
use serde_json::json;

pub fn environment_and_volumes(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("volumes")?;
    kubectl.run("create configmap app --from-literal=color=red --from-literal=data-1=dashed")?;
    kubectl.run("create secret generic key --from-literal=user=joe")?;
    let mut pod = manifests::idle_pod("p");
    let container = &mut pod["spec"]["containers"][0];
    container["envFrom"] = json!([{ "configMapRef": { "name": "app" } }]);
    container["env"] = json!([
        { "name": "WHO", "valueFrom": { "secretKeyRef": { "name": "key", "key": "user" } } },
        { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
        { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        { "name": "MEMORY", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } },
        { "name": "HELLO", "value": "hello $(WHO)" },
    ]);
    container["resources"] = json!({ "limits": { "memory": "64Mi" } });
    container["volumeMounts"] = json!([
        { "name": "config", "mountPath": "/config", "readOnly": true },
        { "name": "secret", "mountPath": "/secret" },
        { "name": "scratch", "mountPath": "/scratch" },
        { "name": "about", "mountPath": "/about" },
        { "name": "both", "mountPath": "/both" },
        { "name": "config", "mountPath": "/one/color", "subPath": "color" },
    ]);
    let downward = json!({ "items": [
        { "path": "name", "fieldRef": { "fieldPath": "metadata.name" } },
        { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } } ] });
    pod["spec"]["volumes"] = json!([
        { "name": "config", "configMap": { "name": "app" } },
        { "name": "secret", "secret": { "secretName": "key", "defaultMode": 0o400 } },
        { "name": "scratch", "emptyDir": {} },
        { "name": "about", "downwardAPI": downward },
        { "name": "both", "projected": { "sources": [
            { "configMap": { "name": "app" } }, { "secret": { "name": "key" } } ] } },
    ]);
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("condition=Ready", "pod/p")?;
    let environment = kubectl.run("exec p -- env")?;
    let node = format!("NODE={}\n", cluster.node()?);
    let parts = [
        "color=red\n",
        "data-1=dashed\n",
        "WHO=joe\n",
        &node,
        "MEMORY=64\n",
        "HELLO=hello joe\n",
    ];
    expect_parts(&environment, &parts)?;
    let files = "cat /config/color /secret/user /about/name /both/user /one/color; stat -Lc %a /secret/user; touch /scratch/x && echo wrote; touch /config/x 2>/dev/null || echo read-only";
    let text = kubectl.run(&format!("exec p -- sh -c '{files}'"))?;
    expect_equal(text, "redjoepjoered400\nwrote\nread-only\n")?;
    expect_equal(kubectl.run("exec p -- cat /about/labels")?, "app=\"p\"")?;
    let mut pod = manifests::idle_pod("waits");
    pod["spec"]["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "later" } }]);
    kubectl.apply(&pod.to_string())?;
    let path = "{.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError";
    kubectl.wait(&format!("jsonpath={path}"), "pod/waits")?;
    kubectl.run("create configmap later")?;
    kubectl.wait("condition=Ready", "pod/waits")
}

pub fn init_and_sidecar_containers(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("init")?;
    let shell = |name: &str, script: &str| {
        json!({
            "name": name,
            "image": "corten.test/busybox:1",
            "command": ["sh", "-c", script],
            "volumeMounts": [{ "name": "log", "mountPath": "/log" }],
        })
    };
    let mut sidecar = shell("sidecar", "echo sidecar >> /log/order; exec sleep 1000000");
    sidecar["restartPolicy"] = json!("Always");
    sidecar["startupProbe"] =
        json!({ "exec": { "command": ["test", "-s", "/log/order"] }, "periodSeconds": 1 });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "log", "emptyDir": {} }],
            "initContainers": [
                shell("first", "echo first >> /log/order"),
                sidecar,
                shell("second", "echo second >> /log/order"),
            ],
            "containers": [shell("main", "echo main >> /log/order; cat /log/order")],
        },
    });
    kubectl.apply(&pod.to_string())?;
    // The sidecar does not keep the pod from ending.
    kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/p")?;
    expect_equal(
        kubectl.run("logs p -c main")?,
        "first\nsidecar\nsecond\nmain\n",
    )?;
    let mut failing = pod;
    failing["metadata"]["name"] = json!("fails");
    failing["spec"]["initContainers"] = json!([shell("first", "exit 4")]);
    kubectl.apply(&failing.to_string())?;
    kubectl.wait("jsonpath={.status.phase}=Failed", "pod/fails")?;
    let row = kubectl.run("get pod fails --no-headers")?;
    expect_parts(&row, &["Init:Error"])
}

pub fn exit_codes_and_oom(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("exit")?;
    let mut pod = manifests::shell_pod("seven", "echo because > /dev/termination-log; exit 7");
    pod["spec"]["restartPolicy"] = json!("Never");
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("jsonpath={.status.phase}=Failed", "pod/seven")?;
    let terminated =
        &kubectl.json("get pod seven")?["status"]["containerStatuses"][0]["state"]["terminated"];
    expect_equal(&terminated["exitCode"], 7)?;
    expect_equal(&terminated["reason"], "Error")?;
    expect_equal(&terminated["message"], "because\n")?;
    let mut pod = manifests::shell_pod("hungry", "exec tail /dev/zero");
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "32Mi" } });
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("jsonpath={.status.phase}=Failed", "pod/hungry")?;
    let terminated =
        &kubectl.json("get pod hungry")?["status"]["containerStatuses"][0]["state"]["terminated"];
    expect_equal(
        (&terminated["exitCode"], &terminated["reason"]),
        (&json!(137), &json!("OOMKilled")),
    )?;
    let mut pod = manifests::idle_pod("nowhere");
    pod["spec"]["containers"][0]["command"] = json!(["/no/such/program"]);
    pod["spec"]["restartPolicy"] = json!("Never");
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("jsonpath={.status.phase}=Failed", "pod/nowhere")?;
    let terminated =
        &kubectl.json("get pod nowhere")?["status"]["containerStatuses"][0]["state"]["terminated"];
    expect_equal(&terminated["reason"], "StartError")?;
    let mut pod = manifests::idle_pod("imageless");
    pod["spec"]["containers"][0]["image"] = json!("corten.test/not-there:1");
    pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    kubectl.apply(&pod.to_string())?;
    let path = "{.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull";
    kubectl.wait(&format!("jsonpath={path}"), "pod/imageless")
}

pub fn hooks_and_grace(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("hooks")?;
    let script =
        "trap \"echo term; exit 0\" TERM; while :; do read -r -t 1000 x <> /tmp/fifo; done";
    let script = format!("mkfifo /tmp/fifo; {script}");
    let mut pod = manifests::shell_pod("p", &script);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(60);
    pod["spec"]["containers"][0]["lifecycle"] = json!({
        "postStart": { "exec": { "command": ["sh", "-c", "echo post > /proc/1/fd/1"] } },
        "preStop": { "exec": { "command": ["sh", "-c", "echo pre > /proc/1/fd/1"] } },
    });
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("condition=Ready", "pod/p")?;
    let mut follow = kubectl.start("logs -f p")?;
    follow.expect("post")?;
    kubectl.run("delete pod p --wait=false")?;
    follow.expect("pre")?;
    follow.expect("term")?;
    kubectl.wait("delete", "pod/p")
}

pub fn security_context(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("security")?;
    let mut pod = manifests::idle_pod("p");
    pod["spec"]["securityContext"] =
        json!({ "runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456, "runAsNonRoot": true });
    pod["spec"]["containers"][0]["securityContext"] = json!({
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
    });
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("condition=Ready", "pod/p")?;
    expect_equal(
        kubectl.run("exec p -- id")?,
        "uid=1234 gid=2345 groups=2345,3456\n",
    )?;
    let script = "touch /x 2>/dev/null || echo read-only; grep -E \"^(CapEff|NoNewPrivs|Seccomp):\" /proc/self/status | tr \"\\t\\n\" \"  \"";
    let text = kubectl.run(&format!("exec p -- sh -c '{script}'"))?;
    expect_parts(
        &text,
        &["read-only", "CapEff: 0000000000000000", "NoNewPrivs: 1"],
    )?;
    let mut pod = manifests::idle_pod("root");
    pod["spec"]["securityContext"] = json!({ "runAsNonRoot": true });
    kubectl.apply(&pod.to_string())?;
    let path = "{.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError";
    kubectl.wait(&format!("jsonpath={path}"), "pod/root")?;
    let message = kubectl
        .run("get pod root -o 'jsonpath={.status.containerStatuses[0].state.waiting.message}'")?;
    expect_parts(
        &message,
        &["container has runAsNonRoot and image will run as root"],
    )
}

pub fn shared_process_namespace(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("shared")?;
    let mut pod = manifests::idle_pod("p");
    pod["spec"]["shareProcessNamespace"] = json!(true);
    let mut other = pod["spec"]["containers"][0].clone();
    other["name"] = json!("other");
    other["command"] = json!(["sleep", "2000000"]);
    if let Some(containers) = pod["spec"]["containers"].as_array_mut() {
        containers.push(other);
    }
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("condition=Ready", "pod/p")?;
    let processes = kubectl.run("exec p -c c -- ps -o args")?;
    expect_parts(&processes, &["sleep 1000000", "sleep 2000000"])
}

pub fn back_off(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("backoff")?;
    kubectl.apply(&manifests::shell_pod("crash", "exit 1").to_string())?;
    let path = "{.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff";
    kubectl.wait(&format!("jsonpath={path}"), "pod/crash")?;
    let message = kubectl
        .run("get pod crash -o 'jsonpath={.status.containerStatuses[0].state.waiting.message}'")?;
    expect_parts(
        &message,
        &["back-off ", "restarting failed container=c pod=crash_"],
    )
}
