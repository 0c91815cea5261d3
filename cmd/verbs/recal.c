/* derope recal: applies surgery to a model, trains it on the CPU and writes the result. The three parts are
 * cmd/surgery_flags.c, cmd/training_step.c and cmd/output.c, which convert and run use as well; this file
 * adds the training state, OUT.derope-state, from which an interrupted run continues. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/output.h"
#include "cmd/output_options.h"
#include "cmd/surgery_flags.h"
#include "cmd/training_step.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/output.h"
#include "formats/text.h"
#include "surgery/model_open.h"

/* The command line. The flags of passes come first, as command_line_parse expects them. */
typedef struct Arguments {
    /* The three parts of the command line, each filled by its own table of options. */
    SurgeryFlags surgery;
    RecalRequest recal;
    OutputRequest output;
    const char *input; /* a checkpoint, or a configuration and a tokenizer with --from-scratch */
    bool json;         /* print the summary as JSON */
} Arguments;

/* A table of its own, because --resume is no hyper-parameter: train_options is part of the key by which a
 * training state recognises its run, and resuming must not change that key. */
static const Option resume_options[] = {
    {.name = "resume",
     .type = OPTION_BOOL,
     .scope = OPTION_FLAG_ONLY,
     .offset = offsetof(Arguments, recal.train.resume),
     .help = "continue an interrupted run from its OUT.derope-state; --force instead starts over and "
             "replaces it"},
    {0},
};

/* In the order in which help prints them; neighbouring groups with the same title share a heading. */
static const OptionGroup groups[] = {
    {"text:", recal_text_options, offsetof(Arguments, recal)},
    {"training:", train_options, offsetof(Arguments, recal.train)},
    {"training:", recal_start_options, offsetof(Arguments, recal)},
    {"training:", resume_options, 0},
    {"training:", threads_option, offsetof(Arguments, recal.threads)},
    {"output:", output_request_options, offsetof(Arguments, output)},
    {"output:", json_option, offsetof(Arguments, json)},
    {0},
};

/* Takes operands: first the input, then the output. */
static bool take_operand(void *arguments, const char *operand, Error *e) {
    Arguments *a = arguments;
    if (!a->input)
        a->input = operand;
    else if (!a->output.path)
        a->output.path = operand;
    else
        return cmd_usage(e, "one input and one output, not '%s' as well (texts go after --data)", operand);
    return true;
}

/* Parses the command line into `a` and checks that what is required was given. TrainOptions has fields that
 * no option sets, so it starts from train_defaults. */
static bool parse(const Verb *self, int argc, char **argv, Arguments *a, Error *e) {
    /* Defaults first; command_line_parse then sets those of the tables again and stores the flags. */
    a->recal.train = train_defaults();
    if (!command_line_parse(self, argc, argv, a, take_operand, e)) return false;
    if (!a->input || !a->output.path)
        return cmd_usage(e, "an input and an output are needed (derope recal --help)");
    if (!a->recal.n_data || !a->recal.train.tokens || !a->recal.train.context)
        return cmd_usage(e, "--data, --tokens and --context are needed (derope recal --help)");
    return true;
}

/* Checks that the state file fits --resume: it has to be there to continue, and must not be there for a new
 * run. A state may hold hours of training, so only --force starts anew over it. */
static bool check_state(const Arguments *a, const char *state, Error *e) {
    bool exists = access(state, F_OK) == 0;
    if (a->recal.train.resume && !exists)
        return error_set(e, ERR_INPUT, "--resume: there is no %s to go on from", state);
    if (!a->recal.train.resume && exists && !a->output.force)
        return error_set(e, ERR_FAILED,
                         "%s: holds an interrupted run; --resume goes on with it, --force starts anew",
                         state);
    return true;
}

/* Does everything after the command line: opens the input, applies the surgery, trains, writes the output and
 * prints a summary. `state` is the path of the training state. Whatever can be refused is refused before the
 * training starts. */
static bool recal(Arguments *a, const char *state, Error *e) {
    /* From scratch, only configuration and tokenizer are opened. */
    Checkpoint *source = checkpoint_open_config(a->input, a->recal.from_scratch, e);
    Model *m = source ? (a->recal.from_scratch ? model_open_config(source, e) : model_open(source, e)) : NULL;
    Net *net = NULL;
    TrainResult result = {0};
    /* The checks, from the cheapest on, and the training at the end of them. */
    a->recal.train.state_path = state;
    bool ok = m && surgery_flags_apply(&a->surgery, m, e) && output_check(m, &a->output, e) &&
              output_may_begin(a->output.path, folder_of_path(a->output.path), a->output.force, e) &&
              check_state(a, state, e) && recalibrate(source, m, &a->recal, &net, &result, e);
    /* The summary goes into the manifest of the output. */
    json_t *summary = ok ? recal_summary(&a->recal, &result) : NULL;
    a->output.extra = summary;
    ok = ok && output_write(m, &a->output, e);
    /* The state is removed when the output is complete, and kept if writing it failed. */
    if (ok) unlink(state);
    /* Say what is kept and how to continue. */
    if (!ok && e->code == ERR_INTERRUPTED && access(state, F_OK) == 0)
        cmd_advise(e, "; %s keeps what was done, and the same command with --resume goes on", state);
    else if (!ok && summary && access(state, F_OK) == 0)
        cmd_advise(e, "; %s keeps what was trained: with --resume the same command only writes it", state);
    if (ok && a->json) {
        /* The time is printed but not written to the manifest, so that the same run writes the same bytes. */
        json_object_set_new(json_object_get(summary, "recalibration"), "seconds", json_real(result.seconds));
        cmd_print_json(summary);
    }
    if (ok && !a->json)
        printf("%llu tokens in %.0f s (%.0f tokens/s), loss %.4f -> %.4f\n",
               (unsigned long long)result.tokens, result.seconds, (double)result.tokens / result.seconds,
               result.first, result.last);
    json_decref(summary);
    json_decref(result.losses);
    /* After the write: the model's tensors refer to the net's weights. */
    net_close(net);
    model_close(m);
    checkpoint_close(source);
    return ok;
}

/* The function of the verb (cmd/verb.h). The state lies beside the output, under its name without a slash at
 * the end. */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.input = NULL};
    bool ok = parse(self, argc, argv, &a, e);
    if (ok) {
        /* Interrupted runs are continued by the same command, so the name of the state follows from that of
         * the output. */
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
    .operands = "IN OUT --data PATH... --tokens N --context N",
    .about =
        "Applies the surgery flags to IN, trains all weights, and writes OUT: a GGUF if it ends in .gguf, a "
        "zip of an "
        "HF folder if it ends in .zip, otherwise an HF folder. IN is an HF folder or a .zip of one, a .gguf, "
        ".safetensors or PyTorch file; it is never written to.\n\n"
        "An interruption (Ctrl-C, exit status 5) leaves OUT.derope-state. The same command with --resume "
        "continues "
        "from there, and its result is bit-identical to that of a run without interruption. A state that was "
        "made "
        "with other options, another text or another model is refused.",
    .groups = groups,
    .takes_surgery = true,
    .examples =
        "  derope recal SmolLM2-135M out --drop-rope=20-29 --sliding-window 512:0-19 --data books/ \\\n"
        "      --tokens 100k --context 256 --objective distill\n",
    .run = run,
};
