//! Killed or stopped at every step: the next run needs no hand, and there is exactly one right archive.
//!
//! Where the outside does not show the moment, the proxy makes it last: on a line with a long way every move of the
//! protocol takes its time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::here::{json_night, says, warnings};
use crate::job::{Job, ZIP};
use crate::mail::mailed;
use crate::support::binary::Signal;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite};
use crate::support::https::Behaviour;
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::smtp::{Security, SmtpServer, Stall};
use crate::support::sshd::{Account, Place, Sshd};

pub fn cases(suite: &mut Suite) {
    killed_before_upload(suite);
    killed_in_upload(suite);
    killed_anywhere(suite);
    killed_after_upload(suite);
    stopped(suite);
}

/// A job whose one destination is reached over SFTP through a proxy.
struct Far {
    job: Job,
    proxy: Proxy,
    place: Place,
    server: Sshd,
}

impl Far {
    fn new(more: &str) -> Self {
        let server = Sshd::builder().start();
        let place = server.place(Account::Own);
        let proxy = Proxy::start(server.port());
        let mut job = Job::new();
        job.destinations = Job::sftp("nas", proxy.port(), &place, &server.key(), &server.fingerprint(), more);
        Self { job, proxy, place, server }
    }

    fn holds(&self, name: &str) -> PathBuf {
        self.place.local.join(name)
    }
}

/// The step that a run which is going on says it is in.
fn step(job: &Job) -> Option<String> {
    let lock: Value = serde_json::from_slice(&fs::read(job.path("work/lock")).ok()?).ok()?;
    Some(lock["step"].as_str()?.to_owned())
}

/// The night after the dead run: told, and everything in its place.
fn recovers(job: &Job, held: &Path, dump: &[u8], died_in: &[&str]) -> Result<Value> {
    let (done, result) = json_night(job, "2026-11-20 02:00:00")?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    let told = warnings(&result);
    ensure!(
        died_in.iter().any(|step| told.contains(&format!("did not finish: it died in step `{step}`"))),
        "died in one of {died_in:?}, told:\n{told}"
    );
    ensure!(Job::names(held) == ["20261120.tgz", "20261120.tgz.sha256"], "{:?}", Job::names(held));
    ensure!(Job::unpacked(&held.join("20261120.tgz")) == dump, "another content");
    no_junk(job)?;
    let (_, again) = json_night(job, "2026-11-20 03:00:00")?;
    ensure!(!warnings(&again).contains("did not finish"), "told once:\n{}", warnings(&again));
    Ok(result)
}

fn no_junk(job: &Job) -> Result<()> {
    let here = Job::names(&job.path("work"));
    ensure!(here == ["history.jsonl", "lock", "log", "outbox", "spool", "state.json"], "{here:?}");
    for room in ["spool", "outbox"] {
        let left = Job::names(&job.path("work").join(room));
        ensure!(left.is_empty(), "{room} holds {left:?}");
    }
    Ok(())
}

const FIRST: &str = "2026-11-20 01:00:00";
const RUN: &[&str] = &["run", "--config", "archive.toml"];

fn killed_before_upload(suite: &mut Suite) {
    suite.case("here::killed_before_the_first_byte_came", &[Need::Faketime], || {
        let job = Job::new();
        let dump = Dump::new(1).size(200_000).text();
        job.publish(&dump);
        job.source.script(ZIP, [Behaviour::Silent, Behaviour::Serve]);
        let done = job
            .command(RUN)
            .at(FIRST)
            .run_and_kill(Signal::KILL, || step(&job).is_some() && !job.source.requests().is_empty());
        ensure!(done.code == 137, "{done}");
        recovers(&job, &job.path("nas"), &dump, &["start", "download"]).map(drop)
    });

    suite.case("here::killed_in_the_download_and_resumed", &[Need::Faketime], || {
        let job = Job::new();
        let dump = Dump::new(1).size(2_000_000).text();
        job.publish(&dump);
        job.source.script(ZIP, [Behaviour::StallAfter(200_000), Behaviour::Serve]);
        let spooled = || fs::metadata(job.path("work/spool/source.zip")).is_ok_and(|file| file.len() > 100_000);
        let done = job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, spooled);
        ensure!(done.code == 137, "{done}");
        recovers(&job, &job.path("nas"), &dump, &["download"])?;
        let requests = job.source.requests();
        ensure!(requests[1].header("range").is_some_and(|range| range.starts_with("bytes=")), "{:?}", requests[1]);
        Ok(())
    });

    suite.case("here::killed_while_verifying", &[Need::Faketime], || {
        let job = Job::new();
        let dump = Dump::new(1).size(60_000_000).text();
        job.publish(&dump);
        let done =
            job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, || step(&job).is_some_and(|step| step == "verify"));
        ensure!(done.code == 137, "{done}");
        recovers(&job, &job.path("nas"), &dump, &["verify"]).map(drop)
    });

    suite.case("here::killed_while_packing", &[Need::Faketime], || {
        let mut job = Job::new();
        job.archive = "compression = 9\n".to_owned();
        let dump = Dump::new(1).size(30_000_000).text();
        job.publish(&dump);
        let draft = job.path("work/outbox/tonight.draft");
        let begun = || fs::metadata(&draft).is_ok_and(|file| file.len() > 100_000);
        let done = job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, begun);
        ensure!(done.code == 137 && draft.exists(), "{done}");
        recovers(&job, &job.path("nas"), &dump, &["pack"]).map(drop)
    });
}

