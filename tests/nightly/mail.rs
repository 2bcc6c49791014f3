//! The mail, from the built program to a real mail server: every way to send it, and everything that can go wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};

use crate::here::{json_night, says};
use crate::job::{Job, ZIP};
use crate::support::binary::Done;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::https::Behaviour;
use crate::support::smtp::{Mail, PASSWORD, Security, Sendmail, SmtpServer, USERNAME};

const NEEDS: &[Need] = &[Need::Smtp, Need::Faketime];
const NIGHT: &str = "2026-11-20 01:00:00";

/// `[mail]` for a server without TLS, in English; `more` are further keys.
pub fn mailed(server: &SmtpServer, more: &str) -> String {
    smtp(server, "none", &format!("language = \"en\"\nto = [\"exploitation@example.org\"]\n{more}"))
}

fn smtp(server: &SmtpServer, security: &str, more: &str) -> String {
    format!(
        "[mail]\nhost = \"localhost\"\nport = {}\nsecurity = \"{security}\"\nfrom = \"archive@example.org\"\nca_file = \"ca.pem\"\n\
         timeout = \"5s\"\n{more}\n",
        server.port()
    )
}

fn login(password: &str) -> String {
    format!("username = \"{USERNAME}\"\npassword = \"{password}\"\nto = [\"a@example.org\"]\nlanguage = \"en\"\n")
}

pub fn cases(suite: &mut Suite) {
    transports(suite);
    recipients(suite);
    trouble(suite);
    contents(suite);
}

/// A config that others can read and that holds a password is a warning of its own.
pub fn keep_private(job: &Job) {
    let config = job.path("archive.toml");
    fs::write(&config, "")
        .and_then(|()| fs::set_permissions(&config, fs::Permissions::from_mode(0o600)))
        .expect("own file");
}

/// A job with a good dump, so that the mail is all there is to look at.
fn job() -> Job {
    let job = Job::new();
    keep_private(&job);
    job.publish(&Dump::new(1).size(200_000).text());
    job
}

fn header<'a>(mail: &'a Mail, name: &str) -> Option<&'a str> {
    mail.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The unsent mails that wait.
fn kept(job: &Job) -> usize {
    let dir = job.path("work/outbox/mail");
    if !dir.exists() {
        return 0;
    }
    Job::names(&dir).iter().filter(|name| name.ends_with(".eml")).count()
}

/// The run published, and only its report failed.
fn only_the_report_failed(job: &Job, done: &Done) -> Result<()> {
    ensure!(done.code == 8, "{done}\n{}", job.log());
    ensure!(job.held() == ["20261120.tgz", "20261120.tgz.sha256"], "{:?}", job.held());
    Ok(())
}

