#include "io/checksums.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUM_BYTES = 32, SUM_DIGITS = 2 * SUM_BYTES, READ_BYTES = 1 << 20 };

typedef struct listed {
    char *name; /* owned, without a leading "./" */
    size_t name_len;
    unsigned char sum[SUM_BYTES];
} listed;

struct sp_checksums {
    char *path;
    listed *items; /* [n] */
    size_t n, capacity;
};

/* ---- the list ---- */

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool take_sum(unsigned char sum[SUM_BYTES], const char *line, size_t n) {
    if (n < SUM_DIGITS) return false;
    for (size_t i = 0; i < SUM_BYTES; i++) {
        const int high = digit_of(line[2 * i]), low = digit_of(line[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        sum[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

/* Undoes sha256sum's escapes where they lie; false: an unknown one. */
static bool unescape(char *name) {
    char *out = name;
    for (const char *in = name; *in != '\0'; in++) {
        char c = *in;
        if (c == '\\') {
            in++;
            c = *in == 'n' ? '\n' : *in == 'r' ? '\r' : *in;
            if (c == '\0' || (c == *in && c != '\\')) return false;
        }
        *out++ = c;
    }
    *out = '\0';
    return true;
}

static sp_status add_line(sp_checksums *list, char *line, size_t n, size_t line_number) {
    const bool is_escaped = n > 0 && line[0] == '\\';
    unsigned char sum[SUM_BYTES];
    line += is_escaped;
    n -= is_escaped;
    const bool has_form = take_sum(sum, line, n) && n > SUM_DIGITS + 2 && line[SUM_DIGITS] == ' ' &&
                          (line[SUM_DIGITS + 1] == ' ' || line[SUM_DIGITS + 1] == '*') &&
                          memchr(line, '\0', n) == NULL;
    char *name = line + SUM_DIGITS + 2;
    if (!has_form || (is_escaped && !unescape(name)))
        return sp_fail(SP_BAD_DATA, "'%s', line %zu: not SUM  NAME as sha256sum writes it",
                       list->path, line_number);
    while (strncmp(name, "./", 2) == 0) name += 2;
    if (list->n == list->capacity) {
        const size_t capacity = 2 * list->capacity + 16;
        listed *larger = realloc(list->items, capacity * sizeof *larger);
        if (larger == NULL) return sp_fail(SP_FAILURE, "no memory for '%s'", list->path);
        list->items = larger;
        list->capacity = capacity;
    }
    char *copy = strdup(name);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for '%s'", list->path);
    listed *item = &list->items[list->n++];
    *item = (listed){.name = copy, .name_len = strlen(copy)};
    memcpy(item->sum, sum, SUM_BYTES);
    return SP_OK;
}

static sp_status read_list(sp_checksums *list, FILE *file) {
    char *line = NULL;
    size_t size = 0, n_lines = 0;
    sp_status status = SP_OK;
    for (;;) {
        ssize_t n = getline(&line, &size, file);
        if (n < 0 || status != SP_OK) break;
        n_lines++;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = '\0';
        if (n > 0) status = add_line(list, line, (size_t)n, n_lines);
    }
    free(line);
    if (status == SP_OK && ferror(file))
        return sp_fail(SP_IO, "cannot read '%s': %s", list->path, strerror(errno));
    if (status == SP_OK && list->n == 0)
        return sp_fail(SP_BAD_DATA, "'%s' lists no sums", list->path);
    return status;
}

sp_status sp_checksums_open(sp_checksums **checksums, const char *path) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **checksums, "checksums"));
    sp_checksums *made = block;
    FILE *file = fopen(path, "re");
    sp_status status = SP_OK;
    made->path = strdup(path);
    if (made->path == NULL)
        status = sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    else if (file == NULL)
        status = sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    else
        status = read_list(made, file);
    if (file != NULL) fclose(file);
    if (status == SP_OK)
        *checksums = made;
    else
        sp_checksums_close(made);
    return status;
}

void sp_checksums_close(sp_checksums *checksums) {
    if (checksums == NULL) return;
    for (size_t i = 0; i < checksums->n; i++) free(checksums->items[i].name);
    free(checksums->items);
    free(checksums->path);
    free(checksums);
}

/* ---- which of the list ---- */

/* `path` from the root, owned, without parts that are "." or empty; NULL: no memory. */
static char *absolute(const char *path) {
    char *folder = path[0] == '/' ? strdup("") : getcwd(NULL, 0), *made = NULL;
    if (folder != NULL) made = malloc(strlen(folder) + strlen(path) + 2);
    if (made == NULL) {
        free(folder);
        return NULL;
    }
    char *out = stpcpy(made, folder);
    while (*path != '\0') {
        while (*path == '/') path++;
        const size_t n = strcspn(path, "/");
        if (n > 0 && !(n == 1 && *path == '.')) {
            *out++ = '/';
            out = mempcpy(out, path, n);
        }
        path += n;
    }
    *out = '\0';
    free(folder);
    return made;
}

static bool stands_for(const listed *item, const char *path, size_t n) {
    if (item->name_len > n || strcmp(path + n - item->name_len, item->name) != 0) return false;
    return item->name_len == n || item->name[0] == '/' || path[n - item->name_len - 1] == '/';
}

static sp_status find(const listed **found, const sp_checksums *list, const char *path) {
    char *whole = absolute(path);
    if (whole == NULL) return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    const size_t n = strlen(whole);
    const listed *best = NULL;
    bool is_clear = true;
    for (size_t i = 0; i < list->n; i++) {
        const listed *item = &list->items[i];
        if (!stands_for(item, whole, n)) continue;
        if (best == NULL || item->name_len > best->name_len) {
            best = item;
            is_clear = true;
        } else if (item->name_len == best->name_len) {
            is_clear = is_clear && memcmp(item->sum, best->sum, SUM_BYTES) == 0;
        }
    }
    free(whole);
    if (!is_clear)
        return sp_fail(SP_BAD_DATA, "'%s': '%s' lists two sums for it", path, list->path);
    *found = best;
    return SP_OK;
}

/* ---- the file ---- */

static sp_status read_file(EVP_MD_CTX *context, int fd, char *buffer, const char *path) {
    for (;;) {
        const ssize_t n_read = read(fd, buffer, READ_BYTES);
        if (n_read < 0 && errno == EINTR) continue;
        if (n_read < 0) return sp_fail(SP_IO, "cannot read '%s': %s", path, strerror(errno));
        if (n_read == 0) return SP_OK;
        if (EVP_DigestUpdate(context, buffer, (size_t)n_read) != 1)
            return sp_fail(SP_FAILURE, "libcrypto cannot sum '%s'", path);
    }
}

static sp_status sum_file(unsigned char sum[SUM_BYTES], const char *path) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    char *buffer = malloc(READ_BYTES);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    sp_status status = SP_OK;
    if (fd < 0)
        status = sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    else if (context == NULL || buffer == NULL || EVP_DigestInit(context, EVP_sha256()) != 1)
        status = sp_fail(SP_FAILURE, "no memory to sum '%s'", path);
    else
        status = read_file(context, fd, buffer, path);
    if (status == SP_OK && EVP_DigestFinal(context, sum, NULL) != 1)
        status = sp_fail(SP_FAILURE, "libcrypto cannot sum '%s'", path);
    if (fd >= 0) close(fd);
    free(buffer);
    EVP_MD_CTX_free(context);
    return status;
}

static void write_hex(char text[SUM_DIGITS + 1], const unsigned char sum[SUM_BYTES]) {
    for (size_t i = 0; i < SUM_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", sum[i]);
}

sp_status sp_checksums_check(const sp_checksums *checksums, const char *path, bool *is_listed) {
    const listed *item = NULL;
    unsigned char sum[SUM_BYTES];
    SP_TRY(find(&item, checksums, path));
    *is_listed = item != NULL;
    if (item == NULL) return SP_OK;
    SP_TRY(sum_file(sum, path));
    if (memcmp(sum, item->sum, SUM_BYTES) == 0) return SP_OK;
    char got[SUM_DIGITS + 1], wanted[SUM_DIGITS + 1];
    write_hex(got, sum);
    write_hex(wanted, item->sum);
    return sp_fail(SP_BAD_DATA, "'%s' is not the file that '%s' lists: its SHA-256 is %s, not %s",
                   path, checksums->path, got, wanted);
}
