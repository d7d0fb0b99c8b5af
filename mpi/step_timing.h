/* How evenly the ranks were busy in a step: who was slowest, and what share of the time was lost.

   Of each rank's busy seconds b_r (computing, not waiting) and the step's seconds t:
   balance = mean(b) / max(b), the share that would be left of the slowest rank's time if the work
   were dealt evenly; bubble = 1 - mean(b) / t, the share of all ranks' time that was spent
   waiting. */
#pragma once

#include "mpi/world.h"

typedef struct sp_step_timing {
    int slowest_rank;         /* the busiest; the lowest of equals */
    const char *slowest_host; /* its host; borrowed from the world */
    double slowest_seconds;   /* what it was busy */
    double mean_seconds;      /* what the ranks were busy on average */
    double balance;           /* 1 if nobody was busy */
    double bubble;            /* within 0 and 1; 0 if the step took no time */
} sp_step_timing;

/* Collective over the world: two all_reduces of a few numbers at once. `busy_s` and `step_s` are
   the rank's own, in seconds, finite; the step's is their mean over the ranks. The same result on
   every rank. */
sp_step_timing sp_step_timing_reduce(sp_world *world, double busy_s, double step_s);
