/* A model turned into a checkpoint of either format: names, layout, configuration, what travels along. */
#include <math.h>

#include "formats/floats.h"
#include "formats/gguf_write.h"
#include "formats/hf_write.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/carriers/carriers.h"
#include "surgery/cast.h"
#include "surgery/derope_keys.h"
#include "surgery/export.h"
#include "surgery/gguf_keys.h"
#include "surgery/model_open.h"
#include "surgery/passes/passes.h"
#include "tests/tiny_model.h"

/* A model, and what became of it. */
typedef struct Case {
    Checkpoint *source, *out;
    Model *m;
    ExportReport report;
    json_t *config; /* HF */
} Case;

static Case begin(const char *path) {
    Error e = {0};
    Case c = {.source = opened(path)};
    c.m = model_open(c.source, &e);
    if (!c.m) fail_msg("%s", e.message);
    return c;
}

static void apply(Case *c, const char *pass, const char *args) {
    Error e = {0};
    json_t *o = json_parse("args", args, strlen(args), &e);
    if (!o || !pass_apply(c->m, pass, o, &e)) fail_msg("%s", e.message);
    json_decref(o);
}

static void export_with(Case *c, Format format, const char *carrier) {
    Error e = {0};
    ExportOptions o = {.format = format, .carrier = carrier};
    c->out = model_export(c->m, &o, &c->report, &e);
    if (!c->out) fail_msg("%s", e.message);
    if (format == FORMAT_HF) c->config = checkpoint_json(c->out, "config.json", &e);
}

static Case exported(const char *path, Format format, const char *pass, const char *args) {
    Case c = begin(path);
    if (pass) apply(&c, pass, args);
    export_with(&c, format, NULL);
    return c;
}

static void end(Case *c) {
    json_decref(c->config);
    checkpoint_close(c->out);
    export_report_free(&c->report);
    model_close(c->m);
    checkpoint_close(c->source);
}

static void assert_member(const Case *c, const char *key, const char *json) {
    Buffer text = {0};
    const json_t *v = json_object_get(c->config, key);
    if (!v) fail_msg("config.json has no %s", key);
    json_print(v, 0, &text);
    assert_string_equal(buffer_string(&text), json);
    buffer_free(&text);
}

static void assert_real(const Checkpoint *c, const char *key, double value) {
    double v;
    if (!meta_f64(c, key, &v)) fail_msg("no key %s", key);
    assert_true(fabs(v - value) <= 1e-6 * fabs(value));
}

static void assert_whole(const Checkpoint *c, const char *key, uint64_t value) {
    uint64_t v;
    if (!meta_u64(c, key, &v)) fail_msg("no key %s", key);
    assert_int_equal(v, value);
}

static void assert_status(const Checkpoint *c, const char *name, TensorStatus status) {
    const Tensor *t = checkpoint_find(c, name);
    if (!t) fail_msg("no tensor %s", name);
    assert_string_equal(tensor_status_name(tensor_status(t)), tensor_status_name(status));
}

static float *values(const Checkpoint *c, const char *name) {
    Error e = {0};
    const Tensor *t = checkpoint_find(c, name);
    if (!t) fail_msg("no tensor %s", name);
    float *v = xmalloc(tensor_elems(t) * sizeof *v);
    Tensor served = *t; /* through its own type, as it would be written */
    size_t n = tensor_bytes(t);
    void *bytes = xmalloc(n);
    assert_true(tensor_read_rows(&served, 0, t->n_rows, bytes, &e));
    dtype_info(t->dtype)->decode(bytes, tensor_elems(t), v);
    free(bytes);
    return v;
}

/* ---- HF ---- */

static void plain_is_untouched(void **state) {
    (void)state;
    Case c = exported(tiny_folder("plain"), FORMAT_HF, NULL, NULL);
    assert_int_equal(c.out->n_tensors, c.source->n_tensors);
    for (size_t i = 0; i < c.out->n_tensors; i++)
        assert_status(c.out, c.source->tensors[i].name, TENSOR_UNTOUCHED);
    const SideFile *f = checkpoint_file(c.out, "config.json");
    assert_int_equal(f->size, strlen(tiny_config));
    assert_memory_equal(f->bytes, tiny_config, f->size);
    end(&c);
}

