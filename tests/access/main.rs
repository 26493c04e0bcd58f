//! Who may do what: upstream's texts for those who may not, and identities that reach only what is
//! theirs. All of it through the API, as a stranger would try it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use corten_tests::{
    ApiAccess, Cluster, Kubectl, Options, eventually, expect_equal, expect_parts, manifests, run,
};

fn main() -> ExitCode {
    let options = Options {
        name: "access",
        images: &["busybox"],
    };
    run(
        options,
        vec![
            ("users_without_rights_get_403", users_without_rights_get_403),
            (
                "anonymous_and_unknown_callers",
                anonymous_and_unknown_callers,
            ),
            ("a_node_reaches_only_its_own", a_node_reaches_only_its_own),
            (
                "a_service_account_has_its_roles",
                a_service_account_has_its_roles,
            ),
            (
                "a_pod_reaches_the_api_with_its_token",
                a_pod_reaches_the_api_with_its_token,
            ),
            ("rights_cannot_be_escalated", rights_cannot_be_escalated),
            ("quota_and_limits", quota_and_limits),
            ("files_are_private", files_are_private),
        ],
    )
}

fn refused(kubectl: &Kubectl, line: &str, text: &str) -> Result<()> {
    let failed = kubectl.fail(line)?;
    expect_equal((line, failed.stderr.trim_end()), (line, text))
}

fn users_without_rights_get_403(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("joe")?;
    let namespace = kubectl.namespace();
    refused(
        &kubectl,
        "get pods --as joe",
        &format!(
            "Error from server (Forbidden): pods is forbidden: User \"joe\" cannot list resource \"pods\" in API group \"\" in the namespace \"{namespace}\""
        ),
    )?;
    refused(
        &kubectl,
        "get pods -A --as joe",
        "Error from server (Forbidden): pods is forbidden: User \"joe\" cannot list resource \"pods\" in API group \"\" at the cluster scope",
    )?;
    refused(
        &kubectl,
        "create deployment x --image=y --as joe",
        &format!(
            "error: failed to create deployment: deployments.apps is forbidden: User \"joe\" cannot create resource \"deployments\" in API group \"apps\" in the namespace \"{namespace}\""
        ),
    )?;
    refused(
        &kubectl,
        "logs p --as joe",
        &format!(
            "Error from server (Forbidden): pods \"p\" is forbidden: User \"joe\" cannot get resource \"pods\" in API group \"\" in the namespace \"{namespace}\""
        ),
    )?;
    refused(
        &kubectl,
        "get --raw /metrics --as joe",
        "Error from server (Forbidden): forbidden: User \"joe\" cannot get path \"/metrics\"",
    )?;
    kubectl.run("create role reader --verb=get,list --resource=pods")?;
    kubectl.run("create rolebinding reader --role=reader --user=joe")?;
    kubectl.run("get pods --as joe")?;
    kubectl.run("delete rolebinding reader")?;
    kubectl.fail("get pods --as joe")?;
    Ok(())
}

fn anonymous_and_unknown_callers(cluster: &Cluster) -> Result<()> {
    let config = cluster.kubectl().json("config view --raw --minify")?;
    let server = config["clusters"][0]["cluster"]["server"]
        .as_str()
        .context("a server")?;
    let known = ApiAccess::from_kubeconfig(cluster.kubectl())?;
    let (anonymous, unknown) = (
        known.without_identity()?,
        known.with_token("nobody-gave-me-this")?,
    );
    let ask = |access: &ApiAccess, path: &str| -> Result<(u16, serde_json::Value)> {
        let answer = cluster
            .kubectl()
            .inside(|| access.connect()?.request("GET", path, b""))??;
        Ok((answer.status, answer.json().unwrap_or_default()))
    };
    let (code, status) = ask(&anonymous, "/api/v1/pods").context(server.to_string())?;
    expect_equal(code, 403)?;
    let text = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope";
    expect_equal(&status["message"], text)?;
    expect_equal(&status["reason"], "Forbidden")?;
    let (code, status) = ask(&unknown, "/api/v1/pods")?;
    expect_equal(code, 401)?;
    expect_equal(&status["message"], "Unauthorized")?;
    // What the public may see: version and health.
    expect_equal(ask(&anonymous, "/version")?.0, 200)?;
    expect_equal(ask(&anonymous, "/readyz")?.0, 200)
}

