#include "run/merge.h"

#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/mapping.h"
#include "io/model_source.h"
#include "run/export_parts.h"
#include "tensor/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART_VALUES = 1 << 20 /* of a tensor in memory at once: 4 MB */, NAME_SIZE = 320 };

static const char HEAD[] = "lm_head.weight";

/* What is added to a stored matrix: scale left right. */
typedef struct update {
    float *left;        /* [n_rows, rank], owned; NULL: nothing */
    const float *right; /* [rank, n_columns] */
    float *owned_right; /* the same where it is a copy */
    size_t rank;
    float scale;
} update; /* all zero: none */

typedef struct merging {
    const char *output;
    sp_export_parts parts;
    sp_model_source base;
    sp_safetensors_entry *entries; /* [n_entries], owned: those of the file */
    size_t n_entries;
    bool unties; /* the table is adapted, the head that shared it is not */
} merging;

/* ---- what is written ---- */

static bool is_tied(const merging *m) {
    const sp_model_config *config = &m->parts.encoder;
    return config->tie_word_embeddings || (config->may_tie_word_embeddings &&
                                           sp_tensor_table_find(&m->base.tensors, HEAD) == NULL);
}

/* A adapts this tensor: its entry, or NULL. `a_or_b` is "lora_A.weight" and so on. */
static const sp_safetensors_entry *find_adapter(const merging *m, const char *tensor,
                                                const char *a_or_b) {
    char name[NAME_SIZE];
    const size_t len = strlen(tensor), ending = strlen(".weight");
    if (len < ending || strcmp(tensor + len - ending, ".weight") != 0) return NULL;
    const int n = snprintf(name, sizeof name, "base_model.model.%.*s.%s", (int)(len - ending),
                           tensor, a_or_b);
    if (n < 0 || (size_t)n >= sizeof name) return NULL;
    return sp_export_parts_find(&m->parts, SP_PART_ADAPTER, name);
}

static sp_safetensors_entry entry_of(const char *name, const sp_tensor *tensor) {
    sp_safetensors_entry entry = {
        .name = name,
        .n_dims = tensor->n_dims,
        .dtype = sp_dtypes[tensor->dtype].block_values == 1 ? tensor->dtype : SP_F32};
    memcpy(entry.shape, tensor->shape, sizeof entry.shape);
    return entry;
}

/* As the file stores it, without the mark. */
static sp_tensor stored(const sp_tensor *tensor) {
    sp_tensor view = *tensor;
    if (view.is_transposed) {
        view.is_transposed = false;
        view.shape[0] = tensor->shape[1];
        view.shape[1] = tensor->shape[0];
    }
    return view;
}

/* The tensor that is written under a name. */
static const sp_tensor *source_of(const merging *m, const char *name) {
    char table[NAME_SIZE];
    if (!m->unties || strcmp(name, HEAD) != 0) return sp_tensor_table_find(&m->base.tensors, name);
    snprintf(table, sizeof table, "%s.weight", m->parts.encoder.family->embedding);
    return sp_tensor_table_find(&m->base.tensors, table);
}

/* Is it of a layer that encoder.layers leaves out? */
static bool is_cut_off(const merging *m, const char *name) {
    const char *layers = m->parts.encoder.family->layers;
    const size_t len = strlen(layers);
    return strncmp(name, layers, len) == 0 && name[len] == '.' &&
           strtoul(name + len + 1, NULL, 10) >= m->parts.encoder.n_layers;
}

