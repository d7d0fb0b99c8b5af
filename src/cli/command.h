/* The commands of the slotpress binary, and what they share.

   A command parses its options with argp, begins a world if it uses ranks, makes one call into
   run/, ends the world, and returns a status, which main() turns into the message and the exit
   code. Options are parsed before MPI starts, so --help and errors of use need no launcher. */
#pragma once

#include "base/status.h"

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

/* Is this the process that prints: the launcher's first rank, or one started alone? */
bool sp_is_first_rank(void);

sp_status sp_cmd_tokenize(int argc, char **argv);
sp_status sp_cmd_score(int argc, char **argv);
sp_status sp_cmd_pretrain(int argc, char **argv);
sp_status sp_cmd_compress(int argc, char **argv);
sp_status sp_cmd_generate(int argc, char **argv);
sp_status sp_cmd_evaluate(int argc, char **argv);
sp_status sp_cmd_export(int argc, char **argv);
sp_status sp_cmd_inspect(int argc, char **argv);
