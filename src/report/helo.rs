//! The name this machine gives itself in EHLO (RFC 5321 §4.1.1.1): its full name, or its address where it has none.
//!
//! Servers that demand a full name (Postfix `reject_non_fqdn_helo_hostname`) refuse the short one that `uname` often gives,
//! and take an address literal (RFC 5321 §4.1.3).

use std::fs;
use std::net::IpAddr;

/// The name of this machine for a connection from `local`.
pub(super) fn name(local: Option<IpAddr>) -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    chosen(&host, &fs::read_to_string("/etc/hosts").unwrap_or_default(), local)
}

fn chosen(host: &str, hosts: &str, local: Option<IpAddr>) -> String {
    if is_full(host) {
        return host.to_owned();
    }
    // `127.0.1.1 db1.example.org db1`: the canonical name comes first (hosts(5)).
    let canonical = hosts.lines().find_map(|line| {
        let mut names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        let first = names.next()?;
        (is_full(first) && names.any(|alias| alias == host)).then(|| first.to_owned())
    });
    canonical.unwrap_or_else(|| literal(local.unwrap_or(IpAddr::from([127, 0, 0, 1]))))
}

fn literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// Whether this is a domain name of at least two labels that says more than "this machine".
fn is_full(name: &str) -> bool {
    is_domain(name) && name.contains('.') && !name.starts_with("localhost.")
}

/// Whether this may stand in EHLO: a domain name or an address literal.
pub(crate) fn is_valid(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.strip_prefix("IPv6:").unwrap_or(inner).parse::<IpAddr>().is_ok(),
        None => is_domain(name),
    }
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_is_taken_where_there_is_one_and_the_address_otherwise() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 db1.example.org db1 # us\n10.0.0.9 other.example.org other\n";
        let local = "10.0.0.5".parse().ok();
        assert_eq!(chosen("db1.example.net", hosts, local), "db1.example.net");
        assert_eq!(chosen("db1", hosts, local), "db1.example.org");
        assert_eq!(chosen("3f9a8c", hosts, local), "[10.0.0.5]");
        assert_eq!(chosen("localhost.localdomain", "", "fd00::5".parse().ok()), "[IPv6:fd00::5]");
        assert_eq!(chosen("bad_name.example", "", "::ffff:10.0.0.5".parse().ok()), "[10.0.0.5]");
    }

    #[test]
    fn what_may_stand_in_ehlo() {
        for good in ["db1.example.org", "db1", "[10.0.0.5]", "[IPv6:fd00::5]"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "a b", "a\r\nMAIL", "[nowhere]", "-a.example", "a..b", "été.example"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
