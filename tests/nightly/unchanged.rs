//! Nights on which the zip need not be downloaded although no `304` says so: its directory shows the dump of the last run.

use std::fs;
use std::process::Command;

use anyhow::ensure;
use serde_json::Value;

use crate::bad_night::json;
use crate::job::{ENTRY, Job, ZIP};
use crate::support::binary::Done;
use crate::support::harness::{Need, Suite, run};
use crate::support::https::Behaviour;
use crate::support::zips::{self, Entry, Zip};

const CLOCK: &[Need] = &[Need::Faketime];
const SEVEN_ZIP: Need = Need::Program("7z", "p7zip-full");
const FIRST: &str = "2026-11-19 01:00:00";
const SECOND: &str = "2026-11-20 01:00:00";
const THIRD: &str = "2026-11-21 01:00:00";
/// What reading a directory may cost.
const FEW_BYTES: u64 = 256_000;

/// A whole dump of two megabytes that hardly compresses, so that its zip is much larger than its directory.
fn dump(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("INSERT INTO t VALUES ('{state:016x}');\n")
    };
    std::iter::repeat_with(&mut next).take(50_000).collect::<String>().into_bytes()
}

/// The first night is over, and this is at the source since.
fn since_a_good_night(at_the_source: Vec<u8>) -> anyhow::Result<Job> {
    let mut job = Job::new();
    job.trust_directory = true;
    job.dump.push_str("on_unchanged = \"skip\"\n");
    job.publish(&dump(1));
    let done = job.night(FIRST);
    ensure!(done.code == 0, "the good night before: {done}");
    job.source.forget_requests();
    job.publish_bytes(at_the_source);
    Ok(job)
}

/// Nothing is downloaded, and the report says why.
fn is_recognised(job: &Job, night: &str) -> anyhow::Result<()> {
    let (done, result) = json(job, night)?;
    ensure!(done.code == 0 && result["status"] == "ok", "{done}\n{}", job.log());
    ensure!(job.source.body_bytes_sent() < FEW_BYTES, "{} bytes", job.source.body_bytes_sent());
    ensure!(result["source"]["not_modified"] == true, "{done}");
    let grounds = result["source"]["grounds"].to_string();
    ensure!(grounds.contains("size and CRC-32 in the zip's directory"), "{grounds}");
    ensure!(result["destinations"][0]["result"] == "unchanged", "{done}");
    ensure!(job.held() == ["20261119.tgz", "20261119.tgz.sha256"], "{:?}", job.held());
    Ok(())
}

/// Everything is downloaded.
fn is_downloaded(job: &Job) -> anyhow::Result<(Done, Value)> {
    let (done, result) = json(job, SECOND)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(result["source"]["not_modified"] == false && result["source"]["grounds"].is_null(), "{done}");
    ensure!(job.source.body_bytes_sent() > 500_000, "{} bytes", job.source.body_bytes_sent());
    Ok((done, result))
}

fn same_zip() -> Vec<u8> {
    zips::good(ENTRY, &dump(1))
}

