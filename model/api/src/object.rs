//! `Object`: an object whose kind is known at run time only, a generated struct or a dynamic tree.
//! Invariant: a typed object is of its kind's struct and carries that kind's apiVersion and kind.
//! Leaves out text and bytes, which are the codec's.

use crate::kind::{Gvk, Kind, KindInfo, kind_info};
use crate::meta::v1::ObjectMeta;
use corten_core::{
    AnyMessage, ConvertError, Message, MsgMut, MsgRef, Ref, Slot, Str, Value, ValueMap, from_value,
    to_value,
};

/// An object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A built-in kind.
    Typed(Typed),
    /// A custom resource, or a kind that is not known.
    Dynamic(Box<Dynamic>),
}

/// An object of a built-in kind.
#[derive(Clone)]
pub struct Typed {
    message: AnyMessage,
    info: &'static KindInfo,
}

/// An object without a struct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dynamic {
    /// `stable.example.com/v1`
    pub api_version: Str,
    /// `CronTab`
    pub kind: Str,
    /// The metadata.
    pub metadata: ObjectMeta,
    /// All other members.
    pub body: ValueMap,
}

static NO_META: ObjectMeta = <ObjectMeta as Message>::ZERO;

impl Typed {
    /// A message of the kind's struct; `apiVersion` and `kind` are filled in. None when the message is of another type.
    pub fn new(mut message: AnyMessage, info: &'static KindInfo) -> Option<Typed> {
        if message.msg() != info.msg() {
            return None;
        }
        set_type(message.as_mut(), info);
        Some(Typed { message, info })
    }
    /// The kind.
    pub fn info(&self) -> &'static KindInfo {
        self.info
    }
    /// The struct, seen through its table.
    pub fn as_ref(&self) -> MsgRef<'_> {
        self.message.as_ref()
    }
    /// The struct, to change through its table.
    pub fn as_mut(&mut self) -> MsgMut<'_> {
        self.message.as_mut()
    }
}

/// Fills in the two fields of an embedded TypeMeta, which are the first two.
fn set_type(mut message: MsgMut, info: &'static KindInfo) {
    let first = message.msg().fields.first();
    if first.is_some_and(|f| f.key == "kind" && f.number == 0) {
        for (i, text) in [info.kind, info.api_version].into_iter().enumerate() {
            if let Slot::Str(place) = message.field(i) {
                *place = Str::from_static(text);
            }
        }
    }
}

impl PartialEq for Typed {
    fn eq(&self, other: &Typed) -> bool {
        std::ptr::eq(self.info, other.info) && self.message == other.message
    }
}

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.message.fmt(f)
    }
}

impl<K: Kind> From<K> for Object {
    /// A typed object with `apiVersion` and `kind` filled in.
    fn from(object: K) -> Object {
        Object::from_box(Box::new(object))
    }
}

impl Object {
    /// A zero object of a built-in kind with `apiVersion` and `kind`; None when the kind is not built in.
    pub fn new_for(gvk: Gvk) -> Option<Object> {
        let info = kind_info(gvk)?;
        Typed::new(AnyMessage::zero(info.msg()), info).map(Object::Typed)
    }

    /// A typed object that is boxed already.
    pub fn from_box<K: Kind>(object: Box<K>) -> Object {
        let info = kind_info(K::gvk()).expect("every Kind is in the table of kinds");
        Object::Typed(
            Typed::new(AnyMessage::from_box(object), info)
                .expect("the table of kinds names the struct of the Kind"),
        )
    }

    /// An object of a kind that is not built in, without metadata and body.
    pub fn dynamic(api_version: impl Into<Str>, kind: impl Into<Str>) -> Object {
        Object::Dynamic(Box::new(Dynamic {
            api_version: api_version.into(),
            kind: kind.into(),
            ..Dynamic::default()
        }))
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk<'_> {
        match self {
            Object::Typed(typed) => typed.info.gvk(),
            Object::Dynamic(dynamic) => Gvk::parse(&dynamic.api_version, &dynamic.kind),
        }
    }

    /// `apps/v1`
    pub fn api_version(&self) -> &str {
        match self {
            Object::Typed(typed) => typed.info.api_version,
            Object::Dynamic(dynamic) => &dynamic.api_version,
        }
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        match self {
            Object::Typed(typed) => typed.info.kind,
            Object::Dynamic(dynamic) => &dynamic.kind,
        }
    }

    /// Whether it has an ObjectMeta: lists, options and Status have none.
    pub fn has_meta(&self) -> bool {
        match self {
            Object::Typed(typed) => typed.info.has_meta(),
            Object::Dynamic(_) => true,
        }
    }

