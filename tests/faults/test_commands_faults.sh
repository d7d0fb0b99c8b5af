#!/bin/sh
# What the commands beside pretrain cannot do: each says so in one line that names the file, exits with
# the code of the kind, and leaves nothing under the name that it was to write.
. tests/lib.sh
make_tokens
limit_s=30
export OMPI_MCA_ess_singleton_isolated=1 # one rank alone starts no daemon: half the time

# refused CODE TEXT COMMAND...: that exit code, one line of ours with TEXT in it, and no output.
refused() {
    wanted=$1 text=$2 && shift 2
    expect "$wanted" "$@"
    says "$text"
    [ "$(grep -c '^slotpress' "$folder/err")" = 1 ] || fail "$*: not one line"
    [ ! -s "$folder/out" ] || fail "$*: there is output"
}
# The same for a command of this binary, which then has nothing else to say.
refuses() {
    wanted=$1 text=$2 && shift 2
    refused "$wanted" "$text" "$slotpress" "$@"
    grep -q '^slotpress: ' "$folder/err" && [ "$(wc -l <"$folder/err")" = 1 ] ||
        fail "$*: not the one line"
}
# Wrong usage: the command's name, its option and a hint at --help.
misused() {
    text=$1 && shift
    refused 64 "$text" "$slotpress" "$@"
    grep -q "^slotpress $1: " "$folder/err" || fail "$*: does not name the command"
}
# nothing NAME...: in the folder.
nothing() {
    for name in "$@"; do
        left=$(find "$folder" -maxdepth 1 -name "$name*")
        [ -z "$left" ] || fail "left behind: $left"
    done
}

: >"$folder/empty.jsonl"
: >"$folder/empty.txt"
mkdir "$folder/folder.txt"
cp "$folder/corpus.jsonl" "$folder/corpus.pdf"
gzip -c "$folder/corpus.jsonl" | head -c 300 >"$folder/cut.jsonl.gz"
zstd -qc "$folder/corpus.jsonl" | head -c 300 >"$folder/cut.jsonl.zst"
cp "$folder/corpus.jsonl" "$folder/plain.jsonl.gz"
cp "$folder/corpus.jsonl" "$folder/plain.jsonl.zst"
{ sed -n 1,3p "$folder/corpus.jsonl" && echo '{"text": 3'; } >"$folder/bad.jsonl"
{ sed -n 1,4p "$folder/corpus.jsonl" && echo '{"title": "no text"}'; } >"$folder/untitled.jsonl"
{ sed -n 1,2p "$folder/corpus.jsonl" && echo '{"text": 3}'; } >"$folder/number.jsonl"
head -c 5000 "$folder/tokens.h5" >"$folder/cut.h5"
dd if=/dev/zero bs=1000 count=5 2>/dev/null | tr '\0' 'x' >"$folder/garbage"
mkdir "$folder/nothing"

# ---- what reads text: tokenize and compress ----

