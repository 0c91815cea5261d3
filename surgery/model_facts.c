/* Licence, languages, tags and sampling between a folder's files and a GGUF's keys: see model_facts.h.
 * export_gguf.c and export_hf.c call it. */
#include "surgery/model_facts.h"

#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/floats.h"
#include "formats/front_matter.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/notices.h"

/* A fact and its two names. */
typedef struct Fact {
    const char *card; /* in the front matter */
    const char *key;  /* in a GGUF */
    bool list;        /* a list of texts; otherwise one text */
} Fact;

static const Fact facts[] = {
    {"license", "general.license", false},
    {"license_name", "general.license.name", false},
    {"license_link", "general.license.link", false},
    {"language", "general.languages", true},
    {"tags", "general.tags", true},
};
enum { N_FACTS = sizeof facts / sizeof *facts };

/* ---- reading ---- */

/* Appends a text, or the texts of a list, to `list`, each once. */
static void append_texts(json_t *list, const json_t *value) {
    size_t i, k;
    json_t *item, *there;
    if (json_is_string(value)) json_array_append(list, (json_t *)value);
    json_array_foreach(value, i, item) {
        bool known = !json_is_string(item);
        json_array_foreach(list, k, there) known |= json_equal(there, item);
        if (!known) json_array_append(list, item);
    }
}

/* The texts as one, with commas between them; NULL if there is none. */
static json_t *joined(const json_t *list) {
    Buffer text = {0};
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        buffer_printf(&text, "%s%s", i ? "," : "", json_string_value(item));
    }
    json_t *value = text.size ? json_string(buffer_string(&text)) : NULL;
    buffer_free(&text);
    return value;
}

/* Sets a fact from texts, unless there are none; takes the list over. */
static void set_fact(json_t *out, const char *name, bool list, json_t *texts) {
    json_t *value = list ? (json_array_size(texts) ? json_incref(texts) : NULL) : joined(texts);
    if (value) json_object_set_new(out, name, value);
    json_decref(texts);
}

/* From a card. It may give a list where one text is meant, and one text for a list; older cards say
 * "languages", and what the model is for is a tag as well. */
static void read_card(const json_t *front, json_t *out) {
    for (int i = 0; i < N_FACTS; i++) {
        json_t *texts = json_array();
        append_texts(texts, json_object_get(front, facts[i].card));
        if (strcmp(facts[i].card, "tags") == 0) append_texts(texts, json_object_get(front, "pipeline_tag"));
        if (strcmp(facts[i].card, "language") == 0) append_texts(texts, json_object_get(front, "languages"));
        set_fact(out, facts[i].card, facts[i].list, texts);
    }
    json_t *base = json_array();
    append_texts(base, json_object_get(front, "base_model"));
    set_fact(out, "base_model", true, base);
}

/* The text of a key, new; NULL if it is missing or not UTF-8. */
static json_t *key_text(const Checkpoint *c, const char *key) {
    size_t n;
    const char *s = meta_string(c, key, &n);
    return s && n ? json_stringn(s, n) : NULL;
}

/* The models that a GGUF says it was made from: general.base_model.N.repo_url, on the hub. */
static json_t *base_models(const Checkpoint *c) {
    static const char hub[] = "https://huggingface.co/";
    json_t *list = json_array();
    for (int i = 0; i < 16; i++) {
        char key[64];
        snprintf(key, sizeof key, "general.base_model.%d.repo_url", i);
        const char *url = meta_string(c, key, NULL);
        json_t *name = url && strncmp(url, hub, strlen(hub)) == 0 ? json_string(url + strlen(hub)) : NULL;
        if (name) json_array_append_new(list, name);
    }
    return list;
}

