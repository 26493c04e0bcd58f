//! Patches with the real kubectl: conflicts, failed operations, and who owns which fields.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use support::Cluster;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: web
        ports: [{containerPort: 8080}, {containerPort: 90}]
"#;

const MANAGERS: &str = "get deployment web --show-managed-fields -o \
    jsonpath={range.metadata.managedFields[*]}{.manager}/{.operation}/{.subresource}{\"\\n\"}{end}";

#[test]
fn an_apply_that_conflicts_is_refused_as_upstream_does() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply --server-side --field-manager=one -f -", DEPLOYMENT);
    let other = DEPLOYMENT
        .replace("replicas: 2", "replicas: 3")
        .replace("image: web", "image: other");
    let said = cluster.refused("apply --server-side --field-manager=two -f -", &other);
    let expected = "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.replicas\n- \
                    .spec.template.spec.containers[name=\"c\"].image";
    assert!(said.contains(expected), "{said}");
    let fields = cluster.kubectl("get --raw /apis/apps/v1/namespaces/default/deployments/web");
    let small = fields.find(r#"containerPort\":90,"#).unwrap();
    assert!(
        small < fields.find(r#"containerPort\":8080,"#).unwrap(),
        "{fields}"
    );
}

#[test]
fn a_scale_owns_the_replicas() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply --server-side --field-manager=one -f -", DEPLOYMENT);
    cluster.kubectl("scale deployment web --replicas=5");
    let managers = cluster.kubectl(MANAGERS);
    assert!(managers.contains("/Update/scale"), "{managers}");
    let said = cluster.refused("apply --server-side --field-manager=one -f -", DEPLOYMENT);
    assert!(
        said.contains("conflict with \"kubectl\" with subresource \"scale\""),
        "{said}"
    );
}

#[test]
fn what_admission_adds_is_not_the_clients() {
    let cluster = Cluster::start();
    cluster.kubectl("create service clusterip s --tcp=80");
    let json = cluster.kubectl("get service s --show-managed-fields -o json");
    assert!(!json.contains("f:clusterIP"), "{json}");
    assert!(json.contains("f:ports"), "{json}");
}

#[test]
fn a_failed_operation_is_not_explained() {
    let cluster = Cluster::start();
    cluster.kubectl("create configmap one --from-literal=a=b");
    let patch = r#"[{"op":"remove","path":"/data/none"}]"#;
    let said = cluster.run(
        &["patch", "configmap", "one", "--type=json", "-p", patch],
        "",
    );
    let text = "the server rejected our request due to an error in our request";
    assert!(!said.ok && said.err.contains(text), "{said:?}");
    assert!(!said.err.contains("nonexistent"), "{said:?}");
}
