//! One request's trail: an event that grows while the request runs and is written at the stages the policy names.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use hyper::Response;
use parking_lot::Mutex;

use corten_access::UserInfo;
use corten_access::audit::{Level, Scope, Stage};
use corten_api::Object;
use corten_api::audit::v1::{AuthenticationMetadata, Event, ObjectReference};
use corten_api::authentication::v1::UserInfo as WireUser;
use corten_client::Status;
use corten_core::{List, Map, MicroTime, RawJson, Str};

use super::{Audit, Beginning, format};
use crate::authorization;
use crate::body::Answer;
use crate::catalog::Served;
use crate::info::RequestInfo;

const AGENT_MAX: usize = 1024;

/// A request's trail.
pub(crate) struct Trail {
    audit: Arc<Audit>,
    state: Mutex<State>,
}

struct State {
    event: Event,
    /// What the policy says, once the user is known.
    scope: Option<Scope>,
}

impl State {
    /// Whether anything at this level is kept; before the policy was asked, everything may be.
    fn keeps(&self, level: Level) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.level >= level)
    }

    fn omits_managed_fields(&self) -> bool {
        self.scope.as_ref().is_some_and(|s| s.omit_managed_fields)
    }
}

fn now() -> MicroTime {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    MicroTime::from_unix(since.as_secs() as i64, since.subsec_micros())
}

fn wire_user(user: &UserInfo) -> WireUser {
    let mut extra: Map<List<Str>> = Map::default();
    for (key, values) in &user.extra {
        extra.insert(
            key.as_str(),
            values.iter().map(String::as_str).collect::<List<Str>>(),
        );
    }
    WireUser {
        username: user.name.as_str().into(),
        uid: user.uid.as_str().into(),
        groups: user.groups.iter().map(String::as_str).collect(),
        extra,
    }
}

/// Who the request came from, through proxies that said so.
fn sources(beginning: &Beginning<'_>) -> List<Str> {
    let text = |name: &str| {
        let value = beginning.headers.get(name);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    };
    let mut found: Vec<String> = Vec::new();
    for part in text("x-forwarded-for").split(',') {
        if let Ok(ip) = part.trim().parse::<std::net::IpAddr>() {
            found.push(ip.to_string());
        }
    }
    if let Ok(ip) = text("x-real-ip").parse::<std::net::IpAddr>()
        && !found.contains(&ip.to_string())
    {
        found.push(ip.to_string());
    }
    let remote = beginning.source.to_canonical().to_string();
    if found.last() != Some(&remote) {
        found.push(remote);
    }
    found.iter().map(String::as_str).collect()
}

impl Trail {
    pub(super) fn new(audit: Arc<Audit>, beginning: &Beginning<'_>) -> Trail {
        let agent = beginning.headers.get(http::header::USER_AGENT);
        let mut agent = agent
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .unwrap_or_default();
        if let Some((end, _)) = agent.char_indices().nth(AGENT_MAX) {
            agent.truncate(end);
            agent.push_str("...TRUNCATED");
        }
        let info = beginning.info;
        let object = info.is_resource.then(|| {
            Box::new(ObjectReference {
                resource: info.resource.as_str().into(),
                namespace: info.namespace.as_str().into(),
                name: info.name.as_str().into(),
                api_group: info.group.as_str().into(),
                api_version: info.version.as_str().into(),
                subresource: info.subresource.as_str().into(),
                ..ObjectReference::default()
            })
        });
        let event = Event {
            kind: "Event".into(),
            api_version: "audit.k8s.io/v1".into(),
            audit_id: beginning.id.into(),
            request_uri: beginning.uri.into(),
            verb: info.verb.as_str().into(),
            user_agent: agent.into(),
            source_ips: sources(beginning),
            object_ref: object,
            request_received_timestamp: now(),
            ..Event::default()
        };
        Trail {
            audit,
            state: Mutex::new(State { event, scope: None }),
        }
    }

    /// The user is known: the policy decides how much is written down.
    pub(super) fn identify(&self, user: &UserInfo, info: &RequestInfo) {
        let attributes = authorization::attributes(user, info);
        let scope = self.audit.policy.scope(&attributes).clone();
        self.audit.metrics.audit_level(scope.level.name());
        let mut state = self.state.lock();
        state.event.level = scope.level.name().into();
        state.event.user = wire_user(user);
        state.scope = Some(scope);
    }

