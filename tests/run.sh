#!/usr/bin/env bash
# Checks everything: installs what the tests need where it is missing (Debian packages, with sudo if not root), then
# format, clippy with warnings denied, and all tests with every server required. Ends at the first failure.
set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=packages.sh
source tests/packages.sh

say() { printf '== %s\n' "$*"; }
trap 'status=$?; [ "$status" -eq 0 ] || say "FAILED ($status)"' EXIT

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
fi
command -v cargo >/dev/null || { say "Rust is missing: https://rustup.rs"; exit 1; }
# A plain user's PATH lacks these on Debian.
export PATH="$PATH:/usr/sbin:/sbin"
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

missing=()
while read -r program package; do
    command -v "$program" >/dev/null || missing+=("$package")
done < <(packages)
# These are no programs: the C library's headers, what lets nfs-ganesha export directories, nginx's PROPFIND, and venv with pip.
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
compgen -G '/usr/lib/*/ganesha/libfsalvfs.so' >/dev/null || missing+=(nfs-ganesha-vfs)
[ -e /usr/lib/nginx/modules/ngx_http_dav_ext_module.so ] || missing+=(libnginx-mod-http-dav-ext)
[ -e /usr/lib/lighttpd/mod_webdav.so ] || missing+=(lighttpd-mod-webdav)
servers=$PWD/target/test-servers
if [ ! -x "$servers/usr/sbin/proftpd" ]; then
    while read -r package; do missing+=("$package"); done < <(unpacked_libraries)
fi
python=/usr/bin/python3
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

if [ "${#missing[@]}" -gt 0 ]; then
    say "installing ${missing[*]}"
    log=$(mktemp)
    # Installed servers must not start: the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'status=$?; as_root rm -f "$policy"; [ "$status" -eq 0 ] || say "FAILED ($status)"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        own_policy=yes
    fi
    {
        as_root apt-get -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}"
    } >"$log" 2>&1 || { cat "$log"; exit 1; }
    rm -f "$log"
    if [ "${own_policy:-}" = yes ]; then
        as_root rm -f "$policy"
        trap 'status=$?; [ "$status" -eq 0 ] || say "FAILED ($status)"' EXIT
    fi
fi

if [ ! -x "$servers/usr/sbin/proftpd" ] || [ ! -x "$servers/usr/sbin/pure-ftpd" ]; then
    say "unpacking $(unpacked_packages | xargs)"
    rm -rf "$servers"
    mkdir -p "$servers/packages"
    # apt downloads as a user of its own where it may; a directory of ours is none of its business.
    (cd "$servers/packages" && unpacked_packages | xargs apt-get -qq -o APT::Sandbox::User=root download)
    for package in "$servers"/packages/*.deb; do dpkg-deb -x "$package" "$servers"; done
    rm -r "$servers/packages"
fi
export ARCHIVE_TEST_SERVERS="$servers"

venv=$PWD/target/test-venv
if ! "$venv/bin/python" -c 'import OpenSSL, aiosmtpd, asyncssh, cheroot, moto, paramiko, pyftpdlib, wsgidav' 2>/dev/null; then
    say "making $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    python_packages | xargs "$venv/bin/pip" install --quiet --disable-pip-version-check
fi
export ARCHIVE_TEST_PYTHON="$venv/bin/python"

say "format"
cargo fmt --check
say "clippy"
cargo clippy --all-targets --all-features --locked -- -D warnings
say "clippy, each protocol alone"
for feature in ftp nfs rsync s3 sftp smb webdav; do
    cargo clippy --quiet --lib --bins --test destinations --no-default-features --features "$feature" --locked -- -D warnings
done
say "tests"
ARCHIVE_TEST_REQUIRE=all cargo test --locked
say "all good"
