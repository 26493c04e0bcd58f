//! The log on disk: numbered segments, the last of which is written to. Invariant: what `append` answered is on the
//! disk, and reading the segments in order gives back every change that is retained.

use super::frame::{self, Builder, Entry, FORMAT, HEAD, Head, Next};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has it.
    #[error("the data directory {} is in use by another process; stop it first or choose another directory", .0.display())]
    InUse(PathBuf),
    /// Reading or writing failed.
    #[error("{attempt}: {source}")]
    Io {
        /// What was tried.
        attempt: String,
        /// How it failed.
        source: io::Error,
    },
    /// A newer program wrote it.
    #[error("{} has format {found}, this program knows formats up to {FORMAT}; use the program that wrote it", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Something inside is damaged.
    #[error("{} is damaged at byte {offset} ({reason}); changes after revision {after} and up to revision {until} may be lost: restore a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: usize,
        /// What is wrong.
        reason: String,
        /// The last revision before the damage.
        after: i64,
        /// The first one known after it, 0 if none is.
        until: i64,
    },
}

impl LogError {
    fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
        let attempt = attempt.into();
        move |source| LogError::Io { attempt, source }
    }
}

/// Lets writes fail, for tests.
pub type Fault = Box<dyn FnMut() -> io::Result<()> + Send>;

/// How the log is kept.
pub struct LogOptions {
    /// After how many bytes a segment is closed and the next one begun.
    pub segment_bytes: u64,
    /// Asked before every write.
    pub fault: Option<Fault>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            fault: None,
        }
    }
}

/// A closed segment, or several merged.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The number of the first one.
    pub first: u32,
    /// The number of the last one.
    pub last: u32,
    /// Its file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// How many of them hold changes that are no longer retained.
    pub dead: u64,
}

/// How much room is made ready at once.
const PREPARED: u64 = 1 << 20;
/// What a page of the disk's is.
const PAGE: u64 = 4096;
/// A segment that is not needed any more, for the next one to be written over.
const SPARE: &str = "spare";

/// The log.
pub struct Log {
    directory: PathBuf,
    options: LogOptions,
    _lock: File,
    head: Head,
    file: File,
    /// Where the next frame goes.
    offset: u64,
    /// Up to where the file was written to at some time, so that a write there changes nothing but data.
    prepared: u64,
    sequence: u64,
    builder: Builder,
    pub sealed: BTreeMap<u32, Sealed>,
    /// Dead bytes of the segment being written.
    active_dead: u64,
    written: u64,
    /// The last write failed: what is behind `offset` is unknown.
    broken: bool,
}

/// Takes what is found at open, entry by entry: the segment's number and the entry; answers its revision, if it has one.
pub type Replay<'a> = dyn FnMut(u32, Entry<'_>) -> Result<i64, String> + 'a;

impl Log {
    /// Opens the log in a directory, which is made if need be, and hands every entry to `replay`.
    pub fn open(
        directory: &Path,
        options: LogOptions,
        ids: impl FnOnce() -> (u64, u64),
        replay: &mut Replay<'_>,
    ) -> Result<Log, LogError> {
        std::fs::create_dir_all(directory)
            .map_err(LogError::io(format!("making {}", directory.display())))?;
        let lock = lock(directory)?;
        let mut found = segments(directory)?;
        let last = found.pop_last();
        let mut head = Head {
            format: FORMAT,
            cluster: 0,
            member: 0,
            first: 1,
            last: 1,
        };
        let mut newest = 0;
        for sealed in found.values_mut() {
            let read = read_segment(sealed, false, &mut newest, replay)?;
            (head.cluster, head.member) = (read.head.cluster, read.head.member);
        }
        let active = match last {
            Some((_, active)) => {
                let read = read_segment(&active, true, &mut newest, replay)?;
                head = read.head;
                Some((active, read))
            }
            None => {
                (head.cluster, head.member) = ids();
                None
            }
        };
        let size = options.segment_bytes;
        let (active, offset, sequence) = resume(directory, size, active, &mut head, &mut found)?;
        Ok(Log {
            directory: directory.to_owned(),
            options,
            _lock: lock,
            head,
            file: active.file,
            offset,
            prepared: active.prepared,
            sequence,
            builder: Builder::default(),
            sealed: found,
            active_dead: 0,
            written: 0,
            broken: false,
        })
    }

