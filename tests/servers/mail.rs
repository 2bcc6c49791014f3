//! The mail server against `curl`, and the `sendmail`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::harness::{Need, Suite};
use crate::support::smtp::{PASSWORD, Security, Sendmail, SmtpServer, Stall, USERNAME};
use crate::support::tls::Authority;

const NEEDS: &[Need] = &[Need::Smtp, Need::program("curl")];

const MESSAGE: &str = "From: =?utf-8?q?Archivage_=C3=A9?= <archive@example.org>\r\nTo: a@example.org\r\n\
    Subject: =?utf-8?b?W0VDSEVDXSDDqXTDqQ==?=\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
    --a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    termin=C3=A9\r\n--a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>fini</p>\r\n--a--\r\n\
    --m\r\nContent-Type: text/plain; name=run.log\r\nContent-Disposition: attachment; filename=run.log\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nbGluZSAxCg==\r\n--m--\r\n";

/// Sends [`MESSAGE`] by curl.
fn send(server: &SmtpServer, scheme: &str, ca: &Authority, options: &[&str]) -> Result<Output> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("ca.pem"), ca.pem())?;
    fs::write(directory.path().join("message"), MESSAGE)?;
    let mut command = Command::new("curl");
    command.args(["-sS", "--cacert", "ca.pem", "--noproxy", "*", "--upload-file", "message"]);
    command.args(["--mail-from", "archive@example.org", "--mail-rcpt", "a@example.org"]).args(options);
    command.arg(format!("{scheme}://localhost:{}/client.test", server.port()));
    command.current_dir(directory.path()).output().context("curl does not start")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn register(suite: &mut Suite) {
    suite.case("smtp::plain_starttls_and_tls_with_every_log_in", NEEDS, || {
        let ca = Authority::new("archive test CA");
        let user = format!("{USERNAME}:{PASSWORD}");
        for (security, scheme) in [(Security::None, "smtp"), (Security::StartTls, "smtp"), (Security::Tls, "smtps")] {
            let server = SmtpServer::start(security, Some(&ca.good()));
            server.change(|options| options.auth_required = true);
            let required: &[&str] = if security == Security::StartTls { &["--ssl-reqd"] } else { &[] };
            let with = |more: &[&str]| send(&server, scheme, &ca, &[required, more].concat());
            for mechanism in ["AUTH=PLAIN", "AUTH=LOGIN"] {
                let output = with(&["-u", &user, "--login-options", mechanism])?;
                ensure!(output.status.success(), "{security:?} {mechanism}: {}", text(&output));
            }
            ensure!(text(&with(&["-u", "archive@example.org:wrong"])?).contains("Login denied"), "wrong password");
            ensure!(text(&with(&[])?).contains("530"), "{security:?} without log-in");
            ensure!(server.logins().contains(&"LOGIN accepted".to_owned()), "{:?}", server.logins());
            let mail = server.wait_for_mails(2).remove(1);
            let envelope = mail.envelope.clone().context("envelope")?;
            ensure!(
                envelope.tls == (security != Security::None) && envelope.user.as_deref() == Some(USERNAME),
                "{mail:?}"
            );
            ensure!(mail.subject == "[ECHEC] été" && mail.from.starts_with("Archivage é"), "{mail:?}");
            ensure!(mail.text.as_deref().map(str::trim_end) == Some("terminé"), "{mail:?}");
            ensure!(mail.html.as_deref().map(str::trim_end) == Some("<p>fini</p>"), "{mail:?}");
            ensure!(mail.attachments.len() == 1 && mail.attachments[0].text == "line 1\n", "{mail:?}");
            ensure!(mail.attachments[0].filename.as_deref() == Some("run.log"), "{mail:?}");
            ensure!(server.raw(1).ends_with(b"--m--\r\n"), "raw");
        }
        Ok(())
    });

    suite.case("smtp::refuses_as_told", NEEDS, || {
        let ca = Authority::new("archive test CA");
        let mut server = SmtpServer::start(Security::None, None);
        ensure!(text(&send(&server, "smtp", &ca, &["--ssl-reqd"])?).contains("STARTTLS not supported"), "no STARTTLS");
        server.change(|options| options.refused_recipients = vec!["a@example.org".into()]);
        ensure!(text(&send(&server, "smtp", &ca, &[])?).contains("550"), "recipient");
        server.change(|options| (options.refused_recipients.clear(), options.temporary_failures = 2).0);
        for expected in [false, false, true] {
            let output = send(&server, "smtp", &ca, &[])?;
            ensure!(output.status.success() == expected, "{}", text(&output));
        }
        ensure!(server.mails().len() == 1, "one came through");
        for (answered, stall) in [Stall::Connect, Stall::Mail, Stall::Data].into_iter().enumerate() {
            server.change(|options| options.stall = stall);
            ensure!(answers(server.port())? == answered, "{stall:?}");
        }
        server.stop();
        ensure!(send(&server, "smtp", &ca, &[])?.status.code() == Some(7), "refused");
        server.change(|options| (options.stall, options.temporary_failures) = (Stall::Never, 0));
        server.restart();
        ensure!(send(&server, "smtp", &ca, &[])?.status.success(), "again");
        Ok(())
    });

    suite.case("smtp::sendmail_keeps_arguments_and_message", &[Need::Smtp], || {
        let directory = tempfile::tempdir()?;
        let sendmail = Sendmail::new(directory.path());
        ensure!(submit(&sendmail.command())?.status.success(), "first");
        sendmail.fail("queue full");
        let refused = submit(&sendmail.command())?;
        ensure!(refused.status.code() == Some(75) && text(&refused) == "queue full\n", "{refused:?}");
        sendmail.accept();
        ensure!(submit(&sendmail.command())?.status.success(), "again");
        let calls = sendmail.calls();
        ensure!(calls.len() == 2 && calls[1].args == ["-i", "--", "a b@example.org"], "{:?}", calls[1].args);
        ensure!(calls[1].mail.subject == "[ECHEC] été" && calls[1].mail.envelope.is_none(), "{:?}", calls[1].mail);
        Ok(())
    });
}

/// How many of the server's answers come (greeting, to `MAIL FROM`, to the end of the message) before it falls silent.
/// By hand: curl would wait for two minutes to say good-bye.
fn answers(port: u16) -> Result<usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut answer = || {
        let mut line = String::new();
        reader.read_line(&mut line).is_ok_and(|count| count > 0)
    };
    for (count, (dialogue, replies)) in
        [("", 1), ("HELO me\r\nMAIL FROM:<a@b>\r\n", 2), ("RCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n", 3)].iter().enumerate()
    {
        stream.write_all(dialogue.as_bytes())?;
        if !(0..*replies).all(|_| answer()) {
            return Ok(count);
        }
    }
    Ok(3)
}

fn submit(command: &Path) -> Result<Output> {
    let mut child = Command::new(command)
        .args(["-i", "--", "a b@example.org"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("piped")?.write_all(MESSAGE.as_bytes())?;
    Ok(child.wait_with_output()?)
}
