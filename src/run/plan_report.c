#include "run/plan_report.h"

#include <stdlib.h>
#include <string.h>

static const size_t MOST_NODES = 1024;

static sp_status make_scales(sp_plan_report *report) {
    report->strong = calloc(1, sizeof *report->strong);
    report->weak = calloc(1, sizeof *report->weak);
    if (report->strong == NULL || report->weak == NULL)
        return sp_fail(SP_FAILURE, "no memory for a plan");
    SP_TRY(sp_plan_scale(report->strong, &report->plan, MOST_NODES, false));
    return sp_plan_scale(report->weak, &report->plan, MOST_NODES, true);
}

static sp_status make(sp_plan_report *report, const sp_run_config *config,
                      const sp_plan_options *options) {
    sp_machine machine = {.n_nodes = options->n_nodes, .ranks_per_node = options->ranks_per_node};
    sp_plan_choice choice;
    SP_TRY(sp_network_find(&machine.network, options->network));
    SP_TRY(sp_cpu_find(&machine.cpu, options->cpu));
    machine.node_bytes = options->node_bytes > 0 ? options->node_bytes : machine.cpu.memory_bytes;
    SP_TRY(sp_plan_open(&report->plan, config, &machine));
    SP_TRY(sp_plan_choice_of(&choice, &report->plan));
    SP_TRY(sp_plan_search(&report->best, &report->n_best, &report->plan));
    if (options->wants_scale) SP_TRY(make_scales(report));
    return sp_plan_estimate_choice(&report->configured, &report->plan, &choice);
}

sp_status sp_plan_report_make(sp_plan_report *report, const sp_run_config *config,
                              const sp_plan_options *options) {
    *report = (sp_plan_report){0};
    const sp_status status = make(report, config, options);
    if (status != SP_OK) sp_plan_report_free(report);
    return status;
}

void sp_plan_report_free(sp_plan_report *report) {
    free(report->weak);
    free(report->strong);
    free(report->best);
    sp_plan_close(&report->plan);
    *report = (sp_plan_report){0};
}

/* ---- figures of both ---- */

/* Parameters of one part: all, and those trained. */
typedef struct part {
    const char *name, *key;
    uint64_t n_values, n_trained;
} part;

enum { ENCODER, LORA, MEMORY_TOKENS, MERGER, CONVERTER, MARKERS, DECODER, N_PARTS };

static bool begins_with(const char *text, const char *begin) {
    return strncmp(text, begin, strlen(begin)) == 0;
}

static int part_of(const char *name) {
    if (strstr(name, "lora_") != NULL) return LORA;
    if (begins_with(name, "encoder.memory_tokens")) return MEMORY_TOKENS;
    if (begins_with(name, "encoder.merger.")) return MERGER;
    if (begins_with(name, "converter.")) return CONVERTER;
    return begins_with(name, "markers") ? MARKERS : ENCODER;
}

static void count_parts(part parts[N_PARTS], const sp_plan *plan) {
    static const part named[N_PARTS] = {[ENCODER] = {"encoder", "encoder", 0, 0},
                                        [LORA] = {"LoRA", "lora", 0, 0},
                                        [MEMORY_TOKENS] = {"memory tokens", "memory_tokens", 0, 0},
                                        [MERGER] = {"merger", "merger", 0, 0},
                                        [CONVERTER] = {"converter", "converter", 0, 0},
                                        [MARKERS] = {"markers", "markers", 0, 0},
                                        [DECODER] = {"decoder", "decoder", 0, 0}};
    const sp_params *params = &plan->chain.outline.compressor->params;
    memcpy(parts, named, sizeof named);
    for (size_t b = 0; b < sp_plan_blocks(&plan->chain)->n_blocks; b++)
        parts[sp_plan_block_side(&plan->chain, b) == SP_ENCODER ? ENCODER : DECODER].n_values +=
            plan->chain.weights[b].n_values;
    for (size_t i = 0; i < params->n_entries; i++) {
        const sp_param *param = params->entries[i];
        part *of = &parts[part_of(param->name)];
        if (!param->is_frozen) of->n_trained += param->n_values;
        if (of != &parts[ENCODER]) of->n_values += param->n_values;
    }
}

