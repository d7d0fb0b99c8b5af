/* What a checkpoint's tensors become in an export: its parts, in memory, under the names and in the
   layout of the files that they are written to (run/export.h). */
#pragma once

#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "model/model_config.h"
#include "run/run_config.h"

typedef enum sp_export_part {
    SP_PART_ADAPTER, /* the encoder's LoRA, as PEFT names it */
    SP_PART_ENCODER, /* the whole encoder, as its family names and stores it */
    SP_PART_PCC,     /* memory tokens, converter, markers */
    SP_N_PARTS
} sp_export_part;

typedef struct sp_export_parts {
    sp_checkpoint *checkpoint;                 /* owned */
    sp_run_config config;                      /* the checkpoint's */
    json_t *encoder_json;                      /* owned: the base model's config.json */
    sp_model_config encoder;                   /* the same, read */
    sp_safetensors_entry *entries[SP_N_PARTS]; /* data owned; names lie in the checkpoint */
    size_t n_entries[SP_N_PARTS];
} sp_export_parts; /* all zero: none */

/* Opens a run or step folder and reads its weights. SP_IO, SP_BAD_DATA: of the checkpoint, or the
   configuration of the encoder's model. */
SP_NODISCARD sp_status sp_export_parts_open(sp_export_parts *parts, const char *checkpoint);
void sp_export_parts_close(sp_export_parts *parts); /* an empty one is fine */

/* The entry of that name, or NULL. */
const sp_safetensors_entry *sp_export_parts_find(const sp_export_parts *parts, sp_export_part part,
                                                 const char *name);

/* Makes the folder that an export goes to. SP_USAGE: it is that of the encoder's model, whose files an
   export would replace. */
SP_NODISCARD sp_status sp_export_make_folder(const sp_export_parts *parts, const char *folder);

/* The base model's config.json without where it once lay, owned; NULL without memory. */
json_t *sp_export_copy_config(const sp_export_parts *parts);

/* Writes a part as the file `name` in the folder. */
SP_NODISCARD sp_status sp_export_parts_write(const sp_export_parts *parts, sp_export_part part,
                                             const char *folder, const char *name);

/* Writes pcc.safetensors and pcc_config.json in the folder. */
SP_NODISCARD sp_status sp_export_write_pcc(const sp_export_parts *parts, const char *folder);

/* Writes a JSON object as the file `name` in the folder; takes the object, NULL where there was no
   memory for it. */
SP_NODISCARD sp_status sp_export_write_json(json_t *object, const char *folder, const char *name);
