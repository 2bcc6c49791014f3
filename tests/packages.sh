# What the tests need, for tests/run.sh: program, then the Debian package that has it.
# A program is looked for first, so that machines that have it from elsewhere install nothing.
packages() {
    cat <<'END'
cc gcc
make make
perl perl
pkg-config pkg-config
curl curl
openssl openssl
unzip unzip
zip zip
7z p7zip-full
ssh openssh-client
ssh-agent openssh-client
sshd openssh-server
smbd samba
pdbedit samba-common-bin
faketime faketime
apache2 apache2
nginx nginx
python3 python3
tar tar
gzip gzip
mount mount
ganesha.nfsd nfs-ganesha
rpcbind rpcbind
rsync rsync
unshare util-linux
useradd passwd
ps procps
bsdtar libarchive-tools
busybox busybox
pigz pigz
zopfli zopfli
libdeflate-gzip libdeflate-tools
valgrind valgrind
vsftpd vsftpd
dropbear dropbear-bin
lighttpd lighttpd
rclone rclone
sshfs sshfs
ip iproute2
END
}

# FTP servers of which Debian installs one at a time: these are unpacked into target/test-servers, beside `vsftpd`.
unpacked_packages() {
    printf '%s\n' proftpd-core proftpd-mod-crypto pure-ftpd
}

# The libraries that those need.
unpacked_libraries() {
    printf '%s\n' libhiredis0.14 libmemcached11 libmemcachedutil2 libpcre2-posix3 libsodium23
}

# Python's servers and clients, in a virtual environment of their own.
python_packages() {
    printf '%s\n' aiosmtpd==1.4.6 asyncssh==2.24.1 cheroot==11.1.2 'moto[server]==5.2.5' paramiko==5.1.0 pyftpdlib==2.2.0 \
        pyOpenSSL==26.4.0 wsgidav==4.4.0
}
