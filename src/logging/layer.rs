//! From `tracing` events to [`Record`]s: collects the fields, and finds step and destination in the spans around them.
//!
//! Spans belong to threads, so lines of several uploads at once keep their own destination; whoever starts a thread enters
//! the span in it (`let span = tracing::Span::current(); thread::spawn(move || span.in_scope(|| …))`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::State;

/// The one layer: decides by level and origin, then hands every line to the file, the memory and the terminal.
pub(super) struct RunLayer {
    pub(super) state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) step: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) message: String,
    pub(super) others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match field.name() {
            "message" => self.message = text(&value),
            "step" => self.step = Some(text(&value)),
            "destination" => self.destination = Some(text(&value)),
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string().into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}

/// Ours, as opposed to a dependency's.
pub(super) fn is_ours(target: &str) -> bool {
    target.strip_prefix("archive").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RunLayer {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level is known only once the config has been read, so nothing is decided for good.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if metadata.is_span() {
            // Whatever the level: without its span a line would lose its step.
            return is_ours(metadata.target());
        }
        let limit = if is_ours(metadata.target()) {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).most_verbose()
        } else {
            Some(Level::WARN)
        };
        limit.is_some_and(|limit| *metadata.level() <= limit)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // The innermost span wins, and the event itself before any span.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.step = fields.step.take().or_else(|| of_span.step.clone());
                fields.destination = fields.destination.take().or_else(|| of_span.destination.clone());
                fields.others.extend(of_span.others.iter().cloned());
            }
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).write(*event.metadata().level(), fields);
    }
}
