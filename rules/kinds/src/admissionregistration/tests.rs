//! What validation says of configurations and policies, as upstream's does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use crate::{Context, strategy};
use corten_api::Object;
use corten_core::Time;
use corten_meta::Snapshot;

fn object(text: &str) -> Object {
    let value = corten_codec::yaml::decode_value(text.as_bytes()).unwrap();
    let mut object = Object::from_value(&value).unwrap();
    strategy("admissionregistration.k8s.io", object.gvk().kind).default(&mut object);
    object
}

/// The errors of a new object, one per line.
fn check(text: &str, expected: &[&str]) {
    let object = object(text);
    let snapshot = Snapshot::new();
    let cx = Context {
        snapshot: &snapshot,
        now: Time::from_unix(0),
        caller: crate::Caller::default(),
        random: 0,
    };
    let strategy = strategy("admissionregistration.k8s.io", object.gvk().kind);
    let found = strategy.validate_create(&cx, &object);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{text}");
}

fn webhook(rest: &str) -> String {
    format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {{name: w}}, \
         webhooks: [{{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], \
         clientConfig: {{url: 'https://a/b'}}, {rest}}}]}}"
    )
}

#[test]
fn webhooks() {
    check(&webhook(""), &[]);
    check(
        &webhook("name: short, timeoutSeconds: 31, sideEffects: Some, failurePolicy: Maybe"),
        &[
            "webhooks[0].name: Invalid value: \"short\": should be a domain with at least three segments separated by dots",
            "webhooks[0].failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ],
    );
    check(
        &webhook("admissionReviewVersions: [v2, v2, V], clientConfig: {}"),
        &[
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
            "webhooks[0].admissionReviewVersions[2]: Invalid value: \"V\": a DNS-1035 label must consist of lower case \
             alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric \
             character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\",\"V\"]: must include at least one of v1, v1beta1",
        ],
    );
    check(
        &webhook("clientConfig: {url: 'http://u@h/?q#f'}"),
        &[
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
            "webhooks[0].clientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
            "webhooks[0].clientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL",
        ],
    );
    check(
        &webhook(
            "rules: [{operations: ['*', CREATE, MAKE], apiGroups: ['*', ''], apiVersions: [''], \
             resources: ['*', pods, 'pods/*', pods/status], scope: Some}]",
        ),
        &[
            "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\",\"MAKE\"]: if '*' is present, must not specify other operations",
            "webhooks[0].rules[0].operations[2]: Unsupported value: \"MAKE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            "webhooks[0].rules[0].apiGroups: Invalid value: [\"*\",\"\"]: if '*' is present, must not specify other API groups",
            "webhooks[0].rules[0].apiVersions[0]: Required value",
            "webhooks[0].rules[0].resources[3]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
            "webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\",\"pods/*\",\"pods/status\"]: if '*' is present, must not specify other resources without subresources",
            "webhooks[0].rules[0].scope: Unsupported value: \"Some\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
        ],
    );
    check(
        &webhook(
            "clientConfig: {service: {namespace: ns, name: svc, path: 'a//b/C', port: 70000}}",
        ),
        &[
            "webhooks[0].clientConfig.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
            "webhooks[0].clientConfig.service.path: Invalid value: \"a//b/C\": must start with a '/'",
            "webhooks[0].clientConfig.service.path: Invalid value: \"a//b/C\": segment[0] may not be empty",
            "webhooks[0].clientConfig.service.path: Invalid value: \"a//b/C\": segment[1] may not be empty",
            "webhooks[0].clientConfig.service.path: Invalid value: \"a//b/C\": segment[3]: a lowercase RFC 1123 subdomain \
             must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
             alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
}

#[test]
fn policies_and_bindings() {
    check(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}, spec: {}}",
        &[
            "spec.matchConstraints: Required value",
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
        ],
    );
    check(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}, spec: {\
         paramKind: {apiVersion: a/b/c}, matchConstraints: {}, variables: [{name: in, expression: 'true'}], \
         validations: [{expression: ' ', message: ' ', messageExpression: ' ', reason: Nope}]}}",
        &[
            "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            "spec.paramKind.kind: Required value",
            "spec.matchConstraints.resourceRules: Required value",
            "spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier",
            "spec.validations[0].expression: Required value: expression is not specified",
            "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
            "spec.validations[0].message: Invalid value: \" \": must be non-empty if specified",
            "spec.validations[0].reason: Unsupported value: \"Nope\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
        ],
    );
    check(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}, \
         spec: {policyName: p, paramRef: {name: x, selector: {}}, validationActions: [Deny, Warn, Deny, 'No']}}",
        &[
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.validationActions[2]: Duplicate value: \"Deny\"",
            "spec.validationActions[3]: Unsupported value: \"No\": supported values: \"Audit\", \"Deny\", \"Warn\"",
            "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\",\"No\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ],
    );
    check(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, metadata: {name: m}, spec: {\
         reinvocationPolicy: Never, matchConstraints: {resourceRules: [{operations: [DELETE], apiGroups: [''], \
         apiVersions: [v1], resources: [pods]}]}, mutations: [{patchType: JSONPatch, applyConfiguration: \
         {expression: 'Object{}'}}, {patchType: Other}]}}",
        &[
            "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
            "spec.mutations[1].patchType: Unsupported value: \"Other\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
        ],
    );
}
