//! PodSecurity: levels, labels and texts.

use crate::world::{World, admin, object, refusal};
use corten_access::admission::Operation;
use corten_api::Object;

fn world(labels: &str) -> World {
    World::new(&format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: s, labels: {{{labels}}}}}}}\n---\n\
         {{apiVersion: v1, kind: ServiceAccount, metadata: {{name: x, namespace: s}}}}"
    ))
}

fn pod(spec: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: s}}, spec: {{serviceAccountName: x, {spec}}}}}"
    ))
}

const BAD: &str = "hostNetwork: true, hostPID: true, volumes: [{name: h, hostPath: {path: /}}, {name: m, nfs: {server: a, path: b}}], \
    securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}], seLinuxOptions: {type: spc_t, user: u}}, \
    containers: [{name: a, ports: [{containerPort: 80, hostPort: 80}], securityContext: {privileged: true, \
    capabilities: {add: [SYS_ADMIN, NET_RAW]}, procMount: Unmasked, seccompProfile: {type: Unconfined}}}, \
    {name: b, livenessProbe: {httpGet: {port: 1, host: 10.0.0.1}}, securityContext: {runAsUser: 0, appArmorProfile: {type: Unconfined}}}]";

const GOOD: &str = "securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, \
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}}]";

#[test]
fn baseline_names_everything_that_escapes() {
    let world = world("pod-security.kubernetes.io/enforce: baseline");
    assert_eq!(
        refusal(world.create(&admin(), &pod(BAD))),
        "violates PodSecurity \"baseline:latest\": \
         forbidden AppArmor profile (container \"b\" must not set AppArmor profile type to \"Unconfined\"), \
         non-default capabilities (container \"a\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add), \
         host namespaces (hostNetwork=true, hostPID=true), \
         hostPath volumes (volume \"h\"), \
         hostPort (container \"a\" uses hostPort 80), \
         probe or lifecycle host (container \"b\" uses probe or lifecycle host \"10.0.0.1\"), \
         privileged (container \"a\" must not set securityContext.privileged=true), \
         procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\"), \
         seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set), \
         seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\"), \
         forbidden sysctls (kernel.msgmax)"
    );
}

#[test]
fn restricted_asks_for_hardening() {
    let world = world(
        "pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: v1.36",
    );
    assert_eq!(
        refusal(world.create(&admin(), &pod("containers: [{name: c}]"))),
        "violates PodSecurity \"restricted:v1.36\": \
         allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let volumes = format!(
        "{GOOD}, volumes: [{{name: h, hostPath: {{path: /}}}}, {{name: m, nfs: {{server: a, path: b}}}}]"
    );
    assert_eq!(
        refusal(world.create(&admin(), &pod(&volumes))),
        "violates PodSecurity \"restricted:v1.36\": restricted volume types (volumes \"h\", \"m\" use restricted volume types \
         \"hostPath\", \"nfs\")"
    );
}

fn passes(world: &World, pod: &Object) -> bool {
    match world.create(&admin(), pod) {
        Ok(_) => true,
        Err(denial) => {
            assert!(
                denial.message.starts_with("violates PodSecurity"),
                "{denial:?}"
            );
            false
        }
    }
}

#[test]
fn versions_and_user_namespaces_relax() {
    let newest = world("pod-security.kubernetes.io/enforce: restricted");
    assert!(passes(&newest, &pod(GOOD)));
    let as_root = "hostUsers: false, securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, \
        securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]";
    assert!(passes(&newest, &pod(as_root)));
    let older = world(
        "pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: v1.34",
    );
    assert!(!passes(&older, &pod(as_root)));
    let keepalive = "securityContext: {sysctls: [{name: net.ipv4.tcp_keepalive_time, value: '1'}]}, containers: [{name: c}]";
    let base = world(
        "pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/enforce-version: v1.28",
    );
    assert!(!passes(&base, &pod(keepalive)));
    let base = world("pod-security.kubernetes.io/enforce: baseline");
    assert!(passes(&base, &pod(keepalive)));
}

