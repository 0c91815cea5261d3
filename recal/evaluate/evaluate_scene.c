/* Evaluating a scene: asking a net all questions of a scene at all depths. Called by
 * cmd/evaluate/eval_measure.c with scenes that the tasks made; it adds to the scores of each depth. The
 * expensive part is reading a long text, so it is read once for all questions and depths: the keys and
 * values of the text are in the KV cache, snapshots of it are taken at the places where prompts begin to
 * differ, and every question starts from the snapshot of its depth. A question is scored in two ways: by the
 * likelihood of its candidates, and by the text that the model writes. */
#include "recal/evaluate/evaluate_scene.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recal/inference.h"
#include "recal/ops/losses.h"

/* A scene being evaluated. */
typedef struct Run {
    const SceneEvaluation *how;
    Net *n;
    const Tokenizer *t;
    const Scene *s;
    KvCache *kv;
    float *last; /* (vocab): logits of the token that ran last */
} Run;

/* ---- prompts ---- */

/* The tokens of a prompt. Some tokenizers put an end-of-sequence token behind each text; here it would end
 * the answer before it begins, so it is removed. */
static bool encode_prompt(const Tokenizer *t, const Buffer *text, TokenList *out, Error *e) {
    bool ok = tokenizer_encode(t, (const char *)text->data, text->size, true, out, e);
    int32_t eos = tokenizer_eos(t);
    if (ok && out->n > 1 && eos >= 0 && out->ids[out->n - 1] == eos) out->n--;
    return ok;
}

/* The scene, with the needle of `q` inserted before the sentence at `depth`, and the text of the question
 * behind it. With `q` NULL the scene alone. */
static Buffer prompt_text(const Run *r, const Question *q, double depth) {
    Buffer text = {0};
    size_t n = r->s->sentences.n, at = (size_t)lround(depth * (double)n);
    for (size_t i = 0; i <= n; i++) {
        if (q && q->needle && i == at) buffer_append(&text, q->needle, strlen(q->needle));
        if (i < n) buffer_append(&text, r->s->sentences.texts[i], strlen(r->s->sentences.texts[i]));
    }
    if (q) buffer_append(&text, q->text, strlen(q->text));
    return text;
}

/* The tokens of a whole prompt. Scene, needle and question are encoded as one text, as a user would send
 * them. */
static bool make_prompt(const Run *r, const Question *q, double depth, TokenList *out, Error *e) {
    Buffer text = prompt_text(r, q, depth);
    bool ok = encode_prompt(r->t, &text, out, e);
    buffer_free(&text);
    return ok;
}

/* The number of tokens that two lists begin with alike. */
static size_t common_prefix(const TokenList *a, const TokenList *b) {
    size_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n])
        n++;
    return n;
}

/* ---- running ---- */

/* A logits sink of net_run: keeps the logits of the last token of the chunk. */
static bool keep_last(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)first, (void)e;
    Run *r = context;
    size_t vocab = r->n->spec->vocab;
    memcpy(r->last, logits + (count - 1) * vocab, vocab * sizeof *logits);
    return true;
}

/* Runs the tokens behind those in the cache; `r->last` then has the logits of the last one. */
static bool run_tokens(Run *r, const int32_t *ids, size_t n, Error *e) {
    return n == 0 || net_run(r->n, r->kv, ids, n, n - 1, keep_last, r, e);
}

/* The negative log-likelihood of a token under the logits in `r->last`. */
static double token_nll(Run *r, int32_t token) {
    float nll;
    cross_entropy(r->n->pool, &nll, r->last, &token, 0, 1, r->n->spec->vocab);
    return nll;
}

/* The tokens of " text" where it follows the question. Question and text are encoded together and the tokens
 * that they share with the question alone are left out, because the border between two texts need not be one
 * between tokens. */
