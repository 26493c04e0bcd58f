//! Upstream's sample API server under Corten's roof: it keeps its objects in `corten store serve`, asks Corten who its callers
//! are and what they may do, and hears from Corten for whom it speaks.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use corten_tests::{Cluster, Kubectl, corten, eventually, expect_equal, expect_parts, program};

const URL: &str = "https://localhost:8443";

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const RIGHTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: wardle}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: apiserver, namespace: wardle}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: visitor, namespace: wardle}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "wardle:system:auth-delegator"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, name: apiserver, namespace: wardle}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: wardle-auth-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: apiserver, namespace: wardle}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: aggregated-apiserver}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [get, watch, list]}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations, validatingadmissionpolicies, validatingadmissionpolicybindings, mutatingadmissionpolicies, mutatingadmissionpolicybindings]
  verbs: [get, watch, list]
- {apiGroups: [flowcontrol.apiserver.k8s.io], resources: [prioritylevelconfigurations, flowschemas], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: aggregated-apiserver}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: aggregated-apiserver}
subjects: [{kind: ServiceAccount, name: apiserver, namespace: wardle}]
"#;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: api, namespace: wardle}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1alpha1.wardle.example.com}
spec:
  insecureSkipTLSVerify: true
  group: wardle.example.com
  groupPriorityMinimum: 1000
  versionPriority: 15
  version: v1alpha1
  service: {name: api, namespace: wardle, port: 8443}
"#;

const MAY_LIST: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sees-flunders}
rules: [{apiGroups: [wardle.example.com], resources: [flunders], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sees-flunders}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sees-flunders}
subjects:
- {kind: ServiceAccount, name: visitor, namespace: wardle}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}
"#;

const AUDIT: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata, resources: [{group: wardle.example.com}]}]\n";

fn flunder(name: &str) -> String {
    format!(
        "apiVersion: wardle.example.com/v1alpha1\nkind: Flunder\nmetadata: {{name: {name}, namespace: wardle, labels: {{sample: 'true'}}}}\nspec: {{reference: other}}\n"
    )
}

