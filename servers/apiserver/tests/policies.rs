//! Admission policies as users write them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;

use corten_api::Kind;
use corten_api::core::v1::ConfigMap;
use corten_apiserver::UserInfo;
use corten_client::{Client, Status};
use serde_json::{Value, json};
use support::Cluster;

fn client(cluster: &Cluster, name: &str, groups: &[&str]) -> Client {
    let user = UserInfo {
        name: name.into(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        ..UserInfo::default()
    };
    Client::new(Arc::new(cluster.server.local(user)), "test")
}

/// Creates a config map with this data as an administrator.
fn create(cluster: &Cluster, name: &str, data: &[(&str, &str)]) -> Result<ConfigMap, Status> {
    create_as(
        cluster,
        &client(cluster, "root", &["system:masters"]),
        name,
        data,
    )
}

fn create_as(
    cluster: &Cluster,
    client: &Client,
    name: &str,
    data: &[(&str, &str)],
) -> Result<ConfigMap, Status> {
    let mut made = ConfigMap::namespaced("default", name);
    for (key, value) in data {
        made.data.insert(*key, *value);
    }
    let made = cluster.block_on(client.create(made));
    made.map_err(|e| e.status().unwrap().clone())
}

const GROUP: &str = "admissionregistration.k8s.io/v1";

fn config_maps() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}})
}

/// A policy of a sort (`Validating` or `Mutating`) and a binding for it, both called `name`.
fn bound(sort: &str, name: &str, spec: Value, binding: Value) -> String {
    let mut policy = json!({"matchConstraints": config_maps()});
    let mut bound = json!({"policyName": name});
    for (into, from) in [(&mut policy, spec), (&mut bound, binding)] {
        for (key, value) in from.as_object().unwrap() {
            into[key] = value.clone();
        }
    }
    let policy = json!({"apiVersion": GROUP, "kind": format!("{sort}AdmissionPolicy"),
        "metadata": {"name": name}, "spec": policy});
    let binding = json!({"apiVersion": GROUP, "kind": format!("{sort}AdmissionPolicyBinding"),
        "metadata": {"name": name}, "spec": bound});
    format!("{policy}\n{binding}")
}

fn validating(cluster: &Cluster, name: &str, spec: Value, binding: Value) {
    let mut all = json!({"validationActions": ["Deny"]});
    for (key, value) in binding.as_object().unwrap() {
        all[key] = value.clone();
    }
    cluster.kubectl_with("apply -f -", &bound("Validating", name, spec, all));
}

fn mutating(cluster: &Cluster, name: &str, mutations: Value) {
    let spec = json!({"reinvocationPolicy": "Never", "mutations": mutations});
    cluster.kubectl_with("apply -f -", &bound("Mutating", name, spec, json!({})));
}

fn denied(policy: &str, why: &str) -> String {
    format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}")
}

#[test]
fn a_failed_validation_refuses_in_its_own_words() {
    let cluster = Cluster::start();
    let variables = json!([
        {"name": "size", "expression": "has(object.data) ? object.data.size() : 0"},
        {"name": "double", "expression": "variables.size * 2"}]);
    let validations = json!([
        {"expression": "variables.size < 2"},
        {"expression": "!has(object.data) || !('a' in object.data) || object.data.a != 'bad'",
         "message": "a is bad", "reason": "Forbidden"},
        {"expression": "variables.double != 6", "message": "unused",
         "messageExpression": "'size ' + string(variables.size) + ' of ' + object.metadata.name"}]);
    let spec = json!({"variables": variables, "validations": validations});
    validating(&cluster, "size.example.com", spec, json!({}));
    create(&cluster, "one", &[("x", "1")]).unwrap();
    let status = create(&cluster, "two", &[("x", "1"), ("y", "2")]).unwrap_err();
    let why = denied("size.example.com", "failed expression: variables.size < 2");
    assert_eq!(
        status.message,
        format!("configmaps \"two\" is forbidden: {why}")
    );
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let details = status.details.unwrap();
    assert_eq!(
        (details.name.as_str(), details.kind.as_str()),
        ("two", "configmaps")
    );
    assert_eq!(details.causes.len(), 1);
    assert_eq!(details.causes[0].message, why);
    let status = create(&cluster, "bad", &[("a", "bad")]).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert!(
        status.message.ends_with("denied request: a is bad"),
        "{}",
        status.message
    );
    let three = create(&cluster, "three", &[("x", "1"), ("y", "2"), ("z", "3")]).unwrap_err();
    // The first failure decides.
    assert!(
        three
            .message
            .ends_with("failed expression: variables.size < 2"),
        "{}",
        three.message
    );
    cluster.kubectl("delete validatingadmissionpolicybinding size.example.com");
    create(&cluster, "two", &[("x", "1"), ("y", "2")]).unwrap();
}

