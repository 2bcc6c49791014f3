//! By rsync, to a daemon and over SSH.

use std::path::PathBuf;

use super::{Remote, little_memory, whole_run};
use crate::support::harness::{Need, Suite};
use crate::support::rsyncd::{MODULE, PASSWORD, Rsyncd, USER};
use crate::support::sshd::Sshd;

impl Remote for Rsyncd {
    fn keys(&self) -> String {
        format!(
            "type = \"rsync\"\nhost = \"127.0.0.1\"\nport = {}\nmodule = \"{MODULE}\"\npath = \"data/boutique\"\n\
             username = \"{USER}\"\npassword = \"{PASSWORD}\"",
            self.port()
        )
    }

    fn directory(&self) -> PathBuf {
        self.path("data/boutique")
    }

    fn stop(&mut self) {
        Rsyncd::stop(self);
    }

    fn restart(&mut self) {
        Rsyncd::restart(self);
    }
}

struct OverSsh(Sshd);

impl Remote for OverSsh {
    fn keys(&self) -> String {
        let at = self.0.main();
        format!(
            "type = \"rsync\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"{}\"\nprivate_key = \"{}\"\n\
             host_key = \"{}\"\npath = \"{}/boutique\"",
            self.0.port(),
            at.user,
            self.0.key().display(),
            self.0.fingerprint(),
            at.remote
        )
    }

    fn directory(&self) -> PathBuf {
        self.0.main().local.join("boutique")
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

pub fn cases(suite: &mut Suite) {
    let needs = [Need::Faketime, Need::program("rsync")];
    suite.case("protocols::rsync_daemon_over_five_nights", &needs, || whole_run(&mut Rsyncd::start()));
    suite.case("protocols::rsync_daemon_needs_little_memory", &needs, || little_memory(&mut Rsyncd::start()));
    suite.case("protocols::rsync_ssh_over_five_nights", &[needs[0], needs[1], Need::Sshd], || {
        whole_run(&mut OverSsh(Sshd::builder().start()))
    });
}
