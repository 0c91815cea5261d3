/* Writes the embedded example's text and tokenizer: no text from elsewhere enters the repository.
 *
 *   generate text SEED BYTES      chronicles, ledgers and songs, to standard output
 *   generate verses SEED BYTES    songs of short verses alone: what training begins with
 *   generate tokenizer MERGES     a byte-level BPE tokenizer.json learnt from the text
 *
 * A chronicle is a simulation told in plain sentences: every town has inhabitants, what they own changes as
 * they trade, and later sentences refer back ("How many eggs does Mira have?"). A ledger says who hides what,
 * and says it again in any order; a song repeats a verse of random words. These teach a small model to look
 * things up: short verses first, since in a few words there is little to confuse. Seeds below 1000 are for
 * training, 1000 and above are held out. */
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

static uint32_t below(uint32_t n) {
    return (uint32_t)(rng() % n);
}

#define PICK(list) list[below(sizeof list / sizeof *list)]

/* Every name and every word is common enough to become one token. */
static const char *const onsets[] = {"B", "D", "F", "G", "H", "K", "L",  "M",
                                     "N", "P", "R", "S", "T", "V", "Br", "Tr"};
static const char *const endings[] = {"aba",  "adan", "efel", "ilan", "omir", "una",  "erik",  "oton",
                                      "esta", "ivor", "amel", "unda", "oris", "elia", "andro", "uvik"};
static const char *const treasures[] = {
    "lamp",    "ring",   "key",    "crown",  "mirror", "bell",    "book",   "map",     "drum",   "flute",
    "sword",   "shield", "mask",   "glove",  "scarf",  "pearl",   "clock",  "compass", "anchor", "feather",
    "locket",  "dagger", "goblet", "harp",   "lens",   "medal",   "needle", "opal",    "purse",  "quill",
    "ribbon",  "saddle", "tablet", "urn",    "violin", "whistle", "amulet", "basket",  "candle", "dice",
    "emerald", "fan",    "gem",    "helmet", "idol",   "jewel",   "kettle", "ladder",  "magnet", "net",
    "orb",     "pipe",   "quilt",  "ruby",   "scroll", "trumpet", "vase",   "wand",    "axe",    "brush",
    "coin",    "doll",   "egg",    "flag"};
static const char *const goods[] = {"apples", "barrels", "candles", "coins",  "eggs",   "fish",
                                    "goats",  "jars",    "knives",  "lamps",  "nails",  "ropes",
                                    "sacks",  "shells",  "stones",  "tables", "wheels", "cups"};
static const char *const colours[] = {"red", "blue", "green", "white", "black", "grey"};
static const char *const places[] = {"market", "mill",  "harbour", "bridge",
                                     "chapel", "forge", "well",    "orchard"};
static const char *const trades[] = {"baker",  "carpenter", "fisher", "miller",
                                     "potter", "smith",     "weaver", "teacher"};
static const char *const weathers[] = {"rain", "snow", "wind", "sun", "fog", "frost"};

static char *text; /* what was said so far */
static size_t text_size, text_capacity;

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

typedef struct Name {
    char s[12];
} Name;

/* A name is given again only after half of all the others: within thousands of words it means one person, so
 * that what is looked up does not depend on where in the text it is looked up from. */
static Name new_name(void) {
    enum { ENDINGS = sizeof endings / sizeof *endings, NAMES = ENDINGS * sizeof onsets / sizeof *onsets };
    static uint32_t order[NAMES], n;
    for (; n < NAMES; n++)
        order[n] = n;
    uint32_t i = below(NAMES / 2), id = order[i];
    memmove(order + i, order + i + 1, (NAMES - 1 - i) * sizeof *order);
    order[NAMES - 1] = id;
    Name name;
    snprintf(name.s, sizeof name.s, "%s%s", onsets[id / ENDINGS], endings[id % ENDINGS]);
    return name;
}

/* ---- chronicles ---- */

enum { PEOPLE = 6, OWNED = 2 };

typedef struct Person {
    const char *name, *trade, *place, *colour, *secret, *goods[OWNED];
    uint32_t count[OWNED];
} Person;

static Person people[PEOPLE];
static Name names[PEOPLE + 1];
static const char *const town = names[PEOPLE].s;

