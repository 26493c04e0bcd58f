//! Laws: applying twice is applying once, tracking and applying agree about owners, and patches made from two objects
//! lead from one to the other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use corten_api::{Gvk, kind_info};
use corten_core::{Msg, Time, Value, ValueMap};
use corten_meta::GroupVersionKind;
use corten_patch::{Apply, Schema, Track, apply, json, merge, strategic, track};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn msg() -> &'static Msg {
    kind_info(Gvk::parse("apps/v1", "Deployment"))
        .unwrap()
        .msg()
}

fn at(seconds: i64) -> Time {
    Time::from_unix(seconds)
}

/// What a manager says about a Deployment: some labels, replicas, and containers with environments.
#[derive(Clone, Debug)]
struct Config {
    labels: BTreeMap<String, String>,
    replicas: Option<i64>,
    containers: Vec<(String, String, Vec<(String, String)>)>,
}

fn config() -> impl Strategy<Value = Config> {
    let env = prop::collection::btree_map("[A-D]", "[x-z]", 0..4)
        .prop_map(|env| env.into_iter().collect::<Vec<_>>())
        .prop_shuffle();
    let containers = prop::collection::btree_map("[a-d]", ("[i-k]", env), 0..4)
        .prop_map(|all| {
            all.into_iter()
                .map(|(n, (i, e))| (n, i, e))
                .collect::<Vec<_>>()
        })
        .prop_shuffle();
    let labels = prop::collection::btree_map("[l-n]", "[p-r]", 0..3);
    (labels, prop::option::of(1..4i64), containers).prop_map(|(labels, replicas, containers)| {
        Config {
            labels,
            replicas,
            containers,
        }
    })
}

fn map<K: AsRef<str>, V: Into<Value>>(entries: impl IntoIterator<Item = (K, V)>) -> Value {
    let entries = entries
        .into_iter()
        .map(|(k, v)| (k.as_ref().to_string(), v));
    Value::Map(entries.collect::<ValueMap>())
}

impl Config {
    fn object(&self) -> Value {
        let mut out = map([("apiVersion", "apps/v1"), ("kind", "Deployment")]);
        out.set(&["metadata", "name"], "d");
        if !self.labels.is_empty() {
            out.set(&["metadata", "labels"], map(self.labels.clone()));
        }
        if let Some(replicas) = self.replicas {
            out.set(&["spec", "replicas"], replicas);
        }
        let item = |pair: &(String, String)| map([("name", pair.0.as_str()), ("value", &pair.1)]);
        let containers: Vec<Value> = self
            .containers
            .iter()
            .map(|(name, image, env)| {
                let mut out = map([("name", name.as_str()), ("image", image)]);
                if !env.is_empty() {
                    out.set(&["env"], env.iter().map(item).collect::<Vec<_>>());
                }
                out
            })
            .collect();
        if !containers.is_empty() {
            out.set(&["spec", "template", "spec", "containers"], containers);
        }
        out
    }
}

/// What a store would do: null members vanish, and the object has an identity.
fn stored(mut object: Value) -> Value {
    fn prune(value: &mut Value) {
        if let Value::Map(map) = value {
            map.retain(|_, v| {
                prune(v);
                !v.is_null()
            });
        } else if let Value::List(list) = value {
            list.iter_mut().for_each(prune);
        }
    }
    prune(&mut object);
    object.set(&["metadata", "uid"], "u");
    object
}

fn applied(live: Option<&Value>, patch: &Value, manager: &str, seconds: i64) -> Value {
    let now = at(seconds);
    let schema = Schema::Table(msg());
    let a = Apply {
        live,
        patch,
        schema,
        manager,
        subresource: "",
        force: true,
        now: &now,
    };
    stored(apply(&a).unwrap())
}

fn tracked(live: Option<&Value>, new: &Value, manager: &str, seconds: i64) -> Value {
    let now = at(seconds);
    let schema = Schema::Table(msg());
    let list = track(&Track {
        live,
        new,
        schema,
        manager,
        subresource: "",
        now: &now,
    });
    let mut out = new.clone();
    out.set(&["metadata", "managedFields"], list);
    stored(out)
}

/// The strategic merge patch from `a` to `b` for what `Config` has.
fn difference(a: &Config, b: &Config) -> Value {
    let mut out = Value::map();
    let mut labels = map(b.labels.clone());
    for gone in a.labels.keys().filter(|k| !b.labels.contains_key(*k)) {
        labels.set(&[gone], Value::Null);
    }
    out.set(&["metadata", "labels"], labels);
    out.set(&["spec", "replicas"], b.replicas);
    let names = |names: Vec<&String>| -> Vec<Value> {
        names
            .into_iter()
            .map(|name| map([("name", name.as_str())]))
            .collect()
    };
    let gone = |name: &String| map([("name", name.as_str()), ("$patch", "delete")]);
    let mut containers = Vec::new();
    for (name, image, env) in &b.containers {
        let mut item = map([("name", name.as_str()), ("image", image)]);
        let old = a.containers.iter().find(|c| c.0 == *name);
        let kept = |key: &String| env.iter().any(|(k, _)| k == key);
        let mut items: Vec<Value> = env
            .iter()
            .map(|(k, v)| map([("name", k.as_str()), ("value", v)]))
            .collect();
        let old_env = old.map_or(&[][..], |c| &c.2);
        items.extend(
            old_env
                .iter()
                .filter(|(k, _)| !kept(k))
                .map(|(k, _)| gone(k)),
        );
        if !items.is_empty() {
            item.set(&["env"], items);
            // Only for lists that exist: the directive is not carried out in what is added.
            if !old_env.is_empty() {
                let order = names(env.iter().map(|(k, _)| k).collect());
                item.set(&["$setElementOrder/env"], order);
            }
        }
        containers.push(item);
    }
    let stays = |name: &String| b.containers.iter().any(|c| c.0 == *name);
    containers.extend(
        a.containers
            .iter()
            .filter(|c| !stays(&c.0))
            .map(|c| gone(&c.0)),
    );
    let spec = &["spec", "template", "spec"];
    let mut pod = Value::map();
    if !containers.is_empty() {
        pod.set(&["containers"], containers);
        if !a.containers.is_empty() {
            let order = names(b.containers.iter().map(|c| &c.0).collect());
            pod.set(&["$setElementOrder/containers"], order);
        }
    }
    out.set(spec, pod);
    out
}

