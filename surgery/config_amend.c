/* Amendments to a config.json before it is read (config_amend.h). The steps: take the text model out of a
 * multimodal configuration, find the family, replace second names of keys, remove what the class ignores but
 * an older release stumbles over, and call the family's own hook (HfClass.amend). After transformers'
 * configuration_auto.py, configuration_utils.py (attribute_map) and the configuration classes. */
#include "surgery/config_amend.h"

#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/families.h"
#include "surgery/notices.h"
#include "surgery/rope_frequencies.h"

/* ---- multimodal models ---- */

/* A multimodal model type that runs its text model unchanged on text alone, and the model type of its
 * text_config where that does not name one. */
typedef struct Wrapper {
    const char *type, *text;
} Wrapper;

static const Wrapper wrappers[] = {
    {"gemma3", "gemma3_text"}, {"mistral3", "mistral"}, {"llama4", "llama4_text"},
    {"llava", "llama"},        {"llava_next", "llama"}, {"aya_vision", "cohere2"},
    {"internvl", "qwen2"},     {"idefics3", "llama"},   {"smolvlm", "llama"},
};

/* The sizes that published text_configs leave out because they are the defaults of the class. */
typedef struct ClassSizes {
    const char *type, *sizes;
} ClassSizes;

static const ClassSizes class_sizes[] = {
    {"gemma3_text", "{\"vocab_size\": 262208, \"hidden_size\": 2304, \"intermediate_size\": 9216, "
                    "\"num_hidden_layers\": 26, "
                    "\"num_attention_heads\": 8}"},
    {"llama", "{\"vocab_size\": 32000, \"hidden_size\": 4096, \"intermediate_size\": 11008, "
              "\"num_hidden_layers\": 32, \"num_attention_heads\": 32}"},
    {"mistral", "{\"vocab_size\": 32000, \"hidden_size\": 4096, \"intermediate_size\": 14336, "
                "\"num_hidden_layers\": 32, \"num_attention_heads\": 32}"},
    {"llama4_text", "{\"vocab_size\": 202048, \"hidden_size\": 5120, \"intermediate_size\": 8192, "
                    "\"num_hidden_layers\": 48, \"num_attention_heads\": 40}"},
};

/* The row of a multimodal model type; NULL if derope does not know it. */
static const Wrapper *find_wrapper(const char *type) {
    for (size_t i = 0; type && i < sizeof wrappers / sizeof *wrappers; i++)
        if (strcmp(wrappers[i].type, type) == 0) return &wrappers[i];
    return NULL;
}

/* Gives `text` the sizes of its class that it does not state. */
static void state_class_sizes(json_t *text, const char *type) {
    for (size_t i = 0; i < sizeof class_sizes / sizeof *class_sizes; i++) {
        if (strcmp(class_sizes[i].type, type) != 0) continue;
        json_t *sizes = json_parse("sizes", class_sizes[i].sizes, strlen(class_sizes[i].sizes), NULL);
        json_object_update_missing(text, sizes);
        json_decref(sizes);
    }
}

/* Replaces m->config by its text_config, as a configuration of its own: with the class of the text model, and
 * with what the file states for both parts together (number type, packing of the weights, special tokens). */
static bool unwrap(Model *m, const Wrapper *w, Error *e) {
    static const char *const shared[] = {"dtype",        "torch_dtype",         "transformers_version",
                                         "bos_token_id", "eos_token_id",        "pad_token_id",
                                         "use_cache",    "tie_word_embeddings", "quantization_config"};
    json_t *inner = json_object_get(m->config, "text_config");
    const char *type = json_get_string(inner, "model_type");
    const Family *f = family_by_model_type(type ? type : w->text);
    if (!json_is_object(inner)) return config_unexpected(m->config, "text_config", "a mapping", e);
    if (!f)
        return error_set(
            e, ERR_INPUT,
            "config.json: the text model of '%s' has model_type '%.60s', which is not one derope "
            "knows",
            w->type, type);
    json_t *text = json_deep_copy(inner);
    config_set_class(text, f->hf.architecture, f->hf.model_type);
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        json_t *outer = json_object_get(m->config, shared[i]);
        if (outer && !config_has(text, shared[i])) json_object_set(text, shared[i], outer);
    }
    state_class_sizes(text, f->hf.model_type);
    json_decref(m->config);
    m->config = text;
    m->family = f;
    m->wrapper = w->type;
    return true;
}

/* ---- text models ---- */

/* Finds the family of a text model. transformers 5 takes a Mistral that has layer_types for a Ministral, of
 * which each layer may have a window or not; transformers 4 gives all layers of a Mistral the window. */