fn transports(suite: &mut Suite) {
    for (security, key) in [(Security::None, "none"), (Security::StartTls, "starttls"), (Security::Tls, "tls")] {
        for mechanism in ["PLAIN", "LOGIN"] {
            suite.case(format!("mail::{key}_with_auth_{}", mechanism.to_lowercase()), NEEDS, move || {
                let mut job = job();
                let server = SmtpServer::start(security, Some(&job.ca.good()));
                server.change(|options| {
                    options.auth_required = true;
                    options.mechanisms = vec![mechanism.to_owned()];
                });
                let allow = if security == Security::None { "allow_plaintext = true\n" } else { "" };
                job.rest = smtp(&server, key, &format!("{}{allow}", login(PASSWORD)));
                let done = job.night(NIGHT);
                ensure!(done.code == 0 && done.stderr.is_empty(), "{done}\n{}", job.log());
                let mail = server.wait_for_mails(1).remove(0);
                let envelope = mail.envelope.clone().expect("by SMTP");
                ensure!(envelope.tls == (security != Security::None), "{envelope:?}");
                ensure!(envelope.user.as_deref() == Some(USERNAME), "{envelope:?}");
                ensure!(server.logins() == [format!("{mechanism} accepted")], "{:?}", server.logins());
                ensure!(mail.subject.starts_with("[OK] boutique: 20261120.tgz, "), "{}", mail.subject);
                Ok(())
            });
        }
    }

    suite.case("mail::without_log_in_and_without_tls", NEEDS, || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        job.rest = mailed(&server, "");
        ensure!(job.night(NIGHT).code == 0);
        let mail = server.wait_for_mails(1).remove(0);
        let envelope = mail.envelope.clone().expect("by SMTP");
        ensure!(!envelope.tls && envelope.user.is_none(), "{envelope:?}");
        ensure!(mail.from == "archive@example.org" && mail.to == "exploitation@example.org", "{mail:?}");
        ensure!(header(&mail, "X-Archive-Job") == Some("boutique"), "{:?}", mail.headers);
        ensure!(header(&mail, "X-Archive-Status") == Some("OK"), "{:?}", mail.headers);
        ensure!(header(&mail, "Auto-Submitted") == Some("auto-generated"), "{:?}", mail.headers);
        Ok(())
    });

    suite.case("mail::a_password_over_a_plain_line_needs_to_be_allowed", NEEDS, || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        job.rest = smtp(&server, "none", &login(PASSWORD));
        let done = job.night(NIGHT);
        ensure!(done.code == 2, "{done}");
        says(&done.stderr, &["allow_plaintext"])?;
        ensure!(server.logins().is_empty() && server.mails().is_empty(), "the password must not leave");
        Ok(())
    });

    suite.case("mail::a_certificate_of_another_authority_gets_neither_password_nor_mail", NEEDS, || {
        for (security, key) in [(Security::StartTls, "starttls"), (Security::Tls, "tls")] {
            let mut job = job();
            let other = crate::support::tls::Authority::new("another authority");
            let server = SmtpServer::start(security, Some(&other.good()));
            job.rest = smtp(&server, key, &login(PASSWORD));
            let done = job.night(NIGHT);
            only_the_report_failed(&job, &done)?;
            says(
                &done.stderr,
                &["failed to send the report", "an authority that this machine does not trust", "`mail.ca_file`"],
            )?;
            ensure!(server.logins().is_empty() && server.mails().is_empty() && kept(&job) == 1);
        }
        Ok(())
    });

    suite.case("mail::sendmail_gets_sender_recipients_and_the_message", NEEDS, || {
        let mut job = job();
        let sendmail = Sendmail::new(job.dir());
        job.rest = format!(
            "[mail]\ntransport = \"sendmail\"\ncommand = \"{}\"\nfrom = \"archive@example.org\"\n\
             to = [\"a@example.org\", \"Béa <bea@example.org>\"]\n",
            sendmail.command().display()
        );
        let done = job.night(NIGHT);
        ensure!(done.code == 0, "{done}");
        let calls = sendmail.calls();
        ensure!(calls.len() == 1);
        let expected = ["-i", "-f", "archive@example.org", "--", "a@example.org", "bea@example.org"];
        ensure!(calls[0].args == expected, "{:?}", calls[0].args);
        ensure!(calls[0].mail.subject.starts_with("[OK] boutique: 20261120.tgz, "), "{}", calls[0].mail.subject);
        ensure!(calls[0].mail.to.contains("Béa"), "{}", calls[0].mail.to);
        ensure!(calls[0].mail.html.is_some() && calls[0].mail.text.is_some());
        Ok(())
    });

    suite.case("mail::a_sendmail_that_fails_keeps_the_mail_for_the_next_run", NEEDS, || {
        let mut job = job();
        let sendmail = Sendmail::new(job.dir());
        job.rest = format!(
            "[mail]\ntransport = \"sendmail\"\ncommand = \"{}\"\nfrom = \"archive@example.org\"\nto = \"a@example.org\"\n",
            sendmail.command().display()
        );
        sendmail.fail("queue full");
        let done = job.night(NIGHT);
        only_the_report_failed(&job, &done)?;
        says(&done.stderr, &["failed to send the report", "queue full", "hint:"])?;
        sendmail.accept();
        ensure!(job.night("2026-11-21 01:00:00").code == 0);
        let subjects: Vec<String> = sendmail.calls().iter().map(|call| call.mail.subject.clone()).collect();
        ensure!(subjects.len() == 2 && subjects[0].starts_with("[OK] boutique: 20261120.tgz"), "{subjects:?}");
        ensure!(kept(&job) == 0);
        Ok(())
    });

    suite.case("mail::a_missing_sendmail_says_which_program", NEEDS, || {
        let mut job = job();
        job.rest = "[mail]\ntransport = \"sendmail\"\ncommand = \"/nowhere/sendmail\"\nfrom = \"archive@example.org\"\nto = \"a@example.org\"\n".to_owned();
        let done = job.night(NIGHT);
        ensure!(matches!(done.code, 2 | 8), "{done}");
        says(&done.stderr, &["/nowhere/sendmail", "No such file", "hint:"])
    });
}

