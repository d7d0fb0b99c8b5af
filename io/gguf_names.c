#include "io/gguf_names.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 96 };

/* A name in GGUF and in a checkpoint: a whole one, or what stands between the layer's number and
   ".weight" or ".bias". */
typedef struct counterpart {
    const char *gguf, *checkpoint;
} counterpart;

static const counterpart llama_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {NULL, NULL},
};
static const counterpart gpt2_names[] = {
    {"token_embd.weight", "transformer.wte.weight"},
    {"position_embd.weight", "transformer.wpe.weight"},
    {"output_norm.weight", "transformer.ln_f.weight"},
    {"output_norm.bias", "transformer.ln_f.bias"},
    {"output.weight", "lm_head.weight"},
    {NULL, NULL},
};

static const counterpart llama_parts[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},       {NULL, NULL},
};
static const counterpart phi3_parts[] = {
    {"attn_norm", "input_layernorm"},    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_up", "mlp.gate_up_proj"}, /* both, in this order */
    {"ffn_down", "mlp.down_proj"},       {NULL, NULL},
};
static const counterpart gpt2_parts[] = {
    {"attn_norm", "ln_1"}, {"attn_qkv", "attn.c_attn"}, {"attn_output", "attn.c_proj"},
    {"ffn_norm", "ln_2"},  {"ffn_up", "mlp.c_fc"},      {"ffn_down", "mlp.c_proj"},
    {NULL, NULL},
};

typedef struct family {
    const char *model_type, *layers;
    const counterpart *names, *parts;
    bool has_interleaved_heads;
} family;
static const family families[] = {
    {"llama", "model.layers", llama_names, llama_parts, true},
    {"gpt2", "transformer.h", gpt2_names, gpt2_parts, false},
    {"qwen2", "model.layers", llama_names, llama_parts, false},
    {"phi3", "model.layers", llama_names, phi3_parts, false},
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static sp_status find_family(const family **found, const json_t *config, const char *path) {
    const char *model_type = "";
    SP_TRY(sp_json_get_string(&model_type, config, "model_type", path));
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strcmp(model_type, families[i].model_type) == 0) {
            *found = &families[i];
            return SP_OK;
        }
    return sp_fail(SP_BAD_DATA, "'%s': no names are known for model_type '%s'", path, model_type);
}

/* The name's counterpart, or NULL. */
static const char *look_up(const counterpart *table, const char *name, size_t len) {
    for (; table->gguf != NULL; table++)
        if (strlen(table->gguf) == len && memcmp(table->gguf, name, len) == 0)
            return table->checkpoint;
    return NULL;
}

/* "blk.12.attn_q.weight" in parts: the number's digits, and "attn_q" up to its end. False if the
   name is another. */
static bool split_layer_name(const char *name, int *n_digits, const char **part, size_t *part_len) {
    if (strncmp(name, "blk.", 4) != 0) return false;
    *n_digits = (int)strspn(name + 4, "0123456789");
    if (*n_digits == 0 || *n_digits > 9 || name[4 + *n_digits] != '.') return false;
    *part = name + 4 + *n_digits + 1;
    *part_len = strcspn(*part, ".");
    return strcmp(*part + *part_len, ".weight") == 0 || strcmp(*part + *part_len, ".bias") == 0;
}

/* Writes the checkpoint's name, or nothing: false. */
static bool make_name(char name[NAME_SIZE], const char *gguf_name, const family *of) {
    const char *whole = look_up(of->names, gguf_name, strlen(gguf_name));
    int n_digits = 0;
    const char *part = NULL, *module = NULL;
    size_t part_len = 0;
    if (whole == NULL && split_layer_name(gguf_name, &n_digits, &part, &part_len))
        module = look_up(of->parts, part, part_len);
    if (whole != NULL)
        snprintf(name, NAME_SIZE, "%s", whole);
    else if (module != NULL)
        snprintf(name, NAME_SIZE, "%s.%.*s.%s%s", of->layers, n_digits, gguf_name + 4, module,
                 part + part_len);
    return whole != NULL || module != NULL;
}

/* Of a head, the rows of q and k are interleaved, and likewise the values of their biases. */
static sp_status set_heads(sp_tensor *tensor, const char *name, size_t n_heads, size_t n_kv_heads,
                           const char *path) {
    const bool is_q = strstr(name, ".attn_q.") != NULL, is_k = strstr(name, ".attn_k.") != NULL;
    if (!is_q && !is_k) return SP_OK;
    const size_t n = is_q ? n_heads : n_kv_heads;
    const size_t n_rows = tensor->shape[0]; /* 0 without dimensions */
    if (tensor->n_dims > 2 || n == 0 || n_rows == 0 || n_rows % n != 0 || n_rows / n % 2 != 0)
        return sp_fail(SP_BAD_DATA, "'%s': the rows of tensor '%s' are not %zu even heads", path,
                       name, n);
    if (tensor->n_dims == 1 && sp_dtypes[tensor->dtype].block_values > 1)
        return sp_fail(SP_BAD_DATA,
                       "'%s': tensor '%s' is a vector of type %s, whose values cannot "
                       "be reordered",
                       path, name, sp_dtypes[tensor->dtype].name);
    tensor->n_interleaved_heads = n;
    return SP_OK;
}

sp_status sp_gguf_rename_tensors(sp_gguf *gguf, const json_t *config, const char *path) {
    const family *of = NULL;
    size_t n_heads = 0, n_kv_heads = 0;
    SP_TRY(find_family(&of, config, path));
    SP_TRY(sp_json_get_size(&n_heads, config, "num_attention_heads", path));
    n_kv_heads = n_heads;
    SP_TRY(sp_json_get_size(&n_kv_heads, config, "num_key_value_heads", path));
    for (size_t i = 0; i < gguf->tensors.n_entries; i++) {
        sp_named_tensor *entry = &gguf->tensors.entries[i];
        char name[NAME_SIZE];
        if (!make_name(name, entry->name, of)) continue;
        if (of->has_interleaved_heads)
            SP_TRY(set_heads(&entry->tensor, entry->name, n_heads, n_kv_heads, path));
        char *copy = strdup(name);
        if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the tensor name '%s'", name);
        free(entry->name);
        entry->name = copy;
    }
    if (sp_tensor_table_sort(&gguf->tensors) != SP_OK)
        return sp_fail(SP_BAD_DATA, "'%s': %s", path, sp_message());
    return SP_OK;
}
