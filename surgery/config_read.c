/* Typed look-ups in a config.json, and the lists that several families have. spec_config.c reads the settings
 * common to all models by these functions, and the families' hooks read their own. config_read.h says what
 * absent and null keys mean, and what each function checks. All errors begin with "config.json: KEY"; the
 * caller puts the path of the model in front. */
#include "surgery/config_read.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

/* Sets the error about a value of the wrong kind. The value that was found is printed as JSON and cut at 60
 * bytes, because it may be a list of a thousand numbers. */
bool config_unexpected(const json_t *config, const char *key, const char *expected, Error *e) {
    const json_t *found = json_object_get(config, key);
    char *text = found ? json_dumps(found, JSON_ENCODE_ANY) : NULL;
    error_set(e, ERR_INPUT, "config.json: %s: expected %s, found %.60s", key, expected,
              text ? text : "nothing");
    free(text);
    return false;
}

/* transformers writes null for most keys that have no value, so null counts as absent. */
bool config_has(const json_t *config, const char *key) {
    const json_t *v = json_object_get(config, key);
    return v && !json_is_null(v);
}

/* A mapping has its kind under "rope_type" or, in older files, "type". One with a mapping for each type of
 * layer has it inside of these. */
static bool scales(const json_t *rope) {
    const char *type = json_get_string(rope, "rope_type");
    if (!type) type = json_get_string(rope, "type");
    if (type) return strcmp(type, "default") != 0;
    const char *key;
    json_t *inner;
    json_object_foreach((json_t *)rope, key, inner) if (json_is_object(inner) && scales(inner)) return true;
    return false;
}

/* rope_scaling counts where it says anything. */
bool config_scales_rope(const json_t *config) {
    const json_t *legacy = json_object_get(config, "rope_scaling");
    return scales(json_object_size(legacy) ? legacy : json_object_get(config, "rope_parameters"));
}

/* Searches the family's table of names. The tables have at most five entries, so a plain search does. */
const char *config_key(const Family *f, const char *usual) {
    for (const KeyName *k = f->hf.keys; k && k->usual; k++)
        if (strcmp(k->usual, usual) == 0) return k->own;
    return usual;
}

/* ---- single values ---- */

/* Callers pass bounds that are far larger than any real model needs. They guarantee that a product of two
 * sizes fits in 64 bits and that a damaged file cannot cause a huge allocation. */
bool config_need_u32(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e) {
    uint64_t v;
    if (!json_get_u64(config, key, &v)) return config_unexpected(config, key, "a whole number", e);
    if (v < low || v > high)
        return error_set(e, ERR_INPUT, "config.json: %s: %llu is not between %u and %u", key,
                         (unsigned long long)v, low, high);
    *out = (uint32_t)v;
    return true;
}

/* The bounds hold only where the key is there; the caller's default is trusted. */
bool config_read_u32(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e) {
    return !config_has(config, key) || config_need_u32(config, key, low, high, out, e);
}

/* Whole numbers count as numbers too: a file may say 10000 where another says 10000.0. */
bool config_read_real(const json_t *config, const char *key, double *out, Error *e) {
    if (!config_has(config, key) || json_get_f64(config, key, out)) return true;
    return config_unexpected(config, key, "a number", e);
}

/* Python code often tests such a value for truth, so 0 and 1 are accepted. */
bool config_read_bool(const json_t *config, const char *key, bool *out, Error *e) {
    const json_t *v = json_object_get(config, key);
    if (!config_has(config, key)) return true;
    if (!json_is_boolean(v) && !json_is_number(v)) return config_unexpected(config, key, "true or false", e);
    *out = json_is_true(v) || (json_is_number(v) && json_number_value(v) != 0);
    return true;
}

/* For a window, null and absent differ: null means that there is no window, absent that the default holds. */
bool config_read_window(const json_t *config, const char *key, uint32_t *out, Error *e) {
    if (json_is_null(json_object_get(config, key))) *out = 0;
    return config_read_u32(config, key, 1, INT32_MAX, out, e);
}

