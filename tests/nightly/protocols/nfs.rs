//! Over NFS. The server is shared, so it is its proxy that goes away.

use std::path::PathBuf;

use super::{Remote, little_memory, whole_run};
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
    suite.case("protocols::nfs_needs_little_memory", &[Need::Faketime, Need::Ganesha], || {
        let proxy = Proxy::start(ganesha::server().port);
        little_memory(&mut Nfs { place: ganesha::place(), proxy })
    });
}