static sp_status list_entries(merging *m) {
    char name[NAME_SIZE];
    const sp_tensor_table *tensors = &m->base.tensors;
    void *block = NULL;
    if (sp_tensor_table_find(tensors, "rope_freqs.weight") != NULL)
        return sp_fail(
            SP_BAD_DATA,
            "'%s': --merge: its rotary frequencies are a tensor, which config.json cannot "
            "say; train over the model's Hugging Face folder",
            m->parts.config.encoder.model);
    SP_TRY(sp_alloc_array(&block, tensors->n_entries + 1, sizeof *m->entries, "tensors"));
    m->entries = block;
    snprintf(name, sizeof name, "%s.weight", m->parts.encoder.family->embedding);
    m->unties = is_tied(m) && find_adapter(m, name, "lora_embedding_A") != NULL;
    for (size_t i = 0; i < tensors->n_entries; i++) {
        const sp_named_tensor *named = &tensors->entries[i];
        if (m->unties && strcmp(named->name, HEAD) == 0) continue; /* a copy of the table */
        if (is_cut_off(m, named->name)) continue;
        const sp_tensor view = stored(&named->tensor);
        m->entries[m->n_entries++] = entry_of(named->name, &view);
    }
    if (!m->unties) return SP_OK;
    const sp_tensor *table = source_of(m, HEAD);
    if (table == NULL)
        return sp_fail(SP_BAD_DATA, "'%s': no tensor '%s'", m->parts.config.encoder.model, name);
    m->entries[m->n_entries++] = entry_of(HEAD, table);
    return SP_OK;
}

/* ---- merging ---- */

/* *turned [n_columns, n_rows], owned. */
static sp_status transpose(float **turned, const sp_safetensors_entry *entry) {
    const size_t n_rows = entry->shape[0], n_columns = entry->shape[1];
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n_rows, n_columns * sizeof(float), entry->name));
    *turned = block;
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_columns; j++)
            (*turned)[j * n_rows + i] = entry->data[i * n_columns + j];
    return SP_OK;
}

/* B A for a matrix that lies [out, in]; A^T B^T for one that lies [in, out], as a table does. */
static sp_status make_update(update *made, const merging *m, const char *name,
                             const sp_tensor *tensor) {
    const sp_safetensors_entry *a = find_adapter(m, name, "lora_A.weight");
    const sp_safetensors_entry *b = find_adapter(m, name, "lora_B.weight");
    bool is_turned = tensor->is_transposed;
    if (a == NULL) {
        a = find_adapter(m, name, "lora_embedding_A");
        b = find_adapter(m, name, "lora_embedding_B");
        is_turned = true;
    }
    if (a == NULL || b == NULL || strcmp(name, HEAD) == 0) return SP_OK; /* the head's is zero */
    const sp_tensor view = stored(tensor);
    const size_t rank = a->shape[0], n_in = a->shape[1], n_out = b->shape[0];
    if (view.n_dims != 2 || view.shape[0] != (is_turned ? n_in : n_out) ||
        view.shape[1] != (is_turned ? n_out : n_in) || b->shape[1] != rank)
        return sp_fail(SP_BAD_DATA, "'%s': the shape of '%s' is not that of its adapter",
                       m->parts.config.encoder.model, name);
    made->rank = rank;
    made->scale = (float)(m->parts.config.encoder.lora.alpha / (double)rank);
    if (is_turned) {
        SP_TRY(transpose(&made->left, a));
        SP_TRY(transpose(&made->owned_right, b));
        made->right = made->owned_right;
        return SP_OK;
    }
    made->right = a->data;
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n_out, rank * sizeof(float), b->name));
    made->left = memcpy(block, b->data, n_out * rank * sizeof(float));
    return SP_OK;
}

static sp_status write_tensor(merging *m, sp_safetensors_writer *writer, const char *name) {
    const sp_tensor *source = source_of(m, name);
    const sp_tensor view = stored(source);
    const size_t n_columns = sp_tensor_row_values(&view);
    const size_t n_rows = n_columns == 0 ? 0 : sp_tensor_n_values(&view) / n_columns;
    const size_t at_once = n_columns < PART_VALUES && n_columns > 0 ? PART_VALUES / n_columns : 1;
    update change = {0};
    void *block = NULL;
    sp_status status = make_update(&change, m, name, source);
    if (status == SP_OK) status = sp_alloc_array(&block, at_once, n_columns * sizeof(float), name);
    float *rows = block;
    for (size_t r = 0; r < n_rows && status == SP_OK; r += at_once) {
        const size_t n = n_rows - r < at_once ? n_rows - r : at_once;
        sp_tensor_read_rows(&view, rows, r, n);
        if (change.left != NULL)
            sp_gemm_nn(
                (sp_gemm){
                    .m = n, .n = n_columns, .k = change.rank, .alpha = change.scale, .beta = 1},
                rows, n_columns, change.left + r * change.rank, change.rank, change.right,
                n_columns);
        status = sp_safetensors_append(writer, rows, n * n_columns);
    }
    free(block);
    free(change.owned_right);
    free(change.left);
    return status;
}

