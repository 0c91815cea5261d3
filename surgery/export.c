/* Model -> checkpoint of a format: the carrier says which configuration and layout it wants. */
#include "surgery/export.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/file_names.h"
#include "formats/hf_folder.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/text.h"
#include "surgery/arch_keys.h"
#include "surgery/carriers/carriers.h"
#include "surgery/config_read.h"
#include "surgery/derope_keys.h"
#include "surgery/gguf_keys.h"
#include "surgery/model_traits.h"
#include "surgery/pass.h"
#include "surgery/quantized.h"
#include "surgery/tokenizer/gguf_to_hf.h"
#include "surgery/tokenizer/hf_to_gguf.h"

/* ---- HF configuration ---- */

/* A GGUF holds 1e-5f; a person wrote 1e-05. */
static double shortest_double(float f) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (strtof(text, NULL) == f) break;
    }
    return strtod(text, NULL);
}

/* The settings every family shares, for sources that have no config.json. */
static json_t *fresh_config(const Model *m) {
    const ModelSpec *s = &m->spec;
    const LayerSpec *l = &s->layers[0];
    json_t *c = json_object();
    json_object_set_new(c, "architectures", json_array());
    const Family *f = m->family;
    json_object_set_new(c, "model_type", json_string(f->name));
    json_object_set_new(c, "vocab_size", json_integer(s->vocab));
    json_object_set_new(c, "hidden_size", json_integer(s->hidden_size));
    json_object_set_new(c, config_key(f, "intermediate_size"), json_integer(l->ffn_dim));
    json_object_set_new(c, "num_hidden_layers", json_integer(s->n_layers));
    json_object_set_new(c, "num_attention_heads", json_integer(l->n_heads));
    json_object_set_new(c, config_key(f, "num_key_value_heads"), json_integer(l->n_kv_heads));
    json_object_set_new(c, "head_dim", json_integer(l->head_dim));
    json_object_set_new(c, config_key(f, "hidden_act"), json_string(activation_info(l->activation)->hf[0]));
    json_object_set_new(c, "max_position_embeddings", json_integer(s->context));
    json_object_set_new(c, config_key(f, s->norm == NORM_LAYER ? "layer_norm_eps" : "rms_norm_eps"),
                        json_real(shortest_double((float)s->norm_eps)));
    json_object_set_new(c, "attention_bias", json_boolean(l->q_bias || l->o_bias));
    json_object_set_new(c, "mlp_bias", json_boolean(l->mlp_bias));
    json_object_set_new(c, "tie_word_embeddings", json_boolean(s->tied_head));
    tokenizer_ids_to_config(m->source, c);
    json_object_set_new(c, "use_cache", json_true());
    return c;
}

static const char *torch_dtype(const Checkpoint *c) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        if (t->rank == 2)
            return t->dtype == DTYPE_BF16 ? "bfloat16" : t->dtype == DTYPE_F16 ? "float16" : "float32";
    }
    return "float32";
}

/* True if a matrix is written in another type than it was read in. */
static bool was_cast(const Checkpoint *c) {
    for (size_t i = 0; i < c->n_tensors; i++)
        if (c->tensors[i].rank == 2 && c->tensors[i].dtype != c->tensors[i].storage_dtype) return true;
    return false;
}

/* What the source says of its type, right or wrong, holds until the matrices are of another. */
static void state_dtype(const Export *x, json_t *config) {
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype", *now = torch_dtype(x->out);
    bool anew = !x->m->config || x->m->config_only;
    if (anew || was_cast(x->out) || strcmp(now, torch_dtype(x->m->source)) != 0)
        json_object_set_new(config, key, json_string(now));
}

static void state_context(const Model *m, json_t *config, const char *key) {
    const json_t *there = json_object_get(config, key);
    if (m->new_context && json_integer_value(there) != (json_int_t)m->new_context)
        json_object_set_new(config, key, json_integer((json_int_t)m->new_context));
}

static void set_json_file(Checkpoint *out, const char *name, const json_t *value) {
    Buffer text = {0};
    json_print(value, 2, &text);
    buffer_byte(&text, '\n');
    checkpoint_set_file(out, name, text.data, text.size);
    buffer_free(&text);
}

/* Verbatim bytes where nothing changed, so that a person's diff shows only what did. */
static void set_if_changed(Export *x, const char *name, const json_t *before, const json_t *after) {
    const SideFile *there = checkpoint_file(x->out, name);
    if (!there || !before || !json_equal((json_t *)before, (json_t *)after))
        set_json_file(x->out, name, after);
}

