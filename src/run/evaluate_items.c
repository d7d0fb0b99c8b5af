#include "run/evaluate_items.h"

#include "base/memory.h"
#include "mpi/agree.h"
#include "run/stop_signal.h"
#include "text/json_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

sp_status sp_items_begin(sp_items *items, sp_world *world, const sp_evaluate_extent *extent,
                         size_t n_kept) {
    void *figures = NULL, *texts = NULL;
    const size_t n = extent->n_methods * extent->n_items;
    *items = (sp_items){.world = world, .extent = *extent, .n_kept = n_kept};
    items->noted = json_array();
    items->gathered = json_array();
    SP_TRY(sp_alloc_array(&figures, n, extent->n_figures * sizeof(double), "figures"));
    items->figures = figures;
    SP_TRY(sp_alloc_array(&texts, n, sizeof *items->texts, "texts"));
    items->texts = texts;
    return SP_OK;
}

void sp_items_end(sp_items *items) {
    sp_evaluate_journal_close(items->journal);
    json_decref(items->noted);
    json_decref(items->gathered);
    free(items->texts);
    free(items->figures);
    *items = (sp_items){0};
}

sp_status sp_items_resume(sp_items *items, const char *folder, const char *task,
                          const json_t *identity) {
    sp_stop_signal_watch();
    return sp_evaluate_journal_open(&items->journal, items->world, folder, task, identity,
                                    &items->extent);
}

bool sp_items_is_open(const sp_items *items, size_t method, size_t begin, size_t end) {
    return items->journal == NULL || !sp_evaluate_journal_has(items->journal, method, begin, end);
}

bool sp_items_is_mine(sp_items *items) {
    const size_t n_ranks = (size_t)sp_world_size(items->world);
    return items->n_dealt++ % n_ranks == (size_t)sp_world_rank(items->world);
}

double *sp_items_figures(const sp_items *items, size_t method, size_t item) {
    return items->figures + (method * items->extent.n_items + item) * items->extent.n_figures;
}

