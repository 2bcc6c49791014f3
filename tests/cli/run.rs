//! What `archive run` shows: nothing to cron, steps to a person, an object to a program.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::job::{Job, ZIP};
use crate::says;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::terminal::{TERMINAL, at_a_terminal, shown};

pub fn cases(suite: &mut Suite) {
    suite.case("run::its_memory_is_in_no_core_dump", &[], || {
        let mut job = Job::new();
        // Accepts by its backlog, and never answers: the run waits.
        let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
        job.url = Some(format!("https://{}/exports/boutique.zip", silent.local_addr()?));
        let mut running = job.command(&["run", "--config", "archive.toml"]).start();
        let limits = format!("/proc/{}/limits", running.id());
        let is_off = || {
            fs::read_to_string(&limits).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.starts_with("Max core file size") && line.split_whitespace().nth(4) == Some("0"))
            })
        };
        running.signal_when(crate::support::binary::Signal::TERM, is_off);
        ensure!(running.wait().code == 143);
        Ok(())
    });

    suite.case("run::a_dry_run_publishes_nothing_and_says_what_it_would", &[Need::Faketime], || {
        let mut job = Job::new();
        job.destinations.push_str("retention = { keep_last = 1 }\n");
        job.rest = "[mail]\ntransport = \"sendmail\"\ncommand = \"/bin/false\"\nfrom = \"a@example.org\"\nto = \"a@example.org\"\n".to_owned();
        for day in ["01", "02"] {
            fs::write(job.path("nas").join(format!("202610{day}.tgz")), "an old archive")?;
        }
        job.publish(&Dump::new(1).text());
        let done = job.command(&["run", "--dry-run", "--json", "--config", "archive.toml"]).at("2026-11-20 01:00:00").run();
        ensure!(done.code == 0, "no mail either, or this one would fail: {done}");
        let result: Value = serde_json::from_str(&done.stdout)?;
        ensure!(result["dry_run"] == true && result["archive"]["name"] == "20261120.tgz", "{result:#}");
        says(result["summary"]["en"].as_str().unwrap_or_default(), &["dry run: would publish 20261120.tgz, "])?;
        ensure!(result["destinations"][0]["purged"][0] == "20261001.tgz", "{result:#}");
        ensure!(job.held() == ["20261001.tgz", "20261002.tgz"], "{:?}", job.held());
        ensure!(job.waiting().is_empty() && !job.path("work/state.json").exists());
        ensure!(Job::names(&job.path("work/spool")).is_empty(), "{:?}", Job::names(&job.path("work/spool")));
        Ok(())
    });

    suite.case("run::as_json_it_is_one_object_and_nothing_else", &[Need::Faketime], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        let done = job.command(&["run", "--json", "--config", "archive.toml"]).at("2026-11-20 01:00:00").run();
        ensure!(done.code == 0 && done.stderr.is_empty(), "{done}");
        let result: Value = serde_json::from_str(&done.stdout)?;
        let keys: Vec<&str> = result.as_object().context("an object")?.keys().map(String::as_str).collect();
        for key in [
            "job",
            "run_id",
            "host",
            "version",
            "dry_run",
            "started",
            "seconds",
            "status",
            "exit_code",
            "summary",
            "failures",
            "warnings",
            "steps",
            "source",
            "dump",
            "archive",
            "destinations",
            "log_file",
        ] {
            ensure!(keys.contains(&key), "`{key}` is missing in {keys:?}");
        }
        let steps: Vec<&str> =
            result["steps"].as_array().context("steps")?.iter().filter_map(|s| s["step"].as_str()).collect();
        ensure!(steps == ["start", "download", "verify", "compare", "pack", "upload", "purge", "report"], "{steps:?}");
        let nas = &result["destinations"][0];
        ensure!(nas["name"] == "nas" && nas["result"] == "published" && nas["archive"] == "20261120.tgz", "{nas:#}");
        ensure!(result["started"] == "2026-11-20T02:00:00+01:00", "{}", result["started"]);
        job.source.remove(ZIP);
        let done = job.command(&["run", "--json", "--config", "archive.toml"]).at("2026-11-21 01:00:00").run();
        let result: Value = serde_json::from_str(&done.stdout).with_context(|| format!("{done}"))?;
        ensure!(done.code == 3 && result["failures"][0]["step"] == "download", "{done}");
        let done = job.command(&["run", "--json", "--config", "none.toml"]).run();
        let result: Value = serde_json::from_str(&done.stdout).with_context(|| format!("{done}"))?;
        ensure!(done.code == 2 && result["exit_code"] == 2, "{done}");
        Ok(())
    });

    suite.case("run::cron_hears_nothing_of_a_good_night_and_the_cause_of_a_bad_one", &[Need::Faketime], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        for day in ["2026-11-19", "2026-11-20"] {
            let done = job.night(&format!("{day} 01:00:00"));
            ensure!(
                done.code == 0 && done.stdout.is_empty() && done.stderr.is_empty(),
                "published, then unchanged: {done}"
            );
        }
        job.source.remove(ZIP);
        let done = job.night("2026-11-21 01:00:00");
        ensure!(done.code == 3 && done.stdout.is_empty(), "{done}");
        let lines: Vec<&str> = done.stderr.lines().collect();
        ensure!(lines[0] == "archive: job `boutique` failed: download: 404 Not Found", "{done}");
        says(&done.stderr, &["error: failed to download", "caused by:", "hint: ", "log: "])?;
        ensure!(lines.len() <= 8, "brief: {done}");
        Ok(())
    });

    suite.case("run::a_person_sees_the_steps", &[TERMINAL], || {
        let job = Job::new();
        job.publish(&Dump::new(1).size(3_000_000).text());
        let done = at_a_terminal(&job, "run", "").run();
        ensure!(done.code == 0, "{done}");
        let text = shown(&done);
        for step in ["start", "download", "verify", "compare", "pack", "upload", "report"] {
            ensure!(text.contains(&format!("✓ {step}")), "`{step}`:\n{text}");
        }
        says(&text, &["– purge", "no retention policy", "✓ OK boutique: ", "nas"])?;
        ensure!(done.stdout.contains("\u{1b}[32m"), "colours:\n{}", done.stdout);
        let plain = at_a_terminal(&job, "run", "").env("NO_COLOR", "1").run();
        let colour = regex::Regex::new("\u{1b}\\[[0-9;]*m")?;
        ensure!(plain.code == 0 && !colour.is_match(&plain.stdout), "{plain}");
        let quiet = at_a_terminal(&job, "run -q", "").run();
        ensure!(quiet.code == 0 && shown(&quiet).trim().is_empty(), "{quiet}");
        Ok(())
    });

    suite.case("run::the_log_on_the_terminal_with_v", &[Need::Faketime], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        let done = job.command(&["run", "-v", "--config", "archive.toml"]).at("2026-11-20 01:00:00").run();
        ensure!(done.code == 0, "{done}");
        says(&done.stderr, &["begins job `boutique`", "published `20261120.tgz`", "run ended: ok: 20261120.tgz"])
    });
}