/// Its store: etcd's API, on loopback in the cluster's network.
fn store(cluster: &Cluster, directory: &Path) -> Result<(Killed, String)> {
    let mut command = Command::new(corten()?);
    command
        .args(["store", "serve", "--listen-client-urls=http://127.0.0.1:0"])
        .arg("--data-dir")
        .arg(directory.join("store"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cluster.network()?.enter(move || command.spawn())??;
    let said = child.stdout.take().context("its standard output")?;
    let child = Killed(child);
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    let url = line.trim().strip_prefix("serving etcd's API on ");
    let url = url.with_context(|| format!("it says {line:?}"))?.to_owned();
    Ok((child, url))
}

/// A kubeconfig of a service account in the namespace, for a server.
fn account(cluster: &Cluster, name: &str, server: Option<&str>) -> Result<PathBuf> {
    let kubectl = cluster.kubectl();
    let token = kubectl.run(&format!("create token {name} -n wardle"))?;
    let file = cluster.directory().join(format!("{name}.kubeconfig"));
    fs::copy(cluster.kubeconfig(), &file)?;
    let own = kubectl.with_kubeconfig(&file);
    let token = token.trim();
    own.run(&format!("config set-credentials {name} --token={token}"))?;
    own.run(&format!("config set-context --current --user={name}"))?;
    if let Some(server) = server {
        own.run(&format!(
            "config set-cluster away --server={server} --insecure-skip-tls-verify"
        ))?;
        own.run("config set-context --current --cluster=away")?;
    }
    Ok(file)
}

/// Starts the server with a service account's rights; also where its log is.
fn serve(cluster: &Cluster, directory: &Path, etcd: &str) -> Result<Killed> {
    let kubeconfig = account(cluster, "apiserver", None)?;
    let policy = directory.join("audit.yaml");
    fs::write(&policy, AUDIT)?;
    let log = File::create(directory.join("log"))?;
    let mut command = Command::new(program("sample-apiserver")?);
    command
        .arg(format!("--etcd-servers={etcd}"))
        .args(["--secure-port=8443", "--bind-address=127.0.0.1"])
        .arg(format!("--cert-dir={}", directory.join("certs").display()))
        .arg(format!("--audit-policy-file={}", policy.display()))
        .arg(format!(
            "--audit-log-path={}",
            directory.join("audit.log").display()
        ));
    for flag in [
        "--kubeconfig",
        "--authentication-kubeconfig",
        "--authorization-kubeconfig",
    ] {
        command.arg(flag).arg(&kubeconfig);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let child = cluster.network()?.enter(move || command.spawn())??;
    Ok(Killed(child))
}

pub fn sample_apiserver(cluster: &Cluster) -> Result<()> {
    let directory = cluster.directory().join("wardle");
    // The cluster's directory outlives a run; what an earlier one stored would be listed.
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let kubectl = cluster.kubectl();
    eventually("the rights are there", || kubectl.apply(RIGHTS).map(drop))?;
    let (_store, etcd) = store(cluster, &directory)?;
    let _server = serve(cluster, &directory, &etcd)?;
    kubectl.apply(SERVICE)?;
    let available = kubectl.wait(
        "condition=Available",
        "apiservice/v1alpha1.wardle.example.com",
    );
    available.with_context(|| fs::read_to_string(directory.join("log")).unwrap_or_default())?;
    objects(&kubectl.in_namespace("wardle"))?;
    identities(cluster, &directory)?;
    kubectl.run("delete apiservice v1alpha1.wardle.example.com")?;
    let gone = kubectl.fail("get --raw /apis/wardle.example.com/v1alpha1")?;
    expect_parts(
        &gone.stderr,
        &["the server could not find the requested resource"],
    )?;
    kubectl
        .run("delete namespace wardle --wait=false")
        .map(drop)
}

/// What people do with objects, through kubectl's discovery.
fn objects(kubectl: &Kubectl) -> Result<()> {
    let known = kubectl.run("api-resources --api-group=wardle.example.com --no-headers")?;
    expect_parts(
        &known,
        &["flunders", "wardle.example.com/v1alpha1", "fischers"],
    )?;
    let mut seen = kubectl.start("get flunders --watch -o name")?;
    kubectl.apply(&flunder("first"))?;
    seen.expect("flunder.wardle.example.com/first")?;
    // The watch is on by now.
    kubectl.apply(&flunder("second"))?;
    seen.expect("flunder.wardle.example.com/second")?;
    let first = "get flunder first -o jsonpath={.spec.reference}/{.metadata.labels.sample}";
    expect_equal(kubectl.run(first)?.as_str(), "other/true")?;
    kubectl.run(r#"patch flunder first --type=merge -p {"spec":{"reference":"new"}}"#)?;
    expect_equal(kubectl.run(first)?.as_str(), "new/true")?;
    let listed = kubectl.run("get flunders -l sample=true -o name")?;
    ensure!(
        listed.contains("flunder.wardle.example.com/first"),
        "{listed}"
    );
    kubectl.run("delete flunder first")?;
    let missing = kubectl.fail("get flunder first")?;
    expect_parts(
        &missing.stderr,
        &["flunders.wardle.example.com \"first\" not found"],
    )
}

/// Who asks: through the front proxy, and at the server itself, which asks back.
fn identities(cluster: &Cluster, directory: &Path) -> Result<()> {
    let kubectl = cluster.kubectl();
    let refused =
        kubectl.fail("get flunders -n wardle --as=jane --as-group=system:authenticated")?;
    expect_parts(
        &refused.stderr,
        &["User \"jane\" cannot list resource \"flunders\""],
    )?;
    let visitor = kubectl.with_kubeconfig(&account(cluster, "visitor", Some(URL))?);
    let refused = visitor.fail("get flunders -n wardle")?;
    expect_parts(
        &refused.stderr,
        &["User \"system:serviceaccount:wardle:visitor\" cannot list resource \"flunders\""],
    )?;
    kubectl.apply(MAY_LIST)?;
    // It keeps a refusal for some seconds.
    eventually("the visitor may", || {
        visitor.run("get flunders -n wardle").map(drop)
    })?;
    kubectl.run("get flunders -n wardle --as=jane --as-group=system:authenticated")?;
    eventually("jane is in its audit log", || {
        let log = fs::read_to_string(directory.join("audit.log"))?;
        let by_jane = log
            .lines()
            .any(|line| line.contains("\"username\":\"jane\"") && line.contains("\"code\":200"));
        match by_jane {
            true => Ok(()),
            false => bail!("not yet"),
        }
    })
}
