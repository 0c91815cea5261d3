/* Joining the files of a folder's tokenizer: see hf_tokenizer.h. The steps are those of AutoTokenizer, in its
 * order, because the order decides which id a token gets that the vocabulary lacks:
 *
 *   1. the added tokens of tokenizer.json
 *   2. those of tokenizer_config.json, "added_tokens_decoder", by id; without it, those of added_tokens.json
 *   3. the special tokens that tokenizer_config.json (or special_tokens_map.json) names by text
 *   4. its extra special tokens */
#include "surgery/tokenizer/hf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/text.h"
#include "surgery/tokenizer/tokenizer_json.h"
#include "surgery/tokenizer/vocab_merges.h"

/* The names of the special tokens that every tokenizer of transformers has, in its order. */
static const char *const named[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
enum { N_NAMED = sizeof named / sizeof *named };

/* The list while it grows. */
typedef struct Joined {
    json_t *list;         /* array of tokens, in the order in which they get ids */
    json_t *places;       /* object: text -> index in `list` */
    json_t *stated;       /* object: the ids that tokenizer.json states, as text -> true */
    const json_t *config; /* HfTokenizer.config */
    const char *path;     /* of the folder, for messages */
} Joined;

/* ---- single tokens ---- */

/* Whether a text is one of the special tokens that the configuration names. */
static bool is_named(const json_t *config, const char *text) {
    for (int i = 0; i < N_NAMED; i++) {
        const char *name = tokenizer_json_content(json_object_get(config, named[i]));
        if (name && strcmp(name, text) == 0) return true;
    }
    return false;
}

/* The token as tokenizer.json writes one, with all its options. `token` is a text or an object with
 * "content". */
static json_t *whole_token(const json_t *token, const char *text, bool special) {
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", text, "single_word",
                     tokenizer_json_flag(token, "single_word", false), "lstrip",
                     tokenizer_json_flag(token, "lstrip", false), "rstrip",
                     tokenizer_json_flag(token, "rstrip", false), "normalized",
                     tokenizer_json_flag(token, "normalized", !special), "special", special);
}

/* Adds a token, whose reference is taken over; of one that is there already the options are replaced. `id`
 * is the one that the file states, or NULL. An empty text is no token. */
static void put(Joined *j, json_t *token, const json_t *id) {
    const char *text = json_get_string(token, "content");
    const json_t *place = json_object_get(j->places, text);
    if (id) json_object_set(token, "id", (json_t *)id);
    if (!*text) {
        json_decref(token);
    } else if (place) {
        json_array_set_new(j->list, (size_t)json_integer_value(place), token);
    } else {
        json_object_set_new(j->places, text, json_integer((json_int_t)json_array_size(j->list)));
        json_array_append_new(j->list, token);
    }
}

/* Adds a special token that a configuration names, a text or an object, unless it is there already. */
static void put_special(Joined *j, const json_t *token) {
    const char *text = tokenizer_json_content(token);
    if (text && !json_object_get(j->places, text)) put(j, whole_token(token, text, true), NULL);
}

/* ---- the files ---- */

/* Step 1. */
static bool add_of_tokenizer_json(Joined *j, const json_t *root, Error *e) {
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(root, "added_tokens"), i, token) {
        const char *text = json_get_string(token, "content");
        const json_t *id = json_object_get(token, "id");
        if (!text || !json_is_integer(id) || json_integer_value(id) < 0)
            return error_set(e, ERR_INPUT, "%s/" TOKENIZER_FILE ": added token %zu has no content or id",
                             j->path, i);
        put(j, whole_token(token, text, tokenizer_json_flag(token, "special", false)), id);
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)json_integer_value(id));
        json_object_set_new(j->stated, key, json_true());
    }
    return true;
}

/* A token that a file lists by its id. */
typedef struct Listed {
    unsigned long long id;
    const char *text;
    json_t *token; /* with all options; owned until it is put */
} Listed;

