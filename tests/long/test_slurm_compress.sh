#!/bin/sh
# jobs/compress.sbatch under real Slurm daemons: an array shares out shards, a task that is told that its
# time runs out is requeued and goes on, one whose rank is killed too, and the slot files are those of
# runs that nothing interrupted. Bad input ends its task alone.
. tests/lib.sh
. tests/slurm/cluster.sh
encoder=$root/$encoder decoder=$root/$decoder
make_tokens 30
pretrain 0 1 run train.steps=2
mkdir -p "$folder/shards/more"
corpus 3000 >"$folder/shards/a.jsonl"
corpus 200 >"$folder/shards/b.jsonl"
corpus 2500 | gzip >"$folder/shards/more/c.jsonl.gz"
cluster_start 1
site mpirun launcher=mpirun

# array TASKS INPUT [WORD...]: submits it; the id.
array() {
    tasks=$1 && shift
    (cd "$folder" && SLOTPRESS=$binary SLOTPRESS_JOBS=$root/jobs SLOTPRESS_SITE=$folder/mpirun.sh \
        sbatch --parsable --export=ALL --ntasks-per-node=2 --cpus-per-task=1 --time=20 --array="$tasks" \
        --output="$folder/%A_%a.log" "$root/jobs/compress.sbatch" "$folder/run" "$folder/slots" "$@")
}

n_blocks() { find "$folder/slots/$1.h5.work" -name 'block-*[0-9]' 2>/dev/null | wc -l; }
has_blocks() { [ "$(n_blocks "$1")" -ge "$2" ]; }
rank_of() {
    for process in $(grep -lx slotpress /proc/[0-9]*/comm 2>/dev/null); do
        process=${process%/comm}
        ! tr '\0' '\n' <"$process/cmdline" | grep -qxF "$folder/slots/$1.h5" || echo "${process#/proc/}"
    done | tail -n 1
}

id=$(array 0-1 "$folder/shards" -- --dtype int8 --with-text)
until_true 60 has_blocks a 2 || fail "no blocks of a"
scancel --batch --signal=USR1 "${id}_0"
until_true 30 job_has "${id}_0" Restarts 1 || fail "not requeued after the signal"
n_before=$(n_blocks a)
until_true 60 has_blocks a $((n_before + 2)) || fail "no more blocks of a"
kill -KILL "$(rank_of a)" || fail "no rank of a"
for k in 0 1; do wait_job 100 "${id}_$k"; done
ends "${id}_0" COMPLETED 0:0 2
ends "${id}_1" COMPLETED 0:0 0
log_says "${id}_0" "exit code 75, requeued"
for shard in a:a.jsonl b:b.jsonl more_c:more/c.jsonl.gz; do
    name=${shard%%:*}
    expect 0 "$slotpress" verify "$folder/slots/$name.h5"
    expect 0 "$slotpress" merge --output "$folder/merged.h5" "$folder/slots/$name.h5"
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --dtype int8 --with-text \
        --output "$folder/$name.h5" "$folder/shards/${shard#*:}"
    cmp -s "$folder/merged.h5" "$folder/$name.h5" || fail "$name: not as a run that was not interrupted"
done
[ -z "$(find "$folder/slots" -name '*.work' -o -name 'task-*')" ] || fail "something is left in $folder/slots"

# Again: nothing is done again. A shard that is bad ends its task, and no other.
echo '{"text": ' >"$folder/shards/d.jsonl"
id=$(array 0-3 "$folder/shards" -- --dtype int8 --with-text)
for k in 0 1 2 3; do wait_job 60 "${id}_$k"; done
n_failed_tasks=0
for k in 0 1 2 3; do job_is "${id}_$k" COMPLETED || n_failed_tasks=$((n_failed_tasks + 1)); done
[ $n_failed_tasks = 1 ] || fail "$n_failed_tasks tasks failed, not 1"
log_says "${id}_0" "is finished: nothing to do"
finish
