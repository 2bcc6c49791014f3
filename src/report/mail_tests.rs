use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::super::fixtures;
use super::*;
use crate::config::secret::Secret;
use crate::config::settings::{SmtpSecurity, SmtpSettings};
use crate::error::Hinted;

fn settings(transport: MailTransport) -> MailSettings {
    MailSettings {
        transport,
        from: "Archive <archive@example.org>".parse().unwrap(),
        to: vec!["a@example.org".parse().unwrap(), "Béa <b@example.org>".parse().unwrap()],
        when: When::Always,
        subject: "[{status}] {job}: {summary}".into(),
        attach_log: AttachLog::Failure,
        language: Language::Fr,
    }
}

fn smtp(port: u16) -> SmtpSettings {
    SmtpSettings {
        host: "127.0.0.1".into(),
        port,
        security: SmtpSecurity::None,
        credentials: None,
        ca_file: None,
        timeout: Duration::from_secs(10),
        helo: None,
    }
}

fn sendmail(command: impl Into<PathBuf>) -> MailSettings {
    settings(MailTransport::Sendmail { command: command.into() })
}

/// A mail server that answers by `reply(line)`; gives back what it heard. One connection.
fn server(greeting: &'static str, reply: fn(&str) -> &'static str) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let talk = move |mut stream: TcpStream| {
        let mut heard = Vec::new();
        let mut in_data = false;
        stream.write_all(greeting.as_bytes()).unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
            heard.push(line.clone());
            let answer = match (in_data, line.as_str()) {
                (true, ".") => "250 queued\r\n",
                (true, _) => continue,
                (false, line) => reply(line),
            };
            in_data = answer.starts_with("354");
            if stream.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
        heard
    };
    (port, thread::spawn(move || talk(listener.accept().unwrap().0)))
}

/// A mail server for as many connections as come, which takes messages of at most `most` bytes; gives what it took.
fn narrow_server(most: usize) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let messages = Arc::clone(&taken);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut message: Option<String> = None;
            stream.write_all(b"220 mx\r\n").unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                let answer: &[u8] = match &mut message {
                    Some(text) if line == "." => {
                        let fits = text.len() <= most;
                        let text = message.take().unwrap();
                        if fits {
                            messages.lock().unwrap().push(text);
                        }
                        if fits { b"250 queued\r\n" } else { b"552 5.3.4 message too big\r\n" }
                    }
                    Some(text) => {
                        text.push_str(&line);
                        text.push('\n');
                        continue;
                    }
                    None if line == "DATA" => {
                        message = Some(String::new());
                        b"354 go on\r\n"
                    }
                    None => b"250 ok\r\n",
                };
                if stream.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    (port, taken)
}

fn usual(line: &str) -> &'static str {
    match line.split(' ').next().unwrap_or_default() {
        "EHLO" => "250-mx\r\n250 AUTH PLAIN LOGIN\r\n",
        "DATA" => "354 go on\r\n",
        "QUIT" => "221 bye\r\n",
        "AUTH" => "535 5.7.8 who are you\r\n",
        _ if line.contains("b@example.org") => "550 5.1.1 no such user\r\n",
        _ => "250 ok\r\n",
    }
}

fn by() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn mail() -> OutgoingMail {
    compose(&fixtures::published(), &sendmail("x"), None).unwrap()
}

fn bytes(report: &RunReport, attach_log: AttachLog) -> String {
    let mut settings = sendmail("x");
    settings.attach_log = attach_log;
    String::from_utf8(compose(report, &settings, Some("une ligne é\n")).unwrap().bytes).unwrap()
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let head = mail.split("\r\n\r\n").next().unwrap();
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
}

#[test]
fn a_mail_is_wanted_by_its_status() {
    let all = [Status::Ok, Status::Warning, Status::Failed];
    let of = |when| all.map(|status| wanted(when, status));
    assert_eq!(of(When::Always), [true; 3]);
    assert_eq!(of(When::Warning), [false, true, true]);
    assert_eq!(of(When::Failure), [false, false, true]);
    assert_eq!(of(When::Never), [false; 3]);
}

