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

/// The version of meta.k8s.io a shape is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetaVersion {
    /// v1.
    #[default]
    V1,
    /// v1beta1, the same in all but its name.
    V1Beta1,
}

impl MetaVersion {
    /// The apiVersion.
    pub fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// What the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Encoding.
    pub media: Media,
    /// Shape.
    pub shape: Shape,
    /// The version of the shape.
    pub version: MetaVersion,
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
    let mut accepted = Accepted {
        media: Media::Json,
        shape: Shape::Plain,
        version: MetaVersion::V1,
        pretty: pretty(headers, query),
        gzip: takes_gzip(headers),
    };
    let list = clauses(header);
    if list.is_empty() {
        return if header.trim().is_empty() {
            Ok(accepted)
        } else {
            Err(())
        };
    }
    for clause in &list {
        let Some(media) = media_of(clause) else {
            continue;
        };
        if media == Media::Protobuf && transforms == Transforms::JsonOnly {
            continue;
        }
        let Some((shape, version)) = shape_of(clause, media, transforms) else {
            continue;
        };
        accepted.media = media;
        accepted.shape = shape;
        accepted.version = version;
        accepted.pretty |= clause
            .params
            .iter()
            .any(|(k, v)| *k == "pretty" && *v == "1");
        return Ok(accepted);
    }
    Err(())
}

/// Whether gzip may be used.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| {
            v.split(',')
                .any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip"))
        })
}

/// Whether JSON is indented: as asked, else for programs that people read.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    let agent = headers
        .get(http::header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    query.boolean("pretty").unwrap_or_else(|| {
        ["curl", "Wget", "Mozilla/5.0"]
            .iter()
            .any(|p| agent.starts_with(p))
    })
}

/// Whether a route that makes these types takes the Accept header at all: names count, parameters do not.
pub fn routed(headers: &HeaderMap, made: &[&str]) -> bool {
    let header = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    header.is_empty()
        || header.split(',').any(|clause| {
            let name = clause.split(';').next().unwrap_or_default().trim();
            name == "*/*" || made.contains(&name)
        })
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

fn shape_of(
    clause: &Clause<'_>,
    media: Media,
    transforms: Transforms,
) -> Option<(Shape, MetaVersion)> {
    let get = |name: &str| {
        clause
            .params
            .iter()
            .find(|(k, _)| *k == name)
            .map(|(_, v)| *v)
    };
    let Some(kind) = get("as") else {
        return Some((Shape::Plain, MetaVersion::V1));
    };
    if transforms == Transforms::None || get("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match get("v") {
        Some("v1") => MetaVersion::V1,
        Some("v1beta1") => MetaVersion::V1Beta1,
        _ => return None,
    };
    let shape = match kind {
        "Table" if media != Media::Protobuf => Shape::Table,
        "PartialObjectMetadata" => Shape::Partial,
        "PartialObjectMetadataList" => Shape::PartialList,
        _ => return None,
    };
    Some((shape, version))
}

/// The encoding of a request's body. `Err` = 415 with the given type.
pub fn body_media(headers: &HeaderMap) -> Result<Media, String> {
    let header = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let mut parts = header.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    // A parameter without a value makes the whole header unreadable.
    let readable = parts.all(|p| p.is_empty() || p.contains('='));
    match name.as_str() {
        "" => Ok(Media::Json),
        "application/json" if readable => Ok(Media::Json),
        "application/yaml" if readable => Ok(Media::Yaml),
        "application/vnd.kubernetes.protobuf" if readable => Ok(Media::Protobuf),
        _ => Err(header.to_owned()),
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
        check("garbage", Transforms::All, Err(()));
        check(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
            Transforms::All,
            Ok((Media::Json, Shape::Plain)),
        );
    }

    #[test]
    fn routes_look_at_names_alone() {
        let made = ["application/json", "application/yaml"];
        let routed = |header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, header.parse().unwrap());
            routed(&headers, &made)
        };
        assert!(routed("application/json;as=Nothing;q=0") && routed("text/html, */*;q=0.8"));
        assert!(!routed("application/*") && !routed("application/JSON") && !routed(","));
    }

    #[test]
    fn bodies() {
        let of = |header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, header.parse().unwrap());
            body_media(&headers)
        };
        assert_eq!(of("APPLICATION/JSON; charset=utf-8"), Ok(Media::Json));
        assert!(of("application/json;foo").is_err() && of("text/plain").is_err());
    }
}
