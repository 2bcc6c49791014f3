#!/usr/bin/env bash
# Fuzzes the targets, one after the other: `tests/fuzz/run.sh [seconds]`, 300 each unless told otherwise.
# Needs a nightly compiler (`rustup toolchain install nightly`) and `cargo install cargo-fuzz`. What is found lies in
# tests/fuzz/artifacts and becomes a test of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
for target in splice zip sql; do
    seeds="seeds/$target" max_len=4096 dict=zip.dict
    # The head of a dump alone is 8 KiB.
    if [ "$target" = sql ]; then seeds=../fixtures/dumps max_len=20000 dict=sql.dict; fi
    mkdir -p "corpus/$target"
    # No single allocation above 64 MB, and no more than 512 MB in all, the sanitizer's own included.
    cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "$seeds" -- \
        -max_total_time="${1:-300}" -max_len="$max_len" -malloc_limit_mb=64 -rss_limit_mb=512 -print_final_stats=1 -dict="$dict"
done
