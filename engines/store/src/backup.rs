//! Backups: a consistent state in one file, whole or as what changed since another, and the way back. Every frame
//! has a checksum and the last one counts them, so that a file that was cut or changed is never taken for whole.
//! Objects are in it as they are at rest: what is encrypted in the store is encrypted in the backup.

use crate::cache::Budget;
use crate::engine::record::{self, Record};
use crate::engine::{Batch, Engine, EngineError, FORMAT, Identity, Logged, Write};
use crate::entry::{Entry, EntryParts};
use crate::{Header, Note, Revision};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"CORTENB1";
const HEAD: u8 = b'H';
const CHANGED: u8 = b'P';
const KEPT: u8 = b'K';
const NOTE: u8 = b'N';
const END: u8 = b'E';
/// No frame is larger: a length beyond it is damage.
const FRAME_MAX: usize = 64 << 20;
/// Entries that one batch of a restored store has.
const BATCH: usize = 1000;

/// What a backup is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The store's format.
    pub format: u32,
    /// The cluster.
    pub cluster_id: u64,
    /// It holds what changed after this revision; 0: everything.
    pub since: Revision,
    /// The revision of the state in it.
    pub revision: Revision,
    /// The number of objects that the state has.
    pub objects: u64,
    /// The number of objects whose bytes are in the file.
    pub changed: u64,
}

impl About {
    fn bytes(&self) -> Vec<u8> {
        let numbers = [
            u64::from(self.format),
            self.cluster_id,
            self.since.0,
            self.revision.0,
            self.objects,
            self.changed,
        ];
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn read(bytes: &[u8]) -> Option<About> {
        let mut numbers = bytes.chunks_exact(8).map(|chunk| {
            chunk
                .iter()
                .rev()
                .fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        });
        let mut next = || numbers.next();
        Some(About {
            format: u32::try_from(next()?).ok()?,
            cluster_id: next()?,
            since: Revision(next()?),
            revision: Revision(next()?),
            objects: next()?,
            changed: next()?,
        })
    }
}

/// Why a backup could not be written, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Reading or writing the file failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is no backup, or not whole.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The files do not fit together.
    #[error("the backups do not form a chain: {0}")]
    Chain(String),
    /// The store cannot be backed up or restored into.
    #[error("{0}")]
    Refused(String),
    /// The store's engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

struct Frames<'a> {
    out: &'a mut dyn io::Write,
    count: u64,
}

impl Frames<'_> {
    fn put(&mut self, kind: u8, path: &[u8], body: &[u8]) -> io::Result<()> {
        let mut head = [0; 13];
        head[0] = kind;
        head[1..5].copy_from_slice(&(path.len() as u32).to_le_bytes());
        head[5..9].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let sum = sum(&head[..9], path, body);
        head[9..].copy_from_slice(&sum.to_le_bytes());
        self.count += 1;
        self.out.write_all(&head)?;
        self.out.write_all(path)?;
        self.out.write_all(body)
    }
}

fn sum(head: &[u8], path: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(head), path), body)
}

/// Writes a backup of the state that `batches` (see [`crate::StateSnapshot::batches`]) are of.
pub(crate) fn write(
    mut about: About,
    batches: &mut dyn Iterator<Item = Result<Batch, EngineError>>,
    out: &mut dyn io::Write,
) -> Result<About, BackupError> {
    out.write_all(MAGIC)?;
    let mut frames = Frames { out, count: 0 };
    frames.put(HEAD, b"", &about.bytes())?;
    (about.objects, about.changed) = (0, 0);
    for batch in batches {
        for logged in batch?.transactions {
            for write in &logged.writes {
                let Write::Put(entry, _, stored) = write else {
                    continue;
                };
                let path = entry.key().bytes();
                about.objects += 1;
                if entry.mod_revision() > about.since {
                    about.changed += 1;
                    frames.put(CHANGED, &path, &record::encode(&path, entry, stored))?;
                } else {
                    frames.put(KEPT, &path, b"")?;
                }
            }
            for note in &logged.notes {
                let text = note.text.as_deref().unwrap_or_default();
                frames.put(NOTE, note.name.as_bytes(), text)?;
            }
        }
    }
    let end = [&about.bytes()[..], &frames.count.to_le_bytes()].concat();
    frames.put(END, b"", &end)?;
    frames.out.flush()?;
    Ok(about)
}

