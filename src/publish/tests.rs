//! Publishing on a destination in memory, with scripted faults.

use std::fs;

use chrono::NaiveDate;

use super::*;
use crate::destination::Capabilities;
use crate::destination::memory::{Fault, MemoryServer, Operation};

struct Bench {
    dir: tempfile::TempDir,
    server: MemoryServer,
    pattern: NamePattern,
    name: ArchiveName,
    interrupt: Interrupt,
    content: Vec<u8>,
    verify: Verify,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        fs::write(dir.path().join("a.tgz"), &content).unwrap();
        let pattern = NamePattern::default();
        let name = pattern.name(NaiveDate::from_ymd_opt(2026, 11, 20).unwrap(), 1);
        Bench {
            dir,
            server: MemoryServer::new(),
            pattern,
            name,
            interrupt: Interrupt::default(),
            content,
            verify: Verify::Checksum,
        }
    }

    fn publish(&self) -> Result<Publishing, DestinationError> {
        let mut destination = self.server.connect()?;
        let mut listing = destination.list()?;
        let publishing = self.publish_into(&mut destination, &mut listing)?;
        let mut listed: Vec<String> =
            listing.into_iter().filter(|entry| entry.is_file).map(|entry| entry.name).collect();
        listed.sort();
        let mut names = self.server.names();
        names.sort();
        assert_eq!(listed, names, "the listing was not kept up to date");
        Ok(publishing)
    }

    fn publish_into(
        &self,
        destination: &mut dyn Destination,
        listing: &mut Vec<Entry>,
    ) -> Result<Publishing, DestinationError> {
        let path = self.dir.path().join("a.tgz");
        let archive = Publication {
            path: &path,
            name: &self.name,
            bytes: self.content.len() as u64,
            sha256: Digest(Sha256::digest(&self.content).into()),
        };
        let publisher = Publisher {
            job: "shop",
            pattern: &self.pattern,
            verify: self.verify,
            sidecar: true,
            interrupt: &self.interrupt,
            progress: &|_| {},
        };
        publisher.publish(destination, &archive, listing)
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.server.names();
        names.sort();
        names
    }
}

#[test]
fn the_archive_and_its_sidecar_are_there_and_nothing_else() {
    let bench = Bench::new();
    let publishing = bench.publish().unwrap();
    assert!(!publishing.was_there && publishing.warning.is_none());
    assert_eq!(bench.names(), ["20261120.tgz", "20261120.tgz.sha256"]);
    assert_eq!(bench.server.read("20261120.tgz").unwrap(), bench.content);
    let sidecar = String::from_utf8(bench.server.read("20261120.tgz.sha256").unwrap()).unwrap();
    assert_eq!(sidecar, format!("{}  20261120.tgz\n", Digest(Sha256::digest(&bench.content).into())));
}

#[test]
fn the_same_content_under_the_name_is_nothing_to_do() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let puts = bench.server.count(Operation::Put);
    assert!(bench.publish().unwrap().was_there);
    assert_eq!(bench.server.count(Operation::Put), puts);
}

#[test]
fn other_content_under_the_name_stays_and_ours_gets_a_suffix() {
    for other in [b"something else".to_vec(), vec![7; 1_200_000]] {
        let bench = Bench::new();
        bench.server.write("20261120.tgz", &other);
        bench.server.make_directory("20261120-2.tgz");
        bench.server.write("20261120-3.tgz.sha256", b"an orphan");
        assert_eq!(bench.publish().unwrap().name.as_str(), "20261120-4.tgz");
        assert_eq!(bench.server.read("20261120.tgz").unwrap(), other);
        assert_eq!(bench.server.read("20261120-4.tgz").unwrap(), bench.content);
    }
}

#[test]
fn our_leftover_is_resumed_only_if_it_is_a_true_beginning() {
    let bench = Bench::new();
    let part = bench.name.part_name("shop");
    bench.server.write(&part, &bench.content[..500_000]);
    bench.publish().unwrap();
    assert_eq!(bench.server.read("20261120.tgz").unwrap(), bench.content);

    let bench = Bench::new();
    bench.server.write(&part, &vec![9; 500_000]);
    bench.publish().unwrap();
    assert_eq!(bench.server.read("20261120.tgz").unwrap(), bench.content);
    assert_eq!(bench.names(), ["20261120.tgz", "20261120.tgz.sha256"]);
}

