//! Over WebDAV: Apache's `mod_dav` with Digest, nginx with Basic.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Cut, Remote, bad_week, little_memory, whole_run};
use crate::job::Job;
use crate::support::accounts;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, is_root, run};
use crate::support::webdav::{Login, PASSWORD, Software, USER, Webdav};

struct Collection(Webdav, Login);

impl Remote for Collection {
    fn keys(&self) -> String {
        format!(
            "type = \"webdav\"\nurl = \"{}archives/boutique\"\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"\nca_file = \"{}\"",
            self.0.url(self.1, "data"),
            self.0.ca_file().display(),
        )
    }

    fn directory(&self) -> PathBuf {
        self.0.path("data/archives/boutique")
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

pub fn cases(suite: &mut Suite) {
    suite.case("protocols::webdav_over_five_nights", &[Need::Faketime, Need::Apache], || {
        nights(Software::Apache, Login::Digest)
    });
    suite.case("protocols::webdav_in_a_bad_week", &[Need::Faketime, Need::Nginx], || {
        let mut collection = Collection(Webdav::builder(Software::NginxBehindTls).start(), Login::Basic);
        let port = collection.0.port();
        let keys = |server: &dyn Remote, by: u16| server.keys().replace(&format!(":{port}/"), &format!(":{by}/"));
        bad_week(&mut collection, port, Cut::BeginsAgain, &keys)
    });
    suite.case("protocols::webdav_needs_little_memory", &[Need::Faketime, Need::Apache], || {
        little_memory(&mut Collection(Webdav::builder(Software::Apache).start(), Login::Digest))
    });
    suite.case("protocols::webdav_at_nginx_over_five_nights", &[Need::Faketime, Need::Nginx], || {
        nights(Software::Nginx, Login::Basic)
    });
    suite.case("protocols::webdav_says_that_an_archive_is_too_large", &[Need::Faketime, Need::Apache], || {
        too_large(Software::Apache, Login::Digest)
    });
    suite.case("protocols::webdav_at_nginx_says_that_an_archive_is_too_large", &[Need::Faketime, Need::Nginx], || {
        too_large(Software::Nginx, Login::Basic)
    });
    let needs = &[Need::Faketime, Need::Apache, Need::program("curl")];
    suite.case("protocols::webdav_says_that_a_file_is_locked", needs, locked);
}

fn nights(software: Software, login: Login) -> Result<()> {
    whole_run(&mut Collection(Webdav::builder(software).start(), login))
}

/// One night that cannot be published, with what is on the terminal about it.
fn refused(collection: &mut Collection) -> Result<String> {
    let mut job = Job::new();
    job.destinations = format!("[[destination]]\nname = \"nas\"\nretries = 0\n{}\n", collection.keys());
    job.publish(&Dump::new(1).size(20_000_000).text());
    let done = job.night("2026-11-20 01:00:00");
    ensure!(done.code == 6, "{done}\n{}", job.log());
    ensure!(job.waiting().len() == 1, "{:?}", job.waiting());
    ensure!(Job::names(&collection.directory()).iter().all(|name| !name.ends_with(".tgz")), "it shows something");
    ensure!(!job.log().contains(PASSWORD) && !done.stderr.contains(PASSWORD), "the password shows");
    Ok(done.stderr)
}

fn too_large(software: Software, login: Login) -> Result<()> {
    let server = Webdav::builder(software).largest_body(10_000).start();
    let told = refused(&mut Collection(server, login))?;
    for words in ["`413 ", "the file is larger than the server takes", "`client_max_body_size` (nginx)"] {
        ensure!(told.contains(words), "`{words}` is missing in: {told}");
    }
    Ok(())
}

fn locked() -> Result<()> {
    let mut collection = Collection(Webdav::builder(Software::Apache).start(), Login::Basic);
    let directory = collection.directory();
    fs::create_dir_all(&directory)?;
    if is_root() {
        for path in directory.ancestors().take(2) {
            accounts::give_to(path, accounts::SHELL);
        }
    }
    let lock = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>";
    let url = format!("{}archives/boutique/.20261120.tgz.boutique.part", collection.0.url(Login::Basic, "data"));
    run(Command::new("curl")
        .args(["-sS", "--fail", "-X", "LOCK", "-H", "Timeout: Second-600", "-d", lock, "-u"])
        .arg(format!("{USER}:{PASSWORD}"))
        .arg("--cacert")
        .arg(collection.0.ca_file())
        .arg(url));
    let told = refused(&mut collection)?;
    for words in ["`423 Locked`", "it is locked by another client", "remove the lock on the server"] {
        ensure!(told.contains(words), "`{words}` is missing in: {told}");
    }
    Ok(())
}
