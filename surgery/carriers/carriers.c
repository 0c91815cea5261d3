/* The registry of carriers, what their rules mean for a certain family, and the choice of the first carrier
 * that can express a model. Conversion asks carrier_pick which architecture to write, and `derope plan`
 * prints the answers of all carriers. */
#include "surgery/carriers/carriers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "surgery/families/families.h"
#include "surgery/model_traits.h"
#include "surgery/runtimes.h"

/* One line for each `const Carrier carrier_NAME` of the files in this folder, in order of preference within
 * each format. First comes what changes the checkpoint least ("own"), then architectures that have keys for
 * each layer, then those that turn the rotation of all layers off by a number that was not meant for this,
 * such as a scaling factor of 1e30. */
#define CARRIERS(C)                                                                                          \
    C(hf_own)                                                                                                \
    C(hf_smollm3)                                                                                            \
    C(hf_granite_swa)                                                                                        \
    C(hf_granitemoe_swa)                                                                                     \
    C(hf_partial)                                                                                            \
    C(hf_olmoe)                                                                                              \
    C(hf_linear)                                                                                             \
    C(hf_olmo3)                                                                                              \
    C(gguf_own)                                                                                              \
    C(gguf_granite)                                                                                          \
    C(gguf_granite_swa)                                                                                      \
    C(gguf_olmoe)                                                                                            \
    C(gguf_linear)

/* The constants have no header of their own; they are declared here from the list. */
#define DECLARED(name) extern const Carrier carrier_##name;
#define LISTED(name) &carrier_##name,

CARRIERS(DECLARED)

const Carrier *const carriers[] = {CARRIERS(LISTED) NULL};

/* A linear search; names are unique within a format. */
const Carrier *carrier_by_name(Format format, const char *name) {
    for (const Carrier *const *c = carriers; *c; c++)
        if ((*c)->format == format && strcmp((*c)->name, name) == 0) return *c;
    return NULL;
}

/* ---- what a carrier means for a model of a certain family ---- */

/* Carriers without an architecture of their own keep the family's. */
const char *carrier_arch(const Carrier *c, const Model *m) {
    return c->arch ? c->arch : m->family->gguf.arch;
}

/* Carriers of a fixed architecture have a fixed order of rows; "own" and its relatives follow the family,
 * whose order may differ between the two formats (Llama's does). */
bool carrier_is_interleaved(const Carrier *c, const Model *m) {
    const Family *f = m->family;
    if (c->interleaved != RULE_BY_FAMILY) return c->interleaved == RULE_ALWAYS;
    return c->format == FORMAT_GGUF ? f->gguf.quirks & GGUF_INTERLEAVED_ROPE
                                    : f->hf.quirks & HF_INTERLEAVED_ROPE;
}

/* Qwen2's class has biases for q, k and v but none for o. Most classes have one key for all four biases, so
 * there an output projection without a bias gets one of zeros. */
bool carrier_needs_o_bias(const Carrier *c, const Model *m) {
    if (c->needs_o_bias != RULE_BY_FAMILY) return c->needs_o_bias == RULE_ALWAYS;
    return !(family_stock(m->family)->hf.quirks & HF_NO_O_BIAS);
}

/* For custom code the release is that of the stock class, because outputs name that class. A carrier's own
 * `since` has precedence over the family's. */
const char *carrier_since(const Carrier *c, const Family *f) {
    const Family *stock = family_stock(f);
    return c->since ? c->since : c->format == FORMAT_GGUF ? stock->gguf.since : stock->hf.since;
}

/* The manifest's carrier if it is known, otherwise "own", determines the first release. */
json_t *carrier_runtimes_of(const Checkpoint *c, const char *carrier, const Family *f) {
    const Carrier *named = carrier ? carrier_by_name(c->format, carrier) : NULL;
    const Carrier *by = named ? named : c->format == FORMAT_GGUF ? &carrier_gguf_own : &carrier_hf_own;
    /* A source with custom code runs in no stock runtime. Only an output of it, which has a carrier in its
     * manifest, names the stock class. */
    bool custom = f && !named && c->format != FORMAT_GGUF && f->hf.quirks & HF_CUSTOM_CODE;
    return runtimes_of(c, custom ? NULL : f ? carrier_since(by, f) : by->since);
}

