#include "run/run_config.h"

#include "base/size.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER(path) offsetof(sp_run_config, path)

/* The order of each list is that of the enum which it fills. */
static const char *const encoder_train_words[] = {"full", "lora", "none", NULL};
static const char *const converter_words[] = {"random", "identity", NULL};
static const char *const memory_words[] = {"tokens", "pooled", "merged", NULL};
static const char *const wire_words[] = {"f32", "bf16", "auto", NULL};
static const char *const precision_words[] = {"f32", "bf16", "auto", "int8", NULL};
static const char *const marker_words[] = {"train", "frozen", "auto", NULL};
static const char *const slot_words[] = {"proportional", "fixed", NULL};
static const char *const only_words[] = {"all", "converter", NULL};
static const char *const init_words[] = {"all", "encoder", NULL};
static const char *const draw_words[] = {"both", "one", NULL};
static const char *const schedule_words[] = {"cosine", "constant", NULL};
static const char *const recompute_words[] = {"auto", "none", "all", NULL};
static const char *const cut_words[] = {"auto", "contiguous", "folded", NULL};
static const char *const role_words[] = {"q",  "k",    "v",     "o",    "gate",
                                         "up", "down", "embed", "head", NULL};

#define ANY 0, SP_COUNT_LIMIT
#define ONE_AND_MORE 1, SP_COUNT_LIMIT
#define BELOW_ONE 0, 0.999999
enum { SHORTEST_WATCH_S = 2 };

