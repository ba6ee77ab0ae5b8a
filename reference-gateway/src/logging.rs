//! One JSON object per line: `ts`, `level`, `target`, `message`, then the event's own fields.

use std::{fmt, io, num::NonZeroU8};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The longest line that a pipe takes whole, whoever else writes to it.
const LONGEST_LINE: usize = 4096;

/// What is left of a text in a line that would be longer.
const SHORTENED: usize = 256;

/// Sends log lines to standard output, at `level` and above; those of a worker bear its number.
///
/// Each line is one write, and short enough that workers which share the output tear none.
///
/// # Errors
/// When `level` is not a filter, or logging was already set up.
pub fn start(
    level: &str,
    worker: Option<NonZeroU8>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tracing_subscriber::fmt()
        .event_format(JsonLine { worker })
        .with_env_filter(EnvFilter::try_new(level)?)
        .with_writer(io::stdout)
        .try_init()
}

struct JsonLine {
    worker: Option<NonZeroU8>,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("ts".to_owned(), jiff::Timestamp::now().to_string().into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        line.insert("message".to_owned(), Value::Null);
        if let Some(worker) = self.worker {
            line.insert("worker".to_owned(), worker.get().into());
        }
        event.record(&mut Fields(&mut line));
        out.write_str(&ended(line))
    }
}

/// The line with its end. One that is too long for a pipe says less.
fn ended(mut line: Map<String, Value>) -> String {
    let whole = format!("{}\n", Value::Object(line.clone()));
    if whole.len() <= LONGEST_LINE {
        return whole;
    }
    for value in line.values_mut() {
        if let Value::String(text) = value
            && text.len() > SHORTENED
        {
            text.truncate(text.floor_char_boundary(SHORTENED));
            text.push('…');
        }
    }
    format!("{}\n", Value::Object(line))
}

/// Collects an event's fields as JSON, so that no text can break a line.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(name: &str) -> String {
        let fields = json!({"message": "cached entry replaced", "name": name});
        ended(fields.as_object().unwrap().clone())
    }

    #[test]
    fn a_line_that_fits_is_whole() {
        insta::assert_snapshot!(line("rg:team:t"), @r#"{"message":"cached entry replaced","name":"rg:team:t"}"#);
    }

    #[test]
    fn a_line_too_long_for_a_pipe_is_shortened_and_stays_json() {
        let line = line(&"é".repeat(LONGEST_LINE));
        assert!(line.len() <= LONGEST_LINE && line.ends_with('\n'));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert!(read["name"].as_str().unwrap().ends_with("é…"));
    }
}
