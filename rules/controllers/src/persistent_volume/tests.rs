//! Claims and volumes in fixtures: who gets whom, in which order of writes, and what is told meanwhile.

use super::{CLAIMS, VOLUMES};
use crate::testing::World;
use corten_api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use corten_meta::{GroupResource, ObjectKey};
use expect_test::expect;

fn claim(spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: c, namespace: default}}\nspec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 5Gi}}}}{spec}}}\nstatus: {{phase: Pending}}\n"
    )
}

fn volume(name: &str, size: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}, labels: {{disk: {name}}}}}\nspec: {{capacity: {{storage: {size}}}, accessModes: [ReadWriteOnce, ReadOnlyMany], persistentVolumeReclaimPolicy: Retain, hostPath: {{path: /x}}{spec}}}\nstatus: {{phase: Available}}\n"
    )
}

fn class(mode: &str, provisioner: &str) -> String {
    format!(
        "---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: fast}}\nprovisioner: {provisioner}\nvolumeBindingMode: {mode}\n"
    )
}

/// Runs both controllers until nothing is written; gives the claim's volume and phase, and the volumes' phases.
fn settled(world: &mut World) -> String {
    for _ in 0..10 {
        let before = world.revision();
        world.step(&CLAIMS, "default/c");
        let names: Vec<String> = world
            .snapshot
            .list::<PersistentVolume>()
            .map(|v| v.metadata.name.to_string())
            .collect();
        for name in names {
            world.step(&VOLUMES, &name);
        }
        if world.revision() == before {
            let claims = world.list::<PersistentVolumeClaim>(|c| {
                format!("{} {}", c.spec.volume_name, c.status.phase)
            });
            let volumes = world.list::<PersistentVolume>(|v| v.status.phase.to_string());
            return format!("{claims}\n{volumes}").trim().to_owned();
        }
    }
    panic!("claims and volumes do not come to rest");
}

