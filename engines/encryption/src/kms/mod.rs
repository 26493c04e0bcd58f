//! The key management service provider, version 2: a plugin on a unix socket keeps the key; objects are encrypted
//! here with keys derived from a seed that the plugin encrypted. A thread of its own talks to the plugin, so that
//! nobody else waits for it except for a seed that was not seen before.

mod wire;

use crate::EncryptionError;
use crate::cipher::{Key, Kind};
use crate::grpc;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use wire::{Annotations, Fields};

const SEED: usize = 32;
const INFO: usize = 32;
/// `HKDF_SHA256_XNONCE_AES_GCM_SEED`.
const SEEDED: u64 = 1;
/// How often the plugin is asked how it is, when it is well and when it is not.
const LOOK_WELL: Duration = Duration::from_secs(60);
const LOOK_ILL: Duration = Duration::from_secs(10);
/// How long writes go on with a seed after the plugin was last well.
const WRITE_MAX: Duration = Duration::from_secs(180);
/// Neither a key's id nor an encrypted seed may be larger.
const TEXT_MAX: usize = 1024;
/// Seeds that are remembered.
const SEEDS_MAX: usize = 1000;

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Envelope {
    data: Vec<u8>,
    key_id: String,
    source: Vec<u8>,
    annotations: Annotations,
    source_type: u64,
}

impl Envelope {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len() + 256);
        wire::put_bytes(&mut out, 1, &self.data);
        wire::put_bytes(&mut out, 2, self.key_id.as_bytes());
        wire::put_bytes(&mut out, 3, &self.source);
        wire::put_map(&mut out, 4, &self.annotations);
        wire::put_value(&mut out, 5, self.source_type);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Envelope> {
        let fields = Fields::read(bytes)?;
        let envelope = Envelope {
            data: fields.bytes(1),
            key_id: fields.text(2),
            source: fields.bytes(3),
            annotations: fields.map(4),
            source_type: fields.number(5),
        };
        let is_whole = !envelope.data.is_empty()
            && !envelope.key_id.is_empty()
            && !envelope.source.is_empty()
            && envelope.source_type <= SEEDED;
        is_whole.then_some(envelope)
    }

    /// What one seed is remembered by: all but the data.
    fn source_key(&self) -> Vec<u8> {
        Envelope {
            data: Vec::new(),
            ..self.clone()
        }
        .encode()
    }
}

/// What writes use now.
#[derive(Clone)]
struct Current {
    /// All but the data.
    envelope: Envelope,
    seed: Arc<Vec<u8>>,
    expires: Instant,
}

enum Ask {
    Refresh(Sender<Result<(), String>>),
    Decrypt(Envelope, Sender<Result<Vec<u8>, String>>),
}

