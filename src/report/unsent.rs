//! Mails that could not be sent: kept in the work dir, sent first with the next run.
//!
//! Each is `<run id>.eml` with its recipients in `<run id>.json` beside it. Both are written under another name first; a
//! mail counts once its `.eml` is there, so a run that dies in between leaves an envelope without a letter, swept later.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::address::Envelope;
use serde::{Deserialize, Serialize};

use super::mail::{OutgoingMail, send_once};
use super::mail_error::MailError;
use crate::config::settings::MailSettings;
use crate::interrupt::Interrupt;

/// How many are kept; the oldest goes first.
const MOST: usize = 30;
/// How long a mail that the server refuses as such is tried again: the configuration may be mended meanwhile.
const PATIENCE: Duration = Duration::from_secs(7 * 86_400);
/// How long all of them together may take, but for the verdict on the last: tonight's own mail waits for its turn.
const KEPT_LIMIT: Duration = Duration::from_secs(60);
/// Told to the reader of a mail that comes late.
const DELAYED: &str = "X-Archive-Delayed: yes; this mail could not be sent when it was written\r\n";

#[derive(Debug, Serialize, Deserialize)]
struct KeptEnvelope {
    from: Option<String>,
    to: Vec<String>,
    /// Smaller forms of the mail, for a server that turns out to take no more.
    #[serde(default)]
    smaller: Vec<String>,
}

/// What became of the mails of earlier runs.
#[derive(Debug, Default)]
pub struct Flushed {
    /// How many went out now.
    pub sent: usize,
    /// How many still wait.
    pub waiting: usize,
    /// Why they wait.
    pub error: Option<MailError>,
}

/// `<work_dir>/outbox/mail`
pub fn folder(work_dir: &Path) -> PathBuf {
    work_dir.join("outbox").join("mail")
}

/// Keeps `mail` for the recipients who did not get it; returns the ids of mails that had to go to make room.
///
/// Ask [`MailError::is_worth_keeping`] first. A mail of the same run id is replaced.
///
/// # Errors
/// When the work dir cannot be written.
pub fn keep(work_dir: &Path, run_id: &str, mail: &OutgoingMail, error: &MailError) -> io::Result<Vec<String>> {
    let everybody = mail.envelope.to().to_vec();
    let to = if error.undelivered.is_empty() { &everybody } else { &error.undelivered };
    write(&folder(work_dir), run_id, mail, to)?;
    let dropped = drop_oldest(&folder(work_dir), MOST);
    for id in &dropped {
        tracing::warn!("more than {MOST} unsent mails: dropped the oldest, of run {id}");
    }
    Ok(dropped)
}

/// Sends the mails that earlier runs could not send, oldest first, one attempt each.
///
/// Stops at the first error that is not about that one mail: what is wrong with the server is wrong for all of them.
pub fn send_kept(settings: &MailSettings, work_dir: &Path, interrupt: &Interrupt) -> Flushed {
    let by = Instant::now() + KEPT_LIMIT;
    flush(&folder(work_dir), interrupt, |mail| send_once(settings, mail, mail.envelope.to(), by))
}

fn flush(dir: &Path, interrupt: &Interrupt, mut once: impl FnMut(&OutgoingMail) -> Result<(), MailError>) -> Flushed {
    let mut flushed = Flushed::default();
    let ids = kept(dir);
    for id in &ids {
        if interrupt.exit_code().is_some() {
            break;
        }
        let mail = match read(dir, id) {
            Ok(mail) => mail,
            Err(error) => {
                tracing::warn!("the unsent mail of run {id} cannot be read and is dropped: {error}");
                remove(dir, id);
                continue;
            }
        };
        match once(&mail) {
            Ok(()) => {
                tracing::info!("sent the mail of run {id}, which had been kept");
                remove(dir, id);
                flushed.sent += 1;
            }
            Err(error) => {
                tracing::warn!("the kept mail of run {id} still cannot be sent: {error}");
                if error.partly {
                    // Whoever has it must not get it again.
                    if let Err(error) = write(dir, id, &mail, &error.undelivered) {
                        tracing::warn!("failed to keep the mail of run {id}: {error}");
                    }
                }
                if error.is_about_this_mail() && age(dir, id) > PATIENCE {
                    tracing::warn!("the mail of run {id} has been refused for days and is dropped");
                    remove(dir, id);
                }
                let stop = !error.is_about_this_mail();
                flushed.error = Some(error);
                if stop {
                    break;
                }
            }
        }
    }
    flushed.waiting = kept(dir).len();
    flushed
}

