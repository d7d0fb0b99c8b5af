/* The configuration of a run: every key of the YAML file, with its default, range and help in the
   table of run_config.c (`slotpress pretrain --help` prints it). Members are named as the keys. */
#pragma once

#include "base/config.h"
#include "pcc/converter.h"
#include "pcc/layout.h"
#include "tensor/linear.h"

#include <stdbool.h>

typedef enum sp_encoder_train {
    SP_ENCODER_FULL,
    SP_ENCODER_LORA,
    SP_ENCODER_NONE
} sp_encoder_train;

/* encoder.train, decoder.precision and the like say what is asked for; `auto` is resolved by the
   run. train.precision is int8 only where the encoder has frozen weights; parallel.wire never. */
typedef enum sp_asked_precision {
    SP_ASKED_F32,
    SP_ASKED_BF16,
    SP_ASKED_AUTO,
    SP_ASKED_INT8,
} sp_asked_precision;

typedef enum sp_memory_kind {
    SP_MEMORY_OF_TOKENS,
    SP_MEMORY_POOLED,
    SP_MEMORY_MERGED
} sp_memory_kind;
typedef enum sp_markers { SP_MARKERS_TRAIN, SP_MARKERS_FROZEN, SP_MARKERS_AUTO } sp_markers;
typedef enum sp_slot_rule { SP_SLOTS_PROPORTIONAL, SP_SLOTS_FIXED } sp_slot_rule;
typedef enum sp_train_only { SP_TRAIN_ONLY_ALL, SP_TRAIN_ONLY_CONVERTER } sp_train_only;
typedef enum sp_init_parts { SP_INIT_ALL, SP_INIT_ENCODER } sp_init_parts;
typedef enum sp_draw { SP_DRAW_BOTH, SP_DRAW_ONE } sp_draw;
typedef enum sp_recompute { SP_RECOMPUTE_AUTO, SP_RECOMPUTE_NONE, SP_RECOMPUTE_ALL } sp_recompute;
typedef enum sp_cut_choice { SP_CUT_AUTO, SP_CUT_CONTIGUOUS, SP_CUT_FOLDED } sp_cut_choice;
typedef enum sp_lr_schedule { SP_SCHEDULE_COSINE, SP_SCHEDULE_CONSTANT } sp_lr_schedule;

typedef struct sp_run_config {
    struct {
        char *dir;
        size_t seed;
        size_t watchdog_s; /* 0: off */
    } run;
    struct {
        char *model;
        sp_encoder_train train;
        size_t layers; /* SP_COUNT_AUTO: all */
        sp_memory_kind memory;
        size_t memory_tokens; /* of SP_MEMORY_OF_TOKENS */
        size_t merged_tokens; /* of SP_MEMORY_MERGED: the most in a slot */
        struct {
            size_t rank;
            double alpha, dropout;
            sp_string_list targets; /* roles: q, k, v, o, gate, up, down, embed, head */
        } lora;
    } encoder;
    struct {
        sp_converter_init init;
    } converter;
    struct {
        char *model;
        sp_asked_precision precision;
        sp_markers markers;
        bool boundaries;
    } decoder;
    struct {
        char *tokens, *encoder_stream, *decoder_stream;
        size_t budget_tokens; /* SP_COUNT_AUTO: data.epochs over the corpus */
        double validation;    /* share of the documents, by their content hash */
        size_t limit;         /* SP_COUNT_AUTO: no limit */
        size_t epochs;
        char *rows, *validation_rows; /* of fine-tuning, in place of tokens; NULL: none */
        char *chat;                   /* a template's name, "auto" or "none" */
        char *encoder_states;         /* a folder, or "auto"; NULL: none are kept */
    } data;
    struct {
        size_t tokens;
        sp_count_list ratios; /* segment.ratio: each step of training draws one */
        sp_slot_rule slots;
    } segment;
    struct {
        double reconstruction, completion; /* weights of L_TR and L_TC */
        sp_draw draw;
    } objective;
    struct {
        char *init; /* a checkpoint to take weights from; NULL: none */
        sp_init_parts init_parts;
        sp_train_only only;
        size_t steps;        /* SP_COUNT_AUTO: from budget_tokens */
        size_t stop_at_step; /* SP_COUNT_AUTO: at the last */
        size_t global_batch, micro_batch;
        double lr;
        size_t warmup_steps;
        sp_lr_schedule schedule;
        double grad_clip; /* 0: no clipping */
        double weight_decay;
        double spike_factor; /* 0: off */
        size_t max_skipped;
        sp_asked_precision precision;
        sp_recompute recompute;
        size_t validate_every; /* 0: never */
        size_t validate_segments;
        size_t early_stop; /* validations without progress; 0: never */
    } train;
    struct {
        size_t every_steps; /* 0: at the end only */
        size_t keep;
        size_t major_every; /* 0: none are kept for ever */
    } checkpoint;
    struct {
        size_t pipeline;
        sp_asked_precision wire;
        sp_cut_choice cut;
        size_t zero;         /* 1: optimiser state is sharded, 2: gradients too */
        size_t verify_every; /* 0: never */
    } parallel;
    /* Not keys: what `auto` comes to for frozen weights (run/precision_choice.h); f32 until a run has
       chosen, or been told by its checkpoint. */
    struct {
        sp_precision encoder, decoder;
    } chosen;
} sp_run_config;

/* The keys, for the functions of base/config.h. Static. */
extern const sp_config_table sp_run_config_table;

/* Fills an all-zero *config: defaults, then the file at `path` (NULL: none), then each of
   assignments [n_assignments] ("train.lr=1e-4"), then sp_run_config_check(). Release with
   sp_run_config_free(), also after a failure. SP_USAGE: unknown key, bad value, keys that do not go
   together; SP_IO: the file cannot be read. */
SP_NODISCARD sp_status sp_run_config_load(sp_run_config *config, const char *path,
                                          const char *const *assignments, size_t n_assignments);

/* The layout of the configuration's segments, at the least ratio; decoder NULL: without what follows
   from its model, such as BOS. */
sp_layout sp_run_config_layout(const sp_run_config *config, const sp_model_config *decoder);

/* The most slots that a segment may have: rows of memory tokens, or, pooled, a full one's chunks. */
size_t sp_run_config_most_slots(const sp_run_config *config);

/* Is it of fine-tuning: are there rows in place of tokens? */
static inline bool sp_run_config_is_of_tasks(const sp_run_config *config) {
    return config->data.rows != NULL;
}

/* The ratio that makes the most slots: what memory and costs are reckoned with. */
static inline size_t sp_run_config_least_ratio(const sp_run_config *config) {
    return config->segment.ratios.items[0];
}

/* The ratio whose slots have the most tokens. */
static inline size_t sp_run_config_most_ratio(const sp_run_config *config) {
    return config->segment.ratios.items[config->segment.ratios.n_items - 1];
}

/* Puts file and line of the first key that the present message names, and the file at `path` (NULL:
   none) sets, before the message of a failed check; keys of assignments [n_assignments] are passed
   over. Returns `status`. */
sp_status sp_run_config_explain(sp_status status, const char *path, const char *const *assignments,
                                size_t n_assignments);

/* Refuses with SP_USAGE what no single key's range can: required keys that are missing, and keys
   that do not go together. sp_run_config_load() refuses data.rows, too, which is for `finetune`
   (run/finetune_config.h). */
SP_NODISCARD sp_status sp_run_config_check(const sp_run_config *config);

void sp_run_config_free(sp_run_config *config);
