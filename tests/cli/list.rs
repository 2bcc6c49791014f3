//! `archive list`: what is held, and why it stays.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::job::Job;
use crate::says;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};

/// Two destinations; three nights at the first, whose oldest archive has no sidecar.
fn job() -> anyhow::Result<Job> {
    let mut job = Job::new();
    fs::create_dir(job.path("second"))?;
    job.destinations.push_str("retention = { keep_last = 2 }\n");
    job.destinations.push_str(&format!(
        "[[destination]]\nname = \"second\"\ntype = \"local\"\npath = \"{}\"\n",
        job.path("second").display()
    ));
    fs::write(job.path("nas/20261101.tgz"), "an old archive")?;
    fs::write(job.path("nas/notes.txt"), "not ours")?;
    for (seed, day) in [(1, "2026-11-19"), (2, "2026-11-20")] {
        job.publish(&Dump::new(seed).size(50_000).text());
        let done = job.night(&format!("{day} 01:00:00"));
        ensure!(done.code == 0, "{done}");
    }
    fs::write(job.path("nas/20261101.tgz"), "an old archive")?;
    Ok(job)
}

pub fn cases(suite: &mut Suite) {
    suite.case("list::shows_each_destination_and_why_an_archive_stays", &[Need::Faketime], || {
        let job = job()?;
        let done = job.command(&["list", "--config", "archive.toml"]).at("2026-11-20 02:00:00").run();
        ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
        says(&done.stdout, &["nas  ", ": 3 archives, ", " free", "second  ", ": 2 archives, ", "no .sha256"])?;
        ensure!(!done.stdout.contains("notes.txt"), "{done}");
        let lines: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("  2026")).collect();
        ensure!(lines.len() == 5 && lines[0].starts_with("  20261120.tgz"), "newest first: {done}");
        ensure!(lines[2].contains("to purge: "), "{done}");
        Ok(())
    });

    suite.case("list::as_json", &[Need::Faketime], || {
        let job = job()?;
        let done = job.command(&["list", "--json", "--config", "archive.toml"]).at("2026-11-20 02:00:00").run();
        let all: Value = serde_json::from_str(&done.stdout).with_context(|| format!("{done}"))?;
        ensure!(all["job"] == "boutique" && all["destinations"][1]["name"] == "second", "{all:#}");
        let first = &all["destinations"][0];
        ensure!(first["archives"][0]["name"] == "20261120.tgz" && first["archives"][0]["current"] == true, "{first:#}");
        ensure!(first["archives"][0]["date"] == "2026-11-20" && first["archives"][0]["sidecar"] == true, "{first:#}");
        ensure!(first["archives"][2]["kept"] == false && first["archives"][2]["sidecar"] == false, "{first:#}");
        let sum: i64 =
            first["archives"].as_array().context("archives")?.iter().filter_map(|a| a["bytes"].as_i64()).sum();
        ensure!(first["total_bytes"] == sum, "{first:#}");
        Ok(())
    });

    suite.case("list::one_destination_or_an_unknown_one", &[Need::Faketime], || {
        let job = job()?;
        let done = job.command(&["list", "--destination", "second", "--config", "archive.toml"]).run();
        ensure!(done.code == 0 && done.stdout.contains("second") && !done.stdout.contains("nas  "), "{done}");
        for command in ["list", "prune", "trust"] {
            let done = job.command(&[command, "--destination", "secnd", "--config", "archive.toml"]).run();
            ensure!(done.code == 2 && done.stdout.is_empty(), "{done}");
            says(&done.stderr, &["no destination `secnd`", "`nas`, `second`"])?;
        }
        Ok(())
    });

    suite.case("list::one_that_cannot_be_reached_does_not_hide_the_others", &[Need::Faketime], || {
        let mut job = job()?;
        job.destinations = format!(
            "[[destination]]\nname = \"gone\"\ntype = \"local\"\npath = \"{}\"\nmarker = \".here\"\n{}",
            job.path("work").display(),
            job.destinations
        );
        let done = job.command(&["list", "--config", "archive.toml"]).run();
        ensure!(done.code == 6, "{done}");
        says(&done.stdout, &["nas  ", "second  "])?;
        says(&done.stderr, &["failed to list", ".here", "hint:"])?;
        let done = job.command(&["list", "--json", "--config", "archive.toml"]).run();
        ensure!(done.code == 6 && done.stderr.is_empty(), "{done}");
        let all: Value = serde_json::from_str(&done.stdout)?;
        ensure!(all["destinations"][0]["error"].as_str().is_some_and(|error| error.contains(".here")), "{all:#}");
        Ok(())
    });
}
