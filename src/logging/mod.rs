//! The log: `tracing` events as lines in one file per day, in memory for the mail, and on the terminal with `-v`.
//!
//! Our own events count from the configured level, those of libraries only as warnings. Whatever is written has passed the
//! [`Redactor`]. Trouble with the log never stops a run: it becomes a [`Logging::warning`] for the report. Nothing here
//! knows what a run does; steps come from spans: `tracing::info_span!("step", step = "download")`, and
//! `destination = "nas"` beside it where one is concerned.

mod file;
mod kept;
mod layer;
mod line;
mod redact;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::SubscriberExt;

use crate::config::secret::Secret;
use crate::config::settings::{LogFormat, LogSettings};
use crate::text::{Text, floor_boundary};
use kept::Kept;
use layer::{Fields, RunLayer};
use line::Record;
pub use redact::{REDACTED, Redactor};

/// The most bytes of one message or field; more is no line of a log.
const MOST_OF_A_FIELD: usize = 64 << 10;

/// What the terminal shows of the log. The run's result is printed by others; by default the log adds nothing to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// `-q`
    Quiet,
    /// Neither `-q` nor `-v`.
    #[default]
    Normal,
    /// `-v`: the lines of the log.
    Verbose,
    /// `-vv`: and what helps to find bugs.
    Debug,
}

impl Verbosity {
    fn level(self) -> Option<Level> {
        match self {
            Verbosity::Quiet | Verbosity::Normal => None,
            Verbosity::Verbose => Some(Level::INFO),
            Verbosity::Debug => Some(Level::DEBUG),
        }
    }
}

/// The log of this process; clones are the same log.
#[derive(Clone)]
pub struct Logging {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logging").field("file", &self.file()).finish_non_exhaustive()
    }
}

struct State {
    now: fn() -> DateTime<Utc>,
    tz: Tz,
    run_id: String,
    level: Level,
    format: LogFormat,
    redactor: Redactor,
    file: Option<(PathBuf, File)>,
    kept: Kept,
    verbosity: Verbosity,
    console: Box<dyn Write + Send>,
    warning: Option<Text>,
}

/// The one log that `tracing` was told about; set up once per process.
static GLOBAL: OnceLock<Logging> = OnceLock::new();

/// Starts the log before the configuration is known: terminal and memory only.
pub fn init_console(verbosity: Verbosity) -> Logging {
    let logging = GLOBAL.get_or_init(|| {
        let logging = Logging::new(verbosity);
        // Fails only where another subscriber was set before, as an embedding program might; then that one gets the events.
        let _ = tracing::subscriber::set_global_default(logging.subscriber());
        logging
    });
    logging.lock().verbosity = verbosity;
    logging.clone()
}

/// Starts the log of a run: terminal, memory, and the day's file in `settings.dir`. May follow [`init_console`].
///
/// Never fails: where the file cannot be written, [`Logging::warning`] says so and the run goes on.
pub fn init(
    settings: &LogSettings,
    tz: Tz,
    job: &str,
    run_id: &str,
    verbosity: Verbosity,
    secrets: &[Secret],
) -> Logging {
    let logging = init_console(verbosity);
    logging.open(settings, tz, job, run_id, secrets);
    logging
}

/// A text without the secrets of this process, for whatever it prints.
pub fn redacted(text: &str) -> String {
    GLOBAL.get().map_or_else(|| text.to_owned(), |logging| logging.redact(text))
}

