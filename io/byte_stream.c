#include "io/byte_stream.h"

#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { PACKED_BYTES = 1 << 17 };

typedef enum packing { PLAIN, GZIP, ZSTANDARD } packing;

struct sp_byte_stream {
    char *path;
    int fd;
    packing packing;
    z_stream gzip;
    bool has_gzip; /* `gzip` is to be ended */
    ZSTD_DStream *zstandard;
    unsigned char *packed; /* [PACKED_BYTES] read from the file */
    size_t begin, end;     /* of what is not yet unpacked of it */
    bool is_inside;        /* of a member or frame: the file must not end here */
};

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), n_end = strlen(end);
    return n > n_end && strcmp(text + n - n_end, end) == 0;
}

static packing packing_of(const char *path) {
    return ends_with(path, ".gz") ? GZIP : ends_with(path, ".zst") ? ZSTANDARD : PLAIN;
}

size_t sp_unpacked_name_len(const char *path, bool *is_packed) {
    static const size_t end_len[] = {[PLAIN] = 0, [GZIP] = 3, [ZSTANDARD] = 4};
    const packing used = packing_of(path);
    *is_packed = used != PLAIN;
    return strlen(path) - end_len[used];
}

static sp_status begin_unpacking(sp_byte_stream *stream) {
    if (stream->packing == PLAIN) return SP_OK;
    void *packed = NULL;
    SP_TRY(sp_alloc(&packed, PACKED_BYTES, "packed text"));
    stream->packed = packed;
    stream->is_inside = true; /* an empty file has not even a header */
    if (stream->packing == GZIP) {
        const int with_gzip_header = 16 + MAX_WBITS;
        stream->has_gzip = inflateInit2(&stream->gzip, with_gzip_header) == Z_OK;
    } else {
        stream->zstandard = ZSTD_createDStream();
    }
    if (!stream->has_gzip && stream->zstandard == NULL)
        return sp_fail(SP_FAILURE, "no memory to unpack '%s'", stream->path);
    return SP_OK;
}

sp_status sp_byte_stream_open(sp_byte_stream **stream, const char *path) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **stream, "a stream"));
    sp_byte_stream *made = block;
    struct stat info;
    sp_status status = SP_OK;
    made->packing = packing_of(path);
    made->path = strdup(path);
    made->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (made->path == NULL)
        status = sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    else if (made->fd < 0 || fstat(made->fd, &info) != 0)
        status = sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = sp_fail(SP_IO, "cannot read '%s': not a regular file", path);
    else
        status = begin_unpacking(made);
    if (status == SP_OK)
        *stream = made;
    else
        sp_byte_stream_close(made);
    return status;
}

void sp_byte_stream_close(sp_byte_stream *stream) {
    if (stream == NULL) return;
    ZSTD_freeDStream(stream->zstandard);
    if (stream->has_gzip) inflateEnd(&stream->gzip);
    free(stream->packed);
    if (stream->fd >= 0) close(stream->fd);
    free(stream->path);
    free(stream);
}

sp_status sp_byte_stream_begin_at(sp_byte_stream *stream, uint64_t offset) {
    assert(stream->packing == PLAIN);
    if (offset > INT64_MAX || lseek(stream->fd, (off_t)offset, SEEK_SET) < 0)
        return sp_fail(SP_IO, "cannot read '%s' from offset %ju", stream->path, (uintmax_t)offset);
    return SP_OK;
}

static sp_status read_some(const sp_byte_stream *stream, void *out, size_t size, size_t *n_read) {
    for (;;) {
        const ssize_t n = read(stream->fd, out, size);
        if (n >= 0) {
            *n_read = (size_t)n;
            return SP_OK;
        }
        if (errno != EINTR)
            return sp_fail(SP_IO, "cannot read '%s': %s", stream->path, strerror(errno));
    }
}

static sp_status damaged(const sp_byte_stream *stream, const char *what) {
    const off_t at = lseek(stream->fd, 0, SEEK_CUR) - (off_t)(stream->end - stream->begin);
    return sp_fail(SP_BAD_DATA, "'%s', offset %jd: %s", stream->path, (intmax_t)at, what);
}

/* Has packed bytes at hand, unless the file is at its end. */
static sp_status refill(sp_byte_stream *stream) {
    if (stream->begin < stream->end) return SP_OK;
    stream->begin = stream->end = 0;
    return read_some(stream, stream->packed, PACKED_BYTES, &stream->end);
}

static sp_status unpack_gzip(sp_byte_stream *stream, void *out, size_t size, size_t *n_made) {
    z_stream *gzip = &stream->gzip;
    if (!stream->is_inside) { /* another member follows the last */
        inflateReset(gzip);
        stream->is_inside = true;
    }
    const size_t left = stream->end - stream->begin;
    gzip->next_in = stream->packed + stream->begin;
    gzip->avail_in = (uInt)left; /* at most PACKED_BYTES */
    gzip->next_out = out;
    gzip->avail_out = size < UINT32_MAX ? (uInt)size : UINT32_MAX;
    const uInt room = gzip->avail_out;
    const int result = inflate(gzip, Z_NO_FLUSH);
    stream->begin += left - gzip->avail_in;
    *n_made = room - gzip->avail_out;
    if (result == Z_STREAM_END) stream->is_inside = false;
    if (result == Z_MEM_ERROR) return sp_fail(SP_FAILURE, "no memory to unpack '%s'", stream->path);
    if (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR) return SP_OK;
    return damaged(stream, gzip->msg != NULL ? gzip->msg : "not gzip");
}

static sp_status unpack_zstandard(sp_byte_stream *stream, void *out, size_t size, size_t *n_made) {
    ZSTD_inBuffer in = {stream->packed, stream->end, stream->begin};
    ZSTD_outBuffer made = {out, size, 0};
    const size_t left = ZSTD_decompressStream(stream->zstandard, &made, &in);
    stream->begin = in.pos;
    if (ZSTD_isError(left)) return damaged(stream, ZSTD_getErrorName(left));
    stream->is_inside = left != 0;
    *n_made = made.pos;
    return SP_OK;
}

sp_status sp_byte_stream_read(sp_byte_stream *stream, void *out, size_t size, size_t *n_read) {
    if (stream->packing == PLAIN) return read_some(stream, out, size, n_read);
    for (*n_read = 0; *n_read == 0;) {
        SP_TRY(refill(stream));
        const bool at_end = stream->begin == stream->end;
        if (at_end && !stream->is_inside) return SP_OK;
        const size_t begin = stream->begin;
        SP_TRY(stream->packing == GZIP ? unpack_gzip(stream, out, size, n_read)
                                       : unpack_zstandard(stream, out, size, n_read));
        /* The unpacker may hold output back until it is called again, with or without input. */
        if (at_end && *n_read == 0 && stream->is_inside && stream->begin == begin)
            return damaged(stream, "the file ends too early");
    }
    return SP_OK;
}
