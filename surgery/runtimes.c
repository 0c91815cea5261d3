/* Which releases of transformers and llama.cpp run a checkpoint. The table lists the releases that the tests
 * compare with; runtime_runs says of one of them whether it runs a checkpoint, and if not, why. Carriers and
 * families know the first release that has their architecture (`since`). New releases are added to the table
 * here and to the installation in tests/peers/. */
#include "surgery/runtimes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/runtime_checks.h"

/* The releases that `make peers` installs (tests/peers/requirements*.txt), and the llama.cpp inside the
 * package xllamacpp. test_runtime_claims.py checks that they are the installed ones. */
const Runtime runtimes[] = {
    {.name = "transformers 4.56", .format = FORMAT_HF, .version = "4.56", .legacy_rope_only = true},
    {.name = "transformers 5.23", .format = FORMAT_HF, .version = "5.23"},
    {.name = "llama.cpp of October 2026", .format = FORMAT_GGUF, .version = "2026-10"},
    {.name = NULL},
};

/* Whether `version` is `since` or later. Versions are two numbers with a dot or a hyphen between them: 4.56,
 * 2026-10. They are compared as numbers, because 4.9 comes before 4.56. */
static bool is_at_least(const char *version, const char *since) {
    char *v, *s;
    long major = strtol(version, &v, 10), since_major = strtol(since, &s, 10);
    if (major != since_major) return major > since_major;
    return strtol(*v ? v + 1 : v, NULL, 10) >= strtol(*s ? s + 1 : s, NULL, 10);
}

/* "transformers from 4.53", "llama.cpp from May 2025". llama.cpp numbers every commit, so a month says more
 * than its version. */
void runtime_since_text(Format format, const char *since, char *out, size_t size) {
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    if (!since) {
        snprintf(out, size, "no stock runtime");
    } else if (format != FORMAT_GGUF) {
        snprintf(out, size, "transformers from %s", since);
    } else {
        char *end;
        long year = strtol(since, &end, 10), month = strtol(end + 1, NULL, 10);
        snprintf(out, size, "llama.cpp from %s %ld", months[(month + 11) % 12], year);
    }
}

/* Writes the reason into `why` and returns false. */
static bool refuse(char *why, size_t size, const char *reason) {
    snprintf(why, size, "%s", reason);
    return false;
}

/* Whether a release that reads only the legacy keys rope_theta and rope_scaling rotates as one that reads
 * rope_parameters. transformers 4 ignores rope_parameters, so a file that has nothing else would silently
 * rotate by default values. */
static bool legacy_rope_agrees(const json_t *config) {
    const json_t *now = json_object_get(config, "rope_parameters");
    const char *type = json_get_string(now, "rope_type");
    double then_base, now_base;
    if (!json_is_object(now)) return true;
    if (!json_get_f64(config, "rope_theta", &then_base)) return false;
    /* transformers 5 takes rope_scaling where it is there, so both read the same */
    if (json_object_size(json_object_get(config, "rope_scaling"))) return true;
    if (type && strcmp(type, "default") != 0) return false;
    return !json_get_f64(now, "rope_theta", &now_base) || now_base == then_base;
}

/* Whether a release of transformers runs a folder. The order of the questions is from general to particular:
 * a folder that is no model, a class that the release does not have, keys that it does not read, and what it
 * does with this configuration and these tensors. */
static bool transformers_runs(const Runtime *r, const Checkpoint *c, const char *since, char *why,
                              size_t size) {
    json_t *config = checkpoint_json(c, CONFIG_FILE, NULL);
    const char *type = json_get_string(config, "model_type");
    bool ok = true;
    if (!type) {
        ok = refuse(why, size, "config.json has no model_type");
    } else if (!since) {
        snprintf(why, size, "has no model_type %.40s: it is custom code", type);
        ok = false;
    } else if (!is_at_least(r->version, since)) {
        snprintf(why, size, "is too old: model_type %.40s runs as intended from transformers %s on", type,
                 since);
        ok = false;
    } else if (r->legacy_rope_only && !legacy_rope_agrees(config)) {
        ok = refuse(why, size,
                    "reads rope_theta and rope_scaling, which do not say what rope_parameters does");
    } else {
        ok = runtime_check_transformers(c, config, r->legacy_rope_only, why, size);
    }
    json_decref(config);
    return ok;
}

/* Whether a release of llama.cpp runs a GGUF. It loads a model without a tokenizer, but then takes nothing
 * but token ids, which is not what people mean by running it. */
static bool llama_cpp_runs(const Runtime *r, const Checkpoint *c, const char *since, char *why, size_t size) {
    const char *tokenizer = meta_string(c, "tokenizer.ggml.model", NULL);
    if (!since || !is_at_least(r->version, since))
        return refuse(why, size, "does not have this architecture");
    if (!tokenizer) return refuse(why, size, "needs the keys tokenizer.ggml.*, which are missing");
    if (strcmp(tokenizer, "none") == 0 || strcmp(tokenizer, "no_vocab") == 0)
        return refuse(why, size, "would take token ids only: there is no tokenizer");
    return runtime_check_llama_cpp(c, why, size);
}

/* Asks the runtime that reads the checkpoint's format. transformers can load some GGUFs by converting them;
 * the results were not compared, so no claim is made. */
bool runtime_runs(const Runtime *r, const Checkpoint *c, const char *since, char *why, size_t why_size) {
    bool gguf = c->format == FORMAT_GGUF;
    if (why_size) *why = 0;
    if (r->format != FORMAT_GGUF)
        return gguf ? refuse(why, why_size, "reads GGUF by its own conversion, not checked")
                    : transformers_runs(r, c, since, why, why_size);
    return gguf ? llama_cpp_runs(r, c, since, why, why_size)
                : refuse(why, why_size, "reads GGUF only (derope convert OUT OUT.gguf)");
}

/* One element for each release of the table, for `inspect` and `verify`. */
json_t *runtimes_of(const Checkpoint *c, const char *since) {
    json_t *list = json_array();
    for (const Runtime *r = runtimes; r->name; r++) {
        char why[400];
        bool runs = runtime_runs(r, c, since, why, sizeof why);
        json_array_append_new(list,
                              json_pack("{s:s, s:b, s:s}", "runtime", r->name, "runs", runs, "why", why));
    }
    return list;
}
