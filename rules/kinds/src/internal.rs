//! How upstream prints one of its internal structs in an error: Go's field names, nothing left out, nil as null.
//! Types of meta/v1 are the same inside and out, so they print as they are sent. Leaves out the few structs whose
//! internal form has other fields than the published one.

use crate::error::verbatim;
use corten_core::{Field, Message, MsgRef, Ref, Value, json_text};

/// A bad value that prints as upstream's internal struct does.
pub fn printed<M: Message>(message: &M) -> Value {
    verbatim(text(MsgRef::new(message)))
}

/// The same for a list of structs.
pub fn printed_list<M: Message>(messages: &[M]) -> Value {
    let all: Vec<String> = messages.iter().map(|m| text(MsgRef::new(m))).collect();
    verbatim(format!("[{}]", all.join(",")))
}

fn text(message: MsgRef<'_>) -> String {
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
    let published = message.msg().package.ends_with("meta.v1");
    for (index, field) in message.msg().json.iter().enumerate() {
        let value = message.json(index);
        if matches!(field.key, "apiVersion" | "kind") && field.number == 0 {
            continue;
        }
        if published && field.omits(value) {
            continue;
        }
        if let (Ref::Msg(inner), "metadata", false) = (value, field.key, published) {
            members(out, inner);
            continue;
        }
        if !out.ends_with('{') {
            out.push(',');
        }
        let name = if published {
            field.key.to_owned()
        } else {
            go_name(field)
        };
        out.push_str(&format!("\"{name}\":"));
        single(out, value);
    }
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

/// `podIP` is `PodIP`; what is not just capitalised is listed.
fn go_name(field: &Field) -> String {
    let known = match field.key {
        "uid" => "UID",
        "ip" => "IP",
        "ips" => "IPs",
        "cidr" => "CIDR",
        "cidrs" => "CIDRs",
        "nfs" => "NFS",
        "rbd" => "RBD",
        "iscsi" => "ISCSI",
        "fc" => "FC",
        "csi" => "CSI",
        "cel" => "CEL",
        "tls" => "TLS",
        "tty" => "TTY",
        "http" => "HTTP",
        "httpGet" => "HTTPGet",
        "tcpSocket" => "TCPSocket",
        "grpc" => "GRPC",
        "os" => "OS",
        "dnsPolicy" => "DNSPolicy",
        "dnsConfig" => "DNSConfig",
        "fsType" => "FSType",
        "fsGroup" => "FSGroup",
        "fsGroupPolicy" => "FSGroupPolicy",
        "seLinuxOptions" => "SELinuxOptions",
        "seLinuxMount" => "SELinuxMount",
        "apiVersion" => "APIVersion",
        "apiGroup" => "APIGroup",
        "cephfs" => "CephFS",
        "gcePersistentDisk" => "GCEPersistentDisk",
        "awsElasticBlockStore" => "AWSElasticBlockStore",
        "storageos" => "StorageOS",
        "scaleIO" => "ScaleIO",
        "ttlSecondsAfterFinished" => "TTLSecondsAfterFinished",
        "uri" => "URI",
        key => {
            let mut letters = key.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            return first.into_iter().chain(letters).collect();
        }
    };
    known.to_owned()
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
