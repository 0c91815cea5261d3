/* Drawing the strip of layers (layer_strip.h). */
#include "cmd/report/layer_strip.h"

#include <math.h>
#include <string.h>

#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"
#include "cmd/report/svg.h"

/* The squares are at most 20 pixels wide, and narrower where a model has many layers. Layers that rotate only
 * part of each head have their lower half filled. */
void layer_strip_draw(ReportData *d, const ReportModel *m, int width, const char *id, Buffer *out) {
    LayerRun *runs;
    size_t n_runs = lookup_layer_runs(d, m, &runs), n = n_runs ? runs[n_runs - 1].last + 1 : 0;
    /* Of more than 160 layers the squares would be too narrow to tell apart; the table still lists them. */
    if (!n || n > 160) return;
    double w = fmin(20, (width - 2) / (double)n);
    svg_open(out, width, 22, id, arena_printf(&d->arena, "Layers of %s", text_clip(&d->arena, m->name, 80)),
             "A square for each layer from the first to the last: filled if it rotates queries and keys by "
             "position, "
             "half filled if it rotates part of each head, empty if it does not. The table says the same.",
             false);
    /* Squares are drawn layer by layer: filled for RoPE, outlined otherwise, and half filled on top of the
     * outline for partial RoPE. */
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
