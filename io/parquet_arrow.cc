/* parquet_calls.h over the column readers of Arrow's Parquet library.

   They give physical values, so that string, large_string, binary and dictionary columns all come
   as plain bytes, and no thread pool takes part. No exception leaves this file. */
extern "C" {
#include "io/parquet_calls.h"
}

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <arrow/memory_pool.h>
#include <arrow/util/config.h>
#include <parquet/column_reader.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>
#include <parquet/schema.h>

namespace {

sp_fail_function *fail; /* set before any call */

/* Values decoded at a time: few enough to stay in a core's cache, many enough to be cheap. */
constexpr int64_t values_at_a_time = 256;
[[maybe_unused]] constexpr int64_t stream_bytes = 1 << 20;

/* A column of the group at hand: the values decoded last, and how far they were handed out. */
struct reading {
    std::shared_ptr<parquet::ColumnReader> reader;
    parquet::Type::type physical;
    bool is_unsigned;
    int16_t max_level; /* a value is there if its definition level is this */
    int64_t n_left;    /* rows of the group still to be decoded */
    std::vector<int16_t> levels;
    std::variant<std::vector<parquet::ByteArray>, std::vector<int32_t>, std::vector<int64_t>,
                 std::vector<float>, std::vector<double>>
        values;
    int64_t n_levels, next_level, next_value;
};

sp_field_type type_of(const parquet::ColumnDescriptor *column) {
    if (column->max_repetition_level() > 0) return SP_FIELD_OTHER; /* a list, or inside one */
    const auto &logical = column->logical_type();
    const bool is_plain = logical == nullptr || logical->is_none();
    switch (column->physical_type()) {
    case parquet::Type::BYTE_ARRAY:
        return logical != nullptr && logical->is_decimal() ? SP_FIELD_OTHER : SP_FIELD_TEXT;
    case parquet::Type::INT32:
        return is_plain || logical->is_int() ? SP_FIELD_INTEGER : SP_FIELD_OTHER;
    case parquet::Type::INT64: {
        const auto *integer = dynamic_cast<const parquet::IntLogicalType *>(logical.get());
        return is_plain || (integer != nullptr && integer->is_signed()) ? SP_FIELD_INTEGER
                                                                        : SP_FIELD_OTHER;
    }
    case parquet::Type::FLOAT:
    case parquet::Type::DOUBLE:
        return SP_FIELD_REAL;
    default:
        return SP_FIELD_OTHER;
    }
}

/* The library tells what the system refused by a mark in its message. */
sp_status fail_with(const char *prefix, const char *what) {
    const size_t n_bytes = std::strcspn(what, "\n"); /* the first line says it all */
    const sp_status status = std::strstr(what, "[errno ") != nullptr ? SP_IO : SP_BAD_DATA;
    return fail(status, "%s%.*s", prefix, static_cast<int>(std::min<size_t>(n_bytes, INT_MAX)),
                what);
}

/* Runs `body`; what it throws becomes the message, and the status of its kind. */
template <class Body> sp_status guarded(const std::string &prefix, Body body) noexcept {
    try {
        body();
        return SP_OK;
    } catch (const std::bad_alloc &) {
        return fail(SP_FAILURE, "%sno memory to read Parquet", prefix.c_str());
    } catch (const std::exception &e) {
        return fail_with(prefix.c_str(), e.what());
    } catch (...) {
        return fail(SP_FAILURE, "%sArrow failed without a word", prefix.c_str());
    }
}

[[noreturn]] void damaged(const char *what) { throw parquet::ParquetException(what); }

template <class DType> void decode(reading *r) {
    using value = typename DType::c_type;
    auto *typed = static_cast<parquet::TypedColumnReader<DType> *>(r->reader.get());
    int64_t n_values = 0;
    int16_t *levels = r->max_level > 0 ? r->levels.data() : nullptr;
    const int64_t n = typed->ReadBatch(std::min(r->n_left, values_at_a_time), levels, nullptr,
                                       std::get<std::vector<value>>(r->values).data(), &n_values);
    if (n <= 0) damaged("a column has fewer values than its row group has rows");
    const int64_t n_expected = levels == nullptr ? n : std::count(levels, levels + n, r->max_level);
    if (n_values != n_expected) damaged("a column's levels and values disagree");
    r->n_levels = n;
    r->next_level = r->next_value = 0;
    r->n_left -= n;
}

/* The strings of the last values die here: they point into the column's page. */
void decode_more(reading *r) {
    switch (r->physical) {
    case parquet::Type::BYTE_ARRAY:
        return decode<parquet::ByteArrayType>(r);
    case parquet::Type::INT32:
        return decode<parquet::Int32Type>(r);
    case parquet::Type::INT64:
        return decode<parquet::Int64Type>(r);
    case parquet::Type::FLOAT:
        return decode<parquet::FloatType>(r);
    default:
        return decode<parquet::DoubleType>(r);
    }
}

void make_room(reading *r) {
    constexpr size_t n = values_at_a_time;
    r->levels.resize(n);
    switch (r->physical) {
    case parquet::Type::BYTE_ARRAY:
        r->values = std::vector<parquet::ByteArray>(n);
        break;
    case parquet::Type::INT32:
        r->values = std::vector<int32_t>(n);
        break;
    case parquet::Type::INT64:
        r->values = std::vector<int64_t>(n);
        break;
    case parquet::Type::FLOAT:
        r->values = std::vector<float>(n);
        break;
    default:
        r->values = std::vector<double>(n);
        break;
    }
}

sp_field field_of(const reading &r, size_t i) {
    sp_field field = {};
    if (const auto *texts = std::get_if<std::vector<parquet::ByteArray>>(&r.values)) {
        field.type = SP_FIELD_TEXT;
        field.text = reinterpret_cast<const char *>((*texts)[i].ptr);
        field.n_bytes = (*texts)[i].len;
    } else if (const auto *i32 = std::get_if<std::vector<int32_t>>(&r.values)) {
        field.type = SP_FIELD_INTEGER;
        field.integer = r.is_unsigned ? static_cast<int64_t>(static_cast<uint32_t>((*i32)[i]))
                                      : static_cast<int64_t>((*i32)[i]);
    } else if (const auto *i64 = std::get_if<std::vector<int64_t>>(&r.values)) {
        field.type = SP_FIELD_INTEGER;
        field.integer = (*i64)[i];
    } else {
        const auto *f32 = std::get_if<std::vector<float>>(&r.values);
        field.type = SP_FIELD_REAL;
        field.real = f32 != nullptr ? static_cast<double>((*f32)[i])
                                    : std::get<std::vector<double>>(r.values)[i];
    }
    return field;
}

sp_field next_field(reading *r) {
    if (r->next_level == r->n_levels) decode_more(r);
    const auto level = static_cast<size_t>(r->next_level++);
    if (r->max_level > 0 && r->levels[level] != r->max_level) return sp_field{};
    return field_of(*r, static_cast<size_t>(r->next_value++));
}

} // namespace