/* For qsort: by id. */
static int by_id(const void *a, const void *b) {
    const Listed *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Adds the tokens in the order of their ids, and frees the list. Those that are there with the same options
 * are left alone; others become special if they are named. */
static void put_listed(Joined *j, Listed *list, size_t n) {
    if (n) qsort(list, n, sizeof *list, by_id);
    for (size_t i = 0; i < n; i++) {
        json_t *place = json_object_get(j->places, list[i].text), *token = list[i].token;
        json_t *there = place ? json_copy(json_array_get(j->list, (size_t)json_integer_value(place))) : NULL;
        json_object_del(there, "id");
        if (json_equal(there, token)) {
            json_decref(token);
        } else {
            if (is_named(j->config, list[i].text)) json_object_set_new(token, "special", json_true());
            put(j, token, NULL);
        }
        json_decref(there);
    }
    free(list);
}

/* Step 2: {"id": {"content", options...}}. */
static bool add_of_config(Joined *j, const json_t *decoder, Error *e) {
    Listed *list = xcalloc(json_object_size(decoder) + 1, sizeof *list);
    size_t n = 0;
    bool ok = true;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)decoder, key, value) {
        char *end;
        unsigned long long id = strtoull(key, &end, 10);
        const char *text = json_get_string(value, "content");
        if (end == key || *end || !text) {
            ok = error_set(e, ERR_INPUT,
                           "%s/" TOKENIZER_CONFIG_FILE
                           ": added_tokens_decoder: '%.60s' is not an id, or has no content",
                           j->path, key);
            break;
        }
        bool special = tokenizer_json_flag(value, "special", false);
        list[n++] = (Listed){id, text, whole_token(value, text, special)};
    }
    if (ok)
        put_listed(j, list, n);
    else {
        for (size_t i = 0; i < n; i++)
            json_decref(list[i].token);
        free(list);
    }
    return ok;
}

/* Whether tokenizer.json states an id. */
static bool states_id(const Joined *j, json_int_t id) {
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)id);
    return json_object_get(j->stated, key) != NULL;
}

/* Step 2 in folders without added_tokens_decoder: added_tokens.json, {text: id}. Its tokens are special if
 * the configuration names them. tokenizer.json has precedence where both list an id. */
static bool add_of_added_tokens(Joined *j, const json_t *added, Error *e) {
    Listed *list = xcalloc(json_object_size(added) + 1, sizeof *list);
    size_t n = 0;
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)added, text, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0) {
            for (size_t i = 0; i < n; i++)
                json_decref(list[i].token);
            free(list);
            return error_set(e, ERR_INPUT, "%s/" ADDED_TOKENS_FILE ": the id of '%.60s' is not a number",
                             j->path, text);
        }
        if (!states_id(j, json_integer_value(id)))
            list[n++] = (Listed){(unsigned long long)json_integer_value(id), text,
                                 whole_token(NULL, text, is_named(j->config, text))};
    }
    put_listed(j, list, n);
    return true;
}

/* Steps 3 and 4: the seven names, then the names that only some models have ("image_token"), then lists. */
static void add_special(Joined *j) {
    for (int i = 0; i < N_NAMED; i++)
        put_special(j, json_object_get(j->config, named[i]));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)j->config, key, value) {
        if (text_ends_with(key, "_token")) put_special(j, value);
    }
    const json_t *extra = json_object_get(j->config, "extra_special_tokens");
    if (!json_array_size(extra) && !json_object_size(extra))
        extra = json_object_get(j->config, "additional_special_tokens");
    json_object_foreach((json_t *)extra, key, value) {
        put_special(j, value);
    }
    size_t i;
    json_array_foreach(extra, i, value) {
        put_special(j, value);
    }
}

/* ---- ids ---- */

/* {text: id} of those tokens of the list that the vocabulary has. The vocabulary of BPE is such an object
 * already; that of a unigram model is a list of texts with scores, by id. */
static json_t *ids_in_vocabulary(const Joined *j, json_t *vocab) {
    if (json_is_object(vocab)) return json_incref(vocab);
    json_t *ids = json_object(), *pair;
    size_t i;
    json_array_foreach(vocab, i, pair) {
        const char *text = json_string_value(json_array_get(pair, 0));
        if (text && json_object_get(j->places, text))
            json_object_set_new(ids, text, json_integer((json_int_t)i));
    }
    return ids;
}

/* The vocabulary by id. */
typedef struct ById {
    const char **text; /* (n): NULL where no token has the id */
    size_t n;
    size_t tokens; /* of the vocabulary */
} ById;

/* Makes the table. Ids may have gaps, but an id that is far behind the number of tokens is left out; the
 * loader and the conversion refuse it. */
static ById list_by_id(const json_t *vocab) {
    ById out = {.tokens = json_is_object(vocab) ? json_object_size(vocab) : json_array_size(vocab)};
    out.n = 11 * out.tokens + 1001;
    out.text = xcalloc(out.n, sizeof *out.text);
    const char *text;
    json_t *value;
    size_t i;
    json_object_foreach((json_t *)vocab, text, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id >= 0 && (size_t)id < out.n) out.text[id] = text;
    }
    json_array_foreach(vocab, i, value) {
        out.text[i] = json_string_value(json_array_get(value, 0));
    }
    return out;
}

/* Refuses an id that tokenizer.json states for an added token and that the vocabulary gives to another text,
 * or that lies far behind the vocabulary: such a file is not what somebody meant. */
