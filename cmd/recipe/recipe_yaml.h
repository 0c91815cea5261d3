/* YAML as recipes use it: parsing one document with limits on its size, looking at nodes, and errors that
 * name file, line and column. recipe_read.h turns nodes into JSON. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_YAML_H
#define DEROPE_CMD_RECIPE_RECIPE_YAML_H

#include <stdbool.h>
#include <yaml.h>

#include "formats/error.h"

/* A document that is being read, and how its values are called and placed. */
typedef struct RecipeReader {
    yaml_document_t *document;
    const char *place;  /* the file's name for messages, or "--set" */
    const char *folder; /* what relative paths are relative to; "" for the current folder */
    size_t visited;     /* nodes looked at so far: aliases can make a small file very large */
} RecipeReader;

/* Parses `size` bytes as one YAML document that is not nested deeper than 16 levels. The caller deletes the
 * document if this returns true. Errors are ERR_RECIPE and begin with "place:line:column:". */
bool recipe_parse_yaml(const char *place, const char *text, size_t size, yaml_document_t *out, Error *e);
/* Sets "place:line:column: message" with ERR_RECIPE and returns false. */
bool recipe_wrong(const RecipeReader *r, const yaml_node_t *n, Error *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The node with a libyaml index; NULL with an error once more nodes were visited than any recipe needs. */
yaml_node_t *recipe_node(RecipeReader *r, int index, Error *e);
/* The text of a scalar, NULL for other nodes. */
const char *recipe_scalar(const yaml_node_t *n);

#endif