/* From keys. */
static void read_keys(const Checkpoint *c, json_t *out) {
    for (int i = 0; i < N_FACTS; i++) {
        json_t *texts = json_array(), *text = key_text(c, facts[i].key);
        if (text) json_array_append_new(texts, text);
        const MetaEntry *m = meta_find(c, facts[i].key);
        uint64_t cursor = 0;
        const char *s;
        size_t n;
        while (m && m->type == META_ARRAY && meta_array_string(m, &cursor, &s, &n))
            if ((text = json_stringn(s, n))) json_array_append_new(texts, text);
        set_fact(out, facts[i].card, facts[i].list, texts);
    }
    set_fact(out, "base_model", true, base_models(c));
}

json_t *model_facts_read(const Checkpoint *c, Error *e) {
    json_t *out = json_object();
    if (c->format == FORMAT_GGUF) {
        read_keys(c, out);
        return out;
    }
    json_t *front = front_matter_read(checkpoint_file(c, README_FILE), e);
    if (front) read_card(front, out);
    json_decref(front);
    return out;
}

/* ---- to a GGUF ---- */

/* Sets a key to a list of texts. */
static void set_list(Checkpoint *gguf, const char *key, const json_t *list) {
    size_t n = json_array_size(list);
    const char **texts = arena_alloc(&gguf->arena, n * sizeof *texts);
    size_t *len = arena_alloc(&gguf->arena, n * sizeof *len);
    for (size_t i = 0; i < n; i++) {
        texts[i] = json_string_value(json_array_get(list, i));
        len[i] = json_string_length(json_array_get(list, i));
    }
    meta_set_string_array(gguf, key, texts, len, n);
}

/* A setting of generation_config.json and its key. */
typedef struct Sampling {
    const char *config, *key;
    bool whole; /* a whole number, i32; otherwise f32 */
} Sampling;

static const Sampling samplings[] = {
    {"top_k", "general.sampling.top_k", true},
    {"top_p", "general.sampling.top_p", false},
    {"min_p", "general.sampling.min_p", false},
    {"temperature", "general.sampling.temp", false},
    {"repetition_penalty", "general.sampling.penalty_repeat", false},
};
enum { N_SAMPLINGS = sizeof samplings / sizeof *samplings };

/* Sampling that a folder recommends. A damaged file is none; transformers and the converter go on, too. */
static void set_sampling(const Checkpoint *folder, Checkpoint *gguf, json_t *notices) {
    Error damaged = {0};
    json_t *config = checkpoint_json(folder, GENERATION_CONFIG_FILE, &damaged);
    if (damaged.code) notice_add(notices, "nothing is taken from it: %s", damaged.message);
    for (int i = 0; i < N_SAMPLINGS; i++) {
        const json_t *value = json_object_get(config, samplings[i].config);
        if (samplings[i].whole && json_is_integer(value) && json_integer_value(value) >= 0 &&
            json_integer_value(value) <= INT32_MAX) {
            int32_t whole = (int32_t)json_integer_value(value);
            meta_set_raw(gguf, &(MetaEntry){.key = samplings[i].key,
                                            .type = META_I32,
                                            .count = 1,
                                            .bytes = (const uint8_t *)&whole,
                                            .size = sizeof whole});
        } else if (!samplings[i].whole && json_is_number(value)) {
            meta_set_f32(gguf, samplings[i].key, (float)json_number_value(value));
        }
    }
    json_decref(config);
}

void model_facts_to_gguf(const Checkpoint *folder, Checkpoint *gguf, json_t *notices) {
    Error wrong = {0};
    json_t *said = model_facts_read(folder, &wrong);
    if (wrong.code) notice_add(notices, "no licence, languages or tags are taken from it: %s", wrong.message);
    for (int i = 0; i < N_FACTS; i++) {
        const json_t *value = json_object_get(said, facts[i].card);
        if (json_is_array(value))
            set_list(gguf, facts[i].key, value);
        else if (value)
            meta_set_string(gguf, facts[i].key, json_string_value(value), json_string_length(value));
    }
    json_decref(said);
    set_sampling(folder, gguf, notices);
}

