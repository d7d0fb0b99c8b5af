/* Token files, plain and in parts. Nearly all of an HDF5 file is under checksums, which no random
   change passes; so an input is a list of changes to good files, made by HDF5 itself where it has a
   call for it:

       u8 kind, u8 target, u8 row, u8 power, i32 value

   where `target` picks one of the files and one of its datasets or attributes, and `power` moves the
   value's bits up. An input that begins as HDF5 files do takes the plain file's place as it is. */
#include "io/hdf5_seal.h"
#include "io/tokens_part.h"
#include "io/tokens_verify.h"
#include "tests/fuzz/input_file.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hdf5.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Files that stay open in the library at exit are nobody's loss. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

typedef enum file_name { PLAIN, INDEX, FIRST_PART, SECOND_PART, N_FILES } file_name;

/* A good file, and where it is put. */
typedef struct good_file {
    char *path;
    uint8_t *bytes; /* [n], owned */
    size_t n;
} good_file;

static good_file files[N_FILES];
static const char *part_names[2]; /* as the index has them, borrowed from the paths */
static char part_digest[128];     /* the index's attribute of the first */

static const char *const datasets[] = {
    "/segments/doc",          "/segments/byte_begin", "/segments/byte_len",
    "/documents/id",          "/documents/hash",      "/streams/small/ids",
    "/streams/small/offsets", "/streams/zebra/ids",   "/streams/zebra/offsets",
    "/sources/path",          "/sources/bytes",       "/sources/documents"};
static const char *const attributes[][2] = {{"/", "format"},
                                            {"/", "format_version"},
                                            {"/", "segment_tokens"},
                                            {"/", "cut_stream"},
                                            {"/", "digest"},
                                            {"/", "digest_sum"},
                                            {"/", "job_digest"},
                                            {"/", part_digest},
                                            {"/streams/small", "vocab_size"},
                                            {"/streams/small", "tokenizer_digest"},
                                            {"/streams/small", "position"},
                                            {"/streams/zebra", "vocab_size"},
                                            {"/streams/zebra", "position"}};
enum {
    N_DATASETS = sizeof datasets / sizeof datasets[0],
    N_ATTRIBUTES = sizeof attributes / sizeof attributes[0]
};

/* ---- good files ---- */

enum { SEGMENT_TOKENS = 4, N_DOCUMENTS = 12, N_STREAMS = 2 };
static const sp_tokens_stream streams[N_STREAMS] = {{"small", "digest", 65536},
                                                    {"zebra", "digest", 65537}};
static const sp_tokens_job job = {"work", SEGMENT_TOKENS, streams, N_STREAMS};

static void need(sp_status status) {
    if (status == SP_OK) return;
    fprintf(stderr, "%s\n", sp_message());
    abort();
}

/* Through a journal, or without one by the writer. */
static void put_document(sp_tokens_writer *writer, sp_journal_writer *journal, uint64_t document) {
    static const int32_t ids[] = {1, 65535, 0, 7, 65536};
    const int32_t *const of_stream[N_STREAMS] = {ids, ids + 1};
    char id[32];
    snprintf(id, sizeof id, "document %ju", (uintmax_t)document);
    need(journal != NULL ? sp_journal_writer_document(journal, id, document)
                         : sp_tokens_writer_document(writer, id, document));
    for (size_t i = 0; i < document % 3; i++) {
        const size_t n[N_STREAMS] = {1 + (document + i) % SEGMENT_TOKENS, i * 2};
        need(journal != NULL ? sp_journal_writer_segment(journal, 10 * i, 10, of_stream, n)
                             : sp_tokens_writer_segment(writer, 10 * i, 10, of_stream, n));
    }
}

static void write_plain(void) {
    sp_tokens_writer *writer = NULL;
    need(sp_tokens_writer_open(&writer, files[PLAIN].path, SEGMENT_TOKENS, streams, N_STREAMS));
    need(sp_tokens_writer_source(writer, "shard", 123, N_DOCUMENTS));
    for (uint64_t d = 0; d < N_DOCUMENTS; d++) put_document(writer, NULL, d);
    need(sp_tokens_writer_commit(writer));
}

