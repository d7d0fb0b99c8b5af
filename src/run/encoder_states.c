#include "run/encoder_states.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/atomic_file.h"
#include "io/content_digest.h"
#include "io/states_file.h"
#include "mpi/agree.h"
#include "run/file_states.h"
#include "run/models.h"
#include "run/params_digest.h"
#include "run/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEGMENTS_IN_GROUP = 64, SEGMENTS_AT_ONCE = 8, LONGEST_WRITE_S = 60 };

struct sp_encoder_states {
    const sp_task_set *tasks;
    size_t d, n_groups;
    size_t *slot_begins; /* [n_segments + 1], owned: of all segments one behind the other */
    char key[SP_STATES_KEY_SIZE];
    char *dir;            /* owned: DIR/KEY */
    sp_mapping *mappings; /* [n_groups], owned */
    const float **rows;   /* [n_groups], owned: into the mappings */
};

bool sp_encoder_states_are_used(const sp_run_config *config) {
    return sp_run_config_is_of_tasks(config) && config->train.only == SP_TRAIN_ONLY_CONVERTER &&
           config->segment.ratios.n_items == 1 && config->data.encoder_states != NULL;
}

/* ---- the key: rank 0's ---- */

static sp_status hash_encoder(char digest[SP_PARAMS_DIGEST_SIZE], const sp_checkpoint *checkpoint) {
    void *hashes = NULL;
    size_t n = 0;
    sp_status status = sp_alloc_array(&hashes, sp_checkpoint_n_tensors(checkpoint),
                                      sizeof(sp_tensor_hash), "an encoder's digest");
    for (size_t i = 0; status == SP_OK && i < sp_checkpoint_n_tensors(checkpoint); i++) {
        const sp_checkpoint_tensor tensor = sp_checkpoint_tensor_at(checkpoint, i);
        if (strncmp(tensor.name, "encoder.", strlen("encoder.")) != 0) continue;
        const size_t width = tensor.n_dims == 2 ? tensor.shape[1] : 1;
        void *values = NULL;
        status = sp_alloc_array(&values, tensor.shape[0] * width, sizeof(float), "an encoder");
        if (status == SP_OK)
            status = sp_checkpoint_read_tensor(checkpoint, tensor.name, tensor.n_dims, tensor.shape,
                                               values);
        sp_tensor_hash *hash = (sp_tensor_hash *)hashes + n++;
        snprintf(hash->name, sizeof hash->name, "%s", tensor.name);
        if (status == SP_OK) sp_tensor_hash_add(hash, values, 0, tensor.shape[0], width);
        free(values);
    }
    if (status == SP_OK) sp_params_digest(digest, hashes, n);
    free(hashes);
    return status;
}

/* The segments' ids lie context by context; those of rows between them do not count. */
static void describe_segments(FILE *out, const sp_encoder_states *states) {
    const sp_task_set *set = states->tasks;
    for (size_t i = 0; i < set->n_contexts; i++)
        fwrite(set->ids + set->contexts[i].id_begin, sizeof *set->ids,
               sp_task_context_tokens(set, i), out);
    fwrite(set->segment_lens, sizeof *set->segment_lens, set->n_segments, out);
    fwrite(states->slot_begins, sizeof *states->slot_begins, set->n_segments + 1, out);
}

static sp_status make_key(sp_encoder_states *states, const sp_run_config *config,
                          const sp_checkpoint *checkpoint) {
    char digest[SP_PARAMS_DIGEST_SIZE], *text = NULL;
    size_t n_bytes = 0;
    SP_TRY(hash_encoder(digest, checkpoint));
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL) return sp_fail(SP_FAILURE, "no memory for a key");
    fprintf(out, "slotpress-states 1\n%s\nprecision %d, lora alpha %.17g\n", digest,
            (int)config->train.precision, config->encoder.lora.alpha);
    sp_status status = sp_model_state_print(out, config->encoder.model);
    describe_segments(out, states);
    if (fclose(out) != 0 && status == SP_OK) status = sp_fail(SP_FAILURE, "no memory for a key");
    if (status == SP_OK) sp_digest_bytes(states->key, text, n_bytes);
    free(text);
    return status;
}

/* ---- groups ---- */

static size_t group_begin(const sp_encoder_states *states, size_t group) {
    const size_t begin = group * SEGMENTS_IN_GROUP, n = states->tasks->n_segments;
    return begin < n ? begin : n;
}

/* *path is owned. */
static sp_status find_group(const sp_encoder_states *states, size_t group, char **path,
                            sp_states_group *found) {
    if (asprintf(path, "%s/group-%07zu", states->dir, group) < 0) {
        *path = NULL;
        return sp_fail(SP_FAILURE, "no memory for a path in '%s'", states->dir);
    }
    *found = (sp_states_group){.path = *path,
                               .key = states->key,
                               .n_rows = states->slot_begins[group_begin(states, group + 1)] -
                                         states->slot_begins[group_begin(states, group)],
                               .d = states->d};
    return SP_OK;
}