struct sp_parquet {
    std::unique_ptr<arrow::MemoryPool> pool; /* outlives the reader below */
    std::unique_ptr<parquet::ParquetFileReader> reader;
    std::shared_ptr<parquet::FileMetaData> footer;
    std::shared_ptr<parquet::RowGroupReader> group;
    std::vector<reading> columns; /* of the group at hand */
    int64_t n_left = 0;           /* its rows still to be handed out */
};

namespace {

void open_file(sp_parquet *file, const char *path, [[maybe_unused]] size_t most_bytes) {
    arrow::MemoryPool *pool = arrow::default_memory_pool();
#if ARROW_VERSION_MAJOR >= 23 /* since when there is a cap */
    file->pool = std::make_unique<arrow::CappedMemoryPool>(pool, static_cast<int64_t>(most_bytes));
    pool = file->pool.get();
#endif
    parquet::ReaderProperties properties(pool);
#if ARROW_VERSION_MAJOR != 17 && ARROW_VERSION_MAJOR != 18 /* where it fails on sound files */
    properties.enable_buffered_stream();                   /* never a whole column at once */
    properties.set_buffer_size(stream_bytes);
#endif
    properties.set_page_checksum_verification(true);
    file->reader = parquet::ParquetFileReader::OpenFile(path, false, properties);
    file->footer = file->reader->metadata();
}

/* A footer that counts too few rows would lose the others without a word. */
void check_all_read(sp_parquet *file) {
    for (const reading &r : file->columns)
        if (r.reader->HasNext() || r.next_level < r.n_levels)
            damaged("a column has more values than its row group has rows");
    file->columns.clear();
}

/* The library's own messages about files that are not there would be of another form. */
sp_status check_regular(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0 || access(path, R_OK) != 0)
        return fail(SP_IO, "cannot open '%s': %s", path, std::strerror(errno));
    if (!S_ISREG(info.st_mode)) return fail(SP_IO, "cannot read '%s': not a regular file", path);
    return SP_OK;
}

