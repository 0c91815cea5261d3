/* Codebooks of the i-quants (quants_grids.c). */
#ifndef DEROPE_FORMATS_QUANTS_GRIDS_H
#define DEROPE_FORMATS_QUANTS_GRIDS_H

#include <stdint.h>

extern const uint16_t iq2_xxs_grid[256], iq2_xs_grid[512], iq2_s_grid[1024], iq3_xxs_grid[256],
    iq3_s_grid[512], iq1_s_grid[2048];

#endif