/* Four blocks, by two writers in turn. */
static void write_journal(size_t which) {
    char *path = NULL;
    sp_journal_writer *journal = NULL;
    need(sp_tokens_journal_path(&path, files[INDEX].path, &job, which));
    need(sp_journal_writer_open(&journal, path, &job));
    for (uint64_t block = which; block < 4; block += 2) {
        need(sp_journal_writer_begin(journal, block));
        for (uint64_t d = 3 * block; d < 3 * block + 3; d++) put_document(NULL, journal, d);
        need(sp_journal_writer_end(journal, NULL));
    }
    sp_journal_writer_close(journal);
    free(path);
}

static void write_index(void) {
    char name[] = "shard";
    const sp_tokens_source source = {name, 123, N_DOCUMENTS};
    sp_tokens_plan *plan = NULL;
    need(sp_tokens_parts_create(files[INDEX].path));
    write_journal(0);
    write_journal(1);
    need(sp_tokens_plan_create(&plan, files[INDEX].path, &job, 4));
    need(sp_tokens_plan_settle(plan));
    need(sp_tokens_part_write(plan, 0));
    need(sp_tokens_part_write(plan, 1));
    need(sp_tokens_index_write(plan, &source, 1, "{}"));
    need(sp_tokens_journals_remove(files[INDEX].path));
    sp_tokens_plan_destroy(plan);
}

static void keep(good_file *file) {
    FILE *from = fopen(file->path, "rb");
    if (from == NULL || fseek(from, 0, SEEK_END) != 0) abort();
    file->n = (size_t)ftell(from);
    file->bytes = malloc(file->n);
    rewind(from);
    if (file->bytes == NULL || fread(file->bytes, 1, file->n, from) != file->n) abort();
    fclose(from);
}

static void name_file(file_name file, const char *name) {
    if (asprintf(&files[file].path, "%s/%s", fuzz_folder(), name) < 0) abort();
}

/* Their names hold digits of the job's. */
static void find_parts(void) {
    char pattern[4200];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/corpus.parts/part-*.h5", fuzz_folder());
    if (glob(pattern, 0, NULL, &found) != 0 || found.gl_pathc != 2) abort();
    for (unsigned i = 0; i < 2; i++) {
        name_file(FIRST_PART + i, found.gl_pathv[i] + strlen(fuzz_folder()) + 1);
        part_names[i] = files[FIRST_PART + i].path + strlen(fuzz_folder()) + 1;
    }
    snprintf(part_digest, sizeof part_digest, "part_digest:%s", part_names[0]);
    globfree(&found);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    name_file(PLAIN, "plain.h5");
    name_file(INDEX, "corpus.h5");
    write_plain();
    write_index();
    find_parts();
    for (size_t i = 0; i < N_FILES; i++) keep(&files[i]);
    return 0;
}

static void put_file(const good_file *file, const uint8_t *bytes, size_t n) {
    const int fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n) abort();
    close(fd);
}

/* ---- changes ---- */

typedef struct change {
    uint8_t kind, target, row, power;
    int32_t value;
} change;

typedef enum change_kind {
    SET_VALUE,
    DELETE_DATASET,
    REPLACE_DATASET, /* of another type, length or layout */
    REMAP_DATASET,   /* to other rows of the parts */
    SET_NUMBER,      /* an attribute */
    SET_STRING,
    DELETE_ATTRIBUTE,
    RENAME_STREAM,
    SET_BYTE, /* of the file */
    CUT_FILE,
    N_KINDS
} change_kind;

static uint64_t value_of(const change *c) { return (uint64_t)(int64_t)c->value << c->power % 64; }
static const char *dataset_of(const change *c) {
    return datasets[c->target / N_FILES % N_DATASETS];
}

static hid_t type_of(const change *c) {
    hid_t type = H5I_INVALID_HID;
    switch (c->row % 9) {
    case 0:
        return H5Tcopy(H5T_STD_U16LE);
    case 1:
        return H5Tcopy(H5T_STD_U32LE);
    case 2:
        return H5Tcopy(H5T_STD_I64LE);
    case 3:
        return H5Tcopy(H5T_IEEE_F64LE);
    case 4:
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, H5T_VARIABLE);
        return type;
    case 5:
        return H5Tcreate(H5T_OPAQUE, 1 + c->power);
    case 6:
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, (size_t)1 << c->power % 18);
        return type;
    default:
        return H5Tcopy(H5T_STD_U64LE);
    }
}

