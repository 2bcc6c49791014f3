//! Lines that break and servers that are away: the archive waits, and goes first when they are back.

use anyhow::{Result, ensure};

use super::{at, destination, failed, good, is_whole, job_at, json, new_dump, replace, waits};
use crate::job::Job;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::sshd::{Account, Sshd};

pub fn cases(suite: &mut Suite) {
    let ours = &[Need::Faketime, Need::Sshd];
    suite.case("destination::upload_cut_in_the_middle_goes_on", ours, cut_and_resumed);
    suite.case("destination::upload_cut_without_retries_waits_for_the_next_night", ours, cut_and_caught_up);
    suite.case("destination::upload_that_stalls_is_given_up", ours, stalls);
    suite.case("destination::one_of_two_down", ours, one_of_two);
    suite.case("destination::archive_waits_while_the_source_stands_still", ours, waits_unchanged);
}

/// A job behind a proxy, with a dump that makes an archive of about four megabytes.
fn large(server: &Sshd, proxy: &Proxy) -> (Job, Vec<u8>) {
    let mut job = job_at(server, &server.place(Account::Own), "");
    replace(&mut job, &format!("port = {}", server.port()), &format!("port = {}", proxy.port()));
    let dump = Dump::new(1).size(12_000_000).text();
    job.publish(&dump);
    (job, dump)
}

fn cut_and_resumed() -> Result<()> {
    let server = Sshd::builder().start();
    let proxy = Proxy::start(server.port());
    let (mut job, dump) = large(&server, &proxy);
    replace(&mut job, "retries = 0", "retries = 1");
    proxy.next(Plan::pass().up(Fault::ResetAfter(2_000_000)));
    let done = job.night(&at(20));
    good(&job, &done)?;
    ensure!(proxy.connections() == 2, "{} connections", proxy.connections());
    let place = server.place(Account::Own);
    is_whole(&place.local, "20261120.tgz", &dump)?;
    ensure!(Job::names(&place.local).len() == 2, "{:?}", Job::names(&place.local));
    let size = std::fs::metadata(place.local.join("20261120.tgz"))?.len();
    ensure!(size > 3_000_000, "{size} bytes are not enough to be cut");
    let twice = 2_000_000 + size;
    ensure!(proxy.bytes_up() < twice, "{} bytes for {size}: it began again", proxy.bytes_up());
    Ok(())
}

fn cut_and_caught_up() -> Result<()> {
    let server = Sshd::builder().start();
    let proxy = Proxy::start(server.port());
    let (job, dump) = large(&server, &proxy);
    let place = server.place(Account::Own);
    proxy.next(Plan::pass().up(Fault::ResetAfter(2_000_000)));
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["failed to publish `20261120.tgz`", "outbox"])?;
    waits(&job, "20261120.tgz")?;
    ensure!(Job::names(&place.local) == [".20261120.tgz.boutique.part"], "{:?}", Job::names(&place.local));
    let second = Dump::new(2).size(200_000).text();
    job.publish(&second);
    let before = proxy.bytes_up();
    let (done, told) = json(&job, 21)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    let nas = destination(&told, "nas");
    ensure!(nas["caught_up"] == serde_json::json!(["20261120.tgz"]), "{nas}");
    is_whole(&place.local, "20261120.tgz", &dump)?;
    is_whole(&place.local, "20261121.tgz", &second)?;
    ensure!(Job::names(&place.local).len() == 4, "{:?}", Job::names(&place.local));
    ensure!(job.waiting().is_empty());
    let size = std::fs::metadata(place.local.join("20261120.tgz"))?.len();
    ensure!(proxy.bytes_up() - before < size, "what was there already was sent again");
    let (first, then) = ("published `20261120.tgz`", "published `20261121.tgz`");
    ensure!(job.log().find(first) < job.log().find(then) && job.log().contains(first), "{}", job.log());
    Ok(())
}

fn stalls() -> Result<()> {
    let server = Sshd::builder().start();
    let proxy = Proxy::start(server.port());
    let (mut job, _) = large(&server, &proxy);
    replace(&mut job, "stall_timeout = \"5s\"", "stall_timeout = \"2s\"");
    proxy.next(Plan::pass().up(Fault::StallAfter(2_000_000)));
    let done = job.night(&at(20));
    failed(&job, &done, 6, &["failed to publish `20261120.tgz`", "no byte moved for 2 s"])?;
    waits(&job, "20261120.tgz")
}

fn one_of_two() -> Result<()> {
    let mut server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let mut job = Job::new();
    // The one that is down comes first, so that it could stop the other.
    let sftp = Job::sftp("away", server.port(), &place, &server.key(), &server.fingerprint(), "");
    job.destinations = format!("{sftp}{}", job.destinations);
    let first = Dump::new(1).size(200_000).text();
    job.publish(&first);
    server.stop();
    let (done, told) = json(&job, 20)?;
    ensure!(done.code == 6, "{done}");
    ensure!(destination(&told, "nas").to_string().contains("\"result\":\"published\""), "{told}");
    ensure!(destination(&told, "away").to_string().contains("\"result\":\"failed\""), "{told}");
    ensure!(job.held() == ["20261120.tgz", "20261120.tgz.sha256"], "{:?}", job.held());
    ensure!(destination(&told, "away")["waiting"] == serde_json::json!(["20261120.tgz"]), "{told}");
    ensure!(job.waiting().len() == 1, "{:?}", job.waiting());
    let state = job.state();
    ensure!(state["destinations"]["nas"]["published"].is_object(), "{state}");
    ensure!(!state["destinations"]["away"]["published"].is_object(), "{state}");
    server.restart();
    let second = Dump::new(2).size(200_000).text();
    job.publish(&second);
    let (done, told) = json(&job, 21)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(destination(&told, "away")["caught_up"] == serde_json::json!(["20261120.tgz"]), "{told}");
    ensure!(destination(&told, "nas")["caught_up"] == serde_json::json!([]), "{told}");
    for directory in [&place.local, &job.path("nas")] {
        is_whole(directory, "20261120.tgz", &first)?;
        is_whole(directory, "20261121.tgz", &second)?;
        ensure!(Job::names(directory).len() == 4);
    }
    ensure!(job.waiting().is_empty());
    Ok(())
}

fn waits_unchanged() -> Result<()> {
    let mut server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    server.stop();
    for day in [20, 21] {
        failed(&job, &job.night(&at(day)), 6, &["failed to reach", "outbox"])?;
        waits(&job, "20261120.tgz")?;
        ensure!(job.waiting().len() == 1, "the same content waits once: {:?}", job.waiting());
    }
    server.restart();
    let done = job.night(&at(22));
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(Job::names(&place.local) == ["20261120.tgz", "20261120.tgz.sha256"], "{:?}", Job::names(&place.local));
    ensure!(job.waiting().is_empty());
    new_dump(&job, 2);
    good(&job, &job.night(&at(23)))
}
