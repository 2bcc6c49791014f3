//! No secret leaves: every one in the config is a marker, and everything that a run left or printed is searched for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::job::{ENTRY, Job, ZIP};
use crate::mail::keep_private;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::https::{Access, Behaviour};
use crate::support::smtp::{Security, SmtpServer, USERNAME};
use crate::support::ssh_keys::KeyType;
use crate::support::sshd::{Account, Sshd};
use crate::support::zips;

const SOURCE: &str = "marker-of-the-source-x1";
const HEADER: &str = "marker-of-the-header-x2";
const QUERY: &str = "marker-of-the-query-x3";
const ZIP_PASSWORD: &str = "marker-of-the-zip-x4";
const PASSPHRASE: &str = "marker-of-the-passphrase-x5";
const SSH: &str = "marker-of-the-account-x6";
const MAIL: &str = "marker-of-the-mail-x7";
const ALL: [&str; 7] = [SOURCE, HEADER, QUERY, ZIP_PASSWORD, PASSPHRASE, SSH, MAIL];

pub fn cases(suite: &mut Suite) {
    suite.case("mail::no_secret_in_mail_log_json_state_or_on_the_terminal", &[Need::Smtp, Need::Sshd, Need::Faketime], || {
        let server = Sshd::builder().start();
        let place = server.place(Account::Own);
        let key = server.new_key("locked", KeyType::Ed25519, PASSPHRASE);
        let mut job = Job::new();
        keep_private(&job);
        let mail = SmtpServer::start(Security::StartTls, Some(&job.ca.good()));
        mail.change(|options| options.password = MAIL.to_owned());
        job.source.protect(ZIP, Access::Basic("export".into(), SOURCE.into()));
        job.publish_bytes(zips::aes(ENTRY, &Dump::new(1).size(100_000).text(), ZIP_PASSWORD));
        job.url = Some(format!("{}?token={QUERY}", job.source.url(ZIP)));
        job.source_keys.push_str(&format!(
            "username = \"export\"\npassword = \"{SOURCE}\"\nheaders = {{ X-Api-Key = \"{HEADER}\" }}\nzip_password = \"{ZIP_PASSWORD}\"\n"
        ));
        let more = format!("passphrase = \"{PASSPHRASE}\"\npassword = \"{SSH}\"\n");
        job.destinations = Job::sftp("nas", server.port(), &place, &key, &server.fingerprint(), &more);
        job.rest = format!(
            "[log]\nlevel = \"trace\"\n[mail]\nhost = \"localhost\"\nport = {}\nsecurity = \"starttls\"\nca_file = \"ca.pem\"\n\
             username = \"{USERNAME}\"\npassword = \"{MAIL}\"\nfrom = \"archive@example.org\"\nto = \"a@example.org\"\nattach_log = \"always\"\n",
            mail.port()
        );
        let mut printed = Vec::new();
        let mut call = |job: &Job, args: &[&str], expected: i32| -> Result<()> {
            let args = [args, &["-vv", "--config", "archive.toml"]].concat();
            let done = job.command(&args).at("2026-11-20 01:00:00").run();
            ensure!(done.code == expected, "{args:?}: {done}\n{}", server.log());
            printed.push(format!("{args:?}: {done}"));
            Ok(())
        };
        call(&job, &["run"], 0)?;
        call(&job, &["check"], 0)?;
        call(&job, &["check", "--json"], 0)?;
        call(&job, &["list"], 0)?;
        call(&job, &["run", "--json"], 0)?;
        // Then everything is refused, one after the other, by servers that repeat what they were told.
        let echo = format!("denied: token={QUERY} {SOURCE} {HEADER}").into_bytes();
        job.source.script(ZIP, [Behaviour::Status(403, vec![], echo)]);
        call(&job, &["run"], 3)?;
        job.source.script(ZIP, [Behaviour::RedirectTo(format!("/elsewhere?token={QUERY}"))]);
        call(&job, &["run", "--json"], 3)?;
        job.source.script(ZIP, [Behaviour::Serve]);
        job.publish_bytes(zips::aes(ENTRY, &Dump::new(2).size(100_000).text(), "another password"));
        call(&job, &["run"], 4)?;
        job.publish_bytes(zips::aes(ENTRY, &Dump::new(3).size(100_000).text(), ZIP_PASSWORD));
        job.destinations = Job::sftp("nas", server.port(), &place, &server.stranger_key(), &server.fingerprint(), &more);
        call(&job, &["run"], 6)?;
        call(&job, &["check"], 6)?;
        mail.change(|options| options.password = "another one".to_owned());
        call(&job, &["run"], 6)?;
        fs::write(job.path("keep"), "")?;

        let mut found = Vec::new();
        let mut search = |what: &str, text: &str| {
            found.extend(ALL.iter().filter(|secret| text.contains(**secret)).map(|secret| format!("{secret} in {what}")));
        };
        printed.iter().for_each(|text| search(text, text));
        for path in files(job.dir())? {
            if path.ends_with("archive.toml") {
                continue;
            }
            search(&path.display().to_string(), &String::from_utf8_lossy(&fs::read(&path)?));
        }
        for path in files(&place.local)? {
            search(&path.display().to_string(), &String::from_utf8_lossy(&fs::read(&path)?));
        }
        let mails = mail.mails();
        ensure!(mails.len() >= 6, "{}", mails.len());
        mails.iter().for_each(|mail| search("a mail", &format!("{mail:?}")));
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    });
}

/// Every file below a directory.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { all.extend(files(&path)?) } else { all.push(path) }
    }
    Ok(all)
}
