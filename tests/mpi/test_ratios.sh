#!/bin/sh
# One checkpoint for several ratios: each step draws one whatever the grid and however often the run was
# interrupted, a list of one is no list, each ratio is as a run of its own would have it, and commands
# take the ratios that were trained and no others.
# cores: 1
. tests/lib.sh
make_tokens

# ratios RUN: the ratio of each step.
ratios() { sed -n 's/.*"ratio":\([0-9]*\).*/\1/p' "$folder/$1/metrics.jsonl"; }
# value RUN STEP KEY: of the last of its lines for this step.
value() { grep "^{\"step\":$2," "$folder/$1/metrics.jsonl" | tail -n 1 | grep -o "\"$3\":[^,}]*" | cut -d : -f 2; }
# close A B WHAT: two numbers within rounding in f32.
close() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d <= 1e-6 * b) }' || fail "$3: $1 and $2"; }

pretrain 0 1 one segment.ratio=4 train.steps=6
pretrain 0 1 list 'segment.ratio=[4]' train.steps=6
same_losses list one
same_weights list one
grep -q '"ratio": *4\b' "$folder/list/step-0000006/manifest.json" || fail "a list of one is saved as another"
[ -z "$(ratios list)" ] || fail "a list of one has a ratio in its metrics"

many='segment.ratio=[16,4,8]'
pretrain 0 1 many "$many"
has_steps many 20
ratios many >"$folder/drawn"
awk '{ n[$1]++ } NR % 3 == 0 { if (n[4] != NR / 3 || n[8] != NR / 3 || n[16] != NR / 3) bad = 1 }
    { order[int((NR - 1) / 3)] = order[int((NR - 1) / 3)] " " $1 }
    END { for (i = 1; i < 6; i++) if (order[i] != order[0]) differs = 1; exit bad || !differs || NR != 20 }' \
    "$folder/drawn" || fail "ratios are not drawn in rounds, or always alike: $(paste -s -d ' ' "$folder/drawn")"
pretrain 0 1 seed "$many" run.seed=8
ratios seed | cmp -s - "$folder/drawn" && fail "another seed draws the same"

# Whatever the grid, in two goes too.
pretrain 0 2 many.2x1 "$many"
pretrain 0 2 many.1x2 "$many" parallel.pipeline=2
pretrain 0 1 many.cut "$many" train.stop_at_step=7
pretrain 0 1 many.cut "$many"
for run in many.2x1 many.1x2 many.cut; do
    ratios $run | cmp -s - "$folder/drawn" || fail "$run draws other ratios"
    for key in loss_reconstruction_4x loss_completion_8x accuracy_reconstruction_16x; do
        close "$(value $run 20 validation_$key)" "$(value many 20 validation_$key)" "$run, $key"
    done
done
close_losses many.2x1 many
same_losses many.1x2 many
same_losses many.cut many
same_weights many.1x2 many
same_weights many.cut many

# The first step, before any update, is that of a run at its ratio alone.
first=$(head -n 1 "$folder/drawn")
pretrain 0 1 alone segment.ratio="$first" train.steps=1
[ "$(losses alone | head -n 1)" = "$(losses many | head -n 1)" ] || fail "step 1 is not as at ratio $first alone"

# Pooled memory, too, and in a pipeline.
pretrain 0 1 pooled 'segment.ratio=[2,1]' encoder.memory=pooled train.steps=4
pretrain 0 2 pooled.2 'segment.ratio=[1,2]' encoder.memory=pooled train.steps=4 parallel.pipeline=2
same_losses pooled.2 pooled
same_weights pooled.2 pooled
pretrain 0 1 pooled.1 segment.ratio="$(ratios pooled | head -n 1)" encoder.memory=pooled train.steps=1
[ "$(losses pooled.1 | head -n 1)" = "$(losses pooled | head -n 1)" ] || fail "step 1 is not as at its ratio alone, pooled"

# evaluate RANKS OPTION...: the result, apart from its seconds, goes to $folder/result.
evaluate() {
    n_ranks=$1 && shift
    set -- "$slotpress" evaluate reconstruction --quiet --json --max-new-tokens 4 --checkpoint "$folder/many" "$@"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n_ranks" "$@"
    expect 0 "$@"
    sed 's/,"seconds":[0-9.e+-]*//' "$folder/out" >"$folder/result"
}
entries() { sed 's/.*"by_ratio":\[{\(.*\)}\]}$/\1/; s/\]},{"/]\n"/g' "$folder/result"; }

# Each ratio is measured, and is to validation what it is to evaluation.
evaluate 1
cp "$folder/result" "$folder/all"
entries >"$folder/entries"
[ "$(grep -o '^.*"ratio":[0-9]*' "$folder/entries" | sed 's/.*://' | paste -s -d ' ')" = '4 8 16' ] || fail "not each ratio"
n=0
for ratio in 4 8 16; do
    n=$((n + 1))
    perplexity=$(sed -n "${n}p" "$folder/entries" | grep -o '"perplexity":[0-9.]*' | head -n 1 | cut -d : -f 2)
    close "$perplexity" "$(value many 20 validation_loss_reconstruction_${ratio}x | awk '{ printf "%.9g", exp($1) }')" "perplexity at $ratio"
    evaluate 1 --ratio $ratio
    entries | cmp -s - "$folder/only" 2>/dev/null && fail "all ratios measure the same"
    entries >"$folder/only"
    sed -n "${n}p" "$folder/entries" | cmp -s - "$folder/only" || fail "ratio $ratio alone is not as with the others"
done
evaluate 2 --ratio 16,4
cp "$folder/result" "$folder/two"
evaluate 1 --ratio 4,16
cmp -s "$folder/result" "$folder/two" || fail "2 ranks give another result"

