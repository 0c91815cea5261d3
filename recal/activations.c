/* The memory of a training step's forward pass: the activations that backward.c needs of each layer, and
 * buffers that all layers share. forward.c fills them. Without `keep` (a teacher, or a batch that wants no
 * gradients) all layers write to the same arrays, because nothing is read again. lay_out is run twice over
 * the same code, once to count the bytes and once to hand out the memory (workspace.h). */
#include "recal/activations.h"

#include <stdlib.h>

#include "formats/buffer.h"

/* The activations of one layer with the sizes `z`, in the order in which the forward pass writes them. What
 * the layer does not have has a size of 0 and becomes NULL. */
static SavedActivations lay_out_layer(Workspace *w, const LayerSizes *z, size_t N) {
    /* Attention: its input, queries, keys and values, QK-norm, its output and the log-sum-exp of each
     * query. */
    SavedActivations a = {0};
    a.x = workspace_floats(w, N, z->C);
    a.attn_norm_rstd = workspace_floats(w, N, 1);
    a.q = workspace_floats(w, N, z->q);
    a.k = workspace_floats(w, N, z->kv);
    a.v = workspace_floats(w, N, z->kv);
    a.q_linear = workspace_floats(w, N, z->q_norm);
    a.k_linear = workspace_floats(w, N, z->k_norm);
    a.q_rstd = workspace_floats(w, N, z->q_norm_rows);
    a.k_rstd = workspace_floats(w, N, z->k_norm_rows);
    a.attn_out = workspace_floats(w, N, z->q);
    a.lse = workspace_floats(w, N, z->heads);
    a.attn_branch = workspace_floats(w, N, z->post_norm);
    a.attn_post_rstd = workspace_floats(w, N, z->post_norm ? 1 : 0);
    /* The MLP or the experts: the input, gate and up projections, and where tokens were sent. */
    a.mid = workspace_floats(w, N, z->mid);
    a.ffn_norm_rstd = workspace_floats(w, N, 1);
    a.gate = workspace_floats(w, N, z->gate);
    a.up = workspace_floats(w, N, z->up);
    if (z->n_experts) a.dispatch = dispatch_lay_out(w, z->n_experts, z->top_k, N);
    a.shared_gate = workspace_floats(w, N, z->shared_up);
    a.shared_up = workspace_floats(w, N, z->shared_up);
    a.ffn_branch = workspace_floats(w, N, z->post_norm);
    a.ffn_post_rstd = workspace_floats(w, N, z->post_norm ? 1 : 0);
    return a;
}

/* Sets to NULL what a layer with the sizes `z` does not have, in memory that is laid out for all layers. */
static SavedActivations only_present(SavedActivations a, const LayerSizes *z) {
    if (!z->q_norm) a.q_linear = a.q_rstd = NULL;
    if (!z->k_norm) a.k_linear = a.k_rstd = NULL;
    if (!z->post_norm) a.attn_branch = a.attn_post_rstd = a.ffn_branch = a.ffn_post_rstd = NULL;
    if (!z->mid) a.mid = a.x;
    if (!z->gate) a.gate = NULL;
    if (!z->shared_up) a.shared_gate = a.shared_up = NULL;
    return a;
}

/* All arrays of the pass. Layers that are not kept share one set of arrays, each as large as the largest
 * layer's. */
static void lay_out(ForwardPass *p, const ModelSpec *s, bool keep) {
    Workspace *w = &p->workspace;
    LayerSizes largest = layer_sizes_largest(s);
    size_t N = p->N;
    /* Buffers of the pass: the residual stream, a branch's input and output, and what the experts gather and
     * give. */
    p->x = workspace_floats(w, N, largest.C);
    p->normed = workspace_floats(w, N, largest.C);
    p->branch = workspace_floats(w, N, largest.C);
    p->final_rstd = workspace_floats(w, N, 1);
    p->hidden = workspace_floats(w, N, layer_sizes_widest(s));
    p->expert_in = workspace_floats(w, N, largest.top_k * largest.C);
    p->expert_out = workspace_floats(w, N, largest.top_k * largest.C);
    /* Then the layers, each with its own arrays or all with the same ones. */
    SavedActivations shared = {0};
    if (!keep) shared = lay_out_layer(w, &largest, N);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LayerSizes z = layer_sizes(s, i);
        p->saved[i] = only_present(keep ? lay_out_layer(w, &z, N) : shared, &z);
    }
}

/* A pass whose memory has been counted and not yet allocated. */
static ForwardPass counted(const ModelSpec *s, size_t B, size_t T, bool keep) {
    ForwardPass p = {.B = B, .T = T};
    if (__builtin_mul_overflow(B, T, &p.N)) p.workspace.overflow = true;
    p.saved = xcalloc(s->n_layers, sizeof *p.saved);
    lay_out(&p, s, keep);
    return p;
}

bool forward_pass_new(ForwardPass *p, const Net *n, size_t B, size_t T, bool keep, Error *e) {
    /* The first run counts; the pointers that it sets are all NULL. */
    *p = counted(n->spec, B, T, keep);
    p->net = n;
    if (!workspace_alloc(&p->workspace, "activations", e)) return false;
    /* The second run hands out the memory. */
    lay_out(p, n->spec, keep);
    p->ropes = rope_tables_new(n->spec, 0, T, T);
    return true;
}

void forward_pass_free(ForwardPass *p) {
    if (p->ropes) rope_tables_free(p->ropes, p->net->spec);
    workspace_free(&p->workspace);
    free(p->saved);
    *p = (ForwardPass){0};
}

uint64_t forward_pass_bytes(const ModelSpec *s, size_t B, size_t T, bool keep) {
    ForwardPass p = counted(s, B, T, keep);
    uint64_t bytes = workspace_bytes(&p.workspace);
    forward_pass_free(&p);
    return bytes;
}
