#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/output.h"
#include "cmd/surgery_flags.h"
#include "cmd/training_step.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/output.h"
#include "formats/text.h"

enum {
    FLAG_DATA = FLAG_VERB,
    FLAG_FIELD,
    FLAG_TOKENS,
    FLAG_CONTEXT,
    FLAG_OBJECTIVE,
    FLAG_LR,
    FLAG_MIN_LR,
    FLAG_WARMUP,
    FLAG_BATCH,
    FLAG_ACCUMULATE,
    FLAG_DECAY,
    FLAG_CLIP,
    FLAG_SEED,
    FLAG_RESUME,
    FLAG_SCRATCH,
    FLAG_DTYPE,
    FLAG_CARRIER,
    FLAG_FORCE,
    FLAG_JSON,
    FLAG_THREADS,
};

static const struct option options[] = {
    SURGERY_OPTIONS,
    {"data", required_argument, NULL, FLAG_DATA},
    {"field", required_argument, NULL, FLAG_FIELD},
    {"tokens", required_argument, NULL, FLAG_TOKENS},
    {"context", required_argument, NULL, FLAG_CONTEXT},
    {"objective", required_argument, NULL, FLAG_OBJECTIVE},
    {"lr", required_argument, NULL, FLAG_LR},
    {"min-lr-ratio", required_argument, NULL, FLAG_MIN_LR},
    {"warmup", required_argument, NULL, FLAG_WARMUP},
    {"batch", required_argument, NULL, FLAG_BATCH},
    {"accumulate", required_argument, NULL, FLAG_ACCUMULATE},
    {"weight-decay", required_argument, NULL, FLAG_DECAY},
    {"clip", required_argument, NULL, FLAG_CLIP},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"resume", no_argument, NULL, FLAG_RESUME},
    {"from-scratch", no_argument, NULL, FLAG_SCRATCH},
    {"dtype", required_argument, NULL, FLAG_DTYPE},
    {"carrier", required_argument, NULL, FLAG_CARRIER},
    {"force", no_argument, NULL, FLAG_FORCE},
    {"json", no_argument, NULL, FLAG_JSON},
    {"threads", required_argument, NULL, FLAG_THREADS},
    {0},
};

enum { MAX_DATA = 256 };

typedef struct Arguments {
    SurgeryFlags surgery;
    RecalRequest recal;
    OutputRequest output;
    const char *input;
    const char *data[MAX_DATA];
    bool json;
} Arguments;

static bool parse_small(const char *name, const char *text, uint32_t *out, Error *e) {
    uint64_t v;
    if (!cmd_parse_u64(name, text, &v, e)) return false;
    if (v > 1 << 24) return cmd_usage(e, "%s: %llu is out of reason", name, (unsigned long long)v);
    *out = (uint32_t)v;
    return true;
}

/* --data a b c: takes the operands that follow as well. */
static bool add_data(Arguments *a, int argc, char **argv, Error *e) {
    optind--;
    while (optind < argc && (argv[optind][0] != '-' || !argv[optind][1])) {
        if (a->recal.n_data == MAX_DATA)
            return cmd_usage(e, "more than %d paths after --data; name a folder", MAX_DATA);
        a->data[a->recal.n_data++] = argv[optind++];
    }
    return true;
}

static bool parse_option(Arguments *a, int option, int argc, char **argv, Error *e) {
    TrainOptions *t = &a->recal.train;
    switch (option) {
    case FLAG_DATA:
        return add_data(a, argc, argv, e);
    case FLAG_FIELD:
        a->recal.field = optarg;
        return true;
    case FLAG_TOKENS:
        return cmd_parse_u64("--tokens", optarg, &t->tokens, e);
    case FLAG_CONTEXT:
        return parse_small("--context", optarg, &t->context, e);
    case FLAG_OBJECTIVE:
        t->objective = objective_by_name(optarg);
        return t->objective || cmd_usage(e, "--objective: '%.40s' is not next-token or distill", optarg);
    case FLAG_LR:
        return cmd_parse_f64("--lr", optarg, &t->lr, e);
    case FLAG_MIN_LR:
        return cmd_parse_f64("--min-lr-ratio", optarg, &t->min_lr_ratio, e);
    case FLAG_WARMUP:
        return parse_small("--warmup", optarg, &t->warmup, e);
    case FLAG_BATCH:
        return parse_small("--batch", optarg, &t->batch, e);
    case FLAG_ACCUMULATE:
        return parse_small("--accumulate", optarg, &t->accumulate, e);
    case FLAG_DECAY:
        return cmd_parse_f64("--weight-decay", optarg, &t->weight_decay, e);
    case FLAG_CLIP:
        return cmd_parse_f64("--clip", optarg, &t->clip, e);
    case FLAG_SEED:
        return cmd_parse_u64("--seed", optarg, &t->seed, e);
    case FLAG_RESUME:
        t->resume = true;
        return true;
    case FLAG_SCRATCH:
        a->recal.from_scratch = true;
        return true;
    case FLAG_DTYPE:
        a->output.dtype = optarg;
        return true;
    case FLAG_CARRIER:
        a->output.carrier = optarg;
        return true;
    case FLAG_FORCE:
        a->output.force = true;
        return true;
    case FLAG_JSON:
        a->json = true;
        return true;
    case FLAG_THREADS:
        return cmd_parse_threads(optarg, &a->recal.threads, e);
    default:
        return cmd_bad_option(e, option, argv);
    }
}

