/* tokenizer.json, as HF tokenizers writes it. What is not understood is refused by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "formats/json.h"
#include "recal/tokenizer/internal.h"

typedef struct Loader {
    Tokenizer *t;
    const char *where;
    Error *e;
} Loader;

static bool refuse(const Loader *l, const char *part, const char *type) {
    return error_set(l->e, ERR_INPUT, "%s: %s of type '%.60s' is not supported", l->where, part,
                     type ? type : "(none)");
}

static bool is_type(const json_t *o, const char *type) {
    const char *t = json_get_string(o, "type");
    return t && strcmp(t, type) == 0;
}

static bool flag(const json_t *o, const char *key, bool fallback) {
    bool v;
    return json_get_bool(o, key, &v) ? v : fallback;
}

/* ---- vocabulary and merges ---- */

static bool put_token(const Loader *l, const char *text, json_int_t id) {
    Tokenizer *t = l->t;
    if (id < 0 || (uint64_t)id >= t->vocab_size)
        return error_set(l->e, ERR_INPUT, "%s: token '%.60s' has id %lld out of %u", l->where, text,
                         (long long)id, t->vocab_size);
    if (t->text[id] && strcmp(t->text[id], text) != 0)
        return error_set(l->e, ERR_INPUT, "%s: id %lld is both '%.40s' and '%.40s'", l->where, (long long)id,
                         t->text[id], text);
    t->text[id] = arena_strdup(&t->arena, text);
    t->len[id] = (uint32_t)strlen(text);
    return true;
}

static json_int_t largest_id(const json_t *vocab, const json_t *added) {
    json_int_t top = -1;
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)vocab, text, id) if (json_integer_value(id) > top) top =
        json_integer_value(id);
    for (size_t i = 0; i < json_array_size(added); i++) {
        json_int_t v = json_integer_value(json_object_get(json_array_get(added, i), "id"));
        if (v > top) top = v;
    }
    return top;
}

static bool load_vocab(const Loader *l, const json_t *root) {
    Tokenizer *t = l->t;
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab"),
                 *added = json_object_get(root, "added_tokens");
    if (!json_is_object(vocab))
        return error_set(l->e, ERR_INPUT, "%s: model.vocab is not an object", l->where);
    json_int_t top = largest_id(vocab, added);
    /* ids may have gaps, but not ten for one token */
    if (top >= 10 * (json_int_t)(json_object_size(vocab) + json_array_size(added)) + 1000)
        return error_set(l->e, ERR_INPUT, "%s: a token id of %lld in a vocabulary of %zu", l->where,
                         (long long)top, json_object_size(vocab));
    t->vocab_size = (uint32_t)(top + 1);
    t->text = arena_alloc(&t->arena, t->vocab_size * sizeof *t->text);
    t->len = arena_alloc(&t->arena, t->vocab_size * sizeof *t->len);
    t->is_special = arena_alloc(&t->arena, t->vocab_size);
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)vocab, text, id) {
        if (!json_is_integer(id))
            return error_set(l->e, ERR_INPUT, "%s: the id of '%.60s' is not a number", l->where, text);
        if (!put_token(l, text, json_integer_value(id))) return false;
        text_map_put(&t->vocab, t->text[json_integer_value(id)], t->len[json_integer_value(id)],
                     (int32_t)json_integer_value(id));
    }
    return true;
}

static bool load_merge(const Loader *l, const json_t *merge, size_t rank, Buffer *joined) {
    const char *a, *b;
    size_t n;
    if (json_is_string(merge)) {
        a = json_string_value(merge);
        b = strchr(a, ' ');
        n = b ? (size_t)(b - a) : 0;
        b = b ? b + 1 : NULL;
    } else {
        a = json_string_value(json_array_get(merge, 0));
        b = json_string_value(json_array_get(merge, 1));
        n = a ? strlen(a) : 0;
    }
    if (!a || !b) return error_set(l->e, ERR_INPUT, "%s: merge %zu is not a pair", l->where, rank);
    joined->size = 0;
    buffer_append(joined, a, n);
    buffer_append(joined, b, strlen(b));
    const TextMap *v = &l->t->vocab;
    int32_t left = text_map_get(v, a, n), right = text_map_get(v, b, strlen(b));
    int32_t merged = text_map_get(v, (char *)joined->data, joined->size);
    if (left < 0 || right < 0 || merged < 0)
        return error_set(l->e, ERR_INPUT,
                         "%s: merge %zu ('%.*s' and '%.40s') names tokens the vocabulary lacks", l->where,
                         rank, (int)(n < 40 ? n : 40), a, b);
    merge_map_put(&l->t->merges, left, right, (uint32_t)rank, merged);
    return true;
}

