//! StorageVersionMigrations: which one runs, and what is said when it has ended.
//!
//! Invariant: one migration of a resource runs at a time, the oldest first; a definition of custom resources forgets
//! older stored versions only when a migration succeeded and the definition did not change meanwhile. Leaves out the
//! writing of every object, which needs the server (the controllers' `migrator`).

use crate::plan::{Context, Plan, Target, Write, merge_diff, value_of};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionCondition};
use corten_api::meta::v1::Condition;
use corten_api::storagemigration::v1beta1::StorageVersionMigration;
use corten_core::Time;
use corten_meta::{ObjectKey, Snapshot};

/// The service account under which objects are migrated; also the field manager.
pub const ACCOUNT: &str = "storage-version-migrator-controller";

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: ACCOUNT,
    service_account: ACCOUNT,
    primary: resource::<StorageVersionMigration>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<StorageVersionMigration>),
            keys: of_same_resource,
        },
        Wake {
            on: Watched::One(resource::<CustomResourceDefinition>),
            keys: of_definition,
        },
    ],
    reconcile: plan,
};

const MIGRATING: &str = "StorageMigrating";
const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";

fn has(migration: &StorageVersionMigration, kind: &str) -> bool {
    let mut conditions = migration.status.conditions.iter();
    conditions.any(|c| c.type_ == kind && c.status == "True")
}

fn is_over(migration: &StorageVersionMigration) -> bool {
    has(migration, SUCCEEDED) || has(migration, FAILED)
}

fn key_of(migration: &StorageVersionMigration) -> ObjectKey {
    ObjectKey::new("", migration.metadata.name.clone())
}

fn of_same_resource(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(changed) = object.downcast_ref::<StorageVersionMigration>() else {
        return Vec::new();
    };
    let all = snapshot.list::<StorageVersionMigration>();
    all.filter(|m| m.spec.resource == changed.spec.resource)
        .map(key_of)
        .collect()
}

fn of_definition(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let all = snapshot.list::<StorageVersionMigration>();
    all.filter(|m| object.meta().name == definition_name(m))
        .map(key_of)
        .collect()
}

fn definition_name(migration: &StorageVersionMigration) -> String {
    let resource = &migration.spec.resource;
    format!("{}.{}", resource.resource, resource.group)
}

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let migration = snapshot.get::<StorageVersionMigration>("", &key.name)?;
    let definition = snapshot.get::<CustomResourceDefinition>("", &definition_name(migration));
    let mut plan = Plan::default();
    if has(migration, RUNNING) && is_over(migration) {
        let finished = definition.and_then(|d| finish(d, has(migration, SUCCEEDED), context.now));
        // The definition first, and the migration only when that is seen: what fails is tried again.
        if finished.is_some() {
            plan.write_if(finished);
            return Some(plan);
        }
        let new = concluded(migration, context.now);
        plan.write_if(Write::patch_status(
            migration,
            &new,
            "the migration is over",
        ));
    } else if is_next(snapshot, migration) {
        let started = definition.and_then(|d| start(d, migration, context.now));
        if started.is_some() {
            plan.write_if(started);
            return Some(plan);
        }
        let text = "The migration is running";
        let new = with_condition(migration, RUNNING, "MigrationRunning", text, context.now);
        plan.write_if(Write::patch_status(migration, &new, "it is its turn"));
    }
    Some(plan)
}

/// Whether the migration waits, none of its resource runs, and none has waited longer.
fn is_next(snapshot: &Snapshot, migration: &StorageVersionMigration) -> bool {
    let waits = |m: &StorageVersionMigration| !has(m, RUNNING) && !is_over(m);
    let age =
        |m: &StorageVersionMigration| (m.metadata.creation_timestamp, m.metadata.name.clone());
    let all = snapshot.list::<StorageVersionMigration>();
    let mut others = all.filter(|m| m.spec.resource == migration.spec.resource);
    waits(migration)
        && others.all(|other| {
            let runs = has(other, RUNNING) && !is_over(other);
            !runs && (!waits(other) || age(other) >= age(migration))
        })
}

/// The migration with one more condition, which is true; one that is there already stays as it is.
pub fn with_condition(
    migration: &StorageVersionMigration,
    kind: &str,
    reason: &str,
    message: &str,
    now: Time,
) -> StorageVersionMigration {
    let mut new = migration.clone();
    let is_there = |c: &Condition| c.type_ == kind && c.status != "Unknown";
    if !new.status.conditions.iter().any(is_there) {
        new.status.conditions.push(Condition {
            type_: kind.into(),
            status: "True".into(),
            last_transition_time: now,
            reason: reason.into(),
            message: message.into(),
            ..Condition::default()
        });
    }
    new
}

/// The migration after everything was written.
pub fn succeeded(migration: &StorageVersionMigration, now: Time) -> StorageVersionMigration {
    with_condition(
        migration,
        SUCCEEDED,
        "StorageVersionMigrationSucceeded",
        "",
        now,
    )
}

/// The migration after something could not be written.
pub fn failed(
    migration: &StorageVersionMigration,
    message: &str,
    now: Time,
) -> StorageVersionMigration {
    with_condition(
        migration,
        FAILED,
        "StorageVersionMigrationFailed",
        message,
        now,
    )
}

fn concluded(migration: &StorageVersionMigration, now: Time) -> StorageVersionMigration {
    let mut new = migration.clone();
    for condition in new.status.conditions.iter_mut() {
        if condition.type_ == RUNNING {
            condition.status = "False".into();
            condition.reason = "MigrationCompleted".into();
            condition.message = "Migration completed".into();
            condition.observed_generation = migration.metadata.generation;
            condition.last_transition_time = now;
        }
    }
    new
}

