//! A destination by a real probe: connect, authenticate, list, put, stat, read back, rename, delete a few bytes.

use chrono::Utc;

use super::{CLOCK_TOLERANCE, Checklist};
use crate::config::settings::{DestinationSettings, Verify};
use crate::destination::{self, Destination, DestinationError, ErrorKind, get_exactly};
use crate::error::while_doing;
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::publish::Bytes;
use crate::text;
use crate::text::Language;
use crate::units::{show_duration, show_size};

/// What a probe needs.
pub(super) struct Probing<'a> {
    interrupt: &'a Interrupt,
    /// Size of tonight's zip, if it is known, to judge the free space by.
    zip_bytes: Option<u64>,
}

impl<'a> Probing<'a> {
    pub(super) fn of(interrupt: &'a Interrupt, zip_bytes: Option<u64>) -> Self {
        Probing { interrupt, zip_bytes }
    }
}

/// What is written, to see whether it comes back.
const PROBE: &[u8] = b"archive check: this file may be deleted\n";
/// Added where an archive goes in another way than a few bytes: it goes in that way, and ends in the middle of a piece.
const MORE_BYTES: u64 = 1 << 20;

pub(super) fn check(settings: &DestinationSettings, probing: &Probing<'_>, list: &mut Checklist<'_>) {
    let area = settings.name.as_str();
    let location = destination::location(settings);
    let mut quick = settings.clone();
    // A person is waiting: one attempt tells enough.
    quick.retries = 0;
    let failed = |what: String, error: DestinationError| {
        let code = if error.kind == ErrorKind::Local { ExitCode::Pack } else { ExitCode::Upload };
        (while_doing(what)(error), code)
    };
    let mut session = match destination::connect(&quick, probing.interrupt) {
        Ok(session) => session,
        Err(error) => {
            let (error, code) = failed(format!("failed to reach `{location}`"), error);
            list.fail(area, &error, code);
            return;
        }
    };
    match probe(session.as_mut(), settings) {
        Ok(Probed { done, left: None }) => list.ok(area, format!("`{location}`: {done}")),
        Ok(Probed { done, left: Some(left) }) => {
            list.ok(area, format!("`{location}`: {done}"));
            list.ok(
                area,
                format!(
                    "this account cannot delete: good against ransomware; the server must purge (`{left}` is left)"
                ),
            );
        }
        Err((doing, error)) => {
            let (error, code) = failed(format!("failed to {doing} at `{location}`"), error);
            list.fail(area, &error, code);
            return;
        }
    }
    describe(session.as_mut(), area, list);
    check_space(session.as_mut(), area, probing.zip_bytes, list);
    check_clock(session.as_mut(), area, list);
    if settings.protocol.is_unencrypted() {
        list.warn(
            area,
            "not encrypted, and the server proves nothing: who is on the way can read and change the archives",
            Some(text!(
                "only on a network that is trusted; `type = \"sftp\"`, or rsync over SSH (without `module`), encrypts"
                    / "seulement sur un réseau de confiance ; `type = \"sftp\"`, ou rsync par SSH (sans `module`), chiffre"
            )),
        );
    }
    if settings.retention.is_none() {
        list.warn(
            area,
            "no `retention`: nothing is ever purged here",
            Some(text!(
                "set `retention = {{ keep_days = 30 }}`, or mind the free space yourself"
                    / "indiquez `retention = {{ keep_days = 30 }}`, ou surveillez vous-même l'espace libre"
            )),
        );
    }
}

/// What came of the probe.
struct Probed {
    done: String,
    /// The test file that could not be deleted, where nothing asks for that.
    left: Option<String>,
}

