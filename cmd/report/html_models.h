/* The section of the page on the models and what was done to them. */
#ifndef DEROPE_CMD_REPORT_HTML_MODELS_H
#define DEROPE_CMD_REPORT_HTML_MODELS_H

#include "cmd/report/html.h"

/* Every model with its family, size, passes and layers. */
void html_models(Page *p);

#endif