    pub(super) fn annotate(&self, key: &str, value: &str) {
        let mut state = self.state.lock();
        if !state.keeps(Level::Metadata) {
            return;
        }
        if let Some(there) = state.event.annotations.get(key) {
            if *there != value {
                tracing::warn!(key, "an audit note is there already and stays");
            }
            return;
        }
        state.event.annotations.insert(key, value);
    }

    pub(super) fn refuse(&self, attempted: &str) {
        let nobody = UserInfo::default();
        let info = self.info();
        self.identify(&nobody, &info);
        self.state.lock().event.response_status = Some(Box::new(format::message(attempted)));
    }

    /// The request is refused because its event could not be kept.
    pub(super) fn reject(&self) {
        self.audit.metrics.audit_rejected();
    }

    /// What the request asked for, as the event has it.
    fn info(&self) -> RequestInfo {
        let state = self.state.lock();
        let mut info = RequestInfo {
            verb: state.event.verb.to_string(),
            path: state
                .event
                .request_uri
                .split('?')
                .next()
                .unwrap_or_default()
                .to_owned(),
            ..RequestInfo::default()
        };
        if let Some(object) = &state.event.object_ref {
            info.is_resource = true;
            info.group = object.api_group.to_string();
            info.version = object.api_version.to_string();
            info.namespace = object.namespace.to_string();
            info.resource = object.resource.to_string();
            info.subresource = object.subresource.to_string();
            info.name = object.name.to_string();
        }
        info
    }

    pub(super) fn impersonate(&self, user: &UserInfo, constraint: &str) {
        let mut state = self.state.lock();
        if !state.keeps(Level::Metadata) {
            return;
        }
        state.event.impersonated_user = Some(Box::new(wire_user(user)));
        if !constraint.is_empty() {
            state.event.authentication_metadata = Some(Box::new(AuthenticationMetadata {
                impersonation_constraint: constraint.into(),
            }));
        }
    }

    pub(super) fn sent(&self, served: &Served, object: &Object) {
        let mut state = self.state.lock();
        if !state.keeps(Level::Metadata) {
            return;
        }
        let meta = object.meta();
        if let Some(reference) = &mut state.event.object_ref {
            let fill = |field: &mut Str, value: &Str| {
                if field.is_empty() {
                    *field = value.clone();
                }
            };
            fill(&mut reference.namespace, &meta.namespace);
            fill(&mut reference.name, &meta.name);
            fill(&mut reference.uid, &meta.uid);
            fill(&mut reference.resource_version, &meta.resource_version);
        }
        if !state.keeps(Level::Request) {
            return;
        }
        let mut object = object.clone();
        served.default(&mut object);
        if state.omits_managed_fields() {
            object.meta_mut().managed_fields = List::default();
        }
        let json = corten_codec::json::encode(&object);
        state.event.request_object = Some(RawJson::from(json));
    }

    /// The same where defaults are nobody's to give.
    pub(super) fn sent_plain(&self, object: &Object) {
        let mut state = self.state.lock();
        if state.keeps(Level::Request) {
            let json = corten_codec::json::encode(object);
            state.event.request_object = Some(RawJson::from(json));
        }
    }

    pub(super) fn sent_text(&self, json: &[u8]) {
        let mut state = self.state.lock();
        if state.keeps(Level::Request)
            && let Ok(value) = corten_codec::yaml::decode_value(json)
        {
            let json = corten_codec::json::encode_value(&value);
            state.event.request_object = Some(RawJson::from(json));
        }
    }

    pub(super) fn answered(&self, status: &Status) {
        let mut state = self.state.lock();
        if !state.keeps(Level::Metadata) {
            return;
        }
        state.event.response_status = Some(Box::new(format::wire_status(status)));
    }

    /// Writes the event at a stage; false when a strict backend failed.
    pub(super) async fn reach(&self, stage: Stage) -> bool {
        let event = {
            let mut state = self.state.lock();
            let Some(scope) = &state.scope else {
                return true;
            };
            if scope.level == Level::None || scope.omits(stage) {
                return true;
            }
            state.event.stage = stage.name().into();
            state.event.stage_timestamp = match stage {
                Stage::RequestReceived => state.event.request_received_timestamp,
                _ => now(),
            };
            Arc::new(state.event.clone())
        };
        let mut good = true;
        for sink in &self.audit.sinks {
            good &= sink.take(event.clone()).await;
        }
        good
    }

