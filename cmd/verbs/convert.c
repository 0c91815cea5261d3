/* derope convert: applies surgery to a model and writes it in the format that the output's name asks for. The
 * flags of passes are cmd/surgery_flags.c, choosing a carrier and writing is cmd/output.c. With no flag at
 * all it converts between formats. */
#include <stddef.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/output.h"
#include "cmd/output_options.h"
#include "cmd/surgery_flags.h"
#include "formats/checkpoint_open.h"
#include "surgery/model_open.h"

/* The command line. The flags of passes come first, as command_line_parse expects them. */
typedef struct Arguments {
    /* Which passes to apply, and what to write where. */
    SurgeryFlags surgery;
    OutputRequest output;
    const char *input;   /* a checkpoint, which is never written to */
    const char *depfile; /* where to write a make rule; NULL: nowhere */
} Arguments;

/* The flags that only this verb has. */
static const Option own_options[] = {
    {.name = "depfile",
     .type = OPTION_PATH,
     .value_name = "FILE",
     .scope = OPTION_FLAG_ONLY,
     .offset = offsetof(Arguments, depfile),
     .help = "write a make rule that says that OUT depends on every file of IN"},
    {0},
};

/* All flags of the verb but those of passes; offsets are those of structs inside Arguments. */
static const OptionGroup groups[] = {
    {"output:", output_request_options, offsetof(Arguments, output)},
    {"output:", own_options, 0},
    {0},
};

/* Takes operands: first the input, then the output. A third one may be a list of layers that was meant for
 * --drop-rope, which the hint says. */
static bool take_operand(void *arguments, const char *operand, Error *e) {
    Arguments *a = arguments;
    if (!a->input)
        a->input = operand;
    else if (!a->output.path)
        a->output.path = operand;
    else
        return cmd_usage(e, "one input and one output, not '%s' as well%s", operand,
                         surgery_flags_hint(&a->surgery));
    return true;
}

/* Opens the input, applies the passes and writes the output. The depfile is checked before the work, and
 * written after the output that it names. */
static bool convert(const Arguments *a, Error *e) {
    /* Read the source and apply the passes to its spec. */
    Checkpoint *source = checkpoint_open(a->input, e);
    Model *m = source ? model_open(source, e) : NULL;
    bool ok = m && surgery_flags_apply(&a->surgery, m, e);
    if (ok && a->depfile) ok = depfile_check(a->depfile, &a->output.path, 1, source, NULL, e);
    /* Write the output, which streams tensors from the mapped source. */
    ok = ok && output_write(m, &a->output, e);
    if (ok && a->depfile) ok = depfile_write(a->depfile, &a->output.path, 1, source, NULL, e);
    /* The model refers to the checkpoint's data, so it is closed first. */
    model_close(m);
    checkpoint_close(source);
    return ok;
}

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.input = NULL};
    bool ok = command_line_parse(self, argc, argv, &a, take_operand, e);
    if (ok && (!a.input || !a.output.path))
        ok = cmd_usage(e, "an input and an output are needed (derope convert --help)");
    ok = ok && convert(&a, e);
    surgery_flags_free(&a.surgery);
    return ok;
}

const Verb verb_convert = {
    .name = "convert",
    .summary = "change a model and write it as GGUF, HF folder or zip",
    .operands = "IN OUT",
    .about =
        "IN is an HF folder or a .zip of one, a .gguf, .safetensors or PyTorch file; it is never written to. "
        "OUT is "
        "a GGUF if it ends in .gguf, a zip of an HF folder if it ends in .zip, otherwise an HF folder. OUT "
        "appears "
        "complete or not at all.\n\n"
        "Tensors that no flag changes are copied byte for byte. The fp8 and mxfp4 weights of an HF model are "
        "copied "
        "too, and are converted to a plain type where the surgery or the format of OUT needs that.\n\n"
        "The result is written as a stock architecture, called its carrier, that unmodified runtimes load. A "
        "manifest (derope.json; in a GGUF the key derope.manifest) records what was done, and `derope "
        "verify` "
        "checks OUT against it.",
    .groups = groups,
    .takes_surgery = true,
    .examples =
        "  derope convert SmolLM2-135M out.gguf --drop-rope\n"
        "  derope convert SmolLM2-135M out --drop-rope=20-29 --sliding-window 512:0-19 --dtype bf16\n",
    .run = run,
};
