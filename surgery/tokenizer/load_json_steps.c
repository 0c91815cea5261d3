/* Loading the steps around the model of a tokenizer.json: normalizer, pre_tokenizer, post_processor and
 * decoder. load_json.c calls tokenizer_load_steps once the vocabulary is there; the steps go into the lists
 * of the Tokenizer (normalize.h, split.h), which encode.c and decode.c run. Each of the four parts is an
 * object with a "type", or a "Sequence" of such objects. A table for each part lists the types that are
 * supported; others are refused by name.
 *
 * To support another type, write its load function and add a row to the table of its part. Members that are
 * missing have the defaults of HF `tokenizers`. */
#include "surgery/tokenizer/load_json_steps.h"

#include <string.h>
#include <utf8proc.h>

#include "formats/json.h"
#include "surgery/tokenizer/charsmap.h"
#include "surgery/tokenizer/pre_tokenizers.h"
#include "surgery/tokenizer/tokenizer_json.h"
#include "surgery/tokenizer/unicode.h"

typedef struct Loader {
    Tokenizer *t;      /* being filled */
    const char *where; /* path of the file, which begins messages */
    Error *e;
} Loader;

/* A type that is supported: its name, the function that reads it, and constants for that function. */
typedef struct Step {
    const char *type;
    /* Reads the object `o` of this type and adds what it says to the tokenizer. */
    bool (*load)(const Loader *l, const json_t *o, const struct Step *row);
    int form;               /* load_unicode: options of utf8proc_map */
    const char *pattern;    /* load_pattern, load_punctuation: the expression */
    SplitBehavior behavior; /* load_pattern */
    bool invert;            /* load_pattern */
} Step;

/* One of the four parts of tokenizer.json. */
typedef struct Part {
    const char *name;    /* for messages */
    const char *members; /* the key with the steps of a Sequence */
    const Step *steps;   /* the supported types, ended by one without a name */
} Part;

/* Sets the error for something that is not supported: `what` describes it, `value` is the text in the file or
 * NULL. Returns false. */
static bool refuse(const Loader *l, const char *what, const char *value) {
    return error_set(l->e, ERR_INPUT, "%s: %s '%.60s' is not supported", l->where, what,
                     value ? value : "(none)");
}

/* Loads a part, or a step of a Sequence; Sequences may be nested. A part that is missing or null has no
 * steps. */
static bool load_part(const Loader *l, const json_t *o, const Part *part) {
    if (!o || json_is_null(o)) return true;
    const char *type = json_get_string(o, "type");
    if (type && strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(o, part->members);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!load_part(l, json_array_get(list, i), part)) return false;
        return true;
    }
    for (const Step *s = part->steps; type && s->type; s++)
        if (strcmp(s->type, type) == 0) return s->load(l, o, s);
    return refuse(l, part->name, type);
}

/* Copies a text of the file into the tokenizer's memory: the JSON value is released after loading. */
static char *copy_text(const Loader *l, const char *text) {
    return arena_strdup(&l->t->arena, text);
}

/* The member "pattern": {"Regex": ...}, or {"String": ...} which is matched literally. An expression that no
 * published tokenizer is known to have is matched with a limit on its steps. NULL with an error. */
static Pattern *load_expression(const Loader *l, const json_t *o) {
    const json_t *pattern = json_object_get(o, "pattern");
    const char *regex = json_get_string(pattern, "Regex"), *literal = json_get_string(pattern, "String");
    if (regex) return pattern_compile(regex, pre_tokenizer_publishes(regex), l->where, l->e);
    if (literal) return pattern_literal(literal, l->where, l->e);
    refuse(l, "a pattern in", json_get_string(o, "type"));
    return NULL;
}

/* ---- normalizer ---- */

/* NFC, NFD, NFKC, NFKD (UAX #15). UTF8PROC_STABLE keeps to the stability policy of Unicode's normal forms. */
static bool load_unicode(const Loader *l, const json_t *o, const Step *row) {
    (void)o;
    return normalizers_add(&l->t->normalizers,
                           (Normalizer){.apply = normalize_unicode, .form = row->form | UTF8PROC_STABLE},
                           l->where, l->e);
}

/* Lowercase: has no options. */
static bool load_lowercase(const Loader *l, const json_t *o, const Step *row) {
    (void)o, (void)row;
    return normalizers_add(&l->t->normalizers, (Normalizer){.apply = normalize_lowercase}, l->where, l->e);
}

