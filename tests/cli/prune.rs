//! `archive prune`: the plan first, then a person's word.

use std::fs;

use anyhow::{Result, ensure};

use crate::job::Job;
use crate::says;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::terminal::{TERMINAL, at_a_terminal, shown};

const PRUNE: &[&str] = &["prune", "--config", "archive.toml"];

/// A destination with an archive of each of so many days of October, and tonight's.
fn job(days: u32, retention: &str) -> Result<Job> {
    let mut job = Job::new();
    job.destinations.push_str(&format!("retention = {{ {retention} }}\n"));
    for day in 1..=days {
        let name = format!("202610{day:02}.tgz");
        fs::write(job.path("nas").join(&name), "an old archive")?;
        fs::write(job.path("nas").join(format!("{name}.sha256")), "its checksum")?;
    }
    job.publish(&Dump::new(1).text());
    Ok(job)
}

pub fn cases(suite: &mut Suite) {
    suite.case("prune::shows_the_plan_and_asks_nobody_who_is_not_there", &[Need::Faketime], || {
        let job = job(5, "keep_last = 3")?;
        let before = job.held();
        let done = job.command(PRUNE).at("2026-11-20 12:00:00").run();
        ensure!(done.code == 2, "{done}");
        says(&done.stdout, &["nas  ", "purge  20261001.tgz", "purge  20261002.tgz", "keep   20261005.tgz"])?;
        says(&done.stderr, &["nobody is there to confirm the purge", "hint: run it on a terminal, or with `--yes`"])?;
        ensure!(job.held() == before, "{:?}", job.held());
        Ok(())
    });

    suite.case("prune::a_dry_run_deletes_nothing", &[Need::Faketime], || {
        let job = job(5, "keep_last = 3")?;
        let before = job.held();
        let done = job.command(&["prune", "--dry-run", "--config", "archive.toml"]).at("2026-11-20 12:00:00").run();
        ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
        says(&done.stdout, &["would purge 2 of 5 archives, "])?;
        ensure!(job.held() == before && !job.path("work").exists(), "{:?}", job.held());
        Ok(())
    });

    suite.case("prune::yes_deletes_archives_with_their_checksums", &[Need::Faketime], || {
        let job = job(5, "keep_last = 3")?;
        let done = job.command(&["prune", "--yes", "--config", "archive.toml"]).at("2026-11-20 12:00:00").run();
        ensure!(done.code == 0, "{done}");
        says(&done.stdout, &["purged 20261001.tgz", "purged 20261002.tgz"])?;
        ensure!(job.held().len() == 6 && job.held()[0] == "20261003.tgz", "{:?}", job.held());
        let again = job.command(&["prune", "--yes", "--config", "archive.toml"]).at("2026-11-20 12:00:00").run();
        ensure!(again.code == 0 && again.stdout.contains("nothing to purge"), "{again}");
        Ok(())
    });

    suite.case("prune::a_person_says_yes_or_no", &[TERMINAL], || {
        for (answer, left) in [("n\n", 10), ("\n", 10), ("y\n", 6)] {
            let job = job(5, "keep_last = 3")?;
            let done = at_a_terminal(&job, "prune", answer).run();
            ensure!(done.code == 0, "{done}");
            says(&shown(&done), &["purge 2 of 5 archives", "at nas? [y/N]"])?;
            ensure!(job.held().len() == left, "{answer:?}: {:?}\n{done}", job.held());
        }
        Ok(())
    });

    suite.case("prune::what_is_too_much_for_a_night_is_done_by_hand", &[Need::Faketime], || {
        let job = job(20, "keep_last = 3, max_purge = 4")?;
        let done = job.night("2026-11-20 01:00:00");
        ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
        ensure!(job.held().len() == 42, "nothing is purged: {:?}", job.held());
        says(&job.log(), &["WARN", "max_purge", "archive prune"])?;
        let done = job.command(&["prune", "--dry-run", "--config", "archive.toml"]).at("2026-11-20 12:00:00").run();
        says(&done.stdout, &["a nightly run purges nothing here, because ", "would purge 18 of 21 archives"])?;
        let done = job.command(&["prune", "--yes", "--config", "archive.toml"]).at("2026-11-20 12:00:00").run();
        ensure!(done.code == 0 && job.held().len() == 6, "{done}");
        job.publish(&Dump::new(2).text());
        let done = job.night("2026-11-21 01:00:00");
        ensure!(done.code == 0 && job.held().len() == 6, "and the next night purges again: {done} {:?}", job.held());
        Ok(())
    });

    suite.case("prune::without_a_policy_nothing_goes", &[], || {
        let job = Job::new();
        fs::write(job.path("nas/20200101.tgz"), "an old archive")?;
        let done = job.command(&["prune", "--yes", "--config", "archive.toml"]).run();
        ensure!(done.code == 0 && job.held() == ["20200101.tgz"], "{done}");
        says(&done.stdout, &["no `retention`: nothing is ever purged here"])
    });
}
