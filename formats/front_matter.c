/* Reading and writing the front matter of a model card: see formats/front_matter.h. libyaml gives events, not
 * a document: only the top level and lists of scalars are wanted, and events need neither memory nor time for
 * aliases and depth. */
#include "formats/front_matter.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "formats/json.h"

enum { MAX_CARD = 4 << 20, MAX_DEPTH = 16 };

/* ---- reading ---- */

/* Where the events are. Depth 1 is the mapping of the front matter, depth 2 a value that is a list. */
typedef struct Reader {
    json_t *members; /* the result */
    char *key;       /* of the value that comes next at depth 1; NULL: a key comes next */
    json_t *list;    /* the list at depth 2; NULL: there is none */
    int depth;       /* lists and mappings that are open */
} Reader;

/* A scalar as JSON: a boolean if it is true or false without quotes, otherwise a text. NULL for null, for an
 * empty scalar and for bytes that are not UTF-8. */
static json_t *scalar_value(const yaml_event_t *event) {
    const char *s = (const char *)event->data.scalar.value;
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (!strcmp(s, "true") || !strcmp(s, "false")) return json_boolean(*s == 't');
        if (!*s || !strcmp(s, "null") || !strcmp(s, "~")) return NULL;
    }
    return json_string(s);
}

/* Ends the value at depth 1; `value` may be NULL, and its reference is taken over. */
static void end_value(Reader *r, json_t *value) {
    if (r->key && value)
        json_object_set_new(r->members, r->key, value);
    else
        json_decref(value);
    free(r->key);
    r->key = NULL;
}

/* A scalar is a key or a value of the mapping, or an item of a list. */
static void take_scalar(Reader *r, const yaml_event_t *event) {
    json_t *value = NULL;
    if (r->depth == 1 && !r->key)
        r->key = xstrdup((const char *)event->data.scalar.value);
    else if (r->depth == 1)
        end_value(r, scalar_value(event));
    else if (r->depth == 2 && r->list && (value = scalar_value(event)))
        json_array_append_new(r->list, value);
}

/* A list or mapping begins. */
static void take_start(Reader *r, yaml_event_type_t type) {
    r->depth++;
    if (r->depth == 2 && type == YAML_SEQUENCE_START_EVENT && r->key) r->list = json_array();
}

/* A list or mapping ends. At depth 2 that was a value of the front matter, a list or something to leave out;
 * a key that is a list or a mapping is none that is known, and its value then counts as a key without harm.
 */
static void take_end(Reader *r) {
    if (r->depth == 2) {
        end_value(r, r->list);
        r->list = NULL;
    }
    r->depth--;
}

/* Takes one event. False at the end of the front matter. */
static bool take_event(Reader *r, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        take_scalar(r, event);
        break;
    case YAML_ALIAS_EVENT: /* stands for a value, which is left out */
        if (r->depth == 1) end_value(r, NULL);
        break;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        take_start(r, event->type);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        take_end(r);
        break;
    case YAML_DOCUMENT_END_EVENT:
    case YAML_STREAM_END_EVENT:
        return false;
    default:
        break;
    }
    return true;
}

/* Reads the YAML between the two lines. */
static json_t *read_yaml(const char *yaml, size_t size, Error *e) {
    static const char place[] = "front matter of README.md";
    yaml_parser_t parser;
    yaml_event_t event;
    Reader r = {.members = json_object()};
    bool ok = yaml_parser_initialize(&parser) || error_set(e, ERR_FAILED, "%s: no memory for YAML", place);
    if (!ok) {
        json_decref(r.members);
        return NULL;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, size);
    for (bool more = true; ok && more;) {
        if (!yaml_parser_parse(&parser, &event)) {
            ok =
                error_set(e, ERR_INPUT, "%s:%zu:%zu: not valid YAML: %s", place, parser.problem_mark.line + 1,
                          parser.problem_mark.column + 1, parser.problem ? parser.problem : "unreadable");
            break;
        }
        more = take_event(&r, &event);
        if (r.depth > MAX_DEPTH)
            ok = error_set(e, ERR_INPUT, "%s:%zu:%zu: lists and mappings lie more than %d deep", place,
                           event.start_mark.line + 1, event.start_mark.column + 1, MAX_DEPTH);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    free(r.key);
    json_decref(r.list);
    if (ok) return r.members;
    json_decref(r.members);
    return NULL;
}

/* Cards from elsewhere may begin with a byte order mark and end their lines with CR LF. */
json_t *front_matter_read(const SideFile *card, Error *e) {
    const char *text = card ? (const char *)card->bytes : NULL;
    size_t size = card ? card->size : 0, at = 0;
    if (size > MAX_CARD) size = MAX_CARD;
    /* Skip the byte order mark, then the first line "---" with its line end. */
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) at = 3;
    if (size < at + 8 || memcmp(text + at, "---", 3) != 0) return json_object();
    at += text[at + 3] == '\r' ? 4 : 3;
    if (text[at] != '\n') return json_object();
    /* The closing line begins after a newline. */
    const char *end = memmem(text + at, size - at, "\n---", 4);
    return end ? read_yaml(text + at + 1, (size_t)(end - text) - at, e) : json_object();
}

/* ---- writing ---- */

/* A text as JSON writes it is a quoted scalar of YAML as well. */
static void print_text(const json_t *text, Buffer *out) {
    json_print(text, 0, out);
    buffer_byte(out, '\n');
}

void front_matter_print(const json_t *members, Buffer *out) {
    const char *key;
    json_t *value, *item;
    size_t i;
    buffer_printf(out, "---\n");
    json_object_foreach((json_t *)members, key, value) {
        if (json_is_array(value)) {
            buffer_printf(out, "%s:\n", key);
            json_array_foreach(value, i, item) {
                buffer_printf(out, "- ");
                print_text(item, out);
            }
        } else {
            buffer_printf(out, "%s: ", key);
            print_text(value, out);
        }
    }
    buffer_printf(out, "---\n");
}
