/* Which keys of a config.json are known. A key is one of four kinds: derope reads it; it is about training,
 * generation or bookkeeping, so that the logits do not depend on it; it changes what transformers computes in
 * a way that derope does not have, so that only its neutral value is accepted; or no release of the class
 * reads it, which a notice says by name, because somebody may have meant something by it.
 *
 * What all classes have in common is in the lists below, after transformers' configuration_utils.py,
 * masking_utils.py and generation/configuration_utils.py; what one class reads is in its family's table
 * (HfClass.reads, ignores, limits). */
#include "surgery/config_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/family.h"
#include "surgery/notices.h"

/* Keys that derope reads in every family. Those to which the family gives another name are not read under the
 * usual one. */
static const char read_by_all[] =
    "model_type architectures vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
    "num_key_value_heads head_dim hidden_act max_position_embeddings original_max_position_embeddings "
    "rope_theta rope_scaling rope_parameters tie_word_embeddings quantization_config torch_dtype dtype "
    "bos_token_id eos_token_id pad_token_id transformers_version auto_map";

/* Keys on which the logits do not depend: training, then how results are returned and what is cached, then
 * names, then settings of text generation, which older files have in config.json. */
static const char neutral[] =
    "initializer_range initializer_factor attention_dropout hidden_dropout attn_pdrop embd_pdrop resid_pdrop "
    "classifier_dropout dropout hidden_dropout_prob attention_probs_dropout_prob summary_type "
    "summary_use_proj summary_activation summary_first_dropout summary_proj_to_labels gradient_checkpointing "
    "pretraining_tp output_router_logits router_aux_loss_coef router_jitter_noise router_z_loss_coef "
    "use_cache use_return_dict return_dict output_hidden_states output_attentions output_scores "
    "return_dict_in_generate torchscript use_bfloat16 tf_legacy_loss chunk_size_feed_forward is_decoder "
    "tie_encoder_decoder cross_attention_hidden_size cache_implementation tie_last_hidden_states "
    "attn_implementation _attn_implementation _attn_implementation_autoset _attn_implementation_internal "
    "_experts_implementation _experts_implementation_internal _flash_attn_2_enabled use_flash_attn "
    "_name_or_path name_or_path _commit_hash finetuning_task id2label label2id num_labels "
    "task_specific_params problem_type tokenizer_class prefix language license model_name unsloth_version "
    "unsloth_fixed sep_token_id unk_token_id cls_token_id mask_token_id decoder_start_token_id "
    "forced_bos_token_id forced_eos_token_id max_length max_new_tokens min_length min_new_tokens do_sample "
    "early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p min_p typical_p "
    "repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids "
    "num_return_sequences remove_invalid_values exponential_decay_length_penalty suppress_tokens "
    "begin_suppress_tokens epsilon_cutoff eta_cutoff renormalize_logits model_max_length";

/* Keys that change what transformers computes in every class. */
static const KeyLimit limits_of_all[] = {
    {"is_causal", 1, "tokens would attend to later ones"},
    {"is_encoder_decoder", 0, "the model would be one of two that work together"},
    {"add_cross_attention", 0, "there would be attention to a second model"},
    {"per_layer_config", 0, "layers would have configurations of their own"},
    {"pruned_heads", 0, "heads would be missing"},
    {"quantization", 0, "MLX's packed weights are not supported"},
    {NULL, 0, NULL},
};

/* Keys of rope_scaling and rope_parameters. */
static const char rope_keys[] =
    "rope_type type factor rope_theta original_max_position_embeddings low_freq_factor high_freq_factor "
    "beta_fast beta_slow attention_factor mscale mscale_all_dim short_factor long_factor truncate";
static const char layer_kinds[] = "full_attention sliding_attention chunked_attention";

/* ---- lists of names ---- */

/* True if `name` is one of the words of `list`, which are separated by single spaces. `list` may be NULL. */
static bool is_listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list; at && n; at = strchr(at, ' ')) {
        if (*at == ' ') at++;
        if (strncmp(at, name, n) == 0 && (at[n] == ' ' || at[n] == 0)) return true;
    }
    return false;
}

/* True if the family reads a key under another name. */
static bool is_renamed(const Family *f, const char *key) {
    for (const KeyName *k = f->hf.keys; k && k->usual; k++)
        if (strcmp(k->usual, key) == 0) return true;
    return false;
}

/* True if the key is a name that the family gives to one of the usual keys. */
static bool is_own_name(const Family *f, const char *key) {
    for (const KeyName *k = f->hf.keys; k && k->usual; k++)
        if (strcmp(k->own, key) == 0) return true;
    return false;
}

