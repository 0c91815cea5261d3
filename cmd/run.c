/* derope run: a recipe's steps, each skipped where its inputs' hashes and its parameters have not changed.
 *
 * Every step has a key: the hash of the tool's version, of what goes in and of its parameters. The
 * recalibrated weights are kept in OUTPUT.work (OUTPUT being the recipe's first), evaluations in
 * OUTPUT.work/steps.json; an output carries the key it was made with in its manifest. */
#include "cmd/run.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/output.h"
#include "cmd/text.h"
#include "formats/file.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "recal/memory.h"
#include "recal/perplexity.h"
#include "surgery/derope_keys.h"
#include "surgery/pass.h"
#include "surgery/recipe.h"

enum { MAX_RECIPES = 64, MAX_SETS = 64 };

typedef struct Run {
    const char *path; /* of the recipe */
    const json_t *recipe;
    bool force;
    char *work, *steps_path;
    json_t *steps; /* evaluations by key */
    json_t *table; /* rows for the end */
    Checkpoint *source;
    Model *source_model, *model;
    Net *net; /* of the model, once something needed it */
    char source_key[33], surgery_key[33], weights_key[33];
    json_t *summary; /* of the recalibration */
} Run;

/* ---- keys ---- */

static bool hash_paths(const json_t *paths, Hash *h, Error *e);

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static bool hash_path(const char *path, int depth, Hash *h, Error *e) {
    struct stat st;
    if (stat(path, &st) != 0) {
        error_errno(e, "%s", path);
        e->code = ERR_INPUT;
        return false;
    }
    char digest[33];
    if (!S_ISDIR(st.st_mode)) {
        if (!hash_file(path, digest, e)) return false;
        hash_update(h, digest, 32);
        return true;
    }
    struct dirent **list;
    int n = depth < 32 ? scandir(path, &list, visible, by_name) : -1;
    if (n < 0) return error_errno(e, "%s", path);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char child[PATH_MAX];
        hash_update(h, list[i]->d_name, strlen(list[i]->d_name));
        if (ok && snprintf(child, sizeof child, "%s/%s", path, list[i]->d_name) < (int)sizeof child)
            ok = hash_path(child, depth + 1, h, e);
        free(list[i]);
    }
    free(list);
    return ok;
}

static bool hash_paths(const json_t *paths, Hash *h, Error *e) {
    for (size_t i = 0; i < json_array_size(paths); i++)
        if (!hash_path(json_string_value(json_array_get(paths, i)), 0, h, e)) return false;
    return true;
}

static void hash_json(Hash *h, const json_t *v) {
    Buffer text = {0};
    if (v) json_print(v, 0, &text);
    hash_update(h, text.data, text.size);
    buffer_free(&text);
}

/* The key of a step: what it starts from, its parameters, and the files it reads. */
static bool step_key(const char *from, const json_t *parameters, const json_t *files, char out[33],
                     Error *e) {
    Hash *h = hash_new();
    hash_update(h, DEROPE_VERSION, strlen(DEROPE_VERSION));
    hash_update(h, from, strlen(from));
    hash_json(h, parameters);
    bool ok = !files || hash_paths(files, h, e);
    hash_finish(h, out);
    return ok;
}

/* ---- keys of the weights ---- */

static bool find_keys(Run *r, Error *e) {
    const json_t *recal = json_object_get(r->recipe, "recalibrate");
    json_t *source = json_pack("[O]", json_object_get(r->recipe, "source"));
    json_t *parameters = recal ? json_copy((json_t *)recal) : NULL;
    json_object_del(parameters, "data"); /* its content counts, not its place */
    bool ok = step_key("", NULL, source, r->source_key, e) &&
              step_key(r->source_key, json_object_get(r->recipe, "surgery"), NULL, r->surgery_key, e);
    if (ok && recal)
        ok = step_key(r->surgery_key, parameters, json_object_get(recal, "data"), r->weights_key, e);
    else if (ok)
        memcpy(r->weights_key, r->surgery_key, sizeof r->weights_key);
    json_decref(parameters);
    json_decref(source);
    return ok;
}