/* "transformers from 4.53; CAVEAT". */
void carrier_runtimes(const Carrier *c, const Family *f, char *out, size_t size) {
    char since[100];
    runtime_since_text(c->format, carrier_since(c, f), since, sizeof since);
    snprintf(out, size, "%s%s%s", since, c->caveat ? "; " : "", c->caveat ? c->caveat : "");
}

/* ---- choosing ---- */

/* Whether the softmax scale can be expressed without a key. A scale other than 1/sqrt(head_dim) is multiplied
 * into q_proj, or into the weight of the norm after it. A norm without a weight (QK_NORM_UNIT) leaves no
 * place: it would undo any factor before it. */
static bool scale_has_place(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->q_norm == QK_NORM_UNIT && fabs(l->softmax_scale * sqrt(l->head_dim) - 1) > 1e-7) return false;
    }
    return true;
}

/* Whether the carrier can express the model; if not, the reason goes to `why` (`size` bytes). The question
 * about the softmax scale is common to all carriers without a key for it. */
static bool carrier_can(const Carrier *c, const Model *m, char *why, size_t size) {
    if (!c->holds_scale && !scale_has_place(m))
        return refuse_because(why, size,
                              "has no key for the softmax scale, and norms queries without a weight");
    return c->can(m, why, size);
}

/* Appends every carrier of the format that cannot express the model with its reason, "own: has no windows per
 * layer; smollm3: has no experts", for an error message. */
static void list_reasons(const Model *m, Format format, Buffer *out) {
    for (const Carrier *const *c = carriers; *c; c++) {
        char why[200] = "";
        if ((*c)->format == format && !carrier_can(*c, m, why, sizeof why))
            buffer_printf(out, "%s%s: %s", out->size ? "; " : "", (*c)->name, why);
    }
}

/* The array of carrier_pick's `explain`: all carriers of a format with their answers, for `derope plan`. */
static json_t *explain_all(const Model *m, Format format) {
    json_t *list = json_array();
    for (const Carrier *const *c = carriers; *c; c++) {
        if ((*c)->format != format) continue;
        char why[200] = "";
        bool can = carrier_can(*c, m, why, sizeof why);
        char text[200];
        carrier_runtimes(*c, m->family, text, sizeof text);
        json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:s}", "carrier", (*c)->name, "can", can,
                                              "why", why, "runtimes", text));
    }
    return list;
}

/* Only the carriers before `chosen` in the table are listed, because those after it were not asked. One that
 * can express the model is listed only if the user asked for another, so the text for this case is the
 * initial one. */
json_t *carrier_because(const Model *m, const Carrier *chosen) {
    json_t *reasons = json_object();
    for (const Carrier *const *c = carriers; *c != chosen; c++) {
        char why[200] = "could, but another was asked for";
        if ((*c)->format != chosen->format) continue;
        carrier_can(*c, m, why, sizeof why);
        json_object_set_new(reasons, (*c)->name, json_string(why));
    }
    return reasons;
}

/* ---- what would work ---- */

/* Whether some carrier of the format can express the model. */
static bool any_can(const Model *m, Format format) {
    char why[200];
    for (const Carrier *const *c = carriers; *c; c++)
        if ((*c)->format == format && carrier_can(*c, m, why, sizeof why)) return true;
    return false;
}

/* Which layers a suggestion leaves without rotation. */
typedef enum DropSet { DROP_AS_ASKED, DROP_GLOBAL, DROP_ALL, DROP_COUNT } DropSet;

/* Makes the layers of `m`, a copy that the caller made of `asked`, those of a suggestion. */
static void suggest(Model *m, const Model *asked, DropSet set, bool windows) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        *l = asked->spec.layers[i];
        bool drop = set == DROP_ALL || (set == DROP_GLOBAL && !l->window);
        if (set != DROP_AS_ASKED) { /* position as the source has it, unless it is dropped */
            uint32_t window = l->window;
            *l = asked->source_spec.layers[i];
            l->window = window;
            if (drop) layer_drop_rope(l);
        }
        if (!windows) l->window = 0;
    }
}

