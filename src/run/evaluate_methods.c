#include "run/evaluate_methods.h"

#include "base/memory.h"
#include "io/content_digest.h"
#include "mpi/agree.h"

#include <stdlib.h>
#include <string.h>

/* Fewer fill no pass; more hardly fill it better, and hold their slots. */
enum { LEAST_IN_GROUP = 16, MOST_IN_GROUP = 128, GROUPS_TO_SHARE = 8 };

size_t sp_methods_group_size(size_t n_items) {
    const size_t share = (n_items + GROUPS_TO_SHARE - 1) / GROUPS_TO_SHARE;
    return share < LEAST_IN_GROUP ? LEAST_IN_GROUP : share > MOST_IN_GROUP ? MOST_IN_GROUP : share;
}

static sp_status name_decoder(sp_method *method, const char *decoder) {
    free(method->decoder);
    method->decoder = strdup(decoder);
    return method->decoder != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a decoder's name");
}

/* A checkpoint stays open for all its ratios. */
static sp_status open_reader(sp_methods *m, size_t compressor) {
    const sp_methods_options *o = &m->options;
    const sp_compressor_choice *choices = m->compressors.items, *choice = &choices[compressor];
    if (m->reader == NULL || choice->checkpoint != choices[m->compressor].checkpoint) {
        sp_context_reader_close(m->reader);
        m->reader = NULL;
        SP_TRY(sp_context_reader_open(&m->reader, choice->checkpoint, o->assignments,
                                      o->n_assignments,
                                      o->slots != NULL ? SP_SIDES_DECODER : SP_SIDES_BOTH));
    }
    m->compressor = compressor;
    const sp_run_config *config = &sp_context_reader_trained(m->reader)->config;
    for (size_t k = 0; k < m->n_methods; k++)
        if (m->methods[k].compressor == compressor)
            SP_TRY(name_decoder(&m->methods[k], config->decoder.model));
    SP_TRY(sp_context_reader_use_ratio(m->reader, choice->ratio));
    return choice->slots != NULL ? sp_context_reader_use_slots(m->reader, choice->slots) : SP_OK;
}

sp_status sp_methods_open(sp_methods *m, sp_world *world, const sp_methods_options *options) {
    void *methods = NULL;
    *m = (sp_methods){.world = world, .options = *options};
    SP_TRY(sp_compressor_choices_make(&m->compressors, options));
    m->n_methods = 2 + m->compressors.n;
    SP_TRY(sp_alloc_array(&methods, m->n_methods, sizeof *m->methods, "methods"));
    m->methods = methods;
    m->methods[0].form = SP_CONTEXT_FULL;
    m->methods[1].form = SP_CONTEXT_NONE;
    for (size_t c = 0; c < m->compressors.n; c++)
        m->methods[2 + c] = (sp_method){.form = SP_CONTEXT_COMPRESSED, .compressor = c};
    return open_reader(m, 0);
}

static void end_progress(sp_methods *m) {
    if (m->has_progress) sp_progress_end(&m->progress);
    m->has_progress = false;
}

void sp_methods_close(sp_methods *m) {
    end_progress(m);
    sp_context_reader_close(m->reader);
    sp_items_end(&m->items);
    for (size_t k = 0; m->methods != NULL && k < m->n_methods; k++) free(m->methods[k].decoder);
    free(m->methods);
    sp_compressor_choices_free(&m->compressors);
    *m = (sp_methods){0};
}

sp_status sp_methods_begin(sp_methods *m, size_t n_items, size_t n_figures) {
    const sp_evaluate_extent extent = {m->n_methods, n_items, n_figures};
    SP_TRY(sp_items_begin(&m->items, m->world, &extent, n_items));
    sp_progress_begin(&m->progress, "evaluate", m->compressors.n * n_items, "items");
    m->has_progress = true;
    return SP_OK;
}

