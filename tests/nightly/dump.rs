//! Whole, and new? What a dump must be to become tonight's archive.

use std::fs;

use anyhow::ensure;

use crate::bad_night::{
    self, Kept, Refused, TONIGHT, after_a_good_one, first_dump, is_refused, json, publishes, refuses,
};
use crate::job::Job;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, repository};

const CLOCK: &[Need] = &[Need::Faketime];
const CUT_HINT: &str = "the export was cut before it was zipped: look at the job that makes it";

pub fn cases(suite: &mut Suite) {
    incomplete(suite);
    told(suite);
    small(suite);
    unchanged(suite);
    frozen(suite);
    volatile(suite);
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(repository().join("tests/fixtures/dumps").join(name)).expect("a fixture")
}

/// A good night, then one with this dump.
fn refused(suite: &mut Suite, name: &str, keys: &'static str, expected: Refused, dump: Vec<u8>) {
    suite.case(format!("dump::{name}"), CLOCK, move || {
        let mut job = after_a_good_one()?;
        job.dump.push_str(keys);
        job.publish(&dump);
        refuses(&job, &expected)?;
        Ok(())
    });
}

fn accepted(suite: &mut Suite, name: &str, keys: &'static str, dump: Vec<u8>) {
    suite.case(format!("dump::{name}"), CLOCK, move || {
        let mut job = after_a_good_one()?;
        job.dump.push_str(keys);
        job.publish(&dump);
        publishes(&job, &dump)
    });
}

fn incomplete(suite: &mut Suite) {
    let any_size = "max_shrink = \"off\"\n";
    refused(suite, "an_empty_dump", any_size, Refused::verify(&["the dump is empty"], CUT_HINT), Vec::new());
    let cut = Refused::verify(
        &[
            "the dump does not end with `-- Dump completed",
            "it stops after byte 200",
            "a line that begins with `INSERT`",
        ],
        CUT_HINT,
    );
    refused(suite, "a_dump_that_is_cut", any_size, cut, Dump::new(2).size(200_000).cut().text());
    suite.case("dump::no_row_of_a_cut_dump_is_shown", CLOCK, move || {
        let mut job = after_a_good_one()?;
        job.dump.push_str(any_size);
        job.publish(&Dump::new(2).size(200_000).cut().text());
        let done = job.night(TONIGHT);
        ensure!(done.code == 4 && !format!("{done}{}", job.log()).contains("cut in the mid"), "{done}\n{}", job.log());
        Ok(())
    });
    let utf16: Vec<u8> =
        String::from_utf8_lossy(&Dump::new(2).text()).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let powershell = Refused::verify(&["this is a UTF-16 text"], "let the program write the file itself");
    refused(suite, "a_dump_by_powershell", any_size, powershell, [b"\xFF\xFE".to_vec(), utf16].concat());
    let one = Dump::new(2).text();
    let half_and_whole = [&one[..one.len() / 2], &one].concat();
    let unended = Refused::verify(&["the file holds 2 dumps, and 1 of them lacks its end"], "one of the commands");
    refused(suite, "half_a_dump_and_a_whole_one", any_size, unended, half_and_whole);
    let rolled_back =
        String::from_utf8_lossy(&fixture("sqlite3-defensive.sql")).replace("\nCOMMIT;", "\nROLLBACK; -- due to errors");
    let gave_up = Refused::verify(&["rolls its transaction back (`ROLLBACK`)"], "could not read the whole database");
    refused(suite, "a_dump_that_sqlite_gave_up", any_size, gave_up, rolled_back.into_bytes());
    for (file, why) in [
        ("mariadb-dump-a.sql", &["does not end with `-- Dump completed"] as &[&str]),
        ("mariadb-dump-b.sql", &["does not end with `-- Dump completed"]),
        ("mariadb-dump-skip-comments.sql", &["the dump ends within"]),
        ("mariadb-dump-skip-dump-date.sql", &["does not end with `-- Dump completed"]),
        ("pg_dump-a.sql", &["does not end with `-- PostgreSQL database dump complete`"]),
        ("pg_dump-b.sql", &["does not end with `-- PostgreSQL database dump complete`"]),
        ("pg_dumpall.sql", &["does not end with `-- PostgreSQL database cluster dump complete`"]),
        ("sqlite3.sql", &["the dump ends within"]),
    ] {
        let whole = fixture(file);
        let half = whole[..whole.len() / 2].to_vec();
        let says: &'static [&'static str] = why;
        refused(suite, &format!("half_of_{file}"), any_size, Refused::verify(says, CUT_HINT), half);
        accepted(suite, &format!("all_of_{file}"), any_size, whole);
    }

    let literal = "max_shrink = \"off\"\ncomplete = \"-- END OF EXPORT\"\n";
    accepted(suite, "a_literal_end_that_is_there", literal, b"SELECT 1;\n-- END OF EXPORT\n".to_vec());
    let no_literal = Refused::verify(&["the dump does not end with `-- END OF EXPORT`"], CUT_HINT);
    // Otherwise whole, but not as the config demands.
    refused(suite, "a_literal_end_that_is_not_there", literal, no_literal, Dump::new(2).text());
    let off = "max_shrink = \"off\"\ncomplete = \"off\"\n";
    accepted(suite, "a_cut_dump_where_the_check_is_off", off, Dump::new(2).cut().text());
}

