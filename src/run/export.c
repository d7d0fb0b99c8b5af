#include "run/export.h"

#include "run/adapter_config.h"
#include "run/export_parts.h"

#include <math.h>

static sp_status write_encoder_config(const sp_export_parts *parts, const char *output) {
    static const char *const names[] = {
        [SP_F32] = "float32", [SP_F16] = "float16", [SP_BF16] = "bfloat16"};
    const sp_dtype dtype = parts->entries[SP_PART_ENCODER][0].dtype;
    json_t *config = sp_export_copy_config(parts);
    if (config != NULL) {
        json_object_del(config, "dtype");
        json_object_set_new(config, "torch_dtype", json_string(names[dtype]));
    }
    return sp_export_write_json(config, output, "config.json");
}

static sp_status write_all(const sp_export_parts *parts, const char *output) {
    SP_TRY(sp_export_make_folder(parts, output));
    if (parts->n_entries[SP_PART_ADAPTER] > 0) {
        SP_TRY(sp_export_parts_write(parts, SP_PART_ADAPTER, output, "adapter_model.safetensors"));
        SP_TRY(sp_export_write_json(sp_adapter_config_make(&parts->config, parts->encoder.family),
                                    output, "adapter_config.json"));
    }
    if (parts->n_entries[SP_PART_ENCODER] > 0) {
        SP_TRY(sp_export_parts_write(parts, SP_PART_ENCODER, output, "model.safetensors"));
        SP_TRY(write_encoder_config(parts, output));
    }
    return sp_export_write_pcc(parts, output);
}

/* What f16 cannot hold would be read back as infinity. */
static sp_status check_f16(const sp_safetensors_entry *entry) {
    static const float GREATEST_F16 = 65504;
    size_t n_values = 1;
    for (size_t i = 0; i < entry->n_dims; i++) n_values *= entry->shape[i];
    for (size_t i = 0; i < n_values; i++)
        if (fabsf(entry->data[i]) > GREATEST_F16)
            return sp_fail(SP_NUMERIC, "'%s' has a value of %g, which f16 does not hold; use bf16",
                           entry->name, (double)entry->data[i]);
    return SP_OK;
}

static sp_status set_dtype(sp_export_parts *parts, sp_dtype dtype) {
    for (int part = 0; part < SP_N_PARTS; part++)
        for (size_t i = 0; i < parts->n_entries[part]; i++) {
            if (dtype == SP_F16) SP_TRY(check_f16(&parts->entries[part][i]));
            parts->entries[part][i].dtype = dtype;
        }
    return SP_OK;
}

sp_status sp_export(const char *checkpoint, const char *output, sp_dtype dtype) {
    sp_export_parts parts = {0};
    sp_status status = sp_export_parts_open(&parts, checkpoint);
    if (status == SP_OK) status = set_dtype(&parts, dtype);
    if (status == SP_OK) status = write_all(&parts, output);
    sp_export_parts_close(&parts);
    return status;
}
