#!/bin/sh
# evaluate --work: killed or told to stop at moments spread over its run, the same command goes on with
# another number of ranks, asks nothing again that was answered, and prints what an undisturbed run does;
# other commands share the folder and take nothing from each other; two of one refuse each other.
. tests/lib.sh

make_tokens 60
pretrain 0 1 run train.steps=3
pretrain 0 1 run8 train.steps=3 segment.ratio=8
work=$folder/work
{
    printf '{"data": [{"title": "t", "paragraphs": ['
    corpus 60 | sed 's/{"id": "\([^"]*\)", "text": "\(.*\)"}/{"context": "\2", "qas": [{"id": "\1-a", "question": "What ran to \1?", "answers": [{"text": "the river"}]}, {"id": "\1-b", "question": "Who sold \1?", "answers": [{"text": "men"}]}]}/' |
        paste -s -d ,
    printf ']}], "version": "1.1"}'
} >"$folder/questions.json"
printf 'sentence\tlabel\n' | tee "$folder/train.tsv" >"$folder/dev.tsv"
printf '%s\t%s\n' 'bread old ' 1 'men sold ' 1 'boats lay ' 0 'stone stone ' 0 >>"$folder/train.tsv"
for i in $(seq 160); do printf 'boats %s lay \t%s\n' "$i" $((i % 2)); done >>"$folder/dev.tsv"
for i in $(seq 80); do
    printf '{"context": "Boats lay by bridge %s.", "prompt": "Harry:", "answer": " There %s."}\n' "$i" "$i"
done >"$folder/dialogues.jsonl"

# shellcheck disable=SC2034 # the loop below reads them by name
{
    both="--quiet --json --checkpoint $folder/run --checkpoint $folder/run8"
    qa="qa $both --data $folder/questions.json --min-context 1 --max-new-tokens 12 --samples 5 --output $folder/answers"
    reconstruction="reconstruction $both --split all --max-new-tokens 40 --samples 5 $folder/tokens.h5"
    icl="icl --quiet --json --checkpoint $folder/run --data $folder/dev.tsv --demonstrations $folder/train.tsv --samples 2"
    roleplay="roleplay --quiet --json --checkpoint $folder/run --data $folder/dialogues.jsonl"
    ablation="ablation --quiet --json --checkpoint $folder/run --variant eight=$folder/run8 --split all --max-new-tokens 12 --data $folder/questions.json --min-context 1"
}

# run RANKS TASK OPTION...: its result, the seconds apart, in $folder/result.
run() {
    n_ranks=$1 && shift
    set -- "$slotpress" evaluate "$@"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n_ranks" "$@"
    expect 0 "$@"
    sed 's/,"seconds":[0-9.e+-]*//' "$folder/out" >"$folder/result"
}
# is_right NAME WHAT
is_right() { cmp -s "$folder/result" "$folder/$1.wanted" || fail "$1: $2 prints another result"; }