/* clang-format off */
static const sp_config_key keys[] = {
    {"run.dir", SP_KEY_STRING, MEMBER(run.dir), "null", 0, 0, NULL,
     "folder of the run: checkpoints, metrics.jsonl"},
    {"run.seed", SP_KEY_COUNT, MEMBER(run.seed), "1", ANY, NULL,
     "of initial values, order of samples, dropout"},

    {"run.watchdog_s", SP_KEY_COUNT, MEMBER(run.watchdog_s), "600", ANY, NULL,
     "seconds within which a run that hangs is ended; 0: never"},

    {"encoder.model", SP_KEY_STRING, MEMBER(encoder.model), "null", 0, 0, NULL,
     "Hugging Face folder or .gguf file"},
    {"encoder.train", SP_KEY_CHOICE, MEMBER(encoder.train), "full", 0, 0, encoder_train_words,
     "which of its weights are trained"},
    {"encoder.layers", SP_KEY_COUNT_OR_AUTO, MEMBER(encoder.layers), "auto", 0, 65536, NULL,
     "the model's first layers alone, 0 for the embedding, then its last norm; auto: all"},
    {"encoder.memory", SP_KEY_CHOICE, MEMBER(encoder.memory), "tokens", 0, 0, memory_words,
     "a slot comes of a memory token at the end, or of its own tokens' last states: of their mean, or "
     "each through a trained matrix by its place"},
    {"encoder.memory_tokens", SP_KEY_COUNT, MEMBER(encoder.memory_tokens), "64", 1, 65536, NULL,
     "trained memory rows; a segment uses as many as it has slots; of memory: tokens"},
    {"encoder.merged_tokens", SP_KEY_COUNT, MEMBER(encoder.merged_tokens), "4", 1, 65536, NULL,
     "of memory: merged, the most tokens of a slot: a matrix each; a ratio uses the first ones"},
    {"encoder.lora.rank", SP_KEY_COUNT, MEMBER(encoder.lora.rank), "64", 1, 65536, NULL,
     "columns of A and B"},
    {"encoder.lora.alpha", SP_KEY_REAL, MEMBER(encoder.lora.alpha), "32", 0, 1e6, NULL,
     "the adapter is scaled by alpha / rank"},
    {"encoder.lora.dropout", SP_KEY_REAL, MEMBER(encoder.lora.dropout), "0.1", BELOW_ONE, NULL,
     "share of a linear adapter's input dropped in training"},
    {"encoder.lora.targets", SP_KEY_LIST, MEMBER(encoder.lora.targets),
     "q,k,v,o,gate,up,down,embed", ONE_AND_MORE, role_words,
     "roles that get an adapter, of"},

    {"converter.init", SP_KEY_CHOICE, MEMBER(converter.init), "random", 0, 0, converter_words,
     "identity: slots start as the encoder's last states, as large as the decoder's embeddings"},

    {"decoder.model", SP_KEY_STRING, MEMBER(decoder.model), "null", 0, 0, NULL,
     "Hugging Face folder or .gguf file"},
    {"decoder.precision", SP_KEY_CHOICE, MEMBER(decoder.precision), "auto", 0, 0,
     precision_words, "of its frozen weights"},
    {"decoder.markers", SP_KEY_CHOICE, MEMBER(decoder.markers), "auto", 0, 0, marker_words,
     "auto trains them unless train.init brings them"},
    {"decoder.boundaries", SP_KEY_BOOL, MEMBER(decoder.boundaries), "true", 0, 0, NULL,
     "<mem> and </mem> around the slots of each segment; false: an ablation without them"},

    {"data.tokens", SP_KEY_STRING, MEMBER(data.tokens), "null", 0, 0, NULL,
     "token file of `slotpress tokenize`"},
    {"data.encoder_stream", SP_KEY_STRING, MEMBER(data.encoder_stream), "null", 0, 0, NULL,
     "its stream in the encoder's tokens"},
    {"data.decoder_stream", SP_KEY_STRING, MEMBER(data.decoder_stream), "null", 0, 0, NULL,
     "its stream in the decoder's tokens"},
    {"data.budget_tokens", SP_KEY_COUNT_OR_AUTO, MEMBER(data.budget_tokens), "auto", ONE_AND_MORE,
     NULL, "encoder tokens of segments to train on; auto: data.epochs times the corpus"},
    {"data.validation", SP_KEY_REAL, MEMBER(data.validation), "0.01", BELOW_ONE, NULL,
     "share of documents held out, by content hash"},
    {"data.limit", SP_KEY_COUNT_OR_AUTO, MEMBER(data.limit), "null", ONE_AND_MORE, NULL,
     "train on the first segments only"},
    {"data.epochs", SP_KEY_COUNT, MEMBER(data.epochs), "1", ONE_AND_MORE, NULL,
     "passes over the corpus that the budget may take"},
    {"data.rows", SP_KEY_STRING, MEMBER(data.rows), "null", 0, 0, NULL,
     "of finetune: .jsonl of context, prompt, answer, or of context, messages"},
    {"data.validation_rows", SP_KEY_STRING, MEMBER(data.validation_rows), "null", 0, 0, NULL,
     "likewise, to validate on; null: data.validation is a share of the contexts of data.rows"},
    {"data.chat", SP_KEY_STRING, MEMBER(data.chat), "auto", 0, 0, NULL,
     "chat template for rows of messages: its name; auto: the decoder's; none: a plain transcript"},

    {"data.encoder_states", SP_KEY_STRING, MEMBER(data.encoder_states), "auto", 0, 0, NULL,
     "folder for what a frozen encoder (train.only) makes of rows; auto: run.dir's; null: none"},

    {"segment.tokens", SP_KEY_COUNT, MEMBER(segment.tokens), "256", 1, 1 << 20, NULL,
     "encoder tokens of a full segment, as in the token file"},
    {"segment.ratio", SP_KEY_COUNTS, MEMBER(segment.ratios), "4", 1, 1 << 20, NULL,
     "encoder tokens for one slot; of a list, such as [4, 16, 64], each training step draws one"},
    {"segment.slots", SP_KEY_CHOICE, MEMBER(segment.slots), "proportional", 0, 0, slot_words,
     "of a short segment: ceil(tokens / ratio), or as many as a full one"},

    {"objective.reconstruction", SP_KEY_REAL, MEMBER(objective.reconstruction), "0.5", 0, 1e6, NULL,
     "weight of the loss over the segment itself"},
    {"objective.completion", SP_KEY_REAL, MEMBER(objective.completion), "0.5", 0, 1e6, NULL,
     "weight of the loss over the segment that follows"},
    {"objective.draw", SP_KEY_CHOICE, MEMBER(objective.draw), "both", 0, 0, draw_words,
     "objectives of one sample"},

    {"train.init", SP_KEY_STRING, MEMBER(train.init), "null", 0, 0, NULL,
     "checkpoint to take weights from: a run or step folder"},
    {"train.init_parts", SP_KEY_CHOICE, MEMBER(train.init_parts), "all", 0, 0, init_words,
     "encoder: converter and markers start anew, as another decoder wants"},
    {"train.only", SP_KEY_CHOICE, MEMBER(train.only), "all", 0, 0, only_words,
     "converter: all else stays as train.init has it"},
    {"train.steps", SP_KEY_COUNT_OR_AUTO, MEMBER(train.steps), "auto", ANY, NULL,
     "optimiser steps; auto: from data.budget_tokens"},
    {"train.stop_at_step", SP_KEY_COUNT_OR_AUTO, MEMBER(train.stop_at_step), "null", ANY, NULL,
     "save and end there, with the schedule of train.steps"},
    {"train.global_batch", SP_KEY_COUNT, MEMBER(train.global_batch), "256", 1, 1 << 24, NULL,
     "segments in one optimiser step, over all ranks"},
    {"train.micro_batch", SP_KEY_COUNT, MEMBER(train.micro_batch), "8", 1, 1 << 24, NULL,
     "most segments of one pass on one rank; fewer fill the products where they are long"},
    {"train.lr", SP_KEY_REAL, MEMBER(train.lr), "1e-4", 0, 1, NULL,
     "learning rate after warm-up"},
    {"train.warmup_steps", SP_KEY_COUNT, MEMBER(train.warmup_steps), "300", ANY, NULL,
     "steps over which it rises from 0"},
    {"train.schedule", SP_KEY_CHOICE, MEMBER(train.schedule), "cosine", 0, 0, schedule_words,
     "of the learning rate after warm-up"},
    {"train.grad_clip", SP_KEY_REAL, MEMBER(train.grad_clip), "0.5", 0, 1e30, NULL,
     "largest norm of the whole gradient; 0: no clipping"},
    {"train.weight_decay", SP_KEY_REAL, MEMBER(train.weight_decay), "0", 0, 1, NULL,
     "of AdamW, on matrices"},
    {"train.spike_factor", SP_KEY_REAL, MEMBER(train.spike_factor), "10", 0, 1e30, NULL,
     "a gradient's norm beyond so many times the average is skipped; 0: none"},
    {"train.max_skipped", SP_KEY_COUNT, MEMBER(train.max_skipped), "10", ANY, NULL,
     "steps in a row that may be skipped: spikes, and what is not finite"},
    {"train.precision", SP_KEY_CHOICE, MEMBER(train.precision), "auto", 0, 0, precision_words,
     "of the encoder's frozen weights; what is trained is f32"},
    {"train.recompute", SP_KEY_CHOICE, MEMBER(train.recompute), "auto", 0, 0, recompute_words,
     "layers whose activations are made again in the backward pass; auto: as many as memory needs"},
    {"train.validate_every", SP_KEY_COUNT, MEMBER(train.validate_every), "500", ANY, NULL,
     "steps; 0: never"},
    {"train.validate_segments", SP_KEY_COUNT, MEMBER(train.validate_segments), "256", ONE_AND_MORE,
     NULL, "held-out segments in a validation, at most"},
    {"train.early_stop", SP_KEY_COUNT, MEMBER(train.early_stop), "0", ANY, NULL,
     "validations in a row without a better loss (by 1e-5 of it) that end the run; 0: none"},

    {"checkpoint.every_steps", SP_KEY_COUNT, MEMBER(checkpoint.every_steps), "500", ANY, NULL,
     "steps; 0: at the end only"},
    {"checkpoint.keep", SP_KEY_COUNT, MEMBER(checkpoint.keep), "2", ONE_AND_MORE, NULL,
     "newest checkpoints kept"},
    {"checkpoint.major_every", SP_KEY_COUNT, MEMBER(checkpoint.major_every), "5000", ANY, NULL,
     "steps whose checkpoints are kept for ever; 0: none"},

    {"parallel.pipeline", SP_KEY_COUNT, MEMBER(parallel.pipeline), "1", ONE_AND_MORE, NULL,
     "ranks that share one copy of the models"},
    {"parallel.wire", SP_KEY_CHOICE, MEMBER(parallel.wire), "auto", 0, 0, wire_words,
     "of activations and their gradients between stages; auto: f32 unless train.precision is bf16"},
    {"parallel.cut", SP_KEY_CHOICE, MEMBER(parallel.cut), "auto", 0, 0, cut_words,
     "blocks of a rank: a contiguous range, or folded, one of each model (auto: where they share "
     "weights)"},
    {"parallel.zero", SP_KEY_COUNT, MEMBER(parallel.zero), "1", 1, 2, NULL,
     "what replicas share out: optimiser state (1), gradients too (2)"},
    {"parallel.verify_every", SP_KEY_COUNT, MEMBER(parallel.verify_every), "100", ANY, NULL,
     "steps after which trained weights are looked through for flipped bits; 0: never"},
};
/* clang-format on */

