//! From objects to bytes: single objects, lists of shared item bytes, watch events and refusals, in every encoding and
//! shape. Invariant: an object of the storage version is encoded at most once per format while the bytes stay cached.

mod list;
mod listing;
mod shape;
mod spliced;
mod stream;

pub(crate) use list::{list, objects};
pub(crate) use listing::Listing;
pub(crate) use stream::{EventType, bookmark, error_event, event};

use bytes::Bytes;
use corten_api::Object;
use corten_client::Status;
use corten_codec::protobuf::{Layout, Stamped};
use corten_codec::{json, protobuf, yaml};
use corten_core::{List, MsgRef, Time};
use corten_store::{Encoding, Entry};

use crate::body::Answer;
use crate::catalog::Served;
use crate::negotiate::{Accepted, Media, MetaVersion, Shape};
use crate::typed;

/// What rows of a Table carry beside their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Whole,
}

/// How an answer is to look.
#[derive(Clone)]
pub(crate) struct Form {
    pub media: Media,
    pub shape: Shape,
    pub pretty: bool,
    pub include: Include,
    pub columns: Columns,
    pub version: MetaVersion,
    pub now: Time,
}

/// Whether a Table says what its columns are; the later ones of a watch do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    Shown,
    Known,
}

impl Form {
    pub(crate) fn new(_served: &Served, accepted: Accepted, now: Time) -> Form {
        Form {
            media: accepted.media,
            shape: accepted.shape,
            pretty: accepted.pretty,
            include: Include::Metadata,
            columns: Columns::Shown,
            version: accepted.version,
            now,
        }
    }

    /// With the `includeObject` parameter of Table requests; what it may not be is refused.
    pub(crate) fn including(mut self, parameter: Option<&str>) -> Result<Form, Status> {
        self.include = match parameter {
            None | Some("" | "Metadata") => Include::Metadata,
            Some("None") => Include::Nothing,
            Some("Object") => Include::Whole,
            Some(other) if self.shape == Shape::Table => {
                return Err(Status::bad_request(format!(
                    "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: \
                     must be 'Metadata', 'Object', 'None', or empty"
                )));
            }
            Some(_) => Include::Metadata,
        };
        Ok(self)
    }
}

/// The number under which an encoding of a version is cached.
fn encoding(served: &Served, media: Media) -> Encoding {
    let format = match media {
        Media::Json | Media::Yaml => 0,
        Media::Protobuf => 1,
    };
    Encoding(served.version_number() << 4 | format)
}

/// What is stored: a protobuf envelope for built-in kinds, JSON for the rest.
pub(crate) fn stored(_served: &Served, object: &Object) -> Result<Bytes, Status> {
    kept(object)
}

/// As [`stored`], also of what is not served.
pub(crate) fn kept(object: &Object) -> Result<Bytes, Status> {
    Ok(match object.message() {
        Some(message) => {
            let raw = protobuf::encode_message(message);
            protobuf::seal_envelope(object.api_version(), object.kind(), &raw).into()
        }
        None => json::encode_value(&object.to_value().map_err(Status::internal)?).into(),
    })
}

/// The JSON of an object, `kind` and `apiVersion` first for built-in kinds.
pub(crate) fn json_bytes(object: &Object) -> Result<Bytes, Status> {
    let made = match object.message() {
        Some(message) => json::encode_message(message),
        None => json::encode_value(&object.to_value().map_err(Status::internal)?),
    };
    // Without the room that growing has left: most are kept for later readers.
    Ok(Bytes::copy_from_slice(&made))
}

/// The protobuf of an object without envelope.
fn raw_bytes(object: &Object) -> Result<Bytes, Status> {
    match object.message() {
        Some(message) => Ok(protobuf::encode_message(message).into()),
        None => Err(Status::not_acceptable(&[
            "application/json",
            "application/yaml",
        ])),
    }
}

