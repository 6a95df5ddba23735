//! Logs: one line an event on standard error, as text or JSON. Under systemd's journal the line begins with its syslog
//! priority and has no time of its own, since the journal adds a better one.

use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, time::SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("`{other}` is not a log format; write text or json")),
        }
    }
}

/// Sends this process's events to standard error. `level` is a filter as in `RUST_LOG`, and comes before it; `info` when
/// neither says anything. A second call changes nothing.
///
/// # Errors
/// When the filter cannot be read.
pub fn install(format: LogFormat, level: Option<&str>) -> Result<(), String> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = level.or(from_environment.as_deref()).unwrap_or("info");
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("`{filter}` is not a log filter: {error}"))?;
    let subscriber = subscriber(format, under_journal(), filter, std::io::stderr);
    // An error only says that the process has a subscriber already: a test's, or an earlier call's.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn subscriber<W>(
    format: LogFormat,
    journal: bool,
    filter: EnvFilter,
    to: W,
) -> Box<dyn Subscriber + Send + Sync + 'static>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(to).with_ansi(false);
    let line = Line { journal };
    match format {
        LogFormat::Text => Box::new(builder.event_format(line).finish()),
        LogFormat::Json => Box::new(builder.fmt_fields(JsonFields::new()).event_format(JsonLine(line)).finish()),
    }
}

/// Whether standard error is the journal: systemd names the stream's device and inode.
fn under_journal() -> bool {
    use std::os::fd::AsFd;
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = nix::sys::stat::fstat(std::io::stderr().as_fd()) else { return false };
    named == format!("{}:{}", stat.st_dev, stat.st_ino)
}

#[derive(Clone, Copy, Debug)]
struct Line {
    journal: bool,
}

impl Line {
    fn prefix(self, writer: &mut Writer<'_>, level: Level) -> fmt::Result {
        if !self.journal {
            return Ok(());
        }
        // sd-daemon(3): the journal takes the number as the priority and does not keep it in the message.
        let priority = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        let format: Format<Full, SystemTime> = Format::default().with_target(false).with_ansi(false);
        if self.journal {
            format.without_time().with_level(false).format_event(context, Writer::new(&mut text), event)?;
        } else {
            format.format_event(context, Writer::new(&mut text), event)?;
        }
        self.prefix(&mut to, *event.metadata().level())?;
        // A cloud's words may hold line feeds; an event stays one line, so that nobody's text can pass for ours.
        writeln!(to, "{}", text.trim_end().replace('\n', "\\n").replace('\r', "\\r"))
    }
}

struct JsonLine(Line);

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        self.0.prefix(&mut to, *event.metadata().level())?;
        let format: Format<Json, SystemTime> = Format::default().json().flatten_event(true);
        if self.0.journal {
            format.without_time().format_event(context, to, event)
        } else {
            format.format_event(context, to, event)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn check(format: LogFormat, journal: bool, expect: impl Fn(&str) -> bool) {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(format, journal, EnvFilter::new("info"), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(fleet = "web", cause = %"first\n<0>second", "Group could not be read.");
            tracing::debug!("Not shown.");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(expect(text.trim_end()), "{format:?} {journal} {text}");
    }

    #[test]
    fn one_event_is_one_line() {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        check(LogFormat::Text, false, |text| text.contains("WARN Group could not be read. fleet=\"web\""));
        check(LogFormat::Text, true, |text| text.starts_with("<4>Group could not be read."));
        check(LogFormat::Json, false, |text| json(text)["fleet"] == "web" && json(text)["timestamp"].is_string());
        check(LogFormat::Json, true, |text| json(text.strip_prefix("<4>").unwrap()).get("timestamp").is_none());
    }

    #[test]
    fn formats_and_filters_are_checked() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("yaml".parse::<LogFormat>().is_err());
        assert!(install(LogFormat::Text, Some("skala=loud=3")).is_err());
    }
}
