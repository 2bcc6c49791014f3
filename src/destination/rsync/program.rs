//! One call of a program: no shell, a plain environment, its output in memory within limits, and an end in any case.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::destination::limits::MAX_LISTING_BYTES;
use crate::interrupt::Interrupt;

/// The longest sleep between two looks at the program and the interrupt.
const SLICE: Duration = Duration::from_millis(20);
/// Once a signal has come, the program is waited for this long: enough to tidy up on a server that is well.
const GRACE: Duration = Duration::from_secs(3);
/// How long a program may take to end when asked to, before it is made to.
const END_LIMIT: Duration = Duration::from_secs(2);
const MAX_OUTPUT_BYTES: u64 = MAX_LISTING_BYTES;
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Done {
    /// The exit code; `None` after a signal.
    pub(super) code: Option<i32>,
    pub(super) output: Vec<u8>,
    /// What it said on standard error.
    pub(super) errors: String,
}

/// Told now and then how far it is; an error ends the program.
pub(super) type Progress<'a> = dyn FnMut(Seen) -> io::Result<()> + 'a;

/// What a program has shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The bytes that it says to have moved.
    pub(super) moved: u64,
    /// The bytes that it printed.
    pub(super) printed: u64,
}

/// All that it gets of our environment: variables of rsync and ssh would change what they do, others may hold secrets.
const KEPT_VARIABLES: [&str; 5] = ["HOME", "LD_LIBRARY_PATH", "PATH", "SSH_AUTH_SOCK", "TMPDIR"];

/// A program that speaks English, counts time in UTC and belongs to a process group of its own.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let kept = KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept).env("LC_ALL", "C").env("TZ", "UTC").process_group(0);
    command
}

/// Runs it to its end.
///
/// # Errors
/// What starting it gave; what [`Interrupt::check`] or `progress` gave, after which it was ended.
pub(super) fn run(mut command: Command, interrupt: &Interrupt, progress: &mut Progress<'_>) -> io::Result<Done> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let counters = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let counting = Arc::clone(&counters);
    let output = collect(child.stdout.take(), MAX_OUTPUT_BYTES, move |bytes| {
        if let Some(count) = last_number(bytes) {
            counting.0.store(count, Ordering::Relaxed);
        }
        counting.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    let seen = || Seen { moved: counters.0.load(Ordering::Relaxed), printed: counters.1.load(Ordering::Relaxed) };
    let errors = collect(child.stderr.take(), MAX_ERROR_BYTES, |_| {});
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let mut going = match seen().printed > MAX_OUTPUT_BYTES {
            true => Err(endless()),
            false => progress(seen()),
        };
        if begun.elapsed() >= GRACE {
            going = going.and_then(|()| interrupt.check());
        }
        if let Err(stop) = going {
            end(&mut child);
            return Err(stop);
        }
        thread::sleep(SLICE);
    };
    // What it has started and left behind (ssh) may still have something to say; on a line that is dead, it must not hold the
    // output open.
    let limit = Instant::now() + END_LIMIT;
    while !(output.is_finished() && errors.is_finished()) && Instant::now() < limit {
        thread::sleep(SLICE);
    }
    if !(output.is_finished() && errors.is_finished()) {
        signal_group(&child, Signal::KILL);
    }
    let output = output.join().unwrap_or_default();
    if output.len() as u64 > MAX_OUTPUT_BYTES {
        return Err(endless());
    }
    progress(seen())?;
    let errors = String::from_utf8_lossy(&errors.join().unwrap_or_default()).into_owned();
    let code = status.code().or_else(|| status.signal().map(|_| -1)).filter(|code| *code >= 0);
    Ok(Done { code, output, errors })
}

fn endless() -> io::Error {
    let why = format!("its output is longer than {} MiB", MAX_OUTPUT_BYTES >> 20);
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Asks it and all it has started to end, so that rsync may keep what has arrived; then makes them.
fn end(child: &mut Child) {
    signal_group(child, Signal::TERM);
    let limit = Instant::now() + END_LIMIT;
    while Instant::now() < limit {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        thread::sleep(SLICE);
    }
    signal_group(child, Signal::KILL);
    let _ = child.wait();
}

fn signal_group(child: &Child, signal: Signal) {
    if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(id, signal);
    }
}

/// Reads a pipe to its end; keeps no more than `limit` bytes and one, by which the excess is seen.
fn collect(
    pipe: Option<impl Read + Send + 'static>,
    limit: u64,
    mut look: impl FnMut(&[u8]) + Send + 'static,
) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let Some(mut pipe) = pipe else { return kept };
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return kept,
                Ok(count) => {
                    look(&buffer[..count]);
                    let room = usize::try_from(limit + 1).unwrap_or(usize::MAX) - kept.len();
                    kept.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return kept,
            }
        }
    })
}

