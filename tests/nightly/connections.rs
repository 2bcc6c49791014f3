//! `connections = 4`: one temporary file is written over several connections, and whatever happens to them, no archive ever
//! has a hole.
//!
//! A hole would be found by the checksum and mended, and the test would see nothing of it: so the log is looked at as well.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;

use crate::job::Job;
use crate::support::binary::Signal;
use crate::support::dumps;
use crate::support::harness::{Need, Suite};
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::sshd::{Account, Place, Sshd};
use crate::support::wait;

const NEEDS: &[Need] = &[Need::Faketime, Need::Sshd];
const NIGHT: &str = "2026-11-20 01:00:00";
const NAME: &str = "20261120.tgz";
const PART: &str = ".20261120.tgz.boutique.part";
const SIZE: usize = 40_000_000;
/// Slow enough for every connection to have its part, whatever else the machine does.
const SLOWLY: &str = "bandwidth_limit = \"20 MB/s\"\n";

struct Setup {
    job: Job,
    server: Sshd,
    proxy: Proxy,
    place: Place,
    dump: Vec<u8>,
}

impl Setup {
    /// A job whose only destination is reached through the proxy, with four connections.
    fn new(more: &str) -> Self {
        Self::at(Sshd::builder().start(), &format!("connections = 4\n{more}"))
    }

    fn at(server: Sshd, keys: &str) -> Self {
        let proxy = Proxy::start(server.port());
        let place = server.place(Account::Own);
        let mut job = Job::new();
        job.destinations = Job::sftp("nas", proxy.port(), &place, &server.key(), &server.fingerprint(), keys);
        job.dump = "complete = \"off\"\nmin_size = \"1 B\"\n".into();
        job.rest = "[log]\nlevel = \"debug\"\n".into();
        let dump = dumps::noise(SIZE);
        job.publish(&dump);
        Setup { job, server, proxy, place, dump }
    }

    fn patiently(mut self) -> Self {
        self.job.destinations = self.job.destinations.replace("retries = 0", "retries = 4");
        self
    }

    /// The archive is there, alone, and holds the dump.
    fn is_published(&self) -> anyhow::Result<()> {
        let names = Job::names(&self.place.local);
        ensure!(names == [NAME, "20261120.tgz.sha256"], "{names:?}\n{}", self.job.log());
        ensure!(Job::unpacked(&self.place.local.join(NAME)) == self.dump, "another content\n{}", self.job.log());
        let log = self.job.log();
        for words in ["differs from what was sent", "is not what was sent", "all of it is sent again"] {
            ensure!(!log.contains(words), "it was mended:\n{log}");
        }
        Ok(())
    }

    /// The archive that waits in the outbox.
    fn waiting(&self) -> PathBuf {
        self.job.path("work/outbox").join(&self.job.waiting()[0])
    }

    fn sent_over(&self, connections: u32, channels: u32) -> anyhow::Result<()> {
        let line = format!("connections: {connections}, channels: {channels}\n");
        ensure!(self.job.log().contains(&line), "not {line}:\n{}", self.job.log());
        Ok(())
    }
}

