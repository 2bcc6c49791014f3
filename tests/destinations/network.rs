//! Lines that are cut and servers that fall silent, in every phase; the faults stand between, in a proxy.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use archive::config::settings::DestinationSettings;
use archive::destination::{self, Destination, DestinationError, ErrorKind, Source};
use archive::interrupt::Interrupt;

use crate::server::{Case, Feature, Place, Server, content, read, refused, says, told};
use crate::support::proxy::{Fault, Plan};
use crate::support::wait;

pub const CASES: &[Case] = &[
    Case { name: "a_refused_connection_is_retried_and_says_so", feature: Feature::Network, run: refused_connection },
    Case { name: "silence_while_connecting_ends_in_the_timeout", feature: Feature::Network, run: silent_connect },
    Case { name: "silence_in_an_upload_ends_in_the_timeout", feature: Feature::Network, run: silent_upload },
    Case { name: "silence_in_a_download_ends_in_the_timeout", feature: Feature::Network, run: silent_download },
    Case { name: "silence_at_the_close_ends_in_the_timeout", feature: Feature::Network, run: silent_close },
    Case { name: "silence_at_a_move_ends_in_the_timeout", feature: Feature::NetworkMove, run: silent_move },
    Case { name: "silence_anywhere_in_a_move_loses_nothing", feature: Feature::NetworkMove, run: silent_in_a_move },
    Case { name: "a_move_cut_anywhere_is_finished", feature: Feature::NetworkMove, run: cut_in_a_move },
    Case {
        name: "a_put_new_cut_at_every_tenth_shows_all_or_nothing",
        feature: Feature::NetworkPutNew,
        run: cut_put_new,
    },
    Case { name: "silence_at_any_question_ends_in_the_timeout", feature: Feature::Network, run: silent_questions },
    Case { name: "silence_at_the_close_ends_in_the_timeout", feature: Feature::Mounted, run: silent_close },
    Case { name: "silence_at_a_move_ends_in_the_timeout", feature: Feature::Mounted, run: silent_move },
    Case { name: "silence_at_any_question_ends_in_the_timeout", feature: Feature::Mounted, run: silent_questions },
    Case { name: "connecting_cut_anywhere_is_retried", feature: Feature::Network, run: cut_connect },
    Case { name: "an_upload_cut_at_every_tenth_is_retried_and_intact", feature: Feature::Network, run: cut_upload },
    Case { name: "a_download_cut_at_every_tenth_is_retried_and_intact", feature: Feature::Network, run: cut_download },
    Case { name: "an_upload_cut_without_retries_is_unreachable", feature: Feature::Network, run: cut_for_good },
];

/// A server that is silent for so long is given up; more than a healthy one needs on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(2);

fn impatient(server: &dyn Server, place: Place) -> DestinationSettings {
    DestinationSettings { stall_timeout: PATIENCE, ..server.settings(place) }
}

fn connect(settings: &DestinationSettings) -> Result<Box<dyn Destination>, DestinationError> {
    destination::connect(settings, &Interrupt::default())
}

/// Bytes (up, down) that connecting takes; they vary by some padding.
fn cost_of_connecting(server: &dyn Server) -> Result<(u64, u64)> {
    let proxy = server.proxy();
    let _connected = connect(&server.redirected(&server.settings(Place::Data), proxy.port()))?;
    // Bytes are counted just after they are delivered: looked at until they stand still.
    let (mut seen, mut times) = ((0, 0), 0);
    wait::until("bytes to be counted", || {
        let now = (proxy.bytes_up(), proxy.bytes_down());
        times = if now == seen && now.1 > 0 { times + 1 } else { 0 };
        seen = now;
        times == 10
    });
    Ok(seen)
}

/// Runs all of these at once, since each spends its time waiting, and tells of the first that failed.
fn side_by_side<T: Send>(jobs: impl IntoIterator<Item = T>, run: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let run = &run;
    thread::scope(|scope| {
        let running: Vec<_> = jobs.into_iter().map(|job| scope.spawn(move || run(job))).collect();
        running.into_iter().try_for_each(|one| one.join().expect("a case returns its error"))
    })
}