/* Strip: removes white space at either end, or at both. */
static bool load_strip(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    Normalizer z = {.apply = normalize_strip,
                    .left = tokenizer_json_flag(o, "strip_left", true),
                    .right = tokenizer_json_flag(o, "strip_right", true)};
    return normalizers_add(&l->t->normalizers, z, l->where, l->e);
}

/* Prepend: puts a text, usually the space marker, in front. */
static bool load_prepend(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    const char *text = json_get_string(o, "prepend");
    if (!text) return refuse(l, "normalizer Prepend of", NULL);
    Normalizer z = {.apply = normalize_prepend, .to = copy_text(l, text)};
    return normalizers_add(&l->t->normalizers, z, l->where, l->e);
}

/* Replace: an expression or a literal text, and what every match becomes. */
static bool load_replace(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    const char *to = json_get_string(o, "content");
    if (!to) return refuse(l, "normalizer Replace by", NULL);
    Normalizer z = {.apply = normalize_replace, .to = copy_text(l, to), .pattern = load_expression(l, o)};
    return z.pattern && normalizers_add(&l->t->normalizers, z, l->where, l->e);
}

/* The value of a digit of base64 (RFC 4648, section 4); -1 for other characters. */
static int base64_digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Appends the bytes that base64 text stands for. False if a character is not in the alphabet. Padding may be
 * missing. */
