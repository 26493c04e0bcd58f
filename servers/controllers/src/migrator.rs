//! Carries StorageVersionMigrations out: every object of a resource is written again as it is, which the API server does
//! in the version that is stored now, with the key that encrypts now.
//!
//! Invariant: what is newer than the migration's resource version was written anew already and is left alone; a server
//! that is busy is asked again later, anything else fails the migration. Leaves out which migration runs when.

use corten_api::Object;
use corten_api::storagemigration::v1beta1::StorageVersionMigration;
use corten_client::{
    Body, Client, Error, ListAnswer, Mirror, Options, PatchKind, Request, Verb, WatchRequest,
};
use corten_controllers::storage_migration::{ACCOUNT, failed, running, succeeded};
use corten_core::{Time, Value};
use corten_meta::{GroupVersionResource, Revision};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::error::RecvError;

/// How soon a busy server is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// Why a migration did not get on.
#[derive(Debug)]
enum Trouble {
    /// It is tried again.
    Later(Error),
    /// It fails, with this message.
    Fatal(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        match error.status().map(|status| status.code) {
            None | Some(409 | 429 | 500 | 503 | 504) => Trouble::Later(error),
            Some(_) => Trouble::Fatal(error.to_string()),
        }
    }
}

fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Migrates for ever. `stored` are the built-in resources, each in the version in which it is stored.
pub(crate) async fn run(mirror: Mirror, client: Client, stored: Vec<GroupVersionResource>) {
    mirror.wait_synced().await;
    let mut changes = mirror.changes();
    let migrator = Migrator { client, stored };
    let wanted = GroupVersionResource::of::<StorageVersionMigration>().group_resource();
    loop {
        let mut again = false;
        for migration in running(&mirror.snapshot()) {
            again |= migrator.step(&migration, &mirror).await;
        }
        let change = async {
            loop {
                match changes.recv().await {
                    Ok(change) if change.resource.group_resource() == wanted => return true,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return true,
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        let goes_on = match again {
            true => tokio::time::timeout(RETRY, change).await.unwrap_or(true),
            false => change.await,
        };
        if !goes_on {
            return;
        }
    }
}

struct Migrator {
    client: Client,
    stored: Vec<GroupVersionResource>,
}

impl Migrator {
    /// Takes a running migration one step further. True when it must be tried again although nothing changed.
    async fn step(&self, migration: &StorageVersionMigration, mirror: &Mirror) -> bool {
        let name = migration.metadata.name.as_str();
        let told = match self.advance(migration, mirror).await {
            Ok(told) => told,
            Err(Trouble::Later(error)) => {
                tracing::info!(migration = name, %error, "a storage version migration is tried again");
                return true;
            }
            Err(Trouble::Fatal(message)) => failed(migration, &message, now()),
        };
        if let Err(error) = self.client.update_status(told).await {
            tracing::info!(migration = name, %error, "write the status of a storage version migration");
            return true;
        }
        false
    }

    async fn advance(
        &self,
        migration: &StorageVersionMigration,
        mirror: &Mirror,
    ) -> Result<StorageVersionMigration, Trouble> {
        let resource = self.resource(migration, mirror)?;
        let list = self.list(&resource).await?;
        if migration.status.resource_version.is_empty() {
            let mut new = migration.clone();
            new.status.resource_version = list.revision.to_string().into();
            return Ok(new);
        }
        let until = Revision::parse(&migration.status.resource_version);
        let until = until.ok_or_else(|| unhandled("the resource version is no number"))?;
        for object in &list.items {
            let revision = Revision::parse(&object.meta().resource_version);
            if revision.is_some_and(|revision| revision <= until) {
                self.rewrite(&resource, object).await?;
            }
        }
        Ok(succeeded(migration, now()))
    }

    /// The resource in a version that is served: of custom resources one that the definition says.
    fn resource(
        &self,
        migration: &StorageVersionMigration,
        mirror: &Mirror,
    ) -> Result<GroupVersionResource, Trouble> {
        let wanted = &migration.spec.resource;
        let followed = mirror.resources();
        let mut all = self.stored.iter().chain(followed.iter());
        let found = all.find(|r| r.group == wanted.group && r.resource == wanted.resource);
        if let Some(found) = found {
            return Ok(found.clone());
        }
        let age = now().seconds_since(migration.metadata.creation_timestamp);
        match age < 60 {
            true => Err(Trouble::Later(Error::Connection(
                "the resource is not known yet".to_owned(),
            ))),
            false => Err(Trouble::Fatal(
                "resource does not exist in discovery".to_owned(),
            )),
        }
    }

    async fn list(&self, resource: &GroupVersionResource) -> Result<ListAnswer, Error> {
        let request = WatchRequest {
            resource: resource.clone(),
            ..WatchRequest::default()
        };
        self.client.transport().list(request).await
    }

    /// Applies nothing to the object, given that it is still the same.
    async fn rewrite(
        &self,
        resource: &GroupVersionResource,
        object: &Arc<Object>,
    ) -> Result<(), Trouble> {
        let meta = object.meta();
        let mut patch = Value::map();
        patch.set(&["apiVersion"], resource.api_version());
        patch.set(&["kind"], object.gvk().kind);
        patch.set(&["metadata", "uid"], meta.uid.clone());
        patch.set(
            &["metadata", "resourceVersion"],
            meta.resource_version.clone(),
        );
        let request = Request {
            verb: Verb::Patch,
            resource: resource.clone(),
            subresource: String::new(),
            namespace: meta.namespace.to_string(),
            name: meta.name.to_string(),
            body: Body::Patch(PatchKind::Apply, patch.to_string().into()),
            options: Options {
                field_manager: ACCOUNT.to_owned(),
                ..Options::default()
            },
        };
        match self.client.transport().call(request).await {
            // Changed or deleted meanwhile: it was written anew, or there is nothing left to write.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => match Trouble::from(error) {
                Trouble::Fatal(why) => Err(unhandled(&why)),
                later => Err(later),
            },
            Ok(_) => Ok(()),
        }
    }
}

fn unhandled(why: &str) -> Trouble {
    Trouble::Fatal(format!("migration encountered unhandled error: {why}"))
}
