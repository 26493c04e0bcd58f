//! Where upstream's internal structs differ from the published ones: Go's names of fields, and orders. Facts only;
//! what is not listed has its key capitalised, in the published order.

/// `podIP` is `PodIP`; what is not just capitalised is listed.
pub(crate) fn go_name(message: &str, key: &str) -> String {
    let of_message = OF_MESSAGE
        .iter()
        .find(|(m, k, _)| *k == key && message.starts_with(m));
    let of_key = || {
        OF_KEY
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, name)| *name)
    };
    match of_message.map(|(_, _, name)| *name).or_else(of_key) {
        Some(name) => name.to_owned(),
        None => {
            let mut letters = key.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        }
    }
}

/// The keys of a struct in the order of its internal form, when that is another one.
pub(crate) fn order(message: &str) -> Option<&'static [&'static str]> {
    let found = ORDERS.iter().find(|(name, _)| *name == message);
    found.map(|(_, keys)| *keys)
}

/// Beginning of the struct's name, key, name.
#[rustfmt::skip]
const OF_MESSAGE: &[(&str, &str, &str)] = &[
    ("Glusterfs", "endpoints", "EndpointsName"),
    ("RBD", "monitors", "CephMonitors"),
    ("RBD", "image", "RBDImage"),
    ("RBD", "pool", "RBDPool"),
    ("RBD", "user", "RadosUser"),
    ("ContainerStatus", "lastState", "LastTerminationState"),
    ("NodeSpec", "externalID", "DoNotUseExternalID"),
    ("Event", "reportingComponent", "ReportingController"),
    ("DeviceAttribute", "int", "IntValue"),
    ("DeviceAttribute", "bool", "BoolValue"),
    ("DeviceAttribute", "string", "StringValue"),
    ("DeviceAttribute", "version", "VersionValue"),
    ("DeviceAttribute", "ints", "IntValues"),
    ("DeviceAttribute", "bools", "BoolValues"),
    ("DeviceAttribute", "strings", "StringValues"),
    ("DeviceAttribute", "versions", "VersionValues"),
];

#[rustfmt::skip]
const OF_KEY: &[(&str, &str)] = &[
    ("uid", "UID"),
    ("ip", "IP"),
    ("ips", "IPs"),
    ("cidr", "CIDR"),
    ("cidrs", "CIDRs"),
    ("nfs", "NFS"),
    ("rbd", "RBD"),
    ("iscsi", "ISCSI"),
    ("fc", "FC"),
    ("csi", "CSI"),
    ("cel", "CEL"),
    ("tls", "TLS"),
    ("tty", "TTY"),
    ("http", "HTTP"),
    ("httpGet", "HTTPGet"),
    ("tcpSocket", "TCPSocket"),
    ("grpc", "GRPC"),
    ("os", "OS"),
    ("dnsPolicy", "DNSPolicy"),
    ("dnsConfig", "DNSConfig"),
    ("fsType", "FSType"),
    ("fsGroup", "FSGroup"),
    ("fsGroupPolicy", "FSGroupPolicy"),
    ("seLinuxOptions", "SELinuxOptions"),
    ("seLinuxMount", "SELinuxMount"),
    ("apiVersion", "APIVersion"),
    ("apiGroup", "APIGroup"),
    ("cephfs", "CephFS"),
    ("gcePersistentDisk", "GCEPersistentDisk"),
    ("awsElasticBlockStore", "AWSElasticBlockStore"),
    ("storageos", "StorageOS"),
    ("scaleIO", "ScaleIO"),
    ("ttlSecondsAfterFinished", "TTLSecondsAfterFinished"),
    ("uri", "URI"),
    ("pdName", "PDName"),
    ("iqn", "IQN"),
    ("iscsiInterface", "ISCSIInterface"),
    ("chapAuthDiscovery", "DiscoveryCHAPAuth"),
    ("chapAuthSession", "SessionCHAPAuth"),
    ("wwids", "WWIDs"),
    ("diskURI", "DataDiskURI"),
    ("sslEnabled", "SSLEnabled"),
    ("httpHeaders", "HTTPHeaders"),
    ("gid", "GID"),
    ("fsGroupChangePolicy", "FSGroupChangePolicy"),
    ("seLinuxChangePolicy", "SELinuxChangePolicy"),
    ("qosClass", "QOSClass"),
    ("ipMode", "IPMode"),
    ("ipFamilies", "IPFamilies"),
    ("ipFamilyPolicy", "IPFamilyPolicy"),
    ("osImage", "OSImage"),
    ("gmsaCredentialSpecName", "GMSACredentialSpecName"),
    ("gmsaCredentialSpec", "GMSACredentialSpec"),
    ("ipBlock", "IPBlock"),
    ("apiGroups", "APIGroups"),
    ("apiVersions", "APIVersions"),
    ("jsonPatch", "JSONPatch"),
    ("url", "URL"),
    ("caBundle", "CABundle"),
];

