//! `archive init`: from nothing to a config that may be used.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};

use crate::says;
use crate::support::binary::{Archive, Done};
use crate::support::harness::Suite;

pub fn cases(suite: &mut Suite) {
    suite.case("init::writes_the_reference_config_for_us_alone", &[], || {
        let dir = tempfile::tempdir()?;
        let done = Archive::new(dir.path()).args(["init"]).run();
        ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
        says(
            &done.stdout,
            &["wrote archive.toml", "edit archive.toml", "archive trust", "archive check", "archive run"],
        )?;
        let path = dir.path().join("archive.toml");
        ensure!(fs::read_to_string(&path)? == include_str!("../../config/archive.toml"));
        ensure!(fs::metadata(&path)?.permissions().mode() & 0o777 == 0o600);
        Ok(())
    });

    suite.case("init::never_overwrites", &[], || {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("mine.toml"), "precious")?;
        let done = Archive::new(dir.path()).args(["init", "mine.toml"]).run();
        ensure!(done.code == 2 && done.stdout.is_empty(), "{done}");
        says(&done.stderr, &["`mine.toml` exists already", "left as it is", "hint:"])?;
        ensure!(fs::read_to_string(dir.path().join("mine.toml"))? == "precious");
        let done = Archive::new(dir.path()).args(["init", "no/such/dir/archive.toml"]).run();
        ensure!(done.code != 0, "{done}");
        says(
            &done.stderr,
            &["failed to write `no/such/dir/archive.toml`", "No such file", "hint: look at the directory"],
        )
    });

    suite.case("init::what_it_wrote_passes_a_check_after_the_least_edits", &[], || {
        let dir = tempfile::tempdir()?;
        ensure!(Archive::new(dir.path()).args(["init"]).run().code == 0);
        let path = dir.path().join("archive.toml");
        let check = || Archive::new(dir.path()).args(["check", "--offline", "--config", "archive.toml"]).run();
        let before: Done = check();
        ensure!(before.code == 2, "the files of the example are not there: {before}");
        says(&before.stderr, &["/etc/archive/smtp.password", "mail.password"])?;
        fs::write(dir.path().join("smtp.password"), "secret\n")?;
        fs::write(dir.path().join("id_ed25519"), "a key\n")?;
        fs::write(dir.path().join("known_hosts"), "")?;
        let here = dir.path().display().to_string();
        let text = fs::read_to_string(&path)?
            .replace("/etc/archive/", &format!("{here}/"))
            .replace("# work_dir = \"/var/lib/archive/boutique\"", &format!("work_dir = \"{here}/work\""));
        fs::write(&path, text)?;
        let after = check();
        ensure!(after.code == 0 && after.stderr.is_empty(), "{after}");
        says(&after.stdout, &["✓ config", "job `boutique`, 1 destination", "– source", "not tried (--offline)"])?;
        Result::Ok(())
    });
}
