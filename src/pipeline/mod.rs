//! The run: eight steps, strictly in the order of [`Step`]. This file says the order; [`night`] hands one step's result to the
//! next; steps do not know each other.
//!
//! A step that fails ends the chain for the steps that need it, never the report. From `compare` on each destination has a
//! thread of its own ([`threads`]).

pub mod compare;
pub mod context;
pub mod download;
mod facts;
mod last_look;
mod night;
pub mod pack;
pub mod purge;
pub mod rebuild;
pub mod recorder;
pub mod report;
pub mod start;
pub mod target;
mod threads;
pub mod upload;
pub mod verify;

use std::thread;
use std::time::Instant;

use self::context::Context;
use self::facts::Facts;
use self::night::Night;
use self::recorder::Recorder;
use self::start::start;
use self::target::Target;
use crate::report::RunReport;
use crate::step::Step;
use crate::text::Text;
use crate::work_dir::lock::Lock;
use crate::work_dir::state::State;

/// A run that is about to happen.
pub struct Run<'a> {
    /// Given to every step.
    pub cx: Context<'a>,
    /// Distinguishes this run in logs and reports.
    pub run_id: &'a str,
    /// The machine's name.
    pub host: &'a str,
}

/// What is left after the last step but `report`.
pub struct Ended {
    /// The result so far.
    pub report: RunReport,
    /// To be saved; `None` if the run never got that far.
    pub state: Option<State>,
    /// To be let go at the very end.
    pub lock: Option<Lock>,
}

impl Run<'_> {
    /// Runs every step but `report`; `warnings` are what the configuration could do better.
    pub fn run(&self, warnings: Vec<Text>) -> Ended {
        let begun = Instant::now();
        let cx = self.cx;
        let mut recorder = Recorder::new(cx.interrupt, cx.progress);
        let mut facts = Facts::default();
        let mut lock = None;
        let started = recorder.step(Step::Start, |notes| {
            warnings.into_iter().for_each(|warning| notes.warn(warning));
            start(&cx, self.run_id, &mut lock, notes)
        });
        recorder.lock = lock;
        let (destinations, state) = match started {
            Some(held) => {
                let destinations =
                    thread::scope(|scope| Night::begin(scope, cx, &held, &mut recorder, &mut facts).after_start());
                (destinations, Some(held.into_state()))
            }
            None => {
                Step::ALL[1..7].iter().for_each(|step| recorder.skip_after_failure(*step));
                let untouched = |settings| Target::new(settings, cx.interrupt).report;
                (cx.settings.destinations.iter().map(untouched).collect(), None)
            }
        };
        let lock = recorder.lock.take();
        let mut report = self.report(recorder, destinations, facts);
        report.seconds = begun.elapsed().as_secs_f64();
        Ended { report, state, lock }
    }
}
