//! The modules under fuzzing, taken in by their files.
//!
//! Not the crate itself: with it came OpenSSH's and TLS's libraries, minutes of building under the sanitizer for code that
//! no target reaches.
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../../src/deflate/mod.rs"]
pub mod deflate;
#[path = "../../../src/digest.rs"]
pub mod digest;
#[path = "../../../src/dump/mod.rs"]
pub mod dump;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/exit_code.rs"]
pub mod exit_code;
#[path = "../../../src/step.rs"]
pub mod step;
#[path = "../../../src/text.rs"]
pub mod text;
#[path = "../../../src/tgz/mod.rs"]
pub mod tgz;
#[path = "../../../src/zip_source/mod.rs"]
pub mod zip_source;

/// Of the configuration only what the dump's scanner asks for.
pub mod config {
    pub mod settings {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Complete {
            Auto,
            Literal(String),
            Off,
        }

        #[derive(Clone, Debug)]
        pub enum VolatileLines {
            Auto,
            Patterns(Vec<regex::bytes::Regex>),
            None,
        }
    }
}

use std::io::Read;

/// The only file in an archive, by a decoder that stops after the first gzip member; nothing may follow that.
pub fn decoded(tgz: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut decoder = flate2::bufread::GzDecoder::new(tgz);
    decoder.read_to_end(&mut tar).expect("a sound gzip member");
    assert!(decoder.into_inner().is_empty(), "something follows the member");
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = archive.entries().expect("a tar");
    let mut content = Vec::new();
    entries.next().expect("a file").expect("a header").read_to_end(&mut content).expect("all of it");
    assert!(entries.next().is_none(), "a second file");
    content
}
