#include "run/adapter_config.h"

#include <string.h>

static const char *last_part(const char *module) {
    const char *dot = strrchr(module, '.');
    return dot != NULL ? dot + 1 : module;
}

/* GPT-2's attn.c_proj and mlp.c_proj end alike. */
static const char *target_of(const sp_family *family, sp_role role) {
    const char *module = family->modules[role];
    for (sp_role other = 0; other < SP_N_ROLES; other++)
        if (other != role && family->modules[other] != NULL &&
            strcmp(last_part(family->modules[other]), last_part(module)) == 0)
            return module;
    return last_part(module);
}

static bool is_named(const sp_string_list *targets, const char *name) {
    for (size_t i = 0; i < targets->n_items; i++)
        if (strcmp(targets->items[i], name) == 0) return true;
    return false;
}

static bool has_adapter(const sp_string_list *targets, const sp_family *family, sp_role matrix) {
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        if (family->matrix_of[role] == matrix && is_named(targets, sp_role_names[role]))
            return true;
    return false;
}

json_t *sp_adapter_config_make(const sp_run_config *config, const sp_family *family) {
    const sp_string_list *targets = &config->encoder.lora.targets;
    json_t *modules = json_array();
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        if (has_adapter(targets, family, role))
            json_array_append_new(modules, json_string(target_of(family, role)));
    if (is_named(targets, "embed"))
        json_array_append_new(modules, json_string(last_part(family->embedding)));
    if (is_named(targets, "head")) json_array_append_new(modules, json_string("lm_head"));
    const bool is_gpt2 = strcmp(family->name, "gpt2") == 0; /* its Conv1D is [in, out] */
    return json_pack("{s:s, s:s, s:n, s:I, s:f, s:f, s:o, s:s, s:b, s:b, s:b}", "peft_type", "LORA",
                     "task_type", "CAUSAL_LM", "base_model_name_or_path", "r",
                     (json_int_t)config->encoder.lora.rank, "lora_alpha",
                     config->encoder.lora.alpha, "lora_dropout", config->encoder.lora.dropout,
                     "target_modules", modules, "bias", "none", "fan_in_fan_out", is_gpt2,
                     "inference_mode", 1, "init_lora_weights", 1);
}

/* ---- checking ---- */

/* Absent, null, false, 0, or empty. */
static bool is_nothing(const json_t *value) {
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* What makes an adapter more than A and B at a module, or of more than one scale. */
static sp_status check_kind(const json_t *object, const char *where) {
    static const char *const kinds[] = {
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "use_dora",
        "use_qalora",
        "modules_to_save",
        "lora_bias",
        "layers_to_transform",
        "layer_replication",
        "megatron_config",
        "trainable_token_indices",
        "target_parameters",
        "alora_invocation_tokens",
        "use_bdlora",
        "arrow_config",
    };
    const char *type = "LORA", *bias = "none";
    SP_TRY(sp_json_get_string(&type, object, "peft_type", where));
    SP_TRY(sp_json_get_string(&bias, object, "bias", where));
    if (strcmp(type, "LORA") != 0)
        return sp_fail(SP_BAD_DATA, "'%s': peft_type '%s'; only LORA is read", where, type);
    if (strcmp(bias, "none") != 0)
        return sp_fail(SP_BAD_DATA, "'%s': bias '%s'; adapters with trained biases are not read",
                       where, bias);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!is_nothing(json_object_get(object, kinds[i])))
            return sp_fail(SP_BAD_DATA, "'%s': adapters with %s are not read", where, kinds[i]);
    return SP_OK;
}

/* Starts that change the base weights: the adapter then belongs to others than the base model's. */
static sp_status check_start(const json_t *object, const char *where) {
    static const char *const plain[] = {"gaussian", "eva", "orthogonal"};
    const char *start = json_string_value(json_object_get(object, "init_lora_weights"));
    if (start == NULL) return SP_OK; /* true, false: A alone is drawn */
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (strcmp(start, plain[i]) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "'%s': init_lora_weights '%s' changes the base weights; convert the adapter to "
                   "plain LoRA first",
                   where, start);
}

sp_status sp_adapter_config_check(const json_t *object, const sp_run_config *config,
                                  const char *where) {
    if (!json_is_object(object)) return sp_fail(SP_BAD_DATA, "'%s': no JSON object", where);
    size_t rank = 8; /* PEFT's defaults */
    double alpha = 8;
    SP_TRY(check_kind(object, where));
    SP_TRY(check_start(object, where));
    SP_TRY(sp_json_get_size(&rank, object, "r", where));
    SP_TRY(sp_json_get_double(&alpha, object, "lora_alpha", where));
    if (rank != config->encoder.lora.rank)
        return sp_fail(SP_USAGE, "encoder.lora.rank: %zu, but '%s' has r %zu",
                       config->encoder.lora.rank, where, rank);
    /* so written, NaN is refused */
    if (!(alpha == config->encoder.lora.alpha))
        return sp_fail(SP_USAGE, "encoder.lora.alpha: %g, but '%s' has lora_alpha %g",
                       config->encoder.lora.alpha, where, alpha);
    return SP_OK;
}