fn recipients(suite: &mut Suite) {
    let to = "language = \"en\"\nto = [\"a@example.org\", \"gone@example.org\", \"Zoé <c@example.org>\"]\n";

    suite.case("mail::several_recipients_get_one_mail", NEEDS, move || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        job.rest = smtp(&server, "none", to);
        ensure!(job.night(NIGHT).code == 0);
        let mails = server.wait_for_mails(1);
        let envelope = mails[0].envelope.clone().expect("by SMTP");
        ensure!(
            mails.len() == 1 && envelope.to == ["a@example.org", "gone@example.org", "c@example.org"],
            "{envelope:?}"
        );
        ensure!(mails[0].to.contains("Zoé"), "{}", mails[0].to);
        Ok(())
    });

    suite.case("mail::a_refused_recipient_does_not_keep_the_mail_from_the_others", NEEDS, move || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        server.change(|options| options.refused_recipients = vec!["gone@example.org".into()]);
        job.rest = smtp(&server, "none", to);
        let done = job.night(NIGHT);
        only_the_report_failed(&job, &done)?;
        says(&done.stderr, &["recipient refused", "gone@example.org", "550 5.1.1 no such user", "mail.to"])?;
        let mails = server.wait_for_mails(1);
        let envelope = mails[0].envelope.clone().expect("by SMTP");
        ensure!(mails.len() == 1 && envelope.to == ["a@example.org", "c@example.org"], "{envelope:?}");
        ensure!(kept(&job) == 0, "whom it reached gets it once, whom it cannot reach never");
        Ok(())
    });

    suite.case("mail::when_everybody_is_refused_the_mail_waits", NEEDS, || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        server.change(|options| options.refused_recipients = vec!["exploitation@example.org".into()]);
        job.rest = mailed(&server, "");
        let done = job.night(NIGHT);
        only_the_report_failed(&job, &done)?;
        ensure!(kept(&job) == 1 && server.mails().is_empty());
        server.change(|options| options.refused_recipients.clear());
        ensure!(job.night("2026-11-21 01:00:00").code == 0);
        let mails = server.wait_for_mails(2);
        ensure!(mails[0].subject.starts_with("[OK] boutique: 20261120.tgz"), "{}", mails[0].subject);
        Ok(())
    });
}