fn migrating(definition: &CustomResourceDefinition) -> Option<&CustomResourceDefinitionCondition> {
    let mut conditions = definition.status.conditions.iter();
    conditions.find(|c| c.type_ == MIGRATING)
}

/// The write that gives a definition this condition (status, reason, message), and what else `change` changes.
fn tell(
    definition: &CustomResourceDefinition,
    (status, reason, message): (&str, &str, &str),
    now: Time,
    change: impl FnOnce(&mut CustomResourceDefinition),
) -> Option<Write> {
    let told = migrating(definition).is_some_and(|c| c.status == status && c.message == message);
    let mut new = definition.clone();
    change(&mut new);
    if !told {
        new.status.conditions.retain(|c| c.type_ != MIGRATING);
        new.status
            .conditions
            .push(CustomResourceDefinitionCondition {
                type_: MIGRATING.into(),
                status: status.into(),
                last_transition_time: now,
                reason: reason.into(),
                message: message.into(),
                observed_generation: definition.metadata.generation,
            });
    }
    Some(Write::Patch {
        target: Target::unchanged(definition),
        subresource: "status",
        patch: merge_diff(&value_of(definition), &value_of(&new))?,
        because: message.to_owned(),
    })
}

fn start(
    definition: &CustomResourceDefinition,
    migration: &StorageVersionMigration,
    now: Time,
) -> Option<Write> {
    let message = format!("Migration {} is running", migration.metadata.name);
    let what = ("True", "MigrationRunning", message.as_str());
    tell(definition, what, now, |_| {})
}

fn finish(definition: &CustomResourceDefinition, success: bool, now: Time) -> Option<Write> {
    // Told already: the generation below is no longer that of the start.
    if migrating(definition).is_none_or(|c| c.status == "False") {
        return None;
    }
    let unchanged = migrating(definition)
        .is_some_and(|c| c.observed_generation == definition.metadata.generation);
    let what = match (success, unchanged) {
        (true, true) => (
            "False",
            "MigrationSucceeded",
            "The migration has succeeded and the stored versions have been updated",
        ),
        (true, false) => (
            "False",
            "MigrationSucceeded",
            "The migration has succeeded but the stored versions have not been updated due to a generation mismatch",
        ),
        (false, _) => ("False", "MigrationFailed", "The migration has failed"),
    };
    tell(definition, what, now, |new| {
        if success && unchanged {
            let stored = new.spec.versions.iter().find(|v| v.storage);
            new.status.stored_versions = stored.map(|v| v.name.clone()).into_iter().collect();
        }
    })
}

/// The migrations whose objects are to be written now.
pub fn running(snapshot: &Snapshot) -> Vec<StorageVersionMigration> {
    let all = snapshot.list::<StorageVersionMigration>();
    all.filter(|m| has(m, RUNNING) && !is_over(m))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use expect_test::expect;

    const CLUSTER: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec: {group: example.com, versions: [{name: v1, served: true, storage: false}, {name: v2, served: true, storage: true}]}
status: {storedVersions: [v1, v2]}
---
apiVersion: storagemigration.k8s.io/v1beta1
kind: StorageVersionMigration
metadata: {name: first}
spec: {resource: {group: example.com, resource: things}}
---
apiVersion: storagemigration.k8s.io/v1beta1
kind: StorageVersionMigration
metadata: {name: second}
spec: {resource: {group: example.com, resource: things}}
";

    fn end(world: &mut World, name: &str, success: bool) {
        let now = world.context.now;
        world.edit::<StorageVersionMigration>("", name, |m| {
            *m = match success {
                true => succeeded(m, now),
                false => failed(m, "why", now),
            };
        });
    }

    fn definition(world: &World) -> (String, Vec<String>) {
        let found = world
            .snapshot
            .get::<CustomResourceDefinition>("", "things.example.com");
        let found = found.expect("it is there");
        let condition =
            migrating(found).map_or(String::new(), |c| format!("{} {}", c.status, c.message));
        let stored = found.status.stored_versions.iter();
        (condition, stored.map(ToString::to_string).collect())
    }

    #[test]
    fn one_runs_at_a_time_and_the_definition_tells() {
        let mut world = World::new(CLUSTER);
        expect![""].assert_eq(&world.run(&CONTROLLER, "second"));
        world.run(&CONTROLLER, "first");
        assert_eq!(definition(&world).0, "True Migration first is running");
        let names = |world: &World| -> Vec<String> {
            let all = running(&world.snapshot);
            all.iter().map(|m| m.metadata.name.to_string()).collect()
        };
        assert_eq!(names(&world), ["first"]);
        expect![""].assert_eq(&world.run(&CONTROLLER, "second"));
        end(&mut world, "first", true);
        world.run(&CONTROLLER, "first");
        let (told, stored) = definition(&world);
        assert_eq!(
            told,
            "False The migration has succeeded and the stored versions have been updated"
        );
        assert_eq!(stored, ["v2"]);
        world.run(&CONTROLLER, "second");
        assert_eq!(names(&world), ["second"]);
    }

    #[test]
    fn a_definition_that_changed_or_a_failure_keeps_its_versions() {
        for success in [true, false] {
            let mut world = World::new(CLUSTER);
            world.run(&CONTROLLER, "first");
            world.edit::<CustomResourceDefinition>("", "things.example.com", |d| {
                d.metadata.generation += 1;
            });
            end(&mut world, "first", success);
            world.run(&CONTROLLER, "first");
            let (told, stored) = definition(&world);
            assert!(told.starts_with("False The migration has"), "{told}");
            assert_eq!(stored, ["v1", "v2"]);
        }
    }
}
