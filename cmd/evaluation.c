/* A cell is one measurement: a model under a method at a length, by one suite. Its key is the hash of all
 * that it depends on; finished cells lie in the state file under it, so that an interrupted run goes on where
 * it stopped, and what two methods have in common (up to the trained length they all change nothing) is
 * measured once. */
#include "cmd/evaluation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/machine.h"
#include "cmd/text.h"
#include "formats/file.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "recal/data.h"
#include "recal/evaluate/ask.h"
#include "recal/memory.h"
#include "surgery/derope_keys.h"
#include "surgery/family.h"
#include "surgery/pass.h"

typedef struct Bench {
    const EvalOptions *o;
    json_t *cells;   /* by key */
    json_t *results; /* what is being built */
    Wording wording;
    char text_key[33], wording_key[33];
    /* of the model at hand */
    size_t index;
    const char *path;
    Checkpoint *source;
    Tokenizer *tokenizer;
    TokenList text;
    int32_t bos;
    Haystack haystack;
    char model_key[33];
} Bench;

/* One column of the table: the model at hand under a method, at a length. */
typedef struct Setting {
    const Method *method;
    uint64_t length;
    double factor; /* length over context, 1 where the method changes nothing */
    double scale;  /* of the softmax */
} Setting;

/* ---- options ---- */

bool eval_complete(EvalOptions *o, size_t n_models, Error *e) {
    bool any = o->perplexity;
    for (size_t i = 0; tasks[i]; i++)
        any |= o->tasks[i];
    if (!n_models) return cmd_usage(e, "a model is needed (derope eval --help)");
    if (!any) {
        o->perplexity = o->n_texts > 0;
        o->tasks[0] = true;
    }
    if (o->perplexity && !o->n_texts) return cmd_usage(e, "perplexity needs a text: --text FILE");
    if (o->search_scale && !o->perplexity)
        return cmd_usage(e,
                         "--softmax-scale search goes by perplexity: --suite perplexity,... and --text FILE");
    if (!o->n_methods) o->methods[o->n_methods++] = methods[0];
    if (!o->trials) o->trials = 10;
    if (!o->n_depths) o->n_depths = 5;
    if (!o->max_tokens) o->max_tokens = 65536;
    if (o->scale == 0) o->scale = 1;
    if (!o->seed) o->seed = 1;
    return true;
}

static void default_lengths(EvalOptions *o, uint64_t context) {
    for (int shift = -2; shift <= 4; shift++) {
        uint64_t n = shift < 0 ? context >> -shift : context << shift;
        if (n >= 2) o->lengths[o->n_lengths++] = n;
    }
}

/* ---- cells ---- */

static void cell_key(const Bench *b, const json_t *what, char out[33]) {
    Hash *h = hash_new();
    Buffer text = {0};
    json_print(what, 0, &text);
    hash_update(h, DEROPE_VERSION, strlen(DEROPE_VERSION));
    hash_update(h, b->model_key, 32);
    hash_update(h, b->text_key, 32);
    hash_update(h, b->wording_key, 32);
    hash_update(h, text.data, text.size);
    hash_finish(h, out);
    buffer_free(&text);
}

static bool save_cells(const Bench *b, Error *e) {
    if (!b->o->state) return true;
    Buffer text = {0};
    json_print(b->cells, 1, &text);
    bool ok = file_write(b->o->state, text.data, text.size, true, e);
    buffer_free(&text);
    return ok;
}

static void load_cells(Bench *b) {
    Buffer text = {0};
    Error ignored = {0};
    if (b->o->state && access(b->o->state, F_OK) == 0 && file_read(b->o->state, 1 << 28, &text, &ignored))
        b->cells =
            json_parse(b->o->state, text.data, text.size, &ignored); /* a damaged one is an empty one */
    if (!json_is_object(b->cells)) {
        json_decref(b->cells);
        b->cells = json_object();
    }
    buffer_free(&text);
}

/* ---- the model under a setting ---- */