typedef struct flops {
    double encoder, decoder, segment; /* of a segment; the converter is the encoder's */
} flops;

static sp_status count_flop(flops *f, const sp_plan *plan) {
    const size_t end = sp_plan_blocks(&plan->chain)->n_blocks;
    const size_t decoder = plan->chain.outline.compressor->encoder_end + 1;
    SP_TRY(sp_plan_flop(&f->encoder, plan, 0, decoder));
    SP_TRY(sp_plan_flop(&f->decoder, plan, decoder, end));
    f->segment = f->encoder + f->decoder;
    return SP_OK;
}

static double tokens_per_s(const sp_plan *plan, const sp_plan_estimate *e) {
    return (double)plan->global_batch * plan->chain.data.encoder_tokens / e->step_s;
}

/* Of what the cores could do in f32 and, where they have it, bf16 products alone. */
static double flops_share(const sp_plan *plan, const sp_plan_estimate *e, double segment_flop) {
    const sp_machine *m = &plan->machine;
    const double cores = (double)(m->n_nodes * m->cpu.cores);
    return segment_flop * (double)plan->global_batch / e->step_s /
           (cores * (m->cpu.bf16 > m->cpu.f32 ? m->cpu.bf16 : m->cpu.f32));
}

/* ---- tables ---- */

enum { TEXT = 32 };

/* 8.03 G */
static const char *count_text(char text[TEXT], double n) {
    static const char units[] = " KMGTPEZ";
    size_t unit = 0;
    for (; n >= 1000 && units[unit + 1] != '\0'; unit++) n /= 1000;
    snprintf(text, TEXT, n < 10 && unit > 0 ? "%.2f %c" : "%.1f %c", n, units[unit]);
    return text;
}

static const char *seconds_text(char text[TEXT], double s) {
    if (s >= 100)
        snprintf(text, TEXT, "%.0f s", s);
    else if (s >= 0.1)
        snprintf(text, TEXT, "%.2f s", s);
    else if (s >= 1e-4)
        snprintf(text, TEXT, "%.2f ms", s * 1e3);
    else
        snprintf(text, TEXT, "%.1f us", s * 1e6);
    return text;
}

static void print_parameters(FILE *out, const sp_plan *plan) {
    part parts[N_PARTS], sum = {.name = "total"};
    char all[TEXT], trained[TEXT];
    count_parts(parts, plan);
    fprintf(out, "%-26s %12s %12s\n", "parameters", "all", "trained");
    for (int i = 0; i <= N_PARTS; i++) {
        const part *p = i < N_PARTS ? &parts[i] : &sum;
        if (p->n_values == 0) continue;
        fprintf(out, "  %-24s %12s %12s%s\n", p->name, count_text(all, (double)p->n_values),
                count_text(trained, (double)p->n_trained),
                i == DECODER && plan->chain.outline.shares_weights ? "  the encoder's own weights"
                                                                   : "");
        sum.n_values += p->n_values;
        sum.n_trained += p->n_trained;
    }
}

