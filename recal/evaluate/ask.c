#include "recal/evaluate/ask.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recal/ops/ops.h"

typedef struct Asker {
    const Asking *how;
    Net *n;
    const Tokenizer *t;
    const Scene *s;
    KvCache *kv;
    float *last; /* (vocab): logits of the row that ran last */
} Asker;

/* ---- prompts ---- */

/* Tokens of a prompt; a model's own EOS at the end of a text would end the answer before it begins. */
static bool encode(const Tokenizer *t, const Buffer *text, TokenList *out, Error *e) {
    bool ok = tokenizer_encode(t, (const char *)text->data, text->size, true, out, e);
    int32_t eos = tokenizer_eos(t);
    if (ok && out->n > 1 && eos >= 0 && out->ids[out->n - 1] == eos) out->n--;
    return ok;
}

/* The scene with `q`'s needle at a depth and its question behind; NULL `q`: the scene alone. */
static Buffer prompt_text(const Asker *a, const Question *q, double depth) {
    Buffer text = {0};
    size_t n = a->s->sentences.n, at = (size_t)lround(depth * (double)n);
    for (size_t i = 0; i <= n; i++) {
        if (q && q->needle && i == at) buffer_append(&text, q->needle, strlen(q->needle));
        if (i < n) buffer_append(&text, a->s->sentences.texts[i], strlen(a->s->sentences.texts[i]));
    }
    if (q) buffer_append(&text, q->text, strlen(q->text));
    return text;
}

static bool make_prompt(const Asker *a, const Question *q, double depth, TokenList *out, Error *e) {
    Buffer text = prompt_text(a, q, depth);
    bool ok = encode(a->t, &text, out, e);
    buffer_free(&text);
    return ok;
}

static size_t common_prefix(const TokenList *a, const TokenList *b) {
    size_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n])
        n++;
    return n;
}

/* ---- running ---- */

static bool keep_last(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)first, (void)e;
    Asker *a = context;
    size_t vocab = a->n->spec->vocab;
    memcpy(a->last, logits + (count - 1) * vocab, vocab * sizeof *logits);
    return true;
}

static bool run(Asker *a, const int32_t *ids, size_t n, Error *e) {
    return n == 0 || net_run(a->n, a->kv, ids, n, n - 1, keep_last, a, e);
}

/* -log of the chance that the row in `last` gives to a token. */
static double surprise(Asker *a, int32_t token) {
    float nll;
    cross_entropy(a->n->pool, &nll, a->last, &token, 0, 1, a->n->spec->vocab);
    return nll;
}

/* The tokens of " text" where it follows the question. */
static bool continuation(const Asker *a, const Question *q, const char *text, TokenList *out, Error *e) {
    TokenList before = {0}, after = {0};
    Buffer whole = {0};
    buffer_printf(&whole, "%s %s", q->text, text);
    bool ok = tokenizer_encode(a->t, q->text, strlen(q->text), false, &before, e) &&
              tokenizer_encode(a->t, (const char *)whole.data, whole.size, false, &after, e);
    for (size_t i = common_prefix(&before, &after); ok && i < after.n; i++)
        token_append(out, after.ids[i]);
    token_list_free(&before);
    token_list_free(&after);
    buffer_free(&whole);
    return ok && (out->n || error_set(e, ERR_INPUT, "'%.40s' has no tokens to score", text));
}

/* Place of the right candidate, 1 being the likeliest; what is as likely as it counts as before it. */
static bool rank(Asker *a, const Question *q, const KvSnapshot *end, const float *row, size_t *place,
                 Error *e) {
    double right = 0;
    bool ok = true;
    *place = 1;
    for (size_t c = 0; ok && c < q->candidates.n; c++) {
        TokenList ids = {0};
        double nll = 0;
        ok = continuation(a, q, q->candidates.texts[c], &ids, e);
        memcpy(a->last, row, a->n->spec->vocab * sizeof *row);
        for (size_t i = 0; ok && i < ids.n; i++) {
            nll += surprise(a, ids.ids[i]);
            if (i + 1 < ids.n) ok = run(a, &ids.ids[i], 1, e);
        }
        if (ids.n > 1) kv_restore(a->kv, end);
        if (c == 0) right = nll;
        *place += c && !(nll > right);
        token_list_free(&ids);
    }
    return ok;
}