static bool scale_softmax(Model *m, double scale, Error *e) {
    if (scale == 1) return true;
    json_t *args = json_pack("{s:f}", "factor", scale);
    bool ok = pass_apply(m, "scale_attention", args, e);
    json_decref(args);
    return ok;
}

/* Caller closes both, the net first. */
static Net *open_net(const Bench *b, const Setting *s, Model **m, Error *e) {
    *m = model_open(b->source, e);
    uint64_t bytes = *m ? net_weight_bytes(*m) + kv_bytes(&(*m)->spec, s->length + 128) : 0;
    bool ok = *m && memory_check(bytes, "this model at this length", e) &&
              (s->factor <= 1 || s->method->apply(*m, s->factor, e)) && scale_softmax(*m, s->scale, e);
    return ok ? net_open(*m, b->o->threads, e) : NULL;
}

/* ---- perplexity ---- */

enum { POSITIONS = 32 }; /* points of a curve of loss by position */

static json_t *curve(const double *sums, size_t windows, size_t first, size_t context) {
    json_t *list = json_array();
    size_t scored = context - 1 - first, points = scored < POSITIONS ? scored : POSITIONS;
    for (size_t i = 0; i < points; i++) {
        size_t from = first + scored * i / points, to = first + scored * (i + 1) / points;
        double sum = 0;
        for (size_t j = from; j < to; j++)
            sum += sums[j];
        json_array_append_new(list, json_pack("{s:I, s:f}", "to", (json_int_t)to + 1, "nll",
                                              sum / (double)((to - from) * windows)));
    }
    return list;
}

/* Perplexity of a part of the text, as a row without its setting. */
static json_t *measure_text(const Bench *b, Net *n, const Setting *s, size_t from, size_t to, Error *e) {
    Perplexity p;
    size_t T = s->length;
    double *sums = xcalloc(T, sizeof *sums), low, high;
    json_t *row = NULL;
    if (perplexity_by_position(n, b->text.ids + from, to - from, T, b->o->score, b->bos, &cmd_stop, sums, &p,
                               e)) {
        perplexity_interval(&p, &low, &high);
        size_t first = b->o->score == SCORE_HALF ? T / 2 : 0;
        row = json_pack("{s:f, s:f, s:I, s:I, s:o}", "perplexity", exp(p.nll), "nll", p.nll, "tokens",
                        (json_int_t)p.tokens, "windows", (json_int_t)p.windows, "positions",
                        curve(sums, p.windows, first, T));
        if (isfinite(high)) json_object_update_new(row, json_pack("{s:f, s:f}", "low", low, "high", high));
    }
    free(sums);
    return row;
}

/* A quarter of the text, in whole windows, is for finding scales; the rest is reported. */
static size_t validation_end(const Bench *b, uint64_t length) {
    size_t windows = b->text.n / length, part = windows / 4 ? windows / 4 : 1;
    return b->o->search_scale && windows > 1 ? part * length : 0;
}

static json_t *measure_perplexity(const Bench *b, const Setting *s, const Task *task, Error *e) {
    (void)task;
    Model *m;
    Net *n = open_net(b, s, &m, e);
    json_t *row = n ? measure_text(b, n, s, validation_end(b, s->length), b->text.n, e) : NULL;
    net_close(n);
    model_close(m);
    return row;
}

static json_t *measure_validation(const Bench *b, const Setting *s, const Task *task, Error *e) {
    (void)task;
    Model *m;
    Net *n = open_net(b, s, &m, e);
    json_t *row = n ? measure_text(b, n, s, 0, validation_end(b, s->length), e) : NULL;
    net_close(n);
    model_close(m);
    return row;
}

/* ---- tasks ---- */

static Random scene_random(const Bench *b, const Task *task, uint64_t length, uint64_t scene) {
    uint64_t seed = b->o->seed * 1000003 + length;
    for (const char *p = task->name; *p; p++)
        seed = seed * 31 + (uint8_t)*p;
    Random r = random_seeded(seed * 1000003 + scene);
    random_u64(&r);
    return r;
}

