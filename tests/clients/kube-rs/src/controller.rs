//! A controller as kube-rs' users write them: a derived custom resource, an owned object, a status, a finalizer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(CustomResource, Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[kube(
    group = "kube-rs.corten.test",
    version = "v1",
    kind = "Greeting",
    namespaced,
    status = "GreetingStatus"
)]
pub struct GreetingSpec {
    text: String,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct GreetingStatus {
    written: String,
}

const MANAGER: &str = "greeter";

/// Runs the controller until it has made what a greeting asks for, changed it, and cleaned up after it.
pub async fn run(client: Client, namespace: &str) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = Greeting::crd();
    let name = definition.name_any();
    definitions
        .patch(
            &name,
            &PatchParams::apply(MANAGER),
            &Patch::Apply(&definition),
        )
        .await?;
    await_condition(definitions.clone(), &name, conditions::is_crd_established()).await?;
    let greetings: Api<Greeting> = Api::namespaced(client.clone(), namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let controller = Controller::new(greetings.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(reconcile, retry, Arc::new(client))
        .for_each(|_| async {});
    tokio::select! {
        used = use_it(&greetings, &maps) => used?,
        () = controller => anyhow::bail!("the controller ended"),
    }
    definitions.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

async fn use_it(greetings: &Api<Greeting>, maps: &Api<ConfigMap>) -> Result<()> {
    let greeting = Greeting::new(
        "world",
        GreetingSpec {
            text: "hello".to_owned(),
        },
    );
    greetings.create(&PostParams::default(), &greeting).await?;
    let says = |text: &'static str| {
        move |object: Option<&Greeting>| {
            object.is_some_and(|o| o.status.as_ref().is_some_and(|s| s.written == text))
        }
    };
    await_condition(greetings.clone(), "world", says("hello")).await?;
    let owned = maps.get("world").await?;
    crate::check("owners", owned.owner_references().len(), 1)?;
    let change = Patch::Merge(json!({"spec": {"text": "goodbye"}}));
    greetings
        .patch("world", &PatchParams::default(), &change)
        .await?;
    await_condition(greetings.clone(), "world", says("goodbye")).await?;
    // What is taken away is made again.
    let uid = maps.get("world").await?.uid().context("no uid")?;
    maps.delete("world", &DeleteParams::default()).await?;
    await_condition(maps.clone(), "world", move |map: Option<&ConfigMap>| {
        map.is_some_and(|m| m.uid().as_deref() != Some(uid.as_str()))
    })
    .await?;
    let uid = greetings.get("world").await?.uid().context("no uid")?;
    greetings.delete("world", &DeleteParams::default()).await?;
    await_condition(greetings.clone(), "world", conditions::is_deleted(&uid)).await?;
    let left = maps.get_opt("world-was-here").await?;
    crate::check("the finalizer ran", left.is_some(), true)
}

type Failure = kube::runtime::finalizer::Error<kube::Error>;

async fn reconcile(greeting: Arc<Greeting>, client: Arc<Client>) -> Result<Action, Failure> {
    let namespace = greeting.namespace().unwrap_or_default();
    let greetings: Api<Greeting> = Api::namespaced((*client).clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    finalizer(
        &greetings,
        "kube-rs.corten.test/cleanup",
        greeting,
        |event| async {
            match event {
                Event::Apply(greeting) => write(&greeting, &greetings, &maps).await,
                Event::Cleanup(greeting) => clean(&greeting, &maps).await,
            }
        },
    )
    .await
}

async fn write(
    greeting: &Greeting,
    greetings: &Api<Greeting>,
    maps: &Api<ConfigMap>,
) -> kube::Result<Action> {
    let name = greeting.name_any();
    let owner = greeting.controller_owner_ref(&());
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "data": {"text": greeting.spec.text},
    });
    let ours = PatchParams::apply(MANAGER).force();
    maps.patch(&name, &ours, &Patch::Apply(map)).await?;
    let status = json!({
        "apiVersion": "kube-rs.corten.test/v1", "kind": "Greeting",
        "metadata": {"name": name}, "status": {"written": greeting.spec.text},
    });
    greetings
        .patch_status(&name, &ours, &Patch::Apply(status))
        .await?;
    Ok(Action::await_change())
}

async fn clean(greeting: &Greeting, maps: &Api<ConfigMap>) -> kube::Result<Action> {
    let mut left = ConfigMap::default();
    left.metadata.name = Some(format!("{}-was-here", greeting.name_any()));
    maps.create(&PostParams::default(), &left).await?;
    Ok(Action::await_change())
}

fn retry(_: Arc<Greeting>, _: &Failure, _: Arc<Client>) -> Action {
    Action::requeue(Duration::from_millis(200))
}