fn refused_connection(server: &dyn Server) -> Result<()> {
    // Bound and not listening: it refuses, and nobody else can take the port meanwhile.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let port = socket.local_addr()?.as_socket().context("an IP address")?.port();
    let mut settings = server.redirected(&server.settings(Place::Data), port);
    let told = refused(server, connect(&settings), ErrorKind::Unreachable)?;
    says(&told, &["127.0.0.1", "refused", "; hint: "])?;
    settings.retries = 1;
    says(&refused(server, connect(&settings), ErrorKind::Unreachable)?, &["gave up after 2 attempts", "; hint: "])
}

fn silent_connect(server: &dyn Server) -> Result<()> {
    let (_, down) = cost_of_connecting(server)?;
    let settings = DestinationSettings { connect_timeout: PATIENCE, ..impatient(server, Place::Data) };
    let jobs: Vec<_> = (0..=8).map(|tenth| (tenth, server.proxy())).collect();
    let secrets = server.secrets();
    let settings: Vec<_> = jobs.iter().map(|(_, proxy)| server.redirected(&settings, proxy.port())).collect();
    side_by_side(jobs.into_iter().zip(settings), |((tenth, proxy), settings)| {
        proxy.always(Plan::pass().down(Fault::StallAfter(down * tenth / 10)));
        let error = connect(&settings).err().with_context(|| format!("connected after {tenth} tenths"))?;
        let told = told(&error);
        ensure!(error.kind == ErrorKind::Unreachable, "{:?} after {tenth} tenths: {told}", error.kind);
        ensure!(told.contains("no byte moved for 2 s"), "after {tenth} tenths: {told}");
        ensure!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
        Ok(())
    })
}

/// Bytes that come back while this is uploaded.
fn answers_to_an_upload(server: &dyn Server, content: &[u8]) -> Result<u64> {
    let proxy = server.proxy();
    let mut destination = connect(&server.redirected(&server.settings(Place::Data), proxy.port()))?;
    destination.put(".x.part", &mut Cursor::new(b"so that it is there"), 0)?;
    let before = proxy.bytes_down();
    destination.put(".x.part", &mut Cursor::new(content), 0)?;
    Ok(proxy.bytes_down() - before)
}

fn silent_upload(server: &dyn Server) -> Result<()> {
    let (up, down) = cost_of_connecting(server)?;
    let answers = answers_to_an_upload(server, &content(20_000_000, 11))?;
    for plan in [
        Plan::pass().up(Fault::StallAfter(up + 3_000_000)),
        // Everything arrives, and the last answers do not come back.
        Plan::pass().down(Fault::StallAfter(down + answers * 3 / 4)),
    ] {
        let proxy = server.proxy();
        proxy.always(plan);
        let mut destination = connect(&server.redirected(&impatient(server, Place::Data), proxy.port()))?;
        let result = destination.put(".x.part", &mut Cursor::new(content(20_000_000, 11)), 0);
        says(&refused(server, result, ErrorKind::Unreachable)?, &[".x.part", "no byte moved for 2 s"])?;
    }
    Ok(())
}

fn silent_download(server: &dyn Server) -> Result<()> {
    let (_, down) = cost_of_connecting(server)?;
    server.disk(Place::Data).write("x", &content(20_000_000, 12));
    let proxy = server.proxy();
    proxy.always(Plan::pass().down(Fault::StallAfter(down + 5_000_000)));
    let mut destination = connect(&server.redirected(&impatient(server, Place::Data), proxy.port()))?;
    let result = read(&mut *destination, "x", 0);
    says(&refused(server, result, ErrorKind::Unreachable)?, &["`x`", "no byte moved for 2 s"]).map(|_| ())
}