const sp_config_table sp_run_config_table = {keys, sizeof keys / sizeof keys[0]};

sp_layout sp_run_config_layout(const sp_run_config *config, const sp_model_config *decoder) {
    return (sp_layout){.segment_tokens = config->segment.tokens,
                       .ratio = sp_run_config_least_ratio(config),
                       .slots_are_fixed = config->segment.slots == SP_SLOTS_FIXED,
                       .is_of_chunks = config->encoder.memory != SP_MEMORY_OF_TOKENS,
                       .omits_boundaries = !config->decoder.boundaries,
                       .bos = decoder != NULL ? decoder->bos_token_id : SP_NO_TOKEN,
                       .eos = decoder != NULL ? decoder->eos_token_id : SP_NO_TOKEN,
                       .longrope_switch = decoder != NULL ? sp_longrope_switch(decoder) : 0};
}

size_t sp_run_config_most_slots(const sp_run_config *config) {
    if (config->encoder.memory == SP_MEMORY_OF_TOKENS) return config->encoder.memory_tokens;
    return sp_divide_up(config->segment.tokens, sp_run_config_least_ratio(config));
}

static sp_status check_required(const sp_run_config *config) {
    const struct named {
        const char *name, *value;
    } required[] = {
        {"run.dir", config->run.dir},
        {"encoder.model", config->encoder.model},
        {"decoder.model", config->decoder.model},
        sp_run_config_is_of_tasks(config) ? (struct named){"data.rows", config->data.rows}
                                          : (struct named){"data.tokens", config->data.tokens},
        {"data.encoder_stream", config->data.encoder_stream},
        {"data.decoder_stream", config->data.decoder_stream},
    };
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        if (required[i].value == NULL)
            return sp_fail(SP_USAGE, "%s: needs a value, in the configuration file or by --set",
                           required[i].name);
    return SP_OK;
}

