//! Webhook conversion of custom resources: objects are converted in batches before they are needed, and found again by
//! what was asked. Invariant: metadata stays as it was but for labels and annotations; an answer that means another
//! object is refused. Left out: remembering conversions beyond the request they were made for.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use corten_api::Object;
use corten_api::admissionregistration::v1 as admissionregistration;
use corten_api::apiextensions::v1::{CustomResourceConversion, WebhookClientConfig};
use corten_client::Status;
use corten_codec::json;
use corten_core::{Value, ValueMap};
use http::{Request, header};
use parking_lot::Mutex;

use corten_store::Entry;

use crate::catalog::Served;
use crate::outbound::{Endpoint, Limits, Outbound};
use crate::server::random_uid;
use crate::{admission, typed};

/// How long one conversion may take, as upstream's clients have it.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of one answer: whole lists are converted at once.
const ANSWER_MAX: usize = 256 << 20;
const GROUP: &str = "apiextensions.k8s.io";

type Key = [u8; 32];

/// How the objects of one version become those of others.
pub(crate) struct Conversion {
    endpoint: Result<(Endpoint, String), String>,
    /// Versions of reviews that the webhook takes.
    reviews: Vec<String>,
    /// What is at hand, as long as somebody holds it.
    known: Mutex<HashMap<Key, Weak<Object>>>,
}

/// Holds conversions at hand.
#[derive(Default)]
pub(crate) struct Converted {
    _held: Vec<Arc<Object>>,
}

impl Conversion {
    /// What a definition says of its webhook; none when it has none.
    pub(crate) fn of(conversion: &CustomResourceConversion) -> Option<Conversion> {
        if conversion.strategy != "Webhook" {
            return None;
        }
        let webhook = conversion.webhook.as_deref();
        let client = webhook.and_then(|w| w.client_config.as_deref());
        let endpoint = match client {
            Some(client) => admission::endpoint(&as_of_admission(client)),
            None => Err("webhook configuration must have either service or URL".into()),
        };
        let reviews = webhook.map(|w| w.conversion_review_versions.iter());
        Some(Conversion {
            endpoint,
            reviews: reviews
                .into_iter()
                .flatten()
                .map(|v| v.to_string())
                .collect(),
            known: Mutex::default(),
        })
    }

    /// The object in another version, if that is at hand.
    pub(crate) fn find(&self, object: &Object, wanted: &str) -> Option<Object> {
        let found = self.known.lock().get(&key(object, wanted))?.upgrade()?;
        Some(restored(object, &found))
    }

    /// Brings at hand what objects are in another version; those that have it already are not asked about.
    async fn prepare(
        &self,
        outbound: &Outbound,
        objects: &[Arc<Object>],
        wanted: &str,
    ) -> Result<Converted, Status> {
        let mut held = Vec::new();
        let mut asked: Vec<(Key, &Arc<Object>)> = Vec::new();
        for object in objects.iter().filter(|o| o.api_version() != wanted) {
            let key = key(object, wanted);
            match self.known.lock().get(&key).and_then(Weak::upgrade) {
                Some(found) => held.push(found),
                None if asked.iter().any(|(k, _)| *k == key) => {}
                None => asked.push((key, object)),
            }
        }
        if !asked.is_empty() {
            let originals: Vec<&Object> = asked.iter().map(|(_, o)| &***o).collect();
            let made = self.convert(outbound, &originals, wanted).await?;
            let mut known = self.known.lock();
            known.retain(|_, object| object.strong_count() > 0);
            for ((key, _), object) in asked.iter().zip(made) {
                let object = Arc::new(object);
                known.insert(*key, Arc::downgrade(&object));
                held.push(object);
            }
        }
        Ok(Converted { _held: held })
    }