static bool save_steps(const Run *r, Error *e) {
    Buffer text = {0};
    json_print(r->steps, 2, &text);
    bool ok = file_write(r->steps_path, text.data, text.size, true, e);
    buffer_free(&text);
    return ok;
}

/* ---- recalibration ---- */

static bool set_real(const json_t *o, const char *key, double *to) {
    double v;
    if (json_get_f64(o, key, &v)) *to = v;
    return true;
}

static bool set_u32(const json_t *o, const char *key, uint32_t *to, Error *e) {
    uint64_t v;
    if (!json_get_u64(o, key, &v)) return true;
    if (v > 1 << 24)
        return error_set(e, ERR_RECIPE, "recalibrate.%s: %llu is out of reason", key, (unsigned long long)v);
    *to = (uint32_t)v;
    return true;
}

bool recal_from_recipe(const json_t *s, const char **data, size_t max_data, RecalRequest *r, Error *e) {
    *r = (RecalRequest){.train = train_defaults(), .data = data, .field = json_get_string(s, "field")};
    TrainOptions *t = &r->train;
    const char *objective = json_get_string(s, "objective");
    const json_t *paths = json_object_get(s, "data");
    t->objective = objective_by_name(objective ? objective : "next-token");
    json_get_u64(s, "tokens", &t->tokens);
    json_get_u64(s, "seed", &t->seed);
    json_get_bool(s, "from_scratch", &r->from_scratch);
    set_real(s, "lr", &t->lr);
    set_real(s, "min_lr_ratio", &t->min_lr_ratio);
    set_real(s, "weight_decay", &t->weight_decay);
    set_real(s, "beta1", &t->beta1);
    set_real(s, "beta2", &t->beta2);
    set_real(s, "clip", &t->clip);
    if (!set_u32(s, "context", &t->context, e) || !set_u32(s, "batch", &t->batch, e) ||
        !set_u32(s, "accumulate", &t->accumulate, e) || !set_u32(s, "warmup", &t->warmup, e))
        return false;
    for (size_t i = 0; i < json_array_size(paths); i++) {
        if (i == max_data)
            return error_set(e, ERR_RECIPE, "recalibrate.data: more than %zu paths; name a folder", max_data);
        data[r->n_data++] = json_string_value(json_array_get(paths, i));
    }
    return true;
}

/* A finished state of the same key holds the weights already: training "resumes" at its end. */
static bool recalibrate_step(Run *r, Error *e) {
    const json_t *section = json_object_get(r->recipe, "recalibrate");
    if (!section || r->summary) return true;
    const char *data[MAX_RECIPE_PATHS];
    RecalRequest request;
    if (!recal_from_recipe(section, data, MAX_RECIPE_PATHS, &request, e)) return false;
    char state[PATH_MAX];
    snprintf(state, sizeof state, "%s/recalibrated-%.16s.state", r->work, r->weights_key);
    request.train.state_path = state;
    request.train.resume = access(state, F_OK) == 0 && !r->force;
    net_close(r->net);
    r->net = NULL;
    TrainResult result = {0};
    bool ok = recalibrate(r->source, r->model, &request, &r->net, &result, e);
    if (ok) r->summary = recal_summary(&request, &result);
    json_decref(result.losses);
    return ok;
}

/* ---- evaluation ---- */

static json_t *measure(Net *n, const json_t *section, const TokenList *tokens, int32_t bos, Score score,
                       Error *e) {
    const json_t *contexts = json_object_get(section, "context");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(contexts); i++) {
        size_t T = (size_t)json_integer_value(json_array_get(contexts, i));
        Perplexity p;
        cmd_progress("perplexity at %zu", T);
        if (!perplexity(n, tokens->ids, tokens->n, T, score, bos, &cmd_stop, &p, e)) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, json_pack("{s:I, s:f, s:f, s:I}", "context", (json_int_t)T, "perplexity",
                                              exp(p.nll), "stderr", exp(p.nll) * p.stderr_nll, "tokens",
                                              (json_int_t)p.tokens));
    }
    cmd_progress_end();
    return list;
}