fn a_node_reaches_only_its_own(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("node")?;
    let namespace = kubectl.namespace();
    let node = cluster.node()?;
    let mut pod = manifests::idle_pod("p");
    pod["spec"]["nodeName"] = node.clone().into();
    kubectl.apply(&pod.to_string())?;
    kubectl.run("create secret generic other --from-literal=a=b")?;
    let other = "--as system:node:other --as-group system:nodes --as-group system:authenticated";
    let group = "in API group \"\" in the namespace";
    let unrelated = "no relationship found between node 'other' and this object";
    refused(
        &kubectl,
        &format!("get pod p {other}"),
        &format!(
            "Error from server (Forbidden): pods \"p\" is forbidden: User \"system:node:other\" cannot get resource \"pods\" {group} \"{namespace}\": {unrelated}"
        ),
    )?;
    refused(
        &kubectl,
        &format!("get pods {other}"),
        &format!(
            "Error from server (Forbidden): pods is forbidden: User \"system:node:other\" cannot list resource \"pods\" {group} \"{namespace}\": can only list/watch pods with spec.nodeName field selector"
        ),
    )?;
    refused(
        &kubectl,
        &format!("delete pod p {other}"),
        "Error from server (Forbidden): pods \"p\" is forbidden: node \"other\" can only delete pods with spec.nodeName set to itself",
    )?;
    refused(
        &kubectl,
        &format!("get node {node} {other}"),
        &format!(
            "Error from server (Forbidden): nodes \"{node}\" is forbidden: User \"system:node:other\" cannot get resource \"nodes\" in API group \"\" at the cluster scope: node 'other' cannot read '{node}', only its own Node object"
        ),
    )?;
    let failed = kubectl.fail(&format!("get secret other {other}"))?;
    expect_parts(&failed.stderr, &["(Forbidden)", unrelated])?;
    let empty = kubectl.run(&format!(
        "get pods --field-selector=spec.nodeName=other -o name {other}"
    ))?;
    expect_equal(empty, "")?;
    let own =
        format!("--as system:node:{node} --as-group system:nodes --as-group system:authenticated");
    expect_equal(kubectl.run(&format!("get pod p -o name {own}"))?, "pod/p\n")?;
    let failed = kubectl.fail(&format!(
        "label node {node} node-restriction.kubernetes.io/zone=x {own}"
    ))?;
    expect_parts(
        &failed.stderr,
        &["is not allowed to modify labels: node-restriction.kubernetes.io/zone"],
    )
}

fn a_service_account_has_its_roles(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("robot")?;
    let namespace = kubectl.namespace();
    kubectl.run("create serviceaccount robot")?;
    kubectl.run("create role maps --verb=get,create --resource=configmaps")?;
    kubectl.run(&format!(
        "create rolebinding maps --role=maps --serviceaccount={namespace}:robot"
    ))?;
    let token = kubectl.run("create token robot")?;
    let access = ApiAccess::from_kubeconfig(&kubectl)?.with_token(token.trim())?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let map = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made"}}"#;
    let answer = kubectl.inside(|| access.connect()?.request("POST", &path, map))??;
    expect_equal(answer.status, 201)?;
    let answer = kubectl.inside(|| access.connect()?.request("GET", &path, b""))??;
    expect_equal(answer.status, 403)?;
    let text = format!(
        "configmaps is forbidden: User \"system:serviceaccount:{namespace}:robot\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"{namespace}\""
    );
    expect_equal(answer.json()?["message"].as_str(), Some(text.as_str()))?;
    // A token dies with its service account (upstream remembers a good token for ten seconds).
    kubectl.run("delete serviceaccount robot")?;
    eventually("the token is refused", || {
        let answer = kubectl.inside(|| access.connect()?.request("GET", &path, b""))??;
        expect_equal(answer.status, 401)
    })
}