static sp_status open_group(sp_encoder_states *states, size_t group, bool verified) {
    sp_states_group found;
    char *path = NULL;
    sp_status status = find_group(states, group, &path, &found);
    if (status == SP_OK)
        status = sp_states_open(&states->mappings[group], &states->rows[group], &found, verified);
    free(path);
    return status;
}

static void close_group(sp_encoder_states *states, size_t group) {
    sp_mapping_close(&states->mappings[group]);
    states->mappings[group] = (sp_mapping){0};
}

/* ---- making them: each rank some ---- */

typedef struct making {
    sp_encoder_states *states;
    sp_world *world;
    const sp_run_config *config;
    const sp_checkpoint *checkpoint;
    sp_models models; /* the encoder alone; opened when a group is missing */
    sp_layout layout;
    sp_batch batch;
    sp_workspace workspace;
    size_t *id_begins; /* [n_segments], owned: in the set's ids */
    size_t n_made;
} making;

/* Where each segment's ids begin. */
static sp_status find_segments(making *m) {
    const sp_task_set *set = m->states->tasks;
    void *begins = NULL;
    SP_TRY(sp_alloc_array(&begins, set->n_segments, sizeof *m->id_begins, "segments"));
    m->id_begins = begins;
    for (size_t i = 0; i < set->n_contexts; i++) {
        size_t at = set->contexts[i].id_begin;
        for (size_t k = 0; k < set->contexts[i].n_segments; k++) {
            m->id_begins[set->contexts[i].segment_begin + k] = at;
            at += set->segment_lens[set->contexts[i].segment_begin + k];
        }
    }
    return SP_OK;
}

static sp_status open_encoder(making *m) {
    if (m->models.compressor != NULL) return SP_OK;
    SP_TRY(find_segments(m));
    return sp_models_open(&m->models, m->config, SP_SIDES_ENCODER, m->checkpoint);
}

static sp_status encode(making *m, float *memory, size_t begin, size_t end) {
    const sp_task_set *set = m->states->tasks;
    sp_batch_clear(&m->batch);
    for (size_t i = begin; i < end; i++)
        SP_TRY(sp_layout_add_encoder(&m->layout, &m->batch, set->ids + m->id_begins[i],
                                     set->segment_lens[i], 0));
    return sp_compressor_encode(m->models.compressor, &m->batch, memory, &m->workspace);
}

/* Another run may be writing the same group just now: then its file serves. */
static sp_status write_group(making *m, size_t group, const sp_states_group *about,
                             const float *memory) {
    const double begin_s = sp_clock_seconds();
    const struct timespec pause = {0, 20000000};
    for (;;) {
        const sp_status status = sp_states_write(about, memory);
        if (status != SP_FAILURE || sp_clock_seconds() - begin_s > LONGEST_WRITE_S) return status;
        nanosleep(&pause, NULL);
        if (open_group(m->states, group, true) != SP_OK) continue;
        close_group(m->states, group);
        return SP_OK;
    }
}

static sp_status make_group(making *m, size_t group) {
    const sp_encoder_states *states = m->states;
    const size_t begin = group_begin(states, group), end = group_begin(states, group + 1);
    const size_t first = states->slot_begins[begin], n_rows = states->slot_begins[end] - first;
    sp_states_group about;
    char *path = NULL;
    void *memory = NULL;
    SP_TRY(open_encoder(m));
    SP_TRY(sp_alloc_array(&memory, n_rows, states->d * sizeof(float), "an encoder's states"));
    sp_status status = SP_OK;
    for (size_t i = begin; status == SP_OK && i < end; i += SEGMENTS_AT_ONCE)
        status = encode(m, (float *)memory + (states->slot_begins[i] - first) * states->d, i,
                        i + SEGMENTS_AT_ONCE < end ? i + SEGMENTS_AT_ONCE : end);
    if (status == SP_OK) status = find_group(states, group, &path, &about);
    if (status == SP_OK) status = write_group(m, group, &about, memory);
    free(path);
    free(memory);
    m->n_made++;
    return status;
}

/* A group is this rank's in turn; what is whole is let be. */
static sp_status make_groups(making *m) {
    const size_t n_ranks = (size_t)sp_world_size(m->world);
    sp_progress progress;
    sp_progress_begin(&progress, "encode", m->states->n_groups, "groups");
    sp_status status = SP_OK;
    for (size_t g = (size_t)sp_world_rank(m->world); status == SP_OK && g < m->states->n_groups;
         g += n_ranks) {
        status = open_group(m->states, g, true);
        if (status == SP_OK)
            close_group(m->states, g);
        else if (status == SP_BAD_DATA || status == SP_IO)
            status = make_group(m, g);
        sp_progress_update(&progress, g < m->states->n_groups ? g + 1 : g, NULL);
    }
    sp_progress_end(&progress);
    return status;
}

