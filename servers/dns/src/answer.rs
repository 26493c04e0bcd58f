//! From a request's bytes to an answer's: what the records say at once, what others have to be asked for later.

use std::sync::Arc;

use corten_netplan::dns::{Answer, Data, Records};
use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};
use parking_lot::RwLock;

use crate::convert;
use crate::forward::{Forwarder, Transport};

/// What clients that say nothing accept over UDP.
const UDP_MIN: usize = 512;
/// What passes every network in one piece, whatever clients say.
const UDP_MAX: u16 = 1232;
const ALIASES_MAX: usize = 8;

/// Answers requests. Shared by all of a server's sockets.
#[derive(Debug)]
pub struct Responder {
    pub records: RwLock<Records>,
    pub forwarder: Forwarder,
    /// Seconds that clients may keep what they learn.
    pub ttl: u32,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Step {
    /// It is no request, and gets no answer.
    Nothing,
    /// The answer's bytes.
    Done(Vec<u8>),
    /// Others have to be asked.
    Ask(Box<Pending>),
}

/// A request that waits for others.
#[derive(Debug)]
pub struct Pending {
    request: Message,
    /// What has to be asked: the request's own question, or one about an alias.
    query: Query,
    /// What is known already: an alias that the answer begins with.
    known: Option<Message>,
}

impl Responder {
    /// Answers what can be answered without waiting.
    pub fn begin(&self, bytes: &[u8], by: Transport) -> Step {
        let request = match Message::from_vec(bytes) {
            Ok(request) if request.metadata.message_type == MessageType::Query => request,
            Ok(_) => return Step::Nothing,
            Err(_) => return malformed(bytes),
        };
        let [query] = &request.queries[..] else {
            return done(refusal(&request, ResponseCode::FormErr), &request, by);
        };
        if let Some(code) = unsupported(&request, query) {
            return done(refusal(&request, code), &request, by);
        }
        if self.forwarder.is_probe(query) {
            return done(refusal(&request, ResponseCode::Refused), &request, by);
        }
        let query = query.clone();
        match self.local(&request, &query) {
            Ok(Local::Answer(answer)) => done(answer, &request, by),
            Ok(Local::Alias(known, query)) => match self.forwarder.cached(&request, &query) {
                Some(rest) => done(joined(known, rest), &request, by),
                None => Step::Ask(Box::new(Pending {
                    request,
                    query,
                    known: Some(known),
                })),
            },
            Ok(Local::Elsewhere) => match self.forwarder.cached(&request, &query) {
                Some(answer) => done(answer, &request, by),
                None => Step::Ask(Box::new(Pending {
                    request,
                    query,
                    known: None,
                })),
            },
            Err(error) => {
                tracing::warn!(%error, name = %query.name(), "the records do not fit a message");
                done(refusal(&request, ResponseCode::ServFail), &request, by)
            }
        }
    }

    /// Answers the rest, after asking others.
    pub async fn finish(self: Arc<Self>, pending: Pending, by: Transport) -> Option<Vec<u8>> {
        let Pending {
            request,
            query,
            known,
        } = pending;
        // About an alias others are asked in this server's own name.
        let asked = match &known {
            None => request.clone(),
            Some(_) => {
                let mut asked = Message::query();
                asked.metadata.recursion_desired = true;
                asked.add_query(query.clone());
                asked
            }
        };
        let found = self.forwarder.ask(&asked, &query, by).await;
        let answer = match (known, found) {
            (Some(known), Ok(rest)) => joined(known, rest),
            // The alias itself is true whatever becomes of its target.
            (Some(known), Err(_)) => known,
            (None, Ok(answer)) => answer,
            (None, Err(code)) => refusal(&request, code),
        };
        encode(answer, &request, by)
    }

