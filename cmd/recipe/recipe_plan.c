/* Builds the JSON of `derope plan`, which cmd/verbs/plan.c prints as it is or hands to plan_text.c. The plan
 * is made by the functions that `derope run` uses: the model after surgery, the export of each output, the
 * requests of training and evaluation. Layers, tensors, keys, carriers and memory are therefore those of the
 * run; only times and the number of evaluated tokens are estimates. */
#include "cmd/recipe/recipe_plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "recal/evaluate/eval_tasks.h"
#include "recal/kv_cache.h"
#include "recal/memory.h"
#include "surgery/carriers/carriers.h"
#include "surgery/export.h"
#include "surgery/rope_frequencies.h"

/* Floating-point operations per second that an ordinary two-core machine sustains in derope. Only the
 * estimate of time depends on it. */
static const double flops_per_second = 1.2e11;

/* ---- layers, tensors, keys ---- */

/* Lists the layers in which the surgery changed attention: its position encoding, window, rotation or softmax
 * scale. A row is {"layer", "position_before", "position", "window_before", "window"}; windows are in tokens,
 * 0 for none. */
static json_t *plan_layers(const Model *m) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        /* source_spec is the model as it was read, spec the model after the passes. */
        const LayerSpec *then = &m->source_spec.layers[i], *now = &m->spec.layers[i];
        if (then->position == now->position && then->window == now->window &&
            then->rope_base == now->rope_base && rope_scaling_equal(&then->scaling, &now->scaling) &&
            then->softmax_scale == now->softmax_scale)
            continue;
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:i, s:i}", "layer", (int)i, "position_before",
                                              position_name(then->position), "position",
                                              position_name(now->position), "window_before",
                                              (int)then->window, "window", (int)now->window));
    }
    return list;
}

/* Describes what becomes of one tensor of an output: its dtype before, what is done to its values, its dtype
 * after and, if the values cannot be encoded in the dtype that they had, why. `trained` says that
 * recalibration replaces the values, which then leave quantized types that have no encoder. */
static json_t *plan_tensor(const Tensor *t, TensorStatus s, bool trained) {
    DType to = trained ? dtype_written(t->dtype) : t->dtype;
    /* A pass changes values by a scale, an offset or a factor for each row, applied when the tensor is
     * written. */
    bool scaled = t->scale != 1 || t->add != 0 || t->row_scale;
    bool replaced = trained ? to != t->dtype : scaled && tensor_type_replaced(t);
    /* A quantized source tensor (fp8 with scales, for example) whose output dtype is plain is dequantized;
     * one whose output is a block type has its blocks rearranged. */
    const char *change = s != TENSOR_CHANGED                                         ? NULL
                         : trained                                                   ? "trained"
                         : scaled                                                    ? "scaled"
                         : t->quantization && dtype_info(t->dtype)->block_elems == 1 ? "dequantised"
                         : t->quantization                                           ? "regrouped"
                                                                                     : NULL;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s*}", "name", t->name, "dtype", dtype_info(to)->name, "status",
                            tensor_status_name(s), "change", change);
    /* A new tensor has no dtype before. */
    if (s != TENSOR_NEW)
        json_object_set_new(
            row, "dtype_before",
            json_string(t->quantization ? t->quantization : dtype_info(t->storage_dtype)->name));
    if (replaced)
        json_object_set_new(row, "why",
                            json_sprintf("%s cannot be encoded", dtype_info(t->storage_dtype)->name));
    return row;
}

/* Counts the tensors of an output by status (untouched, changed, new) and describes those that are not copied
 * untouched. With `trained` every tensor that the source has changes, so only those are described whose
 * source is quantized and whose dtype may change. */
static json_t *plan_tensors(const Checkpoint *out, bool trained) {
    size_t counts[TENSOR_NEW + 1] = {0};
    json_t *changes = json_array(), *summary = json_object();
    for (size_t i = 0; i < out->n_tensors; i++) {
        TensorStatus s = tensor_status(&out->tensors[i]);
        if (trained && s != TENSOR_NEW) s = TENSOR_CHANGED;
        counts[s]++;
        bool telling = !trained || dtype_info(out->tensors[i].storage_dtype)->block_elems > 1;
        if (telling && s != TENSOR_UNTOUCHED)
            json_array_append_new(changes, plan_tensor(&out->tensors[i], s, trained && s != TENSOR_NEW));
    }
    for (int s = 0; s <= TENSOR_NEW; s++)
        json_object_set_new(summary, tensor_status_name((TensorStatus)s),
                            json_integer((json_int_t)counts[s]));
    return json_pack("{s:o, s:o}", "count", summary, "not_untouched", changes);
}

/* Lists the top-level keys of config.json that the output changes, adds or drops: [{"key", "before",
 * "after"}], with the member missing on the side that lacks the key. */