/// The ids of the kept mails, oldest first.
fn kept(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.strip_suffix(".eml")?.to_owned();
            if id.starts_with('.') {
                return None;
            }
            Some((entry.metadata().ok()?.modified().ok()?, id))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, id)| id).collect()
}

fn age(dir: &Path, id: &str) -> Duration {
    let written = fs::metadata(dir.join(format!("{id}.eml"))).and_then(|file| file.modified());
    written.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default()
}

fn drop_oldest(dir: &Path, most: usize) -> Vec<String> {
    let ids = kept(dir);
    let too_many = ids.len().saturating_sub(most);
    ids[..too_many].iter().for_each(|id| remove(dir, id));
    ids[..too_many].to_vec()
}

fn read(dir: &Path, id: &str) -> io::Result<OutgoingMail> {
    let invalid = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let kept: KeptEnvelope = serde_json::from_slice(&fs::read(dir.join(format!("{id}.json")))?)?;
    let address = |text: &String| text.parse::<Address>().map_err(|error| invalid(&error));
    let from = kept.from.as_ref().map(address).transpose()?;
    let to = kept.to.iter().map(address).collect::<io::Result<Vec<_>>>()?;
    let envelope = Envelope::new(from, to).map_err(|error| invalid(&error))?;
    let mut bytes = fs::read(dir.join(format!("{id}.eml")))?;
    if !bytes.starts_with(DELAYED.as_bytes()) {
        bytes.splice(0..0, DELAYED.bytes());
    }
    let smaller = kept.smaller.into_iter().map(String::into_bytes).collect();
    Ok(OutgoingMail { envelope, bytes, smaller })
}

fn write(dir: &Path, id: &str, mail: &OutgoingMail, to: &[Address]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let envelope = KeptEnvelope {
        from: mail.envelope.from().map(ToString::to_string),
        to: to.iter().map(ToString::to_string).collect(),
        smaller: mail.smaller.iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect(),
    };
    // The letter last: it is what makes the pair count.
    put(dir, &format!("{id}.json"), &serde_json::to_vec(&envelope)?)?;
    put(dir, &format!("{id}.eml"), &mail.bytes)?;
    File::open(dir)?.sync_all()
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".unsent-").tempfile_in(dir)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(dir.join(name)).map_err(|error| error.error)?;
    Ok(())
}