/* ---- to a folder ---- */

/* README.md: the facts as front matter, then name and description. */
static void write_card(const Checkpoint *gguf, Checkpoint *folder) {
    json_t *said = model_facts_read(gguf, NULL), *about = key_text(gguf, "general.description"),
           *name = key_text(gguf, "general.name");
    Buffer text = {0};
    if (json_object_size(said) || about) {
        front_matter_print(said, &text);
        if (name) buffer_printf(&text, "\n# %s", json_string_value(name));
        if (about) buffer_printf(&text, "\n\n%s", json_string_value(about));
        buffer_byte(&text, '\n');
        checkpoint_set_file(folder, README_FILE, text.data, text.size);
    }
    buffer_free(&text);
    json_decref(name);
    json_decref(about);
    json_decref(said);
}

/* The id of a key if the model has it; -1 otherwise. */
static json_int_t id_of(const Checkpoint *gguf, const char *key, uint64_t vocab) {
    uint64_t id;
    return meta_u64(gguf, key, &id) && id < vocab ? (json_int_t)id : -1;
}

/* The ids that end a text: EOS, and the tokens that end a turn or a message. One id, or a list of several;
 * NULL if there is none. */
static json_t *end_ids(const Checkpoint *gguf, uint64_t vocab) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    json_t *list = json_array(), *one;
    size_t k;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_int_t id = id_of(gguf, keys[i], vocab);
        bool known = id < 0;
        json_array_foreach(list, k, one) known |= json_integer_value(one) == id;
        if (!known) json_array_append_new(list, json_integer(id));
    }
    one = json_array_size(list) == 1 ? json_array_get(list, 0) : json_array_size(list) ? list : NULL;
    json_incref(one);
    json_decref(list);
    return one;
}

/* Sets the settings of sampling, and that there is sampling. Floats are written as the shortest number that
 * has the same value as f32. */
static void put_sampling(const Checkpoint *gguf, json_t *config) {
    for (int i = 0; i < N_SAMPLINGS; i++) {
        uint64_t whole;
        double value;
        if (samplings[i].whole && meta_u64(gguf, samplings[i].key, &whole))
            json_object_set_new(config, samplings[i].config, json_integer((json_int_t)whole));
        else if (!samplings[i].whole && meta_f64(gguf, samplings[i].key, &value))
            json_object_set_new(config, samplings[i].config, json_real(float_shortest((float)value)));
        else
            continue;
        json_object_set_new(config, "do_sample", json_true());
    }
}

/* generation_config.json: the ids that begin and end a text, and the sampling that the GGUF recommends. */
static void write_generation(const Checkpoint *gguf, uint64_t vocab, Checkpoint *folder) {
    json_t *config = json_object(), *end = end_ids(gguf, vocab);
    json_int_t bos = id_of(gguf, "tokenizer.ggml.bos_token_id", vocab),
               pad = id_of(gguf, "tokenizer.ggml.padding_token_id", vocab);
    if (bos >= 0) json_object_set_new(config, "bos_token_id", json_integer(bos));
    if (end) json_object_set_new(config, "eos_token_id", end);
    if (pad >= 0) json_object_set_new(config, "pad_token_id", json_integer(pad));
    put_sampling(gguf, config);
    Buffer text = {0};
    json_print(config, 2, &text);
    buffer_byte(&text, '\n');
    if (json_object_size(config)) checkpoint_set_file(folder, GENERATION_CONFIG_FILE, text.data, text.size);
    buffer_free(&text);
    json_decref(config);
}

void model_facts_to_folder(const Checkpoint *gguf, uint64_t vocab, Checkpoint *folder) {
    if (!checkpoint_file(folder, README_FILE)) write_card(gguf, folder);
    if (!checkpoint_file(folder, GENERATION_CONFIG_FILE)) write_generation(gguf, vocab, folder);
}
