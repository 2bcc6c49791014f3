//! The mail: composed from the report, handed to the transport, tried again where that makes sense.
//!
//! A mail that does not go never changes the run's result; the caller keeps it with [`super::unsent`].

use std::time::{Duration, Instant, SystemTime};

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Message, MultiPart, SinglePart};

use super::mail_error::{MailError, MailErrorKind};
use super::summary::subject;
use super::transport::{Probe, probe_sendmail, probe_smtp, send_sendmail, send_smtp};
use super::{RunReport, Status};
use super::{fit, html, text};
use crate::config::settings::{AttachLog, MailSettings, MailTransport, When};
use crate::interrupt::Interrupt;
use crate::text::Language;
use crate::text::one_line;

/// Pauses between the attempts; one more attempt than pauses.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// How long sending may take in all, every attempt included but not the verdict on a mail that has been handed over: a server
/// that drips must not hold up the end of a run.
const TOTAL_LIMIT: Duration = Duration::from_secs(180);

/// A mail as it travels: who it is for, and its bytes (RFC 5322, ASCII, CRLF).
#[derive(Clone, Debug)]
pub struct OutgoingMail {
    /// Sender and recipients.
    pub envelope: Envelope,
    /// Headers and body.
    pub bytes: Vec<u8>,
    /// The same mail for a server that refuses it for its size: without the attachment, then the short form.
    pub smaller: Vec<Vec<u8>>,
}

/// Whether a run of this status is worth a mail.
pub fn wanted(when: When, status: Status) -> bool {
    match when {
        When::Always => true,
        When::Warning => status != Status::Ok,
        When::Failure => status == Status::Failed,
        When::Never => false,
    }
}

fn attaches(attach: AttachLog, status: Status) -> bool {
    match attach {
        AttachLog::Always => true,
        AttachLog::Failure => status == Status::Failed,
        AttachLog::Never => false,
    }
}

/// The report's mail; `log` is attached if the settings want it for this status.
///
/// The same report always gives the same Date and Message-ID, so that a mail that was kept and sent twice shows once.
///
/// # Errors
/// `Local`, when the addresses make no mail.
pub fn compose(report: &RunReport, settings: &MailSettings, log: Option<&str>) -> Result<OutgoingMail, MailError> {
    let language = settings.language;
    let whole = text::text(report, language);
    let short = MultiPart::mixed().singlepart(SinglePart::plain(fit::short(whole.clone(), language)));
    let bodies = match fit::bodies(whole, html::html(report, language), language) {
        (text, Some(html)) => MultiPart::alternative_plain_html(text, html),
        (text, None) => MultiPart::mixed().singlepart(SinglePart::plain(text)),
    };
    let log = log.filter(|_| attaches(settings.attach_log, report.status));
    let mut forms = vec![bodies.clone(), short];
    if let Some(log) = log {
        let name = format!("archive-{}-{}.log", atom(&report.job), atom(&report.run_id));
        let part = SinglePart::builder().header(ContentType::TEXT_PLAIN).header(AttachedAs(name));
        forms.insert(0, MultiPart::mixed().multipart(bodies).singlepart(part.body(fit::log(log))));
    }
    let ended = SystemTime::from(report.started) + Duration::try_from_secs_f64(report.seconds).unwrap_or_default();
    let headers = [
        ("X-Archive-Job", report.job.as_str()),
        ("X-Archive-Status", report.status.word()),
        ("X-Archive-Run", report.run_id.as_str()),
    ];
    let subject = subject(report, &settings.subject, language);
    let id = format!("{}.{}", report.run_id, report.job);
    let mut mails = Vec::new();
    for body in forms {
        mails.push(build(settings, &subject, ended, &id, &report.host, &headers, body)?);
    }
    let mut mail = mails.remove(0);
    mail.smaller = mails.into_iter().map(|mail| mail.bytes).collect();
    Ok(mail)
}

fn build(
    settings: &MailSettings,
    subject: &str,
    date: SystemTime,
    id: &str,
    host: &str,
    headers: &[(&'static str, &str)],
    body: MultiPart,
) -> Result<OutgoingMail, MailError> {
    let mut message = Message::builder()
        .from(settings.from.clone())
        .subject(subject)
        .date(date)
        .message_id(Some(format!("<{}@{}>", atom(id), atom(host))))
        // No vacation program shall answer, and no mailing list loop (RFC 3834 §5).
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for to in &settings.to {
        message = message.to(to.clone());
    }
    for (name, value) in headers {
        message = message.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), one_line(value)));
    }
    let message = message
        .multipart(body)
        .map_err(|error| MailError::local(MailErrorKind::Local, "", format!("failed to compose the mail: {error}")))?;
    Ok(OutgoingMail { envelope: message.envelope().clone(), bytes: message.formatted(), smaller: Vec::new() })
}

/// `Content-Disposition: attachment` with a plain file name: `lettre`'s own cuts names of this length into RFC 2231
/// continuations, even though they fit on a line, and Outlook then shows an attachment without a name.
#[derive(Clone)]
struct AttachedAs(String);

