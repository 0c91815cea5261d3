/* The keys of a GGUF output. export.c calls export_gguf once all tensors are in x->out. Three groups of keys
 * are written: those that say what the file is (general.*), the architecture's settings (common ones here,
 * particular ones by the carrier's write_gguf), and derope's own, in which config.json and the side files of
 * a folder travel so that the way back is exact (derope_keys.h). */
#include "surgery/export_gguf.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/arch_check.h"
#include "surgery/arch_keys.h"
#include "surgery/carriers/carriers.h"
#include "surgery/derope_keys.h"
#include "surgery/export_hf.h"
#include "surgery/export_tensors.h"
#include "surgery/gguf_keys.h"
#include "surgery/model_facts.h"
#include "surgery/model_traits.h"
#include "surgery/notices.h"
#include "surgery/special_ids.h"
#include "surgery/tokenizer/hf_to_gguf.h"

/* ---- keys of the source ---- */

/* True for "ARCH.something". */
static bool is_of_arch(const char *key, const char *arch) {
    size_t n = strlen(arch);
    return strncmp(key, arch, n) == 0 && key[n] == '.';
}

/* Copies the keys of a source GGUF in their order. Where the carrier changes the architecture, <old>.*
 * becomes <new>.*, except for keys that had no effect in the old one and might have one in the new; keys that
 * the source had under the new name are dropped, because they were about something else. The manifest and
 * DEROPE_DTYPES are left out, because every export writes its own. */
static void copy_meta(Export *x, const char *arch) {
    const Checkpoint *c = x->m->source;
    const char *old = meta_string(c, "general.architecture", NULL);
    bool same = strcmp(old, arch) == 0;
    for (size_t i = 0; i < c->n_meta; i++) {
        MetaEntry m = c->meta[i];
        if (strcmp(m.key, MANIFEST_KEY) == 0 || strcmp(m.key, DEROPE_DTYPES) == 0) continue;
        if (!same && is_of_arch(m.key, arch)) continue;
        if (!same && is_of_arch(m.key, old)) {
            if (!arch_reads_key(old, m.key + strlen(old) + 1)) continue;
            m.key = arena_printf(&x->out->arena, "%s%.200s", arch, m.key + strlen(old));
        }
        meta_append(x->out, &m);
    }
    if (!same) meta_set_string(x->out, "general.architecture", arch, strlen(arch));
}

/* ---- the architecture ---- */

/* <arch>.<suffix>, left alone where it says the same already: then a copied key keeps its type. */
static void set_number(Checkpoint *out, const char *arch, const char *suffix, uint64_t v) {
    char key[128];
    uint64_t there;
    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    if (!meta_u64(out, key, &there) || there != v) meta_set_u32(out, key, (uint32_t)v);
}

/* The keys that llama.cpp reads for every architecture (its load_hparams). The carrier adds the others. Sizes
 * that a mixture states once are read from a layer that has experts. */
static void set_common_meta(Export *x, const char *arch) {
    const ModelSpec *s = &x->m->spec;
    const LayerSpec *l = &s->layers[0], *mixture = model_moe_layer(x->m);
    char key[128];
    double there;
    set_number(x->out, arch, "block_count", s->n_layers);
    set_number(x->out, arch, "context_length", x->m->new_context ? x->m->new_context : s->context);
    set_number(x->out, arch, "embedding_length", s->hidden_size);
    set_number(x->out, arch, "feed_forward_length", l->ffn_dim);
    if (mixture->n_experts) {
        set_number(x->out, arch, "expert_count", mixture->n_experts);
        set_number(x->out, arch, "expert_used_count", mixture->top_k);
        if (x->m->family->gguf.quirks & GGUF_EXPERT_FFN_KEY)
            set_number(x->out, arch, "expert_feed_forward_length", mixture->ffn_dim);
    }
    /* Attention. A GGUF without head_count_kv has as many key/value heads as query heads. */
    set_number(x->out, arch, "attention.head_count", l->n_heads);
    set_number(x->out, arch, "attention.head_count_kv", l->n_kv_heads);
    /* Without these two keys llama.cpp takes embedding_length / head_count. */
    if (l->head_dim * l->n_heads != s->hidden_size || arch_find(x->out, "attention.key_length")) {
        set_number(x->out, arch, "attention.key_length", l->head_dim);
        set_number(x->out, arch, "attention.value_length", l->head_dim);
    }
    snprintf(key, sizeof key, "%s.attention.%s", arch,
             s->norm == NORM_LAYER ? "layer_norm_epsilon" : "layer_norm_rms_epsilon");
    if (!meta_f64(x->out, key, &there) || (float)there != (float)s->norm_eps)
        meta_set_f32(x->out, key, (float)s->norm_eps);
    set_number(x->out, arch, "vocab_size", s->vocab);
}

