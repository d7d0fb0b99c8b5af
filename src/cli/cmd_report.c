#include "cli/command.h"

#include "run/plan_machine.h"
#include "run/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_RUNS = 64,
    OPTION_RESULTS = 256,
    OPTION_OUTPUT,
    OPTION_PNG,
    OPTION_PEAK,
    OPTION_CSV,
    OPTION_TABLE,
    OPTION_JSON
};

typedef struct report_options {
    sp_report_job job;
    const char *runs[MOST_RUNS], *results[MOST_RUNS];
    bool wants_native_peak;
} report_options;

static const struct argp_option argp_options[] = {
    {"results", OPTION_RESULTS, "FILE", 0,
     "What `slotpress evaluate ... --json` printed, one result or several; may come several times. "
     "RUN/evaluate*.json and .jsonl are found by themselves",
     0},
    {"output", OPTION_OUTPUT, "FILE", 0, "The page (report.html in the first RUN)", 0},
    {"png", OPTION_PNG, "DIR", 0, "Folder of the PNG files (that of the page)", 0},
    {"peak", OPTION_PEAK, "FLOPS|native", 0,
     "FLOP/s that all ranks of a run reach at most, such as 2.5T, for MFU, in place of what the "
     "run "
     "measured when it began; native: what this machine reaches in f32, measured in half a second",
     0},
    {"csv", OPTION_CSV, NULL, 0, "Print the numbers as CSV; no page unless --output is there, too",
     0},
    {"table", OPTION_TABLE, NULL, 0,
     "Print the results of evaluate as text, a table a task and a line a method; likewise", 0},
    {"json", OPTION_JSON, NULL, 0, "Print them as one JSON object: scores, by_length; likewise", 0},
    {0},
};

/* A number with a suffix, above 0. */
static double parse_peak(const char *text, const struct argp_state *state) {
    static const char suffixes[] = "KMGTPE";
    char *end = NULL;
    double value = strtod(text, &end);
    const char *suffix = *end != '\0' ? strchr(suffixes, *end) : NULL;
    if (suffix != NULL) {
        value *= pow(1000, (double)(suffix - suffixes + 1));
        end++;
    }
    if (end == text || *end != '\0' || !isfinite(value) || !(value > 0))
        argp_error(state,
                   "--peak: '%s' is neither a number above 0, such as 800G or 2.5T, nor native",
                   text);
    return value;
}

static void add(const char **items, size_t *n, const char *item, const char *what,
                const struct argp_state *state) {
    if (*n == MOST_RUNS) argp_error(state, "more than %d %s", (int)MOST_RUNS, what);
    items[(*n)++] = item;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    report_options *options = state->input;
    sp_report_job *job = &options->job;
    switch (key) {
    case OPTION_RESULTS:
        add(options->results, &job->n_results, argument, "files of results", state);
        return 0;
    case OPTION_OUTPUT:
        job->output = argument;
        return 0;
    case OPTION_PNG:
        job->png = argument;
        return 0;
    case OPTION_PEAK:
        options->wants_native_peak = strcmp(argument, "native") == 0;
        if (!options->wants_native_peak) job->peak = parse_peak(argument, state);
        return 0;
    case OPTION_CSV:
    case OPTION_TABLE:
    case OPTION_JSON:
        if (job->prints != SP_REPORT_NOTHING)
            argp_error(state, "one of --csv, --table and --json at a time");
        job->prints = key == OPTION_CSV     ? SP_REPORT_CSV
                      : key == OPTION_TABLE ? SP_REPORT_TABLE
                                            : SP_REPORT_JSON;
        return 0;
    case ARGP_KEY_ARG:
        add(options->runs, &job->n_runs, argument, "runs", state);
        return 0;
    case ARGP_KEY_END:
        if (job->n_runs == 0 && job->n_results == 0)
            argp_error(state, "needs a RUN, the folder of a training run");
        if (job->n_runs == 0 && job->output == NULL && job->prints == SP_REPORT_NOTHING)
            argp_error(state, "without a RUN the page needs a place: --output FILE");
        if (job->png != NULL && job->prints != SP_REPORT_NOTHING && job->output == NULL)
            argp_error(state,
                       "--png goes with a page: beside what is printed, name one by --output");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "RUN...",
    .doc =
        "Makes one HTML page, and PNG files beside it, of training runs, side by side: losses, "
        "learning rate, gradient norm, throughput and MFU over tokens, results of evaluate beside "
        "the paper's figures, samples with what differs marked, configurations. Plots are drawn by "
        "gnuplot; without it the page has the tables.",
};

static sp_status measure_peak(double *peak) {
    sp_cpu cpu;
    SP_TRY(sp_cpu_find(&cpu, "native"));
    *peak = cpu.f32 * (double)cpu.cores;
    return SP_OK;
}

sp_status sp_cmd_report(int argc, char **argv) {
    report_options options = {0};
    sp_report_made made = {0};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    options.job.runs = options.runs;
    options.job.results = options.results;
    if (options.wants_native_peak) SP_TRY(measure_peak(&options.job.peak));
    SP_TRY(sp_report(&made, &options.job));
    if (made.failure != NULL) fprintf(stderr, "slotpress report: %s\n", made.failure);
    if (made.page != NULL && options.job.prints == SP_REPORT_NOTHING)
        printf("%s: %zu plots\n", made.page, made.n_drawings);
    sp_report_made_free(&made);
    return SP_OK;
}