/// A plugin.
pub(crate) struct Kms {
    name: String,
    ask: Mutex<Sender<Ask>>,
    current: Arc<Mutex<Option<Current>>>,
    seeds: Mutex<HashMap<Vec<u8>, Arc<Vec<u8>>>>,
    timeout: Duration,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kms {
    /// The plugin at a socket. Its thread ends when this is dropped.
    pub(crate) fn start(name: &str, socket: PathBuf, timeout: Duration) -> std::io::Result<Kms> {
        let (ask, asked) = channel();
        let current = Arc::new(Mutex::new(None));
        let talker = Talker {
            name: name.to_owned(),
            socket,
            timeout,
            current: current.clone(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        };
        std::thread::Builder::new()
            .name("kms".to_owned())
            .spawn(move || talker.run(&asked))?;
        Ok(Kms {
            name: name.to_owned(),
            ask: Mutex::new(ask),
            current,
            seeds: Mutex::default(),
            timeout,
        })
    }

    /// The prefix of what it writes.
    pub(crate) fn prefix(&self) -> String {
        format!("k8s:enc:kms:v2:{}:", self.name)
    }

    fn failed(&self, why: impl std::fmt::Display) -> EncryptionError {
        EncryptionError::Kms {
            name: self.name.clone(),
            why: why.to_string(),
        }
    }

    fn asked<T>(
        &self,
        question: impl FnOnce(Sender<Result<T, String>>) -> Ask,
    ) -> Result<T, EncryptionError> {
        let (answer, answered) = channel();
        let sent = locked(&self.ask).send(question(answer));
        sent.map_err(|_| self.failed("its thread ended"))?;
        // Its turn may come after another's.
        let waited = answered.recv_timeout(self.timeout * 3 + Duration::from_secs(1));
        waited
            .map_err(|_| self.failed("it does not answer"))?
            .map_err(|why| self.failed(why))
    }

    fn current(&self) -> Result<Current, EncryptionError> {
        if let Some(current) = locked(&self.current).clone() {
            return Ok(current);
        }
        self.asked(Ask::Refresh)?;
        let current = locked(&self.current).clone();
        current.ok_or_else(|| self.failed("it gave no key"))
    }

    pub(crate) fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        let current = self.current()?;
        if Instant::now() > current.expires {
            return Err(
                self.failed("it was not healthy for more than 3 minutes, writes are refused")
            );
        }
        let mut info = [0; INFO];
        aws_lc_rs::rand::fill(&mut info).map_err(|_| EncryptionError::Random)?;
        let key = derived(&current.seed, &info)?;
        let data = [&info[..], &key.seal(plain, place)?].concat();
        Ok(Envelope {
            data,
            ..current.envelope
        }
        .encode())
    }

    /// The object and whether it is stale; none if it is not what this plugin's key wrote there.
    pub(crate) fn open(
        &self,
        stored: &[u8],
        place: &[u8],
    ) -> Result<Option<(Vec<u8>, bool)>, EncryptionError> {
        let envelope = Envelope::decode(stored).ok_or(EncryptionError::Short)?;
        let current = self.current()?;
        let seed = self.seed(&envelope, &current)?;
        let plain = match envelope.source_type {
            SEEDED => {
                let (info, sealed) = envelope
                    .data
                    .split_first_chunk::<INFO>()
                    .ok_or(EncryptionError::Short)?;
                derived(&seed, info)?.open(sealed, place)?
            }
            _ => {
                let key = Key::new(Kind::AesGcm, &seed);
                key.ok_or_else(|| self.failed("its key has an impossible length"))?
                    .open(&envelope.data, place)?
            }
        };
        let is_stale = envelope.key_id != current.envelope.key_id || envelope.source_type != SEEDED;
        Ok(plain.map(|plain| (plain, is_stale)))
    }

    fn seed(
        &self,
        envelope: &Envelope,
        current: &Current,
    ) -> Result<Arc<Vec<u8>>, EncryptionError> {
        let key = envelope.source_key();
        if key == current.envelope.source_key() {
            return Ok(current.seed.clone());
        }
        if let Some(seed) = locked(&self.seeds).get(&key) {
            return Ok(seed.clone());
        }
        let seed = Arc::new(self.asked(|answer| Ask::Decrypt(envelope.clone(), answer))?);
        let mut seeds = locked(&self.seeds);
        if seeds.len() >= SEEDS_MAX {
            seeds.clear();
        }
        seeds.insert(key, seed.clone());
        Ok(seed)
    }
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

/// The key of one object: expanded from the seed, without extraction, as upstream does.
fn derived(seed: &[u8], info: &[u8]) -> Result<Key, EncryptionError> {
    let mut key = [0; 32];
    Prk::new_less_safe(HKDF_SHA256, seed)
        .expand(&[info], KeyLength)
        .and_then(|expanded| expanded.fill(&mut key))
        .map_err(|_| EncryptionError::Random)?;
    Key::new(Kind::AesGcm, &key).ok_or(EncryptionError::Random)
}

/// The thread's side.
struct Talker {
    name: String,
    socket: PathBuf,
    timeout: Duration,
    current: Arc<Mutex<Option<Current>>>,
    runtime: tokio::runtime::Runtime,
}

impl Talker {
    fn run(self, asked: &Receiver<Ask>) {
        let mut look_at = Instant::now();
        loop {
            let wait = look_at.saturating_duration_since(Instant::now());
            let (answer, refresh) = match asked.recv_timeout(wait) {
                Ok(Ask::Decrypt(envelope, answer)) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.decrypt(&envelope));
                    continue;
                }
                Ok(Ask::Refresh(answer)) => (Some(answer), self.refresh()),
                Err(RecvTimeoutError::Timeout) => (None, self.refresh()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            look_at = Instant::now() + if refresh.is_ok() { LOOK_WELL } else { LOOK_ILL };
            if let Err(why) = &refresh {
                tracing::warn!(
                    name = self.name,
                    why,
                    "the key management plugin is not healthy"
                );
            }
            if let Some(answer) = answer {
                let _ = answer.send(refresh);
            }
        }
    }

    fn call(&self, method: &str, message: &[u8]) -> Result<Fields, String> {
        let calling = exchange(&self.socket, method, message);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(self.timeout, calling).await })
            .map_err(|_| format!("{method}: no answer within {:?}", self.timeout))??;
        Fields::read(&answer).ok_or_else(|| format!("{method}: the answer is no message"))
    }

