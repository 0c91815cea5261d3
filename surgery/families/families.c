/* The registry of families, and how one is found by what a file says of itself. surgery/model_open.c finds
 * the family of a checkpoint here; carriers look up other classes by name. A model type of transformers
 * belongs to one family, whereas an architecture of llama.cpp may belong to several. */
#include "surgery/families/families.h"

#include <string.h>

/* One line for each `const Family family_NAME` of the files in this folder. Where several families share an
 * architecture of llama.cpp, their order decides which one a plain GGUF is read as: the first that fits
 * (family_by_gguf_arch). */
#define FAMILIES(F)                                                                                          \
    F(llama)                                                                                                 \
    F(mistral)                                                                                               \
    F(ministral)                                                                                             \
    F(qwen2)                                                                                                 \
    F(qwen3)                                                                                                 \
    F(smollm3)                                                                                               \
    F(granite)                                                                                               \
    F(granite_swa)                                                                                           \
    F(gemma)                                                                                                 \
    F(gemma2)                                                                                                \
    F(gemma3)                                                                                                \
    F(olmo2)                                                                                                 \
    F(olmo3)                                                                                                 \
    F(olmoe)                                                                                                 \
    F(cohere2)                                                                                               \
    F(exaone4)                                                                                               \
    F(phi3)                                                                                                  \
    F(stablelm)                                                                                              \
    F(gpt_neox)                                                                                              \
    F(phi)                                                                                                   \
    F(falcon)                                                                                                \
    F(llama_drope)                                                                                           \
    F(qwen2_drope)                                                                                           \
    F(mixtral)                                                                                               \
    F(qwen3_moe)                                                                                             \
    F(gpt_oss)                                                                                               \
    F(granitemoe_swa)                                                                                        \
    F(llama4)

/* The constants have no header of their own; they are declared here from the list. */
#define DECLARED(name) extern const Family family_##name;
#define LISTED(name) &family_##name,

FAMILIES(DECLARED)

const Family *const families[] = {FAMILIES(LISTED) NULL};

/* A linear search, because there are few families and each checkpoint is looked up once. */
const Family *family_by_model_type(const char *model_type) {
    for (const Family *const *f = families; *f; f++)
        if (strcmp((*f)->hf.model_type, model_type) == 0) return *f;
    return NULL;
}

/* A family with custom code has the name of the stock family that it derives from, and that name is the stock
 * family's model type. */
const Family *family_stock(const Family *f) {
    const Family *stock = f->hf.quirks & HF_CUSTOM_CODE ? family_by_model_type(f->name) : f;
    return stock ? stock : f;
}

/* Families without an architecture in llama.cpp match nothing. */
bool family_has_arch(const Family *f, const char *arch) {
    return f->gguf.arch && strcmp(f->gguf.arch, arch) == 0;
}

/* llama.cpp uses one architecture for several families (Llama, Mistral, Mixtral). Their tensors differ only
 * in whether there are experts, so `experts` decides; all other differences are in the keys. `found`
 * remembers the first family of the architecture, in case none has the right kind of MLP. */
const Family *family_by_gguf_arch(const char *arch, bool experts) {
    const Family *found = NULL;
    for (const Family *const *f = families; *f; f++) {
        if (!family_has_arch(*f, arch)) continue;
        /* The architecture agrees; does the kind of MLP? */
        if (((*f)->layer.n_experts > 0) == experts) return *f;
        if (!found) found = *f;
    }
    return found;
}