static void write_config(Export *x) {
    Model *m = x->m;
    json_t *config = m->config ? json_deep_copy(m->config) : fresh_config(m);
    x->carrier->write_hf(m, config);
    json_object_del(config, "auto_map");
    if (m->view && !x->packed) json_object_del(config, "quantization_config");
    state_context(m, config, "max_position_embeddings");
    state_dtype(x, config);
    set_if_changed(x, CONFIG_FILE, m->config, config);
    json_decref(config);
}

/* ---- side files ---- */

static bool is_code(const char *name) {
    return text_ends_with(name, ".py");
}

static bool ours(const char *name) {
    return strcmp(name, MANIFEST_FILE) == 0;
}

/* tokenizer_config.json: the context length it states, and custom code. */
static bool patch_tokenizer_config(Export *x) {
    json_t *before = checkpoint_json(x->out, TOKENIZER_CONFIG_FILE, x->e);
    if (!before) return x->e->code == ERR_NONE;
    json_t *after = json_deep_copy(before);
    if (json_object_del(after, "auto_map") == 0 && checkpoint_file(x->out, TOKENIZER_FILE))
        json_object_set_new(after, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    state_context(x->m, after, "model_max_length");
    set_if_changed(x, TOKENIZER_CONFIG_FILE, before, after);
    json_decref(before);
    json_decref(after);
    return true;
}

static void copy_side_files(Export *x) {
    const Checkpoint *c = x->m->source;
    for (size_t i = 0; i < c->n_files; i++) {
        if (is_code(c->files[i].name))
            model_notice(x->m, "%s is left out: stock runtimes need no code", c->files[i].name);
        else if (!text_is_utf8(c->files[i].name, strlen(c->files[i].name)))
            model_notice(x->m, "file %zu of the source is left out: its name is not UTF-8", i + 1);
        else if (!ours(c->files[i].name))
            checkpoint_add_file(x->out, c->files[i].name, c->files[i].bytes, c->files[i].size);
    }
}

/* A plain name beside the weights, and none of theirs: a key's name is whatever its file says. */
static bool may_be_restored(const char *name) {
    return *name && *name != '.' && !strchr(name, '/') && !is_code(name) && !ours(name) &&
           !hf_is_weights(name);
}

/* Files that travelled in a GGUF's keys. */
static void restore_side_files(Export *x) {
    const Checkpoint *c = x->m->source;
    size_t n, prefix = strlen(DEROPE_FILE_PREFIX);
    const char *config = meta_string(c, DEROPE_CONFIG, &n);
    if (config) checkpoint_set_file(x->out, CONFIG_FILE, config, n);
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        const char *name = m->key + prefix;
        if (strncmp(m->key, DEROPE_FILE_PREFIX, prefix) != 0 || !may_be_restored(name)) continue;
        if (m->type == META_STRING)
            checkpoint_add_file(x->out, name, m->bytes + sizeof(uint64_t), m->size - sizeof(uint64_t));
        else if (m->type == META_ARRAY && m->elem_type == META_U8)
            checkpoint_add_file(x->out, name, m->bytes, m->size);
    }
}

/* What a conversion of the tokenizer has to know about the model. */
static ConversionTarget tokenizer_target(const Export *x) {
    const Model *m = x->m;
    return (ConversionTarget){.vocab_size = m->spec.vocab,
                              .context = m->new_context ? m->new_context : m->spec.context,
                              .config = m->config,
                              .notices = m->notices};
}

static bool finish_hf(Export *x) {
    const Checkpoint *c = x->m->source;
    if (c->format == FORMAT_GGUF) {
        size_t n;
        restore_side_files(x);
        const char *text = meta_string(c, DEROPE_ST_METADATA, &n);
        if (text && !(x->out->st_metadata = json_parse(DEROPE_ST_METADATA, text, n, x->e))) return false;
        bool has = checkpoint_file(x->out, TOKENIZER_FILE) || checkpoint_file(x->out, SENTENCEPIECE_FILE);
        ConversionTarget to = tokenizer_target(x);
        if (!has && !tokenizer_from_gguf(c, &to, x->out, x->e)) return false;
        if (!meta_find(c, DEROPE_CONFIG)) gguf_keys_keep(c, x->out); /* else it was a folder before */
    } else {
        copy_side_files(x);
        x->out->st_metadata = json_incref(c->st_metadata);
    }
    write_config(x);
    return patch_tokenizer_config(x);
}

