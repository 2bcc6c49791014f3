//! What the integration tests share: real servers on loopback, the built program, and bad input.
//!
//! Every test binary takes it in with `#[path = "../support/mod.rs"] mod support;` and uses a part of it, hence
//! `dead_code`. Nothing here knows the code of the crate: it meets the program as its users' machines do.
//! `tests/servers/main.rs` proves each of these parts with the ordinary clients (`curl`, `sftp`, `openssl`, …).
#![allow(dead_code)]
#![allow(missing_docs, reason = "a test crate has no readers of its documentation pages")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests a broken assumption is a failure, as it should be"
)]

pub mod accounts;
pub mod binary;
pub mod dumps;
pub mod ftpd;
pub mod ganesha;
pub mod harness;
pub mod https;
#[cfg(feature = "s3")]
pub mod moto;
pub mod mounts;
pub mod proxy;
pub mod pyftpd;
pub mod python;
pub mod rsyncd;
#[cfg(feature = "s3")]
pub mod s3;
pub mod samba;
pub mod sftp_servers;
pub mod smtp;
pub mod ssh_keys;
pub mod sshd;
pub mod tls;
pub mod wait;
pub mod webdav;
pub mod zips;
