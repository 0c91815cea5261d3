/* The pre-tokenizers of byte-level BPE, and the functions that find the one that a tokenizer.json uses. The
 * regular expressions of llama.cpp are in its src/llama-vocab.cpp (llm_tokenizer_bpe). They differ from those
 * of Hugging Face where llama.cpp's regex engine is more limited: it folds case only within ASCII, and beyond
 * ASCII it cannot distinguish upper case from lower case or letters from marks.
 *
 * To add one: write its two lists of steps as a PreTokenizerCut, or use an existing one, and add a row to the
 * table. tests/peers/test_tokenizer_gguf.py compares every row with llama.cpp and HF. */
#include "surgery/tokenizer/pre_tokenizers.h"

#include <string.h>

#include "formats/json.h"
#include "surgery/tokenizer/tokenizer_json.h"

/* A list of steps, ended by NULL. */
#define STEPS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- parts that many expressions have in common ----
 *
 * FOLDED        English contractions in any case; (?i:) also matches the long s (U+017F), which folds to s
 * ASCII_FOLDED  contractions in any case of ASCII
 * WORD          letters, with one character before them that is neither letter, digit nor line break
 * OTHERS        punctuation and symbols, with an optional space before and line breaks after them
 * OTHERS_SLASH  OTHERS in which slashes may follow as well
 * SPACES        line breaks with the white space before them; or white space except its last character, which
 * is matched together with the following word; or other white space */
#define FOLDED "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define ASCII_FOLDED "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define OTHERS_SLASH " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* CASED matches words in which the case changes at most once, from upper to lower, so that an upper-case
 * letter after a lower-case one begins a new word. UPPER and LOWER both contain the letters without case and
 * the marks. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(first, second, after)                                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?" first "*" second "+" after "|[^\\r\\n\\p{L}\\p{N}]?" first "+" second "*" after \
    "|"
#define ASCII_UPPER "(?:(?![a-z])\\p{L})"
#define ASCII_LOWER "(?:(?![A-Z])\\p{L})"

/* ---- the ways of cutting text ---- */

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 "|" WORD "|\\p{N}{1,3}|" OTHERS "|" SPACES
#define QWEN2 "|" WORD "|\\p{N}|" OTHERS "|" SPACES

static const PreTokenizerCut gpt2 = {STEPS(PRE_BYTE_LEVEL), STEPS(GPT2)};
static const PreTokenizerCut digits = {STEPS(PRE_DIGITS, PRE_BYTE_LEVEL), STEPS("\\p{N}", GPT2)};
static const PreTokenizerCut llama3 = {STEPS(FOLDED LLAMA3), STEPS(ASCII_FOLDED LLAMA3)};
static const PreTokenizerCut qwen2 = {STEPS(FOLDED QWEN2), STEPS(ASCII_FOLDED QWEN2)};

#define QWEN35 "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
static const PreTokenizerCut qwen35 = {STEPS(FOLDED QWEN35), STEPS(ASCII_FOLDED QWEN35)};

static const PreTokenizerCut tekken = {
    STEPS(CASED(UPPER, LOWER, "") "\\p{N}|" OTHERS_SLASH "|" SPACES),
    STEPS(CASED(ASCII_UPPER, ASCII_LOWER, "") "\\p{N}|" OTHERS_SLASH "|" SPACES)};
static const PreTokenizerCut gpt4o = {
    STEPS(CASED(UPPER, LOWER, FOLDED "?") "\\p{N}{1,3}|" OTHERS_SLASH "|" SPACES),
    STEPS(CASED(ASCII_UPPER, ASCII_LOWER, ASCII_FOLDED "?") "\\p{N}{1,3}|" OTHERS_SLASH "|" SPACES)};

static const PreTokenizerCut falcon = {
    STEPS(PRE_PUNCTUATION, PRE_BYTE_LEVEL, PRE_DIGIT_RUNS, "[0-9][0-9][0-9]"),
    STEPS("[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]")};
static const PreTokenizerCut falcon3 = {STEPS(PRE_PUNCTUATION, PRE_BYTE_LEVEL, PRE_DIGITS),
                                        STEPS(ASCII_FOLDED LLAMA3)};

