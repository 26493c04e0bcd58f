//! What was written is there after a restart, and revisions go on.

mod support;

use corten_apiserver::Disk;
use support::Cluster;

#[test]
fn a_restart_keeps_everything() {
    let cluster = Cluster::start_on(|directory| Disk::Directory(directory.join("data")));
    cluster.kubectl("create configmap one --from-literal=a=b");
    cluster.kubectl("create namespace two");
    let version = cluster
        .kubectl("get configmap one -o jsonpath={.metadata.resourceVersion}:{.metadata.uid}");
    let directory = cluster.stop();
    let disk = Disk::Directory(directory.path().join("data"));
    let cluster = Cluster::start_in(directory, disk);
    let again = cluster
        .kubectl("get configmap one -o jsonpath={.metadata.resourceVersion}:{.metadata.uid}");
    assert_eq!(version, again);
    assert_eq!(
        cluster.kubectl("get namespace two -o jsonpath={.status.phase}"),
        "Active"
    );
    assert_eq!(
        cluster.kubectl("label configmap one x=y"),
        "configmap/one labeled\n"
    );
}
