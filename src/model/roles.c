#include "model/roles.h"

const char *const sp_role_names[SP_N_ROLES] = {
    [SP_ROLE_Q] = "q",       [SP_ROLE_K] = "k",   [SP_ROLE_V] = "v",       [SP_ROLE_O] = "o",
    [SP_ROLE_GATE] = "gate", [SP_ROLE_UP] = "up", [SP_ROLE_DOWN] = "down",
};
