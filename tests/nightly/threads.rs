//! Each destination has a thread of its own: one that is sick, or merely late, costs the others nothing.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::job::{Job, ZIP};
use crate::support::binary::Signal;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::https::Behaviour;
use crate::support::proxy::Proxy;
use crate::support::sshd::{Account, Place, Sshd};
use crate::support::wait;

const FIRST: &str = "2026-11-20 01:00:00";
const SECOND: &str = "2026-11-21 01:00:00";
const ARCHIVE: [&str; 2] = ["20261120.tgz", "20261120.tgz.sha256"];
/// A login takes longer than the others wait.
const LONG_WAY: Duration = Duration::from_millis(800);

pub fn cases(suite: &mut Suite) {
    suite.case("threads::a_destination_that_stands_still_delays_no_other", &[Need::Faketime], stands_still);
    let needs = &[Need::Faketime, Need::Sshd];
    suite.case("threads::one_that_is_late_and_holds_the_content_is_sent_nothing", needs, late_and_unchanged);
    suite.case("threads::one_that_is_late_and_holds_much_more_is_not_sent_a_dump_that_shrank", needs, late_and_shrunk);
    suite.case("threads::one_that_is_late_at_a_signal_gets_its_archive_later", needs, late_and_interrupted);
    suite.case("threads::one_that_is_late_and_needs_the_content_gets_it_even_after_a_304", needs, late_and_gone);
}

fn dump() -> Vec<u8> {
    Dump::new(1).size(50_000).text()
}

fn stands_still() -> Result<()> {
    // Connections are accepted by the kernel; no word is ever said on them.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let mut job = Job::new();
    job.destinations = format!(
        "[[destination]]\nname = \"sick\"\ntype = \"sftp\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"a\"\npassword = \"b\"\n\
         host_key = \"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"\npath = \"/x\"\nretries = 100\n\
         connect_timeout = \"10s\"\ntime_limit = \"25s\"\n{}",
        silent.local_addr()?.port(),
        job.destinations
    );
    job.publish(&dump());
    let mut running = job.command(&["run", "--config", "archive.toml"]).at(FIRST).start();
    wait::until("tonight's archive at the healthy destination", || job.held() == ARCHIVE);
    ensure!(running.is_running(), "the sick destination was given up before its time limit");
    let done = running.wait();
    ensure!(done.code == 6, "{done}\n{}", job.log());
    ensure!(done.stderr.contains("time limit of 25 s"), "{done}");
    ensure!(done.stderr.contains("`time_limit`"), "no hint: {done}");
    ensure!(job.waiting().len() == 1, "{:?}", job.waiting());
    Ok(())
}

/// A job with `nas` and a destination behind a proxy, after a good first night.
fn after_a_good_night(server: &Sshd, proxy: &Proxy) -> Result<(Job, Place)> {
    let place = server.place(Account::Own);
    let mut job = Job::new();
    let more = "connect_timeout = \"60s\"\nstall_timeout = \"60s\"\n";
    let late = Job::sftp("late", proxy.port(), &place, &server.key(), &server.fingerprint(), "");
    let late = late.replace("connect_timeout = \"5s\"\nstall_timeout = \"5s\"\n", more);
    job.destinations = format!("{}{late}", job.destinations);
    job.dump.push_str("on_unchanged = \"skip\"\n");
    job.publish(&dump());
    let done = job.night(FIRST);
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(Job::names(&place.local) == ARCHIVE && job.held() == ARCHIVE);
    proxy.set_delay(LONG_WAY);
    Ok((job, place))
}

fn went_on_without(job: &Job) -> Result<()> {
    ensure!(job.log().contains("has not answered yet; the others go on"), "it was not late:\n{}", job.log());
    Ok(())
}

fn late_and_unchanged() -> Result<()> {
    let server = Sshd::builder().start();
    let proxy = Proxy::start(server.port());
    let (job, place) = after_a_good_night(&server, &proxy)?;
    // Another zip of the same dump: no 304.
    job.source.script(ZIP, [Behaviour::NoValidators]);
    let done = job.night(SECOND);
    ensure!(done.code == 0, "{done}\n{}", job.log());
    went_on_without(&job)?;
    ensure!(Job::names(&place.local) == ARCHIVE && job.held() == ARCHIVE, "{:?}", Job::names(&place.local));
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    Ok(())
}

/// After a lost state the newest archive is read back, which may take long; a dump that has shrunk is not sent there.
fn late_and_shrunk() -> Result<()> {
    let server = Sshd::builder().start();
    let proxy = Proxy::start(server.port());
    let (mut job, place) = after_a_good_night(&server, &proxy)?;
    std::fs::remove_file(job.path("work/state.json"))?;
    // The other destination is new, and has nothing to compare with.
    let new = job.path("new");
    std::fs::create_dir(&new)?;
    job.destinations = job.destinations.replace(&job.path("nas").display().to_string(), &new.display().to_string());
    job.destinations.push_str("retention = { keep_last = 1 }\n");
    job.publish(&Dump::new(1).size(5_000).text());
    let done = job.night(SECOND);
    ensure!(done.code == 4 && done.stderr.contains("shrank by"), "{done}\n{}", job.log());
    went_on_without(&job)?;
    ensure!(Job::names(&place.local) == ARCHIVE, "{:?}\n{}", Job::names(&place.local), job.log());
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    Ok(())
}

/// A signal while one destination has not answered: its archive of that night waits.
fn late_and_interrupted() -> Result<()> {
    let server = Sshd::builder().start();
    let proxy = Proxy::start(server.port());
    let (job, place) = after_a_good_night(&server, &proxy)?;
    job.publish(&Dump::new(2).size(50_000).text());
    let mut running = job.command(&["run", "--config", "archive.toml"]).at(SECOND).start();
    running.signal_when(Signal::TERM, || job.held().contains(&"20261121.tgz".to_owned()));
    let done = running.wait();
    ensure!(done.code == 143, "{done}\n{}", job.log());
    went_on_without(&job)?;
    ensure!(job.waiting().len() == 1, "{:?}\n{}", job.waiting(), job.log());
    proxy.set_delay(Duration::ZERO);
    let done = job.night("2026-11-21 03:00:00");
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(Job::names(&place.local).contains(&"20261121.tgz".to_owned()), "{:?}", Job::names(&place.local));
    ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
    Ok(())
}

fn late_and_gone() -> Result<()> {
    let server = Sshd::builder().start();
    let proxy = Proxy::start(server.port());
    let (job, place) = after_a_good_night(&server, &proxy)?;
    for name in ARCHIVE {
        std::fs::remove_file(place.local.join(name))?;
    }
    let done = job.night(SECOND);
    ensure!(done.code == 0, "{done}\n{}", job.log());
    went_on_without(&job)?;
    let names = Job::names(&place.local);
    ensure!(names == ["20261121.tgz", "20261121.tgz.sha256"], "{names:?}\n{}", job.log());
    ensure!(job.held() == ARCHIVE && job.waiting().is_empty(), "{:?} {:?}", job.held(), job.waiting());
    Ok(())
}
