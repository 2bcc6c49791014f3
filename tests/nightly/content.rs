//! The content decides: what a destination holds is known by its fingerprint, never by a date.

use std::fs;

use anyhow::{Result, ensure};

use crate::bad_night::json;
use crate::job::Job;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};

pub fn cases(suite: &mut Suite) {
    let needs = &[Need::Faketime];
    suite.case("content::that_comes_back_is_current_under_its_old_date", needs, comes_back);
    suite.case("content::of_an_earlier_hour_does_not_let_the_purge_run", needs, earlier_hour);
    suite.case("content::of_every_night_has_its_archive_after_an_outage", needs, every_night);
    suite.case("content::of_a_damaged_archive_in_the_outbox_is_packed_again", needs, damaged);
    suite.case("content::that_shrank_is_refused_after_a_lost_state_too", needs, shrunk_after_a_lost_state);
    suite.case("content::waits_for_a_place_and_not_for_a_name", needs, renamed);
    suite.case("content::that_stands_still_is_one_failure_after_a_304", needs, failure_once);
    suite.case("content::in_an_archive_of_the_future_is_not_the_newest", needs, future);
}

/// One bit, or the end, of an archive that waits is lost on this machine's disk.
fn damaged() -> Result<()> {
    let damages: [fn(&mut Vec<u8>); 2] = [|bytes| bytes[500] ^= 1, |bytes| bytes.truncate(400)];
    for damage in damages {
        let mut job = Job::new();
        job.destinations.push_str("retries = 0\nverify = \"size\"\n");
        job.dump.push_str("on_unchanged = \"skip\"\n");
        job.publish(&dump(1));
        fs::rename(job.path("nas"), job.path("away"))?;
        fs::write(job.path("nas"), "a file where the directory was")?;
        ensure!(job.night(&at(1)).code == 6, "{}", job.log());
        let waiting = job.path("work/outbox").join(&job.waiting()[0]);
        let mut bytes = fs::read(&waiting)?;
        damage(&mut bytes);
        fs::write(&waiting, bytes)?;
        fs::remove_file(job.path("nas"))?;
        fs::rename(job.path("away"), job.path("nas"))?;
        let (done, result) = json(&job, &at(2))?;
        ensure!(done.code == 0 && result["status"] == "warning", "{done}\n{}", job.log());
        ensure!(done.stdout.contains("was damaged in the outbox"), "{done}");
        ensure!(archives(&job) == ["20261102.tgz"], "{:?}", archives(&job));
        ensure!(Job::unpacked(&job.path("nas/20261102.tgz")) == dump(1));
        ensure!(job.waiting().is_empty() && !waiting.exists(), "{:?}", job.waiting());
    }
    Ok(())
}

/// The state is lost, and the dump has shrunk: the archive that is read back tells.
fn shrunk_after_a_lost_state() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retries = 0\nretention = { keep_last = 1 }\n");
    job.publish(&Dump::new(1).size(200_000).text());
    ensure!(job.night(&at(1)).code == 0);
    fs::remove_file(job.path("work/state.json"))?;
    job.publish(&Dump::new(1).size(20_000).text());
    let done = job.night(&at(2));
    ensure!(done.code == 4 && done.stderr.contains("shrank by 9"), "{done}\n{}", job.log());
    ensure!(archives(&job) == ["20261101.tgz"], "{:?}", archives(&job));
    Ok(())
}

/// The backlog belongs to the place: a destination that is called otherwise gets it all the same.
fn renamed() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retries = 0\n");
    job.publish(&dump(1));
    ensure!(job.night(&at(1)).code == 0);
    fs::rename(job.path("nas"), job.path("away"))?;
    fs::write(job.path("nas"), "a file where the directory was")?;
    job.publish(&dump(2));
    ensure!(job.night(&at(2)).code == 6, "{}", job.log());
    fs::remove_file(job.path("nas"))?;
    fs::rename(job.path("away"), job.path("nas"))?;
    job.destinations = job.destinations.replace("name = \"nas\"", "name = \"cellar\"");
    job.publish(&dump(3));
    let (done, result) = json(&job, &at(3))?;
    ensure!(done.code == 0 && result["status"] == "ok", "{done}\n{}", job.log());
    ensure!(archives(&job) == ["20261101.tgz", "20261102.tgz", "20261103.tgz"], "{:?}", archives(&job));
    Ok(())
}

/// A lost copy makes the content be fetched after a 304; what is wrong is said once.
fn failure_once() -> Result<()> {
    let mut job = Job::new();
    job.dump.push_str("on_unchanged = \"fail\"\n");
    let second = job.path("second");
    fs::create_dir(&second)?;
    job.destinations
        .push_str(&format!("[[destination]]\nname = \"second\"\ntype = \"local\"\npath = \"{}\"\n", second.display()));
    job.publish(&dump(1));
    ensure!(job.night(&at(1)).code == 0);
    fs::remove_file(second.join("20261101.tgz"))?;
    let (done, result) = json(&job, &at(2))?;
    ensure!(done.code == 9, "{done}\n{}", job.log());
    ensure!(result["failures"].as_array().is_some_and(|failures| failures.len() == 1), "{done}");
    ensure!(second.join("20261102.tgz").exists(), "{done}\n{}", job.log());
    Ok(())
}