static bool load_text(const Run *r, const json_t *section, TokenList *tokens, int32_t *bos, Score *score,
                      Error *e) {
    const json_t *paths = json_object_get(section, "text");
    const char *list[MAX_RECIPE_PATHS], *how = json_get_string(section, "score");
    uint64_t max = 0;
    size_t n = json_array_size(paths) < MAX_RECIPE_PATHS ? json_array_size(paths) : MAX_RECIPE_PATHS;
    for (size_t i = 0; i < n; i++)
        list[i] = json_string_value(json_array_get(paths, i));
    json_get_u64(section, "tokens", &max);
    *score = how && strcmp(how, "half") == 0 ? SCORE_HALF : SCORE_ALL;
    return ppl_tokens(r->source, list, n, NULL, *score == SCORE_HALF, max, tokens, bos, e);
}

/* One row of the table, from steps.json or measured now. `from` is the key of what is measured. */
static bool add_row(Run *r, const char *label, const char *from, json_t *(*measure_row)(Run *r, Error *e),
                    Error *e) {
    const json_t *section = json_object_get(r->recipe, "evaluate");
    json_t *parameters = json_copy((json_t *)section);
    static const char *const irrelevant[] = {"text", "source", "untrained", "yarn"};
    for (int i = 0; i < 4; i++)
        json_object_del(parameters, irrelevant[i]);
    json_object_set_new(parameters, "row", json_string(label));
    char key[33];
    bool ok = step_key(from, parameters, json_object_get(section, "text"), key, e);
    json_decref(parameters);
    if (!ok) return false;
    json_t *row = r->force ? NULL : json_incref(json_object_get(r->steps, key));
    if (!row) {
        row = measure_row(r, e);
        if (!row) return false;
        json_object_set(r->steps, key, row);
        ok = save_steps(r, e);
    }
    json_array_append_new(r->table,
                          json_pack("{s:s, s:s, s:o}", "recipe", r->path, "model", label, "perplexity", row));
    return ok;
}

static json_t *measure_net(Run *r, Net *n, Error *e) {
    const json_t *section = json_object_get(r->recipe, "evaluate");
    TokenList tokens = {0};
    int32_t bos;
    Score score;
    json_t *row = n && load_text(r, section, &tokens, &bos, &score, e)
                      ? measure(n, section, &tokens, bos, score, e)
                      : NULL;
    token_list_free(&tokens);
    return row;
}

static json_t *measure_source(Run *r, Error *e) {
    Net *n = net_open(r->source_model, 0, e);
    json_t *row = measure_net(r, n, e);
    net_close(n);
    return row;
}

static json_t *measure_model(Run *r, Error *e) {
    if (!r->net) r->net = net_open(r->model, 0, e);
    return measure_net(r, r->net, e);
}

static json_t *measure_recalibrated(Run *r, Error *e) {
    return recalibrate_step(r, e) ? measure_model(r, e) : NULL;
}

static bool wants(const json_t *section, const char *key, bool fallback) {
    bool v;
    return json_get_bool(section, key, &v) ? v : fallback;
}