#[test]
fn the_smallest_volume_that_fits_is_bound_from_both_sides() {
    let text = claim("")
        + &volume("big", "10Gi", "")
        + &volume("right", "5Gi", "")
        + &volume("small", "4Gi", "");
    let mut world = World::new(&text);
    let done = world.step(&CLAIMS, "default/c");
    let writes: Vec<&str> = done
        .lines()
        .map(|l| l.split(" {").next().unwrap())
        .collect();
    assert_eq!(
        writes,
        [
            "patch persistentvolumes right",
            "patch persistentvolumeclaims default/c"
        ]
    );
    expect![[r#"
        c right Bound
        big Available
        right Bound
        small Available"#]]
    .assert_eq(&settled(&mut world));
    let bound = world.snapshot.get::<PersistentVolume>("", "right").unwrap();
    let named = bound.spec.claim_ref.as_ref().unwrap();
    assert_eq!(
        (named.kind.as_str(), named.uid.as_str()),
        ("PersistentVolumeClaim", "persistentvolumeclaim-c")
    );
    let claim = world
        .snapshot
        .get::<PersistentVolumeClaim>("default", "c")
        .unwrap();
    for key in [
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
    ] {
        assert!(claim.metadata.annotations.contains_key(key));
    }
    assert_eq!(
        claim.status.capacity.get("storage").unwrap().to_string(),
        "5Gi"
    );
    assert_eq!(claim.status.access_modes.len(), 2);
}

#[test]
fn what_does_not_fit_is_not_taken() {
    for (spec, offered) in [
        ("", volume("v", "5Gi", ", storageClassName: fast")),
        (", storageClassName: fast", volume("v", "5Gi", "")),
        (", volumeMode: Block", volume("v", "5Gi", "")),
        (
            ", selector: {matchLabels: {disk: other}}",
            volume("v", "5Gi", ""),
        ),
        ("", volume("v", "5Gi", "").replace("ReadWriteOnce, ", "")),
        (
            "",
            volume("v", "5Gi", ", claimRef: {name: d, namespace: default}"),
        ),
        ("", volume("v", "5Gi", "").replace("Available", "Released")),
    ] {
        let mut world = World::new(&(claim(spec) + &offered));
        let done = world.step(&CLAIMS, "default/c");
        assert!(!done.contains("persistentvolumes v"), "{spec}: {done}");
    }
}

#[test]
fn a_volume_that_is_meant_for_a_claim_waits_for_it_and_gets_it() {
    let meant = volume("meant", "50Gi", ", claimRef: {name: c, namespace: default}");
    let mut alone = World::new(&meant);
    expect![""].assert_eq(&alone.step(&VOLUMES, "meant"));
    let mut world = World::new(&(claim("") + &meant + &volume("right", "5Gi", "")));
    assert!(settled(&mut world).starts_with("c meant Bound"));
    let bound = world.snapshot.get::<PersistentVolume>("", "meant").unwrap();
    assert!(
        !bound
            .metadata
            .annotations
            .contains_key("pv.kubernetes.io/bound-by-controller")
    );
}

#[test]
fn a_claim_that_names_its_volume_gets_no_other() {
    let mut world = World::new(&(claim(", volumeName: mine") + &volume("right", "5Gi", "")));
    assert!(settled(&mut world).starts_with("c mine Pending"));
    let text = claim(", volumeName: mine") + &volume("mine", "6Gi", "");
    assert!(settled(&mut World::new(&text)).starts_with("c mine Bound"));
    let taken = volume(
        "mine",
        "6Gi",
        ", claimRef: {name: d, namespace: default, uid: d}",
    );
    let text = claim(", volumeName: mine") + &taken;
    assert!(settled(&mut World::new(&text)).starts_with("c mine Pending"));
}

#[test]
fn a_claim_tells_what_it_waits_for() {
    expect!["Normal FailedBinding PersistentVolumeClaim/c: no persistent volumes available for this claim and no storage class is set"]
        .assert_eq(&World::new(&claim("")).step(&CLAIMS, "default/c"));
    expect![[r#"Warning ProvisioningFailed PersistentVolumeClaim/c: storageclass.storage.k8s.io "fast" not found"#]]
        .assert_eq(&World::new(&claim(", storageClassName: fast")).step(&CLAIMS, "default/c"));
    let text = claim(", storageClassName: fast")
        + &class("WaitForFirstConsumer", "kubernetes.io/no-provisioner")
        + &volume("v", "5Gi", ", storageClassName: fast");
    expect!["Normal WaitForFirstConsumer PersistentVolumeClaim/c: waiting for first consumer to be created before binding"]
        .assert_eq(&World::new(&text).step(&CLAIMS, "default/c"));
    let text = claim(", storageClassName: fast") + &class("Immediate", "example.com/disks");
    let mut world = World::new(&text);
    expect![[r#"patch persistentvolumeclaims default/c {"metadata":{"annotations":{"volume.beta.kubernetes.io/storage-provisioner":"example.com/disks","volume.kubernetes.io/storage-provisioner":"example.com/disks"}}}"#]]
        .assert_eq(&world.step(&CLAIMS, "default/c"));
    expect!["Normal ExternalProvisioning PersistentVolumeClaim/c: Waiting for a volume to be created either by the external provisioner 'example.com/disks' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."]
        .assert_eq(&world.step(&CLAIMS, "default/c"));
}

#[test]
fn a_volume_outlives_its_claim_as_its_policy_says() {
    for (policy, phase) in [
        ("Retain", "Released"),
        ("Delete", "Failed"),
        ("Recycle", "Failed"),
    ] {
        let text = claim("") + &volume("v", "5Gi", "").replace("Retain", policy);
        let mut world = World::new(&text);
        settled(&mut world);
        let claims = GroupResource::of::<PersistentVolumeClaim>();
        world
            .snapshot
            .remove(&claims, &ObjectKey::new("default", "c"));
        assert_eq!(settled(&mut world), format!("v {phase}"), "{policy}");
    }
}

#[test]
fn a_bound_claim_whose_volume_goes_is_lost() {
    let mut world = World::new(&(claim("") + &volume("v", "5Gi", "")));
    settled(&mut world);
    let volumes = GroupResource::of::<PersistentVolume>();
    world.snapshot.remove(&volumes, &ObjectKey::new("", "v"));
    expect![[r#"
        patch persistentvolumeclaims default/c /status {"status":{"phase":"Lost"}}
        Warning ClaimLost PersistentVolumeClaim/c: Bound claim has lost its PersistentVolume. Data on the volume is lost!"#]]
    .assert_eq(&world.run(&CLAIMS, "default/c"));
}