pretrain 0 1 run train.steps=2
tokenize="tokenize --quiet --tokenizer e=$encoder --output $folder/new.h5"
compress="compress --quiet --checkpoint $folder/run --output $folder/new.h5"
for command in "$tokenize" "$compress"; do
    for case in 74:missing.txt 74:folder.txt 65:corpus.pdf 65:cut.jsonl.gz 65:cut.jsonl.zst \
        65:plain.jsonl.gz 65:plain.jsonl.zst 65:empty.jsonl 65:empty.txt; do
        # shellcheck disable=SC2086
        refuses "${case%%:*}" "$folder/${case#*:}" $command "$folder/${case#*:}"
        # shellcheck disable=SC2086 # after one that is fine
        [ "${case#*:empty}" != "$case" ] ||
            refuses "${case%%:*}" "$folder/${case#*:}" $command "$folder/corpus.jsonl" "$folder/${case#*:}"
    done
    for case in bad:4 untitled:5 number:3; do
        # shellcheck disable=SC2086
        refuses 65 "'$folder/${case%:*}.jsonl', line ${case#*:}" $command "$folder/${case%:*}.jsonl"
    done
    nothing new.h5
    for case in missing.txt bad.jsonl cut.jsonl.zst; do # one line, whichever rank finds it
        # shellcheck disable=SC2086
        timeout -k 10 30 mpirun --oversubscribe -n 3 "$slotpress" $command "$folder/corpus.jsonl" \
            "$folder/$case" >"$folder/out" 2>"$folder/err" </dev/null
        case $case:$? in
        missing*:74 | bad*:65 | cut*:65) ;;
        *) fail "$case on 3 ranks: ${command%% *} has another exit code" ;;
        esac
        says "$folder/$case"
        [ "$(grep -c '^slotpress' "$folder/err")" = 1 ] || fail "$case on 3 ranks: not one line"
    done
    nothing new.h5

    # What stood there before stays.
    echo before >"$folder/new.h5"
    # shellcheck disable=SC2086
    refuses 65 "line 4" $command "$folder/bad.jsonl"
    [ "$(cat "$folder/new.h5")" = before ] || fail "a failure changed what was there"
    rm "$folder/new.h5"

    # A disk that is full; the file would be larger by far.
    corpus 3000 >"$folder/large.jsonl"
    (
        trap '' XFSZ
        ulimit -f 40 # blocks of 512 bytes
        # shellcheck disable=SC2086
        exec timeout 60 "$slotpress" $command "$folder/large.jsonl"
    ) >"$folder/out" 2>"$folder/err" </dev/null
    [ $? = 74 ] || fail "a full disk is not 74"
    says new.h5
    [ ! -e "$folder/new.h5" ] || fail "a full disk leaves an output"
    rm -rf "$folder/new.h5.work" # what was done, for the next try
    nothing new.h5
done

for output in "$folder/nowhere/new.h5" "$folder/garbage/new.h5" /proc/new.h5; do
    refuses 74 "$output" tokenize --quiet --tokenizer e=$encoder --output "$output" "$folder/corpus.jsonl"
    refuses 74 "$output" compress --quiet --checkpoint "$folder/run" --output "$output" "$folder/corpus.jsonl"
done

# ---- tokenize ----

for case in 74:nowhere 74:nothing 65:garbage; do
    refuses "${case%%:*}" "$folder/${case#*:}" tokenize --quiet --tokenizer e="$folder/${case#*:}" \
        --output "$folder/new.h5" "$folder/corpus.jsonl"
    refuses "${case%%:*}" "$folder/${case#*:}" tokenize --ids --tokenizer "$folder/${case#*:}"
done
refused 74 "$folder/nowhere" mpirun --oversubscribe -n 2 "$slotpress" tokenize --quiet --tokenizer \
    e="$folder/nowhere" --output "$folder/new.h5" "$folder/corpus.jsonl"
mkdir "$folder/tokenizer"
head -c 2000 $encoder/tokenizer.json >"$folder/tokenizer/tokenizer.json"
refuses 65 "$folder/tokenizer" tokenize --ids --tokenizer "$folder/tokenizer"
sed 's/"type": *"BPE"/"type": "Unigram"/' $encoder/tokenizer.json >"$folder/tokenizer/tokenizer.json"
refuses 65 "'Unigram'" tokenize --ids --tokenizer "$folder/tokenizer"
refuses 64 "'e'" tokenize --quiet --tokenizer e=$encoder --tokenizer e=$decoder \
    --output "$folder/new.h5" "$folder/corpus.jsonl"
misused "--segment-tokens" tokenize --tokenizer e=$encoder --segment-tokens 0 --output x "$folder/corpus.jsonl"
misused "--segment-tokens" tokenize --tokenizer e=$encoder --segment-tokens 4x --output x "$folder/corpus.jsonl"
misused "--output" tokenize --tokenizer e=$encoder "$folder/corpus.jsonl"
misused "--tokenizer" tokenize --output x "$folder/corpus.jsonl"
misused "NAME=DIR" tokenize --tokenizer $encoder --output x "$folder/corpus.jsonl"
nothing new.h5

# ---- compress and generate ----

for ratio in 1 3 8; do
    refuses 64 "was trained for ratio 4" compress --quiet --checkpoint "$folder/run" --ratio $ratio \
        --output "$folder/new.h5" "$folder/corpus.jsonl"
done
misused "--ratio" compress --checkpoint "$folder/run" --ratio four --output x "$folder/corpus.jsonl"
nothing new.h5
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --ratio 4 \
    --output "$folder/slots.h5" "$folder/corpus.jsonl"