    /// The ids of the store and of its one member.
    pub fn ids(&self) -> (u64, u64) {
        (self.head.cluster, self.head.member)
    }

    /// The number of the segment that the next append goes to.
    pub fn segment(&self) -> u32 {
        self.head.first
    }

    /// The frame to fill before [`Log::append`].
    pub fn frame(&mut self) -> &mut Builder {
        &mut self.builder
    }

    /// Makes the frame durable. After an error nothing of it counts, and the next append starts anew behind what
    /// was durable before.
    pub fn append(&mut self) -> io::Result<()> {
        let result = self.try_append();
        self.builder.clear();
        if result.is_err() {
            self.broken = true;
        }
        result
    }

    fn try_append(&mut self) -> io::Result<()> {
        if self.broken {
            // What was synced stays; the rest of the file is given up, and a failed sync is not asked again.
            self.file.set_len(self.offset)?;
            self.file.sync_all()?;
            self.roll()?;
            self.broken = false;
        }
        if let Some(fault) = &mut self.options.fault {
            fault()?;
        }
        let (length, frame) = self.builder.seal(&self.head, self.sequence);
        self.file.write_all_at(frame, self.offset)?;
        self.file.sync_data()?;
        self.written += length;
        self.offset += length;
        self.sequence += 1;
        Ok(())
    }

    /// Whether there is room that was never written to.
    pub fn is_unprepared(&self) -> bool {
        !self.broken && self.prepared.max(self.offset) < self.options.segment_bytes
    }

    /// Writes to a piece of the room ahead, for times without work: later writes there need no further facts of the
    /// file on the disk, which makes their syncs shorter.
    pub fn prepare(&mut self) {
        let from = self.prepared.max(self.offset).next_multiple_of(PAGE);
        let until = (from + PREPARED).min(self.options.segment_bytes).max(from);
        // Page by page: the kernel remembers what is written at once as one piece, and would hand all of it to the disk
        // (or at least count it) whenever a part changes.
        let zeroes = [0; PAGE as usize];
        let mut pages = (from..until).step_by(PAGE as usize);
        let written = pages.try_for_each(|page| self.file.write_all_at(&zeroes, page));
        self.prepared = match written.and_then(|()| self.file.sync_data()) {
            Ok(()) => until,
            Err(error) => {
                tracing::debug!(%error, "the log's room could not be prepared; it is used as it is");
                u64::MAX
            }
        };
        self.written += until - from;
    }

    /// Closes the segment when it is full, so that the next append goes to a new one. A failure leaves the log as
    /// it was.
    pub fn roll_when_full(&mut self) -> io::Result<()> {
        if self.offset < self.options.segment_bytes || self.broken {
            return Ok(());
        }
        self.file.set_len(self.offset)?;
        self.file.sync_all()?;
        self.roll()
    }

    fn roll(&mut self) -> io::Result<()> {
        let first = self.head.first;
        let next = Head {
            format: FORMAT,
            first: first + 1,
            last: first + 1,
            ..self.head
        };
        let active = create(&self.directory, &next, self.options.segment_bytes).map_err(
            |error| match error {
                LogError::Io { source, .. } => source,
                other => io::Error::other(other.to_string()),
            },
        )?;
        let sealed = Sealed {
            first,
            last: first,
            path: path_of(&self.directory, first, first),
            bytes: self.offset,
            dead: std::mem::take(&mut self.active_dead),
        };
        self.sealed.insert(first, sealed);
        self.head = next;
        self.file = active.file;
        self.prepared = active.prepared;
        self.offset = HEAD as u64;
        self.sequence = 0;
        Ok(())
    }

