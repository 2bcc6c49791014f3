//! The mail server: connect, TLS, log in; and a test mail on request.

use super::Checklist;
use crate::config::settings::{MailTransport, Settings};
use crate::error::while_doing;
use crate::exit_code::ExitCode;
use crate::report::mail;
use crate::text;

pub(super) fn check(settings: &Settings, send: bool, list: &mut Checklist<'_>) {
    let Some(mail_settings) = &settings.mail else {
        list.warn(
            "mail",
            "no `[mail]`: nobody is told how a night went",
            Some(text!("add `[mail]`, or watch the exit code" / "ajoutez `[mail]`, ou surveillez le code de retour")),
        );
        return;
    };
    let through = match &mail_settings.transport {
        MailTransport::Smtp(smtp) => format!("{}:{}", smtp.host, smtp.port),
        MailTransport::Sendmail { command } => format!("`{}`", command.display()),
    };
    match mail::probe(mail_settings) {
        Ok(found) => {
            let encrypted = if found.encrypted { ", encrypted" } else { "" };
            let authenticated = if found.authenticated { ", logged in" } else { "" };
            list.ok("mail", format!("{through} is ready{encrypted}{authenticated}"));
        }
        Err(error) => {
            let error = while_doing(format!("failed to reach the mail server {through}"))(error);
            list.fail("mail", &error, ExitCode::Report);
            return;
        }
    }
    if send {
        let to: Vec<String> = mail_settings.to.iter().map(|mailbox| mailbox.email.to_string()).collect();
        let to = to.join(", ");
        match mail::test_mail(mail_settings, &settings.name, &crate::commands::host_name()) {
            Ok(()) => list.ok("mail", format!("test mail sent to {to}")),
            Err(error) => {
                let error = while_doing(format!("failed to send a test mail to {to}"))(error);
                list.fail("mail", &error, ExitCode::Report);
            }
        }
    }
}
