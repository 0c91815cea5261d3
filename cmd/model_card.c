/* Writes a model card into an output folder, for `derope eval --card` and for recipes with `card: true`. The
 * text of the card is made by cmd/report/report_card.c and its pictures by report_picture.c. This file
 * decides what is taken over from the card that the source came with (its YAML front matter, as the Hugging
 * Face hub defines it), and keeps the folder's manifest true, because `derope verify` checks the card and its
 * pictures like every other file. */
#include "cmd/model_card.h"

#include <string.h>

#include "cmd/cmd.h"
#include "cmd/evaluate/eval_subject.h"
#include "cmd/recipe/recipe_read.h"
#include "cmd/report/report_card.h"
#include "cmd/report/report_files.h"
#include "cmd/report/report_picture.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file_names.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/output.h"
#include "surgery/derope_keys.h"

/* The member of the manifest that holds the hash of everything the card was written from, so that a later run
 * can tell whether the card is up to date. */
#define CARD_KEY "card_key"
enum { MAX_CARD = 4 << 20 }; /* the most bytes of an existing card that are read */

/* ---- the front matter of the existing card ---- */

/* Converts a YAML scalar to JSON: a boolean if it is true or false without quotes, otherwise a string. NULL
 * for null, for an empty scalar and for bytes that are not UTF-8. Numbers stay strings, because the hub reads
 * no number under the keys that are kept. */
static json_t *scalar(const yaml_node_t *n) {
    const char *s = (const char *)n->data.scalar.value;
    if (n->type != YAML_SCALAR_NODE) return NULL;
    if (n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (!strcmp(s, "true") || !strcmp(s, "false")) return json_boolean(*s == 't');
        if (!*s || !strcmp(s, "null") || !strcmp(s, "~")) return NULL;
    }
    return json_string(s); /* NULL where it is not UTF-8 */
}

/* Converts a value of the front matter to JSON: a scalar, or a list of scalars. Items of a list that are
 * neither text nor boolean are dropped, and nested values are not carried over. */
static json_t *value_of(yaml_document_t *d, yaml_node_t *n) {
    if (n->type != YAML_SEQUENCE_NODE) return scalar(n);
    json_t *list = json_array();
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        yaml_node_t *item = yaml_document_get_node(d, *i);
        json_t *v = item ? scalar(item) : NULL;
        if (v) json_array_append_new(list, v);
    }
    return list;
}

/* Returns the members of the front matter that still hold for the new model: its licence, language, data and
 * base model. The source's metrics, widgets and evaluation results do not hold and are dropped. Text that is
 * not YAML gives an empty object and a notice. */
static json_t *front_of(const char *yaml, size_t size) {
    static const char *const kept[] = {
        "license",  "license_name", "license_link", "language",   "library_name",
        "datasets", "tags",         "pipeline_tag", "base_model", NULL};
    json_t *front = json_object();
    Error wrong = {0};
    yaml_document_t d;
    if (!recipe_parse_yaml("front matter of README.md", yaml, size, &d, &wrong)) {
        if (strspn(yaml, " \t\r\n") < size)
            cmd_note("nothing is taken over from the existing model card: %s", wrong.message);
        return front;
    }
    /* Copy the members whose keys are in `kept`. */
    yaml_node_t *root = yaml_document_get_root_node(&d);
    yaml_node_pair_t *p = root->type == YAML_MAPPING_NODE ? root->data.mapping.pairs.start : NULL;
    for (; p && p < root->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(&d, p->key), *v = yaml_document_get_node(&d, p->value);
        for (size_t k = 0; key && v && key->type == YAML_SCALAR_NODE && kept[k]; k++)
            if (!strcmp((const char *)key->data.scalar.value, kept[k]))
                json_object_set_new(front, kept[k], value_of(&d, v));
    }
    yaml_document_delete(&d);
    return front;
}

/* Returns the front matter of a card as JSON: the text between a first line "---" and the next such line.
 * Cards from elsewhere may begin with a byte order mark and end their lines with CR LF. An empty object if
 * there is no card or no front matter. */
