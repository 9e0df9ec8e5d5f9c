/* recipe_keys.c - every key a recipe or the command line may hold, a line each.
 *
 * A new option is one line: RESULT when it changes numbers (it then stands in the resolved recipe),
 * FREE when it does not.  tests/golden/recipes/fields.txt holds the fields of the four classes as
 * the libraries have them; tests/job/test_recipe.c holds this table to it. */
#include "recipe/recipe_keys.h"

#define OWN "nibble"
#define LOAD "from_pretrained"
#define LORA "LoraConfig"
#define BNB "BitsAndBytesConfig"
#define TRAIN "TrainingArguments"
#define SFT "SFTConfig"
#define SENTENCE "sentence-transformers"
#define PLUS "create_loraplus_optimizer"

#define AT(field) offsetof(nib_recipe_values, field)
#define IS_FLAG(kind) ((kind) == NIB_KEY_BOOL || (kind) == NIB_KEY_CHOICE)
#define ROW(name, owner, use, kind, result, at, second, words, example, help) \
    { { name, owner, use, IS_FLAG(kind), example, help }, kind, result, at, second, words }
#define RESULT(name, owner, kind, field, example, help) \
    ROW(name, owner, NIB_RECIPE_USED, NIB_KEY_##kind, NIB_RESULT_ALWAYS, AT(field), 0, NULL, \
        example, help),
#define FREE(name, owner, kind, field, example, help) \
    ROW(name, owner, NIB_RECIPE_USED, NIB_KEY_##kind, NIB_RESULT_NEVER, AT(field), 0, NULL, \
        example, help),
/* The same, but a part of the resolved recipe only when evaluation asks for it. */
#define RESULT_IF(when, name, owner, kind, field, example, help) \
    ROW(name, owner, NIB_RECIPE_USED, NIB_KEY_##kind, NIB_RESULT_##when, AT(field), 0, NULL, \
        example, help),
#define WORDS_IF(when, name, owner, field, words, example, help) \
    ROW(name, owner, NIB_RECIPE_USED, NIB_KEY_TEXT, NIB_RESULT_##when, AT(field), 0, words, \
        example, help),
#define WORDS(name, owner, field, words, example, help) \
    ROW(name, owner, NIB_RECIPE_USED, NIB_KEY_TEXT, NIB_RESULT_ALWAYS, AT(field), 0, words, \
        example, help),
#define FREE_WORDS(name, owner, field, words, example, help) \
    ROW(name, owner, NIB_RECIPE_USED, NIB_KEY_TEXT, NIB_RESULT_NEVER, AT(field), 0, words, \
        example, help),
#define NO_WORDS " false=no False=no off=no" /* what YAML's `no` may have become on its way */
#define COUNTED(name, owner, kind, field, count, example, help) \
    ROW(name, owner, NIB_RECIPE_USED, NIB_KEY_##kind, NIB_RESULT_ALWAYS, AT(field), AT(count), \
        NULL, example, help),
#define STEPS(kind, result, name, field, ratio, example, help) \
    ROW(name, TRAIN, NIB_RECIPE_USED, NIB_KEY_##kind, NIB_RESULT_##result, AT(o.train.field), \
        AT(o.train.ratio), NULL, example, help),
#define COMPUTE(name, owner, slot, example, help) \
    { { name, owner, NIB_RECIPE_USED, (slot) >= NIB_COMPUTE_BF16, example, help }, \
      NIB_KEY_COMPUTE, (slot) == NIB_COMPUTE_KEY ? NIB_RESULT_ALWAYS : NIB_RESULT_NEVER, \
      slot, 0, NULL },
/* How weights are held: what is read here is checked by the format it belongs to
 * (quant/format.h). */
#define SETTING(name, owner, flag, words, example, help) \
    { { name, owner, NIB_RECIPE_USED, flag, example, help }, \
      NIB_KEY_SETTING, NIB_RESULT_ALWAYS, 0, 0, words },
#define ALIAS(name, owner, of) \
    { { name, owner, NIB_RECIPE_ALIAS, false, NULL, of }, \
      NIB_KEY_NONE, NIB_RESULT_NEVER, 0, 0, NULL },
/* Without effect.  A FLAG_ is true or false; `nothing`: values that are not worth a word. */
#define FLAG_IGNORED(name, owner, nothing, why) \
    { { name, owner, NIB_RECIPE_IGNORED, true, NULL, why }, \
      NIB_KEY_NONE, NIB_RESULT_NEVER, 0, 0, nothing },
#define IGNORED(name, owner, nothing, why) \
    { { name, owner, NIB_RECIPE_IGNORED, false, NULL, why }, \
      NIB_KEY_NONE, NIB_RESULT_NEVER, 0, 0, nothing },
/* Refused, but for the values that ask for nothing (null and empty ones always). */
#define FLAG_REFUSED(name, owner, nothing, why) \
    { { name, owner, NIB_RECIPE_REFUSED, true, NULL, why }, \
      NIB_KEY_NONE, NIB_RESULT_NEVER, 0, 0, nothing },
#define REFUSED(name, owner, nothing, why) \
    { { name, owner, NIB_RECIPE_REFUSED, false, NULL, why }, \
      NIB_KEY_NONE, NIB_RESULT_NEVER, 0, 0, nothing },

