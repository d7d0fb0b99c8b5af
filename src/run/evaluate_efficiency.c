#include "run/evaluate_efficiency.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "mpi/agree.h"
#include "run/decoding.h"

#include <math.h>
#include <stdlib.h>

/* Segments in one pass of the encoder, as elsewhere. */
enum { SEGMENTS_AT_ONCE = 8 };

/* Seconds. */
typedef enum figure { COMPRESSION, PREFILL, DECODE, N_FIGURES } figure;

typedef struct efficiency {
    sp_world *world;
    const sp_efficiency_job *job;
    sp_compressor_choices compressors;
    sp_trained trained; /* of the one at hand */
    sp_layout layout;
    sp_batch batch, prompts;
    sp_workspace workspace;
    int32_t *ids; /* [input_tokens] room for a context */
    size_t *n_slots;
    size_t n_segments; /* of a context */
    size_t n_all_slots;
    float *memory, *slots; /* of the whole batch */
    double *seconds;       /* [n_runs] */
    double plain[N_FIGURES];
    json_t *compressed;
} efficiency;

/* ---- contexts ---- */

static void draw_ids(efficiency *e, size_t context, size_t vocab_size) {
    const sp_stream stream = sp_stream_of(context, "efficiency");
    for (size_t i = 0; i < e->job->input_tokens; i++) {
        float share = 0; /* below 1 */
        sp_stream_uniform(&stream, i, &share, 1, 0, 1);
        e->ids[i] = (int32_t)((double)share * (double)vocab_size);
    }
}

/* How many tokens the segment has that begins at `begin`. */
static size_t segment_len(const efficiency *e, size_t begin) {
    const size_t left = e->job->input_tokens - begin;
    return left < e->layout.segment_tokens ? left : e->layout.segment_tokens;
}

static sp_status plan_segments(efficiency *e) {
    const sp_converter *converter = &e->trained.models.compressor->converter;
    const size_t most = e->job->input_tokens / e->layout.segment_tokens + 1;
    void *n_slots = NULL, *memory = NULL, *slots = NULL;
    SP_TRY(sp_alloc_array(&n_slots, most, sizeof *e->n_slots, "segments"));
    e->n_slots = n_slots;
    e->n_segments = e->n_all_slots = 0;
    for (size_t begin = 0; begin < e->job->input_tokens; begin += segment_len(e, begin)) {
        e->n_slots[e->n_segments] = sp_layout_n_slots(&e->layout, segment_len(e, begin));
        e->n_all_slots += e->job->batch * e->n_slots[e->n_segments++];
    }
    SP_TRY(sp_alloc_array(&memory, e->n_all_slots, converter->in.n_in * sizeof(float), "memory"));
    e->memory = memory;
    SP_TRY(sp_alloc_array(&slots, e->n_all_slots, converter->out.n_out * sizeof(float), "slots"));
    e->slots = slots;
    return SP_OK;
}

/* ---- what is timed ---- */

static sp_status encode_pass(efficiency *e, size_t *n_made) {
    sp_compressor *c = e->trained.models.compressor;
    float *memory = e->memory + *n_made * c->converter.in.n_in;
    SP_TRY(sp_compressor_encode(c, &e->batch, memory, &e->workspace));
    SP_TRY(sp_compressor_convert(c, e->slots + *n_made * c->converter.out.n_out, memory,
                                 e->batch.n_taken, &e->workspace));
    *n_made += e->batch.n_taken;
    sp_batch_clear(&e->batch);
    return SP_OK;
}

/* All contexts of the batch, segment by segment. */
static sp_status compress(efficiency *e) {
    size_t n_made = 0, n_waiting = 0;
    sp_batch_clear(&e->batch);
    for (size_t b = 0; b < e->job->batch; b++) {
        draw_ids(e, b, e->trained.models.encoder_weights->config.vocab_size);
        for (size_t begin = 0; begin < e->job->input_tokens; begin += segment_len(e, begin)) {
            SP_TRY(sp_layout_add_encoder(&e->layout, &e->batch, e->ids + begin,
                                         segment_len(e, begin), 0));
            if (++n_waiting % SEGMENTS_AT_ONCE == 0) SP_TRY(encode_pass(e, &n_made));
        }
    }
    return e->batch.n_taken > 0 ? encode_pass(e, &n_made) : SP_OK;
}

