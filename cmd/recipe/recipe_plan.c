/* Builds the JSON that `derope plan` prints (recipe_plan.h describes its members). cmd/verbs/plan.c calls
 * recipe_plan and prints the JSON, or passes it to plan_text.c, which prints it as text.
 *
 * The plan is made with the functions that `derope run` uses: it applies the surgery to the model, exports
 * each output without writing it, and converts the sections for training and evaluation to requests. The
 * layers, tensors, keys and carriers in the plan are therefore the ones that a run produces, and the memory
 * is computed from the same sizes. Only the times and the number of evaluated tokens are estimates. */
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

/* The speed for which times are estimated, in floating-point operations per second. derope sustains about
 * this many on an ordinary machine with two cores. */
static const double flops_per_second = 1.2e11;

/* ---- layers, tensors, keys ---- */

/* Lists the layers in which the surgery changed the attention: position, window, rope_base, scaling or
 * softmax_scale of the LayerSpec. Each row is an object {"layer", "position_before", "position",
 * "window_before", "window"}. A window is a number of tokens, and 0 means global attention. */
static json_t *plan_layers(const Model *m) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        /* source_spec describes the model as it was read, and spec the model after the passes. */
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

/* Describes how one tensor of an output differs from the source, as an object {"name", "dtype", "status",
 * "change", "dtype_before", "why"}. "change" is what is done to the values, and "why" is present if the dtype
 * changes because derope has no encoder for the dtype of the source. `trained` is true if recalibration
 * replaces the values; the tensor then gets the dtype that dtype_written returns. */
static json_t *plan_tensor(const Tensor *t, TensorStatus s, bool trained) {
    DType to = trained ? dtype_written(t->dtype) : t->dtype;
    /* Passes change the values of a tensor by a factor (scale), a constant to add (add) or a factor for each
     * row (row_scale). They are applied when the tensor is written. */
    bool scaled = t->scale != 1 || t->add != 0 || t->row_scale;
    bool replaced = trained ? to != t->dtype : scaled && tensor_type_replaced(t);
    /* t->quantization is set if the source stores the tensor in a quantized format of an HF folder, such as
     * fp8 with scales. If the output stores single elements, the values are dequantized. If the output has a
     * block type of GGUF, the quantized values are kept and regrouped into its blocks. */
    const char *change = s != TENSOR_CHANGED                                         ? NULL
                         : trained                                                   ? "trained"
                         : scaled                                                    ? "scaled"
                         : t->quantization && dtype_info(t->dtype)->block_elems == 1 ? "dequantised"
                         : t->quantization                                           ? "regrouped"
                                                                                     : NULL;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s*}", "name", t->name, "dtype", dtype_info(to)->name, "status",
                            tensor_status_name(s), "change", change);
    /* A new tensor does not exist in the source, so it has no earlier dtype. */
    if (s != TENSOR_NEW)
        json_object_set_new(
            row, "dtype_before",
            json_string(t->quantization ? t->quantization : dtype_info(t->storage_dtype)->name));
    if (replaced)
        json_object_set_new(row, "why",
                            json_sprintf("%s cannot be encoded", dtype_info(t->storage_dtype)->name));
    return row;
}

/* Returns {"count", "not_untouched"}: the number of tensors of an output for each status (untouched, changed,
 * new), and a description of each changed or new tensor. If `trained` is true, training changes every tensor
 * of the source. Only tensors with a quantized block type are described then, because their dtype may change;
 * a list of all tensors would tell the user nothing. */
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

/* Lists the top-level keys of config.json that differ between source and output, as objects {"key", "before",
 * "after"}. "before" is absent for a key that the output adds, and "after" for a key that it removes. */
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
    /* Add the keys of the source that the output does not have. */
    json_object_foreach(m->config, key, value) {
        if (after && !json_object_get(after, key))
            json_array_append_new(list, json_pack("{s:s, s:O}", "key", key, "before", value));
    }
    json_decref(after);
    return list;
}

/* Lists the key-value pairs of a GGUF output that the source does not have or has with another value. Each is
 * an object {"key", "change"}, where "change" is "new" or "changed". If the source is an HF folder, all
 * tokenizer keys are new. They are left out, as they follow from the format and not from the recipe. */
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

/* Describes output `i` (from 0) by exporting it without writing a file. An export is quick because it creates
 * only descriptions of tensors; their data is read when they are written. carrier_pick is called after the
 * export to get the list of carriers that were considered, with the reasons why some were rejected. Returns
 * NULL with an error if the model cannot be exported in this form. */
