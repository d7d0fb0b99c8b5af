#include "io/family_tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a base model's names lack, told by its embedding's. */
static const struct {
    const char *embedding, *prefix;
} bases[] = {{"embed_tokens.weight", "model."}, {"wte.weight", "transformer."}};

static const char *const buffers[] = {".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"};

/* Weights that a family stores [in, out]. */
static const struct {
    const char *model_type, *ending;
} conv1d[] = {
    {"gpt2", ".attn.c_attn.weight"},
    {"gpt2", ".attn.c_proj.weight"},
    {"gpt2", ".mlp.c_fc.weight"},
    {"gpt2", ".mlp.c_proj.weight"},
};

enum {
    N_BASES = sizeof bases / sizeof bases[0],
    N_BUFFERS = sizeof buffers / sizeof buffers[0],
    N_CONV1D = sizeof conv1d / sizeof conv1d[0]
};

static bool ends_with(const char *name, const char *ending) {
    const size_t len = strlen(name), ending_len = strlen(ending);
    return len >= ending_len && strcmp(name + len - ending_len, ending) == 0;
}

static bool is_buffer(const char *name) {
    for (size_t i = 0; i < N_BUFFERS; i++)
        if (ends_with(name, buffers[i])) return true;
    return false;
}

static void leave_out_buffers(sp_tensor_table *tensors, size_t *n_left_out) {
    const size_t n = tensors->n_entries;
    tensors->n_entries = 0;
    for (size_t i = 0; i < n; i++)
        if (is_buffer(tensors->entries[i].name)) {
            free(tensors->entries[i].name);
            ++*n_left_out;
        } else {
            tensors->entries[tensors->n_entries++] = tensors->entries[i];
        }
}

/* The head has the same name in both. */
static sp_status put_in_front(sp_tensor_table *tensors, const char *prefix) {
    for (size_t i = 0; i < tensors->n_entries; i++) {
        char **name = &tensors->entries[i].name, *longer = NULL;
        if (strncmp(*name, "lm_head.", 8) == 0) continue;
        if (asprintf(&longer, "%s%s", prefix, *name) < 0)
            return sp_fail(SP_FAILURE, "no memory for the tensor name '%s'", *name);
        free(*name);
        *name = longer;
    }
    return SP_OK;
}

/* One that is no matrix stays, for the model to refuse by its shape. */
static void mark_transposed(sp_tensor *tensor) {
    if (tensor->n_dims != 2) return;
    const size_t n_in = tensor->shape[0];
    tensor->shape[0] = tensor->shape[1];
    tensor->shape[1] = n_in;
    tensor->is_transposed = true;
}

sp_status sp_family_tensors_settle(sp_tensor_table *tensors, size_t *n_left_out,
                                   const char *model_type, const char *path) {
    leave_out_buffers(tensors, n_left_out);
    for (size_t i = 0; i < N_BASES; i++)
        if (sp_tensor_table_find(tensors, bases[i].embedding) != NULL) {
            SP_TRY(put_in_front(tensors, bases[i].prefix));
            break;
        }
    if (sp_tensor_table_sort(tensors) != SP_OK)
        return sp_fail(SP_BAD_DATA, "'%s': %s", path, sp_message());
    for (size_t i = 0; i < tensors->n_entries; i++)
        if (sp_family_stores_transposed(model_type, tensors->entries[i].name))
            mark_transposed(&tensors->entries[i].tensor);
    return SP_OK;
}

bool sp_family_stores_transposed(const char *model_type, const char *name) {
    for (size_t i = 0; i < N_CONV1D && model_type != NULL; i++)
        if (strcmp(model_type, conv1d[i].model_type) == 0 && ends_with(name, conv1d[i].ending))
            return true;
    return false;
}