/* DeepSeek's letters with case, its punctuation, and the characters of East Asia, copied from its
 * tokenizer.json. Characters that an editor might replace by their composed forms are escaped. */
/* clang-format off */
#define LETTERS \
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ" \
    "ὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿ" \
    "ⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
/* clang-format on */
#define MARKS "!-/:-~！-／：-～‘-‟　-。"
#define EAST "一-龥ࠀ-一가-퟿"
/* llama.cpp replaces white space beyond ASCII before it matches these classes, so they never match it. */
#define NO_SPACE(class) "(?:(?!\\s)[" class "])+"

static const PreTokenizerCut deepseek_llm = {
    STEPS("[\r\n]", "\\s?[" LETTERS "]+", "\\s?[" MARKS "]+", "\\s+$", "[" EAST "]+", PRE_DIGITS),
    STEPS("[\r\n]", "\\s?[" LETTERS "]+", "\\s?" NO_SPACE(MARKS), "\\s+$", NO_SPACE(EAST), "\\p{N}+")};
static const PreTokenizerCut deepseek_coder = {
    STEPS("[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[" EAST "]+", PRE_DIGITS),
    STEPS("[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", NO_SPACE(EAST), "\\p{N}")};
#define DEEPSEEK3                                                                                            \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "      \
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
static const PreTokenizerCut deepseek_v3 = {STEPS("\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3),
                                            STEPS("\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3)};

#define PLAIN STEPS("[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]")
static const PreTokenizerCut plain = {PLAIN, PLAIN};

/* llama.cpp has a name for nearly every model that it supports, so several names may cut text in the same
 * way. If several rows fit a tokenizer.json equally well, the first of them is written to the GGUF. The
 * others are needed to read GGUF files that use their names. The comment after a row names models that use
 * it. */
const PreTokenizer pre_tokenizers[] = {
    {.gguf = "gpt-2", .cut = &gpt2},
    {.gguf = "olmo", .cut = &gpt2, .nfc = true}, /* GPT-NeoX, Pythia, OLMoE */
    {.gguf = "phi-2", .cut = &gpt2},
    {.gguf = "exaone4", .cut = &gpt2},
    {.gguf = "mpt", .cut = &gpt2, .nfc = true},
    {.gguf = "jais", .cut = &gpt2},
    {.gguf = "trillion", .cut = &gpt2},
    {.gguf = "gigachat", .cut = &gpt2},
    {.gguf = "a.x-4.0", .cut = &gpt2},
    {.gguf = "mellum", .cut = &gpt2},
    {.gguf = "granite-docling", .cut = &gpt2},
    {.gguf = "smollm", .cut = &digits},
    {.gguf = "command-r", .cut = &digits, .nfc = true}, /* Cohere2 */
    {.gguf = "refact", .cut = &digits},                 /* Granite */
    {.gguf = "starcoder", .cut = &digits},
    {.gguf = "codeshell", .cut = &digits},
    {.gguf = "exaone", .cut = &digits},
    {.gguf = "minerva-7b", .cut = &digits},
    {.gguf = "mellum2", .cut = &digits},
    {.gguf = "llama-bpe",
     .cut = &llama3,
     .hf_ignores_merges = true,
     .llama_ignores_merges = true,
     .adds_bos = true}, /* SmolLM3 */
    {.gguf = "llama3",
     .cut = &llama3,
     .hf_ignores_merges = true,
     .llama_ignores_merges = true,
     .adds_bos = true},
    {.gguf = "llama-v3",
     .cut = &llama3,
     .hf_ignores_merges = true,
     .llama_ignores_merges = true,
     .adds_bos = true},
    {.gguf = "falcon-h1",
     .cut = &llama3,
     .hf_ignores_merges = true,
     .llama_ignores_merges = true,
     .adds_bos = true},
    {.gguf = "pixtral",
     .cut = &llama3,
     .hf_ignores_merges = true,
     .llama_ignores_merges = true,
     .adds_bos = true},
    {.gguf = "lfm2",
     .cut = &llama3,
     .hf_ignores_merges = true,
     .llama_ignores_merges = true,
     .adds_bos = true},
    {.gguf = "dbrx", .cut = &llama3}, /* Phi-4, OLMo 2 */
    {.gguf = "smaug-bpe", .cut = &llama3},
    {.gguf = "chatglm-bpe", .cut = &llama3},
    {.gguf = "glm4", .cut = &llama3, .hf_ignores_merges = true, .llama_ignores_merges = true},
    {.gguf = "qwen2", .cut = &qwen2, .nfc = true}, /* Qwen 2, 2.5, 3 */
    {.gguf = "stablelm2", .cut = &qwen2},
    {.gguf = "deepseek-r1-qwen", .cut = &qwen2, .nfc = true},
    {.gguf = "megrez", .cut = &qwen2, .nfc = true},
    {.gguf = "hunyuan", .cut = &qwen2},
    {.gguf = "solar-open", .cut = &qwen2},
    {.gguf = "grok-2", .cut = &qwen2},
    {.gguf = "qwen35", .cut = &qwen35, .nfc = true},
    {.gguf = "tekken",
     .cut = &tekken,
     .hf_ignores_merges = true,
     .llama_ignores_merges = true,
     .adds_bos = true},                /* Mistral Nemo */
    {.gguf = "gpt-4o", .cut = &gpt4o}, /* GPT-OSS */
    {.gguf = "llama4", .cut = &gpt4o, .hf_ignores_merges = true},
    {.gguf = "kanana2", .cut = &gpt4o},
    {.gguf = "minimax-m2", .cut = &gpt4o},
    {.gguf = "falcon", .cut = &falcon},
    {.gguf = "falcon3", .cut = &falcon3, .llama_ignores_merges = true, .adds_bos = true},
    {.gguf = "deepseek-llm", .cut = &deepseek_llm},
    {.gguf = "deepseek-coder", .cut = &deepseek_coder},
    {.gguf = "deepseek-v3", .cut = &deepseek_v3},
    {.gguf = "default", .cut = &plain},
    {0},
};

/* An absent name (NULL) means "default", as in llama.cpp. */
const PreTokenizer *pre_tokenizer_named(const char *name) {
    const PreTokenizer *p = pre_tokenizers;
    while (p->gguf && strcmp(p->gguf, name ? name : "default") != 0)
        p++;
    return p->gguf ? p : NULL;
}

/* ---- finding the pre-tokenizer of a tokenizer.json ---- */

/* Whether the member `key` of an object is the text `value`. */
static bool is(const json_t *o, const char *key, const char *value) {
    const char *v = json_get_string(o, key);
    return v && strcmp(v, value) == 0;
}

/* Takes the next character of an expression. The escapes \r and \n and the characters that they stand for
 * count as the same, because files have either. */
static int next_character(const char **s) {
    int c = *(*s)++;
    if (c == '\\' && (**s == 'r' || **s == 'n')) c = *(*s)++ == 'r' ? '\r' : '\n';
    return c;
}

/* Whether two expressions are the same apart from escapes of line breaks. */
static bool same_expression(const char *a, const char *b) {
    int c;
    while ((c = next_character(&a)) == next_character(&b))
        if (!c) return true;
    return false;
}

/* True if `o`, a step of a tokenizer.json, equals `step` of a PreTokenizerCut. An inverted Split that removes
 * what its expression does not match gives the same pieces as a Split that isolates the matches, so both are
 * accepted. */
static bool is_step(const json_t *o, const char *step) {
    if (strcmp(step, PRE_BYTE_LEVEL) == 0)
        return is(o, "type", "ByteLevel") && tokenizer_json_flag(o, "use_regex", true) &&
               !tokenizer_json_flag(o, "add_prefix_space", true);
    if (strcmp(step, PRE_PUNCTUATION) == 0)
        return is(o, "type", "Punctuation") && is(o, "behavior", "Contiguous");
    if (strcmp(step, PRE_DIGITS) == 0 || strcmp(step, PRE_DIGIT_RUNS) == 0)
        return is(o, "type", "Digits") &&
               tokenizer_json_flag(o, "individual_digits", false) == (strcmp(step, PRE_DIGITS) == 0);
    const char *expression = json_get_string(json_object_get(o, "pattern"), "Regex");
    bool inverted = tokenizer_json_flag(o, "invert", false);
    return is(o, "type", "Split") && is(o, "behavior", inverted ? "Removed" : "Isolated") && expression &&
           same_expression(expression, step);
}

/* True for a ByteLevel step that only maps bytes to characters and does not cut. Most lists of Splits end
 * with it. */
static bool is_plain_byte_level(const json_t *o) {
    return is(o, "type", "ByteLevel") && !tokenizer_json_flag(o, "use_regex", true) &&
           !tokenizer_json_flag(o, "add_prefix_space", true);
}

/* Whether a pre_tokenizer, one step or a Sequence, has the steps of `cut`, possibly followed by a ByteLevel
 * that does not cut. */
static bool is_cut(const json_t *pre, const PreTokenizerCut *cut) {
    bool sequence = is(pre, "type", "Sequence");
    const json_t *list = json_object_get(pre, "pretokenizers");
    size_t n = sequence ? json_array_size(list) : 1, i = 0;
    for (const char *const *step = cut->hf; *step; step++, i++)
        if (i == n || !is_step(sequence ? json_array_get(list, i) : pre, *step)) return false;
    return i == n || (sequence && i + 1 == n && is_plain_byte_level(json_array_get(list, i)));
}

/* The table is small, and a tokenizer has a few expressions, so all steps are compared. */
bool pre_tokenizer_publishes(const char *expression) {
    for (const PreTokenizer *p = pre_tokenizers; p->gguf; p++)
        for (const char *const *step = p->cut->hf; *step; step++)
            if (same_expression(expression, *step)) return true;
    return false;
}

const PreTokenizer *pre_tokenizer_of(const json_t *tokenizer) {
    const json_t *pre = json_object_get(tokenizer, "pre_tokenizer"),
                 *normalizer = json_object_get(tokenizer, "normalizer"),
                 *model = json_object_get(tokenizer, "model");
    /* Among the rows with the right cut, take the one that also agrees in most of the other settings.
     * ignore_merges counts twice as much as the normalizer, because it changes the tokens of more texts. */
    const PreTokenizer *best = NULL;
    int most = -1;
    bool nfc = is(normalizer, "type", "NFC"), whole = tokenizer_json_flag(model, "ignore_merges", false);
    for (const PreTokenizer *p = pre_tokenizers; p->gguf; p++) {
        int fit = 2 * (p->hf_ignores_merges == whole) + (p->nfc == nfc);
        if (fit <= most || !is_cut(pre, p->cut)) continue;
        best = p;
        most = fit;
    }
    return best;
}

/* ---- writing the pre_tokenizer of a tokenizer.json ---- */

/* trim_offsets only concerns positions in the text, and is what HF writes by default. */
json_t *pre_tokenizer_byte_level(bool use_regex, bool prefix) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix, "trim_offsets",
                     1, "use_regex", use_regex);
}

/* A Split by an expression, whose matches become pieces of their own. */
static json_t *split_at(const char *expression) {
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", expression, "behavior",
                     "Isolated", "invert", 0);
}

/* The steps as a Sequence. The last step has to turn bytes into GPT-2's characters, so cuts without a
 * ByteLevel get one at the end that does not cut. */
json_t *pre_tokenizer_steps(const PreTokenizerCut *cut, bool prefix) {
    json_t *list = json_array();
    bool bytes = false;
    for (const char *const *step = cut->hf; *step; step++) {
        const char *s = *step;
        bool regex = strcmp(s, PRE_BYTE_LEVEL) == 0, single = strcmp(s, PRE_DIGITS) == 0;
        bytes |= regex;
        if (regex)
            json_array_append_new(list, pre_tokenizer_byte_level(true, prefix));
        else if (single || strcmp(s, PRE_DIGIT_RUNS) == 0)
            json_array_append_new(list,
                                  json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", single));
        else if (strcmp(s, PRE_PUNCTUATION) == 0)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s}", "type", "Punctuation", "behavior", "Contiguous"));
        else
            json_array_append_new(list, split_at(s));
    }
    if (!bytes) json_array_append_new(list, pre_tokenizer_byte_level(false, prefix));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}
