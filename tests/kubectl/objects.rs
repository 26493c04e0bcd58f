//! Verbs that only touch objects. These also pass against an API server without any node.

use anyhow::Result;
use corten_tests::{Cluster, expect_equal, expect_parts, manifests};
use serde_json::json;

pub fn create(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("create")?;
    let said = kubectl.run("create configmap app --from-literal=color=red")?;
    expect_equal(said, "configmap/app created\n")?;
    let failed = kubectl.fail("create configmap app --from-literal=color=red")?;
    expect_equal(
        failed.stderr,
        "error: failed to create configmap: configmaps \"app\" already exists\n",
    )?;
    kubectl.run("create secret generic key --from-literal=user=joe")?;
    let secret = kubectl.json("get secret key")?;
    expect_equal(&secret["data"]["user"], "am9l")?;
    expect_equal(&secret["type"], "Opaque")?;
    kubectl.run("create deployment web --image=corten.test/busybox:1 --replicas=0")?;
    kubectl.run("create serviceaccount robot")?;
    kubectl.run("create role reader --verb=get,list --resource=pods")?;
    kubectl.run("create quota small --hard=pods=3")?;
    kubectl.run("create job once --image=corten.test/busybox:1 -- true")?;
    let generated =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "g-" } });
    let said = kubectl.run_with_input("create -f -", &generated.to_string())?;
    expect_parts(&said, &["configmap/g-", " created"])
}

pub fn apply(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("apply")?;
    let mut web = manifests::deployment("web", 0);
    expect_equal(
        kubectl.apply(&web.to_string())?,
        "deployment.apps/web created\n",
    )?;
    expect_equal(
        kubectl.apply(&web.to_string())?,
        "deployment.apps/web unchanged\n",
    )?;
    web["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{ "name": "a", "value": "1" }, { "name": "b", "value": "2" }]);
    expect_equal(
        kubectl.apply(&web.to_string())?,
        "deployment.apps/web configured\n",
    )?;
    web["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{ "name": "b", "value": "3" }]);
    kubectl.apply(&web.to_string())?;
    let path = "{.spec.template.spec.containers[0].env}";
    let env = kubectl.run(&format!("get deployment web -o 'jsonpath={path}'"))?;
    expect_equal(env, "[{\"name\":\"b\",\"value\":\"3\"}]")
}

pub fn apply_server_side(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("ssa")?;
    let map = |color: &str| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "app" }, "data": { "color": color } })
            .to_string()
    };
    let said = kubectl.run_with_input("apply --server-side -f -", &map("red"))?;
    expect_equal(said, "configmap/app serverside-applied\n")?;
    let other = "apply --server-side --field-manager=other -f -";
    let failed = kubectl.fail_with_input(other, &map("blue"))?;
    let conflict = "error: Apply failed with 1 conflict: conflict with \"kubectl\": .data.color\n";
    expect_parts(&failed.stderr, &[conflict])?;
    kubectl.run_with_input(&format!("{other} --force-conflicts"), &map("blue"))?;
    expect_equal(
        kubectl.run("get configmap app -o jsonpath={.data.color}")?,
        "blue",
    )?;
    let managed = kubectl.run("get configmap app -o yaml --show-managed-fields")?;
    expect_parts(
        &managed,
        &["f:color: {}", "manager: other", "operation: Apply"],
    )
}

pub fn diff(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("diff")?;
    let mut web = manifests::deployment("web", 0);
    kubectl.apply(&web.to_string())?;
    expect_equal(kubectl.run_with_input("diff -f -", &web.to_string())?, "")?;
    web["spec"]["minReadySeconds"] = json!(7);
    let differs = kubectl.fail_with_input("diff -f -", &web.to_string())?;
    expect_equal(differs.code, 1)?;
    expect_parts(
        &differs.stdout,
        &[
            "\n-  generation: 1\n",
            "\n+  generation: 2\n",
            "\n+  minReadySeconds: 7\n",
        ],
    )?;
    let live = kubectl.json("get deployment web")?;
    expect_equal(&live["spec"]["minReadySeconds"], &serde_json::Value::Null)
}

