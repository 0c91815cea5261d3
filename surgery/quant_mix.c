/* The table of mixes and the rules by which a tensor gets its type: see surgery/quant_mix.h. The rules are
 * rows of a table, and the first that fits a tensor counts; what llama.cpp decides without regard to the mix
 * (heads, models of eight experts, models of 70 billion parameters) is code. */
#include "surgery/quant_mix.h"

#include <string.h>
#include <strings.h>

/* The names of llama-quantize, from the most bits to the fewest. */
static const QuantMix mixes[] = {
    {"q8_0", NULL, 7, DTYPE_Q8_0},      {"q6_k", NULL, 18, DTYPE_Q6_K},
    {"q5_k_m", NULL, 17, DTYPE_Q5_K},   {"q5_k_s", NULL, 16, DTYPE_Q5_K},
    {"q5_k", "q5_k_m", 17, DTYPE_Q5_K}, {"q4_k_m", NULL, 15, DTYPE_Q4_K},
    {"q4_k_s", NULL, 14, DTYPE_Q4_K},   {"q4_k", "q4_k_m", 15, DTYPE_Q4_K},
    {"q3_k_l", NULL, 13, DTYPE_Q3_K},   {"q3_k_m", NULL, 12, DTYPE_Q3_K},
    {"q3_k_s", NULL, 11, DTYPE_Q3_K},   {"q3_k", "q3_k_m", 12, DTYPE_Q3_K},
    {"q2_k", NULL, 10, DTYPE_Q2_K},     {"q5_0", NULL, 8, DTYPE_Q5_0},
    {"q5_1", NULL, 9, DTYPE_Q5_1},      {"q4_0", NULL, 2, DTYPE_Q4_0},
    {"q4_1", NULL, 3, DTYPE_Q4_1},      {"iq4_nl", NULL, 25, DTYPE_IQ4_NL},
    {"iq4_xs", NULL, 30, DTYPE_IQ4_XS},
};

enum { N_MIXES = sizeof mixes / sizeof *mixes };

/* ---- names ---- */

const QuantMix *quant_mix_find(const char *name) {
    for (size_t i = 0; i < N_MIXES; i++)
        if (strcasecmp(mixes[i].name, name) == 0) return &mixes[i];
    return NULL;
}

size_t quant_mix_names(const char **names, size_t max) {
    size_t n, kept = 0;
    const DType *plain = dtype_encodable(&n);
    for (size_t i = 0; i < n && kept < max; i++)
        if (dtype_info(plain[i])->block_elems == 1) names[kept++] = dtype_info(plain[i])->name;
    for (size_t i = 0; i < N_MIXES && kept < max; i++)
        names[kept++] = mixes[i].name;
    return kept;
}

void quant_mix_list_names(Buffer *out) {
    for (size_t i = 0; i < N_MIXES; i++)
        buffer_printf(out, "%s%s", i ? ", " : "", mixes[i].name);
}

/* ---- rules ---- */

/* The matrices that rules tell apart. */
typedef enum Part { PART_HEAD, PART_EMBED, PART_V, PART_K, PART_O, PART_DOWN, PART_OTHER } Part;

/* Where a rule counts. */
typedef enum When {
    ALWAYS,
    FIRST_TWO,      /* in layers 0 and 1 */
    FIRST_FOUR,     /* in layers 0 to 3 */
    FIRST_16TH,     /* in the first sixteenth of the layers */
    FIRST_8TH,      /* in the first eighth of the layers */
    MORE_BITS,      /* in the first and last eighth of the layers, and in every third between */
    SHARED_BY_FOUR, /* if at least four query heads share a key/value head */
    EIGHT_EXPERTS,  /* if the MLPs are mixtures of eight experts, as in Mixtral */
    OTHER_EXPERTS,  /* if they are not */
} When;

/* Falcon has rules of its own. */
typedef enum Whose { OF_ANY, OF_FALCON, OF_OTHERS } Whose;

typedef struct Rule {
    const char *mix;
    Part part;
    When when;
    Whose whose;
    DType type;
} Rule;

