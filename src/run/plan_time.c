#include "run/plan_time.h"

#include <math.h>

/* Times that a block's output and kept bytes pass the memory bus: written and read once forward;
   backward reads them, and reads and writes gradients as large. */
static const double FORWARD_TRAFFIC = 2, BACKWARD_TRAFFIC = 4;

/* A share of products' rate that a whole block comes to: attention, norms and activations are not
   products. bench_step comes to 0.8 of the rate of products alone for a whole step in f32. */
static const double BLOCK_SHARE = 0.85;

/* Rows with which a product reaches half of its rate: of 512 rows' rate, 64 rows were measured to reach
   0.85 to 0.95, and 8 rows 0.4 to 0.6, in f32 on unpacked weights. */
static const double HALF_RATE_ROWS = 10;

/* bf16 weights are expanded to f32 in panels where the CPU has no instructions for them. */
static const double PANEL_SHARE = 0.9;

/* Bytes of memory traffic for a value: AdamW reads value, two moments and gradient, and writes the
   first three; the norm reads the gradient. */
static const double UPDATE_BYTES = 4 * 8;

/* Through shared memory a byte is written by its sender, and read by its receiver, which for a sum
   also reads and writes its own. */
static const double SHARED_TRAFFIC = 3;

/* Agreements: on the share, losses and norm, the update, metrics. */
enum { AGREEMENTS = 6 };

static double rate_of(const sp_plan *plan, bool is_f32) {
    const sp_cpu *cpu = &plan->machine.cpu;
    const double cores = sp_machine_cores_per_rank(&plan->machine) * BLOCK_SHARE;
    if (is_f32) return cores * cpu->f32;
    return cores * (cpu->bf16 > 0 ? cpu->bf16 : cpu->f32 * PANEL_SHARE);
}

static double bandwidth_of(const sp_plan *plan) {
    return plan->machine.cpu.memory_bandwidth / (double)plan->machine.ranks_per_node;
}

/* In int8 a product is forward alone; back to the input it is f32. */
static double rate_of_int8(const sp_plan *plan) {
    const double f32 = rate_of(plan, true), int8 = plan->machine.cpu.int8 / plan->machine.cpu.f32;
    return int8 > 1 ? f32 * 2 / (1 + 1 / int8) : f32 * PANEL_SHARE;
}

double sp_plan_rate(const sp_plan *plan, sp_side side) {
    const sp_precision precision = plan->chain.precisions[side];
    return precision == SP_PRECISION_INT8 ? rate_of_int8(plan)
                                          : rate_of(plan, precision == SP_PRECISION_F32);
}

void sp_plan_block_seconds(double *forward_s, double *backward_s, const sp_plan *plan,
                           const sp_plan_cost *costs) {
    const sp_chain *chain = sp_plan_blocks(&plan->chain);
    const double f32 = rate_of(plan, true), bandwidth = bandwidth_of(plan);
    for (size_t b = 0; b < chain->n_blocks; b++) {
        const sp_plan_cost *c = &costs[b];
        const double slowed = c->rows > 0 ? (c->rows + HALF_RATE_ROWS) / c->rows : 1;
        const double adapted = f32 / slowed;
        const double frozen = sp_plan_rate(plan, sp_plan_block_side(&plan->chain, b)) / slowed;
        const double traffic = (c->output_bytes + c->kept_bytes) / bandwidth;
        forward_s[b] = c->adapted_forward / adapted +
                       (c->flop_forward - c->adapted_forward) / frozen + FORWARD_TRAFFIC * traffic;
        backward_s[b] = c->adapted_backward / adapted +
                        (c->flop_backward - c->adapted_backward) / frozen +
                        BACKWARD_TRAFFIC * traffic;
        if (chain->recomputes[b]) backward_s[b] += forward_s[b];
    }
}

double sp_plan_transfer_seconds(const sp_plan *plan, size_t pipeline, double n_bytes) {
    const sp_machine *m = &plan->machine;
    if (pipeline <= m->ranks_per_node && m->ranks_per_node % pipeline == 0)
        return SHARED_TRAFFIC * n_bytes / bandwidth_of(plan);
    return m->network.latency + n_bytes / m->network.bandwidth;
}

/* Members of a data group on one node, and the nodes that the group spans. */
typedef struct group_place {
    double members, nodes;
} group_place;

static group_place place_of(const sp_plan *plan, const sp_plan_choice *choice) {
    const size_t ranks = plan->machine.ranks_per_node, pipeline = choice->pipeline;
    const double fitting = pipeline < ranks ? (double)(ranks / pipeline) : 1;
    const double members = fmin(fitting, (double)choice->data);
    return (group_place){members, ceil((double)choice->data / members)};
}

sp_plan_exchange sp_plan_exchange_of(const sp_plan *plan, const sp_plan_choice *choice,
                                     uint64_t n_values, size_t n_groups) {
    if (choice->data == 1) return (sp_plan_exchange){0};
    const group_place at = place_of(plan, choice);
    const double ranks = (double)plan->machine.ranks_per_node, n_bytes = 4.0 * (double)n_values;
    /* Inside the node each of the members gets 1 / members of the sums, from all others. */
    const double inside = n_bytes * (at.members - 1) / at.members;
    /* Between nodes each rank moves its part; all ranks of the node share the link. */
    const double between = n_bytes / at.members * (at.nodes - 1) / at.nodes;
    const sp_network *network = &plan->machine.network;
    const double latency = (double)n_groups * (at.nodes - 1) * network->latency;
    return (sp_plan_exchange){.seconds = SHARED_TRAFFIC * inside / bandwidth_of(plan) +
                                         between * ranks / network->bandwidth +
                                         (at.nodes > 1 ? latency : 0),
                              .n_bytes = (uint64_t)(inside + between)};
}

double sp_plan_update_seconds(const sp_plan *plan, double n_values) {
    return UPDATE_BYTES * n_values / bandwidth_of(plan);
}

double sp_plan_agree_seconds(const sp_plan *plan) {
    const double n = (double)(plan->machine.n_nodes * plan->machine.ranks_per_node);
    return AGREEMENTS * 2 * ceil(log2(n)) * plan->machine.network.latency;
}