/* True if a quirk of the class is about reading the key. */
static bool is_read_by_quirk(const Family *f, const char *key) {
    uint32_t q = f->hf.quirks;
    return ((q & HF_ATTENTION_BIAS_KEY) && strcmp(key, "attention_bias") == 0) ||
           ((q & HF_MLP_BIAS_KEY) && strcmp(key, "mlp_bias") == 0) ||
           ((q & HF_PARTIAL_ROTARY_KEY) && strcmp(key, "partial_rotary_factor") == 0) ||
           ((q & HF_NO_ROPE_LAYERS_KEY) && is_listed("no_rope_layers no_rope_layer_interval", key)) ||
           strcmp(key, f->model.norm == NORM_LAYER ? "layer_norm_eps" : "rms_norm_eps") == 0;
}

/* True if derope reads the key in this family, or knows that nothing depends on it. */
static bool is_known(const Family *f, const char *key) {
    if (is_listed(f->hf.reads, key) || is_listed(f->hf.ignores, key) || is_own_name(f, key)) return true;
    if (is_listed(neutral, key)) return true;
    return !is_renamed(f, key) && (is_listed(read_by_all, key) || is_read_by_quirk(f, key));
}

/* ---- refusing ---- */

/* A value as a number, for comparison with KeyLimit.neutral; NaN, which is equal to nothing, if it is text or
 * a list or mapping with something in it. */
static double as_number(const json_t *value) {
    bool empty = json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0) ||
                 (json_is_array(value) && json_array_size(value) == 0) ||
                 (json_is_object(value) && json_object_size(value) == 0);
    if (empty || json_is_false(value)) return 0;
    return json_is_true(value) ? 1 : json_is_number(value) ? json_number_value(value) : NAN;
}

/* Refuses the first key of `limits` that has another value than its neutral one. Prints at most 60 bytes of
 * the value. */
static bool check_limits(const KeyLimit *limits, const json_t *config, Error *e) {
    for (const KeyLimit *l = limits; l && l->key; l++) {
        const json_t *value = json_object_get(config, l->key);
        if (!value || as_number(value) == l->neutral) continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
        error_set(e, ERR_INPUT, "config.json: %s is %.60s: %s", l->key, text ? text : "?", l->effect);
        free(text);
        return false;
    }
    return true;
}

/* ---- noticing ---- */

/* Names that were found, as one text: "a, b, c". */
typedef struct Unknown {
    Buffer names;
    size_t n, shown;
} Unknown;

/* Adds a name, `prefix` and `key`; those after the tenth are only counted. */
static void add_unknown(Unknown *u, const char *prefix, const char *key) {
    enum { SHOWN = 10 };
    if (u->n++ >= SHOWN) return;
    buffer_printf(&u->names, "%s%s%.40s", u->shown++ ? ", " : "", prefix, key);
}

/* Collects what is not known of a mapping of the rotation, or of its mappings for types of layers. */
static void collect_rope(const Family *f, const json_t *rope, const char *prefix, Unknown *u) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)rope, key, value) {
        bool partial = f->hf.quirks & HF_PARTIAL_ROTARY_KEY && strcmp(key, "partial_rotary_factor") == 0;
        if (is_listed(layer_kinds, key))
            collect_rope(f, value, prefix, u);
        else if (!json_is_null(value) && !partial && !is_listed(rope_keys, key))
            add_unknown(u, prefix, key);
    }
}

bool config_check_keys(const Model *m, const json_t *config, Error *e) {
    const Family *f = m->family;
    if (!check_limits(limits_of_all, config, e) || !check_limits(f->hf.limits, config, e)) return false;
    /* A key whose value is null says nothing. */
    Unknown u = {0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config, key, value) {
        bool limited = false;
        for (const KeyLimit *l = limits_of_all; l->key; l++)
            limited |= strcmp(l->key, key) == 0;
        for (const KeyLimit *l = f->hf.limits; l && l->key; l++)
            limited |= strcmp(l->key, key) == 0;
        if (!limited && !json_is_null(value) && !is_known(f, key)) add_unknown(&u, "", key);
    }
    collect_rope(f, json_object_get(config, "rope_scaling"), "rope_scaling.", &u);
    collect_rope(f, json_object_get(config, "rope_parameters"), "rope_parameters.", &u);
    if (u.n)
        notice_add(m->notices, "config.json: keys that %s does not read are ignored: %s%s",
                   f->hf.architecture ? f->hf.architecture : f->hf.model_type, buffer_string(&u.names),
                   u.n > u.shown ? ", ..." : "");
    buffer_free(&u.names);
    return true;
}