    async fn convert(
        &self,
        outbound: &Outbound,
        objects: &[&Object],
        wanted: &str,
    ) -> Result<Vec<Object>, Status> {
        let about = match objects {
            [one] => format!("{}, Kind={}", one.api_version(), one.kind()),
            [first, ..] => format!("{wanted}, Kind={}List", first.kind()),
            [] => return Ok(Vec::new()),
        };
        let failed = |why: String| {
            Status::new(
                500,
                "",
                format!("conversion webhook for {about} failed: {why}"),
            )
        };
        let invalid = |index: usize, why: String| {
            let place = match objects.len() {
                1 => "object".to_owned(),
                _ => format!("converted object at index {index}"),
            };
            let text = format!("conversion webhook for {about} returned invalid {place}: {why}");
            Status::new(500, "", text)
        };
        let version = self.reviews.iter().find(|v| *v == "v1" || *v == "v1beta1");
        let version = version
            .ok_or_else(|| Status::new(500, "", "no supported conversion review versions"))?;
        let uid = random_uid();
        let body = review(version, &uid, objects, wanted).map_err(Status::internal)?;
        let answer = self.exchange(outbound, body).await.map_err(failed)?;
        let converted = converted(&answer, version, &uid).map_err(failed)?;
        if converted.len() != objects.len() {
            let text = format!(
                "conversion webhook for {about} returned {} objects, expected {}",
                converted.len(),
                objects.len()
            );
            return Err(Status::new(500, "", text));
        }
        let pairs = objects.iter().zip(converted).enumerate();
        pairs
            .map(|(index, (original, value))| {
                checked(original, value, wanted).map_err(|why| invalid(index, why))
            })
            .collect()
    }

    async fn exchange(&self, outbound: &Outbound, body: Vec<u8>) -> Result<Bytes, String> {
        let (endpoint, path) = self.endpoint.as_ref().map_err(Clone::clone)?;
        let target = format!("{path}?timeout={}s", TIME_MAX.as_secs());
        let origin = endpoint.place.origin();
        let request = Request::post(target.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Bytes::from(body))
            .map_err(|e| e.to_string())?;
        let limits = Limits {
            time_max: TIME_MAX,
            answer_max: ANSWER_MAX,
        };
        let answer = outbound.call(endpoint, request, limits).await;
        let answer = answer.map_err(|why| format!("Post \"{origin}{target}\": {why}"))?;
        match answer.status().is_success() {
            true => Ok(answer.into_body()),
            false => Err(format!("the server answered {}", answer.status())),
        }
    }
}

/// Both APIs say alike where webhooks are.
fn as_of_admission(client: &WebhookClientConfig) -> admissionregistration::WebhookClientConfig {
    let service = client.service.as_deref().map(|service| {
        Box::new(admissionregistration::ServiceReference {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            path: service.path.clone(),
            port: service.port,
        })
    });
    admissionregistration::WebhookClientConfig {
        url: client.url.clone(),
        service,
        ca_bundle: client.ca_bundle.clone(),
    }
}

