/* Drawing the strip of layers (layer_strip.h). */
#include "cmd/report/layer_strip.h"

#include <math.h>
#include <string.h>

#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"
#include "cmd/report/svg.h"

void layer_strip_draw(ReportData *d, const ReportModel *m, int width, const char *id, Buffer *out) {
    LayerRun *runs;
    size_t n_runs = lookup_layer_runs(d, m, &runs), n = n_runs ? runs[n_runs - 1].last + 1 : 0;
    if (!n || n > 160) return;
    double w = fmin(20, (width - 2) / (double)n);
    svg_open(out, width, 22, id, arena_printf(&d->arena, "Layers of %s", text_clip(&d->arena, m->name, 80)),
             "A square per layer from the first to the last: filled where position enters by rotation, half "
             "filled where it does in part of each head, empty where it does not. The table says the same.",
             false);
    for (size_t i = 0; i < n_runs; i++)
        for (size_t k = runs[i].first; k <= runs[i].last; k++) {
            bool rope = !strcmp(runs[i].position, "rope"), part = !strcmp(runs[i].position, "partial");
            double x = 1 + w * (double)k, side = fmax(1, w - 3);
            buffer_printf(out, "<rect x=\"%.4g\" y=\"2\" width=\"%.4g\" height=\"17\" class=\"%s\"/>", x,
                          side, rope ? "full" : "bare");
            if (part)
                buffer_printf(out, "<rect x=\"%.4g\" y=\"11\" width=\"%.4g\" height=\"8\" class=\"full\"/>",
                              x, side);
        }
    text_put(out, "\n");
    svg_close(out);
}
