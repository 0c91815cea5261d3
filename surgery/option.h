/* Options: everything that a person can set, described once.
 *
 * An option is one line of a table: its name, its type, what it means, its default, its range, its choices
 * and the place in a C struct where its value is stored. Everything else is derived from that line: the key
 * of a recipe and the flag of a command line, the parsing and checking of values, the help text, the man page
 * and the shell completions (cmd/), the arguments of a pass (surgery/pass.h), and the key by which a training
 * state recognises the run that it belongs to (recal/state.h). The tables are
 *
 *   surgery/passes/X.c       the arguments of each pass
 *   recal/train_options.c    the hyper-parameters of training
 *   cmd/training_step.c      where training text comes from
 *   cmd/eval_request.c       evaluation
 *   cmd/output_options.c     what is written
 *   cmd/verbs/X.c            the flags that only one verb has
 *
 * This module knows nothing of recipes and command lines beyond how an option is spelled there.
 *
 * Here is what one option says about itself; options.h stores and checks the values of whole tables. */
#ifndef DEROPE_SURGERY_OPTION_H
#define DEROPE_SURGERY_OPTION_H

#include "formats/buffer.h"

/* The type of a value, which is also the C type of the place where it is stored. */
typedef enum OptionType {
    OPTION_BOOL,   /* bool; `true` or `false` in a recipe, a flag without a value on the command line */
    OPTION_U32,    /* uint32_t (or an int that is never negative); 4096, 100k, 2M, 4Ki */
    OPTION_U64,    /* uint64_t or size_t; written as an OPTION_U32 is */
    OPTION_REAL,   /* double; never infinite or NaN */
    OPTION_TEXT,   /* const char *, borrowed from the command line or from the recipe's JSON */
    OPTION_PATH,   /* const char *, borrowed; in a recipe relative to the recipe's folder */
    OPTION_LAYERS, /* a set of layers, as layers_parse reads it; an argument of a pass, never stored */
} OptionType;

/* Where an option can be given. */
typedef enum OptionScope {
    OPTION_EVERYWHERE,
    OPTION_RECIPE_ONLY,
    OPTION_FLAG_ONLY,
} OptionScope;

/* A struct of defaults: leave a field out where it does not apply. */
typedef struct Option {
    const char *name; /* as a recipe spells it: "min_lr_ratio"; the flag is then --min-lr-ratio */
    OptionType type;
    const char *help;      /* what it means, without the default, the range and the choices */
    const char *unit;      /* "tokens", "steps" */
    const char *fallback;  /* the default, written as a person would: "3e-4"; NULL: there is none */
    const char *otherwise; /* what happens without a value where that is no constant: "as in the source" */
    bool required;         /* a recipe's section without it is an error */
    double least, most;    /* the range of a number, both ends included; `most` 0: without an upper end */

    /* Fills `names` with at most `max` allowed values and returns how many there are. Letter case does not
     * matter when a value is given; the name in the list is what is stored. NULL: any value. */
    size_t (*choices)(const char **names, size_t max);
    void (*list_choices)(Buffer *out); /* how help lists them; NULL: with commas between */
    bool
        choices_checked_later; /* a flag or argument may name others: who uses it refuses them, knowing why */

    size_t offset;       /* of the place in the struct; the first element's if it is a list */
    size_t capacity;     /* a list of at most so many values (U64, TEXT or PATH); 0: a single value */
    size_t count_offset; /* of the size_t that counts the list's values */
    bool is_list;        /* a list whose items go to `set` one by one, where there is no `capacity` */

    /* Stores a value that is not simply a number or text: `options` is the struct. NULL: by type and offset.
     */
    bool (*set)(void *options, const char *text, Error *e);
    /* Writes the value that `set` stored, for the key of a training state. Needed where a table that
     * options_print walks has a `set`. */
    void (*print)(const void *options, Buffer *out);

    OptionScope scope;
    const char *flag; /* the flag's name without dashes, where it is not the option's own */
    const char
        *value_name;   /* what help calls the value: "FILE"; NULL: N, X, NAME, TEXT, PATH or LAYERS by type */
    bool keeps_commas; /* a list on the command line grows by one value for each flag; others are cut at
                          commas */
    bool takes_rest;   /* a list of paths whose flag also takes the words that follow: --data a b c */
    bool optional_value; /* --drop-rope and --drop-rope=LAYERS: a value has to be joined on */
} Option;

/* Whether a recipe's key holds one value or a list of them. */
bool option_is_list(const Option *o);
/* The flag's name without dashes, "min-lr-ratio"; "" if it has none. */
void option_flag_name(const Option *o, char out[64]);
/* What help calls its value, "N"; NULL for an OPTION_BOOL, which takes none. */
const char *option_value_name(const Option *o);

/* Whether a number lies in the option's range. */
bool option_in_range(const Option *o, double value);
/* "0 to 1", "1 or more"; "" if every number will do. */
void option_range(const Option *o, char out[80]);
/* The choice that `text` names, letter case aside, or NULL. Only for options that have choices. */
const char *option_choice(const Option *o, const char *text);
/* "next-token or distill" */
void option_choices(const Option *o, Buffer *out);
/* The help sentence with all that follows from the table: "peak learning rate (default 3e-4)". With `as_key`
 * it describes a recipe's key instead of a flag, and says whether it is required and whether it may be a
 * list. */
void option_describe(const Option *o, bool as_key, Buffer *out);
/* A number in few characters that read back the same: 0.1, 3e-4, 1e30. */
void option_number(double value, char out[32]);

#endif
