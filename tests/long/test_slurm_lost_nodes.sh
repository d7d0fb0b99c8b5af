#!/bin/sh
# Nodes that die under a job's ranks, as by a loss of power, under real Slurm daemons: first one beside
# the batch host, then the batch host. Under srun and under mpirun, of which Slurm learns of a loss by
# different ways, the job ends on the nodes that are left with the weights of a run without losses.
# shellcheck disable=SC2154 # some names are made by eval
. tests/lib.sh
. tests/slurm/cluster.sh
encoder=$root/$encoder decoder=$root/$decoder
make_tokens 60
endless="steps: 1000000, schedule: constant, validate_every: 0"
sed -i "s/^train: *{.*/train: {$endless, global_batch: 7, micro_batch: 3, lr: 3e-3, warmup_steps: 5,/
    s/^ *validate_every: .*}/precision: f32}/; s/every_steps: 0/every_steps: 10/" "$folder/run.yaml"
echo "parallel: {pipeline: 2}" >>"$folder/run.yaml"
# Whatever nodes the two jobs have, two are left in the end.
cluster_start 6
for launcher in srun mpirun; do
    site $launcher launcher=$launcher
    recipe $launcher 1
done
srun_job=$(submit srun srun --nodes=2)
mpirun_job=$(submit mpirun mpirun --nodes=2)

nodes_of() { scontrol show hostnames "$(job_field "$1" NodeList)"; }
batch_host() { job_field "$1" BatchHost; }
other_host() { nodes_of "$1" | grep -vxF "$(batch_host "$1")"; }
# sessions_of ID: the folders that its launchers have at present, on the nodes that it runs on.
sessions_of() {
    for node in $(nodes_of "$1"); do find "$cluster/tmp/$node" -type d -name "slotpress-$1.*"; done
}

lost=
for restart in 0 1; do
    victims=
    for launcher in srun mpirun; do
        eval "id=\$${launcher}_job"
        makes_steps "$id" "$launcher-1" $restart
        [ $launcher = srun ] || [ "$(sessions_of "$id" | grep -c "/slotpress-$id.$restart.1$")" = 2 ] ||
            fail "mpirun has no session folder of its own on each node: $(sessions_of "$id")"
        [ $restart = 0 ] && victim=$(other_host "$id") || victim=$(batch_host "$id")
        victims="$victims $victim"
    done
    # shellcheck disable=SC2086 # several nodes
    for node in $(printf '%s\n' $victims | sort -u); do
        kill_node "$node"
        lost="$lost $node"
    done
    echo "after $restart restarts: lost$victims"
done

# The last part of the run ends by itself, when the file that says so is read again.
for launcher in srun mpirun; do
    eval "id=\$${launcher}_job"
    until_true 90 job_has "$id" Restarts 2 || fail "$launcher: not restarted"
    n=$(($(n_steps $launcher-1) + 200))
    sed -i "s/steps: 1000000/&, stop_at_step: $n/" "$folder/$launcher/stage1.yaml"
    eval "n_$launcher=$n"
done
for launcher in srun mpirun; do
    eval "id=\$${launcher}_job n=\$n_$launcher"
    ends "$id" COMPLETED 0:0 2
    log_says "$id" "$launcher, 4 ranks on n["
    for node in $lost; do
        nodes_of "$id" | grep -qxF "$node" && fail "$launcher: $node is not lost at all"
    done
    [ -z "$(sessions_of "$id")" ] || fail "$launcher: left behind: $(sessions_of "$id")"
    has_steps $launcher-1 "$n"
    pretrain 0 4 $launcher-whole train.stop_at_step="$n"
    same_losses $launcher-1 $launcher-whole
    same_weights $launcher-1 $launcher-whole
done
log_says "$srun_job" "Node failure on"
log_says "$mpirun_job" "exit code 205, requeued"

finish
