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

# Rows of a damaged row group and those left out keep their numbers: the sound rows' are the file's.
# ids NAME: rows of /documents, one id a line.
ids() { h5dump -y -w 0 -d /documents/id "$folder/$1" | sed -n '/DATA {/,$p' | grep -o '"[^"]*"' | sed 's/\\000//g; s/"//g'; }
tokenize_on 0 2 bad.h5 --on-error skip "$folder/bad.jsonl"
counts documents 11 lost_documents 2
ids bad.h5 | sed -n '4,5p' >"$folder/ids"
printf '%s\n' "$folder/bad.jsonl:4" "$folder/bad.jsonl:5" | cmp -s - "$folder/ids" || fail "ids of lost rows: $(cat "$folder/ids")"
h5dump -y -d /documents/hash "$folder/bad.h5" | tr -d ' \n' | grep -q ',0,0,' || fail "lost rows have a hash"

# ---- duplicates, short tails, long documents ----

on_any_ranks "$corpus/lines.jsonl" "$corpus/lines.jsonl" "$corpus/b"
counts documents 137 duplicate_documents 65 segments "$(h5dump -H -d /segments/doc "$folder/ranks1.h5" | sed -n 's/.*( \([0-9]*\) ) \/.*/\1/p')"
tokenize_on 0 1 once.h5 "$corpus/lines.jsonl" "$corpus/b/fineweb.jsonl"
for name in once ranks1; do
    h5dump -d /streams/e/ids -d /segments/byte_len "$folder/$name.h5" | grep -v '^HDF5' >"$folder/$name.dump"
done
cmp -s "$folder/once.dump" "$folder/ranks1.dump" || fail "not the first of each text stays"
on_any_ranks --keep-duplicates "$corpus/lines.jsonl" "$corpus/lines.jsonl"
counts documents 80 duplicate_documents 0
# The first that is wanted stays.
printf '%s\n' '{"text": "one two", "n": 1}' '{"text": "one two", "n": 2}' '{"text": "one two", "n": 3}' >"$folder/same.jsonl"
on_any_ranks --where 'n > 1' "$folder/same.jsonl"
counts documents 3 filtered_documents 1 duplicate_documents 1
h5dump -y -d /segments/doc "$folder/ranks1.h5" | grep -q '^ *1$' || fail "not the first that is wanted stays"

# lengths: tokens of each segment of tails.h5.
lengths() {
    h5dump -y -w 1 -d /streams/e/offsets "$folder/$1" | awk '/^ *[0-9]+,?$/ { sub(/,/, ""); if (n++) print $1 - last; last = $1 }'
}
tokenize_on 0 1 all.h5 "$corpus/lines.jsonl"
on_any_ranks --min-tokens 9 "$corpus/lines.jsonl"
n_short=$(lengths all.h5 | awk '$1 < 9' | wc -l)
[ "$n_short" -gt 3 ] || fail "only $n_short short tails"
counts short_tails "$n_short"
lengths all.h5 | awk '$1 >= 9' >"$folder/long"
lengths ranks1.h5 | cmp -s - "$folder/long" || fail "--min-tokens 9 leaves out other segments than those shorter"
tokenize_on 64 1 none.h5 --min-tokens 17 "$corpus/lines.jsonl"
says "--min-tokens: 17 are more than a segment's 16"
on_any_ranks --max-document 100 "$corpus/lines.jsonl"
n_long=$(sed 's/.*"text": "\(.*\)"}$/\1/' "$corpus/lines.jsonl" | awk 'length($0) > 100' | wc -l)
[ "$n_long" -gt 3 ] || fail "only $n_long long documents"
counts oversized_documents "$n_long" documents 40
tokenize_on 65 2 none.h5 --max-document 1 "$corpus/lines.jsonl"
says "of 40 documents 0 failed a condition, 0 are damaged, 0 empty, 40 too long"
[ ! -e "$folder/none.h5.work" ] || fail "a failure left a folder"

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

# An input is not replaced, nor a folder.
corpus 5 >"$folder/corpus.jsonl"
expect 64 "$slotpress" tokenize --quiet --tokenizer e="$encoder" --output "$folder/corpus.jsonl" "$folder/corpus.jsonl"
says "is an input"
corpus 5 | cmp -s - "$folder/corpus.jsonl" || fail "an input was replaced"
expect 64 "$slotpress" tokenize --quiet --tokenizer e="$encoder" --output "$folder" "$folder/corpus.jsonl"
says "is a folder"

finish
