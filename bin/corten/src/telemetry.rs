//! Logs: one line each on standard error, for people or as JSON.

use crate::cli::LoggingFormat;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging what `filter` selects; an unreadable filter logs warnings only.
pub fn start(filter: &str, format: LoggingFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LoggingFormat::Text => builder.with_target(true).init(),
        LoggingFormat::Json => builder.event_format(Json).init(),
    }
}

/// Lines as upstream's components write them: `ts` in milliseconds, `caller`, `msg`, `v` for what is no error, `err`.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let milliseconds = since.unwrap_or_default().as_secs_f64() * 1000.0;
        let about = event.metadata();
        let mut members = Members::default();
        event.record(&mut members);
        let caller = format!(
            "{}:{}",
            about.file().unwrap_or_default(),
            about.line().unwrap_or_default()
        );
        write!(
            writer,
            "{{\"ts\":{milliseconds:.3},\"logger\":{},\"caller\":{},\"msg\":{}",
            quoted(about.target()),
            quoted(&caller),
            quoted(&members.message)
        )?;
        match *about.level() {
            tracing::Level::ERROR => {}
            tracing::Level::WARN | tracing::Level::INFO => write!(writer, ",\"v\":0")?,
            tracing::Level::DEBUG => write!(writer, ",\"v\":4")?,
            tracing::Level::TRACE => write!(writer, ",\"v\":6")?,
        }
        writeln!(writer, "{}}}", members.rest)
    }
}

/// A line's message and its other members as JSON.
#[derive(Default)]
struct Members {
    message: String,
    rest: String,
}

impl Members {
    fn add(&mut self, name: &str, json: &str) {
        let name = match name {
            "error" => "err",
            name => name,
        };
        let _ = write!(self.rest, ",{}:{json}", quoted(name));
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.add(name, &quoted(&text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.add(name, &quoted(value)),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), &value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), &value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.add(field.name(), &value.to_string()),
            false => self.add(field.name(), &quoted(&value.to_string())),
        }
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Kept;

        fn make_writer(&'a self) -> Kept {
            self.clone()
        }
    }

    #[test]
    fn lines_are_objects() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(kept.clone())
            .event_format(Json)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(error = "no \"x\"\n", count = 3, good = true, "it\tfailed");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(
            text.starts_with("{\"ts\":1") && text.ends_with("}\n"),
            "{text}"
        );
        for part in [
            "\"msg\":\"it\\u0009failed\"",
            "\"v\":0",
            "\"err\":\"no \\\"x\\\"\\n\"",
            "\"count\":3,\"good\":true",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
