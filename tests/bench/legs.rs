//! The single comparisons: packing, the whole run, the upload, and what should cost next to nothing.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::ensure;
use archive::zip_source::find_entry;

use crate::line;
use crate::support::harness::find_program;
use crate::turns::{Contender, Sample, Table, shell, take_turns, timed};
use crate::world::{ENTRY, World, ZIP, step_seconds};

/// Archives in the destination for the listing: one a day.
const MANY: usize = 10_000;

/// Verify, hash and pack, without any network.
pub fn packing(world: &World, rounds: usize) -> anyhow::Result<Table> {
    world.configure(world.near(), ZIP, "")?;
    let dir = world.dir();
    let by_hand = |tar: &'static str| {
        move || {
            timed(
                dir,
                &format!("unzip -p source.zip | sha256sum; unzip -qo source.zip; {tar} {ENTRY}; rm {ENTRY} out.tgz"),
            )
        }
    };
    Ok(take_turns(
        "Verify, fingerprint and pack (no network)",
        rounds,
        vec![
            Contender::new("this program, steps `verify` and `pack`", &[], || {
                world.forget()?;
                let (done, report) = world.night()?;
                let seconds = step_seconds(&report, "verify")? + step_seconds(&report, "pack")?;
                Ok(Sample { seconds, memory_bytes: Some(done.peak_memory_bytes), moved_bytes: None })
            }),
            Contender::new("merely inflating the entry with the same zlib", &[], || inflate_only(world)),
            Contender::new("`unzip -p | sha256sum`, `unzip`, `tar czf`", &["unzip"], by_hand("tar czf out.tgz")),
            Contender::new("the same with `pigz`", &["unzip", "pigz"], by_hand("tar -I pigz -cf out.tgz")),
            Contender::new("`bsdtar czf out.tgz @in.zip` (packs only)", &["bsdtar"], || {
                timed(dir, "bsdtar czf out.tgz @source.zip; rm out.tgz")
            }),
        ],
    ))
}

/// From the source to a verified archive on the SFTP server.
pub fn whole_run(world: &World, rounds: usize) -> anyhow::Result<Table> {
    world.configure(world.near(), ZIP, "")?;
    let dir = world.dir();
    let pipeline = |tar: &str| {
        let sftp = format!(
            "sftp -q -b - -P {} {} {}@127.0.0.1:{}",
            world.sshd.port(),
            world.ssh_options(),
            world.user(),
            world.remote_path()
        );
        let url = world.source.url(ZIP);
        let line = format!(
            "curl -sS --cacert ca.pem -o got.zip {url}; unzip -p got.zip | sha256sum; unzip -qo got.zip; {tar} {ENTRY}; \
             echo 'put 20261120.tgz' | {sftp} >/dev/null; rm got.zip {ENTRY} 20261120.tgz"
        );
        move || {
            world.forget()?;
            timed(dir, &line)
        }
    };
    Ok(take_turns(
        "Whole run, HTTPS source and SFTP destination on loopback",
        rounds,
        vec![
            Contender::new("this program (compares checksums at the end)", &[], || {
                world.forget()?;
                let (done, _) = world.night()?;
                Ok(Sample {
                    seconds: done.elapsed.as_secs_f64(),
                    memory_bytes: Some(done.peak_memory_bytes),
                    moved_bytes: None,
                })
            }),
            Contender::new(
                "`curl`, `unzip -p | sha256sum`, `unzip`, `tar czf`, `sftp`",
                &["curl", "unzip", "sftp"],
                pipeline("tar czf 20261120.tgz"),
            ),
            Contender::new(
                "the same with `pigz`",
                &["curl", "unzip", "sftp", "pigz"],
                pipeline("tar -I pigz -cf 20261120.tgz"),
            ),
        ],
    ))
}

