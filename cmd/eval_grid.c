/* A cell is one measurement: a subject under a method at a length, by one suite. Its key is the hash of all
 * that it depends on; finished cells lie in the state file under it, so that an interrupted run goes on where
 * it stopped, and what two methods have in common (up to the trained length they all change nothing) is
 * measured once. */
#include "cmd/eval_grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/eval_cell.h"
#include "cmd/machine.h"
#include "cmd/token_input.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/output.h"
#include "recal/evaluate/eval_tasks.h"
#include "recal/memory.h"
#include "recal/text_data.h"
#include "surgery/family.h"
#include "surgery/pass.h"

/* One column of the table: the subject at hand under a method, at a length. */
typedef struct Setting {
    const ContextExtension *extension;
    uint64_t length;
    double factor; /* length over context, 1 where the method changes nothing */
    double scale;  /* of the softmax */
} Setting;

struct Evaluation {
    EvalOptions o;
    Bench bench;
    json_t *cells;   /* by key */
    json_t *results; /* what is being built */
    char text_key[33], wording_key[33];
    const EvalSubject *subject; /* the one at hand */
    size_t index, measured;
    double context; /* of the subject: what it was trained for */
    struct timespec started;
    Buffer transcript;
    const Setting *asking; /* the setting and task at hand */
    const EvalTask *task;
};

/* ---- options ---- */

bool eval_add_suite(EvalOptions *o, const char *name, Error *e) {
    const EvalTask *t = eval_task_by_name(name);
    bool ppl = strcmp(name, "perplexity") == 0, all = strcmp(name, "all") == 0;
    if (!t && !ppl && !all) {
        cmd_usage(e, "unknown '%.40s' (all, perplexity", name);
        for (const EvalTask *const *k = eval_tasks; *k; k++)
            cmd_advise(e, ", %s", (*k)->name);
        cmd_advise(e, ")");
        return false;
    }
    o->perplexity |= ppl || all;
    for (size_t i = 0; eval_tasks[i] && i < EVAL_MOST; i++)
        o->tasks[i] |= all || eval_tasks[i] == t;
    return true;
}

bool eval_add_extension(EvalOptions *o, const char *name, Error *e) {
    const ContextExtension *m = context_extension_by_name(name);
    if (!m) {
        cmd_usage(e, "unknown '%.40s' (", name);
        for (const ContextExtension *const *k = context_extensions; *k; k++)
            cmd_advise(e, "%s%s", k == context_extensions ? "" : ", ", (*k)->name);
        cmd_advise(e, ")");
        return false;
    }
    for (size_t i = 0; i < o->n_extensions; i++)
        if (o->extensions[i] == m) return true;
    o->extensions[o->n_extensions++] = m;
    return true;
}

bool eval_set_scale(EvalOptions *o, const char *text, Error *e) {
    o->search_scale = strcmp(text, "search") == 0;
    if (o->search_scale) return true;
    if (!cmd_parse_f64("the scale", text, &o->scale, e)) return false;
    return (o->scale > 0 && o->scale <= 100) || cmd_usage(e, "%s is not above 0, to 100", text);
}

/* Whatever a model is held against, it is also measured as it is. */
static void plain_first(EvalOptions *o) {
    size_t at = 0;
    while (at < o->n_extensions && o->extensions[at] != context_extensions[0])
        at++;
    if (at == o->n_extensions) o->n_extensions++;
    memmove(o->extensions + 1, o->extensions, at * sizeof *o->extensions);
    o->extensions[0] = context_extensions[0];
}

/* What is named twice would count twice where trials are pooled. */
static size_t distinct(uint64_t *list, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;
        while (j < kept && list[j] != list[i])
            j++;
        if (j == kept) list[kept++] = list[i];
    }
    return kept;
}

static bool asks_anything(const EvalOptions *o) {
    bool any = false;
    for (size_t i = 0; eval_tasks[i]; i++)
        any |= o->tasks[i];
    return any;
}

