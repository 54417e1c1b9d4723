#!/bin/sh
# Builds a runtime: the read-only root filesystem that programs run on.
#
#   OUT=build/guest crn/image/build-runtime.sh python|node     (or the folder as second argument)
#
#   python   python3, FastAPI and uvicorn
#   node     Node.js
#
# Result: OUT/runtime-<kind>.squashfs (zstd), OUT/runtime-<kind>.json. Packages of Debian (or Ubuntu), nothing from elsewhere,
# without documentation, package data base and caches. Kernel and init are not in it: they come from the host.
# As root it builds directly; otherwise it needs user namespaces (packages uidmap and the caller's lines in /etc/subuid).
# Does nothing when the result is already there; REFRESH=1 builds again.
set -eu

say() { echo "runtime image: $*" >&2; }
die() { say "$*"; exit 1; }

kind=${1:-}
out=${2:-${OUT:-}}
case $kind in
    python) packages=python3-minimal,python3-fastapi,python3-uvicorn ;;
    node) packages=nodejs ;;
    *) die "name the kind and the folder to write to: OUT=<folder> $0 python|node" ;;
esac
[ -n "$out" ] || die "name the folder to write to: OUT=<folder> $0 $kind"
image=$out/runtime-$kind.squashfs
if [ -s "$image" ] && [ -s "$out/runtime-$kind.json" ] && [ -z "${REFRESH:-}" ]; then
    say "already in $image"
    exit 0
fi
for tool in mmdebstrap mksquashfs; do
    command -v $tool >/dev/null || die "$tool is missing: run 'make setup', or 'apt-get install mmdebstrap squashfs-tools' as root"
done

. /etc/os-release
case "$ID ${ID_LIKE:-}" in
    *ubuntu*) components=main,universe ;;
    *debian*) components=main ;;
    *) die "builds on Debian and Ubuntu only; elsewhere copy $image from such a machine" ;;
esac
suite=${VERSION_CODENAME:?}
# The distribution's own mirror, as configured here, so that a local mirror or proxy is used as for any other package.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null | awk -v s="$suite" '$2 == s && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || die "apt has no source for $suite: run 'apt-get update' as root and try again"

mode=unshare
if [ "$(id -u)" -eq 0 ]; then mode=root
elif ! grep -q "^$(id -un):" /etc/subuid 2>/dev/null || ! command -v newuidmap >/dev/null; then
    die "without root this needs the package uidmap and lines for $(id -un) in /etc/subuid and /etc/subgid; or run it with sudo"
fi

mkdir -p "$out"
work=$(mktemp -d "$out/.runtime.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
chmod 755 "$work"
say "building from $mirror $suite ($mode), about half a minute"

# Byte code is compiled here once, in the mode that does not look at the source's time: the image has no times, and
# where they do not match every start of a program would compile all that it imports again.
# --format=squashfs would lose control over compression, hence the tar in between.
mmdebstrap --mode=$mode --variant=essential --components="$components" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
    --include=$packages,ca-certificates \
    --customize-hook='[ ! -x "$1/usr/bin/python3" ] || chroot "$1" sh -c "python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3*" || true' \
    --customize-hook='rm -rf "$1"/var/lib/apt "$1"/var/lib/dpkg/info "$1"/var/cache "$1"/var/log "$1"/usr/share/perl* "$1"/usr/lib/*/perl* "$1"/boot "$1"/usr/share/zoneinfo/right' \
    --customize-hook='mkdir -p "$1"/opt/code "$1"/data "$1"/mnt "$1"/var/cache "$1"/var/log; rm -f "$1"/etc/resolv.conf "$1"/etc/hostname; : > "$1"/etc/machine-id' \
    "$suite" "$work/root.tar" "deb $mirror $suite ${components%%,*}$( [ "$components" = main ] || echo ' universe')" > "$work/log" 2>&1 \
    || { tail -n 15 "$work/log" >&2; die "mmdebstrap failed (last lines above)"; }

# The same packages give the same bytes: no times of this build go into the image.
mksquashfs - "$work/image" -tar -comp zstd -Xcompression-level 6 -noappend -quiet -no-progress -mkfs-time 0 -all-time 0 < "$work/root.tar" >> "$work/log" 2>&1 \
    || { tail -n 5 "$work/log" >&2; die "mksquashfs failed (last lines above); version 4.5 or newer is needed"; }
mv "$work/image" "$image"
printf '{"name":"%s","suite":"%s","sha256":"%s"}\n' "$kind" "$suite" "$(sha256sum "$image" | cut -d' ' -f1)" > "$out/runtime-$kind.json"
say "$image is ready ($(du -m "$image" | cut -f1) MiB)"
