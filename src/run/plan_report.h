/* A plan as people and as machines read it. */
#pragma once

#include "base/json.h"
#include "run/plan_scale.h"

#include <stdio.h>

typedef struct sp_plan_report {
    sp_plan plan;
    sp_plan_estimate configured; /* the grid that the configuration asks for */
    sp_plan_estimate *best;      /* [n_best], owned, fastest first; see sp_plan_search() */
    size_t n_best;
    sp_scale *strong, *weak; /* owned, or NULL: not asked for */
} sp_plan_report;

typedef struct sp_plan_options {
    const char *cpu, *network; /* names (run/plan_machine.h) */
    size_t n_nodes, ranks_per_node;
    uint64_t node_bytes; /* 0: as the CPU's nodes have */
    bool wants_scale;
} sp_plan_options;

/* Makes the plan of `config` (borrowed) into *report, which stays where it is. */
SP_NODISCARD sp_status sp_plan_report_make(sp_plan_report *report, const sp_run_config *config,
                                           const sp_plan_options *options);
void sp_plan_report_free(sp_plan_report *report);

/* Prints tables with aligned columns. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_plan_report_print(FILE *out, const sp_plan_report *report);

/* Makes the same as an object, owned: bytes, seconds, FLOP. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_plan_report_json(json_t **object, const sp_plan_report *report);