fn killed_in_upload(suite: &mut Suite) {
    let needs = [Need::Faketime, Need::Sshd];
    suite.case("here::killed_in_the_middle_of_the_upload_and_resumed", &needs, || {
        let far = Far::new("");
        let dump = Dump::new(1).size(6_000_000).text();
        far.job.publish(&dump);
        far.proxy.next(Plan::pass().up(Fault::StallAfter(1_000_000)));
        let part = far.holds(".20261120.tgz.boutique.part");
        let half = || fs::metadata(&part).is_ok_and(|file| file.len() > 100_000);
        let done = far.job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, half);
        ensure!(done.code == 137, "{done}");
        far.proxy.cut_all();
        ensure!(far.job.waiting().len() == 1, "{:?}", far.job.waiting());
        let before = far.proxy.bytes_up();
        recovers(&far.job, &far.place.local, &dump, &["upload"])?;
        let (sent, size) = (far.proxy.bytes_up() - before, fs::metadata(far.holds("20261120.tgz"))?.len());
        ensure!(sent < size - 100_000, "{sent} bytes sent although a part of {size} was there\n{}", far.job.log());
        Ok(())
    });

    // On a line of 100 ms, each of these moments lasts at least that long.
    let moments: [(&str, &str, &str); 4] = [
        ("uploaded_and_not_yet_moved", ".20261120.tgz.boutique.part", "20261120.tgz"),
        ("moved_while_its_sidecar_was_written", ".20261120.tgz.sha256.boutique.part", "20261120.tgz.sha256"),
        ("moved_and_without_its_sidecar", "20261120.tgz", "20261120.tgz.sha256"),
        ("complete_and_not_yet_in_the_state", "20261120.tgz.sha256", "never"),
    ];
    for (name, there, not_yet) in moments {
        suite.case(format!("here::killed_when_the_archive_was_{name}"), &needs, move || {
            let far = Far::new("");
            let dump = Dump::new(1).size(100_000).text();
            far.job.publish(&dump);
            far.proxy.set_delay(Duration::from_millis(50));
            let moment = || far.holds(there).exists() && !far.holds(not_yet).exists();
            let done = far.job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, moment);
            ensure!(done.code == 137, "{done}");
            far.proxy.set_delay(Duration::ZERO);
            far.proxy.cut_all();
            recovers(&far.job, &far.place.local, &dump, &["upload"])?;
            ensure!(!far.server.log().is_empty());
            Ok(())
        });
    }
}