/* YaRN at each length's own factor: the source as it would be served there. */
static json_t *measure_yarn(Run *r, Error *e) {
    const json_t *section = json_object_get(r->recipe, "evaluate"),
                 *contexts = json_object_get(section, "context");
    json_t *cells = json_array();
    TokenList tokens = {0};
    int32_t bos;
    Score score;
    bool ok = load_text(r, section, &tokens, &bos, &score, e);
    for (size_t i = 0; ok && i < json_array_size(contexts); i++) {
        double length = (double)json_integer_value(json_array_get(contexts, i));
        Model *m = model_open(r->source, e);
        json_t *one = json_pack("{s:[O]}", "context", json_array_get(contexts, i));
        double factor = m ? length / m->spec.context : 1;
        json_t *args = json_pack("{s:s, s:f}", "type", "yarn", "factor", factor);
        ok = m && (factor <= 1 || pass_apply(m, "rope_scaling", args, e));
        Net *n = ok ? net_open(m, 0, e) : NULL;
        json_t *cell = n ? measure(n, one, &tokens, bos, score, e) : NULL;
        if (cell) json_array_extend(cells, cell);
        ok = cell != NULL;
        json_decref(cell);
        json_decref(args);
        json_decref(one);
        net_close(n);
        model_close(m);
    }
    token_list_free(&tokens);
    if (ok) return cells;
    json_decref(cells);
    return NULL;
}

/* ---- outputs ---- */

/* The key that the output at `path` was made with, or "". */
static void key_of_output(const char *path, char out[33]) {
    Error ignored = {0};
    out[0] = 0;
    if (access(path, F_OK) != 0) return;
    Checkpoint *c = checkpoint_open(path, &ignored);
    size_t n;
    const char *text = c && c->format == FORMAT_GGUF ? meta_string(c, DEROPE_MANIFEST, &n) : NULL;
    json_t *manifest = text ? json_parse(path, text, n, &ignored)
                       : c  ? checkpoint_json(c, "derope.json", &ignored)
                            : NULL;
    const char *key = json_get_string(manifest, "run_key");
    if (key) snprintf(out, 33, "%.32s", key);
    json_decref(manifest);
    checkpoint_close(c);
}

static bool write_output(Run *r, const json_t *o, Error *e) {
    OutputRequest request = {.path = json_get_string(o, "path"),
                             .dtype = json_get_string(o, "dtype"),
                             .carrier = json_get_string(o, "carrier"),
                             .force = r->force};
    json_get_u64(o, "max_shard_size", &request.max_shard_size);
    char key[33], there[33];
    if (!step_key(r->weights_key, o, NULL, key, e)) return false;
    key_of_output(request.path, there);
    if (!r->force && strcmp(key, there) == 0) {
        cmd_note("%s is up to date", request.path);
        return true;
    }
    if (there[0]) request.force = true; /* an earlier run's output: ours to replace */
    if (!recalibrate_step(r, e)) return false;
    json_t *extra = json_pack("{s:s, s:O}", "run_key", key, "recipe", r->recipe);
    if (r->summary) json_object_update(extra, r->summary);
    request.extra = extra;
    bool ok = output_write(r->model, &request, e);
    json_decref(extra);
    if (ok) cmd_note("wrote %s", request.path);
    return ok;
}

/* ---- the whole ---- */

static bool open_models(Run *r, Error *e) {
    const char *path = json_get_string(r->recipe, "source");
    bool scratch = wants(json_object_get(r->recipe, "recalibrate"), "from_scratch", false);
    r->source = checkpoint_open_config(path, scratch, e);
    if (!r->source) return false;
    r->source_model = scratch ? model_open_config(r->source, e) : model_open(r->source, e);
    r->model =
        r->source_model ? (scratch ? model_open_config(r->source, e) : model_open(r->source, e)) : NULL;
    return r->model && passes_apply(json_object_get(r->recipe, "surgery"), r->model, e);
}

