//! How a mail leaves: one SMTP session, or the machine's own `sendmail`.
//!
//! The SMTP session is driven command by command rather than by `SmtpTransport::send`, which gives up on the first refused
//! recipient: here the others still get the mail, in the same session, and the refused ones are reported.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};

use super::mail::OutgoingMail;
use super::mail_error::{MailError, MailErrorKind, reply_of};
use crate::config::settings::{SmtpSecurity, SmtpSettings};
use crate::text::one_line;

/// How long `sendmail` may take to queue a mail.
const SENDMAIL_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of its complaints, bytes.
const STDERR_LIMIT: u64 = 4096;

/// What a mail server let us do, for `archive check`; both are false for `sendmail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// TLS is on.
    pub encrypted: bool,
    /// User and password were accepted.
    pub authenticated: bool,
}

/// Connects, speaks TLS as demanded, and logs in.
fn connect(settings: &SmtpSettings) -> Result<SmtpConnection, MailError> {
    let failed = |error: lettre::transport::smtp::Error| MailError::from_smtp(&error, settings);
    let tls = match settings.security {
        SmtpSecurity::None => None,
        SmtpSecurity::Starttls | SmtpSecurity::Tls => Some(tls_parameters(settings)?),
    };
    let at_once = tls.as_ref().filter(|_| settings.security == SmtpSecurity::Tls);
    let hello = ClientId::default();
    let server = (settings.host.as_str(), settings.port);
    let mut connection =
        SmtpConnection::connect(server, Some(settings.timeout), &hello, at_once, None).map_err(failed)?;
    if let (SmtpSecurity::Starttls, Some(tls)) = (settings.security, &tls) {
        connection.starttls(tls, &hello).map_err(failed)?;
    }
    if let Some((username, password)) = &settings.credentials {
        let credentials = Credentials::new(username.clone(), password.expose().to_owned());
        connection.auth(DEFAULT_MECHANISMS, &credentials).map_err(|error| {
            if error.status().is_some() {
                connection.abort();
            }
            failed(error)
        })?;
    }
    Ok(connection)
}

fn tls_parameters(settings: &SmtpSettings) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let unusable = |error: anyhow::Error| MailError::ca_file(path, &error);
        for certificate in crate::http::certificates(path, "mail.ca_file").map_err(unusable)? {
            let certificate = Certificate::from_der(certificate.to_vec())
                .map_err(|error| unusable(anyhow::anyhow!("`{}`: {error}", path.display())))?;
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build_rustls().map_err(|error| MailError::from_smtp(&error, settings))
}

/// Connects, speaks TLS, logs in, asks for a sign of life, and hangs up.
pub(super) fn probe_smtp(settings: &SmtpSettings) -> Result<Probe, MailError> {
    let mut connection = connect(settings)?;
    let probe = Probe { encrypted: connection.is_encrypted(), authenticated: settings.credentials.is_some() };
    let alive = connection.command(lettre::transport::smtp::commands::Noop);
    connection.abort();
    alive.map(|_| probe).map_err(|error| MailError::from_smtp(&error, settings))
}

/// One attempt to hand `mail` to the server for `recipients`.
///
/// # Errors
/// `RecipientsRefused` where some or all were refused; those who are not in `undelivered` have the mail. Any other error:
/// nobody has it, as far as the server said.
pub(super) fn send_smtp(settings: &SmtpSettings, mail: &OutgoingMail, recipients: &[Address]) -> Result<(), MailError> {
    let mut connection = connect(settings)?;
    let result = converse(&mut connection, settings, mail, recipients);
    if !result.as_ref().is_err_and(|error| error.kind == MailErrorKind::Timeout) {
        // Says QUIT and waits for the answer: not to a server that has stopped answering.
        connection.abort();
    }
    result
}

fn converse(
    connection: &mut SmtpConnection,
    settings: &SmtpSettings,
    mail: &OutgoingMail,
    recipients: &[Address],
) -> Result<(), MailError> {
    let failed = |error: lettre::transport::smtp::Error| MailError::from_smtp(&error, settings);
    let mut parameters = Vec::new();
    let ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    if !mail.envelope.from().is_none_or(ascii) || !recipients.iter().all(ascii) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            let message = "an address is not ASCII, and the server does not support SMTPUTF8 (RFC 6531)";
            return Err(MailError::local(MailErrorKind::Local, settings.host.clone(), message));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    // The bytes themselves are ASCII: `compose` encodes the bodies, so 8BITMIME is not needed.
    connection.command(Mail::new(mail.envelope.from().cloned(), parameters)).map_err(|error| {
        let mut error = failed(error);
        if error.kind == MailErrorKind::Rejected {
            error.kind = MailErrorKind::SenderRefused;
        }
        error
    })?;
    let mut refused: Vec<(Address, String)> = Vec::new();
    let mut transient = false;
    for recipient in recipients {
        match connection.command(Rcpt::new(recipient.clone(), Vec::new())) {
            Ok(_) => {}
            // 530 is about us, not about the recipient, and without a status the connection is gone.
            Err(error) if error.status().is_none_or(|code| u16::from(code) == 530) => return Err(failed(error)),
            Err(error) => {
                transient |= error.is_transient();
                refused.push((recipient.clone(), reply_of(&error)));
            }
        }
    }
    let partly = refused.len() < recipients.len();
    if partly {
        connection.command(Data).map_err(failed)?;
        connection.message(&mail.bytes).map_err(failed)?;
    }
    if refused.is_empty() { Ok(()) } else { Err(MailError::recipients(&refused, transient, partly, settings)) }
}

/// Hands `mail` to the machine's mailer: `command -i -f FROM -- TO…`, without a shell.
///
/// Line ends are LF, as this interface has had them since its beginnings; the mailer makes CRLF of them.
pub(super) fn send_sendmail(command: &Path, mail: &OutgoingMail, recipients: &[Address]) -> Result<(), MailError> {
    let shown = command.display().to_string();
    let failed = |message: String| {
        MailError::local(MailErrorKind::SendmailFailed, shown.clone(), format!("`{shown}` failed: {message}"))
    };
    let mut process = Command::new(command);
    process.arg("-i");
    if let Some(from) = mail.envelope.from() {
        process.arg("-f").arg(from);
    }
    process.arg("--").args(recipients);
    process.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = process.spawn().map_err(|error| {
        MailError::local(MailErrorKind::SendmailMissing, shown.clone(), format!("failed to start `{shown}`: {error}"))
    })?;
    let body: Vec<u8> = String::from_utf8_lossy(&mail.bytes).replace("\r\n", "\n").into_bytes();
    // Threads, so that neither side waits for the other's pipe, and a mailer that hangs is noticed. A broken pipe means
    // that the mailer has given up: its exit status and its words tell more.
    let stdin = child.stdin.take();
    let writer = thread::spawn(move || stdin.is_none_or(|mut stdin| stdin.write_all(&body).is_ok()));
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.by_ref().take(STDERR_LIMIT).read_to_end(&mut said);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = wait(&mut child).map_err(|error| failed(error.to_string()))?;
    let Some(status) = status else {
        // Not joined: a grandchild may still hold the pipes open.
        return Err(failed(format!("not done after {} s", SENDMAIL_TIMEOUT.as_secs())));
    };
    let written = writer.join().unwrap_or(false);
    if status.success() && written {
        return Ok(());
    }
    let said = one_line(&reader.join().unwrap_or_default());
    let status = if status.success() { "it did not read the whole mail".to_owned() } else { status.to_string() };
    Err(failed(if said.is_empty() { status } else { format!("{said} ({status})") }))
}

fn wait(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + SENDMAIL_TIMEOUT;
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
