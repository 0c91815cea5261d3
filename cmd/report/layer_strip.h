/* A strip that shows how position enters a model, with a square for each layer. */
#ifndef DEROPE_CMD_REPORT_LAYER_STRIP_H
#define DEROPE_CMD_REPORT_LAYER_STRIP_H

#include "cmd/report/result_rows.h"

/* Draws the strip as an <svg> of `width` pixels: a square is filled where a layer rotates queries and keys
 * (RoPE), half filled where it rotates part of each head, empty where it does not. Nothing if the layers are
 * unknown or more than 160. `id` must be unique on the page. */
void layer_strip_draw(ReportData *d, const ReportModel *m, int width, const char *id, Buffer *out);

#endif
