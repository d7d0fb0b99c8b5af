#include "run/export_slots.h"

#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "run/converted_slots.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 200 }; /* bytes of a file's name before ".npy"; file systems take 255 */

typedef struct document {
    char *id; /* owned */
    size_t row, segment_begin, segment_end, n_rows;
} document;

typedef struct exporting {
    const sp_export_slots_job *job;
    sp_trained trained;
    sp_converted_slots slots;
    size_t d;
    float *markers;      /* [SP_N_MARKERS, d], owned */
    document *documents; /* [n_documents], owned */
    size_t n_documents;
    json_t *files; /* owned: {id: file} */
} exporting;

static sp_status open_all(exporting *e) {
    const sp_export_slots_job *job = e->job;
    SP_TRY(sp_trained_open(&e->trained, job->checkpoint, NULL, 0, SP_SIDES_NEITHER));
    if (job->has_markers && !e->trained.config.decoder.boundaries)
        return sp_fail(SP_USAGE, "--markers: '%s' was trained without them (decoder.boundaries)",
                       sp_checkpoint_path(e->trained.checkpoint));
    SP_TRY(sp_converted_slots_open(&e->slots, job->slots, &e->trained));
    e->d = e->trained.models.compressor->converter.out.n_out;
    void *markers = NULL;
    SP_TRY(sp_alloc_array(&markers, SP_N_MARKERS * e->d, sizeof *e->markers, "markers"));
    e->markers = markers;
    return sp_checkpoint_read_tensor(e->trained.checkpoint, "markers", 2,
                                     (const size_t[]){SP_N_MARKERS, e->d}, e->markers);
}

/* ---- which documents ---- */

