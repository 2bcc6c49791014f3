//! What is wrong with TLS is said in the same words for the source, for mail and for every destination that speaks it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::job::Job;
use crate::support::harness::{Need, Suite, run};
use crate::support::tls::Leaf;

const OPENSSL: &[Need] = &[Need::program("openssl")];

/// How a server is wrong: its certificate (`cert.pem`, `key.pem`, and `ca.pem` that signed it), further arguments of
/// `openssl s_server`, words of the cause, and words of the hint.
struct Wrong {
    name: &'static str,
    certificate: fn(&Path),
    args: &'static [&'static str],
    says: &'static str,
    hint: &'static str,
}

const WRONGS: &[Wrong] = &[
    Wrong {
        name: "a_certificate_of_version_1",
        certificate: version_1,
        args: &[],
        says: "is of X.509 version 1, which is not accepted",
        hint: "`openssl x509 -req` needs `-extfile`",
    },
    Wrong {
        name: "a_certificate_of_an_authority",
        certificate: |dir| {
            let leaf = Leaf::self_signed(true);
            leaf.write_to(dir);
            fs::write(dir.join("ca.pem"), leaf.chain_pem()).expect("own directory");
        },
        args: &[],
        says: "is that of an authority (CA:TRUE)",
        hint: "basicConstraints=CA:FALSE",
    },
    Wrong {
        name: "a_certificate_without_a_name",
        certificate: |dir| signed(dir, "basicConstraints = CA:FALSE\n"),
        args: &[],
        says: "it holds no name in `subjectAltName`",
        hint: "have the server's certificate extended",
    },
    Wrong {
        name: "a_certificate_for_clients",
        certificate: |dir| signed(dir, "subjectAltName = DNS:localhost\nextendedKeyUsage = clientAuth\n"),
        args: &[],
        says: "is not one for servers",
        hint: "extendedKeyUsage = serverAuth",
    },
    Wrong {
        name: "rsa_key_exchange_only",
        certificate: good,
        args: &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        says: "has no cipher and key exchange in common with us",
        hint: "TLS 1.2 with ECDHE and AES-GCM",
    },
    Wrong {
        name: "cbc_ciphers_only",
        certificate: good,
        args: &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"],
        says: "has no cipher and key exchange in common with us",
        hint: "TLS 1.2 with ECDHE and AES-GCM",
    },
    Wrong {
        name: "tls_1_1_only",
        certificate: good,
        args: &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
        says: "does not speak a TLS version that is still safe",
        hint: "TLS 1.2 or 1.3",
    },
];

pub fn cases(suite: &mut Suite) {
    for wrong in WRONGS {
        suite.case(format!("tls::{}_is_told_alike_by_all_protocols", wrong.name), OPENSSL, move || told(wrong));
    }
    type Saved = fn(&str) -> Vec<u8>;
    let saved: [(&str, Saved); 2] = [
        ("with_a_byte_order_mark", |pem| format!("\u{feff}{pem}").into()),
        ("with_windows_line_ends_and_text_around", |pem| {
            format!("Subject: x\n{pem}the end\n").replace('\n', "\r\n").into()
        }),
    ];
    for (name, save) in saved {
        suite.case(format!("tls::a_ca_file_{name}_is_read"), &[], move || {
            let job = Job::new();
            job.publish(&crate::support::dumps::Dump::new(1).size(100_000).text());
            fs::write(job.path("ca.pem"), save(job.ca.pem()))?;
            let done = job.run();
            ensure!(done.code == 0, "{done}");
            Ok(())
        });
    }
    suite.case("tls::a_ca_file_in_der_is_told_how_to_convert", &[], || {
        let mut job = Job::new();
        fs::write(job.path("ca.pem"), job.ca.der())?;
        speak_tls(&mut job, 1);
        let done = job.command(&["check", "--config", "archive.toml"]).run();
        // Each has it as `ca_file`.
        let lines = done.stdout.matches("is a certificate in DER (binary), not in PEM").count();
        ensure!(lines == 5 && done.stdout.matches("openssl x509 -inform DER").count() == 5, "{lines}: {done}");
        Ok(())
    });
}

/// Whether source, mail, FTPS, WebDAV and S3 say the same of it.
fn told(wrong: &Wrong) -> anyhow::Result<()> {
    let mut job = Job::new();
    (wrong.certificate)(job.dir());
    let server = Server::start(job.dir(), wrong.args)?;
    speak_tls(&mut job, server.port);
    let done = job.command(&["check", "--config", "archive.toml"]).run();
    let (says, hints) = (done.stdout.matches(wrong.says).count(), done.stdout.matches(wrong.hint).count());
    ensure!(says == 5 && hints == 5, "said {says} times, with {hints} hints: {done}");
    // No error of a library as its programmers see it.
    for debug in ["Other(", "OtherError", "AlertReceived", "HandshakeFailure", "InvalidCertificate", "Context {"] {
        ensure!(!done.stdout.contains(debug), "`{debug}`: {done}");
    }
    Ok(())
}

/// Everything that speaks TLS does so with this port.
fn speak_tls(job: &mut Job, port: u16) {
    job.url = Some(format!("https://localhost:{port}/exports/boutique.zip"));
    let common = "ca_file = \"ca.pem\"\nretries = 0\nconnect_timeout = \"5s\"\nstall_timeout = \"5s\"\n";
    job.destinations = format!(
        "[[destination]]\nname = \"cloud\"\ntype = \"webdav\"\nurl = \"https://localhost:{port}/dav/\"\nusername = \"a\"\npassword = \"b\"\n{common}\
         [[destination]]\nname = \"bucket\"\ntype = \"s3\"\nendpoint = \"https://localhost:{port}\"\nbucket = \"backups\"\nregion = \"r\"\n\
         access_key_id = \"a\"\nsecret_access_key = \"b\"\n{common}\
         [[destination]]\nname = \"space\"\ntype = \"ftps\"\nhost = \"localhost\"\nport = {port}\nimplicit = true\nusername = \"a\"\npassword = \"b\"\n\
         path = \"/archives\"\n{common}"
    );
    job.rest = format!(
        "[mail]\nhost = \"localhost\"\nport = {port}\nsecurity = \"tls\"\nfrom = \"archive@example.org\"\nto = [\"a@example.org\"]\n\
         ca_file = \"ca.pem\"\ntimeout = \"5s\"\n"
    );
}

/// An authority and a certificate for `localhost` by `openssl`, in `ca.pem`, `cert.pem` and `key.pem`. RSA, for the old ciphers.
fn signed(dir: &Path, extensions: &str) {
    let openssl =
        |args: &str| run(Command::new("openssl").args(args.split(' ')).current_dir(dir).stderr(Stdio::null()));
    fs::write(dir.join("ext"), extensions).expect("own directory");
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -subj /CN=authority");
    openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=localhost");
    let with = if extensions.is_empty() { "" } else { " -extfile ext" };
    openssl(&format!(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 3650{with}"
    ));
}

fn version_1(dir: &Path) {
    signed(dir, "");
}

fn good(dir: &Path) {
    signed(dir, "subjectAltName = DNS:localhost\nbasicConstraints = CA:FALSE\n");
}

/// `openssl s_server`; stopped when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(dir: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem"])
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let port = loop {
            let line = lines.next().context("openssl ended")??;
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.rsplit(':').next().context("a port")?.trim().parse()?;
            }
        };
        // It writes on, and must not be held up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, port })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _ = self.child.wait();
    }
}
