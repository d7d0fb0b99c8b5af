/* What a run is planned for: nodes of a known CPU, and the network between them.

   Rates are what our matrix products reach, not a data sheet's peak: floating-point operations in a
   cycle, times the clock that all cores hold together under such load, times the share of that which
   oneDNN's products were measured to reach. `native` is this machine, measured in half a second. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct sp_cpu {
    const char *name, *what; /* static */
    size_t cores;            /* of a node */
    /* FLOP/s of one core in products of matrices; bf16 is 0 where the CPU has no instructions for it,
       so that such weights are computed in f32; int8 is 0 if it was not measured */
    double f32, bf16, int8;
    double memory_bandwidth; /* bytes/s of a node, as STREAM measures it */
    uint64_t memory_bytes;   /* of a node, as most are built */
} sp_cpu;

typedef struct sp_network {
    const char *name, *what; /* static */
    double latency;          /* seconds from rank to rank */
    double bandwidth;        /* bytes/s of a node, each way */
} sp_network;

typedef struct sp_machine {
    sp_cpu cpu;
    sp_network network;
    size_t n_nodes, ranks_per_node;
    uint64_t node_bytes; /* what the ranks of a node may take together */
} sp_machine;

/* Finds a CPU by its name, or measures this machine for "native" (which takes half a second on all
   OpenMP threads). SP_USAGE: no such name; the message lists them. */
SP_NODISCARD sp_status sp_cpu_find(sp_cpu *cpu, const char *name);

/* Finds a network by its name, or takes one as "LATENCY_US/GB_PER_S", such as "1.5/24". SP_USAGE:
   neither. */
SP_NODISCARD sp_status sp_network_find(sp_network *network, const char *name);

/* Prints both tables, for --help. */
void sp_machine_print_tables(FILE *out);

/* Threads of one rank: the node's cores shared out, at least one; as a fraction where there are fewer
   cores than ranks. */
double sp_machine_cores_per_rank(const sp_machine *machine);
