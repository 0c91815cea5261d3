/* The files of an HF output beside its weights: config.json, tokenizer files and whatever else the source's
 * folder had. export.c calls export_hf for a folder; export_gguf.c calls export_hf_files to embed the same
 * files into a GGUF. A source that is a folder keeps its files byte for byte wherever nothing changed; a
 * source that is a GGUF has them in keys, or they are made from its keys. */
#include "surgery/export_hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/floats.h"
#include "formats/hf_folder.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/text.h"
#include "surgery/config_read.h"
#include "surgery/derope_keys.h"
#include "surgery/gguf_keys.h"
#include "surgery/model_facts.h"
#include "surgery/notices.h"
#include "surgery/special_ids.h"
#include "surgery/tokenizer/gguf_to_hf.h"
#include "surgery/tokenizer/hf_tokenizer.h"

/* ---- config.json ---- */

/* The settings that every family shares, for sources that have no config.json (plain GGUFs). The carrier adds
 * its class and what is particular. */
static json_t *fresh_config(const Model *m) {
    const ModelSpec *s = &m->spec;
    const LayerSpec *l = &s->layers[0];
    json_t *c = json_object();
    /* Class and vocabulary; the carrier replaces the first two. */
    json_object_set_new(c, "architectures", json_array());
    const Family *f = m->family;
    json_object_set_new(c, "model_type", json_string(f->name));
    json_object_set_new(c, "vocab_size", json_integer(s->vocab));
    json_object_set_new(c, "hidden_size", json_integer(s->hidden_size));
    json_object_set_new(c, config_key(f, "intermediate_size"), json_integer(l->ffn_dim));
    /* Layers and attention. */
    json_object_set_new(c, "num_hidden_layers", json_integer(s->n_layers));
    json_object_set_new(c, "num_attention_heads", json_integer(l->n_heads));
    json_object_set_new(c, config_key(f, "num_key_value_heads"), json_integer(l->n_kv_heads));
    json_object_set_new(c, "head_dim", json_integer(l->head_dim));
    json_object_set_new(c, config_key(f, "hidden_act"), json_string(activation_info(l->activation)->hf[0]));
    /* Context and norms. */
    json_object_set_new(c, "max_position_embeddings", json_integer(s->context));
    json_object_set_new(c, config_key(f, s->norm == NORM_LAYER ? "layer_norm_eps" : "rms_norm_eps"),
                        json_real(float_shortest((float)s->norm_eps)));
    /* Biases and tying. Classes without these keys ignore them. */
    json_object_set_new(c, "attention_bias", json_boolean(l->q_bias || l->o_bias));
    json_object_set_new(c, "mlp_bias", json_boolean(l->mlp_bias));
    json_object_set_new(c, "tie_word_embeddings", json_boolean(s->tied_head));
    tokenizer_ids_to_config(m->source, c);
    json_object_set_new(c, "use_cache", json_true());
    return c;
}

/* torch's name for the type of the matrices. */
static const char *torch_dtype(MatrixTypes t) {
    return t.first == DTYPE_BF16 ? "bfloat16" : t.first == DTYPE_F16 ? "float16" : "float32";
}

/* "torch_dtype" ("dtype" in newer configurations): the type in which transformers loads the weights. What the
 * source states is kept, even if it is wrong, as long as no matrix changes its type. */
static void state_dtype(const HfFilesRequest *r, json_t *config) {
    /* transformers 5 writes "dtype", transformers 4 "torch_dtype"; the file's own name for it is kept. */
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype",
               *now = torch_dtype(r->matrices), *before = torch_dtype(matrix_types(r->m->source));
    bool fresh = !r->m->config || r->m->config_only;
    if (fresh || r->matrices.cast || strcmp(now, before) != 0)
        json_object_set_new(config, key, json_string(now));
}

/* tie_word_embeddings, where the configuration says otherwise than the tensors (model_bind.c). An absent key
 * stands for the family's default. */
static void state_tied_head(const Model *m, json_t *config) {
    bool says = m->family->model.tied_head;
    json_get_bool(config, "tie_word_embeddings", &says);
    if (says != m->spec.tied_head)
        json_object_set_new(config, "tie_word_embeddings", json_boolean(m->spec.tied_head));
}