static json_t *front_matter(const SideFile *card) {
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
    return end ? front_of(text + at + 1, (size_t)(end - text) - at) : json_object();
}

/* Whether derope wrote this card: it gives every card the tag "derope". */
static bool is_ours(const json_t *front) {
    size_t i;
    const json_t *tag;
    json_array_foreach(json_object_get(front, "tags"), i,
                       tag) if (json_is_string(tag) && !strcmp(json_string_value(tag), "derope")) return true;
    return false;
}

/* Whether a name has the form of a repository on the hub, "organisation/name". The _name_or_path of a
 * config.json may instead be a folder on somebody's disk. */
static bool hub_name(const char *s) {
    const char *slash = s ? strchr(s, '/') : NULL;
    return slash && slash != s && slash[1] && !strchr(slash + 1, '/') && *s != '.';
}

/* Sets base_model to what this model was made from: the name given, or what config.json calls the source
 * (_name_or_path). A base_model in the source's own card names the base of the source, which is one step too
 * far, so it is dropped; in a card that derope wrote it is right and stays. */
static void set_base(json_t *front, const char *base_model, const Checkpoint *c) {
    Error ignored = {0};
    if (base_model) {
        json_object_set_new(front, "base_model", json_text(base_model));
        return;
    }
    if (is_ours(front)) return;
    json_object_del(front, "base_model");
    json_t *config = checkpoint_json(c, CONFIG_FILE, &ignored);
    const char *name = json_get_string(config, "_name_or_path");
    if (hub_name(name)) json_object_set_new(front, "base_model", json_string(name));
    json_decref(config);
}

/* ---- writing ---- */

/* Writes a file into the folder, and its size and hash into `files`, the manifest's list of files, where a
 * row of the same name is updated. */
static bool put_file(const char *folder, const char *name, const Buffer *text, json_t *files, Error *e) {
    char hash[33];
    size_t i;
    json_t *row, *found = NULL;
    Buffer path = {0};
    buffer_printf(&path, "%s/%s", folder, name);
    /* The file itself, then its row in the list. */
    bool ok = file_write(buffer_string(&path), text->data, text->size, true, e);
    buffer_free(&path);
    hash_bytes(text->data, text->size, hash);
    json_array_foreach(files, i, row) if (json_get_string(row, "file") &&
                                          !strcmp(json_get_string(row, "file"), name)) found = row;
    if (!found) json_array_append_new(files, found = json_pack("{s:s}", "file", name));
    json_object_set_new(found, "bytes", json_integer((json_int_t)text->size));
    json_object_set_new(found, "xxh3_128", json_string(hash));
    return ok;
}

/* Writes the pictures that the card refers to. A picture for which the results have no data is not
 * written. */
static bool put_pictures(const char *folder, const json_t *results, json_t *files, Error *e) {
    static const struct {
        const char *which, *name;
    } pictures[] = {{"perplexity", PICTURE_PERPLEXITY}, {"needle", PICTURE_NEEDLE}};
    bool ok = true;
    for (size_t i = 0; ok && i < 2; i++) {
        Buffer svg = {0};
        report_picture(results, pictures[i].which, &svg);
        ok = !svg.size || put_file(folder, pictures[i].name, &svg, files, e);
        buffer_free(&svg);
    }
    return ok;
}

/* Returns the manifest of an HF folder that derope wrote, new reference. NULL with ERR_INPUT for anything
 * else. */
static json_t *manifest_of(const Checkpoint *c, const char *folder, Error *e) {
    json_t *manifest = c->format == FORMAT_HF ? checkpoint_json(c, MANIFEST_FILE, e) : NULL;
    if (json_is_array(json_object_get(manifest, "files"))) return manifest;
    json_decref(manifest);
    if (e->code == ERR_NONE)
        error_set(e, ERR_INPUT,
                  "%s: a model card can only be written into an HF folder that derope wrote, and this one "
                  "has no %s",
                  folder, MANIFEST_FILE);
    return NULL;
}

