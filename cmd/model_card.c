/* Writes a model card into an output folder, for `derope eval --card` and for recipes with `card: true`. The
 * text of the card is made by cmd/report/report_card.c and its pictures by report_picture.c. This file
 * decides what is taken over from the card that the source came with (its YAML front matter, as the Hugging
 * Face hub defines it), and keeps the folder's manifest true, because `derope verify` checks the card and its
 * pictures like every other file. */
#include "cmd/model_card.h"

#include <string.h>

#include "cmd/cmd.h"
#include "cmd/evaluate/eval_subject.h"
#include "cmd/report/report_card.h"
#include "cmd/report/report_files.h"
#include "cmd/report/report_picture.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file_names.h"
#include "formats/front_matter.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/output.h"
#include "surgery/derope_keys.h"

/* The member of the manifest that holds the hash of everything the card was written from, so that a later run
 * can tell whether the card is up to date. */
#define CARD_KEY "card_key"

/* ---- the front matter of the existing card ---- */

/* Returns the members of the front matter that still hold for the new model: its licence, language, data and
 * base model. The source's metrics, widgets and evaluation results do not hold and are dropped. Text that is
 * not YAML gives an empty object and a notice. */
static json_t *front_matter(const SideFile *card) {
    static const char *const kept[] = {
        "license",  "license_name", "license_link", "language",   "library_name",
        "datasets", "tags",         "pipeline_tag", "base_model", NULL};
    Error wrong = {0};
    json_t *all = front_matter_read(card, &wrong), *front = json_object();
    if (!all) cmd_note("nothing is taken over from the existing model card: %s", wrong.message);
    for (size_t k = 0; kept[k]; k++) {
        json_t *value = json_object_get(all, kept[k]);
        if (value) json_object_set(front, kept[k], value);
    }
    json_decref(all);
    return front;
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