static sp_status add_plain_prompts(efficiency *e) {
    sp_batch_clear(&e->prompts);
    for (size_t b = 0; b < e->job->batch; b++) {
        int32_t seq = 0;
        draw_ids(e, b, e->trained.models.decoder_weights->config.vocab_size);
        SP_TRY(sp_batch_add_seq(&e->prompts, SP_DECODER, SP_NO_PARENT, 0, &seq));
        if (e->layout.bos != SP_NO_TOKEN)
            SP_TRY(sp_batch_add_row(&e->prompts, SP_DECODER, e->layout.bos));
        for (size_t i = 0; i < e->job->input_tokens; i++)
            SP_TRY(sp_batch_add_row(&e->prompts, SP_DECODER, e->ids[i]));
    }
    return SP_OK;
}

static sp_status add_compressed_prompts(efficiency *e) {
    size_t slot = 0;
    sp_batch_clear(&e->prompts);
    for (size_t b = 0; b < e->job->batch; b++) {
        int32_t prefix = 0;
        SP_TRY(sp_layout_add_prefix(&e->layout, &e->prompts, e->n_slots, e->n_segments, &slot, 0,
                                    &prefix));
    }
    return SP_OK;
}

/* Every sequence goes on for n_tokens: nothing stops it. */
static sp_status write_on(efficiency *e, size_t n_tokens) {
    const sp_decoding_limits limits = {.max_new_tokens = n_tokens, .eos = SP_NO_TOKEN};
    sp_decoded decoded = {0};
    SP_TRY(sp_decode_greedily(&decoded, e->trained.models.compressor->decoder,
                              &e->prompts.rows[SP_DECODER], e->slots, &limits));
    size_t shortest = n_tokens;
    for (size_t s = 0; s < decoded.n_seqs; s++)
        if (decoded.lens[s] < shortest) shortest = decoded.lens[s];
    sp_decoded_free(&decoded);
    if (shortest == n_tokens) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "the decoder has positions for %zu new tokens only; --input-tokens takes fewer",
                   shortest);
}

static sp_status write_first(efficiency *e) { return write_on(e, 1); }
static sp_status write_all(efficiency *e) { return write_on(e, e->job->new_tokens); }

/* ---- timing ---- */

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Collective. The median of the runs of `work`, each as long as on the slowest rank. */
static sp_status time_work(efficiency *e, double *median_s, sp_status (*work)(efficiency *e)) {
    SP_TRY(sp_agree(e->world, work(e)));
    for (size_t r = 0; r < e->job->n_runs; r++) {
        sp_world_barrier(e->world);
        const double begin_s = sp_clock_seconds();
        const sp_status status = work(e);
        e->seconds[r] = sp_clock_seconds() - begin_s;
        SP_TRY(sp_agree(e->world, status));
        sp_world_max_double(e->world, &e->seconds[r], 1);
    }
    qsort(e->seconds, e->job->n_runs, sizeof *e->seconds, compare_doubles);
    *median_s = e->seconds[e->job->n_runs / 2];
    return SP_OK;
}

/* Of the prompts that were added: the first token, and those after it. */
static sp_status time_prompts(efficiency *e, double *figures) {
    double all_s = 0;
    SP_TRY(time_work(e, &figures[PREFILL], write_first));
    SP_TRY(time_work(e, &all_s, write_all));
    figures[DECODE] = all_s > figures[PREFILL] ? all_s - figures[PREFILL] : 0;
    return SP_OK;
}

/* ---- results ---- */

/* Uses of one context until its compression has paid; null where it never does. */
static json_t *break_even(double compression_s, double saved_s) {
    return saved_s > 0 ? json_real(ceil(compression_s / saved_s)) : json_null();
}

