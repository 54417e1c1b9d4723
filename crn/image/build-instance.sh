#!/bin/sh
# Builds disks that instances boot from with their own boot loader, for tests: the distribution's own packages, no download of
# anybody's image.
#
#   OUT=build/guest crn/image/build-instance.sh small|debian      (or the folder as second argument)
#
#   small    OUT/instance-small.img: kernel, busybox, dropbear, QEMU's agent and crn/image/small-guest.sh as PID 1. Boots in seconds, also
#            emulated. It takes keys and addresses from the seed that cloud-init reads.
#   debian   OUT/instance-debian.qcow2: systemd, cloud-init and openssh-server, as clouds offer it.
#
# Both have a FAT partition with SYSLINUX, kernel and initrd, and the second an ext4 partition for the root, which can grow.
# Needs root. Does nothing when the result is already there; REFRESH=1 builds again.
set -eu

say() { echo "instance image: $*" >&2; }
die() { say "$*"; exit 1; }

kind=${1:-}
out=${2:-${OUT:-}}
here=$(cd "$(dirname "$0")" && pwd)
[ -n "$out" ] || die "name the kind and the folder to write to: OUT=<folder> $0 small|debian"
case $kind in
    small) image=$out/instance-small.img ;;
    debian) image=$out/instance-debian.qcow2 ;;
    *) die "the kind is small or debian" ;;
esac
if [ -s "$image" ] && [ -z "${REFRESH:-}" ] && { [ "$kind" = debian ] || { [ "$image" -nt "$here/small-guest.sh" ] && [ "$image" -nt "$0" ]; }; }; then
    say "already in $image"
    exit 0
fi
for tool in apt-get dpkg-deb mmdebstrap mke2fs mkfs.vfat mcopy syslinux sfdisk qemu-img; do
    PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || die "$tool is missing: run 'make setup'"
done
PATH=$PATH:/usr/sbin:/sbin
[ "$kind" = small ] || [ "$(id -u)" -eq 0 ] || die "needs root"
. /etc/os-release
[ "$ID" = debian ] || die "builds on Debian only"
suite=${VERSION_CODENAME:?}
arch=$(dpkg --print-architecture)

