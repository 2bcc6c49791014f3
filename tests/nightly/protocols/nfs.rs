//! Over NFS. The server is shared, so it is its proxy that goes away.

use std::path::PathBuf;

use super::{Cut, Remote, bad_week, little_memory, whole_run};
use crate::support::ganesha::{self, Place, UID};
use crate::support::harness::{Need, Suite};
use crate::support::proxy::Proxy;

struct Nfs {
    place: Place,
    proxy: Proxy,
}

impl Remote for Nfs {
    fn keys(&self) -> String {
        let server = ganesha::server();
        format!(
            "type = \"nfs\"\nhost = \"127.0.0.1\"\nexport = \"{}\"\npath = \"{}\"\nuid = {UID}\ngid = {UID}\n\
             port = {}\nmount_port = {}\nprivileged_port = false",
            server.export("export"),
            self.place.path("data/boutique"),
            self.proxy.port(),
            server.mount_port,
        )
    }

    fn directory(&self) -> PathBuf {
        self.place.local("data/boutique")
    }

    fn stop(&mut self) {
        self.proxy.refuse(true);
    }

    fn restart(&mut self) {
        self.proxy.refuse(false);
    }
}

pub fn cases(suite: &mut Suite) {
    suite.case("protocols::nfs_over_five_nights", &[Need::Faketime, Need::Ganesha], || {
        let proxy = Proxy::start(ganesha::server().port);
        whole_run(&mut Nfs { place: ganesha::place(), proxy })
    });
    suite.case("protocols::nfs_in_a_bad_week", &[Need::Faketime, Need::Ganesha], || {
        let port = ganesha::server().port;
        let mut nfs = Nfs { place: ganesha::place(), proxy: Proxy::start(port) };
        let own = format!("\nport = {}", nfs.proxy.port());
        let keys = |server: &dyn Remote, by: u16| server.keys().replace(&own, &format!("\nport = {by}"));
        bad_week(&mut nfs, port, Cut::GoesOn, &keys)
    });
    suite.case("protocols::nfs_needs_little_memory", &[Need::Faketime, Need::Ganesha], || {
        let proxy = Proxy::start(ganesha::server().port);
        little_memory(&mut Nfs { place: ganesha::place(), proxy })
    });
}
