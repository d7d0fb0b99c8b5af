#include "cli/command.h"

#include "run/generate.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct generate_options {
    sp_generate_job job;
    sp_assignments assignments;
    bool wants_json;
} generate_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_MEMORY,
    OPTION_DOCUMENT,
    OPTION_PROMPT,
    OPTION_CHAT,
    OPTION_MAX_NEW_TOKENS,
    OPTION_SET,
    OPTION_JSON
};

static const struct argp_option argp_options[] = {
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0, "Run or step folder of the compressor", 0},
    {"memory", OPTION_MEMORY, "FILE", 0, "Slot file of `slotpress compress`", 0},
    {"document", OPTION_DOCUMENT, "ID", 0, "Which of its documents", 0},
    {"prompt", OPTION_PROMPT, "TEXT", 0, "Go on after this text; without it: reconstruct", 0},
    {"chat", OPTION_CHAT, "NAME", OPTION_ARG_OPTIONAL,
     "The prompt is a user's turn, and the decoder a chat model, which is to answer it. The "
     "document's memory stands in that turn, in front of the prompt. NAME is the model's template, "
     "llama3.1, llama3, mistral-v3, mistral-v1, qwen2.5 or phi3; auto, or none: by its tokens",
     0},
    {"max-new-tokens", OPTION_MAX_NEW_TOKENS, "N", 0,
     "At most so many, of an answer or of each segment (300)", 0},
    {"set", OPTION_SET, "KEY=VALUE", 0, "Set a key over the checkpoint's configuration", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object: document, text, ids", 0},
    {0},
};

/* NULL: the one that is recognised. */
static const sp_chat_template *choose_chat(const char *argument, const struct argp_state *state) {
    const char *words[1 + SP_N_CHAT_TEMPLATES + 1] = {"auto"};
    for (size_t i = 0; i < SP_N_CHAT_TEMPLATES; i++) words[1 + i] = sp_chat_templates[i].name;
    const int choice = sp_parse_choice("--chat", argument, words, state);
    return choice > 0 ? &sp_chat_templates[choice - 1] : NULL;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    generate_options *options = state->input;
    sp_generate_job *job = &options->job;
    switch (key) {
    case OPTION_CHECKPOINT:
        job->checkpoint = argument;
        return 0;
    case OPTION_MEMORY:
        job->memory = argument;
        return 0;
    case OPTION_DOCUMENT:
        job->document = argument;
        return 0;
    case OPTION_PROMPT:
        job->prompt = argument;
        return 0;
    case OPTION_CHAT:
        job->is_chat = true;
        job->chat = argument != NULL ? choose_chat(argument, state) : NULL;
        return 0;
    case OPTION_MAX_NEW_TOKENS:
        job->max_new_tokens = sp_parse_count("--max-new-tokens", argument, 0, state);
        return 0;
    case OPTION_SET:
        sp_assignments_add(&options->assignments, argument, state);
        return 0;
    case OPTION_JSON:
        options->wants_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': generate takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (job->checkpoint == NULL || job->memory == NULL || job->document == NULL)
            argp_error(state, "needs --checkpoint DIR, --memory FILE and --document ID");
        if (job->is_chat && job->prompt == NULL) argp_error(state, "--chat needs --prompt TEXT");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .doc = "Lets the decoder read a document's slots in place of its text, and prints what it goes "
           "on with, greedily: after a prompt, in answer to one, or as a reconstruction of each "
           "segment, "
           "joined.",
};

sp_status sp_cmd_generate(int argc, char **argv) {
    generate_options options = {.job = {.max_new_tokens = 300}};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    options.job.assignments = options.assignments.items;
    options.job.n_assignments = options.assignments.n;
    json_t *result = NULL;
    char *text = NULL;
    size_t n_bytes = 0;
    const sp_status status = sp_generate(&result, &text, &n_bytes, &options.job);
    if (status == SP_OK && options.wants_json) {
        sp_print_json(result);
    } else if (status == SP_OK) {
        fwrite(text, 1, n_bytes, stdout);
        printf("\n");
    }
    json_decref(result);
    free(text);
    return status;
}
