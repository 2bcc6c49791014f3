//! Over FTP, with TLS and unencrypted.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::{Remote, little_memory, whole_run};
use crate::job::{ENTRY, Job};
use crate::support::binary::Signal;
use crate::support::dumps;
use crate::support::ftpd::{Ftpd, Mode, Program, VSFTPD};
use crate::support::harness::{Need, Suite};
use crate::support::proxy::{Fault, Plan};
use crate::support::zips;

struct Ftp(Mode, Ftpd);

impl Remote for Ftp {
    fn keys(&self) -> String {
        let Ftp(mode, server) = self;
        let own = match mode {
            Mode::Explicit => format!("type = \"ftps\"\nca_file = \"{}\"", server.ca_file().display()),
            Mode::Implicit => format!("type = \"ftps\"\nimplicit = true\nca_file = \"{}\"", server.ca_file().display()),
            Mode::Plain => "type = \"ftp\"\nallow_plaintext = true".to_owned(),
        };
        format!(
            "{own}\nhost = \"127.0.0.1\"\nport = {}\nusername = \"{}\"\npassword = \"{}\"\npath = \"/data/boutique\"",
            server.port(),
            server.username(),
            server.password(),
        )
    }

    fn directory(&self) -> PathBuf {
        self.1.local("data/boutique")
    }

    fn stop(&mut self) {
        self.1.stop();
    }

    fn restart(&mut self) {
        self.1.restart();
    }
}

pub fn cases(suite: &mut Suite) {
    for (name, mode) in [("ftps", Mode::Explicit), ("ftps_implicit", Mode::Implicit), ("ftp_unencrypted", Mode::Plain)]
    {
        suite.case(format!("protocols::{name}_needs_little_memory"), &[Need::Faketime, Need::Vsftpd], move || {
            little_memory(&mut Ftp(mode, Ftpd::start(VSFTPD, mode, None)))
        });
        suite.case(format!("protocols::{name}_over_five_nights"), &[Need::Faketime, Need::Vsftpd], move || {
            whole_run(&mut Ftp(mode, Ftpd::start(VSFTPD, mode, None)))
        });
    }
    let needs = [Need::Faketime, Need::Unpacked("proftpd")];
    suite.case("protocols::ftps_where_a_part_is_not_gone_on_with", &needs, not_gone_on_with);
    suite.case("protocols::ftps_old_ciphers_are_named", &[Need::Unpacked("proftpd")], old_ciphers);
    suite.case("protocols::ftps_a_listing_that_was_cut_short_is_none", &[Need::Unpacked("pure-ftpd")], cut_short);
}

fn keys(server: &Ftpd, host: &str, port: u16) -> String {
    format!(
        "[[destination]]\nname = \"nas\"\ntype = \"ftps\"\nca_file = \"{}\"\nhost = \"{host}\"\nport = {port}\nusername = \"{}\"\n\
         password = \"{}\"\npath = \"/data\"\n",
        server.ca_file().display(),
        server.username(),
        server.password(),
    )
}

/// ProFTPD as it comes refuses `REST` and `STOR` on to what is there: a night that is cut, one that is killed, one that catches up.
fn not_gone_on_with() -> Result<()> {
    const BYTES: usize = 24_000_000;
    let server = Ftpd::start(Program::ProFtpd(""), Mode::Explicit, None);
    let proxy = server.proxy();
    let mut job = Job::new();
    job.destinations = format!("{}retries = 1\n", keys(&server, &proxy.host().to_string(), proxy.port()));
    job.dump = "complete = \"off\"\n".into();
    let dump = |seed: u8| [&[seed; 1000][..], &dumps::noise(BYTES)].concat();
    let (data, holds) = (server.local("data"), |name: &str| server.local("data").join(name));

    job.publish_bytes(zips::good(ENTRY, &dump(1)));
    proxy.next(Plan::pass().up(Fault::ResetAfter(BYTES as u64 / 2)));
    let done = job.night("2026-11-20 01:00:00");
    ensure!(done.code == 0, "{done}\n{}", job.log());
    ensure!(server.log().contains("REST "), "it was not asked to go on:\n{}", server.log());
    ensure!(Job::unpacked(&holds("20261120.tgz")) == dump(1), "another dump");

    job.publish_bytes(zips::good(ENTRY, &dump(2)));
    proxy.set_rate(10_000_000);
    let part = || {
        fs::read_dir(&data).into_iter().flatten().flatten().any(|entry| {
            entry.file_name().to_string_lossy().ends_with(".part")
                && entry.metadata().is_ok_and(|held| held.len() > 5_000_000)
        })
    };
    let run = job.command(&["run", "--config", "archive.toml"]).at("2026-11-21 01:00:00");
    let done = run.run_and_kill(Signal::KILL, part);
    ensure!(done.code == 137, "{done}");
    ensure!(part(), "nothing is left of it: {:?}", Job::names(&data));

    proxy.set_rate(0);
    job.publish_bytes(zips::good(ENTRY, &dump(3)));
    let done = job.night("2026-11-22 01:00:00");
    ensure!(done.code == 0, "{done}\n{}", job.log());
    for (name, seed) in [("20261120.tgz", 1), ("20261121.tgz", 2), ("20261122.tgz", 3)] {
        ensure!(Job::unpacked(&holds(name)) == dump(seed), "`{name}` holds another dump");
    }
    ensure!(!Job::names(&data).iter().any(|name| name.ends_with(".part")), "{:?}", Job::names(&data));
    Ok(())
}

/// The server speaks TLS 1.2, as the hint must not deny.
fn old_ciphers() -> Result<()> {
    let lines = "TLSProtocol TLSv1.2\nTLSCipherSuite ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA\n";
    let server = Ftpd::start(Program::ProFtpd(lines), Mode::Explicit, None);
    let mut job = Job::new();
    job.destinations = keys(&server, "127.0.0.1", server.port());
    let checked = job.command(&["check", "--config", "archive.toml"]).run();
    let told = format!("{}{}", checked.stdout, checked.stderr);
    ensure!(told.contains("ECDHE") && told.contains("ChaCha20"), "{told}");
    Ok(())
}

/// pure-ftpd lists 10000 files and then says that it was more; here, five.
fn cut_short() -> Result<()> {
    let server = Ftpd::start(Program::PureFtpd(5), Mode::Explicit, None);
    for day in 10..20 {
        fs::write(server.local(&format!("data/202611{day}.tgz")), "x")?;
    }
    let mut job = Job::new();
    job.destinations = keys(&server, "127.0.0.1", server.port());
    let listed = job.command(&["list", "--config", "archive.toml"]).run();
    ensure!(listed.code != 0 && listed.stderr.contains("left out a part of the listing"), "{listed}");
    Ok(())
}