# Slots as many as the ratio says.
for ratio in 4 8 16; do
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/many" --ratio $ratio --output "$folder/$ratio.h5" "$folder/tokens.h5"
    expect 0 "$slotpress" inspect --json "$folder/$ratio.h5"
    grep -q "\"ratio\": *$ratio\b" "$folder/out" || fail "slots at ratio $ratio say another one"
    grep -o '"slots": *[0-9]*' "$folder/out" | head -n 1 | sed "s/.*: */$ratio /"
done >"$folder/slots"
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/many" --output "$folder/default.h5" "$folder/tokens.h5"
cmp -s "$folder/default.h5" "$folder/4.h5" || fail "the least ratio is not the default"
awk '{ n[$1] = $2 } END { exit !(n[4] > n[8] && n[8] > n[16] && n[16] > 0) }' "$folder/slots" || fail "$(cat "$folder/slots")"

# What was not trained is refused.
for command in "compress --output $folder/no.h5 --ratio 5 $folder/tokens.h5" "evaluate reconstruction --ratio 4,5" \
    "evaluate efficiency --ratio 5" "generate --ratio 5 --memory $folder/4.h5 --document d0"; do
    # shellcheck disable=SC2086
    expect 64 "$slotpress" $command --checkpoint "$folder/many"
    says "trained for ratios 4, 8, 16"
done
expect 64 "$slotpress" evaluate reconstruction --checkpoint "$folder/many" --ratio 0
expect 64 "$slotpress" evaluate reconstruction --checkpoint "$folder/many" --ratio 4,4
says "4 is there twice"
expect 64 "$slotpress" generate --checkpoint "$folder/many" --ratio 8 --memory "$folder/4.h5" --document d0
says "was compressed at ratio 4"
expect 0 "$slotpress" generate --quiet --checkpoint "$folder/many" --ratio 8 --memory "$folder/8.h5" --document d0 --max-new-tokens 4
cp "$folder/out" "$folder/of_file"
printf '%s\n' '{"context": "the river ran down to a stone bridge where old boats lay"}' >"$folder/requests.jsonl"
for ratio in 4 16; do
    expect 0 "$slotpress" generate --quiet --checkpoint "$folder/many" --ratio $ratio --input "$folder/requests.jsonl" --max-new-tokens 8
    cp "$folder/out" "$folder/made.$ratio"
done
cmp -s "$folder/made.4" "$folder/made.16" && fail "contexts are compressed at one ratio whatever is asked for"

# Other tasks take each ratio in turn.
expect 0 "$slotpress" evaluate efficiency --quiet --json --checkpoint "$folder/many" --ratio 4,16 --input-tokens 32 --batch 1 --runs 1 --max-new-tokens 2
[ "$(grep -o '"ratio":[0-9]*' "$folder/out" | paste -s -d ' ')" = '"ratio":4 "ratio":16' ] || fail "efficiency: $(cat "$folder/out")"

printf '{"data": [{"title": "t", "paragraphs": [{"context": "%s", "qas": [{"id": "a", "question": "What ran?", "answers": [{"text": "the river"}]}]}]}], "version": "1.1"}' \
    "the river ran down to a stone bridge where old boats lay and men sold bread" >"$folder/questions.json"
expect 0 "$slotpress" evaluate qa --quiet --json --checkpoint "$folder/many" --data "$folder/questions.json" --min-context 1 --max-new-tokens 2
grep -o '"ratio":[0-9]*\|"context_rows":[0-9.]*' "$folder/out" | cut -d : -f 2 | sed 1,2d | paste - - |
    awk '{ ratio[NR] = $1; rows[NR] = $2 } END { exit !(NR == 3 && ratio[1] == 4 && ratio[3] == 16 && rows[1] > rows[2] && rows[2] > rows[3]) }' ||
    fail "qa: $(cat "$folder/out")"

# The rows that the least ratio wants.
sed 's/ratio: 4/ratio: [16, 2]/' "$folder/run.yaml" >"$folder/few.yaml"
expect 64 "$slotpress" pretrain --config "$folder/few.yaml" --set "run.dir=$folder/few"
says "few.yaml', line $(grep -n memory_tokens "$folder/few.yaml" | cut -d : -f 1): encoder.memory_tokens: 4 are too few for the 8 slots"
says "at the least segment.ratio, 2"

# What is planned is the least ratio's.
for ratio in 4 '[16,4]'; do
    expect 0 "$slotpress" plan --json --cpu zen4 --memory 4 --config "$folder/run.yaml" --set "run.dir=$folder/plan" --set "segment.ratio=$ratio"
    cp "$folder/out" "$folder/plan.$ratio"
done
cmp -s "$folder/plan.4" "$folder/plan.[16,4]" || fail "a plan for several ratios is not the least one's"

# Fine-tuning goes on with the checkpoint's ratios.
printf '{"context": "%s", "prompt": "where?", "answer": "%s"}\n' "the river ran down to a stone bridge" bridge \
    "old boats lay and men sold bread" boats "bread and stone" stone >"$folder/rows.jsonl"
cat >"$folder/finetune.yaml" <<END
run: {dir: $folder/tuned, seed: 3}
data: {rows: $folder/rows.jsonl, validation: 0}
train: {init: $folder/many, only: converter, steps: 3, global_batch: 2, micro_batch: 1, precision: f32}
END
expect 0 "$slotpress" finetune --quiet --config "$folder/finetune.yaml"
[ "$(ratios tuned | sort -n | paste -s -d ' ')" = '4 8 16' ] || fail "fine-tuning has other ratios: $(ratios tuned)"
finish