/* The first rule that fits counts. */
static const Rule rules[] = {
    {"q2_k", PART_V, SHARED_BY_FOUR, OF_ANY, DTYPE_Q4_K},
    {"q2_k", PART_V, ALWAYS, OF_ANY, DTYPE_Q3_K},
    {"q2_k", PART_DOWN, ALWAYS, OF_ANY, DTYPE_Q3_K},
    {"q2_k", PART_O, EIGHT_EXPERTS, OF_OTHERS, DTYPE_Q5_K},
    {"q2_k", PART_O, OTHER_EXPERTS, OF_OTHERS, DTYPE_Q3_K},

    {"q3_k_s", PART_O, EIGHT_EXPERTS, OF_OTHERS, DTYPE_Q5_K},

    {"q3_k_m", PART_V, FIRST_TWO, OF_ANY, DTYPE_Q5_K},
    {"q3_k_m", PART_V, ALWAYS, OF_ANY, DTYPE_Q4_K},
    {"q3_k_m", PART_DOWN, FIRST_16TH, OF_ANY, DTYPE_Q5_K},
    {"q3_k_m", PART_DOWN, ALWAYS, OF_OTHERS, DTYPE_Q4_K},
    {"q3_k_m", PART_DOWN, MORE_BITS, OF_FALCON, DTYPE_Q4_K},
    {"q3_k_m", PART_O, EIGHT_EXPERTS, OF_OTHERS, DTYPE_Q5_K},
    {"q3_k_m", PART_O, OTHER_EXPERTS, OF_OTHERS, DTYPE_Q4_K},

    {"q3_k_l", PART_V, ALWAYS, OF_ANY, DTYPE_Q5_K},
    {"q3_k_l", PART_DOWN, ALWAYS, OF_FALCON, DTYPE_Q4_K},
    {"q3_k_l", PART_DOWN, ALWAYS, OF_OTHERS, DTYPE_Q5_K},
    {"q3_k_l", PART_O, ALWAYS, OF_FALCON, DTYPE_Q4_K},
    {"q3_k_l", PART_O, OTHER_EXPERTS, OF_OTHERS, DTYPE_Q5_K},

    {"q4_k_s", PART_V, FIRST_FOUR, OF_ANY, DTYPE_Q5_K},
    {"q4_k_s", PART_DOWN, FIRST_8TH, OF_OTHERS, DTYPE_Q5_K},
    {"q4_k_s", PART_O, EIGHT_EXPERTS, OF_OTHERS, DTYPE_Q5_K},

    {"q4_k_m", PART_V, MORE_BITS, OF_ANY, DTYPE_Q6_K},
    {"q4_k_m", PART_DOWN, FIRST_16TH, OF_FALCON, DTYPE_Q6_K},
    {"q4_k_m", PART_DOWN, MORE_BITS, OF_FALCON, DTYPE_Q5_K},
    {"q4_k_m", PART_DOWN, MORE_BITS, OF_OTHERS, DTYPE_Q6_K},
    {"q4_k_m", PART_O, EIGHT_EXPERTS, OF_OTHERS, DTYPE_Q5_K},

    {"q5_k_m", PART_V, MORE_BITS, OF_ANY, DTYPE_Q6_K},
    {"q5_k_m", PART_DOWN, MORE_BITS, OF_ANY, DTYPE_Q6_K},

    {"iq4_nl", PART_V, SHARED_BY_FOUR, OF_ANY, DTYPE_Q5_K},
    {"iq4_nl", PART_DOWN, FIRST_8TH, OF_ANY, DTYPE_Q5_K},
    {"iq4_nl", PART_O, EIGHT_EXPERTS, OF_OTHERS, DTYPE_Q5_K},

    {"iq4_xs", PART_V, SHARED_BY_FOUR, OF_ANY, DTYPE_Q5_K},
    {"iq4_xs", PART_DOWN, FIRST_8TH, OF_ANY, DTYPE_Q5_K},
    {"iq4_xs", PART_O, EIGHT_EXPERTS, OF_OTHERS, DTYPE_Q5_K},
};

/* llama.cpp goes by the names of tensors. A fused attn_qkv counts as attn_v, and what is called ffn_down may
 * be the matrix of all experts or of a shared one. */
static Part part_of(const MixModel *m, const char *name) {
    if (strcmp(name, "output.weight") == 0) return PART_HEAD;
    if (strcmp(name, "token_embd.weight") == 0) return m->tied ? PART_HEAD : PART_EMBED;
    if (strstr(name, "attn_qkv.weight") || strstr(name, "attn_v.weight")) return PART_V;
    if (strstr(name, "attn_k.weight")) return PART_K;
    if (strstr(name, "attn_output.weight")) return PART_O;
    return strstr(name, "ffn_down") ? PART_DOWN : PART_OTHER;
}

static bool is_falcon(const MixModel *m) {
    return strcmp(m->arch, "falcon") == 0;
}

/* Whether a rule counts in layer i of n. */
static bool counts(When when, const MixModel *m, uint32_t i) {
    uint32_t n = m->n_layers;
    switch (when) {
    case ALWAYS:
        return true;
    case FIRST_TWO:
        return i < 2;
    case FIRST_FOUR:
        return i < 4;
    case FIRST_16TH:
        return i < n / 16;
    case FIRST_8TH:
        return i < n / 8;
    case MORE_BITS:
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case SHARED_BY_FOUR:
        return m->n_kv_heads && m->n_heads / m->n_kv_heads >= 4;
    case EIGHT_EXPERTS:
        return m->n_experts == 8;
    case OTHER_EXPERTS:
        return m->n_experts != 8;
    }
    return false;
}

/* Whether llama.cpp takes the model for one of 70 billion parameters, which it does by the number of layers.
 */
static bool is_70b(const MixModel *m) {
    bool llama = strcmp(m->arch, "llama") == 0 && m->n_heads != m->n_kv_heads;
    return m->n_layers == 80 && (llama || strcmp(m->arch, "qwen2") == 0);
}

/* The name by which rules know the mix. */
static const char *ruling_name(const QuantMix *mix) {
    return mix->same ? mix->same : mix->name;
}

DType quant_mix_type(const QuantMix *mix, const MixModel *m, const char *name, int layer,
                     uint64_t row_elems) {
    Part part = part_of(m, name);
    /* 1. The output head has more bits than the rest in every mix. */
    if (part == PART_HEAD) {
        bool whole = row_elems % dtype_info(mix->base)->block_elems == 0;
        return is_falcon(m) || !whole || mix->base == DTYPE_Q8_0 ? DTYPE_Q8_0 : DTYPE_Q6_K;
    }
    /* 2. The rules of the mix. */
    DType type = mix->base;
    Whose whose = is_falcon(m) ? OF_FALCON : OF_OTHERS;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const Rule *r = &rules[i];
        if (r->part != part || (r->whose != OF_ANY && r->whose != whose) ||
            strcmp(r->mix, ruling_name(mix)) != 0 || !counts(r->when, m, (uint32_t)layer))
            continue;
        type = r->type;
        break;
    }
    /* 3. Matrices that are small in large models and in mixtures of eight experts. */
    if (part == PART_V && is_70b(m) && (type == DTYPE_Q3_K || type == DTYPE_Q4_K)) type = DTYPE_Q5_K;
    if ((part == PART_V || part == PART_K) && m->n_experts == 8) type = DTYPE_Q8_0;
    return type;
}