#[rustfmt::skip]
const ORDERS: &[(&str, &[&str])] = &[
    ("Volume", &["name", "hostPath", "emptyDir", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "secret", "nfs", "iscsi", "glusterfs", "persistentVolumeClaim", "rbd", "quobyte", "flexVolume", "cinder", "cephfs", "flocker", "downwardAPI", "fc", "azureFile", "configMap", "vsphereVolume", "azureDisk", "photonPersistentDisk", "projected", "portworxVolume", "scaleIO", "storageos", "csi", "ephemeral", "image"]),
    ("VolumeSource", &["hostPath", "emptyDir", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "secret", "nfs", "iscsi", "glusterfs", "persistentVolumeClaim", "rbd", "quobyte", "flexVolume", "cinder", "cephfs", "flocker", "downwardAPI", "fc", "azureFile", "configMap", "vsphereVolume", "azureDisk", "photonPersistentDisk", "projected", "portworxVolume", "scaleIO", "storageos", "csi", "ephemeral", "image"]),
    ("PersistentVolumeSource", &["gcePersistentDisk", "awsElasticBlockStore", "hostPath", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "flexVolume", "cinder", "cephfs", "fc", "flocker", "azureFile", "vsphereVolume", "azureDisk", "photonPersistentDisk", "portworxVolume", "scaleIO", "local", "storageos", "csi"]),
    ("PersistentVolumeSpec", &["capacity", "gcePersistentDisk", "awsElasticBlockStore", "hostPath", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "flexVolume", "cinder", "cephfs", "fc", "flocker", "azureFile", "vsphereVolume", "azureDisk", "photonPersistentDisk", "portworxVolume", "scaleIO", "local", "storageos", "csi", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions", "volumeMode", "nodeAffinity", "volumeAttributesClassName"]),
    ("PodSpec", &["volumes", "initContainers", "containers", "ephemeralContainers", "restartPolicy", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "dnsPolicy", "nodeSelector", "serviceAccountName", "automountServiceAccountToken", "nodeName", "securityContext", "imagePullSecrets", "hostname", "subdomain", "setHostnameAsFQDN", "affinity", "schedulerName", "tolerations", "hostAliases", "priorityClassName", "priority", "preemptionPolicy", "dnsConfig", "readinessGates", "runtimeClassName", "overhead", "enableServiceLinks", "topologySpreadConstraints", "os", "schedulingGates", "resourceClaims", "resources", "hostnameOverride", "schedulingGroup"]),
    ("PodSecurityContext", &["seLinuxOptions", "windowsOptions", "runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups", "supplementalGroupsPolicy", "fsGroup", "fsGroupChangePolicy", "sysctls", "seccompProfile", "appArmorProfile", "seLinuxChangePolicy"]),
    ("ServiceSpec", &["type", "ports", "selector", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalName", "externalIPs", "loadBalancerIP", "sessionAffinity", "sessionAffinityConfig", "loadBalancerSourceRanges", "externalTrafficPolicy", "healthCheckNodePort", "publishNotReadyAddresses", "allocateLoadBalancerNodePorts", "loadBalancerClass", "internalTrafficPolicy", "trafficDistribution"]),
    ("PodStatus", &["observedGeneration", "phase", "conditions", "message", "reason", "nominatedNodeName", "hostIP", "hostIPs", "podIPs", "startTime", "qosClass", "initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses", "resize", "resourceClaimStatuses", "extendedResourceClaimStatus", "allocatedResources", "resources", "nodeAllocatableResourceClaimStatuses"]),
    ("JobSpec", &["parallelism", "completions", "podFailurePolicy", "successPolicy", "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex", "maxFailedIndexes", "selector", "manualSelector", "template", "ttlSecondsAfterFinished", "completionMode", "suspend", "podReplacementPolicy", "managedBy"]),
    ("JobStatus", &["conditions", "startTime", "completionTime", "active", "terminating", "ready", "succeeded", "failed", "completedIndexes", "failedIndexes", "uncountedTerminatedPods"]),
    ("ContainerResourceMetricSource", &["name", "container", "target"]),
    ("ContainerResourceMetricStatus", &["name", "container", "current"]),
    ("CSIDriverSpec", &["attachRequired", "fsGroupPolicy", "podInfoOnMount", "volumeLifecycleModes", "storageCapacity", "tokenRequests", "requiresRepublish", "seLinuxMount", "nodeAllocatableUpdatePeriodSeconds", "serviceAccountTokenInSecrets", "preventPodSchedulingIfMissing"]),
    ("ValidatingAdmissionPolicySpec", &["paramKind", "matchConstraints", "validations", "matchConditions", "failurePolicy", "auditAnnotations", "variables"]),
];