fn a_pod_reaches_the_api_with_its_token(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("incluster")?;
    let namespace = kubectl.namespace();
    kubectl.run("create role maps --verb=get --resource=configmaps")?;
    kubectl.run(&format!(
        "create rolebinding maps --role=maps --serviceaccount={namespace}:default"
    ))?;
    kubectl.apply(&manifests::idle_pod("inside").to_string())?;
    kubectl.wait("condition=Ready", "pod/inside")?;
    let mount = "/var/run/secrets/kubernetes.io/serviceaccount";
    let files = kubectl.run(&format!("exec inside -- ls {mount}"))?;
    expect_equal(
        files.split_whitespace().collect::<Vec<_>>(),
        ["ca.crt", "namespace", "token"],
    )?;
    expect_equal(
        kubectl.run(&format!("exec inside -- cat {mount}/namespace"))?,
        namespace,
    )?;
    let token = kubectl.run(&format!("exec inside -- cat {mount}/token"))?;
    let access = ApiAccess::from_kubeconfig(&kubectl)?.with_token(token.trim())?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
    let answer = kubectl.inside(|| access.connect()?.request("GET", &path, b""))??;
    expect_equal(answer.status, 200)?;
    let name = kubectl.run("exec inside -- nslookup kubernetes.default.svc.cluster.local")?;
    expect_parts(&name, &["10."])?;
    let environment = kubectl.run("exec inside -- env")?;
    expect_parts(
        &environment,
        &["KUBERNETES_SERVICE_HOST=", "KUBERNETES_SERVICE_PORT=443"],
    )
}

fn rights_cannot_be_escalated(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("escalate")?;
    kubectl.run("create role admin --verb=create,get --resource=roles,rolebindings")?;
    kubectl.run("create rolebinding admin --role=admin --user=joe")?;
    let failed = kubectl.fail("create role more --verb=get --resource=secrets --as joe")?;
    let text = "is attempting to grant RBAC permissions not currently held";
    expect_parts(
        &failed.stderr,
        &[text, "user \"joe\" (groups=[\"system:authenticated\"])"],
    )
}

fn quota_and_limits(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("quota")?;
    kubectl.run("create quota small --hard=configmaps=2,pods=1")?;
    kubectl.wait("jsonpath={.status.hard.pods}=1", "resourcequota/small")?;
    kubectl.run("create configmap one")?;
    let failed = kubectl.fail("create configmap two")?;
    let text = "is forbidden: exceeded quota: small, requested: configmaps=1, used: configmaps=2, limited: configmaps=2";
    expect_parts(&failed.stderr, &[text])?;
    let limits = r#"{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l"},"spec":{"limits":[
        {"type":"Container","default":{"memory":"64Mi"},"max":{"memory":"128Mi"}}]}}"#;
    kubectl.apply(limits)?;
    let mut pod = manifests::idle_pod("big");
    pod["spec"]["containers"][0]["resources"] =
        serde_json::json!({ "limits": { "memory": "1Gi" } });
    let failed = kubectl.fail_with_input("create -f -", &pod.to_string())?;
    expect_parts(
        &failed.stderr,
        &["maximum memory usage per Container is 128Mi, but limit is 1Gi"],
    )?;
    kubectl.apply(&manifests::idle_pod("small").to_string())?;
    let path = "{.spec.containers[0].resources.limits.memory}";
    let limit = kubectl.run(&format!("get pod small -o 'jsonpath={path}'"))?;
    expect_equal(limit, "64Mi")
}

/// Keys and kubeconfigs of the cluster are readable by their owner only.
fn files_are_private(cluster: &Cluster) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut pending = vec![cluster.data()];
    let mut keys = 0;
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let name = entry.file_name().to_string_lossy().into_owned();
            // Root filesystems of containers have files of their own.
            if kind.is_dir() && !matches!(name.as_str(), "images" | "pods" | "overlay") {
                pending.push(path);
                continue;
            }
            if kind.is_file() && (name.ends_with(".key") || name.contains("kubeconfig")) {
                let mode = entry.metadata()?.permissions().mode() & 0o777;
                expect_equal((&path, mode), (&path, 0o600))?;
                keys += 1;
            }
        }
    }
    let mode = std::fs::metadata(cluster.kubeconfig())?
        .permissions()
        .mode()
        & 0o777;
    expect_equal(mode, 0o600)?;
    expect_equal(keys > 0, true)
}