/// One part of a backup's content.
enum Part {
    Changed(Vec<u8>, Vec<u8>),
    Kept(Vec<u8>),
    Note(Note),
}

fn frame(from: &mut dyn Read) -> Result<(u8, Vec<u8>, Vec<u8>), BackupError> {
    let damaged = |what: &str| BackupError::Damaged(what.to_owned());
    let read = |from: &mut dyn Read, bytes: &mut [u8]| match from.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(damaged("it ends before its end"))
        }
        other => other.map_err(BackupError::Io),
    };
    let mut head = [0; 13];
    read(from, &mut head)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (path_len, body_len) = (number(1) as usize, number(5) as usize);
    if path_len > FRAME_MAX || body_len > FRAME_MAX {
        return Err(damaged("a frame has an impossible length"));
    }
    let (mut path, mut body) = (vec![0; path_len], vec![0; body_len]);
    read(from, &mut path)?;
    read(from, &mut body)?;
    match number(9) == sum(&head[..9], &path, &body) {
        true => Ok((head[0], path, body)),
        false => Err(BackupError::Damaged(format!(
            "a checksum does not match at {:?}",
            String::from_utf8_lossy(&path)
        ))),
    }
}

fn read(from: &mut dyn Read, each: &mut dyn FnMut(Part)) -> Result<About, BackupError> {
    let damaged = |what: &str| BackupError::Damaged(what.to_owned());
    let mut magic = [0; 8];
    let is_read = from.read_exact(&mut magic).is_ok();
    if !is_read || magic != *MAGIC {
        return Err(damaged("it does not begin as a backup does"));
    }
    let (mut count, mut objects, mut changed) = (0, 0, 0);
    let mut about = None;
    loop {
        let (kind, path, body) = frame(from)?;
        match kind {
            HEAD => about = About::read(&body),
            CHANGED => {
                let found = record::decode(&path, &body);
                found.map_err(|why| {
                    BackupError::Damaged(format!("{}: {why}", String::from_utf8_lossy(&path)))
                })?;
                (objects, changed) = (objects + 1, changed + 1);
                each(Part::Changed(path, body));
            }
            KEPT => {
                objects += 1;
                each(Part::Kept(path));
            }
            NOTE => each(Part::Note(Note::set(&String::from_utf8_lossy(&path), body))),
            END => {
                let told = About::read(&body).ok_or_else(|| damaged("its end is cut"))?;
                let frames = body.last_chunk::<8>().map(|n| u64::from_le_bytes(*n));
                let expected = About {
                    objects,
                    changed,
                    ..about.ok_or_else(|| damaged("it has no head"))?
                };
                if frames != Some(count) || told != expected {
                    return Err(damaged("it does not hold what its end says"));
                }
                if told.format > FORMAT {
                    return Err(BackupError::Refused(format!(
                        "the backup has format {}, this program knows formats up to {FORMAT}; use the program that \
                         wrote it",
                        told.format
                    )));
                }
                return Ok(told);
            }
            _ => return Err(damaged("it has a frame of an unknown kind")),
        }
        count += 1;
    }
}

/// Reads a whole backup and says what it is of; every checksum is checked.
pub fn verify(from: &mut dyn Read) -> Result<About, BackupError> {
    read(from, &mut |_| ())
}

