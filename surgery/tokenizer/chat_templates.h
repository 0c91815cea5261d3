/* The chat templates of a model, which say in Jinja how messages become one text. A model may have several:
 * the default one, and others by name ("tool_use", "rag"). Folders have kept them in four places over time,
 * a GGUF has them in keys:
 *
 *   chat_template.jinja, additional_chat_templates/NAME.jinja   transformers 4.50 and later
 *   tokenizer_config.json, "chat_template": a text, or a list of {"name", "template"}
 *   chat_template.json, {"chat_template": ...}                  processors of multimodal models
 *   tokenizer.chat_template, tokenizer.chat_template.NAME       GGUF; tokenizer.chat_templates lists the
 * names
 *
 * chat_form.h recognises the form of a template. */
#ifndef DEROPE_SURGERY_TOKENIZER_CHAT_TEMPLATES_H
#define DEROPE_SURGERY_TOKENIZER_CHAT_TEMPLATES_H

#include "formats/checkpoint.h"

/* The name of the template that is used if nobody asks for another. */
#define CHAT_DEFAULT "default"

/* All chat templates of a folder or a GGUF, as a new object {name: text}, empty if there are none. Of the
 * places of a folder the first in the list above that has any template counts, as in AutoTokenizer, which
 * reads all but chat_template.json. NULL with an ERR_INPUT, with the file's name, if one is damaged. */
json_t *chat_templates_read(const Checkpoint *c, Error *e);

/* Writes them as keys, with the names that llama.cpp's converter writes: letters and digits stay, other
 * characters become underscores. */
void chat_templates_to_gguf(const json_t *templates, Checkpoint *out);
/* Writes them as "chat_template" of a tokenizer_config.json: a text if there is the default one alone. */
void chat_templates_to_config(const json_t *templates, json_t *tokenizer_config);

#endif
