/* The state of an evaluation: cells that were measured already, so that an interrupted or repeated
 * evaluation measures only what is missing. eval_grid.c asks for a cell by its key and stores new ones. The
 * file is one JSON object, rewritten as a whole after each cell (file_write replaces it atomically, so an
 * interruption leaves the previous one). The cell of a perplexity is an object, that of a task an array with
 * one row per depth; cmd/evaluate/eval_measure.h describes both. */
#include "cmd/evaluate/eval_state.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "formats/buffer.h"
#include "formats/file.h"
#include "formats/json.h"
#include "formats/output.h"

enum { MAX_STATE_BYTES = 1 << 28 };

/* The JSON value in the file at `path`, new reference; NULL if it is missing or damaged. */
static json_t *read_json(const char *path) {
    Buffer text = {0};
    Error ignored = {0};
    json_t *value = NULL;
    if (access(path, F_OK) == 0 && file_read(path, MAX_STATE_BYTES, &text, &ignored))
        value = json_parse(path, text.data, text.size, &ignored);
    buffer_free(&text);
    return value;
}

/* Removes the cells of tasks, which are the arrays. A transcript needs every question to be asked again, so
 * the answers in the state are of no use to it. */
static void drop_tasks(json_t *cells) {
    const char *key;
    void *next;
    json_t *value;
    json_object_foreach_safe(cells, next, key, value) if (json_is_array(value)) json_object_del(cells, key);
}

/* Reads the file if it is there. Anything that is not a JSON object counts as no cells, because a damaged
 * state costs only the time to measure again. */
void eval_state_open(EvalState *s, const char *path, bool discard, bool discard_tasks) {
    *s = (EvalState){.path = path, .cells = path && !discard ? read_json(path) : NULL};
    if (!json_is_object(s->cells)) {
        json_decref(s->cells);
        s->cells = json_object();
    }
    if (discard_tasks) drop_tasks(s->cells);
}

/* Frees the cells. The file needs no writing: it holds everything since the last eval_state_put. */
void eval_state_close(EvalState *s) {
    json_decref(s->cells);
    s->cells = NULL;
}

/* Whether the member is a number from `least` to `most`. */
static bool is_between(const json_t *o, const char *key, double least, double most) {
    double x;
    return json_get_f64(o, key, &x) && x >= least && x <= most;
}

/* A state file may have been edited or damaged, so a cell is checked before its numbers enter the results. */
static bool is_perplexity(const json_t *value) {
    return is_between(value, "perplexity", 0, HUGE_VAL) && is_between(value, "nll", 0, HUGE_VAL);
}

/* Whether the value can be the rows of a task. "first" is missing if the task offers no candidates. */
static bool is_task_rows(const json_t *value) {
    bool fits = json_is_array(value);
    for (size_t i = 0; fits && i < json_array_size(value); i++) {
        const json_t *row = json_array_get(value, i);
        fits = is_between(row, "trials", 1, 1e9) && is_between(row, "score", 0, 1) &&
               (!json_object_get(row, "first") || is_between(row, "first", 0, 1));
    }
    return fits;
}

/* A key is a hash, so finding it means that everything the cell depends on is the same. */
json_t *eval_state_get(const EvalState *s, const char *key, bool is_task) {
    json_t *value = json_object_get(s->cells, key);
    return (is_task ? is_task_rows(value) : is_perplexity(value)) ? value : NULL;
}

/* The file is rewritten after every cell. A cell takes seconds to hours to measure, the file some
 * kilobytes. */
bool eval_state_put(EvalState *s, const char *key, json_t *value, Error *e) {
    json_object_set_new(s->cells, key, value);
    if (!s->path) return true;
    Buffer text = {0};
    json_print(s->cells, 1, &text);
    bool ok = file_write(s->path, text.data, text.size, true, e);
    buffer_free(&text);
    return ok;
}

/* A state file is told from other JSON by its members: all their names are hashes. */
static bool is_state(const json_t *value) {
    const char *key;
    json_t *cell;
    bool ours = json_is_object(value);
    json_object_foreach((json_t *)value, key, cell) ours &=
        strlen(key) == 32 && strspn(key, "0123456789abcdef") == 32;
    return ours;
}

/* A missing file is fine, and so is a state file: its cells are kept unless they no longer apply. */
bool eval_state_may_begin(const char *path, bool force, Error *e) {
    json_t *value = read_json(path);
    bool ours = access(path, F_OK) != 0 || is_state(value);
    json_decref(value);
    return output_may_begin(path, false, ours || force, e);
}