impl Logging {
    /// A log that `tracing` does not know of yet; see [`Logging::subscriber`].
    pub fn new(verbosity: Verbosity) -> Self {
        let state = State {
            now: Utc::now,
            tz: Tz::UTC,
            run_id: "-".to_owned(),
            level: Level::INFO,
            format: LogFormat::Text,
            redactor: Redactor::default(),
            file: None,
            kept: Kept::new(kept::HALF_BYTES),
            verbosity,
            console: Box::new(io::stderr()),
            warning: None,
        };
        Logging { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subscriber that feeds this log, for `tracing::subscriber::with_default` in tests.
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::registry().with(RunLayer { state: Arc::clone(&self.state) })
    }

    /// From now on, none of these secrets is in a line, nor in what [`redacted`] gives.
    pub fn protect(&self, secrets: &[Secret]) {
        let redactor = Redactor::new(secrets);
        redactor.install();
        self.lock().redactor = redactor;
    }

    /// From now on: this run's identity, secrets, level, format and file. Removes the job's log files older than `keep`.
    pub fn open(&self, settings: &LogSettings, tz: Tz, job: &str, run_id: &str, secrets: &[Secret]) {
        self.protect(secrets);
        let mut old = (Vec::new(), None);
        {
            let mut state = self.lock();
            state.tz = tz;
            state.run_id = run_id.to_owned();
            state.level = settings.level;
            state.format = settings.format;
            let today = (state.now)().with_timezone(&tz).date_naive();
            match file::open(&settings.dir, job, today) {
                Ok(opened) => {
                    state.file = Some(opened);
                    old = file::remove_old(&settings.dir, job, today, settings.keep.as_secs().div_ceil(86_400));
                }
                Err(error) => state.file_failed(&settings.dir.display().to_string(), &error),
            }
        }
        // Said only after the lock is free: these lines go through `tracing` and come back here.
        if !old.0.is_empty() {
            tracing::info!(removed = old.0.len(), oldest = old.0[0], "removed old log files");
        }
        if let Some(error) = old.1 {
            tracing::warn!("failed to remove old log files in `{}`: {error}", settings.dir.display());
        }
    }

    /// Sends the terminal's lines elsewhere, for example above progress bars.
    pub fn set_console(&self, console: Box<dyn Write + Send>) {
        self.lock().console = console;
    }

    /// The lines of this process so far, of at most about 1 MB: the beginning and the end.
    pub fn run_lines(&self) -> String {
        self.lock().kept.text()
    }

    /// The log file, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.lock().file.as_ref().map(|(path, _)| path.clone())
    }

    /// What is wrong with the log itself: its directory cannot be written, or the disk is full.
    pub fn warning(&self) -> Option<Text> {
        self.lock().warning.clone()
    }

    /// A text without this run's secrets, for whatever leaves the process by another way than the log.
    pub fn redact(&self, text: &str) -> String {
        self.lock().redactor.redact(text)
    }
}

impl State {
    fn most_verbose(&self) -> Option<Level> {
        Some(self.verbosity.level().map_or(self.level, |console| console.max(self.level)))
    }

    fn file_failed(&mut self, path: &str, error: &io::Error) {
        self.warning = Some(Text::new(
            format!("the log cannot be written: `{path}`: {error}; check `log.dir`, its rights and the free space"),
            format!(
                "le journal ne peut pas être écrit : `{path}` : {error} ; vérifiez `log.dir`, ses droits et l’espace libre"
            ),
        ));
        if self.verbosity != Verbosity::Quiet {
            let _ = writeln!(self.console, "warning: the log cannot be written: `{path}`: {error}");
        }
    }

    fn write(&mut self, level: Level, fields: Fields) {
        let redact = |text: &str| {
            let mut text = self.redactor.redact(text);
            let end = floor_boundary(&text, MOST_OF_A_FIELD);
            if end < text.len() {
                text.truncate(end);
                text.push('…');
            }
            text
        };
        let message = redact(&fields.message);
        let step = fields.step.as_deref().map(redact);
        let destination = fields.destination.as_deref().map(redact);
        let others: Vec<(&'static str, Value)> = fields
            .others
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name, redact(&text).into()),
                other => (name, other),
            })
            .collect();
        let record = Record {
            time: (self.now)().with_timezone(&self.tz),
            level,
            run_id: &self.run_id,
            step: step.as_deref(),
            destination: destination.as_deref(),
            message: &message,
            fields: &others,
        };
        let console = self.verbosity.level().filter(|limit| level <= *limit).map(|_| record.console());
        let logged = (level <= self.level).then(|| match self.format {
            LogFormat::Text => record.text(),
            LogFormat::Json => record.json(),
        });
        if let Some(line) = logged {
            self.kept.push(&line);
            if let Some((path, file)) = &mut self.file
                && let Err(error) = file.write_all(line.as_bytes())
                && self.warning.is_none()
            {
                let path = path.display().to_string();
                self.file_failed(&path, &error);
            }
        }
        if let Some(line) = console {
            let _ = self.console.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
