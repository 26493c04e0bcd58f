//! The in-process transport: the ladders called directly under one user's identity, with the same authorization and
//! admission as over HTTPS and without serialization.

use std::sync::Arc;

use async_trait::async_trait;
use corten_access::UserInfo;
use corten_api::authentication::v1::TokenRequest;
use corten_api::core::v1::Binding;
use corten_api::policy::v1::Eviction;
use corten_api::{Gvk, Object};
use corten_client::{
    Body, Error, ListAnswer, Options, PatchKind as WirePatch, Propagation as WirePropagation,
    Request, Status, Transport, Verb, WatchEvent, WatchRequest, WatchStream,
};
use corten_core::Value;
use corten_meta::{GroupVersionResource, Revision};

use crate::aggregation::listing;
use crate::catalog::Served;
use crate::custom::conversion;
use crate::encode::EventType;
use crate::info::RequestInfo;
use crate::options::{
    Admitting, DeleteOptions, FieldValidation, ListOptions, Propagation, WriteOptions,
};
use crate::patching::PatchKind;
use crate::server::Server;
use crate::subresource::ScaleWish;
use crate::watching::Shown;
use crate::write::{Aim, Change};
use crate::{
    admit, audit, authorization, delete, evict, patching, pods, read, reviews, subresource, tokens,
    typed, watching, write,
};

/// Requests in process under one identity.
#[derive(Clone)]
pub struct Local {
    server: Arc<Server>,
    user: Arc<UserInfo>,
}

impl Local {
    pub(crate) fn new(server: Arc<Server>, mut user: UserInfo) -> Local {
        if !user.in_group(crate::authentication::AUTHENTICATED) {
            user.groups
                .push(crate::authentication::AUTHENTICATED.into());
        }
        Local {
            server,
            user: Arc::new(user),
        }
    }

    fn served(&self, resource: &GroupVersionResource) -> Result<Arc<Served>, Status> {
        let catalog = self.server.catalog();
        catalog
            .find(&resource.group, &resource.version, &resource.resource)
            .cloned()
            .ok_or_else(Status::no_such_path)
    }

    async fn authorize(
        &self,
        info: &RequestInfo,
        field_selector: &str,
        label_selector: &str,
    ) -> Result<(), Status> {
        authorization::authorize(
            &self.server,
            &self.user,
            info,
            field_selector,
            label_selector,
        )
        .await
    }

    fn info(
        &self,
        served: &Served,
        verb: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
    ) -> RequestInfo {
        // As in a path, a namespace lies in itself.
        let own = served.group.is_empty() && served.plural == "namespaces" && !name.is_empty();
        RequestInfo {
            verb: verb.into(),
            is_resource: true,
            group: served.group.clone(),
            version: served.version.clone(),
            namespace: if own { name } else { namespace }.into(),
            resource: served.plural.clone(),
            subresource: subresource.into(),
            name: name.into(),
            ..RequestInfo::default()
        }
    }

    async fn answer(&self, request: Request) -> Result<Arc<Object>, Status> {
        let served = self.served(&request.resource)?;
        let verb = match request.verb {
            Verb::Get => "get",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        };
        let info = self.info(
            &served,
            verb,
            &request.namespace,
            &request.name,
            &request.subresource,
        );
        let code = match request.verb {
            Verb::Create => 201,
            _ => 200,
        };
        let uri = audit::uri(&info, &[]);
        let answering = self.answer_authorized(&served, &info, &request);
        audit::inside(&self.server, &self.user, &info, (&uri, code), answering).await
    }