bool eval_complete(EvalOptions *o, Error *e) {
    if (!o->perplexity && !asks_anything(o)) {
        o->perplexity = o->n_texts > 0;
        o->tasks[0] = true;
    }
    if (o->perplexity && !o->n_texts)
        return cmd_usage(e, "perplexity needs a text: --text FILE, or a recipe's text: FILE");
    if (o->search_scale && !o->perplexity)
        return cmd_usage(
            e, "a search for the softmax scale goes by perplexity: --suite perplexity,... and --text FILE");
    o->n_lengths = distinct(o->lengths, o->n_lengths);
    o->n_task_lengths = distinct(o->task_lengths, o->n_task_lengths);
    for (size_t i = 0; o->perplexity && o->score == SCORE_HALF && i < o->n_lengths; i++)
        if (o->lengths[i] == 2)
            return cmd_usage(e, "the second half of a context of 2 tokens predicts nothing");
    plain_first(o);
    if (!o->trials) o->trials = 10;
    if (!o->n_depths) o->n_depths = 5;
    if (o->scale == 0) o->scale = 1;
    if (!o->seed) o->seed = 1;
    return true;
}

static void default_lengths(EvalOptions *o, uint64_t context) {
    for (int shift = -2; shift <= 4; shift++) {
        uint64_t n = shift < 0 ? context >> -shift : context << shift;
        bool read = !o->perplexity || !o->max_tokens || n <= o->max_tokens; /* a window of it */
        if (n >= 2 && read) o->lengths[o->n_lengths++] = n;
    }
}

/* ---- cells ---- */

static void cell_key(const Evaluation *v, const json_t *what, char out[33]) {
    Hash *h = hash_new();
    Buffer text = {0};
    json_print(what, 0, &text);
    hash_update(h, DEROPE_VERSION, strlen(DEROPE_VERSION));
    hash_update(h, v->subject->key, 32);
    hash_update(h, v->text_key, 32);
    hash_update(h, text.data, text.size);
    hash_finish(h, out);
    buffer_free(&text);
}

static bool save_cells(const Evaluation *v, Error *e) {
    if (!v->o.state) return true;
    Buffer text = {0};
    json_print(v->cells, 1, &text);
    bool ok = file_write(v->o.state, text.data, text.size, true, e);
    buffer_free(&text);
    return ok;
}

/* What was said is not kept, so for a transcript tasks are asked again. */
static void forget_tasks(json_t *cells) {
    const char *key;
    void *next;
    json_t *value;
    json_object_foreach_safe(cells, next, key, value) if (json_is_array(value)) json_object_del(cells, key);
}

static void load_cells(Evaluation *v) {
    Buffer text = {0};
    Error ignored = {0};
    bool wanted = v->o.state && !v->o.anew;
    if (wanted && access(v->o.state, F_OK) == 0 && file_read(v->o.state, 1 << 28, &text, &ignored))
        v->cells = json_parse(v->o.state, text.data, text.size, &ignored); /* a damaged one is an empty one */
    if (!json_is_object(v->cells)) {
        json_decref(v->cells);
        v->cells = json_object();
    }
    if (v->o.transcript) forget_tasks(v->cells);
    buffer_free(&text);
}

static bool is_between(const json_t *o, const char *key, double least, double most) {
    double x;
    return json_get_f64(o, key, &x) && x >= least && x <= most;
}

/* Whether what the state file has under a cell's key is such a cell. */
static bool cell_fits(const json_t *value, const EvalTask *task) {
    if (!task) return is_between(value, "perplexity", 0, HUGE_VAL) && is_between(value, "nll", 0, HUGE_VAL);
    bool fits = json_is_array(value);
    for (size_t i = 0; fits && i < json_array_size(value); i++) {
        const json_t *row = json_array_get(value, i);
        fits = is_between(row, "trials", 1, 1e9) && is_between(row, "score", 0, 1) &&
               (!json_object_get(row, "first") || is_between(row, "first", 0, 1));
    }
    return fits;
}

/* ---- the subject under a setting ---- */

