//! Retention at a real server: what goes, what stays, and what cannot be deleted.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::{Result, ensure};

use super::{at, destination, good, job_at, json, new_dump};
use crate::job::Job;
use crate::support::harness::{Need, Suite};
use crate::support::sshd::{Account, Sshd};

pub fn cases(suite: &mut Suite) {
    suite.case("destination::purge_over_sftp_takes_sidecars_along", &[Need::Faketime, Need::Sshd], purges);
    let accounts = &[Need::Faketime, Need::SshdAccounts];
    suite.case("destination::archive_that_cannot_be_deleted_is_a_warning", accounts, undeletable);
}

fn purges() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "retention = { keep_last = 2 }");
    let foreign = [
        "20250101.tgz.bak",
        "20250101.tar.gz",
        "20251340.tgz",
        "X20250101.tgz",
        ".20250101.tgz.other.part",
        "20250102.tgz.sha256",
        "README",
    ];
    for name in foreign {
        fs::write(place.local.join(name), "foreign")?;
    }
    fs::create_dir(place.local.join("20250103.tgz"))?;
    for day in 20..=23 {
        new_dump(&job, day.into());
        good(&job, &job.night(&at(day)))?;
    }
    new_dump(&job, 24);
    let (done, told) = json(&job, 24)?;
    ensure!(done.code == 0, "{done}");
    let nas = destination(&told, "nas");
    ensure!(nas["purged"] == serde_json::json!(["20261122.tgz"]), "{nas}");
    ensure!(nas["held"]["count"] == 2, "{nas}");
    let mut expected: Vec<String> = foreign.iter().map(|&name| name.to_owned()).collect();
    expected.push("20250103.tgz".to_owned());
    for day in [23, 24] {
        expected.extend([format!("202611{day}.tgz"), format!("202611{day}.tgz.sha256")]);
    }
    expected.sort();
    ensure!(Job::names(&place.local) == expected, "{:?}", Job::names(&place.local));
    for name in foreign {
        ensure!(fs::read(place.local.join(name))? == b"foreign", "`{name}` was touched");
    }
    Ok(())
}

fn undeletable() -> Result<()> {
    let server = Sshd::builder().accounts().start();
    let place = server.place(Account::Shell);
    let job = job_at(&server, &place, "retention = { keep_last = 1 }");
    good(&job, &job.night(&at(20)))?;
    // In a sticky directory only its owner deletes a file.
    let old = place.local.join("20261120.tgz");
    chown(&old, Some(0), Some(0))?;
    chown(&place.local, Some(0), Some(0))?;
    fs::set_permissions(&place.local, fs::Permissions::from_mode(0o1777))?;
    new_dump(&job, 2);
    let (done, told) = json(&job, 21)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    let warnings = told["warnings"].to_string();
    ensure!(warnings.contains("`20261120.tgz` should go but could not be deleted"), "{warnings}");
    ensure!(old.exists() && place.local.join("20261121.tgz").exists());
    ensure!(destination(&told, "nas")["purged"] == serde_json::json!([]), "{told}");
    // Next night it is tried again.
    fs::set_permissions(&place.local, fs::Permissions::from_mode(0o777))?;
    new_dump(&job, 3);
    good(&job, &job.night(&at(22)))?;
    ensure!(Job::names(&place.local) == ["20261122.tgz", "20261122.tgz.sha256"], "{:?}", Job::names(&place.local));
    Ok(())
}