    /// The request is answered with a code and perhaps an object, and over.
    pub(super) async fn complete_with(&self, code: u16, object: Option<&Object>) {
        self.set_code(code);
        if let Some(object) = object {
            self.keep_object(object);
        }
        self.reach(Stage::ResponseComplete).await;
    }

    fn keep_object(&self, object: &Object) {
        let mut state = self.state.lock();
        if !state.keeps(Level::RequestResponse) {
            return;
        }
        let json = match state.omits_managed_fields() && object.has_meta() {
            false => corten_codec::json::encode(object),
            true => {
                let mut object = object.clone();
                object.meta_mut().managed_fields = List::default();
                corten_codec::json::encode(&object)
            }
        };
        state.event.response_object = Some(RawJson::from(json));
    }

    pub(super) fn set_code(&self, code: u16) {
        let mut state = self.state.lock();
        let status = state.event.response_status.get_or_insert_default();
        status.code = i32::from(code);
    }

    pub(super) async fn panicked(&self, why: &str) {
        let status = Status::new(500, "InternalError", format!("APIServer panic'd: {why}"));
        self.state.lock().event.response_status = Some(Box::new(format::wire_status(&status)));
        self.reach(Stage::Panic).await;
    }

    pub(super) async fn finish(
        self: Arc<Trail>,
        info: &RequestInfo,
        answer: Response<Answer>,
    ) -> Response<Answer> {
        let silent = !self.state.lock().keeps(Level::Metadata);
        if silent {
            return answer;
        }
        let (head, body) = answer.into_parts();
        let media = head.headers.get(http::header::CONTENT_TYPE);
        let media = media.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let long = is_long(info) || head.status.as_u16() == 401;
        let body = match body {
            Answer::Stream(stream) => {
                self.set_code(head.status.as_u16());
                if long {
                    self.reach(Stage::ResponseStarted).await;
                }
                let end = End::of(self);
                return Response::from_parts(
                    head,
                    Answer::Stream(Box::pin(Ending { stream, _end: end })),
                );
            }
            whole => self.keep(media, whole),
        };
        self.set_code(head.status.as_u16());
        // A connection that is handed over goes on elsewhere.
        if long || head.status.as_u16() == 101 {
            self.reach(Stage::ResponseStarted).await;
        }
        if head.status.as_u16() != 401 {
            self.reach(Stage::ResponseComplete).await;
        }
        Response::from_parts(head, body)
    }

    /// Keeps what the policy wants of the answer's body.
    fn keep(&self, media: &str, body: Answer) -> Answer {
        let mut state = self.state.lock();
        let wanted = state.keeps(Level::RequestResponse);
        let body = match (body, wanted) {
            (Answer::Whole(bytes), _) => bytes,
            (other, false) => return other,
            (other, true) => match other.into_bytes() {
                Some(bytes) => bytes,
                None => return Answer::empty(),
            },
        };
        if wanted && let Some(json) = format::response(media, &body, state.omits_managed_fields()) {
            state.event.response_object = Some(RawJson::from(json));
        }
        if state.event.response_status.is_none() {
            state.event.response_status = format::status_in(media, &body).map(Box::new);
        }
        Answer::Whole(body)
    }
}

/// Whether a request goes on for as long as the client likes.
fn is_long(info: &RequestInfo) -> bool {
    let subresources = ["attach", "exec", "proxy", "log", "portforward"];
    matches!(info.verb.as_str(), "watch" | "proxy")
        || (info.is_resource && subresources.contains(&info.subresource.as_str()))
}

/// Writes the end of a trail when the last of an answer has gone, or the client has.
pub(super) struct End(Option<Arc<Trail>>);

impl End {
    pub(super) fn of(trail: Arc<Trail>) -> End {
        End(Some(trail))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (Some(trail), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            trail.reach(Stage::ResponseComplete).await;
        });
    }
}

struct Ending {
    stream: crate::body::ByteStream,
    _end: End,
}

impl Stream for Ending {
    type Item = Bytes;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Bytes>> {
        self.stream.as_mut().poll_next(cx)
    }
}