static bool load_model(const Loader *l, const json_t *root) {
    const json_t *model = json_object_get(root, "model"), *merges = json_object_get(model, "merges");
    if (json_object_get(model, "type") && !is_type(model, "BPE"))
        return refuse(l, "a model", json_get_string(model, "type"));
    const char *prefix = json_get_string(model, "continuing_subword_prefix"),
               *suffix = json_get_string(model, "end_of_word_suffix");
    if ((prefix && *prefix) || (suffix && *suffix))
        return error_set(l->e, ERR_INPUT, "%s: subword prefixes and suffixes are not supported", l->where);
    if (!json_is_array(merges)) return error_set(l->e, ERR_INPUT, "%s: model.merges is not a list", l->where);
    if (!load_vocab(l, root)) return false;
    l->t->byte_fallback = flag(model, "byte_fallback", false);
    l->t->ignore_merges = flag(model, "ignore_merges", false);
    l->t->fuse_unk = flag(model, "fuse_unk", false);
    const char *unk = json_get_string(model, "unk_token");
    l->t->unk = unk ? text_map_get(&l->t->vocab, unk, strlen(unk)) : -1;
    Buffer joined = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(merges); i++)
        ok = load_merge(l, json_array_get(merges, i), i, &joined);
    buffer_free(&joined);
    return ok;
}

static bool load_added(const Loader *l, const json_t *root) {
    Tokenizer *t = l->t;
    const json_t *list = json_object_get(root, "added_tokens");
    t->added = arena_alloc(&t->arena, (json_array_size(list) + 1) * sizeof *t->added);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        const char *text = json_get_string(o, "content");
        uint64_t id;
        if (!text || !*text || !json_get_u64(o, "id", &id))
            return error_set(l->e, ERR_INPUT, "%s: added token %zu has no content or id", l->where, i);
        if (!put_token(l, text, (json_int_t)id)) return false;
        t->is_special[id] = flag(o, "special", false);
        t->starts_added[(uint8_t)text[0]] = 1;
        t->added[t->n_added++] = (AddedToken){.text = t->text[id],
                                              .len = t->len[id],
                                              .id = (int32_t)id,
                                              .special = t->is_special[id],
                                              .lstrip = flag(o, "lstrip", false),
                                              .rstrip = flag(o, "rstrip", false),
                                              .single_word = flag(o, "single_word", false)};
    }
    return true;
}

/* ---- normaliser ---- */

