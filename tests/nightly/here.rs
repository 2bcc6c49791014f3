//! Bad luck on this machine: work dir, state, clock, lock, configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::job::{Job, ZIP};
use crate::mail::mailed;
use crate::support::binary::{Archive, Done, Signal};
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, run};
use crate::support::https::Behaviour;
use crate::support::smtp::{Security, SmtpServer};
use crate::support::wait;

pub fn cases(suite: &mut Suite) {
    work_dir(suite);
    state(suite);
    clock(suite);
    lock(suite);
    config(suite);
    outbox(suite);
}

/// A small file system on a directory; gone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).expect("own directory");
        // Without a mode everybody may write there, and a work dir like that is refused.
        let options = format!("{options},mode=700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path));
        Self(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Bytes that no compression makes smaller, as text of one statement.
fn incompressible(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut text = b"INSERT INTO t VALUES ('".to_vec();
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(b' ' + (state >> 58) as u8 + 0x10);
    }
    text.extend_from_slice(b"');\n");
    text.iter().map(|byte| if *byte == b'\\' { b'x' } else { *byte }).collect()
}

/// The result of `archive run --json` at this time.
pub fn json_night(job: &Job, at: &str) -> Result<(Done, Value)> {
    let done = job.command(&["run", "--json", "--config", "archive.toml"]).at(at).run();
    let value = serde_json::from_str(&done.stdout).with_context(|| format!("no JSON: {done}"))?;
    Ok((done, value))
}

/// All warnings of a result, in English.
pub fn warnings(result: &Value) -> String {
    let all = result["warnings"].as_array().into_iter().flatten();
    all.filter_map(|warning| warning["text"]["en"].as_str()).collect::<Vec<_>>().join("\n")
}

/// Fails unless all of these stand in the text.
pub fn says(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
    Ok(())
}

/// `archive run` with another work dir.
fn with_work_dir(job: &Job, work_dir: &str) -> Archive {
    let command = job.command(&["run", "--config", "archive.toml"]);
    let config = job.config().replace("work_dir = \"work\"", &format!("work_dir = \"{work_dir}\""));
    fs::write(job.path("archive.toml"), config).expect("own directory");
    command
}

fn work_dir(suite: &mut Suite) {
    suite.case("here::a_missing_work_dir_is_made_and_private", &[Need::Faketime], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        let done = with_work_dir(&job, "not/yet/there").at("2026-11-20 01:00:00").run();
        ensure!(done.code == 0, "{done}");
        let root = job.path("not/yet/there");
        for (name, mode) in [("", 0o700), ("spool", 0o700), ("outbox", 0o700), ("state.json", 0o600)] {
            ensure!(mode_of(&root.join(name)) == mode, "{name}: {:o}", mode_of(&root.join(name)));
        }
        for name in ["lock", "history.jsonl"] {
            ensure!(mode_of(&root.join(name)) == 0o600, "{name}: {:o}", mode_of(&root.join(name)));
        }
        ensure!(mode_of(&root.join("log/archive-boutique-20261120.log")) & 0o007 == 0, "the log is for nobody else");
        Ok(())
    });

    suite.case("here::a_work_dir_that_cannot_be_made_is_exit_code_5", &[], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        fs::write(job.path("file"), "in the way")?;
        let done = with_work_dir(&job, "file/work").run();
        ensure!(done.code == 5, "{done}");
        says(&done.stderr, &["failed to prepare the work dir", "file/work", "hint: make it writable"])?;
        ensure!(job.held().is_empty() && job.source.requests().is_empty(), "nothing was begun");
        Ok(())
    });

    suite.case(
        "here::a_work_dir_that_cannot_be_written_is_exit_code_5_and_the_mail_goes_out",
        &[Need::Tmpfs, Need::Smtp],
        || {
            let server = SmtpServer::start(Security::None, None);
            let mut job = Job::new();
            job.rest = mailed(&server, "");
            job.publish(&Dump::new(1).text());
            let mount = Mount::new(job.path("work"), "size=1m");
            run(Command::new("mount").args(["-o", "remount,ro"]).arg(&mount.0));
            let done = job.run();
            ensure!(done.code == 5, "{done}");
            says(&done.stderr, &["failed to prepare the work dir", "Read-only file system", "hint: make it writable"])?;
            let mail = server.wait_for_mails(1).remove(0);
            ensure!(mail.subject.starts_with("[FAILED] boutique: "), "{}", mail.subject);
            Ok(())
        },
    );

    suite.case("here::a_full_disk_while_spooling_is_exit_code_5_and_says_so", &[Need::Tmpfs], || {
        let job = Job::new();
        job.publish(&incompressible(6_000_000));
        let _mount = Mount::new(job.path("work"), "size=2m");
        let done = job.run();
        ensure!(done.code == 5, "{done}\n{}", job.log());
        says(&done.stderr, &["download", "hint:", "work_dir"])?;
        let lower = done.stderr.to_lowercase();
        ensure!(lower.contains("no space left") || lower.contains("disk is full") || lower.contains("free"), "{done}");
        ensure!(job.held().is_empty() && job.waiting().is_empty(), "{:?}", job.held());
        Ok(())
    });

    suite.case("here::too_little_space_for_the_archive_is_known_before_it_is_written", &[Need::Tmpfs], || {
        let job = Job::new();
        let dump = incompressible(6_000_000);
        job.publish(&dump);
        let mount = Mount::new(job.path("work"), "size=9m");
        let done = job.run();
        ensure!(done.code == 5, "{done}\n{}", job.log());
        says(
            &done.stderr,
            &["job `boutique` failed: pack: ", "free, the archive needs about", "hint: free some space there"],
        )?;
        ensure!(job.waiting().is_empty() && Job::names(&job.path("work/outbox")).is_empty(), "no half archive");
        run(Command::new("mount").args(["-o", "remount,size=40m"]).arg(&mount.0));
        let done = job.run();
        ensure!(done.code == 0, "{done}");
        ensure!(job.held().len() == 2, "{:?}", job.held());
        Ok(())
    });

    suite.case("here::every_run_adds_one_line_of_json_to_the_history", &[Need::Faketime], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        let codes = [job.night("2026-11-18 01:00:00").code, job.night("2026-11-19 01:00:00").code, {
            job.source.remove(ZIP);
            job.night("2026-11-20 01:00:00").code
        }];
        ensure!(codes == [0, 0, 3], "{codes:?}");
        let text = fs::read_to_string(job.path("work/history.jsonl"))?;
        let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(lines.len() == 3, "{text}");
        let seen: Vec<_> = lines.iter().map(|line| (line["status"].as_str(), line["exit_code"].as_i64())).collect();
        ensure!(seen == [(Some("ok"), Some(0)), (Some("warning"), Some(0)), (Some("failed"), Some(3))], "{seen:?}");
        Ok(())
    });
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