/// The bytes that a line of `--info=progress2` begins with: `\r      1081344  36%  998.05kB/s    0:00:01`.
fn last_number(output: &[u8]) -> Option<u64> {
    let lines = output.split(|byte| matches!(byte, b'\r' | b'\n'));
    let mut counts = lines.filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (count, percent) = (words.next()?, words.next()?);
        percent.ends_with(b"%").then(|| std::str::from_utf8(count).ok()?.parse().ok())?
    });
    counts.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::{Interrupted, is_time_limit};

    fn ignore(_: Seen) -> io::Result<()> {
        Ok(())
    }

    fn sh(script: &str) -> Command {
        let mut command = command("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn progress_is_read_from_what_rsync_prints() {
        let printed = b"<f+++++++++\n\r          32768   1%    0.00kB/s    0:00:00  \r        1081344  36%  998.05kB/s";
        assert_eq!(last_number(printed), Some(1_081_344));
        assert_eq!(last_number(b"<f+++++++++\n"), None);
    }

    #[test]
    fn output_and_errors_are_kept_apart_and_english() {
        let done = run(sh("echo $LC_ALL$TZ; echo no >&2; exit 7"), &Interrupt::default(), &mut ignore).unwrap();
        assert_eq!((done.code, done.output.as_slice(), done.errors.as_str()), (Some(7), b"CUTC\n".as_slice(), "no\n"));
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        let missing = run(command("archive-no-such-program"), &Interrupt::default(), &mut ignore);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn who_says_stop_ends_it_and_all_it_has_started() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sh -c 'trap \"\" TERM; sleep 60; echo late >{}' & sleep 60", marker.path().display());
        let mut calls = 0;
        let stopped = run(sh(&script), &Interrupt::default(), &mut |_| {
            calls += 1;
            if calls > 3 { Err(io::Error::other("enough")) } else { Ok(()) }
        });
        assert_eq!(stopped.unwrap_err().to_string(), "enough");
    }

    #[test]
    fn output_without_end_ends_it() {
        let error = run(sh("yes"), &Interrupt::default(), &mut ignore).unwrap_err();
        assert!(error.to_string().contains("longer than 64 MiB"), "{error}");
    }

    #[test]
    fn a_signal_ends_it_after_a_moment_of_grace() {
        let interrupt = Interrupt::default();
        interrupt.stop();
        let done = run(sh("echo quick"), &interrupt, &mut ignore).unwrap();
        assert_eq!(done.output, b"quick\n");
        let error = run(sh("sleep 60"), &interrupt, &mut ignore).unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Interrupted>()), "{error}");
        let limited = Interrupt::default().with_time_limit(Duration::ZERO);
        let error = run(sh("sleep 60"), &limited, &mut ignore).unwrap_err();
        assert!(is_time_limit(&error), "{error}");
    }

    #[test]
    fn it_sees_little_of_our_environment() {
        let done = run(sh("env"), &Interrupt::default(), &mut ignore).unwrap();
        let names = String::from_utf8(done.output).unwrap();
        let names = names.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        let own = ["LC_ALL", "TZ", "PWD", "SHLVL", "_"];
        let foreign: Vec<_> = names.filter(|name| !own.contains(name) && !KEPT_VARIABLES.contains(name)).collect();
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && foreign.is_empty(), "{foreign:?}");
    }
}