static sp_status print_flop(FILE *out, const sp_plan *plan) {
    const sp_plan_data *data = &plan->chain.data;
    const double n_segments = (double)data->n_steps * (double)plan->global_batch;
    flops f = {0};
    char token[TEXT], segment[TEXT], run[TEXT];
    SP_TRY(count_flop(&f, plan));
    const struct {
        const char *name;
        double flop;
    } rows[] = {{"encoder, converter", f.encoder}, {"decoder", f.decoder}, {"total", f.segment}};
    const bool is_of_rows = data->segments > 0;
    const char *samples = is_of_rows ? "rows" : "segments";
    fprintf(out, "\n%-26s %12s %12s %12s\n", "training FLOP", "a token",
            is_of_rows ? "a row" : "a segment", "the run");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        fprintf(out, "  %-24s %12s %12s %12s\n", rows[i].name,
                count_text(token, rows[i].flop / data->encoder_tokens),
                count_text(segment, rows[i].flop),
                n_segments > 0 ? count_text(run, rows[i].flop * n_segments) : "-");
    if (is_of_rows)
        fprintf(out,
                "  rows of %.1f context tokens in %.1f segments, prompts of %.1f tokens, answers "
                "of %.1f",
                data->encoder_tokens, data->segments, data->prompt_tokens, data->answer_tokens);
    else
        fprintf(out, "  segments of %.1f context tokens, %.1f of the decoder's%s",
                data->encoder_tokens, data->decoder_tokens,
                data->is_read ? "" : " (assumed: there is no token file yet)");
    if (data->n_steps > 0)
        fprintf(out, "; %ju steps of %zu %s", (uintmax_t)data->n_steps, plan->global_batch,
                samples);
    fprintf(out, "\n");
    return SP_OK;
}

static void print_choice(FILE *out, const char *what, const sp_plan *plan,
                         const sp_plan_estimate *e) {
    fprintf(out, "\n%s: pipeline %zu x data %zu, micro-batch %zu", what, e->choice.pipeline,
            e->choice.data, e->choice.micro_batch);
    if (e->pass_samples < e->choice.micro_batch) fprintf(out, " in passes of %zu", e->pass_samples);
    if (e->choice.pipeline > 1)
        fprintf(out, ", %s cut", e->choice.is_folded ? "folded" : "contiguous");
    if (e->n_recomputed > 0) fprintf(out, ", %zu layers recomputed", e->n_recomputed);
    fprintf(out, "\n");
    for (size_t s = 0; s < e->n_stages && e->choice.pipeline > 1; s++) {
        char first[TEXT], last[TEXT];
        sp_plan_block_name(first, TEXT, &plan->chain, e->stages[s].begin);
        sp_plan_block_name(last, TEXT, &plan->chain, e->stages[s].end - 1);
        fprintf(out, "  stage %zu on rank %zu: %s .. %s\n", s, s % e->choice.pipeline, first, last);
    }
}

static void print_memory(FILE *out, const sp_plan *plan, const sp_plan_estimate *e) {
    char text[TEXT], all[TEXT];
    const uint64_t total = sp_memory_total(&e->memory);
    fprintf(out, "\nmemory of rank %zu, at most\n", e->rank);
    for (sp_memory_item i = 0; i < SP_N_MEMORY_ITEMS; i++)
        if (e->memory.items[i] > 0)
            fprintf(out, "  %-24s %12s %11.1f %%\n", sp_memory_item_names[i],
                    sp_memory_text(text, TEXT, e->memory.items[i]),
                    100 * (double)e->memory.items[i] / (double)total);
    fprintf(out, "  %-24s %12s\n", "total", sp_memory_text(text, TEXT, total));
    if (e->memory.file_pages > 0)
        fprintf(out, "  %-24s %12s  pages of model files, read once and given back\n",
                "while loading", sp_memory_text(text, TEXT, e->memory.file_pages));
    fprintf(out, "  %-24s %12s  of %s for %zu rank(s)%s\n", "the node",
            sp_memory_text(text, TEXT, e->node_bytes),
            sp_memory_text(all, TEXT, plan->machine.node_bytes), plan->machine.ranks_per_node,
            e->fits ? "" : ": does not fit");
}

static void print_exchange(FILE *out, const char *name, uint64_t n_bytes, double full_s,
                           double exposed_s) {
    char volume[TEXT], full[TEXT], exposed[TEXT];
    fprintf(out, "  %-24s %12s  of %s; %s sent by a rank\n", name, seconds_text(exposed, exposed_s),
            seconds_text(full, full_s), sp_memory_text(volume, TEXT, n_bytes));
}

