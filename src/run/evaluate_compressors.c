#include "run/evaluate_compressors.h"

#include "base/memory.h"
#include "io/slots_file.h"
#include "run/trained.h"

#include <stdlib.h>

static sp_status add(sp_compressor_choices *choices, const char *checkpoint, size_t ratio,
                     const char *slots) {
    sp_compressor_choice *grown = realloc(choices->items, (choices->n + 1) * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for what is compared");
    choices->items = grown;
    choices->items[choices->n++] = (sp_compressor_choice){checkpoint, ratio, slots};
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
        if (status == SP_OK) status = add(choices, checkpoint, ratios->items[i], NULL);
    }
    sp_trained_close(&trained);
    return status;
}

/* Whether it goes with the checkpoint is said when both are open. */
static sp_status add_slots(sp_compressor_choices *choices, const char *checkpoint,
                           const char *path) {
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, path));
    const size_t ratio = (size_t)sp_slots_get_info(slots)->ratio;
    sp_slots_close(slots);
    return add(choices, checkpoint, ratio, path);
}

sp_status sp_compressor_choices_make(sp_compressor_choices *choices,
                                     const sp_methods_options *options) {
    sp_status status = SP_OK;
    for (size_t c = 0; status == SP_OK && c < options->n_checkpoints; c++)
        status = options->slots != NULL
                     ? add_slots(choices, options->checkpoints[c], options->slots[c])
                     : add_checkpoint(choices, options->checkpoints[c], options);
    if (status != SP_OK) sp_compressor_choices_free(choices);
    return status;
}

void sp_compressor_choices_free(sp_compressor_choices *choices) {
    free(choices->items);
    *choices = (sp_compressor_choices){0};
}