#[test]
fn a_leftover_with_gaps_near_its_end_is_resumed_before_them() {
    let bench = Bench::new();
    bench.server.set_unsettled_bytes(100_000);
    let mut left = bench.content[..500_000].to_vec();
    left[420_000..430_000].fill(0);
    let part = bench.name.part_name("shop");
    bench.server.write(&part, &left);
    bench.publish().unwrap();
    assert_eq!(bench.server.put_offsets()[0], 400_000);
    assert_eq!(bench.server.read("20261120.tgz").unwrap(), bench.content);

    // Without any, not a byte is sent twice.
    let bench = Bench::new();
    bench.server.set_unsettled_bytes(100_000);
    bench.server.write(&part, &bench.content[..500_000]);
    bench.publish().unwrap();
    assert_eq!(bench.server.put_offsets()[0], 500_000);
}

#[test]
fn a_resume_that_is_refused_starts_again_in_the_same_call() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Other] {
        let bench = Bench::new();
        bench.server.write(&bench.name.part_name("shop"), &bench.content[..500_000]);
        bench.server.script(Fault::new(Operation::Put, kind));
        bench.publish().unwrap();
        assert_eq!(bench.server.read("20261120.tgz").unwrap(), bench.content);
        assert_eq!(bench.names(), ["20261120.tgz", "20261120.tgz.sha256"]);
    }
    // A disk that is full keeps what there is.
    let bench = Bench::new();
    bench.server.write(&bench.name.part_name("shop"), &bench.content[..500_000]);
    bench.server.script(Fault::new(Operation::Put, ErrorKind::NoSpace));
    assert_eq!(bench.publish().unwrap_err().kind, ErrorKind::NoSpace);
    assert_eq!(bench.server.read(&bench.name.part_name("shop")).unwrap().len(), 500_000);
}

#[test]
fn a_leftover_that_cannot_be_read_is_sent_again() {
    let bench = Bench::new();
    let capabilities = bench.server.connect().unwrap().capabilities();
    bench.server.set_capabilities(Capabilities { checksum_by_server: false, ..capabilities });
    bench.server.write(&bench.name.part_name("shop"), &bench.content[..500_000]);
    bench.server.script(Fault::new(Operation::Get, ErrorKind::PermissionDenied));
    bench.publish().unwrap();
    assert_eq!(bench.server.put_offsets()[0], 0);
}

#[test]
fn the_size_alone_proves_only_what_was_written_in_one_straight_piece() {
    let mut bench = Bench::new();
    bench.verify = Verify::Size;
    assert_eq!(bench.publish().unwrap().verified_by, VerifiedBy::Size);

    let mut bench = Bench::new();
    bench.verify = Verify::Size;
    bench.server.write(&bench.name.part_name("shop"), &bench.content[..500_000]);
    assert_eq!(bench.publish().unwrap().verified_by, VerifiedBy::ServerChecksum);
}

#[test]
fn a_file_that_goes_on_after_its_size_is_not_read_to_its_end() {
    let bench = Bench::new();
    bench.publish().unwrap();
    let capabilities = bench.server.connect().unwrap().capabilities();
    bench.server.set_capabilities(Capabilities { checksum_by_server: false, ..capabilities });
    let longer = [&bench.content[..], b"more"].concat();
    bench.server.write("20261120.tgz", &longer);
    let mut destination = bench.server.connect().unwrap();
    let sha256 = Digest(Sha256::digest(&bench.content).into());
    let publisher = Publisher {
        job: "shop",
        pattern: &bench.pattern,
        verify: Verify::Checksum,
        sidecar: true,
        interrupt: &bench.interrupt,
        progress: &|_| {},
    };
    let bytes = bench.content.len() as u64;
    assert_eq!(publisher.holds(&mut destination, "20261120.tgz", bytes, sha256).unwrap(), None);
}

