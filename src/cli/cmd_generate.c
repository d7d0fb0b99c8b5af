#include "cli/command.h"

#include "base/log.h"
#include "cli/config_options.h"
#include "cli/print_options.h"
#include "run/decoding.h"
#include "run/generate.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_DOCUMENTS = 1024 };

typedef struct generate_options {
    sp_generate_job job;
    sp_assignments assignments;
    const char *documents[MOST_DOCUMENTS];
    sp_json_option json;
} generate_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_MEMORY,
    OPTION_RATIO,
    OPTION_DOCUMENT,
    OPTION_PROMPT,
    OPTION_INPUT,
    OPTION_OUTPUT,
    OPTION_TASK,
    OPTION_FULL_TEXT,
    OPTION_CHAT,
    OPTION_MAX_NEW_TOKENS,
    OPTION_AT_ONCE
};

static const struct argp_option argp_options[] = {
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0, "Run or step folder of the compressor", 0},
    {"memory", OPTION_MEMORY, "FILE", 0, "Slot file of `slotpress compress`", 0},
    {"slots", 0, NULL, OPTION_ALIAS, NULL, 0},
    {"ratio", OPTION_RATIO, "N", 0,
     "Encoder tokens for one slot, of contexts that are compressed on the spot: a ratio that the "
     "checkpoint was trained for, the least by default; a slot file must have this one, too",
     0},
    {"document", OPTION_DOCUMENT, "ID", 0,
     "Which of its documents; given again, the next one's memory follows", 0},
    {"prompt", OPTION_PROMPT, "TEXT", 0, "Go on after this text", 0},
    {"input", OPTION_INPUT, "FILE", 0,
     "Many requests, in place of --document and --prompt: a JSON object a line, with document (an "
     "id), documents (a list) or context (a text, compressed on the spot), and if wanted prompt "
     "and id. Those that follow each other and share their documents read them once",
     0},
    {"output", OPTION_OUTPUT, "FILE", 0,
     "Where their answers go, a JSON object a line in the same order: id, text, tokens (how many "
     "new ones); standard output without it",
     0},
    {"task", OPTION_TASK, "NAME", 0,
     "reconstruct: the documents' text, segment by segment, joined. complete: go on after the "
     "prompt, or without one after the documents. answer: answer the prompt, which must be there. "
     "Without it: complete where there is a prompt, else reconstruct",
     0},
    {"full-text", OPTION_FULL_TEXT, NULL, 0,
     "Read the documents' text, which `compress --with-text` kept beside the slots, in place of "
     "their slots, with a blank line before the prompt; and that of contexts",
     0},
    {"chat", OPTION_CHAT, "NAME", OPTION_ARG_OPTIONAL,
     "The prompt is a user's turn, and the decoder a chat model, which is to answer it. The "
     "documents' memory stands in that turn, in front of the prompt. NAME is the model's template, "
     "llama3.1, llama3, mistral-v3, mistral-v1, qwen2.5 or phi3; auto, or none: by its tokens",
     0},
    {"max-new-tokens", OPTION_MAX_NEW_TOKENS, "N", 0,
     "At most so many, of an answer or of each segment (300)", 0},
    {"at-once", OPTION_AT_ONCE, "N", 0,
     "Answers or segments that are decoded together (32); fewer take less memory", 0},
    {0},
};

/* NULL: the one that is recognised. */
static const sp_chat_template *choose_chat(const char *argument, const struct argp_state *state) {
    const char *words[1 + SP_N_CHAT_TEMPLATES + 1] = {"auto"};
    for (size_t i = 0; i < SP_N_CHAT_TEMPLATES; i++) words[1 + i] = sp_chat_templates[i].name;
    const int choice = sp_parse_choice("--chat", argument, words, state);
    return choice > 0 ? &sp_chat_templates[choice - 1] : NULL;
}

static void add_document(generate_options *options, const char *id,
                         const struct argp_state *state) {
    if (options->job.n_documents == MOST_DOCUMENTS)
        argp_error(state, "more than %d --document", MOST_DOCUMENTS);
    else
        options->documents[options->job.n_documents++] = id;
}

