#include <string.h>

#include "recal/train.h"

const Objective objectives[] = {
    {"next-token", "cross entropy of the next token", false},
    {"distill", "KL divergence from the source model with its RoPE on", true},
    {0},
};

const Objective *objective_by_name(const char *name) {
    for (const Objective *o = objectives; o->name; o++)
        if (strcmp(o->name, name) == 0) return o;
    return NULL;
}