sp_status call_open(sp_parquet **file, const char *path, size_t most_bytes) {
    SP_TRY(check_regular(path));
    return guarded("'" + std::string(path) + "': ", [&] {
        auto made = std::make_unique<sp_parquet>();
        open_file(made.get(), path, most_bytes);
        if (made->footer->num_row_groups() < 0) damaged("a negative number of row groups");
        *file = made.release();
    });
}

void call_close(sp_parquet *file) { delete file; }

size_t call_n_groups(const sp_parquet *file) {
    return static_cast<size_t>(file->footer->num_row_groups());
}

sp_status call_find(const sp_parquet *file, const char *name, sp_parquet_column *column,
                    bool *is_found) {
    return guarded("", [&] {
        const parquet::SchemaDescriptor *schema = file->footer->schema();
        *is_found = false;
        for (int i = 0; i < schema->num_columns(); i++) {
            /* A list's values are found by the list's name, to be refused by it. */
            const std::string path = schema->Column(i)->path()->ToDotString();
            if (path != name && schema->GetColumnRoot(i)->name() != name) continue;
            column->index = static_cast<size_t>(i);
            column->type = path == name ? type_of(schema->Column(i)) : SP_FIELD_OTHER;
            *is_found = true;
            if (path == name) return;
        }
    });
}

sp_status call_group_size(const sp_parquet *file, size_t group, size_t column, uint64_t *n_rows,
                          uint64_t *n_bytes) {
    return guarded("", [&] {
        const auto metadata = file->footer->RowGroup(static_cast<int>(group));
        const auto chunk = metadata->ColumnChunk(static_cast<int>(column));
        const int64_t rows = std::min(metadata->num_rows(), chunk->num_values());
        const int64_t bytes = chunk->total_uncompressed_size();
        if (rows < 0 || bytes < 0) damaged("a row group of negative size");
        *n_rows = static_cast<uint64_t>(rows);
        *n_bytes = static_cast<uint64_t>(bytes);
    });
}

sp_status call_begin(sp_parquet *file, size_t group, const sp_parquet_column *columns,
                     size_t n_columns) {
    return guarded("", [&] {
        file->columns.clear();
        file->group = file->reader->RowGroup(static_cast<int>(group));
        file->n_left = file->group->metadata()->num_rows();
        if (file->n_left < 0) damaged("a row group of negative size");
        for (size_t i = 0; i < n_columns; i++) {
            const int index = static_cast<int>(columns[i].index);
            const parquet::ColumnDescriptor *column = file->footer->schema()->Column(index);
            const auto *integer =
                dynamic_cast<const parquet::IntLogicalType *>(column->logical_type().get());
            reading r = {};
            r.reader = file->group->Column(index);
            r.physical = column->physical_type();
            r.is_unsigned = integer != nullptr && !integer->is_signed();
            r.max_level = column->max_definition_level();
            r.n_left = file->n_left;
            make_room(&r);
            file->columns.push_back(std::move(r));
        }
    });
}

sp_status call_next(sp_parquet *file, sp_field *row, bool *end) {
    return guarded("", [&] {
        *end = file->n_left == 0;
        if (*end) return check_all_read(file);
        for (size_t i = 0; i < file->columns.size(); i++) row[i] = next_field(&file->columns[i]);
        file->n_left--;
    });
}

const sp_parquet_calls calls = {
    .library = ARROW_VERSION_STRING,
    .open = call_open,
    .close = call_close,
    .n_groups = call_n_groups,
    .find = call_find,
    .group_size = call_group_size,
    .begin = call_begin,
    .next = call_next,
};

} // namespace

extern "C" __attribute__((visibility("default"))) const sp_parquet_calls *
SP_PARQUET_ENTRY(sp_fail_function *function);

const sp_parquet_calls *SP_PARQUET_ENTRY(sp_fail_function *function) {
    fail = function;
    return &calls;
}
