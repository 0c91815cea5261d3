/* What an evaluation looks like to a person: a page, a table, a model card, pictures.
 *
 * `results` is the JSON that `derope eval` writes (cmd/evaluate/eval_results.h). Any part of it may be
 * absent, empty or of the wrong type: what cannot be read is left out, and a section without data does not
 * appear. Every string in it is taken as hostile and escaped for where it goes. All functions append to
 * `out`. */
#ifndef DEROPE_CMD_REPORT_REPORT_H
#define DEROPE_CMD_REPORT_REPORT_H

#include <jansson.h>

#include "formats/buffer.h"
#include "formats/error.h"

/* One self-contained HTML page that is also well-formed XML: inline SVG, no script, nothing fetched (its own
 * content security policy forbids both), light and dark, printable. */
void report_html(const json_t *results, Buffer *out);

/* Every number of the page and those it has no room for, one per line, in columns
 *   table,model,method,softmax_scale,task,length,times_context,depth,position,metric,value,low,high,n
 * where table is perplexity, position, task or recalibration, and n counts tokens or trials. Fields are
 * quoted as RFC 4180 says, lines end in LF; text that a spreadsheet would run as a formula gets a ' first. */
void report_csv(const json_t *results, Buffer *out);

/* A model card: YAML front matter, then Markdown. `front` (or NULL) maps keys of the front matter
 * (base_model, license, language, tags, ...) to strings, numbers, booleans or arrays of them. Added to them:
 * the tag derope, `metrics`, and a `model-index` of the model that the card is about: that named (or
 * numbered) by front's key "model"; else the first with passes; else the first. "model" and "title", the
 * card's heading (the model's name), are not themselves written.
 * The text shows PICTURE_PERPLEXITY and PICTURE_NEEDLE where report_picture has something for them. */
void report_card(const json_t *results, const json_t *front, Buffer *out);

#define PICTURE_PERPLEXITY "perplexity.svg"
#define PICTURE_NEEDLE "needle.svg"

/* A picture as an SVG file of its own: `which` is "perplexity" (by length, with intervals) or "needle"
 * (length by depth, one map per series). Appends nothing if there is no data for it, or no such picture. */
void report_picture(const json_t *results, const char *which, Buffer *out);

/* ---- files: OUT.html, and OUT.json and OUT.csv beside it ---- */

/* "out/report.html", ".json" -> "out/report.json"; the caller frees it. */
char *report_beside(const char *page, const char *ending);
enum { REPORT_FILES = 3 };
/* Where the `i`th of them goes; the caller frees it. */
char *report_file(const char *page, size_t i);
/* Whether all of them could be written, asked before the work. */
bool report_may_begin(const char *page, bool force, Error *e);
/* Whether what stands there is a report of ours. */
bool report_is_ours(const char *page);
/* Hash of what `results` say, not of when, where, by which command and in what time. */
void report_key(const json_t *results, char out[33]);
/* Writes all of them, and says so. */
bool report_write(const char *page, const json_t *results, bool force, Error *e);
/* The same, replacing what is there; nothing if all of them stand there and say the same as `results`,
 * whenever and however that was measured, unless `anew`. */
bool report_renew(const char *page, const json_t *results, bool anew, Error *e);

#endif