/* Appends the flags that ask for a suggestion: "--drop-rope=5,11,17 --sliding-window 0". */
static void suggestion_text(const Model *m, DropSet set, bool windows, Buffer *out) {
    if (set == DROP_ALL) buffer_printf(out, "--drop-rope");
    if (set == DROP_GLOBAL) {
        const char *before = "--drop-rope=";
        for (uint32_t i = 0; i < m->spec.n_layers; i++)
            if (m->spec.layers[i].position == POSITION_NOPE) {
                buffer_printf(out, "%s%u", before, i);
                before = ",";
            }
    }
    if (!windows) buffer_printf(out, "%s--sliding-window 0", set == DROP_AS_ASKED ? "with " : " ");
}

/* Tries other sets of layers without rotation, and no windows, and lists up to two that a carrier can
 * express. Suggestions that nothing would be dropped by, or that are what was asked, cannot be among them. */
static void list_suggestions(const Model *m, Format format, Buffer *out) {
    Model other = *m;
    bool has_window = false, has_global = false;
    other.spec.layers = xcalloc(m->spec.n_layers, sizeof *other.spec.layers);
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        has_window |= m->spec.layers[i].window != 0;
        has_global |= m->spec.layers[i].window == 0;
    }
    size_t n = 0;
    for (int set = 0; set < DROP_COUNT && n < 2; set++)
        for (int windows = 1; windows >= 0 && n < 2; windows--) {
            if (!windows && !has_window) continue;
            if (set == DROP_GLOBAL && (!windows || !has_window || !has_global)) continue;
            suggest(&other, m, (DropSet)set, windows);
            if (!any_can(&other, format)) continue;
            buffer_printf(out, "%s", n++ ? ", or " : ". What works: ");
            suggestion_text(&other, (DropSet)set, windows, out);
        }
    free(other.spec.layers);
}

/* What carriers can express of models with Llama's block, for which most of them are; of other blocks nothing
 * is said beside the suggestions. */
static const char *what_could_be_carried(const Model *m, Format format) {
    char why[200];
    if (!model_has_standard_layers(m, why, sizeof why)) return "";
    return format == FORMAT_GGUF ? ". What could be carried: all layers rotating or none, without windows; "
                                   "or a mixture with one "
                                   "window size, one rope base, no llama3 or dynamic scaling, at least one "
                                   "layer that rotates and "
                                   "one without a window"
                                 : ". What could be carried: any mixture with one window size, one rope base "
                                   "and one rope scaling";
}

/* With a name, only that carrier is asked; otherwise the carriers of the format are asked in the order of the
 * table, and the first that can express the model is returned. */
const Carrier *carrier_pick(const Model *m, Format format, const char *name, json_t **explain, Error *e) {
    if (explain) *explain = explain_all(m, format);
    /* Ask one carrier after the other; `known` tells whether any has the given name. */
    bool known = false;
    for (const Carrier *const *c = carriers; *c; c++) {
        char why[200] = "";
        if ((*c)->format != format) continue;
        if (name && strcmp(name, (*c)->name) != 0) continue;
        known = true;
        if (carrier_can(*c, m, why, sizeof why)) return *c;
        if (name) {
            error_set(e, ERR_FAILED, "the carrier %s cannot express this: it %s", name, why);
            return NULL;
        }
    }
    /* None was found: either the name is unknown, or no carrier can express the model. */
    Buffer reasons = {0};
    if (name && !known) {
        for (const Carrier *const *c = carriers; *c; c++)
            if ((*c)->format == format) buffer_printf(&reasons, "%s%s", reasons.size ? ", " : "", (*c)->name);
        error_set(e, ERR_USAGE, "there is no %s carrier '%.40s' (%s)", format == FORMAT_GGUF ? "GGUF" : "HF",
                  name, buffer_string(&reasons));
    } else {
        list_reasons(m, format, &reasons);
        Buffer works = {0};
        list_suggestions(m, format, &works);
        error_set(e, ERR_FAILED, "no stock architecture of %s can express this model: %s%s%s",
                  format == FORMAT_GGUF ? "llama.cpp" : "transformers", buffer_string(&reasons),
                  buffer_string(&works), what_could_be_carried(m, format));
        buffer_free(&works);
    }
    buffer_free(&reasons);
    return NULL;
}
