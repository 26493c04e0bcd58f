//! Objects of built-in kinds as enveloped protobuf.
//! Invariant: apiVersion and kind are in the envelope only; decoding puts them into the struct.

use super::{Envelope, decode_message, encode_message, open_envelope, seal_envelope};
use crate::decoded::{DecodeError, Decoded, Options, complete};
use crate::json::TypeMeta;
use corten_api::{Gvk, Object, Typed, kind_info};
use corten_core::AnyMessage;

/// Decodes an enveloped object. Protobuf has no notion of unknown fields as problems: there are never any.
pub fn decode(bytes: &[u8], options: &Options<'_>) -> Result<Decoded, DecodeError> {
    let Envelope {
        mut type_meta, raw, ..
    } = open_envelope(bytes)?;
    let shown = format!(
        "runtime.TypeMeta{{APIVersion:{:?}, Kind:{:?}}}",
        type_meta.api_version, type_meta.kind
    );
    complete(&mut type_meta, options, || shown.clone())?;
    let object = decode_raw(raw, &type_meta)?;
    Ok(Decoded {
        object,
        problems: Vec::new(),
    })
}

/// Decodes an object without envelope, whose type is known.
pub fn decode_raw(raw: &[u8], type_meta: &TypeMeta) -> Result<Object, DecodeError> {
    let gvk = Gvk::parse(&type_meta.api_version, &type_meta.kind);
    let Some(info) = kind_info(gvk) else {
        return Err(DecodeError::NotProtobuf {
            api_version: type_meta.api_version.clone(),
            kind: type_meta.kind.clone(),
        });
    };
    let mut message = AnyMessage::zero(info.msg());
    decode_message(raw, message.as_mut())?;
    Ok(Object::Typed(
        Typed::new(message, info).expect("a message made from the kind's table"),
    ))
}

/// The type of an enveloped object, without looking at the object.
pub fn peek_kind(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    Ok(open_envelope(bytes)?.type_meta)
}

/// The enveloped protobuf of an object; None for objects without a struct, which have no protobuf form.
pub fn encode(object: &Object) -> Option<Vec<u8>> {
    let raw = encode_message(object.message()?);
    Some(seal_envelope(object.api_version(), object.kind(), &raw))
}

/// The enveloped protobuf as upstream stores it: with an empty resource version. None as for `encode`.
pub fn encode_stored(object: &Object) -> Option<Vec<u8>> {
    let (raw, _) = super::encode_message_with_gap(object.message()?);
    Some(seal_envelope(object.api_version(), object.kind(), &raw))
}
