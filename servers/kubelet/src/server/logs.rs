//! Container logs: tail, since, timestamps, limits, previous instances, and following a log as it grows.

use crate::directory::Watcher;
use crate::labels;
use crate::pod::context::Context;
use crate::server::route::{Query, find};
use crate::server::{Body, Response, text};
use bytes::Bytes;
use corten_core::Time;
use corten_runtime::{ContainerState, ContainerStatus, Event};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// What is asked of a log.
#[derive(Clone, Debug, Default)]
struct Wanted {
    tail: Option<u64>,
    /// Nothing older than this, in microseconds since 1970.
    since: Option<i64>,
    limit: Option<u64>,
    timestamps: bool,
    follow: bool,
    previous: bool,
    stream: Option<String>,
}

impl Wanted {
    fn parse(query: &Query) -> Result<Wanted, String> {
        let number = |key: &str| match query.get(key) {
            None | Some("") => Ok(None),
            Some(value) => value
                .parse::<u64>()
                .map(Some)
                .map_err(|_| format!("invalid {key}: {value:?}")),
        };
        let since = match (number("sinceSeconds")?, query.get("sinceTime")) {
            (Some(seconds), _) => Some((crate::clock::now().0 - seconds as i64 * 1000) * 1000),
            (None, Some(at)) if !at.is_empty() => {
                Some(micros(at).ok_or_else(|| format!("invalid sinceTime: {at:?}"))?)
            }
            _ => None,
        };
        Ok(Wanted {
            tail: number("tailLines")?,
            since,
            limit: number("limitBytes")?,
            timestamps: query.says("timestamps"),
            follow: query.says("follow"),
            previous: query.says("previous"),
            stream: query
                .get("stream")
                .filter(|s| !matches!(*s, "" | "All"))
                .map(str::to_lowercase),
        })
    }
}

/// One line as the shim wrote it: `time stream tag content`.
struct Line<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    content: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tag = parts.next()?;
    Some(Line {
        time,
        stream,
        partial: tag.first() == Some(&b'P'),
        content: parts.next().unwrap_or_default(),
    })
}

/// A time with any number of fractional digits, in microseconds since 1970.
fn micros(text: &str) -> Option<i64> {
    let seconds = Time::parse(text).ok()?.unix();
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction
        .bytes()
        .take_while(u8::is_ascii_digit)
        .chain(std::iter::repeat(b'0'))
        .take(6);
    Some(digits.fold(seconds, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// Turns lines of a log into what the client asked for.
struct Filter {
    wanted: Wanted,
    left: Option<u64>,
    /// The last line was not whole: the next one goes on in it.
    inside: bool,
}

impl Filter {
    fn new(wanted: Wanted) -> Filter {
        let left = wanted.limit;
        Filter {
            wanted,
            left,
            inside: false,
        }
    }

    fn full(&self) -> bool {
        self.left == Some(0)
    }

    fn push(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(line) else { return };
        let other = self
            .wanted
            .stream
            .as_deref()
            .is_some_and(|stream| stream != line.stream);
        let old = self
            .wanted
            .since
            .is_some_and(|since| micros(line.time).is_some_and(|time| time < since));
        if other || old {
            return;
        }
        let mut piece = Vec::with_capacity(line.content.len() + 40);
        if self.wanted.timestamps && !self.inside {
            piece.extend_from_slice(line.time.as_bytes());
            piece.push(b' ');
        }
        piece.extend_from_slice(line.content);
        if !line.partial {
            piece.push(b'\n');
        }
        self.inside = line.partial;
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        out.extend_from_slice(&piece);
    }
}

/// The offset at which the last `lines` lines begin.
fn tail_offset(file: &mut std::fs::File, lines: u64) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let mut at = end;
    let mut found = 0;
    let mut buffer = vec![0; CHUNK];
    while at > 0 {
        let size = at.min(CHUNK as u64);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let chunk = &mut buffer[..size as usize];
        file.read_exact(chunk)?;
        for (index, _) in chunk
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            let position = at + index as u64;
            if position + 1 == end {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok(position + 1);
            }
        }
    }
    Ok(0)
}

/// The end of a log, at most `lines` lines and `bytes` bytes of it.
pub(crate) fn last_output(log: &Path, lines: usize, bytes: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let offset = tail_offset(&mut file, lines as u64)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut raw = Vec::new();
        file.read_to_end(&mut raw)?;
        let mut filter = Filter::new(Wanted::default());
        let mut out = Vec::new();
        raw.split(|byte| *byte == b'\n')
            .for_each(|line| filter.push(line, &mut out));
        Ok(out)
    };
    let out = read().unwrap_or_default();
    let from = out.len().saturating_sub(bytes);
    String::from_utf8_lossy(&out[from..]).into_owned()
}