static json_t *plan_output(const RecipeJob *j, const Model *m, size_t i, Error *e) {
    OutputRequest r;
    ExportReport report = {0};
    json_t *explain = NULL, *plan = NULL;
    Checkpoint *out = recipe_job_output(j, i, m, &r, e) ? output_export(m, &r, &report, e) : NULL;
    bool gguf = out && out->format == FORMAT_GGUF;
    if (out && carrier_pick(m, out->format, r.carrier, &explain, e)) {
        /* The size of the output in bytes counts tensor data only. Headers and other files are small. */
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

/* Estimates the time in seconds for `passes` forward passes over `tokens` tokens. A forward pass takes two
 * operations (a multiplication and an addition) for each weight and token. The work for attention scores is
 * neglected. A backward pass counts as two forward passes. */
static double seconds_for(const Model *m, double passes, double tokens) {
    return 2 * passes * (double)net_weight_bytes(m) / sizeof(float) * tokens / flops_per_second;
}

/* Describes the training: objective, number of tokens, context in tokens, number of text files, estimated
 * time in seconds, and the memory in bytes for weights, gradients, optimizer state and activations. Returns
 * NULL with an error if the section is wrong or the training text cannot be found. */
static json_t *plan_recalibration(const RecipeJob *j, const Model *m, Error *e) {
    RecalRequest r;
    if (!recipe_job_recal(j, &r, e)) return NULL;
    json_t *files = recipe_job_files(j, "recalibrate", "data", e);
    if (!files) return NULL;
    uint64_t weights = net_weight_bytes(m), memory = weights + train_bytes(&m->spec, weights, &r.train);
    /* A training step costs three passes: one forward, and a backward pass that counts as two. An objective
     * with a teacher adds a forward pass of the teacher. */
    double seconds = seconds_for(m, r.train.objective->needs_teacher ? 4 : 3, (double)r.train.tokens);
    json_t *plan =
        json_pack("{s:s, s:I, s:i, s:I, s:f, s:I, s:I}", "objective", r.train.objective->name, "tokens",
                  (json_int_t)r.train.tokens, "context", (int)r.train.context, "text_files",
                  (json_int_t)json_array_size(files), "seconds_estimated", seconds, "memory_bytes",
                  (json_int_t)memory, "memory_available", (json_int_t)memory_available());
    json_decref(files);
    return plan;
}

/* Lists the names of the rows in the table that `derope run` prints: the source with each context-extension
 * method, the model after surgery, and the trained model. The first method is always "none" and adds no
 * suffix to the name of its row. */
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

/* Estimates the number of tokens that the net processes for one row of the table. For perplexity it processes
 * the text once for each context length, or about eight times if it searches for the best softmax scale. For
 * a task, each question comes after a text that fills the context; there are `trials` questions for each
 * length and, if the task has depths, for each depth. The factor 0.6 is used because questions share a part
 * of their text, which is processed once. */
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

/* Describes the evaluation: the rows of its table, context lengths, suites, and the estimated tokens, time in
 * seconds and memory in bytes. The number of tokens in the text is estimated as its size in bytes divided by
 * four, which is typical of English text. */
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
    /* Find the longest context, which determines the size of the key/value cache. */
    for (i = 0; i < o->n_lengths; i++)
        if (o->lengths[i] > longest) longest = o->lengths[i];
    for (i = 0; i < o->n_task_lengths; i++)
        if (o->task_lengths[i] > longest) longest = o->task_lengths[i];
    if (o->max_tokens && o->max_tokens < tokens) tokens = o->max_tokens;
    /* List the rows of the table, one for each model and method, and the names of the suites. */
    json_t *rows = plan_rows(&request, recipe_job_section(j, "recalibrate") != NULL), *suites = json_array();
    if (o->perplexity) json_array_append_new(suites, json_string("perplexity"));
    for (i = 0; eval_tasks[i]; i++)
        if (o->tasks[i]) json_array_append_new(suites, json_string(eval_tasks[i]->name));
    uint64_t memory = 2 * net_weight_bytes(m) + kv_bytes(&m->spec, longest); /* two nets: source, result */
    double all = (double)json_array_size(rows) * row_tokens(o, (double)tokens);
    json_decref(files);
    return json_pack("{s:o, s:O, s:O*, s:o, s:I, s:f, s:I}", "models", rows, "context",
                     json_object_get(section, "context"), "task_context",
                     json_object_get(section, "task_context"), "suite", suites, "tokens_estimated",
                     (json_int_t)all, "seconds_estimated", seconds_for(m, 1, all), "memory_bytes",
                     (json_int_t)memory);
}

/* ---- the complete plan ---- */

/* If the recipe has the section `section`, calls `cost` to describe it and stores the result in the plan
 * under `name`. Returns false if `cost` fails. */
static bool add_step(const RecipeJob *j, const Model *m, const char *section, const char *name, json_t *plan,
                     json_t *(*cost)(const RecipeJob *j, const Model *m, Error *e), Error *e) {
    if (!recipe_job_section(j, section)) return true;
    json_t *step = cost(j, m, e);
    return step && json_object_set_new(plan, name, step) == 0;
}

/* Builds the members of the plan in the order in which recipe_plan.h lists them. */
json_t *recipe_plan(const RecipeJob *j, Error *e) {
    json_t *plan = json_object();
    Model *m = recipe_job_model(j, true, e);
    /* A model that is trained from random weights has no entries for evaluation and outputs. Its weights do
     * not exist before the run, so there are no tensors that an export could describe. */
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
