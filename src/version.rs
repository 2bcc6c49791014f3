//! What `--version` says: which C libraries are in the binary, for whoever has to know whether a weakness concerns it.

use std::sync::OnceLock;

/// What the program was built from.
const LOCK: &str = include_str!("../Cargo.lock");

/// The version, and the C libraries with theirs.
pub(crate) fn long() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(told)
}

fn told() -> String {
    let mut libraries = Vec::new();
    if cfg!(feature = "sftp") {
        let vendored =
            cfg!(feature = "vendored-openssl") && matches!(option_env!("OPENSSL_NO_VENDOR"), None | Some("0"));
        let openssl = if vendored { locked("openssl-src") } else { Some("of the system".to_owned()) };
        libraries.extend(openssl.map(|version| format!("OpenSSL {version}")));
        libraries.extend(locked("libssh2-sys").map(|version| format!("libssh2 (libssh2-sys {version})")));
        libraries.extend(locked("libz-sys").map(|version| format!("zlib (libz-sys {version})")));
    }
    libraries.extend(locked("zstd-sys").map(|version| format!("zstd {version}")));
    libraries.extend(locked("ring").map(|version| format!("ring {version}")));
    format!("{}\nC libraries: {}", env!("CARGO_PKG_VERSION"), libraries.join(", "))
}

/// The version of a package; of one that wraps a C library and says so (`300.6.1+3.6.3`), that of the library.
fn locked(package: &str) -> Option<String> {
    let (_, entry) = LOCK.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    let version = entry.split('"').next()?;
    Some(version.split_once('+').map_or(version, |(_, library)| library.trim_start_matches("zstd.")).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_libraries_are_told_with_their_versions() {
        let text = long();
        assert!(text.starts_with(concat!(env!("CARGO_PKG_VERSION"), "\nC libraries: ")), "{text}");
        assert!(text.contains("zstd 1.") && text.contains("ring 0."), "{text}");
        if cfg!(feature = "sftp") {
            assert!(text.contains("OpenSSL ") && text.contains("libssh2-sys 0."), "{text}");
        }
        assert_eq!(locked("no-such-package"), None);
    }
}