pub fn cases(suite: &mut Suite) {
    suite.case("connections::four_of_them_write_one_archive", NEEDS, || {
        let setup = Setup::new(SLOWLY);
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}\n{}", setup.job.log(), setup.server.log());
        setup.is_published()?;
        setup.sent_over(4, 6)?;
        ensure!(setup.proxy.connections() == 4, "{} connections", setup.proxy.connections());
        ensure!(done.peak_memory_bytes < 48 << 20, "{} bytes of memory", done.peak_memory_bytes);
        Ok(())
    });

    suite.case("connections::a_single_one_has_three_channels", NEEDS, || {
        let setup = Setup::at(Sshd::builder().start(), "");
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}\n{}", setup.job.log(), setup.server.log());
        setup.is_published()?;
        setup.sent_over(1, 3)?;
        ensure!(setup.proxy.connections() == 1, "{} connections", setup.proxy.connections());
        Ok(())
    });

    suite.case("connections::one_connection_is_one_channel", NEEDS, || {
        for keys in ["connections = 1\n", "verify = \"size\"\n"] {
            let setup = Setup::at(Sshd::builder().start(), keys);
            let done = setup.job.night(NIGHT);
            ensure!(done.code == 0, "{done}\n{}\n{}", setup.job.log(), setup.server.log());
            setup.is_published()?;
            ensure!(!setup.job.log().contains("channels: "), "{}", setup.job.log());
        }
        Ok(())
    });

    suite.case("connections::a_server_that_bears_one_channel_only_gets_one", NEEDS, || {
        // Every SFTP server but the first refuses to write.
        let dir = tempfile::tempdir()?;
        let script = dir.path().join("sftp-server");
        let first = dir.path().join("first");
        fs::write(
            &script,
            format!(
                "#!/bin/sh\nserver=/usr/lib/openssh/sftp-server\nmkdir '{}' 2>/dev/null && exec $server || exec $server -P write\n",
                first.display()
            ),
        )?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let setup = Setup::at(Sshd::builder().sftp(&script.display().to_string()).start(), "");
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}\n{}", setup.job.log(), setup.server.log());
        ensure!(setup.job.log().contains("trying one"), "nothing was refused:\n{}", setup.job.log());
        setup.is_published()
    });

    suite.case("connections::a_check_writes_in_the_way_of_an_archive", NEEDS, || {
        for (keys, least, most) in [("", 9 << 20, 12 << 20), ("connections = 1\n", 0, 1 << 20)] {
            let setup = Setup::at(Sshd::builder().start(), keys);
            let checked = setup.job.command(&["check", "--config", "archive.toml"]).run();
            let lines = format!("{}{}", checked.stdout, checked.stderr);
            ensure!(lines.contains("deleted a test file"), "{lines}");
            let sent = setup.proxy.bytes_up();
            ensure!((least..most).contains(&sent), "{sent} bytes were sent");
            ensure!(Job::names(&setup.place.local).is_empty(), "{:?}", Job::names(&setup.place.local));
        }
        Ok(())
    });

    // Every packet is half sent for a while, which keeps the other channels from sending: they must not pass for dead.
    suite.case("connections::a_slow_line_is_no_stall", NEEDS, || {
        let mut setup = Setup::at(Sshd::builder().start(), "");
        setup.job.destinations = setup.job.destinations.replace("stall_timeout = \"5s\"", "stall_timeout = \"1s\"");
        setup.job.publish(&setup.dump[..9_000_000]);
        setup.proxy.set_rate(600_000);
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        ensure!(Job::unpacked(&setup.place.local.join(NAME)) == setup.dump[..9_000_000], "another content");
        ensure!(setup.job.log().contains("channels: 2\n"), "{}", setup.job.log());
        Ok(())
    });

    // OpenSSH demands new keys after a gigabyte; in between, a packet of one channel may be half sent.
    suite.case("connections::new_keys_are_agreed_on_while_three_channels_are_at_work", NEEDS, || {
        for keys in ["", "connections = 4\n"] {
            let setup = Setup::at(Sshd::builder().config("RekeyLimit 3M").start(), keys);
            let done = setup.job.night(NIGHT);
            ensure!(done.code == 0, "{done}\n{}\n{}", setup.job.log(), setup.server.log());
            setup.is_published()?;
            ensure!(!setup.job.log().contains("trying again"), "{}", setup.job.log());
        }
        Ok(())
    });

    suite.case("connections::a_server_with_few_channels_gets_by_with_them", NEEDS, || {
        for (most, channels) in [(1, None), (2, Some(1)), (3, Some(2))] {
            let setup = Setup::at(Sshd::builder().config(&format!("MaxSessions {most}")).start(), "");
            let done = setup.job.night(NIGHT);
            ensure!(done.code == 0, "{done}\n{}\n{}", setup.job.log(), setup.server.log());
            setup.is_published()?;
            match channels {
                Some(channels) => setup.sent_over(1, channels)?,
                None => ensure!(!setup.job.log().contains("channels: "), "{}", setup.job.log()),
            }
            ensure!(setup.proxy.connections() == 1, "{} connections", setup.proxy.connections());
        }
        Ok(())
    });

    suite.case("connections::a_long_way_at_full_speed", NEEDS, || {
        let setup = Setup::new("");
        setup.proxy.set_delay(Duration::from_millis(15));
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        ensure!(done.peak_memory_bytes < 48 << 20, "{} bytes of memory", done.peak_memory_bytes);
        setup.is_published()
    });

    suite.case("connections::a_server_that_lets_only_two_in_gets_two", NEEDS, || {
        let setup = Setup::new(SLOWLY);
        setup.proxy.next(Plan::pass());
        setup.proxy.next(Plan::pass());
        setup.proxy.always(Plan::pass().down(Fault::CloseAfter(0)));
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        setup.is_published()?;
        setup.sent_over(2, 4)?;
        ensure!(
            setup.job.log().matches("could not be opened, going on without it").count() == 2,
            "{}",
            setup.job.log()
        );
        Ok(())
    });

    suite.case("connections::all_are_cut_and_the_upload_goes_on_behind_the_first_gap", NEEDS, || {
        let setup = Setup::new(SLOWLY).patiently();
        let running = setup.job.command(&["run", "--config", "archive.toml"]).at(NIGHT).start();
        wait::until("most of it", || setup.proxy.bytes_up() > 28_000_000);
        setup.proxy.cut_all();
        let done = running.wait();
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        setup.is_published()?;
        let sent = setup.proxy.bytes_up();
        ensure!(sent < (SIZE + 24_000_000) as u64, "{sent} bytes: it began anew\n{}", setup.job.log());
        Ok(())
    });

    suite.case("connections::all_are_cut_while_one_is_far_behind_and_the_gap_is_filled", NEEDS, || {
        let setup = Setup::new(SLOWLY).patiently();
        setup.proxy.next(Plan::pass());
        setup.proxy.next(Plan::pass().up(Fault::StallAfter(1_000_000)));
        let running = setup.job.command(&["run", "--config", "archive.toml"]).at(NIGHT).start();
        wait::until("half of it", || setup.proxy.bytes_up() > 20_000_000);
        setup.proxy.cut_all();
        let done = running.wait();
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        ensure!(setup.job.log().contains("trying again"), "nothing was cut:\n{}", setup.job.log());
        setup.is_published()
    });

    suite.case("connections::one_that_is_cut_ends_the_attempt_and_leaves_no_hole", NEEDS, || {
        let setup = Setup::new(SLOWLY).patiently();
        for plan in [Plan::pass(), Plan::pass(), Plan::pass().up(Fault::ResetAfter(3_000_000))] {
            setup.proxy.next(plan);
        }
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        ensure!(setup.job.log().contains("trying again"), "nothing was cut:\n{}", setup.job.log());
        setup.is_published()
    });

    suite.case("connections::one_that_stalls_ends_the_attempt", NEEDS, || {
        let mut setup = Setup::new(SLOWLY).patiently();
        setup.job.destinations = setup.job.destinations.replace("stall_timeout = \"5s\"", "stall_timeout = \"1s\"");
        for plan in [Plan::pass(), Plan::pass().up(Fault::StallAfter(2_000_000))] {
            setup.proxy.next(plan);
        }
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        ensure!(setup.job.log().contains("no byte moved for 1 s"), "nothing stalled:\n{}", setup.job.log());
        setup.is_published()
    });

    suite.case("connections::an_interruption_leaves_a_beginning_that_the_next_night_goes_on_from", NEEDS, || {
        let mut setup = Setup::new(SLOWLY);
        let run = setup.job.command(&["run", "--config", "archive.toml"]).at(NIGHT);
        let done = run.run_and_kill(Signal::TERM, || setup.proxy.bytes_up() > 20_000_000);
        ensure!(done.code == 143, "{done}\n{}", setup.job.log());
        let part = fs::read(setup.place.local.join(PART))?;
        let archive = fs::read(setup.waiting())?;
        ensure!(part.len() > 5_000_000 && archive.starts_with(&part), "{} bytes, not a beginning", part.len());
        setup.job.destinations = setup.job.destinations.replace(SLOWLY, "");
        let done = setup.job.night("2026-11-20 02:00:00");
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        ensure!(setup.job.log().contains("going on from there"), "{}", setup.job.log());
        setup.is_published()
    });

    suite.case("connections::what_a_killed_run_left_is_not_taken_for_a_beginning", NEEDS, || {
        let mut setup = Setup::new(SLOWLY);
        // One connection is far behind the others when the run dies: the file has a hole.
        setup.proxy.next(Plan::pass());
        setup.proxy.next(Plan::pass().up(Fault::StallAfter(1_000_000)));
        let run = setup.job.command(&["run", "--config", "archive.toml"]).at(NIGHT);
        let done = run.run_and_kill(Signal::KILL, || setup.proxy.bytes_up() > 20_000_000);
        ensure!(done.code == 137, "{done}\n{}", setup.job.log());
        setup.proxy.cut_all();
        let part = fs::read(setup.place.local.join(PART))?;
        let archive = fs::read(setup.waiting())?;
        ensure!(!archive.starts_with(&part), "the file has no hole: this proves nothing");
        setup.job.destinations = setup.job.destinations.replace(SLOWLY, "");
        let done = setup.job.night("2026-11-20 02:00:00");
        ensure!(done.code == 0, "{done}\n{}", setup.job.log());
        setup.is_published()
    });

    suite.case("connections::a_full_disk_is_told_at_once", &[Need::Faketime, Need::SshdAccounts, Need::Tmpfs], || {
        let mut setup = Setup::new("");
        let server = Sshd::builder().accounts().small_disk(20 << 20).start();
        let place = server.small(Account::Shell);
        let keys = "connections = 4\nretries = 4\n";
        setup.job.destinations = Job::sftp("nas", server.port(), &place, &server.key(), &server.fingerprint(), "")
            .replace("retries = 0\n", keys);
        let done = setup.job.night(NIGHT);
        ensure!(done.code == 6, "{done}\n{}", setup.job.log());
        ensure!(done.stderr.contains("the server's disk is full"), "{done}");
        ensure!(!setup.job.log().contains("trying again"), "{}", setup.job.log());
        Ok(())
    });
}