static bool load_normalizer(const Loader *l, const json_t *o) {
    static const struct {
        const char *name;
        int form;
    } forms[] = {{"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
                 {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
                 {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                 {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    if (!json_is_object(o)) return true;
    const json_t *list = json_object_get(o, "normalizers");
    if (is_type(o, "Sequence")) {
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!load_normalizer(l, json_array_get(list, i))) return false;
        return true;
    }
    Tokenizer *t = l->t;
    if (t->n_normalizers == MAX_STEPS) return refuse(l, "a longer sequence of normalizers", "Sequence");
    Normalizer z = {0};
    const json_t *pattern = json_object_get(o, "pattern");
    bool known = true;
    if (is_type(o, "Prepend")) {
        z = (Normalizer){.kind = NORMALIZE_PREPEND, .to = json_get_string(o, "prepend")};
        known = z.to != NULL;
    } else if (is_type(o, "Replace")) {
        z = (Normalizer){.kind = NORMALIZE_REPLACE,
                         .from = json_get_string(pattern, "String"),
                         .to = json_get_string(o, "content")};
        known = z.from && z.to;
    } else if (is_type(o, "Lowercase")) {
        z.kind = NORMALIZE_LOWERCASE;
    } else if (is_type(o, "Strip")) {
        z = (Normalizer){.kind = NORMALIZE_STRIP,
                         .left = flag(o, "strip_left", true),
                         .right = flag(o, "strip_right", true)};
    } else {
        known = false;
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
            if (is_type(o, forms[i].name)) {
                z = (Normalizer){.kind = NORMALIZE_UNICODE, .form = forms[i].form};
                known = true;
            }
    }
    if (!known) return refuse(l, "a normalizer", json_get_string(o, "type"));
    if (z.from) z.from = arena_strdup(&t->arena, z.from);
    if (z.to) z.to = arena_strdup(&t->arena, z.to);
    t->normalizers[t->n_normalizers++] = z;
    return true;
}

/* ---- pre-tokeniser ---- */

static bool load_split(const Loader *l, const json_t *o, Splitter *s) {
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                            "Contiguous"};
    const json_t *pattern = json_object_get(o, "pattern");
    const char *regex = json_get_string(pattern, "Regex"), *literal = json_get_string(pattern, "String");
    const char *behavior = json_get_string(o, "behavior");
    int b = 0;
    while (b < 5 && (!behavior || strcmp(behaviors[b], behavior) != 0))
        b++;
    if (b == 5 || (!regex && !literal)) return refuse(l, "a Split with behavior", behavior);
    Buffer quoted = {0};
    if (!regex) buffer_printf(&quoted, "\\Q%s\\E", literal);
    bool ok = splitter_compile(s, regex ? regex : buffer_string(&quoted), l->where, l->e);
    buffer_free(&quoted);
    s->behavior = (SplitBehavior)b;
    s->invert = flag(o, "invert", false);
    return ok;
}

static bool load_metaspace(const Loader *l, const json_t *o, Splitter *s) {
    const char *scheme = json_get_string(o, "prepend_scheme"), *bar = json_get_string(o, "replacement");
    if (bar && strcmp(bar, "\xe2\x96\x81") != 0) return refuse(l, "a Metaspace with replacement", bar);
    s->kind = SPLITTER_METASPACE;
    s->metaspace_split = flag(o, "split", true);
    s->prepend = PREPEND_ALWAYS;
    if (scheme && strcmp(scheme, "never") == 0) s->prepend = PREPEND_NEVER;
    if (scheme && strcmp(scheme, "first") == 0) s->prepend = PREPEND_FIRST;
    if (!scheme && !flag(o, "add_prefix_space", true)) s->prepend = PREPEND_NEVER;
    return true;
}

static bool load_splitter(const Loader *l, const json_t *o) {
    if (!json_is_object(o)) return true;
    const json_t *list = json_object_get(o, "pretokenizers");
    if (is_type(o, "Sequence")) {
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!load_splitter(l, json_array_get(list, i))) return false;
        return true;
    }
    Tokenizer *t = l->t;
    if (t->n_splitters + 2 > MAX_STEPS) return refuse(l, "a longer sequence of pre_tokenizers", "Sequence");
    Splitter s = {0};
    if (is_type(o, "ByteLevel")) {
        t->byte_level = true;
        if (flag(o, "add_prefix_space", true))
            t->splitters[t->n_splitters++] = (Splitter){.kind = SPLITTER_PREFIX_SPACE};
        if (!flag(o, "use_regex", true)) return true;
        if (!splitter_compile(&s, gpt2_pattern, l->where, l->e)) return false;
    } else if (is_type(o, "Split")) {
        if (!load_split(l, o, &s)) return false;
    } else if (is_type(o, "Digits")) {
        s = (Splitter){.kind = SPLITTER_DIGITS, .individual_digits = flag(o, "individual_digits", false)};
    } else if (is_type(o, "Metaspace")) {
        if (!load_metaspace(l, o, &s)) return false;
    } else {
        return refuse(l, "a pre_tokenizer", json_get_string(o, "type"));
    }
    t->splitters[t->n_splitters++] = s;
    return true;
}

/* ---- what is put around a text ---- */

static bool load_template(const Loader *l, const json_t *o) {
    if (!json_is_object(o) || is_type(o, "ByteLevel")) return true;
    Tokenizer *t = l->t;
    const json_t *list = json_object_get(o, "processors");
    if (is_type(o, "Sequence")) {
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!load_template(l, json_array_get(list, i))) return false;
        return true;
    }
    if (!is_type(o, "TemplateProcessing")) return refuse(l, "a post_processor", json_get_string(o, "type"));
    bool after = false;
    const json_t *single = json_object_get(o, "single");
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *special = json_object_get(json_array_get(single, i), "SpecialToken");
        if (!special) {
            after = true;
            continue;
        }
        const char *name = json_get_string(special, "id");
        const json_t *ids =
            json_object_get(json_object_get(json_object_get(o, "special_tokens"), name ? name : ""), "ids");
        for (size_t j = 0; j < json_array_size(ids); j++) {
            size_t *n = after ? &t->n_suffix : &t->n_prefix;
            json_int_t id = json_integer_value(json_array_get(ids, j));
            if (*n == MAX_SPECIALS || id < 0 || (uint64_t)id >= t->vocab_size)
                return error_set(l->e, ERR_INPUT, "%s: post_processor: special token %lld", l->where,
                                 (long long)id);
            (after ? t->suffix : t->prefix)[(*n)++] = (int32_t)id;
        }
    }
    return true;
}