fn trouble(suite: &mut Suite) {
    suite.case("mail::a_wrong_password_is_exit_code_8_and_the_mail_goes_with_the_next_run", NEEDS, || {
        let mut job = job();
        let server = SmtpServer::start(Security::StartTls, Some(&job.ca.good()));
        job.rest = smtp(&server, "starttls", &login("yesterday's password"));
        let done = job.night(NIGHT);
        only_the_report_failed(&job, &done)?;
        says(&done.stderr, &["failed to send the report", "535", "`mail.username` and `mail.password`"])?;
        ensure!(
            server.logins().len() <= 2 && !server.logins().iter().any(|l| l.contains("accepted")),
            "{:?}",
            server.logins()
        );
        ensure!(kept(&job) == 1);
        job.rest = smtp(&server, "starttls", &login(PASSWORD));
        let done = job.night("2026-11-21 01:00:00");
        ensure!(done.code == 0, "{done}");
        let mails = server.wait_for_mails(2);
        ensure!(mails[0].subject.starts_with("[OK] boutique: 20261120.tgz, "), "its own result: {}", mails[0].subject);
        ensure!(header(&mails[0], "X-Archive-Delayed").is_some(), "{:?}", mails[0].headers);
        ensure!(header(&mails[1], "X-Archive-Delayed").is_none(), "{:?}", mails[1].headers);
        ensure!(kept(&job) == 0);
        Ok(())
    });

    suite.case("mail::a_server_that_is_down_hides_nothing_and_gets_both_mails_the_next_night", NEEDS, || {
        let mut job = job();
        let mut server = SmtpServer::start(Security::None, None);
        job.rest = mailed(&server, "");
        server.stop();
        let (done, result) = json_night(&job, NIGHT)?;
        only_the_report_failed(&job, &done)?;
        ensure!(result["destinations"][0]["result"] == "published", "{result:#}");
        let log = job.log();
        says(&log, &["the mail is kept and goes with the next run", "run ended: ok: 20261120.tgz"])?;
        let block = log.rsplit("run FAILED after").next().unwrap_or_default();
        says(
            block,
            &["report: ", "step:       report", "connection refused", "what to do: check `mail.host`", "exit code:  8"],
        )?;
        server.restart();
        job.publish(&Dump::new(2).size(200_000).text());
        ensure!(job.night("2026-11-21 01:00:00").code == 0);
        let subjects: Vec<String> = server.wait_for_mails(2).into_iter().map(|mail| mail.subject).collect();
        ensure!(subjects[0].starts_with("[OK] boutique: 20261120.tgz, "), "{subjects:?}");
        ensure!(subjects[1].starts_with("[OK] boutique: 20261121.tgz, "), "{subjects:?}");
        ensure!(subjects.len() == 2 && kept(&job) == 0);
        Ok(())
    });

    suite.case("mail::the_first_failure_decides_even_if_the_mail_fails_too", NEEDS, || {
        let mut job = job();
        let mut server = SmtpServer::start(Security::None, None);
        job.rest = mailed(&server, "");
        server.stop();
        job.source.remove(ZIP);
        let done = job.night(NIGHT);
        ensure!(done.code == 3, "{done}");
        says(&done.stderr, &["404 Not Found", "failed to send the report"])?;
        ensure!(kept(&job) == 1);
        Ok(())
    });

    suite.case("mail::greylisting_is_waited_out", NEEDS, || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        server.change(|options| options.temporary_failures = 1);
        job.rest = mailed(&server, "");
        let done = job.night(NIGHT);
        ensure!(done.code == 0 && done.stderr.is_empty(), "{done}\n{}", job.log());
        ensure!(server.wait_for_mails(1).len() == 1 && kept(&job) == 0);
        Ok(())
    });
}

