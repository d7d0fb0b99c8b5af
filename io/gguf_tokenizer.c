#include "io/gguf_tokenizer.h"

#include "io/score_merges.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Kinds of token, by their numbers in tokenizer.ggml.token_type. */
enum { TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4 };

/* The pre-tokenizers that models name by a regex of their own. */
#define LLAMA3_SPLIT                                                           \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2_SPLIT                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#define TEKKEN_SPLIT                                                                             \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|" \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|" \
    "\\p{N}|"                                                                                    \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* What each tokenizer.ggml.pre stands for, as in the tokenizer.json of the model that it is named
   after. ByteLevel ends each: with its own regex, or after a Split or Digits. The last one is
   SentencePiece's BPE, which tokenizer.ggml.model names instead ("llama"). */
static const struct {
    const char *name;
    const char *split; /* regex of a Split before ByteLevel, or NULL */
    bool has_digits;   /* Digits before ByteLevel */
    bool has_regex;    /* ByteLevel's use_regex */
    bool is_nfc;
    bool is_sentencepiece; /* no pre-tokenizer, scores instead of merges */
    bool ignore_merges;
    bool adds_bos; /* unless the file says otherwise */
} kinds[] = {
    {.name = "default", .has_regex = true},
    {.name = "gpt-2", .has_regex = true},
    {.name = "smollm", .has_regex = true, .has_digits = true},
    {.name = "llama-bpe", .split = LLAMA3_SPLIT, .ignore_merges = true, .adds_bos = true},
    {.name = "llama3", .split = LLAMA3_SPLIT, .ignore_merges = true, .adds_bos = true},
    {.name = "llama-v3", .split = LLAMA3_SPLIT, .ignore_merges = true, .adds_bos = true},
    {.name = "qwen2", .split = QWEN2_SPLIT, .is_nfc = true},
    {.name = "tekken", .split = TEKKEN_SPLIT, .ignore_merges = true, .adds_bos = true},
    {.name = "llama", .is_sentencepiece = true, .adds_bos = true},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0], SENTENCEPIECE = N_KINDS - 1 };

#define SPACE "\xE2\x96\x81" /* as SentencePiece writes one, U+2581 */

static sp_status no_memory(const char *path) {
    return sp_fail(SP_FAILURE, "'%s': no memory for its tokenizer", path);
}

static sp_status find_kind(size_t *kind, const sp_gguf *gguf, const char *path) {
    const char *model = NULL, *pre = "default"; /* as llama.cpp reads files without */
    SP_TRY(sp_json_get_string(&model, gguf->metadata, "tokenizer.ggml.model", path));
    SP_TRY(sp_json_get_string(&pre, gguf->metadata, "tokenizer.ggml.pre", path));
    if (model == NULL) return sp_fail(SP_BAD_DATA, "'%s': no 'tokenizer.ggml.model'", path);
    if (strcmp(model, "llama") == 0) {
        *kind = SENTENCEPIECE;
        return SP_OK;
    }
    if (strcmp(model, "gpt2") != 0)
        return sp_fail(SP_BAD_DATA,
                       "'%s': tokenizer model '%s' is not supported; supported: gpt2 (byte-level "
                       "BPE), llama (SentencePiece's BPE)",
                       path, model);
    for (*kind = 0; *kind < SENTENCEPIECE; ++*kind)
        if (strcmp(pre, kinds[*kind].name) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "'%s': pre-tokenizer '%s' is not supported; supported: default, gpt-2, smollm, "
                   "llama-bpe, llama3, llama-v3, qwen2, tekken",
                   path, pre);
}

static json_t *make_byte_level(bool add_prefix_space, bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                     (int)add_prefix_space, "trim_offsets", 1, "use_regex", (int)use_regex);
}

static json_t *make_pre_tokenizer(size_t kind) {
    json_t *first = NULL;
    if (kinds[kind].is_sentencepiece) return json_null();
    if (kinds[kind].has_digits)
        first = json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
    if (kinds[kind].split != NULL)
        first = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                          kinds[kind].split, "behavior", "Isolated", "invert", 0);
    json_t *last = make_byte_level(false, kinds[kind].has_regex);
    if (first == NULL) return last;
    return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", first, last);
}

/* {spelling: id} of all tokens. */
static sp_status make_vocabulary(json_t **vocabulary, const json_t *tokens, const char *path) {
    json_t *made = json_object();
    size_t id;
    const json_t *token;
    json_array_foreach(tokens, id, token) {
        sp_status status = SP_OK;
        const char *spelling = json_string_value(token);
        if (spelling == NULL || strlen(spelling) != json_string_length(token))
            status = sp_fail(SP_BAD_DATA, "'%s': token %zu is no string, or holds a NUL", path, id);
        else if (json_object_get(made, spelling) != NULL)
            status = sp_fail(SP_BAD_DATA, "'%s': the token '%s' stands twice, at %zu", path,
                             spelling, id);
        else if (json_object_set_new(made, spelling, json_integer((json_int_t)id)) != 0)
            status = no_memory(path);
        if (status != SP_OK) {
            json_decref(made);
            return status;
        }
    }
    *vocabulary = made;
    return SP_OK;
}

