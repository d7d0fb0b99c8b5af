# A Slurm cluster of the test's own (`. tests/slurm/cluster.sh`, after tests/lib.sh): munged, slurmctld
# and one slurmd a virtual node, all on this machine, listening on 127.0.0.1 only, gone with the test.
#
# A node is a set of namespaces (UTS, PID, mount): it has a host name, processes, /tmp and /dev/shm of
# its own, so that MPI takes two of them for two machines, and it dies at once and without a word, as
# by a loss of power. Without the right to make namespaces there can be one node, this machine itself.
# shellcheck shell=sh
# shellcheck disable=SC2154 # $folder is that of tests/lib.sh

cluster=$folder/cluster
root=$(pwd -P)
binary=$(realpath "$slotpress")
PATH=$PATH:/usr/sbin:/sbin

skip() {
    echo "skipped: needs $*"
    exit 77
}

# ---- what a cluster needs ----

for command in munged slurmctld slurmd sbatch; do
    command -v $command >/dev/null || skip "$command (tools/bootstrap slurm)"
done
[ "$(id -u)" = 0 ] || skip "root, to run slurmd"
# Slurm resolves even 127.0.0.1 only where there is an address beside it (glibc's AI_ADDRCONFIG).
[ -n "$(hostname -I)" ] || skip "a network interface beside lo"

# may_have_nodes: several of them. NAMESPACES=no is for trying out what happens where they are refused.
may_have_nodes() {
    [ "${NAMESPACES:-yes}" != no ] &&
        unshare --uts --mount --pid --fork --mount-proc --propagation private true 2>/dev/null
}

# ---- daemons ----

# In a session of their own, so that no signal to the test's group reaches them; but they die with the
# test, however it dies.
daemon() { # daemon NAME COMMAND...
    name=$1 && shift
    setsid setpriv --pdeathsig KILL "$@" >"$cluster/log/$name.out" 2>&1 </dev/null &
    echo $! >"$cluster/run/$name.pid"
}

# until_true SECONDS COMMAND...: false if it does not become true in that time.
until_true() {
    tries=$(($1 * 10)) && shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.1
    done
}

# free_ports N: the first of N ports in a row that nobody uses, below those that the system hands out.
free_ports() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v n="$1" -v seed="$(od -An -N3 -tu4 /dev/urandom)" '
        { split($2, address, ":"); used[address[2]] = 1 }
        END {
            srand(seed)
            for (free = 0; free < n;) {
                first = 17000 + int(rand() * 15000)
                for (free = 0; free < n && !(sprintf("%04X", first + free) in used); free++);
            }
            print first
        }'
}

slurm_conf() {
    cat <<END
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits for so many seconds and one more.
AuthInfo=socket=$cluster/run/munge.socket,cred_expire=5
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool/%n
SlurmctldPidFile=$cluster/run/slurmctld.pidfile
SlurmdPidFile=$cluster/run/%n.pidfile
SlurmctldLogFile=$cluster/log/slurmctld.log
SlurmdLogFile=$cluster/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
JobRequeue=1
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
# Finished jobs can be asked about.
MinJobAge=1800
# Lost nodes are noticed within seconds.
SlurmdTimeout=10
MessageTimeout=5
TCPTimeout=2
KillWait=5
CompleteWait=0
PropagateResourceLimits=NONE
END
    host=$(hostname -s)
    for i in $(seq "$n_nodes"); do
        [ "$has_namespaces" = no ] || host=n$i
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + i)) Sockets=2 CoresPerSocket=8 RealMemory=2000"
    done
    echo "PartitionName=main Nodes=n[1-$n_nodes] Default=YES MaxTime=60"
}

