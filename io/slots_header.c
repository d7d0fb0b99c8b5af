#include "io/slots_header.h"

#include "io/slots_schema.h"

#include <math.h>
#include <string.h>

sp_hdf5_kind sp_slots_value_kind(sp_slots_dtype dtype) {
    static const sp_hdf5_kind kinds[] = {SP_HDF5_F16, SP_HDF5_U16, SP_HDF5_I8};
    return kinds[dtype];
}

sp_status sp_slots_header_write(const sp_hdf5_file *file, const sp_slots_info *info, bool is_part) {
    SP_TRY(sp_hdf5_create_group(file, SP_SLOTS_GROUP));
    SP_TRY(sp_hdf5_create_group(file, SP_SLOTS_SEGMENTS));
    SP_TRY(sp_hdf5_create_group(file, SP_SLOTS_DOCUMENTS));
    if (info->has_text) SP_TRY(sp_hdf5_create_group(file, SP_SLOTS_TEXT));
    SP_TRY(sp_hdf5_write_string(file, "/", "format",
                                is_part ? SP_SLOTS_PART_FORMAT : SP_SLOTS_FORMAT));
    SP_TRY(sp_hdf5_write_u64(file, "/", "format_version", SP_SLOTS_FORMAT_VERSION));
    SP_TRY(sp_hdf5_write_string(file, "/", SP_SLOTS_SPACE, sp_slots_spaces[info->space]));
    SP_TRY(sp_hdf5_write_string(file, "/", SP_SLOTS_DTYPE, sp_slots_dtype_names[info->dtype]));
    SP_TRY(sp_hdf5_write_u64(file, "/", SP_SLOTS_D, info->d));
    SP_TRY(sp_hdf5_write_double(file, "/", SP_SLOTS_RATIO, info->ratio));
    SP_TRY(sp_hdf5_write_u64(file, "/", SP_SLOTS_REFINED, info->n_refinements));
    SP_TRY(sp_hdf5_write_u64(file, "/", SP_SLOTS_HAS_TEXT, info->has_text));
    if (info->job_digest != NULL)
        SP_TRY(sp_hdf5_write_string(file, "/", SP_SLOTS_JOB_DIGEST, info->job_digest));
    return sp_hdf5_write_string(file, "/", SP_SLOTS_COMPRESSOR_DIGEST, info->compressor_digest);
}

/* Reads an attribute that is one of n words. */
static sp_status read_choice(const sp_hdf5_file *file, const char *name, const char *const *words,
                             size_t n, size_t *choice) {
    char text[32];
    SP_TRY(sp_hdf5_read_string(file, "/", name, text, sizeof text));
    for (*choice = 0; *choice < n; ++*choice)
        if (strcmp(text, words[*choice]) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': attribute '%s' is '%s', which this program does not know",
                   file->path, name, text);
}

static sp_status check_format(const sp_hdf5_file *file) {
    char format[64] = "";
    uint64_t version = 0;
    if (sp_hdf5_read_string(file, "/", "format", format, sizeof format) == SP_OK &&
        strcmp(format, SP_SLOTS_PART_FORMAT) == 0)
        return sp_fail(SP_BAD_DATA, "'%s': a part of a slot file; name the file itself",
                       file->path);
    if (strcmp(format, SP_SLOTS_FORMAT) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': not a slot file of slotpress", file->path);
    SP_TRY(sp_hdf5_read_u64(file, "/", "format_version", &version));
    if (version != SP_SLOTS_FORMAT_VERSION)
        return sp_fail(SP_BAD_DATA, "'%s': slot format version %ju; this program reads %d",
                       file->path, (uintmax_t)version, SP_SLOTS_FORMAT_VERSION);
    return SP_OK;
}

sp_status sp_slots_header_read(sp_slots_header *header, const sp_hdf5_file *file) {
    uint64_t d = 0, has_text = 0, refined = 0;
    double ratio = 0;
    size_t space = 0, dtype = 0;
    SP_TRY(check_format(file));
    SP_TRY(read_choice(file, SP_SLOTS_SPACE, sp_slots_spaces, 2, &space));
    SP_TRY(read_choice(file, SP_SLOTS_DTYPE, sp_slots_dtype_names, SP_N_SLOTS_DTYPES, &dtype));
    SP_TRY(sp_hdf5_read_u64(file, "/", SP_SLOTS_D, &d));
    if (d == 0 || d > SP_SLOTS_MAX_D)
        return sp_fail(SP_BAD_DATA, "'%s': slots of %ju values", file->path, (uintmax_t)d);
    SP_TRY(sp_hdf5_read_double(file, "/", SP_SLOTS_RATIO, &ratio));
    if (!(ratio > 0 && ratio < INFINITY))
        return sp_fail(SP_BAD_DATA, "'%s': a ratio of %g", file->path, ratio);
    SP_TRY(sp_hdf5_read_u64(file, "/", SP_SLOTS_REFINED, &refined));
    SP_TRY(sp_hdf5_read_u64(file, "/", SP_SLOTS_HAS_TEXT, &has_text));
    SP_TRY(sp_hdf5_read_string(file, "/", SP_SLOTS_COMPRESSOR_DIGEST, header->compressor_digest,
                               sizeof header->compressor_digest));
    SP_TRY(sp_hdf5_read_string(file, "/", SP_SLOTS_DIGEST, header->digest, sizeof header->digest));
    header->job_digest[0] = '\0';
    const bool has_job = H5Aexists(file->id, SP_SLOTS_JOB_DIGEST) > 0;
    if (has_job)
        SP_TRY(sp_hdf5_read_string(file, "/", SP_SLOTS_JOB_DIGEST, header->job_digest,
                                   sizeof header->job_digest));
    header->info = (sp_slots_info){.space = (sp_slots_space)space,
                                   .dtype = (sp_slots_dtype)dtype,
                                   .d = d,
                                   .ratio = ratio,
                                   .compressor_digest = header->compressor_digest,
                                   .has_text = has_text != 0,
                                   .n_refinements = (size_t)refined,
                                   .job_digest = has_job ? header->job_digest : NULL};
    return SP_OK;
}