pub fn cases(suite: &mut Suite) {
    suite.case("unchanged::the_same_zip_from_a_server_without_validators", CLOCK, || {
        let job = since_a_good_night(same_zip())?;
        job.source.script(ZIP, [Behaviour::NoValidators]);
        is_recognised(&job, SECOND)?;
        let requests = job.source.requests();
        ensure!(requests.len() <= 9 && requests.iter().all(|request| request.status == 206), "{requests:?}");
        Ok(())
    });

    suite.case("unchanged::the_same_dump_zipped_anew_and_a_304_the_night_after", CLOCK, || {
        let other = Zip::new().entry(Entry::stored("README", b"made anew")).entry(Entry::stored(ENTRY, &dump(1)));
        let job = since_a_good_night(other.comment(b"by another program").build())?;
        is_recognised(&job, SECOND)?;
        // The validators of the new zip are known now.
        job.source.forget_requests();
        let (done, result) = json(&job, THIRD)?;
        ensure!(done.code == 0 && result["source"]["not_modified"] == true, "{done}");
        let requests = job.source.requests();
        ensure!(requests.len() == 1 && requests[0].status == 304, "{requests:?}");
        ensure!(result["source"]["grounds"].to_string().contains("the server says"), "{done}");
        Ok(())
    });

    suite.case("unchanged::a_304_needs_one_request", CLOCK, || {
        let job = since_a_good_night(same_zip())?;
        job.source.forget_requests();
        let (done, result) = json(&job, SECOND)?;
        ensure!(done.code == 0 && result["source"]["not_modified"] == true, "{done}");
        ensure!(job.source.body_bytes_sent() < FEW_BYTES, "{done}");
        Ok(())
    });

    suite.case("unchanged::another_dump_of_the_same_size_is_downloaded", CLOCK, || {
        let (before, now) = (dump(1), dump(2));
        ensure!(before.len() == now.len());
        let job = since_a_good_night(zips::good(ENTRY, &now))?;
        is_downloaded(&job)?;
        ensure!(job.held().contains(&"20261120.tgz".to_owned()), "{:?}", job.held());
        ensure!(Job::unpacked(&job.path("nas/20261120.tgz")) == now);
        Ok(())
    });

    suite.case("unchanged::an_archive_that_is_gone_is_published_again", CLOCK, || {
        let job = since_a_good_night(same_zip())?;
        job.source.script(ZIP, [Behaviour::NoValidators]);
        fs::remove_file(job.path("nas/20261119.tgz"))?;
        fs::remove_file(job.path("nas/20261119.tgz.sha256"))?;
        is_downloaded(&job)?;
        ensure!(Job::unpacked(&job.path("nas/20261120.tgz")) == dump(1), "{:?}", job.held());
        Ok(())
    });

    suite.case("unchanged::a_server_that_sends_whole_files_only_is_asked_once", CLOCK, || {
        let job = since_a_good_night(same_zip())?;
        job.source.script(ZIP, [Behaviour::IgnoreRange]);
        // Other validators, so that there is no 304.
        job.publish_bytes(Zip::new().entry(Entry::stored(ENTRY, &dump(1))).build());
        let (_, result) = is_downloaded(&job)?;
        ensure!(result["destinations"][0]["result"] == "unchanged", "{result}");
        ensure!(job.source.requests().len() == 1, "{:?}", job.source.requests());
        Ok(())
    });

    suite.case("unchanged::a_server_that_cannot_stand_the_question_is_asked_as_always", CLOCK, || {
        for bad in [
            Behaviour::Status(500, vec![], b"no ranges here".to_vec()),
            Behaviour::WrongContentRange(7),
            Behaviour::ResetAfter(1000),
            Behaviour::Status(416, vec![], vec![]),
        ] {
            let job = since_a_good_night(zips::good(ENTRY, &dump(2)))?;
            job.source.script(ZIP, [bad, Behaviour::Serve]);
            is_downloaded(&job)?;
        }
        Ok(())
    });

    suite.case("unchanged::with_trust_directory_off_only_a_304_counts", CLOCK, || {
        let mut job = since_a_good_night(same_zip())?;
        job.trust_directory = false;
        job.source.script(ZIP, [Behaviour::NoValidators]);
        let (_, result) = is_downloaded(&job)?;
        ensure!(result["destinations"][0]["result"] == "unchanged", "{result}");
        ensure!(job.source.requests().len() == 1, "{:?}", job.source.requests());
        Ok(())
    });

    suite.case("unchanged::an_ae_2_entry_has_no_checksum_and_is_downloaded", &[Need::Faketime, SEVEN_ZIP], || {
        let mut job = Job::new();
        job.trust_directory = true;
        job.source_keys.push_str("zip_password = \"secret\"\n");
        job.publish_bytes(encrypted_by_seven_zip(&job, &dump(1))?);
        let done = job.night(FIRST);
        ensure!(done.code == 0, "{done}");
        job.source.forget_requests();
        job.source.script(ZIP, [Behaviour::NoValidators]);
        is_downloaded(&job)?;
        Ok(())
    });
}

/// 7-Zip encrypts as AE-2.
fn encrypted_by_seven_zip(job: &Job, dump: &[u8]) -> anyhow::Result<Vec<u8>> {
    fs::write(job.path(ENTRY), dump)?;
    run(Command::new("7z")
        .args(["a", "-tzip", "-bd", "-mx=1", "-psecret", "-mem=AES256", "encrypted.zip", ENTRY])
        .current_dir(job.dir()));
    Ok(fs::read(job.path("encrypted.zip"))?)
}