/* ---- answers ---- */

/* Whether a word or number stands in a text, not as part of a longer one. */
static bool holds(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *p = text; (p = strstr(p, word)); p++)
        if ((p == text || !isalnum((unsigned char)p[-1])) && !isalnum((unsigned char)p[n])) return true;
    return false;
}

static size_t answer_room(const Asker *a, const Question *q) {
    size_t n = 0;
    for (size_t i = 0; i < q->answers.n; i++)
        n += count_tokens(a->t, q->answers.texts[i]) + 2;
    return n;
}

static void tell(const Asker *a, const Question *q, double depth, const char *said, size_t found,
                 size_t place) {
    if (!a->how->asked) return;
    Buffer prompt = prompt_text(a, q, depth);
    Asked asked = {.prompt = buffer_string(&prompt),
                   .said = said,
                   .question = q,
                   .depth = depth,
                   .found = found,
                   .place = q->candidates.n ? place : 0};
    a->how->asked(a->how->context, &asked);
    buffer_free(&prompt);
}

/* The model's own continuation of the prompt whose last logits are `row`. */
static bool answer(Asker *a, const Question *q, const float *row, Buffer *text, Error *e) {
    TokenList said = {0};
    size_t room = answer_room(a, q), vocab = a->n->spec->vocab, known = tokenizer_vocab_size(a->t);
    bool ok = true;
    memcpy(a->last, row, vocab * sizeof *row);
    while (ok && said.n < room) {
        size_t best = 0;
        for (size_t i = 1; i < vocab && i < known; i++)
            if (a->last[i] > a->last[best]) best = i;
        if ((int32_t)best == tokenizer_eos(a->t)) break;
        token_append(&said, (int32_t)best);
        if (said.n < room) ok = run(a, &said.ids[said.n - 1], 1, e);
    }
    ok = ok && tokenizer_decode(a->t, said.ids, said.n, false, text, e);
    token_list_free(&said);
    return ok;
}

static size_t count_found(const Question *q, const char *said) {
    size_t found = 0;
    for (size_t i = 0; i < q->answers.n; i++)
        found += holds(said, q->answers.texts[i]);
    return found;
}

/* The cache stands at the end of the prompt. */
static bool judge(Asker *a, const Question *q, double depth, Tally *tally, Error *e) {
    size_t vocab = a->n->spec->vocab, place;
    float *row = xmalloc(vocab * sizeof *row);
    Buffer said = {0};
    memcpy(row, a->last, vocab * sizeof *row);
    KvSnapshot *end = kv_snapshot(a->kv, e);
    bool ok = end && rank(a, q, end, row, &place, e) && answer(a, q, row, &said, e);
    if (ok) {
        size_t found = count_found(q, buffer_string(&said));
        tally->found += found;
        tally->answers += q->answers.n;
        tally->trials++;
        tell(a, q, depth, buffer_string(&said), found, place);
    }
    if (ok && q->candidates.n) {
        tally->ranked++;
        tally->first += place == 1;
        tally->ranks += (double)place;
    }
    buffer_free(&said);
    kv_snapshot_free(end);
    free(row);
    return ok;
}

/* ---- scenes ---- */

typedef struct Prompts {
    TokenList plain;    /* the scene without needle and question */
    TokenList *each;    /* (depths, questions) */
    size_t *shared;     /* (depths): tokens that all prompts of a depth have in common with the plain scene */
    KvSnapshot **marks; /* (depths) */
    size_t n_depths, n_questions;
} Prompts;