/* The context length that set_context asked for, under the name that it has in this file. */
static void state_context(const Model *m, json_t *config, const char *key) {
    const json_t *there = json_object_get(config, key);
    if (m->new_context && json_integer_value(there) != (json_int_t)m->new_context)
        json_object_set_new(config, key, json_integer((json_int_t)m->new_context));
}

/* Writes a JSON value as transformers does: indented by two spaces, with a line break at the end. */
static void set_json_file(Checkpoint *to, const char *name, const json_t *value) {
    Buffer text = {0};
    json_print(value, 2, &text);
    buffer_byte(&text, '\n');
    checkpoint_set_file(to, name, text.data, text.size);
    buffer_free(&text);
}

/* A file whose content is still `before` keeps its bytes, layout and all, so that a diff of the two folders
 * shows nothing but what changed. */
static void set_if_changed(Checkpoint *to, const char *name, const json_t *before, const json_t *after) {
    const SideFile *there = checkpoint_file(to, name);
    if (!there || !before || !json_equal((json_t *)before, (json_t *)after)) set_json_file(to, name, after);
}

/* config.json: the source's with the changes that the carrier makes, or a new one. A quantization_config goes
 * when the weights were dequantised. */
static void write_config(const HfFilesRequest *r, Checkpoint *to) {
    const Model *m = r->m;
    json_t *config = m->config ? json_deep_copy(m->config) : fresh_config(m);
    r->carrier->write_hf(m, config);
    json_object_del(config, "auto_map"); /* custom code, which is left out */
    if (m->view && !r->keeps_packed) json_object_del(config, "quantization_config");
    state_tied_head(m, config);
    /* Context and type are stated last, so that a carrier need not care for them. */
    state_context(m, config, "max_position_embeddings");
    state_dtype(r, config);
    special_ids_limit_config(config, CONFIG_FILE, m->spec.vocab, r->notices);
    set_if_changed(to, CONFIG_FILE, m->config_amended ? NULL : m->config, config);
    json_decref(config);
}

/* generation_config.json pads with an id as well, which has to be in the vocabulary. A file that is no JSON
 * is copied like any other. */
static void patch_generation_config(const HfFilesRequest *r, Checkpoint *to) {
    json_t *before = checkpoint_json(to, GENERATION_CONFIG_FILE, &(Error){0});
    json_t *after = json_deep_copy(before);
    if (!before) return;
    special_ids_limit_config(after, GENERATION_CONFIG_FILE, r->m->spec.vocab, r->notices);
    set_if_changed(to, GENERATION_CONFIG_FILE, before, after);
    json_decref(before);
    json_decref(after);
}

/* tokenizer_config.json states the context length as model_max_length, and may name a tokenizer class of the
 * author's own code (auto_map). That code is left out, so the class becomes the general one that reads
 * tokenizer.json. */
