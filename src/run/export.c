#include "run/export.h"

#include "run/adapter_config.h"
#include "run/export_parts.h"

static sp_status write_encoder_config(const sp_export_parts *parts, const char *output) {
    json_t *config = sp_export_copy_config(parts);
    if (config != NULL) {
        json_object_del(config, "dtype");
        json_object_set_new(config, "torch_dtype", json_string("float32"));
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

sp_status sp_export(const char *checkpoint, const char *output) {
    sp_export_parts parts = {0};
    sp_status status = sp_export_parts_open(&parts, checkpoint);
    if (status == SP_OK) status = write_all(&parts, output);
    sp_export_parts_close(&parts);
    return status;
}
