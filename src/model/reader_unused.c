/* reader_unused.c - keys of config.json that nobody asked for.
 *
 * transformers writes many keys that do not change what the model computes; they are listed here.
 * Any other key may, so it is named. */
#include <stdio.h>

#include "model/reader.h"

/* Without effect on logits: names, versions, tokens (found by the tokenizer's reader), options of
 * Python's classes, defaults of generation from before generation_config.json, and how weights were
 * initialised before training. */
static const char *const without_effect[] = {
    "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "add_cross_attention",
    "architectures", "auto_map", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "cache_implementation", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype", "early_stopping",
    "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing",
    "id2label", "initializer_range", "is_decoder", "is_encoder_decoder", "is_llama_config",
    "label2id", "length_penalty", "max_length", "min_length", "model_type",
    "no_repeat_ngram_size", "num_beam_groups", "num_labels", "num_beams", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_scores", "pad_token_id", "prefix",
    "pretraining_tp", "problem_type", "pruned_heads", "quantization_config",
    "remove_invalid_values", "repetition_penalty", "return_dict", "return_dict_in_generate",
    "sep_token_id", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
    "summary_type", "summary_use_proj", "suppress_tokens", "task_specific_params", "temperature",
    "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers.js_config", "transformers_version", "typical_p", "unsloth_fixed",
    "unsloth_version", "use_bfloat16", "use_cache",
};

/* Decoders are trained without dropout of the base, which their files mostly say too; encoders ask
 * for what they have. */
static bool is_dropout(const char *key)
{
    static const char *const names[] = { "attention_dropout", "hidden_dropout", "resid_pdrop",
                                         "embd_pdrop", "attn_pdrop", "embedding_dropout",
                                         "residual_dropout", "resid_dropout", "embed_dropout",
                                         "dropout", "activation_dropout", "hidden_dropout_prob",
                                         "attention_probs_dropout_prob", "classifier_dropout",
                                         "seq_classif_dropout", "qa_dropout" };

    for (size_t i = 0; i < NIB_COUNT(names); i++)
        if (strcmp(key, names[i]) == 0) return true;
    return false;
}

static bool is_known(const nib_reader *r, const char *key)
{
    for (size_t i = 0; i < NIB_COUNT(without_effect); i++)
        if (strcmp(key, without_effect[i]) == 0) return true;
    for (size_t i = 0; i < r->asked_count; i++)
        if (strcmp(key, r->asked[i]) == 0) return true;
    return is_dropout(key);
}

void nib_read_note(nib_reader *r, const char *text)
{
    if (r->note_count < NIB_READER_NOTES) r->notes[r->note_count++] = text;
}

void nib_read_warn_unused(nib_reader *r)
{
    nib_unused_keys unused = { 0 };
    const char *key;
    json_t *value;

    for (size_t i = 0; i < r->note_count; i++) nib_warn(r->ctx, "%s: %s", r->where, r->notes[i]);
    json_object_foreach((json_t *)(uintptr_t)r->json, key, value)
        if (!is_known(r, key)) nib_unused_key(&unused, key, 60);
    nib_warn_unused_keys(r->ctx, r->where, &unused);
}