static bool continuation_tokens(const Run *r, const Question *q, const char *text, TokenList *out, Error *e) {
    TokenList before = {0}, after = {0};
    Buffer whole = {0};
    buffer_printf(&whole, "%s %s", q->text, text);
    bool ok = tokenizer_encode(r->t, q->text, strlen(q->text), false, &before, e) &&
              tokenizer_encode(r->t, (const char *)whole.data, whole.size, false, &after, e);
    for (size_t i = common_prefix(&before, &after); ok && i < after.n; i++)
        token_append(out, after.ids[i]);
    token_list_free(&before);
    token_list_free(&after);
    buffer_free(&whole);
    return ok && (out->n || error_set(e, ERR_INPUT, "'%.40s' has no tokens to score", text));
}

/* The rank of the right candidate by likelihood, 1 being the likeliest. A wrong candidate that is exactly as
 * likely counts as likelier, so that a model which gives all the same probability is not rewarded. `end` is
 * the snapshot at the end of the prompt and `row` (vocab) the logits there. */
static bool rank_candidates(Run *r, const Question *q, const KvSnapshot *end, const float *row, size_t *rank,
                            Error *e) {
    double right = 0;
    bool ok = true;
    *rank = 1;
    for (size_t c = 0; ok && c < q->candidates.n; c++) {
        TokenList ids = {0};
        double nll = 0;
        /* The first token is judged by the logits at the end of the prompt, each further one by those behind
         * the token before it, which has to run for that. Afterwards the cache is put back to the end of the
         * prompt. */
        ok = continuation_tokens(r, q, q->candidates.texts[c], &ids, e);
        memcpy(r->last, row, r->n->spec->vocab * sizeof *row);
        for (size_t i = 0; ok && i < ids.n; i++) {
            nll += token_nll(r, ids.ids[i]);
            if (i + 1 < ids.n) ok = run_tokens(r, &ids.ids[i], 1, e);
        }
        if (ids.n > 1) kv_restore(r->kv, end);
        if (c == 0) right = nll;
        *rank += c && !(nll > right); /* also counts NaN against the model */
        token_list_free(&ids);
    }
    return ok;
}

/* ---- answers ---- */

/* Whether a text contains a word or number by itself, not as part of a longer one. */
static bool contains_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *p = text; (p = strstr(p, word)); p++)
        if ((p == text || !isalnum((unsigned char)p[-1])) && !isalnum((unsigned char)p[n])) return true;
    return false;
}

/* Tokens that the model gets for its answer: those of all answers, and two for what separates them. */
static size_t answer_room(const Run *r, const Question *q) {
    size_t n = 0;
    for (size_t i = 0; i < q->answers.n; i++)
        n += tokenizer_count(r->t, q->answers.texts[i]) + 2;
    return n;
}

/* Hands prompt and answer to the transcript, if somebody asked for one. The text of the prompt is made again
 * here instead of being kept. */
static void report_answer(const Run *r, const Question *q, double depth, const char *said, size_t found,
                          size_t rank) {
    if (!r->how->on_answer) return;
    Buffer prompt = prompt_text(r, q, depth);
    TranscriptEntry entry = {.prompt = buffer_string(&prompt),
                             .continuation = said,
                             .question = q,
                             .depth = depth,
                             .answers_found = found,
                             .rank = q->candidates.n ? rank : 0};
    r->how->on_answer(r->how->context, &entry);
    buffer_free(&prompt);
}

/* The model's own continuation of the prompt, greedily: always the likeliest token that the tokenizer knows.
 * (The embedding of many models has more rows than their tokenizer has tokens.) `row` holds the logits at the
 * prompt's end. */
static bool continue_greedily(Run *r, const Question *q, const float *row, Buffer *text, Error *e) {
    TokenList said = {0};
    size_t room = answer_room(r, q), vocab = r->n->spec->vocab, known = tokenizer_vocab_size(r->t);
    bool ok = true;
    memcpy(r->last, row, vocab * sizeof *row);
    while (ok && said.n < room) {
        /* Take the likeliest token, the first of equal ones. EOS ends the answer; otherwise the token runs,
         * unless it is the last one that there is room for. */
        size_t best = 0;
        for (size_t i = 1; i < vocab && i < known; i++)
            if (r->last[i] > r->last[best]) best = i;
        if ((int32_t)best == tokenizer_eos(r->t)) break;
        token_append(&said, (int32_t)best);
        if (said.n < room) ok = run_tokens(r, &said.ids[said.n - 1], 1, e);
    }
    ok = ok && tokenizer_decode(r->t, said.ids, said.n, false, text, e);
    token_list_free(&said);
    return ok;
}

