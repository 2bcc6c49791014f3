//! Against servers that answer in ways which people met, by a script.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Cursor, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::config::secret::Secret;
use crate::config::settings::FtpSecurity;

const LISTED: &str = "11-19-26  05:55PM                   12 20261119.tgz\r\n";

/// What a server answers to a command; `PORT` stands for that of a data connection, `HI,LO` for its two halves.
type Script = &'static [(&'static str, &'static str)];

/// A server in the manner of the first ones, but for what the script says.
fn connect(script: Script) -> FtpDestination {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for control in listener.incoming().flatten() {
            thread::spawn(move || serve(control, script));
        }
    });
    let settings = FtpSettings {
        security: FtpSecurity::None,
        host: "127.0.0.1".to_owned(),
        port,
        username: "archive".to_owned(),
        password: Secret::new("secret"),
        path: "/".to_owned(),
        ca_file: None,
    };
    let timeouts = Timeouts { connect: Duration::from_secs(10), stall: Duration::from_secs(10) };
    FtpDestination::open(&settings, timeouts, &Interrupt::default()).unwrap()
}

fn serve(mut control: TcpStream, script: Script) {
    let script: BTreeMap<_, _> = script.iter().copied().collect();
    let mut commands = BufReader::new(control.try_clone().unwrap());
    let mut data: Option<TcpListener> = None;
    let mut stored = LISTED.replace("12 2026", "7 2026").replace("20261119.tgz", "x");
    control.write_all(b"220 ready\r\n").unwrap();
    let mut line = String::new();
    while commands.read_line(&mut line).is_ok_and(|count| count > 0) {
        let verb = line.trim_end().split(' ').next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let usual = match verb {
            "USER" => "331 password",
            "PASS" => "230 in",
            "CWD" | "DELE" => "250 done",
            "TYPE" | "NOOP" => "200 done",
            "PASV" => "227 Entering Passive Mode (10,0,0,1,HI,LO)",
            "LIST" | "STOR" | "RETR" => "150 here",
            _ => "500 what?",
        };
        let halves = format!("{},{}", port >> 8, port & 255);
        let answer =
            script.get(verb).copied().unwrap_or(usual).replace("PORT", &port.to_string()).replace("HI,LO", &halves);
        control.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
        if answer.starts_with("22") {
            data = Some(listener);
        }
        if answer.starts_with("150") {
            let (mut data, _) = data.take().expect("asked for before").accept().unwrap();
            if verb == "LIST" {
                data.write_all(format!("{LISTED}{stored}").as_bytes()).unwrap();
            } else if verb == "STOR" {
                let mut bytes = Vec::new();
                data.read_to_end(&mut bytes).unwrap();
                stored = LISTED.replace("12 2026", &format!("{} 2026", bytes.len())).replace("20261119.tgz", "x");
            }
            drop(data);
            control.write_all(b"226 done\r\n").unwrap();
        }
        line.clear();
    }
}

#[test]
fn servers_that_know_little_or_answer_in_their_own_way_serve() {
    for script in [
        // Nothing that is not in RFC 959, and every refusal for the time being.
        &[] as Script,
        &[("FEAT", "451 no"), ("OPTS", "451 no"), ("SIZE", "451 no"), ("MDTM", "450 no"), ("MLST", "450 no")],
        &[("FEAT", "211 no features")],
        &[("FEAT", "211-Features\r\nEPSV\r\nMLST type*;\r\n211 End"), ("MLST", "550 not allowed"), ("MLSD", "550 no")],
        // basic-ftp #164: UTF-8 is always on.
        &[("OPTS", "202 UTF8 mode is always enabled. No need to send this command.")],
        // basic-ftp #135 and #164: PASV's answer to EPSV. FTP-Simple #202: an IBM i with other signs around the port.
        &[("FEAT", "211-F\r\n EPSV\r\n211 End"), ("EPSV", "227 Entering Passive Mode (10,0,0,1,HI,LO)")],
        &[("FEAT", "211-F\r\n EPSV\r\n211 End"), ("EPSV", "229 Entering Extended Passive Mode (!!!PORT!)")],
        &[("FEAT", "211-F\r\n EPSV\r\n211 End"), ("EPSV", "425 no")],
        // FluentFTP #1391: a port that only EPSV names, and that cannot be reached.
        &[("FEAT", "211-F\r\n EPSV\r\n211 End"), ("EPSV", "229 (|||1|)")],
    ] {
        let mut destination = connect(script);
        destination.put("x", &mut Cursor::new(b"0123456789"), 0).unwrap();
        let listed = destination.list().unwrap();
        let shown: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
        assert_eq!(shown, [("20261119.tgz", 12), ("x", 10)], "{script:?}");
        assert!(destination.stat("none").unwrap().is_none() && destination.stat("20261119.tgz").unwrap().is_some());
    }
}

#[test]
fn a_part_that_may_not_be_gone_on_with_is_sent_again() {
    const FEATURES: (&str, &str) = ("FEAT", "211-F\r\n REST STREAM\r\n211 End");
    for script in [
        &[FEATURES, ("REST", "502 no")] as Script,
        &[FEATURES, ("REST", "451 Append/Restart not permitted, try again")],
        &[FEATURES, ("REST", "501 REST: Resuming transfers not allowed")],
    ] {
        let mut destination = connect(script);
        assert!(destination.capabilities().resume);
        destination.put("x", &mut Cursor::new(b"0123456789"), 7).unwrap();
        assert!(!destination.capabilities().resume, "it is not asked again: {script:?}");
        assert_eq!(destination.list().unwrap()[1].size, 10);
    }
}
