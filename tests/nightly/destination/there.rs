//! What lies at the destination already: other content, the same content, leftovers, and what somebody did by hand.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};

use super::{at, destination, good, is_whole, job_at, json, new_dump, replace};
use crate::job::Job;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, run};
use crate::support::proxy::Proxy;
use crate::support::sshd::{Account, Sshd};

pub fn cases(suite: &mut Suite) {
    let ours = &[Need::Faketime, Need::Sshd];
    suite.case("destination::name_taken_by_other_content", ours, taken);
    suite.case("destination::name_taken_by_a_directory", ours, taken_by_a_directory);
    suite.case("destination::same_content_is_there_already", ours, same_content);
    suite.case("destination::leftover_of_a_dead_run_is_resumed", ours, leftover_resumed);
    suite.case("destination::leftovers_are_swept_and_others_kept", ours, leftovers_swept);
    suite.case("destination::archive_deleted_by_hand_is_published_again", ours, deleted_by_hand);
    suite.case("destination::archive_corrupted_there_is_published_again", ours, corrupted);
    suite.case("destination::archive_corrupted_there_and_published_the_same_day", ours, corrupted_same_day);
    suite.case("destination::lost_state_is_learnt_from_the_newest_archive", ours, state_lost);
}

fn taken() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    // An archive of another night under tomorrow's name, so that the state knows and the name does not.
    good(&job, &job.night(&at(20)))?;
    fs::write(place.local.join("20261121.tgz"), "somebody else's")?;
    let dump = Dump::new(2).size(200_000).text();
    job.publish(&dump);
    let done = job.night(&at(21));
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(fs::read(place.local.join("20261121.tgz"))? == b"somebody else's", "it was overwritten");
    is_whole(&place.local, "20261121-2.tgz", &dump)?;
    ensure!(Job::names(&place.local).len() == 5, "{:?}", Job::names(&place.local));
    ensure!(job.state()["destinations"]["nas"]["published"].to_string().contains("20261121-2.tgz"));
    ensure!(job.log().contains("something else bears the name `20261121.tgz`"), "{}", job.log());
    Ok(())
}

fn taken_by_a_directory() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    fs::create_dir(place.local.join("20261120.tgz"))?;
    fs::write(place.local.join("20261120.tgz/precious"), "x")?;
    let (done, told) = json(&job, 20)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(told["warnings"].to_string().contains("something else bears the name `20261120.tgz`"), "{told}");
    ensure!(place.local.join("20261120.tgz/precious").exists());
    ensure!(
        Job::names(&place.local) == ["20261120-2.tgz", "20261120-2.tgz.sha256", "20261120.tgz"],
        "{:?}",
        Job::names(&place.local)
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

fn same_content() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    good(&job, &job.night(&at(20)))?;
    // The machine comes back from a copy made before the second night: the server knows more than the state.
    copy(&job.path("work"), &job.path("before"));
    let dump = Dump::new(2).size(200_000).text();
    job.publish(&dump);
    good(&job, &job.night(&at(21)))?;
    let held = Job::names(&place.local);
    let written = fs::metadata(place.local.join("20261121.tgz"))?.modified()?;
    fs::remove_dir_all(job.path("work"))?;
    copy(&job.path("before"), &job.path("work"));
    let done = job.night(&at(21));
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(Job::names(&place.local) == held, "{:?}", Job::names(&place.local));
    ensure!(fs::metadata(place.local.join("20261121.tgz"))?.modified()? == written, "it was sent again");
    ensure!(job.log().contains("is already there with this content"), "{}", job.log());
    ensure!(job.waiting().is_empty());
    is_whole(&place.local, "20261121.tgz", &dump)
}

fn leftover_resumed() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let proxy = Proxy::start(server.port());
    let dump = Dump::new(1).size(12_000_000).text();
    // The same job with another destination makes the same bytes.
    let twin = Job::new();
    twin.publish(&dump);
    good(&twin, &twin.night(&at(20)))?;
    let archive = fs::read(twin.path("nas/20261120.tgz"))?;
    for (leftover, resumed) in [(archive[..2_500_000].to_vec(), true), (vec![7; 2_500_000], false)] {
        let mut job = job_at(&server, &place, "");
        replace(&mut job, &format!("port = {}", server.port()), &format!("port = {}", proxy.port()));
        job.publish(&dump);
        for name in Job::names(&place.local) {
            fs::remove_file(place.local.join(name))?;
        }
        fs::write(place.local.join(".20261120.tgz.boutique.part"), leftover)?;
        let before = proxy.bytes_up();
        good(&job, &job.night(&at(20)))?;
        is_whole(&place.local, "20261120.tgz", &dump)?;
        ensure!(Job::names(&place.local).len() == 2, "{:?}", Job::names(&place.local));
        let sent = proxy.bytes_up() - before;
        ensure!((sent < archive.len() as u64) == resumed, "{sent} of {} bytes were sent", archive.len());
    }
    Ok(())
}