/* Keeps the document if its id has not been met. */
static sp_status add_document(exporting *e, document *made) {
    if (json_object_get(e->files, made->id) != NULL)
        return e->job->n_documents > 0
                   ? sp_fail(SP_USAGE, "--document: '%s' is named twice", made->id)
                   : sp_fail(SP_BAD_DATA, "'%s': document '%s' stands twice; name those wanted",
                             e->job->slots, made->id);
    if (json_object_set_new(e->files, made->id, json_true()) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': a document's id is not UTF-8", e->job->slots);
    SP_TRY(
        sp_converted_slots_count(&e->slots, made->segment_begin, made->segment_end, &made->n_rows));
    if (e->job->has_markers) made->n_rows += 2 * (made->segment_end - made->segment_begin);
    e->documents[e->n_documents++] = *made;
    *made = (document){0};
    return SP_OK;
}

static sp_status take_named(exporting *e, size_t i) {
    document made = {.row = i, .id = strdup(e->job->documents[i])};
    if (made.id == NULL) return sp_fail(SP_FAILURE, "no memory for a document's id");
    sp_status status =
        sp_slots_find_document(e->slots.file, made.id, &made.segment_begin, &made.segment_end);
    if (status == SP_OK) status = add_document(e, &made);
    free(made.id);
    return status;
}

static sp_status take_row(exporting *e, size_t row) {
    document made = {.row = row};
    SP_TRY(sp_slots_document_id(e->slots.file, row, &made.id));
    sp_status status =
        sp_slots_document_segments(e->slots.file, row, &made.segment_begin, &made.segment_end);
    if (status == SP_OK) status = add_document(e, &made);
    free(made.id);
    return status;
}

static sp_status list_documents(exporting *e) {
    const bool are_named = e->job->n_documents > 0;
    const size_t n = are_named ? e->job->n_documents : sp_slots_n_documents(e->slots.file);
    void *documents = NULL;
    SP_TRY(sp_alloc_array(&documents, n, sizeof *e->documents, "documents"));
    e->documents = documents;
    e->files = json_object();
    for (size_t i = 0; i < n; i++) SP_TRY(are_named ? take_named(e, i) : take_row(e, i));
    return SP_OK;
}

/* ---- a document's rows ---- */

/* Writes rows [n_rows, d] of segments with their slots [.., d], which lie at the end of rows: each
   moves to the front, so that what is still to be moved is never written over. */
static sp_status put_markers_between(const exporting *e, const document *doc, float *rows,
                                     const float *slots) {
    const size_t d = e->d, row_bytes = d * sizeof *rows;
    for (size_t i = doc->segment_begin; i < doc->segment_end; i++) {
        sp_slots_segment segment;
        SP_TRY(sp_slots_get_segment(e->slots.file, i, &segment));
        const size_t n = segment.n_slots;
        memcpy(rows, e->markers + SP_MARKER_MEM * d, row_bytes);
        memmove(rows + d, slots, n * row_bytes);
        memcpy(rows + (n + 1) * d, e->markers + SP_MARKER_END_MEM * d, row_bytes);
        rows += (n + 2) * d;
        slots += n * d;
    }
    return SP_OK;
}

/* *rows [doc->n_rows, d], owned. */
static sp_status make_rows(exporting *e, const document *doc, float **rows) {
    void *block = NULL;
    size_t n_slots = 0;
    SP_TRY(sp_converted_slots_count(&e->slots, doc->segment_begin, doc->segment_end, &n_slots));
    SP_TRY(sp_alloc_array(&block, doc->n_rows, e->d * sizeof **rows, "slots"));
    float *made = block, *slots = made + (doc->n_rows - n_slots) * e->d;
    sp_status status =
        sp_converted_slots_read(&e->slots, slots, doc->segment_begin, doc->segment_end);
    if (status == SP_OK && e->job->has_markers) status = put_markers_between(e, doc, made, slots);
    if (status == SP_OK)
        *rows = made;
    else
        free(made);
    return status;
}

/* ---- files ---- */

/* The document's id as the name of a file; no two ids have the same. */
static void make_file_name(char name[NAME_SIZE + 32], const document *doc) {
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    const char *c = doc->id;
    for (; *c != '\0' && len + 3 < NAME_SIZE; c++) {
        const unsigned char byte = (unsigned char)*c;
        const bool is_plain =
            byte < 128 && (isalnum(byte) || byte == '_' || byte == '-' || (byte == '.' && len > 0));
        if (is_plain) {
            name[len++] = *c;
        } else {
            name[len++] = '%';
            name[len++] = digits[byte / 16];
            name[len++] = digits[byte % 16];
        }
    }
    if (*c != '\0')
        snprintf(name + len, 32, "~%zu.npy", doc->row);
    else
        snprintf(name + len, 32, "%s.npy", len == 0 ? "%" : "");
}

static sp_status write_npy(exporting *e, const document *doc, const char *path) {
    float *rows = NULL;
    SP_TRY(make_rows(e, doc, &rows));
    const sp_status status = sp_npy_write(path, rows, doc->n_rows, e->d);
    free(rows);
    return status;
}

static sp_status write_into_folder(exporting *e, const document *doc) {
    char name[NAME_SIZE + 32], *path = NULL;
    make_file_name(name, doc);
    if (json_object_set_new(e->files, doc->id, json_string(name)) != 0 ||
        asprintf(&path, "%s/%s", e->job->output, name) < 0)
        return sp_fail(SP_FAILURE, "no memory for the name of a file");
    const sp_status status = write_npy(e, doc, path);
    free(path);
    return status;
}

static sp_status write_index(const exporting *e) {
    char *path = NULL, *text = json_dumps(e->files, JSON_INDENT(1));
    sp_status status = SP_OK;
    if (text == NULL || asprintf(&path, "%s/index.json", e->job->output) < 0)
        status = sp_fail(SP_FAILURE, "no memory for an index");
    if (status == SP_OK) status = sp_atomic_write(path, text, strlen(text));
    free(path);
    free(text);
    return status;
}

static sp_status write_folder(exporting *e) {
    SP_TRY(sp_make_folders(e->job->output));
    for (size_t i = 0; i < e->n_documents; i++) SP_TRY(write_into_folder(e, &e->documents[i]));
    return write_index(e);
}

static int compare_ids(const void *a, const void *b) {
    const document *left = a, *right = b;
    return strcmp(left->id, right->id);
}

static sp_status append_documents(exporting *e, sp_safetensors_writer *writer) {
    for (size_t i = 0; i < e->n_documents; i++) {
        float *rows = NULL;
        SP_TRY(make_rows(e, &e->documents[i], &rows));
        const sp_status status = sp_safetensors_append(writer, rows, e->documents[i].n_rows * e->d);
        free(rows);
        SP_TRY(status);
    }
    return SP_OK;
}

/* One document at a time is in memory, in the order of their names in the file. */
static sp_status write_safetensors(exporting *e) {
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, e->n_documents, sizeof(sp_safetensors_entry), "tensors"));
    sp_safetensors_entry *entries = block;
    qsort(e->documents, e->n_documents, sizeof *e->documents, compare_ids);
    for (size_t i = 0; i < e->n_documents; i++)
        entries[i] = (sp_safetensors_entry){
            .name = e->documents[i].id, .n_dims = 2, .shape = {e->documents[i].n_rows, e->d}};
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    sp_safetensors_writer *writer = NULL;
    sp_status status =
        sp_safetensors_begin(&writer, e->job->output, entries, e->n_documents, metadata);
    if (status == SP_OK) status = append_documents(e, writer);
    if (status == SP_OK)
        status = sp_safetensors_commit(writer);
    else
        sp_safetensors_abort(writer);
    json_decref(metadata);
    free(block);
    return status;
}

static sp_status write_all(exporting *e) {
    if (e->job->format == SP_ROWS_SAFETENSORS) return write_safetensors(e);
    if (e->job->n_documents == 1) return write_npy(e, &e->documents[0], e->job->output);
    return write_folder(e);
}

static sp_status make_result(json_t **result, const exporting *e) {
    size_t n_rows = 0;
    for (size_t i = 0; i < e->n_documents; i++) n_rows += e->documents[i].n_rows;
    *result =
        json_pack("{s:s, s:I, s:I, s:I}", "output", e->job->output, "documents",
                  (json_int_t)e->n_documents, "rows", (json_int_t)n_rows, "d", (json_int_t)e->d);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

sp_status sp_export_slots(json_t **result, const sp_export_slots_job *job) {
    exporting e = {.job = job};
    sp_status status = open_all(&e);
    if (status == SP_OK) status = list_documents(&e);
    if (status == SP_OK) status = write_all(&e);
    if (status == SP_OK) status = make_result(result, &e);
    json_decref(e.files);
    for (size_t i = 0; i < e.n_documents; i++) free(e.documents[i].id);
    free(e.documents);
    free(e.markers);
    sp_converted_slots_close(&e.slots);
    sp_trained_close(&e.trained);
    return status;
}