    /// The metadata; empty for kinds without.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Object::Dynamic(dynamic) => &dynamic.metadata,
            Object::Typed(typed) => match typed
                .info
                .metadata()
                .map(|i| typed.message.as_ref().field(i))
            {
                Some(Ref::Msg(meta)) => meta.downcast().unwrap_or(&NO_META),
                _ => &NO_META,
            },
        }
    }

    /// The metadata, to change.
    ///
    /// # Panics
    /// When the kind has none (see `has_meta`): only objects of resources have their metadata changed.
    pub fn meta_mut(&mut self) -> &mut ObjectMeta {
        let kind = self.kind().to_owned();
        self.try_meta_mut()
            .unwrap_or_else(|| panic!("{kind} has no ObjectMeta to change"))
    }

    /// The metadata, to change, when the kind has one.
    pub fn try_meta_mut(&mut self) -> Option<&mut ObjectMeta> {
        match self {
            Object::Dynamic(dynamic) => Some(&mut dynamic.metadata),
            Object::Typed(typed) => {
                let index = typed.info.metadata()?;
                typed.message.as_mut().into_field(index)?.downcast()
            }
        }
    }

    /// The built-in kind, when it is one.
    pub fn info(&self) -> Option<&'static KindInfo> {
        if let Object::Typed(typed) = self {
            Some(typed.info)
        } else {
            None
        }
    }

    /// The struct seen through its table, for built-in kinds.
    pub fn message(&self) -> Option<MsgRef<'_>> {
        if let Object::Typed(typed) = self {
            Some(typed.as_ref())
        } else {
            None
        }
    }

    /// The struct to change through its table, for built-in kinds.
    pub fn message_mut(&mut self) -> Option<MsgMut<'_>> {
        if let Object::Typed(typed) = self {
            Some(typed.as_mut())
        } else {
            None
        }
    }

    /// The dynamic object, when it is one.
    pub fn as_dynamic(&self) -> Option<&Dynamic> {
        if let Object::Dynamic(dynamic) = self {
            Some(dynamic)
        } else {
            None
        }
    }

    /// The dynamic object to change, when it is one.
    pub fn as_dynamic_mut(&mut self) -> Option<&mut Dynamic> {
        if let Object::Dynamic(dynamic) = self {
            Some(dynamic)
        } else {
            None
        }
    }

    /// The struct, when it is of that type (also `PodList`, `Status` and other messages that are no `Kind`).
    pub fn downcast_ref<M: Message>(&self) -> Option<&M> {
        self.message()?.downcast()
    }

    /// The struct to change, when it is of that type.
    pub fn downcast_mut<M: Message>(&mut self) -> Option<&mut M> {
        self.message_mut()?.downcast()
    }

    /// The struct itself, or the object back.
    pub fn downcast<M: Message>(self) -> Result<Box<M>, Object> {
        match self {
            Object::Typed(Typed { message, info }) => message
                .downcast()
                .map_err(|message| Object::Typed(Typed { message, info })),
            dynamic => Err(dynamic),
        }
    }

    /// The object as a value, with `apiVersion` and `kind`. Fails only when raw JSON text inside is not JSON.
    pub fn to_value(&self) -> Result<Value, ConvertError> {
        match self {
            Object::Typed(typed) => typed.as_ref().to_value(),
            Object::Dynamic(dynamic) => {
                let mut map = dynamic.body.clone();
                map.insert("apiVersion", dynamic.api_version.clone());
                map.insert("kind", dynamic.kind.clone());
                map.insert("metadata", to_value(&dynamic.metadata)?);
                Ok(Value::Map(map))
            }
        }
    }

    /// The object that a value's `apiVersion` and `kind` name; members that its type does not have are ignored.
    pub fn from_value(value: &Value) -> Result<Object, ConvertError> {
        Object::from_value_strict(value, &mut Vec::new())
    }

    /// As `from_value`; the paths of members that the type does not have are added to `unknown`.
    pub fn from_value_strict(
        value: &Value,
        unknown: &mut Vec<String>,
    ) -> Result<Object, ConvertError> {
        let (api_version, kind) = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
        let Some(info) = kind_info(Gvk::parse(api_version, kind)) else {
            return dynamic_from(value);
        };
        let mut message = AnyMessage::zero(info.msg());
        message.as_mut().merge_value(value, unknown)?;
        set_type(message.as_mut(), info);
        Ok(Object::Typed(Typed { message, info }))
    }

    /// Upstream's `Semantic.DeepEqual`: nil and empty lists, maps and bytes are equal.
    pub fn semantic_eq(&self, other: &Object) -> bool {
        match (self, other) {
            (Object::Typed(a), Object::Typed(b)) => a.as_ref().semantic_eq(b.as_ref()),
            (Object::Dynamic(a), Object::Dynamic(b)) => {
                (&a.api_version, &a.kind, &a.body) == (&b.api_version, &b.kind, &b.body)
                    && corten_core::semantic_eq(&a.metadata, &b.metadata)
            }
            _ => false,
        }
    }

    /// Bytes on the heap that the object holds, roughly.
    pub fn heap_size(&self) -> usize {
        match self {
            Object::Typed(typed) => {
                typed.as_ref().msg().size() + corten_core::ops::heap_size(typed.as_ref())
            }
            Object::Dynamic(dynamic) => {
                size_of::<Dynamic>()
                    + corten_core::ops::heap_size(MsgRef::new(&dynamic.metadata))
                    + map_size(&dynamic.body)
            }
        }
    }
}

fn dynamic_from(value: &Value) -> Result<Object, ConvertError> {
    let Value::Map(map) = value else {
        return Err(ConvertError {
            path: String::new(),
            message: format!("expected an object, got {}", value.type_name()),
        });
    };
    let mut body = map.clone();
    let mut text = |key: &str| match body.remove(key) {
        None | Some(Value::Null) => Ok(Str::EMPTY),
        Some(Value::Str(text)) => Ok(text),
        Some(other) => Err(ConvertError {
            path: key.into(),
            message: format!("expected a string, got {}", other.type_name()),
        }),
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let metadata = body.remove("metadata").unwrap_or_default();
    let metadata = from_value(&metadata).map_err(|e| ConvertError {
        path: format!("metadata.{}", e.path),
        message: e.message,
    })?;
    Ok(Object::Dynamic(Box::new(Dynamic {
        api_version,
        kind,
        metadata,
        body,
    })))
}

fn map_size(map: &ValueMap) -> usize {
    map.iter()
        .map(|(k, v)| size_of::<(Str, Value)>() + k.heap_size() + value_size(v))
        .sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.heap_size(),
        Value::List(list) => list
            .iter()
            .map(|v| size_of::<Value>() + value_size(v))
            .sum(),
        Value::Map(map) => map_size(map),
        _ => 0,
    }
}
