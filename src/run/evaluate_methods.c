#include "run/evaluate_methods.h"

#include "base/memory.h"
#include "mpi/agree.h"
#include "text/json_text.h"

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
    m->noted = json_array();
    m->gathered = json_array();
    return open_reader(m, 0);
}

static void end_progress(sp_methods *m) {
    if (m->has_progress) sp_progress_end(&m->progress);
    m->has_progress = false;
}

void sp_methods_close(sp_methods *m) {
    end_progress(m);
    sp_context_reader_close(m->reader);
    json_decref(m->noted);
    json_decref(m->gathered);
    free(m->texts);
    free(m->figures);
    for (size_t k = 0; m->methods != NULL && k < m->n_methods; k++) free(m->methods[k].decoder);
    free(m->methods);
    sp_compressor_choices_free(&m->compressors);
    *m = (sp_methods){0};
}

sp_status sp_methods_begin(sp_methods *m, size_t n_items, size_t n_figures) {
    void *figures = NULL, *texts = NULL;
    m->n_items = n_items;
    m->n_figures = n_figures;
    SP_TRY(sp_alloc_array(&figures, m->n_methods * n_items, n_figures * sizeof(double), "figures"));
    m->figures = figures;
    SP_TRY(sp_alloc_array(&texts, m->n_methods * n_items, sizeof *m->texts, "texts"));
    m->texts = texts;
    sp_progress_begin(&m->progress, "evaluate", m->compressors.n * n_items, "items");
    m->has_progress = true;
    return SP_OK;
}

sp_status sp_methods_use(sp_methods *m, size_t compressor) {
    return sp_agree(m->world, compressor == m->compressor ? SP_OK : open_reader(m, compressor));
}

bool sp_methods_is_mine(const sp_methods *m, size_t group) {
    return group % (size_t)sp_world_size(m->world) == (size_t)sp_world_rank(m->world);
}

void sp_methods_update(sp_methods *m, size_t item_end) {
    sp_progress_update(&m->progress, m->compressor * m->n_items + item_end, NULL);
}

double *sp_methods_figures(const sp_methods *m, size_t method, size_t item) {
    return m->figures + (method * m->n_items + item) * m->n_figures;
}

sp_status sp_methods_note(sp_methods *m, size_t method, size_t item, const char *text,
                          size_t n_bytes) {
    json_t *note = json_pack("[I, I, o]", (json_int_t)method, (json_int_t)item,
                             sp_json_from_bytes(text, n_bytes));
    if (note != NULL && json_array_append_new(m->noted, note) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for what was generated");
}

/* Rank 0 puts every rank's notes in their places. */
static sp_status place_texts(sp_methods *m, const char *bytes, const size_t *sizes) {
    for (int r = 0; r < sp_world_size(m->world); bytes += sizes[r++]) {
        json_t *part = json_loadb(bytes, sizes[r], JSON_ALLOW_NUL, NULL);
        const json_t *note;
        size_t i;
        if (part == NULL || json_array_append_new(m->gathered, part) != 0)
            return sp_fail(SP_FAILURE, "no memory for what was generated");
        json_array_foreach(part, i, note) {
            const size_t method = (size_t)json_integer_value(json_array_get(note, 0));
            const size_t item = (size_t)json_integer_value(json_array_get(note, 1));
            m->texts[method * m->n_items + item] = json_array_get(note, 2);
        }
    }
    return SP_OK;
}

sp_status sp_methods_gather(sp_methods *m) {
    char *mine = json_dumps(m->noted, JSON_COMPACT), *bytes = NULL;
    size_t *sizes = NULL;
    sp_status status = mine != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for the texts");
    end_progress(m);
    status = sp_agree(m->world, status);
    if (status == SP_OK) {
        status = sp_world_gather(m->world, mine, strlen(mine), &bytes, &sizes);
        if (status == SP_OK && bytes != NULL) status = place_texts(m, bytes, sizes);
        status = sp_agree(m->world, status);
    }
    /* Every figure is one rank's, and 0 on the others. */
    if (status == SP_OK)
        sp_world_sum_double(m->world, m->figures, m->n_methods * m->n_items * m->n_figures);
    free(mine);
    free(bytes);
    free(sizes);
    return status;
}

double sp_methods_sum(const sp_methods *m, size_t method, size_t figure) {
    double sum = 0;
    for (size_t i = 0; i < m->n_items; i++) sum += sp_methods_figures(m, method, i)[figure];
    return sum;
}

json_t *sp_methods_text(const sp_methods *m, size_t method, size_t item) {
    const json_t *text = m->texts[method * m->n_items + item];
    return text != NULL ? json_deep_copy(text) : json_null();
}

void sp_methods_add_texts(const sp_methods *m, json_t *object, size_t item) {
    json_t *compressed = json_array();
    for (size_t k = 0; k < m->n_methods; k++) {
        const sp_context_form form = m->methods[k].form;
        json_t *text = sp_methods_text(m, k, item);
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