static sp_status print_step(FILE *out, const sp_plan *plan, const sp_plan_estimate *e) {
    char text[TEXT], volume[TEXT];
    flops f = {0};
    SP_TRY(count_flop(&f, plan));
    fprintf(out, "\nseconds of a step\n");
    fprintf(out, "  %-24s %12s  bubble %.1f %%, balance %.2f\n", "forward and backward",
            seconds_text(text, e->pipeline_s), 100 * e->bubble, e->balance);
    if (e->choice.pipeline > 1)
        fprintf(out, "  %-24s %12s  within these; %s sent by a rank\n", "  between stages",
                seconds_text(text, e->wire_s), sp_memory_text(volume, TEXT, e->wire_bytes));
    if (e->choice.data > 1) {
        print_exchange(out, "gradients, reduced", e->reduce_bytes, e->full_reduce_s, e->reduce_s);
        print_exchange(out, "values, gathered", e->gather_bytes, e->full_gather_s, e->gather_s);
    }
    fprintf(out, "  %-24s %12s\n", "update", seconds_text(text, e->update_s));
    fprintf(out, "  %-24s %12s\n", "agreement", seconds_text(text, e->agree_s));
    fprintf(out, "  %-24s %12s  %.0f context tokens/s, %.0f %% of the cores' products\n", "total",
            seconds_text(text, e->step_s), tokens_per_s(plan, e),
            100 * flops_share(plan, e, f.segment));
    if (plan->chain.data.n_steps > 0)
        fprintf(out, "  %-24s %10.1f h  without validation and start\n", "the run",
                sp_plan_hours(plan, e));
    return SP_OK;
}

static void print_best(FILE *out, const sp_plan_report *report) {
    enum { MOST_ROWS = 8 };
    const sp_plan *plan = &report->plan;
    if (!report->best[0].fits) {
        fprintf(out, "\nno grid of these ranks fits; the one that needs least:\n");
    } else {
        fprintf(out, "\nfastest grids that fit\n");
    }
    fprintf(out, "  %8s %6s %6s %-11s %9s %11s %11s %10s %7s %11s %9s\n", "pipeline", "data",
            "micro", "cut", "recompute", "rank", "node", "step", "bubble", "tokens/s", "hours");
    for (size_t i = 0; i < report->n_best && i < MOST_ROWS; i++) {
        const sp_plan_estimate *e = &report->best[i];
        char rank[TEXT], node[TEXT], step[TEXT];
        fprintf(out, "  %8zu %6zu %6zu %-11s %9zu %11s %11s %10s %5.1f %% %11.0f %9.1f\n",
                e->choice.pipeline, e->choice.data, e->choice.micro_batch,
                e->choice.pipeline == 1 ? "-"
                : e->choice.is_folded   ? "folded"
                                        : "contiguous",
                e->n_recomputed, sp_memory_text(rank, TEXT, sp_memory_total(&e->memory)),
                sp_memory_text(node, TEXT, e->node_bytes), seconds_text(step, e->step_s),
                100 * e->bubble, tokens_per_s(plan, e), sp_plan_hours(plan, e));
    }
}

static void print_scale(FILE *out, const char *title, const sp_scale *scale, const sp_plan *plan) {
    fprintf(out, "\n%s\n  %6s %7s %8s %8s %6s %6s %-11s %10s %7s %12s %10s\n", title, "nodes",
            "ranks", "batch", "pipeline", "data", "micro", "cut", "step", "bubble", "tokens/s",
            "efficiency");
    for (size_t i = 0; i < scale->n_points; i++) {
        const sp_scale_point *p = &scale->points[i];
        const sp_plan_choice *c = &p->best.choice;
        char step[TEXT];
        fprintf(out, "  %6zu %7zu %8zu %8zu %6zu %6zu %-11s %10s %5.1f %% %12.0f %10.2f\n",
                p->n_nodes, p->n_nodes * plan->machine.ranks_per_node, p->global_batch, c->pipeline,
                c->data, c->micro_batch,
                c->pipeline == 1 ? "-"
                : c->is_folded   ? "folded"
                                 : "contiguous",
                seconds_text(step, p->best.step_s), 100 * p->best.bubble, p->tokens_per_s,
                p->efficiency);
    }
    if (scale->n_points == 0) fprintf(out, "  no grid fits\n");
}

