#!/bin/sh
# A tokenization that is killed at any call that changes a file (tests/faults/interposer.c): the same
# command, on another number of ranks, takes what was done, counts the same and writes the same file;
# nothing but its parts is left beside it, and given once more, it does nothing.
. tests/lib.sh
export OMPI_MCA_ess_singleton_isolated=1
cc -std=c11 -D_GNU_SOURCE -O1 -shared -fPIC -o "$folder/interposer.so" tests/faults/interposer.c -ldl ||
    fail "no interposer"

# Blocks of 1 MB; the texts of the second file are in the first.
mkdir "$folder/in" "$folder/out.d"
corpus 30000 >"$folder/in/a.jsonl"
tail -n +200 "$folder/in/a.jsonl" | head -n 8000 | sed 's/{"id": "d/{"id": "e/' >"$folder/in/b.jsonl"

# run_on CODE RANKS [SETTING...]: tokenizes into out.d, with the environment SETTING... on all ranks.
run_on() {
    wanted=$1 n_ranks=$2 && shift 2
    set -- env "$@" "$slotpress" tokenize --tokenizer e=$encoder --segment-tokens 16 \
        --output "$folder/out.d/tokens.h5" "$folder/in"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe -n "$n_ranks" "$@"
    expect "$wanted" "$@"
}
# faulty RANKS AT [KIND]: suffers at that call.
faulty() {
    run_on any "$1" LD_PRELOAD="$folder/interposer.so" FAULT_FOLDER="$folder/out.d" \
        FAULT_LOG="$folder/calls" FAULT_AT="$2" FAULT_KIND="${3:-kill}"
}
# What it counted, but for the time.
counts() { sed 's/, [0-9.]* s, [0-9]* tokens\/s//; s/, done by an earlier run//' "$folder/out"; }
# clear: what a finished run leaves.
clear() { rm -rf "$folder/out.d/tokens.h5" "$folder/out.d/tokens.parts"; }
# complete RANKS WHAT: goes on after WHAT, and ends with the file that is wanted.
complete() {
    run_on 0 "$1"
    cp "$folder/err" "$folder/notes"
    [ "$(counts)" = "$(cat "$folder/counts")" ] || fail "after $2 it counts $(counts)"
    "$slotpress" merge "$folder/out.d/tokens.h5" --output "$folder/whole.h5" || fail "no merge after $2"
    cmp -s "$folder/wanted.h5" "$folder/whole.h5" || fail "another file after $2"
    left=$(cd "$folder/out.d" && find . -type f | grep -vE '^./tokens(.h5|.parts/part-[0-9]*-[0-9a-f]*.h5)$')
    [ -z "$left" ] || fail "$2 leaves behind: $left"
    find "$folder/out.d" -type f | xargs ls -l --time-style=full-iso >"$folder/files"
    run_on 0 "$n_ranks"
    [ "$(counts)" = "$(cat "$folder/counts")" ] || fail "done after $2, it counts $(counts)"
    find "$folder/out.d" -type f | xargs ls -l --time-style=full-iso | cmp -s "$folder/files" - ||
        fail "a finished run changes files"
    cp "$folder/notes" "$folder/err"
    clear
}

run_on 0 1
counts >"$folder/counts"
mv "$folder/out.d/tokens.h5" "$folder/wanted.h5"

# Every call that changes the folder, in a run on one rank.
faulty 1 0
[ "$code" = 0 ] || fail "counting the calls: exit code $code"
cmp "$folder/wanted.h5" "$folder/out.d/tokens.h5"
clear
mv "$folder/calls" "$folder/all"
n_blocks=$(grep -c 'rename .*block-' "$folder/all")
[ "$n_blocks" -ge 4 ] || fail "only $n_blocks blocks"

# Where something gets its name or is written to the disk, in the midst of a journal and of the file,
# and the last call. On several ranks the first may have fewer calls, and live.
n=0 n_killed=0 n_resumed=0
for at in $(awk '/ (rename|fsync) / && ++n % 7 == 1 { print $1 }
                 / write .*journal/ && ++journal % 16 == 6 { print $1 }
                 / pwrite / && ++file % 80 == 30 { print $1 }
                 END { print NR }' "$folder/all"); do
    n=$((n + 1))
    n_ranks=$((1 + n % 3))
    faulty $n_ranks "$at"
    n_done=$(find "$folder/out.d" -name 'block-00000?' | wc -l)
    n_journals=$(find "$folder/out.d" -name 'part-*.journal' -size +4k | wc -l)
    if [ "$code" != 0 ]; then
        n_killed=$((n_killed + 1))
        complete $((1 + (n + 1) % 3)) "a kill at call $at of rank 0 of $n_ranks"
        [ "$n_done" = 0 ] || grep -q "done by an earlier run\|$n_done of $n_blocks blocks were surveyed before" "$folder/err" "$folder/out" ||
            fail "a kill at call $at: what was surveyed is lost"
        [ "$n_journals" = 0 ] || n_resumed=$((n_resumed + $(grep -c 'blocks were tokenized before' "$folder/err")))
    else
        clear
    fi
done
echo "killed at $n_killed of $n moments"
[ $n_killed -ge $((n / 2)) ] || fail "only $n_killed kills"
[ $n_resumed -ge 2 ] || fail "only $n_resumed runs took blocks from journals"

# The file has its name, and what it was made of is being removed: the next run does the rest.
for at in $(awk '/ unlink .*(journal|lock)$/ { print $1 }' "$folder/all"); do
    faulty 1 "$at"
    [ "$code" != 0 ] && [ -e "$folder/out.d/tokens.h5" ] || fail "no kill at call $at, behind the file's name"
    complete 2 "a kill at call $at of one rank, behind the file's name"
done

# A full disk is told of, and what was done stays.
faulty 1 "$(grep -m 1 'block-000002' "$folder/all" | cut -d ' ' -f 1)" full
[ "$code" = 74 ] || fail "full disk: exit code $code"
says "block-000002"
complete 2 "a full disk"
says "2 of $n_blocks blocks were surveyed before"

# Asked to stop, it finishes the blocks at hand, and the same command goes on.
corpus 150000 >"$folder/in/a.jsonl"
"$slotpress" tokenize --quiet --tokenizer e=$encoder --segment-tokens 16 \
    --output "$folder/out.d/tokens.h5" "$folder/in" >/dev/null 2>"$folder/err" &
stopped=$!
while [ -z "$(find "$folder/out.d" -name '*.journal')" ] && kill -0 $stopped; do sleep 0.02; done
kill -USR1 $stopped
wait $stopped
code=$?
[ $code = 75 ] || fail "USR1: exit code $code"
run_on 0 2
says "blocks were tokenized before"

finish