static sp_status make_missing(sp_encoder_states *states, sp_world *world,
                              const sp_run_config *config, const sp_checkpoint *checkpoint) {
    making m = {.states = states,
                .world = world,
                .config = config,
                .checkpoint = checkpoint,
                .layout = sp_run_config_layout(config, NULL)};
    const sp_status status = sp_agree(world, sp_run_folder_explain(make_groups(&m)));
    uint64_t n_made = m.n_made;
    free(m.id_begins);
    sp_workspace_release(&m.workspace);
    sp_batch_free(&m.batch);
    sp_models_close(&m.models);
    SP_TRY(status);
    sp_world_sum_u64(world, &n_made, 1);
    if (sp_world_rank(world) == 0)
        sp_log(SP_LOG_INFO, "encoder states in '%s': %zu groups, %ju of them made now", states->dir,
               states->n_groups, (uintmax_t)n_made);
    return SP_OK;
}

/* ---- opening ---- */

static sp_status allocate(sp_encoder_states *states, const sp_run_config *config,
                          const sp_checkpoint *checkpoint) {
    const sp_task_set *set = states->tasks;
    const sp_layout layout = sp_run_config_layout(config, NULL);
    sp_checkpoint_tensor norm = {0};
    void *begins = NULL, *mappings = NULL, *rows = NULL;
    if (!sp_checkpoint_find_tensor(checkpoint, "converter.norm.weight", &norm))
        return sp_fail(SP_BAD_DATA, "'%s': no converter", sp_checkpoint_path(checkpoint));
    states->d = norm.shape[0];
    states->n_groups = (set->n_segments + SEGMENTS_IN_GROUP - 1) / SEGMENTS_IN_GROUP;
    SP_TRY(sp_alloc_array(&begins, set->n_segments + 1, sizeof *states->slot_begins, "segments"));
    states->slot_begins = begins;
    SP_TRY(sp_alloc_array(&mappings, states->n_groups, sizeof *states->mappings, "states"));
    states->mappings = mappings;
    SP_TRY(sp_alloc_array(&rows, states->n_groups, sizeof *states->rows, "states"));
    states->rows = rows;
    for (size_t i = 0; i < set->n_segments; i++)
        states->slot_begins[i + 1] =
            states->slot_begins[i] + sp_layout_n_slots(&layout, set->segment_lens[i]);
    return SP_OK;
}

/* Rank 0 knows the key, and makes the folder. */
static sp_status name_folder(sp_encoder_states *states, sp_world *world,
                             const sp_run_config *config, const sp_checkpoint *checkpoint) {
    const bool is_first = sp_world_rank(world) == 0;
    const bool is_auto = strcmp(config->data.encoder_states, "auto") == 0;
    SP_TRY(sp_agree(world, is_first ? make_key(states, config, checkpoint) : SP_OK));
    sp_world_broadcast(world, states->key, sizeof states->key, 0);
    sp_status status = SP_OK;
    if (asprintf(&states->dir, "%s%s/%s", is_auto ? config->run.dir : config->data.encoder_states,
                 is_auto ? "/encoder-states" : "", states->key) < 0) {
        states->dir = NULL;
        status = sp_fail(SP_FAILURE, "no memory for a path");
    }
    if (status == SP_OK && is_first) status = sp_run_folder_explain(sp_make_folders(states->dir));
    return sp_agree(world, status);
}

static sp_status open_groups(sp_encoder_states *states) {
    for (size_t g = 0; g < states->n_groups; g++)
        SP_TRY(open_group(states, g, false)); /* they have just been verified or made */
    return SP_OK;
}

sp_status sp_encoder_states_open(sp_encoder_states **states, sp_world *world,
                                 const sp_run_config *config, const sp_task_set *tasks,
                                 const sp_checkpoint *checkpoint) {
    sp_encoder_states *made = calloc(1, sizeof *made);
    sp_status status = made != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for states");
    if (made != NULL) made->tasks = tasks;
    if (status == SP_OK) status = allocate(made, config, checkpoint);
    status = sp_agree(world, status);
    if (status == SP_OK) status = name_folder(made, world, config, checkpoint);
    if (status == SP_OK) status = make_missing(made, world, config, checkpoint);
    if (status == SP_OK) status = sp_agree(world, open_groups(made));
    if (status != SP_OK)
        sp_encoder_states_close(made);
    else
        *states = made;
    return status;
}

void sp_encoder_states_close(sp_encoder_states *states) {
    if (states == NULL) return;
    for (size_t g = 0; states->mappings != NULL && g < states->n_groups; g++)
        sp_mapping_close(&states->mappings[g]);
    free(states->rows);
    free(states->mappings);
    free(states->dir);
    free(states->slot_begins);
    free(states);
}

size_t sp_encoder_states_copy(const sp_encoder_states *states, float *out, size_t task) {
    const sp_task_set *set = states->tasks;
    const sp_task_context *context = &set->contexts[set->tasks[task].context];
    const size_t begin = context->segment_begin, end = begin + context->n_segments;
    size_t n_copied = 0;
    for (size_t i = begin; i < end; i++) {
        const size_t group = i / SEGMENTS_IN_GROUP;
        const size_t first = states->slot_begins[group * SEGMENTS_IN_GROUP];
        const size_t n = (states->slot_begins[i + 1] - states->slot_begins[i]) * states->d;
        memcpy(out + n_copied, states->rows[group] + (states->slot_begins[i] - first) * states->d,
               n * sizeof *out);
        n_copied += n;
    }
    return n_copied;
}
