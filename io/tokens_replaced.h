/* The parts of an index that another file takes the name of: nobody reads them after that. For io/
   only. Parts of an index that was renamed are not found, and stay. */
#pragma once

#include "io/tokens_plan.h"

typedef struct sp_tokens_replaced {
    char **paths; /* [n], owned */
    size_t n;
} sp_tokens_replaced; /* all zero: none */

/* Finds the parts of `output` as it is now; none if it is not there or no index. */
SP_NODISCARD sp_status sp_tokens_replaced_find(sp_tokens_replaced *replaced, const char *output);

/* Removes them, apart from those that belong to the plan as well; NULL: it has none. SP_IO: cannot
   be removed. */
SP_NODISCARD sp_status sp_tokens_replaced_remove(const sp_tokens_replaced *replaced,
                                                 const sp_tokens_plan *plan);
void sp_tokens_replaced_free(sp_tokens_replaced *replaced);
