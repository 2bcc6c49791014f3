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
END
}