static json_t *tally_row(const Tally *t, double depth, bool has_depth) {
    double low, high, share = t->answers ? (double)t->found / (double)t->answers : 0;
    wilson(share, (double)t->trials, &low, &high);
    json_t *row = json_pack("{s:o, s:I, s:f, s:f, s:f}", "depth", has_depth ? json_real(depth) : json_null(),
                            "trials", (json_int_t)t->trials, "score", share, "low", low, "high", high);
    if (!t->ranked) return row;
    double first = (double)t->first / (double)t->ranked;
    wilson(first, (double)t->ranked, &low, &high);
    json_object_update_new(row, json_pack("{s:f, s:f, s:f, s:f, s:I}", "first", first, "first_low", low,
                                          "first_high", high, "mean_rank", t->ranks / (double)t->ranked,
                                          "candidates", (json_int_t)10));
    return row;
}

enum { QUESTIONS = 5 }; /* about one scene */

/* A task that a length has no room for, or the wording no words, is left out there. */
static bool ask_until_done(const Bench *b, Net *n, const Setting *s, const Task *task, const double *depths,
                           size_t n_depths, Tally *tallies, Error *e) {
    for (uint64_t scene = 0; tallies[0].trials < b->o->trials; scene++) {
        size_t left = b->o->trials - tallies[0].trials;
        TaskInput in = {.tokenizer = b->tokenizer,
                        .haystack = &b->haystack,
                        .wording = &b->wording,
                        .length = s->length,
                        .n_questions = left < QUESTIONS ? left : QUESTIONS};
        Random r = scene_random(b, task, s->length, scene);
        Scene made = {0};
        Error cannot = {0};
        bool can = task->make(&in, &r, &made, &cannot);
        bool ok =
            !can || ask_scene(n, b->tokenizer, &made, depths, n_depths, s->length, &cmd_stop, tallies, e);
        scene_free(&made);
        if (!can) cmd_note("%s is left out: %s", task->name, cannot.message);
        if (!can || !ok) return ok;
    }
    return true;
}

static json_t *measure_task(const Bench *b, const Setting *s, const Task *task, Error *e) {
    double depths[EVAL_MOST] = {0};
    size_t n_depths = task->has_depth ? b->o->n_depths : 1;
    for (size_t i = 0; i < n_depths; i++)
        depths[i] = n_depths > 1 ? (double)i / (double)(n_depths - 1) : 0.5;
    Tally tallies[EVAL_MOST] = {0};
    Model *m;
    Net *n = open_net(b, s, &m, e);
    json_t *rows = NULL;
    if (n && ask_until_done(b, n, s, task, depths, n_depths, tallies, e)) {
        rows = json_array();
        for (size_t i = 0; i < n_depths && tallies[i].trials; i++)
            json_array_append_new(rows, tally_row(&tallies[i], depths[i], task->has_depth));
    }
    net_close(n);
    model_close(m);
    return rows;
}

/* ---- the table ---- */

typedef json_t *(*Measure)(const Bench *b, const Setting *s, const Task *task, Error *e);

/* A cell's value, measured now or taken from what was. Borrowed from the cells. */
static json_t *cell(Bench *b, const Setting *s, const char *suite, const Task *task, Measure measure,
                    Error *e) {
    json_t *what = json_pack("{s:s, s:s, s:I, s:f, s:f, s:b, s:I}", "suite", suite, "method",
                             s->factor > 1 ? s->method->name : "none", "length", (json_int_t)s->length,
                             "factor", s->factor, "scale", s->scale, "search", b->o->search_scale, "score",
                             (json_int_t)b->o->score);
    if (task)
        json_object_update_new(what,
                               json_pack("{s:I, s:I, s:I}", "trials", (json_int_t)b->o->trials, "depths",
                                         (json_int_t)b->o->n_depths, "seed", (json_int_t)b->o->seed));
    char key[33];
    cell_key(b, what, key);
    json_decref(what);
    json_t *value = json_object_get(b->cells, key);
    if (value) return value;
    cmd_progress("%s: %s, %s at %llu", b->path, suite, s->method->name, (unsigned long long)s->length);
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    value = measure(b, s, task, e);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (!value) return NULL;
    double seconds = (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec);
    if (json_is_object(value)) json_object_set_new(value, "seconds", json_real(seconds));
    json_object_set_new(b->cells, key, value);
    return save_cells(b, e) ? value : NULL;
}

