//! The thread that makes the calls of the file system.
//!
//! A mount whose server is away (a hard NFS mount, sshfs) keeps whoever calls it until the server comes back, and no signal
//! ends that. So the calls belong to a thread of their own, and those who ask it wait no longer than `stall_timeout` and the
//! [`Interrupt`] allow; then it is left behind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::directory::Directory;
use crate::config::settings::LocalSettings;
use crate::destination::limits::{MOVING_BYTES, StallTimer};
use crate::destination::{DestinationError, ErrorKind};
use crate::interrupt::Interrupt;
use crate::text;

/// The longest wait between two looks at the interrupt.
const SLICE: Duration = Duration::from_millis(100);
/// How long a call may take once a signal has come or the time limit is over: enough to tidy up on a disk that is well.
const GRACE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(&mut Directory) + Send>;

/// What the thread tells those who wait, and they it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    moved: AtomicU64,
    given_up: AtomicBool,
}

impl Activity {
    /// Notes that so many bytes have moved.
    pub(super) fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that a call that moves no bytes has come back.
    pub(super) fn returned(&self) {
        self.moved(MOVING_BYTES);
    }

    /// Fails once the thread was left behind: a retry may be at work on the same names, so nothing must be changed any more.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.given_up.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the operation was given up meanwhile")),
            false => Ok(()),
        }
    }
}

/// The thread, for those who ask it; it ends once it is dropped and the call that it is in has come back.
pub(super) struct Worker {
    jobs: Sender<Job>,
    activity: Arc<Activity>,
    path: String,
    stall: Duration,
    interrupt: Interrupt,
}

impl Worker {
    /// Starts the thread, which makes no call yet.
    ///
    /// # Errors
    /// `Local` if there can be no thread.
    pub(super) fn start(
        settings: &LocalSettings,
        stall: Duration,
        interrupt: &Interrupt,
    ) -> Result<Self, DestinationError> {
        let activity = Arc::new(Activity::default());
        let (jobs, todo) = channel::<Job>();
        let mut directory = Directory::new(settings, Arc::clone(&activity));
        thread::Builder::new()
            .name("local".to_owned())
            .spawn(move || todo.into_iter().for_each(|job| job(&mut directory)))
            .map_err(|error| DestinationError::new(ErrorKind::Local, "failed to start a thread").caused_by(error))?;
        let path = settings.path.display().to_string();
        Ok(Worker { jobs, activity, path, stall, interrupt: interrupt.clone() })
    }

    /// Has the thread do something; what comes of it is to be received.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Directory) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (tell, answer) = sync_channel(1);
        let _ended = self.jobs.send(Box::new(move |directory| {
            let _given_up = tell.send(job(directory));
        }));
        answer
    }

    /// Has the thread do something and waits for what comes of it; `what` is for the error that says that it did not.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        what: &str,
        job: impl FnOnce(&mut Directory) -> Result<T, DestinationError> + Send + 'static,
    ) -> Result<T, DestinationError> {
        self.answer(what, &self.begin(job))
    }

    /// Waits for what comes of a job.
    pub(super) fn answer<T>(
        &self,
        what: &str,
        answer: &Receiver<Result<T, DestinationError>>,
    ) -> Result<T, DestinationError> {
        self.receive(what, answer)?
            .unwrap_or_else(|| Err(DestinationError::new(ErrorKind::Other, what).caused_by("the thread has ended")))
    }

    /// Waits for the next of what a job sends; `None` if it sends no more.
    ///
    /// # Errors
    /// `Unreachable` when nothing moves, `Local` after a signal and at the time limit: the thread is left behind then.
    pub(super) fn receive<T>(&self, what: &str, from: &Receiver<T>) -> Result<Option<T>, DestinationError> {
        let (mut timer, mut since) = (StallTimer::new(self.stall), Instant::now());
        let mut seen = self.activity.moved.load(Ordering::Relaxed);
        // Of a thread that was left behind, nothing is waited for a second time.
        while self.activity.check().is_ok() {
            match from.recv_timeout(SLICE.min(timer.left())) {
                Ok(received) => return Ok(Some(received)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let moved = self.activity.moved.load(Ordering::Relaxed);
            if moved != seen {
                timer.moved(moved - seen);
                (seen, since) = (moved, Instant::now());
            }
            if let (true, Err(stop)) = (since.elapsed() >= GRACE, self.interrupt.check()) {
                self.give_up();
                return Err(DestinationError::new(ErrorKind::Local, what).caused_by(stop));
            }
            if timer.is_stalled() {
                self.give_up();
            }
        }
        Err(self.unanswered(what))
    }

    /// Fails once a signal has come or the time limit is over.
    pub(super) fn check_interrupt(&self, what: &str) -> Result<(), DestinationError> {
        self.interrupt.check().map_err(|stop| DestinationError::new(ErrorKind::Local, what).caused_by(stop))
    }

    fn give_up(&self) {
        self.activity.given_up.store(true, Ordering::SeqCst);
    }

    fn unanswered(&self, what: &str) -> DestinationError {
        let (path, seconds) = (&self.path, self.stall.as_secs_f32());
        let why = format!("no byte moved for {seconds} s: the file system of `{path}` does not answer");
        DestinationError::new(ErrorKind::Unreachable, what).caused_by(why).with_hint(text!(
            "the server behind this mount is away, and `df {path}` hangs, too (`mount` shows which server it is): bring it back, or have root end what waits for it by `umount -f`"
                / "le serveur derrière ce montage ne répond plus, et `df {path}` se bloque aussi (`mount` montre quel serveur c'est) : rétablissez-le, ou faites terminer par root ce qui l'attend avec `umount -f`"
        ))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.give_up();
    }
}
