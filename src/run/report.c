#include "run/report.h"

#include "base/memory.h"
#include "io/atomic_file.h"
#include "run/report_csv.h"
#include "run/report_figures.h"
#include "run/report_page.h"
#include "run/report_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct report {
    const sp_report_job *job;
    sp_report_run *runs; /* [n_runs] */
    const char **paths;  /* [n_runs], borrowed from these */
    size_t n_runs;
    sp_report_results results;
    sp_report_figures figures;
    char *folder, *stem; /* of the PNG files */
} report;

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory for a report"); }

static sp_status read_runs(report *r) {
    void *runs = NULL, *paths = NULL;
    SP_TRY(sp_alloc_array(&runs, r->job->n_runs, sizeof *r->runs, "runs"));
    r->runs = runs;
    SP_TRY(sp_alloc_array(&paths, r->job->n_runs, sizeof *r->paths, "runs"));
    r->paths = paths;
    for (size_t i = 0; i < r->job->n_runs; i++) {
        r->n_runs++;
        SP_TRY(sp_report_run_read(&r->runs[i], r->job->runs[i], r->job->peak));
        r->paths[i] = r->runs[i].path;
    }
    return SP_OK;
}

/* A folder has something of a run's, or results. */
static sp_status read_found(report *r) {
    for (size_t i = 0; i < r->n_runs; i++) {
        const size_t n_notes = json_array_size(r->results.notes);
        const bool was_empty = sp_report_results_is_empty(&r->results);
        SP_TRY(sp_report_results_find(&r->results, r->paths[i]));
        const bool has_results = was_empty && !sp_report_results_is_empty(&r->results);
        const bool has_files = has_results || json_array_size(r->results.notes) > n_notes;
        if (!sp_report_run_is_one(&r->runs[i]) && !has_files)
            return sp_fail(SP_IO,
                           "'%s' is no run's folder: it has no metrics.jsonl, no checkpoint and no "
                           "evaluate*.json",
                           r->paths[i]);
    }
    return SP_OK;
}

static sp_status read_all(report *r) {
    SP_TRY(sp_report_results_init(&r->results));
    SP_TRY(read_runs(r));
    SP_TRY(read_found(r));
    for (size_t i = 0; i < r->job->n_results; i++)
        SP_TRY(sp_report_results_read(&r->results, r->job->results[i], NULL, r->paths, r->n_runs));
    return sp_report_results_add_means(&r->results);
}

/* Where the page goes, owned. */
static sp_status choose_page(const report *r, char **page) {
    if (r->job->output != NULL) {
        *page = strdup(r->job->output);
    } else if (r->n_runs == 0) {
        return sp_fail(SP_USAGE, "without a RUN the page needs a place: --output FILE");
    } else if (asprintf(page, "%s/report.html", r->paths[0]) < 0) {
        *page = NULL;
    }
    return *page != NULL ? SP_OK : no_memory();
}

/* PNG files are named after the page: FOLDER/STEM-NAME.png. */
static sp_status choose_pictures(report *r, const char *page) {
    const char *slash = strrchr(page, '/');
    const char *base = slash != NULL ? slash + 1 : page;
    const char *dot = strrchr(base, '.');
    r->stem = strndup(base, dot != NULL && dot > base ? (size_t)(dot - base) : strlen(base));
    if (r->job->png != NULL)
        r->folder = strdup(r->job->png);
    else
        r->folder = slash != NULL ? strndup(page, (size_t)(slash - page) + 1) : strdup(".");
    if (r->stem == NULL || r->folder == NULL) return no_memory();
    return r->job->png != NULL ? sp_make_folders(r->folder) : SP_OK;
}

static sp_status write_pictures(const report *r) {
    for (size_t i = 0; i < r->figures.n; i++) {
        const sp_report_figure *figure = &r->figures.items[i];
        char *path = NULL;
        if (asprintf(&path, "%s/%s-%s.png", r->folder, r->stem, figure->name) < 0)
            return no_memory();
        const sp_status status =
            sp_atomic_write(path, figure->drawing.png, figure->drawing.png_bytes);
        free(path);
        SP_TRY(status);
    }
    return SP_OK;
}

static sp_status write_page(const report *r, const sp_report_matter *matter, const char *path) {
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (out == NULL) return no_memory();
    sp_status status = sp_report_page(out, matter, &r->figures);
    const bool had_error = ferror(out) != 0;
    if ((fclose(out) != 0 || had_error) && status == SP_OK) status = no_memory();
    if (status == SP_OK) status = sp_atomic_write(path, text, n);
    free(text);
    return status;
}

static sp_status make_page(sp_report_made *made, report *r, const sp_report_matter *matter) {
    SP_TRY(choose_page(r, &made->page));
    SP_TRY(choose_pictures(r, made->page));
    SP_TRY(sp_report_figures_draw(&r->figures, matter));
    SP_TRY(write_pictures(r));
    SP_TRY(write_page(r, matter, made->page));
    made->n_drawings = r->figures.n;
    made->failure = r->figures.failure; /* moved */
    r->figures.failure = NULL;
    return SP_OK;
}

static sp_status print_json(const report *r) {
    json_t *scores = sp_report_scores_json(&r->results);
    if (scores == NULL) return no_memory();
    (void)json_dumpf(scores, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    (void)fputc('\n', stdout);
    json_decref(scores);
    return SP_OK;
}

static sp_status print(const report *r, const sp_report_matter *matter) {
    switch (r->job->prints) {
    case SP_REPORT_CSV:
        return sp_report_csv(stdout, matter);
    case SP_REPORT_TABLE:
        sp_report_tables(stdout, &r->results);
        return SP_OK;
    case SP_REPORT_JSON:
        return print_json(r);
    default:
        return SP_OK;
    }
}

static sp_status make(sp_report_made *made, report *r) {
    const sp_report_job *job = r->job;
    if (job->n_runs == 0 && job->n_results == 0)
        return sp_fail(SP_USAGE, "nothing to report on: name a RUN, or --results FILE");
    SP_TRY(read_all(r));
    const sp_report_matter matter = {
        .runs = r->runs, .n_runs = r->n_runs, .results = &r->results, .peak = job->peak};
    SP_TRY(print(r, &matter));
    if (job->prints != SP_REPORT_NOTHING && job->output == NULL) return SP_OK;
    return make_page(made, r, &matter);
}

sp_status sp_report(sp_report_made *made, const sp_report_job *job) {
    report r = {.job = job};
    const sp_status status = make(made, &r);
    free(r.folder);
    free(r.stem);
    sp_report_figures_free(&r.figures);
    sp_report_results_free(&r.results);
    for (size_t i = 0; i < r.n_runs; i++) sp_report_run_free(&r.runs[i]);
    free(r.paths);
    free(r.runs);
    if (status != SP_OK) sp_report_made_free(made);
    return status;
}

void sp_report_made_free(sp_report_made *made) {
    free(made->page);
    free(made->failure);
    *made = (sp_report_made){0};
}