static void dropped_everywhere_is_smollm3(void **state) {
    (void)state;
    Case c = exported(tiny_folder("all"), FORMAT_HF, "drop_rope", "{\"layers\": \"all\"}");
    assert_member(&c, "model_type", "\"smollm3\"");
    assert_member(&c, "architectures", "[\"SmolLM3ForCausalLM\"]");
    assert_member(&c, "no_rope_layers", "[0, 0, 0, 0]");
    assert_member(&c, "use_sliding_window", "false");
    assert_member(&c, "sliding_window", "null");
    assert_member(&c, "pad_token_id", "null"); /* its default lies outside small vocabularies */
    assert_member(&c, "bos_token_id", "1");
    assert_member(&c, "rope_theta", "5000.0");
    assert_member(&c, "attention_bias", "false");
    for (size_t i = 0; i < c.out->n_tensors; i++)
        assert_status(c.out, c.out->tensors[i].name, TENSOR_UNTOUCHED);
    end(&c);
}

static void mixture_states_every_layer(void **state) {
    (void)state;
    Case c = begin(tiny_folder("mixed"));
    apply(&c, "drop_rope", "{\"layers\": \"2-3\"}");
    apply(&c, "sliding_window", "{\"size\": 8, \"layers\": \"0-1\"}");
    export_with(&c, FORMAT_HF, NULL);
    assert_member(&c, "no_rope_layers", "[1, 1, 0, 0]");
    assert_member(&c, "layer_types",
                  "[\"sliding_attention\", \"sliding_attention\", \"full_attention\", \"full_attention\"]");
    assert_member(&c, "sliding_window", "8");
    assert_member(&c, "use_sliding_window", "true");
    end(&c);
}

static void biases_get_a_zero_companion(void **state) {
    (void)state;
    Case c = begin(
        tiny_write(tiny_checkpoint(
                       "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", "
                       "\"hidden_size\": 16, \"intermediate_size\": 24, \"num_hidden_layers\": 4, "
                       "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 40, "
                       "\"max_position_embeddings\": 64, \"rope_theta\": 1e6, \"tie_word_embeddings\": true}",
                       true),
                   "biased"));
    apply(&c, "drop_rope", "{\"layers\": \"all\"}");
    export_with(&c, FORMAT_HF, NULL);
    assert_member(&c, "attention_bias", "true");
    assert_status(c.out, "model.layers.3.self_attn.o_proj.bias", TENSOR_NEW);
    assert_status(c.out, "model.layers.3.self_attn.q_proj.bias", TENSOR_UNTOUCHED);
    float *v = values(c.out, "model.layers.3.self_attn.o_proj.bias");
    for (int i = 0; i < TINY_WIDTH; i++)
        assert_true(v[i] == 0);
    free(v);
    end(&c);
}

static void scale_goes_into_q(void **state) {
    (void)state;
    Case c = exported(tiny_folder("scaled"), FORMAT_HF, "scale_attention", "{\"factor\": 1.5}");
    const char *q = "model.layers.1.self_attn.q_proj.weight";
    float *before = values(c.source, q), *after = values(c.out, q);
    for (int i = 0; i < TINY_WIDTH * TINY_WIDTH; i++)
        assert_true(after[i] == bf16_to_f32(f32_to_bf16(before[i] * 1.5f)));
    assert_status(c.out, q, TENSOR_CHANGED);
    assert_status(c.out, "model.layers.1.self_attn.k_proj.weight", TENSOR_UNTOUCHED);
    free(before);
    free(after);
    end(&c);
}

static void custom_code_is_left_out(void **state) {
    (void)state;
    char config[1000];
    snprintf(config, sizeof config, "%.*s, \"auto_map\": {\"AutoModel\": \"modeling_x.X\"}}",
             (int)strlen(tiny_config) - 1, tiny_config);
    memcpy(strstr(config, "LlamaFor"), "LlemaFor", 8);
    static const char tokenizer_config[] =
        "{\"auto_map\": {\"AutoTokenizer\": [\"t.T\", null]}, \"tokenizer_class\": \"T\"}";
    Checkpoint *made = tiny_checkpoint(config, false);
    checkpoint_set_file(made, "modeling_x.py", "print()\n", 8);
    checkpoint_set_file(made, "notes.txt", "kept", 4);
    checkpoint_set_file(made, "tokenizer.json", "{}", 2);
    checkpoint_set_file(made, "tokenizer_config.json", tokenizer_config, strlen(tokenizer_config));
    Case c = exported(tiny_write(made, "custom"), FORMAT_HF, NULL, NULL);
    assert_null(json_object_get(c.config, "auto_map"));
    assert_member(&c, "architectures", "[\"LlamaForCausalLM\"]");
    json_t *tokenizer = checkpoint_json(c.out, "tokenizer_config.json", NULL);
    assert_null(json_object_get(tokenizer, "auto_map"));
    assert_string_equal(json_get_string(tokenizer, "tokenizer_class"), "PreTrainedTokenizerFast");
    json_decref(tokenizer);
    assert_null(checkpoint_file(c.out, "modeling_x.py"));
    assert_non_null(checkpoint_file(c.out, "notes.txt"));
    assert_string_equal(json_string_value(json_array_get(c.report.notices, 0)),
                        "modeling_x.py is left out: stock runtimes need no code");
    end(&c);
}