/* What the subject at hand is measured with. Where all cells are finished nothing is read. */
static bool have_texts(Evaluation *v, Error *e) {
    const EvalOptions *o = &v->o;
    Bench *b = &v->bench;
    if (b->tokenizer) return true;
    b->tokenizer = tokenizer_open(v->subject->source, e);
    return b->tokenizer &&
           (!o->perplexity || ppl_tokens(b->tokenizer, o->texts, o->n_texts, o->field, o->score == SCORE_HALF,
                                         o->max_tokens, &b->text, &b->bos, e)) &&
           (!asks_anything(o) ||
            haystack_open(o->texts, o->n_texts, o->field, 1 << 22, b->tokenizer, &b->haystack, e));
}

static void forget_texts(Bench *b) {
    haystack_close(&b->haystack);
    token_list_free(&b->text);
    b->text = (TokenList){0};
    tokenizer_close(b->tokenizer);
    b->tokenizer = NULL;
}

static bool scale_softmax(Model *m, double scale, Error *e) {
    if (scale == 1) return true;
    json_t *args = json_pack("{s:f}", "factor", scale);
    bool ok = pass_apply(m, "scale_attention", args, e);
    json_decref(args);
    return ok;
}

typedef json_t *(*Measure)(const Bench *b, Net *n, uint64_t length, const EvalTask *task, Error *e);

static json_t *text_array(const TextList *l) {
    json_t *list = json_array();
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(list, json_text(l->texts[i]));
    return list;
}

static void keep_answer(void *context, const TranscriptEntry *a) {
    Evaluation *v = context;
    json_t *line = json_pack(
        "{s:o, s:s, s:I, s:s, s:f, s:o, s:o, s:o, s:o, s:I, s:I}", "model", json_text(v->subject->name),
        "method", v->asking->extension->name, "length", (json_int_t)v->asking->length, "task", v->task->name,
        "depth", a->depth, "prompt", json_text(a->prompt), "answers", text_array(&a->question->answers),
        "candidates", text_array(&a->question->candidates), "said", json_text(a->continuation), "found",
        (json_int_t)a->answers_found, "place", (json_int_t)a->rank);
    json_print(line, 0, &v->transcript);
    buffer_byte(&v->transcript, '\n');
    json_decref(line);
}

/* The subject's weights, run by the spec that the setting makes of its own. */
static json_t *measure_under(Evaluation *v, const Setting *s, const EvalTask *task, Measure measure,
                             Error *e) {
    const EvalSubject *subject = v->subject;
    Model *m = have_texts(v, e) ? subject->model(subject->context, e) : NULL;
    bool ok = m && memory_check(kv_bytes(&m->spec, s->length + 128), "the KV cache of this length", e) &&
              (s->factor <= 1 || s->extension->apply(m, s->factor, e)) && scale_softmax(m, s->scale, e);
    Net *weights = ok ? subject->net(subject->context, e) : NULL;
    json_t *value = NULL;
    if (weights) {
        Net under = net_under(weights, &m->spec);
        v->asking = s;
        v->task = task;
        value = measure(&v->bench, &under, s->length, task, e);
    }
    model_close(m);
    return value;
}

/* ---- the table ---- */

/* A cell's value, measured now or taken from what was. Borrowed from the cells. */
static json_t *cell(Evaluation *v, const Setting *s, const char *suite, const EvalTask *task, Measure measure,
                    Error *e) {
    json_t *what = json_pack("{s:s, s:s, s:I, s:f, s:f}", "suite", suite, "method",
                             s->factor > 1 ? s->extension->name : "none", "length", (json_int_t)s->length,
                             "factor", s->factor, "scale", s->scale);
    json_object_update_new(what,
                           task ? json_pack("{s:I, s:I, s:I, s:s}", "trials", (json_int_t)v->o.trials,
                                            "depths", (json_int_t)v->o.n_depths, "seed",
                                            (json_int_t)v->o.seed, "wording", v->wording_key)
                                : json_pack("{s:b, s:I, s:I}", "search", v->o.search_scale, "score",
                                            (json_int_t)v->o.score, "tokens", (json_int_t)v->o.max_tokens));
    char key[33];
    cell_key(v, what, key);
    json_decref(what);
    json_t *value = json_object_get(v->cells, key);
    if (cell_fits(value, task)) return value;
    cmd_progress("%s: %s, %s at %llu", v->subject->name, suite, s->extension->name,
                 (unsigned long long)s->length);
    value = measure_under(v, s, task, measure, e);
    if (!value) return NULL;
    v->measured++;
    json_object_set_new(v->cells, key, value);
    return save_cells(v, e) ? value : NULL;
}