pub fn edit(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("edit")?;
    kubectl.run("create configmap app --from-literal=color=red")?;
    let editor = kubectl.with_variable("KUBE_EDITOR", "sed -i s/red/green/");
    expect_equal(editor.run("edit configmap app")?, "configmap/app edited\n")?;
    expect_equal(
        kubectl.run("get configmap app -o jsonpath={.data.color}")?,
        "green",
    )?;
    let idle = kubectl.with_variable("KUBE_EDITOR", "true");
    let same = idle.run("edit configmap app")?;
    expect_equal(same, "")
}

pub fn patch(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("patch")?;
    kubectl.apply(&manifests::deployment("web", 0).to_string())?;
    let strategic =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","workingDir":"/tmp"}]}}}}"#;
    expect_equal(
        kubectl.run(&format!("patch deployment web -p '{strategic}'"))?,
        "deployment.apps/web patched\n",
    )?;
    let merge = r#"{"metadata":{"labels":{"tier":"front"}}}"#;
    kubectl.run(&format!("patch deployment web --type=merge -p '{merge}'"))?;
    let ops = r#"[{"op":"test","path":"/metadata/labels/tier","value":"front"},{"op":"add","path":"/spec/paused","value":true}]"#;
    kubectl.run(&format!("patch deployment web --type=json -p '{ops}'"))?;
    let same = kubectl.run(&format!("patch deployment web --type=merge -p '{merge}'"))?;
    expect_equal(same, "deployment.apps/web patched (no change)\n")?;
    let web = kubectl.json("get deployment web")?;
    let container = &web["spec"]["template"]["spec"]["containers"][0];
    expect_equal(&container["workingDir"], "/tmp")?;
    expect_equal(&container["image"], "corten.test/busybox:1")?;
    expect_equal(&web["spec"]["paused"], true)?;
    let bad = r#"[{"op":"test","path":"/metadata/labels/tier","value":"back"}]"#;
    let failed = kubectl.fail(&format!("patch deployment web --type=json -p '{bad}'"))?;
    expect_parts(
        &failed.stderr,
        &[
            "The request is invalid: the server rejected our request due to an error in our request\n",
        ],
    )?;
    let failed = kubectl.fail("patch configmap nope -p '{}'")?;
    expect_equal(
        failed.stderr,
        "Error from server (NotFound): configmaps \"nope\" not found\n",
    )
}

pub fn get_wide_yaml_jsonpath(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("get")?;
    kubectl.apply(&manifests::deployment("web", 0).to_string())?;
    let wide = kubectl.run("get deployment web -o wide")?;
    let header: Vec<&str> = wide
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let columns = [
        "NAME",
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "AGE",
        "CONTAINERS",
        "IMAGES",
        "SELECTOR",
    ];
    expect_equal(header, columns)?;
    expect_parts(
        &wide,
        &["web", "0/0", "c", "corten.test/busybox:1", "app=web"],
    )?;
    let yaml = kubectl.run("get deployment web -o yaml")?;
    expect_parts(
        &yaml,
        &[
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n",
            "  replicas: 0\n",
        ],
    )?;
    let path = "{.metadata.name}{\"/\"}{.spec.strategy.type}{\"\\n\"}";
    let value = kubectl.run(&format!("get deployment web -o 'jsonpath={path}'"))?;
    expect_equal(value, "web/RollingUpdate\n")?;
    let name = kubectl.run("get deployments,replicasets -l app!=x -o name")?;
    expect_parts(&name, &["deployment.apps/web\n"])?;
    let columns = kubectl.run(
        "get deployment web --no-headers -o custom-columns=N:.metadata.name,R:.spec.replicas",
    )?;
    expect_equal(columns.split_whitespace().collect::<Vec<_>>(), ["web", "0"])?;
    let sorted = kubectl.run("get namespaces --sort-by=.metadata.creationTimestamp -o name")?;
    expect_parts(&sorted, &["namespace/default\n", "namespace/kube-system\n"])?;
    let empty = kubectl.run("get statefulsets")?;
    expect_equal(empty, "")
}

