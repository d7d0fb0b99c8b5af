#!/bin/sh
# Runs that stop and go on: bit for bit the run that was never interrupted, on any number of ranks
# within rounding. Overfitting, step 0, stage 2 from stage 1's weights.
. tests/lib.sh
make_tokens

# 2N steps against N + N, by train.stop_at_step, with validation at the same steps.
for n_ranks in 1 2; do
    pretrain 0 $n_ranks whole$n_ranks
    pretrain 0 $n_ranks halves$n_ranks train.stop_at_step=10
    has_steps halves$n_ranks 10
    pretrain 0 $n_ranks halves$n_ranks
    has_steps halves$n_ranks 20
    same_losses halves$n_ranks whole$n_ranks
    same_weights halves$n_ranks whole$n_ranks
done

# Other ranks take it up.
pretrain 0 3 other train.stop_at_step=10
pretrain 0 1 other
close_losses other whole1

# Killed past its checkpoint: the lines beyond it, and a torn one, are taken out.
pretrain 0 1 torn train.stop_at_step=10
losses whole1 >"$folder/expected"
{
    sed -n '1p' "$folder/whole1/metrics.jsonl" | sed 's/"step":1,/"step":11,/'
    printf '{"step": 12, "loss_re'
} >>"$folder/torn/metrics.jsonl"
pretrain 0 1 torn
same_losses torn whole1

# A finished run ends at once, whatever is asked of it again; more steps go on.
before=$(cat "$folder/whole1/metrics.jsonl")
pretrain 0 1 whole1
pretrain 0 2 whole1
[ "$(cat "$folder/whole1/metrics.jsonl")" = "$before" ] || fail "a finished run wrote metrics"
pretrain 0 1 whole1 train.steps=22
has_steps whole1 22
# Which keys have changed since is said once, and that the present ones win.
expect 0 mpirun --oversubscribe -n 2 "$slotpress" pretrain --config "$folder/run.yaml" \
    --set run.dir="$folder/whole1" --set train.steps=23 --set train.lr=1e-3
says "train.lr: 0.001 here wins over 0.003 of '$folder/whole1/step-0000022'"
says "train.steps: 23 here wins over 22 of '$folder/whole1/step-0000022'"
[ "$(grep -c 'here wins' "$folder/err")" = 2 ] || fail "keys that have not changed are named, or some twice"

# --resume: a path; none sets aside what is there.
pretrain 0 1 branch --resume "$folder/halves1" train.steps=23
[ -d "$folder/branch/step-0000023" ] || fail "no checkpoint of the branch"
pretrain 0 1 halves1 --resume none train.steps=3
has_steps halves1 3
[ -d "$folder/halves1/previous-1/step-0000020" ] || fail "the old run is not set aside"
[ "$(wc -l <"$folder/halves1/previous-1/metrics.jsonl")" = 22 ] || fail "nor are its metrics"
[ ! -d "$folder/halves1/step-0000020" ] || fail "an old checkpoint stands in the new run"
pretrain 0 1 halves1 --resume none train.steps=3
[ -d "$folder/halves1/previous-2/step-0000003" ] || fail "the second run is not set aside"

# Step 0 is a checkpoint, exports, and is where a later run begins.
pretrain 0 2 zero train.steps=0
[ -d "$folder/zero/step-0000000" ] || fail "no checkpoint of step 0"
export_run zero
pretrain 0 1 zero train.steps=0
pretrain 0 2 zero
same_losses zero whole2
same_weights zero whole2

# Checkpoints: every so many steps, the newest of them kept, and major ones for ever.
pretrain 0 1 kept checkpoint.every_steps=3 checkpoint.keep=2 checkpoint.major_every=6
for step in 06 12 18 20; do
    [ -d "$folder/kept/step-00000$step" ] || fail "no checkpoint of step $step"
done
[ "$(find "$folder/kept" -maxdepth 1 -name 'step-*' | wc -l)" = 4 ] || fail "not 4 checkpoints"
close_losses kept whole2

# The newest one damaged: the one before is gone on from, with a word.
printf x | dd of="$folder/kept/step-0000020/data-0000.h5" bs=1 seek=20000 conv=notrunc 2>/dev/null
pretrain 0 1 kept
has_steps kept 20
close_losses kept whole2

# By several ranks likewise, whichever of them has verified the damaged file.
pretrain 0 3 shared train.stop_at_step=10 checkpoint.every_steps=5
for damaged in 0 1 2; do
    rm -rf "$folder/shared$damaged"
    cp -R "$folder/shared" "$folder/shared$damaged"
    printf x | dd of="$folder/shared$damaged/step-0000010/data-000$damaged.h5" bs=1 seek=20000 conv=notrunc 2>/dev/null
    verbosity='' pretrain 0 3 shared$damaged train.stop_at_step=10
    says "passing over '$folder/shared$damaged/step-0000010'"
    says "data-000$damaged.h5': its checksum"
    says "resuming from '$folder/shared$damaged/step-0000005'"
    has_steps shared$damaged 10
    same_losses shared$damaged shared
done
pretrain 0 3 begun train.init="$folder/shared" train.steps=3
for step in 05 10; do
    printf x | dd of="$folder/shared/step-00000$step/data-0002.h5" bs=1 seek=20000 conv=notrunc 2>/dev/null
done
pretrain 65 3 shared
says "none of its 2 checkpoints is valid"
pretrain 65 2 begun_damaged train.init="$folder/shared/step-0000005" train.steps=3
says "data-0002.h5': its checksum"

# Eight segments are learnt by heart.
pretrain 0 2 overfit data.limit=8 data.validation=0 train.steps=120 train.global_batch=8 \
    train.micro_batch=4 train.lr=1e-2 encoder.train=full objective.completion=0 \
    encoder.lora.dropout=0 segment.ratio=4 train.grad_clip=1
losses overfit | awk 'NR == 1 { first = $2 } { last = $2 }
    END { if (!(last < 0.5 * first)) { print "loss " first " became " last; exit 1 } }' ||
    fail "eight segments are not learnt"

# Stage 2 from stage 1's weights: a new optimiser, step 1, markers frozen.
pretrain 0 1 stage1 objective.completion=0 train.steps=10
pretrain 0 2 stage2 train.init="$folder/stage1" train.steps=6
has_steps stage2 6
pretrain 0 1 stage2_zero train.init="$folder/stage1" train.steps=0
same_weights stage2_zero stage1
pretrain 0 1 stage2_step train.init="$folder/stage1/step-0000010" train.steps=6
close_losses stage2_step stage2
# The same command again must not begin anew from the init.
pretrain 0 2 stage2_halves train.init="$folder/stage1" train.steps=6 train.stop_at_step=3
pretrain 0 2 stage2_halves train.init="$folder/stage1" train.steps=6
same_losses stage2_halves stage2
same_weights stage2_halves stage2

finish