    /// Says that a change in this segment is no longer retained.
    pub fn bury(&mut self, segment: u32, bytes: u64) {
        match self.sealed.range_mut(..=segment).next_back() {
            Some((_, sealed)) if segment <= sealed.last => sealed.dead += bytes,
            _ => self.active_dead += bytes,
        }
    }

    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.offset + self.sealed.values().map(|sealed| sealed.bytes).sum::<u64>()
    }

    /// The bytes written since the log was opened.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Segments worth writing anew, neighbours together: those of which a third is dead, or that are small.
    pub fn reclaimable(&self) -> Option<Vec<Sealed>> {
        let mut run: Vec<Sealed> = Vec::new();
        let mut live = 0;
        let enough =
            |run: &[Sealed]| run.iter().any(|one| one.dead * 3 > one.bytes) || run.len() >= 8;
        for sealed in self.sealed.values() {
            let worth =
                sealed.dead * 3 > sealed.bytes || sealed.bytes < self.options.segment_bytes / 4;
            let alive = sealed.bytes.saturating_sub(sealed.dead);
            if worth && live + alive <= self.options.segment_bytes {
                live += alive;
                run.push(sealed.clone());
                continue;
            }
            if enough(&run) {
                return Some(run);
            }
            run.clear();
            live = 0;
            if worth {
                live = alive;
                run.push(sealed.clone());
            }
        }
        enough(&run).then_some(run)
    }

    /// Starts writing neighbouring segments anew as one file.
    pub fn rewrite(&self, run: &[Sealed]) -> io::Result<Rewrite> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let head = Head {
            format: FORMAT,
            first: first.first,
            last: last.last,
            ..self.head
        };
        let path = self.directory.join("rewrite.tmp");
        let mut file = File::create(&path)?;
        file.write_all(&head.encode())?;
        Ok(Rewrite {
            head,
            path,
            file,
            sequence: 0,
            bytes: HEAD as u64,
            builder: Builder::default(),
        })
    }

    /// Puts a rewritten file in the place of what it was made from.
    pub fn replace(&mut self, rewrite: Rewrite, run: &[Sealed]) -> io::Result<()> {
        let Rewrite {
            head,
            path,
            file,
            bytes,
            ..
        } = rewrite;
        file.sync_all()?;
        self.written += bytes;
        let target = path_of(&self.directory, head.first, head.last);
        let dead_since: u64 = run
            .iter()
            .filter_map(|old| Some(self.sealed.get(&old.first)?.dead.saturating_sub(old.dead)))
            .sum();
        std::fs::rename(&path, &target)?;
        sync_directory(&self.directory)?;
        for old in run {
            self.sealed.remove(&old.first);
            if old.path != target {
                self.give_up(old)?;
            }
        }
        let merged = Sealed {
            first: head.first,
            last: head.last,
            path: target,
            bytes,
            dead: dead_since,
        };
        self.sealed.insert(head.first, merged);
        Ok(())
    }

    /// Keeps the file of a segment for the next one, if there is none yet and it is large enough; removes it otherwise.
    fn give_up(&self, old: &Sealed) -> io::Result<()> {
        let spare = self.directory.join(SPARE);
        match old.bytes >= self.options.segment_bytes && !spare.exists() {
            true => std::fs::rename(&old.path, spare),
            false => std::fs::remove_file(&old.path),
        }
    }
}

/// Segments being written anew.
pub struct Rewrite {
    head: Head,
    path: PathBuf,
    file: File,
    sequence: u64,
    bytes: u64,
    builder: Builder,
}

