#include "mpi/world.h"

#include "base/memory.h"
#include "mpi/world_comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes travel as 64 bits");

/* MPI counts are int; pieces of this many bytes also bound what a collective buffers. */
enum { PIECE_BYTES = 1 << 26 };

void sp_wait(MPI_Request *request) {
    /* Short waits are answered at once; long ones cost a wake-up every 50 us. */
    const struct timespec pause = {0, 50000};
    int done = 0;
    for (int n_tests = 0; !done; n_tests++) {
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (!done && n_tests > 100) nanosleep(&pause, NULL);
    }
}

/* Tasks that the launcher says it started, or 1. */
static int launched_tasks(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = getenv(names[i]);
        if (text != NULL && atoi(text) > 0) return atoi(text);
    }
    return 1;
}

static int count_nodes(MPI_Comm comm) {
    MPI_Comm node = MPI_COMM_NULL;
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    int rank_in_node = 0;
    MPI_Comm_rank(node, &rank_in_node);
    MPI_Comm_free(&node);
    const int is_first = rank_in_node == 0;
    int n_nodes = 0;
    MPI_Allreduce(&is_first, &n_nodes, 1, MPI_INT, MPI_SUM, comm);
    return n_nodes;
}

/* Every rank's host name, cut where it is longer. */
static sp_status gather_hosts(sp_world *world) {
    char mine[MPI_MAX_PROCESSOR_NAME] = "";
    int length = 0;
    MPI_Get_processor_name(mine, &length);
    mine[SP_HOST_SIZE - 1] = '\0';
    void *hosts = NULL;
    SP_TRY(sp_alloc_array(&hosts, (size_t)world->n_ranks, SP_HOST_SIZE, "the hosts' names"));
    world->hosts = hosts;
    MPI_Allgather(mine, SP_HOST_SIZE, MPI_CHAR, world->hosts, SP_HOST_SIZE, MPI_CHAR, world->comm);
    return SP_OK;
}

sp_status sp_world_begin(sp_world **world) {
    int provided = 0;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **world, "the ranks"));
    sp_world *made = block;
    MPI_Comm_dup(MPI_COMM_WORLD, &made->comm);
    MPI_Comm_rank(made->comm, &made->rank);
    MPI_Comm_size(made->comm, &made->n_ranks);
    made->n_nodes = count_nodes(made->comm);
    made->has_threads = provided >= MPI_THREAD_MULTIPLE;
    *world = made;
    if (provided < MPI_THREAD_FUNNELED)
        return sp_fail(SP_FAILURE, "MPI was built without thread support");
    if (made->n_ranks == 1 && launched_tasks() > 1)
        return sp_fail(SP_FAILURE,
                       "the launcher started %d tasks, but MPI sees one: start with the mpirun of "
                       "this MPI, or srun --mpi=pmix",
                       launched_tasks());
    return gather_hosts(made);
}

sp_status sp_world_fail_alone(sp_world *world, sp_status status) {
    if (status == SP_OK || world->n_ranks == 1) return status;
    fprintf(stderr, "slotpress: rank %d: %s\n", world->rank, sp_message());
    fflush(NULL);
    MPI_Abort(world->comm, (int)status);
    return status;
}

sp_status sp_world_expect(const sp_world *world, size_t n_ranks) {
    if (n_ranks == 0 || n_ranks == (size_t)world->n_ranks) return SP_OK;
    return sp_fail(
        SP_USAGE,
        "%zu ranks are expected, and MPI made a world of %d: start with srun --mpi=pmix or "
        "the mpirun of this MPI, and that many tasks",
        n_ranks, world->n_ranks);
}

sp_status sp_world_end(sp_world *world, sp_status status) {
    if (world == NULL) return status;
    if (!world->has_agreed_failure) (void)sp_world_fail_alone(world, status);
    MPI_Comm_free(&world->comm);
    free(world->hosts);
    free(world);
    MPI_Finalize();
    return status;
}

int sp_world_rank(const sp_world *world) { return world->rank; }
int sp_world_size(const sp_world *world) { return world->n_ranks; }
int sp_world_node_count(const sp_world *world) { return world->n_nodes; }
bool sp_world_has_threads(const sp_world *world) { return world->has_threads; }
const char *sp_world_host(const sp_world *world, int rank) { return world->hosts[rank]; }

void sp_world_barrier(sp_world *world) {
    MPI_Request request;
    MPI_Ibarrier(world->comm, &request);
    sp_wait(&request);
}

