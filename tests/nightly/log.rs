//! The log: what somebody reads who never saw the program.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::here::{json_night, says, warnings};
use crate::job::{Job, ZIP};
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};

pub fn cases(suite: &mut Suite) {
    suite.case("log::a_failed_run_ends_with_step_what_why_hint_and_code", &[Need::Faketime], || {
        let job = Job::new();
        job.source.remove(ZIP);
        ensure!(job.night("2026-11-20 01:00:00").code == 3);
        let block = last_block(&job.log())?;
        let expected = format!(
            "run FAILED after TIME: download: 404 Not Found\n\
             step:       download\n\
             what:       failed to download `{0}`\n\
             why:        `{0}` answered `404 Not Found`\n\
             what to do: check the path in `source.url`",
            job.source.url(ZIP)
        );
        ensure!(block.starts_with(&expected), "{block}\n---\n{expected}");
        ensure!(block.lines().last() == Some("exit code:  3"), "{block}");

        let mut job = Job::new();
        job.publish(&Dump::new(1).cut().text());
        ensure!(job.night("2026-11-20 01:00:00").code == 4);
        let block = last_block(&job.log())?;
        says(
            &block,
            &[
                "step:       verify",
                "the dump is not complete",
                "Dump completed",
                "what to do: the export was cut",
                "exit code:  4",
            ],
        )?;

        job.destinations = job.destinations.replace("/nas\"", "/nowhere\"") + "marker = \".here\"\n";
        job.publish(&Dump::new(1).text());
        ensure!(job.night("2026-11-20 02:00:00").code == 6);
        let block = last_block(&job.log())?;
        says(
            &block,
            &[
                "step:       upload, destination `nas`",
                "what:       failed to ",
                ".here",
                "what to do: ",
                "exit code:  6",
            ],
        )
    });

    suite.case("log::one_file_per_day_and_old_ones_go", &[Need::Faketime], || {
        let mut job = Job::new();
        job.publish(&Dump::new(1).text());
        job.rest = "[log]\nkeep = \"2d\"\n".to_owned();
        for day in 16..=20 {
            ensure!(job.night(&format!("2026-11-{day} 01:00:00")).code == 0);
        }
        ensure!(job.night("2026-11-20 03:00:00").code == 0);
        fs::write(job.path("work/log/archive-other-20200101.log"), "of another job")?;
        let names = Job::names(&job.path("work/log"));
        let expected = [18, 19, 20].map(|day| format!("archive-boutique-202611{day}.log"));
        ensure!(names[..3] == expected && names.len() == 4, "{names:?}");
        let today = fs::read_to_string(job.path("work/log/archive-boutique-20261120.log"))?;
        ensure!(today.matches("begins job `boutique`").count() == 2, "{today}");
        // Every line has time, level, run id, and a step where one is going on.
        for line in today.lines().filter(|line| line.starts_with("20")) {
            ensure!(line.starts_with("2026-11-20") && (line.contains("INFO") || line.contains("WARN")), "{line}");
        }
        Ok(())
    });

    suite.case("log::json_lines_parse_and_carry_the_same", &[Need::Faketime], || {
        let mut job = Job::new();
        job.rest = "[log]\nformat = \"json\"\n".to_owned();
        job.source.remove(ZIP);
        let (_, result) = json_night(&job, "2026-11-20 01:00:00")?;
        let text = job.log();
        let lines: Vec<Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context(text.clone())?;
        ensure!(lines.len() > 3, "{text}");
        let run_id = result["run_id"].as_str().context("run_id")?;
        for line in &lines {
            let (time, level, run) =
                (line["time"].as_str(), line["level"].as_str(), line["run_id"].as_str().or(line["run"].as_str()));
            ensure!(
                time.is_some_and(|time| time.starts_with("2026-11-20T")) && level.is_some() && run == Some(run_id),
                "{line}"
            );
        }
        ensure!(lines.iter().any(|line| line["step"] == "download"), "{text}");
        says(&lines[lines.len() - 1].to_string(), &["404 Not Found", "exit code:  3"])
    });

    suite.case("log::a_log_that_cannot_be_written_is_a_warning_and_the_run_goes_on", &[Need::Faketime], || {
        let mut job = Job::new();
        job.publish(&Dump::new(1).text());
        fs::write(job.path("file"), "in the way")?;
        job.rest = "[log]\ndir = \"file/log\"\n".to_owned();
        let (done, result) = json_night(&job, "2026-11-20 01:00:00")?;
        ensure!(done.code == 0 && job.held().len() == 2, "{done}");
        says(&warnings(&result), &["the log cannot be written", "file/log", "check `log.dir`"])?;
        ensure!(result["status"] == "warning", "{result:#}");
        // Under cron a success with a warning prints nothing but what the log itself could not say.
        ensure!(done.stderr.contains("the log cannot be written"), "{done}");
        Ok(())
    });
}

/// The lines from the last `run FAILED` to the end, without times.
fn last_block(log: &str) -> Result<String> {
    let at = log.rfind("run FAILED after ").context("no closing block")?;
    let lines: Vec<&str> = log[at..].lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let (_, rest) = lines[0].split_once(": ").context("a summary")?;
    let mut block = format!("run FAILED after TIME: {rest}\n");
    block.push_str(&lines[1..].iter().map(|line| line.trim_start()).collect::<Vec<_>>().join("\n"));
    Ok(block)
}
