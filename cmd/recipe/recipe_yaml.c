/* Parses YAML for recipes, and for the front matter of model cards (cmd/model_card.c). libyaml does the
 * parsing. What it leaves to its callers is done here: limits on depth and size, and a check that the stream
 * holds one document and nothing else. recipe_read.c reads the nodes. */
#include "cmd/recipe/recipe_yaml.h"

#include "formats/buffer.h"

#include <stdarg.h>
#include <stdio.h>

/* Limits far above what a recipe needs. Depth, anchors and directives limit the time that libyaml takes,
 * which searches its lists of them from the beginning; the number of visited nodes limits what aliases inside
 * aliases ("billion laughs") can expand to. */
enum { MAX_DEPTH = 16, MAX_ANCHORS = 1000, MAX_DIRECTIVES = 10, MAX_NODES = 100000 };

/* ---- parsing ---- */

/* Sets libyaml's own error with file, line and column, both counted from 1, and returns false. Ends the
 * program if libyaml had no memory. */
static bool not_yaml(const yaml_parser_t *p, const char *place, Error *e) {
    if (p->error == YAML_MEMORY_ERROR) memory_used_up();
    return error_set(e, ERR_RECIPE, "%s:%zu:%zu: not valid YAML: %s", place, p->problem_mark.line + 1,
                     p->problem_mark.column + 1, p->problem ? p->problem : "unreadable");
}

/* Whether the stream is at its end after the first document. A second document would be ignored silently, so
 * it is an error. */
static bool is_last(yaml_parser_t *p, const char *place, Error *e) {
    yaml_document_t next;
    if (!yaml_parser_load(p, &next)) return not_yaml(p, place, e);
    /* libyaml gives an empty document at the end of the stream. */
    bool more = yaml_document_get_root_node(&next) != NULL;
    if (more)
        error_set(e, ERR_RECIPE, "%s:%zu:1: a second document begins; a recipe is one", place,
                  next.start_mark.line + 1);
    yaml_document_delete(&next);
    return !more;
}

/* By how many levels a parser event changes the nesting: 1 where a list or mapping starts, -1 where one ends,
 * otherwise 0. */
static int nesting(yaml_event_type_t type) {
    bool begins = type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
    return begins - (type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT);
}

/* Whether the text has at most MAX_DIRECTIVES lines that begin with '%', as the directives %YAML and %TAG do.
 * libyaml's parser compares each of them with all before it, so they are counted before it runs. */
static bool has_few_directives(const char *place, const char *text, size_t size, Error *e) {
    size_t line = 1, n = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '%' && (i == 0 || text[i - 1] == '\n' || text[i - 1] == '\r') && ++n > MAX_DIRECTIVES)
            return error_set(e, ERR_RECIPE, "%s:%zu:1: more than %d directives", place, line, MAX_DIRECTIVES);
        line += text[i] == '\n';
    }
    return true;
}

/* True if an event begins a value that is named by an anchor (&NAME). */
static bool has_anchor(const yaml_event_t *event) {
    return (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor) ||
           (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.anchor) ||
           (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor);
}

/* Whether no list or mapping lies deeper than MAX_DEPTH, and there are at most MAX_ANCHORS anchors. libyaml's
 * loader takes time that grows with the square of both, so the events are counted before the document is
 * loaded. Text that is not valid YAML passes here, because the loader reports it with its place. */
static bool is_simple(const char *place, const char *text, size_t size, Error *e) {
    yaml_parser_t parser;
    yaml_event_t event;
    if (!has_few_directives(place, text, size, e)) return false;
    if (!yaml_parser_initialize(&parser)) memory_used_up();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool ok = true, end = false;
    int anchors = 0;
    /* Count levels event by event; the event that begins the level too deep has the place for the error. */
    for (int depth = 0; ok && !end && yaml_parser_parse(&parser, &event);) {
        depth += nesting(event.type);
        end = event.type == YAML_STREAM_END_EVENT;
        if (depth > MAX_DEPTH)
            ok = error_set(e, ERR_RECIPE, "%s:%zu:%zu: lists and mappings lie more than %d deep", place,
                           event.start_mark.line + 1, event.start_mark.column + 1, MAX_DEPTH);
        else if (has_anchor(&event) && ++anchors > MAX_ANCHORS)
            ok = error_set(e, ERR_RECIPE, "%s:%zu:%zu: more than %d anchors", place,
                           event.start_mark.line + 1, event.start_mark.column + 1, MAX_ANCHORS);
        yaml_event_delete(&event);
    }
    if (ok && !end && parser.error == YAML_MEMORY_ERROR) memory_used_up();
    yaml_parser_delete(&parser);
    return ok;
}

bool recipe_parse_yaml(const char *place, const char *text, size_t size, yaml_document_t *out, Error *e) {
    yaml_parser_t parser;
    if (!is_simple(place, text, size, e)) return false;
    if (!yaml_parser_initialize(&parser)) memory_used_up();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    /* The document has to be valid, not empty, and the only one. */
    bool ok = yaml_parser_load(&parser, out);
    if (!ok) {
        not_yaml(&parser, place, e);
    } else if (!yaml_document_get_root_node(out)) {
        ok = error_set(e, ERR_RECIPE, "%s:1:1: the recipe is empty", place);
        yaml_document_delete(out);
    } else {
        ok = is_last(&parser, place, e);
        if (!ok) yaml_document_delete(out);
    }
    yaml_parser_delete(&parser);
    return ok;
}

/* ---- nodes ---- */

bool recipe_wrong(const RecipeReader *r, const yaml_node_t *n, Error *e, const char *fmt, ...) {
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(e, ERR_RECIPE, "%s:%zu:%zu: %s", r->place, n->start_mark.line + 1,
                     n->start_mark.column + 1, text);
}

/* Counting every node that is visited bounds aliases, because each visit through an alias counts again. */
yaml_node_t *recipe_node(RecipeReader *r, int index, Error *e) {
    yaml_node_t *n = yaml_document_get_node(r->document, index);
    /* The node at which the limit is passed is the place of the error. */
    if (++r->visited > MAX_NODES) {
        recipe_wrong(r, n, e, "more than %d values (aliases inside aliases?)", MAX_NODES);
        return NULL;
    }
    return n;
}

const char *recipe_scalar(const yaml_node_t *n) {
    return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}
