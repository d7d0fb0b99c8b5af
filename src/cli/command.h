/* The commands of the slotpress binary, and what they share.

   A command parses its options with argp, begins a world if it uses ranks, makes one call into
   run/, ends the world, and returns a status, which main() turns into the message and the exit
   code. Options are parsed before MPI starts, so --help and errors of use need no launcher. */
#pragma once

#include "base/json.h"
#include "base/status.h"

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct sp_command {
    const char *name;
    const char *summary;                     /* one line for `slotpress --help` */
    sp_status (*run)(int argc, char **argv); /* argv[0] is "slotpress NAME" */
} sp_command;

/* argp_parse() for commands: errors of use exit with 64. Only the launcher's first rank prints them
   or --help; the others are quiet from then on, too, as of --quiet. */
void sp_parse_options(const struct argp *argp, int argc, char **argv, void *options);

/* A count from the argument of `option`, such as "--ratio", at least `least`; else an error of
   use. */
size_t sp_parse_count(const char *option, const char *text, size_t least,
                      const struct argp_state *state);

/* The index of the argument of `option` among `words`, which end in NULL; else an error of use. */
int sp_parse_choice(const char *option, const char *text, const char *const *words,
                    const struct argp_state *state);

/* Prints one JSON object as a line on standard output. */
void sp_print_json(const json_t *object);

/* Is this the process that prints: the launcher's first rank, or one started alone? */
bool sp_is_first_rank(void);

sp_status sp_cmd_tokenize(int argc, char **argv);
sp_status sp_cmd_score(int argc, char **argv);
sp_status sp_cmd_pretrain(int argc, char **argv);
sp_status sp_cmd_finetune(int argc, char **argv);
sp_status sp_cmd_plan(int argc, char **argv);
sp_status sp_cmd_compress(int argc, char **argv);
sp_status sp_cmd_generate(int argc, char **argv);
sp_status sp_cmd_evaluate(int argc, char **argv);
sp_status sp_cmd_export(int argc, char **argv);
sp_status sp_cmd_import(int argc, char **argv);
sp_status sp_cmd_inspect(int argc, char **argv);
sp_status sp_cmd_verify(int argc, char **argv);
sp_status sp_cmd_merge(int argc, char **argv);
sp_status sp_cmd_report(int argc, char **argv);