fn leftovers_swept() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    let ours = [".20261101.tgz.boutique.part", ".20261102-2.tgz.boutique.part"];
    let others = [
        ".20261101.tgz.other.part",
        ".20261120.tgz.boutique2.part",
        ".20261120.tgz.shop.boutique.part",
        ".notes.boutique.part",
        "20261120.tgz.part",
    ];
    for name in ours.iter().chain(&others) {
        fs::write(place.local.join(name), "half")?;
    }
    good(&job, &job.night(&at(20)))?;
    let mut expected = others.to_vec();
    expected.extend(["20261120.tgz", "20261120.tgz.sha256"]);
    expected.sort_unstable();
    ensure!(Job::names(&place.local) == expected, "{:?}", Job::names(&place.local));
    for name in others {
        ensure!(fs::read(place.local.join(name))? == b"half", "`{name}` was touched");
    }
    Ok(())
}

fn deleted_by_hand() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    new_dump(&job, 1);
    good(&job, &job.night(&at(19)))?;
    let dump = Dump::new(2).size(200_000).text();
    job.publish(&dump);
    good(&job, &job.night(&at(20)))?;
    fs::remove_file(place.local.join("20261120.tgz"))?;
    fs::remove_file(place.local.join("20261120.tgz.sha256"))?;
    let (done, told) = json(&job, 21)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(told["warnings"].to_string().contains("`20261120.tgz` is no longer at nas"), "{told}");
    is_whole(&place.local, "20261121.tgz", &dump)?;
    // And from then on it is unchanged again.
    let (done, told) = json(&job, 22)?;
    ensure!(done.code == 0, "{done}");
    ensure!(destination(&told, "nas").to_string().contains("\"result\":\"unchanged\""), "{told}");
    ensure!(Job::names(&place.local).len() == 4, "{:?}", Job::names(&place.local));
    Ok(())
}

/// Turns one bit in the middle of a file; its size stays, its time is another.
fn corrupt(path: &Path) -> Result<()> {
    let mut content = fs::read(path)?;
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content)?;
    Ok(File::options().write(true).open(path)?.set_modified(SystemTime::now() + Duration::from_secs(10))?)
}

fn corrupted() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    let dump = Dump::new(1).size(200_000).text();
    good(&job, &job.night(&at(20)))?;
    corrupt(&place.local.join("20261120.tgz"))?;
    let (done, told) = json(&job, 21)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(told["warnings"].to_string().contains("is no longer at nas as it was published"), "{told}");
    is_whole(&place.local, "20261121.tgz", &dump)
}

fn corrupted_same_day() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    let dump = Dump::new(1).size(200_000).text();
    good(&job, &job.night(&at(20)))?;
    corrupt(&place.local.join("20261120.tgz"))?;
    let done = job.night("2026-11-20 05:00:00");
    ensure!(done.code == 0, "{done}\n{}", job.log());
    is_whole(&place.local, "20261120-2.tgz", &dump)
}

fn state_lost() -> Result<()> {
    let server = Sshd::builder().start();
    let place = server.place(Account::Own);
    let job = job_at(&server, &place, "");
    good(&job, &job.night(&at(19)))?;
    new_dump(&job, 2);
    good(&job, &job.night(&at(20)))?;
    let held = Job::names(&place.local);
    fs::remove_file(job.path("work/state.json"))?;
    let (done, told) = json(&job, 21)?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(told["warnings"].to_string().contains("`20261120.tgz` was read back to learn it"), "{told}");
    let nas = destination(&told, "nas").to_string();
    ensure!(nas.contains("\"result\":\"unchanged\"") && nas.contains("20261120.tgz"), "{nas}");
    ensure!(Job::names(&place.local) == held, "{:?}", Job::names(&place.local));
    ensure!(job.state()["destinations"]["nas"]["published"].to_string().contains("20261120.tgz"));
    // What was learnt is as good as what was known: the next change is a change.
    new_dump(&job, 3);
    good(&job, &job.night(&at(22)))?;
    ensure!(place.local.join("20261122.tgz").exists());
    Ok(())
}
