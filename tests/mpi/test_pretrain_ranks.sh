#!/bin/sh
# Ranks, micro-batches and accumulation change nothing but rounding, with dropout on and a global
# batch that nothing divides; the same ranks twice are the same bits.
. tests/lib.sh
make_tokens

pretrain 0 1 one
has_steps one 20
[ "$(losses one | grep -c '^validation')" = 2 ] || fail "not two validations"
losses one | grep -q null && fail "a loss is null"

pretrain 0 2 two
pretrain 0 3 three train.micro_batch=1
pretrain 0 2 whole train.micro_batch=7
pretrain 0 1 singly train.micro_batch=1
for run in two three whole singly; do
    has_steps $run 20
    close_losses $run one
done

# More ranks than samples in a step: some have none.
pretrain 0 1 few train.global_batch=2 train.steps=5
pretrain 0 3 fewer train.global_batch=2 train.steps=5
close_losses fewer few

# A micro-batch of more rows than fill the products goes through in several passes, as any pipeline sees it.
wide="train.global_batch=120 train.steps=2 train.micro_batch=120"
# shellcheck disable=SC2086
{
    verbosity='' pretrain 0 1 wide $wide
    says "micro-batches of 120 go through in passes of 60"
    pretrain 0 2 wide.2 $wide parallel.pipeline=2
    pretrain 0 1 narrow $wide train.micro_batch=15
}
same_losses wide.2 wide
same_weights wide.2 wide
close_losses narrow wide

# A budget is taken to the segment: the last step has what is left.
pretrain 0 1 budget train.steps=auto data.budget_tokens=500
pretrain 0 3 budget.3 train.steps=auto data.budget_tokens=500
close_losses budget.3 budget
taken=$(sed -n 's/.*"tokens": *\([0-9]*\).*/\1/p' "$folder/budget/metrics.jsonl" | awk '{ sum += $1 } END { print sum }')
[ "$taken" -ge 500 ] && [ "$taken" -lt 516 ] || fail "a budget of 500 tokens took $taken"

pretrain 0 2 again
same_losses again two
same_weights again two
pretrain 0 1 once_more
same_losses once_more one
same_weights once_more one

# The other ways to train, each on one rank and on three.
for how in "encoder.train=full" "encoder.train=none" "objective.draw=one" "segment.slots=fixed" \
    "objective.completion=0" "objective.reconstruction=0 segment.ratio=5" "decoder.markers=frozen"; do
    # shellcheck disable=SC2086 # several keys in one word
    pretrain 0 1 "$how.1" train.steps=8 $how
    # shellcheck disable=SC2086
    pretrain 0 3 "$how.3" train.steps=8 $how
    close_losses "$how.3" "$how.1"
done
losses "objective.completion=0.1" | awk '$1 + 0 && $3 != "null" { exit 1 }' ||
    fail "a completion of no weight has a loss"

finish