#[test]
fn the_headers_say_what_programs_need_to_know() {
    let mail = bytes(&fixtures::published(), AttachLog::Failure);
    assert_eq!(header(&mail, "Subject"), "[OK] boutique: 20261120.tgz, 271 Mo");
    assert_eq!(header(&mail, "Date"), "Fri, 20 Nov 2026 01:03:36 +0000");
    assert_eq!(header(&mail, "Message-ID"), "<20261120-020000-7f3a.boutique@db1.example.org>");
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "X-Archive-Job"), "boutique");
    assert_eq!(header(&mail, "X-Archive-Status"), "OK");
    assert_eq!(header(&mail, "X-Archive-Run"), "20261120-020000-7f3a");
    let to = header(&mail, "To");
    assert!(to.contains("a@example.org") && to.contains("<b@example.org>"), "{to}");
    assert!(mail.is_ascii());
    assert!(mail.split("\r\n").all(|line| line.len() <= 998 && !line.contains('\n')));
}

#[test]
fn the_text_comes_before_the_html_for_the_last_one_is_preferred() {
    let mail = bytes(&fixtures::published(), AttachLog::Never);
    assert!(header(&mail, "Content-Type").starts_with("multipart/alternative"));
    let (text, html) = (mail.find("text/plain").unwrap(), mail.find("text/html").unwrap());
    assert!(text < html);
    assert!(!mail[..html].contains("<!DOCTYPE") && mail[html..].contains("<!DOCTYPE"));
}

#[test]
fn the_log_is_attached_when_it_is_wanted() {
    let name = "filename=\"archive-boutique-20261120-020000-7f3a.log\"";
    assert!(!bytes(&fixtures::published(), AttachLog::Failure).contains(name));
    assert!(bytes(&fixtures::published(), AttachLog::Always).contains(name));
    let failed = bytes(&fixtures::download_404(), AttachLog::Failure);
    assert!(failed.contains(name) && failed.contains("une ligne =C3=A9"), "{failed}");
}

#[test]
fn what_may_pass_is_tried_three_times_and_only_with_those_who_lack_it() {
    let addresses: Vec<Address> = ["a@x.org", "b@x.org"].iter().map(|a| a.parse().unwrap()).collect();
    let mut asked = Vec::new();
    let once = |to: &[Address]| {
        asked.push(to.to_vec());
        let error = MailError::local(MailErrorKind::TryLater, "", "greylisted");
        Err(error.with_undelivered(&to[to.len() - 1..]))
    };
    let pauses = [Duration::ZERO; 2];
    let error = attempts(&addresses, once, &pauses, |_| true).unwrap_err();
    assert_eq!(asked, [&addresses[..], &addresses[1..], &addresses[1..]]);
    assert_eq!(error.undelivered, &addresses[1..]);
}

#[test]
fn what_cannot_pass_is_not_tried_again_and_neither_is_anything_after_a_signal() {
    let to = ["a@x.org".parse().unwrap()];
    for (kind, goes_on, expected) in
        [(MailErrorKind::WrongPassword, true, 1), (MailErrorKind::Refused, false, 1), (MailErrorKind::Refused, true, 3)]
    {
        let calls = Cell::new(0);
        let once = |_: &[Address]| {
            calls.set(calls.get() + 1);
            Err(MailError::local(kind.clone(), "", ""))
        };
        let error = attempts(&to, once, &[Duration::ZERO; 2], |_| goes_on).unwrap_err();
        assert_eq!(calls.get(), expected, "{kind:?}");
        assert_eq!(error.undelivered, to);
    }
}

#[test]
fn one_refused_recipient_does_not_keep_the_mail_from_the_others() {
    let (port, server) = server("220 mx\r\n", usual);
    let error = send(&settings(MailTransport::Smtp(smtp(port))), &mail(), &Interrupt::default()).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::RecipientsRefused);
    assert_eq!(
        error.to_string(),
        "recipient refused: `b@example.org`: 550 5.1.1 no such user; the other recipients have the mail"
    );
    assert!(error.partly && !error.is_worth_keeping());
    let heard = server.join().unwrap();
    assert!(heard.iter().any(|line| line == "DATA"), "{heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("QUIT"));
}

