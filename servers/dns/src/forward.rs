//! Questions that other servers answer: asked one after another, beginning with the one that answered last, by the
//! protocol that the client used. An upstream that leads back here is found by a probe and left out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache::{Cache, Key};

/// One attempt at one server.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
/// All attempts for one question: clients give up after 5 seconds.
const QUESTION_MAX: Duration = Duration::from_millis(4_500);
const ROUNDS: usize = 2;
const QUESTIONS_MAX: usize = 1_000;
const MESSAGE_MAX: usize = 65_535;

/// How a question came, and is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Asks other servers.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: RwLock<Vec<SocketAddr>>,
    preferred: AtomicUsize,
    cache: Cache,
    under_way: Semaphore,
    /// The last label of the names of probes.
    probe: String,
}

impl Forwarder {
    /// Asks these servers, without those that are this one.
    pub fn new(upstreams: &[SocketAddr], own: &[SocketAddr]) -> Result<Self, getrandom::Error> {
        let is_own = |upstream: &&SocketAddr| {
            own.iter()
                .any(|own| own.port() == upstream.port() && (own.ip() == upstream.ip()))
        };
        Ok(Forwarder {
            upstreams: RwLock::new(
                upstreams
                    .iter()
                    .filter(|upstream| !is_own(upstream))
                    .copied()
                    .collect(),
            ),
            preferred: AtomicUsize::new(0),
            cache: Cache::default(),
            under_way: Semaphore::new(QUESTIONS_MAX),
            probe: format!("{}", getrandom::u64()?),
        })
    }

    /// The servers that are asked.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        self.upstreams.read().clone()
    }

    /// An answer from memory.
    pub fn cached(&self, request: &Message, query: &Query) -> Option<Message> {
        self.cache.get(&Key::of(request, query), Instant::now())
    }

    /// Asks until some server answers. The answer carries the request's number and spelling.
    pub async fn ask(
        &self,
        request: &Message,
        query: &Query,
        by: Transport,
    ) -> Result<Message, ResponseCode> {
        let upstreams = self.upstreams();
        if upstreams.is_empty() {
            return Err(ResponseCode::Refused);
        }
        let Ok(_slot) = self.under_way.try_acquire() else {
            return Err(ResponseCode::ServFail);
        };
        let first = self.preferred.load(Ordering::Relaxed);
        let attempts = async {
            for attempt in 0..upstreams.len() * ROUNDS {
                let at = (first + attempt) % upstreams.len();
                match timeout(ATTEMPT_MAX, exchange(request, query, upstreams[at], by)).await {
                    Ok(Ok(answer)) => {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Some(answer);
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(upstream = %upstreams[at], %error, "no answer")
                    }
                    Err(_) => tracing::debug!(upstream = %upstreams[at], "no answer in time"),
                }
            }
            None
        };
        let answer = timeout(QUESTION_MAX, attempts)
            .await
            .ok()
            .flatten()
            .ok_or(ResponseCode::ServFail)?;
        self.cache
            .put(Key::of(request, query), &answer, Instant::now());
        Ok(answer)
    }

    /// Sends each upstream a question that nobody else asks. If it comes back here, the upstream is a loop.
    pub async fn probe(&self) {
        for (index, upstream) in self.upstreams().into_iter().enumerate() {
            let Ok(name) = Name::from_ascii(format!("{index}.{}.", self.probe)) else {
                continue;
            };
            let mut request = Message::query();
            let query = Query::query(name, RecordType::HINFO);
            request.add_query(query.clone());
            // Whatever the answer is: what counts is whether `is_probe` sees the question.
            let _ = timeout(
                ATTEMPT_MAX,
                exchange(&request, &query, upstream, Transport::Udp),
            )
            .await;
        }
    }

    /// Whether a question is a probe that came back; if so its upstream is not asked any more.
    pub fn is_probe(&self, query: &Query) -> bool {
        if query.query_type() != RecordType::HINFO {
            return false;
        }
        let name = query.name().to_ascii();
        let Some((index, label)) = name.trim_end_matches('.').split_once('.') else {
            return false;
        };
        if label != self.probe {
            return false;
        }
        let mut upstreams = self.upstreams.write();
        if let Some(upstream) = index
            .parse()
            .ok()
            .and_then(|index: usize| upstreams.get(index).copied())
        {
            tracing::warn!(%upstream, "the name server leads back here; it is not asked");
            // Probes still under way name places in this list: the others keep theirs.
            let other = upstreams.iter().copied().find(|other| *other != upstream);
            match other {
                Some(other) => upstreams
                    .iter_mut()
                    .filter(|u| **u == upstream)
                    .for_each(|u| *u = other),
                None => upstreams.clear(),
            }
        }
        true
    }
}

/// Asks one server. The question goes under a number of its own and what does not fit it is ignored.
async fn exchange(
    request: &Message,
    query: &Query,
    upstream: SocketAddr,
    by: Transport,
) -> io::Result<Message> {
    let mut question = request.clone();
    let number = getrandom::u32().map_err(io::Error::other)? as u16;
    question.metadata.id = number;
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let mut answer = match by {
        Transport::Udp => over_udp(&bytes, number, query, upstream).await?,
        Transport::Tcp => over_tcp(&bytes, number, query, upstream).await?,
    };
    answer.metadata.id = request.metadata.id;
    answer.queries.clone_from(&request.queries);
    Ok(answer)
}

async fn over_udp(
    bytes: &[u8],
    number: u16,
    query: &Query,
    upstream: SocketAddr,
) -> io::Result<Message> {
    let any = match upstream {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // A socket for each question: its random port is half of what a forger has to guess.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = matching(&buffer[..length], number, query) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(
    bytes: &[u8],
    number: u16,
    query: &Query,
    upstream: SocketAddr,
) -> io::Result<Message> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_framed(&mut stream, bytes).await?;
    let answer = read_framed(&mut stream).await?;
    matching(&answer, number, query)
        .ok_or_else(|| io::Error::other("the answer is to another question"))
}

fn matching(bytes: &[u8], number: u16, query: &Query) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let asked = answer.queries.first()?;
    let same = asked.name().eq_ignore_root(query.name())
        && asked.query_type() == query.query_type()
        && asked.query_class() == query.query_class();
    let fits = answer.metadata.id == number
        && answer.metadata.message_type == MessageType::Response
        && same;
    fits.then_some(answer)
}

/// Reads one message of a stream.
pub async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes one message to a stream.
pub async fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], bytes].concat())
        .await
}