static bool open_work(Run *r, Error *e) {
    const char *first = json_get_string(json_array_get(json_object_get(r->recipe, "outputs"), 0), "path");
    Buffer work = {0}, steps = {0};
    size_t n = strlen(first);
    while (n > 1 && first[n - 1] == '/')
        n--;
    buffer_printf(&work, "%.*s.work", (int)n, first);
    r->work = buffer_string(&work);
    buffer_printf(&steps, "%s/steps.json", r->work);
    r->steps_path = buffer_string(&steps);
    /* the folder that holds the outputs may be as new as they are */
    for (char *p = r->work + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            int made = mkdir(r->work, 0777);
            *p = '/';
            if (made != 0 && errno != EEXIST) return error_errno(e, "%s", r->work);
        }
    if (mkdir(r->work, 0777) != 0 && errno != EEXIST) return error_errno(e, "%s", r->work);
    Buffer text = {0};
    Error ignored = {0};
    if (access(r->steps_path, F_OK) == 0 && file_read(r->steps_path, 1 << 26, &text, &ignored))
        r->steps =
            json_parse(r->steps_path, text.data, text.size, &ignored); /* a damaged cache is an empty one */
    if (!json_is_object(r->steps)) r->steps = json_object();
    buffer_free(&text);
    return true;
}

static bool write_depfile(const Run *r, const char *path, Error *e) {
    const json_t *outputs = json_object_get(r->recipe, "outputs");
    const json_t *data = json_object_get(json_object_get(r->recipe, "recalibrate"), "data");
    const json_t *text = json_object_get(json_object_get(r->recipe, "evaluate"), "text");
    const char *targets[MAX_RECIPE_PATHS], *more[2 * MAX_RECIPE_PATHS + 2];
    size_t n = 0, m = 0;
    for (size_t i = 0; i < json_array_size(outputs) && n < MAX_RECIPE_PATHS; i++)
        targets[n++] = json_get_string(json_array_get(outputs, i), "path");
    more[m++] = r->path;
    for (size_t i = 0; i < json_array_size(data) && i < MAX_RECIPE_PATHS; i++)
        more[m++] = json_string_value(json_array_get(data, i));
    for (size_t i = 0; i < json_array_size(text) && i < MAX_RECIPE_PATHS; i++)
        more[m++] = json_string_value(json_array_get(text, i));
    more[m] = NULL;
    return depfile_write(path, targets, n, r->source, more, e);
}

static bool run_steps(Run *r, Error *e) {
    const json_t *evaluate = json_object_get(r->recipe, "evaluate"),
                 *recal = json_object_get(r->recipe, "recalibrate");
    const json_t *outputs = json_object_get(r->recipe, "outputs");
    bool scratch = wants(recal, "from_scratch", false);
    const char *operated = recal ? "after surgery, untrained" : "after surgery";
    if (evaluate && !scratch) {
        if (wants(evaluate, "source", true) && !add_row(r, "source", r->source_key, measure_source, e))
            return false;
        if (wants(evaluate, "yarn", false) && !add_row(r, "source with YaRN", r->source_key, measure_yarn, e))
            return false;
        if ((!recal || wants(evaluate, "untrained", true)) &&
            !add_row(r, operated, r->surgery_key, measure_model, e))
            return false;
    }
    for (size_t i = 0; i < json_array_size(outputs); i++)
        if (!write_output(r, json_array_get(outputs, i), e)) return false;
    if (!evaluate || !recal) return true;
    return add_row(r, "after recalibration", r->weights_key, measure_recalibrated, e);
}

static bool run_recipe(const char *path, const char *const *sets, size_t n_sets, bool force,
                       const char *depfile, json_t *table, Error *e) {
    json_t *recipe = recipe_load(path, sets, n_sets, e);
    if (!recipe) return false;
    Run r = {.path = path, .recipe = recipe, .force = force, .table = table};
    bool ok = open_work(&r, e) && find_keys(&r, e) && open_models(&r, e) && run_steps(&r, e);
    if (ok && depfile) ok = write_depfile(&r, depfile, e);
    net_close(r.net);
    model_close(r.model);
    model_close(r.source_model);
    checkpoint_close(r.source);
    json_decref(r.steps);
    json_decref(r.summary);
    json_decref(recipe);
    free(r.work);
    free(r.steps_path);
    return ok;
}

/* ---- the table ---- */

