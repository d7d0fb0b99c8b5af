#include "run/evaluate_compressors.h"

#include "base/memory.h"
#include "io/slots_file.h"
#include "run/file_states.h"
#include "run/trained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Adds a checkpoint at the ratio that is in use. */
static sp_status add(sp_compressor_choices *choices, const char *checkpoint, const char *slots,
                     const sp_trained *trained) {
    sp_compressor_choice *grown = realloc(choices->items, (choices->n + 1) * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for what is compared");
    choices->items = grown;
    sp_compressor_choice *choice = &grown[choices->n++];
    *choice =
        (sp_compressor_choice){.checkpoint = checkpoint, .slots = slots, .ratio = trained->ratio};
    snprintf(choice->digest, sizeof choice->digest, "%s", trained->digest);
    return sp_config_dump(&choice->config, &trained->config, &sp_run_config_table);
}

static sp_status add_checkpoint(sp_compressor_choices *choices, const char *checkpoint,
                                const sp_methods_options *options) {
    sp_trained trained = {0};
    SP_TRY(sp_trained_open(&trained, checkpoint, options->assignments, options->n_assignments,
                           SP_SIDES_NEITHER));
    const sp_count_list *ratios =
        options->ratios.n_items > 0 ? &options->ratios : &trained.config.segment.ratios;
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < ratios->n_items; i++) {
        status = sp_trained_use_ratio(&trained, ratios->items[i]);
        if (status == SP_OK) status = add(choices, checkpoint, NULL, &trained);
    }
    sp_trained_close(&trained);
    return status;
}

/* What a slot file was made at must be what its checkpoint can. One of another compressor is refused
   where it is read. */
static sp_status use_slots_ratio(sp_trained *trained, const sp_slots_info *info, const char *path) {
    const bool is_its_own = strcmp(info->compressor_digest, trained->digest) == 0;
    if (!is_its_own || sp_trained_use_ratio(trained, (size_t)info->ratio) == SP_OK) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s' has slots at ratio %g: %s", path, info->ratio, sp_message());
}

static sp_status add_slots(sp_compressor_choices *choices, const char *checkpoint, const char *path,
                           const sp_methods_options *options) {
    sp_trained trained = {0};
    sp_slots *file = NULL;
    SP_TRY(sp_trained_open(&trained, checkpoint, options->assignments, options->n_assignments,
                           SP_SIDES_NEITHER));
    sp_status status = sp_slots_open(&file, path);
    if (status == SP_OK) status = use_slots_ratio(&trained, sp_slots_get_info(file), path);
    if (status == SP_OK) status = add(choices, checkpoint, path, &trained);
    sp_slots_close(file);
    sp_trained_close(&trained);
    return status;
}

sp_status sp_compressor_choices_make(sp_compressor_choices *choices,
                                     const sp_methods_options *options) {
    sp_status status = SP_OK;
    for (size_t c = 0; status == SP_OK && c < options->n_checkpoints; c++)
        status = options->slots != NULL
                     ? add_slots(choices, options->checkpoints[c], options->slots[c], options)
                     : add_checkpoint(choices, options->checkpoints[c], options);
    if (status != SP_OK) sp_compressor_choices_free(choices);
    return status;
}

/* ---- identity ---- */

/* Adds a member: the state of the model that `section` of the configuration names. */
static sp_status add_model(json_t *made, const json_t *config, const char *section) {
    const char *model =
        json_string_value(json_object_get(json_object_get(config, section), "model"));
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL) return sp_fail(SP_FAILURE, "no memory for an identity");
    sp_status status = model != NULL ? sp_model_state_print(out, model) : SP_OK;
    if (fclose(out) != 0 && status == SP_OK)
        status = sp_fail(SP_FAILURE, "no memory for an identity");
    if (status == SP_OK) json_object_set_new(made, section, json_stringn(text, n_bytes));
    free(text);
    return status;
}

static sp_status add_slots_digest(json_t *made, const char *path) {
    sp_slots *file = NULL;
    SP_TRY(sp_slots_open(&file, path));
    json_object_set_new(made, "slots", json_string(sp_slots_digest_of(file)));
    sp_slots_close(file);
    return SP_OK;
}

sp_status sp_compressor_choice_identify(json_t **identity, const sp_compressor_choice *choice) {
    json_t *made = json_pack("{s:s, s:I, s:O}", "digest", choice->digest, "ratio",
                             (json_int_t)choice->ratio, "config", choice->config);
    sp_status status = made != NULL ? add_model(made, choice->config, "decoder")
                                    : sp_fail(SP_FAILURE, "no memory for an identity");
    /* Of one that made its slots elsewhere the encoder need not be here. */
    if (status == SP_OK)
        status = choice->slots != NULL ? add_slots_digest(made, choice->slots)
                                       : add_model(made, choice->config, "encoder");
    if (status == SP_OK)
        *identity = made;
    else
        json_decref(made);
    return status;
}

sp_status sp_compressor_choices_identify(json_t **identity, const sp_compressor_choices *choices) {
    json_t *made = json_array();
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < choices->n; i++) {
        json_t *one = NULL;
        status = sp_compressor_choice_identify(&one, &choices->items[i]);
        if (status == SP_OK) json_array_append_new(made, one);
    }
    if (status == SP_OK)
        *identity = made;
    else
        json_decref(made);
    return status;
}

void sp_compressor_choices_free(sp_compressor_choices *choices) {
    for (size_t i = 0; i < choices->n; i++) json_decref(choices->items[i].config);
    free(choices->items);
    *choices = (sp_compressor_choices){0};
}