    async fn answer_authorized(
        &self,
        served: &Arc<Served>,
        info: &RequestInfo,
        request: &Request,
    ) -> Result<Arc<Object>, Status> {
        self.authorize(info, "", "").await?;
        if request.verb != Verb::Get {
            read::settle(&self.server).await?;
        }
        let namespace = if served.namespaced {
            request.namespace.as_str()
        } else {
            ""
        };
        let aim = Aim {
            served,
            namespace,
            name: &request.name,
            subresource: &request.subresource,
        };
        if request.subresource == "scale" {
            return self.scale(&aim, request).await;
        }
        let shown = match (request.verb, &request.body) {
            (Verb::Get, _) => {
                let entry = read::get(&self.server, served, aim.namespace, aim.name, "").await?;
                typed::object(&entry)?
            }
            (Verb::Delete, _) => {
                let options = delete_options(&request.options);
                delete::delete(&self.server, &self.user, &aim, &options)
                    .await?
                    .object
            }
            (Verb::Patch, Body::Patch(kind, patch)) => {
                audit::sent_text(patch);
                let kind = patch_kind(*kind);
                let options = write_options(&request.options);
                patching::patch(&self.server, &self.user, &aim, kind, patch, &options)
                    .await?
                    .object
            }
            (Verb::Create, Body::Object(object)) => {
                note_sent(served, info, object);
                return self.create(&aim, object, &request.options).await;
            }
            (Verb::Update, Body::Object(object)) => {
                note_sent(served, info, object);
                self.update(&aim, object, &request.options).await?
            }
            _ => {
                return Err(Status::bad_request(format!(
                    "a {} request lacks its body",
                    info.verb
                )));
            }
        };
        conversion::shown(&self.server.outbound, served, shown).await
    }

    /// Reads or replaces a Scale.
    async fn scale(&self, aim: &Aim<'_>, request: &Request) -> Result<Arc<Object>, Status> {
        let server = &self.server;
        let scale = match (request.verb, &request.body) {
            (Verb::Get, _) => subresource::read_scale(server, aim).await?,
            (Verb::Update, Body::Object(object)) => {
                let wish = ScaleWish::Given((**object).clone());
                let options = write_options(&request.options);
                subresource::write_scale(server, &self.user, aim, wish, options).await?
            }
            _ => return Err(Status::method_not_allowed()),
        };
        Ok(Arc::new(Object::from(scale)))
    }

    async fn update(
        &self,
        aim: &Aim<'_>,
        object: &Arc<Object>,
        options: &Options,
    ) -> Result<Arc<Object>, Status> {
        let mut object = (**object).clone();
        aim.served.default(&mut object);
        let change = Change::Replace(aim.served.to_storage(object)?);
        let options = write_options(options);
        let written = write::update(&self.server, &self.user, aim, change, &options).await?;
        Ok(written.object)
    }

    async fn create(
        &self,
        aim: &Aim<'_>,
        object: &Arc<Object>,
        options: &Options,
    ) -> Result<Arc<Object>, Status> {
        let server = &self.server;
        let (namespace, name) = (aim.namespace, aim.name);
        if let Some(binding) = object.downcast_ref::<Binding>() {
            let name = if name.is_empty() {
                binding.metadata.name.as_str()
            } else {
                name
            };
            let options = write_options(options);
            let binding = binding.clone();
            pods::assign(server, &self.user, (namespace, name), binding, &options).await?;
            return Ok(object.clone());
        }
        if let Some(eviction) = object.downcast_ref::<Eviction>() {
            self.evict(aim, eviction, options).await?;
            return Ok(object.clone());
        }
        if let Some(request) = object.downcast_ref::<TokenRequest>() {
            let mut request = Object::from(request.clone());
            self.admit(aim, &mut request, options).await?;
            let request = request
                .downcast::<TokenRequest>()
                .map_err(|_| Status::internal("admission made something else of a request"))?;
            let signed = tokens::sign(server, aim.served, namespace, name, *request).await?;
            return Ok(Arc::new(signed.0));
        }
        if !aim.subresource.is_empty() {
            return Err(Status::method_not_allowed());
        }
        if !aim.served.is_stored() {
            return reviews::review(server, &self.user, namespace, (**object).clone())
                .await
                .map(Arc::new);
        }
        let mut fresh = (**object).clone();
        if fresh.meta().namespace.is_empty() && aim.served.namespaced {
            fresh.meta_mut().namespace = namespace.into();
        }
        let namespace = fresh.meta().namespace.to_string();
        let aim = Aim {
            namespace: if aim.served.namespaced {
                &namespace
            } else {
                ""
            },
            ..aim.clone()
        };
        let written =
            write::create(server, &self.user, &aim, fresh, &write_options(options)).await?;
        conversion::shown(&server.outbound, aim.served, written.object).await
    }

