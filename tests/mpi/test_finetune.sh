#!/bin/sh
# Fine-tuning on rows of context, prompt and answer: grids and resumed runs equal one rank's, the best
# checkpoint is kept, a run that gets no better ends, and the converter can be trained alone, on kept states.
. tests/lib.sh
make_tokens
pretrain 0 1 stage1 train.steps=5

# rows N: N questions about texts of one to some four segments, two about each.
rows() {
    awk -v n="$1" 'BEGIN {
        split("the river ran down to a stone bridge where old boats lay and men sold bread", word, " ")
        for (i = 0; i < n; i++) {
            c = int(i / 2); text = ""
            for (k = 0; k < 5 + (c * 7) % 23; k++) {
                state = (state * 75 + 74 + c) % 65537
                text = text (k ? " " : "") word[1 + state % 15]
            }
            printf "{\"context\": \"%s%d.\", \"prompt\": \"Question: %s?\\n\\nAnswer: \", \"answer\": \"%s %s\"}\n",
                   text, c, word[1 + i % 15], word[1 + c % 15], word[1 + (3 * i) % 15]
        }
    }'
}
rows 80 >"$folder/rows.jsonl"
rows 110 | tail -n 20 >"$folder/held-out.jsonl"
cat >"$folder/finetune.yaml" <<END
data:       {rows: $folder/rows.jsonl, validation_rows: $folder/held-out.jsonl}
train:      {init: $folder/stage1, steps: 12, global_batch: 7, micro_batch: 3, lr: 3e-3,
             warmup_steps: 3, precision: f32, validate_every: 4}
checkpoint: {every_steps: 0, keep: 1}
END

# finetune CODE RANKS RUN [OPTION...], as pretrain of tests/lib.sh.
finetune() {
    wanted=$1 n_ranks=$2 run=$3 && shift 3
    n_left=$#
    while [ $n_left -gt 0 ]; do
        case $1 in
        --*) set -- "$@" "$1" ;;
        *=*) set -- "$@" --set "$1" ;;
        *) set -- "$@" "$1" ;;
        esac
        shift
        n_left=$((n_left - 1))
    done
    set -- "$slotpress" finetune --quiet --json --config "$folder/finetune.yaml" --set "run.dir=$folder/$run" "$@"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe -n "$n_ranks" "$@"
    expect "$wanted" "$@"
}
# answers RUN: the lines `step loss_answer` and `validation step loss_answer`.
answers() {
    sed 's/[{}"]//g; s/:/,/g' "$folder/$1/metrics.jsonl" |
        awk -F, '{ print ($3 ~ /^validation/ ? "validation " : "") $2, $4 }'
}
# close A B: their losses agree within 1e-5.
close() {
    answers "$1" >"$folder/a"
    answers "$2" >"$folder/b"
    [ "$(wc -l <"$folder/a")" = "$(wc -l <"$folder/b")" ] || fail "$1 and $2 have not as many lines"
    paste -d ' ' "$folder/a" "$folder/b" | awk '{
        a = $(NF / 2); b = $NF; d = a > b ? a - b : b - a
        if (!(b > 0 && d <= 1e-5 * b)) { print; exit 1 } }' || fail "$1 and $2 are not within 1e-5"
}
equal() {
    answers "$1" >"$folder/a"
    answers "$2" >"$folder/b"
    cmp -s "$folder/a" "$folder/b" || fail "$1 and $2 differ in their losses"
    same_weights "$1" "$2"
}

finetune 0 1 one
grep -q '"stopped_early":false,"best":{"loss":' "$folder/out" || fail "the result has no best"
[ "$(answers one | grep -c validation)" = 3 ] || fail "not three validations"
grep -q '"validation_segments":20,' "$folder/one/metrics.jsonl" || fail "not 20 rows are validated"
[ "$(find "$folder/one/best" -name manifest.json | wc -l)" = 1 ] || fail "not one best checkpoint"
answers one | awk '/validation 4/ { first = $3 } /validation 12/ { exit !($3 < 0.99 * first) }' || fail "nothing is learnt"
expect 0 "$slotpress" evaluate reconstruction --quiet --checkpoint "$folder/one/best" "$folder/tokens.h5"

# Every grid, micro-batch and way to keep gradients.
finetune 0 2 replicas
finetune 0 3 three parallel.pipeline=3 train.micro_batch=2
finetune 0 2 zero parallel.zero=2 train.micro_batch=7
for run in replicas three zero; do close $run one; done

# Interrupted, and taken up by as many ranks or others.
finetune 0 2 halves train.stop_at_step=6
finetune 0 2 halves
equal halves replicas
finetune 0 1 other train.stop_at_step=6
finetune 0 3 other
close other one
[ "$(ls "$folder/other/best")" = "$(ls "$folder/one/best")" ] || fail "another best checkpoint"
before=$(cat "$folder/one/metrics.jsonl")
finetune 0 1 one
[ "$(cat "$folder/one/metrics.jsonl")" = "$before" ] || fail "a finished run wrote metrics"

# The converter alone: all else is what it was; on any grid; with its own checkpoints.
finetune 0 1 converter train.only=converter
finetune 0 2 converter2 train.only=converter parallel.pipeline=2
finetune 0 3 converter3 train.only=converter parallel.zero=2 train.stop_at_step=5
finetune 0 1 converter3 train.only=converter
close converter2 converter
close converter3 converter
export_run converter
export_run stage1
cmp -s "$folder/converter.export/adapter_model.safetensors" "$folder/stage1.export/adapter_model.safetensors" ||
    fail "the encoder has changed"
cmp -s "$folder/converter.export/pcc.safetensors" "$folder/stage1.export/pcc.safetensors" &&
    fail "the converter has not"
