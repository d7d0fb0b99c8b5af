#include "run/precision_choice.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/model_source.h"
#include "model/model_config.h"
#include "run/models.h"
#include "tensor/cpu.h"
#include "tensor/linear.h"
#include "tensor/version.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_CANDIDATES SP_PRECISION_INT8 /* f32 and bf16, those before it */
static const double BF16_LEAD = 1.05;

/* FLOP/s over all shapes, and of the best of them: what this machine reaches. */
typedef struct rates {
    double mean[N_CANDIDATES], best[N_CANDIDATES];
} rates;

/* ---- a model's shapes ---- */

enum { MOST_SHAPES = 16 };

typedef struct shape {
    size_t n_out, n_in;
    double count; /* values of the model's matrices with that shape */
} shape;

typedef struct shape_list {
    shape items[MOST_SHAPES];
    size_t n_items;
} shape_list;

static void add_shape(shape_list *list, size_t n_out, size_t n_in, double n_times) {
    enum { MOST_OUT = 1024, MOST_IN = 4096 };
    const double n_values = n_times * (double)n_out * (double)n_in;
    const size_t out = n_out < MOST_OUT ? n_out : MOST_OUT, in = n_in < MOST_IN ? n_in : MOST_IN;
    for (size_t i = 0; i < list->n_items; i++)
        if (list->items[i].n_out == out && list->items[i].n_in == in) {
            list->items[i].count += n_values;
            return;
        }
    if (list->n_items < MOST_SHAPES) list->items[list->n_items++] = (shape){out, in, n_values};
}

static sp_status list_shapes(shape_list *list, const char *path, bool has_head) {
    json_t *json = NULL;
    sp_model_config config;
    SP_TRY(sp_model_config_json_load(&json, path));
    if (json == NULL) return sp_fail(SP_BAD_DATA, "'%s': no config.json there", path);
    const sp_status status = sp_model_config_read(&config, json, path);
    json_decref(json);
    SP_TRY(status);
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        if (sp_matrix_n_out(&config, role) > 0)
            add_shape(list, sp_matrix_n_out(&config, role), sp_matrix_n_in(&config, role),
                      (double)config.n_layers);
    if (has_head) add_shape(list, config.vocab_size, config.d_model, 1);
    return SP_OK;
}

/* ---- measurement ---- */

enum { ROWS = 256, MOST_RUNS = 5 };

/* Seconds for all of it, of which every shape of every candidate gets its share; one run of the largest
   shape takes 0.1 s at 40 GFLOP/s. */
static const double TIME_S = 1.6;

typedef struct arrays {
    void *x, *y, *weight, *scratch;
    size_t n_scratch;
} arrays;

/* Best rate of a shape, forward and backward. Zeros take as long as other numbers. */
static sp_status measure_shape(double *rate, const shape *s, sp_precision precision,
                               const arrays *at, double share_s) {
    const sp_tensor tensor = {.dtype = precision == SP_PRECISION_F32 ? SP_F32 : SP_BF16,
                              .n_dims = 2,
                              .shape = {s->n_out, s->n_in},
                              .data = at->weight};
    const double begin_s = sp_clock_seconds();
    const double flop = 4.0 * ROWS * (double)s->n_out * (double)s->n_in;
    sp_linear *linear = NULL;
    SP_TRY(sp_linear_create(&linear, &tensor, NULL, precision));
    *rate = 0;
    for (int run = 0; run < MOST_RUNS && (run < 1 || sp_clock_seconds() - begin_s < share_s);
         run++) {
        const double run_s = sp_clock_seconds();
        sp_linear_forward(linear, at->y, at->x, ROWS, at->scratch);
        sp_linear_backward_input(linear, at->x, 0, at->y, ROWS, at->scratch);
        *rate = fmax(*rate, flop / (sp_clock_seconds() - run_s));
    }
    sp_linear_destroy(linear);
    return SP_OK;
}

static sp_status measure_all(rates *out, const shape_list *list, const arrays *at) {
    const double share_s = TIME_S / (double)(list->n_items * N_CANDIDATES);
    for (sp_precision p = 0; p < N_CANDIDATES; p++) {
        double n_values = 0, seconds = 0;
        out->best[p] = 0;
        for (size_t i = 0; i < list->n_items; i++) {
            double rate = 0;
            SP_TRY(measure_shape(&rate, &list->items[i], p, at, share_s));
            n_values += list->items[i].count;
            seconds += list->items[i].count / rate;
            out->best[p] = fmax(out->best[p], rate);
        }
        out->mean[p] = n_values / seconds;
    }
    return SP_OK;
}