/* Why a key is without effect. */
#define NO_CARD "there is no graphics card"
#define ONE_PROCESS "one process trains"
#define NO_LOADER "records are read before step 1, without workers"
#define NO_HUB "nothing is downloaded or uploaded"
#define NO_COMPILER "nothing is compiled while running"
#define SAME_MEMORY "memory is planned, and recomputing leaves the bits alone"
#define REPORTS "progress is reported in nibble's own way"
#define ALWAYS "always so here"
#define NO_PADDING "batches are never padded"
#define NOT_DONE "is not computed here"

const nib_recipe_row nib_recipe_rows[] = {
    /* nibble's own */
    RESULT("model_name_or_path", LOAD, TEXT, o.model.model, "DIR", "the model's directory")
    COUNTED("data", OWN, SOURCES, o.data.data, o.data.sources, "FILE",
            ".jsonl, .json, .csv, .tsv, .parquet, .txt, a folder of them, or org/name of the hub's "
            "cache; may be repeated, and FILE:0.2 takes a fifth of it an epoch")
    RESULT("output_dir", TRAIN, TEXT, o.output_dir, "DIR", "where the adapter goes")
    RESULT("adapter", OWN, TEXT, o.adapter, "DIR", "start from this adapter")
    WORDS("defaults", OWN, o.defaults, "nibble peft", "peft",
          "values for what is not given: nibble (default; of adapters of models that write "
          "text, docs/defaults.md) or peft, the libraries' own")
    FREE("dry_run", OWN, BOOL, o.dry_run, NULL, "print the plan and stop; needs no weights")
    FREE("overwrite", OWN, BOOL, o.overwrite, NULL, "replace what nibble wrote there before")
    RESULT("base_model_name", OWN, TEXT, o.base_model_name, "org/name", "for adapter_config.json")
    RESULT("base_original", OWN, TEXT, o.base_original, "DIR",
           "of a low-bit model with init-lora-weights loftq: what it was quantized from")
    COMPUTE("compute_dtype", OWN, NIB_COMPUTE_KEY, "auto", "auto, float32, bfloat16, float16")
    FREE("max_memory", LOAD, SIZE, o.train.max_memory, "6GiB",
         "default: what the machine has free; leaves the bits alone")

    /* bitsandbytes */
    SETTING("load_in_4bit", BNB, true, NULL, NULL, "quantize a dense model while loading")
    SETTING("bnb_4bit_quant_type", BNB, false, "nf4 fp4", "nf4", "nf4 (default) or fp4")
    SETTING("bnb_4bit_use_double_quant", BNB, true, NULL, NULL, "quantize the scales too")
    SETTING("bnb_4bit_blocksize", BNB, false, NULL, "64", "weights that share a scale")
    SETTING("load_in_8bit", BNB, true, NULL, NULL, "quantize to 8 bits (LLM.int8) while loading")
    SETTING("llm_int8_threshold", BNB, false, NULL, "6.0",
            "inputs of this size or more are multiplied as floats; 0: none")
    RESULT("quantize_experts", OWN, BOOL, o.model.quantize_experts, NULL,
           "those of one tensor too, each expert a matrix; default: they stay dense")
    ALIAS("bnb_4bit_compute_dtype", BNB, "compute_dtype")
    ALIAS("use_bnb_nested_quant", BNB, "bnb_4bit_use_double_quant")

    /* the task */
    WORDS("task_type", LORA, o.task_type,
          "CAUSAL_LM SEQ_CLS TOKEN_CLS FEATURE_EXTRACTION MASKED_LM QUESTION_ANS", "SEQ_CLS",
          "CAUSAL_LM, SEQ_CLS, TOKEN_CLS, FEATURE_EXTRACTION (embeddings), MASKED_LM or "
          "QUESTION_ANS; default: as config.json's architectures or modules.json say")
    RESULT("full", OWN, BOOL, o.full, NULL,
           "train all of the model's parameters in float32, write a model")
    RESULT("train_head_only", OWN, BOOL, o.train_head_only, NULL,
           "train the classifier alone, on the frozen model")
    RESULT("num_labels", LOAD, COUNT, o.model.num_labels, "3",
           "labels of a new classifier; default: the data's")
    WORDS("problem_type", LOAD, o.model.problem_type,
          "regression single_label_classification multi_label_classification", "regression",
          "default: as the labels look")
    RESULT("base_dropout", LOAD, BOOL, o.model.base_dropout, NULL,
           "false: an encoder is trained without config.json's dropout; default true")
    WORDS("class_weights", OWN, o.data.class_weights, "balanced", "balanced",
          "classes count alike, however many records they have")

    /* answers in a context: run_qa's names */
    RESULT_IF(ANSWERED, "doc_stride", OWN, INT, o.data.doc_stride, "128",
              "of a context that is cut into windows: tokens that each repeats of the one before")
    RESULT_IF(ANSWERED, "max_answer_length", OWN, COUNT, o.data.max_answer_length, "30",
              "tokens of an answer that is evaluated")
    RESULT_IF(ANSWERED, "version_2_with_negative", OWN, BOOL, o.data.version_2_with_negative, NULL,
              "a context need not hold an answer, as the records may also say")
    RESULT_IF(ANSWERED, "null_score_diff_threshold", OWN, FLOAT,
              o.data.null_score_diff_threshold, "0",
              "and has none where the logits speak for that by more than this")

    /* embeddings */
    WORDS("loss", SENTENCE, o.train.loss,
          "MultipleNegativesRankingLoss CoSENTLoss CosineSimilarityLoss TripletLoss", "TripletLoss",
          "of embeddings; default: MultipleNegativesRankingLoss, of records with a score "
          "CoSENTLoss")
    RESULT("pooling", SENTENCE, TEXT, o.train.pooling, "cls",
           "of a text's rows: cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken, or "
           "some of them with commas; default: the directory's, else mean")
    RESULT_IF(COMPARED, "scale", SENTENCE, FLOAT, o.train.scale, "20",
              "of the loss's cosines; 0: 20")
    RESULT_IF(COMPARED, "triplet_margin", SENTENCE, FLOAT, o.train.triplet_margin, "5",
              "of TripletLoss; 0: 5")
    COUNTED("matryoshka_dims", SENTENCE, NUMBERS, o.train.matryoshka_dims,
            o.train.matryoshka_dim_count, "64,128", "the first so many numbers are trained to be "
            "embeddings too")
    RESULT("mini_batch_size", SENTENCE, COUNT, o.train.mini_batch_size, "32",
           "texts run at a time; the batch and the result stay; default: what fits")

    /* LoRA */
    RESULT("r", LORA, INT, o.lora.r, "16", "rank; default 16 (peft: 8)")
    RESULT("lora_alpha", LORA, FLOAT, o.lora.lora_alpha, "32",
           "the branch is scaled by alpha / r; default 2 r (peft: 8)")
    RESULT("lora_dropout", LORA, FLOAT, o.lora.lora_dropout, "0.05", "default 0")
    RESULT("use_rslora", LORA, BOOL, o.lora.use_rslora, NULL, "scale by alpha / sqrt(r)")
    RESULT("use_dora", LORA, BOOL, o.lora.use_dora, NULL,
           "learn the size of each output apart from its direction (DoRA)")
    RESULT("target_modules", LORA, NAMES, o.lora.target_modules, "q_proj,v_proj",
           "a comma list, all-linear, or regex:...; default all-linear (peft: the family's)")
    RESULT("target_parameters", LORA, NAMES, o.lora.target_parameters, "experts.down_proj",
           "tensors that hold all experts of a layer")
    RESULT("exclude_modules", LORA, NAMES, o.lora.exclude_modules, "o_proj",
           "the same, wins over target-modules")
    RESULT("modules_to_save", LORA, NAMES, o.lora.modules_to_save, "lm_head",
           "trained and saved whole")
    WORDS("bias", LORA, o.lora.bias, "none all lora_only", "none", "none, all or lora_only")
    WORDS("init_lora_weights", LORA, o.lora.init_lora_weights,
          "true false gaussian orthogonal pissa pissa_niter_* olora loftq True=true False=false",
          "true",
          "true, false, gaussian, orthogonal, or from the weights: pissa, pissa_niter_4, olora, "
          "loftq")
    COUNTED("loftq_config", LORA, ARGUMENTS, o.lora.loftq_config, o.lora.loftq_count,
            "loftq_bits=4,loftq_iter=1",
            "of init-lora-weights loftq; default: the base's bits, 1 iteration")
    COUNTED("rank_pattern", LORA, PATTERN, o.lora.rank_pattern, o.lora.rank_patterns, "q_proj=4",
            "ranks of some modules")
    COUNTED("alpha_pattern", LORA, PATTERN, o.lora.alpha_pattern, o.lora.alpha_patterns, "q_proj=8",
            "alphas of some modules")
    COUNTED("layers_to_transform", LORA, NUMBERS, o.lora.layers_to_transform,
            o.lora.layers_to_transform_count, "0,1", "only these layers")
    COUNTED("trainable_token_indices", LORA, NUMBERS, o.lora.trainable_token_indices,
            o.lora.trainable_token_count, "32000,32001",
            "numbers of words whose rows of the embedding are trained too")
    RESULT("layers_pattern", LORA, NAMES, o.lora.layers_pattern, "layers",
           "the name before a layer's number")
    ALIAS("pooling_mode", SENTENCE, "pooling")
    ALIAS("base_model_name_or_path", LORA, "base_model_name")
    ALIAS("lora_r", LORA, "r")
    ALIAS("lora_target_modules", LORA, "target_modules")
    ALIAS("lora_modules_to_save", LORA, "modules_to_save")

    /* data */
    RESULT("template", OWN, TEXT, o.data.template_text, "'{a} {b}'",
           "a text record from named fields")
    RESULT("prompt_template", OWN, TEXT, o.data.prompt_template, "'{q}'",
           "with --completion-template: a masked record")
    RESULT("completion_template", OWN, TEXT, o.data.completion_template, "'{a}'", "what is trained")
    RESULT("dataset_config", OWN, TEXT, o.data.dataset_config, "main",
           "of a folder whose README.md describes several data sets")
    RESULT("split", OWN, TEXT, o.data.split, "train", "of a folder's files; default: train, or all")
    RESULT("data_field", OWN, TEXT, o.data.data_field, "data",
           "the member of a .json file that holds the records; default: its only list")
    RESULT("chat_template", OWN, TEXT, o.data.chat_template, "FILE",
           "Jinja, in place of the model's own")
    RESULT("chat_template_kwargs", OWN, JSON, o.data.chat_template_kwargs, "JSON",
           "more variables of the chat template, as '{\"enable_thinking\": false}'; "
           "a record's own win")
    WORDS("train_on_turns", OWN, o.data.train_on_turns, "all last everything", "all",
          "of a chat: all turns of the assistant (default), the last, or everything")
    RESULT("train_on_prompt", OWN, BOOL, o.data.train_on_prompt, NULL,
           "of prompt and completion the prompt too")
    WORDS("alpaca_ending", OWN, o.data.alpaca_ending, "newline space none", "newline",
          "what follows '### Response:'")
    RESULT("skip_bad", OWN, BOOL, o.data.skip_bad, NULL, "leave bad records out, and count them")
    RESULT_IF(EVALUATED, "eval_data", OWN, TEXT, o.eval_data, "FILE",
              "records to evaluate on, in the shape of data")
    RESULT_IF(EVALUATED, "eval_split", OWN, TEXT, o.eval_split, "test",
              "the split of data (or eval-data) to evaluate on")
    RESULT_IF(EVALUATED, "eval_dataset_config", OWN, TEXT, o.eval_dataset_config, "main",
              "of an eval-data folder whose README.md describes several data sets")
    RESULT("val_size", OWN, FLOAT, o.val_size, "0.1",
           "records held out of data and evaluated on: a fraction, or a number")
    RESULT("max_seq_length", SFT, INT, o.data.max_seq_length, "1024",
           "tokens of a record; default: the longest record, up to what model and memory allow "
           "(peft, with full, and where no text is written: 1024)")
    WORDS("long_records", OWN, o.data.long_records, "drop cut", "drop",
          "records beyond max-seq-length: drop (default; more than 5 % is an error) or cut (peft)")
    FREE("dataset_text_field", SFT, TEXT, dataset_text_field, "text",
         "the field of a text record, as --template '{text}'")
    ALIAS("max_length", SFT, "max_seq_length")
    FREE("assistant_only_loss", SFT, CHOICE, assistant_only_loss, NULL,
         "train-on-turns all; false: everything")
    FREE("completion_only_loss", SFT, CHOICE, completion_only_loss, NULL, "false: train-on-prompt")
    ALIAS("chat_template_path", SFT, "chat_template")
    ALIAS("dataset_config_name", OWN, "dataset_config")
    ALIAS("dataset_train_split", OWN, "split")
    ALIAS("dataset_test_split", OWN, "eval_split")

    /* training */
    RESULT("per_device_train_batch_size", TRAIN, BATCH, o.train.per_device_train_batch_size, "8",
           "records of a micro-batch; auto: what fits, a step keeping its records; default 4 "
           "(peft: 8), of embeddings 64")
    RESULT("gradient_accumulation_steps", TRAIN, INT, o.train.gradient_accumulation_steps, "1",
           "micro-batches of a step")
    RESULT("tokens_per_batch", OWN, INT, o.train.tokens_per_batch, "4096",
           "fill micro-batches with records up to so many tokens, in place of a number of records")
    RESULT("group_by_length", TRAIN, BOOL, o.train.group_by_length, NULL,
           "records of like length together")
    RESULT("num_train_epochs", TRAIN, FLOAT, o.train.num_train_epochs, "3",
           "times through the data")
    RESULT("max_steps", TRAIN, INT, o.train.max_steps, "100", "wins over epochs")
    WORDS("optim", TRAIN, o.train.optim,
          "adamw_torch adamw_bnb_8bit paged_adamw_32bit paged_adamw_8bit "
          "adamw_torch_fused=adamw_torch adamw_8bit=adamw_bnb_8bit paged_adamw=paged_adamw_32bit",
          "adamw_torch", "adamw_torch, adamw_bnb_8bit, paged_adamw_32bit or paged_adamw_8bit")
    RESULT("learning_rate", TRAIN, FLOAT, o.train.learning_rate, "2e-4",
           "default 5e-3, from 10M parameters 2e-3, from 300M 1e-3, from 1B 2e-4 (peft: 2e-4), "
           "with full 2e-5; where no text is written 1e-3 and 1e-4")
    RESULT("weight_decay", TRAIN, FLOAT, o.train.weight_decay, "0.01", "default 0")
    RESULT("adam_beta1", TRAIN, FLOAT, o.train.adam_beta1, "0.9", "of AdamW")
    RESULT("adam_beta2", TRAIN, FLOAT, o.train.adam_beta2, "0.999", "of AdamW")
    RESULT("adam_epsilon", TRAIN, FLOAT, o.train.adam_epsilon, "1e-8", "of AdamW")
    RESULT("max_grad_norm", TRAIN, FLOAT, o.train.max_grad_norm, "1.0",
           "gradients are clipped to it; 0: never")
    RESULT("loraplus_lr_ratio", PLUS, FLOAT, o.train.loraplus_lr_ratio, "16",
           "LoRA+: B's learning rate by A's; default 0, none")
    RESULT("loraplus_lr_embedding", PLUS, FLOAT, o.train.loraplus_lr_embedding, "1e-6",
           "the rate of embeddings' branches, with LoRA+")
    RESULT("loraplus_weight_decay", PLUS, FLOAT, o.train.loraplus_weight_decay, "0.01",
           "in place of weight-decay, with LoRA+")
    WORDS("lr_scheduler_type", TRAIN, o.train.lr_scheduler_type,
          "linear cosine cosine_with_restarts cosine_with_min_lr cosine_warmup_with_min_lr "
          "polynomial inverse_sqrt warmup_stable_decay constant constant_with_warmup "
          "reduce_lr_on_plateau",
          "cosine",
          "default cosine (peft: linear); linear, cosine, cosine_with_restarts, "
          "cosine_with_min_lr, cosine_warmup_with_min_lr, polynomial, inverse_sqrt, "
          "warmup_stable_decay, constant, constant_with_warmup, reduce_lr_on_plateau")
    COUNTED("lr_scheduler_kwargs", TRAIN, ARGUMENTS, o.train.lr_scheduler_kwargs,
            o.train.lr_scheduler_kwarg_count, "num_cycles=2",
            "the schedule's own: num_cycles, min_lr_rate, lr_end, num_decay_steps, ...")
    STEPS(WARMUP, ALWAYS, "warmup_steps", warmup_steps, warmup_ratio, "10",
          "below 1: warmup-ratio")
    RESULT("warmup_ratio", TRAIN, FLOAT, o.train.warmup_ratio, "0.05",
           "of all steps, when no warmup-steps; default 0.05 (peft: 0)")
    RESULT("label_smoothing_factor", TRAIN, FLOAT, o.train.label_smoothing_factor, "0.1",
           "the part of each target that goes to all tokens; default 0")
    RESULT("neftune_noise_alpha", TRAIN, FLOAT, o.train.neftune_noise_alpha, "5",
           "NEFTune: noise on the embedding while training; default 0, none")
    RESULT("seed", TRAIN, SEED, o.train.seed, "42", "of the adapter, the dropout and the order")
    RESULT("data_seed", TRAIN, LONG, o.train.data_seed, "42", "of the order alone")
    RESULT("shuffle", OWN, BOOL, o.train.shuffle, NULL, "--no-shuffle keeps the file's order")
    FREE_WORDS("logging_strategy", TRAIN, o.train.logging_strategy, "steps epoch no" NO_WORDS,
               "steps", "steps, epoch or no")
    STEPS(STEPS, NEVER, "logging_steps", logging_steps, logging_steps_ratio, "1",
          "steps from one line to the next; below 1: a fraction of all")
    FREE("logging_first_step", TRAIN, BOOL, o.train.logging_first_step, NULL,
         "a line for step 1 too")
    WORDS_IF(BEST, "save_strategy", TRAIN, o.train.save_strategy, "steps epoch best no" NO_WORDS,
             "steps", "steps, epoch, best (each evaluation better than all before) or no")
    STEPS(STEPS, BEST, "save_steps", save_steps, save_steps_ratio, "500",
          "steps from one checkpoint to the next; below 1: a fraction of all; 0: none")
    FREE("save_total_limit", TRAIN, INT, o.train.save_total_limit, "3",
         "checkpoints kept, besides the best; 0: all; default 2 (peft: all)")
    FREE("resume_from_checkpoint", TRAIN, TEXT, o.resume_from_checkpoint, "last",
         "last, or a checkpoint's directory")
    WORDS("eval_strategy", TRAIN, o.train.eval_strategy, "no steps epoch" NO_WORDS, "epoch",
          "no, steps or epoch; default: epoch where there are records to evaluate on, else no")
    STEPS(STEPS, EVALUATED, "eval_steps", eval_steps, eval_steps_ratio, "50",
          "steps from one evaluation to the next; below 1: a fraction of all; "
          "default: logging-steps")
    RESULT_IF(EVALUATED, "per_device_eval_batch_size", TRAIN, INT,
              o.train.per_device_eval_batch_size, "8", "records evaluated at a time")
    RESULT_IF(EVALUATED, "load_best_model_at_end", TRAIN, BOOL, o.train.load_best_model_at_end,
              NULL, "the adapter is the best evaluated one")
    WORDS_IF(EVALUATED, "metric_for_best_model", TRAIN, o.train.metric_for_best_model,
             "loss eval_loss perplexity eval_perplexity accuracy eval_accuracy f1 eval_f1 "
             "matthews_correlation eval_matthews_correlation mse eval_mse pearson eval_pearson "
             "spearmanr eval_spearmanr exact_match eval_exact_match overall_f1 eval_overall_f1 "
             "overall_precision eval_overall_precision overall_recall eval_overall_recall "
             "exact eval_exact contains eval_contains rougeL eval_rougeL rouge_l eval_rouge_l "
             "chrf eval_chrf json_valid eval_json_valid json_fields eval_json_fields "
             "recall@1 eval_recall@1 recall@3 eval_recall@3 recall@5 eval_recall@5 recall@10 "
             "eval_recall@10 mrr@10 eval_mrr@10", "loss",
             "loss or perplexity; of generated answers exact_match, exact, contains, rougeL, chrf, "
             "json_valid, json_fields; of classifiers accuracy, f1, matthews_correlation, mse, "
             "pearson, spearmanr; of spans overall_f1; of answers in a context exact_match, f1; of "
             "embeddings spearmanr, recall@10, mrr@10")
    RESULT_IF(EVALUATED, "greater_is_better", TRAIN, CHOICE, o.train.greater_is_better, NULL,
              "default: as the metric wants it")
    RESULT_IF(EVALUATED, "early_stopping_patience", OWN, INT, o.train.early_stopping_patience, "3",
              "evaluations without a better one before the end; default: no end")
    RESULT_IF(EVALUATED, "early_stopping_threshold", OWN, FLOAT, o.train.early_stopping_threshold,
              "0.0", "by how much better one must be")
    { { "report_to", TRAIN, NIB_RECIPE_USED, false, "none", "jsonl, tensorboard, all or none" },
      NIB_KEY_WORDS, NIB_RESULT_NEVER, AT(o.train.report_to), 0,
      "none all jsonl tensorboard wandb= mlflow= comet_ml= clearml= codecarbon= dagshub= dvclive= "
      "flyte= neptune= swanlab= trackio= azure_ml=" },
    FREE("logging_dir", TRAIN, TEXT, o.train.logging_dir, "DIR", "of TensorBoard's event files")
    FREE("gradient_checkpointing", TRAIN, CHOICE, o.train.gradient_checkpointing, NULL,
         "run layers again rather than keep; default: as memory asks")
    COMPUTE("bf16", TRAIN, NIB_COMPUTE_BF16, NULL, "compute_dtype bfloat16, unless that is given")
    COMPUTE("fp16", TRAIN, NIB_COMPUTE_FP16, NULL,
            "compute_dtype float16 (computed in float32), unless that is given")
    COMPUTE("torch_dtype", LOAD, NIB_COMPUTE_TORCH, "bfloat16",
            "compute_dtype, unless that is given")
    ALIAS("dtype", LOAD, "torch_dtype")
    ALIAS("overwrite_output_dir", TRAIN, "overwrite")
    ALIAS("per_gpu_train_batch_size", TRAIN, "per_device_train_batch_size")

    ALIAS("evaluation_strategy", TRAIN, "eval_strategy")
    ALIAS("per_gpu_eval_batch_size", TRAIN, "per_device_eval_batch_size")

    /* LoraConfig, the rest */
    REFUSED("peft_type", LORA, "LORA", "only LORA is trained")
    REFUSED("auto_mapping", LORA, NULL, "custom models are not loaded")
    IGNORED("peft_version", LORA, NULL, "written by whoever saves")
    REFUSED("revision", LORA, "main", "the model is the directory as it is")
    FLAG_REFUSED("inference_mode", LORA, "false", "the adapter would not be trained")
    FLAG_IGNORED("fan_in_fan_out", LORA, "false", "the layout of each linear is known")
    REFUSED("megatron_config", LORA, NULL, "Megatron's layers " NOT_DONE)
    IGNORED("megatron_core", LORA, "megatron.core", "there is no Megatron here")
    REFUSED("eva_config", LORA, NULL, "EVA's initialisation " NOT_DONE)
    REFUSED("corda_config", LORA, NULL, "CorDA's initialisation " NOT_DONE)
    REFUSED("lora_ga_config", LORA, NULL, "LoRA-GA's initialisation " NOT_DONE)
    REFUSED("velora_config", LORA, NULL, "VeLoRA " NOT_DONE)
    REFUSED("alora_invocation_tokens", LORA, NULL, "activated LoRA " NOT_DONE)
    FLAG_REFUSED("use_qalora", LORA, "false", "QA-LoRA's pooling " NOT_DONE)
    IGNORED("qalora_group_size", LORA, "16", "belongs to use_qalora")
    REFUSED("monteclora_config", LORA, NULL, "MonteCLoRA " NOT_DONE)
    REFUSED("layer_replication", LORA, NULL, "repeating layers makes another model")
    IGNORED("runtime_config", LORA, NULL, NO_CARD)
    FLAG_REFUSED("lora_bias", LORA, "false", "a bias of the low-rank branch " NOT_DONE)
    REFUSED("use_bdlora", LORA, NULL, "block-diagonal LoRA " NOT_DONE)
    REFUSED("arrow_config", LORA, NULL, "Arrow's routing " NOT_DONE)
    REFUSED("kasa_config", LORA, NULL, "KaSA " NOT_DONE)
    FLAG_REFUSED("ensure_weight_tying", LORA, "false", "tied adapters " NOT_DONE)

    /* BitsAndBytesConfig, the rest */
    REFUSED("llm_int8_skip_modules", BNB, "lm_head",
            "while loading, all linears of the layers are quantized, the head is not; "
            "nibble quantize --llm-int8-skip-modules leaves others dense")
    FLAG_IGNORED("llm_int8_enable_fp32_cpu_offload", BNB, "false", NO_CARD)
    FLAG_REFUSED("llm_int8_has_fp16_weight", BNB, "false",
                 "8-bit weights are frozen, without a float16 copy")
    IGNORED("bnb_4bit_quant_storage", BNB, NULL, "codes are bytes, whatever type they are labelled")
    IGNORED("quant_method", BNB, "bitsandbytes", "the other keys say it")

    /* TrainingArguments, the rest */
    FLAG_IGNORED("do_train", TRAIN, "true false", "finetune trains")
    FLAG_IGNORED("do_eval", TRAIN, "true false", "eval_strategy says when")
    FLAG_IGNORED("do_predict", TRAIN, "false", "finetune trains")
    FLAG_IGNORED("prediction_loss_only", TRAIN, "false", "the loss is all that is evaluated")
    IGNORED("eval_accumulation_steps", TRAIN, NULL, "logits are never gathered")
    REFUSED("eval_delay", TRAIN, "0", "evaluation is not delayed here")
    IGNORED("torch_empty_cache_steps", TRAIN, NULL, SAME_MEMORY)
    IGNORED("log_level", TRAIN, "passive", REPORTS)
    IGNORED("log_level_replica", TRAIN, "warning", REPORTS)
    FLAG_IGNORED("log_on_each_node", TRAIN, "true", ONE_PROCESS)
    FLAG_IGNORED("logging_nan_inf_filter", TRAIN, "true", "a loss that is not finite ends the run")
    FLAG_IGNORED("save_safetensors", TRAIN, "true", "adapters are written as safetensors")
    FLAG_IGNORED("save_on_each_node", TRAIN, "false", ONE_PROCESS)
    FLAG_IGNORED("save_only_model", TRAIN, "false", "checkpoints are complete")
    FLAG_IGNORED("restore_callback_states_from_checkpoint", TRAIN, "false",
                 "checkpoints are complete")
    FLAG_IGNORED("no_cuda", TRAIN, "true false", NO_CARD)
    FLAG_IGNORED("use_cpu", TRAIN, "true false", ALWAYS)
    FLAG_IGNORED("use_mps_device", TRAIN, "false", NO_CARD)
    FLAG_IGNORED("jit_mode_eval", TRAIN, "false", NO_COMPILER)
    IGNORED("fp16_opt_level", TRAIN, "O1", NO_CARD)
    IGNORED("half_precision_backend", TRAIN, "auto", NO_CARD)
    IGNORED("fp16_backend", TRAIN, "auto", NO_CARD)
    FLAG_REFUSED("bf16_full_eval", TRAIN, "false",
                 "evaluation computes as training does: compute_dtype")
    FLAG_REFUSED("fp16_full_eval", TRAIN, "false",
                 "evaluation computes as training does: compute_dtype")
    FLAG_IGNORED("tf32", TRAIN, "false", NO_CARD)
    IGNORED("local_rank", TRAIN, "-1 0", ONE_PROCESS)
    IGNORED("ddp_backend", TRAIN, NULL, ONE_PROCESS)
    FLAG_IGNORED("ddp_find_unused_parameters", TRAIN, "false", ONE_PROCESS)
    IGNORED("ddp_bucket_cap_mb", TRAIN, NULL, ONE_PROCESS)
    FLAG_IGNORED("ddp_broadcast_buffers", TRAIN, NULL, ONE_PROCESS)
    IGNORED("ddp_timeout", TRAIN, "1800", ONE_PROCESS)
    IGNORED("tpu_num_cores", TRAIN, NULL, NO_CARD)
    FLAG_IGNORED("tpu_metrics_debug", TRAIN, "false", NO_CARD)
    IGNORED("debug", TRAIN, NULL, "there is nothing of torch to debug")
    FLAG_REFUSED("dataloader_drop_last", TRAIN, "false",
                 "a short last batch is trained, not dropped")
    IGNORED("dataloader_num_workers", TRAIN, "0", NO_LOADER)
    IGNORED("dataloader_prefetch_factor", TRAIN, NULL, NO_LOADER)
    FLAG_IGNORED("dataloader_pin_memory", TRAIN, "true false", NO_LOADER)
    FLAG_IGNORED("dataloader_persistent_workers", TRAIN, "false", NO_LOADER)
    REFUSED("past_index", TRAIN, "-1", "states of the step before are not carried over")
    IGNORED("run_name", TRAIN, NULL, "trackers on the network are not reported to")
    IGNORED("project", TRAIN, "huggingface", "trackers on the network are not reported to")
    IGNORED("trackio_space_id", TRAIN, "trackio", "trackers on the network are not reported to")
    FLAG_IGNORED("disable_tqdm", TRAIN, "false", REPORTS)
    FLAG_IGNORED("remove_unused_columns", TRAIN, "true false",
                 "fields that are not asked for are not read")
    REFUSED("label_names", TRAIN, "labels", "labels are made from the record")
    FLAG_REFUSED("ignore_data_skip", TRAIN, "false", "a resumed run would see other records")
    IGNORED("fsdp", TRAIN, NULL, ONE_PROCESS)
    IGNORED("fsdp_min_num_params", TRAIN, "0", ONE_PROCESS)
    IGNORED("fsdp_config", TRAIN, NULL, ONE_PROCESS)
    IGNORED("fsdp_transformer_layer_cls_to_wrap", TRAIN, NULL, ONE_PROCESS)
    REFUSED("accelerator_config", TRAIN, NULL, "it can change how batches are cut")
    REFUSED("parallelism_config", TRAIN, NULL,
            "one process trains; it can change how batches are cut")
    IGNORED("deepspeed", TRAIN, NULL, ONE_PROCESS)
    REFUSED("optim_args", TRAIN, NULL, "the optimizer's numbers have keys of their own")
    FLAG_REFUSED("adafactor", TRAIN, "false", "Adafactor is not computed here; optim names what is")
    REFUSED("optim_target_modules", TRAIN, NULL, "GaLore and its kin are not computed here")
    IGNORED("length_column_name", TRAIN, "length", "lengths are counted")
    FLAG_IGNORED("skip_memory_metrics", TRAIN, "true", "the memory used is always reported")
    FLAG_IGNORED("use_legacy_prediction_loop", TRAIN, "false", "there is one evaluation loop")
    FLAG_IGNORED("push_to_hub", TRAIN, "false", NO_HUB)
    IGNORED("push_to_hub_model_id", TRAIN, NULL, NO_HUB)
    IGNORED("push_to_hub_organization", TRAIN, NULL, NO_HUB)
    IGNORED("push_to_hub_token", TRAIN, NULL, NO_HUB)
    IGNORED("hub_model_id", TRAIN, NULL, NO_HUB)
    IGNORED("hub_strategy", TRAIN, "every_save", NO_HUB)
    IGNORED("hub_token", TRAIN, NULL, NO_HUB)
    FLAG_IGNORED("hub_private_repo", TRAIN, "false", NO_HUB)
    FLAG_IGNORED("hub_always_push", TRAIN, "false", NO_HUB)
    IGNORED("hub_revision", TRAIN, NULL, NO_HUB)
    IGNORED("gradient_checkpointing_kwargs", TRAIN, NULL, SAME_MEMORY)
    FLAG_IGNORED("include_inputs_for_metrics", TRAIN, "false", "the loss is all that is evaluated")
    IGNORED("include_for_metrics", TRAIN, NULL, "the loss is all that is evaluated")
    FLAG_IGNORED("eval_do_concat_batches", TRAIN, "true", "the loss is all that is evaluated")
    FLAG_IGNORED("batch_eval_metrics", TRAIN, "false", "the loss is all that is evaluated")
    FLAG_IGNORED("eval_use_gather_object", TRAIN, "false", ONE_PROCESS)
    FLAG_IGNORED("eval_on_start", TRAIN, "false",
                 "evaluation leaves the training alone; nibble evaluate does it before")
    IGNORED("mp_parameters", TRAIN, NULL, ONE_PROCESS)
    FLAG_REFUSED("auto_find_batch_size", TRAIN, "false",
                 "write per_device_train_batch_size: auto, which keeps a step's records")
    FLAG_IGNORED("full_determinism", TRAIN, "false true", ALWAYS)
    IGNORED("torchdynamo", TRAIN, NULL, NO_COMPILER)
    IGNORED("ray_scope", TRAIN, "last", "there is no hyperparameter search here")
    FLAG_IGNORED("torch_compile", TRAIN, "false", NO_COMPILER)
    IGNORED("torch_compile_backend", TRAIN, NULL, NO_COMPILER)
    IGNORED("torch_compile_mode", TRAIN, NULL, NO_COMPILER)
    FLAG_IGNORED("include_tokens_per_second", TRAIN, "false true", ALWAYS)
    IGNORED("include_num_input_tokens_seen", TRAIN, "false no", REPORTS)
    FLAG_IGNORED("use_liger_kernel", TRAIN, "false", "logits are never held whole anyway")
    IGNORED("liger_kernel_config", TRAIN, NULL, "logits are never held whole anyway")
    FLAG_IGNORED("average_tokens_across_devices", TRAIN, "true false", ONE_PROCESS)

    /* SFTConfig, the rest */
    REFUSED("model_init_kwargs", SFT, NULL, "write its keys in the recipe itself")
    REFUSED("router_aux_loss_coef", SFT, "0", "mixtures of experts are not trained here")
    REFUSED("dataset_kwargs", SFT, NULL,
            "it can change the tokens; templates say how a record is made")
    IGNORED("dataset_num_proc", SFT, NULL, NO_LOADER)
    IGNORED("dataset_batch_size", SFT, NULL, NO_LOADER)
    REFUSED("eos_token", SFT, NULL, "the end token is tokenizer_config.json's eos_token")
    IGNORED("pad_token", SFT, NULL, NO_PADDING)
    REFUSED("truncation_mode", SFT, "keep_start", "longer records keep their start")
    FLAG_REFUSED("shuffle_dataset", SFT, "false",
                 "it is a second shuffle, before the Trainer's (shuffle, data_seed)")
    FREE("packing", SFT, CHOICE, packing, NULL,
         "tokens-per-batch of max-seq-length, unless that is given")
    IGNORED("packing_strategy", SFT, "bfd", "belongs to packing")
    FLAG_REFUSED("eval_packing", SFT, "false", "records are evaluated one by one")
    FLAG_IGNORED("padding_free", SFT, "false true", ALWAYS)
    IGNORED("pad_to_multiple_of", SFT, "auto", NO_PADDING)
    REFUSED("loss_type", SFT, "nll chunked_nll", "only the negative log-likelihood is trained")
    FLAG_IGNORED("activation_offloading", SFT, "false", SAME_MEMORY)
    ALIAS("use_liger", SFT, "use_liger_kernel")

    /* what recipes hold for loading a model */
    FLAG_IGNORED("trust_remote_code", SFT, "false", "no code of a model is run")
    IGNORED("device_map", LOAD, "auto cpu", NO_CARD)
    FLAG_IGNORED("use_cache", LOAD, "false", "training keeps no keys and values")
    FLAG_IGNORED("low_cpu_mem_usage", LOAD, "false true", ALWAYS)
    IGNORED("attn_implementation", LOAD, "eager", "there is one attention, and it is exact")
    FLAG_IGNORED("use_flash_attention_2", LOAD, "false", "there is one attention, and it is exact")
    IGNORED("cache_dir", LOAD, NULL, NO_HUB)
    IGNORED("token", LOAD, NULL, NO_HUB)
    IGNORED("use_auth_token", LOAD, "false", NO_HUB)
    IGNORED("offload_folder", LOAD, NULL, SAME_MEMORY)
    REFUSED("model_revision", LOAD, "main", "the model is the directory as it is")
    REFUSED("pretraining_tp", LOAD, "1", "products are not cut into slices")
    FLAG_IGNORED("use_peft", LOAD, "true", "finetune always trains an adapter")
    ALIAS("lora_task_type", LORA, "task_type")
    REFUSED("dataset_name", OWN, NULL, "nothing is downloaded: `data` names a file")
};

const size_t nib_recipe_row_count = NIB_COUNT(nib_recipe_rows);

const nib_recipe_key *nib_recipe_key_at(size_t i)
{
    return i < nib_recipe_row_count ? &nib_recipe_rows[i].key : NULL;
}
