//! How a mail leaves: one SMTP session, or the machine's own `sendmail`.
//!
//! One refused recipient does not keep the mail from the others: they get it in the same session, and the refused ones are
//! reported.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lettre::Address;

use super::mail_error::{MailError, MailErrorKind};
use super::smtp::{Session, SmtpError, tls_config};
use crate::config::settings::{SmtpSecurity, SmtpSettings};
use crate::text::{MAX_LINE_CHARS, quote};

/// How long `sendmail` may take to queue a mail.
const SENDMAIL_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of its complaints, bytes.
const STDERR_LIMIT: usize = 4096;
/// How long its complaints are read after its end: a grandchild may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a mail server let us do, for `archive check`; both are false for `sendmail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// TLS is on.
    pub encrypted: bool,
    /// User and password were accepted.
    pub authenticated: bool,
}

/// Connects, speaks TLS as demanded, and logs in.
fn connect(settings: &SmtpSettings, by: Instant) -> Result<Session, MailError> {
    let tls = match settings.security {
        SmtpSecurity::None => None,
        SmtpSecurity::Starttls | SmtpSecurity::Tls => {
            Some(tls_config(settings.ca_file.as_deref()).map_err(|error| MailError::tls_config(settings, &error))?)
        }
    };
    Session::open(settings, tls, by).map_err(|error| {
        let mut error = MailError::from_smtp(&error, settings);
        // In the greeting, EHLO or AUTH the server knows nothing of the mail yet.
        if error.is_about_this_mail() {
            error.kind = MailErrorKind::SessionRefused;
        }
        error
    })
}

/// Connects, speaks TLS, logs in, asks for a sign of life, and hangs up.
pub(super) fn probe_smtp(settings: &SmtpSettings, by: Instant) -> Result<Probe, MailError> {
    let mut session = connect(settings, by)?;
    let probe = Probe { encrypted: session.is_encrypted(), authenticated: settings.credentials.is_some() };
    match session.command("NOOP") {
        Ok(_) => {
            session.quit();
            Ok(probe)
        }
        Err(error) => Err(MailError::from_smtp(&error, settings)),
    }
}

/// One attempt to hand `message` to the server for `recipients`; ends at `by`.
///
/// # Errors
/// `RecipientsRefused` where some or all were refused; those who are not in `undelivered` have the mail. Any other error:
/// no recipient has it, as far as the server said.
pub(super) fn send_smtp(
    settings: &SmtpSettings,
    from: Option<&Address>,
    recipients: &[Address],
    message: &[u8],
    by: Instant,
) -> Result<(), MailError> {
    let mut session = connect(settings, by)?;
    let result = converse(&mut session, settings, from, recipients, message);
    // Says QUIT and waits for the answer: not to a server that has stopped answering.
    if !result.as_ref().is_err_and(|error| matches!(error.kind, MailErrorKind::Timeout | MailErrorKind::Network)) {
        session.quit();
    }
    result
}

