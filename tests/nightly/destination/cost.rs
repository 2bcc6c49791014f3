//! What a night asks of the server, counted in the server's own log: it must not grow with the number of archives.

use std::fs;

use anyhow::{Result, ensure};

use super::{at, good, job_at};
use crate::job::Job;
use crate::support::harness::{Need, Suite};
use crate::support::sshd::{Account, Sshd};

/// Debian's place for it (package `openssh-sftp-server`).
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";
/// One a day up to yesterday.
const ARCHIVES: u64 = 10_000;

pub fn cases(suite: &mut Suite) {
    suite.case("destination::ten_thousand_archives_cost_one_listing", &[Need::Faketime, Need::Sshd], one_listing);
}

fn one_listing() -> Result<()> {
    let asked = tempfile::NamedTempFile::new()?;
    let spoken = format!("ForceCommand {SFTP_SERVER} -e -l VERBOSE 2>>{}", asked.path().display());
    let server = Sshd::builder().config(&spoken).start();
    let place = server.place(Account::Own);
    let last = chrono::NaiveDate::from_ymd_opt(2026, 11, 19).expect("a date");
    for day in last.iter_days().rev().take(ARCHIVES as usize) {
        fs::write(place.local.join(format!("{}.tgz", day.format("%Y%m%d"))), b"an archive")?;
    }
    let job = job_at(&server, &place, "retention = { keep_last = 9999 }\nverify = \"size\"\n");
    good(&job, &job.night(&at(20)))?;
    let names = Job::names(&place.local);
    ensure!(names.contains(&"20261120.tgz".to_owned()), "nothing was published\n{}", job.log());
    ensure!(names.iter().filter(|name| name.ends_with(".tgz")).count() == 9999, "{} names", names.len());

    let asked = fs::read_to_string(asked.path())?;
    let count = |request: &str| asked.lines().filter(|line| line.starts_with(request)).count();
    ensure!(count("opendir ") == 1, "{} listings:\n{asked}", count("opendir "));
    // Beside those of temporary names.
    let purged = asked.lines().filter(|line| line.starts_with("remove ") && line.ends_with(".tgz\"")).count();
    ensure!(purged == 2, "{purged} archives purged:\n{asked}");
    let looks = count("stat ") + count("lstat ") + count("fstat ");
    ensure!((1..30).contains(&looks), "{looks} looks at single files:\n{asked}");
    Ok(())
}