/* DroPE's own checkpoints, which need remote code, become what needs none. */
static void dropes_own_checkpoints_become_stock(void **state) {
    (void)state;
    char config[1000];
    const char *kind = strstr(tiny_config, "\"model_type\": \"llama\",");
    snprintf(config, sizeof config,
             "{\"architectures\": [\"DroPELlamaForCausalLM\"], \"auto_map\": {\"AutoConfig\": \"x.Y\"}, "
             "\"attention_type\": \"nope\", \"softmax_scale\": 0.75, \"model_type\": \"llama_drope\", %s",
             kind + strlen("\"model_type\": \"llama\","));
    Case c = exported(tiny_write(tiny_checkpoint(config, false), "drope"), FORMAT_HF, NULL, NULL);
    assert_member(&c, "model_type", "\"smollm3\"");
    assert_member(&c, "architectures", "[\"SmolLM3ForCausalLM\"]");
    assert_member(&c, "no_rope_layers", "[0, 0, 0, 0]");
    assert_null(json_object_get(c.config, "softmax_scale"));
    assert_null(json_object_get(c.config, "attention_type"));
    assert_null(json_object_get(c.config, "auto_map"));
    const char *q = "model.layers.1.self_attn.q_proj.weight";
    float *before = values(c.source, q), *after = values(c.out, q);
    for (int i = 0; i < TINY_WIDTH * TINY_WIDTH; i++) /* 0.75 where 1/sqrt(4) would be */
        assert_true(after[i] == bf16_to_f32(f32_to_bf16(before[i] * 1.5f)));
    free(before);
    free(after);
    end(&c);
    c = exported(scratch_path("drope"), FORMAT_GGUF, NULL, NULL);
    assert_string_equal(meta_string(c.out, "general.architecture", NULL), "granite");
    assert_real(c.out, "granite.attention.scale", 0.75);
    end(&c);
    c = begin(scratch_path("drope"));
    export_with(&c, FORMAT_HF, "linear-1e30");
    assert_member(&c, "model_type", "\"llama\"");
    assert_member(&c, "architectures", "[\"LlamaForCausalLM\"]");
    assert_null(json_object_get(c.config, "softmax_scale"));
    end(&c);
    char *type = strstr(config, "\"nope\"");
    memcpy(type, "\"rope\"", 6);
    Checkpoint *source = opened(tiny_write(tiny_checkpoint(config, false), "drope"));
    Error e = {0};
    assert_null(model_open(source, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.message, "config.json: attention_type 'rope' is not one of nope, qk_norm_nope"));
    checkpoint_close(source);
}

static void context_follows_set_context(void **state) {
    (void)state;
    Checkpoint *made = tiny_checkpoint(tiny_config, false);
    const char text[] = "{\"model_max_length\": 64, \"x\": 1}";
    checkpoint_set_file(made, "tokenizer_config.json", text, strlen(text));
    const char *path = tiny_write(made, "context");
    Case c = exported(path, FORMAT_HF, "set_context", "{\"tokens\": 512}");
    assert_member(&c, "max_position_embeddings", "512");
    Error e = {0};
    json_t *tokenizer = checkpoint_json(c.out, "tokenizer_config.json", &e);
    assert_int_equal(json_integer_value(json_object_get(tokenizer, "model_max_length")), 512);
    json_decref(tokenizer);
    end(&c);
    c = exported(scratch_path("context"), FORMAT_GGUF, "set_context", "{\"tokens\": 512}");
    assert_whole(c.out, "llama.context_length", 512);
    end(&c);
}

/* ---- GGUF ---- */

/* Writes `c->out` as scratch()/name. */
static const char *write_gguf(Case *c, const char *name) {
    Error e = {0};
    WriteOptions o = {.force = true};
    const char *path = scratch_path(name);
    if (!gguf_write(c->out, path, &o, &e)) fail_msg("%s", e.message);
    return path;
}

