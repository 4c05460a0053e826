#!/bin/sh
# demo.sh - a first session with VexFS on real text. usage: tools/demo.sh VEXFS [DIR]
#
# Without DIR a copy of this project's documents and sources is used.  With DIR that directory itself is mounted, but its vectors are kept
# in a temporary store and only a file that the demo made is renamed and removed, so DIR is left as it was.
set -eu
vexfs=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/vexfs-demo.XXXXXX")
mnt=$tmp/mnt note=
bold= plain=
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi

finish() {
	status=$?
	trap - EXIT INT TERM
	cd /
	if grep -q " $mnt " /proc/self/mountinfo; then
		[ -z "$note" ] || rm -f "$mnt/$note"
		"$vexfs" umount "$mnt" || "$vexfs" umount -l "$mnt" || true
	fi
	rm -rf "$tmp"
	exit $status
}
trap finish EXIT INT TERM
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
run() {
	printf '%s$ %s%s\n' "$bold" "$*" "$plain"
	"$@"
}
fail() {
	echo "demo: $*" >&2
	exit 1
}

if [ $# -gt 1 ] && [ -n "$2" ]; then
	dir=$(cd "$2" && pwd)
else
	dir=$tmp/files
	mkdir "$dir"
	cp -R "$here/docs" "$here/src" "$here/include" "$here/README.md" "$dir/"
fi
mkdir "$mnt"

say "1. Mount: $dir stays an ordinary directory; its files appear at $mnt, and can be searched there."
run "$vexfs" mount "$dir" "$mnt" --store "$tmp/store" --model none
run "$vexfs" wait "$mnt"
run "$vexfs" status "$mnt"

picked=$(python3 "$here/tools/demo_vectors.py" "$dir" "$tmp/vectors.jsonl")
words=$(printf %s "$picked" | cut -f1) file=$(printf %s "$picked" | cut -f2)

say "2. Search by words, from the command line: \"$words\". Every result is a file, with the line and the text around it."
run "$vexfs" search "$words" "$mnt" -k 5

say "3. The same with nothing but ls: the path is the question, the entries are links to the files."
run ls -l "$mnt/.vexfs/search/$words/"
first=$(ls "$mnt/.vexfs/search/$words/" | head -n 1)
[ -n "$first" ] || fail "the search directory is empty"
echo "and they open:"
run head -n 3 "$mnt/.vexfs/search/$words/$first"

say "4. Vectors: one for each text file (here: counts of its words, made by tools/demo_vectors.py; any model's will do)."
run "$vexfs" import "$tmp/vectors.jsonl" --into default "$mnt"

say "5. The files nearest to $file, by command, and again as an extended attribute that any program can read."
run "$vexfs" similar "$mnt/$file" -k 5
if command -v getfattr >/dev/null; then
	run getfattr --absolute-names --only-values -n user.vexfs.similar "$mnt/$file"
fi

say "6. A new file is searchable as soon as it is written, and a rename is followed at once."
note=vexfs-demo-note.txt
echo "The quetzalcoatlus had the largest wings that were ever measured." >"$mnt/$note"
run "$vexfs" search quetzalcoatlus "$mnt" --wait
new=vexfs-demo-renamed.txt
run mv "$mnt/$note" "$mnt/$new"
note=$new
run "$vexfs" search quetzalcoatlus "$mnt"
"$vexfs" search quetzalcoatlus "$mnt" -l | grep -q "$new" || fail "the search did not follow the rename"

say "7. A removed file leaves the search at once."
run rm "$mnt/$note"
note=
if "$vexfs" search quetzalcoatlus "$mnt"; then fail "the removed file is still found"; fi
echo "(no results)"

say "8. Unmount. The files are where they were; nothing is locked in."
run "$vexfs" umount "$mnt"
run ls "$dir"

say "9. By meaning: a question finds the text that answers it, though they share no word that matters. That takes a model, all-MiniLM-L6-v2."
have_model() { "$vexfs" model list 2>/dev/null | grep -q '^. minilm '; }
have_model || "$here/tools/deps.sh" demo || true
if have_model || run "$vexfs" model add minilm; then
	notes=$tmp/notes
	mkdir "$notes"
	cp "$here/README.md" "$here"/docs/*.md "$notes/"
	echo "The physician prescribed two tablets of ibuprofen for her migraine." >"$notes/surgery.txt"
	echo "Our landlord raised the rent again, so we are moving out in spring." >"$notes/flat.txt"
	echo "The puppy chewed through both of my sandals while I was asleep." >"$notes/pets.txt"
	echo "Simmer the onions in butter, add flour and stir until it is golden." >"$notes/kitchen.txt"
	run "$vexfs" mount "$notes" "$mnt" --store "$tmp/store2" --model minilm
	run "$vexfs" wait "$mnt"
	question="which medicine helps against a headache"
	run "$vexfs" search "$question" "$mnt" -k 3
	first=$("$vexfs" search "$question" "$mnt" -k 1 -l)
	[ -n "$first" ] || fail "nothing was found by meaning"
	python3 "$here/tools/demo_words.py" "$question" "$first" || fail "the first hit is not one by meaning alone"
else
	echo "The model cannot be had here (no network, or no pip), so search stays one by words. With a model of your own:"
	echo "  vexfs model add NAME --from FOLDER|URL; vexfs mount DIR MNT --model NAME"
fi
