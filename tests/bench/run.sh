#!/usr/bin/env bash
# The benchmark: `tests/bench/run.sh [size] [rounds]`, 1 GB and 5 rounds unless told otherwise. Builds the release program,
# measures it beside what people use today, prints the figures and writes them into docs/benchmarks.md. With a third argument
# (packing, whole, near, line, far, quick, memory) only that table is measured, and printed.
# It is no test: nothing fails on a slow machine. What is not installed is left out, and said to be.
# Debian packages for all of it: curl unzip pigz libarchive-tools openssh-client openssh-server rclone lftp iproute2
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
fi
# A plain user's PATH lacks these on Debian.
export PATH="$PATH:/usr/sbin:/sbin"

# The table `line` makes a network namespace, as root; it goes with the benchmark, however that ends.
remove_namespace() {
    if ip netns list 2>/dev/null | grep -q '^archive-bench\b'; then
        ip netns pids archive-bench | xargs -r kill
        ip netns del archive-bench
    fi
}
trap remove_namespace EXIT
trap 'exit 130' INT TERM HUP
remove_namespace
cargo bench --locked --quiet --bench night -- "${1:-1 GB}" "${2:-5}" "${@:3}"
