//! A table of contents of a tar file, so that its entries can be read in any order and at the same time.
//! Invariant: only plain, seekable tar files are indexed; streams and compressed files are spooled first.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tar::EntryType;

use crate::digest::DigestingReader;
use crate::layer::Limits;
use crate::layer::decompress::{decompress, is_compressed};
use crate::layer::root::clean;
use crate::layer::tarball::Tarball;

const ENTRIES_MAX: usize = 1_000_000;
const LINKS_MAX: usize = 16;

/// An archive whose entries can be opened by name.
#[derive(Debug)]
pub(crate) struct Archive {
    file: Arc<File>,
    entries: HashMap<String, Place>,
}

#[derive(Debug)]
enum Place {
    File { offset: u64, size: u64 },
    Link(String),
}

/// A part of a file, read independently of all other parts.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Window {
    pub(crate) fn size(&self) -> u64 {
        self.end - self.at
    }
}

impl Archive {
    /// Opens a file; a compressed one is unpacked into `spool` first.
    pub(crate) fn open_file(path: &Path, spool: &Path, limits: &Limits) -> io::Result<Archive> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Archive::spool(file, spool, limits);
        }
        let mut magic = [0u8; 8];
        let n = file.read_at(&mut magic, 0)?;
        if is_compressed(&magic[..n]) {
            return Archive::spool(file, spool, limits);
        }
        Archive::index(file)
    }

    /// Keeps a stream in the file `spool` and opens that.
    pub(crate) fn spool(
        stream: impl Read + Send + 'static,
        spool: &Path,
        limits: &Limits,
    ) -> io::Result<Archive> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(spool)?;
        let mut stream = DigestingReader::new(decompress(stream)?, limits.archive_bytes_max);
        io::copy(&mut stream, &mut file)?;
        Archive::index(file)
    }

    fn index(file: File) -> io::Result<Archive> {
        let end = file.metadata()?.len();
        let file = Arc::new(file);
        let mut entries = HashMap::new();
        let mut at = 0;
        while at < end {
            // A fresh reader per entry starts right at its header, so that contents are not read.
            let mut tarball = Tarball::new(Window {
                file: file.clone(),
                at,
                end,
            });
            let Some(entry) = tarball.next_entry()? else {
                break;
            };
            let offset = at + entry.offset;
            at = offset.saturating_add(entry.size.next_multiple_of(512));
            let Ok(name) = String::from_utf8(clean(&entry.path)?) else {
                continue;
            };
            let place = match entry.kind {
                EntryType::Regular | EntryType::Continuous => {
                    if offset.saturating_add(entry.size) > end {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "the archive is truncated",
                        ));
                    }
                    Place::File {
                        offset,
                        size: entry.size,
                    }
                }
                EntryType::Link => Place::Link(text(&clean(&entry.link)?)),
                EntryType::Symlink => Place::Link(beside(&name, &text(&entry.link))),
                _ => continue,
            };
            entries.insert(name, place);
            if entries.len() > ENTRIES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "the archive has too many entries",
                ));
            }
        }
        Ok(Archive { file, entries })
    }

    /// The content of the entry `name`.
    pub(crate) fn open(&self, name: &str) -> Option<Window> {
        let mut name = name.strip_prefix("./").unwrap_or(name);
        for _ in 0..LINKS_MAX {
            match self.entries.get(name)? {
                Place::File { offset, size } => {
                    return Some(Window {
                        file: self.file.clone(),
                        at: *offset,
                        end: offset + size,
                    });
                }
                Place::Link(target) => name = target,
            }
        }
        None
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where the symbolic link `name` with content `target` leads within the archive.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