pub fn explain(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl();
    let text = kubectl.run("explain pod.spec.containers")?;
    expect_parts(
        &text,
        &[
            "KIND:       Pod\nVERSION:    v1\n\nFIELD: containers <[]Container>\n",
            "  livenessProbe\t<Probe>\n",
        ],
    )?;
    let text = kubectl.run("explain deployment.spec.strategy.type")?;
    expect_parts(
        &text,
        &[
            "GROUP:      apps\nKIND:       Deployment\n",
            "FIELD: type <string>\n",
        ],
    )?;
    let tree = kubectl.run("explain configmap --recursive")?;
    expect_parts(
        &tree,
        &[
            "  binaryData\t<map[string]string>\n",
            "  data\t<map[string]string>\n",
        ],
    )?;
    let failed = kubectl.fail("explain pod.spec.nope")?;
    expect_equal(failed.stderr, "error: field \"nope\" does not exist\n")
}

pub fn label_and_annotate(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("label")?;
    kubectl.run("create configmap app")?;
    expect_equal(
        kubectl.run("label configmap app tier=front")?,
        "configmap/app labeled\n",
    )?;
    let failed = kubectl.fail("label configmap app tier=back")?;
    expect_equal(
        failed.stderr,
        "error: 'tier' already has a value (front), and --overwrite is false\n",
    )?;
    kubectl.run("label configmap app tier=back --overwrite")?;
    expect_equal(
        kubectl.run("get configmaps -l tier=back -o name")?,
        "configmap/app\n",
    )?;
    expect_equal(
        kubectl.run("label configmap app tier-")?,
        "configmap/app unlabeled\n",
    )?;
    expect_equal(kubectl.run("get configmaps -l tier -o name")?, "")?;
    expect_equal(
        kubectl.run("annotate configmap app why=test")?,
        "configmap/app annotated\n",
    )?;
    let failed = kubectl.fail("label configmap app 'tier=not valid'")?;
    expect_parts(
        &failed.stderr,
        &["error: invalid label value: \"tier=not valid\""],
    )
}

pub fn delete_and_wait(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("delete")?;
    let namespace = kubectl.namespace().to_string();
    kubectl.run("create configmap app")?;
    let said = kubectl.run("delete configmap app")?;
    expect_equal(
        said,
        format!("configmap \"app\" deleted from {namespace} namespace\n"),
    )?;
    let failed = kubectl.fail("delete configmap app")?;
    expect_equal(
        failed.stderr,
        "Error from server (NotFound): configmaps \"app\" not found\n",
    )?;
    expect_equal(kubectl.run("delete configmap app --ignore-not-found")?, "")?;
    kubectl.run("create configmap held")?;
    let held = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    kubectl.run(&format!("patch configmap held -p '{held}'"))?;
    kubectl.run("delete configmap held --wait=false")?;
    let path = "get configmap held -o jsonpath={.metadata.deletionTimestamp}";
    expect_equal(kubectl.run(path)?.is_empty(), false)?;
    let free = r#"{"metadata":{"finalizers":null}}"#;
    kubectl.run(&format!("patch configmap held --type=merge -p '{free}'"))?;
    kubectl.wait("delete", "configmap/held")?;
    kubectl.run("create configmap a")?;
    kubectl.run("create configmap b")?;
    kubectl.run("label configmap a b gone=yes")?;
    let said = kubectl.run("delete configmaps -l gone=yes")?;
    expect_parts(
        &said,
        &["configmap \"a\" deleted", "configmap \"b\" deleted"],
    )?;
    kubectl.apply(&manifests::deployment("web", 0).to_string())?;
    kubectl.wait("jsonpath={.spec.replicas}=0", "deployment/web")
}

pub fn auth_can_i(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("cani")?;
    expect_equal(kubectl.run("auth can-i create pods")?, "yes\n")?;
    let refused = kubectl.fail("auth can-i create pods --as=joe")?;
    expect_equal((refused.code, refused.stdout.as_str()), (1, "no\n"))?;
    kubectl.run("create role reader --verb=get,list --resource=pods")?;
    kubectl.run("create rolebinding reader --role=reader --user=joe")?;
    expect_equal(kubectl.run("auth can-i list pods --as=joe")?, "yes\n")?;
    let list = kubectl.run("auth can-i --list --as=joe")?;
    expect_parts(
        &list,
        &["Resources", "Non-Resource URLs", "pods", "[get list]"],
    )
}