static void found_town(void) {
    for (int i = 0; i <= PEOPLE; i++)
        names[i] = new_name();
    for (int i = 0; i < PEOPLE; i++) {
        Person *p = &people[i];
        *p = (Person){.name = names[i].s,
                      .trade = PICK(trades),
                      .place = PICK(places),
                      .colour = PICK(colours),
                      .secret = PICK(treasures)};
        for (int j = 0; j < OWNED; j++) {
            do
                p->goods[j] = PICK(goods);
            while (j && p->goods[j] == p->goods[0]);
            p->count[j] = 2 + below(88);
        }
    }
}

static void introduce(const Person *p) {
    static const char *const forms[] = {
        " %s the %s lives by the %s and wears a %s coat.",
        " By the %3$s lives %1$s the %2$s, known for a %4$s coat.",
        " The %2$s of the %3$s is %1$s, whose coat is %4$s.",
    };
    say(PICK(forms), p->name, p->trade, p->place, p->colour);
    say(" %s hides the %s. %s has %u %s and %u %s.", p->name, p->secret, p->name, p->count[0], p->goods[0],
        p->count[1], p->goods[1]);
}

static void trade(Person *p) {
    Person *q;
    do
        q = people + below(PEOPLE);
    while (q == p);
    int i = (int)below(OWNED);
    uint32_t n = 1 + below(p->count[i] > 9 ? 9 : p->count[i]);
    for (int j = 0; j < OWNED; j++)
        if (q->goods[j] == p->goods[i] && n < p->count[i]) {
            say(" %s gives %u %s to %s. Now %s has %u %s and %s has %u %s.", p->name, n, p->goods[i], q->name,
                p->name, p->count[i] - n, p->goods[i], q->name, q->count[j] + n, p->goods[i]);
            p->count[i] -= n;
            q->count[j] += n;
            return;
        }
    p->count[i] += n;
    say(" %s brings %u %s from the %s. Now %s has %u %s.", p->name, n, p->goods[i], PICK(places), p->name,
        p->count[i], p->goods[i]);
}

static void recall_secret(const Person *p) {
    if (below(2))
        say(" %s hides the %s.", p->name, p->secret);
    else
        say(" What does %s hide? %s hides the %s.", p->name, p->name, p->secret);
}

static void recall(const Person *p) {
    int i = (int)below(OWNED);
    switch (below(6)) {
    case 0:
        say(" How many %s does %s have? %s has %u %s.", p->goods[i], p->name, p->name, p->count[i],
            p->goods[i]);
        break;
    case 1:
        say(" Who is the %s in the %s coat? It is %s.", p->trade, p->colour, p->name);
        break;
    case 2:
        say(" %s is still the %s by the %s.", p->name, p->trade, p->place);
        break;
    case 3:
        say(" People know the %s coat of %s.", p->colour, p->name);
        break;
    case 4:
        say(" %s counts again: %u %s and %u %s.", p->name, p->count[0], p->goods[0], p->count[1],
            p->goods[1]);
        break;
    default:
        say(" Where does %s live? %s lives by the %s.", p->name, p->name, p->place);
    }
}

static void move(Person *p) {
    p->place = PICK(places);
    say(" %s moves to the %s.", p->name, p->place);
}

static void day(uint32_t number) {
    say("\nDay %u in %s brings %s.", number, town, PICK(weathers));
    for (uint32_t events = 3 + below(4); events; events--) {
        Person *p = people + below(PEOPLE);
        uint32_t kind = below(10);
        if (kind < 1)
            trade(p);
        else if (kind < 4)
            recall(p);
        else if (kind < 9)
            recall_secret(p);
        else
            move(p);
    }
}

static void chronicle(void) {
    found_town();
    say("\n# The chronicle of %s\n", town);
    for (const Person *p = people; p < people + PEOPLE; p++)
        introduce(p);
    for (uint32_t d = 1, days = 5 + below(12); d <= days; d++)
        day(d);
    say("\n");
}

/* ---- ledgers and songs ---- */

/* Who hides what, and again in any order. */
static void ledger(void) {
    enum { MANY = 24 };
    Name who[MANY];
    const char *what[MANY];
    int n = 3 + (int)below(MANY - 2), told = 0;
    for (int i = 0; i < n; i++) {
        who[i] = new_name();
        what[i] = PICK(treasures);
    }
    say("\n# The ledger\n");
    for (int lines = 3 * n; lines; lines--) {
        int i = told < n && (told == 0 || below(3) == 0) ? told++ : (int)below((uint32_t)told);
        if (below(4) == 0) say(" What does %s hide?", who[i].s);
        say(" %s hides the %s.", who[i].s, what[i]);
    }
    say("\n");
}

