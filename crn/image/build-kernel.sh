#!/bin/sh
# Builds a small guest kernel from the distribution's kernel source: nothing in it but what guests of programs use, no modules. An
# emulated machine boots it in half the time. Nobody has to: fetch-kernel.sh makes a folder that does the same, in seconds.
#
#   OUT=build/guest-small crn/image/build-kernel.sh      (or the folder as first argument)
#
# Result: OUT/vmlinux, OUT/vmlinuz, OUT/modules/list (empty), OUT/kernel.json, as fetch-kernel.sh makes them: give the folder to
# 'alephd crn --guest-dir'. Takes some ten minutes on two cores and 3 GiB of disk, once; does nothing when the result is already there.
# Needs apt-get, dpkg-deb, a network, gcc, make, flex, bison, bc, xz and the headers of libelf; no root.
set -eu

say() { echo "small guest kernel: $*" >&2; }
die() { say "$*"; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-${OUT:-}}
[ -n "$out" ] || die "name the folder to write to: OUT=<folder> $0"
makes="$(cat "$here/kernel.config")"
if [ -s "$out/kernel.json" ] && [ -s "$out/vmlinux" ] && [ "$(cat "$out/modules/makes" 2>/dev/null)" = "$makes" ] && [ -z "${REFRESH:-}" ]; then
    say "already in $out ($(cat "$out/kernel.json"))"
    exit 0
fi
missing=
for tool in apt-get:apt apt-cache:apt dpkg-deb:dpkg gcc:gcc make:make flex:flex bison:bison bc:bc xz:xz-utils; do
    command -v "${tool%:*}" >/dev/null || missing="$missing ${tool#*:}"
done
[ -e /usr/include/libelf.h ] || missing="$missing libelf-dev"
[ -z "$missing" ] || die "missing:$missing; as root: apt-get install$missing"

package=$(apt-cache depends --important linux-source 2>/dev/null | sed -n 's/^ *Depends: \(linux-source-[^ ]*\)$/\1/p' | head -n1)
[ -n "$package" ] || die "apt knows no package linux-source: run 'apt-get update' (as root) and try again"

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/.kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
say "downloading $package"
chmod 755 "$work"; [ "$(id -u)" -ne 0 ] || chown _apt "$work" 2>/dev/null || true
(cd "$work" && apt-get download -qq "$package") || die "download failed: is there a network, and is 'apt-get update' recent?"
dpkg-deb -x "$work"/*.deb "$work/root"
archive=$(find "$work/root/usr/src" -name 'linux-source-*.tar.*' | head -n1)
[ -n "$archive" ] || die "no source in $package"
mkdir "$work/source"
tar -xf "$archive" -C "$work/source" --strip-components=1

cd "$work/source"
log=$out/kernel.log
say "compiling; what the compiler says is in $log"
# All that is not in the list stays out, so that the same list makes the same kernel of any version.
KCONFIG_ALLCONFIG="$here/kernel.config" make -s ARCH=x86_64 allnoconfig >"$log" 2>&1 || die "the configuration failed: see $log"
lacks=
while IFS= read -r line; do
    case $line in CONFIG_*=*) grep -qxF "$line" .config || lacks="$lacks $line" ;; esac
done < "$here/kernel.config"
[ -z "$lacks" ] || die "this version of the kernel does not take$lacks: mend crn/image/kernel.config"
nice make -s ARCH=x86_64 -j "$(nproc)" vmlinux bzImage >>"$log" 2>&1 || die "the compiler failed: see the end of $log"
version=$(make -s ARCH=x86_64 kernelrelease)
strip -o "$work/vmlinux" vmlinux
cd - >/dev/null

rm -rf "$out/modules"
mkdir -p "$out/modules"
: > "$out/modules/list"
printf '%s\n' "$makes" > "$out/modules/makes"
install -m 644 "$work/vmlinux" "$out/vmlinux"
install -m 644 "$work/source/arch/x86/boot/bzImage" "$out/vmlinuz"
# Written last: its presence says that the rest is complete.
printf '{"version":"%s","package":"%s"}\n' "$version" "$package" > "$out/kernel.json"
rm -f "$log"
say "$version is in $out"