static json_t *make_added_token(size_t id, const json_t *token, bool is_special, bool rstrip) {
    return json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content",
                     json_string_value(token), "single_word", 0, "lstrip", 0, "rstrip", (int)rstrip,
                     "normalized", 0, "special", (int)is_special);
}

/* Phi-3's own tokens take the white space behind them along, which the file does not say. */
static bool strips_right(bool is_phi3, const char *spelling) {
    return is_phi3 && strcmp(spelling, "<unk>") != 0 && strcmp(spelling, "<s>") != 0 &&
           strcmp(spelling, "<|endoftext|>") != 0;
}

/* Without types every token is a plain one. */
static sp_status make_added_tokens(json_t **added, const json_t *tokens, const json_t *types,
                                   const sp_gguf *gguf, const char *path) {
    const char *architecture = "";
    SP_TRY(sp_json_get_string(&architecture, gguf->metadata, "general.architecture", path));
    const bool is_phi3 = strcmp(architecture, "phi3") == 0;
    if (types != NULL && json_array_size(types) != json_array_size(tokens))
        return sp_fail(SP_BAD_DATA, "'%s': %zu token types for %zu tokens", path,
                       json_array_size(types), json_array_size(tokens));
    json_t *made = json_array();
    size_t id;
    const json_t *type;
    json_array_foreach(types, id, type) {
        const json_int_t number = json_integer_value(type);
        if (number != TOKEN_UNKNOWN && number != TOKEN_CONTROL && number != TOKEN_USER_DEFINED)
            continue;
        const json_t *spelling = json_array_get(tokens, id);
        json_t *token = make_added_token(id, spelling, number != TOKEN_USER_DEFINED,
                                         strips_right(is_phi3, json_string_value(spelling)));
        if (json_array_append_new(made, token) != 0) {
            json_decref(made);
            return no_memory(path);
        }
    }
    *added = made;
    return SP_OK;
}

/* The template of a text with BOS in front, or null where none belongs there. */
static sp_status make_post_processor(json_t **processor, size_t kind, const json_t *tokens,
                                     const sp_gguf *gguf, const char *path) {
    bool adds_bos = kinds[kind].adds_bos;
    size_t id = SIZE_MAX;
    SP_TRY(sp_json_get_bool(&adds_bos, gguf->metadata, "tokenizer.ggml.add_bos_token", path));
    SP_TRY(sp_json_get_size(&id, gguf->metadata, "tokenizer.ggml.bos_token_id", path));
    const char *bos = json_string_value(json_array_get(tokens, id));
    if (!adds_bos || bos == NULL) {
        *processor = json_null();
        return SP_OK;
    }
    *processor = json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, "
        "{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:{s:{s:s, s:[I], s:[s]}}}",
        "type", "TemplateProcessing", /* */
        "single", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0,
        "pair", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0,
        "SpecialToken", "id", bos, "type_id", 1, "Sequence", "id", "B", "type_id", 1, /* */
        "special_tokens", bos, "id", bos, "ids", (json_int_t)id, "tokens", bos);
    return *processor == NULL ? no_memory(path) : SP_OK;
}

/* The arrays that a tokenizer is made of. */
typedef struct lists {
    json_t *tokens, *types, *merges, *scores; /* owned; types may be NULL, and one of the others */
} lists;

static sp_status read_lists(lists *read, size_t kind, const sp_gguf *gguf, const char *path) {
    SP_TRY(sp_gguf_get_array(&read->tokens, gguf, "tokenizer.ggml.tokens", path));
    SP_TRY(sp_gguf_get_array(&read->types, gguf, "tokenizer.ggml.token_type", path));
    const bool has_scores = kinds[kind].is_sentencepiece;
    const char *order = has_scores ? "tokenizer.ggml.scores" : "tokenizer.ggml.merges";
    SP_TRY(sp_gguf_get_array(has_scores ? &read->scores : &read->merges, gguf, order, path));
    if (read->tokens == NULL || (has_scores ? read->scores : read->merges) == NULL)
        return sp_fail(SP_BAD_DATA, "'%s': no '%s'", path,
                       read->tokens == NULL ? "tokenizer.ggml.tokens" : order);
    return SP_OK;
}