fn dump(seed: u64) -> Vec<u8> {
    Dump::new(seed).size(20_000).text()
}

fn at(day: u32) -> String {
    format!("2026-11-{day:02} 01:00:00")
}

fn archives(job: &Job) -> Vec<String> {
    job.held().into_iter().filter(|name| name.ends_with(".tgz") && !name.starts_with('.')).collect()
}

/// The content of the 3rd cannot be published that night; it comes back on the 8th and goes out under its own date.
fn comes_back() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retries = 0\nretention = { keep_days = 2, keep_last = 1 }\n");
    job.publish(&dump(1));
    ensure!(job.night(&at(1)).code == 0);
    // Only this archive cannot be written: something bears its temporary name.
    let blocked = job.path("nas/.20261103.tgz.boutique.part");
    fs::create_dir(&blocked)?;
    job.publish(&dump(2));
    ensure!(job.night(&at(3)).code == 6, "{}", job.log());
    job.publish(&dump(3));
    ensure!(job.night(&at(5)).code == 6, "{}", job.log());
    ensure!(archives(&job).contains(&"20261105.tgz".to_owned()), "{:?}", job.held());
    fs::remove_dir(&blocked)?;
    job.publish(&dump(2));
    let done = job.night(&at(8));
    ensure!(done.code == 0, "{done}\n{}", job.log());
    let held = archives(&job);
    let holds = |name: &String| Job::unpacked(&job.path("nas").join(name)) == dump(2);
    ensure!(held.iter().any(holds), "tonight's content is nowhere: {held:?}\n{}", job.log());
    let (done, result) = json(&job, &at(9))?;
    ensure!(result["destinations"][0]["result"] == "unchanged", "{done}");
    Ok(())
}

/// At 01:00 one content waits for the destination; at 10:00 another one cannot be packed. The first goes out and is not tonight's.
fn earlier_hour() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retries = 0\nretention = { keep_days = 1, keep_last = 1 }\n");
    for day in 1..=3 {
        job.publish(&dump(u64::from(day)));
        ensure!(job.night(&at(day)).code == 0);
        fs::copy(job.path(&format!("nas/202611{day:02}.tgz")), job.path("nas/20261001.tgz"))?;
    }
    fs::rename(job.path("nas"), job.path("away"))?;
    fs::write(job.path("nas"), "a file where the directory was")?;
    job.publish(&dump(10));
    ensure!(job.night(&at(10)).code == 6, "{}", job.log());
    fs::remove_file(job.path("nas"))?;
    fs::rename(job.path("away"), job.path("nas"))?;
    job.publish(&dump(11));
    fs::create_dir(job.path("work/outbox/tonight.draft"))?;
    let before = archives(&job);
    let (done, result) = json(&job, "2026-11-10 10:00:00")?;
    ensure!(done.code == 5, "{done}\n{}", job.log());
    let destination = &result["destinations"][0];
    ensure!(destination["caught_up"][0] == "20261110.tgz", "{done}");
    ensure!(destination["result"] != "published", "another content counts as tonight's: {done}");
    ensure!(destination["purged"].as_array().is_some_and(Vec::is_empty), "{done}");
    ensure!(before.iter().all(|name| archives(&job).contains(name)), "purged: {:?}", archives(&job));
    Ok(())
}

/// `on_unchanged = "archive"`: the same content two nights running, and the destination away on the first of them.
fn every_night() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retries = 0\n");
    job.dump.push_str("on_unchanged = \"archive\"\n");
    job.publish(&dump(1));
    ensure!(job.night(&at(1)).code == 0);
    fs::rename(job.path("nas"), job.path("away"))?;
    fs::write(job.path("nas"), "a file where the directory was")?;
    ensure!(job.night(&at(2)).code == 6, "{}", job.log());
    fs::remove_file(job.path("nas"))?;
    fs::rename(job.path("away"), job.path("nas"))?;
    let done = job.night(&at(3));
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(archives(&job) == ["20261101.tgz", "20261102.tgz", "20261103.tgz"], "{:?}", archives(&job));
    Ok(())
}

/// A clock was once years ahead; the state is lost since.
fn future() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retries = 0\n");
    job.publish(&dump(1));
    ensure!(job.night("2031-01-01 01:00:00").code == 0);
    fs::remove_dir_all(job.path("work"))?;
    job.dump.push_str("on_unchanged = \"fail\"\n");
    job.publish(&dump(2));
    let done = job.night(&at(1));
    ensure!(done.code == 0, "{done}\n{}", job.log());
    let done = job.night(&at(2));
    ensure!(done.code == 9, "the standstill is not seen: {done}\n{}", job.log());
    Ok(())
}
