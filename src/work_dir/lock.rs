//! One run at a time per job, and the trace of a run that died.
//!
//! The lock is a `flock` on the file `lock`, which the kernel lets go when the process ends, however it ends. The file's
//! content names the run that holds it and the step it is in; a clean end empties it. So a lock that is free but not empty
//! tells which run died, and where.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::step::Step;

/// The run that holds or held the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its id.
    pub run_id: String,
    /// Its process.
    pub pid: u32,
    /// When it began.
    pub started: DateTime<FixedOffset>,
    /// The step it was in.
    pub step: Step,
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    holder: Holder,
}

/// What came of asking for the lock.
#[derive(Debug)]
pub enum Acquired {
    /// We hold it. The run before us, if it died.
    Held(Lock, Option<Holder>),
    /// Another run holds it (its particulars, if they can be read).
    Busy(Option<Holder>),
}

impl Lock {
    /// Asks for the lock without waiting.
    ///
    /// # Errors
    /// When the file cannot be made, read or written.
    pub fn acquire(path: &Path, holder: Holder) -> io::Result<Acquired> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(super::no_follow());
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Acquired::Busy(read_holder(&mut file)?)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let dead = read_holder(&mut file)?;
        let mut lock = Lock { file, holder };
        lock.write()?;
        Ok(Acquired::Held(lock, dead))
    }

    /// Notes the step that begins.
    ///
    /// # Errors
    /// When the file cannot be written, on a full disk for example.
    pub fn enter(&mut self, step: Step) -> io::Result<()> {
        self.holder.step = step;
        self.write()
    }

    /// The run came to its end: nothing died here.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> io::Result<()> {
        self.file.set_len(0)
    }

    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.holder)?;
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.set_len(text.len() as u64)
    }
}

/// The holder named in the file; a torn or foreign content counts as none, for it is only a message to people.
fn read_holder(file: &mut File) -> io::Result<Option<Holder>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(4096).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(run_id: &str) -> Holder {
        let started = DateTime::parse_from_rfc3339("2026-11-20T01:00:00+01:00").unwrap();
        Holder { run_id: run_id.into(), pid: 7, started, step: Step::Start }
    }

    #[test]
    fn a_second_run_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let Acquired::Held(lock, None) = Lock::acquire(&path, holder("one")).unwrap() else { panic!() };
        let Acquired::Busy(Some(other)) = Lock::acquire(&path, holder("two")).unwrap() else { panic!() };
        assert_eq!(other.run_id, "one");
        lock.finish().unwrap();
        assert!(matches!(Lock::acquire(&path, holder("two")).unwrap(), Acquired::Held(_, None)));
    }

    #[test]
    fn a_torn_content_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, b"\xff\xfe\x80garbage").unwrap();
        assert!(matches!(Lock::acquire(&path, holder("one")).unwrap(), Acquired::Held(_, None)));
    }

    #[test]
    fn a_run_that_never_finished_is_told_with_its_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let Acquired::Held(mut lock, None) = Lock::acquire(&path, holder("one")).unwrap() else { panic!() };
        lock.enter(Step::Upload).unwrap();
        drop(lock);
        let Acquired::Held(_, Some(dead)) = Lock::acquire(&path, holder("two")).unwrap() else { panic!() };
        assert_eq!((dead.run_id.as_str(), dead.step), ("one", Step::Upload));
    }
}
