/* The haystack: ordinary sentences in which needle-in-a-haystack tasks hide their facts. */
#ifndef DEROPE_RECAL_EVALUATE_HAYSTACK_H
#define DEROPE_RECAL_EVALUATE_HAYSTACK_H

#include "formats/buffer.h"
#include "recal/evaluate/text_list.h"
#include "surgery/tokenizer/tokenizer.h"

typedef struct Haystack {
    Arena arena;        /* owns the sentences */
    TextList sentences; /* in the order of the text */
    uint32_t *tokens;   /* (sentences.n): tokens that each sentence takes by itself */
} Haystack;

/* Cuts texts into sentences. `paths` are files and folders as recal/text_data.h reads them (`field`: the
 * field of JSONL objects), of which at most `max_bytes` are used. Without paths (n 0) 4000 sentences are
 * generated from a fixed seed. False with an error if a text cannot be read or tokenised, or holds nothing
 * but white space. */
bool haystack_open(const char *const *paths, size_t n, const char *field, uint64_t max_bytes,
                   const Tokenizer *t, Haystack *out, Error *e);
void haystack_close(Haystack *h);

/* Appends consecutive sentences from a random place, as many as fit into `tokens`. A sentence that is too
 * long for the rest of the room is skipped in the hope of shorter ones behind it, up to 64 times. */
void haystack_fill(const Haystack *h, Random *r, size_t tokens, TextList *out);

#endif