type Doing<T> = Result<T, (&'static str, DestinationError)>;

/// Does with a test file what a run does with an archive; says what was being done when it failed.
fn probe(session: &mut dyn Destination, settings: &DestinationSettings) -> Doing<Probed> {
    let unique = format!("{}-{}", std::process::id(), fastrand::u32(..));
    let (part, last) = (format!(".archive-check-{unique}.part"), format!(".archive-check-{unique}"));
    let listed = session.list().map_err(|error| ("list the directory", error))?.len();
    let atomic = session.capabilities().atomic_put;
    let content = probe_content(session);
    let result = match atomic {
        true => exercise_put_new(session, &last, &content, settings),
        false => exercise(session, &part, &last, &content, settings),
    };
    // Whatever happened, nothing stays behind; the first error is the one worth showing.
    let cleaned = [&part, &last].map(|name| (name, session.remove(name)));
    result?;
    let mut left = None;
    for (name, removed) in cleaned {
        let Err(error) = removed else { continue };
        // Without `retention` nothing is ever deleted: an account that may not is none the worse for it.
        let is_fine = error.kind == ErrorKind::PermissionDenied && settings.retention.is_none();
        if !is_fine {
            return Err(("delete the test file", error));
        }
        if session.stat(name).map_err(|error| ("look at the test file", error))?.is_some() {
            // Emptied, it takes no room at least.
            if !atomic && let Err(error) = session.put(name, &mut Bytes::new([]), 0) {
                tracing::debug!("`{name}` could not be emptied: {error}");
            }
            left = Some(name.clone());
        }
    }
    let did = if atomic { "wrote, read" } else { "wrote, read, renamed" };
    let done = match left {
        Some(_) if atomic => "wrote and read a test file".to_owned(),
        Some(_) => "wrote, read and renamed a test file".to_owned(),
        None => format!("{did} and deleted a test file"),
    };
    Ok(Probed { done: format!("{done}; {listed} entries listed"), left })
}

/// A few bytes, or as many as it takes to be written in the way of an archive.
fn probe_content(session: &mut dyn Destination) -> Vec<u8> {
    match session.probe_bytes() {
        0 => PROBE.to_vec(),
        bytes => {
            let bytes = usize::try_from(bytes + MORE_BYTES).unwrap_or(usize::MAX);
            // Lines of different numbers, so that no two places hold the same bytes.
            let lines = (0_u64..).flat_map(|line| format!("{line:08} archive check: may be deleted\n").into_bytes());
            lines.take(bytes).collect()
        }
    }
}

fn exercise(
    session: &mut dyn Destination,
    part: &str,
    last: &str,
    content: &[u8],
    settings: &DestinationSettings,
) -> Doing<()> {
    session.put(part, &mut Bytes::new(content), 0).map_err(|error| ("write a test file", error))?;
    read_back(session, part, content, settings)?;
    session.move_new(part, last).map_err(|error| ("rename the test file", error))
}

fn exercise_put_new(
    session: &mut dyn Destination,
    name: &str,
    content: &[u8],
    settings: &DestinationSettings,
) -> Doing<()> {
    session.put_new(name, &mut Bytes::new(content)).map_err(|error| ("write a test file", error))?;
    read_back(session, name, content, settings)
}

/// By the server's checksum, where a night asks for it, and by reading.
fn read_back(session: &mut dyn Destination, name: &str, content: &[u8], settings: &DestinationSettings) -> Doing<()> {
    let size = session.stat(name).map_err(|error| ("look at the test file", error))?.map(|entry| entry.size);
    if settings.verify == Verify::Checksum {
        let mut told = session.checksum(name);
        // What breaks a connection once is not asked for again: a night goes on over another connection, if it may.
        if told.as_ref().is_err_and(DestinationError::is_transient) && settings.retries > 0 {
            told = session.checksum(name);
        }
        told.map_err(|error| ("ask for the checksum of the test file", error))?;
    }
    let mut back = Vec::new();
    let mut sink = |bytes: &[u8]| {
        back.extend_from_slice(bytes);
        Ok(())
    };
    get_exactly(session, name, 0, content.len() as u64, &mut sink)
        .map_err(|error| ("read the test file back", error))?;
    if back != content || size != Some(content.len() as u64) {
        let error = DestinationError::new(ErrorKind::Other, "what came back is not what was written");
        return Err(("read the test file back", error));
    }
    Ok(())
}

fn describe(session: &mut dyn Destination, area: &str, list: &mut Checklist<'_>) {
    let can = session.explore();
    let mut words = vec![match can.checksum_by_server {
        true => "the server computes checksums",
        false => "each archive is read back to compare checksums",
    }];
    words.push(match (can.atomic_put, can.move_refuses_to_clobber) {
        (true, true) => "a file shows once it is whole, and never overwrites",
        (true, false) => "a file shows once it is whole; looks before it writes",
        (false, true) => "renaming never overwrites",
        (false, false) => "looks before it renames",
    });
    words.push(if can.resume { "a cut upload is resumed" } else { "a cut upload starts again" });
    list.ok(area, words.join("; "));
}

fn check_space(session: &mut dyn Destination, area: &str, zip_bytes: Option<u64>, list: &mut Checklist<'_>) {
    match session.free_space() {
        Ok(Some(free)) => {
            let shown = show_size(free, Language::En);
            match zip_bytes {
                Some(bytes) if free < bytes.saturating_mul(3) => list.warn(
                    area,
                    format!("{shown} free, room for less than three archives like today's zip"),
                    Some(text!(
                        "free some space, or shorten `retention`" / "libérez de la place, ou raccourcissez `retention`"
                    )),
                ),
                _ => list.ok(area, format!("{shown} free")),
            }
        }
        Ok(None) => list.skip(area, "the server does not tell its free space"),
        Err(error) => list.warn(area, format!("free space not known: {error}"), None),
    }
}

fn check_clock(session: &mut dyn Destination, area: &str, list: &mut Checklist<'_>) {
    if let Ok(Some(theirs)) = session.server_time() {
        let apart = (theirs - Utc::now()).abs().to_std().unwrap_or_default();
        if apart > CLOCK_TOLERANCE {
            let shown = show_duration(apart, Language::En);
            list.warn(area, format!("its clock and this machine's are {shown} apart"), None);
        }
    }
}
