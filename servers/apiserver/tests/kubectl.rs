//! The real kubectl creates, reads, watches, patches and deletes.

mod support;

use support::Cluster;

#[test]
fn a_config_map_lives_and_dies() {
    let cluster = Cluster::start();
    assert_eq!(
        cluster.kubectl("create configmap one --from-literal=a=b"),
        "configmap/one created\n"
    );
    assert_eq!(
        cluster.kubectl("get configmap one -o jsonpath={.data.a}"),
        "b"
    );
    assert!(cluster.kubectl("get configmaps").contains("one"));
    let complaint = cluster.refused("create configmap one", "");
    assert_eq!(
        complaint,
        "error: failed to create configmap: configmaps \"one\" already exists\n"
    );
    assert_eq!(
        cluster.kubectl("label configmap one x=y"),
        "configmap/one labeled\n"
    );
    assert_eq!(
        cluster.kubectl("get configmaps -l x=y -o name"),
        "configmap/one\n"
    );
    assert_eq!(cluster.kubectl("get configmaps -l x!=y -o name"), "");
    assert_eq!(
        cluster.kubectl("delete configmap one"),
        "configmap \"one\" deleted from default namespace\n".replace(
            " from default namespace",
            if cluster.kubectl("version --client").contains("v1.32") {
                ""
            } else {
                " from default namespace"
            }
        )
    );
    let complaint = cluster.refused("get configmap one", "");
    assert_eq!(
        complaint,
        "Error from server (NotFound): configmaps \"one\" not found\n"
    );
}

#[test]
fn namespaces_are_there_from_the_start() {
    let cluster = Cluster::start();
    let names = cluster.kubectl("get namespaces -o name");
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(names.contains(&format!("namespace/{name}\n")), "{names}");
    }
    let service = cluster.kubectl("get service kubernetes -o jsonpath={.spec.clusterIP}");
    assert_eq!(service, "10.96.0.1");
}

#[test]
fn every_resource_is_listed() {
    let cluster = Cluster::start();
    let resources = cluster.kubectl("api-resources --verbs=list -o name");
    assert!(resources.lines().count() > 40, "{resources}");
    for resource in resources.lines() {
        cluster.kubectl(&format!("get {resource} -A -o name"));
    }
}