finetune 64 1 converter train.only=all
says "was made with another train.only"
finetune 64 1 no_init train.only=converter train.init=null encoder.model="$encoder" decoder.model="$decoder"
says "train.only: converter wants train.init"

# Another decoder: its converter and markers start anew, and are what is trained.
moved="train.only=converter train.init_parts=encoder decoder.model=tests/fixtures/models/mistral-window train.steps=5"
# shellcheck disable=SC2086 # several keys in one word
finetune 65 1 refused ${moved#* } train.init_parts=all
says "for another decoder: train.init_parts=encoder"
# shellcheck disable=SC2086
finetune 0 1 moved $moved
# shellcheck disable=SC2086
finetune 0 2 moved2 $moved parallel.pipeline=2
close moved2 moved
export_run moved
cmp -s "$folder/moved.export/adapter_model.safetensors" "$folder/stage1.export/adapter_model.safetensors" ||
    fail "the encoder has changed with the decoder"
# shellcheck disable=SC2086
finetune 0 1 moved_frozen $moved decoder.markers=frozen
[ "$(answers moved)" != "$(answers moved_frozen)" ] ||
    fail "the markers of another decoder are not trained"

# What `plan` says of the rows' FLOP and steps is what an epoch takes, with the encoder run or not.
planned() { # planned RUN KEY=VALUE...
    run=$1 && shift
    finetune 0 1 "$run" train.steps=auto data.limit=60 "$@"
    set -- --config "$folder/finetune.yaml" --set run.dir="$folder/$run" --set train.steps=auto --set data.limit=60 ${1:+--set "$1"}
    expect 0 "$slotpress" plan --cpu zen4 --json "$@"
    taken=$(sed 's/[{}"]//g; s/:/,/g' "$folder/$run/metrics.jsonl" | awk -F, '
        { split("", value); for (i = 1; i < NF; i += 2) value[$i] = $(i + 1) }
        "lr" in value { sum += value["flops_per_second"] * value["seconds"]; n++ }
        END { printf "%.9g %d", sum, n }')
    sed 's/.*"per_segment":\([0-9.e+]*\).*"steps":\([0-9]*\).*/\1 \2/' "$folder/out" | awk -v taken="$taken" '{
        split(taken, t, " "); r = 60 * $1 / t[1]; exit !(r > 0.999 && r < 1.001 && $2 == t[2]) }' ||
        fail "$run: FLOP and steps are $taken, planned: $(cat "$folder/out")"
}
planned epoch
planned epoch_converter train.only=converter

# What the encoder makes of the contexts is kept, and the encoder not run: as without, on any grid.
finetune 0 1 unkept train.only=converter data.encoder_states=null
[ ! -e "$folder/unkept/encoder-states" ] || fail "states are kept that are not to be"
close converter unkept
states=$(find "$folder/converter/encoder-states" -name 'group-*' | sort)
[ "$(echo "$states" | wc -l)" -ge 2 ] || fail "not two groups of states"
finetune 0 2 other_states train.only=converter data.encoder_states="$folder/states"
(cd "$folder/states" && find . -type f -exec cksum {} +) | sort >"$folder/kept"
(cd "$folder/converter/encoder-states" && find . -type f -exec cksum {} +) | sort | cmp -s - "$folder/kept" ||
    fail "two ranks make other states than one"
# Damaged, cut, half-written by a killed run: made again; whole ones are read.
group=$(find "$folder/states" -name 'group-0000000') other=$(find "$folder/states" -name 'group-0000001')
printf x | dd of="$group" bs=1 seek=5000 conv=notrunc 2>/dev/null
mv "$other" "$other.tmp"
rm -rf "$folder/again"
expect 0 "$slotpress" finetune --config "$folder/finetune.yaml" --set run.dir="$folder/again" \
    --set train.only=converter --set data.encoder_states="$folder/states"
says "2 of them made now"
(cd "$folder/states" && find . -type f -exec cksum {} +) | sort | cmp -s - "$folder/kept" ||
    fail "states are not what they were"
close again converter
expect 0 "$slotpress" finetune --config "$folder/finetune.yaml" --set run.dir="$folder/again" \
    --set train.only=converter --set data.encoder_states="$folder/states" --set train.steps=13
says " 0 of them made now"
# Another encoder has other states.
pretrain 0 1 stage1b train.steps=5 train.lr=1e-3
finetune 0 1 third train.only=converter data.encoder_states="$folder/states" train.init="$folder/stage1b" train.steps=1
[ "$(ls "$folder/states" | wc -l)" = 2 ] || fail "two encoders share their states"

# No progress: with a learning rate of zero the first validation stays the best.
finetune 0 2 early train.lr=0 train.early_stop=2 train.validate_every=2 train.steps=40 train.only=converter
grep -q '"step":6,"steps":40,"finished":true' "$folder/out" || fail "not stopped at step 6: $(cat "$folder/out")"
grep -q '"stopped_early":true,"best":{"loss":[0-9.]*,"step":2}' "$folder/out" || fail "the best is not step 2"
[ -d "$folder/early/best/step-0000002" ] || fail "step 2 is not kept"
[ -d "$folder/early/step-0000006" ] || fail "the last step is not kept"
finetune 0 1 early train.lr=0 train.early_stop=2 train.validate_every=2 train.steps=40 train.only=converter
grep -q '"step":6,"steps":40,"finished":true' "$folder/out" || fail "it goes on"
finetune 0 1 early train.lr=0 train.early_stop=3 train.validate_every=2 train.steps=40 train.only=converter
grep -q '"step":8,"steps":40,"finished":true' "$folder/out" || fail "more patience does not go on"
[ -d "$folder/early/best/step-0000002" ] || fail "step 2 is lost"

finish
