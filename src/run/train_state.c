#include "run/train_state.h"

#include "base/json.h"
#include "base/memory.h"
#include "run/models.h"
#include "run/precision_choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 320 };

/* ---- writing ---- */

static size_t row_values(const sp_param *param) { return param->n_dims == 2 ? param->shape[1] : 1; }

size_t sp_state_part_bytes(const sp_state_part *part) {
    return sizeof *part + part->n_tensors * sizeof part->tensors[0];
}

static sp_status write_rows(sp_checkpoint_writer *writer, const sp_shard_piece *piece,
                            const char *prefix, const float *shard_values) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", prefix, piece->param->name);
    return sp_checkpoint_write_rows(writer, name, piece->param->n_dims, piece->param->shape,
                                    piece->row_begin, piece->n_rows, shard_values + piece->local);
}

static sp_status write_shard(sp_checkpoint_writer *writer, const sp_state_rows *rows) {
    for (size_t i = 0; i < rows->shard->n_pieces; i++) {
        SP_TRY(write_rows(writer, &rows->shard->pieces[i], "", rows->values));
        SP_TRY(write_rows(writer, &rows->shard->pieces[i], "optimizer.m.", rows->m));
        SP_TRY(write_rows(writer, &rows->shard->pieces[i], "optimizer.v.", rows->v));
    }
    for (size_t i = 0; rows->frozen != NULL && i < rows->frozen->n_pieces; i++) {
        const sp_shard_piece *piece = &rows->frozen->pieces[i];
        SP_TRY(sp_checkpoint_write_rows(writer, piece->param->name, piece->param->n_dims,
                                        piece->param->shape, piece->row_begin, piece->n_rows,
                                        rows->frozen_values + piece->offset));
    }
    return SP_OK;
}

static void add_hash(sp_state_part *part, const sp_shard_piece *piece, const float *values) {
    sp_tensor_hash *hash = &part->tensors[part->n_tensors++];
    snprintf(hash->name, SP_HASHED_NAME_SIZE, "%s", piece->param->name);
    sp_tensor_hash_add(hash, values, piece->row_begin, piece->n_rows, row_values(piece->param));
}

static sp_status make_part(sp_state_part **part, const sp_state_rows *rows) {
    void *block = NULL;
    const size_t n_frozen = rows->frozen != NULL ? rows->frozen->n_pieces : 0;
    SP_TRY(sp_alloc(&block,
                    sizeof **part + (rows->shard->n_pieces + n_frozen) * sizeof(sp_tensor_hash),
                    "a checkpoint's digests"));
    sp_state_part *made = block;
    for (size_t i = 0; i < rows->shard->n_pieces; i++)
        add_hash(made, &rows->shard->pieces[i], rows->values + rows->shard->pieces[i].local);
    for (size_t i = 0; i < n_frozen; i++)
        add_hash(made, &rows->frozen->pieces[i],
                 rows->frozen_values + rows->frozen->pieces[i].offset);
    *part = made;
    return SP_OK;
}

sp_status sp_train_state_write(sp_state_part **part, const char *run_dir, uint64_t step,
                               size_t number, const sp_state_rows *rows) {
    sp_state_part *made = NULL;
    sp_checkpoint_writer *writer = NULL;
    sp_status status = make_part(&made, rows);
    if (status == SP_OK) status = sp_checkpoint_begin(&writer, run_dir, step, number);
    if (status == SP_OK) status = write_shard(writer, rows);
    if (status == SP_OK) {
        status = sp_checkpoint_finish(writer, &made->file);
        writer = NULL; /* released, whatever the outcome */
    }
    if (status == SP_OK) {
        *part = made;
        made = NULL;
    }
    sp_checkpoint_abort(writer);
    free(made);
    return status;
}

/* ---- publishing ---- */

/* What the parts hold, as arrays. */
typedef struct gathered {
    sp_checkpoint_file *files; /* [n_files], owned */
    size_t n_files;
    sp_tensor_hash *hashes; /* [n_hashes], owned */
    size_t n_hashes;
} gathered;

