/* Keys of a GGUF that no file of a folder has a place for, such as its licence and languages (gguf_keys.h).
 * When a GGUF becomes a folder, gguf_keys_keep writes them to a side file; when the folder becomes a GGUF
 * again, gguf_keys_return puts them back. export_hf.c and export_gguf.c are the callers. */
#include "surgery/gguf_keys.h"

#include <string.h>

#include "formats/file_names.h"
#include "formats/gguf.h"
#include "formats/gguf_write.h"
#include "formats/meta.h"
#include "surgery/derope_keys.h"

/* Whether `s` begins with `start`. */
static bool begins(const char *s, const char *start) {
    return strncmp(s, start, strlen(start)) == 0;
}

/* Whether a NULL-terminated list has the name. */
static bool contains(const char *const *names, const char *name) {
    for (; *names; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

/* True for keys that are made anew when the folder becomes a GGUF again and need no keeping: those of the
 * architecture come from config.json, those about types from the tensors, derope's own are written by the
 * export, and those of the tokenizer come from its files if the folder has them. `arch` is
 * general.architecture, `tokenizer` says whether the folder has a tokenizer.json. */
static bool has_a_place(const char *key, const char *arch, bool tokenizer) {
    static const char *const described[] = {"general.architecture", "general.file_type",
                                            "general.quantization_version", NULL};
    static const char *const of_tokenizer[] = {"tokenizer.ggml.model",
                                               "tokenizer.ggml.pre",
                                               "tokenizer.ggml.tokens",
                                               "tokenizer.ggml.scores",
                                               "tokenizer.ggml.token_type",
                                               "tokenizer.ggml.merges",
                                               "tokenizer.ggml.bos_token_id",
                                               "tokenizer.ggml.eos_token_id",
                                               "tokenizer.ggml.unknown_token_id",
                                               "tokenizer.ggml.padding_token_id",
                                               "tokenizer.ggml.add_bos_token",
                                               "tokenizer.ggml.add_eos_token",
                                               "tokenizer.chat_template",
                                               "tokenizer.chat_templates",
                                               NULL};
    size_t n = strlen(arch);
    return (strncmp(key, arch, n) == 0 && key[n] == '.') || begins(key, "derope.") ||
           contains(described, key) ||
           (tokenizer && (contains(of_tokenizer, key) || begins(key, "tokenizer.chat_template.")));
}

/* The side file is a GGUF without tensors, which keeps the types of all values; no file is written if there
 * is nothing to keep. */
void gguf_keys_keep(const Checkpoint *gguf, Checkpoint *folder) {
    const char *arch = meta_string(gguf, "general.architecture", NULL);
    bool tokenizer = checkpoint_file(folder, TOKENIZER_FILE) != NULL;
    Checkpoint *keys = checkpoint_new(FORMAT_GGUF);
    for (size_t i = 0; i < gguf->n_meta; i++)
        if (!has_a_place(gguf->meta[i].key, arch, tokenizer)) meta_append(keys, &gguf->meta[i]);
    /* The header of a GGUF, without tensors. */
    Buffer bytes = {0};
    gguf_print_keys(keys, &bytes);
    if (keys->n_meta) checkpoint_set_file(folder, GGUF_KEYS_FILE, bytes.data, bytes.size);
    buffer_free(&bytes);
    checkpoint_close(keys);
}

/* The side file may have been edited or may come from another model, so keys that have a place are skipped
 * here as well. */
bool gguf_keys_return(const Checkpoint *folder, const char *arch, Checkpoint *gguf, Error *e) {
    const SideFile *f = checkpoint_file(folder, GGUF_KEYS_FILE);
    if (!f) return true;
    bool tokenizer = checkpoint_file(folder, TOKENIZER_FILE) != NULL;
    ByteSource file = {.path = f->name, .map = f->bytes, .size = f->size};
    Checkpoint *keys = checkpoint_new(FORMAT_GGUF);
    bool ok = gguf_parse(keys, &file, e) || error_place(e, "%s", folder->path);
    for (size_t i = 0; ok && i < keys->n_meta; i++) {
        MetaEntry m = keys->meta[i];
        if (has_a_place(m.key, arch, tokenizer)) continue;
        m.key = arena_strdup(&gguf->arena, m.key); /* the value lies in the folder's file */
        meta_append(gguf, &m);
    }
    checkpoint_close(keys);
    return ok;
}
