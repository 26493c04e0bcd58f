//! resource.k8s.io/v1beta1 differs from later versions in form: a request's members stand beside its name instead of
//! under `exactly`, a device's under `basic`. v1beta2 differs from v1 in its name only.

use corten_api::Object;
use corten_core::{Value, ValueMap};
use corten_meta::GroupVersionKind;

/// The object in another version of the group.
///
/// # Errors
/// When the object does not fit the version.
pub fn convert(obj: Object, to: &GroupVersionKind) -> Result<Object, String> {
    let from = obj.gvk().to_string();
    let old = obj.gvk().version == "v1beta1";
    let text = |e: corten_core::ConvertError| {
        format!("cannot convert {from} to {}: {e}", to.api_version())
    };
    let mut value = obj.to_value().map_err(text)?;
    if old != (to.version == "v1beta1") {
        reform(&mut value, if old { Form::Nested } else { Form::Flat });
    }
    value.set(&["apiVersion"], Value::from(to.api_version()));
    Object::from_value(&value).map_err(text)
}

/// The form to bring an object into.
#[derive(Clone, Copy)]
enum Form {
    Flat,
    Nested,
}

fn reform(value: &mut Value, form: Form) {
    let kind = value.str_at(&["kind"]).to_owned();
    let (path, inner): (&[&str], &str) = match kind.as_str() {
        "ResourceClaim" => (&["spec", "devices", "requests"], "exactly"),
        "ResourceClaimTemplate" => (&["spec", "spec", "devices", "requests"], "exactly"),
        "ResourceSlice" => (&["spec", "devices"], "basic"),
        _ => return,
    };
    let Some(Value::List(items)) = value.at(path).cloned() else {
        return;
    };
    // v1 has no `basic`, v1beta1 has no `exactly`: the same step in opposite directions.
    let nest = matches!(
        (form, inner),
        (Form::Nested, "exactly") | (Form::Flat, "basic")
    );
    let items = items.into_iter().map(|item| match nest {
        true => nested(item, inner),
        false => flat(item, inner),
    });
    let items = Value::List(items.collect());
    value.set(path, items);
}

fn nested(item: Value, inner: &str) -> Value {
    let Value::Map(members) = item else {
        return item;
    };
    if members.contains_key("firstAvailable") {
        return Value::Map(members);
    }
    let (mut outside, mut inside) = (ValueMap::new(), ValueMap::new());
    for (key, member) in members {
        match key.as_str() {
            "name" => outside.insert(key, member),
            _ => inside.insert(key, member),
        };
    }
    outside.insert(inner, Value::Map(inside));
    Value::Map(outside)
}

fn flat(item: Value, inner: &str) -> Value {
    let Value::Map(mut members) = item else {
        return item;
    };
    if let Some(Value::Map(inside)) = members.remove(inner) {
        for (key, member) in inside {
            members.insert(key, member);
        }
    }
    Value::Map(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::Kind;
    use corten_api::resource::v1::ResourceClaim;
    use corten_api::resource::v1beta1;

    #[test]
    fn claims_go_there_and_back() {
        let mut old = v1beta1::ResourceClaim::new();
        old.spec.devices.requests.push(v1beta1::DeviceRequest {
            name: "r".into(),
            device_class_name: "c".into(),
            count: 2,
            ..v1beta1::DeviceRequest::default()
        });
        let v1 = GroupVersionKind::new("resource.k8s.io", "v1", "ResourceClaim");
        let new = convert(Object::from(old.clone()), &v1).unwrap();
        let claim = new.downcast_ref::<ResourceClaim>().unwrap();
        let exactly = claim.spec.devices.requests[0].exactly.as_ref().unwrap();
        assert_eq!(
            (exactly.device_class_name.as_str(), exactly.count),
            ("c", 2)
        );
        let v1beta1 = GroupVersionKind::new("resource.k8s.io", "v1beta1", "ResourceClaim");
        let back = convert(new, &v1beta1).unwrap();
        assert_eq!(back.downcast_ref::<v1beta1::ResourceClaim>(), Some(&old));
    }
}
