#include "run/shared_checkpoint.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/checkpoint_folder.h"
#include "mpi/agree.h"

#include <stdlib.h>
#include <string.h>

static bool is_first(sp_world *world) { return sp_world_rank(world) == 0; }

sp_status sp_shared_checkpoint_find(bool *is_there, sp_world *world, const char *dir) {
    char *found = NULL;
    SP_TRY(sp_agree(world, is_first(world) ? sp_checkpoint_find(dir, &found) : SP_OK));
    bool is_found = found != NULL;
    free(found);
    sp_world_broadcast(world, &is_found, sizeof is_found, 0);
    *is_there = is_found;
    return SP_OK;
}

/* ---- which steps there are, as rank 0 sees it ---- */

typedef struct candidates {
    bool is_step_folder; /* `dir` is the one */
    size_t n_steps;      /* else so many of the run folder, */
    uint64_t *steps;     /* [n_steps], owned: the newest first */
} candidates;

static sp_status list(candidates *all, sp_world *world, const char *dir) {
    sp_status status = SP_OK;
    if (is_first(world)) {
        all->is_step_folder = sp_is_step_folder(dir);
        if (!all->is_step_folder) status = sp_checkpoint_list(&all->steps, &all->n_steps, dir);
    }
    SP_TRY(sp_agree(world, status));
    sp_world_broadcast(world, &all->is_step_folder, sizeof all->is_step_folder, 0);
    sp_world_broadcast(world, &all->n_steps, sizeof all->n_steps, 0);
    if (!is_first(world) && all->n_steps > 0) {
        void *block = NULL;
        status = sp_alloc_array(&block, all->n_steps, sizeof *all->steps, "a list of checkpoints");
        all->steps = block;
    }
    SP_TRY(sp_agree(world, status));
    sp_world_broadcast(world, all->steps, all->n_steps * sizeof *all->steps, 0);
    return SP_OK;
}

/* ---- one of them ---- */

static sp_status open_share(sp_checkpoint **checkpoint, const sp_world *world, const char *path) {
    return sp_checkpoint_open_shared(checkpoint, path, (size_t)sp_world_rank(world),
                                     (size_t)sp_world_size(world));
}

/* Rank 0 says why a step is passed over, which another rank may have found. */
static sp_status warn(sp_world *world, const char *path, sp_status status) {
    char *messages = NULL;
    size_t *sizes = NULL;
    const size_t n_bytes = status != SP_OK ? strlen(sp_message()) + 1 : 0;
    SP_TRY(sp_agree(world, sp_world_gather(world, sp_message(), n_bytes, &messages, &sizes)));
    if (is_first(world)) sp_log(SP_LOG_WARNING, "passing over '%s': %s", path, messages);
    free(sizes);
    free(messages);
    return SP_OK;
}

/* Tries one step; *checkpoint stays NULL where it is passed over. */
static sp_status try_step(sp_checkpoint **checkpoint, sp_world *world, const char *run_dir,
                          uint64_t step) {
    char *path = NULL;
    sp_checkpoint *opened = NULL;
    SP_TRY(sp_agree(world, sp_checkpoint_folder(&path, run_dir, step, false)));
    sp_status status = open_share(&opened, world, path);
    uint64_t n_failed = status != SP_OK;
    sp_world_sum_u64(world, &n_failed, 1);
    if (n_failed > 0) {
        status = warn(world, path, status);
        sp_checkpoint_close(opened);
    } else {
        *checkpoint = opened;
    }
    free(path);
    return status;
}

static sp_status open_newest(sp_checkpoint **checkpoint, sp_world *world, const char *run_dir,
                             const candidates *all) {
    for (size_t i = 0; i < all->n_steps && *checkpoint == NULL; i++)
        SP_TRY(try_step(checkpoint, world, run_dir, all->steps[i]));
    if (*checkpoint != NULL) return SP_OK;
    if (all->n_steps > 0)
        return sp_agree(world, sp_fail(SP_BAD_DATA, "'%s': none of its %zu checkpoints is valid",
                                       run_dir, all->n_steps));
    return sp_agree(
        world,
        sp_fail(SP_IO, "'%s': no checkpoint there, neither of a run nor of a step", run_dir));
}

sp_status sp_shared_checkpoint_open(sp_checkpoint **checkpoint, sp_world *world, const char *dir) {
    sp_checkpoint *opened = NULL;
    candidates all = {0};
    sp_status status = list(&all, world, dir);
    if (status == SP_OK && all.is_step_folder)
        status = sp_agree(world, open_share(&opened, world, dir));
    else if (status == SP_OK)
        status = open_newest(&opened, world, dir, &all);
    free(all.steps);
    if (status == SP_OK)
        *checkpoint = opened;
    else
        sp_checkpoint_close(opened);
    return status;
}