fn contents(suite: &mut Suite) {
    suite.case("mail::when_decides_who_hears_of_what", NEEDS, || {
        // Nights: published, unchanged (a warning), failed.
        for (when, expected) in [
            ("always", vec!["[OK]", "[WARNING]", "[FAILED]"]),
            ("warning", vec!["[WARNING]", "[FAILED]"]),
            ("failure", vec!["[FAILED]"]),
            ("never", vec![]),
        ] {
            let mut job = job();
            let server = SmtpServer::start(Security::None, None);
            job.rest = mailed(&server, &format!("when = \"{when}\""));
            ensure!(job.night("2026-11-18 01:00:00").code == 0);
            ensure!(job.night("2026-11-19 01:00:00").code == 0);
            job.source.remove(ZIP);
            ensure!(job.night(NIGHT).code == 3);
            let subjects: Vec<String> = server.mails().into_iter().map(|mail| mail.subject).collect();
            let heads: Vec<&str> = subjects.iter().filter_map(|subject| subject.split(' ').next()).collect();
            ensure!(heads == expected, "{when}: {subjects:?}");
        }
        Ok(())
    });

    suite.case("mail::the_log_is_attached_as_told", NEEDS, || {
        for (attach, good, failed) in [("always", 1, 1), ("failure", 0, 1), ("never", 0, 0)] {
            let mut job = job();
            let server = SmtpServer::start(Security::None, None);
            job.rest = mailed(&server, &format!("attach_log = \"{attach}\""));
            ensure!(job.night("2026-11-19 01:00:00").code == 0);
            job.source.script(ZIP, [Behaviour::Status(404, vec![], vec![])]);
            ensure!(job.night(NIGHT).code == 3);
            let mails = server.wait_for_mails(2);
            let counts: Vec<usize> = mails.iter().map(|mail| mail.attachments.len()).collect();
            ensure!(counts == [good, failed], "{attach}: {counts:?}");
            for attachment in &mails[1].attachments {
                let name = attachment.filename.clone().unwrap_or_default();
                ensure!(name.starts_with("archive-boutique-") && name.ends_with(".log"), "{name}");
                ensure!(attachment.content_type == "text/plain", "{}", attachment.content_type);
                says(&attachment.text, &["begins job `boutique`", "404 Not Found", "exit code:  3"])?;
                ensure!(!attachment.text.contains("published"), "this run's lines only");
            }
        }
        Ok(())
    });

    suite.case("mail::subjects_and_bodies_in_both_languages", NEEDS, || {
        for (language, subjects, words) in [
            (
                "en",
                ["[OK] boutique: 20261119.tgz, ", "[FAILED] boutique: download: 404 Not Found"],
                ["Cause: download", "What to do:", "check the path in `source.url`", "Steps"],
            ),
            (
                "fr",
                ["[OK] boutique: 20261119.tgz, ", "[FAILED] boutique: téléchargement : 404 Not Found"],
                ["Cause\u{a0}: téléchargement", "Que faire", "vérifiez", "Étapes"],
            ),
        ] {
            let mut job = job();
            let server = SmtpServer::start(Security::None, None);
            job.rest = smtp(&server, "none", &format!("to = \"a@example.org\"\nlanguage = \"{language}\"\n"));
            ensure!(job.night("2026-11-19 01:00:00").code == 0);
            job.source.remove(ZIP);
            ensure!(job.night(NIGHT).code == 3);
            let mails = server.wait_for_mails(2);
            ensure!(mails[0].subject.starts_with(subjects[0]), "{}", mails[0].subject);
            // Python gives a no-break space back as a plain one.
            ensure!(mails[1].subject.replace('\u{a0}', " ") == subjects[1], "{}", mails[1].subject);
            let (text, html) = (mails[1].text.clone().unwrap_or_default(), mails[1].html.clone().unwrap_or_default());
            says(&text, &words)?;
            says(&html, &["404 Not Found", "<"])?;
            // The result comes first, before anything else.
            ensure!(text.lines().next().is_some_and(|line| line.contains("boutique")), "{text}");
        }
        Ok(())
    });

    suite.case("mail::french_is_the_default_and_accents_survive", NEEDS, || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        job.rest = smtp(
            &server,
            "none",
            "to = \"Équipe Müller <a@example.org>\"\nsubject = \"Sauvegarde d’été {status} {job} {date}: {summary}\"\n",
        );
        job.source.remove(ZIP);
        ensure!(job.night(NIGHT).code == 3);
        let mail = server.wait_for_mails(1).remove(0);
        let subject = mail.subject.replace('\u{a0}', " ");
        let expected = "Sauvegarde d’été FAILED boutique 20/11/2026: téléchargement : 404 Not Found";
        ensure!(subject == expected, "{subject}");
        ensure!(mail.to.contains("Équipe Müller"), "{}", mail.to);
        says(&mail.text.unwrap_or_default(), &["téléchargement", "vérifiez"])?;
        says(&mail.html.unwrap_or_default(), &["téléchargement"])?;
        ensure!(server.raw(1).is_ascii(), "travels through any server");
        Ok(())
    });

    suite.case("mail::a_line_break_in_what_a_server_says_makes_no_header", NEEDS, || {
        let mut job = job();
        let server = SmtpServer::start(Security::None, None);
        job.rest = mailed(&server, "");
        fs::write(job.path("note"), "")?;
        let nasty = "<h1>Bcc: x@example.org</h1>\r\nBcc: y@example.org\r\n".repeat(50);
        job.source.script(ZIP, [Behaviour::Status(500, vec![], nasty.into_bytes())]);
        ensure!(job.night(NIGHT).code == 3);
        let mail = server.wait_for_mails(1).remove(0);
        ensure!(header(&mail, "Bcc").is_none() && mail.subject.chars().count() <= 150, "{mail:?}");
        ensure!(!mail.html.unwrap_or_default().contains("<h1>Bcc"), "HTML of others is text");
        Ok(())
    });
}
