//! Objects that load is made of: pods of about 4 kB as a ReplicaSet's controller creates them, ConfigMaps, leases,
//! and a custom resource that says the same as a ConfigMap.

use serde_json::{Value, json};

/// A pod of one of ten ReplicaSets; with managedFields and defaults it is about 4 kB of JSON.
pub fn pod(namespace: &str, name: &str, number: usize) -> Value {
    let app = format!("shop-{}", number % 10);
    let hash = format!("6d4cf56db{}", number % 10);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": app,
                "app.kubernetes.io/part-of": "shop",
                "app.kubernetes.io/version": "1.14.2",
                "pod-template-hash": hash,
            },
            "annotations": {
                "checksum/config": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9102",
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": format!("{app}-{hash}"),
                "uid": format!("9a1c0f4e-3b1d-4c55-8d1c-00000000000{}", number % 10),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": pod_spec(number),
    })
}

/// A plain pod: with managedFields and defaults it is about 2.8 kB of JSON, the size that upstream's figures were taken
/// with.
pub fn plain_pod(namespace: &str, name: &str, number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": { "app": format!("shop-{}", number % 10), "pod-template-hash": "6d4cf56db" },
            "annotations": {
                "checksum/config": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
                "example.com/described": "x".repeat(400),
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "shop-6d4cf56db",
                "uid": "9a1c0f4e-3b1d-4c55-8d1c-000000000001",
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": format!("node-{}", number % 100),
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "main",
                "image": "registry.example.com/shop/main:1.14.2",
                "ports": [{ "containerPort": 8080 }],
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
            }],
        },
    })
}

fn pod_spec(number: usize) -> Value {
    let probe = |path: &str| {
        json!({
            "httpGet": { "path": path, "port": "http" },
            "initialDelaySeconds": 3,
            "periodSeconds": 5,
        })
    };
    json!({
        "nodeName": format!("node-{}", number % 100),
        "terminationGracePeriodSeconds": 30,
        "serviceAccountName": "default",
        "automountServiceAccountToken": false,
        "securityContext": { "runAsNonRoot": true, "runAsUser": 10001, "fsGroup": 10001 },
        "containers": [{
            "name": "main",
            "image": "registry.example.com/shop/main:1.14.2",
            "imagePullPolicy": "IfNotPresent",
            "args": ["--listen=:8080", "--log-format=json"],
            "env": [
                { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "DATABASE_HOST", "value": "db.shop.svc.cluster.local" },
                { "name": "CACHE_HOST", "value": "cache.shop.svc.cluster.local" },
            ],
            "ports": [{ "name": "http", "containerPort": 8080 }, { "name": "metrics", "containerPort": 9102 }],
            "resources": {
                "requests": { "cpu": "100m", "memory": "128Mi" },
                "limits": { "memory": "256Mi" },
            },
            "readinessProbe": probe("/ready"),
            "livenessProbe": probe("/alive"),
            "volumeMounts": [
                { "name": "config", "mountPath": "/etc/shop", "readOnly": true },
                { "name": "scratch", "mountPath": "/tmp" },
            ],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
        }],
        "volumes": [
            { "name": "config", "configMap": { "name": "shop-config" } },
            { "name": "scratch", "emptyDir": {} },
        ],
        "tolerations": [
            { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
            { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
        ],
    })
}

/// A small ConfigMap.
pub fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "app": "bench" } },
        "data": { "key": "value", "another": "x".repeat(200) },
    })
}

/// A custom resource of the same content.
pub fn custom(name: &str) -> Value {
    json!({
        "apiVersion": "bench.example.com/v1",
        "kind": "Setting",
        "metadata": { "name": name, "labels": { "app": "bench" } },
        "data": { "key": "value", "another": "x".repeat(200) },
    })
}

/// The definition of that custom resource.
pub fn definition() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "data": { "type": "object", "additionalProperties": { "type": "string" } },
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "settings.bench.example.com" },
        "spec": {
            "group": "bench.example.com",
            "scope": "Namespaced",
            "names": { "plural": "settings", "singular": "setting", "kind": "Setting", "listKind": "SettingList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}

/// A node's lease.
pub fn lease(name: &str, renewed: usize) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": format!("2026-01-01T00:{:02}:{:02}.000000Z", renewed / 60 % 60, renewed % 60),
        },
    })
}
