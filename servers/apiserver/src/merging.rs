//! Merge patches of built-in kinds, merged into the struct: only what a patch names becomes a tree, and everything else
//! stays as it is. Invariant: the object that a merge of whole trees makes; what would be refused or warned about, or is
//! out of the ordinary, is not done here but with those trees.

use corten_api::Object;
use corten_core::{Form, MsgMut, Ref, Slot, Value, ValueMap};

use crate::decode::is_plain;

/// The patched object; none when this patch is not one for here.
pub(crate) fn merged(object: &Object, patch: &Value) -> Option<Object> {
    let patch = patch.as_map()?;
    let names_type = patch.contains_key("apiVersion") || patch.contains_key("kind");
    if names_type || !patch.values().all(is_plain) {
        return None;
    }
    object.message()?;
    let mut object = object.clone();
    merge_into(object.message_mut()?, patch)?;
    Some(object)
}

fn merge_into(mut message: MsgMut, patch: &ValueMap) -> Option<()> {
    if message.msg().form != Form::Struct {
        return None;
    }
    for (key, member) in patch.iter() {
        let index = message.msg().find(key.as_bytes())?;
        if member.is_null() {
            message.clear_json(index);
            continue;
        }
        let live = message.as_ref().json(index);
        if let (Ref::Msg(_), Value::Map(patch)) = (live, member) {
            let Slot::Msg(inner) = message.json(index) else {
                return None;
            };
            merge_into(inner, patch)?;
            continue;
        }
        let mut document = ValueMap::new();
        if !message.msg().json[index].omits(live) {
            document.insert(key.clone(), live.to_value().ok()?);
        }
        let only: ValueMap = [(key.clone(), member.clone())].into_iter().collect();
        let new = corten_patch::merge(Value::Map(document), &Value::Map(only)).ok()?;
        let mut unknown = Vec::new();
        message.clear_json(index);
        message.merge_value(&new, &mut unknown).ok()?;
        if !unknown.is_empty() {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_codec::{Options, json};

    fn pod() -> Object {
        let text = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","labels":{"a":"1","b":"2"},
            "creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"nodeName":"n","terminationGracePeriodSeconds":30,
            "containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1"}}}],
            "securityContext":{"runAsUser":1,"fsGroup":2}},"status":{"phase":"Running"}}"#;
        json::decode(text, &Options::default()).unwrap().object
    }

    /// As whole trees merge.
    fn by_trees(object: &Object, patch: &Value) -> Object {
        let tree = corten_patch::merge(object.to_value().unwrap(), patch).unwrap();
        Object::from_value(&tree).unwrap()
    }

    #[test]
    fn merges_as_trees_do() {
        for patch in [
            r#"{"metadata":{"annotations":{"bench":"1"}}}"#,
            r#"{"metadata":{"labels":{"a":null,"b":"3","c":"4"},"annotations":null}}"#,
            r#"{"metadata":{"labels":null,"finalizers":["a/b"]}}"#,
            r#"{"spec":{"nodeName":"m","terminationGracePeriodSeconds":null,"securityContext":{"fsGroup":3}}}"#,
            r#"{"spec":{"securityContext":{"seLinuxOptions":{"level":"s0","role":null}}}}"#,
            r#"{"spec":{"securityContext":null,"affinity":{"nodeAffinity":{}}}}"#,
            r#"{"spec":{"containers":[{"name":"d","image":"j","ports":[{"containerPort":80}]}]}}"#,
            r#"{"status":{"conditions":[{"type":"Ready","status":"True"}],"startTime":"2026-01-01T00:00:00Z"}}"#,
            r#"{"status":null}"#,
            r#"{"status":{}}"#,
        ] {
            let patch = json::decode_value(patch.as_bytes()).unwrap();
            let pod = pod();
            let made = merged(&pod, &patch).unwrap();
            assert!(made == by_trees(&pod, &patch), "{patch}");
        }
    }

    #[test]
    fn leaves_to_trees_what_is_not_plain() {
        for patch in [
            r#"{"kind":"Pod"}"#,
            r#"{"metadata":{"unheard":1}}"#,
            r#"{"spec":{"containers":[{"name":"a","unheard":1}]}}"#,
            r#"{"spec":{"nodeName":7}}"#,
            r#"{"spec":{"terminationGracePeriodSeconds":1.5}}"#,
            r#"{"spec":{"tolerations":[null]}}"#,
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            r#"[]"#,
        ] {
            let patch = json::decode_value(patch.as_bytes()).unwrap();
            assert!(merged(&pod(), &patch).is_none(), "{patch}");
        }
    }
}
