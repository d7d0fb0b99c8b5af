/* Names in a checkpoint's HDF5 files; what they hold is in io/checkpoint.h. */
#pragma once

#define SP_CHECKPOINT_DATA_NAME "data-%04zu.h5" /* % the writer's number */
#define SP_CHECKPOINT_TENSORS "/tensors"
#define SP_CHECKPOINT_GLOBAL_SHAPE "global_shape"
#define SP_CHECKPOINT_ROW_BEGIN "row_begin"

enum { SP_CHECKPOINT_NAME_SIZE = 256 }; /* of a tensor, with its NUL */
