//! How the pipeline tells whoever is watching how far it is; what is shown, and whether, is decided in `output`.

use crate::report::StepReport;

/// Somebody who may be watching a run.
pub trait Progress: Sync {
    /// A transfer or a pass begins; `total` in bytes, if it is known. It ends when the bar is dropped.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Bar>;

    /// A step has ended.
    fn ended(&self, step: &StepReport);
}

/// The progress of one transfer.
pub trait Bar: Send + Sync {
    /// `done` of `total` bytes; both may change either way, after a restart for example.
    fn set(&self, done: u64, total: Option<u64>);
}

/// Nobody is watching.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn begin(&self, _: &str, _: Option<u64>) -> Box<dyn Bar> {
        Box::new(Unwatched)
    }

    fn ended(&self, _: &StepReport) {}
}

impl Bar for Unwatched {
    fn set(&self, _: u64, _: Option<u64>) {}
}