/// Moments that only the run itself knows, and a run that is killed again and again.
fn killed_anywhere(suite: &mut Suite) {
    let needs = [Need::Faketime, Need::Sshd];
    suite.case("here::killed_while_comparing", &needs, || {
        let far = Far::new("");
        let dump = Dump::new(1).size(100_000).text();
        far.job.publish(&dump);
        far.proxy.set_delay(Duration::from_millis(50));
        let comparing = || step(&far.job).is_some_and(|step| step == "compare");
        let done = far.job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, comparing);
        ensure!(done.code == 137, "{done}");
        far.proxy.set_delay(Duration::ZERO);
        far.proxy.cut_all();
        recovers(&far.job, &far.place.local, &dump, &["compare"]).map(drop)
    });

    suite.case("here::killed_when_the_archive_was_packed_and_not_yet_sent", &needs, || {
        let far = Far::new("");
        let dump = Dump::new(1).size(100_000).text();
        far.job.publish(&dump);
        far.proxy.set_delay(Duration::from_millis(50));
        let part = far.holds(".20261120.tgz.boutique.part");
        let packed = || far.job.path("work/outbox").exists() && !far.job.waiting().is_empty() && !part.exists();
        let done = far.job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, packed);
        ensure!(done.code == 137 && far.job.waiting().len() == 1, "{done}");
        far.proxy.set_delay(Duration::ZERO);
        far.proxy.cut_all();
        recovers(&far.job, &far.place.local, &dump, &["pack", "upload"]).map(drop)
    });

    suite.case("here::killed_again_and_again_on_the_way_to_the_server", &needs, || {
        let far = Far::new("");
        let dump = Dump::new(1).size(8_000_000).text();
        far.job.publish(&dump);
        for bytes in [1, 2_000, 4_000, 6_000, 20_000, 200_000, 500_000] {
            let before = far.proxy.bytes_up();
            // Not a byte more gets through, however late the kill comes.
            far.proxy.next(Plan::pass().up(Fault::StallAfter(bytes)));
            let so_far = || far.proxy.bytes_up() - before >= bytes;
            let done = far.job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, so_far);
            ensure!(done.code == 137, "{bytes}: {done}");
            far.proxy.cut_all();
            let wrong = Job::names(&far.place.local).into_iter().find(|name| name.starts_with("2026"));
            ensure!(wrong.is_none(), "{wrong:?} after {bytes} bytes");
        }
        recovers(&far.job, &far.place.local, &dump, &["start", "download", "verify", "compare", "pack", "upload"])
            .map(drop)
    });
}

fn killed_after_upload(suite: &mut Suite) {
    suite.case("here::killed_while_purging", &[Need::Faketime, Need::Sshd], || {
        let far = Far::new("retention = { keep_last = 1 }");
        let old = |day: u32| far.holds(&format!("202610{day:02}.tgz"));
        for day in 1..=20 {
            fs::write(old(day), "an old archive")?;
        }
        let dump = Dump::new(1).size(100_000).text();
        far.job.publish(&dump);
        far.proxy.set_delay(Duration::from_millis(50));
        let begun = || (1..=20).any(|day| !old(day).exists());
        let done = far.job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, begun);
        ensure!(done.code == 137, "{done}");
        ensure!((1..=20).any(|day| old(day).exists()), "killed too late to mean anything");
        far.proxy.set_delay(Duration::ZERO);
        far.proxy.cut_all();
        recovers(&far.job, &far.place.local, &dump, &["purge"]).map(drop)
    });

    suite.case("here::killed_while_the_report_goes_out", &[Need::Faketime, Need::Smtp], || {
        let server = SmtpServer::start(Security::None, None);
        let mut job = Job::new();
        job.rest = mailed(&server, "");
        let dump = Dump::new(1).size(100_000).text();
        job.publish(&dump);
        server.change(|options| options.stall = Stall::Mail);
        let proxy_saw = || step(&job).is_some_and(|step| step == "report");
        let done = job.command(RUN).at(FIRST).run_and_kill(Signal::KILL, proxy_saw);
        ensure!(done.code == 137, "{done}");
        ensure!(
            job.state()["destinations"]["nas"]["published"]["name"]["text"] == "20261120.tgz",
            "saved before the mail"
        );
        server.change(|options| options.stall = Stall::Never);
        recovers(&job, &job.path("nas"), &dump, &["report"])?;
        let mails = server.wait_for_mails(1);
        says(mails[0].text.as_deref().unwrap_or_default(), &["did not finish", "`report`"])
    });
}

