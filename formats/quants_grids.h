/* The codebooks of ggml's IQ1, IQ2 and IQ3 types (quants_grids.c; ggml-common.h has them as iq2xxs_grid and
 * so on).
 *
 * An entry is a row of 8 levels (IQ1, IQ2: 2 bits each) or of 4 levels (IQ3: 3 bits each), packed into 16
 * bits from the lowest bits up. What the levels stand for is in quants_i.c. */
#ifndef DEROPE_FORMATS_QUANTS_GRIDS_H
#define DEROPE_FORMATS_QUANTS_GRIDS_H

#include <stdint.h>

extern const uint16_t iq2_xxs_grid[256], iq2_xs_grid[512], iq2_s_grid[1024], iq3_xxs_grid[256],
    iq3_s_grid[512], iq1_s_grid[2048];

#endif
