#include <getopt.h>

#include "cmd/cmd.h"
#include "cmd/output.h"
#include "cmd/surgery_flags.h"
#include "formats/checkpoint_open.h"

enum { FLAG_DTYPE = FLAG_VERB, FLAG_CARRIER, FLAG_SHARD, FLAG_FORCE, FLAG_DEPFILE };

static const struct option options[] = {
    SURGERY_OPTIONS,
    {"dtype", required_argument, NULL, FLAG_DTYPE},
    {"carrier", required_argument, NULL, FLAG_CARRIER},
    {"max-shard-size", required_argument, NULL, FLAG_SHARD},
    {"force", no_argument, NULL, FLAG_FORCE},
    {"depfile", required_argument, NULL, FLAG_DEPFILE},
    {0},
};

typedef struct Arguments {
    SurgeryFlags surgery;
    OutputRequest output;
    const char *input, *depfile;
} Arguments;

static bool parse(int argc, char **argv, Arguments *a, Error *e) {
    int option;
    Scan scan = {0};
    while ((option = cmd_next(&scan, argc, argv, options)) != -1) {
        if (option == 0) {
            const char *operand = scan.operand;
            if (!a->input)
                a->input = operand;
            else if (!a->output.path)
                a->output.path = operand;
            else
                return cmd_usage(e, "one input and one output, not '%s' as well%s", operand,
                                 surgery_hint(&a->surgery));
        } else if (surgery_flag(&a->surgery, option, optarg, e)) {
            if (e->code) return false;
        } else if (option == FLAG_DTYPE) {
            a->output.dtype = optarg;
        } else if (option == FLAG_CARRIER) {
            a->output.carrier = optarg;
        } else if (option == FLAG_FORCE) {
            a->output.force = true;
        } else if (option == FLAG_DEPFILE) {
            a->depfile = optarg;
        } else if (option == FLAG_SHARD) {
            if (!cmd_parse_u64("--max-shard-size", optarg, &a->output.max_shard_size, e)) return false;
            if (a->output.max_shard_size == 0) return cmd_usage(e, "--max-shard-size: 0 holds no tensor");
        } else {
            return cmd_bad_option(e, option, argv);
        }
    }
    return (a->input && a->output.path) ||
           cmd_usage(e, "an input and an output are needed (derope convert --help)");
}

static bool convert(const Arguments *a, Error *e) {
    Checkpoint *source = checkpoint_open(a->input, e);
    Model *m = source ? model_open(source, e) : NULL;
    bool ok = m && surgery_flags_apply(&a->surgery, m, e);
    if (ok && a->depfile) ok = depfile_check(a->depfile, &a->output.path, 1, source, NULL, e);
    ok = ok && output_write(m, &a->output, e);
    if (ok && a->depfile) ok = depfile_write(a->depfile, &a->output.path, 1, source, NULL, e);
    model_close(m);
    checkpoint_close(source);
    return ok;
}

static bool run(int argc, char **argv, Error *e) {
    Arguments a = {0};
    bool ok = parse(argc, argv, &a, e) && convert(&a, e);
    surgery_flags_free(&a.surgery);
    return ok;
}

const Verb verb_convert = {
    .name = "convert",
    .summary = "change a model and write it, as GGUF, HF folder or zip",
    .help =
        "usage: derope convert IN OUT [options]\n\n"
        "IN is an HF folder or a .zip of one, a .gguf, .safetensors or PyTorch file; it is never written\n"
        "to. OUT is a GGUF if it ends in .gguf, a zip of an HF folder if in .zip, otherwise an HF\n"
        "folder. Tensors that nothing touches are copied byte for byte; fp8 and mxfp4 weights of an HF\n"
        "model are copied too, or written plain where the surgery or the format needs them so. OUT\n"
        "appears complete or not at all, with a manifest (derope.json; in GGUF the key\n"
        "derope.manifest).\n\n" SURGERY_HELP "\noutput:\n"
        "  --dtype T                   f32, bf16, f16; GGUF also q8_0, q6_k, q5_k, q4_k, q3_k, q2_k, q5_0,\n"
        "                              q5_1, q4_0, q4_1, iq4_nl, iq4_xs; left out: as in IN\n"
        "  --carrier NAME              the stock architecture to use; left out: the plainest that can\n"
        "                              (HF: own, smollm3, granite_swa, granitemoe_swa, partial-0, olmoe,\n"
        "                              linear-1e30, olmo3; GGUF: own, granite, granite_swa, olmoe,\n"
        "                              linear-1e30)\n"
        "  --max-shard-size N          bytes per safetensors file (5G)\n"
        "  --force                     replace OUT\n"
        "  --depfile F                 write a make rule: OUT depends on every file of IN\n\n"
        "examples:\n"
        "  derope convert SmolLM2-135M out.gguf --drop-rope\n"
        "  derope convert SmolLM2-135M out --drop-rope=20-29 --sliding-window 512:0-19 --dtype bf16\n",
    .run = run,
};
