#include "run/evaluate_compressors.h"

#include "base/memory.h"
#include "io/slots_file.h"
#include "run/trained.h"

#include <stdlib.h>
#include <string.h>

static sp_status add(sp_compressor_choices *choices, sp_compressor_choice choice) {
    sp_compressor_choice *grown = realloc(choices->items, (choices->n + 1) * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for what is compared");
    choices->items = grown;
    choices->items[choices->n++] = choice;
    return SP_OK;
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
        if (status == SP_OK)
            status = add(choices, (sp_compressor_choice){.checkpoint = checkpoint,
                                                         .ratio = ratios->items[i]});
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
    if (status == SP_OK)
        status = add(choices, (sp_compressor_choice){checkpoint, path, trained.ratio});
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

void sp_compressor_choices_free(sp_compressor_choices *choices) {
    free(choices->items);
    *choices = (sp_compressor_choices){0};
}