#[test]
fn parameters_come_from_objects_of_any_kind() {
    let cluster = Cluster::start();
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-params", "expression": "!object.metadata.name.startsWith('limits')"}],
        "validations": [{"expression": "object.data.size() <= int(params.data.max)",
            "messageExpression": "'at most ' + params.data.max"}]});
    let binding = |rest: Value| {
        let mut reference = json!({"namespace": "default", "parameterNotFoundAction": "Deny"});
        for (key, value) in rest.as_object().unwrap() {
            reference[key] = value.clone();
        }
        json!({"paramRef": reference})
    };
    create(&cluster, "limits", &[("max", "1")]).unwrap();
    let nowhere = binding(json!({"name": "nowhere"}));
    validating(&cluster, "limits", spec.clone(), nowhere);
    let missing = create(&cluster, "a", &[("x", "1")]).unwrap_err();
    let why = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(
        missing.message.ends_with(&denied("limits", why)),
        "{}",
        missing.message
    );
    let named = binding(json!({"name": "limits"}));
    validating(&cluster, "limits", spec.clone(), named);
    create(&cluster, "a", &[("x", "1")]).unwrap();
    let many = create(&cluster, "b", &[("x", "1"), ("y", "1")]).unwrap_err();
    assert!(
        many.message.ends_with("denied request: at most 1"),
        "{}",
        many.message
    );
    cluster.kubectl("label configmap limits for=all");
    let selected = binding(json!({"selector": {"matchLabels": {"for": "all"}}}));
    validating(&cluster, "limits", spec.clone(), selected);
    let many = create(&cluster, "b", &[("x", "1"), ("y", "1")]).unwrap_err();
    assert!(
        many.message.ends_with("denied request: at most 1"),
        "{}",
        many.message
    );
    let allowed = json!({"name": "nowhere", "parameterNotFoundAction": "Allow"});
    validating(&cluster, "limits", spec, binding(allowed));
    create(&cluster, "b", &[("x", "1"), ("y", "1")]).unwrap();
}

#[test]
fn expressions_know_the_request_its_namespace_and_rights() {
    let cluster = Cluster::start();
    cluster.kubectl("label namespace default stage=test");
    let every = |expressions: &[&str]| {
        let all = expressions
            .iter()
            .map(|e| json!({"expression": e, "message": e}));
        json!({"validations": all.collect::<Vec<Value>>()})
    };
    let spec = every(&[
        "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps'",
        "request.userInfo.username == 'jane' && 'devs' in request.userInfo.groups",
        "request.namespace == 'default' && request.name == object.metadata.name && request.dryRun == false",
        "oldObject == null && object.kind == 'ConfigMap' && object.apiVersion == 'v1'",
        "namespaceObject.metadata.labels['stage'] == 'test' && namespaceObject.metadata.name == 'default'",
        "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()",
        "!authorizer.group('').resource('secrets').namespace('default').check('get').allowed()",
        "authorizer.requestResource.check('create').allowed() && !authorizer.requestResource.check('delete').allowed()",
        "!authorizer.path('/healthz').check('delete').allowed()",
    ]);
    validating(&cluster, "knows", spec, json!({}));
    cluster.kubectl("create role maker --verb=create --resource=configmaps");
    cluster.kubectl("create rolebinding jane --role=maker --user=jane");
    let jane = client(&cluster, "jane", &["devs"]);
    create_as(&cluster, &jane, "a", &[]).unwrap();
    let status = create(&cluster, "b", &[]).unwrap_err();
    assert!(
        status.message.contains("'devs' in request.userInfo.groups"),
        "{}",
        status.message
    );
}