static size_t piece(size_t left, size_t item_bytes) {
    const size_t most = PIECE_BYTES / item_bytes;
    return left < most ? left : most;
}

/* Sums on one tree for every rank count of a run: MPI's reduction order is fixed for a given
   communicator and count, so two runs of the same ranks agree bit for bit. */
static void reduce_all(sp_world *world, void *values, size_t n, size_t item_bytes,
                       MPI_Datatype type, MPI_Op op) {
    for (size_t begin = 0; begin < n;) {
        const size_t count = piece(n - begin, item_bytes);
        MPI_Request request;
        MPI_Iallreduce(MPI_IN_PLACE, (char *)values + begin * item_bytes, (int)count, type, op,
                       world->comm, &request);
        sp_wait(&request);
        begin += count;
    }
}

void sp_world_sum_u64(sp_world *world, uint64_t *values, size_t n) {
    reduce_all(world, values, n, sizeof *values, MPI_UINT64_T, MPI_SUM);
}

void sp_world_sum_double(sp_world *world, double *values, size_t n) {
    reduce_all(world, values, n, sizeof *values, MPI_DOUBLE, MPI_SUM);
}

void sp_world_max_double(sp_world *world, double *values, size_t n) {
    reduce_all(world, values, n, sizeof *values, MPI_DOUBLE, MPI_MAX);
}

void sp_world_broadcast(sp_world *world, void *data, size_t n_bytes, int root) {
    for (size_t begin = 0; begin < n_bytes;) {
        const size_t count = piece(n_bytes - begin, 1);
        MPI_Request request;
        MPI_Ibcast((char *)data + begin, (int)count, MPI_BYTE, root, world->comm, &request);
        sp_wait(&request);
        begin += count;
    }
}

/* Point to point and in pieces, so that no count or displacement passes an int. */
static void gather_pieces(sp_world *world, char *all, const size_t *sizes, const char *data,
                          size_t n_bytes) {
    enum { TAG_GATHER = 1 };
    MPI_Request request;
    if (world->rank != 0) {
        for (size_t begin = 0; begin < n_bytes;) {
            const size_t count = piece(n_bytes - begin, 1);
            MPI_Isend(data + begin, (int)count, MPI_BYTE, 0, TAG_GATHER, world->comm, &request);
            sp_wait(&request);
            begin += count;
        }
        return;
    }
    if (n_bytes > 0) memcpy(all, data, n_bytes); /* a rank may bring nothing, from nowhere */
    all += n_bytes;
    for (int rank = 1; rank < world->n_ranks; rank++) {
        for (size_t begin = 0; begin < sizes[rank];) {
            const size_t count = piece(sizes[rank] - begin, 1);
            MPI_Irecv(all + begin, (int)count, MPI_BYTE, rank, TAG_GATHER, world->comm, &request);
            sp_wait(&request);
            begin += count;
        }
        all += sizes[rank];
    }
}

sp_status sp_world_gather(sp_world *world, const void *data, size_t n_bytes, char **all,
                          size_t **sizes) {
    *all = NULL;
    *sizes = NULL;
    uint64_t size = n_bytes;
    uint64_t *each = calloc((size_t)world->n_ranks, sizeof *each);
    char *joined = NULL;
    if (each != NULL)
        MPI_Gather(&size, 1, MPI_UINT64_T, each, 1, MPI_UINT64_T, 0, world->comm);
    else
        return sp_fail(SP_FAILURE, "no memory to gather");
    sp_status status = SP_OK;
    if (world->rank == 0) {
        size_t total = 0;
        for (int rank = 0; rank < world->n_ranks; rank++) total += each[rank];
        joined = malloc(total > 0 ? total : 1);
        if (joined == NULL) status = sp_fail(SP_FAILURE, "no memory to gather %zu bytes", total);
    }
    int go_on = status == SP_OK;
    MPI_Bcast(&go_on, 1, MPI_INT, 0, world->comm);
    if (go_on) gather_pieces(world, joined, each, data, n_bytes);
    if (!go_on || world->rank != 0) {
        free(each);
        return go_on             ? SP_OK
               : status != SP_OK ? status
                                 : sp_fail(SP_FAILURE, "rank 0 has no memory");
    }
    *all = joined;
    *sizes = each; /* uint64_t and size_t are one type here */
    return SP_OK;
}