/// A stored object as its protobuf is shown, if that is made of the stored bytes: it is stored in the version that is
/// shown.
fn stamped<T>(
    served: &Served,
    version: &str,
    entry: &Entry,
    then: impl FnOnce(&Stamped<'_>) -> T,
) -> Result<Option<T>, Status> {
    let stored = entry.stored().map_err(Status::internal)?;
    let mut digits = [0; 20];
    let revision = decimal(entry.mod_revision().0, &mut digits);
    // Objects are stored under one kind and version: a layout that is known is of this one.
    let known = entry.note().map(|note| Layout::unpacked(note.get()));
    if let Some(layout) = known
        && let Some(stamped) = Stamped::laid_out(&stored, layout, revision)
    {
        return Ok(Some(then(&stamped)));
    }
    let stamped = Stamped::new(&stored, (version, &served.kind), revision);
    if let Some(layout) = stamped.and_then(|stamped| stamped.layout(&stored)) {
        entry.keep_note(layout.packed());
    }
    Ok(stamped.map(|stamped| then(&stamped)))
}

/// How long a stored object's protobuf is, if that is known already.
fn stamped_size(entry: &Entry) -> Option<usize> {
    let note = entry.note()?;
    Some(Layout::unpacked(note.get()).size as usize)
}

/// A number in decimal.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}

/// The bytes of an entry: whole JSON, or protobuf without envelope. What had to be encoded is kept at hand.
fn entry_bytes(served: &Served, media: Media, entry: &Entry) -> Result<Bytes, Status> {
    if media == Media::Protobuf && served.is_shown_as_stored() {
        let made = stamped(served, &served.api_version(), entry, |stamped| {
            let mut out = Vec::with_capacity(stamped.size());
            stamped.write(&mut out);
            Bytes::from(out)
        })?;
        if let Some(made) = made {
            return Ok(made);
        }
    }
    if media != Media::Protobuf
        && let Some(bytes) = spliced::spliced(served, entry)?
    {
        return Ok(bytes);
    }
    let make = |entry: &Entry| {
        let object = typed::passing(entry)?;
        let converted = served.served_version(&object)?;
        let object = converted.as_ref().unwrap_or(&object);
        match media {
            Media::Protobuf => raw_bytes(object),
            _ => json_bytes(object),
        }
    };
    match served.conversion() {
        // What a webhook says may change.
        Some(_) => make(entry),
        None if served.is_custom() && entry.encoded(encoding(served, media)).is_none() => {
            let made = make(entry)?;
            match media != Media::Protobuf && spliced::remember(served, entry, &made) {
                true => Ok(made),
                false => entry.encoded_or(encoding(served, media), |_| Ok(made)),
            }
        }
        None => entry.encoded_or(encoding(served, media), make),
    }
}

/// One stored object as an answer.
pub(crate) fn entry(served: &Served, form: &Form, entry: &Entry) -> Result<Answer, Status> {
    if form.shape != Shape::Plain {
        return shape::one(served, form, &*typed::object(entry)?);
    }
    let bytes = entry_bytes(served, form.media, entry)?;
    plain(served, form, bytes)
}

/// One object as an answer.
pub(crate) fn object(served: &Served, form: &Form, object: &Object) -> Result<Answer, Status> {
    if form.shape != Shape::Plain {
        return shape::one(served, form, object);
    }
    let converted = if object.gvk() == served.group_version_kind_ref() {
        None
    } else {
        served.served_version(object)?
    };
    any_object(form, converted.as_ref().unwrap_or(object))
}

/// An object of any kind, as it is.
pub(crate) fn any_object(form: &Form, object: &Object) -> Result<Answer, Status> {
    let bytes = match form.media {
        Media::Protobuf => {
            protobuf::seal_envelope(object.api_version(), object.kind(), &raw_bytes(object)?).into()
        }
        _ => json_bytes(object)?,
    };
    Ok(text(form, bytes))
}

fn plain(served: &Served, form: &Form, bytes: Bytes) -> Result<Answer, Status> {
    Ok(match form.media {
        Media::Protobuf => {
            protobuf::seal_envelope(&served.api_version(), &served.kind, &bytes).into()
        }
        _ => text(form, bytes),
    })
}

/// JSON as it is, indented, or as YAML; protobuf untouched.
pub(super) fn text(form: &Form, bytes: Bytes) -> Answer {
    match form.media {
        Media::Yaml => match json::decode_value(&bytes) {
            Ok(value) => yaml::encode_value(&value).into(),
            Err(_) => Answer::Whole(bytes),
        },
        Media::Json if form.pretty => match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(value) => serde_json::to_vec_pretty(&value)
                .unwrap_or_else(|_| bytes.to_vec())
                .into(),
            Err(_) => Answer::Whole(bytes),
        },
        Media::Json => {
            let mut pieces = std::collections::VecDeque::with_capacity(2);
            pieces.push_back(bytes);
            pieces.push_back(Bytes::from_static(b"\n"));
            Answer::pieces(pieces)
        }
        Media::Protobuf => Answer::Whole(bytes),
    }
}

/// A refusal (or the answer to a deletion).
pub(crate) fn status(status: &Status, media: Media) -> Vec<u8> {
    let wire = wire_status(status);
    let message = MsgRef::new(&wire);
    match media {
        Media::Json => {
            let mut out = json::encode_message(message);
            out.push(b'\n');
            out
        }
        Media::Yaml => match json::decode_value(&json::encode_message(message)) {
            Ok(value) => yaml::encode_value(&value),
            Err(_) => json::encode_message(message),
        },
        Media::Protobuf => {
            protobuf::seal_envelope("v1", "Status", &protobuf::encode_message(message))
        }
    }
}

/// The API's own Status.
pub(crate) fn wire_status(status: &Status) -> corten_api::meta::v1::Status {
    use corten_api::meta::v1::{self as meta, StatusCause, StatusDetails};
    let details = status.details.as_ref().map(|d| {
        let causes: List<StatusCause> = d
            .causes
            .iter()
            .map(|c| StatusCause {
                type_: c.reason.as_str().into(),
                message: c.message.as_str().into(),
                field: c.field.as_str().into(),
            })
            .collect();
        Box::new(StatusDetails {
            name: d.name.as_str().into(),
            group: d.group.as_str().into(),
            kind: d.kind.as_str().into(),
            uid: d.uid.as_str().into(),
            causes: if d.causes.is_empty() {
                List::default()
            } else {
                causes
            },
            retry_after_seconds: d.retry_after_seconds,
        })
    });
    let mut wire = meta::Status {
        kind: "Status".into(),
        api_version: "v1".into(),
        status: if status.code < 300 {
            "Success"
        } else {
            "Failure"
        }
        .into(),
        message: status.message.as_str().into(),
        reason: status.reason.as_str().into(),
        details,
        code: if status.code == 200 {
            0
        } else {
            i32::from(status.code)
        },
        ..meta::Status::default()
    };
    wire.metadata.continue_ = status.continue_token.as_str().into();
    wire
}
