//! Custom resources with the real kubectl: definition, schema, defaults, pruning, columns, subresources, the end.

mod support;

use support::Cluster;

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Mode, type: string, jsonPath: .spec.mode}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1}
              mode: {type: string, default: fast}
          status:
            type: object
            properties: {size: {type: integer}}
"#;

fn widget(spec: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: w}}\nspec: {spec}\n")
}

#[test]
fn a_custom_resource_is_served_like_any_other() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", DEFINITION);
    cluster.kubectl("wait --for=condition=Established crd/widgets.example.com --timeout=5s");
    assert!(
        cluster
            .kubectl("api-resources --api-group=example.com")
            .contains("wd")
    );
    let complaint = cluster.refused("create -f -", &widget("{mode: slow}"));
    assert!(
        complaint.contains("spec.size: Required value"),
        "{complaint}"
    );
    let complaint = cluster.refused("create -f -", &widget("{size: 1, other: 2}"));
    assert!(
        complaint.contains("unknown field \"spec.other\""),
        "{complaint}"
    );
    cluster.kubectl_with("create -f -", &widget("{size: 2}"));
    assert_eq!(
        cluster.kubectl("get widget w -o jsonpath={.spec.mode}"),
        "fast"
    );
    let table = cluster.kubectl("get wd");
    assert_eq!(
        table.split_whitespace().collect::<Vec<_>>(),
        ["NAME", "SIZE", "MODE", "w", "2", "fast"]
    );
    cluster.kubectl("scale widget w --replicas=5");
    assert_eq!(
        cluster.kubectl("get widget w -o jsonpath={.spec.size}:{.metadata.generation}"),
        "5:2"
    );
    let version = cluster.kubectl("get widget w -o jsonpath={.metadata.resourceVersion}");
    let listed = cluster.kubectl("get widgets -o jsonpath={.items[*].metadata.resourceVersion}");
    assert!(
        version.parse::<u64>().is_ok() && version == listed,
        "{version} {listed}"
    );
    let patch = r#"{"status":{"size":3},"spec":{"size":9}}"#;
    let said = cluster.run(
        &[
            "patch",
            "widget",
            "w",
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ],
        "",
    );
    assert!(said.ok, "{said:?}");
    assert_eq!(
        cluster.kubectl("get widget w -o jsonpath={.spec.size}:{.status.size}"),
        "5:3"
    );
    cluster.kubectl("delete crd widgets.example.com");
    let complaint = cluster.refused("get widgets.example.com", "");
    assert!(complaint.contains("the server"), "{complaint}");
    assert_eq!(cluster.kubectl("get crds -o name"), "");
}

#[test]
fn explain_knows_the_standard_fields() {
    let cluster = Cluster::start();
    cluster.kubectl_with("create -f -", DEFINITION);
    cluster.kubectl("wait --for=condition=Established crd/widgets.example.com --timeout=5s");
    let said = cluster.kubectl("explain widgets");
    for words in [
        "APIVersion defines the versioned schema",
        "Kind is a string value representing the REST resource",
        "Standard object's metadata.",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = cluster.kubectl("explain widgets.metadata");
    assert!(said.contains("CreationTimestamp is a timestamp"), "{said}");
    let v2: serde_json::Value =
        serde_json::from_str(&cluster.kubectl("get --raw /openapi/v2")).unwrap();
    let published = &v2["definitions"]["com.example.v1.Widget"]["properties"];
    assert_eq!(published["spec"]["properties"]["mode"]["default"], "fast");
}
