//! Lines that are cut and servers that fall silent, where every operation is a connection of its own.

use std::io::Cursor;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use archive::config::settings::DestinationSettings;
use archive::destination::{self, Destination, DestinationError, ErrorKind};
use archive::interrupt::Interrupt;

use crate::server::{Case, Feature, Place, Server, content, read, refused, says, told};
use crate::support::proxy::{Fault, Plan, Proxy};

pub const CASES: &[Case] = &[
    Case { name: "a_refused_connection_is_retried_and_says_so", feature: Feature::Calls, run: refused_connection },
    Case { name: "silence_while_connecting_ends_in_the_timeout", feature: Feature::Calls, run: silent_connect },
    Case { name: "silence_in_an_upload_ends_in_the_timeout", feature: Feature::Calls, run: silent_upload },
    Case { name: "silence_in_a_download_ends_in_the_timeout", feature: Feature::Calls, run: silent_download },
    Case { name: "silence_at_any_question_ends_in_the_timeout", feature: Feature::Calls, run: silent_questions },
    Case { name: "connecting_cut_anywhere_is_retried", feature: Feature::Calls, run: cut_connect },
    Case { name: "an_upload_cut_anywhere_shows_all_or_nothing", feature: Feature::Calls, run: cut_upload },
    Case { name: "an_upload_cut_goes_on_from_where_it_was", feature: Feature::Calls, run: resumed_upload },
    Case { name: "a_download_cut_anywhere_is_retried_and_intact", feature: Feature::Calls, run: cut_download },
];

/// A server that is silent for so long is given up; more than a healthy one needs on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where transfers are disturbed, in tenths.
const TENTHS: [u64; 4] = [0, 1, 5, 9];

fn connect(settings: &DestinationSettings) -> Result<Box<dyn Destination>, DestinationError> {
    destination::connect(settings, &Interrupt::default())
}

/// Settings that lead through a new proxy.
fn through_a_proxy(server: &dyn Server, retries: u32) -> (Proxy, DestinationSettings) {
    let proxy = Proxy::start(server.port());
    let settings = server.redirected(&server.settings(Place::Data), proxy.port());
    (proxy, DestinationSettings { retries, ..settings })
}

fn impatient(server: &dyn Server) -> (Proxy, DestinationSettings) {
    let (proxy, settings) = through_a_proxy(server, 0);
    (proxy, DestinationSettings { connect_timeout: PATIENCE, stall_timeout: PATIENCE, ..settings })
}

fn refused_connection(server: &dyn Server) -> Result<()> {
    let (proxy, mut settings) = through_a_proxy(server, 0);
    proxy.refuse(true);
    says(&refused(server, connect(&settings), ErrorKind::Unreachable)?, &["127.0.0.1", "refused", "; hint: "])?;
    settings.retries = 1;
    says(&refused(server, connect(&settings), ErrorKind::Unreachable)?, &["gave up after 2 attempts", "; hint: "])
}

fn silent_connect(server: &dyn Server) -> Result<()> {
    let (proxy, settings) = through_a_proxy(server, 0);
    connect(&settings)?;
    let down = proxy.bytes_down();
    for tenth in TENTHS {
        let (proxy, settings) = impatient(server);
        proxy.always(Plan::pass().down(Fault::StallAfter(down * tenth / 10)));
        let told = refused(server, connect(&settings), ErrorKind::Unreachable)
            .with_context(|| format!("after {tenth} tenths"))?;
        says(&told, &["no byte moved for 2 s"])?;
    }
    Ok(())
}

fn silent_upload(server: &dyn Server) -> Result<()> {
    let (proxy, settings) = impatient(server);
    let mut destination = connect(&settings)?;
    proxy.always(Plan::pass().up(Fault::StallAfter(3_000_000)));
    let result = destination.put_new("20261120.tgz", &mut Cursor::new(content(20_000_000, 11)));
    says(&refused(server, result, ErrorKind::Unreachable)?, &["20261120.tgz", "no byte moved for 2 s"])?;
    ensure!(server.disk(Place::Data).read("20261120.tgz").is_none(), "a part shows");
    Ok(())
}

fn silent_download(server: &dyn Server) -> Result<()> {
    let (proxy, settings) = impatient(server);
    let mut destination = connect(&settings)?;
    server.disk(Place::Data).write("x", &content(20_000_000, 12));
    proxy.always(Plan::pass().down(Fault::StallAfter(5_000_000)));
    let result = read(&mut *destination, "x", 0);
    says(&refused(server, result, ErrorKind::Unreachable)?, &["`x`", "no byte moved for 2 s"])
}

