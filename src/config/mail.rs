//! `[mail]`: who hears about a run, and through which server.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;

use super::job;
use super::reader::{Item, Table};
use super::schema;
use super::settings::{AttachLog, MailSettings, MailTransport, SmtpSecurity, SmtpSettings, When};
use crate::report::is_helo_name;
use crate::text::Language;

/// What a subject may hold.
const PLACEHOLDERS: [&str; 5] = ["status", "job", "summary", "host", "date"];

/// Reads the table; `Some` as soon as a mail could be sent with it, for the mail about a bad config should go out too.
pub(super) fn read(table: &Table<'_>) -> Option<MailSettings> {
    let transport = match table.choice("transport", &[("smtp", "smtp"), ("sendmail", "sendmail")], "smtp") {
        "sendmail" => {
            table.set_variant("sendmail");
            sendmail(table)
        }
        _ => {
            table.set_variant("smtp");
            smtp(table).map(MailTransport::Smtp)
        }
    };
    let from = table.required("from", "\"archive@example.org\"").and_then(|item| item.parse(mailbox));
    let to = table.required("to", "[\"exploitation@example.org\"]").map(|item| recipients(&item)).unwrap_or_default();
    let subject = table.item("subject").and_then(|item| item.parse(subject));
    let when =
        [("always", When::Always), ("warning", When::Warning), ("failure", When::Failure), ("never", When::Never)];
    let attach = [("always", AttachLog::Always), ("failure", AttachLog::Failure), ("never", AttachLog::Never)];
    let when = table.choice("when", &when, When::Always);
    let attach_log = table.choice("attach_log", &attach, AttachLog::Failure);
    let language = table.choice("language", &[("fr", Language::Fr), ("en", Language::En)], Language::default());
    if to.is_empty() {
        return None;
    }
    Some(MailSettings {
        transport: transport?,
        from: from?,
        to,
        when,
        subject: subject.unwrap_or_else(|| "[{status}] {job}: {summary}".to_owned()),
        attach_log,
        language,
    })
}

fn smtp(table: &Table<'_>) -> Option<SmtpSettings> {
    let securities = [("starttls", SmtpSecurity::Starttls), ("tls", SmtpSecurity::Tls), ("none", SmtpSecurity::None)];
    let security = table.choice("security", &securities, SmtpSecurity::Starttls);
    let default_port = match security {
        SmtpSecurity::Starttls => 587,
        SmtpSecurity::Tls => 465,
        SmtpSecurity::None => 25,
    };
    let host = table.required("host", "\"smtp.example.org\"").and_then(|item| job::host(&item));
    let port = table.integer("port", 1..=65535).unwrap_or(default_port) as u16;
    let allow_plaintext = table.boolean("allow_plaintext", false);
    let ca_file = table.file("ca_file");
    let timeout = table.duration("timeout", Duration::from_secs(30));
    let helo = table.item("helo").and_then(|item| item.parse(helo));
    let username = table.string("username");
    let password = table.secret("password");
    for (one, other) in [("username", "password"), ("password", "username")] {
        if !table.has(other)
            && let Some(item) = table.item(one)
        {
            item.key_problem(format!("needs `{other}` beside it"), None);
        }
    }
    let login = table.item("username").or_else(|| table.item("password"));
    let in_clear = security == SmtpSecurity::None && login.is_some() && !allow_plaintext;
    if in_clear && let Some(item) = table.item("security") {
        item.problem(
            "would send the password in clear",
            Some("use `starttls` or `tls`, or add `allow_plaintext = true` if the network is trusted".to_owned()),
        );
    }
    let credentials = username.zip(password);
    if in_clear || credentials.is_some() != login.is_some() {
        return None;
    }
    Some(SmtpSettings { host: host?, port, security, credentials, ca_file, timeout, helo })
}

/// A domain name, or an address literal (RFC 5321 §4.1.3).
fn helo(text: &str) -> Result<String, String> {
    match is_helo_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is no name for EHLO; write this machine's full name, or its address in brackets: `[10.0.0.5]`"
        )),
    }
}

fn sendmail(table: &Table<'_>) -> Option<MailTransport> {
    let Some(item) = table.item("command") else {
        return Some(MailTransport::Sendmail { command: PathBuf::from("/usr/sbin/sendmail") });
    };
    let command = item.string()?;
    if !command.starts_with('/') || command.contains(' ') {
        let help =
            "for example `/usr/sbin/sendmail`: cron's `PATH` may lack its directory; arguments are added by archive";
        item.problem("must be the whole path of a program, without arguments", Some(help.to_owned()));
        return None;
    }
    Some(MailTransport::Sendmail { command: PathBuf::from(command) })
}

fn recipients(item: &Item<'_>) -> Vec<Mailbox> {
    let items = item.list();
    if items.is_empty() {
        item.problem("must name at least one address", None);
    }
    items.iter().filter_map(|item| item.parse(mailbox)).collect()
}

/// One address, with or without a display name; several in one string are counted first, so that the message can say so
/// whatever the mail crate makes of the rest.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let outside_quotes: String = text.split('"').step_by(2).collect();
    if outside_quotes.contains([',', ';']) || outside_quotes.matches('@').count() > 1 {
        return Err(
            "holds several addresses; write them as a list, `[\"a@example.org\", \"b@example.org\"]`".to_owned()
        );
    }
    if !outside_quotes.contains('@') {
        return Err(format!("`{text}` is not a mail address; write it with its domain, for example `root@localhost`"));
    }
    text.trim().parse().map_err(|_| format!("`{text}` is not a mail address"))
}

fn subject(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("must be a single line".to_owned());
    }
    let known: Vec<String> = PLACEHOLDERS.iter().map(|name| format!("`{{{name}}}`")).collect();
    for piece in text.split('{').skip(1) {
        let Some((name, _)) = piece.split_once('}') else {
            return Err("has a `{` without its `}`".to_owned());
        };
        if !PLACEHOLDERS.contains(&name) {
            return Err(match schema::closest(name, PLACEHOLDERS) {
                Some(near) => format!("`{{{name}}}` is unknown; did you mean `{{{near}}}`?"),
                None => format!("`{{{name}}}` is unknown; there are {}", known.join(", ")),
            });
        }
    }
    Ok(text.to_owned())
}