static const char *stem(const char *path, char out[64]) {
    const char *slash = strrchr(path, '/');
    snprintf(out, 64, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(out, '.');
    if (dot) *dot = 0;
    return out;
}

static void print_table(const json_t *table, bool several) {
    const json_t *first = json_object_get(json_array_get(table, 0), "perplexity");
    if (!first) return;
    printf("\n%-44s", "perplexity at a context of");
    for (size_t i = 0; i < json_array_size(first); i++)
        printf("%10lld", (long long)json_integer_value(json_object_get(json_array_get(first, i), "context")));
    printf("\n");
    for (size_t i = 0; i < json_array_size(table); i++) {
        const json_t *row = json_array_get(table, i), *cells = json_object_get(row, "perplexity");
        const char *model = json_get_string(row, "model");
        char label[160], name[64];
        bool ours = strncmp(model, "after", 5) == 0;
        bool named = several && ours;
        snprintf(label, sizeof label, "%s%s%s", named ? stem(json_get_string(row, "recipe"), name) : "",
                 named ? ": " : "", model);
        printf("%-44s", label);
        for (size_t j = 0; j < json_array_size(cells); j++)
            printf("%10.3f", json_number_value(json_object_get(json_array_get(cells, j), "perplexity")));
        printf("\n");
    }
}

static bool run(int argc, char **argv, Error *e) {
    static const struct option options[] = {{"set", required_argument, NULL, 's'},
                                            {"force", no_argument, NULL, 'f'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"depfile", required_argument, NULL, 'd'},
                                            {0}};
    const char *recipes[MAX_RECIPES], *sets[MAX_SETS], *depfile = NULL;
    size_t n_recipes = 0, n_sets = 0;
    bool force = false, json = false;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1 || optind < argc) {
        if (option == -1) {
            if (n_recipes == MAX_RECIPES) return cmd_usage(e, "more than %d recipes", MAX_RECIPES);
            recipes[n_recipes++] = argv[optind++];
        } else if (option == 's') {
            if (n_sets == MAX_SETS) return cmd_usage(e, "more than %d --set", MAX_SETS);
            sets[n_sets++] = optarg;
        } else if (option == 'f') {
            force = true;
        } else if (option == 'j') {
            json = true;
        } else if (option == 'd') {
            depfile = optarg;
        } else {
            return cmd_bad_option(e, option, argv);
        }
    }
    if (!n_recipes) return cmd_usage(e, "a recipe is needed (derope run --help)");
    if (depfile && n_recipes > 1) return cmd_usage(e, "--depfile goes with one recipe");
    json_t *table = json_array();
    bool ok = true;
    for (size_t i = 0; ok && i < n_recipes; i++)
        ok = run_recipe(recipes[i], sets, n_sets, force, depfile, table, e);
    if (ok && json) cmd_print_json(table);
    if (ok && !json) print_table(table, n_recipes > 1);
    json_decref(table);
    return ok;
}

const Verb verb_run = {
    .name = "run",
    .summary = "do what recipes say, skipping what is done",
    .help =
        "usage: derope run RECIPE... [--set key=value] [--force] [--depfile F] [--json]\n\n"
        "Surgery, recalibration, evaluation and outputs of each recipe, in order; a table of perplexities at "
        "the end. A step\n"
        "is skipped if the hashes of its inputs and its parameters are those it was done with. What is "
        "needed for that, and\n"
        "to resume after Ctrl-C (exit status 5: run again), lies in OUTPUT.work beside the first output.\n\n"
        "  --set key=value             override a key: --set recalibrate.tokens=4k --set "
        "outputs.0.path=out.gguf\n"
        "  --force                     do everything anew and replace outputs\n"
        "  --depfile F                 write a make rule: the outputs depend on all that was read\n"
        "  --json                      the table as JSON\n\n"
        "examples/recipe-reference.yaml shows every key.\n",
    .run = run,
};
