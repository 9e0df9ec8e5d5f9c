/* tokenizer_class.c - the table of tokenizer_class.h.  Held to transformers 4.57.6 by
 * tests/golden/special (make/special_golden.py). */
#include "text/tokenizer_class.h"

#define NAMED(class) class, class "'s default"
#define END "<|endoftext|>"
#define BERT NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"
#define BERT_FLAGS NIB_CLASS_BERT | NIB_CLASS_CHINESE, NULL
#define ALBERT "[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]"
#define ROBERTA "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"

static const char *const code_llama_extra[] = {
    "prefix_token", "\xe2\x96\x81<PRE>", "middle_token", "\xe2\x96\x81<MID>",
    "suffix_token", "\xe2\x96\x81<SUF>", "eot_token", "\xe2\x96\x81<EOT>", NULL
};

static const char *const luke_extra[] = { "entity_token_1", "<ent>", "entity_token_2", "<ent2>",
                                          NULL };

static const nib_tokenizer_class table[] = {
    { NAMED("PreTrainedTokenizerFast"), NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL,
      "bitnet blt csm falcon glm glm4 glm4_moe glm4v glm4v_moe gpt_oss helium modernbert moonshine "
      "moshi nemotron pixtral smollm3 voxtral" },
    { NAMED("LlamaTokenizerFast"), "<s>", "</s>", "<unk>", NULL, NULL, NULL, NULL,
      NIB_CLASS_REBUILDS | NIB_CLASS_ADDS_BOS | NIB_CLASS_FROM_SLOW, NULL,
      "arcee aria chameleon colpali deepseek_v2 deepseek_v3 deepseek_vl deepseek_vl_hybrid "
      "diffllama ernie4_5 ernie4_5_moe idefics idefics2 idefics3 jamba janus jetmoe llama llama4 "
      "llama4_text llava llava_next llava_next_video llava_onevision ministral mistral mistral3 "
      "mixtral mllama paligemma persimmon phi3 phimoe video_llava vipllava zamba zamba2" },
    { NAMED("CodeLlamaTokenizerFast"), "<s>", "</s>", "<unk>", NULL, NULL, NULL, NULL,
      NIB_CLASS_REBUILDS | NIB_CLASS_ADDS_BOS,
      code_llama_extra, "code_llama" },
    { NAMED("GemmaTokenizerFast"), "<bos>", "<eos>", "<unk>", NULL, "<pad>", NULL, NULL,
      NIB_CLASS_REBUILDS | NIB_CLASS_ADDS_BOS, NULL,
      "gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 siglip2 "
      "t5gemma" },
    { NAMED("CohereTokenizerFast"), "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", NULL, NULL,
      NULL, NULL, NIB_CLASS_REBUILDS | NIB_CLASS_ADDS_BOS | NIB_CLASS_PREFIX_INSIDE, NULL,
      "aya_vision cohere cohere2" },
    { NAMED("GPTNeoXTokenizerFast"), END, END, END, NULL, "", NULL, NULL, NIB_CLASS_REBUILDS, NULL,
      "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmo2 olmoe rwkv stablelm xlstm" },
    { NAMED("GPT2TokenizerFast"), END, END, END, NULL, NULL, NULL, NULL, 0, NULL,
      "blip-2 dbrx emu3 exaone4 flex_olmo gpt2 gpt_bigcode gpt_neo gptj granite granitemoe "
      "granitemoehybrid granitemoeshared instructblip instructblipvideo minimax olmo3 opt "
      "starcoder2" },
    { NAMED("Qwen2TokenizerFast"), NULL, END, END, NULL, END, NULL, NULL, NIB_CLASS_WRAPS, NULL,
      "colqwen2 internvl qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 "
      "qwen3_moe qwen3_next qwen3_omni_moe qwen3_vl qwen3_vl_moe" },
    { NAMED("BloomTokenizerFast"), "<s>", "</s>", "<unk>", NULL, "<pad>", NULL, NULL,
      NIB_CLASS_PREFIX_INSIDE, NULL, "bloom" },
    { NAMED("CodeGenTokenizerFast"), END, END, END, NULL, NULL, NULL, NULL, NIB_CLASS_NO_BOS, NULL,
      "codegen phi" },
    { NAMED("WhisperTokenizerFast"), END, END, END, NULL, NULL, NULL, NULL, NIB_CLASS_WRAPS, NULL,
      "whisper" },
    { NAMED("RobertaTokenizerFast"), ROBERTA, NIB_CLASS_TRIMS | NIB_CLASS_MASK_LSTRIP, NULL,
      "bridgetower clap data2vec-text ibert mega mra roberta roberta-prelayernorm" },
    { NAMED("LongformerTokenizerFast"), ROBERTA, NIB_CLASS_TRIMS | NIB_CLASS_MASK_LSTRIP, NULL,
      "longformer" },
    { NAMED("LayoutLMv3TokenizerFast"), ROBERTA,
      NIB_CLASS_TRIMS | NIB_CLASS_MASK_LSTRIP | NIB_CLASS_PREFIX, NULL, "layoutlmv3 lilt" },
    { NAMED("LukeTokenizerFast"), ROBERTA, NIB_CLASS_MASK_LSTRIP, luke_extra, "luke" },
    { NAMED("BertTokenizerFast"), BERT, BERT_FLAGS,
      "align bark bert blip bros chinese_clip ernie git grounding-dino megatron-bert "
      "mm-grounding-dino nezha qdqbert tvp vilt visual_bert" },
    { NAMED("DistilBertTokenizerFast"), BERT, BERT_FLAGS, "distilbert" },
    { NAMED("ElectraTokenizerFast"), BERT, BERT_FLAGS, "electra" },
    { NAMED("MobileBertTokenizerFast"), BERT, BERT_FLAGS, "mobilebert" },
    { NAMED("ConvBertTokenizerFast"), BERT, BERT_FLAGS, "convbert" },
    { NAMED("SqueezeBertTokenizerFast"), BERT, BERT_FLAGS, "squeezebert" },
    { NAMED("LayoutLMTokenizerFast"), BERT, BERT_FLAGS, "layoutlm" },
    { NAMED("MPNetTokenizerFast"), "<s>", "</s>", "[UNK]", "</s>", "<pad>", "<s>", "<mask>",
      NIB_CLASS_BERT | NIB_CLASS_WRAPS | NIB_CLASS_MASK_LSTRIP, NULL, "mpnet" },
    { NAMED("XLMRobertaTokenizerFast"), ROBERTA, NIB_CLASS_MASK_LSTRIP, NULL,
      "kosmos-2 metaclip_2 xlm-roberta xlm-roberta-xl xmod" },
    { NAMED("XGLMTokenizerFast"), "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", NULL, 0, NULL,
      "xglm" },
    { NAMED("T5TokenizerFast"), NULL, "</s>", "<unk>", NULL, "<pad>", NULL, NULL,
      NIB_CLASS_EXTRA_IDS, NULL,
      "longt5 musicgen musicgen_melody pix2struct switch_transformers t5 umt5" },
    { NAMED("AlbertTokenizerFast"), ALBERT, NIB_CLASS_MASK_LSTRIP, NULL,
      "albert nystromformer yoso" },
    { NAMED("DebertaV2TokenizerFast"), "[CLS]", "[SEP]", "[UNK]", "[SEP]", "[PAD]", "[CLS]",
      "[MASK]", 0, NULL, "deberta-v2" },
    { NAMED("EsmTokenizerFast"), NULL, "<eos>", "<unk>", NULL, "<pad>", "<cls>", "<mask>", 0, NULL,
      "esm" },
    { NAMED("DebertaTokenizerFast"), "[CLS]", "[SEP]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]",
      NIB_CLASS_MASK_LSTRIP, NULL, "deberta" },
};

const nib_tokenizer_class *nib_tokenizer_class_named(const char *name)
{
    size_t n = strlen(name);

    if (n > 4 && strcmp(name + n - 4, "Fast") == 0) n -= 4;
    for (size_t i = 0; i < NIB_COUNT(table); i++)
        if (strlen(table[i].name) == n + 4 && memcmp(table[i].name, name, n) == 0)
            return &table[i];
    return NULL;
}

const nib_tokenizer_class *nib_tokenizer_class_of_model(const char *model_type)
{
    size_t n = strlen(model_type);

    for (size_t i = 0; i < NIB_COUNT(table) && n; i++)
        for (const char *p = table[i].models; (p = strstr(p, model_type)); p += n)
            if ((p == table[i].models || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0))
                return &table[i];
    return NULL;
}
