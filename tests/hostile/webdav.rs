//! WebDAV, spoken just well enough to be believed.

use std::sync::Mutex;

use crate::web::{Reply, Request, forged, serve};
use crate::{Behaviour, Hostile, Twin};

pub const WEBDAV: Twin = Twin {
    name: "webdav",
    needs: &[],
    behaviours: &[
        Behaviour::EndlessFile,
        Behaviour::EndlessListing,
        Behaviour::RepeatingListing,
        Behaviour::Dripping,
        Behaviour::Silent,
        Behaviour::LyingLengths,
        Behaviour::Forging,
    ],
    start: |behaviour| Box::new(Webdav::start(behaviour)),
};

struct Webdav(u16);

impl Webdav {
    fn start(behaviour: Behaviour) -> Self {
        // Names with their sizes.
        let files = Mutex::new(vec![("20261119.tgz".to_owned(), listed_bytes(behaviour))]);
        Webdav(serve(behaviour, move |request| {
            let mut files = files.lock().expect("no panic while held");
            answer(behaviour, request, &mut files)
        }))
    }
}

impl Hostile for Webdav {
    fn destination(&self) -> String {
        format!(
            "[[destination]]\nname = \"hostile\"\ntype = \"webdav\"\nurl = \"http://127.0.0.1:{}/d/\"\nallow_http = true\n\
             username = \"archive\"\npassword = \"secret\"\nauth = \"basic\"\n",
            self.0
        )
    }
}

fn listed_bytes(behaviour: Behaviour) -> u64 {
    if behaviour == Behaviour::LyingLengths { i64::MAX as u64 } else { 100 }
}

fn answer(behaviour: Behaviour, request: &Request, files: &mut Vec<(String, u64)>) -> Reply {
    let name = request.target.trim_start_matches("/d/").to_owned();
    let found = files.iter().position(|(held, _)| *held == name);
    match (request.method.as_str(), found) {
        ("PROPFIND", _) if name.is_empty() && request.head.contains("depth: 1") => listing(behaviour, files),
        ("PROPFIND", _) if name.is_empty() => multistatus(&collection()),
        ("PROPFIND", Some(at)) => multistatus(&file(&files[at].0, files[at].1)),
        ("GET", Some(_)) => match behaviour {
            Behaviour::LyingLengths => Reply::new("200 OK", &["Content-Length: 9223372036854775807"], "short"),
            _ => Reply::endless("200 OK", "", |_| vec![7; 1 << 16]),
        },
        ("PUT", _) if behaviour == Behaviour::Forging => {
            Reply::new("403 Forbidden", &[], format!("<html><p>{}</p></html>", forged(1 << 20)))
        }
        ("PUT", found) => {
            let bytes =
                request.head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            found.into_iter().for_each(|at| drop(files.remove(at)));
            files.push((name, bytes.unwrap_or(0)));
            Reply::new("201 Created", &[], "")
        }
        ("DELETE", Some(at)) => {
            files.remove(at);
            Reply::new("204 No Content", &[], "")
        }
        _ => Reply::new("404 Not Found", &[], ""),
    }
}

fn collection() -> String {
    "<response><href>/d/</href><propstat><prop><resourcetype><collection/></resourcetype>\
     <quota-available-bytes>9223372036854775807</quota-available-bytes></prop></propstat></response>"
        .to_owned()
}

fn file(name: &str, bytes: u64) -> String {
    format!(
        "<response><href>/d/{name}</href><propstat><prop><getcontentlength>{bytes}</getcontentlength></prop></propstat></response>"
    )
}

fn multistatus(inner: &str) -> Reply {
    Reply::new("207 Multi-Status", &[], format!("{BEGIN}{inner}</multistatus>"))
}

const BEGIN: &str = "<multistatus xmlns=\"DAV:\">";

fn listing(behaviour: Behaviour, files: &[(String, u64)]) -> Reply {
    let held: String = files.iter().map(|(name, bytes)| file(name, *bytes)).collect();
    let beginning = format!("{BEGIN}{}{held}", collection());
    match behaviour {
        // As short as can be: what an entry takes in memory counts, not what it takes on the line.
        Behaviour::EndlessListing => Reply::endless("207 Multi-Status", beginning, |page| {
            let names = (page * 1000)..(page * 1000 + 1000);
            names.map(|number| format!("<response><href>/d/{number:x}</href></response>")).collect::<String>().into()
        }),
        Behaviour::RepeatingListing => {
            Reply::endless("207 Multi-Status", beginning, |_| file("20261118.tgz", 100).repeat(100).into())
        }
        Behaviour::Forging => {
            let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let name = escaped(&forged(1000).replace('/', ""));
            multistatus(&format!("{}{}", collection(), file(&name, 100)))
        }
        _ => multistatus(&format!("{}{held}", collection())),
    }
}