#[test]
fn a_server_that_answers_wrongly_is_told_apart() {
    let check = |greeting: &'static str, reply: fn(&str) -> &'static str, change: fn(&mut SmtpSettings)| {
        let (port, server) = server(greeting, reply);
        let mut smtp = smtp(port);
        change(&mut smtp);
        let error = send_once(&settings(MailTransport::Smtp(smtp)), &mail(), mail().envelope.to(), by()).unwrap_err();
        drop(server);
        assert!(error.hint().is_some(), "{error}");
        let message = error.to_string().replace(&port.to_string(), "PORT");
        (error.kind, message)
    };
    let (kind, message) = check("220 mx\r\n", usual, |smtp| smtp.credentials = Some(("u".into(), Secret::new("pass"))));
    assert_eq!(kind, MailErrorKind::WrongPassword);
    assert_eq!(message, "`127.0.0.1:PORT` answered `535 5.7.8 who are you`");
    let (kind, _) = check("220 mx\r\n", usual, |smtp| smtp.security = SmtpSecurity::Starttls);
    assert_eq!(kind, MailErrorKind::StarttlsMissing);
    let (kind, _) = check("220 mx\r\n", usual, |smtp| smtp.security = SmtpSecurity::Tls);
    assert_eq!(kind, MailErrorKind::NotTls);
    let (kind, _) = check("HTTP/1.1 400 Bad Request\r\n", usual, |_| ());
    assert_eq!(kind, MailErrorKind::NotSmtp);
    let no_auth = |line: &str| if line.starts_with("EHLO") { "250 mx\r\n" } else { usual(line) };
    let (kind, _) = check("220 mx\r\n", no_auth, |smtp| smtp.credentials = Some(("u".into(), Secret::new("pass"))));
    assert_eq!(kind, MailErrorKind::NoAuthMechanism);
    let needs_auth = |line: &str| if line.starts_with("MAIL") { "530 login first\r\n" } else { usual(line) };
    let (kind, _) = check("220 mx\r\n", needs_auth, |_| ());
    assert_eq!(kind, MailErrorKind::AuthRequired);
    let busy = |line: &str| if line.starts_with("RCPT") { "450 later\r\n" } else { usual(line) };
    let (kind, _) = check("220 mx\r\n", busy, |_| ());
    assert_eq!(kind, MailErrorKind::TryLater);
    let (kind, message) = check("", usual, |smtp| smtp.timeout = Duration::from_millis(1));
    assert_eq!(kind, MailErrorKind::Timeout, "{message}");
}

#[test]
fn a_report_of_forty_megabytes_makes_a_mail_that_every_server_takes() {
    let mut report = fixtures::download_404();
    report.failures[0].causes = vec!["x y ".repeat(10 << 20)];
    let log = "a line of the log\n".repeat(2 << 20);
    let mut settings = sendmail("x");
    settings.attach_log = AttachLog::Always;
    let mail = compose(&report, &settings, Some(&log)).unwrap();
    assert!(mail.bytes.len() < 2 << 20, "{}", mail.bytes.len());
    assert!(mail.smaller.iter().all(|form| form.len() < 400 << 10));
    assert!(mail.smaller.last().is_some_and(|form| form.len() < 32 << 10));
}

#[test]
fn a_mail_refused_for_its_size_goes_without_its_attachment_and_then_in_short() {
    let mut report = fixtures::download_404();
    report.failures[0].causes = vec!["one two three ".repeat(2000)];
    for (most, has_html, has_log) in [(1 << 20, true, true), (150 << 10, true, false), (20 << 10, false, false)] {
        let (port, taken) = narrow_server(most);
        let mut settings = settings(MailTransport::Smtp(smtp(port)));
        settings.attach_log = AttachLog::Always;
        let mail = compose(&report, &settings, Some(&"a line of the log\n".repeat(20_000))).unwrap();
        send(&settings, &mail, &Interrupt::default()).unwrap();
        let taken = taken.lock().unwrap();
        assert_eq!(taken.len(), 1);
        assert!(taken[0].contains("Subject: [FAILED] boutique"));
        assert_eq!((taken[0].contains("<!DOCTYPE"), taken[0].contains("filename=")), (has_html, has_log), "{most}");
    }
}