#[test]
fn controllers_are_only_warned_about() {
    let world = world("pod-security.kubernetes.io/enforce: baseline");
    let deployment = object(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: s}, spec: {selector: {}, template: \
         {spec: {hostNetwork: true, containers: [{name: c}]}}}}",
    );
    assert_eq!(
        world.create(&admin(), &deployment).unwrap().warnings,
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"]
    );
}

#[test]
fn namespaces_need_labels_that_can_be_read() {
    let world = world("");
    let namespace = |labels: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: s, labels: {{{labels}}}}}}}"
        ))
    };
    let wrong = namespace(
        "pod-security.kubernetes.io/enforce: strict, pod-security.kubernetes.io/warn-version: v1.07",
    );
    let denial = world.create(&admin(), &wrong).unwrap_err();
    assert_eq!((denial.code, denial.reason), (422, "Invalid"));
    assert_eq!(
        denial.message,
        "Namespace \"s\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one \
         of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.07\": \
         must be \"latest\" or \"v1.x\"]"
    );
    assert_eq!(denial.causes.len(), 2);
    assert!(
        world.update(&admin(), &wrong, &wrong).is_ok(),
        "it was so before"
    );
}

#[test]
fn a_stricter_namespace_warns_about_its_pods() {
    let world = World::new(
        "{apiVersion: v1, kind: Pod, metadata: {name: w, namespace: s}, spec: {hostNetwork: true, containers: [{name: c}]}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: x, namespace: s}, spec: {hostNetwork: true, containers: [{name: c}]}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: z, namespace: s}, spec: {containers: [{name: c}]}}",
    );
    let old = object("{apiVersion: v1, kind: Namespace, metadata: {name: s}}");
    let new = object(
        "{apiVersion: v1, kind: Namespace, metadata: {name: s, labels: {pod-security.kubernetes.io/enforce: baseline}}}",
    );
    assert_eq!(
        world.update(&admin(), &new, &old).unwrap().warnings,
        [
            "existing pods in namespace \"s\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "w (and 1 other pod): host namespaces",
        ]
    );
    assert!(
        world
            .update(&admin(), &old, &new)
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn audit_events_say_what_was_enforced_and_what_would_be() {
    let user = admin();
    let audited =
        |world: &World, object: &Object| world.request(&user, Operation::Create).audited(object);
    let strict = world(
        "pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/audit: restricted, \
         pod-security.kubernetes.io/audit-version: v1.36",
    );
    let plain = pod(
        "hostNetwork: true, containers: [{name: c, securityContext: {allowPrivilegeEscalation: false, \
         runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL]}}}]",
    );
    let violated = "audit-violations=would violate PodSecurity \"restricted:v1.36\": host namespaces (hostNetwork=true)";
    assert_eq!(
        audited(&strict, &plain),
        ["enforce-policy=baseline:latest", violated],
        "refused or not"
    );
    let deployment = object(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: s}, spec: {selector: {}, template: \
         {spec: {hostNetwork: true, containers: [{name: c, securityContext: {allowPrivilegeEscalation: false, \
         runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL]}}}]}}}}",
    );
    assert_eq!(
        audited(&strict, &deployment),
        [violated],
        "nothing is enforced on it"
    );
    assert_eq!(
        audited(&world(""), &pod(BAD)),
        ["enforce-policy=privileged:latest"]
    );
    assert_eq!(
        audited(
            &world("pod-security.kubernetes.io/audit: strict"),
            &pod(GOOD)
        ),
        [
            "error=Failed to parse policy: metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"strict\": must be one of \
             privileged, baseline, restricted",
            "enforce-policy=privileged:latest"
        ]
    );
    let told = r#"{"apiVersion":"pod-security.admission.config.k8s.io/v1","kind":"PodSecurityConfiguration",
        "exemptions":{"namespaces":["free"],"runtimeClasses":["sandbox"]}}"#;
    let world =
        world("pod-security.kubernetes.io/enforce: baseline").told(|s| s.read_pod_security(told));
    let sandboxed = pod("hostNetwork: true, runtimeClassName: sandbox, containers: [{name: c}]");
    assert_eq!(audited(&world, &sandboxed), ["exempt=runtimeClass"]);
    let mut free = pod(BAD);
    free.meta_mut().namespace = "free".into();
    assert_eq!(audited(&world, &free), ["exempt=namespace"]);
}