fn state(suite: &mut Suite) {
    suite.case("here::a_corrupt_state_is_kept_aside_and_rebuilt_from_the_destination", &[Need::Faketime], || {
        for (night, garbage) in ["", "{\"version\": 1, \"destin", "\0\0\0\0"].iter().enumerate() {
            let job = Job::new();
            job.publish(&Dump::new(1).text());
            ensure!(job.night("2026-11-19 01:00:00").code == 0);
            fs::write(job.path("work/state.json"), garbage)?;
            job.publish(&Dump::new(1).completed("2026-11-20  1:00:00").text());
            let (done, result) = json_night(&job, "2026-11-20 01:00:00")?;
            ensure!(done.code == 0, "{night}: {done}");
            ensure!(job.held() == ["20261119.tgz", "20261119.tgz.sha256"], "unchanged all the same: {:?}", job.held());
            ensure!(result["destinations"][0]["result"] == "unchanged", "{result:#}");
            ensure!(result["destinations"][0]["since"] == "2026-11-19", "{result:#}");
            says(&warnings(&result), &["the state could not be read", "state.json.unreadable-", "read back to learn"])?;
            let aside = Job::names(&job.path("work")).into_iter().find(|name| name.contains("unreadable"));
            let aside = aside.context("kept aside")?;
            ensure!(fs::read_to_string(job.path("work").join(aside))? == *garbage);
            // And from then on it is as if nothing had happened.
            let (done, result) = json_night(&job, "2026-11-21 01:00:00")?;
            ensure!(done.code == 0 && !warnings(&result).contains("state"), "{done}");
        }
        Ok(())
    });

    suite.case("here::a_state_of_a_newer_version_is_left_alone", &[], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        fs::create_dir(job.path("work"))?;
        fs::write(job.path("work/state.json"), "{\"version\": 99}")?;
        let done = job.run();
        ensure!(done.code == 2, "{done}");
        says(&done.stderr, &["version 99", "hint:"])?;
        ensure!(fs::read_to_string(job.path("work/state.json"))? == "{\"version\": 99}");
        Ok(())
    });
}

