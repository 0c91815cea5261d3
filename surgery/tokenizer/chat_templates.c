/* Reading and writing chat templates: see chat_templates.h. The keys are those of llama.cpp's converter
 * (gguf-py/gguf/gguf_writer.py, add_chat_template), the files those of transformers
 * (tokenization_utils_base.py, save_chat_templates). */
#include "surgery/tokenizer/chat_templates.h"

#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/text.h"

#define DEFAULT_KEY "tokenizer.chat_template"
#define NAMES_KEY "tokenizer.chat_templates"
#define NAMED_PREFIX "tokenizer.chat_template."
#define ENDING ".jinja"

/* ---- from a folder ---- */

/* Sets a template by its name; false with an error if the text, which comes from the file or key `where`, is
 * not UTF-8. */
static bool put(json_t *out, const Checkpoint *c, const char *where, const char *name, const void *text,
                size_t n, Error *e) {
    json_t *value = json_stringn(text, n);
    if (!value)
        return error_set(e, ERR_INPUT, "%s: %.200s: the chat template is not UTF-8",
                         c->path ? c->path : "checkpoint", where);
    json_object_set_new(out, name, value);
    return true;
}

/* Adds the templates that are files of their own. */
static bool add_files(const Checkpoint *c, json_t *out, Error *e) {
    size_t prefix = strlen(CHAT_TEMPLATES_FOLDER "/");
    for (size_t i = 0; i < c->n_files; i++) {
        const SideFile *f = &c->files[i];
        const char *name = NULL;
        char own[256];
        if (strcmp(f->name, CHAT_TEMPLATE_FILE) == 0) name = CHAT_DEFAULT;
        if (strncmp(f->name, CHAT_TEMPLATES_FOLDER "/", prefix) == 0 && text_ends_with(f->name, ENDING) &&
            strlen(f->name) - prefix < sizeof own) {
            snprintf(own, sizeof own, "%.*s", (int)(strlen(f->name) - prefix - strlen(ENDING)),
                     f->name + prefix);
            name = own;
        }
        if (name && *name && !put(out, c, f->name, name, f->bytes, f->size, e)) return false;
    }
    return true;
}

/* Adds "chat_template" of a configuration: a text, or a list of names with texts. */
static void add_value(const json_t *value, json_t *out) {
    size_t i;
    json_t *row;
    if (json_is_string(value)) json_object_set(out, CHAT_DEFAULT, (json_t *)value);
    json_array_foreach(value, i, row) {
        const char *name = json_get_string(row, "name");
        json_t *text = json_object_get(row, "template");
        if (name && *name && json_is_string(text)) json_object_set(out, name, text);
    }
}

/* Adds "chat_template" of a JSON file of the folder, which may be missing. */
static bool add_config(const Checkpoint *c, const char *file, json_t *out, Error *e) {
    Error damaged = {0};
    json_t *root = checkpoint_json(c, file, &damaged);
    add_value(json_object_get(root, "chat_template"), out);
    json_decref(root);
    return !damaged.code || error_set(e, damaged.code, "%s", damaged.message);
}

/* ---- from a GGUF ---- */

static bool add_keys(const Checkpoint *c, json_t *out, Error *e) {
    size_t prefix = strlen(NAMED_PREFIX);
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        const char *name = strcmp(m->key, DEFAULT_KEY) == 0             ? CHAT_DEFAULT
                           : strncmp(m->key, NAMED_PREFIX, prefix) == 0 ? m->key + prefix
                                                                        : "";
        if (*name && m->type == META_STRING &&
            !put(out, c, m->key, name, m->bytes + sizeof(uint64_t), m->size - sizeof(uint64_t), e))
            return false;
    }
    return true;
}

/* ---- the whole ---- */

json_t *chat_templates_read(const Checkpoint *c, Error *e) {
    json_t *out = json_object();
    bool ok;
    if (c->format == FORMAT_GGUF) {
        ok = add_keys(c, out, e);
    } else {
        ok = add_files(c, out, e);
        if (ok && !json_object_size(out)) ok = add_config(c, TOKENIZER_CONFIG_FILE, out, e);
        if (ok && !json_object_size(out)) ok = add_config(c, CHAT_TEMPLATE_JSON_FILE, out, e);
    }
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* The name as a part of a key. */
static const char *key_name(Checkpoint *out, const char *name) {
    char *copy = arena_strdup(&out->arena, name);
    for (char *s = copy; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9'))) *s = '_';
    return copy;
}

void chat_templates_to_gguf(const json_t *templates, Checkpoint *out) {
    size_t n = 0;
    const char **names = arena_alloc(&out->arena, (json_object_size(templates) + 1) * sizeof *names), *name;
    size_t *len = arena_alloc(&out->arena, (json_object_size(templates) + 1) * sizeof *len);
    json_t *text;
    json_object_foreach((json_t *)templates, name, text) {
        const char *key = DEFAULT_KEY;
        if (strcmp(name, CHAT_DEFAULT) != 0) {
            names[n] = key_name(out, name);
            len[n] = strlen(names[n]);
            key = arena_printf(&out->arena, NAMED_PREFIX "%s", names[n]);
            /* Two names that become the same key are listed once; the later text stays, as in the converter.
             */
            if (!meta_find(out, key)) n++;
        }
        meta_set_string(out, key, json_string_value(text), json_string_length(text));
    }
    if (n) meta_set_string_array(out, NAMES_KEY, names, len, n);
}

void chat_templates_to_config(const json_t *templates, json_t *tokenizer_config) {
    json_t *only = json_object_get(templates, CHAT_DEFAULT), *list = json_array(), *text;
    const char *name;
    json_object_foreach((json_t *)templates, name, text) {
        json_array_append_new(list, json_pack("{s:s, s:O}", "name", name, "template", text));
    }
    if (only && json_array_size(list) == 1)
        json_object_set(tokenizer_config, "chat_template", only);
    else if (json_array_size(list))
        json_object_set(tokenizer_config, "chat_template", list);
    json_decref(list);
}
