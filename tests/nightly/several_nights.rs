//! What only shows over several nights: sources that go back, copies that vanish, pauses, destinations that come and go.

use anyhow::{Result, ensure};

use crate::job::{Job, ZIP};
use crate::support::binary::Done;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::https::Behaviour;

pub fn cases(suite: &mut Suite) {
    let needs = &[Need::Faketime];
    suite.case("nights::a_source_that_goes_back_leaves_its_content_as_the_newest_archive", needs, goes_back);
    suite.case("nights::a_lost_copy_is_restored_even_where_unchanged_is_a_failure", needs, restored_under_fail);
    suite.case("nights::failed_nights_are_no_leap_of_the_clock", needs, failed_nights);
    suite.case("nights::a_leap_of_the_clock_is_not_forgotten_while_the_destination_is_away", needs, leap_while_away);
    suite.case("nights::a_dry_run_tells_of_a_destination_that_cannot_be_reached", needs, dry_run_unreachable);
    suite.case("nights::zeros_and_error_pages_never_replace_a_good_dump", needs, zeros);
    suite.case("nights::a_second_job_in_one_directory_says_so_and_purges_nothing", needs, shared_directory);
    suite.case("nights::settings_that_became_stricter_are_applied_to_the_same_zip", needs, stricter);
}

fn dump(seed: u64) -> Vec<u8> {
    Dump::new(seed).size(50_000).text()
}

fn ended(done: &Done, code: i32, job: &Job) -> Result<()> {
    ensure!(done.code == code, "expected {code}: {done}\n{}", job.log());
    Ok(())
}

/// A destination named `name` that is away as long as its marker is missing.
fn removable(job: &Job, name: &str, more: &str) -> Result<String> {
    let dir = job.path(name);
    std::fs::create_dir_all(&dir)?;
    let dir = dir.display();
    Ok(format!(
        "[[destination]]\nname = \"{name}\"\ntype = \"local\"\npath = \"{dir}\"\nmarker = \".here\"\nretries = 0\n{more}\n"
    ))
}

fn archives(job: &Job, name: &str) -> Vec<String> {
    let names = Job::names(&job.path(name));
    names.into_iter().filter(|name| name.ends_with(".tgz")).collect()
}

fn goes_back() -> Result<()> {
    let mut job = Job::new();
    job.destinations = removable(&job, "nas", "")?;
    for (day, seed, here) in [(19, 1, false), (20, 2, false), (21, 1, true)] {
        job.publish(&dump(seed));
        if here {
            std::fs::write(job.path("nas/.here"), "")?;
        }
        let done = job.night(&format!("2026-11-{day} 01:00:00"));
        ended(&done, if here { 0 } else { 6 }, &job)?;
    }
    ensure!(archives(&job, "nas") == ["20261119.tgz", "20261120.tgz", "20261121.tgz"], "{:?}", archives(&job, "nas"));
    ensure!(Job::unpacked(&job.path("nas/20261121.tgz")) == dump(1));
    ensure!(job.state()["destinations"]["nas"]["published"].to_string().contains("20261121.tgz"), "{}", job.state());
    Ok(())
}

fn restored_under_fail() -> Result<()> {
    let mut job = Job::new();
    job.dump.push_str("on_unchanged = \"fail\"\n");
    job.destinations = removable(&job, "nas", "")? + &removable(&job, "usb", "")?;
    for name in ["nas", "usb"] {
        std::fs::write(job.path(name).join(".here"), "")?;
    }
    job.publish(&dump(1));
    ended(&job.night("2026-11-19 01:00:00"), 0, &job)?;
    std::fs::remove_file(job.path("nas/20261119.tgz"))?;
    std::fs::remove_file(job.path("nas/20261119.tgz.sha256"))?;
    ended(&job.night("2026-11-20 01:00:00"), 9, &job)?;
    ensure!(archives(&job, "nas") == ["20261120.tgz"], "{:?}", archives(&job, "nas"));
    ensure!(archives(&job, "usb") == ["20261119.tgz"], "{:?}", archives(&job, "usb"));
    Ok(())
}

fn failed_nights() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retention = { keep_days = 10, keep_last = 1 }\n");
    job.publish(&dump(1));
    ended(&job.night("2026-11-20 01:00:00"), 0, &job)?;
    job.source.script(ZIP, [Behaviour::Status(404, Vec::new(), Vec::new()), Behaviour::Serve]);
    ended(&job.night("2026-12-10 01:00:00"), 3, &job)?;
    job.publish(&dump(2));
    ended(&job.night("2026-12-30 01:00:00"), 0, &job)?;
    ensure!(archives(&job, "nas") == ["20261230.tgz"], "{:?}\n{}", archives(&job, "nas"), job.log());
    Ok(())
}

