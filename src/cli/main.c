/* slotpress COMMAND: picks the command, and is the one place that turns a status into a message
   and an exit code. */
#include "base/nearest.h"
#include "base/version.h"
#include "cli/command.h"
#include "io/checkpoint.h"
#include "io/hdf5_file.h"
#include "io/slots_file.h"
#include "io/tokens_file.h"
#include "io/version.h"
#include "mpi/version.h"
#include "tensor/version.h"
#include "text/version.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const sp_command commands[] = {
    {"tokenize", "turn text into a token file, or standard input into ids", sp_cmd_tokenize},
    {"score", "log-probability of each token of a text under a model", sp_cmd_score},
    {"pretrain", "train a compressor, stage 1 or 2", sp_cmd_pretrain},
    {"finetune", "train a compressor further on questions and answers", sp_cmd_finetune},
    {"plan", "memory, FLOP, time and grids of a training run, without running it", sp_cmd_plan},
    {"compress", "turn documents into a slot file", sp_cmd_compress},
    {"generate", "continue from a document's slots, or reconstruct it", sp_cmd_generate},
    {"evaluate", "measure a compressor on held-out text", sp_cmd_evaluate},
    {"export", "write a checkpoint as safetensors and PEFT files", sp_cmd_export},
    {"import", "make an export, or a published checkpoint, a run", sp_cmd_import},
    {"inspect", "describe any file or folder that slotpress reads or writes", sp_cmd_inspect},
    {"verify", "read all of a token file and hold it against its source", sp_cmd_verify},
    {"merge", "make one plain file of a token file in parts", sp_cmd_merge},
    {"report", "make a page and plots of training runs and evaluations", sp_cmd_report},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0], VERSION_SIZE = 256 };

typedef struct library {
    const char *name;
    void (*describe)(char *text, size_t size);
} library;

static const library libraries[] = {
    {"MPI", sp_mpi_version},           {"HDF5", sp_hdf5_version},
    {"OpenBLAS", sp_openblas_version}, {"oneDNN", sp_onednn_version},
    {"PCRE2", sp_pcre2_version},       {"utf8proc", sp_utf8proc_version},
    {"Jansson", sp_jansson_version},   {"libyaml", sp_libyaml_version},
    {"xxHash", sp_xxhash_version},     {"zlib", sp_zlib_version},
    {"zstd", sp_zstd_version},         {"libcrypto", sp_libcrypto_version},
    {"Arrow", sp_arrow_version},
};

typedef struct format {
    const char *name;
    int version;
} format;

static const format formats[] = {
    {"tokens.h5", SP_TOKENS_FORMAT_VERSION},
    {"slots.h5", SP_SLOTS_FORMAT_VERSION},
    {"checkpoint", SP_CHECKPOINT_FORMAT_VERSION},
};

static void print_help(void) {
    printf("Usage: slotpress COMMAND [OPTIONS]\n"
           "       slotpress COMMAND --help\n"
           "       slotpress --version\n\n"
           "Pretrains and runs PCC context compressors: text in, a few embedding rows out,\n"
           "which a frozen language model reads in place of the text.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].summary);
    printf("\nExit codes: 0 done, 1 failure, 64 wrong usage or configuration, 65 bad input\n"
           "data, 74 input or output, 75 stopped and wants to go on, 76 not finite.\n");
}

static void print_version(void) {
    printf("slotpress %s\n\nlibraries\n", SLOTPRESS_VERSION);
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        char text[VERSION_SIZE];
        libraries[i].describe(text, sizeof text);
        printf("  %-10s %s\n", libraries[i].name, text);
    }
    printf("\nfile formats\n");
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        printf("  %-10s %d\n", formats[i].name, formats[i].version);
}

static sp_status fail_unknown_command(const char *name) {
    const char *nearest = commands[0].name;
    for (size_t i = 1; i < N_COMMANDS; i++)
        if (sp_edit_distance(name, commands[i].name) < sp_edit_distance(name, nearest))
            nearest = commands[i].name;
    return sp_fail(SP_USAGE, "unknown command '%s'; did you mean '%s'?", name, nearest);
}

static sp_status run_command(int argc, char **argv) {
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[0], commands[i].name) != 0) continue;
        char name[64]; /* what argp says of itself */
        snprintf(name, sizeof name, "slotpress %s", commands[i].name);
        argv[0] = name;
        return commands[i].run(argc, argv);
    }
    return fail_unknown_command(argv[0]);
}

static sp_status run(int argc, char **argv) {
    if (argc < 2) return sp_fail(SP_USAGE, "no command; slotpress --help lists them");
    const bool wants_help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
    if (!wants_help && strcmp(argv[1], "--version") != 0) return run_command(argc - 1, argv + 1);
    if (!sp_is_first_rank()) return SP_OK;
    if (wants_help)
        print_help();
    else
        print_version();
    return SP_OK;
}

/* A file that we open must never become the standard output of somebody who closed theirs. A
   placeholder cannot be used in the direction that its number stands for. */
static void occupy_standard_files(void) {
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) exit(SP_IO);
}

/* Results that did not reach their reader are a failure, wherever the process ends. */
static void check_output(int exit_code, void *unused) {
    (void)unused;
    errno = 0;
    const bool had_error = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !had_error) return;
    if (exit_code != 0) return;
    if (sp_is_first_rank())
        fprintf(stderr, "slotpress: standard output: %s\n",
                errno != 0 ? strerror(errno) : "a write failed");
    _exit(SP_IO);
}

/* A launcher ends all ranks when one exits with a failure: the rank that explains it goes first. */
static void wait_for_first_rank(int exit_code, void *unused) {
    (void)unused;
    const struct timespec pause = {0, 300000000};
    if (exit_code != 0) nanosleep(&pause, NULL);
}

int main(int argc, char **argv) {
    occupy_standard_files();
    signal(SIGPIPE, SIG_IGN); /* a reader that left is a failing write, not a death without word */
    on_exit(check_output, NULL);
    if (!sp_is_first_rank()) on_exit(wait_for_first_rank, NULL);
    const sp_status status = run(argc, argv);
    if (status != SP_OK && sp_is_first_rank()) fprintf(stderr, "slotpress: %s\n", sp_message());
    return (int)status;
}
