#!/bin/sh
# `compress` is killed, a rank or all of it, at moments spread over its run: the same command goes on
# with another number of ranks, does none of the blocks again that were done, and the file is that of
# a run that was never disturbed. Damaged blocks are done again.
. tests/lib.sh
make_tokens 30
pretrain 0 1 run train.steps=2
corpus 5000 >"$folder/large.jsonl"
compress="$slotpress compress --quiet --json --checkpoint $folder/run --dtype int8 --with-text"
input=$folder/large.jsonl
work=$folder/new.h5.work

# shellcheck disable=SC2086
expect 0 $compress --output "$folder/whole.h5" "$input"

n_done() { find "$work" -name 'block-*' ! -name '*.tmp' 2>/dev/null | wc -l; }

# killed RANKS BLOCKS WHO: starts it, waits for so many blocks more, and kills `all` of it or one `rank`.
killed() {
    before=$(n_done)
    # shellcheck disable=SC2086
    if [ "$1" = 1 ]; then
        $compress --output "$folder/new.h5" "$input" >/dev/null 2>&1 </dev/null &
    else
        mpirun --oversubscribe --bind-to none -n "$1" $compress --output "$folder/new.h5" "$input" \
            >/dev/null 2>&1 </dev/null &
    fi
    started=$!
    while kill -0 $started 2>/dev/null && [ "$(n_done)" -lt $((before + $2)) ]; do sleep 0.01; done
    victim=$started
    [ "$3" = all ] || victim=$(pgrep -P $started slotpress | tail -n 1)
    kill -KILL "$victim" 2>/dev/null || fail "nothing left to kill: a larger corpus is needed"
    wait $started 2>/dev/null
    # Ranks whose mpirun was killed end by themselves; none may write on beside the next run.
    for _ in $(seq 200); do
        pgrep -f "output $folder/new.h5" >/dev/null || break
        sleep 0.05
    done
    after=$(n_done)
    [ "$after" -ge $((before + $2)) ] || fail "$2 blocks were to be done, $before are now $after"
    [ ! -e "$folder/new.h5" ] || fail "an output before the end"
}

killed 2 2 rank
killed 1 3 all
killed 3 2 all

# One block is damaged, one cut short; the others are taken as they are.
set -- "$work"/block-*[0-9]
[ $# -ge 4 ] || fail "only $# blocks"
printf 'x' | dd of="$1" bs=1 seek=400 conv=notrunc 2>/dev/null
head -c 300 "$2" >"$folder/cut" && cp "$folder/cut" "$2"
# shellcheck disable=SC2086
expect 0 mpirun --oversubscribe --bind-to none -n 2 ${compress%% --quiet*} ${compress#*--quiet} \
    --output "$folder/new.h5" "$input"
says "$(($# - 2)) of "
says "blocks were done before"
[ ! -e "$work" ] || fail "the work folder is left"
expect 0 "$slotpress" verify "$folder/new.h5"
expect 0 "$slotpress" merge --output "$folder/merged.h5" "$folder/new.h5"
cmp -s "$folder/merged.h5" "$folder/whole.h5" || fail "not what an undisturbed run writes"

# Over the finished output there is nothing to do; an input that changed is compressed anew.
# shellcheck disable=SC2086
expect 0 $compress --output "$folder/new.h5" "$input"
grep -q '"finished_before": *true' "$folder/out" || fail "done again"
sed 's/river/lakes/' "$folder/large.jsonl" >"$folder/other" && cp "$folder/other" "$input"
# shellcheck disable=SC2086
expect 0 $compress --output "$folder/new.h5" "$input"
grep -q '"finished_before": *false' "$folder/out" || fail "a changed input is not compressed anew"
[ ! -e "$folder/new.parts" ] || fail "parts of the file before are left"
cmp -s "$folder/new.h5" "$folder/whole.h5" && fail "the changed input gives the same file"
finish
