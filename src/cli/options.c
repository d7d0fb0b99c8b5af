#include "cli/command.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool sp_is_first_rank(void) {
    /* Set by mpirun of Open MPI, by its PMIx, by srun, and by MPICH's launchers. */
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID",
                                        "PMI_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *rank = getenv(names[i]);
        if (rank != NULL) return strcmp(rank, "0") == 0;
    }
    return true;
}

/* argp prints --help and errors, and exits, by itself: a rank that should not speak does so into
   nothing. */
static void parse_silently(const struct argp *argp, int argc, char **argv, void *options) {
    const int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    const int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    if (argp_parse(argp, argc, argv, 0, NULL, options) != 0) exit(SP_USAGE);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(nothing);
    close(err);
    close(out);
}

void sp_parse_options(const struct argp *argp, int argc, char **argv, void *options) {
    argp_err_exit_status = SP_USAGE;
    if (!sp_is_first_rank()) {
        sp_log_set_level(SP_LOG_QUIET);
        parse_silently(argp, argc, argv, options);
        return;
    }
    const error_t error = argp_parse(argp, argc, argv, 0, NULL, options);
    if (error == 0) return;
    fprintf(stderr, "%s: %s\n", argv[0], strerror(error));
    exit(SP_USAGE);
}

size_t sp_parse_count(const char *option, const char *text, size_t least,
                      const struct argp_state *state) {
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value < least)
        argp_error(state, "%s: '%s' is not a whole number from %zu", option, text, least);
    return (size_t)value;
}

static void fail_choice(const char *option, const char *text, const char *const *words,
                        const struct argp_state *state) {
    char list[128] = "";
    size_t n = 0;
    for (size_t i = 0; words[i] != NULL && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i > 0 ? ", " : "", words[i]);
    argp_error(state, "%s: '%s' is not one of %s", option, text, list);
}

int sp_parse_choice(const char *option, const char *text, const char *const *words,
                    const struct argp_state *state) {
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(text, words[i]) == 0) return i;
    fail_choice(option, text, words, state);
    return 0;
}

void sp_print_json(const json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    printf("\n");
}