    fn local(&self, request: &Message, query: &Query) -> Result<Local, ProtoError> {
        let records = self.records.read();
        let kind = convert::kind(query.query_type());
        let mut answer = reply(request);
        answer.metadata.authoritative = true;
        let mut owner = query.name().clone();
        for _ in 0..ALIASES_MAX {
            match records.answer(&owner.to_ascii(), kind) {
                Answer::Found {
                    records: found,
                    additional,
                } => {
                    for data in turned(&found, request.metadata.id) {
                        answer.add_answer(convert::record(
                            owner.clone(),
                            self.ttl,
                            data,
                            &records,
                        )?);
                    }
                    for (name, data) in &additional {
                        answer.add_additional(convert::record(
                            convert::name(name)?,
                            self.ttl,
                            data,
                            &records,
                        )?);
                    }
                    return Ok(Local::Answer(answer));
                }
                Answer::Alias(to) => {
                    answer.add_answer(convert::record(
                        owner,
                        self.ttl,
                        &Data::Cname(to.clone()),
                        &records,
                    )?);
                    if kind == corten_netplan::dns::Kind::Cname {
                        return Ok(Local::Answer(answer));
                    }
                    owner = convert::name(&to)?;
                }
                Answer::Elsewhere if answer.answers.is_empty() => return Ok(Local::Elsewhere),
                Answer::Elsewhere => {
                    return Ok(Local::Alias(
                        answer,
                        Query::query(owner, query.query_type()),
                    ));
                }
                denial => {
                    if denial == Answer::NoName {
                        answer.metadata.response_code = ResponseCode::NXDomain;
                    }
                    answer.add_authority(convert::authority(self.ttl, &records)?);
                    return Ok(Local::Answer(answer));
                }
            }
        }
        // Aliases that lead in a circle.
        Ok(Local::Answer(refusal(request, ResponseCode::ServFail)))
    }
}

/// What the records say.
enum Local {
    Answer(Message),
    /// An alias, and what to ask others about its target.
    Alias(Message, Query),
    Elsewhere,
}

/// The records beginning with another one each time, so that clients that take the first spread.
fn turned(records: &[Data], by: u16) -> impl Iterator<Item = &Data> {
    let start = usize::from(by) % records.len().max(1);
    records[start..].iter().chain(&records[..start])
}

fn joined(mut known: Message, rest: Message) -> Message {
    let records: Vec<Record> = rest.answers;
    known.add_answers(records);
    known
}

/// Something about a request that is not supported.
fn unsupported(request: &Message, query: &Query) -> Option<ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    let transfer = [
        hickory_proto::rr::RecordType::AXFR,
        hickory_proto::rr::RecordType::IXFR,
    ];
    (query.query_class() != DNSClass::IN || transfer.contains(&query.query_type()))
        .then_some(ResponseCode::Refused)
}

fn reply(request: &Message) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.metadata.recursion_available = true;
    reply.queries.clone_from(&request.queries);
    reply
}

fn refusal(request: &Message, code: ResponseCode) -> Message {
    let mut reply = reply(request);
    reply.metadata.response_code = code;
    reply
}

/// The answer to bytes that are no message: their number and the reason, if there is a number.
fn malformed(bytes: &[u8]) -> Step {
    let (Some(&[high, low]), Some(flags)) = (bytes.first_chunk::<2>(), bytes.get(2)) else {
        return Step::Nothing;
    };
    let is_answer = flags & 0x80 != 0;
    if bytes.len() < 12 || is_answer {
        return Step::Nothing;
    }
    let number = u16::from_be_bytes([high, low]);
    match Message::error_msg(number, OpCode::Query, ResponseCode::FormErr).to_vec() {
        Ok(bytes) => Step::Done(bytes),
        Err(_) => Step::Nothing,
    }
}

fn done(answer: Message, request: &Message, by: Transport) -> Step {
    encode(answer, request, by).map_or(Step::Nothing, Step::Done)
}

/// The bytes of an answer, in the request's number and spelling; cut if the client cannot take all of it.
fn encode(mut answer: Message, request: &Message, by: Transport) -> Option<Vec<u8>> {
    answer.metadata.id = request.metadata.id;
    answer.metadata.recursion_desired = request.metadata.recursion_desired;
    answer.queries.clone_from(&request.queries);
    answer.edns = request.edns.as_ref().map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX)
            .set_version(0)
            .set_dnssec_ok(asked.flags().dnssec_ok);
        edns
    });
    let limit = match (by, &request.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => UDP_MIN,
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload().min(UDP_MAX)).max(UDP_MIN),
    };
    let bytes = answer.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    // What is only a courtesy goes first.
    answer.additionals.clear();
    let bytes = answer.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    answer.truncate().to_vec().ok()
}