/// Freezes the server when its end is read: what comes after is flushing and closing.
struct Freezing<'a>(Cursor<Vec<u8>>, &'a dyn Server);

impl Read for Freezing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 {
            self.1.freeze();
        }
        Ok(count)
    }
}

impl Seek for Freezing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Source for Freezing<'_> {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }
}

fn silent_close(server: &dyn Server) -> Result<()> {
    let mut destination = connect(&impatient(server, Place::Data))?;
    let result = destination.put(".x.part", &mut Freezing(Cursor::new(content(100_000, 13)), server), 0);
    says(&refused(server, result, ErrorKind::Unreachable)?, &[".x.part", "no byte moved for 2 s"])
}

fn silent_move(server: &dyn Server) -> Result<()> {
    let mut destination = connect(&impatient(server, Place::Data))?;
    server.disk(Place::Data).write(".x.part", b"x");
    server.freeze();
    let result = destination.move_new(".x.part", "20261120.tgz");
    says(&refused(server, result, ErrorKind::Unreachable)?, &[".x.part", "no byte moved for 2 s"])
}

/// How far behind the end of connecting a move is disturbed: its questions and answers are of about a hundred bytes.
const IN_A_MOVE: [u64; 8] = [0, 90, 180, 270, 360, 450, 540, 630];

fn move_disturbed_anywhere(
    server: &dyn Server,
    settings: &DestinationSettings,
    fault: fn(u64) -> Fault,
    judge: fn(Result<(), DestinationError>) -> Result<()>,
) -> Result<()> {
    let (_, down) = cost_of_connecting(server)?;
    let retries = settings.retries;
    let disk = server.disk(Place::Data);
    let jobs: Vec<_> = IN_A_MOVE
        .map(|bytes| {
            disk.write(&format!(".{bytes}.part"), b"content");
            let proxy = server.proxy();
            let settings = server.redirected(settings, proxy.port());
            (bytes, proxy, settings)
        })
        .into();
    side_by_side(jobs, |(bytes, proxy, settings)| {
        proxy.next(Plan::pass().down(fault(down + bytes)));
        let mut destination = match connect(&settings) {
            Ok(destination) => destination,
            // Connecting took a few bytes more than before.
            Err(error) if error.kind == ErrorKind::Unreachable => connect(&settings)?,
            Err(error) => return Err(error.into()),
        };
        judge(destination.move_new(&format!(".{bytes}.part"), &format!("{bytes}.tgz")))
            .with_context(|| format!("after {bytes} bytes"))
    })?;
    for bytes in IN_A_MOVE {
        let (part, whole) = (disk.read(&format!(".{bytes}.part")), disk.read(&format!("{bytes}.tgz")));
        ensure!(retries == 0 || (part.is_none() && whole.is_some()), "not moved after {bytes} bytes");
        ensure!(part.or(whole).as_deref().is_some_and(|held| held == b"content"), "lost after {bytes} bytes");
    }
    Ok(())
}

fn silent_in_a_move(server: &dyn Server) -> Result<()> {
    let settings = impatient(server, Place::Data);
    move_disturbed_anywhere(server, &settings, Fault::StallAfter, |result| match result {
        Err(error) => {
            ensure!(error.kind == ErrorKind::Unreachable && told(&error).contains("no byte moved"), "{}", told(&error));
            Ok(())
        }
        Ok(()) => Ok(()),
    })
}

fn cut_in_a_move(server: &dyn Server) -> Result<()> {
    let judge = |result: Result<(), _>| result.map_err(|error| anyhow::anyhow!("{}", told(&error)));
    let settings = DestinationSettings { retries: 2, ..server.settings(Place::Data) };
    move_disturbed_anywhere(server, &settings, Fault::ResetAfter, judge)
}

