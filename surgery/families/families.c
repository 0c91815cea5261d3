#include <string.h>

#include "surgery/family.h"

extern const Family family_llama, family_mistral, family_qwen2, family_qwen3, family_smollm3, family_granite,
    family_granite_swa, family_mixtral, family_qwen3_moe, family_gpt_oss, family_llama4, family_gemma,
    family_gemma2, family_gemma3, family_olmo2, family_olmoe, family_cohere2, family_exaone4, family_phi3,
    family_stablelm, family_gpt_neox, family_phi, family_falcon, family_llama_drope, family_qwen2_drope;

const Family *const families[] = {
    &family_llama,       &family_mistral,
    &family_qwen2,       &family_qwen3,
    &family_smollm3,     &family_granite,
    &family_granite_swa, &family_gemma,
    &family_gemma2,      &family_gemma3,
    &family_olmo2,       &family_olmoe,
    &family_cohere2,     &family_exaone4,
    &family_phi3,        &family_stablelm,
    &family_gpt_neox,    &family_phi,
    &family_falcon,      &family_llama_drope,
    &family_qwen2_drope, &family_mixtral,
    &family_qwen3_moe,   &family_gpt_oss,
    &family_llama4,      NULL,
};

static bool contains(const char *const *names, const char *name) {
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

const Family *family_by_model_type(const char *model_type) {
    for (const Family *const *f = families; *f; f++)
        if (contains((*f)->model_types, model_type)) return *f;
    return NULL;
}

const Family *family_by_gguf_arch(const char *arch, bool experts) {
    const Family *found = NULL;
    for (const Family *const *f = families; *f; f++) {
        if (!contains((*f)->gguf_archs, arch)) continue;
        if (((*f)->layer.n_experts > 0) == experts) return *f;
        if (!found) found = *f;
    }
    return found;
}
