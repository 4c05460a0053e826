#!/bin/sh
# neon.sh - the kernel test for aarch64: cross-compiled, run under qemu-user.  TAP; skips with a reason where either is absent.
#
# usage: tools/neon.sh [CPU]     CPU as qemu names it: max (default, has the dot product) or cortex-a57 (has not)
# Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
set -eu
cd "$(dirname "$0")/.."
cpu=${1:-max}
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build() {
	src=$1
	shift
	aarch64-linux-gnu-gcc -O2 -std=gnu17 -D_GNU_SOURCE -Isrc -Itests -Wall -Wextra -Werror "$@" -c "$src" -o "$work/$(basename "$src" .c).o"
}
build src/simd/simd_scalar.c -fno-tree-vectorize -fno-tree-slp-vectorize
build src/simd/simd_neon.c
build src/simd/simd_neon_dot.c -march=armv8.2-a+dotprod
build src/simd/simd_pick.c
build tests/unit/simd/test_kernels.c
aarch64-linux-gnu-gcc -static "$work"/*.o -lm -o "$work/test_kernels"
qemu-aarch64 -cpu "$cpu" "$work/test_kernels"