fn silent_questions(server: &dyn Server) -> Result<()> {
    let settings = impatient(server, Place::Data);
    let ask: &[fn(&mut dyn Destination) -> Option<DestinationError>] = &[
        |destination| destination.list().err(),
        |destination| destination.stat("x").err(),
        |destination| destination.remove("x").err(),
        |destination| match destination.capabilities().free_space {
            true => destination.free_space().err(),
            false => destination.list().err(),
        },
        |destination| destination.get("x", 0, &mut |_| Ok(())).err(),
    ];
    let connected: Vec<_> = ask.iter().map(|ask| Ok((ask, connect(&settings)?))).collect::<Result<_>>()?;
    server.disk(Place::Data).write("x", b"x");
    server.freeze();
    side_by_side(connected.into_iter().enumerate(), |(number, (ask, mut destination))| {
        let error = ask(&mut *destination).with_context(|| format!("question {number} was answered"))?;
        ensure!(error.kind == ErrorKind::Unreachable, "question {number}: {}", told(&error));
        Ok(())
    })
}

fn cut_connect(server: &dyn Server) -> Result<()> {
    let (_, down) = cost_of_connecting(server)?;
    let settings = DestinationSettings { retries: 1, ..server.settings(Place::Data) };
    let jobs: Vec<_> = (0..=8)
        .map(|tenth| {
            let proxy = server.proxy();
            let settings = server.redirected(&settings, proxy.port());
            (tenth, proxy, settings)
        })
        .collect();
    side_by_side(jobs, |(tenth, proxy, settings)| {
        let bytes = down * tenth / 10;
        let fault = if tenth % 2 == 0 { Fault::ResetAfter(bytes) } else { Fault::CloseAfter(bytes) };
        proxy.next(Plan::pass().down(fault));
        let mut destination =
            connect(&settings).map_err(|error| anyhow::anyhow!("{tenth} tenths: {}", told(&error)))?;
        // A third one may find out for people why the first was of no use.
        let connections = proxy.connections();
        ensure!((2..=3).contains(&connections), "{tenth} tenths: {connections} connections");
        destination.list().map(|_| ()).with_context(|| format!("{tenth} tenths"))
    })
}

fn cut_upload(server: &dyn Server) -> Result<()> {
    let (up, _) = cost_of_connecting(server)?;
    let sent = content(8_000_000, 14);
    let settings = DestinationSettings { retries: 2, ..server.settings(Place::Data) };
    let jobs: Vec<_> = (0..=10u64)
        .map(|tenth| {
            let proxy = server.proxy();
            let settings = server.redirected(&settings, proxy.port());
            (tenth, proxy, settings)
        })
        .collect();
    side_by_side(jobs, |(tenth, proxy, settings)| {
        let bytes = up + sent.len() as u64 * tenth / 10;
        let fault = if tenth % 2 == 0 { Fault::ResetAfter(bytes) } else { Fault::CloseAfter(bytes) };
        proxy.next(Plan::pass().up(fault));
        let mut destination = connect(&settings)?;
        let (part, name) = (format!(".{tenth}.part"), format!("{tenth}.tgz"));
        let put = destination.put(&part, &mut Cursor::new(&sent), 0);
        put.map_err(|error| anyhow::anyhow!("{tenth} tenths: {}", told(&error)))?;
        if destination.capabilities().atomic_put {
            return Ok(());
        }
        destination.move_new(&part, &name).with_context(|| format!("{tenth} tenths"))?;
        // Where everything was sent and the answer did not come, a further one may have looked for the file.
        ensure!((2..=3).contains(&proxy.connections()), "{tenth} tenths: {} connections", proxy.connections());
        Ok(())
    })?;
    let disk = server.disk(Place::Data);
    for tenth in 0..=10 {
        let name = if server.capabilities().atomic_put { format!(".{tenth}.part") } else { format!("{tenth}.tgz") };
        ensure!(disk.read(&name).as_ref() == Some(&sent), "cut at {tenth} tenths, it is not intact");
    }
    ensure!(disk.names().len() == 11, "{:?}", disk.names());
    Ok(())
}