    fn decrypt(&self, envelope: &Envelope) -> Result<Vec<u8>, String> {
        let mut message = Vec::new();
        wire::put_bytes(&mut message, 1, &envelope.source);
        wire::put_bytes(&mut message, 2, uid().as_bytes());
        wire::put_bytes(&mut message, 3, envelope.key_id.as_bytes());
        wire::put_map(&mut message, 4, &envelope.annotations);
        let seed = self.call("Decrypt", &message)?.bytes(1);
        match seed.is_empty() {
            true => Err("failed to decrypt DEK: it is empty".to_owned()),
            false => Ok(seed),
        }
    }

    /// Asks the plugin how it is; makes a new seed when its key is another one.
    fn refresh(&self) -> Result<(), String> {
        let expires = Instant::now() + WRITE_MAX;
        let status = self.call("Status", &[])?;
        let (version, health, key_id) = (status.text(1), status.text(2), status.text(3));
        if health != "ok" {
            return Err(format!("got unexpected healthz status: {health}"));
        }
        if version != "v2" && version != "v2beta1" {
            return Err(format!("expected KMSv2 API version v2, got {version}"));
        }
        if key_id.is_empty() || key_id.len() > TEXT_MAX {
            return Err("got invalid KMSv2 KeyID".to_owned());
        }
        if let Some(current) = locked(&self.current).as_mut()
            && current.envelope.key_id == key_id
        {
            current.expires = expires;
            return Ok(());
        }
        let mut seed = vec![0; SEED];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| "no randomness".to_owned())?;
        let mut message = Vec::new();
        wire::put_bytes(&mut message, 1, &seed);
        wire::put_bytes(&mut message, 2, uid().as_bytes());
        let encrypted = self.call("Encrypt", &message)?;
        let envelope = Envelope {
            data: Vec::new(),
            key_id: encrypted.text(2),
            source: encrypted.bytes(1),
            annotations: encrypted.map(3),
            source_type: SEEDED,
        };
        if envelope.key_id != key_id {
            return Err("its key changed while it was asked".to_owned());
        }
        if envelope.source.is_empty() || envelope.source.len() > TEXT_MAX {
            return Err("got an invalid encrypted DEK source".to_owned());
        }
        *locked(&self.current) = Some(Current {
            envelope,
            seed: Arc::new(seed),
            expires,
        });
        Ok(())
    }
}

/// What a plugin writes into its log for one call.
fn uid() -> String {
    let mut bytes = [0; 16];
    // Only for logs: zeros tell calls apart less well, and do no harm.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Calls a method of the plugin, over a connection of its own, since calls are rare.
async fn exchange(socket: &Path, method: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    let told = |what: String| format!("{method}: {what}");
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| format!("connecting to {}: {error}", socket.display()))?;
    let connection = grpc::open(stream).await.map_err(told)?;
    let path = format!("/v2.KeyManagementService/{method}");
    let answer = grpc::call(connection, &path, message).await;
    answer.map(|(message, _)| message).map_err(told)
}
