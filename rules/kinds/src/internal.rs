//! How upstream prints one of its internal structs in an error: Go's field names, nothing left out, nil as null.
//! Types of meta/v1 are the same inside and out, so they print as they are sent. Names and orders are facts of
//! `internal_layout`.

use crate::error::verbatim;
use crate::internal_layout::{go_name, order};
use corten_core::{Message, MsgRef, Ref, Value, json_text};

/// A bad value that prints as upstream's internal struct does.
pub fn printed<M: Message>(message: &M) -> Value {
    verbatim(text(MsgRef::new(message)))
}

/// The same for a list of structs.
pub fn printed_list<M: Message>(messages: &[M]) -> Value {
    let all: Vec<String> = messages.iter().map(|m| text(MsgRef::new(m))).collect();
    verbatim(format!("[{}]", all.join(",")))
}

/// A struct as JSON.
pub(crate) fn text(message: MsgRef<'_>) -> String {
    let mut out = String::new();
    write(&mut out, message);
    out
}

fn write(out: &mut String, message: MsgRef<'_>) {
    out.push('{');
    members(out, message);
    out.push('}');
}

fn members(out: &mut String, message: MsgRef<'_>) {
    let msg = message.msg();
    if msg.package.ends_with("meta.v1") {
        published_members(out, message);
        return;
    }
    match order(msg.name) {
        Some(keys) => keys.iter().for_each(|key| member(out, message, key)),
        None => msg.json.iter().for_each(|f| member(out, message, f.key)),
    }
}

fn published_members(out: &mut String, message: MsgRef<'_>) {
    for (index, field) in message.msg().json.iter().enumerate() {
        let value = message.json(index);
        if !field.omits(value) {
            name(out, field.key);
            single(out, value);
        }
    }
}

/// One member of an internal struct, by its published key.
fn member(out: &mut String, message: MsgRef<'_>, key: &str) {
    let msg = message.msg();
    let Some(index) = msg.json.iter().position(|f| f.key == key) else {
        return;
    };
    let (field, value) = (&msg.json[index], message.json(index));
    match (key, value) {
        ("apiVersion" | "kind", _) if field.number == 0 => {}
        ("metadata", Ref::Msg(inner)) => members(out, inner),
        ("securityContext", Ref::Msg(inner)) if msg.name == "PodSpec" => {
            name(out, "SecurityContext");
            out.push('{');
            for key in IN_SECURITY_CONTEXT {
                member(out, message, key);
            }
            members(out, inner);
            out.push('}');
        }
        _ => {
            name(out, &go_name(msg.name, key));
            single(out, value);
        }
    }
}

/// Fields of a pod that upstream keeps in its security context.
const IN_SECURITY_CONTEXT: [&str; 5] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "shareProcessNamespace",
    "hostUsers",
];

fn name(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

fn single(out: &mut String, value: Ref<'_>) {
    match value {
        Ref::Nil => out.push_str("null"),
        Ref::Bool(b) => out.push_str(&b.to_string()),
        Ref::I32(n) => out.push_str(&n.to_string()),
        Ref::I64(n) => out.push_str(&n.to_string()),
        Ref::F64(n) => out.push_str(&json_text::print(&Value::from(n))),
        Ref::Str(s) => out.push_str(&json_text::print(&Value::from(s))),
        Ref::Msg(message) => write(out, message),
        Ref::List(list) if list.is_nil() => out.push_str("null"),
        Ref::List(list) => {
            out.push('[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                single(out, item);
            }
            out.push(']');
        }
        Ref::Map(map) if map.is_nil() => out.push_str("null"),
        Ref::Map(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&json_text::print(&Value::from(key)));
                out.push(':');
                single(out, item);
            }
            out.push('}');
        }
        other => out.push_str(&json_text::print(&other.to_value().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::apps::v1::DeploymentStrategy;
    use corten_api::core::v1::Toleration;

    #[test]
    fn structs_print_as_upstream_has_them_inside() {
        let strategy = DeploymentStrategy {
            type_: "Odd".into(),
            ..DeploymentStrategy::default()
        };
        assert_eq!(
            text(MsgRef::new(&strategy)),
            r#"{"Type":"Odd","RollingUpdate":null}"#
        );
        let toleration = Toleration {
            key: "a".into(),
            ..Toleration::default()
        };
        assert_eq!(
            text(MsgRef::new(&toleration)),
            r#"{"Key":"a","Operator":"","Value":"","Effect":"","TolerationSeconds":null}"#
        );
    }
}
