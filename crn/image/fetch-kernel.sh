#!/bin/sh
# Fetches the guest kernel into a folder: the distribution's own cloud kernel, unpacked, not installed.
#
#   OUT=build/guest crn/image/fetch-kernel.sh      (or the folder as first argument)
#
# Result: OUT/vmlinuz, OUT/vmlinux (the same kernel as it is in memory, where it can be unpacked here: a machine that is emulated
# would take a tenth of its boot for that), OUT/modules/*.ko (only those that our guests load), OUT/modules/list, OUT/kernel.json.
# Why a package: nobody waits for a kernel to compile, and its security updates are the distribution's.
# Needs apt-get and dpkg-deb, a network, no root. Does nothing when the result is already there; REFRESH=1 looks for a newer kernel.
set -eu

say() { echo "guest kernel: $*" >&2; }
die() { say "$*"; exit 1; }

out=${1:-${OUT:-}}
[ -n "$out" ] || die "name the folder to write to: OUT=<folder> $0"
# In loading order where there is one. What is built into the kernel has no file and is passed over.
wanted="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio_console failover net_failover virtio_net \
 crc16 mbcache jbd2 ext4 xxhash zstd_decompress squashfs overlay"
# What an earlier version of this script made may lack some of it.
makes="vmlinux $wanted"
if [ -s "$out/kernel.json" ] && [ -s "$out/vmlinuz" ] && [ -s "$out/modules/list" ] && [ "$(cat "$out/modules/makes" 2>/dev/null)" = "$makes" ] && [ -z "${REFRESH:-}" ]; then
    say "already in $out ($(cat "$out/kernel.json"))"
    exit 0
fi
for tool in apt-get apt-cache dpkg-deb dpkg; do
    command -v $tool >/dev/null || die "$tool is missing: this script needs Debian or Ubuntu; elsewhere put a kernel with its modules in $out by hand (docs/operating.md)"
done

arch=$(dpkg --print-architecture)
. /etc/os-release
case "$ID ${ID_LIKE:-}" in
    *ubuntu*) meta=linux-image-virtual ;;
    *debian*) meta=linux-image-cloud-$arch ;;
    *) die "do not know the cloud kernel package of $ID: put a kernel with its modules in $out by hand" ;;
esac

# The meta package depends on the package that holds the kernel; Ubuntu keeps most modules in a second one.
image=$(apt-cache depends --important "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n1)
[ -n "$image" ] || die "apt knows no package $meta: run 'apt-get update' (as root) and try again"
packages=$image
modules=$(echo "$image" | sed 's/^linux-image-\(unsigned-\)\{0,1\}/linux-modules-/')
if apt-cache show "$modules" >/dev/null 2>&1; then packages="$packages $modules"; fi

mkdir -p "$out"
work=$(mktemp -d "$out/.kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
say "downloading $packages"
# apt drops its rights to the user _apt when started as root, and that user must be able to write here.
chmod 755 "$work"; [ "$(id -u)" -ne 0 ] || chown _apt "$work" 2>/dev/null || true
# shellcheck disable=SC2086
(cd "$work" && apt-get download -qq $packages) || die "download failed: is there a network, and is 'apt-get update' recent?"
for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/root"; done

vmlinuz=$(find "$work/root/boot" -name 'vmlinuz-*' | head -n1)
[ -n "$vmlinuz" ] || die "no /boot/vmlinuz-* in $packages"
version=${vmlinuz##*/vmlinuz-}

# The kernel's boot protocol says where in the file the packed kernel is; its last four bytes are the size of what is unpacked.
number() { od -A n -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '; }
unpack() {
    at=$((($(number "$1" 497 1) + 1) * 512 + $(number "$1" 584 4)))
    packed() { tail -c +$((at + 1)) "$1" | head -c $(($(number "$1" 588 4) - 4)); }
    case $(packed "$1" | head -c 4 | od -A n -t x1 | tr -d ' ') in
        02214c18) packed "$1" | lz4 -qdc ;;
        28b52ffd) packed "$1" | zstd -qdc ;;
        fd377a58) packed "$1" | xz -qdc ;;
        1f8b*)    packed "$1" | gzip -qdc ;;
        *)        return 1 ;;
    esac
}
unpack "$vmlinuz" > "$work/vmlinux" || { say "the kernel stays packed: nothing here unpacks it"; rm -f "$work/vmlinux"; }

mkdir -p "$work/modules"
for name in $wanted; do
    file=$(find "$work/root" -path "*/modules/*" \( -name "$name.ko" -o -name "$name.ko.xz" -o -name "$name.ko.zst" -o -name "$name.ko.gz" \) | head -n1)
    [ -n "$file" ] || continue
    case $file in
        *.xz)  xz -dc "$file" ;;
        *.zst) zstd -qdc "$file" ;;
        *.gz)  gzip -dc "$file" ;;
        *)     cat "$file" ;;
    esac > "$work/modules/$name.ko"
    echo "$name.ko" >> "$work/modules/list"
done
[ -s "$work/modules/list" ] || die "found no modules in $packages"
printf '%s\n' "$makes" > "$work/modules/makes"

rm -rf "$out/modules" "$out/vmlinux"
mv "$work/modules" "$out/modules"
install -m 644 "$vmlinuz" "$out/vmlinuz"
[ ! -s "$work/vmlinux" ] || install -m 644 "$work/vmlinux" "$out/vmlinux"
# Written last: its presence says that the rest is complete.
printf '{"version":"%s","package":"%s"}\n' "$version" "$image" > "$out/kernel.json"
say "$version is in $out"
