#!/bin/sh
# jobs/submit under real Slurm daemons: stages one after the other, each requeued when its time runs
# out, ends with the weights of runs that nothing interrupted; so does an array over two decoders,
# whose tasks are requeued each by itself. A finished chain ends at once.
. tests/lib.sh
. tests/slurm/cluster.sh
encoder=$root/$encoder decoder=$root/$decoder
make_tokens
cluster_start 1
site srun
site mpirun launcher=mpirun
long="train.steps=160 train.validate_every=80"
piped="$long parallel.pipeline=2"
alone="train.steps=320 train.validate_every=160" # a rank makes its steps faster

# Two stages of as many ranks as the node has sockets, by what `auto` finds, which are a pipeline.
recipe chain 2
# shellcheck disable=SC2046,SC2086 # ids; several settings
set -- $(submit srun chain $piped)
stage1=$1 stage2=$2

job_is "$stage2" PENDING || fail "stage 2 does not wait for stage 1"
makes_steps "$stage1" chain-1
scancel --batch --signal=USR1 "$stage1"

# Two decoders, a rank each.
recipe array 2
cat >"$folder/array/decoders" <<END
# A comment, and an empty line, are none.

tied decoder.model=$decoder
self decoder.model=$encoder data.decoder_stream=e
END
# shellcheck disable=SC2046,SC2086
set -- $(submit mpirun array $alone --ntasks-per-node=1)
array1=$1 array2=$2

# The task that has the array's own id is the one whose requeuing could take the others along.
for k in 0 1; do wait_job 60 "${array1}_$k" RUNNING; done
for k in 0 1; do job_has "${array1}_$k" JobId "$array1" && told=$k; done
[ "$told" = 0 ] && name=tied || name=self
makes_steps "${array1}_$told" "array-1/$name"
scancel --batch --signal=USR1 "${array1}_$told"

# Meanwhile, what should come out.
# shellcheck disable=SC2086
pretrain 0 2 chain-whole-1 $piped
# shellcheck disable=SC2086
pretrain 0 2 chain-whole-2 $piped train.init="$folder/chain-whole-1"

ends "$stage1" COMPLETED 0:0 1
log_says "$stage1" "srun, 2 ranks on n1"
log_says "$stage1" "exit code 75, requeued"
log_says "$stage1" "resuming from"
ends "$stage2" COMPLETED 0:0
for n in 1 2; do
    has_steps chain-$n 160
    same_losses chain-$n chain-whole-$n
    same_weights chain-$n chain-whole-$n
done

for k in 0 1; do
    [ $k = "$told" ] && times=1 || times=0
    ends "${array1}_$k" COMPLETED 0:0 "$times"
    ends "${array2}_$k" COMPLETED 0:0
done
log_says "${array1}_0" "mpirun, 1 ranks on n1"
# shellcheck disable=SC2086
pretrain 0 1 self-whole-1 $alone decoder.model="$encoder" data.decoder_stream=e
# shellcheck disable=SC2086
pretrain 0 1 self-whole-2 $alone decoder.model="$encoder" data.decoder_stream=e train.init="$folder/self-whole-1"
for n in 1 2; do
    has_steps array-$n/tied 320
    same_losses array-$n/self self-whole-$n
    same_weights array-$n/self self-whole-$n
done
cmp -s "$folder/array-2/tied.export/pcc.safetensors" "$folder/array-2/self.export/pcc.safetensors" &&
    fail "both decoders have one compressor"

# Again: all is done, and nothing is done again.
before=$(cat "$folder"/chain-?/metrics.jsonl)
# shellcheck disable=SC2046,SC2086
set -- $(submit srun chain $piped)
for id in "$@"; do
    ends "$id" COMPLETED 0:0
    log_says "$id" "is finished at step 160 of 160"
done
[ $# = 2 ] || fail "not two jobs"
[ "$(cat "$folder"/chain-?/metrics.jsonl)" = "$before" ] || fail "a finished chain made steps"

# What ended badly takes along what waits for it.
# shellcheck disable=SC2046
set -- $(submit srun chain train.stepps=1)
ends "$1" FAILED 64:0
log_says "$1" "train.stepps"
ends "$2" CANCELLED 0:0

# Errors of use: nothing is submitted.
for words in "nowhere" "chain extra" "chain --nodes 2" ""; do
    # shellcheck disable=SC2086
    (cd "$folder" && expect 64 "$root/jobs/submit" $words && says "submit: ") || n_failed=$((n_failed + 1))
done

finish