/* Goes through the parts; with arrays that are NULL it only counts. */
static void go_through(gathered *all, const void *parts, size_t n_bytes) {
    all->n_files = all->n_hashes = 0;
    for (size_t at = 0; at < n_bytes;) {
        const sp_state_part *part = (const void *)((const char *)parts + at);
        if (all->files != NULL) {
            all->files[all->n_files] = part->file;
            memcpy(all->hashes + all->n_hashes, part->tensors,
                   part->n_tensors * sizeof part->tensors[0]);
        }
        all->n_files++;
        all->n_hashes += part->n_tensors;
        at += sp_state_part_bytes(part);
    }
}

static sp_status take_apart(gathered *all, const void *parts, size_t n_bytes) {
    void *files = NULL, *hashes = NULL;
    go_through(all, parts, n_bytes);
    SP_TRY(sp_alloc_array(&files, all->n_files, sizeof *all->files, "a checkpoint's files"));
    all->files = files;
    SP_TRY(sp_alloc_array(&hashes, all->n_hashes, sizeof *all->hashes, "a checkpoint's digests"));
    all->hashes = hashes;
    go_through(all, parts, n_bytes);
    return SP_OK;
}

static sp_status make_extra(json_t **extra, const sp_train_state *about, const char *digest) {
    json_t *dump = NULL;
    SP_TRY(sp_config_dump(&dump, about->config, &sp_run_config_table));
    *extra = json_pack("{s:o, s:o, s:I, s:s?, s:s, s:O*, s:O*}", "config", dump, "precisions",
                       sp_precision_to_json(about->config), "sample_cursor",
                       (json_int_t)(about->step * about->config->train.global_batch),
                       "tokens_digest", about->tokens_digest, "digest", digest, "grid", about->grid,
                       "state", about->state);
    return *extra != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a manifest");
}

sp_status sp_train_state_publish(const sp_train_state *about, const void *parts, size_t n_bytes) {
    const sp_run_config *config = about->config;
    char digest[SP_PARAMS_DIGEST_SIZE];
    gathered all = {0};
    json_t *extra = NULL;
    sp_status status = take_apart(&all, parts, n_bytes);
    if (status == SP_OK) {
        sp_params_digest(digest, all.hashes, all.n_hashes);
        status = make_extra(&extra, about, digest);
    }
    if (status == SP_OK)
        status = sp_checkpoint_publish(config->run.dir, about->step, all.files, all.n_files, extra);
    else
        sp_checkpoint_discard(config->run.dir, about->step);
    if (status == SP_OK)
        status = sp_checkpoint_prune(config->run.dir, config->checkpoint.keep,
                                     config->checkpoint.major_every);
    json_decref(extra);
    free(all.hashes);
    free(all.files);
    return status;
}

sp_status sp_train_state_save(const sp_train_state *about, const sp_params *params, const float *m,
                              const float *v) {
    sp_shard shard = {0};
    sp_state_part *part = NULL;
    const char *run_dir = about->config->run.dir;
    SP_TRY(sp_checkpoint_make_folder(run_dir, about->step));
    sp_status status = sp_shard_create(&shard, params, 0, 1);
    if (status == SP_OK)
        status = sp_train_state_write(
            &part, run_dir, about->step, 0,
            &(sp_state_rows){.shard = &shard, .values = params->values, .m = m, .v = v});
    if (status == SP_OK)
        status = sp_train_state_publish(about, part, sp_state_part_bytes(part));
    else
        sp_checkpoint_discard(run_dir, about->step);
    free(part);
    sp_shard_free(&shard);
    return status;
}

/* ---- going on ---- */

static sp_status read_rows(float *shard_values, const sp_shard_piece *piece, const char *prefix,
                           const sp_checkpoint *checkpoint) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", prefix, piece->param->name);
    return sp_checkpoint_read_rows(checkpoint, name, piece->param->n_dims, piece->param->shape,
                                   piece->row_begin, piece->n_rows, shard_values + piece->local);
}

