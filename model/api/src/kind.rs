//! Kinds: what a struct that is a kind says about itself, and the look-up from group, version and kind to its table.
//! Invariant: the table of kinds ascends by group, version and kind.

use crate::meta::v1::ObjectMeta;
use corten_core::{Message, Msg, Str};
use std::fmt;

/// Group, version and kind, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk<'a> {
    /// `apps`; empty for the core group.
    pub group: &'a str,
    /// `v1`
    pub version: &'a str,
    /// `Deployment`
    pub kind: &'a str,
}

impl<'a> Gvk<'a> {
    /// From the two fields of an object.
    pub fn parse(api_version: &'a str, kind: &'a str) -> Gvk<'a> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Gvk {
            group,
            version,
            kind,
        }
    }
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl fmt::Display for Gvk<'_> {
    /// As Go prints it: `apps/v1, Kind=Deployment`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.group.is_empty() {
            write!(f, "{}/", self.group)?;
        }
        write!(f, "{}, Kind={}", self.version, self.kind)
    }
}

/// A struct that is a kind with `ObjectMeta`.
pub trait Kind: Message + Default + Clone + PartialEq + fmt::Debug {
    /// API group, empty for core.
    const GROUP: &'static str;
    /// API version.
    const VERSION: &'static str;
    /// `apps/v1`
    const API_VERSION: &'static str;
    /// The kind.
    const KIND: &'static str;
    /// The resource that serves it, empty for kinds that only occur in subresources and bodies.
    const PLURAL: &'static str;
    /// Whether that resource is namespaced.
    const NAMESPACED: bool;

    /// The metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// The fields `apiVersion` and `kind`.
    fn type_meta_mut(&mut self) -> (&mut Str, &mut Str);

    /// Group, version and kind.
    fn gvk() -> Gvk<'static> {
        Gvk {
            group: Self::GROUP,
            version: Self::VERSION,
            kind: Self::KIND,
        }
    }
    /// A zero object with `apiVersion` and `kind`.
    fn new() -> Self {
        Self::default().with_type()
    }
    /// The object with `apiVersion` and `kind` filled in.
    fn with_type(mut self) -> Self {
        let (api_version, kind) = self.type_meta_mut();
        (*api_version, *kind) = (
            Str::from_static(Self::API_VERSION),
            Str::from_static(Self::KIND),
        );
        self
    }
    /// A new object with a name.
    fn named(name: &str) -> Self {
        let mut object = Self::new();
        object.meta_mut().name = name.into();
        object
    }
    /// A new object with namespace and name.
    fn namespaced(namespace: &str, name: &str) -> Self {
        let mut object = Self::named(name);
        object.meta_mut().namespace = namespace.into();
        object
    }
}

/// Implements `Kind`.
macro_rules! kind {
    ($type:ident $group:literal $version:literal $api_version:literal $plural:literal $namespaced:literal) => {
        impl $crate::Kind for $type {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const API_VERSION: &'static str = $api_version;
            const KIND: &'static str = stringify!($type);
            const PLURAL: &'static str = $plural;
            const NAMESPACED: bool = $namespaced;
            #[inline]
            fn meta(&self) -> &$crate::meta::v1::ObjectMeta {
                &self.metadata
            }
            #[inline]
            fn meta_mut(&mut self) -> &mut $crate::meta::v1::ObjectMeta {
                &mut self.metadata
            }
            #[inline]
            fn type_meta_mut(&mut self) -> (&mut corten_core::Str, &mut corten_core::Str) {
                (&mut self.api_version, &mut self.kind)
            }
        }
    };
}
pub(crate) use kind;

/// What is known about a built-in kind, lists and options included.
#[derive(Debug)]
pub struct KindInfo {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// `apps/v1`
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Whether it is a list with `items`.
    pub list: bool,
    msg: fn() -> &'static Msg,
    /// Index of the `metadata` field that is an ObjectMeta, or 255.
    metadata: u8,
}

impl KindInfo {
    pub(crate) const fn new<M: Message>(
        group: &'static str,
        version: &'static str,
        api_version: &'static str,
        kind: &'static str,
        metadata: u8,
        list: bool,
    ) -> KindInfo {
        KindInfo {
            group,
            version,
            api_version,
            kind,
            list,
            msg: M::msg,
            metadata,
        }
    }

    /// The table of its struct.
    pub fn msg(&self) -> &'static Msg {
        (self.msg)()
    }
    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk<'static> {
        Gvk {
            group: self.group,
            version: self.version,
            kind: self.kind,
        }
    }
    /// Index in `msg().fields` of the metadata, for kinds with an ObjectMeta.
    pub(crate) fn metadata(&self) -> Option<usize> {
        (self.metadata != 255).then_some(self.metadata as usize)
    }
    /// Whether it has an ObjectMeta.
    pub fn has_meta(&self) -> bool {
        self.metadata != 255
    }
}

/// All built-in kinds, ascending by group, version and kind.
pub fn kinds() -> &'static [KindInfo] {
    crate::generated::kinds::KINDS
}

/// The built-in kind, if there is one. Options and WatchEvent are known in every group and version.
pub fn kind_info(gvk: Gvk) -> Option<&'static KindInfo> {
    let find = |wanted: Gvk| {
        let at = kinds().binary_search_by(|k| {
            (k.group, k.version, k.kind).cmp(&(wanted.group, wanted.version, wanted.kind))
        });
        at.ok().map(|i| &kinds()[i])
    };
    find(gvk).or_else(|| match gvk.kind {
        "ListOptions" | "GetOptions" | "DeleteOptions" | "CreateOptions" | "UpdateOptions"
        | "PatchOptions" | "ApplyOptions" | "WatchEvent" => find(Gvk {
            group: "",
            version: "v1",
            kind: gvk.kind,
        }),
        _ => None,
    })
}