mkdir -p "$out"
work=$(mktemp -d "$out/.instance.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
chmod 755 "$work"; [ "$(id -u)" -ne 0 ] || chown _apt "$work" 2>/dev/null || true

# disk KERNEL INITRD COMMAND-LINE BOOT-MIB [ROOT-FILESYSTEM] writes $work/disk.
disk() {
    boot=$work/boot.fat
    rm -f "$boot"
    truncate -s "${4}M" "$boot"
    mkfs.vfat -n BOOT "$boot" >/dev/null
    printf 'DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n  KERNEL /vmlinuz\n  APPEND initrd=/initrd %s\n' "$3" > "$work/syslinux.cfg"
    mcopy -i "$boot" "$1" ::/vmlinuz
    mcopy -i "$boot" "$2" ::/initrd
    mcopy -i "$boot" "$work/syslinux.cfg" ::/syslinux.cfg
    syslinux --install "$boot"
    mib=$(( 1 + $4 )); layout="start=2048, size=$(( $4 * 2048 )), type=c, bootable"
    if [ -n "${5:-}" ]; then
        root=$(( ( $(stat -c %s "$5") + 1048575 ) / 1048576 ))
        layout="$layout
start=$(( mib * 2048 )), size=$(( root * 2048 )), type=83"
        mib=$(( mib + root ))
    fi
    truncate -s "${mib}M" "$work/disk"
    echo "label: dos
$layout" | sfdisk -q "$work/disk"
    dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk" conv=notrunc status=none
    dd if="$boot" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
    [ -z "${5:-}" ] || dd if="$5" of="$work/disk" bs=1M seek=$(( 1 + $4 )) conv=notrunc,sparse status=none
}

# fetch PACKAGE... unpacks packages into $work/root.
fetch() {
    (cd "$work" && apt-get download -qq "$@") || die "download failed: is there a network, and is 'apt-get update' recent?"
    for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/root"; rm "$deb"; done
}

case $kind in
small)
    kernel=$(apt-cache depends --important "linux-image-cloud-$arch" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n1)
    [ -n "$kernel" ] || die "apt knows no linux-image-cloud-$arch: run 'apt-get update' (as root) and try again"
    say "building a small one with $kernel"
    fetch "$kernel" busybox-static dropbear-bin qemu-guest-agent
    tree=$work/tree
    mkdir -p "$tree/bin" "$tree/lib" "$tree/modules" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/etc" "$tree/root/.ssh" "$tree/run"
    cp "$work/root/bin/busybox" "$tree/bin/busybox"
    for program in dropbear qemu-ga; do
        cp "$work/root/usr/sbin/$program" "$tree/bin/$program"
        # Its own libraries, from this machine: the package is for the same distribution.
        for library in $(ldd "$tree/bin/$program" 2>/dev/null | grep -o '/[^ ]*'); do
            mkdir -p "$tree$(dirname "$library")"
            cp -L "$library" "$tree$library"
        done
        if ldd "$tree/bin/$program" | grep -q 'not found'; then die "libraries of $program are missing: $(ldd "$tree/bin/$program" | grep 'not found')"; fi
    done
    for name in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk failover net_failover virtio_net virtio_console \
        rng-core virtio-rng cdrom isofs crc16 mbcache jbd2 ext4 evdev button; do
        file=$(find "$work/root" -name "$name.ko" | head -n1)
        [ -n "$file" ] || continue # built in
        cp "$file" "$tree/modules/$name.ko"
        echo "$name" >> "$tree/modules/list"
    done
    install -m 755 "$here/small-guest.sh" "$tree/init"
    (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initrd"
    disk "$(find "$work/root/boot" -name 'vmlinuz-*' | head -n1)" "$work/initrd" \
        "console=ttyS0 quiet panic=5 tsc=reliable no_timer_check mitigations=off cryptomgr.notests random.trust_cpu=on net.ifnames=0" 40
    mv "$work/disk" "$image"
    ;;
debian)
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null | awk -v s="$suite" '$2 == s && $3 == "main" { print $1; exit }')
    [ -n "$mirror" ] || die "apt has no source for $suite: run 'apt-get update' as root and try again"
    say "building from $mirror $suite, a minute or two"
    mmdebstrap --mode=root --variant=essential --components=main --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
        --include="linux-image-cloud-$arch,systemd-sysv,dbus,openssh-server,cloud-init,cloud-guest-utils,iproute2,ca-certificates" \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools"; printf "MODULES=list\nCOMPRESS=gzip\nBUSYBOX=n\nRESUME=none\n" > "$1/etc/initramfs-tools/initramfs.conf"; printf "virtio_pci\nvirtio_blk\next4\n" > "$1/etc/initramfs-tools/modules"' \
        --dpkgopt=force-confold \
        --customize-hook='printf "/dev/vda2 / ext4 defaults 0 1\n" > "$1/etc/fstab"; : > "$1/etc/machine-id"; rm -f "$1"/etc/ssh/ssh_host_*' \
        --customize-hook='chroot "$1" systemctl enable systemd-networkd' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log' \
        "$suite" "$work/root" "deb $mirror $suite main" > "$work/log" 2>&1 || { tail -n 15 "$work/log" >&2; die "mmdebstrap failed (last lines above)"; }
    cp "$work/root"/boot/vmlinuz-* "$work/vmlinuz"
    cp "$work/root"/boot/initrd.img-* "$work/initrd"
    rm -f "$work/root"/boot/*
    mke2fs -q -t ext4 -O ^has_journal -d "$work/root" "$work/root.ext4" 900M
    disk "$work/vmlinuz" "$work/initrd" \
        "root=/dev/vda2 ro console=ttyS0 quiet tsc=reliable no_timer_check mitigations=off cryptomgr.notests random.trust_cpu=on net.ifnames=0" 48 "$work/root.ext4"
    qemu-img convert -f raw -O qcow2 -c "$work/disk" "$work/image"
    mv "$work/image" "$image"
    ;;
esac
say "$image is ready ($(du -m "$image" | cut -f1) MiB)"