/* Arrays that serve every shape. */
static sp_status allocate(arrays *at, const shape_list *list) {
    size_t widest = 0, most_values = 0;
    for (size_t i = 0; i < list->n_items; i++) {
        const shape *s = &list->items[i];
        const size_t wide = s->n_out > s->n_in ? s->n_out : s->n_in;
        widest = wide > widest ? wide : widest;
        most_values = s->n_out * s->n_in > most_values ? s->n_out * s->n_in : most_values;
        for (sp_precision p = 0; p < N_CANDIDATES; p++) {
            sp_linear *outline = NULL;
            SP_TRY(sp_linear_outline(&outline, s->n_out, s->n_in, p));
            const size_t n_bytes = sp_linear_scratch_bytes(outline, ROWS);
            sp_linear_destroy(outline);
            at->n_scratch = n_bytes > at->n_scratch ? n_bytes : at->n_scratch;
        }
    }
    SP_TRY(sp_alloc_array(&at->x, ROWS * widest, sizeof(float), "a measurement"));
    SP_TRY(sp_alloc_array(&at->y, ROWS * widest, sizeof(float), "a measurement"));
    SP_TRY(sp_alloc_array(&at->weight, most_values, sizeof(float), "a measurement"));
    return sp_alloc(&at->scratch, at->n_scratch, "a measurement");
}

static sp_status measure(rates *out, const shape_list *list) {
    arrays at = {0};
    sp_status status = allocate(&at, list);
    if (status == SP_OK) status = measure_all(out, list, &at);
    free(at.scratch);
    free(at.weight);
    free(at.y);
    free(at.x);
    return status;
}

/* ---- the file of figures ---- */

static const char FORMAT[] = "slotpress-precision-1";

static void read_cpu_name(char *name, size_t size) {
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file != NULL) fclose(file);
}

/* "AMD EPYC, AVX2, bf16 in f32, 2 threads, oneDNN 2.6.3: 576x576 192x576 …", owned. */
static sp_status make_key(char **key, const shape_list *list) {
    char cpu[128], library[64];
    size_t n_bytes = 0;
    read_cpu_name(cpu, sizeof cpu);
    sp_onednn_version(library, sizeof library);
    FILE *out = open_memstream(key, &n_bytes);
    if (out == NULL) return sp_fail(SP_FAILURE, "no memory for a measurement");
    fprintf(out, "%s, %s, %s, %d threads, oneDNN %s:", cpu, sp_cpu_isa(),
            sp_linear_computes_bf16() ? "bf16" : "bf16 in f32", omp_get_max_threads(), library);
    for (size_t i = 0; i < list->n_items; i++)
        fprintf(out, " %zux%zu*%.0f", list->items[i].n_out, list->items[i].n_in,
                list->items[i].count);
    return fclose(out) == 0 ? SP_OK : sp_fail(SP_FAILURE, "no memory for a measurement");
}

enum { PATH_SIZE = 4096 };

/* False where no folder is named. */
static bool cache_folder(char *path) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int len = -1;
    if (xdg != NULL && xdg[0] == '/')
        len = snprintf(path, PATH_SIZE, "%s/slotpress", xdg);
    else if (home != NULL && home[0] == '/')
        len = snprintf(path, PATH_SIZE, "%s/.cache/slotpress", home);
    return len > 0 && len < PATH_SIZE - 32;
}

/* What the file holds, or an empty one; owned. NULL: no memory. */
static json_t *load_cache(const char *path) {
    json_t *cache = json_load_file(path, 0, NULL);
    const char *format = json_string_value(json_object_get(cache, "format"));
    if (format != NULL && strcmp(format, FORMAT) == 0 &&
        json_is_object(json_object_get(cache, "measured")))
        return cache;
    json_decref(cache);
    return json_pack("{s:s, s:{}}", "format", FORMAT, "measured");
}

static bool is_rate(double rate) { return isfinite(rate) && rate > 0; }

static bool find_rates(rates *out, const json_t *cache, const char *key) {
    const json_t *entry = json_object_get(json_object_get(cache, "measured"), key);
    rates found;
    for (int p = 0; p < N_CANDIDATES; p++) {
        const json_t *pair = json_object_get(entry, sp_precision_names[p]);
        found.mean[p] = json_number_value(json_array_get(pair, 0));
        found.best[p] = json_number_value(json_array_get(pair, 1));
        if (!is_rate(found.mean[p]) || !is_rate(found.best[p]) || found.mean[p] > found.best[p])
            return false;
    }
    *out = found;
    return true;
}