/* A verse of random words, sung again and again. */
static void song(int longest) {
    enum { MANY = 12 };
    const char *verse[MANY];
    Name who[MANY];
    int n = 2 + (int)below((uint32_t)longest - 1);
    for (int i = 0; i < n; i++) {
        who[i] = new_name();
        verse[i] = below(2) ? who[i].s : PICK(treasures);
    }
    say("\nSong:");
    for (int words = n * (3 + (int)below(6)), i = 0; i < words; i++)
        say(" %s", verse[i % n]);
    say("\n");
}

static void tell(uint64_t seed, size_t bytes, bool verses) {
    rng_state = seed;
    while (text_size < bytes) {
        uint32_t kind = below(10);
        if (verses)
            song(5);
        else if (kind == 0)
            song(12);
        else if (kind < 5)
            ledger();
        else
            chronicle();
    }
}

/* ---- byte-level BPE, learnt as GPT-2's was: the most frequent pair of neighbours becomes a token ---- */

enum { MAX_TOKENS = 4096, MAX_WORD = 24, MAX_WORDS = 1 << 14 };

typedef struct Word {
    int symbols[MAX_WORD], n;
    long count;
    char spelling[MAX_WORD + 1];
} Word;

static Word words[MAX_WORDS];
static int n_words;
static char spellings[MAX_TOKENS][2 * MAX_WORD + 8]; /* in GPT-2's printable alphabet */
static int n_tokens;

/* GPT-2's printable stand-in for a byte, as UTF-8. The text uses space, newline and visible ASCII, but a
 * tokenizer has to spell all 256. */
static void spell_byte(int byte, char *out) {
    int code = byte;
    bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    if (!visible) {
        code = 256;
        for (int b = 0; b < byte; b++)
            if (!((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae)) code++;
    }
    if (code < 0x80)
        snprintf(out, 5, "%c", code);
    else
        snprintf(out, 5, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void count_word(const char *s, int n) {
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

/* Words are letters with at most one space before them; digits and the rest stand alone, so a number is its
 * digits. */
static void split_words(void) {
    for (size_t i = 0; i < text_size;) {
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

static bool best_pair(int *left, int *right) {
    static long counts[MAX_TOKENS][MAX_TOKENS];
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

static void merge_pair(int left, int right, int merged) {
    for (Word *w = words; w < words + n_words; w++) {
        int n = 0;
        for (int i = 0; i < w->n; i++) {
            bool hit = i + 1 < w->n && w->symbols[i] == left && w->symbols[i + 1] == right;
            w->symbols[n++] = hit ? merged : w->symbols[i];
            i += hit;
        }
        w->n = n;
    }
}

static void print_spelling(const char *s) {
    for (; *s; s++)
        printf(*s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
}

static const char special[] = "<|end|>";

static void print_tokenizer(int n_merges) {
    int merges[MAX_TOKENS][2], done = 0;
    tell(1, 400000, false);
    split_words();
    snprintf(spellings[0], sizeof spellings[0], "%s", special);
    for (int b = 0; b < 256; b++)
        spell_byte(b, spellings[1 + b]);
    for (n_tokens = 257; done < n_merges && best_pair(&merges[done][0], &merges[done][1]); done++) {
        strcat(strcpy(spellings[n_tokens], spellings[merges[done][0]]), spellings[merges[done][1]]);
        merge_pair(merges[done][0], merges[done][1], n_tokens++);
    }
    printf(
        "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n"
        "    {\"id\": 0, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
        "\"normalized\": false, \"special\": true}\n  ],\n  \"normalizer\": null,\n",
        special);
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
    bool verses = argc == 4 && strcmp(argv[1], "verses") == 0;
    if (verses || (argc == 4 && strcmp(argv[1], "text") == 0)) {
        tell(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), verses);
        fwrite(text, 1, text_size, stdout);
    } else if (argc == 3 && strcmp(argv[1], "tokenizer") == 0) {
        int n = atoi(argv[2]);
        print_tokenizer(n < MAX_TOKENS - 257 ? n : MAX_TOKENS - 257);
    } else {
        fprintf(stderr, "usage: generate text|verses SEED BYTES | generate tokenizer MERGES\n");
        return 2;
    }
    free(text);
    return fflush(stdout) == 0 ? 0 : 1;
}