#[test]
fn a_mail_that_fits_nowhere_is_told_after_one_round() {
    let (port, taken) = narrow_server(10);
    let error = send(&settings(MailTransport::Smtp(smtp(port))), &mail(), &Interrupt::default()).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::TooLarge);
    assert!(error.is_about_this_mail() && !error.is_transient() && taken.lock().unwrap().is_empty());
}

#[test]
fn a_server_without_ehlo_gets_helo_and_the_mail() {
    let old = |line: &str| match line.split(' ').next().unwrap_or_default() {
        "EHLO" => "502 5.5.1 command not implemented\r\n",
        "DATA" => "354 go on\r\n",
        _ => "250 ok\r\n",
    };
    let (port, server) = server("220 mx\r\n", old);
    let mut smtp = smtp(port);
    smtp.helo = Some("[10.0.0.5]".to_owned());
    send(&settings(MailTransport::Smtp(smtp)), &mail(), &Interrupt::default()).unwrap();
    let heard = server.join().unwrap();
    assert_eq!(&heard[..2], ["EHLO [10.0.0.5]", "HELO [10.0.0.5]"]);
}

#[test]
fn a_machine_with_a_short_name_says_its_address() {
    let (port, server) = server("220 mx\r\n", |line| if line.starts_with("RCPT") { "250 ok\r\n" } else { usual(line) });
    send(&settings(MailTransport::Smtp(smtp(port))), &mail(), &Interrupt::default()).unwrap();
    let heard = server.join().unwrap();
    let name = heard[0].strip_prefix("EHLO ").unwrap();
    assert!(name.contains('.'), "{name}");
}

#[test]
fn the_mechanisms_that_a_server_offers_are_named_when_none_is_ours() {
    let exchange = |line: &str| match line.split(' ').next().unwrap_or_default() {
        "EHLO" => "250-mx\r\n250-AUTH NTLM GSSAPI\r\n250 AUTH=XOAUTH2\r\n",
        _ => "250 ok\r\n",
    };
    let (port, _server) = server("220 mx\r\n", exchange);
    let mut smtp = smtp(port);
    smtp.credentials = Some(("u".into(), Secret::new("pass")));
    let error = probe(&settings(MailTransport::Smtp(smtp))).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::NoAuthMechanism);
    assert!(
        error.to_string().ends_with("offers neither AUTH PLAIN nor AUTH LOGIN, only `NTLM GSSAPI XOAUTH2`"),
        "{error}"
    );
    assert!(error.hint().is_some_and(|hint| !hint.en.contains("587")));
}

#[test]
fn what_a_server_says_is_quoted_short_and_escaped() {
    let long = |line: &str| match line.split(' ').next().unwrap_or_default() {
        "EHLO" => "250 mx\r\n",
        _ => concat!(
            "421 4.3.2 \u{1b}[2Jgo away ",
            "very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far very far \r\n"
        ),
    };
    let (port, _server) = server("220 mx\r\n", long);
    let error = send_once(&settings(MailTransport::Smtp(smtp(port))), &mail(), mail().envelope.to(), by()).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::TryLater);
    let said = error.to_string();
    assert!(said.contains("421 4.3.2 \\u{1b}[2Jgo away") && said.chars().count() < 400, "{said}");
}

#[test]
fn nobody_there_is_told_apart_from_no_such_host() {
    // Bound and closed again: refused.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = probe(&settings(MailTransport::Smtp(smtp(port)))).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::Refused, "{error}");
    let mut unknown = smtp(25);
    unknown.host = "no-such-host.invalid".into();
    let error = probe(&settings(MailTransport::Smtp(unknown))).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::HostUnknown, "{error}");
}

