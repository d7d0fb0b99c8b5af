#include "run/train_state.h"

#include "base/json.h"
#include "run/models.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { NAME_SIZE = 320 };

static void digest_params(char digest[SP_STATE_DIGEST_SIZE], const sp_params *params) {
    const XXH128_hash_t hash = XXH3_128bits(params->values, params->n_values * sizeof(float));
    snprintf(digest, SP_STATE_DIGEST_SIZE, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

static sp_status write_tensors(sp_checkpoint_writer *writer, const sp_params *params,
                               const sp_optimizer *optimizer) {
    char name[NAME_SIZE];
    for (size_t i = 0; i < params->n_entries; i++) {
        const sp_param *p = params->entries[i];
        SP_TRY(sp_checkpoint_write_tensor(writer, p->name, p->n_dims, p->shape, p->value));
        snprintf(name, sizeof name, "optimizer.m.%s", p->name);
        SP_TRY(sp_checkpoint_write_tensor(writer, name, p->n_dims, p->shape,
                                          optimizer->m + p->offset));
        snprintf(name, sizeof name, "optimizer.v.%s", p->name);
        SP_TRY(sp_checkpoint_write_tensor(writer, name, p->n_dims, p->shape,
                                          optimizer->v + p->offset));
    }
    return SP_OK;
}

static sp_status make_extra(json_t **extra, const sp_run_config *config, const sp_params *params,
                            uint64_t step, const char *tokens_digest) {
    char digest[SP_STATE_DIGEST_SIZE];
    json_t *dump = NULL;
    digest_params(digest, params);
    SP_TRY(sp_config_dump(&dump, config, &sp_run_config_table));
    *extra = json_pack("{s:o, s:I, s:s?, s:s}", "config", dump, "sample_cursor",
                       (json_int_t)(step * config->train.global_batch), "tokens_digest",
                       tokens_digest, "digest", digest);
    return *extra != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a manifest");
}

sp_status sp_train_state_save(const sp_run_config *config, const sp_params *params,
                              const sp_optimizer *optimizer, uint64_t step,
                              const char *tokens_digest) {
    json_t *extra = NULL;
    sp_checkpoint_writer *writer = NULL;
    sp_checkpoint_file file;
    sp_status status = make_extra(&extra, config, params, step, tokens_digest);
    if (status == SP_OK) status = sp_checkpoint_make_folder(config->run.dir, step);
    if (status == SP_OK) status = sp_checkpoint_begin(&writer, config->run.dir, step, 0);
    if (status == SP_OK) status = write_tensors(writer, params, optimizer);
    if (status != SP_OK) goto cleanup;
    status = sp_checkpoint_finish(writer, &file);
    writer = NULL; /* released */
    if (status == SP_OK) status = sp_checkpoint_publish(config->run.dir, step, &file, 1, extra);
    if (status == SP_OK)
        status = sp_checkpoint_prune(config->run.dir, config->checkpoint.keep,
                                     config->checkpoint.major_every);

cleanup:
    sp_checkpoint_abort(writer);
    if (status != SP_OK) sp_checkpoint_discard(config->run.dir, step);
    json_decref(extra);
    return status;
}

sp_status sp_train_state_load_moments(sp_optimizer *optimizer, const sp_params *params,
                                      const sp_checkpoint *checkpoint) {
    char name[NAME_SIZE];
    for (size_t i = 0; i < params->n_entries; i++) {
        const sp_param *p = params->entries[i];
        snprintf(name, sizeof name, "optimizer.m.%s", p->name);
        SP_TRY(sp_checkpoint_read_tensor(checkpoint, name, p->n_dims, p->shape,
                                         optimizer->m + p->offset));
        snprintf(name, sizeof name, "optimizer.v.%s", p->name);
        SP_TRY(sp_checkpoint_read_tensor(checkpoint, name, p->n_dims, p->shape,
                                         optimizer->v + p->offset));
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
        {"encoder.memory_tokens", now->encoder.memory_tokens != saved->encoder.memory_tokens},
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
    SP_TRY(sp_json_get_string(&saved_digest, sp_checkpoint_manifest(checkpoint), "tokens_digest",
                              where));
    const bool differs = saved_digest == NULL ? sp_checkpoint_step(checkpoint) > 0
                                              : strcmp(saved_digest, tokens_digest) != 0;
    if (differs)
        return sp_fail(SP_USAGE,
                       "'%s' was made with other tokens than data.tokens '%s'; a run cannot go on "
                       "with them changed: use another run.dir, or train.init",
                       where, config->data.tokens);
    return sp_train_state_check_shapes(config, checkpoint);
}
