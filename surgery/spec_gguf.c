/* GGUF metadata -> spec (key names: llama.cpp's llama-arch.cpp). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "surgery/family.h"

const char *arch_key(char out[128], const Checkpoint *c, const char *suffix) {
    const char *arch = meta_string(c, "general.architecture", NULL);
    snprintf(out, 128, "%.60s.%.60s", arch ? arch : "", suffix);
    return out;
}

static bool read_u32(const Checkpoint *c, const char *suffix, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e) {
    char key[128];
    uint64_t v;
    if (!meta_u64(c, arch_key(key, c, suffix), &v))
        return error_set(e, ERR_INPUT, "%s: key '%s': expected a whole number, found %s", c->path, key,
                         meta_find(c, key) ? "another type" : "nothing");
    if (v < low || v > high)
        return error_set(e, ERR_INPUT, "%s: key '%s': %llu is not between %u and %u", c->path, key,
                         (unsigned long long)v, low, high);
    *out = (uint32_t)v;
    return true;
}

static double real_or(const Checkpoint *c, const char *suffix, double fallback) {
    char key[128];
    double v;
    return meta_f64(c, arch_key(key, c, suffix), &v) ? v : fallback;
}

static bool read_sizes(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    ModelSpec *s = &m->spec;
    char key[128];
    if (!read_u32(c, "block_count", 1, 512, &s->n_layers, e) ||
        !read_u32(c, "embedding_length", 1, 1 << 20, &s->width, e) ||
        !read_u32(c, "attention.head_count", 1, 4096, &l->n_heads, e) ||
        !read_u32(c, "feed_forward_length", 1, 1 << 22, &l->ffn_dim, e) ||
        !read_u32(c, "context_length", 1, UINT32_MAX, &s->context, e))
        return false;
    l->n_kv_heads = l->n_heads;
    l->head_dim = s->width / l->n_heads;
    if (meta_find(c, arch_key(key, c, "attention.head_count_kv")) &&
        !read_u32(c, "attention.head_count_kv", 1, 4096, &l->n_kv_heads, e))
        return false;
    if (meta_find(c, arch_key(key, c, "attention.key_length")) &&
        !read_u32(c, "attention.key_length", 1, 8192, &l->head_dim, e))
        return false;
    if (l->n_heads % l->n_kv_heads || l->head_dim == 0 || l->head_dim % 2)
        return error_set(e, ERR_INPUT, "%s: %u heads of %u dimensions over %u key/value heads make no model",
                         c->path, l->n_heads, l->head_dim, l->n_kv_heads);
    const Tensor *embed = checkpoint_find(c, "token_embd.weight");
    if (!embed || embed->rank != 2)
        return error_set(e, ERR_INPUT, "%s: has no tensor 'token_embd.weight' of rank 2", c->path);
    if (embed->shape[0] > 1 << 26)
        return error_set(e, ERR_INPUT, "%s: a vocabulary of %llu", c->path,
                         (unsigned long long)embed->shape[0]);
    s->vocab = (uint32_t)embed->shape[0];
    s->tied_head = !checkpoint_find(c, "output.weight");
    return true;
}

/* llama.cpp keeps Llama 3's scaling as a table of divisors. Recognised by recomputing it for the parameters
 * that are in use (factor from the table's end; bands 1 and 4; original context 8192). */
static bool read_rope_divisors(const Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    const Tensor *t = checkpoint_find(c, "rope_freqs.weight");
    if (!t) return true;
    uint64_t n = tensor_elems(t);
    float divisors[4096];
    double scaled[4096], plain[4096];
    if (n != l->rotary_dim / 2 || n > 4096)
        return error_set(e, ERR_INPUT, "%s: tensor 'rope_freqs.weight': %llu elements, expected %u", c->path,
                         (unsigned long long)n, l->rotary_dim / 2);
    if (!tensor_read_f32(t, divisors, e)) return false;
    l->scaling = (RopeScaling){
        .kind = ROPE_SCALING_NONE, .original_context = 8192, .low_freq_factor = 1, .high_freq_factor = 4};
    rope_frequencies(&m->spec, l, 0, plain);
    l->scaling.kind = ROPE_SCALING_LLAMA3;
    l->scaling.factor = divisors[n - 1];
    rope_frequencies(&m->spec, l, 0, scaled);
    for (uint64_t i = 0; i < n; i++)
        if (!(fabs(plain[i] / scaled[i] / divisors[i] - 1) < 1e-4))
            return error_set(
                e, ERR_INPUT,
                "%s: tensor 'rope_freqs.weight' is not Llama 3's table (element %llu is %g, expected %g)",
                c->path, (unsigned long long)i, divisors[i], plain[i] / scaled[i]);
    return true;
}

static bool read_rope(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    char key[128];
    l->rope_base = real_or(c, "rope.freq_base", 10000);
    l->rotary_dim = l->head_dim;
    if (meta_find(c, arch_key(key, c, "rope.dimension_count")) &&
        !read_u32(c, "rope.dimension_count", 0, l->head_dim, &l->rotary_dim, e))
        return false;
    l->position = l->rotary_dim == l->head_dim ? POSITION_ROPE : POSITION_PARTIAL;
    const char *type = meta_string(c, arch_key(key, c, "rope.scaling.type"), NULL);
    RopeScaling *r = &l->scaling;
    if (!type || strcmp(type, "none") == 0) {
        if (l->rotary_dim == 0) layer_drop_rope(l);
        return read_rope_divisors(m, c, l, e);
    }
    if (strcmp(type, "linear") == 0)
        r->kind = ROPE_SCALING_LINEAR;
    else if (strcmp(type, "yarn") == 0)
        r->kind = ROPE_SCALING_YARN;
    else
        return error_set(e, ERR_INPUT, "%s: rope scaling '%.40s' is not supported (none, linear, yarn)",
                         c->path, type);
    r->factor = real_or(c, "rope.scaling.factor", 1);
    uint64_t original;
    r->original_context = meta_u64(c, arch_key(key, c, "rope.scaling.original_context_length"), &original)
                              ? (double)original
                              : m->spec.context;
    r->beta_fast = real_or(c, "rope.scaling.yarn_beta_fast", 32);
    r->beta_slow = real_or(c, "rope.scaling.yarn_beta_slow", 1);
    r->truncate = true;
    if (!(r->factor > 0)) return error_set(e, ERR_INPUT, "%s: rope scaling factor %g", c->path, r->factor);
    if ((r->kind == ROPE_SCALING_LINEAR && r->factor >= 1e20) || l->rotary_dim == 0) layer_drop_rope(l);
    return true;
}

bool spec_from_gguf(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    LayerSpec l = {0};
    if (!read_sizes(m, c, &l, e) || !read_rope(m, c, &l, e)) return false;
    s->rms_eps = real_or(c, "attention.layer_norm_rms_epsilon", 1e-5);
    s->embedding_scale = s->residual_scale = s->logit_scale = 1;
    l.softmax_scale = 1 / sqrt(l.head_dim);
    s->layers = arena_alloc(&m->arena, s->n_layers * sizeof *s->layers);
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i] = l;
    return !m->family->read_gguf || m->family->read_gguf(m, c, e);
}
