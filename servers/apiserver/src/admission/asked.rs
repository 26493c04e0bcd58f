//! One request as configured admission sees it: under the names the client used, with its objects in whatever version a
//! webhook or policy asks for.

use std::sync::Arc;

use corten_access::UserInfo;
use corten_access::admission::Operation;
use corten_api::Object;
use corten_api::core::v1::Namespace;
use corten_client::{Cause, Status, Target};
use corten_core::{Map, Str, Value};
use corten_meta::{GroupVersionKind, GroupVersionResource};

use super::configured::Configured;
use crate::authorization::Rights;
use crate::catalog::Served;
use crate::decode;
use crate::server::Server;
use crate::typed::View;

/// What the objects of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Objects of the resource, in the version they are stored in.
    Resource,
    /// Objects of another kind (scale, eviction, options of a stream), in the one version they have.
    Own,
}

/// One request.
pub(crate) struct Asked<'a> {
    pub server: &'a Server,
    pub view: &'a View,
    /// Who decides what else users may do.
    pub rights: &'a Rights,
    pub user: &'a UserInfo,
    pub served: &'a Arc<Served>,
    pub subject: Subject,
    pub operation: Operation,
    /// What the client sent.
    pub kind: GroupVersionKind,
    pub resource: GroupVersionResource,
    pub subresource: &'a str,
    /// Of a namespace, its own name.
    pub namespace: String,
    /// Empty while it is to be generated.
    pub name: String,
    pub dry_run: bool,
    /// CreateOptions, UpdateOptions, DeleteOptions; null for streams.
    pub options: Value,
    pub old: Option<&'a Object>,
}

impl Asked<'_> {
    /// The webhooks and policies that the request sees.
    pub(super) fn configured(&self) -> Arc<(u64, Configured)> {
        let server = self.server;
        server.configurations.of(self.view, &server.config.told)
    }

    /// As requests name the operation.
    pub(crate) fn verb(&self) -> &'static str {
        match self.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }

    /// The labels of the request's namespace: a namespace being written has those it is about to have.
    pub(crate) fn namespace_labels(&self, object: Option<&Object>) -> Result<Map<Str>, Status> {
        let written = matches!(self.operation, Operation::Create | Operation::Update);
        if self.resource.resource == "namespaces" && self.subresource.is_empty() && written {
            return Ok(object.map(|o| o.meta().labels.clone()).unwrap_or_default());
        }
        self.namespace_object()
            .map(|n| n.metadata.labels.clone())
            .ok_or_else(|| {
                Status::not_found(Target {
                    group: "",
                    resource: "namespaces",
                    name: &self.namespace,
                })
            })
    }

    /// The request's namespace as it is stored.
    pub(crate) fn namespace_object(&self) -> Option<&Namespace> {
        self.view.snapshot.get::<Namespace>("", &self.namespace)
    }

    /// The resource itself and those under which the same objects are served too, with their kinds.
    pub(crate) fn equivalents(&self) -> Vec<(GroupVersionResource, GroupVersionKind)> {
        let catalog = self.server.catalog();
        let same = |served: &&Arc<Served>| {
            served.storage.as_str() == self.served.storage.as_str()
                && (self.subresource.is_empty() || served.subresource(self.subresource).is_some())
        };
        let named = |served: &Arc<Served>| {
            let kind = match served.subresource(self.subresource) {
                Some(sub) => GroupVersionKind::new(
                    sub.group.as_str(),
                    sub.version.as_str(),
                    sub.kind.as_str(),
                ),
                None => served.group_version_kind(),
            };
            (served.group_version_resource(), kind)
        };
        catalog.all().iter().filter(same).map(named).collect()
    }

    /// An object of the request in the version that a resource has it in.
    pub(crate) fn shown(
        &self,
        object: &Object,
        resource: &GroupVersionResource,
    ) -> Result<Option<Object>, Status> {
        if self.subject == Subject::Own {
            return Ok(None);
        }
        self.served_as(resource)?.served_version(object)
    }

    pub(super) fn served_as(&self, resource: &GroupVersionResource) -> Result<Arc<Served>, Status> {
        if *resource == self.resource {
            return Ok(self.served.clone());
        }
        self.server
            .catalog()
            .find(&resource.group, &resource.version, &resource.resource)
            .cloned()
            .ok_or_else(|| {
                Status::internal(format!("unable to convert to {resource}: unknown kind"))
            })
    }

    /// The object that a value in a resource's version stands for, defaulted, in the version that is stored.
    pub(crate) fn stored(
        &self,
        value: &Value,
        resource: &GroupVersionResource,
    ) -> Result<Object, Status> {
        if self.subject == Subject::Own {
            return Object::from_value(value).map_err(Status::internal);
        }
        let served = self.served_as(resource)?;
        let (mut object, _) = decode::value_object(&served, value).map_err(Status::internal)?;
        served.default(&mut object);
        served.to_storage(object)
    }

    /// What a refusal names, also while the name is to be generated.
    pub(crate) fn refused_name(&self, object: Option<&Object>) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let meta = object.filter(|o| o.has_meta()).map(|o| o.meta());
        match meta {
            Some(meta) if !meta.name.is_empty() => meta.name.to_string(),
            Some(meta) if !meta.generate_name.is_empty() => meta.generate_name.to_string(),
            _ => "Unknown".to_owned(),
        }
    }

    /// 403 about the request's object.
    pub(crate) fn forbidden(&self, object: Option<&Object>, why: &str) -> Status {
        let name = self.refused_name(object);
        Status::forbidden(
            Target {
                group: &self.resource.group,
                resource: &self.resource.resource,
                name: &name,
            },
            why,
        )
    }

    /// The same with a reason, its code and a cause: how policies refuse.
    pub(crate) fn denied(&self, object: Option<&Object>, why: &str, reason: &str) -> Status {
        let mut status = self.forbidden(object, why);
        status.reason = reason.to_owned();
        status.code = match reason {
            "Forbidden" => 403,
            "Unauthorized" => 401,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                message: why.to_owned(),
                ..Cause::default()
            });
        }
        status
    }
}
