/* How a plan grows with its nodes: the best grid for each power of two.

   Strong: the global batch stays, so that steps get shorter. Weak: it grows with the nodes, so that
   every node keeps its work. Efficiency is speed over that of one node (or of the fewest on which a
   grid fits) times the nodes. */
#pragma once

#include "run/plan.h"

enum { SP_SCALE_MOST_POINTS = 16 };

typedef struct sp_scale_point {
    size_t n_nodes, global_batch;
    sp_plan_estimate best;
    double tokens_per_s; /* context tokens */
    double efficiency;
} sp_scale_point;

typedef struct sp_scale {
    sp_scale_point points[SP_SCALE_MOST_POINTS];
    size_t n_points; /* node counts on which no grid fits are left out */
} sp_scale;

/* Fills *scale for 1, 2, 4 .. most_nodes nodes of plan's machine. The plan is as before afterwards.
   SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_plan_scale(sp_scale *scale, sp_plan *plan, size_t most_nodes,
                                     bool is_weak);