static bool decode_base64(const char *s, Buffer *out) {
    uint32_t bits = 0; /* the last four digits, 6 bits each */
    size_t n = strlen(s), digits = 0;
    while (n && s[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++) {
        int d = base64_digit(s[i]);
        if (d < 0) return false;
        bits = bits << 6 | (uint32_t)d;
        if (++digits % 4 != 1) buffer_byte(out, (uint8_t)(bits >> (6 - 2 * ((digits - 1) % 4))));
    }
    return true;
}

/* Precompiled: SentencePiece's table of replacements, in base64 (charsmap.h). */
static bool load_precompiled(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    const char *text = json_get_string(o, "precompiled_charsmap");
    if (!text || !*text) return true; /* HF writes null for an empty map */
    Buffer bytes = {0};
    Normalizer z = {.apply = normalize_precompiled};
    if (!decode_base64(text, &bytes))
        refuse(l, "precompiled_charsmap that is not base64:", text);
    else
        z.map = charsmap_open(&l->t->arena, bytes.data, bytes.size, l->where, l->e);
    buffer_free(&bytes);
    return z.map && normalizers_add(&l->t->normalizers, z, l->where, l->e);
}

/* The normalizers that are supported. Others, such as BertNormalizer, are refused. */
static const Step normalizers[] = {
    {.type = "NFC", .load = load_unicode, .form = UTF8PROC_COMPOSE},
    {.type = "NFD", .load = load_unicode, .form = UTF8PROC_DECOMPOSE},
    {.type = "NFKC", .load = load_unicode, .form = UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    {.type = "NFKD", .load = load_unicode, .form = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    {.type = "Lowercase", .load = load_lowercase},
    {.type = "Strip", .load = load_strip},
    {.type = "Prepend", .load = load_prepend},
    {.type = "Replace", .load = load_replace},
    {.type = "Precompiled", .load = load_precompiled},
    {0},
};

/* ---- pre_tokenizer ---- */

/* Adds a step to the pre-tokenizer. ByteLevel turns text into GPT-2's printable characters, and steps behind
 * it (Falcon has some) cut those. In this tokenizer pieces stay bytes up to the model, so the conversion to
 * printable characters is only added where such a step exists, before the first of them. */
static bool add_step(const Loader *l, Splitter s) {
    bool first_behind_bytes = l->t->byte_level && !l->t->printable_pieces;
    l->t->printable_pieces = l->t->byte_level;
    if (first_behind_bytes &&
        !splitters_add(&l->t->splitters, (Splitter){.apply = split_to_printable}, l->where, l->e)) {
        pattern_free(s.pattern);
        return false;
    }
    return splitters_add(&l->t->splitters, s, l->where, l->e);
}

/* WhitespaceSplit and Whitespace: types that always cut by the same expression. */
static bool load_pattern(const Loader *l, const json_t *o, const Step *row) {
    (void)o;
    Splitter s = {.apply = split_by_pattern, .behavior = row->behavior, .invert = row->invert};
    s.pattern = pattern_compile(row->pattern, true, l->where, l->e);
    return s.pattern && add_step(l, s);
}

/* Reads "behavior", what becomes of the matches of a Split. The names stand in the order of the enum
 * SplitBehavior. */
static bool load_behavior(const Loader *l, const json_t *o, SplitBehavior *out) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    const char *name = json_get_string(o, "behavior");
    for (int b = 0; name && b < 5; b++)
        if (strcmp(names[b], name) == 0) {
            *out = (SplitBehavior)b;
            return true;
        }
    return refuse(l, "a split with behavior", name);
}

/* Split: by an expression or a text of the file. */
static bool load_split(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    Splitter s = {.apply = split_by_pattern, .invert = tokenizer_json_flag(o, "invert", false)};
    if (!load_behavior(l, o, &s.behavior)) return false;
    s.pattern = load_expression(l, o);
    return s.pattern && add_step(l, s);
}

/* Punctuation: each character is a piece, unless "behavior" says otherwise. */
static bool load_punctuation(const Loader *l, const json_t *o, const Step *row) {
    Splitter s = {.apply = split_by_pattern, .behavior = SPLIT_ISOLATED};
    if (json_object_get(o, "behavior") && !load_behavior(l, o, &s.behavior)) return false;
    s.pattern = pattern_compile(row->pattern, true, l->where, l->e);
    return s.pattern && add_step(l, s);
}

/* CharDelimiterSplit: cuts at a character and drops it. */
static bool load_delimiter(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    const char *delimiter = json_get_string(o, "delimiter");
    if (!delimiter) return refuse(l, "pre_tokenizer CharDelimiterSplit by", NULL);
    Splitter s = {.apply = split_by_pattern, .behavior = SPLIT_REMOVED};
    s.pattern = pattern_literal(delimiter, l->where, l->e);
    return s.pattern && add_step(l, s);
}

/* HF asks Rust's char::is_numeric, which follows Unicode 17; two ranges are newer than what pattern.c knows
 * as \p{N}. */
static bool load_digits(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    Splitter s = {.apply = split_by_pattern,
                  .behavior =
                      tokenizer_json_flag(o, "individual_digits", false) ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS};
    s.pattern = pattern_compile("[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]", true, l->where, l->e);
    return s.pattern && add_step(l, s);
}

/* ByteLevel: a space in front, a cut by GPT-2's expression, then the byte-level alphabet. The first two can
 * be switched off. */
static bool load_byte_level(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    if (l->t->byte_level) return refuse(l, "a second pre_tokenizer", "ByteLevel");
    if (tokenizer_json_flag(o, "add_prefix_space", true) &&
        !add_step(l, (Splitter){.apply = split_prefix_space}))
        return false;
    if (tokenizer_json_flag(o, "use_regex", true)) {
        Splitter s = {.apply = split_by_pattern, .behavior = SPLIT_ISOLATED};
        s.pattern = pattern_compile(gpt2_pattern, true, l->where, l->e);
        if (!s.pattern || !add_step(l, s)) return false;
    }
    l->t->byte_level = true;
    return true;
}

/* Refuses a Metaspace with a marker other than U+2581, which vocabularies have for spaces; no published
 * tokenizer is known to have another. */
static bool check_marker(const Loader *l, const json_t *o) {
    const char *marker = json_get_string(o, "replacement");
    return !marker || strcmp(marker, space_marker) == 0 || refuse(l, "Metaspace with replacement", marker);
}

/* "prepend_scheme", or "add_prefix_space" as files of older versions have it. */
static PrependScheme prepend_scheme(const json_t *o) {
    const char *scheme = json_get_string(o, "prepend_scheme");
    if (!scheme) return tokenizer_json_flag(o, "add_prefix_space", true) ? PREPEND_ALWAYS : PREPEND_NEVER;
    return strcmp(scheme, "never") == 0   ? PREPEND_NEVER
           : strcmp(scheme, "first") == 0 ? PREPEND_FIRST
                                          : PREPEND_ALWAYS;
}

/* Metaspace: marks spaces, which also is a way to cut. Behind ByteLevel there are no spaces left to mark. */
static bool load_metaspace(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    Splitter s = {.apply = split_metaspace,
                  .metaspace_split = tokenizer_json_flag(o, "split", true),
                  .prepend = prepend_scheme(o)};
    if (l->t->byte_level) return refuse(l, "behind ByteLevel a pre_tokenizer", "Metaspace");
    return check_marker(l, o) && add_step(l, s);
}

/* The step Whitespace is \w+|[^\w\s]+ in the syntax of Rust's regex crate. Its \w has the two joiners
 * (U+200C, U+200D) and lacks the superscript digits and fractions that Oniguruma's has, after which pattern.c
 * models \w. */
static const char words[] = "(?:(?![\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}])[\\w\\x{200c}\\x{200d}])+|"
                            "(?:[\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]|[^\\w\\s\\x{200c}\\x{200d}])+";

/* ASCII's punctuation, and \p{P} as it was in Unicode 8: for this step HF uses the crate unicode_categories,
 * whose tables are that old. Characters that became punctuation later are excluded, two that were it then are
 * added. */
static const char punctuation[] =
    "(?![\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b4e}-\\x{1b4f}\\x{1b7d}-\\x{1b7f}"
    "\\x{2e43}-\\x{2e4f}\\x{2e52}-\\x{2e5d}\\x{10d6e}\\x{10ead}\\x{10f55}-\\x{10f59}"
    "\\x{10f86}-\\x{10f89}\\x{113d4}-\\x{113d5}\\x{113d7}-\\x{113d8}\\x{1144b}-\\x{1144f}"
    "\\x{1145a}-\\x{1145b}\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}\\x{1183b}"
    "\\x{11944}-\\x{11946}\\x{119e2}\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11a9c}"
    "\\x{11a9e}-\\x{11aa2}\\x{11b00}-\\x{11b09}\\x{11be1}\\x{11c41}-\\x{11c45}"
    "\\x{11c70}-\\x{11c71}\\x{11ef7}-\\x{11ef8}\\x{11f43}-\\x{11f4f}\\x{11fff}"
    "\\x{12ff1}-\\x{12ff2}\\x{16d6d}-\\x{16d6f}\\x{16e97}-\\x{16e9a}\\x{16fe2}\\x{1e5ff}"
    "\\x{1e95e}-\\x{1e95f}])"
    "[!-/:-@\\[-`{-~\\p{P}\\x{166d}\\x{111c9}]";

static const Step splitting_steps[] = {
    {.type = "ByteLevel", .load = load_byte_level},
    {.type = "Split", .load = load_split},
    {.type = "Digits", .load = load_digits},
    {.type = "Metaspace", .load = load_metaspace},
    {.type = "Punctuation", .load = load_punctuation, .pattern = punctuation},
    {.type = "CharDelimiterSplit", .load = load_delimiter},
    {.type = "WhitespaceSplit", .load = load_pattern, .pattern = "\\s", .behavior = SPLIT_REMOVED},
    {.type = "Whitespace", .load = load_pattern, .pattern = words, .behavior = SPLIT_REMOVED, .invert = true},
    {0},
};

/* ---- post_processor: the special tokens around a text ---- */

/* Accepts a type that changes nothing here; the tables below say why for each. */
static bool load_nothing(const Loader *l, const json_t *o, const Step *row) {
    (void)l, (void)o, (void)row;
    return true;
}

/* Appends ids to those that are put in front of a text, or behind it. Ids come from the file, so each has to
 * be a token of the vocabulary. */
static bool add_around(const Loader *l, const json_t *ids, bool after) {
    Tokenizer *t = l->t;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *v = json_array_get(ids, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        size_t *n = after ? &t->n_suffix : &t->n_prefix;
        if (id < 0 || (uint64_t)id >= t->vocab_size || !t->text[id])
            return error_set(l->e, ERR_INPUT, "%s: post_processor: there is no token %lld (of %u)", l->where,
                             (long long)id, t->vocab_size);
        if (*n == MAX_AROUND) return refuse(l, "a post_processor with more special tokens than", "8");
        (after ? t->suffix : t->prefix)[(*n)++] = (int32_t)id;
    }
    return true;
}

/* TemplateProcessing: "single" is a list of {"SpecialToken": {"id": name}} and one {"Sequence": ...}, which
 * stands for the text; "special_tokens" has the ids of the names. Special tokens before the Sequence go in
 * front of a text, the others behind it. "pair", for two texts, is not read. */
static bool load_template(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    bool after = false;
    const json_t *single = json_object_get(o, "single"), *specials = json_object_get(o, "special_tokens");
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *special = json_object_get(json_array_get(single, i), "SpecialToken");
        const char *name = json_get_string(special, "id");
        if (!special) {
            after = true;
            continue;
        }
        const json_t *ids = json_object_get(name ? json_object_get(specials, name) : NULL, "ids");
        if (!json_is_array(ids)) return refuse(l, "post_processor: special token without ids", name);
        if (!add_around(l, ids, after)) return false;
    }
    return true;
}

static const Step post_processors[] = {
    {.type = "TemplateProcessing", .load = load_template},
    {.type = "ByteLevel", .load = load_nothing}, /* only changes offsets, which are not kept */
    {0},
};

/* ---- decoder ---- */

enum { MAX_REPLACEMENT_GROWTH = 32 }; /* published decoders write 1 byte for the 3 of a space marker */

/* ByteFallback: tokens <0xXX> become bytes. */
static bool load_decoder_bytes(const Loader *l, const json_t *o, const Step *row) {
    (void)o, (void)row;
    l->t->decode_bytes = true;
    return true;
}

/* How many times longer all replacements together can make a text, each by its own factor. */
static size_t replacement_growth(const Tokenizer *t) {
    size_t growth = 1;
    for (size_t i = 0; i < t->n_replacements && growth <= MAX_REPLACEMENT_GROWTH; i++) {
        size_t from = strlen(t->replacements[i].from), to = strlen(t->replacements[i].to);
        growth *= to > from ? (to + from - 1) / from : 1;
    }
    return growth;
}

/* Replace: only of a text, mostly markers by spaces. An expression could match over several tokens, while
 * decoding goes token by token. Each step may multiply the text, so their product is limited. */
static bool load_decoder_replace(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    Tokenizer *t = l->t;
    const char *from = json_get_string(json_object_get(o, "pattern"), "String"),
               *to = json_get_string(o, "content");
    if (!from || !*from || !to || t->n_replacements == MAX_REPLACEMENTS)
        return refuse(l, "decoder", "Replace by pattern");
    t->replacements[t->n_replacements++] = (Replacement){copy_text(l, from), copy_text(l, to)};
    if (replacement_growth(t) > MAX_REPLACEMENT_GROWTH)
        return error_set(
            l->e, ERR_INPUT,
            "%s: the Replace steps of the decoder make a text more than %d times as long; refused", l->where,
            MAX_REPLACEMENT_GROWTH);
    return true;
}

/* Strip: "start" and "stop" are how many spaces are removed at either end of the whole text. Other
 * characters, and counts above 64, do not occur and are refused. */
static bool load_decoder_strip(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    const char *content = json_get_string(o, "content");
    uint64_t start = 0, stop = 0;
    json_get_u64(o, "start", &start);
    json_get_u64(o, "stop", &stop);
    if (!content || strcmp(content, " ") != 0 || start > 64 || stop > 64)
        return refuse(l, "decoder Strip of", content);
    l->t->strip_start = (uint32_t)start;
    l->t->strip_stop = (uint32_t)stop;
    return true;
}

/* Metaspace: markers become spaces, except for the one that encoding put in front of the text. */
static bool load_decoder_metaspace(const Loader *l, const json_t *o, const Step *row) {
    (void)row;
    l->t->decode_markers = true;
    l->t->drop_first_markers = prepend_scheme(o) != PREPEND_NEVER;
    return check_marker(l, o);
}

static const Step decoders[] = {
    {.type = "ByteLevel", .load = load_nothing}, /* byte_level, which the pre_tokenizer set, decides */
    {.type = "ByteFallback", .load = load_decoder_bytes},
    {.type = "Fuse", .load = load_nothing}, /* decoding joins all tokens anyway */
    {.type = "Replace", .load = load_decoder_replace},
    {.type = "Strip", .load = load_decoder_strip},
    {.type = "Metaspace", .load = load_decoder_metaspace},
    {0},
};

/* The pre_tokenizer is loaded before the decoder, because it says whether the vocabulary is byte-level. */
bool tokenizer_load_steps(Tokenizer *t, const json_t *root, const char *where, Error *e) {
    static const struct {
        const char *key;
        Part part;
    } parts[] = {
        {"normalizer", {"normalizer", "normalizers", normalizers}},
        {"pre_tokenizer", {"pre_tokenizer", "pretokenizers", splitting_steps}},
        {"post_processor", {"post_processor", "processors", post_processors}},
        {"decoder", {"decoder", "decoders", decoders}},
    };
    Loader l = {.t = t, .where = where, .e = e};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!load_part(&l, json_object_get(root, parts[i].key), &parts[i].part)) return false;
    return true;
}
