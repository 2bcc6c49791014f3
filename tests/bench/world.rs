//! What a benchmark needs around it: a dump in a zip at an HTTPS source, an SFTP server near and far, and jobs for both.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use flate2::{Compress, Compression, FlushCompress};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::binary::{Archive, Done};
use crate::support::dumps::Dump;
use crate::support::https::HttpsServer;
use crate::support::proxy::Proxy;
use crate::support::ssh_keys::KeyType;
use crate::support::sshd::{Account, Place, Sshd};
use crate::support::tls::Authority;
use crate::support::zips::{self, Entry, Zip};

pub const ENTRY: &str = "boutique.sql";
pub const ZIP: &str = "/boutique.zip";

/// Half of the round trip of the far server.
const ONE_WAY: Duration = Duration::from_millis(15);

pub struct World {
    dir: TempDir,
    pub dump_bytes: u64,
    pub zip_bytes: u64,
    pub source: HttpsServer,
    pub sshd: Sshd,
    /// The same server, 30 ms away.
    pub far: Proxy,
    place: Place,
}

impl World {
    pub fn new(dump_bytes: u64) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("archive-bench-").tempdir()?;
        let zip = dir.path().join("source.zip");
        zips::write_large(&zip, ENTRY, &mut Dump::new(1).size(dump_bytes).reader());
        let ca = Authority::new("benchmark authority");
        fs::write(dir.path().join("ca.pem"), ca.pem())?;
        let source = HttpsServer::start(Some(ca.good().server_config()));
        let zip_bytes = fs::metadata(&zip)?.len();
        source.put(ZIP, zip);
        let sshd = Sshd::builder().start();
        let far = Proxy::start(sshd.port());
        far.set_delay(ONE_WAY);
        let place = sshd.place(Account::Own);
        let world = Self { dir, dump_bytes, zip_bytes, source, sshd, far, place };
        world.know(world.near())?;
        world.know(loopback(world.far.port()))?;
        Ok(world)
    }

    /// The archive server.
    pub fn near(&self) -> SocketAddr {
        loopback(self.sshd.port())
    }

    /// Has every client know the server's key at a further address.
    pub fn know(&self, server: SocketAddr) -> anyhow::Result<()> {
        let line = self.sshd.known_hosts_line(KeyType::Ed25519);
        let (_, key) = line.split_once(' ').context("names and a key")?;
        let mut known = File::options().append(true).create(true).open(self.dir().join("known_hosts"))?;
        Ok(writeln!(known, "[{}]:{} {}", server.ip(), server.port(), key.trim_end())?)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The zip as the source has it.
    pub fn zip(&self) -> PathBuf {
        self.dir().join("source.zip")
    }

    /// The archive server's directory, on this disk.
    pub fn remote(&self) -> &Path {
        &self.place.local
    }

    /// Options for `ssh`, `sftp` and `scp` to reach the server.
    pub fn ssh_options(&self) -> String {
        format!(
            "-F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile={}",
            self.sshd.key().display(),
            self.dir().join("known_hosts").display()
        )
    }

    pub fn user(&self) -> &str {
        &self.place.user
    }

    /// The server's directory as a client names it.
    pub fn remote_path(&self) -> &str {
        &self.place.remote
    }

    /// Empties the archive server and forgets what the job knew.
    pub fn forget(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(self.remote())? {
            fs::remove_file(entry?.path())?;
        }
        let work = self.dir().join("work");
        if work.exists() {
            fs::remove_dir_all(work)?;
        }
        Ok(())
    }

    /// Writes the job's config: the archive server at this address, with further keys for the destination.
    pub fn configure(&self, server: SocketAddr, zip: &str, more: &str) -> anyhow::Result<()> {
        let config = format!(
            "name = \"boutique\"\nwork_dir = \"work\"\ntimezone = \"Europe/Paris\"\n[source]\nurl = \"{}\"\nentry = \"{ENTRY}\"\nca_file = \"ca.pem\"\n\
             [[destination]]\nname = \"nas\"\ntype = \"sftp\"\nhost = \"{}\"\nport = {}\nusername = \"{}\"\nprivate_key = \"{}\"\n\
             host_key = \"{}\"\npath = \"{}\"\nretention = {{ keep_days = 30, keep_monthly = 12 }}\n{more}\n",
            self.source.url(zip),
            server.ip(),
            server.port(),
            self.user(),
            self.sshd.key().display(),
            self.sshd.fingerprint(),
            self.remote_path(),
        );
        Ok(fs::write(self.dir().join("archive.toml"), config)?)
    }

    /// Runs this program with the config; it must end well.
    pub fn program(&self, args: &[&str]) -> anyhow::Result<Done> {
        let done = Archive::new(self.dir()).args(args).args(["--config", "archive.toml"]).run();
        ensure!(done.code == 0, "archive {args:?}: {done}");
        Ok(done)
    }

    /// A night: how it ended, and its report.
    pub fn night(&self) -> anyhow::Result<(Done, Value)> {
        let done = self.program(&["run", "--json"])?;
        let report = serde_json::from_str(&done.stdout).context("the report is no JSON")?;
        Ok((done, report))
    }

    /// Writes a zip whose dump is `times` as long, without compressing all of it: its middle is one stretch of rows, deflated
    /// once and repeated.
    pub fn write_repeated(&self, path: &Path, times: u64) -> anyhow::Result<()> {
        let stretch = (self.dump_bytes / 4).clamp(1 << 16, 64 << 20);
        let mut text = Vec::new();
        Dump::new(2).size(stretch).reader().read_to_end(&mut text)?;
        let end = memchr::memmem::rfind(&text, b"/*!40000 ALTER").context("made so")?;
        let start = memchr::memmem::find(&text, b"INSERT").context("made so")?;
        let parts = [&text[..start], &text[start..end], &text[end..]];
        let count = self.dump_bytes * times / parts[1].len() as u64;
        let deflated = [
            deflate(parts[0], FlushCompress::Full)?,
            deflate(parts[1], FlushCompress::Full)?,
            deflate(parts[2], FlushCompress::Finish)?,
        ];
        let [mut crc, middle, end] = parts.map(|part| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(part);
            hasher
        });
        (0..count).for_each(|_| crc.combine(&middle));
        crc.combine(&end);
        let total = |lens: [usize; 3]| (lens[0] + lens[2]) as u64 + count * lens[1] as u64;
        let size = total(parts.map(<[u8]>::len));
        let compressed = total(deflated.each_ref().map(Vec::len));
        let entry = Entry::raw(ENTRY, &[], 8, Vec::new()).size(size).compressed_size(compressed).crc(crc.finalize());
        let mut zip = Zip::new().zip64().entry(entry).build();

        // The data belong between local header and directory: both offsets at the end move by their length.
        let record = memchr::memmem::rfind(&zip, b"PK\x06\x06").context("zip64")?;
        for at in [record + 48, record + 64] {
            let moved = u64::from_le_bytes(zip[at..at + 8].try_into()?) + compressed;
            zip[at..at + 8].copy_from_slice(&moved.to_le_bytes());
        }
        let directory = memchr::memmem::find(&zip, b"PK\x01\x02").context("a directory")?;
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&zip[..directory])?;
        out.write_all(&deflated[0])?;
        (0..count).try_for_each(|_| out.write_all(&deflated[1]))?;
        out.write_all(&deflated[2])?;
        out.write_all(&zip[directory..])?;
        Ok(out.flush()?)
    }
}

/// A port of this machine.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Deflates at level 6, to the end of a stream or to a point where anything may follow.
fn deflate(content: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::new(6), false);
    let mut out = Vec::with_capacity(content.len() + content.len() / 64 + 1024);
    compress.compress_vec(content, &mut out, flush).map_err(io::Error::other)?;
    assert!(compress.total_in() == content.len() as u64 && out.len() < out.capacity(), "there was room");
    Ok(out)
}

/// Seconds that a step took, by the run's own report.
pub fn step_seconds(report: &Value, wanted: &str) -> anyhow::Result<f64> {
    report["steps"]
        .as_array()
        .and_then(|steps| steps.iter().find(|step| step["step"] == wanted))
        .and_then(|step| step["seconds"].as_f64())
        .with_context(|| format!("no step `{wanted}` in the report"))
}
