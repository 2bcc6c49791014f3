//! `[source]`: where the zip comes from.

use std::time::Duration;

use url::Url;

use super::reader::{Item, Table};
use super::secret::{self, Secret};
use super::settings::{self, ClientCert, HttpAuth, SourceSettings};

/// Request headers that the download sets itself; a second one would break resuming or the length check.
const OUR_HEADERS: [&str; 9] = [
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "transfer-encoding",
];

/// Reads the table.
pub(super) fn read(table: &Table<'_>) -> Option<SourceSettings> {
    let allow_http = table.boolean("allow_http", false);
    let url = table
        .required("url", "\"https://intranet.example.org/exports/boutique.zip\"")
        .and_then(|item| url(&item, allow_http));
    let entry = table.required("entry", "\"boutique.sql\"").and_then(|item| item.string());
    // As `unzip` and `tar` take an absolute name.
    let entry = entry.map(|entry| entry.trim_start_matches('/').to_owned()).filter(|entry| !entry.is_empty());
    let headers = table.item("headers").map(|item| headers(&item)).unwrap_or_default();
    let auth = auth(table, &headers);
    let proxy = table.item("proxy").and_then(|item| proxy(&item));
    let client_cert = match (table.file("client_cert_file"), table.file("client_key_file")) {
        (Some(cert_file), Some(key_file)) => Some(ClientCert { cert_file, key_file }),
        _ => None,
    };
    for (one, other) in [("client_cert_file", "client_key_file"), ("client_key_file", "client_cert_file")] {
        if !table.has(other)
            && let Some(item) = table.item(one)
        {
            item.key_problem(format!("needs `{other}` beside it"), None);
        }
    }
    // What may be missing comes last: everything must have been asked for, so that every problem is known.
    Some(SourceSettings {
        auth,
        headers,
        ca_file: table.file("ca_file"),
        client_cert,
        proxy,
        max_redirects: table.integer("max_redirects", 0..=20).unwrap_or(5),
        allow_http,
        connect_timeout: table.duration("connect_timeout", Duration::from_secs(15)),
        stall_timeout: table.duration("stall_timeout", Duration::from_secs(60)),
        time_limit: table.duration("time_limit", settings::TIME_LIMIT),
        retries: table.integer("retries", 0..=100).unwrap_or(4),
        max_download: table.size("max_download", 100_000_000_000),
        trust_directory: table.boolean("trust_directory", true),
        zip_password: table.secret("zip_password"),
        url: url?,
        entry: entry?,
    })
}

fn url(item: &Item<'_>, allow_http: bool) -> Option<Url> {
    let text = item.string()?;
    // The text is never quoted: it may hold a password.
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(error) => {
            let help = "write the whole address, for example `https://intranet.example.org/exports/boutique.zip`";
            item.problem(format!("is not a URL: {}", error.to_string().to_lowercase()), Some(help.to_owned()));
            return None;
        }
    };
    if !["https", "http"].contains(&url.scheme()) {
        item.problem(format!("`{}` is not supported", url.scheme()), Some("a source is `https://…`".to_owned()));
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        item.problem("must not hold credentials", Some("write `username` and `password` under `[source]`".to_owned()));
        return None;
    }
    if url.scheme() == "http" && !allow_http {
        item.problem(
            "plain `http` can be read and changed on its way",
            Some("use `https`, or add `allow_http = true` if the network is trusted".to_owned()),
        );
        return None;
    }
    Some(url)
}

fn auth(table: &Table<'_>, headers: &[(String, Secret)]) -> Option<HttpAuth> {
    let username = table.string("username");
    let password = table.secret("password");
    let token = table.secret("bearer_token");
    let other_login = ["username", "password"].into_iter().find(|key| table.has(key));
    if let Some((item, other)) = table.item("bearer_token").zip(other_login) {
        item.key_problem(format!("excludes `{other}`"), Some("a source takes one of the two".to_owned()));
        return None;
    }
    for (one, other) in [("username", "password"), ("password", "username")] {
        if !table.has(other)
            && let Some(item) = table.item(one)
        {
            item.key_problem(format!("needs `{other}` beside it"), None);
        }
    }
    let authorization = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    if authorization && let Some(item) = table.item("username").or_else(|| table.item("bearer_token")) {
        item.key_problem("excludes an `Authorization` header of your own", Some("remove one of the two".to_owned()));
    }
    match (username, password, token) {
        (Some(username), Some(password), _) => Some(HttpAuth::Basic { username, password }),
        (_, _, Some(token)) => Some(HttpAuth::Bearer(token)),
        _ => None,
    }
}

fn headers(item: &Item<'_>) -> Vec<(String, Secret)> {
    let Some(table) = item.table("headers") else { return Vec::new() };
    let mut headers = Vec::new();
    for (name, item) in table.free_items() {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            item.key_problem(format!("`{name}` is no name of an HTTP header"), None);
        } else if OUR_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            item.key_problem(format!("`{name}` is set by the download itself"), Some("remove it".to_owned()));
        } else if let Some(value) = secret::read(&item) {
            if value.expose().chars().any(char::is_control) {
                item.problem("holds a line break or another control character", None);
            } else {
                headers.push((name, value));
            }
        }
    }
    headers
}

fn proxy(item: &Item<'_>) -> Option<Secret> {
    let in_clear = item.context.clear_secrets.borrow().len();
    let secret = secret::read(item)?;
    let help = || Some("write `http://…`, `https://…` or `socks5://…`".to_owned());
    match Url::parse(secret.expose()) {
        Ok(url) if ["http", "https", "socks5", "socks5h"].contains(&url.scheme()) && url.has_host() => {
            if url.password().is_none() {
                // Without a password in it, a proxy is nothing that others must not read.
                item.context.clear_secrets.borrow_mut().truncate(in_clear);
            }
            Some(secret)
        }
        Ok(url) => {
            item.problem(format!("`{}` is no proxy that archive can use", url.scheme()), help());
            None
        }
        Err(error) => {
            item.problem(format!("is not a URL: {}", error.to_string().to_lowercase()), help());
            None
        }
    }
}
