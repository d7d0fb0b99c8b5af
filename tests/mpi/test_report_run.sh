#!/bin/sh
# What training and every task of evaluate really write, as a report reads it.
# cores: 1
. tests/lib.sh
make_tokens
pretrain 0 1 run
run=$folder/run
# evaluate TASK OPTION...: its JSON goes beside the run.
evaluate() {
    task=$1 && shift
    expect 0 "$slotpress" evaluate "$task" --quiet --checkpoint "$run" --json "$@"
    cp "$folder/out" "$run/evaluate-$task.json"
}
evaluate reconstruction --limit 6 --samples 2 --max-new-tokens 8 "$folder/tokens.h5"
evaluate efficiency --input-tokens 24 --max-new-tokens 3 --batch 1 --runs 1
cat >"$folder/squad.json" <<'END'
{"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": "The river ran down to a stone bridge where old boats lay.", "qas": [
  {"id": "a", "question": "Where to?", "answers": [{"text": "a stone bridge", "answer_start": 22}]}]}]}]}
END
evaluate qa --data "$folder/squad.json" --min-context 1 --max-new-tokens 4 --samples 1
cat >"$folder/dialogue.jsonl" <<'END'
{"context": "Boats lay by the bridge.", "prompt": "Ron: Where?\nHarry:", "answer": " There."}
END
evaluate roleplay --data "$folder/dialogue.jsonl"
cat >"$folder/problems.jsonl" <<'END'
{"question": "How many boats?", "answer": "There are two.\n#### 2"}
{"question": "How many men?", "answer": "There are three.\n#### 3"}
END
evaluate icl --data "$folder/problems.jsonl" --demonstrations "$folder/problems.jsonl" --demonstration-tokens 400 --max-new-tokens 4

expect 0 "$slotpress" report "$run" --csv
# value TASK METHOD COLUMN of the CSV's evaluations, without those by length.
value() {
    awk -F, -v task="$1" -v method="$2" -v name="$3" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
        $at["kind"] == "evaluation" && $at["task"] == task && $at["method"] == method && $at["min_tokens"] == "" { print $at[name] }' "$folder/out"
}
# is TASK METHOD COLUMN: the value stands in the JSON, by its key.
is() {
    number=$(value "$1" "$2" "$3")
    grep -o "\"$3\":[-+.0-9e]*" "$run/evaluate-$1.json" |
        awk -F: -v n="$number" 'n != "" && $2 + 0 == n + 0 { found = 1 } END { exit !found }' ||
        fail "$1, $2: $3 is '$number', in $(cat "$run/evaluate-$1.json")"
}
for figure in bleu bleu_sentence rouge_l rouge_l_stem exact_match token_accuracy perplexity segments; do is reconstruction compressed $figure; done
for figure in compression_s prefill_s decode_s one_shot_s amortised_s one_shot_speedup amortised_speedup context_rows; do is efficiency compressed $figure; done
for method in full none compressed; do
    for figure in f1 em count; do is qa $method $figure; done
    for figure in perplexity tokens count; do is roleplay $method $figure; done
    for figure in accuracy count; do is icl $method $figure; done
done
is efficiency plain prefill_s
[ "$(value reconstruction compressed ratio)$(value qa compressed ratio)$(value efficiency compressed ratio)" = 444 ] || fail "a ratio is not 4"
[ "$(grep -c "^$run,train," "$folder/out") $(grep -c "^$run,validation," "$folder/out")" = "20 2" ] || fail "not 20 steps and 2 validations"

# MFU is told by what the run has measured of its machine, or by another peak.
mfu_of() {
    awk -F, -v step="$1" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
        $at["kind"] == "train" && $at["step"] == step { print $at["mfu"], $at["flops_per_second"] }' "$folder/out"
}
peak=$(mfu_of 7 | awk '$1 > 0 && $1 < 1 { printf "%.6g", $2 / $1 }')
[ "$peak" = "$(mfu_of 20 | awk '{ printf "%.6g", $2 / $1 }')" ] && awk -v p="$peak" 'BEGIN { exit !(p > 1e8) }' ||
    fail "MFU and FLOP/s of steps 7 and 20: $(mfu_of 7), $(mfu_of 20)"
expect 0 "$slotpress" report "$run" --csv --peak 1T
mfu_of 7 | awk '{ exit !($1 * 1e12 / $2 > 0.999999 && $1 * 1e12 / $2 < 1.000001) }' || fail "MFU by --peak 1T: $(mfu_of 7)"

expect 0 "$slotpress" report "$run"
grep -qF 'MFU: share of what the ranks' "$run/report.html" || fail "the page does not say what MFU is a share of"
grep -qF '<td>train.lr</td><td>0.003</td>' "$run/report.html" || fail "no configuration"
grep -qF '<td>20 of 20</td>' "$run/report.html" || fail "not 20 of 20 steps"
[ "$(grep -c '<div class=sample>' "$run/report.html")" = 3 ] || fail "not 3 samples"
! grep -q 'class=note' "$run/report.html" || fail "a note: $(grep 'class=note' "$run/report.html" | head -n 2)"
finish