fn stopped(suite: &mut Suite) {
    for (signal, code, name) in [(Signal::INT, 130, "ctrl_c"), (Signal::TERM, 143, "sigterm")] {
        suite.case(format!("here::{name}_in_the_download_ends_cleanly"), &[Need::Faketime, Need::Smtp], move || {
            let server = SmtpServer::start(Security::None, None);
            let mut job = Job::new();
            job.rest = mailed(&server, "");
            let dump = Dump::new(1).size(2_000_000).text();
            job.publish(&dump);
            job.source.script(ZIP, [Behaviour::StallAfter(200_000), Behaviour::Serve]);
            let spooled = || fs::metadata(job.path("work/spool/source.zip")).is_ok_and(|file| file.len() > 100_000);
            let done = job.command(RUN).at(FIRST).run_and_kill(signal, spooled);
            ensure!(done.code == code, "{done}");
            let mail = server.wait_for_mails(1).remove(0);
            ensure!(mail.subject == "[FAILED] boutique: interrupted during download", "{}", mail.subject);
            says(&job.log(), &["stopped by a signal", &format!("exit code:  {code}")])?;
            after_a_stop(&job, &job.path("nas"), &dump)
        });

        let needs = [Need::Faketime, Need::Smtp, Need::Sshd];
        suite.case(format!("here::{name}_in_the_upload_ends_cleanly"), &needs, move || {
            let server = SmtpServer::start(Security::None, None);
            let mut far = Far::new("");
            far.job.rest = mailed(&server, "");
            let dump = Dump::new(1).size(6_000_000).text();
            far.job.publish(&dump);
            far.proxy.next(Plan::pass().up(Fault::StallAfter(1_000_000)));
            let part = far.holds(".20261120.tgz.boutique.part");
            let half = || fs::metadata(&part).is_ok_and(|file| file.len() > 100_000);
            let done = far.job.command(RUN).at(FIRST).run_and_kill(signal, half);
            ensure!(done.code == code, "{done}");
            let mail = server.wait_for_mails(1).remove(0);
            ensure!(mail.subject == "[FAILED] boutique: interrupted during upload", "{}", mail.subject);
            ensure!(!far.holds("20261120.tgz").exists());
            far.proxy.cut_all();
            after_a_stop(&far.job, &far.place.local, &dump)
        });
    }

    for (signal, name) in [(Signal::HUP, "HUP"), (Signal::INT, "INT")] {
        suite.case(format!("here::{name}_that_was_ignored_at_the_start_stays_ignored"), &[Need::Faketime], move || {
            let mut job = Job::new();
            job.source_keys = "retries = 1\nstall_timeout = \"1s\"\n".to_owned();
            let dump = Dump::new(1).size(2_000_000).text();
            job.publish(&dump);
            job.source.script(ZIP, [Behaviour::StallAfter(200_000), Behaviour::Serve]);
            let spooled = || fs::metadata(job.path("work/spool/source.zip")).is_ok_and(|file| file.len() > 100_000);
            let done = job.command(RUN).at(FIRST).ignoring(name).run_and_kill(signal, spooled);
            ensure!(done.code == 0, "{done}\n{}", job.log());
            ensure!(Job::unpacked(&job.path("nas/20261120.tgz")) == dump, "another content");
            Ok(())
        });
    }

    suite.case("here::ctrl_c_while_verifying_keeps_the_download", &[Need::Faketime], || {
        let mut job = Job::new();
        // Zeros: a small zip that takes its time to be read.
        let mut dump = b"-- ".to_vec();
        dump.resize(600_000_000, b'x');
        dump.extend_from_slice(b"\nSELECT 1;\n");
        job.archive = "compression = 1\n".to_owned();
        job.publish(&dump);
        let verifying = || job.path("work/log").exists() && job.log().contains("received ");
        let done = job.command(RUN).at(FIRST).run_and_kill(Signal::INT, verifying);
        ensure!(done.code == 130, "{done}");
        says(&done.stderr, &["interrupted during verify"])?;
        let before = job.source.body_bytes_sent();
        let done = job.command(RUN).at("2026-11-20 02:00:00").run();
        ensure!(done.code == 0, "{done}\n{}", job.log());
        ensure!(job.source.body_bytes_sent() == before + 1, "downloaded again: {:?}", job.source.requests());
        ensure!(Job::names(&job.path("work/spool")).is_empty(), "{:?}", Job::names(&job.path("work/spool")));
        Ok(())
    });

    suite.case("here::sigterm_while_packing_leaves_no_draft", &[Need::Faketime], || {
        let mut job = Job::new();
        job.archive = "compression = 9\n".to_owned();
        let dump = Dump::new(1).size(30_000_000).text();
        job.publish(&dump);
        let draft = job.path("work/outbox/tonight.draft");
        let begun = || fs::metadata(&draft).is_ok_and(|file| file.len() > 100_000);
        let done = job.command(RUN).at(FIRST).run_and_kill(Signal::TERM, begun);
        ensure!(done.code == 143 && !draft.exists(), "{done}");
        says(&done.stderr, &["interrupted during pack", "stopped by a signal"])?;
        ensure!(!done.stderr.contains("hint: "), "the disk is blamed: {done}");
        ensure!(job.waiting().is_empty(), "{:?}", job.waiting());
        after_a_stop(&job, &job.path("nas"), &dump)
    });
}

/// The night after a clean stop: nothing to tell, everything in its place.
fn after_a_stop(job: &Job, held: &Path, dump: &[u8]) -> Result<()> {
    let (done, result) = json_night(job, "2026-11-20 02:00:00")?;
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(!warnings(&result).contains("did not finish"), "{}", warnings(&result));
    ensure!(Job::names(held) == ["20261120.tgz", "20261120.tgz.sha256"], "{:?}", Job::names(held));
    ensure!(Job::unpacked(&held.join("20261120.tgz")) == dump, "another content");
    no_junk(job).context("after the run that followed")
}
