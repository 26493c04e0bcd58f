//! The container's log in CRI format: `<time> <stream> <F|P> <text>`. Lines longer than 16 KiB are split into
//! partial (`P`) entries, as is a last line without an end. Write errors (a full disk) lose lines, never the container.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest text of one entry.
const LINE_MAX: usize = 16 * 1024;

/// Which output a text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One container's log.
pub struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    /// The begun lines of both streams.
    begun: [Vec<u8>; 2],
}

impl Log {
    /// Opens the log, making its directory. Without a path everything is dropped.
    pub fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let mut log = Self {
            path,
            file: None,
            begun: [Vec::new(), Vec::new()],
        };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the path anew, for when the file was renamed.
    pub fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        self.file = Some(
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o640)
                .open(path)?,
        );
        Ok(())
    }

    /// Adds output.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let begun = &mut self.begun[stream as usize];
        let stamp = stamp(SystemTime::now());
        let mut out = Vec::with_capacity(bytes.len() + 64);
        while !bytes.is_empty() {
            let room = LINE_MAX - begun.len();
            let window = &bytes[..bytes.len().min(room + 1)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    entry(&mut out, &stamp, stream, 'F', [begun, &window[..end]]);
                    begun.clear();
                    bytes = &bytes[end + 1..];
                }
                None if window.len() > room => {
                    entry(&mut out, &stamp, stream, 'P', [begun, &window[..room]]);
                    begun.clear();
                    bytes = &bytes[room..];
                }
                None => {
                    begun.extend_from_slice(window);
                    bytes = &[];
                }
            }
        }
        if begun.is_empty() && begun.capacity() > 0 {
            *begun = Vec::new();
        }
        let _ = file.write_all(&out);
    }

    /// Writes begun lines; for the end of the container.
    pub fn finish(&mut self) {
        let stamp = stamp(SystemTime::now());
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.begun[stream as usize]);
            if let (false, Some(file)) = (begun.is_empty(), &mut self.file) {
                let mut out = Vec::new();
                entry(&mut out, &stamp, stream, 'P', [&begun, &[]]);
                let _ = file.write_all(&out);
            }
        }
    }
}

fn entry(out: &mut Vec<u8>, stamp: &str, stream: Stream, tag: char, text: [&[u8]; 2]) {
    let _ = write!(out, "{stamp} {} {tag} ", stream.name());
    out.extend_from_slice(text[0]);
    out.extend_from_slice(text[1]);
    out.push(b'\n');
}

/// RFC 3339 with nine digits, in UTC.
fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970 (years start in March, eras of 400 years).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(run: impl FnOnce(&mut Log)) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/0.log");
        let mut log = Log::open(Some(path.clone())).unwrap();
        run(&mut log);
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
            .collect()
    }

    #[test]
    fn lines_are_joined_and_streams_kept_apart() {
        let got = lines(|log| {
            log.write(Stream::Stdout, b"one\ntw");
            log.write(Stream::Stderr, b"oops\n");
            log.write(Stream::Stdout, b"o\n\nrest");
            log.finish();
        });
        assert_eq!(
            got,
            [
                "stdout F one",
                "stderr F oops",
                "stdout F two",
                "stdout F ",
                "stdout P rest"
            ]
        );
    }

    #[test]
    fn long_lines_are_split() {
        let got = lines(|log| {
            log.write(Stream::Stdout, &[b'x'; LINE_MAX]);
            log.write(Stream::Stdout, b"\n");
            log.write(Stream::Stdout, &[b'y'; 2 * LINE_MAX + 1]);
            log.write(Stream::Stdout, b"z\n");
        });
        let shape: Vec<_> = got
            .iter()
            .map(|line| (&line[7..8], line.len() - 9))
            .collect();
        assert_eq!(
            shape,
            [("F", LINE_MAX), ("P", LINE_MAX), ("P", LINE_MAX), ("F", 2)]
        );
    }

    #[test]
    fn a_renamed_file_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("0.log"), directory.path().join("old"));
        let mut log = Log::open(Some(path.clone())).unwrap();
        log.write(Stream::Stdout, b"a\n");
        std::fs::rename(&path, &old).unwrap();
        log.reopen().unwrap();
        log.write(Stream::Stdout, b"b\n");
        assert!(std::fs::read_to_string(old).unwrap().ends_with("a\n"));
        assert!(std::fs::read_to_string(path).unwrap().ends_with("b\n"));
    }

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000007Z"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::new(seconds, 7)), expected);
        }
    }
}