memory="generate --checkpoint $folder/run --max-new-tokens 2 --memory"
# shellcheck disable=SC2086
{
    expect 0 "$slotpress" $memory "$folder/slots.h5" --document d3
    refuses 64 "'d99'" $memory "$folder/slots.h5" --document d99
    refuses 74 "$folder/nowhere.h5" $memory "$folder/nowhere.h5" --document d3
    refuses 65 "$folder/tokens.h5" $memory "$folder/tokens.h5" --document d3
    refuses 65 "$folder/garbage" $memory "$folder/garbage" --document d3
}
head -c 9000 "$folder/slots.h5" >"$folder/cut_slots.h5"
# shellcheck disable=SC2086
refuses 65 "$folder/cut_slots.h5" $memory "$folder/cut_slots.h5" --document d3
pretrain 0 1 other train.steps=3
refuses 65 "$folder/slots.h5" generate --checkpoint "$folder/other" --memory "$folder/slots.h5" --document d3
misused "--max-new-tokens" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" \
    --document d3 --max-new-tokens -2

# ---- evaluate ----

reconstruction="evaluate reconstruction --quiet --checkpoint $folder/run"
misused "'rouge'" evaluate rouge --checkpoint "$folder/run" "$folder/tokens.h5"
misused "--split" evaluate reconstruction --checkpoint "$folder/run" --split half "$folder/tokens.h5"
corpus 31 | sed 's/d1/e1/' >"$folder/other.jsonl"
expect 0 "$slotpress" tokenize --quiet --tokenizer x=$encoder --segment-tokens 16 \
    --output "$folder/other.h5" "$folder/other.jsonl"
for case in 74:nowhere.h5 65:cut.h5 65:slots.h5 65:garbage 64:other.h5; do
    # shellcheck disable=SC2086
    refuses "${case%%:*}" "$folder/${case#*:}" $reconstruction "$folder/${case#*:}"
done
for n_ranks in 2 3; do
    # shellcheck disable=SC2086
    refused 65 "$folder/cut.h5" mpirun --oversubscribe -n $n_ranks "$slotpress" $reconstruction "$folder/cut.h5"
done

# ---- checkpoints, wherever one is named ----

mkdir "$folder/damaged"
cp -R "$folder/run/step-0000002" "$folder/damaged"
printf x >>"$folder/damaged/step-0000002/data-0000.h5"
for case in 74:nowhere 74:nothing 65:damaged; do
    for command in "export --output $folder/new" "evaluate reconstruction $folder/tokens.h5" \
        "generate --memory $folder/slots.h5 --document d3" \
        "compress --output $folder/new.h5 $folder/corpus.jsonl"; do
        # shellcheck disable=SC2086
        refused "${case%%:*}" "$folder/${case#*:}" "$slotpress" $command --checkpoint "$folder/${case#*:}"
    done
done
nothing new

# ---- export ----

refuses 74 "$folder/garbage" export --checkpoint "$folder/run" --output "$folder/garbage"
refuses 74 /proc/new export --checkpoint "$folder/run" --output /proc/new
misused "--output" export --checkpoint "$folder/run"
(
    trap '' XFSZ
    ulimit -f 8
    exec timeout 30 "$slotpress" export --checkpoint "$folder/run" --output "$folder/full"
) >"$folder/out" 2>"$folder/err" </dev/null
[ $? = 74 ] || fail "an export to a full disk is not 74"
says full
[ -z "$(find "$folder/full" -name '*.safetensors*')" ] || fail "half an export is left"

# ---- score ----

for case in 74:nowhere 74:nothing 65:garbage; do
    refuses "${case%%:*}" "$folder/${case#*:}" score --json --model "$folder/${case#*:}"
done
misused "--bos" score --model $encoder --bos maybe
misused "--precision" score --model $encoder --precision int4
expect 0 "$slotpress" score --json --model $encoder
grep -q '"logprobs":\[\]' "$folder/out" || fail "no text has log-probabilities"

# ---- inspect ----

for case in 74:nowhere 65:nothing 65:garbage 65:cut.h5 65:cut_slots.h5 65:cut.jsonl.gz; do
    refuses "${case%%:*}" "$folder/${case#*:}" inspect "$folder/${case#*:}"
done

finish