fn remove(dir: &Path, id: &str) {
    // The letter first, for the same reason.
    for kind in ["eml", "json"] {
        if let Err(error) = fs::remove_file(dir.join(format!("{id}.{kind}")))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("failed to remove a sent mail `{id}.{kind}`: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mail_error::MailErrorKind;
    use super::*;

    fn addresses(list: &[&str]) -> Vec<Address> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn mail(body: &str) -> OutgoingMail {
        let from = Some("archive@example.org".parse().unwrap());
        let envelope = Envelope::new(from, addresses(&["a@example.org", "b@example.org"])).unwrap();
        OutgoingMail { envelope, bytes: format!("Subject: {body}\r\n\r\n{body}\r\n").into_bytes(), smaller: Vec::new() }
    }

    fn error(kind: MailErrorKind, undelivered: &[&str]) -> MailError {
        MailError::local(kind, "mx:25", "no").with_undelivered(&addresses(undelivered))
    }

    fn keep_one(work_dir: &Path, id: &str) {
        keep(work_dir, id, &mail(id), &error(MailErrorKind::Refused, &[])).unwrap();
    }

    /// Files of one instant have no order; give them one.
    fn order(work_dir: &Path, ids: &[&str]) {
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        for (n, id) in ids.iter().enumerate() {
            let file = File::options().append(true).open(folder(work_dir).join(format!("{id}.eml"))).unwrap();
            let time = hour_ago + Duration::from_secs(n as u64);
            file.set_modified(time).unwrap();
        }
    }

    #[test]
    fn a_kept_mail_goes_with_the_next_run_oldest_first_and_says_that_it_is_late() {
        let dir = tempfile::tempdir().unwrap();
        keep_one(dir.path(), "second");
        keep_one(dir.path(), "first");
        order(dir.path(), &["first", "second"]);
        let mut sent = Vec::new();
        let flushed = flush(&folder(dir.path()), &Interrupt::default(), |mail| {
            sent.push(String::from_utf8(mail.bytes.clone()).unwrap());
            assert_eq!(mail.envelope.to(), addresses(&["a@example.org", "b@example.org"]));
            Ok(())
        });
        assert_eq!((flushed.sent, flushed.waiting), (2, 0));
        assert_eq!(sent[0], format!("{DELAYED}Subject: first\r\n\r\nfirst\r\n"));
        assert_eq!(fs::read_dir(folder(dir.path())).unwrap().count(), 0);
    }

    #[test]
    fn kept_mails_are_for_nobody_else_and_no_half_file_has_a_name_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        keep_one(dir.path(), "run");
        for entry in fs::read_dir(folder(dir.path())).unwrap().flatten() {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(folder(dir.path()).join(".unsent-x.eml"), "half").unwrap();
        assert_eq!(kept(&folder(dir.path())), ["run"]);
    }

    #[test]
    fn only_those_who_did_not_get_it_get_it_later() {
        let dir = tempfile::tempdir().unwrap();
        let partly = error(MailErrorKind::RecipientsRefused, &["b@example.org"]);
        keep(dir.path(), "run", &mail("x"), &partly).unwrap();
        assert_eq!(read(&folder(dir.path()), "run").unwrap().envelope.to(), addresses(&["b@example.org"]));
    }

    #[test]
    fn at_most_thirty_are_kept_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<String> = (0..30).map(|n| format!("run{n:02}")).collect();
        ids.iter().for_each(|id| keep_one(dir.path(), id));
        order(dir.path(), &ids.iter().map(String::as_str).collect::<Vec<_>>());
        let dropped = keep(dir.path(), "new", &mail("new"), &error(MailErrorKind::Refused, &[])).unwrap();
        assert_eq!(dropped, ["run00"]);
        assert_eq!(kept(&folder(dir.path())).len(), 30);
    }

    #[test]
    fn a_server_that_is_down_is_asked_once_but_one_bad_mail_does_not_hold_up_the_others() {
        for (kind, asked) in [(MailErrorKind::Refused, 1), (MailErrorKind::RecipientsRefused, 3)] {
            let dir = tempfile::tempdir().unwrap();
            ["a", "b", "c"].iter().for_each(|id| keep_one(dir.path(), id));
            let mut calls = 0;
            let flushed = flush(&folder(dir.path()), &Interrupt::default(), |_| {
                calls += 1;
                Err(error(kind.clone(), &[]))
            });
            assert_eq!((calls, flushed.sent, flushed.waiting), (asked, 0, 3));
            assert_eq!(flushed.error.map(|error| error.kind), Some(kind));
        }
    }

    #[test]
    fn a_mail_that_is_refused_for_a_week_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        keep_one(dir.path(), "old");
        let file = File::options().append(true).open(folder(dir.path()).join("old.eml")).unwrap();
        file.set_modified(std::time::SystemTime::now() - PATIENCE - Duration::from_secs(60)).unwrap();
        for (kind, waiting) in
            [(MailErrorKind::Refused, 1), (MailErrorKind::SessionRefused, 1), (MailErrorKind::RecipientsRefused, 0)]
        {
            let flushed = flush(&folder(dir.path()), &Interrupt::default(), |_| Err(error(kind.clone(), &[])));
            assert_eq!(flushed.waiting, waiting);
        }
    }

    #[test]
    fn a_kept_mail_that_cannot_be_read_is_dropped_and_the_others_go() {
        let dir = tempfile::tempdir().unwrap();
        ["a", "b"].iter().for_each(|id| keep_one(dir.path(), id));
        fs::write(folder(dir.path()).join("a.json"), "{").unwrap();
        let flushed = flush(&folder(dir.path()), &Interrupt::default(), |_| Ok(()));
        assert_eq!((flushed.sent, flushed.waiting), (1, 0));
    }
}