sp_status sp_train_state_load_moments(float *m, float *v, const sp_shard *shard,
                                      const sp_checkpoint *checkpoint) {
    for (size_t i = 0; i < shard->n_pieces; i++) {
        SP_TRY(read_rows(m, &shard->pieces[i], "optimizer.m.", checkpoint));
        SP_TRY(read_rows(v, &shard->pieces[i], "optimizer.v.", checkpoint));
    }
    return SP_OK;
}

/* Two targets lists with the same items in another order ask for the same adapters. */
static bool is_same_list(const sp_string_list *a, const sp_string_list *b) {
    if (a->n_items != b->n_items) return false;
    for (size_t i = 0; i < a->n_items; i++) {
        bool is_found = false;
        for (size_t j = 0; j < b->n_items; j++)
            is_found = is_found || strcmp(a->items[i], b->items[j]) == 0;
        if (!is_found) return false;
    }
    return true;
}

static sp_status compare(const sp_run_config *now, const sp_run_config *saved, const char *where) {
    const struct {
        const char *key;
        bool differs;
    } fixed[] = {
        {"run.seed", now->run.seed != saved->run.seed},
        {"encoder.train", now->encoder.train != saved->encoder.train},
        {"train.only", now->train.only != saved->train.only},
        {"encoder.layers", now->encoder.layers != saved->encoder.layers},
        {"encoder.memory", now->encoder.memory != saved->encoder.memory},
        {"encoder.memory_tokens", now->encoder.memory == SP_MEMORY_OF_TOKENS &&
                                      now->encoder.memory_tokens != saved->encoder.memory_tokens},
        {"encoder.merged_tokens", now->encoder.memory == SP_MEMORY_MERGED &&
                                      now->encoder.merged_tokens != saved->encoder.merged_tokens},
        {"decoder.boundaries", now->decoder.boundaries != saved->decoder.boundaries},
        {"encoder.lora.rank", now->encoder.train == SP_ENCODER_LORA &&
                                  now->encoder.lora.rank != saved->encoder.lora.rank},
        {"encoder.lora.targets",
         now->encoder.train == SP_ENCODER_LORA &&
             !is_same_list(&now->encoder.lora.targets, &saved->encoder.lora.targets)},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (fixed[i].differs)
            return sp_fail(SP_USAGE,
                           "'%s' was made with another %s; it cannot be read with that changed; a "
                           "run with it needs another run.dir",
                           where, fixed[i].key);
    return SP_OK;
}

sp_status sp_train_state_check_shapes(const sp_run_config *config,
                                      const sp_checkpoint *checkpoint) {
    sp_run_config saved = {0};
    sp_status status = sp_models_read_config(&saved, checkpoint);
    if (status == SP_OK) status = compare(config, &saved, sp_checkpoint_path(checkpoint));
    sp_run_config_free(&saved);
    return status;
}

sp_status sp_train_state_check(const sp_run_config *config, const sp_checkpoint *checkpoint,
                               const char *tokens_digest) {
    const char *where = sp_checkpoint_path(checkpoint), *saved_digest = NULL;
    const bool is_of_tasks = sp_run_config_is_of_tasks(config);
    SP_TRY(sp_json_get_string(&saved_digest, sp_checkpoint_manifest(checkpoint), "tokens_digest",
                              where));
    const bool differs = saved_digest == NULL ? sp_checkpoint_step(checkpoint) > 0
                                              : strcmp(saved_digest, tokens_digest) != 0;
    if (differs)
        return sp_fail(SP_USAGE,
                       "'%s' was made with other tokens than %s '%s'; a run cannot go on "
                       "with them changed: use another run.dir, or train.init",
                       where, is_of_tasks ? "data.rows" : "data.tokens",
                       is_of_tasks ? config->data.rows : config->data.tokens);
    return sp_train_state_check_shapes(config, checkpoint);
}
