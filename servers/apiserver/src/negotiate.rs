//! Content negotiation: which encoding and which shape (object, Table, PartialObjectMetadata) an answer takes, and
//! what a body is written in. Left out: CBOR (not served, as with upstream's default gates).

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};

use crate::info::Query;

/// An encoding on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Media {
    /// The content type of whole answers.
    pub fn content_type(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Yaml => "application/yaml",
            Media::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The content type of watch streams.
    pub fn stream_type(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Yaml => "application/yaml",
            Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// The shape an answer is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As it is.
    Plain,
    /// meta.k8s.io/v1 Table.
    Table,
    /// meta.k8s.io/v1 PartialObjectMetadata.
    Partial,
    /// meta.k8s.io/v1 PartialObjectMetadataList.
    PartialList,
}

/// What the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Encoding.
    pub media: Media,
    /// Shape.
    pub shape: Shape,
    /// Indented JSON.
    pub pretty: bool,
    /// gzip may be used.
    pub gzip: bool,
}

struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = header
        .split(',')
        .filter_map(|text| {
            let mut parts = text.split(';').map(str::trim);
            let (kind, subtype) = parts.next()?.split_once('/')?;
            let params: Vec<_> = parts
                .filter_map(|p| p.split_once('='))
                .map(|(k, v)| (k.trim(), v.trim().trim_matches('"')))
                .collect();
            let quality = params
                .iter()
                .find(|(k, _)| *k == "q")
                .and_then(|(_, v)| v.parse().ok())
                .unwrap_or(1.0);
            Some(Clause {
                kind,
                subtype,
                params,
                quality,
            })
        })
        .collect();
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    out
}

/// Chooses the answer's form. `transforms` tells whether Table and PartialObjectMetadata can be made of it, `protobuf`
/// whether the kind has it. `Err` = 406.
pub fn accept(headers: &HeaderMap, query: &Query, transforms: Transforms) -> Result<Accepted, ()> {
    let header = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let gzip = headers
        .get(ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| {
            v.split(',')
                .any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip"))
        });
    let agent = headers
        .get(http::header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let pretty = match query.get("pretty") {
        Some(value) => value != "false" && value != "0",
        None => ["curl", "Wget", "Mozilla/5.0"]
            .iter()
            .any(|p| agent.starts_with(p)),
    };
    let list = if header.is_empty() {
        vec![]
    } else {
        clauses(header)
    };
    if list.is_empty() {
        return Ok(Accepted {
            media: Media::Json,
            shape: Shape::Plain,
            pretty,
            gzip,
        });
    }
    for clause in &list {
        let Some(media) = media_of(clause) else {
            continue;
        };
        if media == Media::Protobuf && transforms == Transforms::JsonOnly {
            continue;
        }
        let Some(shape) = shape_of(clause, transforms) else {
            continue;
        };
        let explicit = clause
            .params
            .iter()
            .any(|(k, v)| *k == "pretty" && *v == "1");
        return Ok(Accepted {
            media,
            shape,
            pretty: pretty || explicit,
            gzip,
        });
    }
    Err(())
}

/// Whether the Accept header names any encoding there is.
pub fn names_known_media(headers: &HeaderMap) -> bool {
    let header = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    clauses(header)
        .iter()
        .any(|clause| media_of(clause).is_some())
}

/// What may become of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transforms {
    /// Nothing: discovery, Status, subresources of other kinds.
    None,
    /// Table and PartialObjectMetadata, all encodings.
    All,
    /// Table and PartialObjectMetadata; no protobuf (custom resources).
    JsonOnly,
}

fn media_of(clause: &Clause<'_>) -> Option<Media> {
    match (clause.kind, clause.subtype) {
        ("*", "*") | ("application", "*" | "json") => Some(Media::Json),
        ("application", "yaml") => Some(Media::Yaml),
        ("application", "vnd.kubernetes.protobuf") => Some(Media::Protobuf),
        _ => None,
    }
}

fn shape_of(clause: &Clause<'_>, transforms: Transforms) -> Option<Shape> {
    let get = |name: &str| {
        clause
            .params
            .iter()
            .find(|(k, _)| *k == name)
            .map(|(_, v)| *v)
    };
    let Some(kind) = get("as") else {
        return Some(Shape::Plain);
    };
    if transforms == Transforms::None || get("g") != Some("meta.k8s.io") || get("v") != Some("v1") {
        return None;
    }
    match kind {
        "Table" => Some(Shape::Table),
        "PartialObjectMetadata" => Some(Shape::Partial),
        "PartialObjectMetadataList" => Some(Shape::PartialList),
        _ => None,
    }
}

/// The encoding of a request's body. `Err` = 415 with the given type.
pub fn body_media(headers: &HeaderMap) -> Result<Media, String> {
    let header = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    match header.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Media::Protobuf),
        other => Err(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, transforms: Transforms, expected: Result<(Media, Shape), ()>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        let got = accept(&headers, &Query::default(), transforms).map(|a| (a.media, a.shape));
        assert_eq!(got, expected, "{header}");
    }

    #[test]
    fn kubectl_get() {
        let header = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(header, Transforms::All, Ok((Media::Json, Shape::Table)));
        check(header, Transforms::None, Ok((Media::Json, Shape::Plain)));
    }

    #[test]
    fn protobuf_first() {
        let header = "application/vnd.kubernetes.protobuf,application/json";
        check(header, Transforms::All, Ok((Media::Protobuf, Shape::Plain)));
        check(
            header,
            Transforms::JsonOnly,
            Ok((Media::Json, Shape::Plain)),
        );
        check(
            "application/vnd.kubernetes.protobuf",
            Transforms::JsonOnly,
            Err(()),
        );
        check("text/html", Transforms::All, Err(()));
        check("*/*", Transforms::All, Ok((Media::Json, Shape::Plain)));
    }
}