static void add_row(Bench *b, const char *table, const Setting *s, const Task *task, const json_t *value) {
    json_t *row = json_pack("{s:I, s:s, s:f, s:I}", "model", (json_int_t)b->index, "method", s->method->name,
                            "softmax_scale", s->scale, "length", (json_int_t)s->length);
    if (task) json_object_set_new(row, "task", json_string(task->name));
    json_object_update(row, (json_t *)value);
    json_array_append_new(json_object_get(b->results, table), row);
}

/* The scale whose perplexity on the validation part is least. */
static bool find_scale(Bench *b, Setting *s, Error *e) {
    static const double scales[] = {0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5};
    double best = HUGE_VAL, found = 1;
    if (!validation_end(b, s->length))
        return error_set(e, ERR_INPUT, "the text has %zu tokens, too few to search a softmax scale at %llu",
                         b->text.n, (unsigned long long)s->length);
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        double nll;
        s->scale = scales[i];
        const json_t *value = cell(b, s, "validation", NULL, measure_validation, e);
        if (!value) return false;
        if (json_get_f64(value, "nll", &nll) && nll < best) {
            best = nll;
            found = scales[i];
        }
    }
    s->scale = found;
    return true;
}

static bool measure_setting(Bench *b, Setting *s, Error *e) {
    s->scale = b->o->scale;
    if (b->o->search_scale && !find_scale(b, s, e)) return false;
    if (b->o->perplexity) {
        const json_t *value = cell(b, s, "perplexity", NULL, measure_perplexity, e);
        if (!value) return false;
        add_row(b, "perplexity", s, NULL, value);
    }
    for (size_t i = 0; tasks[i]; i++) {
        if (!b->o->tasks[i]) continue;
        const json_t *rows = cell(b, s, tasks[i]->name, tasks[i], measure_task, e);
        if (!rows) return false;
        for (size_t j = 0; j < json_array_size(rows); j++)
            add_row(b, "tasks", s, tasks[i], json_array_get(rows, j));
    }
    return true;
}

/* ---- models ---- */

static json_t *own_manifest(const Checkpoint *c) {
    size_t n;
    Error ignored = {0};
    const char *text = c->format == FORMAT_GGUF ? meta_string(c, DEROPE_MANIFEST, &n) : NULL;
    return text ? json_parse(DEROPE_MANIFEST, text, n, &ignored)
                : checkpoint_json(c, MANIFEST_FILE, &ignored);
}

/* "out/partial/" -> "partial", "out/x.gguf" -> "x" */
static json_t *short_name(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (n - from > 5 && strncmp(path + n - 5, ".gguf", 5) == 0) n -= 5;
    Buffer b = {0};
    buffer_append(&b, path + from, n - from);
    json_t *name = json_text(buffer_string(&b));
    buffer_free(&b);
    return name;
}

static json_t *describe_model(const Bench *b, const Model *m) {
    uint64_t parameters = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        uint64_t n = 1;
        for (uint32_t d = 0; d < m->tensors[i].tensor.rank; d++)
            n *= m->tensors[i].tensor.shape[d];
        parameters += n;
    }
    json_t *manifest = own_manifest(b->source), *passes = json_object_get(manifest, "passes"),
           *recalibration = json_object_get(manifest, "recalibration");
    json_t *o = json_pack("{s:o, s:o, s:s, s:I, s:I, s:o, s:O?, s:O?}", "name", short_name(b->path), "path",
                          json_text(b->path), "family", m->family->name, "parameters", (json_int_t)parameters,
                          "context", (json_int_t)m->spec.context, "layers", manifest_layers(&m->spec),
                          "passes", passes, "recalibration", recalibration);
    json_decref(manifest);
    return o;
}