# What a node does first, as process 1 of its namespaces. Its /tmp hides this machine's, except for
# what the test and the build have there.
# shellcheck disable=SC2016 # for a shell of its own
node_init='
    hostname "$1"
    mount --bind "$2/hosts" /etc/hosts
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    own=$2/tmp/$1
    mkdir -p -m 1777 "$own"
    for shared in "$3" "$4" "$5"; do
        case $shared in
        /tmp/*) mkdir -p "$own/${shared#/tmp/}" && mount --bind "$shared" "$own/${shared#/tmp/}" ;;
        esac
    done
    mount --rbind "$own" /tmp
    cd "$4"
    slurmd -D -N "$1" -f "$SLURM_CONF" &
    wait
'

start_node() { # start_node NAME
    if [ "$has_namespaces" = no ]; then
        daemon "$1" slurmd -D -N "$1" -f "$SLURM_CONF"
    else
        daemon "$1" unshare --uts --mount --pid --fork --kill-child=KILL --mount-proc \
            --propagation private sh -c "$node_init" sh "$1" "$cluster" "$folder" "$root" \
            "$(cd "${BUILD:-build}" && pwd -P)"
    fi
}

all_idle() { [ "$(sinfo -h -N -t idle -o %N | wc -l)" = "$n_nodes" ]; }

# cluster_start N: nodes n1 to nN of two sockets each, with more cores than there are, so that tests need
# not wait for each other's. Skips the test where there cannot be so many.
cluster_start() {
    n_nodes=$1 has_namespaces=yes
    may_have_nodes || has_namespaces=no
    [ "$has_namespaces" = yes ] || [ "$n_nodes" = 1 ] ||
        skip "UTS, PID and mount namespaces for $n_nodes nodes (CAP_SYS_ADMIN)"
    trap 'cluster_stop; rm -rf "$folder"' EXIT
    trap 'exit 1' HUP INT TERM # so that what is done at EXIT is done
    # A cluster started inside a job of another one must not hear of it.
    for name in $(env | sed -n 's/^\(\(SLURM\|SBATCH\|SRUN\)_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
    # munged wants a key and a log that others cannot write to, and a socket that they can find.
    mkdir "$cluster"
    (cd "$cluster" && mkdir run log state spool tmp munge && chmod 755 . run && chmod 700 munge)
    chmod 755 "$folder"
    (umask 077 && head -c 1024 /dev/urandom >"$cluster/munge/key")
    export SLURM_CONF="$cluster/slurm.conf"
    port=$(free_ports $((n_nodes + 1)))
    slurm_conf >"$SLURM_CONF"
    {
        echo "127.0.0.1 localhost"
        echo "127.0.0.1 $(hostname -s)"
        for i in $(seq "$n_nodes"); do echo "127.0.0.1 n$i"; done
    } >"$cluster/hosts"

    daemon munged munged --foreground --socket="$cluster/run/munge.socket" \
        --key-file="$cluster/munge/key" --pid-file="$cluster/run/munged.pidfile" \
        --log-file="$cluster/munge/log" --seed-file="$cluster/munge/seed" --num-threads=2
    until_true 10 munge -S "$cluster/run/munge.socket" -n || give_up munged
    daemon slurmctld slurmctld -D -c -f "$SLURM_CONF"
    for i in $(seq "$n_nodes"); do start_node "n$i"; done
    until_true 30 all_idle || give_up slurmctld slurmd
}

give_up() {
    echo "FAILED: $* will not start"
    tail -n 20 "$cluster"/log/* "$cluster/munge/log" | sed 's/^/    | /'
    exit 1
}

# kill_node NAME: as by a loss of power. What is process 1 of its namespaces takes all of it along.
kill_node() {
    kill -KILL "$(cat "$cluster/run/$1.pid")"
    wait "$(cat "$cluster/run/$1.pid")" 2>/dev/null
}

# Job scripts, launchers and ranks have our SLURM_CONF in the environment that they were started with.
cluster_processes() {
    grep -lzxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3
}

cluster_stop() {
    [ -n "${SLURM_CONF:-}" ] || return 0
    for pid in "$cluster"/run/*.pid; do
        [ ! -e "$pid" ] || kill -KILL "$(cat "$pid")" 2>/dev/null
    done
    for _ in 1 2 3; do
        # shellcheck disable=SC2046 # several processes; grep itself is gone by then
        kill -KILL $(cluster_processes) 2>/dev/null
    done
    unset SLURM_CONF
}

# ---- jobs ----

# site NAME [LINE...]: a site file of small jobs that share nodes, with these lines more.
site() {
    file=$folder/$1.sh && shift
    printf '%s\n' ". '$root/jobs/site.sh'" "submit_options=() cpus_per_rank=1 time=20" "$@" >"$file"
}

# recipe NAME N: the folder $folder/NAME, whose N stages train in $folder/NAME-1 and so on as run.yaml
# of make_tokens says, each from the weights of the one before.
recipe() {
    mkdir "$folder/$1"
    for n in $(seq "$2"); do
        init="init: $folder/$1-$((n - 1)), "
        [ "$n" -gt 1 ] || init=
        sed "s|^run: .*|run: {seed: 7, dir: $folder/$1-$n}|; s|^train: *{|&$init|" \
            "$folder/run.yaml" >"$folder/$1/stage$n.yaml"
    done
}

# submit SITE RECIPE [WORD...]: jobs/submit from $folder; the jobs' ids.
submit() {
    site=$1 submitted=$2 && shift 2
    (cd "$folder" && SLOTPRESS=$binary SLOTPRESS_SITE=$folder/$site.sh "$root/jobs/submit" "$folder/$submitted" "$@") |
        cut -d ' ' -f 2
}

# job_field ID NAME: the value of NAME= in what Slurm knows of a job.
job_field() { scontrol -o show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1; }

job_is() { # job_is ID STATE[|STATE...]
    eval "case \$(job_field $1 JobState) in $2) ;; *) false ;; esac"
}

# wait_job SECONDS ID [STATE]: until it has ended, or is in that state.
wait_job() {
    until_true "$1" job_is "$2" "${3:-COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY}" ||
        fail "job $2 is $(job_field "$2" JobState) after $1 s: $(scontrol -o show job "$2" | grep -o 'Reason=[^ ]*')"
}

# ends ID STATE EXIT-CODE [RESTARTS]: it has ended so within a minute, restarted so many times, or `some`.
ends() {
    wait_job 60 "$1"
    restarts=$(job_field "$1" Restarts)
    [ "${4:-}" != some ] || [ "$restarts" = 0 ] || restarts=some
    ended="$(job_field "$1" JobState) $(job_field "$1" ExitCode) $restarts"
    [ "$ended" = "$2 $3 ${4:-0}" ] && return
    fail "job $1 ended $ended, not $2 $3 ${4:-0}"
    tail -n 20 "$(job_field "$1" StdOut)" | sed 's/^/    | /'
}

# log_says ID TEXT
log_says() { grep -qF -- "$2" "$(job_field "$1" StdOut)" || fail "job $1: no '$2' in its log"; }

n_steps() { losses "$1" 2>/dev/null | grep -vc validation; }
has_more() { [ "$(n_steps "$1")" -ge $(($2 + 3)) ]; }

# makes_steps ID RUN [RESTARTS]: the job runs for the so-manieth time, and its run gets on.
makes_steps() {
    until_true 60 job_has "$1" Restarts "${3:-0}" && wait_job 60 "$1" RUNNING
    until_true 60 has_more "$2" "$(n_steps "$2")" || fail "job $1 makes no steps in $2"
}
job_has() { [ "$(job_field "$1" "$2")" = "$3" ]; }

# ranks_of RUN: the processes that train there.
ranks_of() {
    for process in $(grep -lx slotpress /proc/[0-9]*/comm 2>/dev/null); do
        process=${process%/comm}
        ! tr '\0' '\n' <"$process/cmdline" | grep -qxF "run.dir=$folder/$1" || echo "${process#/proc/}"
    done
}
