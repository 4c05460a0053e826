#!/bin/sh
# Fuzzes the loader of published graphs: tests/fuzz/run_graph.sh [SECONDS] [WORKDIR]. Needs clang with libFuzzer.
# Findings are left in WORKDIR as crash-*, timeout-*; the status is not 0 then.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-600}
work=${2:-$(mktemp -d)}
mkdir -p "$work/seed" "$work/corpus"
flags="-std=gnu17 -O1 -g -D_GNU_SOURCE -Isrc -fno-omit-frame-pointer -ffp-contract=off"
isa="src/simd/simd_scalar.c src/simd/simd_pick.c"
case $(uname -m) in
x86_64)
	clang $flags -fsanitize=address,undefined -mavx2 -mfma -mpopcnt -c src/simd/simd_avx2.c -o "$work/avx2.o"
	clang $flags -fsanitize=address,undefined -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vpopcntdq -mavx512bf16 -mfma \
		-mpopcnt -c src/simd/simd_avx512.c -o "$work/avx512.o"
	isa="$isa $work/avx2.o $work/avx512.o" ;;
aarch64)
	clang $flags -fsanitize=address,undefined -march=armv8.2-a+dotprod -c src/simd/simd_neon_dot.c -o "$work/nd.o"
	isa="$isa src/simd/simd_neon.c $work/nd.o" ;;
esac
src="$(echo src/index/*.c src/base/*.c) $isa"
clang $flags -fsanitize=address,undefined -DMAKE_CORPUS tests/fuzz/fuzz_graph.c $src -o "$work/corpus_graph" -lm -lpthread
clang $flags -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all tests/fuzz/fuzz_graph.c $src -o "$work/fuzz_graph" -lm -lpthread
"$work/corpus_graph" "$work/seed"
cd "$work"
exec ./fuzz_graph -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=400000 -print_final_stats=1 corpus seed