/* What is not trained has to come from somewhere. */
static sp_status check_only(const sp_run_config *config) {
    if (config->train.init_parts == SP_INIT_ENCODER && config->train.init == NULL)
        return sp_fail(SP_USAGE, "train.init_parts: encoder wants train.init, which it comes from");
    if (config->train.only == SP_TRAIN_ONLY_ALL) return SP_OK;
    if (config->train.init == NULL)
        return sp_fail(SP_USAGE,
                       "train.only: converter wants train.init, which the rest comes from");
    if (config->decoder.markers == SP_MARKERS_TRAIN && config->train.init_parts == SP_INIT_ALL)
        return sp_fail(SP_USAGE, "decoder.markers: train does not go with train.only: converter");
    return SP_OK;
}

static sp_status check_merged(const sp_run_config *config) {
    const size_t most = sp_run_config_most_ratio(config);
    if (config->encoder.memory != SP_MEMORY_MERGED || most <= config->encoder.merged_tokens)
        return SP_OK;
    return sp_fail(SP_USAGE,
                   "encoder.merged_tokens: %zu are too few for segment.ratio %zu; raise it",
                   config->encoder.merged_tokens, most);
}

static sp_status check_slots(const sp_run_config *config) {
    const size_t tokens = config->segment.tokens, ratio = sp_run_config_least_ratio(config);
    const size_t n_rows = config->encoder.memory_tokens, n_slots = sp_divide_up(tokens, ratio);
    if (config->encoder.memory != SP_MEMORY_OF_TOKENS && config->segment.slots == SP_SLOTS_FIXED)
        return sp_fail(SP_USAGE,
                       "segment.slots: fixed does not go with encoder.memory: %s, where every slot "
                       "has tokens of its own",
                       memory_words[config->encoder.memory]);
    if (config->encoder.memory != SP_MEMORY_OF_TOKENS || n_slots <= n_rows) return SP_OK;
    return sp_fail(
        SP_USAGE,
        "encoder.memory_tokens: %zu are too few for the %zu slots of a full segment "
        "(segment.tokens %zu at %s segment.ratio, %zu); raise it to %zu, or the ratio to %zu",
        n_rows, n_slots, tokens, config->segment.ratios.n_items > 1 ? "the least" : "the", ratio,
        n_slots, sp_divide_up(tokens, n_rows));
}