static sp_status write_model(merging *m) {
    char *path = NULL;
    if (asprintf(&path, "%s/model.safetensors", m->output) < 0)
        return sp_fail(SP_FAILURE, "no memory for a path");
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    sp_safetensors_writer *writer = NULL;
    sp_status status = sp_safetensors_begin(&writer, path, m->entries, m->n_entries, metadata);
    for (size_t i = 0; i < m->n_entries && status == SP_OK; i++)
        status = write_tensor(m, writer, m->entries[i].name);
    if (status == SP_OK)
        status = sp_safetensors_commit(writer);
    else
        sp_safetensors_abort(writer);
    json_decref(metadata);
    free(path);
    return status;
}

/* ---- what lies beside the weights ---- */

static sp_status write_config(const merging *m) {
    json_t *config = sp_export_copy_config(&m->parts);
    if (config != NULL && m->unties)
        json_object_set_new(config, "tie_word_embeddings", json_false());
    return sp_export_write_json(config, m->output, "config.json");
}

/* Copies a file of the base model's folder, if it is there. */
static sp_status copy_file(const merging *m, const char *name) {
    char *from = NULL, *to = NULL;
    sp_mapping mapping = {0};
    sp_status status = SP_OK;
    if (asprintf(&from, "%s/%s", m->parts.config.encoder.model, name) < 0 ||
        asprintf(&to, "%s/%s", m->output, name) < 0)
        status = sp_fail(SP_FAILURE, "no memory for a path");
    if (status == SP_OK && access(from, F_OK) == 0) {
        status = sp_mapping_open(&mapping, from);
        if (status == SP_OK) status = sp_atomic_write(to, mapping.data, mapping.n_bytes);
        sp_mapping_close(&mapping);
    }
    free(to);
    free(from);
    return status;
}

static sp_status write_tokenizer(const merging *m) {
    static const char *const names[] = {
        "generation_config.json",  "tokenizer.json",    "tokenizer_config.json",
        "tokenizer.model",         "vocab.json",        "merges.txt",
        "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    };
    const char *model = m->parts.config.encoder.model;
    struct stat is = {0};
    if (stat(model, &is) == 0 && S_ISDIR(is.st_mode)) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) SP_TRY(copy_file(m, names[i]));
        return SP_OK;
    }
    json_t *tokenizer = NULL;
    SP_TRY(sp_tokenizer_json_load(&tokenizer, model));
    return sp_export_write_json(tokenizer, m->output, "tokenizer.json");
}

static sp_status merge(merging *m, const char *checkpoint) {
    SP_TRY(sp_export_parts_open(&m->parts, checkpoint));
    if (m->parts.config.encoder.train != SP_ENCODER_LORA)
        return sp_fail(
            SP_USAGE, "--merge: '%s' has no LoRA: its encoder is %s; export it without --merge",
            sp_checkpoint_path(m->parts.checkpoint),
            m->parts.config.encoder.train == SP_ENCODER_FULL ? "trained in full"
                                                             : "the base model as it is");
    SP_TRY(sp_model_source_open(&m->base, m->parts.config.encoder.model));
    SP_TRY(list_entries(m));
    SP_TRY(sp_export_make_folder(&m->parts, m->output));
    SP_TRY(write_model(m));
    SP_TRY(write_config(m));
    SP_TRY(write_tokenizer(m));
    return sp_export_write_pcc(&m->parts, m->output);
}

sp_status sp_merge(const char *checkpoint, const char *output) {
    merging m = {.output = output};
    const sp_status status = merge(&m, checkpoint);
    free(m.entries);
    sp_model_source_close(&m.base);
    sp_export_parts_close(&m.parts);
    return status;
}
