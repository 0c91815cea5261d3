/* An option is one value that a user can set, described by one line of a table. The line has the option's
 * name, type, meaning, default, range and choices, and the offset in a C struct at which its value is stored.
 * All other code is driven by these tables: reading recipes and command lines, checking values, the help
 * text, the man page and the shell completions (all in cmd/), the arguments of passes (surgery/pass.h), and
 * the key that tells whether a training state belongs to a run (recal/state.h). The tables are in these
 * files:
 *
 *   surgery/passes/X.c       the arguments of each pass
 *   recal/train_options.c    the hyper-parameters of training
 *   cmd/training_step.c      the files with training text
 *   cmd/eval_request.c       the evaluation
 *   cmd/output_options.c     the output files
 *   cmd/verbs/X.c            the flags that only one verb has
 *
 * This header has the description of a single option and functions that turn it into text (option.c). The
 * functions that store and check the values of whole tables are in options.h. Neither depends on the code
 * that reads recipes or command lines. */
#ifndef DEROPE_SURGERY_OPTION_H
#define DEROPE_SURGERY_OPTION_H

#include "formats/buffer.h"

/* The type of an option's value. It also determines the C type of the place where the value is stored, which
 * is named first. */
typedef enum OptionType {
    OPTION_BOOL, /* bool; `true` or `false` in a recipe, a flag without a value on the command line */
    OPTION_U32,  /* uint32_t, or an int that is never negative; written 4096, 100k, 2M or 4Ki */
    OPTION_U64,  /* uint64_t or size_t; written in the same ways as an OPTION_U32 */
    OPTION_REAL, /* double; infinity and NaN are refused */
    OPTION_TEXT, /* const char *; points into the command line or into the recipe's JSON */
    OPTION_PATH, /* const char *, borrowed as OPTION_TEXT is; in a recipe relative to the recipe's folder */
    /* A set of layers in the notation of layers_parse, such as "0-5,7". Only arguments of passes have this
     * type. They stay text until the number of layers of the model is known, so no struct stores the set. */
    OPTION_LAYERS,
} OptionType;

/* Where an option can be given. */
typedef enum OptionScope {
    OPTION_EVERYWHERE,  /* as a key of a recipe and as a flag of a command line */
    OPTION_RECIPE_ONLY, /* only as a key of a recipe */
    OPTION_FLAG_ONLY,   /* only as a flag of a command line */
} OptionScope;

/* The description of an option. A field that a table leaves out is 0 or NULL, which is its most common
 * value. */
typedef struct Option {
    const char *name; /* the key in a recipe, such as "min_lr_ratio"; its flag is then --min-lr-ratio */
    OptionType type;
    const char *help;     /* the meaning as a phrase; default, range and choices are added automatically */
    const char *unit;     /* the unit of a number for the help text, such as "tokens"; NULL: none */
    const char *fallback; /* the default as a user would type it, such as "3e-4"; NULL: there is none */
    /* What happens if the option is not given and has no constant default, as a phrase for the help text: "as
     * in the source". */
    const char *otherwise;
    bool required; /* a section of a recipe that lacks the key is refused */
    /* The smallest and the largest number allowed. If `most` is 0, there is no upper limit. */
    double least, most;

    /* Stores up to `max` allowed values in `names` and returns how many there are. A value may be given in
     * any letter case, and is then stored in the spelling of `names`. NULL: every text is allowed. */
    size_t (*choices)(const char **names, size_t max);
    /* Prints the choices for the help text. NULL: option_choices prints them. */
    void (*list_choices)(Buffer *out);
    /* Values that are not among `choices` are accepted at first. The code that uses the value refuses them,
     * as it knows the model and can name the reason. */
    bool choices_checked_later;

    size_t offset;   /* offset of the value in the struct, in bytes; of the first element if it is an array */
    size_t capacity; /* number of elements of the array (U64, TEXT or PATH) at `offset`; 0: a single value */
    size_t count_offset; /* with `capacity`: offset in bytes of the size_t that holds the number of values */
    bool is_list;        /* the option takes a list without an array; `set` is called for each of its items */

    /* Stores a value that cannot be stored by type and offset alone. `options` is the struct, `text` the
     * value as given. NULL: the value is converted by its type and stored at `offset`. */
    bool (*set)(void *options, const char *text, Error *e);
    /* Prints the value that `set` stored. options_print, which makes the key of a training state, requires it
     * for options with a function `set`. */
    void (*print)(const void *options, Buffer *out);

    OptionScope scope;
    const char *flag; /* name of the flag without dashes; NULL: `name` with dashes instead of underscores */
    /* The word for the value in help texts, such as "FILE". NULL: a word that depends on the type (N, X,
     * TEXT, PATH or LAYERS), or NAME for an option with choices. */
    const char *value_name;
    /* For lists on the command line. true: each flag adds one value, which may contain commas. false: the
     * value of a flag is split at its commas. */
    bool keeps_commas;
    bool takes_rest; /* for lists of paths: the flag also takes the words after its value: --data a b c */
    /* The flag may be given without a value: --drop-rope. A value has to be joined to it by an equals sign:
     * --drop-rope=LAYERS. */
    bool optional_value;
} Option;

/* Returns true if the option takes a list of values. */
bool option_is_list(const Option *o);
/* Writes the name of the option's flag without the leading dashes, such as "min-lr-ratio". The text is empty
 * if the option has no flag. */
void option_flag_name(const Option *o, char out[64]);
/* Returns the word that stands for the value in help texts, such as "N", or NULL for an OPTION_BOOL, whose
 * flag takes no value. */
const char *option_value_name(const Option *o);

/* Returns true if `value` is at least `least` and at most `most`, and fits in the option's C type. */
bool option_in_range(const Option *o, double value);
/* Writes the allowed range as "0 to 1" or "1 or more". The text is empty if every number is allowed. */
void option_range(const Option *o, char out[80]);
/* Returns the choice that is equal to `text` except for letter case, or NULL. Requires o->choices. */
const char *option_choice(const Option *o, const char *text);
/* Appends the choices as "next-token or distill". */
void option_choices(const Option *o, Buffer *out);
/* Appends the help sentence of an option, followed by the choices, unit, range and default from its table:
 * "peak learning rate (default 3e-4)". If `as_key` is true, the sentence describes a key of a recipe, and
 * also says whether the key is required and whether it may be a list. Otherwise it describes a flag. */
void option_describe(const Option *o, bool as_key, Buffer *out);
/* Writes a number with as few digits as are needed to read the same double back: 0.1, 3e-4, 1e30. */
void option_number(double value, char out[32]);

#endif
