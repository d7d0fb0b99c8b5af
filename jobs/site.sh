# What differs from site to site. jobs/submit reads it where jobs are submitted, the jobs where they
# run; SLOTPRESS_SITE names another file of this kind.
# shellcheck shell=bash disable=SC2034

# Whose and where; empty: what Slurm takes by itself. An option of jobs/submit goes before any of these.
partition=
account=
nodes=1
time=24:00:00
submit_options=(--exclusive) # more for sbatch, such as --mem=0 or --constraint=zen4

# One rank a NUMA node, its cores for the rank's threads. auto: as many ranks as the partition's nodes
# have sockets; a number where a socket holds several NUMA nodes. Threads: a rank's cores, each once.
ranks_per_node=auto
cpus_per_rank=auto
threads_per_rank=auto

# srun where it knows PMIx, by which MPI's ranks find each other, else mpirun inside the allocation.
launcher=auto # auto | srun | mpirun
srun_options=(--cpu-bind=ldoms)
mpirun_options=(--map-by numa --bind-to numa)

# In the job, before its first program: modules, paths, how OpenMP places its threads.
prepare() {
    # module load openmpi hdf5 openblas onednn
    export OMP_PLACES=cores OMP_PROC_BIND=close
}

# So many seconds before its limit (`time`, and less than that) a job is told to save: more than a step
# and a checkpoint take.
warn_s=600

# A job is requeued for whatever reason so many times, and after failures (a lost node, a killed rank)
# so many times in a row without a new checkpoint.
max_restarts=200
max_failures=3
