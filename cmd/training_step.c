/* Recalibration for `derope recal` and `derope run` (training_step.h): the options that say where text comes
 * from, and the steps around recal/train.h. The steps go from cheap to expensive: options and memory are
 * checked before the text is read, and the text is read before any weights are decoded, so that a mistake
 * shows at once and not after minutes. */
#include "cmd/training_step.h"

#include <stddef.h>

#include "cmd/cmd.h"
#include "formats/checkpoint.h"
#include "recal/memory.h"
#include "recal/text_data.h"
#include "surgery/model_open.h"
#include "surgery/options.h"

/* Where the training text comes from. `data` is required in recipes; the verb recal checks the flag
 * itself. */
const Option recal_text_options[] = {
    {.name = "data",
     .type = OPTION_PATH,
     .required = true,
     .keeps_commas = true,
     .capacity = RECAL_MAX_PATHS,
     .offset = offsetof(RecalRequest, data),
     .count_offset = offsetof(RecalRequest, n_data),
     .takes_rest = true,
     .help = "text files, folders, .jsonl, each also .gz or .zst"},
    {.name = "field",
     .type = OPTION_TEXT,
     .fallback = "text",
     .value_name = "NAME",
     .offset = offsetof(RecalRequest, field),
     .help = "the member of a JSONL line that holds the text"},
    {0},
};

/* What training starts from. */
const Option recal_start_options[] = {
    {.name = "from_scratch",
     .type = OPTION_BOOL,
     .fallback = "false",
     .offset = offsetof(RecalRequest, from_scratch),
     .help =
         "start from random weights; the source is then a folder with config.json and a tokenizer, and needs "
         "no weights"},
    {0},
};

RecalRequest recal_request_defaults(void) {
    static const OptionGroup groups[] = {{NULL, recal_text_options, 0}, {NULL, recal_start_options, 0}, {0}};
    RecalRequest r = {.train = train_defaults()};
    options_default(groups, &r);
    return r;
}

/* TrainOptions.progress: shows tokens done, loss, learning rate, and the time left in minutes and seconds at
 * the current rate in tokens per second (0 while it is not known). */
static void show(void *context, uint64_t done, uint64_t tokens, double loss, double lr, double rate) {
    (void)context;
    double left = rate > 0 ? (double)(tokens - done) / rate : 0;
    cmd_progress("recalibrating: %llu of %llu tokens, loss %.4f, lr %.2e, %.0f tokens/s, %d:%02d left",
                 (unsigned long long)done, (unsigned long long)tokens, loss, lr, rate, (int)left / 60,
                 (int)left % 60);
}

/* Reads and tokenizes the training text into `tokens`. It stops after eight times the token budget, which
 * gives training enough windows to choose from, so that a very large corpus need not be read to its end. */
static bool load_tokens(Checkpoint *source, const RecalRequest *r, TokenList *tokens, Error *e) {
    Tokenizer *t = tokenizer_open(source, e);
    bool ok = t && text_data_pack(t, r->data, r->n_data, r->field, 8 * r->train.tokens + r->train.context + 1,
                                  tokens, e);
    tokenizer_close(t);
    return ok;
}

/* Opens the teacher of distillation: the source without the surgery. `*model` receives its model, which has
 * to outlive the net; the caller closes both. */
static Net *open_teacher(Checkpoint *source, Model **model, int threads, Error *e) {
    *model = model_open(source, e);
    return *model ? net_open(*model, threads, e) : NULL;
}

bool recalibrate(Checkpoint *source, Model *m, const RecalRequest *r, Net **net, TrainResult *result,
                 Error *e) {
    uint64_t weights = net_weight_bytes(m); /* bytes of the net's weights in fp32 */
    TokenList tokens = {0};
    Model *teacher_model = NULL;
    Net *teacher = NULL;
    TrainOptions o = r->train;
    o.stop = &cmd_stop;
    o.progress = show;
    *net = NULL;
    /* Check options and memory, then read the text. */
    bool ok = train_check(&o, e) &&
              memory_check(weights + train_bytes(&m->spec, weights, &o), "recalibration", e) &&
              load_tokens(source, r, &tokens, e);
    /* The teacher reads the source again, because `m` has been operated on. */
    if (ok && o.objective->needs_teacher)
        ok = (teacher = open_teacher(source, &teacher_model, r->threads, e)) != NULL;
    /* The student: the weights of the model after surgery, or random ones. */
    if (ok) *net = r->from_scratch ? net_random(m, o.seed, r->threads, e) : net_open(m, r->threads, e);
    ok = ok && *net && train_run(*net, teacher, tokens.ids, tokens.n, &o, result, e);
    /* The model's tensors now refer to the net's weights, which is why the caller closes the net after the
     * model was written. */
    if (ok) net_update_model(*net, m);
    cmd_progress_end();
    net_close(teacher);
    model_close(teacher_model);
    token_list_free(&tokens);
    return ok;
}

/* Nothing in the summary depends on time or on whether the run was interrupted, so that the same run writes
 * the same bytes. */
json_t *recal_summary(const RecalRequest *r, const TrainResult *result) {
    json_t *o =
        json_pack("{s:s, s:I, s:I, s:I, s:f, s:I, s:f, s:f, s:O}", "objective", r->train.objective->name,
                  "tokens_seen", (json_int_t)result->tokens, "steps", (json_int_t)result->steps, "context",
                  (json_int_t)r->train.context, "lr", r->train.lr, "seed", (json_int_t)r->train.seed,
                  "first_loss", result->first, "last_loss", result->last, "losses", result->losses);
    return json_pack("{s:o}", "recalibration", o);
}