fn clock(suite: &mut Suite) {
    suite.case("here::a_clock_more_than_a_day_behind_the_last_run_is_exit_code_2", &[Need::Faketime], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        ensure!(job.night("2026-11-20 01:00:00").code == 0);
        let before = job.state();
        job.publish(&Dump::new(2).text());
        let done = job.night("2026-11-18 22:00:00");
        ensure!(done.code == 2, "{done}");
        says(&done.stderr, &["the clock says 2026-11-18", "the last run was on 2026-11-20", "timedatectl"])?;
        ensure!(job.held().len() == 2 && job.state() == before, "nothing moved");
        // The clock is right again: the run that could not be right is no trouble.
        let (done, result) = json_night(&job, "2026-11-21 01:00:00")?;
        ensure!(done.code == 0 && result["status"] == "ok", "{done}");
        Ok(())
    });

    suite.case("here::a_clock_an_hour_behind_is_a_warning", &[Need::Faketime], || {
        let job = Job::new();
        job.publish(&Dump::new(1).text());
        ensure!(job.night("2026-11-20 02:00:00").code == 0);
        job.publish(&Dump::new(2).text());
        let (done, result) = json_night(&job, "2026-11-20 01:00:00")?;
        ensure!(done.code == 0 && result["status"] == "warning", "{done}");
        says(&warnings(&result), &["the clock says 2026-11-20", "set back"])?;
        ensure!(job.held().contains(&"20261120-2.tgz".to_owned()), "{:?}", job.held());
        Ok(())
    });
}

fn lock(suite: &mut Suite) {
    suite.case("here::a_second_run_while_one_is_going_on_names_it_and_is_exit_code_10", &[], || {
        let job = Job::new();
        job.publish(&Dump::new(1).size(200_000).text());
        job.source.script(ZIP, [Behaviour::StallAfter(1000), Behaviour::Serve]);
        let mut first = job.command(&["run", "--config", "archive.toml"]).start();
        wait::until("the download", || job.source.body_bytes_sent() >= 1000);
        let holder: Value = serde_json::from_str(&fs::read_to_string(job.path("work/lock"))?)?;
        let done = job.run();
        ensure!(done.code == 10, "{done}");
        let (id, process) = (holder["run_id"].as_str().context("run_id")?, first.id().to_string());
        says(&done.stderr, &["another run of this job is going on", id, &process, "step `download`", "hint: wait"])?;
        ensure!(first.is_running(), "the first one does not notice");
        let history = fs::read_to_string(job.path("work/history.jsonl")).unwrap_or_default();
        ensure!(history.is_empty(), "who is locked out owns nothing here: {history}");
        let pruned = job.command(&["prune", "--yes", "--config", "archive.toml"]).run();
        ensure!(pruned.code == 10, "{pruned}");
        first.signal(Signal::TERM);
        ensure!(first.wait().code == 143);
        ensure!(job.run().code == 0);
        Ok(())
    });
}

