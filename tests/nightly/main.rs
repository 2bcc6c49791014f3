//! Whole nights: the built program against real servers, from the config file to the mail.

mod job;
#[path = "../support/mod.rs"]
mod support;

mod bad_night;
mod connections;
mod content;
mod destination;
mod dump;
mod here;
mod killed;
mod log;
mod mail;
mod parallel;
mod protocols;
mod secrets;
mod several_nights;
mod smoke;
mod source;
mod threads;
mod tls;
mod unchanged;
mod zip;

use support::harness::Suite;

fn main() -> std::process::ExitCode {
    let mut suite = Suite::new();
    smoke::cases(&mut suite);
    destination::cases(&mut suite);
    source::cases(&mut suite);
    zip::cases(&mut suite);
    tls::cases(&mut suite);
    dump::cases(&mut suite);
    here::cases(&mut suite);
    killed::cases(&mut suite);
    mail::cases(&mut suite);
    parallel::cases(&mut suite);
    threads::cases(&mut suite);
    content::cases(&mut suite);
    secrets::cases(&mut suite);
    several_nights::cases(&mut suite);
    log::cases(&mut suite);
    connections::cases(&mut suite);
    unchanged::cases(&mut suite);
    protocols::cases(&mut suite);
    suite.run()
}