/* ---- lists with an element for each layer ---- */

/* Used for lists such as mlp_only_layers or moe_layers, which name the layers that are different. */
bool config_read_layer_list(const Model *m, const json_t *config, const char *key, bool *listed, Error *e) {
    const json_t *list = json_object_get(config, key);
    if (!config_has(config, key)) return true;
    if (!json_is_array(list)) return config_unexpected(config, key, "a list of layers", e);
    memset(listed, 0, m->spec.n_layers * sizeof *listed);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return config_unexpected(config, key, "a list of layers", e);
        if (json_integer_value(v) < m->spec.n_layers) listed[json_integer_value(v)] = true;
    }
    return true;
}

/* Accepts the two types that a ModelSpec can express. The "chunked_attention" of Llama 4 is read by its
 * family (families/llama4.c) instead. */
bool config_read_layer_types(Model *m, const json_t *config, uint32_t window, Error *e) {
    const json_t *types = json_object_get(config, "layer_types");
    if (!json_is_array(types)) return true;
    if (json_array_size(types) != m->spec.n_layers)
        return error_set(e, ERR_INPUT, "config.json: layer_types has %zu entries for %u layers",
                         json_array_size(types), m->spec.n_layers);
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        /* An entry that is not a string is refused like an unknown type. */
        const char *type = json_string_value(json_array_get(types, i));
        if (type && strcmp(type, "full_attention") == 0)
            m->spec.layers[i].window = 0;
        else if (type && strcmp(type, "sliding_attention") == 0 && window == 0)
            return error_set(
                e, ERR_INPUT,
                "config.json: layer_types[%u] is 'sliding_attention', but no sliding_window is in use", i);
        else if (type && strcmp(type, "sliding_attention") == 0)
            m->spec.layers[i].window = window;
        else
            return error_set(e, ERR_INPUT, "config.json: layer_types[%u]: '%.40s' is not supported", i,
                             type ? type : "(not a string)");
    }
    return true;
}

/* In spite of the key's name, transformers uses 1 for a layer with RoPE and 0 for a layer without it. The
 * list may have more elements than the model has layers, and its elements may be booleans. */
bool config_read_no_rope_layers(const Model *m, const json_t *config, bool *rotates, Error *e) {
    uint32_t every = 4, n = m->spec.n_layers;
    const json_t *list = json_object_get(config, "no_rope_layers");
    if (!config_read_u32(config, "no_rope_layer_interval", 1, INT32_MAX, &every, e)) return false;
    if (json_array_size(list) && json_array_size(list) < n)
        return error_set(e, ERR_INPUT, "config.json: no_rope_layers has %zu entries for %u layers",
                         json_array_size(list), n);
    for (uint32_t i = 0; i < n; i++) {
        /* A list that is there decides; an absent or empty one leaves every layer rotating except each
         * `every`-th. */
        const json_t *own = json_array_get(list, i);
        if (own && !json_is_integer(own) && !json_is_boolean(own))
            return error_set(e, ERR_INPUT, "config.json: no_rope_layers[%u] is neither 0 nor 1", i);
        rotates[i] = own ? json_is_true(own) || json_integer_value(own) != 0 : (i + 1) % every != 0;
    }
    return true;
}

/* The number of experts is limited because memory is allocated for the tensors of each expert. */
bool config_read_experts(Model *m, const json_t *config, const char *key, Error *e) {
    enum { MOST = 4096 };
    /* The family's defaults are in layer 0 already. */
    LayerSpec l = m->spec.layers[0];
    if (!config_read_u32(config, key, 1, MOST, &l.n_experts, e) ||
        !config_read_u32(config, "num_experts_per_tok", 1, l.n_experts, &l.top_k, e))
        return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        m->spec.layers[i].n_experts = l.n_experts;
        /* a default top_k may exceed the number of experts that the file states */
        m->spec.layers[i].top_k = l.top_k < l.n_experts ? l.top_k : l.n_experts;
    }
    return true;
}