static void add_row(Evaluation *v, const char *table, const Setting *s, const EvalTask *task,
                    const json_t *value) {
    json_t *row = json_pack("{s:I, s:s, s:f, s:I}", "model", (json_int_t)v->index, "method",
                            s->extension->name, "softmax_scale", s->scale, "length", (json_int_t)s->length);
    if (task) json_object_set_new(row, "task", json_string(task->name));
    json_object_update_missing(row, (json_t *)value);
    json_array_append_new(json_object_get(v->results, table), row);
}

/* The scale whose perplexity on the validation part is least. */
static bool find_scale(Evaluation *v, Setting *s, Error *e) {
    static const double scales[] = {0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5};
    double best = HUGE_VAL, found = 1;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        double nll;
        s->scale = scales[i];
        const json_t *value = cell(v, s, "validation", NULL, measure_validation, e);
        if (!value) return false;
        if (json_get_f64(value, "nll", &nll) && nll < best) {
            best = nll;
            found = scales[i];
        }
    }
    s->scale = found;
    return true;
}

static bool measure_text_under(Evaluation *v, Setting *s, Error *e) {
    const json_t *value = cell(v, s, "perplexity", NULL, measure_perplexity, e);
    if (value) add_row(v, "perplexity", s, NULL, value);
    return value != NULL;
}

static bool measure_tasks_under(Evaluation *v, Setting *s, Error *e) {
    for (size_t i = 0; eval_tasks[i]; i++) {
        if (!v->o.tasks[i]) continue;
        const json_t *rows = cell(v, s, eval_tasks[i]->name, eval_tasks[i], measure_task, e);
        if (!rows) return false;
        for (size_t j = 0; j < json_array_size(rows); j++)
            add_row(v, "tasks", s, eval_tasks[i], json_array_get(rows, j));
    }
    return true;
}

/* ---- subjects ---- */

void eval_short_name(const char *path, char out[256]) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (n - from > 5 && strncmp(path + n - 5, ".gguf", 5) == 0) n -= 5;
    snprintf(out, 256, "%.*s", n - from > 255 ? 255 : (int)(n - from), path + from);
}

static json_t *describe(const EvalSubject *s, const Model *m) {
    uint64_t parameters = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        parameters += tensor_elems(&m->tensors[i].tensor);
    json_t *passes = json_array_size(m->passes) ? m->passes : json_object_get(s->manifest, "passes");
    return json_pack("{s:o, s:o, s:s, s:I, s:I, s:o, s:O?, s:O?}", "name", json_text(s->name), "path",
                     json_text(s->path), "family", m->family->name, "parameters", (json_int_t)parameters,
                     "context", (json_int_t)m->spec.context, "layers", manifest_layers(&m->spec), "passes",
                     passes, "recalibration", json_object_get(s->manifest, "recalibration"));
}

typedef bool (*MeasureUnder)(Evaluation *v, Setting *s, Error *e);

static bool at_each(Evaluation *v, const uint64_t *lengths, size_t n, bool stretched, MeasureUnder measure,
                    Error *e) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < v->o.n_extensions; j++) {
            Setting s = {
                .extension = v->o.extensions[j], .length = lengths[i], .factor = 1, .scale = v->o.scale};
            bool plain = s.extension == context_extensions[0];
            if (!plain && !stretched) continue;
            if (!plain && (double)s.length > v->context) s.factor = (double)s.length / v->context;
            if ((v->o.search_scale && !find_scale(v, &s, e)) || !measure(v, &s, e)) return false;
        }
    return true;
}

static bool measure_all(Evaluation *v, bool stretched, Error *e) {
    const EvalOptions *o = &v->o;
    bool own = o->n_task_lengths > 0;
    return (!o->perplexity || at_each(v, o->lengths, o->n_lengths, stretched, measure_text_under, e)) &&
           (!asks_anything(o) ||
            at_each(v, own ? o->task_lengths : o->lengths, own ? o->n_task_lengths : o->n_lengths, stretched,
                    measure_tasks_under, e));
}

