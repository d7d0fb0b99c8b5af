#include "cli/command.h"

#include "cli/config_options.h"
#include "cli/print_options.h"
#include "run/finetune_config.h"
#include "run/plan_report.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct plan_options {
    sp_config_options config;
    sp_plan_options plan;
    sp_json_option json;
    bool wants_machines;
} plan_options;

enum {
    OPTION_NODES = 256,
    OPTION_RANKS,
    OPTION_CPU,
    OPTION_NETWORK,
    OPTION_MEMORY,
    OPTION_SCALE,
    OPTION_MACHINES
};

static const struct argp_option argp_options[] = {
    {"nodes", OPTION_NODES, "N", 0, "Nodes (1)", 1},
    {"ranks-per-node", OPTION_RANKS, "R", 0,
     "Ranks on each node (1): one for each NUMA node is best", 1},
    {"cpu", OPTION_CPU, "NAME", 0,
     "What the nodes are made of: a name of --machines, or native (the default), this machine", 1},
    {"network", OPTION_NETWORK, "NAME", 0,
     "What joins them: a name of --machines (hdr), or LATENCY_US/GB_PER_S, such as 1.5/24", 1},
    {"memory", OPTION_MEMORY, "GIB", 0,
     "What the ranks of a node may take together, in GiB; by default what such nodes have", 1},
    {"scale", OPTION_SCALE, NULL, 0,
     "Also the best grid on 1, 2, 4 .. 1024 nodes: with this global batch, and with one that grows",
     2},
    {"machines", OPTION_MACHINES, NULL, 0, "List the CPUs and networks that are known", 2},
    {0},
};

static uint64_t parse_gib(const char *text, const struct argp_state *state) {
    char *end = NULL;
    const double gib = strtod(text, &end);
    if (end == text || *end != '\0' || !(gib > 0 && gib < 1e9))
        argp_error(state, "--memory: '%s' is not a number of GiB", text);
    return (uint64_t)(gib * 1073741824.0);
}

static size_t parse_machines(const char *option, const char *text, size_t most,
                             const struct argp_state *state) {
    const size_t n = sp_parse_count(option, text, 1, state);
    if (n > most) argp_error(state, "%s: %zu is more than %zu", option, n, most);
    return n;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    plan_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        state->child_inputs[1] = &options->json;
        return 0;
    case OPTION_NODES:
        options->plan.n_nodes = parse_machines("--nodes", argument, 1 << 20, state);
        return 0;
    case OPTION_RANKS:
        options->plan.ranks_per_node = parse_machines("--ranks-per-node", argument, 1024, state);
        return 0;
    case OPTION_CPU:
        options->plan.cpu = argument;
        return 0;
    case OPTION_NETWORK:
        options->plan.network = argument;
        return 0;
    case OPTION_MEMORY:
        options->plan.node_bytes = parse_gib(argument, state);
        return 0;
    case OPTION_SCALE:
        options->plan.wants_scale = true;
        return 0;
    case OPTION_MACHINES:
        options->wants_machines = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': plan takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->config.file == NULL && options->config.assignments.n == 0 &&
            !options->wants_machines)
            argp_error(state, "needs --config FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_config_argp, 0, NULL, 0},
    {&sp_json_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .doc = "Says what a training run would take on machines that need not be here, without "
           "running it: parameters, FLOP, memory of a rank item by item, communication, seconds "
           "of a step, hours, and the fastest grids that fit. Models are read as far as "
           "config.json or a GGUF file's header; neither their weights nor the token file need "
           "be there. Of fine-tuning (data.rows) the rows are read, with the models' tokenizers; "
           "before "
           "train.init is there, set it to null and name the models.\v"
           "A configuration that does not fit is refused with exit code 64, after the plan: the "
           "message names the item that takes most, and what to change. Try the table's other "
           "grids by --set parallel.pipeline=P --set train.micro_batch=M. An example:\n\n"
           "  slotpress plan --config configs/pcc-large/stage2.yaml --nodes 16 --ranks-per-node "
           "8 --cpu zen4 --network hdr --set decoder.precision=bf16 --set train.precision=bf16\n\n"
           "Memory is held to within 10 % of what runs take. Seconds are a model's "
           "(mpi/README.md): good for comparing grids, and otherwise as good as the rates of "
           "--machines; `--cpu native` measures this machine's.",
};

static sp_status print(const sp_plan_report *report, bool wants_json) {
    if (!wants_json) return sp_plan_report_print(stdout, report);
    json_t *object = NULL;
    SP_TRY(sp_plan_report_json(&object, report));
    sp_print_json(object);
    json_decref(object);
    return SP_OK;
}

static sp_status run(const sp_run_config *config, const plan_options *options) {
    sp_plan_report report;
    SP_TRY(sp_plan_report_make(&report, config, &options->plan));
    sp_status status = print(&report, options->json.is_wanted);
    if (status == SP_OK) status = sp_plan_refuse(&report.plan, &report.configured, &report.best[0]);
    sp_plan_report_free(&report);
    return status;
}

/* Of pretrain, or where there are rows of finetune. */
static sp_status load(sp_run_config *config, const sp_config_options *from) {
    const char *const *assignments = from->assignments.items;
    const size_t n = from->assignments.n;
    bool is_of_rows = false;
    SP_TRY(sp_finetune_config_is_meant(&is_of_rows, from->file, assignments, n));
    return is_of_rows ? sp_finetune_config_load(config, from->file, assignments, n)
                      : sp_run_config_load(config, from->file, assignments, n);
}

sp_status sp_cmd_plan(int argc, char **argv) {
    plan_options options = {
        .json = {.members = "bytes, seconds, FLOP"},
        .plan = {.cpu = "native", .network = "hdr", .n_nodes = 1, .ranks_per_node = 1}};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    if (options.wants_machines) {
        sp_machine_print_tables(stdout);
        return SP_OK;
    }
    sp_run_config config = {0};
    sp_status status = load(&config, &options.config);
    if (status == SP_OK) status = run(&config, &options);
    sp_run_config_free(&config);
    return status;
}