static json_t *plan_config(const Model *m, const Checkpoint *out) {
    Error ignored = {0};
    json_t *list = json_array(), *after = checkpoint_json(out, CONFIG_FILE, &ignored), *value;
    const char *key;
    json_object_foreach(after, key, value) {
        const json_t *before = json_object_get(m->config, key);
        if (!before || !json_equal((json_t *)before, value))
            json_array_append_new(
                list, json_pack("{s:s, s:O*, s:O}", "key", key, "before", before, "after", value));
    }
    /* Keys that the output no longer has. */
    json_object_foreach(m->config, key, value) {
        if (after && !json_object_get(after, key))
            json_array_append_new(list, json_pack("{s:s, s:O}", "key", key, "before", value));
    }
    json_decref(after);
    return list;
}

/* Lists the key-value pairs of the GGUF that are new or changed against the source: [{"key", "change"}]. If
 * the source is no GGUF, every tokenizer key is new, which would tell the reader nothing, so these are left
 * out. */
static json_t *plan_meta(const Model *m, const Checkpoint *out) {
    json_t *list = json_array();
    for (size_t i = 0; i < out->n_meta; i++) {
        const MetaEntry *now = &out->meta[i], *then = meta_find(m->source, now->key);
        if (strncmp(now->key, "tokenizer.", 10) == 0 && m->source->format != FORMAT_GGUF) continue;
        if (!then || then->type != now->type || then->size != now->size ||
            memcmp(then->bytes, now->bytes, now->size) != 0)
            json_array_append_new(
                list, json_pack("{s:s, s:s}", "key", now->key, "change", then ? "changed" : "new"));
    }
    return list;
}

/* Plans output `i` by exporting it without writing. This is exact and quick, since an export only describes
 * tensors and their data is read when they are written. The carrier is picked a second time for the reasons
 * why each preferred carrier was rejected. NULL with an error if the output could not be written. */
static json_t *plan_output(const RecipeJob *j, const Model *m, size_t i, Error *e) {
    OutputRequest r;
    ExportReport report = {0};
    json_t *explain = NULL, *plan = NULL;
    Checkpoint *out = recipe_job_output(j, i, m, &r, e) ? output_export(m, &r, &report, e) : NULL;
    bool gguf = out && out->format == FORMAT_GGUF;
    if (out && carrier_pick(m, out->format, r.carrier, &explain, e)) {
        /* Bytes of tensor data; headers and side files are small beside it. */
        uint64_t bytes = 0;
        char runtimes[200];
        carrier_runtimes(report.carrier, m->family, runtimes, sizeof runtimes);
        for (size_t t = 0; t < out->n_tensors; t++)
            bytes += tensor_bytes(&out->tensors[t]);
        plan = json_pack("{s:s, s:s, s:s, s:s, s:O, s:I, s:o, s:o, s:O}", "path", r.path, "format",
                         gguf ? "gguf" : "hf", "carrier", report.carrier->name, "runtimes", runtimes,
                         "carriers", explain, "bytes", (json_int_t)bytes, "tensors",
                         plan_tensors(out, recipe_job_section(j, "recalibrate") != NULL), "keys",
                         gguf ? plan_meta(m, out) : plan_config(m, out), "notices", report.notices);
    }
    json_decref(explain);
    checkpoint_close(out);
    export_report_free(&report);
    return plan;
}

/* ---- cost ---- */

/* Estimates the seconds for `passes` forward passes over `tokens` tokens. A forward pass takes two operations
 * (multiply and add) for each weight and token; attention over the context is neglected. A backward pass
 * takes as much as two forward passes. */
static double seconds_for(const Model *m, double passes, double tokens) {
    return 2 * passes * (double)net_weight_bytes(m) / sizeof(float) * tokens / flops_per_second;
}

/* Plans the recalibrate section: objective, tokens, estimated seconds, and the memory in bytes for the net,
 * gradients, optimizer state and activations. Fails if the training text cannot be found. */
static json_t *plan_recalibration(const RecipeJob *j, const Model *m, Error *e) {
    RecalRequest r;
    if (!recipe_job_recal(j, &r, e)) return NULL;
    json_t *files = recipe_job_files(j, "recalibrate", "data", e);
    if (!files) return NULL;
    uint64_t weights = net_weight_bytes(m), memory = weights + train_bytes(&m->spec, weights, &r.train);
    /* Forward and backward are three passes; the teacher adds one. */
    double seconds = seconds_for(m, r.train.objective->needs_teacher ? 4 : 3, (double)r.train.tokens);
    json_t *plan =
        json_pack("{s:s, s:I, s:i, s:I, s:f, s:I, s:I}", "objective", r.train.objective->name, "tokens",
                  (json_int_t)r.train.tokens, "context", (int)r.train.context, "text_files",
                  (json_int_t)json_array_size(files), "seconds_estimated", seconds, "memory_bytes",
                  (json_int_t)memory, "memory_available", (json_int_t)memory_available());
    json_decref(files);
    return plan;
}

/* Lists the rows of the table that `derope run` will print: the source under each context-extension method,
 * the model after surgery, and the trained one. The first method is "none", under which the row has no
 * suffix. */
