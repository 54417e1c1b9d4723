#!/usr/bin/env bash
# Installs what the project needs and this machine lacks. Safe to run again: what is there is left alone.
#
#   scripts/setup.sh          tools to build, test and run the demo
#   scripts/setup.sh demo     without what only tests need
#
# System packages come from the distribution (Debian or Ubuntu, amd64). What it builds itself is put into build/ of the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  "") tests=1 ;;
  demo) tests= ;;
  *) echo "setup: nothing is called '$1': it is 'demo' or nothing" >&2; exit 2 ;;
esac

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

wanted="Go (1.26 or newer), Node.js (20 or newer) and Python (3.10 or newer)"
for tool in go node npm python3; do
  command -v "$tool" >/dev/null || die "$tool is missing: install $wanted, then run this again."
done
# An older go may fetch the one that go.mod asks for by itself.
version() { printf '%s is version %s: install %s, then run this again.' "$1" "$2" "$wanted"; }
found=$(go env GOVERSION 2>/dev/null) || found=$(GOTOOLCHAIN=local go version | awk '{ print $3 }')
printf 'go1.26\n%s\n' "$found" | sort -V -C || die "$(version Go "$found")"
found=$(node -p process.versions.node)
[ "${found%%.*}" -ge 20 ] || die "$(version Node.js "$found")"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$(version Python "$(python3 -V)")"
machine=$(uname -m)
[ "$machine" = x86_64 ] || die "this machine is $machine: guests, and their boot loader in tests, are made for x86_64 only. To build the tool alone: go build ./cmd/aleph"

# package:command, or -file, or - where neither tells:why
needs="
gcc:gcc:fast secp256k1 and SQLite through cgo
libc6-dev:-/usr/include/stdio.h:and the headers for that
qemu-system-x86:qemu-system-x86_64:runs the virtual machines
qemu-utils:qemu-img:makes the root disks of instances
genisoimage:genisoimage:makes the disk that cloud-init reads
iproute2:ip:taps and addresses of instances
nftables:nft:rules between instances and the world
squashfs-tools:mksquashfs:packs runtime images and code archives
mmdebstrap:mmdebstrap:builds runtime images
uidmap:newuidmap:and does so without root
e2fsprogs:mkfs.ext4:formats volumes of programs
kmod:depmod:lists the modules of the guest kernel
zstd:zstd:compresses images
lz4:lz4:unpacks the guest kernel
xz-utils:xz:unpacks kernel modules
"
[ -z "$tests" ] || needs+="
postgresql:initdb:the shared store, for tests against a real server
syslinux:syslinux:the boot loader of the instances that tests run
syslinux-common:-/usr/lib/syslinux/mbr/mbr.bin:and its boot sector
mtools:mcopy:fills the partition that they boot from
dosfstools:mkfs.vfat:formats it
fdisk:sfdisk:partitions their disks
cpio:cpio:packs their initramfs
libtommath1:-/usr/lib/x86_64-linux-gnu/libtommath.so.1:a library of the SSH server in the small one
libtomcrypt1:-/usr/lib/x86_64-linux-gnu/libtomcrypt.so.1:another
python3-venv:-:isolated environment for the published Python SDK in the conformance tests
"
missing=()
while IFS=: read -r package tool why; do
  [ -n "$package" ] || continue
  if [ "$tool" = - ]; then
    python3 -m venv --help >/dev/null 2>&1 && python3 -c 'import ensurepip' >/dev/null 2>&1 && continue
  elif [ "${tool#-}" != "$tool" ]; then
    [ -e "${tool#-}" ] && continue
  elif PATH="$PATH:/usr/sbin:/sbin$(printf ':%s' /usr/lib/postgresql/*/bin)" command -v "$tool" >/dev/null; then
    continue
  fi
  say "needs $package: $why"
  missing+=("$package")
done <<<"$needs"

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "this is not Debian or Ubuntu (no apt-get). Install by hand: ${missing[*]}"
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "root is needed to install ${missing[*]}: run as root, or install sudo, or ask your administrator."
    sudo=(sudo)
  fi
  say "installing ${missing[*]}"
  mkdir -p build
  { "${sudo[@]}" apt-get update -q && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >build/setup-apt.log 2>&1 ||
    die "apt-get failed; its output is in build/setup-apt.log. Is the package mirror reachable?"
fi

# The S3 server that tests of the file store run against.
s3_server=v1.8.0
if [ -n "$tests" ] && { [ ! -x build/tools/versitygw ] || [ ! -e "build/tools/versitygw-$s3_server" ]; }; then
  say "building versitygw $s3_server, the S3 server for tests (some minutes, once)"
  mkdir -p build/tools
  GOBIN=$PWD/build/tools go install "github.com/versity/versitygw/cmd/versitygw@$s3_server" >build/setup-versitygw.log 2>&1 ||
    die "versitygw could not be built; the output is in build/setup-versitygw.log. Is the Go module proxy reachable?"
  touch "build/tools/versitygw-$s3_server"
fi

mkdir -p build/guest