/* ---- GGUF metadata ---- */

static bool is_of_arch(const char *key, const char *arch) {
    size_t n = strlen(arch);
    return strncmp(key, arch, n) == 0 && key[n] == '.';
}

/* The source's keys in their order, <old arch>.* renamed; those it had under the new name are dropped. */
static void copy_meta(Export *x, const char *arch) {
    const Checkpoint *c = x->m->source;
    const char *old = meta_string(c, "general.architecture", NULL);
    bool same = strcmp(old, arch) == 0;
    for (size_t i = 0; i < c->n_meta; i++) {
        MetaEntry m = c->meta[i];
        if (strcmp(m.key, MANIFEST_KEY) == 0 || strcmp(m.key, DEROPE_DTYPES) == 0) continue;
        if (!same && is_of_arch(m.key, arch)) continue;
        if (!same && is_of_arch(m.key, old))
            m.key = arena_printf(&x->out->arena, "%s%.200s", arch, m.key + strlen(old));
        meta_append(x->out, &m);
    }
    if (!same) meta_set_string(x->out, "general.architecture", arch, strlen(arch));
}

static void set_number(Checkpoint *out, const char *arch, const char *suffix, uint64_t v) {
    char key[128];
    uint64_t there;
    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    if (!meta_u64(out, key, &there) || there != v) meta_set_u32(out, key, (uint32_t)v);
}

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
    set_number(x->out, arch, "attention.head_count", l->n_heads);
    set_number(x->out, arch, "attention.head_count_kv", l->n_kv_heads);
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

/* llama.cpp's file type number, which it only prints. */
static uint32_t file_type(const Checkpoint *c) {
    static const struct {
        DType dtype;
        uint32_t type;
    } types[] = {{DTYPE_F32, 0},     {DTYPE_F16, 1},     {DTYPE_Q4_0, 2},  {DTYPE_Q4_1, 3},
                 {DTYPE_Q8_0, 7},    {DTYPE_Q5_0, 8},    {DTYPE_Q5_1, 9},  {DTYPE_Q2_K, 10},
                 {DTYPE_Q3_K, 11},   {DTYPE_Q4_K, 14},   {DTYPE_Q5_K, 16}, {DTYPE_Q6_K, 18},
                 {DTYPE_IQ4_NL, 25}, {DTYPE_IQ4_XS, 30}, {DTYPE_BF16, 32}};
    for (size_t i = 0; i < c->n_tensors; i++)
        for (size_t j = 0; c->tensors[i].rank == 2 && j < sizeof types / sizeof *types; j++)
            if (c->tensors[i].dtype == types[j].dtype) return types[j].type;
    return 0;
}

/* The last part of the source's path: all the name that a folder has. */
static void set_name(Checkpoint *out, const char *path) {
    char whole[PATH_MAX];
    const char *name = realpath(path, whole) ? strrchr(whole, '/') + 1 : path;
    json_t *text = json_text(name);
    meta_set_string(out, "general.name", json_string_value(text), json_string_length(text));
    json_decref(text);
}

static void embed_json(Export *x, const char *key, const json_t *value) {
    if (json_object_size(value) == 0) return;
    Buffer text = {0};
    json_print(value, 0, &text);
    meta_set_string(x->out, key, (const char *)text.data, text.size);
    buffer_free(&text);
}

/* Text can be a string: the gguf package makes an object of every element of an array, and a tokenizer.json
 * has millions of bytes. */
static void set_file_key(Checkpoint *out, const char *key, const SideFile *f) {
    bool plain = f->size && !memchr(f->bytes, 0, f->size);
    json_t *text = plain ? json_stringn((const char *)f->bytes, f->size) : NULL; /* NULL: not UTF-8 */
    if (text)
        meta_set_string(out, key, (const char *)f->bytes, f->size);
    else
        meta_set_array(out, key, META_U8, f->bytes, f->size);
    json_decref(text);
}