fn cut_put_new(server: &dyn Server) -> Result<()> {
    let (up, _) = cost_of_connecting(server)?;
    let sent = content(8_000_000, 17);
    let disk = server.disk(Place::Data);
    for retries in [0, 2] {
        let settings = DestinationSettings { retries, ..server.settings(Place::Data) };
        let jobs: Vec<_> = (0..=10u64)
            .map(|tenth| {
                let proxy = server.proxy();
                let settings = server.redirected(&settings, proxy.port());
                (tenth, proxy, settings)
            })
            .collect();
        side_by_side(jobs, |(tenth, proxy, settings)| {
            proxy.next(Plan::pass().up(Fault::ResetAfter(up + sent.len() as u64 * tenth / 10)));
            let name = format!("{tenth}-{retries}.tgz");
            let put =
                connect(&settings).and_then(|mut destination| destination.put_new(&name, &mut Cursor::new(&sent)));
            match put {
                Err(error) if retries == 0 && error.kind == ErrorKind::Unreachable => Ok(()),
                // Whether the file of an attempt whose answer was lost is ours, its content tells whoever publishes.
                Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(anyhow::anyhow!("{tenth} tenths: {}", told(&error))),
                Ok(()) => Ok(()),
            }
        })?;
        for tenth in 0..=10 {
            let held = disk.read(&format!("{tenth}-{retries}.tgz"));
            ensure!(held.is_some() || retries == 0, "cut at {tenth} tenths, it never came");
            ensure!(held.is_none_or(|held| held == sent), "cut at {tenth} tenths, it shows a part");
        }
    }
    Ok(())
}

fn cut_download(server: &dyn Server) -> Result<()> {
    let (_, down) = cost_of_connecting(server)?;
    let held = content(8_000_000, 15);
    server.disk(Place::Data).write("x", &held);
    let settings = DestinationSettings { retries: 2, ..server.settings(Place::Data) };
    let jobs: Vec<_> = (1..=9u64)
        .map(|tenth| {
            let proxy = server.proxy();
            let settings = server.redirected(&settings, proxy.port());
            (tenth, proxy, settings)
        })
        .collect();
    side_by_side(jobs, |(tenth, proxy, settings)| {
        proxy.next(Plan::pass().down(Fault::ResetAfter(down + held.len() as u64 * tenth / 10)));
        let mut destination = connect(&settings)?;
        let got = read(&mut *destination, "x", 0);
        let got = got.map_err(|error| anyhow::anyhow!("{tenth} tenths: {}", told(&error)))?;
        ensure!(got == held, "cut at {tenth} tenths, it is not intact");
        ensure!(proxy.connections() == 2, "{tenth} tenths: {} connections", proxy.connections());
        Ok(())
    })
}

fn cut_for_good(server: &dyn Server) -> Result<()> {
    let (up, _) = cost_of_connecting(server)?;
    let proxy = server.proxy();
    proxy.next(Plan::pass().up(Fault::ResetAfter(up + 4_000_000)));
    let mut destination = connect(&server.redirected(&server.settings(Place::Data), proxy.port()))?;
    let sent = content(20_000_000, 16);
    let result = destination.put(".x.part", &mut Cursor::new(&sent), 0);
    let certain_bytes = result.as_ref().err().and_then(DestinationError::certain_bytes);
    says(&refused(server, result, ErrorKind::Unreachable)?, &[".x.part"])?;
    let disk = server.disk(Place::Data);
    if !server.capabilities().resume {
        return Ok(());
    }
    ensure!(disk.names() == [".x.part"], "{:?}", disk.names());
    // What did arrive is the beginning of it, as far as the error says, so that another attempt may go on from there.
    let mut held = disk.read(".x.part").expect("just listed");
    ensure!(certain_bytes.is_none() || destination.unsettled_bytes() > 0, "gaps where there should be none");
    held.truncate(certain_bytes.map_or(usize::MAX, |bytes| bytes as usize));
    ensure!(!held.is_empty() && sent.starts_with(&held), "{} bytes of something else", held.len());
    Ok(())
}