bool evaluation_subject(Evaluation *v, const EvalSubject *s, Error *e) {
    v->subject = s;
    v->index = json_array_size(json_object_get(v->results, "models"));
    Model *m = s->model(s->context, e);
    bool ok = m != NULL, stretched = false;
    if (ok) {
        v->context = m->spec.context;
        stretched = s->under_methods && context_extension_applies(&m->spec);
        if (!v->o.n_lengths) default_lengths(&v->o, m->spec.context);
        json_array_append_new(json_object_get(v->results, "models"), describe(s, m));
        if (s->under_methods && !stretched && v->o.n_extensions > 1)
            cmd_note("%s: no layer rotates over all of the text, so it is measured as it is", s->name);
    }
    model_close(m);
    ok = ok && measure_all(v, stretched, e);
    cmd_progress_end();
    forget_texts(&v->bench);
    return ok;
}

/* A checkpoint as a subject. */
typedef struct Opened {
    Checkpoint *source;
    Model *model;
    Net *net;
    int threads;
} Opened;

static Model *opened_model(void *context, Error *e) {
    return model_open(((Opened *)context)->source, e);
}

static Net *opened_net(void *context, Error *e) {
    Opened *o = context;
    if (!o->net && memory_check(net_weight_bytes(o->model), "the weights in fp32", e))
        o->net = net_open(o->model, o->threads, e);
    return o->net;
}

static void sources_key(const Model *m, char out[33]) {
    json_t *sources = manifest_sources(m);
    Buffer text = {0};
    json_print(sources, 0, &text);
    hash_bytes(text.data, text.size, out);
    buffer_free(&text);
    json_decref(sources);
}

static bool is_taken(const Evaluation *v, const char *name) {
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(v->results, "models"), i, m) {
        const char *its = json_get_string(m, "name");
        if (its && strcmp(its, name) == 0) return true;
    }
    return false;
}

bool evaluation_checkpoint(Evaluation *v, const char *path, Error *e) {
    char name[256];
    Opened o = {.source = checkpoint_open(path, e), .threads = v->o.threads};
    o.model = o.source ? model_open(o.source, e) : NULL;
    bool ok = o.model != NULL;
    Error ignored = {0};
    json_t *manifest = ok ? manifest_read(o.source, &ignored) : NULL;
    EvalSubject s = {.name = name,
                     .path = path,
                     .source = o.source,
                     .manifest = manifest,
                     .under_methods = true,
                     .context = &o,
                     .model = opened_model,
                     .net = opened_net};
    eval_short_name(path, name);
    if (is_taken(v, name)) s.name = path; /* a/model and b/model */
    if (ok) {
        sources_key(o.model, s.key);
        ok = evaluation_subject(v, &s, e);
    }
    json_decref(manifest);
    net_close(o.net);
    model_close(o.model);
    checkpoint_close(o.source);
    return ok || error_place(e, "%s", path);
}

/* ---- all ---- */

static bool describe_texts(Evaluation *v, Error *e) {
    json_t *files = json_array(), *list = json_object_get(v->results, "texts");
    bool ok = true;
    Hash *h = hash_new();
    for (size_t i = 0; ok && i < v->o.n_texts; i++)
        ok = text_data_list(v->o.texts[i], files, e);
    for (size_t i = 0; ok && i < json_array_size(files); i++) {
        char digest[33];
        struct stat st = {0};
        const char *path = json_string_value(json_array_get(files, i));
        ok = hash_file(path, digest, e);
        if (!ok) break;
        stat(path, &st);
        hash_update(h, digest, 32);
        json_array_append_new(list, json_pack("{s:o, s:I, s:s}", "file", json_text(path), "bytes",
                                              (json_int_t)st.st_size, "xxh3_128", digest));
    }
    if (v->o.field) hash_update(h, v->o.field, strlen(v->o.field));
    hash_finish(h, v->text_key);
    json_decref(files);
    return ok;
}

