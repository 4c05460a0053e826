#!/bin/sh
# Fuzzes what reads strangers' text and models: tests/fuzz/run_text.sh safetensors|tokenizer|chunk [SECONDS] [WORKDIR]. Needs clang with
# libFuzzer.  Findings are left in WORKDIR as crash-*, timeout-*; the status is not 0 then.
set -eu
cd "$(dirname "$0")/../.."
what=$1
seconds=${2:-600}
work=${3:-$(mktemp -d)}
mkdir -p "$work/corpus" "$work/seed"
san="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"
flags="-std=gnu17 -O1 -g -D_GNU_SOURCE -Isrc -Iinclude -fno-omit-frame-pointer -ffp-contract=off $san"
set -- src/base/*.c
case $what in
chunk) set -- "$@" src/text/*.c ;;
*) set -- "$@" src/embed/embed_json.c src/embed/safetensors.c src/embed/wordpiece.c src/embed/bert_words.c src/simd/simd_scalar.c ;;
esac
for f in "$@"; do clang $flags -w -c "$f" -o "$work/$(basename "$f" .c).o"; done
# the conversions of element types stand beside the choice of kernels: only those are wanted here
[ "$what" = chunk ] || { cat src/simd/simd_pick.c | sed -e 's/defined(__x86_64__)/0/' -e 's/defined(__aarch64__)/0/' >"$work/pick.c"
	clang $flags -w -c "$work/pick.c" -o "$work/pick.o"; }
clang $flags -c "tests/fuzz/fuzz_$what.c" -o "$work/fuzz.main.o"
clang -fsanitize=fuzzer,address,undefined "$work"/*.o -o "$work/fuzz_$what" -ljansson -lutf8proc -lxxhash -lm -lpthread
case $what in
safetensors)
	printf 'y\010{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}01234567' >"$work/seed/1"
	printf 'y\004{"__metadata__":{"f":"pt"},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]},"c":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}0123' >"$work/seed/2" ;;
tokenizer)
	printf '1{"[UNK]":0,"a":1,"##b":2,"[CLS]":7}' >"$work/seed/1"
	printf '2ab aba [MASK][M e\314\201 \303\251 \346\227\245\346\227\245 \304\260 a\302\240b' >"$work/seed/2"
	printf '0{"model":{"type":"WordPiece","vocab":{"a":0}},"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"}}' >"$work/seed/3" ;;
chunk)
	cp docs/*.md src/text/*.c "$work/seed/" 2>/dev/null || true
	printf '=~line one. two\n\n# heading\n```\ncode\n```\n\n}\nint f(void)\n\357\273\277 \343\200\202' >"$work/seed/1" ;;
esac
cd "$work"
exec "./fuzz_$what" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=20000 -print_final_stats=1 corpus seed