/* One request, or a file of them. What a request lacks is said where it is looked at. */
static void check_options(const sp_generate_job *job, const struct argp_state *state) {
    if (job->checkpoint == NULL) argp_error(state, "needs --checkpoint DIR");
    if (job->input != NULL) {
        if (job->n_documents > 0 || job->prompt != NULL)
            argp_error(state,
                       "--input FILE has the documents and prompts: no --document, --prompt");
        if (job->is_chat && job->task != SP_TASK_BY_PROMPT && job->task != SP_TASK_ANSWER)
            argp_error(state, "--chat answers: --task answer");
        return;
    }
    if (job->output != NULL) argp_error(state, "--output FILE goes with --input FILE");
    if (job->memory == NULL || job->n_documents == 0)
        argp_error(state, "needs --memory FILE and --document ID, or --input FILE");
    if (job->is_chat && job->prompt == NULL) argp_error(state, "--chat needs --prompt TEXT");
    if (job->is_chat && job->task != SP_TASK_BY_PROMPT && job->task != SP_TASK_ANSWER)
        argp_error(state, "--chat answers: --task answer");
    if (job->task == SP_TASK_ANSWER && job->prompt == NULL)
        argp_error(state, "--task answer needs --prompt TEXT");
    if (job->task == SP_TASK_RECONSTRUCT && job->prompt != NULL)
        argp_error(state, "--task reconstruct takes no --prompt");
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    static const char *const tasks[] = {"reconstruct", "complete", "answer", NULL};
    generate_options *options = state->input;
    sp_generate_job *job = &options->job;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->assignments;
        state->child_inputs[1] = &options->json;
        return 0;
    case OPTION_CHECKPOINT:
        job->checkpoint = argument;
        return 0;
    case OPTION_MEMORY:
        job->memory = argument;
        return 0;
    case OPTION_RATIO:
        job->ratio = sp_parse_count("--ratio", argument, 1, state);
        return 0;
    case OPTION_DOCUMENT:
        add_document(options, argument, state);
        return 0;
    case OPTION_PROMPT:
        job->prompt = argument;
        return 0;
    case OPTION_INPUT:
        job->input = argument;
        return 0;
    case OPTION_OUTPUT:
        job->output = argument;
        return 0;
    case OPTION_TASK:
        job->task = SP_TASK_RECONSTRUCT +
                    (sp_generate_task)sp_parse_choice("--task", argument, tasks, state);
        return 0;
    case OPTION_FULL_TEXT:
        job->reads_text = true;
        return 0;
    case OPTION_CHAT:
        job->is_chat = true;
        job->chat = argument != NULL ? choose_chat(argument, state) : NULL;
        return 0;
    case OPTION_MAX_NEW_TOKENS:
        job->max_new_tokens = sp_parse_count("--max-new-tokens", argument, 0, state);
        return 0;
    case OPTION_AT_ONCE:
        job->most_at_once = sp_parse_count("--at-once", argument, 1, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': generate takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        check_options(job, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_set_argp, 0, NULL, 0},
    {&sp_json_argp, 0, NULL, 0},
    {&sp_quiet_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .doc = "Lets the decoder read documents' slots in place of their text, and prints what it goes "
           "on with, greedily: after a prompt, in answer to one, or as a reconstruction of each "
           "segment, joined. With --input FILE for many requests, many at once.",
};

static sp_status generate_one(const generate_options *options) {
    json_t *result = NULL;
    char *text = NULL;
    size_t n_bytes = 0;
    const sp_status status = sp_generate(&result, &text, &n_bytes, &options->job);
    if (status == SP_OK && options->json.is_wanted) {
        sp_print_json(result);
    } else if (status == SP_OK) {
        fwrite(text, 1, n_bytes, stdout);
        printf("\n");
    }
    json_decref(result);
    free(text);
    return status;
}

/* The summary goes where the answers do not. */
static sp_status generate_all(const generate_options *options) {
    sp_generate_summary s;
    SP_TRY(sp_generate_all(&s, &options->job));
    if (options->json.is_wanted && options->job.output != NULL) {
        json_t *object = json_pack("{s:I, s:I, s:f}", "answers", (json_int_t)s.n_answers, "tokens",
                                   (json_int_t)s.n_tokens, "seconds", s.seconds);
        sp_print_json(object);
        json_decref(object);
    } else {
        sp_log(SP_LOG_INFO, "%zu answers, %zu tokens in %.1f s", s.n_answers, s.n_tokens,
               s.seconds);
    }
    return SP_OK;
}

sp_status sp_cmd_generate(int argc, char **argv) {
    generate_options options = {
        .json = {.members = "document (of several: documents), text, ids; with --input and "
                            "--output: answers, tokens, seconds"},
        .job = {.max_new_tokens = 300, .most_at_once = SP_DECODING_AT_ONCE}};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    options.job.documents = options.documents;
    options.job.assignments = options.assignments.items;
    options.job.n_assignments = options.assignments.n;
    return options.job.input != NULL ? generate_all(&options) : generate_one(&options);
}
