//! S3, spoken just well enough to be believed; it looks at no signature.

use std::sync::Mutex;

use crate::web::{Reply, Request, forged, serve};
use crate::{Behaviour, Hostile, Twin};

pub const S3: Twin = Twin {
    name: "s3",
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
    start: |behaviour| Box::new(S3Server(serve(behaviour, answers(behaviour)))),
};

struct S3Server(u16);

impl Hostile for S3Server {
    fn destination(&self) -> String {
        format!(
            "[[destination]]\nname = \"hostile\"\ntype = \"s3\"\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\n\
             bucket = \"archives\"\naccess_key_id = \"AKID\"\nsecret_access_key = \"secret\"\n",
            self.0
        )
    }
}

fn answers(behaviour: Behaviour) -> impl Fn(&Request) -> Reply + Send + Sync {
    let pages = Mutex::new(0);
    move |request| {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let name = path.trim_start_matches("/archives").trim_matches('/');
        let is_listed = name == "20261119.tgz";
        match request.method.as_str() {
            "GET" if name.is_empty() && query.contains("list-type=2") => {
                let mut pages = pages.lock().expect("no panic while held");
                *pages += 1;
                page(behaviour, *pages, query.contains("max-keys=1&"))
            }
            "GET" if is_listed && behaviour == Behaviour::LyingLengths => {
                Reply::new("200 OK", &["Content-Length: 9223372036854775807"], "short")
            }
            "GET" if is_listed => Reply::endless("200 OK", "", |_| vec![7; 1 << 16]),
            "HEAD" if is_listed => Reply::new("200 OK", &["Content-Length: 100"], ""),
            "PUT" if behaviour == Behaviour::Forging => {
                let words = forged(1 << 20);
                let error = format!("<Error><Code>{}</Code><Message>{words}</Message></Error>", forged(5000));
                Reply::new("403 Forbidden", &["Content-Type: application/xml"], error)
            }
            "PUT" => Reply::new("200 OK", &["ETag: \"1\""], ""),
            "DELETE" => Reply::new("204 No Content", &[], ""),
            _ => Reply::new("404 Not Found", &[], ""),
        }
    }
}

fn object(key: &str, bytes: u64) -> String {
    format!("<Contents><Key>{key}</Key><Size>{bytes}</Size></Contents>")
}

fn page(behaviour: Behaviour, number: u64, is_first_look: bool) -> Reply {
    let listed = object("20261119.tgz", if behaviour == Behaviour::LyingLengths { i64::MAX as u64 } else { 100 });
    let (objects, goes_on) = match behaviour {
        _ if is_first_look => (listed, false),
        Behaviour::EndlessListing => {
            let names = (number * 1000)..(number * 1000 + 1000);
            (names.map(|name| object(&format!("{name:x}"), 1)).collect(), true)
        }
        // Under a token that is always new; every other time there is nothing on it.
        Behaviour::RepeatingListing => (if number.is_multiple_of(2) { listed } else { String::new() }, true),
        Behaviour::Forging => {
            let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            (object(&escaped(&forged(1000).replace('/', "")), 100), false)
        }
        _ => (listed, false),
    };
    let next = if goes_on { format!("<NextContinuationToken>{number}</NextContinuationToken>") } else { String::new() };
    Reply::new(
        "200 OK",
        &["Content-Type: application/xml"],
        format!(
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{goes_on}</IsTruncated>{next}{objects}</ListBucketResult>"
        ),
    )
}