static bool find_family(Model *m, Error *e) {
    const char *type = json_get_string(m->config, "model_type");
    bool by_layer = type && strcmp(type, "mistral") == 0 && json_object_get(m->config, "layer_types");
    m->family = type ? family_by_model_type(by_layer ? "ministral" : type) : NULL;
    if (!m->family && json_object_get(m->config, "text_config"))
        return error_set(
            e, ERR_INPUT,
            "config.json: model_type '%.60s' is a multimodal model that derope does not know (known: "
            "gemma3, mistral3, llama4, llava, llava_next, aya_vision, internvl, idefics3, smolvlm)",
            type ? type : "(none)");
    if (!m->family)
        return error_set(e, ERR_INPUT, "config.json: model_type '%.60s' is not one derope knows",
                         type ? type : "(none)");
    if (!by_layer) return true;
    config_set_class(m->config, m->family->hf.architecture, "ministral");
    notice_add(m->notices, "config.json: model_type 'mistral' with layer_types is read as 'ministral', as "
                           "transformers 5 does; transformers 4 ignores layer_types");
    return true;
}

/* Replaces the second name of a key by the first. Where both are there, the second name counts: transformers
 * sets attributes that are no arguments of the class last. */
static void replace_second_names(const Model *m) {
    for (const KeyName *k = m->family->hf.second_names; k && k->usual; k++) {
        json_t *value = json_object_get(m->config, k->own);
        if (!value) continue;
        json_object_set(m->config, k->usual, value);
        json_object_del(m->config, k->own);
    }
}

/* Removes partial_rotary_factor where the class rotates whole heads: transformers 5 ignores the key there,
 * and transformers 4 fails. With a rope scaling both fail, so then the key stays, and reading refuses it. */
static void remove_partial_factor(Model *m) {
    static const char key[] = "partial_rotary_factor";
    json_t *in = json_object_get(m->config, "rope_parameters");
    double top = 1, inner = 1;
    if (m->family->hf.quirks & HF_PARTIAL_ROTARY_KEY) return;
    json_get_f64(m->config, key, &top);
    json_get_f64(in, key, &inner);
    /* A value that is no part of a head is left for the reader to refuse. */
    if (top < 0 || top > 1 || inner < 0 || inner > 1) return;
    if ((top == 1 && inner == 1) || config_scales_rope(m->config)) return;
    json_object_del(m->config, key);
    json_object_del(in, key);
    notice_add(m->notices, "config.json: %s %g is ignored: %s rotates whole heads", key,
               inner == 1 ? top : inner, m->family->name);
}

/* States the attention factor of a LongRoPE where the releases compute different ones: transformers 4 takes
 * the ratio of two contexts that stand beside rope_scaling, transformers 5 the factor inside it and, without
 * that, the ratio. Phi-3's class in transformers 4 fails on any further key, so its files stay as they are.
 */
static void state_attention_factor(const Model *m) {
    static const char original_key[] = "original_max_position_embeddings";
    json_t *rope = json_object_get(m->config, "rope_scaling");
    RopeScaling r = {.kind = ROPE_SCALING_LONGROPE};
    double context = m->family->model.context;
    const char *type = json_get_string(rope, "rope_type");
    if (!type) type = json_get_string(rope, "type");
    if (!type || strcmp(type, "longrope") != 0 || m->family->hf.original_context > 0 ||
        config_has(rope, "attention_factor"))
        return;
    json_get_f64(m->config, "max_position_embeddings", &context);
    json_get_f64(rope, original_key, &r.original_context);
    json_get_f64(m->config, original_key, &r.original_context);
    if (!(r.original_context > 1)) return;
    r.factor = context / r.original_context;
    json_get_f64(rope, "factor", &r.factor);
    if (!isfinite(rope_default_attention_factor(&r))) return;
    json_object_set_new(rope, "factor", json_real(r.factor));
    json_object_set_new(rope, "attention_factor", json_real(rope_default_attention_factor(&r)));
    json_object_set_new(m->config, original_key, json_integer((json_int_t)r.original_context));
}

bool config_amend(Model *m, Error *e) {
    json_t *stated = json_deep_copy(m->config);
    const Wrapper *w = find_wrapper(json_get_string(m->config, "model_type"));
    bool ok = w ? unwrap(m, w, e) : find_family(m, e);
    if (ok) {
        replace_second_names(m);
        remove_partial_factor(m);
        state_attention_factor(m);
        if (m->family->hf.amend) m->family->hf.amend(m, m->config);
        m->config_amended = !json_equal(stated, m->config);
    }
    json_decref(stated);
    return ok;
}
