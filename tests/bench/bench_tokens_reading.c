/* Times the reading of training samples in random order, as a run reads them, from each layout of a
   token file: plain, an index over parts, merged. A JSON line for each:

       bench_tokens_reading FOLDER SEGMENTS SAMPLES

   makes the files in FOLDER, of as many segments, two streams of 256 tokens each, some chunks of which
   stay unpacked, and reads so many samples: a segment in both streams and the next one's in the second. Before each
   measurement the system is asked to forget the files, so that the disk is read; `sequential` is what
   it gives when a file is read from front to back. Ends with 1 if the layouts differ in a sample. */
#include "base/clock.h"
#include "io/tokens_merge.h"
#include "io/tokens_part.h"
#include "run/samples.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    SEGMENT_TOKENS = 256,
    N_STREAMS = 2,
    SEGMENTS_A_DOCUMENT = 4,
    N_BLOCKS = 256,
    N_PARTS = 8,
    MICRO_BATCH = 8,
    PATH_SIZE = 4096
};

static const sp_tokens_stream streams[N_STREAMS] = {{"encoder", "digest", 49152},
                                                    {"decoder", "digest", 128256}};
static const sp_tokens_job job = {
    .work = "bench", .segment_tokens = SEGMENT_TOKENS, .streams = streams, .n_streams = N_STREAMS};

static void must(sp_status status) {
    if (status == SP_OK) return;
    fprintf(stderr, "bench_tokens_reading: %s\n", sp_message());
    exit((int)status);
}

static const char *path_in(char path[PATH_SIZE], const char *folder, const char *name) {
    if (snprintf(path, PATH_SIZE, "%s/%s", folder, name) >= PATH_SIZE)
        must(sp_fail(SP_USAGE, "'%s': too long a path", folder));
    return path;
}

/* ---- files ---- */

