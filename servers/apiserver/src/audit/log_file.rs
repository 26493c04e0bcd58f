//! The audit log's file: appended to, and put aside under a name with the time when it has grown too large; old ones
//! are removed by number and age. Invariant: a line is never split between files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::settings::AuditLogSettings;

/// Where lines go.
pub(super) enum LogFile {
    /// Standard output.
    Out,
    /// A file.
    File(Rotating),
}

/// A file that is put aside when it is large enough.
pub(super) struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    /// Bytes; 0 for no bound.
    size_max: u64,
    /// Files put aside that are kept; 0 for all.
    backups_max: usize,
    /// How old they may become; zero for any age.
    age_max: Duration,
    compress: bool,
}

impl LogFile {
    /// Opens the file, making it and its directory.
    pub(super) fn open(path: &Path, settings: &AuditLogSettings) -> io::Result<LogFile> {
        if path.as_os_str() == "-" {
            return Ok(LogFile::Out);
        }
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)?;
        }
        let file = append(path)?;
        Ok(LogFile::File(Rotating {
            path: path.to_owned(),
            size: file.metadata()?.len(),
            file,
            size_max: settings.max_size * 1024 * 1024,
            backups_max: settings.max_backups,
            age_max: Duration::from_secs(settings.max_age * 86_400),
            compress: settings.compress,
        }))
    }

    /// Appends whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            LogFile::Out => io::stdout().lock().write_all(lines),
            LogFile::File(file) => file.write(lines),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

impl Rotating {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let grown = self.size + lines.len() as u64;
        if self.size_max > 0 && grown > self.size_max && self.size > 0 {
            self.rotate(SystemTime::now())?;
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let aside =
            self.path
                .with_file_name(format!("{}{}{}", self.prefix(), stamp(now), self.suffix()));
        std::fs::rename(&self.path, &aside)?;
        self.file = append(&self.path)?;
        self.size = 0;
        if self.compress
            && let Err(error) = compress(&aside)
        {
            tracing::warn!(%error, file = %aside.display(), "compress an audit log put aside");
        }
        if let Err(error) = self.remove_old(now) {
            tracing::warn!(%error, "remove old audit logs");
        }
        Ok(())
    }

    fn prefix(&self) -> String {
        let stem = self.path.file_stem().unwrap_or_default();
        format!("{}-", stem.to_string_lossy())
    }

    fn suffix(&self) -> String {
        let extension = self.path.extension();
        extension.map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()))
    }

    fn remove_old(&self, now: SystemTime) -> io::Result<()> {
        let directory = match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let oldest = now
            .checked_sub(self.age_max)
            .filter(|_| !self.age_max.is_zero());
        let oldest = oldest.map(stamp);
        let mut aside = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let plain = name.strip_suffix(".gz").unwrap_or(&name);
            let stamp = plain
                .strip_prefix(&self.prefix())
                .and_then(|n| n.strip_suffix(&self.suffix()));
            if let Some(stamp) = stamp.filter(|s| is_stamp(s)) {
                aside.push((stamp.to_owned(), entry.path()));
            }
        }
        aside.sort();
        aside.reverse();
        for (index, (stamp, path)) in aside.iter().enumerate() {
            let many = self.backups_max > 0 && index >= self.backups_max;
            if many || oldest.as_ref().is_some_and(|o| stamp < o) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn compress(path: &Path) -> io::Result<()> {
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    let packed = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(packed)?;
    let mut encoder = flate2::write::GzEncoder::new(packed, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::remove_file(path)
}

/// `2006-01-02T15-04-05.000`.
fn stamp(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = corten_core::Time::from_unix(since.as_secs() as i64).to_string();
    let seconds = seconds.trim_end_matches('Z').replace(':', "-");
    format!("{seconds}.{:03}", since.subsec_millis())
}

fn is_stamp(text: &str) -> bool {
    let pattern = "0000-00-00T00-00-00.000";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(b, p)| match p {
            b'0' => b.is_ascii_digit(),
            p => b == p,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn large_files_are_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let settings = AuditLogSettings {
            max_size: 1,
            max_backups: 2,
            max_age: 0,
            ..AuditLogSettings::default()
        };
        let Ok(LogFile::File(mut file)) = LogFile::open(&path, &settings) else {
            panic!("no file");
        };
        file.size_max = 10;
        file.write(b"12345\n").unwrap();
        assert_eq!(names(directory.path()), ["audit.log"]);
        file.write(b"67890\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"67890\n");
        assert_eq!(names(directory.path()).len(), 2);
        file.compress = true;
        file.rotate(SystemTime::UNIX_EPOCH + Duration::from_millis(86_400_123))
            .unwrap();
        let packed = directory
            .path()
            .join("audit-1970-01-02T00-00-00.123.log.gz");
        assert!(packed.exists());
        file.write(b"a\n").unwrap();
        file.rotate(SystemTime::UNIX_EPOCH + Duration::from_secs(172_800))
            .unwrap();
        // The two newest are kept.
        assert!(!packed.exists());
        assert_eq!(names(directory.path()).len(), 3);
        file.backups_max = 0;
        file.age_max = Duration::from_secs(1);
        file.rotate(SystemTime::now() + Duration::from_secs(60))
            .unwrap();
        assert_eq!(names(directory.path()).len(), 2);
    }

    #[test]
    fn stamps() {
        assert!(is_stamp(&stamp(SystemTime::now())));
        assert!(!is_stamp("2020-01-01") && !is_stamp("x000-00-00T00-00-00.000"));
    }
}