static bool parse(int argc, char **argv, Arguments *a, Error *e) {
    int option;
    Scan scan = {0};
    a->recal.train = train_defaults();
    a->recal.train.objective = objective_by_name("next-token");
    a->recal.data = a->data;
    while ((option = cmd_next(&scan, argc, argv, options)) != -1) {
        if (option == 0) {
            const char *operand = scan.operand;
            if (!a->input)
                a->input = operand;
            else if (!a->output.path)
                a->output.path = operand;
            else
                return cmd_usage(e, "one input and one output, not '%s' as well (texts go after --data)",
                                 operand);
        } else if (surgery_flag(&a->surgery, option, optarg, e)) {
            if (e->code) return false;
        } else if (!parse_option(a, option, argc, argv, e)) {
            return false;
        }
    }
    if (!a->input || !a->output.path)
        return cmd_usage(e, "an input and an output are needed (derope recal --help)");
    if (!a->recal.n_data || !a->recal.train.tokens || !a->recal.train.context)
        return cmd_usage(e, "--data, --tokens and --context are needed (derope recal --help)");
    return true;
}

/* Hours of training may lie in a state: only --force starts anew over it. */
static bool check_state(const Arguments *a, const char *state, Error *e) {
    bool there = access(state, F_OK) == 0;
    if (a->recal.train.resume && !there)
        return error_set(e, ERR_INPUT, "--resume: there is no %s to go on from", state);
    if (!a->recal.train.resume && there && !a->output.force)
        return error_set(e, ERR_FAILED,
                         "%s: holds an interrupted run; --resume goes on with it, --force starts anew",
                         state);
    return true;
}

static bool recal(Arguments *a, const char *state, Error *e) {
    Checkpoint *source = checkpoint_open_config(a->input, a->recal.from_scratch, e);
    Model *m = source ? (a->recal.from_scratch ? model_open_config(source, e) : model_open(source, e)) : NULL;
    Net *net = NULL;
    TrainResult result = {0};
    a->recal.train.state_path = state;
    bool ok = m && surgery_flags_apply(&a->surgery, m, e) && output_check(m, &a->output, e) &&
              output_may_begin(a->output.path, folder_of_path(a->output.path), a->output.force, e) &&
              check_state(a, state, e) && recalibrate(source, m, &a->recal, &net, &result, e);
    json_t *summary = ok ? recal_summary(&a->recal, &result) : NULL;
    a->output.extra = summary;
    ok = ok && output_write(m, &a->output, e);
    if (ok) unlink(state);
    if (!ok && e->code == ERR_INTERRUPTED && access(state, F_OK) == 0)
        cmd_advise(e, "; %s keeps what was done, and the same command with --resume goes on", state);
    else if (!ok && summary && access(state, F_OK) == 0)
        cmd_advise(e, "; %s keeps what was trained: with --resume the same command only writes it", state);
    if (ok && a->json) {
        /* in no manifest: the same run gives the same bytes */
        json_object_set_new(json_object_get(summary, "recalibration"), "seconds", json_real(result.seconds));
        cmd_print_json(summary);
    }
    if (ok && !a->json)
        printf("%llu tokens in %.0f s (%.0f tokens/s), loss %.4f -> %.4f\n",
               (unsigned long long)result.tokens, result.seconds, (double)result.tokens / result.seconds,
               result.first, result.last);
    json_decref(summary);
    json_decref(result.losses);
    net_close(net);
    model_close(m);
    checkpoint_close(source);
    return ok;
}

static bool run(int argc, char **argv, Error *e) {
    Arguments a = {0};
    bool ok = parse(argc, argv, &a, e);
    if (ok) {
        Buffer state = {0};
        buffer_printf(&state, "%.*s.derope-state", (int)path_length(a.output.path), a.output.path);
        ok = recal(&a, buffer_string(&state), e);
        buffer_free(&state);
    }
    surgery_flags_free(&a.surgery);
    return ok;
}

const Verb verb_recal = {
    .name = "recal",
    .summary = "recalibrate a model on the CPU after surgery",
    .help =
        "usage: derope recal IN OUT --data PATH... --tokens N --context N [options]\n\n"
        "Applies the surgery flags to IN, trains all weights, writes OUT (GGUF if it ends in .gguf, a zip\n"
        "of an HF folder if in .zip, else an HF folder). IN is an HF folder or a .zip of one, a .gguf,\n"
        ".safetensors or PyTorch file; it is never written to. Ctrl-C leaves OUT.derope-state (exit\n"
        "status 5); the same command with --resume goes on, bit for bit as if it had not stopped.\n\n"
        "  --data PATH...              text files, folders, .jsonl; each also .gz or .zst\n"
        "  --field NAME                the field of a JSONL line that holds the text (text)\n"
        "  --tokens N                  budget; 100k, 2M\n"
        "  --context N                 tokens per sequence: the length the model was trained on, or less\n"
        "  --objective O               next-token, or distill: follow IN as it was, with its RoPE on "
        "(next-token)\n"
        "  --lr X                      peak learning rate (3e-4); --min-lr-ratio X (0.1), --warmup STEPS\n"
        "  --batch N                   sequences per step (8); --accumulate N runs it in N parts, to save "
        "memory\n"
        "  --weight-decay X (0.01)  --clip X (1)  --seed N (1)  --threads N\n"
        "  --resume                    go on from OUT.derope-state (--force starts anew over it)\n"
        "  --from-scratch              IN is a folder with config.json and tokenizer.json: start from random "
        "weights\n"
        "  --dtype T  --carrier NAME  --force   as for derope convert\n"
        "  --json\n\n" SURGERY_HELP "\nexample:\n"
        "  derope recal SmolLM2-135M out --drop-rope=20-29 --sliding-window 512:0-19 --data books/ \\\n"
        "      --tokens 100k --context 256 --objective distill\n",
    .run = run,
};
