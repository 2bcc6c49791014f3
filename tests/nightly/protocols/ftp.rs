//! Over FTP, with TLS and in clear.

use std::path::PathBuf;

use super::{Remote, little_memory, whole_run};
use crate::support::harness::{Need, Suite};
use crate::support::vsftpd::{Mode, Vsftpd};

struct Ftp(Mode, Vsftpd);

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
    for (name, mode) in [("ftps", Mode::Explicit), ("ftps_implicit", Mode::Implicit), ("ftp_in_clear", Mode::Plain)] {
        suite.case(format!("protocols::{name}_needs_little_memory"), &[Need::Faketime, Need::Vsftpd], move || {
            little_memory(&mut Ftp(mode, Vsftpd::start(mode, None)))
        });
        suite.case(format!("protocols::{name}_over_five_nights"), &[Need::Faketime, Need::Vsftpd], move || {
            whole_run(&mut Ftp(mode, Vsftpd::start(mode, None)))
        });
    }
}