#[test]
fn a_refusal_before_the_mail_is_not_about_the_mail() {
    let check = |greeting: &'static str, reply: fn(&str) -> &'static str, credentials: Option<(String, Secret)>| {
        let (port, _server) = server(greeting, reply);
        let smtp = SmtpSettings { credentials, ..smtp(port) };
        let error = send_once(&settings(MailTransport::Smtp(smtp)), &mail(), mail().envelope.to(), by()).unwrap_err();
        assert!(!error.is_about_this_mail() && error.hint().is_some(), "{error}");
        assert_ne!(error.kind, MailErrorKind::SenderRefused);
    };
    check("554 5.7.1 not from this address\r\n", usual, None);
    check("552 5.3.4 not from this address\r\n", usual, None);
    check("220 mx\r\n", |line| if line.contains("LO ") { "550 no\r\n" } else { usual(line) }, None);
    let no_login = |line: &str| if line.starts_with("AUTH") { "500 no\r\n" } else { "250-mx\r\n250 AUTH PLAIN\r\n" };
    check("220 mx\r\n", no_login, Some(("u".into(), Secret::new("pass"))));
}

#[test]
fn no_password_is_in_any_error() {
    let (port, _server) = server("220 mx\r\n", usual);
    let mut smtp = smtp(port);
    smtp.credentials = Some(("archive".into(), Secret::new("hunter22")));
    let error = probe(&settings(MailTransport::Smtp(smtp))).unwrap_err();
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("hunter22"));
}

/// Written by another process: a script that this one had open for writing might be "busy" when it starts.
fn script(dir: &Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("sendmail");
    let written = std::process::Command::new("/bin/sh")
        .args(["-c", "printf '%s\\n' '#!/bin/sh' \"$2\" > \"$1\"", "sh"])
        .arg(&path)
        .arg(body)
        .status();
    assert!(written.unwrap().success());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn sendmail_gets_its_arguments_and_the_mail() {
    let dir = tempfile::tempdir().unwrap();
    let body = format!("echo \"$@\" > {0}/args; cat > {0}/mail", dir.path().display());
    send(&sendmail(script(dir.path(), &body)), &mail(), &Interrupt::default()).unwrap();
    let args = std::fs::read_to_string(dir.path().join("args")).unwrap();
    assert_eq!(args, "-i -f archive@example.org -- a@example.org b@example.org\n");
    let sent = std::fs::read_to_string(dir.path().join("mail")).unwrap();
    assert!(sent.contains("\nAuto-Submitted: auto-generated\n") && !sent.contains('\r'));
}

#[test]
fn a_sendmail_that_fails_is_quoted_and_one_that_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let settings = sendmail(script(dir.path(), "echo 'queue full' >&2; exit 75"));
    let error = send_once(&settings, &mail(), mail().envelope.to(), by()).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::SendmailFailed);
    assert!(error.to_string().ends_with("failed: queue full (exit status: 75)"), "{error}");
    let error = send_once(&sendmail("/nowhere/sendmail"), &mail(), mail().envelope.to(), by()).unwrap_err();
    assert_eq!(error.kind, MailErrorKind::SendmailMissing);
    assert!(error.to_string().starts_with("failed to start `/nowhere/sendmail`: No such file"), "{error}");
    assert_eq!(probe(&sendmail("/nowhere/sendmail")).unwrap_err().kind, MailErrorKind::SendmailMissing);
    assert!(probe(&settings).is_ok());
}

#[test]
fn a_sendmail_whose_children_keep_its_pipes_does_not_hold_up_the_end_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = mail();
    long.bytes.extend("a line\r\n".repeat(40_000).bytes());
    for (body, says) in [
        ("exec 3<&0; sleep 30 & exit 0", "did not read the whole mail in 1."),
        ("exec 3<&0; echo 'queue full' >&2; sleep 30 & exit 75", "failed: queue full (exit status: 75)"),
        ("sleep 30 & exec sleep 30", "not done after 1."),
    ] {
        let begun = Instant::now();
        let settings = sendmail(script(dir.path(), body));
        let until = begun + Duration::from_secs(1);
        let error = send_once(&settings, &long, long.envelope.to(), until).unwrap_err();
        assert_eq!(error.kind, MailErrorKind::SendmailFailed);
        assert!(error.to_string().contains(says), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{body}");
    }
}