/* Rank 0's; `settings` is moved. */
static sp_status make_identity(const sp_methods *m, json_t **identity, const char *task,
                               const char *const *data, size_t n_data, json_t *settings) {
    json_t *compressors = NULL, *digests = json_array();
    sp_status status = sp_compressor_choices_identify(&compressors, &m->compressors);
    for (size_t i = 0; status == SP_OK && i < n_data; i++) {
        char digest[SP_DIGEST_HEX_SIZE];
        status = sp_digest_file(digest, data[i], 0);
        if (status == SP_OK) json_array_append_new(digests, json_string(digest));
    }
    *identity =
        json_pack("{s:s, s:i, s:o?, s:o?, s:o?}", "task", task, "format", SP_EVALUATE_FORMAT,
                  "compressors", compressors, "data", digests, "settings", settings);
    if (status == SP_OK && (*identity == NULL || settings == NULL))
        status = sp_fail(SP_FAILURE, "no memory for an identity");
    return status;
}

sp_status sp_methods_resume(sp_methods *m, const char *task, const char *const *data, size_t n_data,
                            json_t *settings) {
    json_t *identity = NULL;
    sp_status status = SP_OK;
    if (m->options.work == NULL || sp_world_rank(m->world) != 0)
        json_decref(settings);
    else
        status = make_identity(m, &identity, task, data, n_data, settings);
    if (m->options.work != NULL) {
        status = sp_agree(m->world, status);
        if (status == SP_OK) status = sp_items_resume(&m->items, m->options.work, task, identity);
    }
    json_decref(identity);
    return status;
}

sp_status sp_methods_use(sp_methods *m, size_t compressor) {
    return sp_agree(m->world, compressor == m->compressor ? SP_OK : open_reader(m, compressor));
}

bool sp_methods_asks(const sp_methods *m, size_t method, size_t begin, size_t end) {
    return m->methods[method].compressor == m->compressor &&
           sp_items_is_open(&m->items, method, begin, end);
}

sp_status sp_methods_deal(sp_methods *m, size_t begin, size_t end, bool *is_mine) {
    bool has_open = false;
    for (size_t k = 0; k < m->n_methods; k++) {
        if (m->methods[k].compressor != m->compressor) continue;
        if (sp_items_is_open(&m->items, k, begin, end))
            has_open = true;
        else
            SP_TRY(sp_items_restore(&m->items, k, begin, end));
    }
    *is_mine = has_open && sp_items_is_mine(&m->items);
    return SP_OK;
}

void sp_methods_update(sp_methods *m, size_t item_end) {
    sp_progress_update(&m->progress, m->compressor * m->items.extent.n_items + item_end, NULL);
}

sp_status sp_methods_gather(sp_methods *m) {
    end_progress(m);
    return sp_items_gather(&m->items);
}

void sp_methods_add_texts(const sp_methods *m, json_t *object, size_t item) {
    json_t *compressed = json_array();
    for (size_t k = 0; k < m->n_methods; k++) {
        const sp_context_form form = m->methods[k].form;
        json_t *text = sp_items_text(&m->items, k, item);
        if (form == SP_CONTEXT_COMPRESSED)
            json_array_append_new(compressed, text);
        else
            json_object_set_new(object, sp_context_form_names[form], text);
    }
    json_object_set_new(object, sp_context_form_names[SP_CONTEXT_COMPRESSED], compressed);
}

json_t *sp_methods_describe(const sp_methods *m, size_t method) {
    const sp_method *which = &m->methods[method];
    json_t *made = json_pack("{s:s, s:s*}", "method", sp_context_form_names[which->form], "decoder",
                             which->decoder);
    if (which->form != SP_CONTEXT_COMPRESSED) return made;
    const sp_compressor_choice *choice = &m->compressors.items[which->compressor];
    json_object_set_new(made, "ratio", json_integer((json_int_t)choice->ratio));
    json_object_set_new(made, "checkpoint", json_string(choice->checkpoint));
    if (choice->slots != NULL) json_object_set_new(made, "slots", json_string(choice->slots));
    return made;
}
