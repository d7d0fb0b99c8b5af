#!/bin/sh
# Trainings are killed, or find the disk full, at single calls that change something in the run's
# folder (tests/faults/interposer.c): the newest complete checkpoint is the last one that got its
# name, the same command goes on from it, and ends with the bits of a run that nothing happened to. By
# default at one call of each kind while a checkpoint takes the place of an older one; with
# EVERY_CALL="RANKS:RANK ..." at every call of that rank of so many, or with EVERY_NTH=N at every N-th,
# from one on that the day of the year says.
# cores: 1
. tests/lib.sh
command -v cc >/dev/null || { echo "skipped: needs cc" && exit 77; }
make_tokens 12
limit_s=60 n_stuck=0
cc -std=c11 -D_GNU_SOURCE -O1 -shared -fPIC -o "$folder/interposer.so" tests/faults/interposer.c -ldl ||
    fail "no interposer"
schedule="train.steps=3 train.global_batch=2 train.micro_batch=1 train.validate_every=0
    encoder.train=none checkpoint.every_steps=1 checkpoint.keep=1"

# suffer RANKS RUN KIND AT VICTIM: trains from the start until the fault strikes; its calls are in
# $folder/calls, its exit code in $code.
suffer() {
    rm -rf "${folder:?}/$2" "$folder/calls"
    export LD_PRELOAD="$folder/interposer.so" FAULT_FOLDER="$folder/$2" FAULT_LOG="$folder/calls"
    export FAULT_KIND="$3" FAULT_AT="$4" FAULT_RANK="$5"
    # shellcheck disable=SC2086
    pretrain any "$1" "$2" $schedule
    unset LD_PRELOAD FAULT_FOLDER
}

# newest RUN: its newest folder that is a checkpoint, if any.
newest() {
    for step in "$folder/$1"/step-???????; do
        [ ! -f "$step/manifest.json" ] || echo "$step"
    done | tail -n 1
}

# named: the checkpoint that had got its name before the call that failed, by rank 0's calls.
named() { sed "$((at))q" "$folder/calls" | sed '$d' | sed -n 's/^[0-9]* rename \(.*step-[0-9]*\)\.tmp$/\1/p' | tail -n 1; }

# goes_on RANKS RUN: from its newest checkpoint, to where the run ends that was never disturbed.
goes_on() {
    from=$(newest "$2")
    # shellcheck disable=SC2086
    verbosity='' pretrain 0 "$1" "$2" $schedule
    case $from in
    '') ! grep -q "resuming from" "$folder/err" || fail "resumes from what is no checkpoint" ;;
    *3) says "is finished at step 3" ;;
    *) says "resuming from '$from'" ;;
    esac
    same_losses "$2" "whole$1"
    [ "$(ls -A "$folder/$2")" = "$(ls -A "$folder/whole$1")" ] || fail "left behind: $(ls -A "$folder/$2")"
    for file in "$folder/whole$1"/step-0000003/data-*.h5; do
        cmp -s "$file" "$folder/$2/step-0000003/${file##*/}" || fail "${file##*/} has other bytes"
    done
}

# strike RANKS KIND AT VICTIM: one fault and what comes of it.
strike() {
    before=$n_failed at=$3
    suffer "$1" run "$2" "$3" "$4"
    call=$(sed -n "$3p" "$folder/calls" | sed "s|$folder/||")
    if [ $is_deaf = yes ] && ! pkill -KILL -f "^$slotpress .*run.dir=$folder/run"; then
        echo "... mpirun locks up after its last rank, $2 of rank $4 of $1 at call $call"
        n_stuck=$((n_stuck + 1))
    elif [ "$2" = kill ]; then
        [ $code = 137 ] || fail "exit code $code of a killed run"
    else
        [ $code = 74 ] || fail "exit code $code with a full disk"
        says "No space left on device"
        case $call in
        *step-* | *metrics*) says "checkpoints so far are whole" ;;
        esac
        [ -z "$(find "$folder/run" -name '*.tmp' 2>/dev/null)" ] || fail "half a checkpoint stays"
    fi
    # What another rank does when one is killed or full is not to be told from this one's calls.
    [ "$4" != 0 ] || [ "$2" = full ] || [ "$(newest run)" = "$(named)" ] ||
        fail "'$(newest run)' is the newest, not '$(named)'"
    goes_on "$1" run
    [ "$n_failed" = "$before" ] || echo "... $2 of rank $4 of $1 at call $call"
}

# calls RANKS VICTIM: trains undisturbed as whole$RANKS and lists the calls of one rank.
calls() {
    suffer "$1" "whole$1" none 0 "$2"
    [ $code = 0 ] || fail "exit code $code of a run without a fault"
    cp "$folder/calls" "$folder/calls$1$2"
}

# of_each_kind RANKS VICTIM PATTERN...: numbers of calls, for each pattern the first.
of_each_kind() {
    list=$folder/calls$1$2 && shift 2
    for pattern in "$@"; do
        grep -m 1 -- "$pattern" "$list" | cut -d ' ' -f 1 | grep . || echo "no-call-$pattern"
    done
}

if [ -n "${EVERY_CALL:-}" ]; then
    for who in $EVERY_CALL; do
        ranks=${who%:*} victim=${who#*:}
        calls "$ranks" "$victim"
        # After the last call that needs room nothing can fail; of a file's writes a third will do.
        needy=$(grep -n ' rename .*tmp$\| pwrite ' "$folder/calls" | tail -n 1 | cut -d : -f 1)
        echo "$ranks rank(s), rank $victim: $(wc -l <"$folder/calls") calls, $needy to the last that needs room"
        nth=${EVERY_NTH:-1}
        first=$((1 + $(date +%j | sed 's/^0*//') % nth))
        for at in $(seq "$first" "$nth" "$(wc -l <"$folder/calls")"); do
            strike "$ranks" kill "$at" "$victim"
        done
        for at in $(awk -v last="$needy" 'NR <= last && ($2 != "pwrite" || NR % 3 == 0) { print NR }' \
            "$folder/calls$ranks$victim" | sed -n "$first~${nth}p"); do
            strike "$ranks" full "$at" "$victim"
        done
    done
else
    calls 1 0
    second=step-0000002.tmp
    for at in $(of_each_kind 1 0 "mkdir.*$second" "create.*$second/data" "pwrite.*$second/data" \
        "fsync.*$second/data" "create.*$second/manifest" " write.*$second/manifest" \
        "fsync.*$second/manifest" "rename.*$second/manifest" "fsync.*$second\$" "rename.*$second\$" \
        "rename.*step-0000001\$" "unlink.*step-0000001.tmp/manifest" "unlink.*step-0000001.tmp/data" \
        "rmdir.*step-0000001" \
        "fflush.*metrics"); do
        strike 1 kill "$at" 0
    done
    for at in $(of_each_kind 1 0 "mkdir.*whole1\$" "mkdir.*$second" "fflush.*metrics" " write.*$second/manifest" \
        "rename.*$second\$"); do
        strike 1 full "$at" 0
    done
    calls 2 0
    for at in $(of_each_kind 2 0 "pwrite.*$second/data" "rename.*$second\$"); do
        strike 2 kill "$at" 0
    done
    calls 2 1
    at=$(of_each_kind 2 1 "fsync.*$second/data")
    strike 2 kill "$at" 1
    strike 2 kill $((at - 5)) 1
    strike 2 full $((at - 5)) 1
fi

[ $n_stuck -le 1 ] || fail "mpirun locked up $n_stuck times"
finish