static sp_status note_compressed(efficiency *e, const char *checkpoint, const double *figures) {
    const double plain_s = e->plain[PREFILL] + e->plain[DECODE];
    const double amortised_s = figures[PREFILL] + figures[DECODE];
    const double one_shot_s = figures[COMPRESSION] + amortised_s;
    const size_t n_rows =
        e->n_all_slots / e->job->batch + sp_layout_n_boundaries(&e->layout) * e->n_segments;
    json_t *made = json_pack(
        "{s:I, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "ratio",
        (json_int_t)e->layout.ratio, "checkpoint", checkpoint, "context_rows", (json_int_t)n_rows,
        "compression_s", figures[COMPRESSION], "prefill_s", figures[PREFILL], "decode_s",
        figures[DECODE], "one_shot_s", one_shot_s, "amortised_s", amortised_s, "one_shot_speedup",
        plain_s / one_shot_s, "amortised_speedup", plain_s / amortised_s, "break_even_uses",
        break_even(figures[COMPRESSION], plain_s - amortised_s));
    if (made != NULL && json_array_append_new(e->compressed, made) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for a result");
}

static sp_status report(const efficiency *e, json_t **result) {
    const sp_efficiency_job *job = e->job;
    if (sp_world_rank(e->world) != 0) return SP_OK;
    *result = json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:{s:f, s:f, s:f}, s:O}", "task",
                        "efficiency", "input_tokens", (json_int_t)job->input_tokens, "new_tokens",
                        (json_int_t)job->new_tokens, "batch", (json_int_t)job->batch, "runs",
                        (json_int_t)job->n_runs, "ranks", sp_world_size(e->world), "plain",
                        "prefill_s", e->plain[PREFILL], "decode_s", e->plain[DECODE], "total_s",
                        e->plain[PREFILL] + e->plain[DECODE], "compressed", e->compressed);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

/* ---- the whole ---- */

static void close_checkpoint(efficiency *e) {
    free(e->slots);
    free(e->memory);
    free(e->n_slots);
    e->slots = e->memory = NULL;
    e->n_slots = NULL;
    sp_trained_close(&e->trained);
}

static sp_status open_compressor(efficiency *e, const sp_compressor_choice *compressor) {
    const sp_methods_options *o = &e->job->methods;
    close_checkpoint(e);
    SP_TRY(sp_trained_open(&e->trained, compressor->checkpoint, o->assignments, o->n_assignments,
                           SP_SIDES_BOTH));
    SP_TRY(sp_trained_use_ratio(&e->trained, compressor->ratio));
    e->layout = sp_trained_layout(&e->trained);
    return plan_segments(e);
}

static sp_status reserve(efficiency *e) {
    void *ids = NULL, *seconds = NULL;
    e->compressed = json_array();
    SP_TRY(sp_alloc_array(&ids, e->job->input_tokens, sizeof *e->ids, "a context"));
    e->ids = ids;
    SP_TRY(sp_alloc_array(&seconds, e->job->n_runs, sizeof *e->seconds, "timings"));
    e->seconds = seconds;
    return SP_OK;
}

static sp_status evaluate(efficiency *e, json_t **result) {
    SP_TRY(sp_agree(e->world, reserve(e)));
    SP_TRY(sp_agree(e->world, sp_compressor_choices_make(&e->compressors, &e->job->methods)));
    for (size_t c = 0; c < e->compressors.n; c++) {
        const sp_compressor_choice *compressor = &e->compressors.items[c];
        double figures[N_FIGURES] = {0};
        SP_TRY(sp_agree(e->world, open_compressor(e, compressor)));
        if (c == 0) {
            SP_TRY(sp_agree(e->world, add_plain_prompts(e)));
            SP_TRY(time_prompts(e, e->plain));
        }
        SP_TRY(time_work(e, &figures[COMPRESSION], compress));
        SP_TRY(sp_agree(e->world, add_compressed_prompts(e)));
        SP_TRY(time_prompts(e, figures));
        SP_TRY(sp_agree(e->world, note_compressed(e, compressor->checkpoint, figures)));
    }
    return sp_agree(e->world, report(e, result));
}

sp_status sp_evaluate_efficiency(sp_world *world, json_t **result, const sp_efficiency_job *job) {
    efficiency e = {.world = world, .job = job};
    const sp_status status = evaluate(&e, result);
    close_checkpoint(&e);
    sp_compressor_choices_free(&e.compressors);
    json_decref(e.compressed);
    free(e.seconds);
    free(e.ids);
    sp_workspace_release(&e.workspace);
    sp_batch_free(&e.prompts);
    sp_batch_free(&e.batch);
    return status;
}
