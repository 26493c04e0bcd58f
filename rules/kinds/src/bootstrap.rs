//! Objects that a fresh cluster holds besides RBAC: system namespaces, priority classes, flow schemas and priority levels.
//! The table is `bootstrap.json`, one object per line. Leaves out uid and times, which the API server sets.

use corten_api::Object;
use corten_core::json_text;

const OBJECTS: &str = include_str!("bootstrap.json");

/// The objects, namespaces first. To be created when they are missing.
pub fn bootstrap_objects() -> Vec<Object> {
    let list = json_text::parse(OBJECTS.as_bytes()).expect("bootstrap.json is JSON");
    let objects = list.as_list().unwrap_or_default().iter();
    objects
        .map(|value| {
            Object::from_value(value).expect("bootstrap.json holds objects of built-in kinds")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::bootstrap_objects;

    #[test]
    fn the_table_is_whole() {
        let objects = bootstrap_objects();
        let count = |kind: &str| objects.iter().filter(|o| o.kind() == kind).count();
        assert_eq!(count("Namespace"), 4);
        assert_eq!(count("PriorityClass"), 2);
        assert_eq!(
            (count("PriorityLevelConfiguration"), count("FlowSchema")),
            (8, 11)
        );
        assert!(
            objects
                .iter()
                .all(|o| o.as_dynamic().is_none() && o.meta().uid.is_empty())
        );
    }
}
