#!/bin/sh
# tools/reproduce with a tiny model: all stages, evaluations and the report; called again it changes nothing,
# and after one of its runs was lost it makes that one anew.
. tests/lib.sh
unset BUILD
prose=$folder/prose
mkdir "$prose"
corpus 12 >"$prose/novel.jsonl"
corpus 3 >"$prose/persuasion.jsonl"
reproduce() {
    SLOTPRESS=$slotpress SCALE=0.001 RATIOS="1 2" RANKS=2 OUT=$folder/made MODEL=$decoder PROSE=$prose \
        expect 0 tools/reproduce encoder.layers=1 train.global_batch=2 train.micro_batch=2
}
reproduce
for ratio in 1 2; do
    for slots in encoded refined; do
        grep -qE "^ *$ratio +$slots|^$ratio +$slots" "$folder/out" || fail "no line for $ratio, $slots"
        grep -q '"bleu"' "$folder/made/ratio$ratio/evaluate-$slots.json" || fail "no result for $ratio, $slots"
    done
done
grep -q "refined.h5" "$folder/made/report.html" || fail "the report has no refined slots"
(cd "$folder/made" && cksum ratio*/metrics.jsonl ratio*/evaluate-*.json) >"$folder/before"
reproduce
(cd "$folder/made" && cksum ratio*/metrics.jsonl ratio*/evaluate-*.json) | cmp -s - "$folder/before" ||
    fail "called again, it trains or evaluates again"
rm -r "$folder/made/ratio2"
reproduce
[ -s "$folder/made/ratio2/evaluate-refined.json" ] || fail "a lost run is not made again"
finish