fn silent_questions(server: &dyn Server) -> Result<()> {
    let ask: &[fn(&mut dyn Destination) -> Option<DestinationError>] = &[
        |destination| destination.list().err(),
        |destination| destination.stat("x").err(),
        |destination| destination.remove("x").err(),
        |destination| destination.get("x", 0, &mut |_| Ok(())).err(),
        |destination| destination.put_new("y", &mut Cursor::new(b"y")).err(),
    ];
    let (_proxy, settings) = impatient(server);
    let mut destination = connect(&settings)?;
    server.freeze();
    for (number, ask) in ask.iter().enumerate() {
        let error = ask(&mut *destination).with_context(|| format!("question {number} was answered"))?;
        ensure!(error.kind == ErrorKind::Unreachable, "question {number}: {}", told(&error));
    }
    Ok(())
}

fn cut_connect(server: &dyn Server) -> Result<()> {
    let (proxy, settings) = through_a_proxy(server, 0);
    connect(&settings)?;
    let down = proxy.bytes_down();
    for tenth in TENTHS {
        let (proxy, settings) = through_a_proxy(server, 1);
        let bytes = down * tenth / 10;
        proxy.next(Plan::pass().down(if tenth % 2 == 0 { Fault::ResetAfter(bytes) } else { Fault::CloseAfter(bytes) }));
        let mut destination =
            connect(&settings).map_err(|error| anyhow::anyhow!("{tenth} tenths: {}", told(&error)))?;
        ensure!(proxy.connections() == 2, "{tenth} tenths: {} connections", proxy.connections());
        destination.list().with_context(|| format!("{tenth} tenths"))?;
    }
    Ok(())
}

fn cut_upload(server: &dyn Server) -> Result<()> {
    let sent = content(8_000_000, 17);
    let disk = server.disk(Place::Data);
    for tenth in TENTHS {
        for retries in [0, 1] {
            let (proxy, settings) = through_a_proxy(server, retries);
            let mut destination = connect(&settings)?;
            proxy.next(Plan::pass().up(Fault::ResetAfter(sent.len() as u64 * tenth / 10)));
            let name = format!("{tenth}-{retries}.tgz");
            match destination.put_new(&name, &mut Cursor::new(&sent)) {
                Err(error) if retries == 0 && error.kind == ErrorKind::Unreachable => {
                    ensure!(disk.read(&name).is_none(), "cut at {tenth} tenths, a part shows");
                }
                Err(error) => anyhow::bail!("{tenth} tenths: {}", told(&error)),
                Ok(()) => {
                    ensure!(retries == 1, "{tenth} tenths: it was not cut");
                    ensure!(disk.read(&name).as_ref() == Some(&sent), "cut at {tenth} tenths, it is not intact");
                }
            }
        }
    }
    Ok(())
}

fn resumed_upload(server: &dyn Server) -> Result<()> {
    let sent = content(8_000_000, 18);
    let (proxy, settings) = through_a_proxy(server, 1);
    let mut destination = connect(&settings)?;
    proxy.next(Plan::pass().up(Fault::CloseAfter(6_000_000)));
    destination.put_new("20261120.tgz", &mut Cursor::new(&sent))?;
    let disk = server.disk(Place::Data);
    ensure!(disk.read("20261120.tgz").as_ref() == Some(&sent), "it is not intact");
    ensure!(disk.names() == ["20261120.tgz"], "it leaves something behind: {:?}", disk.names());
    // Whatever was lost on the way and is told once more, it is much less than everything twice.
    ensure!(proxy.bytes_up() < 12_000_000, "{} bytes: it began again", proxy.bytes_up());
    Ok(())
}

fn cut_download(server: &dyn Server) -> Result<()> {
    let held = content(8_000_000, 15);
    server.disk(Place::Data).write("x", &held);
    for tenth in TENTHS {
        let (proxy, settings) = through_a_proxy(server, 1);
        let mut destination = connect(&settings)?;
        proxy.next(Plan::pass().down(Fault::ResetAfter(held.len() as u64 * tenth / 10)));
        let got = read(&mut *destination, "x", 0);
        let got = got.map_err(|error| anyhow::anyhow!("{tenth} tenths: {}", told(&error)))?;
        ensure!(got == held, "cut at {tenth} tenths, it is not intact");
    }
    Ok(())
}
