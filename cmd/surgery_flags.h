/* The surgery flags that convert, ppl, logits, generate and recal share, and what follows from them. */
#ifndef DEROPE_CMD_SURGERY_FLAGS_H
#define DEROPE_CMD_SURGERY_FLAGS_H

#include <getopt.h>

#include "surgery/model.h"

/* getopt_long values, beyond those of characters. */
enum {
    FLAG_DROP_ROPE = 1000,
    FLAG_KEEP_ROPE,
    FLAG_SLIDING_WINDOW,
    FLAG_ROPE_SCALING,
    FLAG_SCALE_ATTENTION,
    FLAG_SET_CONTEXT,
    FLAG_VERB = 2000, /* verbs count their own from here */
};

#define SURGERY_OPTIONS                                                                                      \
    {"drop-rope", optional_argument, NULL, FLAG_DROP_ROPE},                                                  \
        {"keep-rope", required_argument, NULL, FLAG_KEEP_ROPE},                                              \
        {"sliding-window", required_argument, NULL, FLAG_SLIDING_WINDOW},                                    \
        {"rope-scaling", required_argument, NULL, FLAG_ROPE_SCALING},                                        \
        {"scale-attention", required_argument, NULL, FLAG_SCALE_ATTENTION}, {                                \
        "set-context", required_argument, NULL, FLAG_SET_CONTEXT                                             \
    }

#define SURGERY_HELP                                                                                         \
    "surgery, applied in this order; layers count from 0:\n"                                                 \
    "  --drop-rope[=LAYERS]        no rotary embeddings in LAYERS: all, 3, 0,3,7, 10-29, every:4\n"          \
    "                              (layers with (i+1) % 4 == 0); alone: all\n"                               \
    "  --keep-rope LAYERS          drop them everywhere else\n"                                              \
    "  --sliding-window N[:LAYERS] a token sees itself and the N-1 before it; 0: all before (layers: all)\n" \
    "  --rope-scaling TYPE:FACTOR  linear, ntk, dynamic, yarn or llama3, for the rotation that remains;\n"   \
    "                              yarn:4 is for 4 times the model's own context\n"                          \
    "  --scale-attention B         attention scores times B, on top of the model's own scale\n"              \
    "  --set-context N             the context length that configurations state, in tokens; weights and\n"   \
    "                              positions do not change\n"

/* The passes asked for: a JSON array of {"pass": name, arguments...}, in a fixed order. */
typedef struct SurgeryFlags {
    json_t *drop, *window, *scaling, *scale, *context;
} SurgeryFlags;

/* Applies the passes of a JSON array [{"pass": name, arguments...}] to the model, in order. */
bool passes_apply(const json_t *list, Model *m, Error *e);
/* True if `option` was one of ours; a bad value leaves `e->code` set. */
bool surgery_flag(SurgeryFlags *f, int option, const char *value, Error *e);
/* What to add to a complaint about an operand too many: it may have been meant for --drop-rope. */
const char *surgery_hint(const SurgeryFlags *f);
bool surgery_flags_apply(const SurgeryFlags *f, Model *m, Error *e);
void surgery_flags_free(SurgeryFlags *f);

#endif