fn config(suite: &mut Suite) {
    suite.case("here::a_config_that_cannot_be_read_is_exit_code_2", &[], || {
        let job = Job::new();
        let done = job.command(&["run", "--config", "elsewhere.toml"]).run();
        ensure!(done.code == 2 && done.stdout.is_empty(), "{done}");
        says(&done.stderr, &["elsewhere.toml", "no such file", "hint: is it the right path", "archive init"])?;
        fs::create_dir(job.path("folder.toml"))?;
        let done = job.command(&["run", "--config", "folder.toml"]).run();
        ensure!(done.code == 2, "{done}");
        says(&done.stderr, &["folder.toml", "hint:"])
    });

    suite.case("here::a_syntax_error_is_shown_with_its_place", &[], || {
        let mut job = Job::new();
        job.top = "max = = 3".to_owned();
        let done = job.run();
        ensure!(done.code == 2, "{done}");
        says(&done.stderr, &["archive.toml:4:"])
    });

    suite.case("here::all_problems_of_a_config_are_shown_and_its_mail_goes_out", &[Need::Smtp], || {
        let server = SmtpServer::start(Security::None, None);
        let mut job = Job::new();
        job.source_keys = "zip_password = { file = \"gone.secret\" }\nretrys = 3\n".to_owned();
        job.dump = "min_size = \"many\"\n".to_owned();
        job.rest = mailed(&server, "");
        let done = job.run();
        ensure!(done.code == 2, "{done}");
        let problems = ["gone.secret", "zip_password", "retrys", "did you mean `retries`", "min_size", "many"];
        says(&done.stderr, &problems)?;
        ensure!(done.stdout.is_empty(), "{done}");
        let mail = server.wait_for_mails(1).remove(0);
        ensure!(mail.subject == "[FAILED] boutique: start: the configuration cannot be used", "{}", mail.subject);
        says(&mail.text.unwrap_or_default(), &problems)?;
        says(&mail.html.unwrap_or_default(), &["gone.secret", "retrys"])
    });
}

fn outbox(suite: &mut Suite) {
    suite.case("here::what_waits_for_a_destination_that_left_the_config_goes_to_the_others", &[Need::Faketime], || {
        let mut job = Job::new();
        let nas = job.destinations.clone();
        let gone = format!(
            "[[destination]]\nname = \"old\"\ntype = \"local\"\npath = \"{}\"\nmarker = \".here\"\nretries = 0\n",
            job.path("old").display()
        );
        fs::create_dir(job.path("old"))?;
        job.destinations = gone.clone();
        let first = Dump::new(1).text();
        job.publish(&first);
        let done = job.night("2026-11-18 01:00:00");
        ensure!(done.code == 6 && job.waiting().len() == 1, "{done}");
        job.destinations = format!("{nas}{gone}");
        job.publish(&Dump::new(2).text());
        let done = job.night("2026-11-19 01:00:00");
        ensure!(done.code == 6 && job.waiting().len() == 2, "{done} {:?}", job.waiting());
        ensure!(job.held() == ["20261119.tgz", "20261119.tgz.sha256"], "{:?}", job.held());
        job.destinations = nas;
        job.publish(&Dump::new(3).text());
        let done = job.night("2026-11-20 01:00:00");
        ensure!(done.code == 0, "{done}\n{}", job.log());
        ensure!(Job::names(&job.path("work/outbox")).is_empty(), "{:?}", Job::names(&job.path("work/outbox")));
        let days: Vec<String> = job.held().into_iter().filter(|name| name.ends_with(".tgz")).collect();
        ensure!(days == ["20261118.tgz", "20261119.tgz", "20261120.tgz"], "the oldest was nowhere yet: {days:?}");
        ensure!(Job::unpacked(&job.path("nas/20261118.tgz")) == first);
        Ok(())
    });
}