#[test]
fn a_failed_upload_leaves_nothing_under_a_name_that_counts() {
    let bench = Bench::new();
    bench.server.script(Fault::new(Operation::Put, ErrorKind::Unreachable).after_bytes(100_000));
    assert_eq!(bench.publish().unwrap_err().kind, ErrorKind::Unreachable);
    assert!(bench.names().iter().all(|name| name.ends_with(".part")), "{:?}", bench.names());
}

#[test]
fn a_move_that_happened_although_it_failed_is_recognised() {
    let bench = Bench::new();
    bench.server.script(Fault::new(Operation::MoveNew, ErrorKind::Unreachable).done_all_the_same());
    assert_eq!(bench.publish().unwrap().name.as_str(), "20261120.tgz");
}

#[test]
fn a_sidecar_that_cannot_be_written_is_a_warning() {
    let bench = Bench::new();
    bench.server.set_capacity(Some(bench.content.len() as u64 + 10));
    let publishing = bench.publish().unwrap();
    assert!(publishing.warning.is_some());
    assert_eq!(bench.server.read("20261120.tgz").unwrap(), bench.content);
}

/// A server where files show once they are whole, and cannot be renamed.
fn atomic() -> Bench {
    let bench = Bench::new();
    let capabilities = Capabilities { move_refuses_to_clobber: true, atomic_put: true, ..Capabilities::NONE };
    bench.server.set_capabilities(capabilities);
    bench
}

#[test]
fn an_atomic_put_needs_no_temporary_name() {
    let bench = atomic();
    let publishing = bench.publish().unwrap();
    assert_eq!((publishing.was_there, publishing.verified_by), (false, VerifiedBy::ReadBack));
    assert_eq!(bench.names(), ["20261120.tgz", "20261120.tgz.sha256"]);
    assert_eq!(bench.server.read("20261120.tgz").unwrap(), bench.content);
    let written = bench.server.calls().into_iter().filter(|(operation, _)| *operation == Operation::Put).count();
    assert_eq!(written + bench.server.count(Operation::MoveNew), 0);
    assert!(bench.publish().unwrap().was_there);
}

#[test]
fn an_atomic_put_whose_answer_was_lost_is_found_the_next_time() {
    let bench = atomic();
    bench.server.script(Fault::new(Operation::PutNew, ErrorKind::Unreachable).done_all_the_same());
    assert_eq!(bench.publish().unwrap_err().kind, ErrorKind::Unreachable);
    assert!(bench.publish().unwrap().was_there);
    assert_eq!(bench.names(), ["20261120.tgz", "20261120.tgz.sha256"]);
}

#[test]
fn an_atomic_put_on_a_name_that_was_taken_meanwhile_leaves_it_alone() {
    for other in [b"something else".to_vec(), vec![7; 1_200_000]] {
        let bench = atomic();
        // As if somebody had written it right after the listing.
        let mut destination = bench.server.connect().unwrap();
        let mut listing = destination.list().unwrap();
        bench.server.write("20261120.tgz", &other);
        let publishing = bench.publish_into(&mut destination, &mut listing).unwrap();
        assert_eq!((publishing.name.as_str(), publishing.was_there), ("20261120-2.tgz", false));
        assert_eq!(bench.server.read("20261120.tgz").unwrap(), other);
    }
}

#[test]
fn a_name_taken_meanwhile_costs_no_second_upload() {
    let bench = Bench::new();
    let mut destination = bench.server.connect().unwrap();
    let mut listing = destination.list().unwrap();
    bench.server.write("20261120.tgz", b"something else");
    let publishing = bench.publish_into(&mut destination, &mut listing).unwrap();
    assert_eq!(publishing.name.as_str(), "20261120-2.tgz");
    assert_eq!(bench.names(), ["20261120-2.tgz", "20261120-2.tgz.sha256", "20261120.tgz"]);
    assert_eq!(bench.server.read("20261120-2.tgz").unwrap(), bench.content);
}
