#!/bin/sh
# `verify` shares its work: what it finds does not depend on the ranks. The corpus has several blocks,
# of a file in ranges too, and damage that was skipped when it was tokenized.
# cores: 1
. tests/lib.sh

corpus 24000 | sed '4000s/"text": "/"text": null, "t": "/; 18000s/^{/[/' >"$folder/large.jsonl"
corpus 40 | gzip -c >"$folder/small.jsonl.gz"
head -c -20 "$folder/small.jsonl.gz" >"$folder/cut.jsonl.gz" # what was lost of it nobody can count
printf 'one text' >"$folder/one.txt"
corpus 30 | sed 's/"id": "/&x/' >"$folder/last.jsonl"
sources="$folder/large.jsonl $folder/small.jsonl.gz $folder/cut.jsonl.gz $folder/one.txt $folder/last.jsonl"
tokens=$folder/tokens.h5
# shellcheck disable=SC2086 # no name here has a blank
expect 0 mpirun --oversubscribe -n 2 "$slotpress" tokenize --quiet --on-error skip --keep-duplicates --tokenizer e="$encoder" \
    --segment-tokens 16 --output "$tokens" $sources
given=$(for source in $sources; do printf ' --source %s' "$source"; done)

# on_ranks CODE OPTION...: verify on so many $ranks, which say the same.
ranks="1 2 3"
on_ranks() {
    code_wanted=$1 && shift
    for n in $ranks; do
        expect "$code_wanted" mpirun --oversubscribe -n $n "$slotpress" verify --json "$@"
        grep -v '^$\|^---\|^mpirun\|^Primary\|^a non-zero\|^Process name\|^  *Process\|exit code\|Exit code\|^Exit' "$folder/err" |
            sed 's/^slotpress: rank [0-9]* ([^)]*): /slotpress: /' | grep '^slotpress: ' | sort -u >"$folder/err.$n"
        cp "$folder/out" "$folder/out.$n"
        [ "$n" != "${ranks%% *}" ] || continue
        for of in out err; do
            cmp -s "$folder/$of.$n" "$folder/$of.${ranks%% *}" ||
                fail "$n ranks: $(cat "$folder/$of.$n"), not: $(cat "$folder/$of.${ranks%% *}")"
        done
    done
}

on_ranks 0 "$tokens"
# shellcheck disable=SC2086
on_ranks 0 "$tokens" --on-error skip --tokenizer e="$encoder" $given
grep -q '"lost":2[,}]' "$folder/out" || fail "two lost documents: $(cat "$folder/out")"
n_segments=$(sed 's/.*"segments":\([0-9]*\).*/\1/' "$folder/out")
grep -q "\"compared\":${n_segments}[,}]" "$folder/out" || fail "$n_segments segments: $(cat "$folder/out")"

ranks="1 3"

# The lines are those of the file, where a range of it was read.
# shellcheck disable=SC2086
expect 0 "$slotpress" verify "$tokens" --on-error skip $given
says "large.jsonl', line 18000"

# Without --on-error damage is an error, with its line.
# shellcheck disable=SC2086
on_ranks 65 "$tokens" $given
says "large.jsonl', line 4000"

# Of several differences the first one, whoever finds another one before.
cp "$folder/large.jsonl" "$folder/good.jsonl"
sed -i 's/"d\(5500\|1[2579]500\|22500\)", "text": "./&!/' "$folder/large.jsonl"
# shellcheck disable=SC2086
on_ranks 65 "$tokens" --on-error skip $given
says "document 'd5500', number 5500"
cp "$folder/good.jsonl" "$folder/large.jsonl"

# More documents than there were, and fewer.
ranks=3
# shellcheck disable=SC2086
on_ranks 65 "$tokens" --on-error skip $given --source "$folder/one.txt"
says "ends with"
# shellcheck disable=SC2086
on_ranks 65 "$tokens" --on-error skip ${given% --source *}
says "source ends before document 'xd0'"

expect 64 "$slotpress" verify "$tokens" --on-error skip
expect 64 "$slotpress" verify "$tokens" --source "$folder/one.txt" --on-error pass
finish
