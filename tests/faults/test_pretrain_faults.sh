#!/bin/sh
# What ends a training before its time: what does not fit, what is damaged, a rank on its own, a full
# disk, a signal, a kill. Each with its exit code and a message, on every rank, within seconds.
. tests/lib.sh
make_tokens
limit_s=60

# ---- what a run cannot go on with changed: 64, by name ----

pretrain 0 1 run train.steps=4
corpus 31 >"$folder/other.jsonl"
expect 0 "$slotpress" tokenize --quiet --tokenizer e=$encoder --tokenizer d=$decoder \
    --segment-tokens 16 --output "$folder/other.h5" "$folder/other.jsonl"
for change in run.seed=8 encoder.train=full encoder.memory_tokens=8 encoder.lora.rank=2 \
    "encoder.lora.targets=q,k" "data.tokens=$folder/other.h5"; do
    pretrain 64 1 run train.steps=8 "$change"
    says "${change%%=*}"
done
pretrain 64 2 run train.steps=8 run.seed=8
says "run.seed"
has_steps run 4
pretrain 65 1 run train.steps=8 encoder.model=$decoder data.encoder_stream=d segment.ratio=5
# What may change: the learning rate, the batch, the ranks.
pretrain 0 2 run train.steps=8 train.lr=1e-3 train.global_batch=5 encoder.lora.targets=down,up,gate,o,v,k,q
has_steps run 8

# ---- what does not fit: 64 ----

for refused in train.stepps=4:train.steps train.steps=-1:train.steps data.encoder_stream=x:"'x'" \
    segment.tokens=32:segment.tokens data.budget_tokens=1G:data.budget_tokens \
    encoder.memory_tokens=3:encoder.memory_tokens objective.draw=two:objective.draw \
    encoder.model=$decoder:data.encoder_stream decoder.precision=int4:int8; do
    case $refused in
    data.budget*) pretrain 64 1 none train.steps=auto "${refused%%:*}" ;;
    *) pretrain 64 1 none "${refused%%:*}" ;;
    esac
    says "${refused#*:}"
    [ "$(wc -l <"$folder/err")" = 1 ] || fail "$refused: not one line"
done
# Segments are of 16 tokens in the stream that cut; in the other one some are longer.
pretrain 64 1 none encoder.model=$decoder data.encoder_stream=d
says "encoder.memory_tokens"
pretrain 0 1 longer train.steps=2 encoder.model=$decoder data.encoder_stream=d \
    encoder.memory_tokens=12
pretrain 64 2 none segment.tokens=32
says "segment.tokens"
pretrain 74 1 none --resume "$folder/nowhere"
says nowhere
pretrain 74 1 none train.init="$folder/nowhere"
says nowhere

# ---- files that are not there, or are damaged ----