/// Answers a request for a container's log.
pub(crate) async fn answer(
    context: Arc<Context>,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &Query,
) -> Response {
    let wanted = match Wanted::parse(query) {
        Ok(wanted) => wanted,
        Err(error) => return text(422, error),
    };
    let status = match choose(&context, namespace, pod, container, &wanted).await {
        Ok(status) => status,
        Err(response) => return response,
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(8);
    tokio::spawn(async move {
        if let Err(error) = send(context, status, wanted, sender).await {
            tracing::debug!(%error, "a log could not be read to its end");
        }
    });
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(bytes)), receiver))
    });
    let body: Body = StreamBody::new(frames).boxed_unsync();
    let mut response = http::Response::new(body);
    let plain = http::HeaderValue::from_static("text/plain");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, plain);
    response
}

/// The instance whose log is asked for, or why there is none.
async fn choose(
    context: &Context,
    namespace: &str,
    pod: &str,
    container: &str,
    wanted: &Wanted,
) -> Result<ContainerStatus, Response> {
    let Some(handle) = find(context, namespace, pod) else {
        return Err(text(404, format!("pod \"{pod}\" not found\n")));
    };
    let object = handle.work.pod();
    if corten_podplan::container_of(&object.spec, container).is_none() {
        return Err(text(
            404,
            format!("container \"{container}\" not found in pod \"{pod}\"\n"),
        ));
    }
    let mut own = instances(context, &object.metadata.uid, container).await;
    let newest = own.pop();
    if wanted.previous {
        let before = own.pop();
        let refused = || {
            text(
                400,
                format!("previous terminated container \"{container}\" in pod \"{pod}\" not found"),
            )
        };
        return before.ok_or_else(refused);
    }
    newest
        .filter(|status| status.state != ContainerState::Created)
        .ok_or_else(|| {
            let statuses = handle.work.status();
            let lists = [
                &statuses.container_statuses,
                &statuses.init_container_statuses,
            ];
            let found = lists
                .into_iter()
                .flat_map(|list| list.iter())
                .find(|s| s.name == container);
            let waiting = found.and_then(|s| s.state.waiting.as_ref());
            let why = match waiting.map(|w| w.reason.as_str()) {
                Some("ErrImagePull") => "image can't be pulled".to_owned(),
                Some("ImagePullBackOff") => "trying and failing to pull image".to_owned(),
                Some(reason) if !reason.is_empty() => reason.to_owned(),
                _ => "ContainerCreating".to_owned(),
            };
            text(
                400,
                format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {why}"),
            )
        })
}

/// The instances of a container that the runtime knows, the newest last.
async fn instances(context: &Context, uid: &str, container: &str) -> Vec<ContainerStatus> {
    let mut all = context
        .engines
        .runtime
        .list_containers()
        .await
        .unwrap_or_default();
    let is = |status: &ContainerStatus, key: &str, value: &str| {
        status.labels.get(key).is_some_and(|have| have == value)
    };
    all.retain(|s| is(s, labels::POD_UID, uid) && is(s, labels::CONTAINER_NAME, container));
    all.sort_by_key(|status| status.attempt);
    all
}

/// The newest instance of a container.
pub(crate) async fn newest(
    context: &Context,
    uid: &str,
    container: &str,
) -> Option<ContainerStatus> {
    instances(context, uid, container).await.pop()
}

/// A log that is being read.
struct Reader {
    file: std::fs::File,
    /// The start of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Reader {
    fn open(path: &Path, tail: Option<u64>) -> std::io::Result<Reader> {
        let mut file = std::fs::File::open(path)?;
        let offset = match tail {
            Some(lines) => tail_offset(&mut file, lines)?,
            None => 0,
        };
        file.seek(SeekFrom::Start(offset))?;
        Ok(Reader {
            file,
            rest: Vec::new(),
        })
    }