static uint64_t mix(uint64_t value) { /* splitmix64 */
    value += 0x9E3779B97F4A7C15;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

/* Frequent tokens and rare ones, so that ids pack about as those of texts do. */
static void make_ids(int32_t *ids, uint64_t key, size_t vocab_size) {
    for (size_t i = 0; i < SEGMENT_TOKENS; i++) {
        const uint64_t bits = mix(key * SEGMENT_TOKENS + i);
        ids[i] = (int32_t)((vocab_size - 1) >> (bits >> 48) % 14) & (int32_t)(bits & 0x7FFFFFFF);
    }
}

static void put_document(sp_tokens_writer *writer, sp_journal_writer *journal, uint64_t document) {
    static int32_t ids[N_STREAMS][SEGMENT_TOKENS];
    const int32_t *const of_stream[N_STREAMS] = {ids[0], ids[1]};
    const size_t n[N_STREAMS] = {SEGMENT_TOKENS, SEGMENT_TOKENS};
    char id[32];
    snprintf(id, sizeof id, "%ju", (uintmax_t)document);
    must(journal != NULL ? sp_journal_writer_document(journal, id, mix(document))
                         : sp_tokens_writer_document(writer, id, mix(document)));
    for (size_t i = 0; i < SEGMENTS_A_DOCUMENT; i++) {
        for (size_t s = 0; s < N_STREAMS; s++)
            make_ids(ids[s], (document * SEGMENTS_A_DOCUMENT + i) * N_STREAMS + s,
                     streams[s].vocab_size);
        const uint64_t begin = i * 1000;
        must(journal != NULL ? sp_journal_writer_segment(journal, begin, 1000, of_stream, n)
                             : sp_tokens_writer_segment(writer, begin, 1000, of_stream, n));
    }
}

static void write_plain(const char *path, uint64_t n_documents) {
    sp_tokens_writer *writer = NULL;
    must(sp_tokens_writer_open(&writer, path, SEGMENT_TOKENS, streams, N_STREAMS));
    must(sp_tokens_writer_source(writer, "bench", 1, n_documents));
    for (uint64_t d = 0; d < n_documents; d++) put_document(writer, NULL, d);
    must(sp_tokens_writer_commit(writer));
}

/* Blocks as ranks take them from a queue. */
static void write_journal(const char *index, size_t part, uint64_t n_documents) {
    sp_journal_writer *journal = NULL;
    char *path = NULL;
    must(sp_tokens_journal_path(&path, index, &job, part));
    must(sp_journal_writer_open(&journal, path, &job));
    for (uint64_t block = 0; block < N_BLOCKS; block++) {
        if (mix(block) % N_PARTS != part) continue;
        must(sp_journal_writer_begin(journal, block));
        for (uint64_t d = block * n_documents / N_BLOCKS; d < (block + 1) * n_documents / N_BLOCKS;
             d++)
            put_document(NULL, journal, d);
        must(sp_journal_writer_end(journal, NULL));
    }
    sp_journal_writer_close(journal);
    free(path);
}

static void write_index(const char *path, uint64_t n_documents) {
    char name[] = "bench";
    const sp_tokens_source source = {name, 1, n_documents};
    sp_tokens_plan *plan = NULL;
    must(sp_tokens_parts_create(path));
    for (size_t part = 0; part < N_PARTS; part++) write_journal(path, part, n_documents);
    must(sp_tokens_plan_create(&plan, path, &job, N_BLOCKS));
    must(sp_tokens_plan_settle(plan));
    for (size_t part = 0; part < sp_tokens_plan_n_parts(plan); part++)
        must(sp_tokens_part_write(plan, part));
    must(sp_tokens_index_write(plan, &source, 1, "{}"));
    must(sp_tokens_journals_remove(path));
    sp_tokens_plan_destroy(plan);
}

/* ---- the disk ---- */

/* Reads a file from front to back, or has it forgotten; returns its bytes. */
static uint64_t pass_over(const char *path, bool reads) {
    static char buffer[1 << 20];
    uint64_t n_bytes = 0;
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) must(sp_fail(SP_IO, "cannot read '%s'", path));
    if (!reads) {
        fsync(fd); /* what is not on the disk yet is not forgotten */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        n_bytes = (uint64_t)info.st_size;
    }
    for (ssize_t n = 1; reads && n > 0; n_bytes += (uint64_t)n) {
        n = read(fd, buffer, sizeof buffer);
        if (n < 0) must(sp_fail(SP_IO, "cannot read '%s'", path));
    }
    close(fd);
    return n_bytes;
}

/* The file, and all in its folder of parts. */
static uint64_t pass_over_all(const char *folder, const char *name, bool reads) {
    char path[PATH_SIZE], parts[PATH_SIZE], part[PATH_SIZE];
    uint64_t n_bytes = pass_over(path_in(path, folder, name), reads);
    path_in(parts, folder, "index.parts");
    DIR *entries = strcmp(name, "index.h5") == 0 ? opendir(parts) : NULL;
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        n_bytes += pass_over(path_in(part, parts, entry->d_name), reads);
    }
    if (entries != NULL) closedir(entries);
    return n_bytes;
}

static double measure_disk(const char *folder, const char *name, uint64_t *n_bytes) {
    pass_over_all(folder, name, false);
    const double begin_s = sp_clock_seconds();
    *n_bytes = pass_over_all(folder, name, true);
    return (double)*n_bytes / (sp_clock_seconds() - begin_s);
}

/* ---- samples ---- */

typedef struct reading {
    double open_s, samples_per_s;
    double cpu_s;  /* the processors' time for the samples */
    uint64_t hash; /* of all that was read */
} reading;