static void load_decoder(const Loader *l, const json_t *o) {
    const json_t *list = json_object_get(o, "decoders");
    for (size_t i = 0; i < json_array_size(list); i++)
        load_decoder(l, json_array_get(list, i));
    if (is_type(o, "Strip") && json_integer_value(json_object_get(o, "start")) == 1)
        l->t->strip_first_space = true;
    if (is_type(o, "Metaspace")) {
        const char *scheme = json_get_string(o, "prepend_scheme");
        l->t->strip_first_space = !scheme || strcmp(scheme, "never") != 0;
    }
}

/* ---- BOS and EOS: tokenizer_config.json by text, else config.json by id ---- */

static int32_t special_id(const Tokenizer *t, const json_t *tokenizer_config, const json_t *config,
                          const char *name) {
    char key[32];
    snprintf(key, sizeof key, "%s_id", name);
    const json_t *o = json_object_get(tokenizer_config, name), *id = json_object_get(config, key);
    const char *text = json_is_object(o) ? json_get_string(o, "content") : json_string_value(o);
    for (uint32_t i = 0; text && i < t->vocab_size; i++)
        if (t->text[i] && strcmp(t->text[i], text) == 0) return (int32_t)i;
    if (json_is_array(id)) id = json_array_get(id, 0);
    bool sane = json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < t->vocab_size;
    return sane ? (int32_t)json_integer_value(id) : -1;
}

bool tokenizer_load_json(Tokenizer *t, const Checkpoint *c, Error *e) {
    char where[600];
    snprintf(where, sizeof where, "%.500s/tokenizer.json", c->path);
    Loader l = {.t = t, .where = where, .e = e};
    json_t *root = checkpoint_json(c, "tokenizer.json", e);
    if (!root) return false;
    bool ok = load_model(&l, root) && load_added(&l, root) &&
              load_normalizer(&l, json_object_get(root, "normalizer")) &&
              load_splitter(&l, json_object_get(root, "pre_tokenizer")) &&
              load_template(&l, json_object_get(root, "post_processor")) && tokenizer_finish(t, where, e);
    load_decoder(&l, json_object_get(root, "decoder"));
    json_decref(root);
    json_t *tokenizer_config = ok ? checkpoint_json(c, "tokenizer_config.json", e) : NULL;
    json_t *config = ok ? checkpoint_json(c, "config.json", e) : NULL;
    if (ok) {
        t->bos = special_id(t, tokenizer_config, config, "bos_token");
        t->eos = special_id(t, tokenizer_config, config, "eos_token");
    }
    json_decref(tokenizer_config);
    json_decref(config);
    return ok;
}