    /// Reads what there is, up to one chunk. False at the end of the file.
    fn read(&mut self, filter: &mut Filter, out: &mut Vec<u8>) -> std::io::Result<bool> {
        let mut buffer = vec![0; CHUNK];
        let size = self.file.read(&mut buffer)?;
        self.rest.extend_from_slice(&buffer[..size]);
        let whole = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in self.rest[..whole].split_inclusive(|byte| *byte == b'\n') {
            filter.push(&line[..line.len() - 1], out);
        }
        self.rest.drain(..whole);
        Ok(size > 0)
    }
}

async fn send(
    context: Arc<Context>,
    status: ContainerStatus,
    wanted: Wanted,
    sender: mpsc::Sender<Bytes>,
) -> std::io::Result<()> {
    let Some(path) = status.log_path.clone() else {
        return Ok(());
    };
    let mut events = context.engines.runtime.subscribe();
    let watcher = Watcher::new(path.parent().unwrap_or(Path::new("/")))?;
    let mut running = status.state == ContainerState::Running;
    let follow = wanted.follow;
    let mut reader = match Reader::open(&path, wanted.tail) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut filter = Filter::new(wanted);
    loop {
        let mut out = Vec::new();
        let more = reader.read(&mut filter, &mut out)?;
        if !out.is_empty() && sender.send(out.into()).await.is_err() {
            return Ok(());
        }
        let over = !more && (!follow || !running);
        if filter.full() || over {
            return Ok(());
        }
        if more {
            continue;
        }
        if moved(&path, &reader)? {
            reader = Reader::open(&path, None)?;
            continue;
        }
        tokio::select! {
            changed = watcher.changed() => changed?,
            event = events.next() => match event {
                Some(Event::ContainerExited { container, .. }) if container == status.id => running = false,
                Some(Event::ContainerRemoved { container, .. }) if container == status.id => running = false,
                Some(Event::Lost) => {
                    let now = context.engines.runtime.container_status(&status.id).await;
                    running = now.is_ok_and(|s| s.state == ContainerState::Running);
                }
                None => running = false,
                Some(_) => {}
            },
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Whether the log was rotated away under the reader.
fn moved(log: &Path, reader: &Reader) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = reader.file.metadata()?;
    Ok(std::fs::metadata(log).is_ok_and(|now| now.ino() != open.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn read(text: &str, query: &str) -> String {
        let file = log(text);
        let wanted = Wanted::parse(&Query::parse(query)).unwrap();
        let mut reader = Reader::open(file.path(), wanted.tail).unwrap();
        let mut filter = Filter::new(wanted);
        let mut out = Vec::new();
        while reader.read(&mut filter, &mut out).unwrap() && !filter.full() {}
        String::from_utf8(out).unwrap()
    }

    const LOG: &str = "2026-01-01T00:00:01.5Z stdout F one\n2026-01-01T00:00:02.5Z stderr P tw\n\
                       2026-01-01T00:00:02.6Z stderr F o\n2026-01-01T00:00:03Z stdout F three\n";

    #[test]
    fn logs_are_cut_as_asked() {
        assert_eq!(read(LOG, ""), "one\ntwo\nthree\n");
        assert_eq!(read(LOG, "tailLines=1"), "three\n");
        assert_eq!(read(LOG, "tailLines=0"), "");
        assert_eq!(read(LOG, "limitBytes=5"), "one\nt");
        assert_eq!(read(LOG, "sinceTime=2026-01-01T00:00:02Z"), "two\nthree\n");
        assert_eq!(read(LOG, "stream=Stderr"), "two\n");
        let timed = read(LOG, "timestamps=true&tailLines=3");
        assert_eq!(
            timed,
            "2026-01-01T00:00:02.5Z two\n2026-01-01T00:00:03Z three\n"
        );
    }

    #[test]
    fn the_end_stands_in_for_a_message() {
        let file = log(LOG);
        assert_eq!(last_output(file.path(), 80, 2048), "one\ntwo\nthree\n");
        assert_eq!(last_output(file.path(), 1, 3), "ee\n");
    }
}