/* The configuration an HF output of the same model would have: it makes the way back exact. */
static bool embed_config(Export *x) {
    ExportOptions o = {.format = FORMAT_HF, .plain = true};
    Error reason = {0};
    Checkpoint *hf = model_export(x->m, &o, NULL, &reason);
    if (!hf) {
        model_notice(x->m, "no config.json travels in this GGUF: %s", reason.message);
        meta_remove(x->out, DEROPE_CONFIG); /* the source's is no longer true */
        return true;
    }
    /* It would ask for attention sinks that are not here, or for fewer key/value heads than are; the GGUF's
     * own keys say all that it does. */
    char name[128], here[128];
    model_tensor_name(x->m, ROLE_SINKS, 0, FORMAT_HF, name);
    model_tensor_name(x->m, ROLE_SINKS, 0, FORMAT_GGUF, here);
    const LayerSpec *l = &x->m->spec.layers[0];
    bool asks_more = (checkpoint_find(hf, name) && !checkpoint_find(x->out, here)) ||
                     (x->carrier->repeats_kv && l->n_kv_heads != l->n_heads);
    if (asks_more) meta_remove(x->out, DEROPE_CONFIG);
    for (size_t i = 0; i < hf->n_files; i++) {
        const SideFile *f = &hf->files[i];
        char key[300];
        snprintf(key, sizeof key, DEROPE_FILE_PREFIX "%.250s", f->name);
        if (strcmp(f->name, CONFIG_FILE) != 0)
            set_file_key(x->out, key, f);
        else if (!asks_more)
            meta_set_string(x->out, DEROPE_CONFIG, (const char *)f->bytes, f->size);
    }
    checkpoint_close(hf);
    return true;
}

static bool finish_gguf(Export *x) {
    const Checkpoint *c = x->m->source;
    const char *arch = carrier_arch(x->carrier, x->m);
    bool from_gguf = c->format == FORMAT_GGUF;
    x->out->alignment = c->alignment;
    if (from_gguf) {
        copy_meta(x, arch);
        set_common_meta(x, arch);
    } else {
        meta_set_string(x->out, "general.architecture", arch, strlen(arch));
        if (!gguf_keys_return(c, arch, x->out, x->e)) return false;
        if (!meta_find(x->out, "general.type")) meta_set_string(x->out, "general.type", "model", 5);
        if (!meta_find(x->out, "general.name")) set_name(x->out, c->path);
        set_common_meta(x, arch);
    }
    x->carrier->write_gguf(x->m, x->out);
    if (x->carrier->notice && x->carrier->notice(x->m)) model_notice(x->m, "%s", x->carrier->notice(x->m));
    if (!from_gguf || was_cast(x->out)) {
        meta_set_u32(x->out, "general.file_type", file_type(x->out));
        meta_set_u32(x->out, "general.quantization_version", 2);
    }
    if (!from_gguf && !meta_find(x->out, "tokenizer.ggml.model")) {
        ConversionTarget to = tokenizer_target(x);
        if (!tokenizer_to_gguf(c, &to, x->out, x->e)) return false;
    }
    if (!from_gguf || meta_find(c, DEROPE_CONFIG)) {
        if (!embed_config(x)) return false;
    }
    embed_json(x, DEROPE_DTYPES, x->dtypes);
    embed_json(x, DEROPE_TENSORS, x->carried);
    if (!from_gguf && c->st_metadata) embed_json(x, DEROPE_ST_METADATA, c->st_metadata);
    return true;
}

/* ---- the whole ---- */

static bool refuse_quantized(const Model *m, const ExportOptions *o, Error *e) {
    if (!m->quantized_config || (o->format == FORMAT_HF && !o->has_dtype)) return true;
    return error_set(
        e, ERR_INPUT,
        "%s: has a quantization_config (%s); its weights can be carried within HF, not converted (dequantise "
        "it first)",
        m->source->path, quantized_kind(m));
}

Checkpoint *model_export(Model *m, const ExportOptions *o, const Carrier **carrier, Error *e) {
    Error reason = {0};
    if (!e) e = &reason;
    const Carrier *c = carrier_pick(m, o->format, o->carrier, NULL, e);
    if (!c || !refuse_quantized(m, o, e)) return NULL;
    if (carrier) *carrier = c;
    if (o->has_dtype && !model_cast(m, o->dtype, e)) return NULL;
    Export x = {.m = m, .carrier = c, .out = checkpoint_new(o->format), .e = e};
    x.dtypes = json_object();
    x.carried = json_object();
    x.out->path = m->source->path;
    x.packed = export_keeps_packed(&x, o);
    bool ok = export_check_scale(&x) && export_tensors(&x) &&
              (o->format == FORMAT_GGUF ? finish_gguf(&x) : finish_hf(&x));
    json_decref(x.dtypes);
    json_decref(x.carried);
    if (ok) return x.out;
    checkpoint_close(x.out);
    return NULL;
}
