/* Rows to fine-tune on, from a .jsonl file, also .gz or .zst: one JSON object a line, blank lines
   are passed over.

       {"context": TEXT, "prompt": TEXT, "answer": TEXT}
       {"context": TEXT, "messages": [{"role": ROLE, "content": TEXT, "name": TEXT}, ...]}

   The context is what is compressed, and is not empty; `prompt` may be empty, `answer` and a
   message's content may not. Roles are `system`, which may only come first, then `user` and
   `assistant` in turn; the last message is the assistant's, and is the answer. `name`, the speaker's,
   may be left out. Other members are ignored. Text is UTF-8 without NUL. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sp_task_role {
    SP_ROLE_SYSTEM,
    SP_ROLE_USER,
    SP_ROLE_ASSISTANT,
} sp_task_role;

typedef struct sp_task_message {
    sp_task_role role;
    const char *name; /* NULL: none */
    const char *content;
} sp_task_message;

/* All borrowed until the next call on the file. */
typedef struct sp_task_row {
    const char *context;
    const char *prompt, *answer;     /* NULL where there are messages */
    const sp_task_message *messages; /* [n_messages], at least two, or none */
    size_t n_messages;
    uint64_t line; /* from 1 */
} sp_task_row;

typedef struct sp_task_file sp_task_file; /* opaque */

/* Opens `path` into *file, to be released by sp_task_file_close(). SP_IO: cannot be opened;
   SP_BAD_DATA: its name is not that of a .jsonl file. */
SP_NODISCARD sp_status sp_task_file_open(sp_task_file **file, const char *path);
void sp_task_file_close(sp_task_file *file); /* NULL is fine */

/* Reads the next row; *end is true, and *row untouched, after the last. SP_BAD_DATA: a line that is no
   such row, whose message names file, line and field, and after which the next call goes on (what is
   lost with a line of 256 MiB or more, or with damaged packing, is the rest of the file). */
SP_NODISCARD sp_status sp_task_file_next(sp_task_file *file, sp_task_row *row, bool *end);
