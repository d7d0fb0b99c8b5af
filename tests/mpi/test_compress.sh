#!/bin/sh
# `compress`: the same slot file for any number of ranks, every document once and in order, from text
# and from tokens; what reads the file back is HDF5 through h5py where that is there.
. tests/lib.sh
make_tokens 30
pretrain 0 1 run train.steps=4
# Documents with nothing in them keep their rows.
{
    echo '{"id": "first-empty", "text": ""}'
    cat "$folder/corpus.jsonl"
    echo '{"id": "last-empty", "text": ""}'
} >"$folder/text.jsonl"

# compress CODE RANKS OUTPUT [OPTION...]: of $input.
input=$folder/text.jsonl
compress() {
    wanted=$1 n_ranks=$2 output=$folder/$3 && shift 3
    set -- "$slotpress" compress --quiet --json --checkpoint "$folder/run" --output "$output" "$@" "$input"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n_ranks" "$@"
    expect "$wanted" "$@"
}

# merged NAME: writes NAME.merged.
merged() { expect 0 "$slotpress" merge --output "$folder/$1.merged" "$folder/$1"; }

# json KEY: the number or word of the last output.
json() { sed "s/.*\"$1\": *//; s/[,}].*//" "$folder/out"; }

# is KEY VALUE
is() { [ "$(json "$1")" = "$2" ] || fail "$1 is $(json "$1"), not $2"; }

for options in "--dtype f16" "--dtype bf16 --space slots" "--dtype int8 --with-text"; do
    rm -rf "$folder"/[abc].h5 "$folder"/[abc].parts
    # shellcheck disable=SC2086
    compress 0 1 a.h5 $options
    is documents 32
    is finished_before false
    cp "$folder/out" "$folder/summary"
    # shellcheck disable=SC2086
    for n in 2 3; do
        compress 0 $n b.h5 $options
        [ -f "$folder/b.parts/part-000001.h5" ] || fail "$n ranks wrote no parts"
        for key in segments tokens slots relative_error stored_bytes text_bytes; do
            is "$key" "$(sed "s/.*\"$key\": *//; s/[,}].*//" "$folder/summary")"
        done
        expect 0 "$slotpress" verify "$folder/b.h5"
        merged b.h5
        cmp -s "$folder/a.h5" "$folder/b.h5.merged" || fail "$n ranks, $options: another merged file"
        mv "$folder/b.h5" "$folder/c.h5" && rm -rf "$folder/b.parts"
    done
    # shellcheck disable=SC2086
    compress 0 1 a.h5 $options
    is finished_before true
    is documents 32
done
expect 0 "$slotpress" verify --json "$folder/a.h5"
is documents 32
[ "$(ls -d "$folder"/*.work 2>/dev/null)" = "" ] || fail "a work folder is left"

# Nor do threads change a bit.
OMP_NUM_THREADS=3 && rm "$folder/a.h5" && compress 0 1 a.h5 --dtype int8 --with-text && OMP_NUM_THREADS=1
cmp -s "$folder/a.h5" "$folder/b.h5.merged" || fail "three threads write other slots"

# A part that is gone is missed, and one that is another's.
expect 74 "$slotpress" verify "$folder/c.h5"
says part-00000
compress 0 2 b.h5 --dtype int8
expect 0 "$slotpress" inspect --json "$folder/b.h5"
is parts 2
is dtype '"int8"'
cp "$folder/b.parts/part-000000.h5" "$folder/b.parts/part-000001.h5"
expect 65 "$slotpress" verify "$folder/b.h5"
says part-000001.h5
expect 65 "$slotpress" verify "$folder/b.parts/part-000000.h5"

# From tokens: the same slots, with or without text, which is decoded.
rm -rf "$folder"/[abc].h5 "$folder"/[abc].parts
compress 0 1 a.h5 --with-text
input=$folder/tokens.h5
compress 0 2 b.h5 --with-text
expect 0 "$slotpress" verify "$folder/b.h5"
compress 64 1 c.h5 --column body
compress 64 1 c.h5 "$folder/text.jsonl"
expect 0 "$slotpress" tokenize --quiet --tokenizer e="$encoder" --segment-tokens 12 \
    --output "$folder/short.h5" "$folder/corpus.jsonl"
input=$folder/short.h5
compress 65 1 c.h5
says "was trained for 16"

python=build/reference/bin/python
if [ -x $python ]; then
    $python - "$folder" <<'END' || fail "h5py reads other slots than were written"
import json, sys
import h5py, numpy as np
folder = sys.argv[1]
lines = [json.loads(line) for line in open(folder + "/text.jsonl")]
a, b = h5py.File(folder + "/a.h5"), h5py.File(folder + "/b.h5")

blocks = [block.split("```")[0] for block in open("README.md").read().split("```python\n")]
readme = [block for block in blocks if "slots/values" in block][0]
exec(readme.replace('"slots.h5"', 'folder + "/a.h5"'))
assert len(readme.splitlines()) == 3
assert end > first and len(slots) == sum(-(-int(n) // 4) for n in f["segments/tokens"][first:end])
assert [i.decode() for i in a["documents/id"]] == [line["id"] for line in lines]
for i, line in enumerate(lines):
    first, end = np.searchsorted(a["segments/doc"], [i, i + 1])
    text = b"".join(
        a["text/bytes"][t : t + n].tobytes()
        for t, n in zip(a["segments/text_begin"][first:end], a["segments/byte_len"][first:end])
    )
    assert text.decode() == line["text"], i
# Documents of the token file lack the two without text, which changes no slot.
assert a["slots/values"].shape == b["slots/values"].shape and b["slots/values"].is_virtual
assert (a["slots/values"][:] == b["slots/values"][:]).all() and np.abs(a["slots/values"][:]).max() > 0
assert (a["text/bytes"][:] == b["text/bytes"][:]).all()
assert (a["segments/doc"][:] == b["segments/doc"][:] + 1).all()
assert len(b["documents/id"]) == len(lines) - 2
END
else
    echo "skipped: h5py needs $python"
fi

# A document's segments by its id, in parts too.
for name in a.h5 b.h5; do
    expect 0 "$slotpress" inspect --json --document d3 "$folder/$name"
    is document '"d3"'
    is index $([ $name = a.h5 ] && echo 4 || echo 3)
    sed 's/.*"segments"//' "$folder/out" >"$folder/segments.$name"
    grep -q '"byte_begin":0,' "$folder/segments.$name" || fail "$name: no first segment of d3"
done
cmp -s "$folder/segments.a.h5" "$folder/segments.b.h5" || fail "other segments from parts"
expect 64 "$slotpress" inspect --document nobody "$folder/b.h5"
says "no document 'nobody'"
expect 64 "$slotpress" inspect --document d3 "$folder/tokens.h5"

# A decoder reads the same from each.
expect 0 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/a.h5" --document d3 --max-new-tokens 4
cp "$folder/out" "$folder/text.a"
expect 0 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/b.h5" --document d3 --max-new-tokens 4
cmp -s "$folder/out" "$folder/text.a" || fail "another text from parts"
finish