/* general.file_type: llama.cpp's number (enum llama_ftype) for the mix, or for the type of the first matrix.
 * llama.cpp prints it and reads the weights by the types of the tensors. */
static uint32_t file_type(const Export *x) {
    static const struct {
        DType dtype;
        uint32_t type;
    } types[] = {{DTYPE_F32, 0},     {DTYPE_F16, 1},     {DTYPE_Q4_0, 2},  {DTYPE_Q4_1, 3},
                 {DTYPE_Q8_0, 7},    {DTYPE_Q5_0, 8},    {DTYPE_Q5_1, 9},  {DTYPE_Q2_K, 10},
                 {DTYPE_Q3_K, 11},   {DTYPE_Q4_K, 14},   {DTYPE_Q5_K, 16}, {DTYPE_Q6_K, 18},
                 {DTYPE_IQ4_NL, 25}, {DTYPE_IQ4_XS, 30}, {DTYPE_BF16, 32}};
    const Checkpoint *c = x->out;
    if (x->mix) return x->mix->file_type;
    for (size_t i = 0; i < c->n_tensors; i++)
        for (size_t j = 0; c->tensors[i].rank == 2 && j < sizeof types / sizeof *types; j++)
            if (c->tensors[i].dtype == types[j].dtype) return types[j].type;
    return 0;
}

/* general.name: the last part of the source's path. The name goes through json_text, which repairs bytes that
 * are not UTF-8. */
static void set_name(Checkpoint *out, const char *path) {
    /* realpath resolves "." and links; if it fails, the path is taken as it was given. */
    char whole[PATH_MAX];
    const char *name = realpath(path, whole) ? strrchr(whole, '/') + 1 : path;
    json_t *text = json_text(name);
    meta_set_string(out, "general.name", json_string_value(text), json_string_length(text));
    json_decref(text);
}

/* ---- what GGUF has no place for ---- */

/* A JSON object as a string key; an empty object needs none. */
static void embed_json(Export *x, const char *key, const json_t *value) {
    if (json_object_size(value) == 0) return;
    Buffer text = {0};
    json_print(value, 0, &text);
    meta_set_string(x->out, key, (const char *)text.data, text.size);
    buffer_free(&text);
}

/* A side file as a key: text becomes a string, other bytes an array of u8. A string is better where it is
 * possible: gguf's Python package makes an object of every element of an array, and a tokenizer.json has
 * millions of bytes. */
static void set_file_key(Checkpoint *out, const char *key, const SideFile *f) {
    bool plain = f->size && !memchr(f->bytes, 0, f->size);
    json_t *text = plain ? json_stringn((const char *)f->bytes, f->size) : NULL; /* NULL: not UTF-8 */
    if (text)
        meta_set_string(out, key, (const char *)f->bytes, f->size);
    else
        meta_set_array(out, key, META_U8, f->bytes, f->size);
    json_decref(text);
}

/* True if the configuration of an HF output would ask for tensors that this GGUF does not have: attention
 * sinks, or fewer key/value heads than the carrier repeated. When the GGUF is read again, its own keys say
 * all that is so. */
static bool config_contradicts_tensors(const Export *x, const Carrier *hf) {
    const LayerSpec *l = &x->m->spec.layers[0];
    return (export_writes_sinks(x->m, hf) && !export_writes_sinks(x->m, x->carrier)) ||
           (x->carrier->repeats_kv && l->n_kv_heads != l->n_heads);
}

/* Makes the config.json and the side files that an HF output of the same model would have, and puts them into
 * keys. A model that no HF carrier can express has none; a notice says why. */