/* How many of a question's answers occur in what the model said. */
static size_t count_found(const Question *q, const char *said) {
    size_t found = 0;
    for (size_t i = 0; i < q->answers.n; i++)
        found += contains_word(said, q->answers.texts[i]);
    return found;
}

/* Scores one question. The cache stands at the end of its prompt, and `r->last` has the logits there. */
static bool score_question(Run *r, const Question *q, double depth, TaskScore *score, Error *e) {
    size_t vocab = r->n->spec->vocab, rank;
    float *row = xmalloc(vocab * sizeof *row);
    Buffer said = {0};
    /* Both ways of scoring start from the end of the prompt, so its logits and the state of the cache are
     * kept. */
    memcpy(row, r->last, vocab * sizeof *row);
    KvSnapshot *end = kv_snapshot(r->kv, e);
    bool ok = end && rank_candidates(r, q, end, row, &rank, e) && continue_greedily(r, q, row, &said, e);
    if (ok) {
        size_t found = count_found(q, buffer_string(&said));
        score->answers_found += found;
        score->answers += q->answers.n;
        score->trials++;
        report_answer(r, q, depth, buffer_string(&said), found, rank);
    }
    if (ok && q->candidates.n) {
        score->ranked++;
        score->ranked_first += rank == 1;
        score->rank_sum += (double)rank;
    }
    buffer_free(&said);
    kv_snapshot_free(end);
    free(row);
    return ok;
}

/* ---- sharing the prefill of a scene ---- */

/* The prompts of all questions at all depths. A prompt equals the plain scene up to the place where its
 * needle is inserted, so the deeper the needle, the more of the scene it shares. */
typedef struct Prompts {
    TokenList plain; /* the scene without needle and question */
    TokenList *each; /* (n_depths, n_questions) */
    size_t *shared;  /* (n_depths), rising: tokens that all prompts of a depth have in common with `plain` */
    KvSnapshot **snapshots; /* (n_depths): of the cache after shared[d] tokens of `plain` */
    size_t n_depths, n_questions;
} Prompts;

/* Texts are counted in parts when a scene is made; as one text they may take a few tokens more. */
enum { COUNTING_SLACK = 64 };

/* Encodes all prompts and finds how much of the scene they share. False with an error if a prompt with its
 * answer is longer than the length at hand. */
static bool make_prompts(const Run *r, Prompts *p, Error *e) {
    const double *depths = r->how->depths;
    size_t n_depths = r->how->n_depths, length = r->how->length;
    *p = (Prompts){.n_depths = n_depths, .n_questions = r->s->n_questions};
    p->each = xcalloc(n_depths * p->n_questions + 1, sizeof *p->each);
    p->shared = xcalloc(n_depths + 1, sizeof *p->shared);
    p->snapshots = xcalloc(n_depths + 1, sizeof(KvSnapshot *));
    /* Every prompt is compared with the plain scene; a depth can reuse as much of it as all of its prompts
     * share. */
    if (!make_prompt(r, NULL, 0, &p->plain, e)) return false;
    for (size_t d = 0; d < n_depths; d++) {
        p->shared[d] = p->plain.n;
        for (size_t i = 0; i < p->n_questions; i++) {
            const Question *q = &r->s->questions[i];
            TokenList *ids = &p->each[d * p->n_questions + i];
            if (!make_prompt(r, q, depths[d], ids, e)) return false;
            size_t same = common_prefix(&p->plain, ids), room = answer_room(r, q);
            if (same >= ids->n) same = ids->n - 1; /* at least one token has to run to give logits */
            if (same < p->shared[d]) p->shared[d] = same;
            if (ids->n + room > length + COUNTING_SLACK)
                return error_set(e, ERR_INPUT,
                                 "a prompt of %zu tokens and an answer of %zu exceed the length of %zu",
                                 ids->n, room, length);
        }
    }
    /* By chance a needle may begin like the sentence that it is inserted before, which lets a prompt share
     * more than its depth. Snapshots are taken in the order of the depths, so none may lie behind that of the
     * next depth. */
    for (size_t d = n_depths; d-- > 1;)
        if (p->shared[d] < p->shared[d - 1]) p->shared[d - 1] = p->shared[d];
    return true;
}

