#include "recal/objectives.h"

#include <string.h>

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

size_t objective_names(const char **names, size_t max) {
    size_t n = 0;
    for (; n < max && objectives[n].name; n++)
        names[n] = objectives[n].name;
    return n;
}
