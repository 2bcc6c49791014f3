//! Over SMB, encrypted.

use std::path::PathBuf;

use super::{Cut, Remote, bad_week, little_memory, whole_run};
use crate::support::accounts;
use crate::support::harness::{Need, Suite};
use crate::support::samba::{SHARE, Samba};

impl Remote for Samba {
    fn keys(&self) -> String {
        format!(
            "type = \"smb\"\nhost = \"127.0.0.1\"\nport = {}\nshare = \"{SHARE}\"\npath = \"data\"\nusername = \"{}\"\n\
             password = \"{}\"",
            self.port(),
            accounts::SHELL,
            self.password()
        )
    }

    fn directory(&self) -> PathBuf {
        self.path("data")
    }

    fn stop(&mut self) {
        Samba::stop(self);
    }

    fn restart(&mut self) {
        Samba::restart(self);
    }
}

pub fn cases(suite: &mut Suite) {
    suite.case("protocols::smb_over_five_nights", &[Need::Faketime, Need::Samba], || {
        whole_run(&mut Samba::builder().start())
    });
    suite.case("protocols::smb_in_a_bad_week", &[Need::Faketime, Need::Samba], || {
        let mut samba = Samba::builder().start();
        let port = samba.port();
        let keys =
            |server: &dyn Remote, by: u16| server.keys().replace(&format!("port = {port}"), &format!("port = {by}"));
        bad_week(&mut samba, port, Cut::GoesOn, &keys)
    });
    suite.case("protocols::smb_needs_little_memory", &[Need::Faketime, Need::Samba], || {
        little_memory(&mut Samba::builder().start())
    });
}