sp_status sp_plan_report_print(FILE *out, const sp_plan_report *report) {
    const sp_plan *plan = &report->plan;
    const sp_machine *m = &plan->machine;
    char memory[TEXT];
    fprintf(out,
            "%zu node(s) of %zu rank(s), %.3g core(s) each; %s (%s), %s for the ranks of a node; "
            "network %s (%s)\n\n",
            m->n_nodes, m->ranks_per_node, sp_machine_cores_per_rank(m), m->cpu.name, m->cpu.what,
            sp_memory_text(memory, TEXT, m->node_bytes), m->network.name, m->network.what);
    print_parameters(out, plan);
    SP_TRY(print_flop(out, plan));
    print_choice(out, "as configured", plan, &report->configured);
    print_memory(out, plan, &report->configured);
    SP_TRY(print_step(out, plan, &report->configured));
    print_best(out, report);
    if (report->strong != NULL) print_scale(out, "strong scaling", report->strong, plan);
    if (report->weak != NULL) print_scale(out, "weak scaling", report->weak, plan);
    return SP_OK;
}

/* ---- JSON ---- */

static json_t *count(uint64_t n) { return json_integer((json_int_t)n); }

static json_t *memory_json(const sp_memory *memory) {
    json_t *object = json_object();
    for (sp_memory_item i = 0; i < SP_N_MEMORY_ITEMS; i++)
        json_object_set_new(object, sp_memory_item_keys[i], count(memory->items[i]));
    json_object_set_new(object, "total", count(sp_memory_total(memory)));
    json_object_set_new(object, "file_pages", count(memory->file_pages));
    json_object_set_new(object, "peak_resident", count(sp_memory_peak(memory)));
    return object;
}

static json_t *stages_json(const sp_plan_estimate *e) {
    json_t *list = json_array();
    for (size_t s = 0; s < e->n_stages; s++)
        json_array_append_new(
            list, json_pack("{s:o, s:o, s:o}", "rank", count(s % e->choice.pipeline), "begin",
                            count(e->stages[s].begin), "end", count(e->stages[s].end)));
    return list;
}

static json_t *estimate_json(const sp_plan *plan, const sp_plan_estimate *e) {
    json_t *seconds =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "step", e->step_s, "pipeline",
                  e->pipeline_s, "reduce_exposed", e->reduce_s, "gather_exposed", e->gather_s,
                  "update", e->update_s, "agree", e->agree_s, "wire", e->wire_s, "reduce",
                  e->full_reduce_s, "gather", e->full_gather_s);
    json_t *sent = json_pack("{s:o, s:o, s:o}", "wire", count(e->wire_bytes), "reduce",
                             count(e->reduce_bytes), "gather", count(e->gather_bytes));
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:s, s:i, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:f, s:f, "
        "s:f, s:f, s:o}",
        "pipeline", count(e->choice.pipeline), "data", count(e->choice.data), "micro_batch",
        count(e->choice.micro_batch), "pass_samples", count(e->pass_samples), "cut",
        e->choice.is_folded ? "folded" : "contiguous", "zero", e->choice.zero, "recomputed_layers",
        count(e->n_recomputed), "fits", e->fits, "memory", memory_json(&e->memory), "memory_rank",
        count(e->rank), "node_bytes", count(e->node_bytes), "seconds", seconds, "bytes_sent", sent,
        "bubble", e->bubble, "balance", e->balance, "tokens_per_second", tokens_per_s(plan, e),
        "hours", sp_plan_hours(plan, e), "stages", stages_json(e));
}