damaged_model() { # damaged_model NAME: a copy of the encoder to spoil
    mkdir "$folder/$1"
    cp $encoder/* "$folder/$1"
}
for n_ranks in 1 3; do
    pretrain 74 $n_ranks none data.tokens="$folder/nowhere.h5"
    says nowhere.h5
    pretrain 74 $n_ranks none encoder.model="$folder/nowhere"
    says nowhere
    pretrain 74 $n_ranks run.yaml/below
    says run.yaml
done
head -c 3000 "$folder/tokens.h5" >"$folder/cut.h5"
pretrain 65 2 none data.tokens="$folder/cut.h5"
says cut.h5
pretrain 65 1 none data.tokens="$folder/run.yaml"
says run.yaml
damaged_model family
sed -i 's/"llama"/"opt"/' "$folder/family/config.json"
pretrain 65 2 none encoder.model="$folder/family"
says "'opt'"
damaged_model wide
sed -i 's/"hidden_size": 42/"hidden_size": 43/' "$folder/wide/config.json"
pretrain 65 1 none encoder.model="$folder/wide"
says "wide"
damaged_model short
head -c 20000 $encoder/model.safetensors >"$folder/short/model.safetensors"
pretrain 65 2 none encoder.model="$folder/short"
says "short"
[ ! -e "$folder/none/metrics.jsonl" ] || fail "a run that never began has metrics"

# No segment left to train on.
pretrain 65 1 none data.validation=0.999999
says "no segment to train on"

# Ids that a checksum no longer fits: found in whichever step and on whichever rank reads them.
cp "$folder/tokens.h5" "$folder/flipped.h5"
"$slotpress" inspect --json "$folder/tokens.h5" >/dev/null || fail "inspect"
size=$(wc -c <"$folder/tokens.h5")
flips=0
for part in 25 30 35 40 45 50 55 60 65 70 75; do
    cp "$folder/tokens.h5" "$folder/flipped.h5"
    printf '\252\125\252\125' | dd of="$folder/flipped.h5" bs=1 seek=$((size * part / 100)) \
        conv=notrunc 2>/dev/null
    timeout -k 10 60 mpirun --oversubscribe -n 2 "$slotpress" pretrain --quiet --config "$folder/run.yaml" \
        --set run.dir="$folder/flip$part" --set data.tokens="$folder/flipped.h5" \
        --set train.steps=6 --set train.validate_every=0 >"$folder/out" 2>"$folder/err" </dev/null
    case $? in
    0) ;;
    65) flips=$((flips + 1)) && says flipped.h5 ;;
    *) fail "damage at $part %: neither harmless nor 65" ;;
    esac
done
[ $flips -gt 0 ] || fail "no damage was seen"

# A rank on its own: the others do not wait for it.
expect 74 mpirun --oversubscribe -n 1 "$slotpress" pretrain --quiet --config "$folder/run.yaml" \
    --set run.dir="$folder/alone" : -n 1 "$slotpress" pretrain --quiet \
    --config "$folder/run.yaml" --set run.dir="$folder/alone" --set data.tokens="$folder/nowhere.h5"
says "rank 1: "
says nowhere.h5

# Weights that are not numbers: 76 before anything is written.
damaged_model nan
size=$(wc -c <"$folder/nan/model.safetensors")
head -c 4000 /dev/zero | tr '\0' '\377' |
    dd of="$folder/nan/model.safetensors" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
for n_ranks in 1 2; do
    pretrain 76 $n_ranks nan_run encoder.model="$folder/nan"
    says "not finite"
done
[ -z "$(find "$folder/nan_run" -name 'step-*')" ] || fail "a checkpoint of what is not finite"

# ---- a disk that is full: 74, nothing half-written under a final name ----

pretrain 0 1 disk train.steps=4 train.stop_at_step=2
(
    trap '' XFSZ
    ulimit -f 100 # blocks of 512 bytes: less than a checkpoint
    export OMPI_MCA_ess_singleton_isolated=1 # MPI itself would map larger files
    exec timeout 60 "$slotpress" pretrain --quiet --config "$folder/run.yaml" \
        --set run.dir="$folder/disk" --set train.steps=4
) >"$folder/out" 2>"$folder/err" </dev/null
[ $? = 74 ] || fail "a full disk is not 74"
says disk
[ "$(ls -A "$folder/disk" | tr '\n' ' ')" = "lock metrics.jsonl step-0000002 " ] ||
    fail "a full disk leaves $(ls -A "$folder/disk")"
pretrain 0 1 disk train.steps=4
pretrain 0 1 disk_whole train.steps=4
same_losses disk disk_whole
same_weights disk disk_whole

# ---- signals, STOP and SAVE: a checkpoint at the present step, exit code 75 ----

wait_for_steps() { # wait_for_steps RUN: until it has made some
    for _ in $(seq 300); do
        [ -s "$folder/$1/metrics.jsonl" ] && [ "$(wc -l <"$folder/$1/metrics.jsonl")" -ge 3 ] && return
        sleep 0.1
    done
    fail "$1 makes no steps"
}
ends() { # ends CODE: the run in the background
    wait "$trained"
    code=$?
    cp "$folder/err.later" "$folder/err"
    [ $code = "$1" ] || fail "$run ended with $code, not $1"
}
long="train.steps=1000000 train.schedule=constant train.validate_every=0"
last_step() { losses "$1" | tail -n 1 | cut -d ' ' -f 1; }
# goes_on RUN RANKS: its newest checkpoint is of its last step; 2 steps more are those of a run that
# was never stopped.
goes_on() {
    step=$(last_step "$1")
    [ -d "$folder/$1/$(printf 'step-%07d' "$step")" ] || fail "$1: no checkpoint of step $step"
    # shellcheck disable=SC2086
    pretrain 0 "$2" "$1" $long train.stop_at_step=$((step + 2))
    has_steps "$1" $((step + 2))
    # shellcheck disable=SC2086
    pretrain 0 "$2" "$1.whole" $long train.stop_at_step=$((step + 2))
    same_losses "$1" "$1.whole"
    same_weights "$1" "$1.whole"
}

for signal in TERM USR1; do
    # shellcheck disable=SC2086
    pretrain later 1 on_$signal $long
    wait_for_steps on_$signal
    kill -$signal "$trained"
    ends 75
    says "stopped at step"
    goes_on on_$signal 1
done

# shellcheck disable=SC2086
pretrain later 2 stopped $long
wait_for_steps stopped
# While it runs: nobody else may train here.
pretrain 1 1 stopped train.steps=5
says "another run holds"
: >"$folder/stopped/SAVE"
for _ in $(seq 100); do
    [ -e "$folder/stopped/SAVE" ] || break
    sleep 0.1
done
[ ! -e "$folder/stopped/SAVE" ] || fail "SAVE is not heeded"
kill -0 "$trained" || fail "SAVE ended the run"
: >"$folder/stopped/STOP"
ends 75
[ "$(find "$folder/stopped" -maxdepth 1 -name 'step-*' | wc -l)" = 2 ] || fail "SAVE and STOP: not 2 checkpoints"
goes_on stopped 2

# mpirun hands SIGUSR1 on to its ranks.
# shellcheck disable=SC2086
pretrain later 2 usr1_ranks $long
wait_for_steps usr1_ranks
kill -USR1 "$trained"
ends 75
goes_on usr1_ranks 2

# A killed run goes on from its newest checkpoint; its lock is no obstacle.
# shellcheck disable=SC2086
pretrain later 1 killed $long checkpoint.every_steps=2
wait_for_steps killed
kill -KILL "$trained"
wait "$trained" 2>/dev/null
step=$(last_step killed)
# shellcheck disable=SC2086
pretrain 0 1 killed $long train.stop_at_step=$((step + 2))
has_steps killed $((step + 2))
# shellcheck disable=SC2086
pretrain 0 1 killed.whole $long train.stop_at_step=$((step + 2))
same_losses killed killed.whole
same_weights killed killed.whole

finish
