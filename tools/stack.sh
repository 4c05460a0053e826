#!/bin/sh
# stack.sh - the stack check with this project's limits. usage: tools/stack.sh BUILD (configured with -Dcallgraph=true, gcc)
#
# What a FUSE thread enters: the operation handlers of fs/. What is named by --fuse-not runs on the main or an own thread only.
set -eu
here=$(dirname "$0")
exec python3 "$here/check_stack.py" --frame 2048 --fuse-frame 1024 --fuse-path 6144 \
	$(sed -n 's/^root //p' "$here/stack_roots.txt" | sed 's/^/--fuse-root=/') \
	$(sed -n 's/^not //p' "$here/stack_roots.txt" | sed 's/^/--fuse-not=/') \
	--indirect "$here/indirect.txt" "$1"