static json_t *begin_results(const EvalOptions *o, const char *command) {
    char started[32];
    time_t now = time(NULL);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    json_t *settings =
        json_pack("{s:I, s:I, s:I, s:s}", "seed", (json_int_t)o->seed, "trials", (json_int_t)o->trials,
                  "depths", (json_int_t)o->n_depths, "score", o->score == SCORE_HALF ? "half" : "all");
    return json_pack("{s:s, s:o, s:o, s:s, s:f, s:[], s:o, s:[], s:[], s:[]}", "derope", DEROPE_VERSION,
                     "command", json_text(command), "machine", machine_json(), "started", started, "seconds",
                     0.0, "texts", "settings", settings, "models", "perplexity", "tasks");
}

Evaluation *evaluation_new(const EvalOptions *options, const char *command, Error *e) {
    Evaluation *v = xcalloc(1, sizeof *v);
    v->o = *options;
    v->bench.o = &v->o;
    if (v->o.transcript) {
        v->bench.on_answer = keep_answer;
        v->bench.answer_context = v;
    }
    clock_gettime(CLOCK_MONOTONIC, &v->started);
    v->results = begin_results(&v->o, command);
    load_cells(v);
    hash_bytes("", 0, v->wording_key);
    if (wording_open(v->o.wording, &v->bench.wording, e) &&
        (!v->o.wording || hash_file(v->o.wording, v->wording_key, e)) && describe_texts(v, e))
        return v;
    evaluation_free(v);
    return NULL;
}

void evaluation_free(Evaluation *v) {
    if (!v) return;
    wording_close(&v->bench.wording);
    json_decref(v->results);
    json_decref(v->cells);
    buffer_free(&v->transcript);
    free(v);
}

size_t evaluation_measured(const Evaluation *v) {
    return v->measured;
}

json_t *evaluation_results(Evaluation *v) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    json_object_set_new(v->results, "seconds", json_real((double)(now.tv_sec - v->started.tv_sec)));
    return v->results;
}

const Buffer *evaluation_transcript(const Evaluation *v) {
    return &v->transcript;
}

/* Every text once; of the settings those that hold for all. */
static void join_circumstances(json_t *all, const json_t *other) {
    json_t *texts = json_object_get(all, "texts"), *settings = json_object_get(all, "settings"), *value;
    const char *key;
    void *next;
    size_t i, k;
    json_array_foreach(json_object_get(other, "texts"), i, value) {
        for (k = 0; k < json_array_size(texts) && !json_equal(json_array_get(texts, k), value);)
            k++;
        if (k == json_array_size(texts)) json_array_append(texts, value);
    }
    json_object_foreach_safe(settings, next, key, value) {
        if (!json_equal(value, json_object_get(json_object_get(other, "settings"), key)))
            json_object_del(settings, key);
    }
}

void evaluation_join(json_t *all, const json_t *results, const char *prefix) {
    static const char *const tables[] = {"perplexity", "tasks"};
    json_t *copy = json_deep_copy(results), *row;
    json_int_t before = (json_int_t)json_array_size(json_object_get(all, "models"));
    double seconds = json_number_value(json_object_get(all, "seconds")) +
                     json_number_value(json_object_get(results, "seconds"));
    size_t i;
    json_array_foreach(json_object_get(copy, "models"), i, row) {
        const char *name = json_get_string(row, "name");
        if (*prefix && strcmp(name, "source") != 0)
            json_object_set_new(row, "name", json_sprintf("%s: %s", prefix, name));
    }
    for (size_t t = 0; t < 2; t++)
        json_array_foreach(json_object_get(copy, tables[t]), i, row) json_object_set_new(
            row, "model", json_integer(before + json_integer_value(json_object_get(row, "model"))));
    if (!json_object_size(all)) {
        json_object_update(all, copy);
    } else {
        join_circumstances(all, copy);
        json_array_extend(json_object_get(all, "models"), json_object_get(copy, "models"));
        for (size_t t = 0; t < 2; t++)
            json_array_extend(json_object_get(all, tables[t]), json_object_get(copy, tables[t]));
    }
    json_object_set_new(all, "seconds", json_real(seconds));
    json_decref(copy);
}