/* Whatever fails here costs the next run a measurement, and no more. */
static void store_rates(json_t *cache, const char *folder, const char *path, const char *key,
                        const rates *r) {
    json_t *entry = json_object();
    for (int p = 0; p < N_CANDIDATES; p++)
        json_object_set_new(entry, sp_precision_names[p],
                            json_pack("[f, f]", r->mean[p], r->best[p]));
    json_object_set_new(json_object_get(cache, "measured"), key, entry);
    char *text = json_dumps(cache, JSON_INDENT(1) | JSON_SORT_KEYS);
    if (text == NULL || sp_make_folders(folder) != SP_OK ||
        sp_atomic_write(path, text, strlen(text)) != SP_OK)
        sp_log(SP_LOG_DEBUG, "'%s': measured rates are not kept", path);
    free(text);
}

static sp_status find_or_measure(rates *out, bool *is_found, const shape_list *list) {
    char folder[PATH_SIZE], path[PATH_SIZE], *key = NULL;
    json_t *cache = NULL;
    sp_status status = make_key(&key, list);
    const bool has_cache = status == SP_OK && cache_folder(folder);
    if (has_cache) {
        snprintf(path, sizeof path, "%.*s/precision.json", PATH_SIZE - 32, folder);
        cache = load_cache(path);
    }
    *is_found = cache != NULL && find_rates(out, cache, key);
    if (status == SP_OK && !*is_found) {
        status = measure(out, list);
        if (status == SP_OK && cache != NULL) store_rates(cache, folder, path, key, out);
    }
    json_decref(cache);
    free(key);
    return status;
}

/* ---- the choice ---- */

static void log_choice(const char *key, sp_precision choice, const rates *r, bool is_found) {
    const sp_precision other = choice == SP_PRECISION_F32 ? SP_PRECISION_BF16 : SP_PRECISION_F32;
    sp_log(SP_LOG_INFO,
           "%s: auto is %s, %.1f GFLOP/s or %.0f %% of the peak measured; %s %.1f GFLOP/s%s", key,
           sp_precision_names[choice], r->mean[choice] / 1e9,
           100 * r->mean[choice] / r->best[choice], sp_precision_names[other], r->mean[other] / 1e9,
           is_found ? " (measured before)" : "");
}

static sp_status choose(sp_precision *choice, const char *key, const char *path, bool has_head) {
    shape_list list = {0};
    rates r;
    bool is_found = false;
    SP_TRY(list_shapes(&list, path, has_head));
    SP_TRY(find_or_measure(&r, &is_found, &list));
    const bool is_faster = r.mean[SP_PRECISION_BF16] > BF16_LEAD * r.mean[SP_PRECISION_F32];
    *choice = is_faster ? SP_PRECISION_BF16 : SP_PRECISION_F32;
    log_choice(key, *choice, &r, is_found);
    return SP_OK;
}

static bool is_encoder_open(const sp_run_config *config) {
    return config->train.precision == SP_ASKED_AUTO && config->encoder.train != SP_ENCODER_FULL;
}

bool sp_precision_is_open(const sp_run_config *config) {
    return config->decoder.precision == SP_ASKED_AUTO || is_encoder_open(config);
}

sp_status sp_precision_choose(sp_run_config *config) {
    if (config->decoder.precision == SP_ASKED_AUTO)
        SP_TRY(choose(&config->chosen.decoder, "decoder.precision", config->decoder.model, true));
    if (is_encoder_open(config) && config->decoder.precision == SP_ASKED_AUTO &&
        strcmp(config->encoder.model, config->decoder.model) == 0)
        config->chosen.encoder = config->chosen.decoder; /* so that they share one copy */
    else if (is_encoder_open(config))
        SP_TRY(choose(&config->chosen.encoder, "train.precision", config->encoder.model, false));
    return SP_OK;
}

json_t *sp_precision_to_json(const sp_run_config *config) {
    sp_precision of_encoder, of_decoder;
    sp_models_precisions(config, &of_encoder, &of_decoder);
    return json_pack("{s:s, s:s}", "encoder", sp_precision_names[of_encoder], "decoder",
                     sp_precision_names[of_decoder]);
}

static void read_name(sp_precision *precision, const json_t *name) {
    for (sp_precision p = 0; json_is_string(name) && p < SP_N_PRECISIONS; p++)
        if (strcmp(json_string_value(name), sp_precision_names[p]) == 0) *precision = p;
}

void sp_precision_from_json(sp_run_config *config, const json_t *object) {
    read_name(&config->chosen.encoder, json_object_get(object, "encoder"));
    read_name(&config->chosen.decoder, json_object_get(object, "decoder"));
}
