/* Writes the embedded example's text and tokenizer: no text from elsewhere enters the repository.
 *
 *   generate text SEED BYTES      chronicles and rolls, to standard output
 *   generate rolls SEED BYTES     short rolls alone: what training begins with
 *   generate hay SEED BYTES       long chronicles without the names that needles have
 *   generate wording              how needles are worded (derope eval --wording)
 *   generate tokenizer MERGES     a byte-level BPE tokenizer.json learnt from the text
 *
 * Each person has a first name, a surname that is drawn anew in every text, and a byname that belongs to the
 * first name. When a person is mentioned again, a model can predict the surname only by looking up what
 * followed this first name earlier in the text. That is the skill that needles test, and a tiny model learns
 * it within minutes if two things are given:
 *
 * - The byname after the surname depends on the first name. To predict it, the model has to carry the first
 *   name over the surname, which is half of the look-up and lowers the loss from the start.
 * - Mentions are at uneven distances. Otherwise the model would learn to look back by a fixed number of
 *   tokens.
 *
 * Seeds below 1000 are for training; 1000 and above are held out. This is a program of its own and not part
 * of derope, so it keeps its state in static variables and ends when memory runs out. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 (public domain algorithm by S. Vigna): the same text on every machine. */
static uint64_t rng_state;

static uint64_t rng(void) {
    uint64_t z = (rng_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A random number from 0 to n - 1. The remainder's bias is below 2^-32 for the small n used here. */
static uint32_t below(uint32_t n) {
    return (uint32_t)(rng() % n);
}

/* A random element of an array. */
#define PICK(list) list[below(sizeof list / sizeof *list)]

/* The parts of names, and all words. There are few enough of them that each becomes one token of the
 * tokenizer. */
static const char *const onsets[] = {"B", "D", "F", "G", "H", "K", "L",  "M",
                                     "N", "P", "R", "S", "T", "V", "Br", "Tr"};
static const char *const endings[] = {"aba",  "adan", "efel", "ilan", "omir", "una",  "erik",  "oton",
                                      "esta", "ivor", "amel", "unda", "oris", "elia", "andro", "uvik"};
static const char *const roots[] = {"Al", "Cor", "Del", "Fen", "Gar", "Mor", "Ost", "Win"};
static const char *const tails[] = {"bury", "den", "ford", "holm", "ley", "man", "ton", "wick"};
static const char *const bynames[] = {"Old", "Young", "Tall",  "Wise", "Bold",  "Calm",  "Kind",  "Proud",
                                      "Shy", "Quick", "Stout", "Grim", "Merry", "Plain", "Stern", "Lean"};
static const char *const goods[] = {"apples", "barrels", "candles", "coins",  "eggs",   "fish",
                                    "goats",  "jars",    "knives",  "lamps",  "nails",  "ropes",
                                    "sacks",  "shells",  "stones",  "tables", "wheels", "cups"};
static const char *const places[] = {"market", "mill",  "harbour", "bridge",
                                     "chapel", "forge", "well",    "orchard"};
static const char *const weathers[] = {"rain", "snow", "wind", "sun", "fog", "frost"};
static const char *const links[] = {"and", "then", "so", "but", "with", "now", "or", "yet"};

static char *text; /* the text so far, text_size bytes */
static size_t text_size, text_capacity;

/* Appends to the text. A piece is shorter than 512 bytes. */
static void say(const char *fmt, ...) {
    if (text_capacity - text_size < 512) {
        text_capacity = 2 * text_capacity + 4096;
        text = realloc(text, text_capacity);
        if (!text) exit(1);
    }
    va_list ap;
    va_start(ap, fmt);
    text_size += (size_t)vsnprintf(text + text_size, 512, fmt, ap);
    va_end(ap);
}

/* ---- people ---- */

/* A first name is an onset and an ending; name number id has onset id / ENDINGS and ending id % ENDINGS. */
enum { ENDINGS = sizeof endings / sizeof *endings, NAMES = ENDINGS * sizeof onsets / sizeof *onsets };

/* The last names are reserved for needles: a haystack must not contain the answer to a question by chance. */
enum { NEEDLE_NAMES = 4 * ENDINGS };
/* Names with numbers below this may occur in a text. The kind "hay" lowers it by NEEDLE_NAMES. */
static uint32_t names_used = NAMES;

typedef struct Person {
    char name[32]; /* and surname */
    const char *byname;
} Person;

/* Draws a person. `order` has all names, those used longest ago first; one is taken from the first half and
 * moved to the end. So a name is reused only after half of all others, and within thousands of words it means
 * one person: a look-up has one answer wherever in the text it starts. */
static Person new_person(void) {
    static uint32_t order[NAMES], n;
    /* On the first call the names are in the order of their numbers. */
    for (; n < NAMES; n++)
        order[n] = n;
    uint32_t i, id;
    do {
        i = below(NAMES / 2);
        id = order[i];
        memmove(order + i, order + i + 1, (NAMES - 1 - i) * sizeof *order);
        order[NAMES - 1] = id;
    } while (id >= names_used);
    /* The byname is a function of the first name alone; the surname is random. */
    Person p = {.byname = bynames[id * 7 % 16]};
    snprintf(p.name, sizeof p.name, "%s%s %s%s", onsets[id / ENDINGS], endings[id % ENDINGS], PICK(roots),
             PICK(tails));
    return p;
}

/* The most people in one text. */
enum { MANY = 96 };
static Person people[MANY];
static int n_people; /* in the present text */
static int told;     /* how many of them were mentioned so far */

/* Draws the people of a new text. */
static void gather(int least, int most) {
    n_people = least + (int)below((uint32_t)(most - least) + 1);
    told = 0;
    for (int i = 0; i < n_people; i++)
        people[i] = new_person();
}

/* Somebody who was mentioned before, or, one time in four, the next person who was not. */
static const Person *somebody(void) {
    return &people[told < n_people && (told == 0 || below(4) == 0) ? told++ : (int)below((uint32_t)told)];
}

/* A name, and usually the byname after it. */
static void mention(bool with_byname) {
    const Person *p = somebody();
    say(" %s", p->name);
    if (with_byname) say(" %s", p->byname);
}

/* ---- texts ---- */

/* A roll: up to `most` people are called again and again, at uneven distances. */
static void roll(int most) {
    /* Each person is called four times on average, with up to three filler words between two calls. */
    gather(2, most);
    say("\nRoll:");
    for (int calls = 4 * n_people; calls; calls--) {
        mention(below(8) != 0);
        for (uint32_t k = below(4); k; k--)
            say(" %s", PICK(links));
    }
    say("\n");
}

/* A sentence in which people are mentioned. */
static void event(void) {
    /* Eight sentence patterns, with one or two people each. Patterns without the byname ask for the surname
     * alone, as needles do. */
    const char *place = PICK(places);
    switch (below(8)) {
    case 0:
        mention(true);
        say(" brings %u %s from the %s.", 2 + below(88), PICK(goods), place);
        break;
    case 1:
        mention(true);
        say(" meets");
        mention(true);
        say(" by the %s.", place);
        break;
    case 2:
        say(" By the %s waits", place);
        mention(false);
        say(".");
        break;
    case 3:
        mention(true);
        say(" buys %s and %s.", PICK(goods), PICK(goods));
        break;
    case 4:
        say(" Who came to the %s?", place);
        mention(false);
        say(" came to the %s.", place);
        break;
    case 5:
        mention(true);
        say(" sells the %s to", PICK(goods));
        mention(true);
        say(".");
        break;
    case 6:
        say(" The letter was for");
        mention(false);
        say(".");
        break;
    default:
        mention(true);
        say(" and");
        mention(true);
        say(" walk to the %s.", place);
    }
}

/* A longer text: days with a weather and some events each, three events for every person. */
static void chronicle(int least, int most) {
    /* A day has three to eight events, and the last day may go a few events beyond the budget. */
    gather(least, most);
    say("\n# A chronicle\n");
    for (int day = 1, events = 3 * n_people; events > 0; day++) {
        say("\nDay %d brings %s.", day, PICK(weathers));
        for (uint32_t n = 3 + below(6); n; n--, events--)
            event();
    }
    say("\n");
}

/* Texts of a kind ("text", "rolls", "hay"; told apart by their first letter) until there are enough bytes. */
static void tell(uint64_t seed, size_t bytes, const char *kind) {
    /* "rolls" gives only rolls of up to six people, "text" one roll of up to 40 in three texts and otherwise
     * chronicles, "hay" only chronicles with many people. */
    rng_state = seed;
    while (text_size < bytes)
        if (*kind == 'r')
            roll(6);
        else if (*kind == 't' && below(3) == 0)
            roll(40);
        else if (*kind == 't')
            chronicle(2, 48);
        else
            chronicle(MANY * 3 / 4, MANY);
}

/* The wording of needles (recal/evaluate/wording.h): a sentence as in the texts, with a reserved name as the
 * key and a surname as the value. */
static void print_wording(void) {
    printf("{\n \"fact\": \" The letter was for {key} {value}.\",\n"
           " \"question\": \" The letter was for {key}\",\n \"keys\": [");
    for (uint32_t id = NAMES - NEEDLE_NAMES; id < NAMES; id++)
        printf("%s\"%s%s\"", id > NAMES - NEEDLE_NAMES ? ", " : "", onsets[id / ENDINGS],
               endings[id % ENDINGS]);
    printf("],\n \"values\": [");
    for (uint32_t i = 0; i < 64; i++)
        printf("%s\"%s%s\"", i ? ", " : "", roots[i / 8], tails[i % 8]);
    printf("]\n}\n");
}

/* ---- a byte-level BPE as GPT-2's: again and again the most frequent pair of neighbours becomes a token
 * ---- */

enum { MAX_TOKENS = 4096, MAX_WORD = 24, MAX_WORDS = 1 << 14 };

/* A different word of the text, with how often it occurs and how it is divided into tokens at present. */
typedef struct Word {
    /* The tokens of the word, n of them; at first one for each byte. */
    int symbols[MAX_WORD], n;
    long count;
    char spelling[MAX_WORD + 1];
} Word;

static Word words[MAX_WORDS];
static int n_words;
static char spellings[MAX_TOKENS][2 * MAX_WORD + 8]; /* of each token, in GPT-2's printable alphabet */
static int n_tokens;

/* GPT-2's printable stand-in for a byte, as UTF-8. The text uses space, newline and visible ASCII, but a
 * tokenizer has to spell all 256. */
static void spell_byte(int byte, char *out) {
    /* GPT-2's table (bytes_to_unicode in transformers): visible characters stand for themselves, all other
     * bytes in rising order for the code points from 256 on. */
    int code = byte;
    bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    if (!visible) {
        code = 256;
        for (int b = 0; b < byte; b++)
            if (!((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae)) code++;
    }
    /* All code points are below 0x800, so UTF-8 takes one or two bytes. */
    if (code < 0x80)
        snprintf(out, 5, "%c", code);
    else
        snprintf(out, 5, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
}

/* ASCII letters only, since the text has no others. */
static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Adds one occurrence of a word. Token 0 is the special token, so the byte b is token 1 + b. */
static void count_word(const char *s, int n) {
    /* Words that are too long or too many are left out; the text has neither. */
    if (n > MAX_WORD) return;
    for (Word *w = words; w < words + n_words; w++)
        if (w->n == n && memcmp(w->spelling, s, (size_t)n) == 0) {
            w->count++;
            return;
        }
    if (n_words == MAX_WORDS) return;
    Word *w = &words[n_words++];
    w->n = n;
    w->count = 1;
    memcpy(w->spelling, s, (size_t)n);
    for (int i = 0; i < n; i++)
        w->symbols[i] = 1 + (unsigned char)s[i];
}

/* Splits the text into words and counts them. A word is a run of letters with at most one space before it.
 * Everything else stands alone and is never merged, so a number is tokenized digit by digit. */
static void split_words(void) {
    for (size_t i = 0; i < text_size;) {
        /* The word reaches from i to j, its space included. */
        size_t j = i + (text[i] == ' ');
        while (j < text_size && is_letter(text[j]))
            j++;
        if (j == i || (j == i + 1 && text[i] == ' ')) {
            i++;
            continue;
        }
        count_word(text + i, (int)(j - i));
        i = j;
    }
}

/* The pair of neighbouring tokens that occurs most often, the first in order among equals; false if none
 * occurs twice. */
static bool best_pair(int *left, int *right) {
    static long counts[MAX_TOKENS][MAX_TOKENS];
    /* First count all pairs, weighted by how often their word occurs, then find the first pair with the
     * highest count. */
    long best = 1;
    memset(counts, 0, sizeof counts);
    for (Word *w = words; w < words + n_words; w++)
        for (int i = 0; i + 1 < w->n; i++) {
            long c = counts[w->symbols[i]][w->symbols[i + 1]] += w->count;
            if (c > best) best = c;
        }
    if (best < 2) return false;
    for (*left = 0; *left < n_tokens; ++*left)
        for (*right = 0; *right < n_tokens; ++*right)
            if (counts[*left][*right] == best) return true;
    return false;
}

/* Replaces the pair by one token in all words. */
static void merge_pair(int left, int right, int merged) {
    for (Word *w = words; w < words + n_words; w++) {
        /* The symbols are rewritten in place from left to right; n never overtakes i. */
        int n = 0;
        for (int i = 0; i < w->n; i++) {
            bool hit = i + 1 < w->n && w->symbols[i] == left && w->symbols[i + 1] == right;
            w->symbols[n++] = hit ? merged : w->symbols[i];
            i += hit;
        }
        w->n = n;
    }
}

/* Escapes quotes and backslashes for JSON. */
static void print_spelling(const char *s) {
    for (; *s; s++)
        printf(*s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
}

/* Token 0: the tokenizer's end-of-text token. */
static const char special[] = "<|end|>";

/* Learns the merges, then prints a tokenizer.json as the HF tokenizers library reads it. */
static void print_tokenizer(int n_merges) {
    int merges[MAX_TOKENS][2], done = 0;
    /* Step 1: a training text of 600 kB and its words. */
    tell(1, 600000, "text");
    split_words();
    /* Step 2: the special token and the 256 bytes are the first 257 tokens. */
    snprintf(spellings[0], sizeof spellings[0], "%s", special);
    for (int b = 0; b < 256; b++)
        spell_byte(b, spellings[1 + b]);
    /* Step 3: each merge makes a token whose spelling is that of its two parts. */
    for (n_tokens = 257; done < n_merges && best_pair(&merges[done][0], &merges[done][1]); done++) {
        strcat(strcpy(spellings[n_tokens], spellings[merges[done][0]]), spellings[merges[done][1]]);
        merge_pair(merges[done][0], merges[done][1], n_tokens++);
    }
    printf(
        "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n"
        "    {\"id\": 0, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
        "\"normalized\": false, \"special\": true}\n  ],\n  \"normalizer\": null,\n",
        special);
    /* Step 4: the file. Digits are split one by one and texts by GPT-2's pattern, which finds the same words
     * as split_words. */
    printf("  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n"
           "    {\"type\": \"Digits\", \"individual_digits\": true},\n"
           "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
           "\"use_regex\": true}]},\n"
           "  \"post_processor\": null,\n"
           "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
           "\"use_regex\": true},\n");
    printf("  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
           "\"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null, \"fuse_unk\": false, "
           "\"byte_fallback\": false, \"ignore_merges\": false,\n    \"vocab\": {");
    /* The vocabulary from spelling to number, and then the merges in the order in which they were learnt,
     * which is their priority. */
    for (int t = 0; t < n_tokens; t++) {
        printf("%s\n      \"", t ? "," : "");
        print_spelling(spellings[t]);
        printf("\": %d", t);
    }
    printf("\n    },\n    \"merges\": [");
    for (int m = 0; m < done; m++) {
        printf("%s\n      \"", m ? "," : "");
        print_spelling(spellings[merges[m][0]]);
        printf(" ");
        print_spelling(spellings[merges[m][1]]);
        printf("\"");
    }
    printf("\n    ]\n  }\n}\n");
}

int main(int argc, char **argv) {
    /* The three kinds of text share their arguments; the other two commands have their own. */
    static const char *const kinds[] = {"text", "rolls", "hay"};
    const char *kind = NULL;
    for (int i = 0; argc == 4 && i < 3; i++)
        if (strcmp(argv[1], kinds[i]) == 0) kind = kinds[i];
    if (kind) {
        if (*kind == 'h') names_used = NAMES - NEEDLE_NAMES;
        tell(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), kind);
        fwrite(text, 1, text_size, stdout);
    } else if (argc == 2 && strcmp(argv[1], "wording") == 0) {
        print_wording();
    } else if (argc == 3 && strcmp(argv[1], "tokenizer") == 0) {
        int n = atoi(argv[2]);
        print_tokenizer(n < MAX_TOKENS - 257 ? n : MAX_TOKENS - 257);
    } else {
        fprintf(stderr,
                "usage: generate text|rolls|hay SEED BYTES | generate wording | generate tokenizer MERGES\n");
        return 2;
    }
    free(text);
    return fflush(stdout) == 0 ? 0 : 1;
}
