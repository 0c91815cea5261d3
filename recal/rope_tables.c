/* Tables of cosines and sines per layer for a range of positions, which qkv_forward (transformer_layer.c)
 * rotates queries and keys with. Most models rotate in the same way in all layers, some (Gemma 3) in two
 * ways; a layer therefore uses the tables of the first layer that rotates as it does. The frequencies with
 * all scalings come from surgery/rope_frequencies.c. */
#include "recal/rope_tables.h"

#include <stdlib.h>

#include "formats/buffer.h"
#include "recal/ops/rope.h"
#include "surgery/rope_frequencies.h"

/* True if both layers rotate and need the same numbers in their tables. */
static bool tables_are_equal(const LayerSpec *a, const LayerSpec *b) {
    return a->position != POSITION_NOPE && b->position != POSITION_NOPE && layer_rope_equal(a, b);
}

/* The first layer whose tables `layer` can use: itself, or one before it. */
static uint32_t owner_of_table(const ModelSpec *s, uint32_t layer) {
    for (uint32_t i = 0; i < layer; i++)
        if (tables_are_equal(&s->layers[i], &s->layers[layer])) return i;
    return layer;
}

RopeTable *rope_tables_new(const ModelSpec *s, size_t first, size_t n, size_t total) {
    RopeTable *tables = xcalloc(s->n_layers, sizeof *tables);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const LayerSpec *l = &s->layers[i];
        /* A table of NULL makes rotate_qk leave queries and keys as they are. */
        if (l->position == POSITION_NOPE) continue;
        uint32_t owner = owner_of_table(s, i);
        if (owner < i) {
            tables[i] = tables[owner];
            continue;
        }
        /* The frequencies with the layer's scaling applied, for a text of `total` tokens; `scale` is the
         * factor that YaRN and LongRoPE put on cosines and sines. */
        size_t half = l->rotary_dim / 2;
        double *inv_freq = xmalloc(half * sizeof *inv_freq);
        double scale = rope_frequencies(s, l, total, inv_freq);
        tables[i] = (RopeTable){
            .cos = xmalloc(n * half * sizeof(float)), .sin = xmalloc(n * half * sizeof(float)), .half = half};
        rope_table(tables[i].cos, tables[i].sin, inv_freq, scale, first, n, half);
        free(inv_freq);
    }
    return tables;
}

void rope_tables_free(RopeTable *tables, const ModelSpec *s) {
    for (uint32_t i = 0; tables && i < s->n_layers; i++) {
        if (owner_of_table(s, i) < i) continue; /* borrowed from an earlier layer */
        free(tables[i].cos);
        free(tables[i].sin);
    }
    free(tables);
}
