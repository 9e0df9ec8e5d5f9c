/* convert.c - which files a class has instead of tokenizer.json, and what its settings say. */
#include "text/convert.h"

static const struct {
    const char *class;
    nib_convert_form form;
    const char *file;
} forms[] = {
    { "BertTokenizerFast", NIB_CONVERT_BERT, "vocab.txt" },
    { "DistilBertTokenizerFast", NIB_CONVERT_BERT, "vocab.txt" },
    { "ElectraTokenizerFast", NIB_CONVERT_BERT, "vocab.txt" },
    { "MobileBertTokenizerFast", NIB_CONVERT_BERT, "vocab.txt" },
    { "ConvBertTokenizerFast", NIB_CONVERT_BERT, "vocab.txt" },
    { "SqueezeBertTokenizerFast", NIB_CONVERT_BERT, "vocab.txt" },
    { "LayoutLMTokenizerFast", NIB_CONVERT_BERT, "vocab.txt" },
    { "MPNetTokenizerFast", NIB_CONVERT_MPNET, "vocab.txt" },
    { "EsmTokenizerFast", NIB_CONVERT_ESM, "vocab.txt" },
    { "GPT2TokenizerFast", NIB_CONVERT_GPT2, "vocab.json" },
    { "CodeGenTokenizerFast", NIB_CONVERT_GPT2, "vocab.json" },
    { "RobertaTokenizerFast", NIB_CONVERT_ROBERTA, "vocab.json" },
    { "LongformerTokenizerFast", NIB_CONVERT_ROBERTA, "vocab.json" },
    { "LayoutLMv3TokenizerFast", NIB_CONVERT_ROBERTA, "vocab.json" },
    { "LukeTokenizerFast", NIB_CONVERT_ROBERTA, "vocab.json" },
    { "T5TokenizerFast", NIB_CONVERT_T5, "spiece.model" },
    { "XLMRobertaTokenizerFast", NIB_CONVERT_XLM_ROBERTA, "sentencepiece.bpe.model" },
    { "AlbertTokenizerFast", NIB_CONVERT_ALBERT, "spiece.model" },
    { "XGLMTokenizerFast", NIB_CONVERT_XGLM, "sentencepiece.bpe.model" },
    { "DebertaV2TokenizerFast", NIB_CONVERT_DEBERTA, "spm.model" },
    { "GemmaTokenizerFast", NIB_CONVERT_GEMMA, "tokenizer.model" },
    { "LlamaTokenizerFast", NIB_CONVERT_LLAMA, "tokenizer.model" },
};

nib_convert_form nib_convert_form_of(const nib_tokenizer_class *class, const char **file)
{
    for (size_t i = 0; i < NIB_COUNT(forms); i++)
        if (strcmp(forms[i].class, class->name) == 0) {
            *file = forms[i].file;
            return forms[i].form;
        }
    return NIB_CONVERT_NONE;
}

const char *nib_convert_token(const nib_special_reading *r, const char *key, const char *otherwise)
{
    const char *where;
    const json_t *v = nib_special_value(r, key, &where);
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);

    return text ? text : otherwise ? otherwise : "";
}

bool nib_convert_flag(const nib_special_reading *r, const char *key, bool otherwise)
{
    const char *where;
    const json_t *v = nib_special_value(r, key, &where);

    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}
