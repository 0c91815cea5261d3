/* Changes of a spec that several families and passes make, and the names of its enum values. Printing a spec
 * is in spec_json.c, the arithmetic of rotation in rope_frequencies.c. */
#include "surgery/spec.h"

#include <stddef.h>
#include <string.h>

#include "surgery/rope_frequencies.h"

/* ---- changing a spec ---- */

/* DroPE (arXiv 2512.12167): queries and keys of the layer are no longer rotated. The scaling and the number
 * of rotated dimensions are cleared too, so that two layers without rotation compare equal. */
void layer_drop_rope(LayerSpec *l) {
    l->position = POSITION_NOPE;
    l->rotary_dim = 0;
    l->scaling = (RopeScaling){0};
}

/* Gives all layers a window except each `every`-th. Families count layers from 1 for this: "every fourth
 * layer sees everything" means layers 3, 7, 11, ... */
void spec_set_windows(ModelSpec *s, uint32_t window, uint64_t every) {
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i].window = every && (i + 1) % every == 0 ? 0 : window;
}

/* The reader gave every layer the one scaling that the file states; this takes it back in layers with a
 * window, for families that scale only the others. */
void spec_unscale_windowed(ModelSpec *s) {
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LayerSpec *l = &s->layers[i];
        if (!l->window) continue;
        l->scaling = (RopeScaling){0};
        l->position = POSITION_ROPE;
        l->rotary_dim = l->head_dim;
    }
}

/* Every layer is compared with layer 0. */
bool spec_is_uniform(const ModelSpec *s) {
    for (uint32_t i = 1; i < s->n_layers; i++) {
        const LayerSpec *a = &s->layers[0], *b = &s->layers[i];
        if (a->position != b->position || a->window != b->window || a->rope_base != b->rope_base ||
            !rope_scaling_equal(&a->scaling, &b->scaling))
            return false;
    }
    return true;
}

/* ---- names ---- */

/* An MLP with a gate and SiLU is known as SwiGLU, with GELU as GeGLU (arXiv 2002.05202). */
const ActivationInfo *activation_info(Activation a) {
    static const ActivationInfo infos[ACT_COUNT] = {
        [ACT_SILU] = {"silu", {"silu", "swish"}, "SiLU", "SwiGLU"},
        [ACT_GELU] = {"gelu", {"gelu"}, "GELU", "GeGLU"},
        [ACT_GELU_TANH] = {"gelu_tanh",
                           {"gelu_pytorch_tanh", "gelu_new", "gelu_fast"},
                           "GELU (tanh)",
                           "GeGLU (tanh)"},
        /* GPT-OSS's config.json says "silu", and its class computes this whatever the key says. */
        [ACT_CLIPPED] = {"clipped", {"silu"}, "clipped SiLU", "clipped SwiGLU"},
    };
    return &infos[a];
}

/* The first activation with the name is taken, so "silu" is never ACT_CLIPPED; GPT-OSS's hook sets that. */
bool activation_from_hf(const char *name, Activation *out) {
    for (int a = 0; a < ACT_COUNT; a++) {
        const ActivationInfo *info = activation_info((Activation)a);
        for (const char *const *hf = info->hf; *hf; hf++)
            if (strcmp(*hf, name) == 0) {
                *out = (Activation)a;
                return true;
            }
    }
    return false;
}

/* Names are in the order of the enum Position. */
const char *position_name(Position p) {
    static const char *const names[] = {"rope", "partial", "nope"};
    return names[p];
}

/* Names are in the order of the enum RopeScalingKind. The reader of rope_type searches this list too. */
const char *rope_scaling_name(RopeScalingKind k) {
    static const char *const names[] = {"none", "linear", "dynamic", "yarn", "llama3", "longrope"};
    return names[k];
}
