#!/bin/sh
# Token files as a user sees them: `verify` alone and against a source, `merge`, `inspect` with text.
. tests/lib.sh

corpus 120 >"$folder/corpus.jsonl"
tokens=$folder/tokens.h5
set -- --tokenizer e="$encoder" --tokenizer d="$decoder"
expect 0 "$slotpress" tokenize --quiet "$@" --segment-tokens 16 --output "$tokens" "$folder/corpus.jsonl"

# verify: the whole file, and the very documents that it was made from.
expect 0 "$slotpress" verify "$tokens"
grep -q "is whole: 120 documents" "$folder/out" || fail "verify counts $(cat "$folder/out")"
expect 0 "$slotpress" verify --json "$tokens" --source "$folder/corpus.jsonl" "$@"
n_segments=$(sed 's/.*"segments":\([0-9]*\).*/\1/' "$folder/out")
grep -q "\"compared\":$((2 * n_segments))[,}]" "$folder/out" || fail "both streams of $n_segments segments: $(cat "$folder/out")"
expect 0 mpirun --oversubscribe -n 2 "$slotpress" verify "$tokens" --source "$folder/corpus.jsonl" "$@"

sed 's/"d70", "text": "./&!/' "$folder/corpus.jsonl" >"$folder/other.jsonl"
expect 65 "$slotpress" verify "$tokens" --source "$folder/other.jsonl"
says "document 'd70', number 70"
head -n 119 "$folder/corpus.jsonl" >"$folder/other.jsonl"
expect 65 "$slotpress" verify "$tokens" --source "$folder/other.jsonl"
says "source ends before document 'd119'"
expect 65 "$slotpress" verify "$tokens" --source "$folder/corpus.jsonl" --source "$folder/other.jsonl"
says "ends with 120 documents"
expect 64 "$slotpress" verify "$tokens" --source "$folder/corpus.jsonl" --tokenizer e="$decoder"
says "another tokenizer"
expect 64 "$slotpress" verify "$tokens" --source "$folder/corpus.jsonl" --tokenizer f="$decoder"
says "no stream 'f'"

# Text that a tokenizer itself changes: what it makes of it must be in the file.
printf '{"text": "  two blanks, <s> and e\\u0301 \\ufb01"}\n{"text": ""}\n{"text": "\\u0000"}\n' >"$folder/hard.jsonl"
expect 0 "$slotpress" tokenize --quiet "$@" --segment-tokens 3 --output "$folder/hard.h5" "$folder/hard.jsonl"
expect 0 "$slotpress" verify "$folder/hard.h5" --source "$folder/hard.jsonl" "$@"

# A flipped byte in the middle, where the ids lie.
cp "$tokens" "$folder/flipped.h5"
at=$(($(wc -c <"$tokens") / 2))
printf '\377' | dd of="$folder/flipped.h5" bs=1 seek=$at conv=notrunc 2>/dev/null
cmp -s "$tokens" "$folder/flipped.h5" && printf '\000' | dd of="$folder/flipped.h5" bs=1 seek=$at conv=notrunc 2>/dev/null
expect 65 "$slotpress" verify "$folder/flipped.h5"
says "$folder/flipped.h5"

# merge: of a plain file, the same bytes; nothing where it fails.
expect 0 "$slotpress" merge "$tokens" --output "$folder/merged.h5"
cmp "$tokens" "$folder/merged.h5" || fail "merged file differs"
expect 65 "$slotpress" merge "$folder/flipped.h5" --output "$folder/none.h5"
[ ! -e "$folder/none.h5" ] || fail "a failed merge leaves a file"

# inspect: counts, lengths, text.
expect 0 "$slotpress" inspect --json "$tokens"
sum=$(sed 's/.*"segment_lengths":\[\([^]]*\)\].*/\1/' "$folder/out" | tr '}' '\n' |
    sed -n 's/.*"segments":\([0-9]*\).*/\1/p' | awk '{ sum += $1 } END { print sum }')
[ "$sum" = "$n_segments" ] || fail "the lengths of $sum segments, there are $n_segments"
expect 0 "$slotpress" inspect "$tokens" --tokenizer d="$decoder" --segments 2
first=$(sed -n '1s/.*"text": "\([^ ]* [^ ]*\) .*/\1/p' "$folder/corpus.jsonl")
grep -A 2 '^first_segments:' "$folder/out" | grep -qF "\"text\": \"$first" || fail "no text '$first'"
[ "$(grep -c byte_begin "$folder/out")" = 2 ] || fail "not two segments"
expect 64 "$slotpress" inspect "$tokens" --segments 2
expect 64 "$slotpress" inspect "$folder/run.yaml" --segments 2

# Samples in random order are the same from each layout, as the bench reads them.
mkdir "$folder/reading"
expect 0 "${BUILD:-build}/tests/bench/bench_tokens_reading" "$folder/reading" 1024 16
[ "$(grep -c samples_per_second_cached "$folder/out")" = 3 ] || fail "not three layouts"

# Other files, and errors of use.
expect 64 "$slotpress" verify "$folder/corpus.jsonl"
expect 64 "$slotpress" merge "$folder/corpus.jsonl" --output "$folder/none.h5"
expect 64 "$slotpress" verify "$tokens" --tokenizer e="$encoder"
expect 64 "$slotpress" merge "$tokens"
expect 74 "$slotpress" verify "$folder/none.h5"
finish