static bool check_stated(const Joined *j, const ById *vocab, const char *text, json_int_t id, Error *e) {
    if ((size_t)id >= vocab->n)
        return error_set(e, ERR_INPUT,
                         "%s/" TOKENIZER_FILE
                         ": model.vocab of %zu tokens is too short for an added token's id %lld",
                         j->path, vocab->tokens, (long long)id);
    const char *other = vocab->text[id];
    return !other || error_set(e, ERR_INPUT, "%s/" TOKENIZER_FILE ": id %lld is both '%.40s' and '%.40s'",
                               j->path, (long long)id, other, text);
}

/* Gives each token its id, as HF `tokenizers` does when it adds one (added_vocabulary.rs): that of the
 * vocabulary, else the one behind all others. The id that a file states does not count there. It counts here
 * where a vocabulary has gaps, so that its size is the id of another token. */
static bool number(const Joined *j, json_t *vocab, Error *e) {
    json_t *ids = ids_in_vocabulary(j, vocab), *token;
    ById by_id = list_by_id(vocab);
    json_int_t size = (json_int_t)by_id.tokens, top = -1; /* the largest id of an added token so far */
    size_t i;
    bool ok = true;
    json_array_foreach(j->list, i, token) {
        const char *text = json_get_string(token, "content");
        const json_t *known = json_object_get(ids, text), *stated = json_object_get(token, "id");
        json_int_t id = json_is_integer(known) ? json_integer_value(known) : top >= size ? top + 1 : size;
        if (!known && stated) {
            ok = ok && check_stated(j, &by_id, text, json_integer_value(stated), e);
            if (ok && (size_t)id < by_id.n && by_id.text[id]) id = json_integer_value(stated);
        }
        if (id > top) top = id;
        json_object_set_new(token, "id", json_integer(id));
    }
    free(by_id.text);
    json_decref(ids);
    return ok;
}

/* ---- the whole ---- */

/* Parses a side file that has to be an object. `*out` is NULL if there is no such file. */
static bool read_object(const Checkpoint *c, const char *name, json_t **out, Error *e) {
    Error damaged = {0};
    *out = checkpoint_json(c, name, &damaged);
    if (damaged.code) return error_set(e, damaged.code, "%s", damaged.message);
    return !*out || json_is_object(*out) ||
           error_set(e, ERR_INPUT, "%s/%s: is not a JSON object", c->path ? c->path : "checkpoint", name);
}

/* Reads tokenizer_config.json. special_tokens_map.json is only read where the former has no
 * added_tokens_decoder, and wins there. */
static bool read_config(const Checkpoint *c, json_t **out, Error *e) {
    json_t *map = NULL;
    bool ok = read_object(c, TOKENIZER_CONFIG_FILE, out, e);
    if (ok && !*out) *out = json_object();
    if (ok && !json_object_get(*out, "added_tokens_decoder"))
        ok = read_object(c, SPECIAL_TOKENS_FILE, &map, e);
    if (ok) json_object_update(*out, map);
    json_decref(map);
    return ok;
}

/* Replaces "added_tokens" by the list that all files make up. */
static bool join(const Checkpoint *c, HfTokenizer *t, Error *e) {
    Joined j = {.list = json_array(),
                .places = json_object(),
                .stated = json_object(),
                .config = t->config,
                .path = c->path ? c->path : "checkpoint"};
    json_t *added = NULL;
    const json_t *decoder = json_object_get(t->config, "added_tokens_decoder");
    bool ok = add_of_tokenizer_json(&j, t->root, e);
    if (ok && decoder)
        ok = add_of_config(&j, decoder, e);
    else if (ok)
        ok = read_object(c, ADDED_TOKENS_FILE, &added, e) && add_of_added_tokens(&j, added, e);
    if (ok) add_special(&j);
    ok = ok && number(&j, json_object_get(json_object_get(t->root, "model"), "vocab"), e);
    if (ok) json_object_set(t->root, "added_tokens", j.list);
    json_decref(added);
    json_decref(j.list);
    json_decref(j.places);
    json_decref(j.stated);
    return ok;
}

bool hf_tokenizer_is_there(const Checkpoint *c) {
    return checkpoint_file(c, TOKENIZER_FILE) || vocab_merges_are_there(c);
}

bool hf_tokenizer_read(const Checkpoint *c, HfTokenizer *out, Error *e) {
    *out = (HfTokenizer){0};
    Error damaged = {0};
    if (!read_config(c, &out->config, e)) return false;
    bool made = !checkpoint_file(c, TOKENIZER_FILE);
    if (made && !vocab_merges_are_there(c)) return true;
    out->root =
        made ? vocab_merges_read(c, out->config, &damaged) : checkpoint_json(c, TOKENIZER_FILE, &damaged);
    if (!out->root) return error_set(e, damaged.code, "%s", damaged.message);
    if (!join(c, out, e)) return false;
    if (made) vocab_merges_add_special(out->root, out->config);
    return true;
}

void hf_tokenizer_free(HfTokenizer *t) {
    json_decref(t->root);
    json_decref(t->config);
    *t = (HfTokenizer){0};
}
