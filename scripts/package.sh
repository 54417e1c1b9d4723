#!/usr/bin/env bash
# Packs the user's tool for package systems: a .deb for each Linux, an archive for each of Linux and macOS with a Homebrew formula,
# and the program for Windows with a Scoop manifest, all with their hashes.
#
#   scripts/package.sh VERSION URL BINARIES OUT
#
# URL is the folder on the web where the files of OUT will be. BINARIES has static programs: linux-amd64/aleph, linux-arm64/aleph,
# darwin-amd64/aleph, darwin-arm64/aleph, windows-amd64/aleph.exe, as `make packages` builds them. The same input gives the same bytes.
set -euo pipefail
umask 022

if [[ $# != 4 ]]; then
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
version=$1 url=${2%/} binaries=$3 out=$4
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
summary="Use the Aleph network from a terminal"
home=https://github.com/aleph-im/aleph-go
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# Completions and manual pages are the same everywhere: the program of this machine writes them.
case $(uname -m) in
x86_64) here=linux-amd64 ;;
aarch64) here=linux-arm64 ;;
*)
	echo "package.sh: run it on amd64 or arm64, not on $(uname -m)" >&2
	exit 1
	;;
esac
if [ "$("$binaries/$here/aleph" version)" != "$version" ]; then
	echo "package.sh: $binaries/$here/aleph is not version $version: build it with make packages VERSION=$version" >&2
	exit 1
fi
share=$work/share
mkdir -p "$share"/{bash,zsh,fish}
"$binaries/$here/aleph" completion bash >"$share/bash/aleph"
"$binaries/$here/aleph" completion zsh >"$share/zsh/_aleph"
"$binaries/$here/aleph" completion fish >"$share/fish/aleph.fish"
"$binaries/$here/aleph" docs man "$share/man1" >/dev/null
gzip -9n "$share"/man1/*

sum() { sha256sum "$1" | cut -d' ' -f1; }

for arch in amd64 arm64; do
	tree=$work/deb-$arch
	install -Dm755 "$binaries/linux-$arch/aleph" "$tree/usr/bin/aleph"
	install -Dm644 -t "$tree/usr/share/man/man1" "$share"/man1/*
	install -Dm644 "$share/bash/aleph" "$tree/usr/share/bash-completion/completions/aleph"
	install -Dm644 "$share/zsh/_aleph" "$tree/usr/share/zsh/vendor-completions/_aleph"
	install -Dm644 "$share/fish/aleph.fish" "$tree/usr/share/fish/vendor_completions.d/aleph.fish"
	install -Dm644 "$root/LICENSE" "$tree/usr/share/doc/aleph-cli/copyright"
	mkdir -p "$tree/DEBIAN"
	cat >"$tree/DEBIAN/control" <<-CONTROL
		Package: aleph-cli
		Version: $version
		Architecture: $arch
		Maintainer: Aleph.im <noreply@aleph.im>
		Installed-Size: $(du -sk --apparent-size "$tree/usr" | cut -f1)
		Section: net
		Priority: optional
		Homepage: $home
		Description: $summary
		 Accounts, files, websites, programs, instances, messages and nodes of
		 the Aleph.im network. One static program without dependencies.
	CONTROL
	dpkg-deb --root-owner-group --build -Zgzip "$tree" "$out/aleph-cli_${version}_$arch.deb" >/dev/null
done

declare -A sums
for target in linux-amd64 linux-arm64 darwin-amd64 darwin-arm64; do
	tree=$work/$target
	mkdir -p "$tree"
	cp -r "$binaries/$target/aleph" "$root/LICENSE" "$share"/* "$tree"
	file=aleph-$version-$target.tar.gz
	tar -C "$tree" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -c . | gzip -n >"$out/$file"
	sums[$target]=$(sum "$out/$file")
done
cp "$binaries/windows-amd64/aleph.exe" "$out/aleph-$version-windows-amd64.exe"

of() { printf 'url "%s/aleph-%s-%s.tar.gz"\n      sha256 "%s"' "$url" "$version" "$1" "${sums[$1]}"; }
cat >"$out/aleph.rb" <<FORMULA
class Aleph < Formula
  desc "$summary"
  homepage "$home"
  version "$version"
  license "Apache-2.0"

  on_macos do
    on_arm do
      $(of darwin-arm64)
    end
    on_intel do
      $(of darwin-amd64)
    end
  end
  on_linux do
    on_arm do
      $(of linux-arm64)
    end
    on_intel do
      $(of linux-amd64)
    end
  end

  def install
    bin.install "aleph"
    man1.install Dir["man1/*"]
    bash_completion.install "bash/aleph"
    zsh_completion.install "zsh/_aleph"
    fish_completion.install "fish/aleph.fish"
  end

  test do
    system bin/"aleph", "version"
  end
end
FORMULA

cat >"$out/aleph.json" <<MANIFEST
{
    "version": "$version",
    "description": "$summary",
    "homepage": "$home",
    "license": "Apache-2.0",
    "architecture": {
        "64bit": {
            "url": "$url/aleph-$version-windows-amd64.exe#/aleph.exe",
            "hash": "$(sum "$out/aleph-$version-windows-amd64.exe")"
        }
    },
    "bin": "aleph.exe"
}
MANIFEST
(cd "$out" && sha256sum -- *.deb *.tar.gz *.exe >SHA256SUMS)
