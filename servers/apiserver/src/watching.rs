//! Watches: where one starts, what it shows, when it ends. One event is encoded once per format and version and shared
//! by all watchers. Invariant: a watch never skips; one that falls behind ends with 410.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_client::Status;
use corten_store::{Compacted, Entry, Event, Revision, Transition, Watch, WatchEnd};
use tokio::time::{Instant, Sleep};

use crate::catalog::Served;
use crate::custom::conversion::{self, Converted};
use crate::encode::{self, Columns, EventType, Form};
use crate::options::{ListOptions, Match};
use crate::outbound::Outbound;
use crate::selection::Selection;
use crate::server::Server;

/// How often a quiet watch says how far it has got.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Events looked at in one go.
const BATCH_MAX: usize = 256;
/// When no timeout is given, as upstream's --min-request-timeout (doubled at most by chance).
const TIMEOUT_MIN: u64 = 1800;

/// An open watch: entries to show first, then events.
pub(crate) struct Watching {
    served: Arc<Served>,
    selection: Selection,
    outbound: Arc<Outbound>,
    /// Keeps what a webhook has converted at hand until it is shown.
    converted: Converted,
    /// Whether the events at hand still have to be converted.
    unprepared: bool,
    first: VecDeque<Arc<Entry>>,
    /// The bookmark after the initial events, at this revision.
    initial_end: Option<Revision>,
    /// Events at hand, the next one last.
    events: Vec<Arc<Event>>,
    source: Source,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Rings at the end or when the next bookmark is due, whichever is first. Made once: an event costs no timer.
    timer: Pin<Box<Sleep>>,
    seen: Revision,
    ended: bool,
}

enum Source {
    Open(Watch),
    /// Ends at once with 410.
    Expired(Compacted),
}

/// One thing a watch shows.
pub(crate) enum Shown {
    /// An object came, changed or left.
    Entry {
        kind: EventType,
        entry: Arc<Entry>,
        event: Option<Arc<Event>>,
        revision: Revision,
    },
    /// Everything up to here was shown; `initial` ends the initial events.
    Bookmark { revision: Revision, initial: bool },
    /// The watch cannot go on.
    Error(Status),
}

/// The revision that the client names.
fn asked_revision(options: &ListOptions) -> Result<Revision, Status> {
    let revision = options.revision().map_err(|status| {
        // Watches word it as a failure of the server.
        let text = status
            .message
            .trim_start_matches("invalid resource version: ")
            .to_owned();
        Status::new(500, "", text)
    })?;
    Ok(Revision(revision))
}

/// Opens a watch.
pub(crate) async fn open(
    server: &Server,
    served: &Arc<Served>,
    namespace: &str,
    options: &ListOptions,
) -> Result<Watching, Status> {
    let selection = Selection::parse(served, options)?;
    let scope = selection.scope(namespace);
    let asked = asked_revision(options)?;
    let from_now = matches!(options.resource_version.as_str(), "" | "0") || options.initial_events;
    let mut first = VecDeque::new();
    let mut initial_end = None;
    let mut converted = Converted::default();
    let mut start = asked;
    if from_now {
        if options.initial_events && options.version_match == Match::NotOlderThan {
            crate::read::wait_fresh(server, asked).await?;
        }
        let snapshot = server.store.snapshot(&served.storage);
        start = snapshot.revision();
        let wanted = options.initial_events || options.version_match == Match::Unset;
        if wanted {
            let all = conversion::objects(served, snapshot.range(&scope, None))?;
            converted = conversion::ready(&server.outbound, served, &all).await?;
            first.extend(selection.of(&snapshot, &scope, None).cloned());
        }
        if options.initial_events && options.bookmarks {
            initial_end = Some(start);
        }
    }
    let source = match server.store.watch(&served.storage, scope, start) {
        Ok(watch) => Source::Open(watch),
        Err(compacted) => Source::Expired(compacted),
    };
    let now = Instant::now();
    let seconds = options
        .timeout_seconds
        .filter(|s| *s > 0)
        .unwrap_or_else(|| TIMEOUT_MIN + server.random() % TIMEOUT_MIN);
    let deadline = now + Duration::from_secs(seconds);
    let next_bookmark = first_bookmark(now, seconds);
    let rings = wake_at(options.bookmarks, next_bookmark, deadline);
    Ok(Watching {
        served: served.clone(),
        selection,
        outbound: server.outbound.clone(),
        converted,
        unprepared: false,
        first,
        initial_end,
        events: Vec::new(),
        source,
        bookmarks: options.bookmarks,
        next_bookmark,
        deadline,
        timer: Box::pin(tokio::time::sleep_until(rings)),
        seen: start,
        ended: false,
    })
}

/// A bookmark a minute, the first one at the latest shortly before the end.
fn first_bookmark(now: Instant, seconds: u64) -> Instant {
    let before_end = Duration::from_secs(seconds.saturating_sub(2));
    now + if before_end.is_zero() {
        BOOKMARK_EVERY
    } else {
        BOOKMARK_EVERY.min(before_end)
    }
}

fn wake_at(bookmarks: bool, next_bookmark: Instant, deadline: Instant) -> Instant {
    match bookmarks {
        true => next_bookmark.min(deadline),
        false => deadline,
    }
}