/* The parts of a tokenizer.json that the file decides. */
typedef struct parts {
    json_t *vocabulary, *added_tokens, *post_processor, *merges, *normalizer; /* owned */
    const char *unknown; /* borrowed, or NULL */
} parts;

/* Spaces as SentencePiece writes them, with one more in front unless the file forbids it. */
static sp_status make_space_normalizer(json_t **normalizer, const sp_gguf *gguf, const char *path) {
    bool adds_prefix = true;
    SP_TRY(sp_json_get_bool(&adds_prefix, gguf->metadata, "tokenizer.ggml.add_space_prefix", path));
    json_t *prepend = json_pack("{s:s, s:s}", "type", "Prepend", "prepend", SPACE);
    json_t *replace = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                                "content", SPACE);
    if (adds_prefix) {
        *normalizer =
            json_pack("{s:s, s:[o, o]}", "type", "Sequence", "normalizers", prepend, replace);
    } else {
        json_decref(prepend);
        *normalizer = replace;
    }
    return *normalizer != NULL ? SP_OK : no_memory(path);
}

/* What a character becomes that has neither a token nor byte tokens. */
static const char *unknown_token(const lists *read) {
    size_t id;
    const json_t *type;
    json_array_foreach(
        read->types, id,
        type) if (json_integer_value(type) ==
                  TOKEN_UNKNOWN) return json_string_value(json_array_get(read->tokens, id));
    return NULL;
}

/* The reverse of the above: spaces, bytes, and the first space off. */
static json_t *make_space_decoder(bool has_prefix) {
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}, {s:s, s:s, s:i, s:i}]}", "type",
                     "Sequence", "decoders",                                        /* */
                     "type", "Replace", "pattern", "String", SPACE, "content", " ", /* */
                     "type", "ByteFallback", "type", "Fuse",                        /* */
                     "type", "Strip", "content", " ", "start", (int)has_prefix, "stop", 0);
}

static sp_status make_parts(parts *made, size_t kind, const lists *read, const sp_gguf *gguf,
                            const char *path) {
    SP_TRY(make_vocabulary(&made->vocabulary, read->tokens, path));
    SP_TRY(make_added_tokens(&made->added_tokens, read->tokens, read->types, gguf, path));
    if (kinds[kind].is_sentencepiece) {
        SP_TRY(sp_make_score_merges(&made->merges, read->tokens, made->vocabulary, read->scores,
                                    path));
        SP_TRY(make_space_normalizer(&made->normalizer, gguf, path));
        made->unknown = unknown_token(read);
    } else {
        made->merges = json_incref(read->merges);
        made->normalizer = kinds[kind].is_nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    }
    return make_post_processor(&made->post_processor, kind, read->tokens, gguf, path);
}

static json_t *join_parts(const parts *made, size_t kind) {
    const bool is_sentencepiece = kinds[kind].is_sentencepiece;
    const bool has_prefix = json_object_get(made->normalizer, "normalizers") != NULL;
    json_t *decoder =
        is_sentencepiece ? make_space_decoder(has_prefix) : make_byte_level(true, true);
    json_t *model = json_pack(
        "{s:s, s:n, s:s?, s:n, s:n, s:b, s:b, s:b, s:O, s:O}", "type", "BPE", "dropout",
        "unk_token", made->unknown, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
        (int)is_sentencepiece, "byte_fallback", (int)is_sentencepiece, "ignore_merges",
        (int)kinds[kind].ignore_merges, "vocab", made->vocabulary, "merges", made->merges);
    return json_pack("{s:s, s:n, s:n, s:O, s:O, s:o, s:O, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", made->added_tokens, "normalizer",
                     made->normalizer, "pre_tokenizer", make_pre_tokenizer(kind), "post_processor",
                     made->post_processor, "decoder", decoder, "model", model);
}

sp_status sp_gguf_make_tokenizer(json_t **tokenizer, const sp_gguf *gguf, const char *path) {
    size_t kind = 0;
    lists read = {0};
    parts made = {0};
    SP_TRY(find_kind(&kind, gguf, path));
    sp_status status = read_lists(&read, kind, gguf, path);
    if (status == SP_OK) status = make_parts(&made, kind, &read, gguf, path);
    if (status != SP_OK) goto cleanup;
    json_t *joined = join_parts(&made, kind);
    if (joined == NULL) {
        status = no_memory(path);
        goto cleanup;
    }
    *tokenizer = joined;

cleanup:
    json_decref(made.normalizer);
    json_decref(made.merges);
    json_decref(made.post_processor);
    json_decref(made.added_tokens);
    json_decref(made.vocabulary);
    json_decref(read.scores);
    json_decref(read.merges);
    json_decref(read.types);
    json_decref(read.tokens);
    return status;
}