/* `text` is owned here. */
static sp_status add_note(sp_items *items, size_t method, size_t item, json_t *text) {
    json_t *note = json_pack("[I, I, o]", (json_int_t)method, (json_int_t)item, text);
    if (note != NULL && json_array_append_new(items->noted, note) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for what was generated");
}

sp_status sp_items_note(sp_items *items, size_t method, size_t item, const char *text,
                        size_t n_bytes) {
    return add_note(items, method, item, sp_json_from_bytes(text, n_bytes));
}

/* ---- units ---- */

static json_t *figures_of(const sp_items *items, size_t method, size_t begin, size_t end) {
    json_t *made = json_array();
    const double *figures = sp_items_figures(items, method, begin);
    for (size_t i = 0; i < (end - begin) * items->extent.n_figures; i++)
        json_array_append_new(made, json_real(figures[i]));
    return made;
}

static json_t *texts_of(const sp_items *items) {
    json_t *made = json_array();
    for (size_t i = items->n_finished; i < json_array_size(items->noted); i++)
        json_array_append(made, json_array_get(json_array_get(items->noted, i), 2));
    return made;
}

/* A figure that is no number cannot be kept; whoever adds them up says what is wrong. */
static bool is_finite(const sp_items *items, size_t method, size_t begin, size_t end) {
    const double *figures = sp_items_figures(items, method, begin);
    for (size_t i = 0; i < (end - begin) * items->extent.n_figures; i++)
        if (!isfinite(figures[i])) return false;
    return true;
}

static sp_status keep_unit(sp_items *items, size_t method, size_t begin, size_t end) {
    if (items->journal == NULL || !is_finite(items, method, begin, end)) return SP_OK;
    json_t *unit = json_pack("{s:I, s:I, s:I, s:o, s:o}", "method", (json_int_t)method, "begin",
                             (json_int_t)begin, "end", (json_int_t)end, "figures",
                             figures_of(items, method, begin, end), "texts", texts_of(items));
    if (unit == NULL) return sp_fail(SP_FAILURE, "no memory for answers");
    const sp_status status = sp_evaluate_journal_add(items->journal, unit);
    json_decref(unit);
    return status;
}

/* Forgets texts that nobody will ask for. */
static void drop_texts(sp_items *items) {
    for (size_t i = json_array_size(items->noted); i-- > items->n_finished;) {
        const json_t *item = json_array_get(json_array_get(items->noted, i), 1);
        if ((size_t)json_integer_value(item) >= items->n_kept) json_array_remove(items->noted, i);
    }
    items->n_finished = json_array_size(items->noted);
}

sp_status sp_items_finish(sp_items *items, size_t method, size_t begin, size_t end) {
    SP_TRY(keep_unit(items, method, begin, end));
    drop_texts(items);
    if (items->journal == NULL || !sp_stop_signal_seen()) return SP_OK;
    return sp_fail(SP_STOPPED, "stopped by a signal; the same command goes on");
}

sp_status sp_items_restore(sp_items *items, size_t method, size_t begin, size_t end) {
    if (sp_world_rank(items->world) != 0) return SP_OK;
    const json_t *unit = sp_evaluate_journal_unit(items->journal, method, begin);
    const json_t *figures = json_object_get(unit, "figures");
    const json_t *texts = json_object_get(unit, "texts");
    double *here = sp_items_figures(items, method, begin);
    for (size_t i = 0; i < json_array_size(figures); i++)
        here[i] = json_real_value(json_array_get(figures, i));
    for (size_t i = 0; i < json_array_size(texts) && begin + i < end; i++)
        if (begin + i < items->n_kept)
            SP_TRY(add_note(items, method, begin + i, json_incref(json_array_get(texts, i))));
    items->n_finished = json_array_size(items->noted);
    return SP_OK;
}

/* ---- all together ---- */

/* Rank 0 puts every rank's notes in their places. */
static sp_status place_texts(sp_items *items, const char *bytes, const size_t *sizes) {
    for (int r = 0; r < sp_world_size(items->world); bytes += sizes[r++]) {
        json_t *part = json_loadb(bytes, sizes[r], JSON_ALLOW_NUL, NULL);
        const json_t *note;
        size_t i;
        if (part == NULL || json_array_append_new(items->gathered, part) != 0)
            return sp_fail(SP_FAILURE, "no memory for what was generated");
        json_array_foreach(part, i, note) {
            const size_t method = (size_t)json_integer_value(json_array_get(note, 0));
            const size_t item = (size_t)json_integer_value(json_array_get(note, 1));
            items->texts[method * items->extent.n_items + item] = json_array_get(note, 2);
        }
    }
    return SP_OK;
}

sp_status sp_items_gather(sp_items *items) {
    char *mine = json_dumps(items->noted, JSON_COMPACT), *bytes = NULL;
    const sp_evaluate_extent *extent = &items->extent;
    size_t *sizes = NULL;
    sp_status status = mine != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for the texts");
    status = sp_agree(items->world, status);
    if (status == SP_OK) {
        status = sp_world_gather(items->world, mine, strlen(mine), &bytes, &sizes);
        if (status == SP_OK && bytes != NULL) status = place_texts(items, bytes, sizes);
        status = sp_agree(items->world, status);
    }
    /* Every figure is one rank's, and 0 on the others. */
    if (status == SP_OK)
        sp_world_sum_double(items->world, items->figures,
                            extent->n_methods * extent->n_items * extent->n_figures);
    free(mine);
    free(bytes);
    free(sizes);
    return status;
}

double sp_items_sum(const sp_items *items, size_t method, size_t figure) {
    double sum = 0;
    for (size_t i = 0; i < items->extent.n_items; i++)
        sum += sp_items_figures(items, method, i)[figure];
    return sum;
}

json_t *sp_items_text(const sp_items *items, size_t method, size_t item) {
    const json_t *text = items->texts[method * items->extent.n_items + item];
    return text != NULL ? json_deep_copy(text) : json_null();
}