impl Header for AttachedAs {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Content-Disposition")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AttachedAs(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        let raw = format!("attachment; filename=\"{}\"", self.0);
        // Safe: the name went through `atom`, it holds no quote and no line break; folded before `filename`.
        let encoded = format!("attachment;\r\n filename=\"{}\"", self.0);
        HeaderValue::dangerous_new_pre_encoded(Self::name(), raw, encoded)
    }
}

/// What may stand in a Message-ID (RFC 5322 §3.2.3, dot-atom).
fn atom(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let clean = clean.trim_matches('.').to_owned();
    if clean.is_empty() { "localhost".to_owned() } else { clean }
}

/// Sends the mail: at once to everybody who is not refused, three attempts in all for whatever may pass.
///
/// After an interrupt there is one attempt and no pause: the report of an interrupted run still goes out.
///
/// # Errors
/// See [`MailErrorKind`]. [`MailError::undelivered`] tells who did not get it: where one recipient is refused, the others
/// have the mail all the same.
pub fn send(settings: &MailSettings, mail: &OutgoingMail, interrupt: &Interrupt) -> Result<(), MailError> {
    let by = Instant::now() + TOTAL_LIMIT;
    let once = |recipients: &[Address]| send_once(settings, mail, recipients, by);
    let goes_on = |pause| Instant::now() + pause < by && !interrupted_during(pause, interrupt);
    attempts(mail.envelope.to(), once, &PAUSES, goes_on)
}

/// One attempt, which ends at `by`; where the server takes no mail of this size, a smaller form goes.
pub(super) fn send_once(
    settings: &MailSettings,
    mail: &OutgoingMail,
    recipients: &[Address],
    by: Instant,
) -> Result<(), MailError> {
    let from = mail.envelope.from();
    let deliver = |message: &[u8]| match &settings.transport {
        MailTransport::Smtp(smtp) => send_smtp(smtp, from, recipients, message, by),
        MailTransport::Sendmail { command } => send_sendmail(command, from, recipients, message, by),
    };
    let mut result = deliver(&mail.bytes);
    for smaller in &mail.smaller {
        match &result {
            Err(error) if error.kind == MailErrorKind::TooLarge => {
                tracing::warn!("the mail is too large, a smaller form of it goes: {error}");
                result = deliver(smaller);
            }
            _ => break,
        }
    }
    result
}

/// The attempts of [`send`], with the transport and the pausing as arguments. `pause` says whether to go on.
fn attempts(
    recipients: &[Address],
    mut once: impl FnMut(&[Address]) -> Result<(), MailError>,
    pauses: &[Duration],
    mut pause: impl FnMut(Duration) -> bool,
) -> Result<(), MailError> {
    let mut left = recipients.to_vec();
    let mut partly = false;
    let mut pauses = pauses.iter();
    loop {
        let mut error = match once(&left) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.undelivered.is_empty() {
            error = error.with_undelivered(&left);
        }
        left.clone_from(&error.undelivered);
        partly |= error.partly;
        error.partly = partly;
        tracing::debug!(transient = error.is_transient(), "the mail was not sent: {error}");
        match pauses.next() {
            Some(time) if error.is_transient() && pause(*time) => {}
            _ => return Err(error),
        }
    }
}

/// Waits; whether a signal came before the end.
fn interrupted_during(pause: Duration, interrupt: &Interrupt) -> bool {
    let end = Instant::now() + pause;
    while interrupt.exit_code().is_none() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    true
}

/// Sends a short mail by hand, for `archive check --send-test-mail`: one attempt.
///
/// # Errors
/// As [`send`].
pub fn test_mail(settings: &MailSettings, job: &str, host: &str) -> Result<(), MailError> {
    let (subject, body) = match settings.language {
        Language::En => (
            format!("[TEST] {job}: test mail"),
            format!(
                "This is a test mail of `archive`, job {job}, machine {host}.\nThe reports of its runs arrive here.\n"
            ),
        ),
        Language::Fr => (
            format!("[TEST] {job} : courriel d’essai"),
            format!(
                "Ceci est un courriel d’essai de « archive », tâche {job}, machine {host}.\nLes rapports de ses exécutions arriveront ici.\n"
            ),
        ),
    };
    let body = MultiPart::mixed().singlepart(SinglePart::plain(body));
    let id = format!("test-{:016x}.{job}", fastrand::u64(..));
    let headers = [("X-Archive-Job", job), ("X-Archive-Status", "TEST")];
    let mail = build(settings, &one_line(&subject), SystemTime::now(), &id, host, &headers, body)?;
    send_once(settings, &mail, mail.envelope.to(), Instant::now() + TOTAL_LIMIT)
}

/// Connects, speaks TLS and logs in, without sending anything; for `sendmail`, whether the command can be run.
///
/// # Errors
/// As [`send`].
pub fn probe(settings: &MailSettings) -> Result<Probe, MailError> {
    match &settings.transport {
        MailTransport::Smtp(smtp) => probe_smtp(smtp, Instant::now() + TOTAL_LIMIT),
        MailTransport::Sendmail { command } => probe_sendmail(command),
    }
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