/// What is in a dump besides the dump is archived, and told.
fn told(suite: &mut Suite) {
    let noise = "mysqldump: [Warning] Using a password on the command line interface can be insecure.\n";
    let crashed = "mysqldump: Error 1194: Table 'orders' is marked as crashed when dumping table `orders` at row: 0\n";
    for (name, at, line, said) in [
        ("noise_on_top", "-- MySQL dump", noise, "line 1 of the dump is no SQL (`mysqldump: [Warning] Using a`)"),
        ("an_error_in_the_middle", "UNLOCK TABLES;", crashed, "reports a failure after byte"),
        ("a_view_that_failed", "UNLOCK TABLES;", "-- failed on view `v`: x\n", "reports a failure after byte"),
    ] {
        suite.case(format!("dump::{name}_is_told"), CLOCK, move || {
            let job = after_a_good_one()?;
            let dump = String::from_utf8(Dump::new(2).size(100_000).text())?.replacen(at, &format!("{line}{at}"), 1);
            job.publish(dump.as_bytes());
            let (done, result) = json(&job, TONIGHT)?;
            ensure!(done.code == 0 && result["status"] == "warning", "{done}");
            ensure!(result["warnings"].to_string().contains(said), "{done}");
            bad_night::holds(&job, "20261120.tgz", dump.as_bytes())
        });
    }
}

fn small(suite: &mut Suite) {
    suite.case("dump::a_dump_below_min_size", CLOCK, || {
        let mut job = after_a_good_one()?;
        job.dump = "min_size = \"1 MB\"\n".into();
        job.publish(&Dump::new(2).size(200_000).text());
        refuses(&job, &Refused::verify(&["less than `min_size` = 1.00 MB"], "lower `min_size` under `[dump]`"))?;
        Ok(())
    });
    let shrunk = Refused::verify(&["the dump shrank by 60 %", "in `20261119.tgz`"], "were tables lost?");
    refused(suite, "a_dump_that_shrank_below_max_shrink", "", shrunk, Dump::new(2).size(40_000).text());
    accepted(suite, "a_dump_that_shrank_less_than_max_shrink", "", Dump::new(2).size(60_000).text());
    accepted(suite, "a_dump_that_may_shrink", "max_shrink = \"80%\"\n", Dump::new(2).size(40_000).text());
}

/// The same dump as the night before, with another date in its last line so that it comes through all steps.
fn same_but_dated(job: &Job) {
    job.publish(&Dump::new(1).size(100_000).completed("2026-11-19 23:00:00").text());
}