n_units() { cat "$work"/*/answers-* 2>/dev/null | wc -l; }

# stopped RANKS UNITS SIGNAL TASK OPTION...: starts it, and sends the signal when so many units more are
# answered.
stopped() {
    n_ranks=$1 before=$(n_units) wanted=$2 signal=$3 && shift 3
    set -- "$slotpress" evaluate "$@" --work "$work"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n_ranks" "$@"
    "$@" >"$folder/printed" 2>"$folder/err" </dev/null &
    started=$!
    while kill -0 $started 2>/dev/null && [ "$(n_units)" -lt $((before + wanted)) ]; do sleep 0.01; done
    victim=$started
    [ "$signal" != rank ] || victim=$(pgrep -P $started slotpress | tail -n 1)
    case $signal in
    rank | all) kill -KILL "$victim" || fail "nothing left to kill: more items are needed" ;;
    *) kill -"$signal" "$victim" || fail "nothing left to tell: more items are needed" ;;
    esac
    wait $started 2>/dev/null
    code=$?
    # Ranks whose mpirun was killed end by themselves; the next command waits for the lock, not for them.
    for _ in $(seq 200); do
        pgrep -f "$work" >/dev/null || break
        sleep 0.05
    done
    [ ! -s "$folder/printed" ] || fail "a result before the end"
}

# In one folder, one after the other; none takes what is another's.
for name in qa reconstruction icl roleplay; do
    eval "command=\$$name"
    before=$(n_units)
    # shellcheck disable=SC2086,SC2154 # a command in words
    run 1 $command
    mv "$folder/result" "$folder/$name.wanted"
    [ $name != qa ] || mv "$folder/answers" "$folder/answers.wanted"
    # shellcheck disable=SC2086
    stopped 2 2 USR1 $command
    [ $code = 75 ] || fail "$name: exit code $code after USR1, not 75"
    says "the same command goes on"
    answered=$(n_units)
    # shellcheck disable=SC2086
    run 3 $command --work "$work"
    is_right $name "what goes on after USR1"
    [ "$(n_units)" -gt "$answered" ] || fail "$name: nothing was left to do after USR1"
    eval "n_$name=$(($(n_units) - before))"
done

# An ablation asks what qa has asked of the same compressors. Finished, nothing is asked again.
# shellcheck disable=SC2086
run 1 $ablation
mv "$folder/result" "$folder/ablation.wanted"
before=$(n_units)
for n in 2 1; do
    # shellcheck disable=SC2086
    run $n $ablation --work "$work"
    is_right ablation "with --work on $n ranks"
    [ $n = 2 ] || [ "$(n_units)" = "$after" ] || fail "a finished command answers $(($(n_units) - after)) units again"
    after=$(n_units)
done
[ $((after - before)) = 16 ] || fail "the ablation answers $((after - before)) units, not those of its segments, 16"

# Killed, a rank or all of it; one line is torn, one damaged.
rm -rf "$work"
# shellcheck disable=SC2086
stopped 2 3 rank $qa
# shellcheck disable=SC2086
stopped 1 3 all $qa
# shellcheck disable=SC2086
stopped 3 2 all $qa
set -- "$work"/qa-*/answers-*
printf '{"sum":"0123' >>"$1"
printf 'x' | dd of="$2" bs=1 seek=100 conv=notrunc 2>/dev/null
# shellcheck disable=SC2086
run 2 $qa --work "$work"
is_right qa "what goes on after kills"
cmp -s "$folder/answers" "$folder/answers.wanted" || fail "what goes on after kills writes other answers"
# shellcheck disable=SC2154 # by eval
[ $(($(n_units) - 1)) = "$n_qa" ] || fail "$(n_units) units with a damaged one, not 1 more than $n_qa"

# While one runs, no other of the same; of other options and data, yes, and each gets its own result.
sed 's/What ran/Where went/' "$folder/questions.json" >"$folder/other.json"
# shellcheck disable=SC2086
run 1 ${qa% --samples*} --limit 40
mv "$folder/result" "$folder/limited.wanted"
rm -rf "$work"
# shellcheck disable=SC2086
"$slotpress" evaluate $qa --work "$work" >"$folder/printed" 2>/dev/null </dev/null &
started=$!
until [ "$(n_units)" -gt 0 ] || ! kill -0 $started 2>/dev/null; do sleep 0.01; done
kill -STOP $started
# shellcheck disable=SC2086
expect 1 "$slotpress" evaluate $qa --work "$work"
says "$work/qa-"
# shellcheck disable=SC2086
run 2 ${qa% --samples*} --limit 40 --work "$work"
is_right limited "another command in the same folder"
kill -CONT $started
wait $started || fail "the first one ends with $?"
cmp -s "$folder/printed" "$folder/qa.wanted" || fail "the first one prints another result"
cp "$folder/other.json" "$folder/questions.json"
# shellcheck disable=SC2086
run 1 $qa
mv "$folder/result" "$folder/changed.wanted"
# shellcheck disable=SC2086
run 1 $qa --work "$work"
is_right changed "the command with other questions"
cmp -s "$folder/result" "$folder/qa.wanted" && fail "other questions change nothing"

expect 64 "$slotpress" evaluate efficiency --checkpoint "$folder/run" --work "$work"
says "--work: efficiency measures seconds"
finish
