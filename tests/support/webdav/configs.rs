//! What each server is told.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::super::accounts;
use super::super::harness::{find_program, is_root};
use super::super::python::python;
use super::super::sshd::free_port;
use super::{PASSWORD, Software, USER, Webdav};

/// Debian's place for it (package `libnginx-mod-http-dav-ext`).
pub const DAV_EXT: &str = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so";
/// Debian's place for Apache's modules.
const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

impl Webdav {
    /// The program, its configuration, and its arguments, of which the last one is the configuration's file if it has one.
    pub(super) fn recipe(&self, port: u16) -> (PathBuf, String, Vec<String>) {
        let found = |name| find_program(name).expect("the case names its need");
        let file = self.directory.path().join("config.json").display().to_string();
        let with_file = |arguments: &[&str]| {
            arguments.iter().map(|argument| (*argument).to_owned()).chain([file.clone()]).collect::<Vec<_>>()
        };
        match self.settings.software {
            Software::Apache => (found("apache2"), self.apache(port), with_file(&["-D", "FOREGROUND", "-f"])),
            Software::Nginx => (found("nginx"), self.nginx(port, None), with_file(&["-e", "stderr", "-c"])),
            Software::NginxBehindTls => {
                (found("nginx"), self.nginx(port, Some(free_port())), with_file(&["-e", "stderr", "-c"]))
            }
            Software::Lighttpd => (found("lighttpd"), self.lighttpd(port), with_file(&["-D", "-f"])),
            Software::Wsgidav => {
                let python = python().expect("the case names its need");
                (python, self.wsgidav(port), with_file(&["-m", "wsgidav.server.server_cli", "--config"]))
            }
            Software::Rclone => (found("rclone"), String::new(), self.rclone(port)),
        }
    }

    fn apache(&self, port: u16) -> String {
        let at = self.directory.path().display();
        let modules = [
            "mpm_event",
            "alias",
            "auth_basic",
            "auth_digest",
            "authn_core",
            "authn_file",
            "authz_core",
            "authz_user",
            "dav",
            "dav_fs",
            "mime",
            "setenvif",
            "socache_shmcb",
            "ssl",
        ];
        let mut text = format!(
            "ServerRoot {at}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {at}/run/pid\nDefaultRuntimeDir {at}/run\n\
             ErrorLog {at}/log\nLogLevel info\nMutex file:{at}/run default\nStartServers 1\nServerLimit 1\n\
             ThreadsPerChild 64\nMaxRequestWorkers 64\nMinSpareThreads 1\nMaxSpareThreads 64\nKeepAliveTimeout 60\nMaxKeepAliveRequests 0\nTimeout 120\n"
        );
        for module in modules {
            let _infallible = writeln!(text, "LoadModule {module}_module {APACHE_MODULES}/mod_{module}.so");
        }
        if is_root() {
            let _infallible = writeln!(text, "User {0}\nGroup {0}", accounts::SHELL);
        }
        let _infallible = write!(
            text,
            "TypesConfig /dev/null\nDavLockDB {at}/run/locks\nLimitRequestBody {}\nSSLEngine on\n\
             SSLCertificateFile {at}/cert.pem\nSSLCertificateKeyFile {at}/key.pem\nSSLSessionCache none\n\
             DocumentRoot {at}/files\n",
            self.settings.largest_body_bytes
        );
        for (room, login) in [
            ("basic", format!("AuthType Basic\nAuthUserFile {at}/basic")),
            ("digest", format!("AuthType Digest\nAuthDigestProvider file\nAuthUserFile {at}/digest")),
        ] {
            let _infallible = write!(
                text,
                "Redirect /{room}/moved https://127.0.0.1:{port}/{room}/data\n\
                 Alias /{room} {at}/files\n\
                 <Location /{room}>\nDav On\n{login}\nAuthName archives\nRequire valid-user\n</Location>\n\
                 <Location /{room}/read-only>\n<LimitExcept GET HEAD OPTIONS PROPFIND>\nRequire all denied\n</LimitExcept>\n\
                 </Location>\n\
                 <Location /{room}/forbidden>\nRequire all denied\n</Location>\n"
            );
        }
        text
    }

