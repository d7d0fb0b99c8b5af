#include "chain/shard.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

static size_t row_values(const sp_param *param) { return param->n_dims == 2 ? param->shape[1] : 1; }

/* The entry that holds value `at` of the flat arrays; entries lie in their order. */
static const sp_param *entry_at(const sp_params *params, size_t at) {
    size_t begin = 0, end = params->n_entries;
    while (end - begin > 1) {
        const size_t middle = begin + (end - begin) / 2;
        if (params->entries[middle]->offset <= at)
            begin = middle;
        else
            end = middle;
    }
    return params->entries[begin];
}

size_t sp_shard_cut(const sp_params *params, size_t g, size_t index, size_t n_shards) {
    const size_t begin = params->group_begin[g], end = sp_params_group_end(params, g);
    if (index == 0 || begin == end) return begin;
    if (index == n_shards) return end;
    const size_t at = begin + (size_t)((double)(end - begin) * (double)index / (double)n_shards);
    const sp_param *param = entry_at(params, at);
    const size_t width = row_values(param), row = (at - param->offset + width / 2) / width;
    return param->offset + row * width;
}

/* Calls for each parameter's rows in values [begin, end) of group g; with pieces NULL it only
   counts. */
static void add_pieces(sp_shard *shard, const sp_params *params, size_t begin, size_t end) {
    for (size_t at = begin; at < end;) {
        const sp_param *param = entry_at(params, at);
        const size_t width = row_values(param), param_end = param->offset + param->n_values;
        const size_t stop = end < param_end ? end : param_end;
        if (shard->pieces != NULL)
            shard->pieces[shard->n_pieces] =
                (sp_shard_piece){.param = param,
                                 .row_begin = (at - param->offset) / width,
                                 .n_rows = (stop - at) / width,
                                 .offset = at,
                                 .local = shard->n_values,
                                 .n_values = stop - at};
        shard->n_pieces++;
        shard->n_values += stop - at;
        at = stop;
    }
}

static void add_groups(sp_shard *shard, const sp_params *params, size_t index, size_t n_shards) {
    shard->n_pieces = shard->n_values = 0;
    for (size_t g = 0; g < params->n_groups; g++)
        add_pieces(shard, params, sp_shard_cut(params, g, index, n_shards),
                   sp_shard_cut(params, g, index + 1, n_shards));
}

sp_status sp_shard_create(sp_shard *shard, const sp_params *params, size_t index, size_t n_shards) {
    assert(index < n_shards);
    sp_shard made = {0};
    void *pieces = NULL;
    add_groups(&made, params, index, n_shards);
    SP_TRY(sp_alloc_array(&pieces, made.n_pieces, sizeof *made.pieces, "a shard"));
    made.pieces = pieces;
    add_groups(&made, params, index, n_shards);
    *shard = made;
    return SP_OK;
}

void sp_shard_free(sp_shard *shard) {
    free(shard->pieces);
    *shard = (sp_shard){0};
}
