/* The options of training with their ranges, defaults and help. The table serves three readers: flags of the
 * command line and recipes are parsed by it (surgery/options.h), help texts are printed from it, and a
 * training state's key (state.c) is computed from its values. The ranges are those in which a run makes
 * sense at all. train_check tests what depends on two options together; what depends on the text or on the
 * available memory is tested by train.c, where those are known. */
#include "recal/train_options.h"

#include <stddef.h>

#include "surgery/options.h"

/* Context lengths and batches up to this fit 32 bits with room to multiply. */
enum { MAX_SMALL = 1 << 24 };

/* Parses the name of an objective. The struct stores a pointer into the table of objectives.c. */
static bool set_objective(void *options, const char *text, Error *e) {
    TrainOptions *o = options;
    o->objective = objective_by_name(text);
    return o->objective || error_set(e, ERR_USAGE, "there is no objective '%.40s'", text);
}

/* Writes the objective by name. The name and not the pointer enters a state's key, so the key is the same in
 * every process. */
static void print_objective(const void *options, Buffer *out) {
    const TrainOptions *o = options;
    buffer_printf(out, "%s", o->objective ? o->objective->name : "");
}

/* Writes the objectives with their explanations for the help text, for example "next-token (cross entropy of
 * the next token) or distill (...)". */
static void list_objectives(Buffer *out) {
    for (const Objective *o = objectives; o->name; o++)
        buffer_printf(out, "%s%s (%s)", o == objectives ? "" : " or ", o->name, o->help);
}

/* Each entry names a field of TrainOptions, its range, its default and its help. `otherwise` describes a
 * default that is computed when training starts. */
const Option train_options[] = {
    /* The budget and the shape of a batch. */
    {.name = "tokens",
     .type = OPTION_U64,
     .required = true,
     .least = 1,
     .offset = offsetof(TrainOptions, tokens),
     .help = "how many tokens to train on"},
    {.name = "context",
     .type = OPTION_U32,
     .required = true,
     .least = 1,
     .most = MAX_SMALL,
     .unit = "tokens",
     .offset = offsetof(TrainOptions, context),
     .help = "length of a training sequence, at most the model's training length"},
    {.name = "objective",
     .type = OPTION_TEXT,
     .fallback = "next-token",
     .choices = objective_names,
     .list_choices = list_objectives,
     .set = set_objective,
     .print = print_objective,
     .help = "what to minimize"},
    /* The schedule: linear warmup to lr, then a cosine to lr * min_lr_ratio (train_lr in recal/train.c). */
    {.name = "lr",
     .type = OPTION_REAL,
     .fallback = "3e-4",
     .offset = offsetof(TrainOptions, lr),
     .help = "peak learning rate"},
    {.name = "min_lr_ratio",
     .type = OPTION_REAL,
     .fallback = "0.1",
     .most = 1,
     .offset = offsetof(TrainOptions, min_lr_ratio),
     .help = "the cosine schedule ends at this fraction of lr"},
    {.name = "warmup",
     .type = OPTION_U32,
     .otherwise = "a tenth of all steps, at most 100",
     .most = MAX_SMALL,
     .unit = "optimizer steps",
     .offset = offsetof(TrainOptions, warmup),
     .help = "duration of the linear warmup of the learning rate"},
    /* How an optimizer step is made up. */
    {.name = "batch",
     .type = OPTION_U32,
     .fallback = "8",
     .least = 1,
     .most = MAX_SMALL,
     .offset = offsetof(TrainOptions, batch),
     .help = "sequences in one optimizer step"},
    {.name = "accumulate",
     .type = OPTION_U32,
     .fallback = "1",
     .least = 1,
     .most = MAX_SMALL,
     .offset = offsetof(TrainOptions, accumulate),
     .help = "gradient accumulation: split each batch into this many equal parts, to save memory"},
    /* AdamW (arXiv 1711.05101). */
    {.name = "weight_decay",
     .type = OPTION_REAL,
     .fallback = "0.01",
     .offset = offsetof(TrainOptions, weight_decay),
     .help = "weight decay of AdamW; only applied to matrices"},
    {.name = "beta1",
     .type = OPTION_REAL,
     .fallback = "0.9",
     .most = 1,
     .offset = offsetof(TrainOptions, beta1),
     .help = "beta1 of AdamW, the decay rate of the first moment"},
    {.name = "beta2",
     .type = OPTION_REAL,
     .fallback = "0.95",
     .most = 1,
     .offset = offsetof(TrainOptions, beta2),
     .help = "beta2 of AdamW, the decay rate of the second moment"},
    {.name = "clip",
     .type = OPTION_REAL,
     .fallback = "1",
     .offset = offsetof(TrainOptions, clip),
     .help = "clip the norm of the gradient to this value; 0 turns clipping off"},
    {.name = "seed",
     .type = OPTION_U64,
     .fallback = "1",
     .offset = offsetof(TrainOptions, seed),
     .help = "seed of the order in which the text is read, and of random weights; the same seed gives the "
             "same result"},
    {0},
};

TrainOptions train_defaults(void) {
    /* A minute between states: what an interruption without warning costs at most. */
    static const OptionGroup groups[] = {{NULL, train_options, 0}, {0}};
    TrainOptions o = {.save_seconds = 60};
    options_default(groups, &o);
    return o;
}

bool train_check(const TrainOptions *o, Error *e) {
    if (!options_check(train_options, o, e)) return false;
    /* Parts of different sizes would weigh their sequences differently in the mean. */
    if (o->batch % o->accumulate)
        return error_set(e, ERR_USAGE, "a batch of %u sequences cannot be run in %u equal parts", o->batch,
                         o->accumulate);
    /* With beta1 = 1 or beta2 = 1 the moments stay at 0, and the correction 1 - beta^t divides by 0. */
    if (o->lr == 0 || o->beta1 == 1 || o->beta2 == 1)
        return error_set(e, ERR_USAGE, "lr %g, beta1 %g and beta2 %g would train nothing", o->lr, o->beta1,
                         o->beta2);
    return true;
}
