//! A thread for each target, from the first contact to the last: one destination that stands still delays no other.
//!
//! The run tells a thread what to do next and collects what it has noted; a thread does one thing after the other, so that what
//! it is told while it is still busy waits. None outlives the run: each destination ends by itself at its `time_limit`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use chrono::NaiveDate;

use super::compare::{Compared, Comparing, Tonight};
use super::context::{Context, Held};
use super::last_look::last_look;
use super::purge::{Purged, Purging};
use super::recorder::Notes;
use super::target::{Decision, Target};
use super::upload::{self, Uploaded, Uploading};
use crate::error::{Explained, Failure};
use crate::exit_code::ExitCode;
use crate::report::DestinationReport;
use crate::step::Step;
use crate::text;

/// How often the run looks whether a thread has died.
const LOOK: Duration = Duration::from_millis(200);

/// What a thread is told to do next.
enum Order {
    /// Decide what tonight's content means for the target.
    Compare(Arc<Tonight>),
    /// Send what waits, then purge.
    Deliver(Delivery),
}

/// How to deliver.
#[derive(Clone)]
pub struct Delivery {
    /// Tonight's content; `None` if it could not be had.
    pub tonight: Option<Arc<Tonight>>,
    /// Whether to purge afterwards, and the last civil day that was believed.
    pub purge: Option<Option<NaiveDate>>,
    /// Tonight's archive in the outbox, if one was packed, and its bytes, to judge the free space by.
    pub packed: Option<(PathBuf, u64)>,
}

/// What a thread says when it has done something.
pub enum Answer<'a> {
    /// Decided.
    Compared {
        /// What it noted.
        notes: Notes<'a>,
        /// What it found.
        result: Result<Compared, Failure>,
    },
    /// Sent.
    Uploaded {
        /// What it noted.
        notes: Notes<'a>,
        /// What was published.
        result: Result<Vec<Uploaded>, Failure>,
    },
    /// Purged, the last thing to do.
    Purged {
        /// What it noted; of the last look, too.
        notes: Notes<'a>,
        /// What went.
        result: Result<Purged, Failure>,
    },
}

/// The threads of a run, in the order of the config.
pub struct Threads<'scope, 'a> {
    orders: Vec<Sender<Order>>,
    answers: Receiver<(usize, Answer<'a>)>,
    running: Vec<ScopedJoinHandle<'scope, Target<'a>>>,
}

impl<'scope, 'a: 'scope> Threads<'scope, 'a> {
    /// Starts a thread for each destination; none of them does anything before it is told to.
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, cx: Context<'a>, held: &'a Held) -> Self {
        let (answer, answers) = channel();
        let (mut orders, mut running) = (Vec::new(), Vec::new());
        for (index, settings) in cx.settings.destinations.iter().enumerate() {
            let (order, told) = channel();
            let (target, answer) = (Target::new(settings, cx.interrupt), answer.clone());
            orders.push(order);
            running.push(scope.spawn(move || {
                let mut work = Work { cx, held, target, begun: false };
                for order in told {
                    // The run is gone only where another thread has panicked.
                    work.carry_out(order, &mut |said| drop(answer.send((index, said))));
                }
                work.target
            }));
        }
        Threads { orders, answers, running }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.orders.len()
    }

    /// Tells all of them to compare.
    pub fn compare(&self, tonight: &Arc<Tonight>) {
        self.orders.iter().for_each(|order| drop(order.send(Order::Compare(Arc::clone(tonight)))));
    }

    /// Tells one of them to deliver.
    pub fn deliver(&self, index: usize, delivery: &Delivery) {
        drop(self.orders[index].send(Order::Deliver(delivery.clone())));
    }

    /// The next answer, and whose it is; `None` if there is none for a moment.
    ///
    /// # Panics
    /// When a thread has.
    pub fn answer(&mut self) -> Option<(usize, Answer<'a>)> {
        match self.answers.recv_timeout(LOOK) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                // Each waits for orders as long as there may be some: one that has ended has panicked.
                if let Some(dead) = self.running.iter().position(ScopedJoinHandle::is_finished) {
                    join(self.running.swap_remove(dead));
                }
                None
            }
        }
    }

    /// Ends all of them; what became of each destination, in the order of the config.
    pub fn finish(self) -> Vec<DestinationReport> {
        drop(self.orders);
        self.running.into_iter().map(|running| join(running).report).collect()
    }
}