    async fn evict(
        &self,
        aim: &Aim<'_>,
        eviction: &Eviction,
        options: &Options,
    ) -> Result<(), Status> {
        let mut eviction = Object::from(eviction.clone());
        self.admit(aim, &mut eviction, options).await?;
        let eviction = eviction
            .downcast_ref::<Eviction>()
            .ok_or_else(|| Status::internal("admission made something else of an eviction"))?;
        let asked = eviction.delete_options.as_deref();
        let preconditions = asked.and_then(|o| o.preconditions.as_ref());
        let deletion = DeleteOptions {
            dry_run: options.dry_run,
            grace_seconds: asked.and_then(|o| o.grace_period_seconds),
            uid: preconditions
                .and_then(|p| p.uid.as_ref())
                .map(|u| u.to_string()),
            resource_version: preconditions
                .and_then(|p| p.resource_version.as_ref())
                .map(|v| v.to_string()),
            ..DeleteOptions::default()
        };
        let (server, user) = (&self.server, &self.user);
        evict::evict_pod(server, aim.served, user, aim.namespace, aim.name, &deletion).await
    }

    /// Admission of an object of a subresource's own kind.
    async fn admit(
        &self,
        aim: &Aim<'_>,
        object: &mut Object,
        options: &Options,
    ) -> Result<(), Status> {
        let (group, version, kind) = {
            let gvk = object.gvk();
            (
                gvk.group.to_owned(),
                gvk.version.to_owned(),
                gvk.kind.to_owned(),
            )
        };
        let gvk = Gvk {
            group: &group,
            version: &version,
            kind: &kind,
        };
        let options = write_options(options);
        admit::admit_created(&self.server, &self.user, aim, gvk, object, &options).await?;
        Ok(())
    }

    /// A list's path, which names no object.
    fn listed(info: &RequestInfo) -> RequestInfo {
        RequestInfo {
            name: String::new(),
            ..info.clone()
        }
    }

    async fn open(
        &self,
        served: Arc<Served>,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, Status> {
        let watching = watching::open(&self.server, &served, namespace, options).await?;
        let stream =
            futures_util::stream::unfold((watching, served), |(mut watching, served)| async move {
                let event = watching
                    .next()
                    .await
                    .map(|shown| shown_event(&served, shown))?;
                Some((event, (watching, served)))
            });
        Ok(Box::pin(stream))
    }

    fn selection(request: &WatchRequest) -> ListOptions {
        ListOptions {
            label_selector: request.label_selector.clone(),
            field_selector: request.field_selector.clone(),
            resource_version: request
                .revision
                .map(|r| r.0.to_string())
                .unwrap_or_default(),
            ..ListOptions::default()
        }
    }
}

/// What a request sends, for its trail.
fn note_sent(served: &Served, info: &RequestInfo, object: &Object) {
    match info.subresource.is_empty() {
        true => audit::sent(served, object),
        false => audit::sent_plain(object),
    }
}

fn write_options(options: &Options) -> WriteOptions {
    let mut given = Value::Null;
    if !options.field_manager.is_empty() {
        given.set(&["fieldManager"], options.field_manager.as_str());
    }
    WriteOptions {
        admitting: Admitting::Here,
        given,
        dry_run: options.dry_run,
        manager: options.field_manager.clone(),
        force: options.force,
        validation: FieldValidation::Ignore,
    }
}

fn delete_options(options: &Options) -> DeleteOptions {
    DeleteOptions {
        dry_run: options.dry_run,
        grace_seconds: options.grace_period_seconds,
        propagation: options.propagation.map(|p| match p {
            WirePropagation::Orphan => Propagation::Orphan,
            WirePropagation::Background => Propagation::Background,
            WirePropagation::Foreground => Propagation::Foreground,
        }),
        uid: options.preconditions.uid.clone(),
        resource_version: options.preconditions.resource_version.clone(),
    }
}

fn patch_kind(kind: WirePatch) -> PatchKind {
    match kind {
        WirePatch::Json => PatchKind::Json,
        WirePatch::Merge => PatchKind::Merge,
        WirePatch::Strategic => PatchKind::Strategic,
        WirePatch::Apply => PatchKind::Apply,
    }
}

/// The name that a field selector asks for: such a list counts as one about that object, as over HTTP.
fn single_name(field_selector: &str) -> String {
    let selector = corten_meta::FieldSelector::parse(field_selector).unwrap_or_default();
    selector
        .required("metadata.name")
        .unwrap_or_default()
        .to_owned()
}

#[async_trait]
impl Transport for Local {
    async fn call(&self, request: Request) -> Result<Arc<Object>, Error> {
        Ok(self.answer(request).await?)
    }

