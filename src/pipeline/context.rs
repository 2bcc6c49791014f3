//! What every step is given and none changes, and what the run holds once it has started.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;

use crate::config::settings::Settings;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::work_dir::WorkDir;
use crate::work_dir::outbox::Outbox;
use crate::work_dir::state::State;

/// Given to every step.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The job.
    pub settings: &'a Settings,
    /// The job's time when the run began; decides the date in the archive's name.
    pub now: DateTime<Tz>,
    /// Stops before `upload` and says what would be done.
    pub dry_run: bool,
    /// Asked between two blocks.
    pub interrupt: &'a Interrupt,
    /// Told how far everything is.
    pub progress: &'a dyn Progress,
}

impl Context<'_> {
    /// The date of tonight's archive.
    pub fn today(&self) -> NaiveDate {
        self.now.date_naive()
    }

    /// Whether a signal has come.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.exit_code().is_some()
    }
}

/// What the run holds in its work dir; shared by the threads of the targets.
pub struct Held {
    /// The paths.
    pub work_dir: WorkDir,
    /// Archives that wait. Its descriptions are written only under [`Held::state`].
    pub outbox: Outbox,
    state: Mutex<State>,
}

impl Held {
    /// What `start` has found.
    pub fn new(work_dir: WorkDir, outbox: Outbox, state: State) -> Self {
        Held { work_dir, outbox, state: Mutex::new(state) }
    }

    /// What the last run left, and what this one adds; also the right to write the outbox's descriptions.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state alone, at the end of the run.
    pub fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