static bool patch_tokenizer_config(const Model *m, Checkpoint *to, Error *e) {
    json_t *before = checkpoint_json(to, TOKENIZER_CONFIG_FILE, e);
    if (!before) return e->code == ERR_NONE; /* there is no such file */
    /* The file is only written again if something changed in it. */
    json_t *after = json_deep_copy(before);
    if (json_object_del(after, "auto_map") == 0 && checkpoint_file(to, TOKENIZER_FILE))
        json_object_set_new(after, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    state_context(m, after, "model_max_length");
    set_if_changed(to, TOKENIZER_CONFIG_FILE, before, after);
    json_decref(before);
    json_decref(after);
    return true;
}

/* ---- side files ---- */

/* Python files, which transformers runs with trust_remote_code. */
static bool is_code(const char *name) {
    return text_ends_with(name, ".py");
}

/* The manifest of the source, which the output replaces by its own. */
static bool is_manifest(const char *name) {
    return strcmp(name, MANIFEST_FILE) == 0;
}

/* From an HF folder: all files except code, which stock runtimes do not need, and the manifest. Names that
 * are not UTF-8 could not be written into a manifest. */
static void copy_side_files(const HfFilesRequest *r, Checkpoint *to) {
    const Checkpoint *c = r->m->source;
    for (size_t i = 0; i < c->n_files; i++) {
        const SideFile *f = &c->files[i];
        if (is_code(f->name))
            notice_add(r->notices, "%s is left out: stock runtimes need no code", f->name);
        else if (!text_is_utf8(f->name, strlen(f->name)))
            notice_add(r->notices, "file %zu of the source is left out: its name is not UTF-8", i + 1);
        else if (!is_manifest(f->name))
            checkpoint_add_file(to, f->name, f->bytes, f->size);
    }
}

/* Whether a side file that travelled in a GGUF may be written under its name. The name of a key is whatever
 * its file says, so it must not lead out of the folder, be hidden, be code, or replace the weights. */
static bool may_be_restored(const char *name) {
    return hf_side_file_name(name) && !is_code(name) && !is_manifest(name) && !hf_is_weights(name);
}

/* Order of pointers to entries by key, for qsort. */
static int by_key(const void *a, const void *b) {
    return strcmp((*(const MetaEntry *const *)a)->key, (*(const MetaEntry *const *)b)->key);
}

/* From a GGUF of ours: the files that travelled in keys (DEROPE_FILE_PREFIX), as text or as bytes. They are
 * added in the order of their names, because each is then the last one of the sorted list. */
static void restore_side_files(const Checkpoint *c, Checkpoint *to) {
    size_t size, n = 0, prefix = strlen(DEROPE_FILE_PREFIX);
    const char *config = meta_string(c, DEROPE_CONFIG, &size);
    if (config) checkpoint_set_file(to, CONFIG_FILE, config, size);
    const MetaEntry **files = xcalloc(c->n_meta, sizeof *files);
    for (size_t i = 0; i < c->n_meta; i++)
        if (strncmp(c->meta[i].key, DEROPE_FILE_PREFIX, prefix) == 0) files[n++] = &c->meta[i];
    qsort(files, n, sizeof *files, by_key);
    for (size_t i = 0; i < n; i++) {
        const MetaEntry *m = files[i];
        const char *name = m->key + prefix;
        if (!may_be_restored(name)) continue;
        if (m->type == META_STRING)
            checkpoint_add_file(to, name, m->bytes + sizeof(uint64_t), m->size - sizeof(uint64_t));
        else if (m->type == META_ARRAY && m->elem_type == META_U8)
            checkpoint_add_file(to, name, m->bytes, m->size);
    }
    free(files);
}

/* What the conversion of a tokenizer needs to know about the output. */
ConversionTarget export_tokenizer_target(const Model *m, json_t *notices) {
    return (ConversionTarget){.vocab_size = m->spec.vocab,
                              .context = m->new_context ? m->new_context : m->spec.context,
                              .config = m->config,
                              .notices = notices};
}

/* config.json is written after the source's files are there, because set_if_changed compares with them. */
bool export_hf_files(const HfFilesRequest *r, Checkpoint *to, Error *e) {
    const Checkpoint *c = r->m->source;
    if (c->format == FORMAT_GGUF) {
        restore_side_files(c, to);
        /* A GGUF that was never a folder has its tokenizer in keys alone, and keys that no file has a place
         * for. */
        bool has = hf_tokenizer_is_there(to) || checkpoint_file(to, SENTENCEPIECE_FILE);
        ConversionTarget target = export_tokenizer_target(r->m, r->notices);
        if (!has && !tokenizer_from_gguf(c, &target, to, e)) return false;
        if (!meta_find(c, DEROPE_CONFIG)) {
            gguf_keys_keep(c, to);
            model_facts_to_folder(c, r->m->spec.vocab, to);
        }
    } else {
        copy_side_files(r, to);
    }
    write_config(r, to);
    patch_generation_config(r, to);
    return patch_tokenizer_config(r->m, to, e);
}

/* safetensors' __metadata__: the source's own, or what a GGUF of ours kept of it. */
static bool set_st_metadata(Export *x) {
    const Checkpoint *c = x->m->source;
    size_t n;
    const char *text = c->format == FORMAT_GGUF ? meta_string(c, DEROPE_ST_METADATA, &n) : NULL;
    if (c->format != FORMAT_GGUF) x->out->st_metadata = json_incref(c->st_metadata);
    if (text) x->out->st_metadata = json_parse(DEROPE_ST_METADATA, text, n, x->e);
    return !text || x->out->st_metadata;
}

/* The types of the matrices are those of the finished output, so this runs after all tensors were added. */
bool export_hf(Export *x) {
    HfFilesRequest r = {.m = x->m,
                        .carrier = x->carrier,
                        .matrices = matrix_types(x->out),
                        .keeps_packed = x->keeps_packed,
                        .notices = x->report->notices};
    return set_st_metadata(x) && export_hf_files(&r, x->out, x->e);
}