/// Restores a whole backup and those made on top of it, in their order, into an engine that holds nothing. The
/// revision becomes the last backup's plus `bump`, so that no client sees a revision again that it had seen before.
pub fn restore(
    engine: &mut dyn Engine,
    files: &mut dyn Iterator<Item = io::Result<Box<dyn Read>>>,
    bump: u64,
) -> Result<About, BackupError> {
    let mut occupied = false;
    let loaded = engine.load(&mut |_, _| occupied = true)?;
    if occupied || loaded.identity.is_some() || !loaded.damage.is_empty() {
        return Err(BackupError::Refused(
            "the directory holds a store already; restore into an empty one".to_owned(),
        ));
    }
    let mut objects: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut notes = Vec::new();
    let mut last: Option<About> = None;
    for file in files {
        let mut next = BTreeMap::new();
        let mut missing = None;
        notes.clear();
        let about = read(file?.as_mut(), &mut |part| match part {
            Part::Changed(path, record) => drop(next.insert(path, record)),
            Part::Kept(path) => match objects.remove_entry(&path) {
                Some((path, record)) => drop(next.insert(path, record)),
                None => missing = Some(String::from_utf8_lossy(&path).into_owned()),
            },
            Part::Note(note) => notes.push(note),
        })?;
        fits(last, &about)?;
        if let Some(path) = missing {
            return Err(BackupError::Chain(format!("{path} is in none of them")));
        }
        (objects, last) = (next, Some(about));
    }
    let mut about = last.ok_or_else(|| BackupError::Refused("no backup was given".to_owned()))?;
    about.revision = Revision(about.revision.0.saturating_add(bump));
    fill(engine, about, objects, notes)?;
    Ok(about)
}

fn fits(last: Option<About>, about: &About) -> Result<(), BackupError> {
    let wrong = |what: String| Err(BackupError::Chain(what));
    match last {
        None if about.since != Revision::NONE => wrong(format!(
            "the first holds only what changed after revision {}; begin with a whole one",
            about.since
        )),
        Some(last) if about.since == Revision::NONE => wrong(format!(
            "the one at revision {} is whole and must be the first, before that at {}",
            about.revision, last.revision
        )),
        Some(last) if last.cluster_id != about.cluster_id => {
            wrong("they are of different clusters".to_owned())
        }
        Some(last) if last.revision != about.since => wrong(format!(
            "one ends at revision {}, the next continues after {}",
            last.revision, about.since
        )),
        _ => Ok(()),
    }
}

fn fill(
    engine: &mut dyn Engine,
    about: About,
    objects: BTreeMap<Vec<u8>, Vec<u8>>,
    notes: Vec<Note>,
) -> Result<(), BackupError> {
    let budget = Budget::new(0);
    let identity = Identity {
        format: about.format,
        cluster_id: about.cluster_id,
    };
    let batch = |writes, notes, identity| Batch {
        identity,
        revision: about.revision,
        transactions: vec![Logged {
            revision: about.revision,
            writes,
            notes,
        }],
        ..Batch::default()
    };
    let mut objects = objects.into_iter();
    let mut notes = Some(notes);
    engine.rebuild(&mut std::iter::from_fn(|| {
        let some = objects.by_ref().take(BATCH);
        let writes: Vec<Write> = some
            .filter_map(|(path, bytes)| {
                let record = record::decode(&path, &bytes).ok()?;
                let stored = Bytes::copy_from_slice(record.stored);
                let entry = revived(record, stored.clone(), &budget);
                Some(Write::Put(Arc::new(entry), Revision::NONE, stored))
            })
            .collect();
        match writes.is_empty() {
            false => Some(Ok(batch(writes, Vec::new(), None))),
            true => notes
                .take()
                .map(|notes| Ok(batch(writes, notes, Some(identity)))),
        }
    }))?;
    Ok(())
}

fn revived(record: Record<'_>, stored: Bytes, budget: &Arc<Budget>) -> Entry {
    let parts = EntryParts {
        key: record.key,
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        version: record.version,
        expires_at: record.expires_at,
        lease: record.lease,
        is_stale: false,
        header: Header::default(),
        stored: stored.into(),
    };
    Entry::new(parts, budget)
}