sp_status sp_run_config_check(const sp_run_config *config) {
    SP_TRY(check_required(config));
    SP_TRY(check_slots(config));
    SP_TRY(check_merged(config));
    SP_TRY(check_only(config));
    if (config->objective.reconstruction == 0 && config->objective.completion == 0)
        return sp_fail(SP_USAGE, "objective.reconstruction, objective.completion: both are 0, so "
                                 "there is nothing to learn");
    if (config->train.precision == SP_ASKED_INT8 && config->encoder.train == SP_ENCODER_FULL)
        return sp_fail(SP_USAGE,
                       "train.precision: int8 is for frozen weights, and encoder.train full "
                       "leaves none; use f32 or auto, or encoder.train lora or none");
    if (config->train.spike_factor > 0 && config->train.spike_factor <= 1)
        return sp_fail(SP_USAGE,
                       "train.spike_factor: %g would skip ordinary steps; use more than 1, or 0 "
                       "for none",
                       config->train.spike_factor);
    if (config->run.watchdog_s > 0 && config->run.watchdog_s < SHORTEST_WATCH_S)
        return sp_fail(SP_USAGE,
                       "run.watchdog_s: %zu is too short to tell a hang from a pause; use %d or "
                       "more, or 0 for none",
                       config->run.watchdog_s, SHORTEST_WATCH_S);
    return SP_OK;
}

static bool is_assigned(const char *key, const char *const *assignments, size_t n_assignments) {
    const size_t len = strlen(key);
    for (size_t i = 0; i < n_assignments; i++)
        if (strncmp(assignments[i], key, len) == 0 && assignments[i][len] == '=') return true;
    return false;
}

sp_status sp_run_config_explain(sp_status status, const char *path, const char *const *assignments,
                                size_t n_assignments) {
    const char *first = NULL;
    size_t line = 0;
    if (status != SP_USAGE || path == NULL) return status;
    char *message = strdup(sp_message()); /* reading the file may leave another */
    if (message == NULL) return status;
    for (size_t i = 0; i < sp_run_config_table.n_keys; i++) {
        const char *key = keys[i].name, *at = strstr(message, key);
        if (at == NULL || (first != NULL && at >= first)) continue;
        if (is_assigned(key, assignments, n_assignments)) continue;
        const size_t found = sp_config_find_line(path, key);
        if (found == 0) continue;
        first = at;
        line = found;
    }
    if (line > 0)
        status = sp_fail(status, "'%s', line %zu: %s", path, line, message);
    else
        status = sp_fail(status, "%s", message);
    free(message);
    return status;
}

sp_status sp_run_config_load(sp_run_config *config, const char *path,
                             const char *const *assignments, size_t n_assignments) {
    SP_TRY(sp_config_init(config, &sp_run_config_table));
    if (path != NULL) SP_TRY(sp_config_load_file(config, &sp_run_config_table, path));
    for (size_t i = 0; i < n_assignments; i++)
        SP_TRY(sp_config_assign(config, &sp_run_config_table, assignments[i]));
    if (sp_run_config_is_of_tasks(config))
        return sp_fail(SP_USAGE, "data.rows: rows are what `slotpress finetune` trains on; this "
                                 "command wants data.tokens");
    return sp_run_config_explain(sp_run_config_check(config), path, assignments, n_assignments);
}

void sp_run_config_free(sp_run_config *config) { sp_config_free(config, &sp_run_config_table); }