static void embed_hf_files(Export *x) {
    Error reason = {0};
    const Carrier *hf = carrier_pick(x->m, FORMAT_HF, NULL, NULL, &reason);
    Checkpoint *files = checkpoint_new(FORMAT_HF);
    HfFilesRequest r = {.m = x->m, .carrier = hf, .notices = x->report->notices};
    /* The files are made in a checkpoint of their own, as if a folder were written. */
    if (hf) r.matrices = matrix_types_in_hf(x, hf);
    bool ok = hf && export_hf_files(&r, files, &reason);
    if (!ok) notice_add(x->report->notices, "no config.json travels in this GGUF: %s", reason.message);
    bool config = ok && !config_contradicts_tensors(x, hf);
    if (!config)
        meta_remove(x->out, DEROPE_CONFIG); /* the one that was copied from the source is no longer true */
    /* config.json gets the key DEROPE_CONFIG, every other file one with its name. */
    for (size_t i = 0; ok && i < files->n_files; i++) {
        const SideFile *f = &files->files[i];
        char key[300];
        snprintf(key, sizeof key, DEROPE_FILE_PREFIX "%.250s", f->name);
        if (strcmp(f->name, CONFIG_FILE) != 0)
            set_file_key(x->out, key, f);
        else if (config)
            meta_set_string(x->out, DEROPE_CONFIG, (const char *)f->bytes, f->size);
    }
    checkpoint_close(files);
}

/* ---- the whole ---- */

/* The keys that say what the file is. From a GGUF all keys are copied. From a folder, the keys that it kept
 * from a GGUF are put back (gguf_keys.h), and type and name are made where it kept none. */
static bool set_general(Export *x, const char *arch) {
    const Checkpoint *c = x->m->source;
    if (c->format == FORMAT_GGUF) {
        copy_meta(x, arch);
        return true;
    }
    meta_set_string(x->out, "general.architecture", arch, strlen(arch));
    if (!gguf_keys_return(c, arch, x->out, x->e)) return false;
    model_facts_to_gguf(c, x->out, x->report->notices);
    if (!meta_find(x->out, "general.type")) meta_set_string(x->out, "general.type", "model", 5);
    if (!meta_find(x->out, "general.name")) set_name(x->out, c->path);
    return true;
}

/* llama.cpp aborts where tensors lie at multiples of less than 32 bytes, so such a source gets the default of
 * the format, which needs no key. */
static void raise_alignment(Export *x) {
    enum { DEFAULT = 32 };
    uint64_t stated = x->out->alignment;
    meta_u64(x->out, "general.alignment", &stated);
    if (stated >= DEFAULT && x->out->alignment >= DEFAULT) return;
    meta_remove(x->out, "general.alignment");
    x->out->alignment = DEFAULT;
}

/* The order matters: general.architecture comes first, because the functions of arch_keys.h look it up; the
 * carrier comes after the common keys, which it may change; derope's own keys come last. */
bool export_gguf(Export *x) {
    const Checkpoint *c = x->m->source;
    const char *arch = carrier_arch(x->carrier, x->m);
    bool from_gguf = c->format == FORMAT_GGUF;
    x->out->alignment = c->alignment;
    if (!set_general(x, arch)) return false;
    raise_alignment(x);
    set_common_meta(x, arch);
    x->carrier->write_gguf(x->m, x->out);
    const char *notice = x->carrier->notice ? x->carrier->notice(x->m) : NULL;
    if (notice) notice_add(x->report->notices, "%s", notice);
    /* A copied file_type is kept as long as the types of the matrices are. */
    if (!from_gguf || x->mix || matrix_types(x->out).cast) {
        meta_set_u32(x->out, "general.file_type", file_type(x));
        meta_set_u32(x->out, "general.quantization_version", 2);
    }
    /* A folder's tokenizer becomes keys, unless the folder kept the keys of the GGUF that it came from. */
    ConversionTarget target = export_tokenizer_target(x->m, x->report->notices);
    if (!from_gguf && !meta_find(x->out, "tokenizer.ggml.model") &&
        !tokenizer_to_gguf(c, &target, x->out, x->e))
        return false;
    special_ids_limit_keys(x->out, x->m->spec.vocab, x->report->notices);
    /* A GGUF that never was a folder stays plain. */
    if (!from_gguf || meta_find(c, DEROPE_CONFIG)) embed_hf_files(x);
    embed_json(x, DEROPE_DTYPES, x->dtypes);
    embed_json(x, DEROPE_TENSORS, x->carried);
    if (!from_gguf && c->st_metadata) embed_json(x, DEROPE_ST_METADATA, c->st_metadata);
    return true;
}