/* Opening the folder finds damage, and the manifest shows that it is one of ours. */
bool model_card_check(const char *folder, Error *e) {
    Checkpoint *c = checkpoint_open(folder, e);
    json_t *manifest = c ? manifest_of(c, folder, e) : NULL;
    Buffer path = {0};
    buffer_printf(&path, "%s/README.md", folder);
    bool ok = manifest && output_may_begin(buffer_string(&path), false, true, e);
    buffer_free(&path);
    json_decref(manifest);
    checkpoint_close(c);
    return ok;
}

/* The index in "models" of the results of the last model with this path; 0 if there is none. */
static json_int_t index_of(const json_t *results, const char *path) {
    size_t i;
    const json_t *m;
    json_int_t found = 0;
    json_array_foreach(json_object_get(results, "models"), i,
                       m) if (json_get_string(m, "path") && !strcmp(json_get_string(m, "path"), path)) found =
        (json_int_t)i;
    return found;
}

/* Hashes everything that a card is written from: what the results say, the path of the model that it is
 * about, and the name of the source. */
static void card_key(const char *path, const char *base_model, const json_t *results, char out[33]) {
    char said[33];
    Buffer text = {0};
    report_key(results, said);
    buffer_printf(&text, "%s\n%s\n%s", said, path, base_model ? base_model : "");
    hash_bytes(text.data, text.size, out);
    buffer_free(&text);
}

/* Whether the manifest records the same key, and the card is still there. */
bool model_card_is_current(const char *folder, const char *path, const char *base_model,
                           const json_t *results) {
    char wanted[33];
    Error ignored = {0};
    /* A folder that cannot be opened has no current card; writing one then reports why. */
    Checkpoint *c = checkpoint_open(folder, &ignored);
    json_t *manifest = c ? manifest_of(c, folder, &ignored) : NULL;
    const char *found = json_get_string(manifest, CARD_KEY);
    card_key(path, base_model, results, wanted);
    bool holds = found && strcmp(found, wanted) == 0 && checkpoint_file(c, "README.md");
    json_decref(manifest);
    checkpoint_close(c);
    return holds;
}

/* Reads the existing card, writes the new one with its pictures, and last the manifest, which then describes
 * them. If the manifest cannot be written, `derope verify` reports the card as changed, and the card can be
 * written again. */
bool model_card_write(const char *folder, const char *path, const char *base_model, const json_t *results,
                      Error *e) {
    Checkpoint *c = checkpoint_open(folder, e);
    json_t *manifest = c ? manifest_of(c, folder, e) : NULL;
    if (!manifest) {
        checkpoint_close(c);
        return false;
    }
    /* Step 1: what the existing card says, before it is overwritten. */
    json_t *front = front_matter(checkpoint_file(c, "README.md")),
           *files = json_object_get(manifest, "files");
    Buffer card = {0}, text = {0}, place = {0};
    set_base(front, base_model, c);
    char name[256], key[33];
    eval_subject_name(folder, name);
    card_key(path, base_model, results, key);
    json_object_set_new(manifest, CARD_KEY, json_string(key));
    json_object_set_new(front, "model", json_integer(index_of(results, path)));
    json_object_set_new(front, "title", json_text(name));
    /* Step 2: the new card and its pictures. */
    report_card(results, front, &card);
    bool ok = put_file(folder, "README.md", &card, files, e) && put_pictures(folder, results, files, e);
    /* Step 3: the manifest, which now lists them with their hashes. */
    json_print(manifest, 2, &text);
    buffer_byte(&text, '\n');
    buffer_printf(&place, "%s/%s", folder, MANIFEST_FILE);
    ok = ok && file_write(buffer_string(&place), text.data, text.size, true, e);
    buffer_free(&place);
    buffer_free(&text);
    buffer_free(&card);
    json_decref(front);
    json_decref(manifest);
    checkpoint_close(c);
    return ok;
}
