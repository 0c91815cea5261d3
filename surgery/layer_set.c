/* Sets of layers as people write them: "all", "3", "0,3,7", "10-29", "every:4", or a JSON list of such values
 * in a recipe. The passes that act on some layers (drop_rope, sliding_window) parse their arguments by
 * layers_parse. */
#include "surgery/layer_set.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Sets picked[from] to picked[to], both included. An error if the range is empty or goes beyond the last of
 * the n layers. */
static bool pick(unsigned long from, unsigned long to, uint32_t n, bool *picked, Error *e) {
    if (from > to) return error_set(e, ERR_USAGE, "layers: %lu-%lu runs backwards", from, to);
    if (to >= n) return error_set(e, ERR_USAGE, "layers: there is no layer %lu, the last is %u", to, n - 1);
    for (unsigned long i = from; i <= to; i++)
        picked[i] = true;
    return true;
}

/* Parses "all", "every:4", or a list of layers and ranges with commas between, and sets the picked layers. */
static bool parse_text(const char *text, uint32_t n, bool *picked, Error *e) {
    if (strcmp(text, "all") == 0) return pick(0, n - 1, n, picked, e);
    char *end;
    /* every:4 picks layers 3, 7, 11, ...: with a pattern of four layers, the last of each. */
    if (strncmp(text, "every:", 6) == 0) {
        unsigned long step = strtoul(text + 6, &end, 10);
        if (!isdigit((unsigned char)text[6]) || *end || step == 0 || step > n)
            return error_set(e, ERR_USAGE, "layers: '%.60s': every:N wants a number from 1 to %u", text, n);
        for (unsigned long i = step - 1; i < n; i += step)
            picked[i] = true;
        return true;
    }
    /* A list: each part is a number, or two with a dash between, and ends at a comma or at the end of the
     * text. */
    const char *p = text;
    for (;;) {
        if (!isdigit((unsigned char)*p)) break;
        unsigned long from = strtoul(p, &end, 10), to = from;
        if (*end == '-' && isdigit((unsigned char)end[1])) to = strtoul(end + 1, &end, 10);
        if (*end && *end != ',') break;
        if (!pick(from, to, n, picked, e)) return false;
        if (!*end) return true;
        p = end + 1;
    }
    return error_set(e, ERR_USAGE, "layers: '%.60s' is not all, 3, 0,3,7, 10-29 or every:4", text);
}

/* Only sets elements to true, so that the parts of a list add up. */
bool layers_parse(const json_t *value, uint32_t n, bool *picked, Error *e) {
    if (json_is_string(value)) return parse_text(json_string_value(value), n, picked, e);
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        return pick((unsigned long)json_integer_value(value), (unsigned long)json_integer_value(value), n,
                    picked, e);
    /* A list may contain anything that is a set of layers by itself. */
    if (!json_is_array(value)) return error_set(e, ERR_USAGE, "layers: neither text nor a number nor a list");
    if (json_array_size(value) == 0) return error_set(e, ERR_USAGE, "layers: the list is empty");
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!layers_parse(json_array_get(value, i), n, picked, e)) return false;
    return true;
}
