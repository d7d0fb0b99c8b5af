#include "cli/corpus_arguments.h"

#include "cli/command.h"

#include <stdlib.h>

enum { OPTION_COLUMN = 256, OPTION_WHERE, OPTION_CHECKSUMS, OPTION_ON_ERROR };

static const struct argp_option argp_options[] = {
    {"column", OPTION_COLUMN, "NAME", 0,
     "Column or field of the text (text); a dotted name reaches into a Parquet struct", 0},
    {"where", OPTION_WHERE, "CONDITION", 0,
     "Only documents for which NAME OP VALUE holds, OP being =, !=, <, <=, > or >=, such as "
     "'language_score >= 0.8' or 'language = en'. Texts compare by bytes; a null or missing field "
     "fails. May be repeated: all must hold",
     0},
    {"checksums", OPTION_CHECKSUMS, "FILE", 0,
     "Check the files against a list of SHA-256 sums, as sha256sum writes it, before any is read",
     0},
    {"on-error", OPTION_ON_ERROR, "stop|skip", 0,
     "At damaged input stop (stop), or leave out the row, the rest of the row group or of the "
     "file, and count it",
     0},
    {0},
};

static void add_condition(sp_corpus_arguments *arguments, const char *text,
                          const struct argp_state *state) {
    if (arguments->n_where == SP_MOST_CONDITIONS)
        argp_error(state, "--where: more than %d of them", (int)SP_MOST_CONDITIONS);
    arguments->where[arguments->n_where++] = text;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    sp_corpus_arguments *arguments = state->input;
    switch (key) {
    case OPTION_COLUMN:
        arguments->options.text.column = argument;
        break;
    case OPTION_WHERE:
        add_condition(arguments, argument, state);
        break;
    case OPTION_CHECKSUMS:
        arguments->options.checksums = argument;
        break;
    case OPTION_ON_ERROR:
        arguments->options.on_error = sp_parse_on_error(argument, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    arguments->has_choice = true;
    return 0;
}

const struct argp sp_corpus_argp = {.options = argp_options, .parser = parse_option};

sp_status sp_corpus_arguments_init(sp_corpus_arguments *arguments, int argc) {
    *arguments = (sp_corpus_arguments){.names = calloc((size_t)argc, sizeof *arguments->names)};
    if (arguments->names == NULL) return sp_fail(SP_FAILURE, "no memory for options");
    arguments->options.names = arguments->names;
    return SP_OK;
}

void sp_corpus_arguments_free(sp_corpus_arguments *arguments) {
    for (size_t i = 0; i < arguments->conditions.n; i++) sp_condition_free(&arguments->items[i]);
    free(arguments->names);
    *arguments = (sp_corpus_arguments){0};
}

void sp_corpus_arguments_add_name(sp_corpus_arguments *arguments, const char *name) {
    arguments->names[arguments->options.n_names++] = name;
}

sp_status sp_corpus_arguments_parse_where(sp_corpus_arguments *arguments) {
    sp_conditions *conditions = &arguments->conditions;
    conditions->items = arguments->items;
    arguments->options.text.where = conditions;
    for (; conditions->n < arguments->n_where; conditions->n++) {
        const sp_status status =
            sp_condition_parse(&conditions->items[conditions->n], arguments->where[conditions->n]);
        if (status != SP_OK) return sp_fail(status, "--where: %s", sp_message());
    }
    return SP_OK;
}

sp_on_error sp_parse_on_error(const char *text, const struct argp_state *state) {
    /* In the order of sp_on_error. */
    static const char *const words[] = {"stop", "skip", NULL};
    return (sp_on_error)sp_parse_choice("--on-error", text, words, state);
}
