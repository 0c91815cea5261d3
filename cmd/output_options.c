/* The table of options of an output, for recipes and for the verbs convert and recal; cmd/output.c uses the
 * values. Names of dtypes and carriers come from the tables that define them (surgery/quant_mix.h,
 * surgery/carriers/carriers.h). Which of them are possible depends on the format that the output's name asks
 * for, and on the model. The option table therefore accepts any name, and output_check refuses those that are
 * not possible and says which are. */
#include "cmd/output_options.h"

#include <stddef.h>
#include <string.h>

#include "cmd/output.h"
#include "surgery/carriers/carriers.h"
#include "surgery/quant_mix.h"

/* Option.choices: fills `names` with the names of all carriers. A carrier for HF and one for GGUF may have
 * the same name, which is listed once. */
static size_t carrier_names(const char **names, size_t max) {
    size_t n = 0;
    for (const Carrier *const *c = carriers; *c && n < max; c++) {
        bool known = false;
        /* Is the name in the list already? */
        for (size_t i = 0; i < n; i++)
            known |= strcmp(names[i], (*c)->name) == 0;
        if (!known) names[n++] = (*c)->name;
    }
    return n;
}

/* Appends the names of one format's carriers, separated by commas, in the order in which they are tried. */
static void list_carriers_of(Format format, Buffer *out) {
    const char *comma = "";
    for (const Carrier *const *c = carriers; *c; c++) {
        if ((*c)->format != format) continue;
        buffer_printf(out, "%s%s", comma, (*c)->name);
        comma = ", ";
    }
}

/* Option.list_choices: "for an HF folder own, smollm3, ...; for a GGUF own, granite, ...". */
static void list_carriers(Buffer *out) {
    buffer_printf(out, "for an HF folder ");
    list_carriers_of(FORMAT_HF, out);
    buffer_printf(out, "; for a GGUF ");
    list_carriers_of(FORMAT_GGUF, out);
}

/* Option.list_choices: "f32, bf16, f16; in a GGUF also q8_0, ...". Safetensors files hold plain dtypes
 * only. */
static void list_dtypes(Buffer *out) {
    dtype_list_names(false, out);
    buffer_printf(out, "; in a GGUF also the mixes of llama-quantize, which choose a type for each tensor: ");
    quant_mix_list_names(out);
}

/* The path is a key in recipes only, because verbs take it as an operand. */
const Option output_request_options[] = {
    {.name = "path",
     .type = OPTION_PATH,
     .required = true,
     .scope = OPTION_RECIPE_ONLY,
     .offset = offsetof(OutputRequest, path),
     .help = "NAME.gguf is GGUF, anything else an HF folder, NAME.zip one in a zip"},
    {.name = "dtype",
     .type = OPTION_TEXT,
     .value_name = "TYPE",
     .choices = quant_mix_names,
     .list_choices = list_dtypes,
     .choices_checked_later = true, /* the format decides which of them are possible */
     .otherwise = "as in the source",
     .offset = offsetof(OutputRequest, dtype),
     .help = "type of the weights"},
    {.name = "pure",
     .type = OPTION_BOOL,
     .offset = offsetof(OutputRequest, pure),
     .help = "give every matrix the type that the dtype is named for, without a mix: q4_k alone for q4_k_m"},
    /* Runtimes load the output as this architecture (surgery/carriers/). */
    {.name = "carrier",
     .type = OPTION_TEXT,
     .choices = carrier_names,
     .list_choices = list_carriers,
     .choices_checked_later = true,
     .otherwise = "the first that can express the model",
     .offset = offsetof(OutputRequest, carrier),
     .help = "the stock architecture that the result is written as"},
    {.name = "max_shard_size",
     .type = OPTION_U64,
     .least = 1,
     .unit = "bytes",
     .otherwise = "5G",
     .offset = offsetof(OutputRequest, max_shard_size),
     .help = "largest safetensors file of an HF folder"},
    {.name = "allow_nonfinite",
     .type = OPTION_BOOL,
     .offset = offsetof(OutputRequest, allow_nonfinite),
     .help = "write values that the dtype cannot hold (too large, or NaN in a q type) instead of failing"},
    /* A flag only: a recipe replaces the outputs of its own earlier runs by itself. */
    {.name = "force",
     .type = OPTION_BOOL,
     .scope = OPTION_FLAG_ONLY,
     .offset = offsetof(OutputRequest, force),
     .help = "replace the output if it is there already"},
    {0},
};
