/* An export: a model becomes a checkpoint of one format, written as a carrier's architecture. The order is:
 * pick the carrier, set the types, add the tensors, then write the keys or config.json, which depend on the
 * tensors. The work on each of these is in the export_ files beside this one; they share the struct Export
 * (export_state.h). The result describes the output; a writer in formats/ then streams it to disk. */
#include "surgery/export.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/carriers/carriers.h"
#include "surgery/cast.h"
#include "surgery/export_added.h"
#include "surgery/export_gguf.h"
#include "surgery/export_hf.h"
#include "surgery/export_mix.h"
#include "surgery/export_other.h"
#include "surgery/export_packed.h"
#include "surgery/export_scale.h"
#include "surgery/export_state.h"
#include "surgery/export_tensors.h"
#include "surgery/notices.h"
#include "surgery/quantized.h"

/* Weights whose quantization_config is of a kind that is not read (GPTQ, AWQ, ...) can only be copied: into
 * an HF folder, with their type. */
static bool check_quantized(const Model *m, const ExportOptions *o, Error *e) {
    if (!m->quantized_config || (o->format == FORMAT_HF && !o->has_dtype)) return true;
    return error_set(
        e, ERR_INPUT,
        "%s: has a quantization_config (%s); its weights can be carried within HF, not converted (dequantise "
        "it first)",
        m->source->path, quantized_kind(m->config));
}

/* Copies the model's table of tensors for this output, and applies --dtype to the copy. Only descriptions are
 * copied, no weights, so that several outputs can be made of one model. */
static bool copy_tensors(Export *x, const ExportOptions *o) {
    const Model *m = x->m;
    x->tensors = arena_alloc(&x->out->arena, m->n_tensors * sizeof *x->tensors);
    if (m->n_tensors) memcpy(x->tensors, m->tensors, m->n_tensors * sizeof *x->tensors);
    for (size_t i = 0; i < m->n_tensors; i++)
        x->tensors[i].tensor.allow_nonfinite = o->allow_nonfinite;
    if (x->mix && !o->pure) return export_mix_types(x);
    return !o->has_dtype || cast_tensors(x->tensors, m->n_tensors, o->dtype, x->report->notices, x->e);
}

/* Appends a notice, one for each type, about tensors in blocks whose values change (a folded scale, trained
 * weights): they are rounded a second time, which costs accuracy. */
static void note_reencoded(Export *x) {
    size_t n[DTYPE_COUNT] = {0};
    const Tensor *first[DTYPE_COUNT] = {0};
    for (size_t i = 0; i < x->out->n_tensors; i++) {
        const Tensor *t = &x->out->tensors[i];
        /* A tensor in blocks that changes is decoded, changed and encoded again: in its own type, or, where
         * that has no encoder, in another. */
        bool same_type = t->dtype == t->storage_dtype && dtype_info(t->dtype)->block_elems > 1;
        bool changed = t->status == TENSOR_CHANGED || t->scale != 1 || t->add != 0 || t->row_scale;
        if (!changed || !(same_type || tensor_type_replaced(t))) continue;
        x->report->n_reencoded++;
        if (n[t->storage_dtype]++ == 0) first[t->storage_dtype] = t;
    }
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const char *name = dtype_info((DType)d)->name;
        if (first[d] && tensor_type_replaced(first[d]))
            notice_add(x->report->notices,
                       "%zu tensors (first '%s') change and are written as %s: %s cannot be encoded", n[d],
                       first[d]->name, dtype_info(first[d]->dtype)->name, name);
        else if (first[d])
            notice_add(x->report->notices, "%zu tensors (first '%s') change and are written back as %s", n[d],
                       first[d]->name, name);
    }
}

/* Adds one tensor of the model. A copy of the embedding in a folder is written from the embedding, so that it
 * follows it through everything; a GGUF has one only where its architecture demands it
 * (export_add_tied_head). */
static bool add_tensor(Export *x, const ModelTensor *t) {
    if (t->role == ROLE_OTHER) return export_add_other(x, &t->tensor);
    if (t->role != ROLE_HEAD_COPY) return export_add_tensor(x, t->role, t->layer, t->tensor);
    const ModelTensor *embed = export_find(x, ROLE_EMBED, -1);
    return x->out->format == FORMAT_GGUF || export_add_tensor(x, ROLE_HEAD, -1, embed->tensor);
}

/* Adds all tensors of the output in the order in which they will lie in the file: rotary tables, the model's
 * tensors in the order of the source, then tensors that the carrier demands. */
static bool add_tensors(Export *x) {
    if (x->out->format == FORMAT_GGUF) export_add_rope_tables(x);
    bool sinks = export_writes_sinks(x->m, x->carrier);
    for (size_t i = 0; i < x->m->n_tensors; i++) {
        const ModelTensor *t = &x->tensors[i];
        /* Neutral sinks are dropped for architectures without sinks; packed weights are added later with
         * their scales. */
        if (t->role == ROLE_SINKS && !sinks) continue;
        if (x->keeps_packed && t->tensor.quantization)
            continue; /* export_add_packed adds what it was made of */
        if (!add_tensor(x, t)) return false;
    }
    if (!export_add_carrier_tensors(x)) return false;
    if (x->keeps_packed) export_add_packed(x);
    if (!export_add_tied_head(x) || !export_restore_carried(x)) return false;
    note_reencoded(x);
    return true;
}

/* `e` and `report` may be NULL; then the error or the report is collected and dropped. */
Checkpoint *model_export(const Model *m, const ExportOptions *o, ExportReport *report, Error *e) {
    Error reason = {0};
    ExportReport unasked = {0};
    if (!e) e = &reason;
    if (!report) {
        Checkpoint *out = model_export(m, o, &unasked, e);
        export_report_free(&unasked);
        return out;
    }
    /* The first carrier that can express the model; an error lists all of them with their reasons. */
    *report = (ExportReport){.notices = json_copy(m->notices)};
    report->carrier = carrier_pick(m, o->format, o->carrier, NULL, e);
    if (!report->carrier || !check_quantized(m, o, e)) return NULL;
    Export x = {.m = m,
                .carrier = report->carrier,
                .mix = o->mix,
                .pure = o->pure,
                .report = report,
                .out = checkpoint_new(o->format),
                .e = e};
    /* Both become keys of a GGUF: types before widening, and tensors that are carried in keys. */
    x.dtypes = json_object();
    x.carried = json_object();
    x.out->path = m->source->path; /* for messages */
    bool ok = copy_tensors(&x, o);
    x.keeps_packed = export_keeps_packed(&x, o);
    ok = ok && export_check_scale(&x) && add_tensors(&x) &&
         (o->format == FORMAT_GGUF ? export_gguf(&x) : export_hf(&x));
    json_decref(x.dtypes);
    json_decref(x.carried);
    /* Tensors that were joined or transposed are new ones. */
    for (size_t i = 0; i < x.out->n_tensors; i++)
        x.out->tensors[i].allow_nonfinite = o->allow_nonfinite;
    if (ok) return x.out;
    checkpoint_close(x.out);
    return NULL;
}

void export_report_free(ExportReport *report) {
    json_decref(report->notices);
    *report = (ExportReport){0};
}
