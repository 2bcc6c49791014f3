#!/usr/bin/env bash
# Fuzzes both targets, one after the other: `tests/fuzz/run.sh [seconds]`, 300 each unless told otherwise.
# Needs a nightly compiler (`rustup toolchain install nightly`) and `cargo install cargo-fuzz`. What is found lies in
# tests/fuzz/artifacts and becomes a test of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
for target in splice zip; do
    mkdir -p "corpus/$target"
    # No single allocation above 64 MB, and no more than 512 MB in all, the sanitizer's own included.
    cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="${1:-300}" -max_len=4096 -malloc_limit_mb=64 -rss_limit_mb=512 -print_final_stats=1 -dict=zip.dict
done