static void model_key(Bench *b, const Model *m) {
    json_t *sources = manifest_sources(m);
    Buffer text = {0};
    json_print(sources, 0, &text);
    hash_bytes(text.data, text.size, b->model_key);
    buffer_free(&text);
    json_decref(sources);
}

static bool read_texts(Bench *b, Error *e) {
    const EvalOptions *o = b->o;
    if (o->perplexity && !ppl_tokens(b->source, o->texts, o->n_texts, o->field, o->score == SCORE_HALF,
                                     o->max_tokens, &b->text, &b->bos, e))
        return false;
    return haystack_open(o->texts, o->n_texts, o->field, 1 << 22, b->tokenizer, &b->haystack, e);
}

static bool measure_model(Bench *b, EvalOptions *o, Error *e) {
    b->source = checkpoint_open(b->path, e);
    Model *m = b->source ? model_open(b->source, e) : NULL;
    bool ok = m && (b->tokenizer = tokenizer_open(b->source, e)) && read_texts(b, e);
    bool stretched = ok && method_concerns(&m->spec);
    double context = ok ? m->spec.context : 1;
    if (ok) {
        model_key(b, m);
        json_array_append_new(json_object_get(b->results, "models"), describe_model(b, m));
        if (!o->n_lengths) default_lengths(o, m->spec.context);
    }
    for (size_t i = 0; ok && i < o->n_lengths; i++)
        for (size_t j = 0; ok && j < o->n_methods; j++) {
            bool plain = o->methods[j] == methods[0];
            Setting s = {.method = o->methods[j], .length = o->lengths[i], .factor = 1};
            if (!plain && !stretched) continue;
            if (!plain && (double)s.length > context) s.factor = (double)s.length / context;
            ok = measure_setting(b, &s, e);
        }
    if (ok && !stretched && o->n_methods > 1)
        cmd_note("%s: no layer rotates over all of the text, so it is measured as it is", b->path);
    haystack_close(&b->haystack);
    token_list_free(&b->text);
    b->text = (TokenList){0};
    tokenizer_close(b->tokenizer);
    b->tokenizer = NULL;
    model_close(m);
    checkpoint_close(b->source);
    return ok || error_place(e, "%s", b->path);
}

/* ---- all ---- */

static bool describe_texts(Bench *b, Error *e) {
    json_t *files = json_array(), *list = json_object_get(b->results, "texts");
    bool ok = true;
    Hash *h = hash_new();
    for (size_t i = 0; ok && i < b->o->n_texts; i++)
        ok = data_list(b->o->texts[i], files, e);
    for (size_t i = 0; ok && i < json_array_size(files); i++) {
        char digest[33];
        const char *path = json_string_value(json_array_get(files, i));
        ok = hash_file(path, digest, e);
        hash_update(h, digest, 32);
        json_array_append_new(list, json_pack("{s:o, s:s}", "file", json_text(path), "xxh3_128", digest));
    }
    if (b->o->field) hash_update(h, b->o->field, strlen(b->o->field));
    hash_update(h, &b->o->max_tokens, sizeof b->o->max_tokens);
    hash_finish(h, b->text_key);
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

json_t *evaluate(const EvalOptions *options, const char *const *models, size_t n_models, const char *command,
                 Error *e) {
    EvalOptions o = *options;
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    Bench b = {.o = &o, .results = begin_results(&o, command)};
    load_cells(&b);
    hash_bytes("", 0, b.wording_key);
    bool ok = wording_open(o.wording, &b.wording, e) &&
              (!o.wording || hash_file(o.wording, b.wording_key, e)) && describe_texts(&b, e);
    for (size_t i = 0; ok && i < n_models; i++) {
        b.index = i;
        b.path = models[i];
        ok = measure_model(&b, &o, e);
    }
    cmd_progress_end();
    clock_gettime(CLOCK_MONOTONIC, &t1);
    json_object_set_new(b.results, "seconds", json_real((double)(t1.tv_sec - t0.tv_sec)));
    wording_close(&b.wording);
    json_decref(b.cells);
    if (ok) return b.results;
    json_decref(b.results);
    return NULL;
}