#[test]
fn bindings_warn_and_policies_fail_as_they_say() {
    let cluster = Cluster::start();
    let validations = json!([{"expression": "object.data.a == 'x'", "message": "a is not x"}]);
    let spec = json!({"validations": validations});
    let warn = json!({"validationActions": ["Warn", "Audit"]});
    validating(&cluster, "warns", spec.clone(), warn);
    let map = |data: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"}, "data": data})
            .to_string()
    };
    let said = cluster.try_kubectl("create -f -", &map(json!({"a": "y"})));
    let warning = "Warning: Validation failed for ValidatingAdmissionPolicy 'warns' with binding 'warns': a is not x\n";
    assert!(said.ok && said.err == warning, "{said:?}");
    cluster.kubectl("delete validatingadmissionpolicy,validatingadmissionpolicybinding --all");
    validating(&cluster, "fails", spec.clone(), json!({}));
    let status = create(&cluster, "a", &[("b", "x")]).unwrap_err();
    let why = "expression 'object.data.a == 'x'' resulted in error: no such key: a";
    assert!(
        status.message.ends_with(&denied("fails", why)),
        "{}",
        status.message
    );
    let mut open = spec;
    open["failurePolicy"] = "Ignore".into();
    validating(&cluster, "fails", open, json!({}));
    create(&cluster, "a", &[("b", "x")]).unwrap();
    let status = create(&cluster, "b", &[("a", "y")]).unwrap_err();
    assert!(status.message.ends_with("a is not x"), "{}", status.message);
}

#[test]
fn expressions_that_do_not_compile_are_refused() {
    let cluster = Cluster::start();
    let policy = |spec: Value| {
        let both = bound("Validating", "p", spec, json!({}));
        cluster.refused("create -f -", both.split('\n').next().unwrap())
    };
    let said = policy(json!({"validations": [{"expression": "object.x +"}]}));
    assert!(said.contains("spec.validations[0].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:11: Syntax error"), "{said}");
    let said = policy(json!({"validations": [{"expression": "1"}]}));
    assert!(said.contains("spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool but got int"), "{said}");
    let said = policy(json!({"validations": [{"expression": "params.x == 1"}]}));
    assert!(
        said.contains("undeclared reference to 'params' (in container '')"),
        "{said}"
    );
    let said = policy(json!({"validations": [{"expression": "true"}],
        "matchConditions": [{"name": "c", "expression": "request.nope == ''"}]}));
    assert!(
        said.contains("spec.matchConditions[0].expression")
            && said.contains("undefined field 'nope'"),
        "{said}"
    );
}

#[test]
fn mutating_policies_merge_and_patch() {
    let cluster = Cluster::start();
    let apply = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
        "Object{metadata: Object.metadata{labels: {'by': request.userInfo.username}}, data: {'size': string(object.data.size())}}"}}]);
    mutating(&cluster, "labels", apply);
    let made = create(&cluster, "a", &[("x", "1")]).unwrap();
    assert_eq!(made.metadata.label("by"), "root");
    assert_eq!(made.data.get("size").unwrap().as_str(), "1");
    assert_eq!(made.data.get("x").unwrap().as_str(), "1");
    let patch = json!([{"patchType": "JSONPatch", "jsonPatch": {"expression":
        "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}, JSONPatch{op: 'remove', path: '/data/x'}]"}}]);
    mutating(&cluster, "patches", patch);
    let made = create(&cluster, "b", &[("x", "1")]).unwrap();
    assert_eq!(made.metadata.label("a/b"), "c");
    assert!(made.data.get("x").is_none());
    let status = create(&cluster, "c", &[("y", "1")]).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (403, "Invalid"));
    let start = "policy 'patches' with binding 'patches' denied request: JSON Patch: ";
    assert!(status.message.starts_with(start), "{}", status.message);
    // What one policy does, validation sees.
    cluster.kubectl("delete mutatingadmissionpolicybinding patches");
    let spec = json!({"validations": [{"expression": "object.data.size == '2'"}]});
    validating(&cluster, "sees", spec, json!({}));
    create(&cluster, "d", &[("x", "1"), ("y", "1")]).unwrap();
    assert!(create(&cluster, "e", &[("x", "1")]).is_err());
}

/// What a policy gets wrong about the kinds it matches is in its status; upstream's answer to the same policy.
#[test]
fn expressions_are_checked_against_kinds() {
    let cluster = Cluster::start();
    let policy = serde_json::json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "typed"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments", "replicasets"]}]},
            "validations": [{"expression": "object.spec.replicas > 1"}, {"expression": "object.replicas > 1"}]}});
    cluster.kubectl_with("apply -f -", &policy.to_string());
    cluster.kubectl(
        "wait validatingadmissionpolicy/typed --for=jsonpath={.status.observedGeneration}=1 --timeout=60s",
    );
    let status = cluster.kubectl("get validatingadmissionpolicy typed -o jsonpath={.status}");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let wrong =
        "ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n";
    assert_eq!(
        status,
        serde_json::json!({"observedGeneration": 1, "typeChecking": {"expressionWarnings": [{
            "fieldRef": "spec.validations[1].expression",
            "warning": format!("apps/v1, Kind=Deployment: {wrong}\napps/v1, Kind=ReplicaSet: {wrong}"),
        }]}})
    );
}