/// The archive alone, to the SFTP server at this address; the other clients get the archive that this program made. With a
/// `sink` the same bytes also go over the line and nowhere else.
pub fn upload(
    world: &World,
    rounds: usize,
    line: &str,
    server: SocketAddr,
    sink: Option<SocketAddr>,
) -> anyhow::Result<Table> {
    world.configure(world.near(), ZIP, "")?;
    world.forget()?;
    world.night()?;
    let dir = world.dir();
    let made = fs::read_dir(world.remote())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    ensure!(made.is_some(), "no archive on the server");
    made.into_iter().try_for_each(|made| fs::copy(made, dir.join("up.tgz")).map(drop))?;
    let bytes = fs::metadata(dir.join("up.tgz"))?.len();

    let own = |more: &'static str| {
        move || {
            world.forget()?;
            world.configure(server, ZIP, more)?;
            let (done, report) = world.night()?;
            // The connection is made in `compare`; the others' time holds theirs, too.
            let seconds = step_seconds(&report, "compare")? + step_seconds(&report, "upload")?;
            Ok(Sample { seconds, memory_bytes: Some(done.peak_memory_bytes), moved_bytes: Some(bytes) })
        }
    };
    let other = |command: String| {
        move || {
            world.forget()?;
            let done = shell(dir, &format!("exec {command} >/dev/null"))?;
            let arrived = fs::metadata(world.remote().join("up.tgz"))?.len();
            ensure!(arrived == bytes, "{arrived} of {bytes} bytes arrived");
            Ok(Sample {
                seconds: done.elapsed.as_secs_f64(),
                memory_bytes: Some(done.peak_memory_bytes),
                moved_bytes: Some(bytes),
            })
        }
    };
    let (host, port) = (server.ip(), server.port());
    let (options, user, remote) = (world.ssh_options(), world.user(), world.remote_path());
    fs::write(dir.join("batch"), "put up.tgz\n")?;
    fs::write(dir.join("flushed"), "put -f up.tgz\n")?;
    let (key, known) = (world.sshd.key(), dir.join("known_hosts"));
    let ssh = find_program("ssh").unwrap_or_default();
    let mut contenders = vec![
        Contender::new(
            "this program, steps `compare` and `upload`, `verify = \"size\"`",
            &[],
            own("verify = \"size\""),
        ),
        Contender::new("the same with `connections = 4`", &[], own("verify = \"size\"\nconnections = 4")),
        Contender::new("the same with checksum and sidecar", &[], own("")),
        Contender::new(
            "OpenSSH `sftp`",
            &["sftp"],
            other(format!("sftp -q -b batch -P {port} {options} {user}@{host}:{remote}")),
        ),
        Contender::new(
            "the same, flushed to the server's disk as this program does (`put -f`)",
            &["sftp"],
            other(format!("sftp -q -b flushed -P {port} {options} {user}@{host}:{remote}")),
        ),
        Contender::new(
            "OpenSSH `scp`",
            &["scp"],
            other(format!("scp -q -P {port} {options} up.tgz {user}@{host}:{remote}/")),
        ),
        Contender::new(
            "`rclone`",
            &["rclone"],
            other(format!(
                "rclone copyto up.tgz :sftp:{remote}/up.tgz --config /dev/null --sftp-host {host} --sftp-port {port} --sftp-user {user} \
                 --sftp-key-file {} --sftp-known-hosts-file {} --sftp-disable-hashcheck",
                key.display(),
                known.display()
            )),
        ),
        Contender::new(
            "`lftp`",
            &["lftp", "ssh"],
            other(format!(
                "lftp --norc -e \"set sftp:connect-program '{} -a -x {options}'; set net:max-retries 1; put up.tgz -o {remote}/up.tgz; bye\" -p {port} sftp://{user}:@{host}",
                ssh.display()
            )),
        ),
    ];
    if let Some(sink) = sink {
        contenders.push(Contender::new("the line itself: the same bytes over one TCP connection", &[], move || {
            let started = Instant::now();
            line::send(&dir.join("up.tgz"), sink)?;
            let seconds = started.elapsed().as_secs_f64();
            Ok(Sample { seconds, memory_bytes: None, moved_bytes: Some(bytes) })
        }));
    }
    Ok(take_turns(&format!("Upload alone, SFTP, {line}"), rounds, contenders))
}