static json_t *scale_json(const sp_plan *plan, const sp_scale *scale) {
    json_t *list = json_array();
    for (size_t i = 0; i < scale->n_points; i++) {
        const sp_scale_point *p = &scale->points[i];
        json_array_append_new(
            list,
            json_pack("{s:o, s:o, s:o, s:f, s:f, s:o, s:o, s:o, s:f}", "nodes", count(p->n_nodes),
                      "ranks", count(p->n_nodes * plan->machine.ranks_per_node), "global_batch",
                      count(p->global_batch), "tokens_per_second", p->tokens_per_s, "efficiency",
                      p->efficiency, "pipeline", count(p->best.choice.pipeline), "data",
                      count(p->best.choice.data), "micro_batch", count(p->best.choice.micro_batch),
                      "step_seconds", p->best.step_s));
    }
    return list;
}

static json_t *parameters_json(const sp_plan *plan) {
    part parts[N_PARTS];
    uint64_t n_values = 0, n_trained = 0;
    json_t *object = json_object();
    count_parts(parts, plan);
    for (int i = 0; i < N_PARTS; i++) {
        json_object_set_new(object, parts[i].key,
                            json_pack("{s:o, s:o}", "all", count(parts[i].n_values), "trained",
                                      count(parts[i].n_trained)));
        n_values += parts[i].n_values;
        n_trained += parts[i].n_trained;
    }
    json_object_set_new(
        object, "total",
        json_pack("{s:o, s:o}", "all", count(n_values), "trained", count(n_trained)));
    return object;
}

static json_t *machine_json(const sp_machine *m) {
    return json_pack("{s:o, s:o, s:s, s:o, s:f, s:f, s:f, s:o, s:s, s:f, s:f}", "nodes",
                     count(m->n_nodes), "ranks_per_node", count(m->ranks_per_node), "cpu",
                     m->cpu.name, "cores", count(m->cpu.cores), "f32_flops_per_core", m->cpu.f32,
                     "bf16_flops_per_core", m->cpu.bf16, "memory_bandwidth",
                     m->cpu.memory_bandwidth, "node_bytes", count(m->node_bytes), "network",
                     m->network.name, "network_latency", m->network.latency, "network_bandwidth",
                     m->network.bandwidth);
}

sp_status sp_plan_report_json(json_t **object, const sp_plan_report *report) {
    enum { MOST_LISTED = 16 };
    const sp_plan *plan = &report->plan;
    const sp_plan_data *data = &plan->chain.data;
    flops f = {0};
    SP_TRY(count_flop(&f, plan));
    json_t *best = json_array();
    for (size_t i = 0; i < report->n_best && i < MOST_LISTED; i++)
        json_array_append_new(best, estimate_json(plan, &report->best[i]));
    json_t *flop = json_pack("{s:f, s:f, s:f, s:f}", "per_token", f.segment / data->encoder_tokens,
                             "per_segment", f.segment, "encoder_per_segment", f.encoder,
                             "decoder_per_segment", f.decoder);
    json_t *of_data =
        json_pack("{s:b, s:f, s:f, s:o, s:o}", "is_read", data->is_read, "encoder_tokens",
                  data->encoder_tokens, "decoder_tokens", data->decoder_tokens, "steps",
                  count(data->n_steps), "global_batch", count(plan->global_batch));
    if (data->segments > 0) {
        json_object_set_new(of_data, "segments_per_row", json_real(data->segments));
        json_object_set_new(of_data, "prompt_tokens", json_real(data->prompt_tokens));
        json_object_set_new(of_data, "answer_tokens", json_real(data->answer_tokens));
    }
    json_t *made =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "machine", machine_json(&plan->machine),
                  "parameters", parameters_json(plan), "flop", flop, "data", of_data, "configured",
                  estimate_json(plan, &report->configured), "best", best);
    if (made == NULL) return sp_fail(SP_FAILURE, "no memory for a plan");
    if (report->strong != NULL)
        json_object_set_new(made, "strong_scaling", scale_json(plan, report->strong));
    if (report->weak != NULL)
        json_object_set_new(made, "weak_scaling", scale_json(plan, report->weak));
    *object = made;
    return SP_OK;
}