fn leap_while_away() -> Result<()> {
    let mut job = Job::new();
    job.destinations = removable(&job, "nas", "retention = { keep_days = 10, keep_last = 1 }")?;
    std::fs::write(job.path("nas/.here"), "")?;
    job.publish(&dump(1));
    ended(&job.night("2026-11-20 01:00:00"), 0, &job)?;
    // The clock is a year ahead, and the destination is away on the first of those nights.
    std::fs::remove_file(job.path("nas/.here"))?;
    job.publish(&dump(2));
    ended(&job.night("2027-11-20 01:00:00"), 6, &job)?;
    std::fs::write(job.path("nas/.here"), "")?;
    job.publish(&dump(3));
    ended(&job.night("2027-11-21 01:00:00"), 0, &job)?;
    ensure!(archives(&job, "nas").contains(&"20261120.tgz".to_owned()), "{:?}\n{}", archives(&job, "nas"), job.log());
    // A person who says that the clock is right makes it right.
    let done = job.command(&["prune", "--yes", "--config", "archive.toml"]).at("2027-11-21 09:00:00").run();
    ended(&done, 0, &job)?;
    ensure!(!archives(&job, "nas").contains(&"20261120.tgz".to_owned()), "{:?}\n{done}", archives(&job, "nas"));
    Ok(())
}

fn dry_run_unreachable() -> Result<()> {
    let mut job = Job::new();
    job.destinations = removable(&job, "nas", "retention = { keep_days = 10 }")?;
    job.publish(&dump(1));
    let done = job.command(&["run", "--dry-run", "--config", "archive.toml"]).at("2026-11-20 01:00:00").run();
    ended(&done, 6, &job)?;
    ensure!(done.stderr.contains(".here"), "{done}");
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    Ok(())
}

fn stricter() -> Result<()> {
    let mut job = Job::new();
    job.publish(&dump(1));
    ended(&job.night("2026-11-20 01:00:00"), 0, &job)?;
    job.dump = "min_size = \"1 MB\"\n".to_owned();
    ended(&job.night("2026-11-21 01:00:00"), 4, &job)?;
    Ok(())
}

fn zeros() -> Result<()> {
    let mut job = Job::new();
    job.destinations.push_str("retention = { keep_last = 1, keep_days = 1 }\n");
    job.publish(&dump(1));
    ended(&job.night("2026-11-20 01:00:00"), 0, &job)?;
    let mut torn = dump(2);
    torn[100] = 0;
    torn.truncate(30_000);
    let utf16: Vec<u8> = [0xFF, 0xFE].into_iter().chain(dump(3).into_iter().flat_map(|byte| [byte, 0])).collect();
    for (what, bad) in
        [("zeros", vec![0; 60_000]), ("torn", torn), ("utf16", utf16), ("xml", b"<?xml version=\"1.0\"?><e/>".to_vec())]
    {
        job.publish(&bad);
        let done = job.night("2026-11-21 01:00:00");
        ensure!(done.code == 4, "{what}: {done}\n{}", job.log());
        ensure!(archives(&job, "nas") == ["20261120.tgz"], "{what}: {:?}", archives(&job, "nas"));
    }
    Ok(())
}

fn shared_directory() -> Result<()> {
    let (mut one, mut two) = (Job::new(), Job::new());
    one.destinations.push_str("retention = { keep_last = 1, keep_days = 1 }\n");
    two.destinations = one.destinations.clone();
    for day in 18..=21 {
        for (job, seed) in [(&one, 0), (&two, 50)] {
            job.publish(&dump(day + seed));
            ended(&job.night(&format!("2026-11-{day} 01:00:00")), 0, job)?;
        }
    }
    ensure!(archives(&one, "nas").contains(&"20261121.tgz".to_owned()), "{:?}", archives(&one, "nas"));
    ensure!(two.log().contains("something else bears the name `20261121.tgz`"), "{}", two.log());
    ensure!(!two.log().contains("purged `"), "{}", two.log());
    ensure!(two.log().contains("somebody else's file bears an archive's name"), "{}", two.log());
    Ok(())
}