fn join<'a>(running: ScopedJoinHandle<'_, Target<'a>>) -> Target<'a> {
    running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What a panic says, as a failure.
fn bug(step: Step, panic: &(dyn Any + Send)) -> Failure {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let hint = text!(
        "please report it with this log; the other destinations are not concerned"
            / "merci de le signaler avec ce journal ; les autres destinations ne sont pas concernées"
    );
    let error =
        anyhow::anyhow!("{said}").context(Explained::new("the program has a bug and gave this destination up", hint));
    Failure::new(step, error).with_code(ExitCode::Other)
}

/// What a thread works with.
struct Work<'a> {
    cx: Context<'a>,
    held: &'a Held,
    target: Target<'a>,
    begun: bool,
}

impl<'a> Work<'a> {
    fn carry_out(&mut self, order: Order, answer: &mut dyn FnMut(Answer<'a>)) {
        if !std::mem::replace(&mut self.begun, true) {
            self.target.interrupt = self.cx.interrupt.with_time_limit(self.target.settings.time_limit);
        }
        match order {
            Order::Compare(tonight) => {
                let (mut notes, mut result) = self.noting(Step::Compare, |work, notes| work.compare(&tonight, notes));
                if let Err(failure) = result.as_mut()
                    && failure.code == ExitCode::Other
                {
                    // A bug with one destination is no failure of the others.
                    let failure = std::mem::replace(failure, Failure::new(Step::Compare, anyhow::anyhow!("")));
                    notes.fail(Some(&self.target.settings.name), failure);
                    result = Ok(Compared { decision: Decision::Undecided, asked: true, unchanged: None });
                }
                answer(Answer::Compared { notes, result });
            }
            Order::Deliver(delivery) => {
                let (notes, result) = self.noting(Step::Upload, |work, notes| work.upload(&delivery, notes));
                answer(Answer::Uploaded { notes, result });
                let (notes, result) = self.noting(Step::Purge, |work, notes| work.purge(&delivery, notes));
                answer(Answer::Purged { notes, result });
            }
        }
    }

    /// Runs a part of a step. A panic is a bug, and the report must go out all the same.
    fn noting<T>(
        &mut self,
        step: Step,
        work: impl FnOnce(&mut Self, &mut Notes<'a>) -> Result<T, Failure>,
    ) -> (Notes<'a>, Result<T, Failure>) {
        let _step = tracing::info_span!("step", step = step.name()).entered();
        let _at = tracing::info_span!("at", destination = self.target.settings.name.as_str()).entered();
        let mut notes = Notes::new(step, self.cx.interrupt);
        let result = catch_unwind(AssertUnwindSafe(|| work(self, &mut notes))).unwrap_or_else(|panic| {
            self.target.session = None;
            Err(bug(step, &*panic))
        });
        (notes, result)
    }

    fn compare(&mut self, tonight: &Tonight, notes: &mut Notes<'_>) -> Result<Compared, Failure> {
        Comparing { cx: self.cx, held: self.held, tonight }.compare(&mut self.target, notes)
    }

    fn upload(&mut self, delivery: &Delivery, notes: &mut Notes<'_>) -> Result<Vec<Uploaded>, Failure> {
        if self.cx.dry_run {
            upload::note_trouble(&mut self.target, notes);
            return Ok(Vec::new());
        }
        let packed = delivery.packed.as_ref().map(|(path, _)| path.as_path());
        let uploading = Uploading { cx: self.cx, held: self.held, tonight: delivery.tonight.as_deref(), packed };
        uploading.upload(&mut self.target, notes)
    }

    fn purge(&mut self, delivery: &Delivery, notes: &mut Notes<'_>) -> Result<Purged, Failure> {
        self.cx.interrupt.check().map_err(|error| Failure::new(Step::Purge, error))?;
        let purged = match delivery.purge {
            Some(trusted_day) => Purging { cx: self.cx, held: self.held, trusted_day }.purge(&mut self.target, notes),
            None => Ok(Purged::default()),
        };
        if !self.cx.is_interrupted() {
            last_look(&mut self.target, delivery.packed.as_ref().map(|(_, bytes)| *bytes), notes);
        }
        purged
    }
}