fn unchanged(suite: &mut Suite) {
    for (name, keys, status) in [
        ("unchanged_under_skip", "on_unchanged = \"skip\"\n", "ok"),
        ("unchanged_under_warn", "on_unchanged = \"warn\"\n", "warning"),
        ("unchanged_by_default", "", "warning"),
    ] {
        suite.case(format!("dump::{name}"), CLOCK, move || {
            let mut job = after_a_good_one()?;
            job.dump.push_str(keys);
            same_but_dated(&job);
            let before = Kept::of(&job);
            let (done, result) = json(&job, TONIGHT)?;
            ensure!(done.code == 0 && result["status"] == status, "{done}");
            ensure!(result["source"]["not_modified"] == false, "{done}");
            ensure!(result["destinations"][0]["result"] == "unchanged", "{done}");
            ensure!(result["destinations"][0]["since"] == "2026-11-19", "{done}");
            let warnings = result["warnings"].to_string();
            ensure!(warnings.contains("is the same as that of 19 Nov 2026") == (status == "warning"), "{done}");
            ensure!(job.held() == ["20261119.tgz", "20261119.tgz.sha256"], "{:?}", job.held());
            ensure!(Kept::of(&job).same_archives(&before) && job.waiting().is_empty());
            ensure!(Job::names(&job.path("work/spool")).is_empty());
            Ok(())
        });
    }
    suite.case("dump::unchanged_under_fail_has_its_own_exit_code", CLOCK, || {
        let mut job = after_a_good_one()?;
        job.dump.push_str("on_unchanged = \"fail\"\n");
        let expected = Refused {
            code: 9,
            step: "compare",
            says: &["has not changed since 19 Nov 2026", "`20261119.tgz`"],
            hint: "an export that stands still usually means",
            resumable: false,
        };
        // First as the server says it, by a 304; then by comparing what came.
        refuses(&job, &expected)?;
        ensure!(job.source.body_bytes_sent() == 0, "{:?}", job.source.requests());
        same_but_dated(&job);
        let mut before = Kept::of(&job);
        let done = job.night(TONIGHT);
        ensure!(job.source.body_bytes_sent() > 0, "{:?}", job.source.requests());
        // A zip that was verified is remembered, whatever it is compared with.
        before.forget_source(&job);
        is_refused(&job, &before, &done, &expected)
    });
    suite.case("dump::unchanged_under_archive_is_archived_all_the_same", CLOCK, || {
        let mut job = after_a_good_one()?;
        job.dump.push_str("on_unchanged = \"archive\"\n");
        publishes(&job, &first_dump())?;
        ensure!(job.held().contains(&"20261119.tgz".to_owned()), "{:?}", job.held());
        // But not twice in one night.
        publishes(&job, &first_dump())?;
        ensure!(job.held().len() == 4, "{:?}", job.held());
        Ok(())
    });
    suite.case("dump::a_dump_that_changes_again_is_published", CLOCK, || {
        let job = after_a_good_one()?;
        same_but_dated(&job);
        ensure!(job.night(TONIGHT).code == 0 && job.held().len() == 2, "{:?}", job.held());
        let other = Dump::new(9).size(100_000).text();
        job.publish(&other);
        let done = job.night("2026-11-21 01:00:00");
        ensure!(done.code == 0, "{done}");
        bad_night::holds(&job, "20261121.tgz", &other)
    });
}

fn frozen(suite: &mut Suite) {
    for (name, keys, warned) in [
        ("a_long_standstill_is_a_warning_even_under_skip", "frozen_after = \"3d\"\n", true),
        ("a_long_standstill_may_be_allowed", "frozen_after = \"off\"\n", false),
    ] {
        suite.case(format!("dump::{name}"), CLOCK, move || {
            let mut job = after_a_good_one()?;
            job.dump.push_str("on_unchanged = \"skip\"\n");
            job.dump.push_str(keys);
            for (day, is_long) in [(20, false), (21, false), (22, true), (23, true)] {
                let (done, result) = json(&job, &format!("2026-11-{day} 01:00:00"))?;
                let status = if is_long && warned { "warning" } else { "ok" };
                ensure!(done.code == 0 && result["status"] == status, "on the {day}th: {done}");
                let told = result["warnings"].to_string().contains("has not changed for");
                ensure!(told == (is_long && warned), "on the {day}th: {done}");
            }
            ensure!(job.held() == ["20261119.tgz", "20261119.tgz.sha256"], "{:?}", job.held());
            // A change ends it.
            job.publish(&Dump::new(9).size(100_000).text());
            let (done, result) = json(&job, "2026-11-24 01:00:00")?;
            ensure!(done.code == 0 && result["status"] == "ok", "{done}");
            Ok(())
        });
    }
}