pub fn api_resources(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl();
    let list = kubectl.run("api-resources")?;
    let rows: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let header = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
    let wanted = [
        header,
        vec!["pods", "po", "v1", "true", "Pod"],
        vec!["nodes", "no", "v1", "false", "Node"],
        vec!["deployments", "deploy", "apps/v1", "true", "Deployment"],
        vec![
            "horizontalpodautoscalers",
            "hpa",
            "autoscaling/v2",
            "true",
            "HorizontalPodAutoscaler",
        ],
        vec!["leases", "coordination.k8s.io/v1", "true", "Lease"],
    ];
    for row in wanted {
        expect_equal((rows.contains(&row), &row), (true, &row))?;
    }
    let versions = kubectl.run("api-versions")?;
    expect_parts(
        &versions,
        &[
            "apps/v1\n",
            "batch/v1\n",
            "rbac.authorization.k8s.io/v1\n",
            "v1\n",
        ],
    )?;
    let version = kubectl.json("version")?;
    expect_equal(&version["serverVersion"]["major"], "1")?;
    expect_equal(&version["serverVersion"]["minor"], "36")
}

pub fn autoscale(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("autoscale")?;
    kubectl.apply(&manifests::deployment("web", 0).to_string())?;
    let said = kubectl.run("autoscale deployment web --min=1 --max=3 --cpu=80%")?;
    expect_equal(said, "horizontalpodautoscaler.autoscaling/web autoscaled\n")?;
    let object = kubectl.json("get hpa web")?;
    expect_equal(&object["spec"]["maxReplicas"], 3)?;
    expect_equal(
        &object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        80,
    )?;
    let row = kubectl.run("get hpa web --no-headers")?;
    expect_parts(&row, &["Deployment/web", "cpu: <unknown>/80%"])
}

pub fn errors_are_upstreams(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("errors")?;
    for (line, said) in [
        (
            "get pods nope",
            "Error from server (NotFound): pods \"nope\" not found\n",
        ),
        (
            "get nope",
            "error: the server doesn't have a resource type \"nope\"\n",
        ),
        (
            "scale deployment nope --replicas=1",
            "Error from server (NotFound): deployments.apps \"nope\" not found\n",
        ),
        (
            "delete namespace kube-system",
            "Warning: deleting cluster-scoped resources, not scoped to the provided namespace\nError from server (Forbidden): namespaces \"kube-system\" is forbidden: this namespace may not be deleted\n",
        ),
        (
            "get pods -l 'a in'",
            "Error from server (BadRequest): Unable to find \"/v1, Resource=pods\" that match label selector \"a in\", field selector \"\": unable to parse requirement: found '' expected: '('\n",
        ),
    ] {
        expect_equal((line, kubectl.fail(line)?.stderr.as_str()), (line, said))?;
    }
    Ok(())
}

pub fn bad_manifests_are_refused(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("bad")?;
    let mut pod = manifests::idle_pod("Bad_Name");
    pod["spec"]["containers"][0]["imag"] = json!("x");
    let failed = kubectl.fail_with_input("apply -f -", &pod.to_string())?;
    let text = "Error from server (BadRequest): error when creating \"STDIN\": Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.containers[0].imag\"\n";
    expect_equal(failed.stderr, text)?;
    pod["spec"]["restartPolicy"] = json!("Sometimes");
    let failed = kubectl.fail_with_input("apply --validate=false -f -", &pod.to_string())?;
    let text = [
        "The Pod \"Bad_Name\" is invalid: \n* metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of",
        "\n* spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"\n",
    ];
    expect_parts(&failed.stderr, &text)?;
    let mut pod = manifests::idle_pod("typed");
    pod["spec"]["containers"] = json!("one");
    let failed = kubectl.fail_with_input("create --validate=false -f -", &pod.to_string())?;
    expect_parts(
        &failed.stderr,
        &["Pod in version \"v1\" cannot be handled as a Pod"],
    )
}
