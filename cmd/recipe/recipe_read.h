/* YAML nodes as JSON, held against the tables of keys: what recipe.c reads a document with. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_READ_H
#define DEROPE_CMD_RECIPE_RECIPE_READ_H

#include <yaml.h>

#include "cmd/recipe/recipe.h"

/* Where a value stands: for messages, and for what a relative path is relative to. */
typedef struct RecipeReader {
    yaml_document_t *document;
    const char *place;  /* file name, or "--set" */
    const char *folder; /* "" for the current one */
    size_t visited;     /* aliases can make a small file very large */
} RecipeReader;

/* Parses one YAML document of no great depth; the caller deletes it if this returns true. */
bool recipe_parse_yaml(const char *place, const char *text, size_t size, yaml_document_t *out, Error *e);
/* "place:line:column: message" with ERR_RECIPE; false. */
bool recipe_wrong(const RecipeReader *r, const yaml_node_t *n, Error *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The text of a scalar, NULL of other nodes. */
const char *recipe_scalar(const yaml_node_t *n);
const Key *recipe_find_key(const Key *keys, const char *name);
/* The value of `key`, called `what` in messages: "recalibrate.lr", "" for the whole recipe. New reference. */
json_t *recipe_read(RecipeReader *r, const yaml_node_t *n, const Key *key, const char *what, Error *e);

#endif
