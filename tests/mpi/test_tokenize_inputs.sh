#!/bin/sh
# Tokenizing folders, patterns, Parquet, chosen documents and damaged shards: the same file on 1, 2 and
# 3 ranks, and a summary that counts what was left out.
. tests/lib.sh
export OMPI_MCA_ess_singleton_isolated=1
fixtures=tests/fixtures/parquet
corpus=$folder/corpus
mkdir -p "$corpus/b"
corpus 40 >"$corpus/lines.jsonl"
corpus 25 | zstd -q >"$corpus/b/packed.jsonl.zst"
cp $fixtures/snappy.jsonl "$corpus/b/fineweb.jsonl"

"$slotpress" --version | grep -q '^  Arrow *none' && has_parquet=no || has_parquet=yes

# tokenize_on CODE RANKS NAME OPTION...: into $folder/NAME, its summary as JSON to $folder/out.
tokenize_on() {
    wanted=$1 n_ranks=$2 output=$folder/$3 && shift 3
    set -- "$slotpress" tokenize --json --tokenizer e=$encoder --segment-tokens 16 --output "$output" "$@"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe -n "$n_ranks" "$@"
    expect "$wanted" "$@"
}

# counts NAME VALUE...: the last summary.
counts() {
    while [ $# -gt 0 ]; do
        grep -q "\"$1\":$2[,}]" "$folder/out" || fail "not $1 $2: $(cat "$folder/out")"
        shift 2
    done
}

# on_any_ranks OPTION...: writes the same file on 1, 2 and 3 ranks.
on_any_ranks() {
    for n in 3 2 1; do
        tokenize_on 0 $n ranks$n.h5 "$@"
        cmp -s "$folder/ranks3.h5" "$folder/ranks$n.h5" || fail "$*: another file on $n ranks than on 3"
    done
}

# Rows of the fixture in English with 40 tokens or more, and the others.
n_wanted=$(sed -n 's/.*"language": "en".*"token_count": \([0-9]*\).*/\1/p' $fixtures/snappy.jsonl | awk '$1 >= 40' | wc -l)
n_unwanted=$((32 - n_wanted))

# ---- folders and patterns ----

on_any_ranks "$corpus"
counts files 3 documents 97 empty_documents 2 filtered_documents 0 duplicate_documents 25 rows 0 row_groups 0 files 0
tokenize_on 0 1 named.h5 "$corpus/b/fineweb.jsonl" "$corpus/b/packed.jsonl.zst" "$corpus/lines.jsonl"
cmp -s "$folder/ranks1.h5" "$folder/named.h5" || fail "a folder is not its files in order"
tokenize_on 0 1 pattern.h5 "$corpus/b/*" "$corpus/*.jsonl"
cmp -s "$folder/ranks1.h5" "$folder/pattern.h5" || fail "a pattern is not its files in order"
tokenize_on 74 2 none.h5 "$corpus/*.parquet"
says "nothing matches '$corpus/*.parquet'"

# ---- conditions ----

on_any_ranks --where 'language = en' --where 'token_count >= 40' "$corpus/b/fineweb.jsonl"
counts documents 32 filtered_documents "$n_unwanted"
tokenize_on 65 2 none.h5 --where 'language = xx' "$corpus"
says "of 97 documents 97 failed a condition"
tokenize_on 65 2 none.h5 --where 'token_count = many' "$corpus/b/fineweb.jsonl"
says "'$corpus/b/fineweb.jsonl', line 1: 'token_count' is a number"
tokenize_on 64 1 none.h5 --where 'language' "$corpus"
says "--where: 'language' is no condition"
tokenize_on 0 2 url.h5 --column url "$corpus/b/fineweb.jsonl"
counts documents 32 empty_documents 0

# ---- damage ----

{ sed -n 1,3p "$corpus/lines.jsonl" && echo '{"text": "broken' && echo '{"text": null}' && sed -n 4,9p "$corpus/lines.jsonl"; } \
    >"$folder/bad.jsonl"
head -c 300 "$corpus/b/packed.jsonl.zst" >"$folder/cut.jsonl.zst"
for n in 1 3; do
    tokenize_on 65 $n none.h5 "$corpus/lines.jsonl" "$folder/bad.jsonl"
    says "'$folder/bad.jsonl', line 4: "
done
[ ! -e "$folder/none.h5" ] || fail "a failure left a file"
on_any_ranks --on-error skip "$folder/bad.jsonl" "$folder/cut.jsonl.zst" "$corpus/lines.jsonl"
counts rows 2 row_groups 0 files 1 lost_documents 2
says "'$folder/bad.jsonl', line 5: field 'text' is not a string; the row is skipped"
says "'$folder/cut.jsonl.zst', offset 300"
sed '4,5d' "$folder/bad.jsonl" >"$folder/mended.jsonl"
tokenize_on 0 1 mended.h5 "$folder/mended.jsonl"
tokenize_on 0 1 bad.h5 --on-error skip "$folder/bad.jsonl"
for name in mended bad; do
    h5dump -d /segments/byte_len -d /streams/e/ids "$folder/$name.h5" | grep -v '^HDF5' >"$folder/$name.dump"
done
cmp -s "$folder/mended.dump" "$folder/bad.dump" || fail "what is skipped leaves traces"
tokenize_on 64 1 none.h5 --on-error ignore "$corpus"
says "'ignore' is not one of stop, skip"

# ---- sums ----

(cd "$corpus" && sha256sum lines.jsonl b/fineweb.jsonl) >"$folder/sums"
on_any_ranks --checksums "$folder/sums" "$corpus"
counts unchecked_files 1
says "lists no sum for 1 of 3 files"
says "the first is '$corpus/b/packed.jsonl.zst'"
echo >>"$corpus/lines.jsonl"
for n in 1 2 3; do
    tokenize_on 65 $n none.h5 --checksums "$folder/sums" "$corpus"
    says "'$corpus/lines.jsonl' is not the file that '$folder/sums' lists"
done
on_any_ranks --on-error skip --checksums "$folder/sums" "$corpus"
counts documents 57 files 1 unchecked_files 1
says "'$corpus/lines.jsonl' is not the file"

# ---- Parquet ----

if [ $has_parquet = no ]; then
    tokenize_on 64 2 none.h5 $fixtures/snappy.parquet
    says "tools/bootstrap parquet"
    finish || exit 1
    echo "skipped: needs Arrow's Parquet library (tools/bootstrap parquet)"
    exit 77
fi
tokenize_on 0 1 lines.h5 $fixtures/snappy.jsonl
on_any_ranks $fixtures/zstd.parquet
counts documents 32 empty_documents 2
for name in ranks1 lines; do
    h5dump -g /segments -g /streams -d /documents/id -d /documents/hash "$folder/$name.h5" | grep -v '^HDF5' >"$folder/$name.dump"
done
cmp -s "$folder/ranks1.dump" "$folder/lines.dump" || fail "Parquet and JSON lines of the same rows differ"
on_any_ranks --where 'language = en' --where 'token_count >= 40' $fixtures/snappy.parquet
counts documents 32 filtered_documents "$n_unwanted"
tokenize_on 65 2 none.h5 $fixtures/codec.parquet
says "'$fixtures/codec.parquet', row group 1, from row 3 on: "
tokenize_on 65 2 none.h5 --on-error skip --where 'score > 1' $fixtures/codec.parquet
says "no column 'score'"
on_any_ranks --on-error skip $fixtures/codec.parquet $fixtures/number.parquet $fixtures/nulls.parquet
counts rows 4 row_groups 1 files 1
on_any_ranks $fixtures/bytes.parquet
counts not_utf8_documents 1
says "'$fixtures/bytes.parquet', line or row 5"

# A program away from its build folder has no Arrow, and says so; all else works.
mkdir "$folder/bin"
cp "$slotpress" "$folder/bin/slotpress"
expect 64 "$folder/bin/slotpress" tokenize --tokenizer e=$encoder --output "$folder/none.h5" $fixtures/zstd.parquet
says "'$fixtures/zstd.parquet': cannot load Arrow"
says "tools/bootstrap parquet"
expect 0 "$folder/bin/slotpress" tokenize --quiet --tokenizer e=$encoder --output "$folder/lines.h5" $fixtures/snappy.jsonl

finish
