/* The commands of the slotpress binary, and what they share.

   A command parses its options with argp, begins a world if it uses ranks, makes one call into
   run/, ends the world, and returns a status, which main() turns into the message and the exit
   code. Options are parsed before MPI starts, so --help and errors of use need no launcher. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/condition.h"

#include <argp.h>
#include <stdbool.h>

typedef struct sp_command {
    const char *name;
    const char *summary;                     /* one line for `slotpress --help` */
    sp_status (*run)(int argc, char **argv); /* argv[0] is "slotpress NAME" */
} sp_command;

/* argp_parse() for commands: errors of use exit with 64, and only the launcher's first rank
   prints them or --help. */
void sp_parse_options(const struct argp *argp, int argc, char **argv, void *options);

/* Assignments of --set, in their order. */
enum { SP_MOST_ASSIGNMENTS = 64 };
typedef struct sp_assignments {
    const char *items[SP_MOST_ASSIGNMENTS]; /* "train.lr=1e-4", borrowed from argv */
    size_t n;
} sp_assignments;

/* Adds one; more than there is room for are an error of use. */
void sp_assignments_add(sp_assignments *assignments, const char *text,
                        const struct argp_state *state);

/* A count from the argument of `option`, such as "--ratio", at least `least`; else an error of
   use. */
size_t sp_parse_count(const char *option, const char *text, size_t least,
                      const struct argp_state *state);

/* The index of the argument of `option` among `words`, which end in NULL; else an error of use. */
int sp_parse_choice(const char *option, const char *text, const char *const *words,
                    const struct argp_state *state);

/* Parses the arguments of --where, texts [n], into where->items, which has room for them. where->n grows
   one by one; free so many items, also on failure. SP_USAGE: one is not of the form. */
SP_NODISCARD sp_status sp_parse_conditions(sp_conditions *where, const char *const *texts,
                                           size_t n);

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
