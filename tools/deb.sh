#!/bin/sh
# Build a Debian package of what `meson install` installs.  usage: tools/deb.sh [BUILD [OUT]]
# BUILD is a configured Meson directory (default build-deb, made with --prefix=/usr); the package is written into OUT (default .).
# Dependencies are the packages that own the libraries the binaries really need.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build-deb}
out=${2:-.}
[ -d "$build" ] || meson setup "$build" "$root" --prefix=/usr --buildtype=release --libdir="lib/$(gcc -print-multiarch)" >/dev/null
ninja -C "$build" >/dev/null
stage=$(mktemp -d)
chmod 755 "$stage"
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet
find "$stage" -type f -name 'vexfs' -path '*/bin/*' -exec strip --strip-unneeded {} +
find "$stage" -type f -name '*.so.*' -exec strip --strip-unneeded {} +
find "$stage" -type f -path '*/man/*' ! -name '*.gz' -exec gzip -9n {} +
version=$(sed -n "s/^ *version: '\([0-9.]*\)',.*/\1/p" "$root/meson.build" | head -1)
needs=$(find "$stage" -type f \( -path '*/bin/*' -o -path '*/libexec/*' -o -name '*.so.*' \) -exec objdump -p {} + 2>/dev/null | sed -n 's/^ *NEEDED *//p' | sort -u |
	while read -r lib; do
		path=$(ldconfig -p | sed -n "s,^[[:space:]]*$lib .*=> ,,p" | head -1)
		[ -n "$path" ] || continue
		real=$(readlink -f "$path")
		# packages of a system with merged /usr may still name the file below /lib
		{ dpkg -S "$real" || dpkg -S "${real#/usr}" || dpkg -S "$path"; } 2>/dev/null | head -1 | cut -d: -f1
	done | sort -u | paste -sd, | sed 's/,/, /g')
arch=$(dpkg --print-architecture)
mkdir -p "$stage/DEBIAN"
cat >"$stage/DEBIAN/control" <<CONTROL
Package: vexfs
Version: $version
Architecture: $arch
Maintainer: The VexFS project <vexfs@localhost>
Section: utils
Priority: optional
Depends: fuse3, $needs
Recommends: libcurl4 | libcurl4t64, libmicrohttpd12 | libmicrohttpd12t64
Installed-Size: $(du -sk "$stage" | cut -f1)
Description: files that have vectors, searched through the filesystem
 VexFS mounts a directory; its files stay ordinary files, and may have vectors
 that follow them through rename, link, copy and edit. They are searched by
 extended attributes, virtual directories, a query file, ioctl, a command and
 a library.
CONTROL
printf '#!/bin/sh\nset -e\nldconfig\n' >"$stage/DEBIAN/postinst"
cp "$stage/DEBIAN/postinst" "$stage/DEBIAN/postrm"
chmod 755 "$stage/DEBIAN/postinst" "$stage/DEBIAN/postrm"
mkdir -p "$out"
dpkg-deb --root-owner-group --build "$stage" "$out/vexfs_${version}_$arch.deb"