static json_t *plan_rows(const EvalRequest *r, bool trained) {
    const EvalOptions *o = &r->options;
    json_t *rows = json_array();
    for (size_t i = 0; r->source && i < o->n_extensions; i++)
        json_array_append_new(
            rows, json_sprintf("source%s%s", i ? " under " : "", i ? o->extensions[i]->name : ""));
    if (!trained) json_array_append_new(rows, json_string("after surgery"));
    if (trained && r->untrained) json_array_append_new(rows, json_string("after surgery, untrained"));
    if (trained) json_array_append_new(rows, json_string("after recalibration"));
    return rows;
}

/* Estimates how many tokens the net reads for one row of the table. Perplexity reads the text once for each
 * length, or about eight times where the softmax scale is searched. Each question of a task is asked at the
 * end of a text as long as the context; the factor 0.6 allows for questions that share part of their text. */
static double row_tokens(const EvalOptions *o, double text_tokens) {
    bool own = o->n_task_lengths > 0;
    const uint64_t *lengths = own ? o->task_lengths : o->lengths;
    double tokens = o->perplexity ? text_tokens * (double)o->n_lengths * (o->search_scale ? 8 : 1) : 0;
    for (size_t i = 0; i < (own ? o->n_task_lengths : o->n_lengths); i++)
        for (size_t t = 0; eval_tasks[t]; t++)
            if (o->tasks[t])
                tokens += 0.6 * (double)o->trials * (double)(eval_tasks[t]->has_depth ? o->n_depths : 1) *
                          (double)lengths[i];
    return tokens;
}

/* Plans the evaluate section: rows, lengths, suites, and the cost. The number of tokens in the text is
 * estimated from its size at four bytes a token, which is typical of English. */
static json_t *plan_evaluation(const RecipeJob *j, const Model *m, Error *e) {
    const json_t *section = recipe_job_section(j, "evaluate");
    EvalRequest request;
    if (!recipe_job_evaluation(j, &request, e)) return NULL;
    const EvalOptions *o = &request.options;
    json_t *files = recipe_job_files(j, "evaluate", "text", e), *v;
    if (!files) return NULL;
    uint64_t tokens = 0, longest = 0;
    size_t i;
    struct stat st;
    json_array_foreach(files, i, v) tokens +=
        stat(json_string_value(v), &st) == 0 ? (uint64_t)st.st_size / 4 : 0;
    /* The key/value cache is as long as the longest context. */
    for (i = 0; i < o->n_lengths; i++)
        if (o->lengths[i] > longest) longest = o->lengths[i];
    for (i = 0; i < o->n_task_lengths; i++)
        if (o->task_lengths[i] > longest) longest = o->task_lengths[i];
    if (o->max_tokens && o->max_tokens < tokens) tokens = o->max_tokens;
    /* What is measured: one row for each model and method, one name for each suite. */
    json_t *rows = plan_rows(&request, recipe_job_section(j, "recalibrate") != NULL), *suites = json_array();
    if (o->perplexity) json_array_append_new(suites, json_string("perplexity"));
    for (i = 0; eval_tasks[i]; i++)
        if (o->tasks[i]) json_array_append_new(suites, json_string(eval_tasks[i]->name));
    uint64_t memory = 2 * net_weight_bytes(m) + kv_bytes(&m->spec, longest); /* the source and the result */
    double all = (double)json_array_size(rows) * row_tokens(o, (double)tokens);
    json_decref(files);
    return json_pack("{s:o, s:O, s:O*, s:o, s:I, s:f, s:I}", "models", rows, "context",
                     json_object_get(section, "context"), "task_context",
                     json_object_get(section, "task_context"), "suite", suites, "tokens_estimated",
                     (json_int_t)all, "seconds_estimated", seconds_for(m, 1, all), "memory_bytes",
                     (json_int_t)memory);
}

/* ---- the whole ---- */

/* Adds what a section would cost to the plan, under `name`, if the recipe has that section. */
static bool add_step(const RecipeJob *j, const Model *m, const char *section, const char *name, json_t *plan,
                     json_t *(*cost)(const RecipeJob *j, const Model *m, Error *e), Error *e) {
    if (!recipe_job_section(j, section)) return true;
    json_t *step = cost(j, m, e);
    return step && json_object_set_new(plan, name, step) == 0;
}

json_t *recipe_plan(const RecipeJob *j, Error *e) {
    json_t *plan = json_object();
    Model *m = recipe_job_model(j, true, e);
    /* A model from scratch is neither evaluated nor described by output, because its weights do not exist
     * yet. */
    json_t *outputs = json_array();
    json_object_set(plan, "source", json_object_get(j->recipe, "source"));
    if (m) json_object_set_new(plan, "layers", plan_layers(m));
    bool ok = m && add_step(j, m, "recalibrate", "recalibration", plan, plan_recalibration, e) &&
              (j->from_scratch || add_step(j, m, "evaluate", "evaluation", plan, plan_evaluation, e));
    for (size_t i = 0; ok && !j->from_scratch && i < recipe_job_n_outputs(j); i++) {
        json_t *o = plan_output(j, m, i, e);
        ok = o && json_array_append_new(outputs, o) == 0;
    }
    json_object_set_new(plan, "outputs", outputs);
    model_close(m);
    if (ok) return plan;
    json_decref(plan);
    return NULL;
}