static void gguf_names_layout_and_keys(void **state) {
    (void)state;
    Case c = exported(tiny_folder("named"), FORMAT_GGUF, NULL, NULL);
    assert_string_equal(meta_string(c.out, "general.architecture", NULL), "llama");
    assert_whole(c.out, "llama.block_count", 4);
    assert_whole(c.out, "llama.attention.head_count_kv", 2);
    assert_whole(c.out, "llama.rope.dimension_count", TINY_HEAD_DIM);
    assert_whole(c.out, "general.file_type", 32); /* bf16 */
    assert_real(c.out, "llama.rope.freq_base", 5000);
    assert_real(c.out, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    assert_status(c.out, "token_embd.weight", TENSOR_UNTOUCHED);
    assert_status(c.out, "blk.2.attn_norm.weight", TENSOR_WIDENED);
    assert_int_equal(checkpoint_find(c.out, "blk.2.attn_norm.weight")->dtype, DTYPE_F32);
    assert_status(c.out, "blk.2.attn_k.weight", TENSOR_PERMUTED);
    assert_status(c.out, "blk.2.attn_v.weight", TENSOR_UNTOUCHED);
    /* rows of a head of four: 0 1 2 3 become 0 2 1 3 */
    static const int order[] = {0, 2, 1, 3};
    float *hf = values(c.source, "model.layers.2.self_attn.k_proj.weight"),
          *ggml = values(c.out, "blk.2.attn_k.weight");
    for (int row = 0; row < TINY_KV; row++)
        assert_memory_equal(ggml + row * TINY_WIDTH, hf + (row / 4 * 4 + order[row % 4]) * TINY_WIDTH,
                            TINY_WIDTH * sizeof *hf);
    free(hf);
    free(ggml);
    end(&c);
}

static void type_and_name_are_stated(void **state) {
    (void)state;
    tiny_folder("typed");
    Case c = exported(scratch_path("typed/"), FORMAT_GGUF, NULL, NULL);
    assert_string_equal(meta_string(c.out, "general.name", NULL), "typed");
    Case again = begin(write_gguf(&c, "typed.gguf"));
    assert_true(cast_tensors(again.m->tensors, again.m->n_tensors, DTYPE_F16, again.m->notices, NULL));
    export_with(&again, FORMAT_GGUF, NULL);
    assert_whole(again.out, "general.file_type", 1);
    assert_string_equal(meta_string(again.out, "general.name", NULL), "typed");
    end(&again);
    end(&c);
}

static void gguf_without_rotation_is_granite(void **state) {
    (void)state;
    Case c = begin(tiny_folder("granite"));
    apply(&c, "drop_rope", "{\"layers\": \"all\"}");
    apply(&c, "scale_attention", "{\"factor\": 1.5}");
    export_with(&c, FORMAT_GGUF, NULL);
    bool finetuned = true;
    assert_string_equal(meta_string(c.out, "general.architecture", NULL), "granite");
    assert_true(meta_bool(c.out, "granite.rope.scaling.finetuned", &finetuned));
    assert_false(finetuned);
    assert_real(c.out, "granite.attention.scale", 0.75);
    assert_real(c.out, "granite.embedding_scale", 1);
    assert_real(c.out, "granite.residual_scale", 1);
    assert_real(c.out, "granite.logit_scale", 1);
    assert_status(c.out, "blk.0.attn_q.weight", TENSOR_PERMUTED); /* the scale is in the metadata */
    end(&c);
}

static void gguf_mixture_is_granite_swa(void **state) {
    (void)state;
    Case c = begin(tiny_folder("swa"));
    apply(&c, "drop_rope", "{\"layers\": \"2-3\"}");
    apply(&c, "sliding_window", "{\"size\": 8, \"layers\": \"0-1\"}");
    export_with(&c, FORMAT_GGUF, NULL);
    assert_string_equal(meta_string(c.out, "general.architecture", NULL), "granite_swa");
    assert_whole(c.out, "granite_swa.attention.sliding_window", 8);
    static const uint8_t windowed[] = {1, 1, 0, 0};
    static const uint32_t rotates[] = {1, 1, 0, 0};
    const MetaEntry *pattern = meta_find(c.out, "granite_swa.attention.sliding_window_pattern");
    assert_int_equal(pattern->elem_type, META_BOOL);
    assert_memory_equal(pattern->bytes, windowed, sizeof windowed);
    pattern = meta_find(c.out, "granite_swa.attention.rope_pattern");
    assert_int_equal(pattern->elem_type, META_U32);
    assert_memory_equal(pattern->bytes, rotates, sizeof rotates);
    float *sinks = values(c.out, "blk.3.attn_sinks.weight");
    for (int h = 0; h < 4; h++)
        assert_true(sinks[h] == -1e4f);
    assert_status(c.out, "blk.3.attn_sinks.weight", TENSOR_NEW);
    free(sinks);
    end(&c);
}

static void there_and_back_is_the_same(void **state) {
    (void)state;
    Checkpoint *made = tiny_checkpoint(tiny_config, false);
    tiny_tensor(made, "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 2); /* llama.cpp would refuse it */
    checkpoint_set_file(made, "generation_config.json", "{\"x\":  1}", 9);
    made->st_metadata = json_pack("{s:s, s:s}", "format", "pt", "note", "kept");
    Case c = exported(tiny_write(made, "there"), FORMAT_GGUF, NULL, NULL);
    assert_null(checkpoint_find(c.out, "model.layers.0.self_attn.rotary_emb.inv_freq"));
    const char *path = write_gguf(&c, "there.gguf");
    Case back = exported(path, FORMAT_HF, NULL, NULL);
    Error e = {0};
    assert_int_equal(back.out->n_tensors, c.source->n_tensors);
    for (size_t i = 0; i < c.source->n_tensors; i++) {
        const Tensor *t = &c.source->tensors[i], *u = checkpoint_find(back.out, t->name);
        char x[33], y[33];
        if (!u) fail_msg("lost: %s", t->name);
        assert_int_equal(t->dtype, u->dtype);
        assert_true(tensor_hash(t, x, &e) && tensor_hash(u, y, &e));
        assert_string_equal(x, y);
    }
    for (size_t i = 0; i < c.source->n_files; i++) {
        const SideFile *f = checkpoint_file(back.out, c.source->files[i].name);
        assert_non_null(f);
        assert_int_equal(f->size, c.source->files[i].size);
        assert_memory_equal(f->bytes, c.source->files[i].bytes, f->size);
    }
    assert_true(json_equal(c.source->st_metadata, back.out->st_metadata));
    end(&back);
    end(&c);
}

/* The type that config.json states may be none of the weights': it is the publisher's word. */
static void a_stated_type_holds_until_weights_change(void **state) {
    (void)state;
    char config[1000];
    snprintf(config, sizeof config, "%s", tiny_config);
    memcpy(strstr(config, "\"bfloat16\""), "\"float32\" ", 10);
    Case c = exported(tiny_write(tiny_checkpoint(config, false), "stated"), FORMAT_GGUF, NULL, NULL);
    Case back = exported(write_gguf(&c, "stated.gguf"), FORMAT_HF, NULL, NULL);
    assert_int_equal(checkpoint_file(back.out, "config.json")->size, strlen(config));
    assert_memory_equal(checkpoint_file(back.out, "config.json")->bytes, config, strlen(config));
    end(&back);
    back = begin(scratch_path("stated.gguf"));
    assert_true(cast_tensors(back.m->tensors, back.m->n_tensors, DTYPE_F16, back.m->notices, NULL));
    export_with(&back, FORMAT_HF, NULL);
    assert_member(&back, "torch_dtype", "\"float16\"");
    end(&back);
    end(&c);
}

static const MetaEntry *file_key(const Checkpoint *c, const char *name) {
    char key[100];
    snprintf(key, sizeof key, DEROPE_FILE_PREFIX "%s", name);
    const MetaEntry *m = meta_find(c, key);
    if (!m) fail_msg("no key %s", key);
    return m;
}

/* An array costs a reader of the gguf package a hundred bytes an element. */
static void side_files_travel_as_text_where_they_are(void **state) {
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t size;
        MetaType type;
    } files[] = {{"text.jinja", "na\xc3\xafve\n", 7, META_STRING},
                 {"zero.dat", "a\0b", 3, META_ARRAY},
                 {"latin.txt", "na\xefve", 5, META_ARRAY},
                 {"empty.txt", "", 0, META_ARRAY}};
    Checkpoint *made = tiny_checkpoint(tiny_config, false);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        checkpoint_set_file(made, files[i].name, files[i].bytes, files[i].size);
    Case c = exported(tiny_write(made, "filed"), FORMAT_GGUF, NULL, NULL);
    Case back = exported(write_gguf(&c, "filed.gguf"), FORMAT_HF, NULL, NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const SideFile *f = checkpoint_file(back.out, files[i].name);
        assert_int_equal(file_key(c.out, files[i].name)->type, files[i].type);
        assert_non_null(f);
        assert_int_equal(f->size, files[i].size);
        if (f->size) assert_memory_equal(f->bytes, files[i].bytes, f->size);
    }
    end(&back);
    end(&c);
    scratch_text("filed/a\xff", "of no name that a key could have");
    Case named = exported(scratch_path("filed"), FORMAT_GGUF, NULL, NULL);
    const json_t *last = json_array_get(named.report.notices, json_array_size(named.report.notices) - 1);
    assert_non_null(strstr(json_string_value(last), "its name is not UTF-8"));
    checkpoint_close(opened(write_gguf(&named, "filed.gguf")));
    end(&named);
}

static void assert_same_keys(const Checkpoint *a, const Checkpoint *b) {
    for (size_t i = 0; i < a->n_meta; i++) {
        const MetaEntry *m = &a->meta[i], *n = meta_find(b, m->key);
        if (!n) fail_msg("lost: %s", m->key);
        assert_int_equal(m->type, n->type);
        assert_int_equal(m->count, n->count);
        assert_int_equal(m->size, n->size);
        assert_memory_equal(m->bytes, n->bytes, m->size);
    }
}

/* A GGUF from elsewhere: what HF has no place for goes to a folder, to a GGUF and to a folder again. */
static void keys_of_others_come_back(void **state) {
    (void)state;
    Case c = exported(tiny_folder("named"), FORMAT_GGUF, NULL, NULL);
    static const char *const languages[] = {"en", "de"};
    static const size_t lengths[] = {2, 2};
    meta_remove(c.out, DEROPE_CONFIG);
    meta_remove(c.out, DEROPE_DTYPES);
    meta_remove(c.out, DEROPE_ST_METADATA);
    meta_set_string(c.out, "general.name", "A name", 6);
    meta_set_string(c.out, "general.license", "mit", 3);
    meta_set_string_array(c.out, "general.languages", languages, lengths, 2);
    meta_set_u32(c.out, "general.alignment", 128);
    meta_set_array(c.out, "other.array", META_I16, (int16_t[]){-1, 2, 3}, 3);
    meta_set_raw(c.out, &(MetaEntry){.key = "other.big",
                                     .type = META_U64,
                                     .count = 1,
                                     .bytes = (const uint8_t *)&(uint64_t){UINT64_MAX},
                                     .size = 8});
    Case hf = exported(write_gguf(&c, "others.gguf"), FORMAT_HF, NULL, NULL);
    assert_non_null(checkpoint_file(hf.out, GGUF_KEYS_FILE));
    Error e = {0};
    WriteOptions o = {.force = true};
    assert_true(hf_write(hf.out, scratch_path("others"), &o, &e));
    Case again = exported(scratch_path("others"), FORMAT_GGUF, NULL, NULL);
    assert_same_keys(c.out, again.out);
    Case hf2 = exported(write_gguf(&again, "others2.gguf"), FORMAT_HF, NULL, NULL);
    const SideFile *f = checkpoint_file(hf.out, GGUF_KEYS_FILE),
                   *g = checkpoint_file(hf2.out, GGUF_KEYS_FILE);
    assert_non_null(g);
    assert_int_equal(f->size, g->size);
    assert_memory_equal(f->bytes, g->bytes, f->size);
    end(&hf2);
    end(&again);
    end(&hf);
    end(&c);
    scratch_text("others/" GGUF_KEYS_FILE, "GGUF\3");
    Case bad = begin(scratch_path("others"));
    ExportOptions to_gguf = {.format = FORMAT_GGUF};
    assert_null(model_export(bad.m, &to_gguf, NULL, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.message, GGUF_KEYS_FILE ": offset 4: the version takes 4 bytes"));
    end(&bad);
}

static void scale_in_keys_comes_back_into_q(void **state) {
    (void)state;
    Case c = begin(tiny_folder("keyed"));
    apply(&c, "drop_rope", "{\"layers\": \"all\"}");
    apply(&c, "scale_attention", "{\"factor\": 1.5}");
    export_with(&c, FORMAT_GGUF, NULL);
    Case back = exported(write_gguf(&c, "keyed.gguf"), FORMAT_HF, NULL, NULL);
    const char *q = "model.layers.1.self_attn.q_proj.weight";
    float *before = values(c.source, q), *after = values(back.out, q);
    for (int i = 0; i < TINY_WIDTH * TINY_WIDTH; i++)
        assert_true(after[i] == bf16_to_f32(f32_to_bf16(before[i] * 1.5f)));
    free(before);
    free(after);
    end(&back);
    end(&c);
}

static void keys_hold_over_the_config_they_carry(void **state) {
    (void)state;
    Case c = exported(tiny_folder("edited"), FORMAT_GGUF, NULL, NULL);
    meta_set_f32(c.out, "llama.rope.freq_base", 700);
    Case back = exported(write_gguf(&c, "edited.gguf"), FORMAT_HF, NULL, NULL);
    assert_true(back.m->spec.layers[0].rope_base == 700);
    assert_member(&back, "rope_theta", "700.0");
    assert_string_equal(json_string_value(json_array_get(back.report.notices, 0)),
                        "the GGUF's keys say otherwise than its derope.config.json; the keys are followed");
    end(&back);
    end(&c);
}

static void set_bytes(Case *c, const char *key, const char *text) {
    meta_set_array(c->out, key, META_U8, text, strlen(text));
}

/* What a hostile GGUF may name its keys. */
static void keys_restore_no_weights_and_no_paths(void **state) {
    (void)state;
    Case c = exported(tiny_folder("hostile"), FORMAT_GGUF, NULL, NULL);
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "../escape.txt",     ".hidden",
                                        "modeling_x.py",     "pytorch_model.bin",
                                        "derope.json",       ""};
    char key[100];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(key, sizeof key, "derope.file.%s", names[i]);
        set_bytes(&c, key, "bad");
    }
    set_bytes(&c, "derope.file.good.txt", "good");
    set_bytes(&c, "derope.tensor.model.norm.weight", "12345678");
    set_bytes(&c, "derope.tensor.short", "1234");
    set_bytes(&c, "derope.tensor.extra", "1234");
    const char list[] = "{\"model.norm.weight\": {\"dtype\": \"F32\", \"shape\": [2]},"
                        " \"short\": {\"dtype\": \"F32\", \"shape\": [2]},"
                        " \"absent\": {\"dtype\": \"F32\", \"shape\": [2]},"
                        " \"wrapped\": {\"dtype\": \"F32\", \"shape\": [4294967296, 4294967296]},"
                        " \"extra\": {\"dtype\": \"F32\", \"shape\": [1]}}";
    meta_set_string(c.out, DEROPE_TENSORS, list, strlen(list));
    Case back = exported(write_gguf(&c, "hostile.gguf"), FORMAT_HF, NULL, NULL);
    assert_int_equal(back.out->n_files, 2);
    assert_non_null(checkpoint_file(back.out, "config.json"));
    assert_int_equal(checkpoint_file(back.out, "good.txt")->size, 4);
    assert_int_equal(back.out->n_tensors, c.source->n_tensors + 1);
    assert_non_null(checkpoint_find(back.out, "extra"));
    assert_int_equal(json_array_size(back.report.notices), 4);
    end(&back);
    end(&c);
}