impl Watching {
    /// What is to be shown next; `None` = the watch has ended. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Shown> {
        loop {
            if self.ended {
                return None;
            }
            if self.unprepared
                && let Err(status) = self.prepare().await
            {
                self.ended = true;
                return Some(Shown::Error(status));
            }
            if let Some(shown) = self.ready() {
                return Some(shown);
            }
            let watch = match &mut self.source {
                Source::Open(watch) => watch,
                Source::Expired(compacted) => {
                    self.ended = true;
                    let text = format!(
                        "too old resource version: {} ({})",
                        compacted.requested, compacted.oldest
                    );
                    return Some(Shown::Error(Status::expired(text)));
                }
            };
            tokio::select! {
                biased;
                got = watch.next_batch(&mut self.events, BATCH_MAX) => match got {
                    Ok(()) => {
                        self.events.reverse();
                        self.unprepared = self.served.conversion().is_some();
                    }
                    Err(WatchEnd::Closed) => self.ended = true,
                    Err(WatchEnd::TooSlow { seen, oldest }) => {
                        self.ended = true;
                        // After the end nothing is shown.
                        self.events.clear();
                        let text = format!("too old resource version: {seen} ({oldest})");
                        return Some(Shown::Error(Status::expired(text)));
                    }
                },
                () = &mut self.timer => if let Some(bookmark) = self.ring() {
                    return Some(bookmark);
                },
            }
        }
    }

    /// What is due at the timer's ring: the end, or a bookmark.
    fn ring(&mut self) -> Option<Shown> {
        let now = Instant::now();
        self.ended = now >= self.deadline;
        if self.ended {
            return None;
        }
        let is_due = self.bookmarks && now >= self.next_bookmark;
        if is_due {
            self.next_bookmark = now + BOOKMARK_EVERY;
        }
        let rings = wake_at(self.bookmarks, self.next_bookmark, self.deadline);
        self.timer.as_mut().reset(rings);
        is_due.then(|| Shown::Bookmark {
            revision: self.progress(),
            initial: false,
        })
    }

    /// Has the events at hand converted.
    async fn prepare(&mut self) -> Result<(), Status> {
        let events = self.events.iter();
        let entries = events.flat_map(|e| e.entry().into_iter().chain(e.previous()));
        let objects = conversion::objects(&self.served, entries)?;
        self.converted = conversion::ready(&self.outbound, &self.served, &objects).await?;
        self.unprepared = false;
        Ok(())
    }

    /// What can be shown without waiting.
    pub(crate) fn ready(&mut self) -> Option<Shown> {
        if let Some(entry) = self.first.pop_front() {
            let revision = entry.mod_revision();
            return Some(Shown::Entry {
                kind: EventType::Added,
                entry,
                event: None,
                revision,
            });
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(Shown::Bookmark {
                revision,
                initial: true,
            });
        }
        while let Some(event) = self.events.pop() {
            self.seen = event.revision();
            let revision = self.seen;
            let (kind, entry) = match event.transition(|entry| self.selection.selects(entry)) {
                None => continue,
                Some(Transition::Enter(entry)) => (EventType::Added, entry.clone()),
                Some(Transition::Change(entry)) => (EventType::Modified, entry.clone()),
                Some(Transition::Leave(entry)) => (EventType::Deleted, entry.clone()),
            };
            return Some(Shown::Entry {
                kind,
                entry,
                event: Some(event),
                revision,
            });
        }
        None
    }

    fn progress(&mut self) -> Revision {
        match &mut self.source {
            Source::Open(watch) if self.events.is_empty() => watch.progress(),
            _ => self.seen,
        }
    }

    /// The frame of one event, after waiting for it.
    pub(crate) async fn next_frame(&mut self, form: &mut Form) -> Option<Bytes> {
        let shown = self.next().await?;
        form.now = crate::server::wall_clock();
        Some(self.frame(form, shown))
    }

    /// The frames of everything that can be shown now, at most `BATCH_MAX` of them, after waiting for the first.
    pub(crate) async fn frames(&mut self, form: &mut Form) -> Option<Bytes> {
        let first = self.next_frame(form).await?;
        let Some(second) = self.ready() else {
            return Some(first);
        };
        let mut joined = Vec::with_capacity(first.len() * 4);
        joined.extend_from_slice(&first);
        joined.extend_from_slice(&self.frame(form, second));
        for _ in 0..BATCH_MAX {
            let Some(shown) = self.ready() else { break };
            joined.extend_from_slice(&self.frame(form, shown));
        }
        Some(joined.into())
    }

    fn frame(&mut self, form: &mut Form, shown: Shown) -> Bytes {
        let made = match shown {
            Shown::Entry {
                kind,
                entry,
                event,
                revision,
            } => {
                let made =
                    encode::event(&self.served, form, kind, &entry, event.as_deref(), revision);
                form.columns = Columns::Known;
                made
            }
            Shown::Bookmark { revision, initial } => {
                encode::bookmark(&self.served, form, revision, initial)
            }
            Shown::Error(status) => Ok(encode::error_event(form, &status)),
        };
        made.unwrap_or_else(|status| {
            self.ended = true;
            encode::error_event(form, &status)
        })
    }
}