static bool make_prompts(const Asker *a, Prompts *p, Error *e) {
    const double *depths = a->how->depths;
    size_t n_depths = a->how->n_depths, length = a->how->length;
    *p = (Prompts){.n_depths = n_depths, .n_questions = a->s->n_questions};
    p->each = xcalloc(n_depths * p->n_questions + 1, sizeof *p->each);
    p->shared = xcalloc(n_depths + 1, sizeof *p->shared);
    p->marks = xcalloc(n_depths + 1, sizeof(KvSnapshot *));
    if (!make_prompt(a, NULL, 0, &p->plain, e)) return false;
    for (size_t d = 0; d < n_depths; d++) {
        p->shared[d] = p->plain.n;
        for (size_t i = 0; i < p->n_questions; i++) {
            const Question *q = &a->s->questions[i];
            TokenList *ids = &p->each[d * p->n_questions + i];
            if (!make_prompt(a, q, depths[d], ids, e)) return false;
            size_t same = common_prefix(&p->plain, ids), room = answer_room(a, q);
            if (same >= ids->n) same = ids->n - 1; /* one token at least has to run for its logits */
            if (same < p->shared[d]) p->shared[d] = same;
            if (ids->n + room > length + 64) /* counted in parts, a text may take a few tokens less or more */
                return error_set(e, ERR_INPUT, "a prompt of %zu tokens and an answer of %zu pass %zu", ids->n,
                                 room, length);
        }
    }
    /* a mark is not before that of a lesser depth, whatever a needle and the text behind it have in common */
    for (size_t d = n_depths; d-- > 1;)
        if (p->shared[d] < p->shared[d - 1]) p->shared[d - 1] = p->shared[d];
    return true;
}

static void free_prompts(Prompts *p) {
    token_list_free(&p->plain);
    for (size_t i = 0; i < p->n_depths * p->n_questions; i++)
        token_list_free(&p->each[i]);
    for (size_t d = 0; d < p->n_depths; d++)
        kv_snapshot_free(p->marks[d]);
    free(p->each);
    free(p->shared);
    free(p->marks);
}

/* First the plain scene, with a mark at each depth; then back from the deepest mark to the first. */
static bool ask_all(Asker *a, Prompts *p, Tally *tallies, Error *e) {
    for (size_t d = 0, at = 0; d < p->n_depths; at = p->shared[d++]) {
        if (p->shared[d] > at &&
            !net_run(a->n, a->kv, p->plain.ids + at, p->shared[d] - at, p->shared[d] - at, NULL, NULL, e))
            return false;
        if (!(p->marks[d] = kv_snapshot(a->kv, e))) return false;
    }
    for (size_t d = p->n_depths; d-- > 0;)
        for (size_t i = 0; i < p->n_questions; i++) {
            const TokenList *ids = &p->each[d * p->n_questions + i];
            kv_restore(a->kv, p->marks[d]);
            if (!run(a, ids->ids + p->shared[d], ids->n - p->shared[d], e) ||
                !judge(a, &a->s->questions[i], a->how->depths[d], &tallies[d], e))
                return false;
        }
    return true;
}

/* A candidate may take more than the room that the prompt leaves for the answer. */
static size_t longest_candidate(const Asker *a) {
    size_t most = 0;
    for (size_t i = 0; i < a->s->n_questions; i++) {
        const TextList *c = &a->s->questions[i].candidates;
        for (size_t k = 0; k < c->n; k++) {
            size_t n = count_tokens(a->t, c->texts[k]) + 2;
            if (n > most) most = n;
        }
    }
    return most;
}

bool ask_scene(const Asking *how, const Scene *s, Tally *tallies, Error *e) {
    Asker a = {.how = how, .n = how->net, .t = how->tokenizer, .s = s};
    Prompts p;
    bool ok = make_prompts(&a, &p, e);
    if (ok) a.kv = kv_new(a.n, how->length + 128 + longest_candidate(&a), e);
    a.last = big_alloc(a.n->spec->vocab, sizeof *a.last, "logits", e);
    ok = ok && a.kv && a.last;
    if (ok) {
        kv_watch(a.kv, how->stop);
        ok = ask_all(&a, &p, tallies, e);
    }
    free(a.last);
    kv_free(a.kv);
    free_prompts(&p);
    return ok;
}

void wilson(double share, double trials, double *low, double *high) {
    const double z = 1.959963984540054;
    if (trials <= 0) {
        *low = 0, *high = 1;
        return;
    }
    double z2 = z * z / trials, middle = (share + z2 / 2) / (1 + z2),
           half = z / (1 + z2) * sqrt(share * (1 - share) / trials + z2 / (4 * trials));
    *low = middle - half < 0 ? 0 : middle - half;
    *high = middle + half > 1 ? 1 : middle + half;
}