fn converse(
    session: &mut Session,
    settings: &SmtpSettings,
    from: Option<&Address>,
    recipients: &[Address],
    message: &[u8],
) -> Result<(), MailError> {
    let failed = |error: SmtpError| MailError::from_smtp(&error, settings);
    let ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    let is_utf8 = !from.is_none_or(ascii) || !recipients.iter().all(ascii);
    if is_utf8 && !session.offers_word("SMTPUTF8") {
        let message = "an address is not ASCII, and the server does not support SMTPUTF8 (RFC 6531)";
        return Err(MailError::local(MailErrorKind::Local, settings.host.clone(), message));
    }
    // RFC 1870 §4: what is larger need not be sent to be refused.
    let most = session.offered("SIZE").and_then(|words| words.first()?.parse::<u64>().ok()).filter(|most| *most > 0);
    if let Some(most) = most.filter(|most| message.len() as u64 > *most) {
        return Err(MailError::too_large(message.len() as u64, most, settings));
    }
    let sender = from.map(AsRef::<str>::as_ref).unwrap_or_default();
    // The bytes themselves are ASCII: `compose` encodes the bodies, so 8BITMIME is not needed.
    let parameters = if is_utf8 { " SMTPUTF8" } else { "" };
    session.command(&format!("MAIL FROM:<{sender}>{parameters}")).map_err(|error| {
        let mut error = failed(error);
        if error.kind == MailErrorKind::Rejected {
            error.kind = MailErrorKind::SenderRefused;
        }
        error
    })?;
    let mut refused: Vec<(Address, String)> = Vec::new();
    let mut transient = false;
    for recipient in recipients {
        match session.command(&format!("RCPT TO:<{recipient}>")) {
            Ok(_) => {}
            // 421 and 530 are about us, not about the recipient (RFC 5321 §3.8).
            Err(SmtpError::Refused(reply)) if !matches!(reply.code, 421 | 530) => {
                transient |= reply.code < 500;
                refused.push((recipient.clone(), reply.shown()));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let partly = refused.len() < recipients.len();
    if partly {
        session.data().map_err(failed)?;
        session.message(message).map_err(|error| failed(error).without_verdict())?;
    }
    if refused.is_empty() { Ok(()) } else { Err(MailError::recipients(&refused, transient, partly, settings)) }
}

/// Hands `mail` to the machine's mailer: `command -i -f FROM -- TO…`, without a shell.
///
/// Line ends are LF, as this interface has had them since its beginnings; the mailer makes CRLF of them.
pub(super) fn send_sendmail(
    command: &Path,
    from: Option<&Address>,
    recipients: &[Address],
    message: &[u8],
    by: Instant,
) -> Result<(), MailError> {
    let shown = command.display().to_string();
    let failed = |message: String| {
        // Postfix: `Message file too big`.
        let lower = message.to_lowercase();
        let about_size = lower.contains("too big") || lower.contains("too large");
        let kind = if about_size { MailErrorKind::TooLarge } else { MailErrorKind::SendmailFailed };
        MailError::local(kind, shown.clone(), format!("`{shown}` failed: {message}"))
    };
    let mut process = crate::config::bare_command(command);
    process.arg("-i");
    if let Some(from) = from {
        process.arg("-f").arg(from);
    }
    process.arg("--").args(recipients);
    process.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = process.spawn().map_err(|error| {
        MailError::local(MailErrorKind::SendmailMissing, shown.clone(), format!("failed to start `{shown}`: {error}"))
    })?;
    let body: Vec<u8> = String::from_utf8_lossy(message).replace("\r\n", "\n").into_bytes();
    // Threads, so that neither side waits for the other's pipe, and a mailer that hangs is noticed. A broken pipe means
    // that the mailer has given up: its exit status and its words tell more.
    let stdin = child.stdin.take();
    let writer = thread::spawn(move || stdin.is_none_or(|mut stdin| stdin.write_all(&body).is_ok()));
    let stderr = child.stderr.take();
    let (say, said) = mpsc::channel();
    thread::spawn(move || stderr.map(|stderr| complaints(stderr, &say)));
    let begun = Instant::now();
    let deadline = by.min(begun + SENDMAIL_TIMEOUT);
    let status = wait(&mut child, deadline).map_err(|error| failed(error.to_string()))?;
    let Some(status) = status else {
        return Err(failed(format!("not done after {:.1} s", begun.elapsed().as_secs_f64())));
    };
    let written = status.success().then(|| result_by(writer, deadline));
    match written {
        Some(Some(true)) => return Ok(()),
        Some(None) => {
            return Err(failed(format!("it did not read the whole mail in {:.1} s", begun.elapsed().as_secs_f64())));
        }
        Some(Some(false)) | None => {}
    }
    let until = Instant::now() + LAST_WORDS;
    let mut all = Vec::new();
    while let Ok(some) = said.recv_timeout(until.saturating_duration_since(Instant::now())) {
        all.extend::<Vec<u8>>(some);
    }
    let said = quote(&String::from_utf8_lossy(&all), MAX_LINE_CHARS);
    let status = if status.success() { "it did not read the whole mail".to_owned() } else { status.to_string() };
    Err(failed(if said.is_empty() { status } else { format!("{said} ({status})") }))
}

/// Passes on the beginning of what the mailer says, as it comes, and reads the rest, so that it can go on.
fn complaints(mut stderr: impl Read, say: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    let mut left = STDERR_LIMIT;
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let some = count.min(left);
        left -= some;
        if some > 0 {
            let _ = say.send(buffer[..some].to_vec());
        }
    }
}

/// What a thread gives, if it ends by `deadline`. Not joined otherwise: a grandchild may hold the pipe open for ever.
fn result_by<T>(thread: thread::JoinHandle<T>, deadline: Instant) -> Option<T> {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
    thread.join().ok()
}

fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the command is there and may be run; it is not called.
pub(super) fn probe_sendmail(command: &Path) -> Result<Probe, MailError> {
    use std::os::unix::fs::PermissionsExt;
    let problem = match std::fs::metadata(command) {
        Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => {
            return Ok(Probe { encrypted: false, authenticated: false });
        }
        Ok(_) => "it is not an executable file".to_owned(),
        Err(error) => error.to_string(),
    };
    let shown = command.display().to_string();
    Err(MailError::local(MailErrorKind::SendmailMissing, shown.clone(), format!("`{shown}`: {problem}")))
}