static void a_stale_config_does_not_travel_on(void **state) {
    (void)state;
    Case c = exported(tiny_folder("stale"), FORMAT_GGUF, NULL, NULL);
    Case on = begin(write_gguf(&c, "stale.gguf"));
    apply(&on, "drop_rope", "{\"layers\": \"2-3\"}");
    for (int i = 0; i < TINY_LAYERS; i++) /* no HF class has that, Granite SWA in llama.cpp neither */
        on.m->spec.layers[i].window = 8 + (uint32_t)i;
    ExportOptions o = {.format = FORMAT_GGUF};
    Error e = {0};
    assert_null(model_export(on.m, &o, NULL, &e));
    for (int i = 0; i < TINY_LAYERS; i++)
        on.m->spec.layers[i].window = 0;
    on.m->spec.embedding_scale = 2; /* what Granite says and SmolLM3 cannot */
    export_with(&on, FORMAT_GGUF, NULL);
    assert_real(on.out, "granite_swa.embedding_scale", 2);
    const char *config = meta_string(on.out, DEROPE_CONFIG, NULL);
    assert_non_null(strstr(config, "\"granite_swa\""));
    end(&on);
    end(&c);
}

/* ---- refusals ---- */

static void norms_on_queries_are_nobodys_but_the_familys(void **state) {
    (void)state;
    Case c = begin(tiny_folder("normed"));
    for (int i = 0; i < TINY_LAYERS; i++)
        c.m->spec.layers[i].q_norm = c.m->spec.layers[i].k_norm = QK_NORM_HEAD;
    apply(&c, "drop_rope", "{\"layers\": \"0-1\"}");
    for (int f = 0; f < 2; f++) {
        ExportOptions o = {.format = f ? FORMAT_GGUF : FORMAT_HF};
        Error e = {0};
        assert_null(model_export(c.m, &o, NULL, &e));
        assert_int_equal(e.code, ERR_FAILED);
        assert_non_null(strstr(e.message, "granite_swa: has no norms on queries and keys"));
    }
    end(&c);
}