    /// `behind` is the port on which it speaks plain HTTP to a proxy that ends TLS, if there is one.
    fn nginx(&self, port: u16, behind: Option<u16>) -> String {
        let at = self.directory.path().display();
        let user = if is_root() { format!("user {0} {0};\n", accounts::SHELL) } else { String::new() };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {at}/run/{what};\n"))
            .concat();
        let dav = "dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS; dav_access user:rw;";
        let tls = format!(
            "listen 127.0.0.1:{port} ssl;\nssl_certificate {at}/cert.pem;\nssl_certificate_key {at}/key.pem;\nssl_session_cache none;\n"
        );
        let (proxy, listen) = match behind {
            None => (String::new(), tls),
            Some(plain) => (
                format!(
                    "server {{\n{tls}client_max_body_size 0;\nlocation / {{ proxy_pass http://127.0.0.1:{plain};\n\
                     proxy_set_header Host $http_host; proxy_http_version 1.1; proxy_request_buffering off; }}\n}}\n"
                ),
                format!("listen 127.0.0.1:{plain};\n"),
            ),
        };
        format!(
            "load_module {DAV_EXT};\n{user}daemon off;\nworker_processes 1;\npid {at}/run/pid;\nerror_log {at}/log info;\n\
             events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}client_max_body_size {};\n\
             keepalive_timeout 60;\nkeepalive_requests 100000;\n\
             {proxy}server {{\n{listen}auth_basic archives;\nauth_basic_user_file {at}/basic;\n\
             location = /basic/moved/ {{ return 301 https://127.0.0.1:{port}/basic/data/; }}\n\
             location /plain/ {{ alias {at}/files/plain/; auth_basic off; }}\n\
             location /basic/forbidden/ {{ deny all; }}\n\
             location /basic/read-only/ {{ alias {at}/files/read-only/; {dav} limit_except GET OPTIONS PROPFIND {{ deny all; }} }}\n\
             location /basic/ {{ alias {at}/files/; {dav} }}\n}}\n}}\n",
            self.settings.largest_body_bytes
        )
    }

    /// Without TLS, whose module is a package of its own.
    fn lighttpd(&self, port: u16) -> String {
        let at = self.directory.path().display();
        let user = match is_root() {
            true => format!("server.username = \"{0}\"\nserver.groupname = \"{0}\"\n", accounts::SHELL),
            false => String::new(),
        };
        format!(
            "server.modules = (\"mod_alias\", \"mod_auth\", \"mod_authn_file\", \"mod_webdav\")\n\
             server.document-root = \"{at}/files\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n{user}\
             server.upload-dirs = (\"{at}/run\")\nserver.max-keep-alive-requests = 0\n\
             alias.url = (\"/basic/\" => \"{at}/files/\", \"/digest/\" => \"{at}/files/\")\n\
             auth.backend = \"htpasswd\"\nauth.backend.htpasswd.userfile = \"{at}/basic\"\n\
             auth.require = (\"/basic\" => (\"method\" => \"basic\", \"realm\" => \"archives\", \"require\" => \"valid-user\"))\n\
             webdav.activate = \"enable\"\n"
        )
    }

    /// Basic and Digest at both paths; Digest is what it asks for.
    fn wsgidav(&self, port: u16) -> String {
        let at = self.directory.path();
        let files = at.join("files");
        json!({
            "host": "127.0.0.1",
            "port": port,
            "server": "cheroot",
            "provider_mapping": { "/basic": files, "/digest": files },
            "http_authenticator": { "accept_basic": true, "accept_digest": true, "default_to_digest": true },
            "simple_dc": { "user_mapping": { "*": { USER: { "password": PASSWORD } } } },
            "ssl_certificate": at.join("cert.pem"),
            "ssl_private_key": at.join("key.pem"),
            "ssl_adapter": "builtin",
            "verbose": 1,
        })
        .to_string()
    }

    fn rclone(&self, port: u16) -> Vec<String> {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let address = format!("127.0.0.1:{port}");
        let mut arguments = vec!["serve".to_owned(), "webdav".to_owned(), at("files")];
        for (name, value) in [
            ("--config", at("rclone")),
            ("--addr", address),
            ("--baseurl", "basic".to_owned()),
            ("--user", USER.to_owned()),
            ("--pass", PASSWORD.to_owned()),
            ("--cert", at("cert.pem")),
            ("--key", at("key.pem")),
            ("--dir-cache-time", "0s".to_owned()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        arguments
    }
}
