#!/bin/sh
# run.sh - numbers, golden stores, the store's checks and the exact scan on other machines: i386 (32 bits), aarch64, s390x (big-endian), each built by
# Debian's cross compiler, linked statically and run by qemu-user.
#
# usage: tests/cross/run.sh [ARCH...]      one TAP line a test and architecture; skipped, with the reason, where something is missing
#
# Needs gcc-i686-linux-gnu, gcc-aarch64-linux-gnu, gcc-s390x-linux-gnu and qemu-user (tools/deps.sh cross).  SQLite for the architecture is
# fetched by apt into a directory of its own (no foreign architecture is added to this system) and kept in $VEXFS_CACHE, else
# $XDG_CACHE_HOME/vexfs, else ~/.cache/vexfs.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${VEXFS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vexfs}/cross
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT TERM
n=0 bad=0

line() { # good? text
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else
		echo "not ok $n - $2"
		bad=1
	fi
}
skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# libsqlite3.a and sqlite3.h of a Debian architecture, into $cache/ARCH
sqlite_of() {
	[ -f "$cache/$1/done" ] && return 0
	d=$cache/$1 a=$out/apt-$1
	mkdir -p "$d" "$a/state/lists/partial" "$a/cache/archives/partial"
	: >"$a/status"
	set -- "$1" -o "APT::Architecture=$1" -o "APT::Architectures=$1" -o "Dir::State=$a/state" -o "Dir::State::status=$a/status" \
		-o "Dir::Cache=$a/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=
	arch=$1
	shift
	# one list of several may be out of step with its mirror, as on the day of a security release: whether the package comes decides
	apt-get "$@" -q update >"$out/apt.log" 2>&1
	(cd "$a" && apt-get "$@" -q download "libsqlite3-dev:$arch" >>"$out/apt.log" 2>&1 && dpkg-deb -x libsqlite3-dev_*.deb "$d") || return 1
	: >"$d/done"
}

one() { # arch triplet qemu
	arch=$1 cc=$2-gcc qemu=$3
	for tool in "$cc" "$qemu"; do
		command -v "$tool" >/dev/null || {
			skip "$arch" "$tool is not installed (tools/deps.sh cross)"
			return
		}
	done
	command -v apt-get >/dev/null || {
		skip "$arch" "SQLite for another architecture comes by apt"
		return
	}
	sqlite_of "$arch" || {
		skip "$arch" "apt has no libsqlite3-dev:$arch: $(tail -n 1 "$out/apt.log")"
		return
	}
	lib=$(find "$cache/$arch" -name libsqlite3.a) b=$out/$arch
	mkdir -p "$b"
	isa=
	[ "$arch" = arm64 ] && isa="$root/src/simd/simd_neon.c"
	flags="-std=gnu17 -O1 -g -w -Wno-psabi -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -fno-strict-aliasing -I$root/src -I$root/include -I$root/tests
		-I$root/tests/unit/store -I$cache/$arch/usr/include -DGOLDEN_DIR=\"$root/tests/unit/store/golden\""
	for f in "$root"/src/base/*.c "$root"/src/store/*.c "$root/src/simd/simd_pick.c" "$root/src/simd/simd_scalar.c" $isa; do
		# shellcheck disable=SC2086
		$cc $flags -c "$f" -o "$b/$(basename "$f" .c).o" || {
			line 1 "$arch: $(basename "$f") is compiled"
			return
		}
	done
	[ "$arch" = arm64 ] && $cc $flags -march=armv8.2-a+dotprod -c "$root/src/simd/simd_neon_dot.c" -o "$b/simd_neon_dot.o"
	for t in "$root/tests/unit/base/test_num.c" "$root/tests/unit/store/test_golden.c" "$root/tests/unit/store/test_rowtab.c" "$root/tests/unit/store/test_verify.c" \
		"$root/tests/cross/cross_search.c"; do
		name=$(basename "$t" .c)
		extra=
		[ "$name" = cross_search ] && extra=$(echo "$root"/src/index/*.c)
		# shellcheck disable=SC2086
		$cc $flags -static -o "$b/$name" "$t" $extra "$b"/*.o "$lib" -latomic -lpthread -ldl -lm 2>"$b/log" || {
			cat "$b/log"
			line 1 "$arch: $name is linked"
			continue
		}
		"$qemu" "$b/$name" >"$b/$name.out" 2>&1
		status=$?
		[ $status = 0 ] || sed 's/^/# /' "$b/$name.out" | grep -v '^# ok' | head -n 20
		line $status "$arch: $name ($(grep -c '^ok' "$b/$name.out") checks)"
	done
}

for want in ${*:-i386 arm64 s390x}; do
	case $want in
	i386) one i386 i686-linux-gnu qemu-i386 ;;
	arm64 | aarch64) one arm64 aarch64-linux-gnu qemu-aarch64 ;;
	s390x) one s390x s390x-linux-gnu qemu-s390x ;;
	*) skip "$want" "unknown architecture" ;;
	esac
done
echo "1..$n"
exit $bad