static void assert_no_export(Case *c, const ExportOptions *o, ErrorCode code, const char *text) {
    Error e = {0};
    Checkpoint *out = model_export(c->m, o, NULL, &e);
    assert_null(out);
    assert_int_equal(e.code, code);
    if (!strstr(e.message, text)) fail_msg("'%s' does not say '%s'", e.message, text);
}

static void what_nothing_carries_is_refused_with_reasons(void **state) {
    (void)state;
    Case c = begin(tiny_folder("refused"));
    apply(&c, "drop_rope", "{\"layers\": \"3\"}");
    apply(&c, "sliding_window", "{\"size\": 8, \"layers\": \"0\"}");
    apply(&c, "sliding_window", "{\"size\": 16, \"layers\": \"1\"}");
    ExportOptions o = {.format = FORMAT_GGUF};
    assert_no_export(&c, &o, ERR_FAILED, "own: has no windows per layer");
    assert_no_export(&c, &o, ERR_FAILED, "granite: rotates in all layers or in none");
    assert_no_export(&c, &o, ERR_FAILED, "granite_swa: supports only one window size");
    o.format = FORMAT_HF;
    assert_no_export(&c, &o, ERR_FAILED, "smollm3: supports only one window size");
    o.carrier = "granit";
    assert_no_export(&c, &o, ERR_USAGE,
                     "there is no HF carrier 'granit' (own, smollm3, granite_swa, granitemoe_swa, partial-0, "
                     "olmoe, linear-1e30, olmo3)");
    o.carrier = "linear-1e30";
    assert_no_export(&c, &o, ERR_FAILED, "stops the rotation of all layers or of none");
    end(&c);
}