    async fn list(&self, request: WatchRequest) -> Result<ListAnswer, Error> {
        if let Some(remote) = listing::remote_of(&self.server, &request.resource) {
            let resource = &request.resource;
            let info = RequestInfo {
                verb: "list".into(),
                is_resource: true,
                group: resource.group.to_string(),
                version: resource.version.to_string(),
                namespace: request.namespace.clone(),
                resource: resource.resource.to_string(),
                ..RequestInfo::default()
            };
            self.authorize(&info, &request.field_selector, &request.label_selector)
                .await?;
            return Ok(listing::list(&self.server, &remote, &self.user, &request).await?);
        }
        let served = self.served(&request.resource)?;
        let name = single_name(&request.field_selector);
        let info = self.info(&served, "list", &request.namespace, &name, "");
        let (fields, labels) = (&request.field_selector, &request.label_selector);
        let listing = async {
            self.authorize(&info, fields, labels).await?;
            let selection = Local::selection(&request);
            read::list(&self.server, &served, &request.namespace, &selection).await
        };
        let query = [
            ("fieldSelector", fields.as_str()),
            ("labelSelector", labels.as_str()),
        ];
        let uri = audit::uri(&Local::listed(&info), &query);
        let listed = audit::inside_list(&self.server, &self.user, &info, &uri, listing).await?;
        let mut items = Vec::with_capacity(listed.entries.len());
        for entry in &listed.entries {
            let object = typed::object(entry)?;
            items.push(served.served_version(&object)?.map_or(object, Arc::new));
        }
        Ok(ListAnswer {
            revision: Revision(listed.revision.0),
            items,
        })
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        let served = self.served(&request.resource)?;
        let name = single_name(&request.field_selector);
        let info = self.info(&served, "watch", &request.namespace, &name, "");
        let (fields, labels) = (&request.field_selector, &request.label_selector);
        let mut options = Local::selection(&request);
        options.bookmarks = true;
        if options.resource_version.is_empty() {
            options.resource_version = self.server.store.revision().to_string();
        }
        let opening = async {
            self.authorize(&info, fields, labels).await?;
            self.open(served, &request.namespace, &options).await
        };
        let query = [
            ("allowWatchBookmarks", "true"),
            ("fieldSelector", fields.as_str()),
            ("labelSelector", labels.as_str()),
            ("resourceVersion", options.resource_version.as_str()),
            ("watch", "true"),
        ];
        let uri = audit::uri(&Local::listed(&info), &query);
        Ok(audit::inside_watch(&self.server, &self.user, &info, &uri, opening).await?)
    }
}

fn shown_event(served: &Served, shown: Shown) -> Result<WatchEvent, Error> {
    match shown {
        Shown::Bookmark { revision, .. } => Ok(WatchEvent::Bookmark(Revision(revision.0))),
        Shown::Error(status) => Err(status.into()),
        Shown::Entry {
            kind,
            entry,
            revision,
            ..
        } => {
            let object = typed::object(&entry)?;
            let object = served.served_version(&object)?.map_or(object, Arc::new);
            if kind != EventType::Deleted {
                return Ok(WatchEvent::Applied(object));
            }
            let mut last = (*object).clone();
            last.meta_mut().resource_version = revision.to_string().into();
            Ok(WatchEvent::Deleted(Arc::new(last)))
        }
    }
}