static reading read_samples(const char *path, size_t n_samples) {
    char encoder[] = "encoder", decoder[] = "decoder";
    sp_run_config config = {
        .encoder.memory_tokens = SEGMENT_TOKENS,
        .data = {.encoder_stream = encoder, .decoder_stream = decoder, .limit = SP_COUNT_AUTO},
        .segment = {.tokens = SEGMENT_TOKENS, .ratios = {{4}, 1}},
        .train.global_batch = MICRO_BATCH,
        .objective = {.reconstruction = 0.5, .completion = 0.5}};
    sp_tokens *tokens = NULL;
    sp_samples samples = {0};
    sp_batch batch = {0};
    reading result = {0};
    double begin_s = sp_clock_seconds();
    must(sp_tokens_open(&tokens, path));
    must(sp_samples_open(&samples, tokens, &config));
    result.open_s = sp_clock_seconds() - begin_s;
    begin_s = sp_clock_seconds();
    const clock_t cpu_begin = clock();
    for (size_t i = 0; i < n_samples; i += MICRO_BATCH) {
        must(sp_samples_fill(&samples, &batch, i, i + MICRO_BATCH));
        for (sp_side side = 0; side < SP_N_SIDES; side++)
            result.hash = XXH3_64bits_withSeed(
                batch.rows[side].ids, batch.rows[side].n_rows * sizeof *batch.rows[side].ids,
                result.hash);
    }
    result.cpu_s = (double)(clock() - cpu_begin) / CLOCKS_PER_SEC;
    result.samples_per_s = (double)n_samples / (sp_clock_seconds() - begin_s);
    sp_batch_free(&batch);
    sp_samples_close(&samples);
    sp_tokens_close(tokens);
    return result;
}

static uint64_t measure(const char *folder, const char *name, size_t n_samples) {
    char path[PATH_SIZE];
    uint64_t n_bytes = 0;
    const double disk = measure_disk(folder, name, &n_bytes);
    pass_over_all(folder, name, false);
    const reading cold = read_samples(path_in(path, folder, name), n_samples);
    const reading warm = read_samples(path, n_samples);
    printf("{\"layout\": \"%.*s\", \"bytes\": %ju, \"sequential_mb_per_second\": %.1f, "
           "\"open_seconds\": %.3f, \"samples_per_second\": %.1f, "
           "\"samples_per_second_cached\": %.1f, \"tokens_per_second\": %.0f, "
           "\"cpu_ms_per_sample\": %.3f}\n",
           (int)(strlen(name) - 3), name, (uintmax_t)n_bytes, disk / 1e6, cold.open_s,
           cold.samples_per_s, warm.samples_per_s, cold.samples_per_s * SEGMENT_TOKENS,
           1e3 * cold.cpu_s / (double)n_samples);
    fflush(stdout);
    return cold.hash;
}

int main(int argc, char **argv) {
    const size_t n_segments = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    const size_t n_samples = argc == 4 ? strtoul(argv[3], NULL, 10) / MICRO_BATCH * MICRO_BATCH : 0;
    const uint64_t n_documents = n_segments / SEGMENTS_A_DOCUMENT;
    if (n_documents < N_BLOCKS || n_samples == 0) {
        fprintf(stderr, "usage: bench_tokens_reading FOLDER SEGMENTS(%d..) SAMPLES(%d..)\n",
                N_BLOCKS * SEGMENTS_A_DOCUMENT, MICRO_BATCH);
        return SP_USAGE;
    }
    char path[PATH_SIZE], merged[PATH_SIZE];
    write_plain(path_in(path, argv[1], "plain.h5"), n_documents);
    write_index(path_in(path, argv[1], "index.h5"), n_documents);
    must(sp_tokens_merge(path_in(merged, argv[1], "merged.h5"), path));
    const uint64_t plain = measure(argv[1], "plain.h5", n_samples);
    const uint64_t index = measure(argv[1], "index.h5", n_samples);
    const bool is_same = plain == index && plain == measure(argv[1], "merged.h5", n_samples);
    if (!is_same) fprintf(stderr, "bench_tokens_reading: the layouts differ\n");
    return is_same ? 0 : 1;
}