/* Frees what make_prompts and ask_all_questions have allocated, also after an error halfway. */
static void free_prompts(Prompts *p) {
    token_list_free(&p->plain);
    for (size_t i = 0; i < p->n_depths * p->n_questions; i++)
        token_list_free(&p->each[i]);
    for (size_t d = 0; d < p->n_depths; d++)
        kv_snapshot_free(p->snapshots[d]);
    free(p->each);
    free(p->shared);
    free(p->snapshots);
}

/* Runs all prompts in an order that reads the scene only once; scores[d] collects the results at depth d. */
static bool ask_all_questions(Run *r, Prompts *p, TaskScore *scores, Error *e) {
    /* 1. Read the plain scene once, and take a snapshot of the cache where the prompts of each depth leave
     * it. */
    for (size_t d = 0, at = 0; d < p->n_depths; at = p->shared[d++]) {
        if (p->shared[d] > at &&
            !net_run(r->n, r->kv, p->plain.ids + at, p->shared[d] - at, p->shared[d] - at, NULL, NULL, e))
            return false;
        if (!(p->snapshots[d] = kv_snapshot(r->kv, e))) return false;
    }
    /* 2. Ask from the deepest snapshot back to the first. Of layers without a window a snapshot stores only
     * the number of tokens: their keys and values stay in the cache, where whatever runs after a restore
     * overwrites those behind it. Restoring an earlier snapshot is therefore possible, and a deeper one is no
     * longer valid after that. */
    for (size_t d = p->n_depths; d-- > 0;)
        for (size_t i = 0; i < p->n_questions; i++) {
            const TokenList *ids = &p->each[d * p->n_questions + i];
            kv_restore(r->kv, p->snapshots[d]);
            if (!run_tokens(r, ids->ids + p->shared[d], ids->n - p->shared[d], e) ||
                !score_question(r, &r->s->questions[i], r->how->depths[d], &scores[d], e))
                return false;
        }
    return true;
}

/* Tokens of the longest candidate, which may take more than the room that a prompt leaves for the right
 * answer. */
static size_t longest_candidate(const Run *r) {
    size_t most = 0;
    for (size_t i = 0; i < r->s->n_questions; i++) {
        const TextList *c = &r->s->questions[i].candidates;
        for (size_t k = 0; k < c->n; k++) {
            size_t n = tokenizer_count(r->t, c->texts[k]) + 2;
            if (n > most) most = n;
        }
    }
    return most;
}

bool evaluate_scene(const SceneEvaluation *how, const Scene *s, TaskScore *scores, Error *e) {
    Run r = {.how = how, .n = how->net, .t = how->tokenizer, .s = s};
    Prompts p;
    /* The cache has room for the prompt, the slack of counting, and the longest candidate that is scored
     * behind it. */
    bool ok = make_prompts(&r, &p, e);
    if (ok) r.kv = kv_new(r.n, how->length + 2 * COUNTING_SLACK + longest_candidate(&r), e);
    r.last = big_alloc(r.n->spec->vocab, sizeof *r.last, "logits", e);
    ok = ok && r.kv && r.last;
    if (ok) {
        kv_watch(r.kv, how->stop);
        ok = ask_all_questions(&r, &p, scores, e);
    }
    free(r.last);
    kv_free(r.kv);
    free_prompts(&p);
    return ok;
}
