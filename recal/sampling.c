/* Drawing tokens from logits, and the loop that continues a text. See sampling.h. */
#include "recal/sampling.h"

#include <math.h>

#include "recal/inference.h"
#include "recal/random.h"

/* State of one call of generate_tokens; also the context of its logits sink. */
typedef struct Sampler {
    const GenerateOptions *o;
    size_t vocab; /* logits in a row */
    size_t known; /* the first `known` of them can be drawn */
    Random random;
    int32_t token; /* the token drawn last */
} Sampler;

/* The index of the largest logit; of equal ones the first. */
static int32_t likeliest(const float *logits, size_t n) {
    /* Comparisons with NaN are false, so a NaN never replaces an earlier logit. */
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Draws from softmax(logits / temperature). With u uniform in [0, sum), the token is the first at which the
 * running sum of weights exceeds u. The largest logit is subtracted, so that no exponential overflows. */
static int32_t draw(Sampler *s, const float *logits) {
    /* A temperature of 0 (or less) is greedy decoding. */
    double t = s->o->temperature;
    int32_t best = likeliest(logits, s->known);
    if (t <= 0) return best;
    double sum = 0, top = logits[best];
    for (size_t i = 0; i < s->known; i++)
        sum += exp((logits[i] - top) / t);
    double u = random_unit(&s->random) * sum;
    for (size_t i = 0; i < s->known; i++)
        if ((u -= exp((logits[i] - top) / t)) < 0) return (int32_t)i;
    return best; /* u was not used up because of rounding, or the logits are NaN */
}

/* A LogitSink: draws from the last row of logits. */
static bool take_last(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)first, (void)e;
    Sampler *s = context;
    s->token = draw(s, logits + (count - 1) * s->vocab);
    return true;
}

bool generate_tokens(Net *n, const int32_t *prompt, size_t n_prompt, const GenerateOptions *o, TokenSink sink,
                     void *context, Error *e) {
    if (!n_prompt) return error_set(e, ERR_USAGE, "the prompt has no tokens to go on from");
    KvCache *kv = kv_new(n, n_prompt + o->tokens, e);
    if (!kv) return false;
    kv_watch(kv, o->stop);
    size_t vocab = n->spec->vocab, known = o->known && o->known < vocab ? o->known : vocab;
    /* The prompt is run in one go and only its last logits are computed; each new token is then run alone. */
    Sampler s = {.o = o, .vocab = vocab, .known = known, .random = random_seeded(o->seed)};
    bool ok = net_run(n, kv, prompt, n_prompt, n_prompt - 1, take_last, &s, e);
    /* The last token is handed on but not run, since nobody needs the logits after it. */
    for (size_t i = 0; ok && i < o->tokens && s.token != o->stop_token; i++) {
        ok = sink(context, s.token, e);
        if (ok && i + 1 < o->tokens) ok = net_run(n, kv, &(int32_t){s.token}, 1, 0, take_last, &s, e);
    }
    kv_free(kv);
    return ok;
}
