#!/bin/sh
# Runs nfs-ganesha with a portmapper of its own until standard input ends, then removes its directory.
# In a mount namespace, so that its `/run/rpcbind.sock` is private and port 111 stays free: several may run at once.
# Use: ganesha.sh DIRECTORY (which holds `ganesha.conf`, and the directories `export` and `small`)
set -eu
dir=$1
# One line of /etc/netconfig makes rpcbind listen on its socket alone.
printf 'local tpi_cots_ord - loopback - - -\n' >"$dir/netconfig"
export dir
# shellcheck disable=SC2016
unshare --mount --propagation private --pid --fork --kill-child=KILL sh -eu -c '
    mount -t tmpfs -o size=1m tmpfs "$dir/small"
    chmod 777 "$dir/small"
    mount -t tmpfs tmpfs /run
    unshare --mount sh -eu -c "mount --bind \"\$dir/netconfig\" /etc/netconfig; exec rpcbind -f -w" &
    while [ ! -S /run/rpcbind.sock ]; do sleep 0.02; done
    echo $$ >"$dir/started"
    exec ganesha.nfsd -F -f "$dir/ganesha.conf" -L "$dir/log" -p "$dir/pid" -N NIV_EVENT
' </dev/null >"$dir/output" 2>&1 &
server=$!
cat >/dev/null
kill -KILL "$server" 2>/dev/null || true
wait "$server" 2>/dev/null || true
rm -rf "$dir"