/// Without empty lists and objects, which mean the same as nothing here.
fn dense(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Map(map) => {
            let out: ValueMap = map
                .into_iter()
                .filter_map(|(k, v)| Some((k, dense(v)?)))
                .collect();
            (!out.is_empty()).then_some(Value::Map(out))
        }
        Value::List(list) => {
            let out: Vec<Value> = list.into_iter().filter_map(dense).collect();
            (!out.is_empty()).then_some(Value::List(out))
        }
        other => Some(other),
    }
}

/// Any JSON without null.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..5i64).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("[k-n]", inner, 0..4).prop_map(map),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[k-n]", tree(), 0..4).prop_map(map)
}

/// The merge patch from `a` to `b`.
fn merge_difference(a: &Value, b: &Value) -> Value {
    let (Value::Map(old), Value::Map(new)) = (a, b) else {
        return b.clone();
    };
    let mut out = ValueMap::new();
    for key in old.keys().filter(|k| !new.contains_key(k)) {
        out.insert(key.clone(), Value::Null);
    }
    for (key, value) in new.iter() {
        match old.get(key) {
            Some(old) if old == value => {}
            Some(old) => {
                out.insert(key.clone(), merge_difference(old, value));
            }
            None => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Map(out)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn applying_twice_is_applying_once(a in config(), b in config()) {
        let first = applied(None, &a.object(), "one", 1);
        prop_assert_eq!(&applied(Some(&first), &a.object(), "one", 2), &first);
        let second = applied(Some(&first), &b.object(), "two", 3);
        prop_assert_eq!(&applied(Some(&second), &b.object(), "two", 4), &second);
    }

    #[test]
    fn an_object_is_what_its_only_applier_says(a in config(), b in config()) {
        let first = applied(None, &a.object(), "one", 1);
        let mut second = applied(Some(&first), &b.object(), "one", 2);
        for server_set in ["managedFields", "uid"] {
            second.get_mut("metadata").unwrap().as_map_mut().unwrap().remove(server_set);
        }
        prop_assert_eq!(dense(second), dense(b.object()));
    }

    #[test]
    fn tracking_and_applying_agree(a in config(), b in config(), c in config()) {
        let created = tracked(None, &stored(a.object()), "creator", 1);
        let over = applied(Some(&created), &b.object(), "one", 2);
        prop_assert_eq!(&applied(Some(&over), &b.object(), "one", 3), &over);
        // An update that changes nothing has no owner and no time.
        prop_assert_eq!(&tracked(Some(&over), &over, "other", 4), &over);
        // What an update takes, an apply without force may not change, with force it gets it back.
        let mut updated = stored(c.object());
        updated.set(&["metadata", "managedFields"], over["metadata"]["managedFields"].clone());
        let updated = tracked(Some(&over), &updated, "other", 5);
        let back = applied(Some(&updated), &b.object(), "one", 6);
        let now = at(7);
        let again = apply(&Apply {
            live: Some(&back), patch: &b.object(), schema: Schema::Table(msg()), manager: "one",
            subresource: "", force: false, now: &now,
        });
        prop_assert_eq!(again.map(stored), Ok(back));
    }

    #[test]
    fn a_strategic_difference_leads_there(a in config(), b in config()) {
        let gvk = GroupVersionKind { group: "apps".into(), version: "v1".into(), kind: "Deployment".into() };
        let patched = strategic(a.object(), &difference(&a, &b), msg(), &gvk).unwrap();
        prop_assert_eq!(dense(patched), dense(b.object()));
    }

    #[test]
    fn a_merge_difference_leads_there(a in object(), b in object()) {
        prop_assert_eq!(merge(a.clone(), &merge_difference(&a, &b)).unwrap(), b);
    }

    #[test]
    fn json_patches_never_panic(doc in object(), ops in prop::collection::vec(
        (prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "x"]),
         "(/[k-n0-2-]){0,3}", "(/[k-n0-2]){0,3}", tree()), 0..6))
    {
        let ops = ops.into_iter().map(|(op, path, from, value)| {
            let mut out = map([("op", op), ("path", path.as_str()), ("from", from.as_str())]);
            out.set(&["value"], value);
            out
        });
        let _ = json(doc, &Value::List(ops.collect()));
    }
}