static void last_resort_only_when_asked(void **state) {
    (void)state;
    Case c = begin(tiny_folder("linear"));
    apply(&c, "drop_rope", "{\"layers\": \"all\"}");
    export_with(&c, FORMAT_GGUF, "linear-1e30");
    assert_string_equal(meta_string(c.out, "general.architecture", NULL), "llama");
    assert_string_equal(meta_string(c.out, "llama.rope.scaling.type", NULL), "linear");
    assert_real(c.out, "llama.rope.scaling.factor", 1e30);
    Case back = begin(write_gguf(&c, "linear.gguf"));
    for (int i = 0; i < TINY_LAYERS; i++)
        assert_int_equal(back.m->spec.layers[i].position, POSITION_NOPE);
    end(&back);
    end(&c);
}

static void quantised_hub_weights_are_only_carried(void **state) {
    (void)state;
    char config[1000];
    snprintf(config, sizeof config, "%.*s, \"quantization_config\": {\"quant_method\": \"gptq\"}}",
             (int)strlen(tiny_config) - 1, tiny_config);
    Case c = begin(tiny_write(tiny_checkpoint(config, false), "gptq"));
    apply(&c, "drop_rope", "{\"layers\": \"all\"}");
    ExportOptions o = {.format = FORMAT_GGUF};
    assert_no_export(&c, &o, ERR_INPUT, "has a quantization_config (gptq); its weights");
    export_with(&c, FORMAT_HF, NULL);
    assert_non_null(json_object_get(c.config, "quantization_config"));
    end(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_is_untouched),
        cmocka_unit_test(dropped_everywhere_is_smollm3),
        cmocka_unit_test(mixture_states_every_layer),
        cmocka_unit_test(biases_get_a_zero_companion),
        cmocka_unit_test(scale_goes_into_q),
        cmocka_unit_test(custom_code_is_left_out),
        cmocka_unit_test(dropes_own_checkpoints_become_stock),
        cmocka_unit_test(context_follows_set_context),
        cmocka_unit_test(gguf_names_layout_and_keys),
        cmocka_unit_test(type_and_name_are_stated),
        cmocka_unit_test(gguf_without_rotation_is_granite),
        cmocka_unit_test(gguf_mixture_is_granite_swa),
        cmocka_unit_test(there_and_back_is_the_same),
        cmocka_unit_test(a_stated_type_holds_until_weights_change),
        cmocka_unit_test(side_files_travel_as_text_where_they_are),
        cmocka_unit_test(keys_of_others_come_back),
        cmocka_unit_test(scale_in_keys_comes_back_into_q),
        cmocka_unit_test(keys_hold_over_the_config_they_carry),
        cmocka_unit_test(keys_restore_no_weights_and_no_paths),
        cmocka_unit_test(a_stale_config_does_not_travel_on),
        cmocka_unit_test(norms_on_queries_are_nobodys_but_the_familys),
        cmocka_unit_test(what_nothing_carries_is_refused_with_reasons),
        cmocka_unit_test(last_resort_only_when_asked),
        cmocka_unit_test(quantised_hub_weights_are_only_carried),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
