#!/usr/bin/env bash
# The benchmark: `tests/bench/run.sh [size] [rounds]`, 1 GB and 5 rounds unless told otherwise. Builds the release program,
# measures it beside what people use today, prints the figures and writes them into docs/benchmarks.md. With a third argument
# (packing, whole, near, far, quick, memory) only that table is measured, and printed.
# It is no test: nothing fails on a slow machine. What is not installed is left out, and said to be.
# Debian packages for all of it: curl unzip pigz libarchive-tools openssh-client openssh-server rclone lftp
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
fi
# A plain user's PATH lacks these on Debian.
export PATH="$PATH:/usr/sbin:/sbin"
exec cargo bench --locked --quiet --bench night -- "${1:-1 GB}" "${2:-5}" "${@:3}"