/// Names what is asked: everything of an object that a conversion may depend on, and the version.
fn key(object: &Object, wanted: &str) -> Key {
    let meta = object.meta();
    let mut text = Vec::with_capacity(1024);
    for part in [
        wanted,
        object.api_version(),
        object.kind(),
        &meta.namespace,
        &meta.name,
        &meta.uid,
    ] {
        text.extend_from_slice(part.as_bytes());
        text.push(0);
    }
    for map in [&meta.labels, &meta.annotations] {
        for (key, value) in map.iter() {
            for part in [key.as_str(), value.as_str()] {
                text.extend_from_slice(part.as_bytes());
                text.push(0);
            }
        }
        text.push(1);
    }
    if let Some(dynamic) = object.as_dynamic() {
        let body = Value::Map(dynamic.body.clone());
        text.extend_from_slice(&json::encode_value(&body));
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    let mut key = [0; 32];
    key.copy_from_slice(digest.as_ref());
    key
}

/// The converted object with the metadata of the original, but for labels and annotations.
fn restored(original: &Object, converted: &Object) -> Object {
    let mut object = converted.clone();
    let mut meta = original.meta().clone();
    let given = object.meta();
    meta.labels = given.labels.clone();
    meta.annotations = given.annotations.clone();
    *object.meta_mut() = meta;
    object
}

fn review(
    version: &str,
    uid: &str,
    objects: &[&Object],
    wanted: &str,
) -> Result<Vec<u8>, corten_core::ConvertError> {
    let objects = objects
        .iter()
        .map(|o| o.to_value())
        .collect::<Result<Vec<Value>, _>>()?;
    let mut review = Value::Map(ValueMap::default());
    review.set(&["kind"], "ConversionReview");
    review.set(&["apiVersion"], format!("{GROUP}/{version}").as_str());
    review.set(&["request", "uid"], uid);
    review.set(&["request", "desiredAPIVersion"], wanted);
    review.set(&["request", "objects"], Value::List(objects));
    Ok(json::encode_value(&review))
}

/// The objects of an answer.
fn converted(answer: &[u8], version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let answer = json::decode_value(answer).map_err(|e| e.to_string())?;
    let (group, kind) = (answer.str_at(&["apiVersion"]), answer.str_at(&["kind"]));
    let wanted = format!("{GROUP}/{version}");
    if version == "v1" && (group != wanted || kind != "ConversionReview") {
        return Err(format!(
            "expected webhook response of {wanted}, Kind=ConversionReview, got {group}, Kind={kind}"
        ));
    }
    if answer.get("response").is_none_or(Value::is_null) {
        return Err("no response provided".into());
    }
    let said = answer.str_at(&["response", "uid"]);
    if version == "v1" && said != uid {
        return Err(format!("expected response.uid={uid:?}, got {said:?}"));
    }
    let status = answer.str_at(&["response", "result", "status"]);
    if status != "Success" {
        return Err(match answer.str_at(&["response", "result", "message"]) {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    let objects = answer.at(&["response", "convertedObjects"]);
    Ok(objects
        .and_then(Value::as_list)
        .unwrap_or_default()
        .to_vec())
}

/// One converted object, if it still is the one it was.
fn checked(original: &Object, value: Value, wanted: &str) -> Result<Object, String> {
    let (version, kind) = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
    if version != wanted {
        return Err(format!(
            "invalid groupVersion (expected {wanted}, received {version})"
        ));
    }
    if kind != original.kind() {
        return Err(format!(
            "invalid kind (expected {}, received {kind})",
            original.kind()
        ));
    }
    let meta = original.meta();
    for (what, member, was) in [
        ("name", "name", &meta.name),
        ("namespace", "namespace", &meta.namespace),
        ("UID", "uid", &meta.uid),
    ] {
        let is = value.str_at(&["metadata", member]);
        if is != was.as_str() {
            return Err(format!("must have the same {what}: {was} != {is}"));
        }
    }
    let given = value
        .get("metadata")
        .ok_or("missing metadata in converted object")?;
    let mut kept = Value::Map(ValueMap::default());
    for member in ["labels", "annotations"] {
        if let Some(map) = given.get(member).filter(|m| !m.is_null()) {
            kept.set(&[member], map.clone());
        }
    }
    // Of metadata only this is the webhook's to change.
    let mut value = value;
    value.set(&["metadata"], kept);
    let object = Object::from_value(&value).map_err(|e| format!("invalid metadata: {e}"))?;
    Ok(restored(original, &object))
}

/// Brings at hand what objects are in the version that is served.
pub(crate) async fn ready(
    outbound: &Outbound,
    served: &Served,
    objects: &[Arc<Object>],
) -> Result<Converted, Status> {
    match served.conversion() {
        None => Ok(Converted::default()),
        Some(conversion) => {
            let wanted = served.api_version();
            conversion.prepare(outbound, objects, &wanted).await
        }
    }
}

/// What of these entries a webhook may have to convert: nothing where there is none.
pub(crate) fn objects<'a>(
    served: &Served,
    entries: impl Iterator<Item = &'a Arc<Entry>>,
) -> Result<Vec<Arc<Object>>, Status> {
    match served.conversion() {
        None => Ok(Vec::new()),
        Some(_) => entries.map(|e| typed::object(e)).collect(),
    }
}

/// The object in the version that is served, defaulted.
pub(crate) async fn shown(
    outbound: &Outbound,
    served: &Served,
    object: Arc<Object>,
) -> Result<Arc<Object>, Status> {
    let _converted = ready(outbound, served, std::slice::from_ref(&object)).await?;
    Ok(served.served_version(&object)?.map_or(object, Arc::new))
}

/// The object in the version that is stored.
pub(crate) async fn kept(
    outbound: &Outbound,
    served: &Served,
    object: Object,
) -> Result<Object, Status> {
    let wanted = format!("{}/{}", served.group, served.storage_version);
    let Some(conversion) = served.conversion() else {
        return Ok(object);
    };
    if object.api_version() == wanted {
        return Ok(object);
    }
    let object = Arc::new(object);
    let _converted = conversion
        .prepare(outbound, std::slice::from_ref(&object), &wanted)
        .await?;
    served.converted(&object, &wanted)
}

/// The same of custom resources; the parts of built-in kinds are read in the version that is stored.
pub(crate) async fn shown_custom(
    outbound: &Outbound,
    served: &Served,
    object: Arc<Object>,
) -> Result<Arc<Object>, Status> {
    match served.is_custom() {
        true => shown(outbound, served, object).await,
        false => Ok(object),
    }
}
