/* The wire between the stages of a pipeline: activations go forward, their gradients back, as f32
   or rounded to bf16.

   A send copies and returns; a thread keeps it moving while this rank computes (where MPI allows
   one thread only, it moves when this rank next waits). Messages are told apart by stage, direction
   and micro-batch, so that their order does not matter. Point to point, between neighbours of one
   pipeline. */
#pragma once

#include "base/status.h"
#include "mpi/grid.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_wire sp_wire;

/* Makes this rank's end into *wire, owned; the grid is borrowed until sp_wire_destroy(). Collective
   over the pipeline, with equal is_bf16. SP_FAILURE: no memory, or no thread to be had. */
SP_NODISCARD sp_status sp_wire_create(sp_wire **wire, const sp_grid *grid, bool is_bf16);

/* Collective over the pipeline, when all that was sent has been received. NULL is fine. */
void sp_wire_destroy(sp_wire *wire);

/* What is transferred: what `stage` reads in its forward pass, or the gradient of what it wrote. */
typedef struct sp_transfer {
    size_t stage, micro_batch;
    bool is_gradient;
} sp_transfer;

/* Sends x [n] to rank `to` of the pipeline; x may be overwritten after the call. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_wire_send(sp_wire *wire, size_t to, sp_transfer transfer, const float *x,
                                    size_t n);

/* Receives x [n] from rank `from`; sleeps until it has come. */
SP_NODISCARD sp_status sp_wire_receive(sp_wire *wire, size_t from, sp_transfer transfer, float *x,
                                       size_t n);
