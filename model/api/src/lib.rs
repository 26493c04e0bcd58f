//! Generated structs of every Kubernetes kind and the schema facts about them.
//!
//! Structs are plain data under `corten_api::<group>::<version>`, with Go's fields in snake case (`type` is `type_`):
//!
//! ```
//! use corten_api::{Kind, Object, core::v1::{Container, Pod}};
//! let mut pod = Pod::namespaced("default", "web");
//! pod.spec.containers.push(Container { name: "main".into(), image: "nginx:1".into(), ..Container::default() });
//! let object = Object::from(pod);
//! assert_eq!(object.gvk().to_string(), "v1, Kind=Pod");
//! assert_eq!(object.downcast_ref::<Pod>().map(|p| p.spec.containers[0].image.as_str()), Some("nginx:1"));
//! assert_eq!(Pod::PLURAL, "pods");
//! ```

mod generated;
mod kind;
mod meta_ext;
mod object;
mod served;

pub use generated::families::{
    admission, admissionregistration, apidiscovery, apiextensions, apiregistration,
    apiserverinternal, apps, audit, authentication, authorization, autoscaling, batch,
    certificates, coordination, core, discovery, events, extensions, flowcontrol, imagepolicy,
    meta, metrics, networking, node, policy, rbac, resource, scheduling, storage, storagemigration,
};
pub use kind::{Gvk, Kind, KindInfo, kind_info, kinds};
pub use object::{Dynamic, Object, Typed};
pub use served::{Group, Resource, Subresource, groups, resource_of, resource_of_kind, resources};