/// Two nights; whether the second published something.
fn second_is_new(keys: &str, first: &[u8], second: &[u8]) -> anyhow::Result<bool> {
    let mut job = Job::new();
    job.dump.push_str(keys);
    job.publish(first);
    let done = job.night(bad_night::GOOD_NIGHT);
    ensure!(done.code == 0, "{done}");
    job.publish(second);
    let done = job.night(TONIGHT);
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(job.source.body_bytes_sent() > second.len() as u64 / 10, "{:?}", job.source.requests());
    Ok(job.held().contains(&"20261120.tgz".to_owned()))
}

fn volatile(suite: &mut Suite) {
    for (tool, a, b) in
        [("mariadb_dump", "mariadb-dump-a.sql", "mariadb-dump-b.sql"), ("pg_dump", "pg_dump-a.sql", "pg_dump-b.sql")]
    {
        suite.case(format!("dump::the_same_data_dumped_twice_by_{tool}_is_unchanged"), CLOCK, move || {
            let (a, b) = (fixture(a), fixture(b));
            ensure!(a != b, "the fixtures show nothing");
            ensure!(!second_is_new("", &a, &b)?, "published again");
            ensure!(second_is_new("volatile_lines = \"none\"\n", &a, &b)?, "nothing else made them the same");
            Ok(())
        });
    }
    for (tool, file, tonight, next) in [
        ("adminer", "adminer.sql", "2026-11-28 10:51:38", "2026-11-29 10:51:39"),
        ("mysqlpump", "mysqlpump.sql", "Fri Nov 20 01:00:0", "Sat Nov 21 02:10:0"),
        ("navicat", "navicat.sql", "20/11/2026 01:00:03", "21/11/2026 01:00:03"),
        ("updraftplus", "updraftplus.sql", "Friday 20. November", "Saturday 21. November"),
    ] {
        suite.case(format!("dump::the_same_data_by_{tool}_is_unchanged"), CLOCK, move || {
            let first = String::from_utf8(fixture(file))?;
            ensure!(!second_is_new("", first.as_bytes(), first.replace(tonight, next).as_bytes())?, "published again");
            Ok(())
        });
    }
    suite.case("dump::two_mysqldumps_in_one_file_are_unchanged", CLOCK, || {
        let twice = |date: &str| {
            let one = |seed| Dump::new(seed).completed(date).text();
            [one(1), one(2)].concat()
        };
        ensure!(!second_is_new("", &twice("2026-11-19  1:00:00"), &twice("2026-11-20  1:00:03"))?, "published again");
        Ok(())
    });
    suite.case("dump::patterns_say_which_lines_do_not_count", CLOCK, || {
        let dump = |host: &str, value: &str| {
            let rows = format!("INSERT INTO t VALUES ('{value}');\n").repeat(50);
            format!("-- Exported by {host}\n{rows}-- took 3 s on {host}\n").into_bytes()
        };
        let patterns = "volatile_lines = ['^-- Exported by', '^-- took \\d+ s']\n";
        ensure!(!second_is_new(patterns, &dump("a", "x"), &dump("b", "x"))?, "the patterns did not count");
        ensure!(second_is_new("", &dump("a", "x"), &dump("b", "x"))?, "they would have counted");
        ensure!(second_is_new(patterns, &dump("a", "x"), &dump("a", "y"))?, "data was skipped");
        Ok(())
    });
}
