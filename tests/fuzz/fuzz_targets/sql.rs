//! Arbitrary bytes as a dump: what is found does not depend on how they are cut, is short, and something left open at the
//! end is seen. The first byte chooses the pieces and the settings.
#![no_main]

use archive_fuzz::config::settings::{Complete, VolatileLines};
use archive_fuzz::digest::Digest;
use archive_fuzz::dump::{Completeness, DumpFindings, DumpScanner};
use libfuzzer_sys::fuzz_target;

fn scan(dump: &[u8], size: usize, volatile: VolatileLines) -> DumpFindings {
    let mut scanner = DumpScanner::new(Complete::Auto, volatile);
    dump.chunks(size).for_each(|piece| scanner.update(piece));
    scanner.finish()
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, dump)) = data.split_first() else {
        return;
    };
    let size = [1, 2, 7, 64, 1000, 8192][first as usize % 6];
    let volatile = || if first < 200 { VolatileLines::Auto } else { VolatileLines::None };
    let whole = scan(dump, dump.len().max(1), volatile());
    assert_eq!(scan(dump, size, volatile()), whole, "in pieces of {size}");
    assert_eq!(whole.sha256, Digest::of(dump));
    assert!(whole.warnings.len() <= 16 && whole.completeness.to_string().len() <= 500);
    if let Completeness::Complete { .. } = whole.completeness {
        let open = [dump, b"\nINSERT INTO t VALUES ('x"].concat();
        let findings = scan(&open, size, volatile());
        assert!(!matches!(findings.completeness, Completeness::Complete { .. }), "an open string passes");
    }
});