/// What should cost next to nothing.
pub fn quick_ones(world: &World, rounds: usize) -> anyhow::Result<Table> {
    world.configure(world.near(), ZIP, "")?;
    world.forget()?;
    world.night()?;
    let counted = |args: &'static [&'static str]| {
        move || {
            let before = world.source.body_bytes_sent();
            let done = world.program(args)?;
            let moved = world.source.body_bytes_sent() - before;
            let (seconds, memory) = (done.elapsed.as_secs_f64(), done.peak_memory_bytes);
            Ok(Sample { seconds, memory_bytes: Some(memory), moved_bytes: Some(moved) })
        }
    };
    let mut table = take_turns(
        "What should cost next to nothing (bytes are those of the source's bodies)",
        rounds,
        vec![
            Contender::new("unchanged night (304)", &[], counted(&["run", "-q"])),
            Contender::new("`archive check`", &[], counted(&["check"])),
        ],
    );
    // Names of real days, so that they count as archives.
    let newest = chrono::Utc::now().date_naive();
    for (day, _) in newest.iter_days().rev().zip(0..MANY) {
        File::create(world.remote().join(format!("{}.tgz", day.format("%Y%m%d"))))?;
    }
    let listings = take_turns(
        &format!("with {MANY} archives"),
        rounds,
        vec![
            Contender::new(&format!("`archive list` with {MANY} archives"), &[], counted(&["list"])),
            Contender::new(
                &format!("`archive prune --dry-run` with {MANY} archives"),
                &[],
                counted(&["prune", "--dry-run"]),
            ),
        ],
    );
    table.rows.extend(listings.rows);
    world.forget()?;
    Ok(table)
}

/// The same night with ten times as much.
pub fn memory(world: &World, rounds: usize) -> anyhow::Result<Table> {
    let large = world.dir().join("large.zip");
    world.write_repeated(&large, 10)?;
    world.source.put("/large.zip", large.clone());
    let night = |zip: &'static str| {
        move || {
            world.forget()?;
            world.configure(world.near(), zip, "")?;
            let before = world.source.body_bytes_sent();
            let (done, _) = world.night()?;
            let moved = world.source.body_bytes_sent() - before;
            let (seconds, memory) = (done.elapsed.as_secs_f64(), done.peak_memory_bytes);
            Ok(Sample { seconds, memory_bytes: Some(memory), moved_bytes: Some(moved) })
        }
    };
    let table = take_turns(
        "Whole run, loopback: ten times the dump",
        rounds.min(2),
        vec![
            Contender::new("the dump of the other tables", &[], night(ZIP)),
            Contender::new("a dump ten times as long", &[], night("/large.zip")),
        ],
    );
    fs::remove_file(large)?;
    Ok(table)
}

/// What no verification can do without: inflating the entry, once, from the page cache, and nothing else.
fn inflate_only(world: &World) -> anyhow::Result<Sample> {
    let mut file = File::open(world.zip())?;
    let location = find_entry(&mut file, ENTRY)?;
    let started = Instant::now();
    file.seek(SeekFrom::Start(location.data_start))?;
    let mut inflater = flate2::Decompress::new(false);
    let (mut input, mut output) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    let mut unread = file.take(location.compressed_size);
    loop {
        let got = unread.read(&mut input)?;
        ensure!(got > 0, "the stream is cut");
        let end = inflater.total_in() + got as u64;
        loop {
            let used = got - (end - inflater.total_in()) as usize;
            let before = inflater.total_out();
            let status = inflater.decompress(&input[used..got], &mut output, flate2::FlushDecompress::None)?;
            if status == flate2::Status::StreamEnd {
                ensure!(inflater.total_out() == location.declared_size, "another size");
                return Ok(Sample { seconds: started.elapsed().as_secs_f64(), ..Sample::default() });
            }
            // With the room full there may be more to come out, even if all input is taken.
            if inflater.total_in() == end && inflater.total_out() - before < output.len() as u64 {
                break;
            }
        }
    }
}