impl Rewrite {
    /// Adds an entry.
    pub fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.builder.entry(entry);
        if self.builder.len() >= 1 << 20 {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was added.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let (length, frame) = self.builder.seal(&self.head, self.sequence);
        self.file.write_all(&frame[..length as usize])?;
        self.bytes += length;
        self.sequence += 1;
        self.builder.clear();
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, LogError> {
    let path = directory.join("lock");
    let attempt = format!("locking {}", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(LogError::io(attempt.clone()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::InUse(directory.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(LogError::Io { attempt, source }),
    }
}

fn path_of(directory: &Path, first: u32, last: u32) -> PathBuf {
    directory.join(format!("{first:08x}-{last:08x}.log"))
}

/// The segments in a directory; what a merged one replaced is removed.
fn segments(directory: &Path) -> Result<BTreeMap<u32, Sealed>, LogError> {
    let attempt = || format!("reading {}", directory.display());
    let mut all: Vec<Sealed> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(LogError::io(attempt()))? {
        let entry = entry.map_err(LogError::io(attempt()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "rewrite.tmp" {
            std::fs::remove_file(entry.path()).map_err(LogError::io("removing rewrite.tmp"))?;
        }
        let numbers = name.strip_suffix(".log").and_then(|stem| {
            let (first, last) = stem.split_once('-')?;
            let number = |text| u32::from_str_radix(text, 16).ok();
            Some((number(first)?, number(last)?))
        });
        let Some((first, last)) = numbers else {
            continue;
        };
        let bytes = entry.metadata().map_err(LogError::io(attempt()))?.len();
        all.push(Sealed {
            first,
            last,
            path: entry.path(),
            bytes,
            dead: 0,
        });
    }
    // The widest first, so that what it covers comes after it.
    all.sort_by_key(|one| (one.first, std::cmp::Reverse(one.last)));
    let mut kept: BTreeMap<u32, Sealed> = BTreeMap::new();
    for one in all {
        let covered = kept
            .values()
            .next_back()
            .is_some_and(|wide| one.last <= wide.last);
        if covered {
            std::fs::remove_file(&one.path)
                .map_err(LogError::io(format!("removing {}", one.path.display())))?;
        } else {
            kept.insert(one.first, one);
        }
    }
    if let Some(last) = kept.values().next_back()
        && never_begun(&last.path).map_err(LogError::io(attempt()))?
    {
        std::fs::remove_file(&last.path)
            .map_err(LogError::io(format!("removing {}", last.path.display())))?;
        kept.pop_last();
    }
    Ok(kept)
}

/// Whether the process ended before a new segment's head was written.
fn never_begun(path: &Path) -> io::Result<bool> {
    let mut head = [0; HEAD];
    let read = File::open(path)?.read_at(&mut head, 0)?;
    Ok(head[..read].iter().all(|byte| *byte == 0))
}

struct Read {
    head: Head,
    end: u64,
    sequence: u64,
    /// Nothing was torn.
    is_clean: bool,
}

/// The file that is written to.
struct Active {
    file: File,
    /// See [`Log`].
    prepared: u64,
}

fn read_segment(
    segment: &Sealed,
    is_last: bool,
    newest: &mut i64,
    replay: &mut Replay<'_>,
) -> Result<Read, LogError> {
    let path = &segment.path;
    let bytes = std::fs::read(path).map_err(LogError::io(format!("reading {}", path.display())))?;
    let damaged = |offset: usize, reason: &str, after: i64, until: i64| LogError::Damaged {
        path: path.clone(),
        offset,
        reason: reason.to_owned(),
        after,
        until,
    };
    let head = Head::decode(&bytes)
        .filter(|head| head.first == segment.first && head.last == segment.last)
        .ok_or_else(|| damaged(0, "its head makes no sense", *newest, 0))?;
    if head.format > FORMAT {
        return Err(LogError::NewerFormat {
            path: path.clone(),
            found: head.format,
        });
    }
    let (mut at, mut sequence, mut is_clean) = (HEAD, 0, true);
    loop {
        match frame::next(&bytes, at, &head, sequence) {
            Next::Frame(mut payload, end) => {
                loop {
                    let entry = frame::read_entry(&mut payload)
                        .map_err(|reason| damaged(at, &reason, *newest, 0))?;
                    let Some(entry) = entry else { break };
                    let revision = replay(segment.first, entry)
                        .map_err(|reason| damaged(at, &reason, *newest, 0))?;
                    *newest = (*newest).max(revision);
                }
                at = end;
                sequence += 1;
            }
            Next::End => break,
            Next::Broken => {
                let later = frame::continues_after(&bytes, at, &head, sequence);
                if let Some(later) = later {
                    let until = first_revision(&bytes, later, &head);
                    return Err(damaged(at, "a record's checksum is wrong", *newest, until));
                }
                if !is_last {
                    return Err(damaged(at, "it ends in the middle of a record", *newest, 0));
                }
                // Torn while it was written: nobody was told of it.
                is_clean = false;
                break;
            }
        }
    }
    Ok(Read {
        head,
        end: at as u64,
        sequence,
        is_clean,
    })
}

/// The file to write to, where, and as which frame: the newest segment, or a new one. A merged segment is never
/// written to again.
fn resume(
    directory: &Path,
    size: u64,
    newest: Option<(Sealed, Read)>,
    head: &mut Head,
    sealed: &mut BTreeMap<u32, Sealed>,
) -> Result<(Active, u64, u64), LogError> {
    if let Some((segment, read)) = newest {
        if segment.first == segment.last {
            let active = reopen(&segment.path, &read, size)?;
            return Ok((active, read.end, read.sequence));
        }
        head.first = segment.last + 1;
        head.last = head.first;
        head.format = FORMAT;
        let bytes = read.end;
        sealed.insert(segment.first, Sealed { bytes, ..segment });
    }
    Ok((create(directory, head, size)?, HEAD as u64, 0))
}

fn revision_of(entry: &Entry<'_>) -> i64 {
    match entry {
        Entry::Put(_, encoded) => super::record::Record::peek(encoded).map_or(0, |(_, main)| main),
        Entry::Delete(main, ..) => *main,
        Entry::Baseline(revision) => *revision,
        _ => 0,
    }
}

fn first_revision(bytes: &[u8], at: usize, head: &Head) -> i64 {
    let sequence = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().expect("8 bytes"));
    if let Next::Frame(mut payload, _) = frame::next(bytes, at, head, sequence) {
        while let Ok(Some(entry)) = frame::read_entry(&mut payload) {
            if revision_of(&entry) > 0 {
                return revision_of(&entry);
            }
        }
    }
    0
}

fn create(directory: &Path, head: &Head, size: u64) -> Result<Active, LogError> {
    let path = path_of(directory, head.first, head.last);
    let attempt = format!("making {}", path.display());
    let spare = directory.join(SPARE);
    let make = || -> io::Result<Active> {
        let mut options = OpenOptions::new();
        options.write(true).read(true);
        // It has its head before it has its name: what stands behind that is no frame of the new segment, since
        // frames' checksums cover the head.
        if let Ok(file) = options.open(&spare) {
            let prepared = file.metadata()?.len();
            file.write_all_at(&head.encode(), 0)?;
            file.write_all_at(&frame::NOTHING, HEAD as u64)?;
            file.sync_all()?;
            std::fs::rename(&spare, &path)?;
            sync_directory(directory)?;
            return Ok(Active { file, prepared });
        }
        let file = options.create(true).truncate(true).open(&path)?;
        reserve(&file, size);
        file.write_all_at(&head.encode(), 0)?;
        file.sync_all()?;
        sync_directory(directory)?;
        let prepared = HEAD as u64;
        Ok(Active { file, prepared })
    };
    make().map_err(LogError::io(attempt))
}

/// Takes the room in advance, so that an append changes nothing but data. Where that is not possible, appends grow
/// the file.
fn reserve(file: &File, size: u64) {
    let _ = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size);
}

fn reopen(path: &Path, read: &Read, size: u64) -> Result<Active, LogError> {
    let attempt = format!("opening {}", path.display());
    let open = || -> io::Result<Active> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut prepared = file.metadata()?.len();
        if !read.is_clean || prepared < size {
            // Whatever was torn must not be taken for a later record.
            file.set_len(read.end)?;
            reserve(&file, size.max(read.end));
            prepared = read.end;
        }
        file.sync_all()?;
        Ok(Active { file, prepared })
    };
    open().map_err(LogError::io(attempt))
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