/* A value makes room for the whole dataset, or for an index of its chunks. */
static bool is_small(hid_t space, hid_t type) {
    const hssize_t n = H5Sget_simple_extent_npoints(space);
    return n >= 0 && (size_t)n <= (16U << 20) / H5Tget_size(type);
}

static void set_value(hid_t file, const change *c) {
    const hid_t dataset = H5Dopen2(file, dataset_of(c), H5P_DEFAULT);
    const hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    const hsize_t row = c->row, one = 1;
    const hid_t memory = H5Screate_simple(1, &one, NULL);
    uint8_t value[1 << 16] = {0};
    memcpy(value, &(uint64_t){value_of(c)}, sizeof(uint64_t));
    if (H5Tget_size(type) <= sizeof value && is_small(space, type) &&
        H5Sselect_hyperslab(space, H5S_SELECT_SET, &row, NULL, &one, NULL) >= 0)
        H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, value);
    H5Sclose(memory);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(dataset);
}

static void create_dataset(hid_t file, const change *c, hid_t type, hid_t space, hid_t properties) {
    H5Ldelete(file, dataset_of(c), H5P_DEFAULT);
    H5Dclose(H5Dcreate2(file, dataset_of(c), type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
}

static void replace_dataset(hid_t file, const change *c) {
    const hsize_t extent[] = {value_of(c) >> 1, 1}, chunk[] = {1 + c->power, 1};
    const int n_dims = 1 + (c->row % 16 == 15);
    const hid_t type = type_of(c), space = H5Screate_simple(n_dims, extent, NULL);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER); /* large ones take no room */
    if (c->row & 64) H5Pset_chunk(properties, n_dims, chunk);
    if ((c->row & 192) == 128) H5Pset_layout(properties, H5D_COMPACT);
    create_dataset(file, c, type, space, properties);
    H5Pclose(properties);
    H5Sclose(space);
    H5Tclose(type);
}

static void remap_dataset(hid_t file, const change *c) {
    const char *const names[] = {part_names[0], part_names[1],   "plain.h5",
                                 ".",           "../outside.h5", "/etc/passwd"};
    const hsize_t n = (uint64_t)c->value & 63, extent = (uint64_t)c->value >> 6 & 255,
                  part_extent = (uint64_t)c->value >> 14 & 255, begin = c->row & 15,
                  part_begin = c->row >> 4;
    const hid_t type = H5Tcopy(H5T_STD_U64LE), space = H5Screate_simple(1, &extent, NULL);
    const hid_t part = H5Screate_simple(1, &part_extent, NULL);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (n > 0) {
        H5Sselect_hyperslab(space, H5S_SELECT_SET, &begin, NULL, &n, NULL);
        H5Sselect_hyperslab(part, H5S_SELECT_SET, &part_begin, NULL, &n, NULL);
    }
    H5Pset_virtual(properties, space, names[c->power % 6], dataset_of(c), part);
    create_dataset(file, c, type, space, properties);
    H5Pclose(properties);
    H5Sclose(part);
    H5Sclose(space);
    H5Tclose(type);
}

static void set_attribute(hid_t file, const change *c) {
    const char *const *named = attributes[c->target / N_FILES % N_ATTRIBUTES];
    if (c->kind % N_KINDS != DELETE_ATTRIBUTE || c->value & 1)
        H5Adelete_by_name(file, named[0], named[1], H5P_DEFAULT);
    if (c->kind % N_KINDS == DELETE_ATTRIBUTE) return;
    const hsize_t extent = c->row & 63;
    hid_t type = H5Tcopy(c->row & 128 ? H5T_STD_I64LE : H5T_STD_U64LE);
    if (c->kind % N_KINDS == SET_STRING) {
        H5Tclose(type);
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, (size_t)c->power + 1);
    }
    const hid_t space = c->row & 64 ? H5Screate_simple(1, &extent, NULL) : H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate_by_name(file, named[0], named[1], type, space, H5P_DEFAULT,
                                              H5P_DEFAULT, H5P_DEFAULT);
    uint8_t value[64 * 256] = {0};
    const uint64_t number = value_of(c);
    memcpy(value, &number, sizeof number);
    H5Awrite(attribute, type, value);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void rename_stream(hid_t file, const change *c) {
    static const char *const names[] = {"/streams/small",  "/streams/zebra", "/streams/other",
                                        "/streams/a name", "/segments",      "/documents"};
    H5Lmove(file, names[c->row % 6], file, names[c->power % 6], H5P_DEFAULT, H5P_DEFAULT);
}

static void change_bytes(const good_file *file, const change *c) {
    const uint64_t offset = (uint32_t)c->value % file->n;
    const int fd = open(file->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    if (c->kind % N_KINDS == CUT_FILE) {
        if (ftruncate(fd, (off_t)offset) != 0) abort();
    } else if (pwrite(fd, &c->row, 1, (off_t)offset) != 1) {
        abort();
    }
    close(fd);
}

static void make_change(const change *c) {
    const good_file *file = &files[c->target % N_FILES];
    const change_kind kind = c->kind % N_KINDS;
    if (kind == SET_BYTE || kind == CUT_FILE) {
        change_bytes(file, c);
        return;
    }
    const hid_t id = H5Fopen(file->path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (id < 0) return;
    if (kind == SET_VALUE) set_value(id, c);
    if (kind == DELETE_DATASET) H5Ldelete(id, dataset_of(c), H5P_DEFAULT);
    if (kind == REPLACE_DATASET) replace_dataset(id, c);
    if (kind == REMAP_DATASET) remap_dataset(id, c);
    if (kind == SET_NUMBER || kind == SET_STRING || kind == DELETE_ATTRIBUTE) set_attribute(id, c);
    if (kind == RENAME_STREAM) rename_stream(id, c);
    H5Fclose(id);
    H5Eclear2(H5E_DEFAULT);
    if (file == &files[INDEX]) need(sp_hdf5_seal(file->path, file->path));
}

/* ---- reading ---- */

static void read_segments(const sp_tokens *tokens) {
    const size_t n = sp_tokens_n_segments(tokens);
    for (size_t s = 0; s < sp_tokens_n_streams(tokens); s++)
        for (size_t i = n; i-- > 0;) { /* out of order */
            const size_t n_ids = sp_tokens_length(tokens, s, i);
            int32_t *ids = malloc((n_ids + 1) * sizeof *ids);
            if (ids == NULL) abort();
            if (sp_tokens_read(tokens, s, i, ids) == SP_OK)
                for (size_t k = 0; k < n_ids; k++)
                    if (ids[k] < 0 || (size_t)ids[k] >= sp_tokens_vocab_size(tokens, s))
                        __builtin_trap();
            free(ids);
        }
}

static void read_file(const char *path) {
    sp_tokens *tokens = NULL;
    json_t *description = NULL;
    if (sp_tokens_describe(&description, path) == SP_OK) json_decref(description);
    if (sp_tokens_open(&tokens, path) != SP_OK) return;
    read_segments(tokens);
    if (sp_tokens_verify(tokens) != SP_OK && sp_message()[0] == '\0') __builtin_trap();
    sp_tokens_close(tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    enum { MOST_CHANGES = 8 };
    for (size_t i = 0; i < N_FILES; i++) put_file(&files[i], files[i].bytes, files[i].n);
    if (n_bytes >= 4 && memcmp(data, "\x89HDF", 4) == 0) {
        put_file(&files[PLAIN], data, n_bytes);
        read_file(files[PLAIN].path);
        return 0;
    }
    bool is_plain = false, is_index = false;
    for (size_t i = 0; i < MOST_CHANGES && n_bytes - i * sizeof(change) >= sizeof(change); i++) {
        change c;
        memcpy(&c, data + i * sizeof c, sizeof c);
        make_change(&c);
        (c.target % N_FILES == PLAIN ? &is_plain : &is_index)[0] = true;
    }
    if (is_plain) read_file(files[PLAIN].path);
    if (is_index) read_file(files[INDEX].path);
    return 0;
}
