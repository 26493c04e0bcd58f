//! Who may make policies read parameters: somebody who may read them himself. Invariant: whoever writes a policy that names
//! a kind of parameters may get all of that kind, and whoever binds it to parameters may get or list those. Members of
//! `system:masters` are not asked. Left out: reading parameters (`policies`).

use corten_access::admission::Operation;
use corten_access::{Attributes, MASTERS, UserInfo};
use corten_api::Object;
use corten_api::admissionregistration::v1::{MutatingAdmissionPolicy, ValidatingAdmissionPolicy};
use corten_client::Status;
use corten_core::Value;
use corten_kinds::FieldError;

use super::asked::Asked;
use crate::metadata;

const GROUP: &str = "admissionregistration.k8s.io";

/// What is to be read, as far as that can be told; `*` where it cannot.
struct Resource {
    group: String,
    version: String,
    plural: String,
    /// Why it cannot be told, up to the words about the user.
    unknown: Option<String>,
}

impl Resource {
    fn any(unknown: Option<String>) -> Resource {
        let all = || "*".to_owned();
        Resource {
            group: all(),
            version: all(),
            plural: all(),
            unknown,
        }
    }

    /// The resource of a `paramKind`.
    fn of(asked: &Asked<'_>, kind: &Value) -> Resource {
        let (version, name) = (kind.str_at(&["apiVersion"]), kind.str_at(&["kind"]));
        let shown = format!("&ParamKind{{APIVersion:{version},Kind:{name},}}");
        let (group, version) = match version.split('/').collect::<Vec<_>>().as_slice() {
            [version] => ("", *version),
            [group, version] => (*group, *version),
            _ => return Resource::any(Some(format!("unable to parse paramKind {shown}"))),
        };
        let catalog = asked.server.catalog();
        let served = catalog
            .all()
            .iter()
            .find(|s| s.group == group && s.version == version && s.kind == name);
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: served.map_or_else(|| "*".to_owned(), |s| s.plural.clone()),
            unknown: match served {
                Some(_) => None,
                None => Some(format!("unable to resolve paramKind {shown}")),
            },
        }
    }
}

/// A user as Go prints it.
fn shown(user: &UserInfo) -> String {
    let extra: Vec<String> = user
        .extra
        .iter()
        .map(|(key, values)| format!("{key}:[{}]", values.join(" ")))
        .collect();
    format!(
        "&{{{} {} [{}] map[{}]}}",
        user.name,
        user.uid,
        user.groups.join(" "),
        extra.join(" ")
    )
}

/// Refuses policies and bindings whose writer may not read the parameters that they name.
pub(super) async fn check(asked: &Asked<'_>, object: &Object) -> Result<(), Status> {
    let written = matches!(asked.operation, Operation::Create | Operation::Update);
    let gvk = object.gvk();
    if gvk.group != GROUP || !written || !asked.subresource.is_empty() {
        return Ok(());
    }
    let field = match gvk.kind {
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => "paramKind",
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => "paramRef",
        _ => return Ok(()),
    };
    let spec = |object: &Object| object.to_value().map(|v| v["spec"].clone());
    let new = spec(object).map_err(super::internal)?;
    let old = asked.old.map(spec).transpose().map_err(super::internal)?;
    let old = old.unwrap_or_default();
    let same = new[field] == old[field] && new["policyName"] == old["policyName"];
    if new[field].is_null() || same || asked.user.in_group(MASTERS) {
        return Ok(());
    }
    let mutating = gvk.kind.starts_with("Mutating");
    let refused = match field {
        "paramKind" => check_kind(asked, &new[field]).await,
        _ => check_reference(asked, &new, mutating).await,
    };
    refused.map_err(|why| {
        let error = FieldError::forbidden(format!("spec.{field}"), why);
        metadata::invalid(asked.served, &asked.name, &[error])
    })
}

/// Whether the user has a right; `Err` when nobody could decide.
async fn may(asked: &Asked<'_>, attributes: &Attributes<'_>) -> Result<bool, String> {
    let ruling = asked
        .server
        .access
        .authorization
        .rule(asked.server, attributes);
    let ruling = ruling.await;
    match (ruling.decision.is_allowed(), ruling.error) {
        (false, Some(error)) => Err(error),
        (allowed, _) => Ok(allowed),
    }
}

fn reading<'a>(asked: &'a Asked<'_>, resource: &'a Resource) -> Attributes<'a> {
    Attributes {
        user: asked.user,
        verb: "get",
        group: &resource.group,
        version: &resource.version,
        resource: &resource.plural,
        subresource: "",
        namespace: "*",
        name: "*",
        path: "",
        resource_request: true,
        field_selector: "",
        label_selector: "",
    }
}

async fn check_kind(asked: &Asked<'_>, kind: &Value) -> Result<(), String> {
    let resource = Resource::of(asked, kind);
    if may(asked, &reading(asked, &resource)).await? {
        return Ok(());
    }
    Err(format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        shown(asked.user),
        kind.str_at(&["kind"]),
        kind.str_at(&["apiVersion"])
    ))
}

async fn check_reference(asked: &Asked<'_>, spec: &Value, mutating: bool) -> Result<(), String> {
    let policy = spec.str_at(&["policyName"]);
    let snapshot = &asked.view.snapshot;
    let found = match mutating {
        true => snapshot
            .get::<MutatingAdmissionPolicy>("", policy)
            .map(|p| p.spec.param_kind.clone()),
        false => snapshot
            .get::<ValidatingAdmissionPolicy>("", policy)
            .map(|p| p.spec.param_kind.clone()),
    };
    let resource = match found {
        None => Resource::any(Some(format!("unable to get policy {policy}"))),
        Some(None) => Resource::any(None),
        Some(Some(kind)) => {
            let mut value = Value::map();
            value.set(&["apiVersion"], kind.api_version.as_str());
            value.set(&["kind"], kind.kind.as_str());
            Resource::of(asked, &value)
        }
    };
    let reference = &spec["paramRef"];
    let name = reference.str_at(&["name"]);
    let verb = match name.is_empty() {
        true => "list",
        false => "get",
    };
    let attributes = Attributes {
        verb,
        name,
        namespace: reference.str_at(&["namespace"]),
        ..reading(asked, &resource)
    };
    let decided = may(asked, &attributes).await;
    let decided = match mutating {
        true => decided,
        false => decided.map_err(|why| format!("failed to authorize request: {why}")),
    };
    if decided? {
        return Ok(());
    }
    let user = shown(asked.user);
    Err(match (resource.unknown, mutating) {
        (Some(unknown), _) => format!(
            "{unknown} to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
        ),
        // Upstream swaps the two here.
        (None, true) => format!(
            "user {verb} does not have \"{user}\" permission on the object referenced by paramRef"
        ),
        (None, false) => format!(
            "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
        ),
    })
}
