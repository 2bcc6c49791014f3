//! What every destination promises, stated once and asked of each of them: `sftp-shell::move_new_refuses_to_clobber`.
//!
//! A further protocol is one [`Protocol`](server::Protocol) in [`PROTOCOLS`], with a `Server` behind it that says how it is
//! reached, what lies on its disk, and what it must be able to do. The cases do not know any protocol.
#![cfg_attr(
    not(all(
        feature = "ftp",
        feature = "nfs",
        feature = "rsync",
        feature = "s3",
        feature = "sftp",
        feature = "smb",
        feature = "webdav"
    )),
    allow(dead_code, reason = "a build with some of the protocols uses a part of this")
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod calls;
mod contract;
mod faults;
#[cfg(feature = "ftp")]
mod ftp;
mod local;
mod memory;
mod names;
mod network;
#[cfg(feature = "nfs")]
mod nfs;
mod parts;
#[cfg(feature = "rsync")]
mod rsync;
#[cfg(feature = "rsync")]
mod rsync_dropbear;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
mod s3_moto;
mod server;
#[cfg(feature = "sftp")]
mod sftp;
#[cfg(feature = "sftp")]
mod sftp_foreign;
#[cfg(feature = "smb")]
mod smb;
mod sources;
mod table;
#[cfg(feature = "webdav")]
mod webdav;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use server::{Case, Protocol};
use support::harness::Suite;

/// Everything that is tested.
const PROTOCOLS: &[Protocol] = &[
    memory::PROTOCOL,
    memory::ATOMIC,
    local::PROTOCOL,
    local::SSHFS,
    local::RCLONE,
    #[cfg(feature = "ftp")]
    ftp::EXPLICIT,
    #[cfg(feature = "ftp")]
    ftp::IMPLICIT,
    #[cfg(feature = "ftp")]
    ftp::MLSD,
    #[cfg(feature = "ftp")]
    ftp::PLAIN,
    #[cfg(feature = "ftp")]
    ftp::PROFTPD,
    #[cfg(feature = "ftp")]
    ftp::PROFTPD_HIDDEN,
    #[cfg(feature = "ftp")]
    ftp::PROFTPD_IMPLICIT,
    #[cfg(feature = "ftp")]
    ftp::PUREFTPD,
    #[cfg(feature = "nfs")]
    nfs::PROTOCOL,
    #[cfg(feature = "rsync")]
    rsync::DAEMON,
    #[cfg(feature = "rsync")]
    rsync::SSH,
    #[cfg(feature = "rsync")]
    rsync::RRSYNC,
    #[cfg(feature = "rsync")]
    rsync_dropbear::PROTOCOL,
    #[cfg(feature = "s3")]
    s3::PLAIN,
    #[cfg(feature = "s3")]
    s3::TLS,
    #[cfg(feature = "s3")]
    s3::UNCONDITIONAL,
    #[cfg(feature = "s3")]
    s3_moto::PROTOCOL,
    #[cfg(feature = "sftp")]
    sftp::SHELL,
    #[cfg(feature = "sftp")]
    sftp::CHROOT,
    #[cfg(feature = "sftp")]
    sftp_foreign::PROFTPD,
    #[cfg(feature = "sftp")]
    sftp_foreign::RCLONE,
    #[cfg(feature = "sftp")]
    sftp_foreign::RCLONE_CACHED,
    #[cfg(feature = "sftp")]
    sftp_foreign::DROPBEAR,
    #[cfg(feature = "sftp")]
    sftp_foreign::PARAMIKO,
    #[cfg(feature = "sftp")]
    sftp_foreign::ASYNCSSH,
    #[cfg(feature = "smb")]
    smb::ENCRYPTED,
    #[cfg(feature = "smb")]
    smb::SIGNED,
    #[cfg(feature = "smb")]
    smb::SLOW,
    #[cfg(feature = "webdav")]
    webdav::BASIC,
    #[cfg(feature = "webdav")]
    webdav::DIGEST,
    #[cfg(feature = "webdav")]
    webdav::NGINX,
    #[cfg(feature = "webdav")]
    webdav::NGINX_BEHIND_TLS,
    #[cfg(feature = "webdav")]
    webdav::LIGHTTPD,
    #[cfg(feature = "webdav")]
    webdav::WSGIDAV,
    #[cfg(feature = "webdav")]
    webdav::RCLONE,
];

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let cases: Vec<Case> =
        [contract::CASES, names::CASES, sources::CASES, faults::CASES, network::CASES, calls::CASES, parts::CASES]
            .concat();
    let mut ran = Vec::new();
    for protocol in PROTOCOLS {
        let count = Arc::new(AtomicUsize::new(0));
        ran.push((protocol.name, Arc::clone(&count)));
        for case in cases.iter().filter(|case| protocol.features.contains(&case.feature)) {
            let (needs, start, run, count) =
                (protocol.needs_for(case.feature), protocol.start, case.run, count.clone());
            suite.case(format!("{}::{}", protocol.name, case.name), &needs, move || {
                count.fetch_add(1, Ordering::SeqCst);
                run(&*start())
            });
        }
        for what in protocol.refusals {
            let (start, count) = (protocol.start, count.clone());
            suite.case(format!("{}::{what}_is_refused_at_once", protocol.name), protocol.needs, move || {
                count.fetch_add(1, Ordering::SeqCst);
                access::is_refused_at_once(&*start(), what)
            });
        }
    }
    #[cfg(feature = "rsync")]
    rsync::cases(&mut suite);
    // A build without some protocol has no table to compare.
    if cfg!(all(
        feature = "ftp",
        feature = "nfs",
        feature = "rsync",
        feature = "s3",
        feature = "sftp",
        feature = "smb",
        feature = "webdav"
    )) {
        let needs: Vec<_> = PROTOCOLS.iter().flat_map(|protocol| protocol.needs).copied().collect();
        suite.case("docs::the_table_of_capabilities_is_current", &needs, || table::is_current(PROTOCOLS));
    }
    let code = suite.run();
    // A name on the command line asks for less than everything.
    let everything = std::env::args().skip(1).all(|argument| argument.starts_with("--test-threads"));
    for (name, ran) in ran.into_iter().filter(|_| everything) {
        let missing = PROTOCOLS.iter().find(|one| one.name == name).is_some_and(Protocol::is_missing);
        assert!(missing || ran.load(Ordering::SeqCst) > 0, "no case ran for `{name}`: its suite proves nothing");
    }
    code
}
