/* foreign_words.c - the keys of LLaMA-Factory, axolotl, mlx-lm and torchtune, a line each.
 *
 * Sources: the classes that read those recipes, LLaMA-Factory 0.9.5 (hparams), axolotl 0.19.0
 * (utils/schemas), mlx-lm 0.32.2 (lora.py), torchtune 0.6.1 (recipes/configs).  A key that has the
 * same name and meaning here needs no line: recipe_keys.c has it. */
#include "recipe/foreign_words.h"

#include "nibble/recipe.h"

#define SAME(name, key) { TOOL, name, NIB_WORD_SAME, key, NULL, NULL, NULL },
#define NEAR(name, key, note) { TOOL, name, NIB_WORD_SAME, key, NULL, NULL, note },
#define MAP(name, map, why) { TOOL, name, NIB_WORD_MAP, NULL, map, why, NULL },
#define NOTED(name, map, why, note) { TOOL, name, NIB_WORD_MAP, NULL, map, why, note },
#define NONE(name, why) { TOOL, name, NIB_WORD_NONE, NULL, NULL, why, NULL },
#define LOST(name, why) { TOOL, name, NIB_WORD_LOST, NULL, NULL, why, NULL },
#define DO(name, how, key, note) { TOOL, name, NIB_WORD_##how, key, NULL, NULL, note },
#define INVERSE(name, key) \
    { TOOL, name, NIB_WORD_MAP, NULL, "true=" key ":false false=" key ":true", NULL, NULL },

/* Why there is no counterpart. */
#define NO_CARD "there is no graphics card here"
#define ONE_PROCESS "one process trains"
#define NO_LOADER "records are read before step 1, without workers or a cache"
#define NO_HUB "nothing is downloaded or uploaded"
#define ONE_ATTENTION "there is one attention, and it is exact"
#define NO_TRACKER "trackers on the network are not reported to; report_to: tensorboard, jsonl"
#define ADAM "AdamW's numbers are weight_decay, adam_beta1, adam_beta2, adam_epsilon"
#define GENERATES "finetune does not generate; nibble generate has options for it"
#define NOT_DONE "is not computed here"
#define ONLY_LORA "LoRA adapters are trained; all parameters where you write full: true"
#define ONLY_TEXT "only text is trained on"
#define FIELDS "fields are found by their names; other names: prompt_template, completion_template"
#define OWN_TEMPLATE \
    "chats are rendered by the model's own chat template, or by chat_template: FILE"
#define HUB_DATA "a name on the hub must be pulled first (nibble pull --dataset)"

const nib_word nib_words[] = {
#define TOOL NIB_TOOL_LLAMA_FACTORY
    SAME("lora_rank", "r")
    MAP("lora_target", "all=target_modules:all-linear *=target_modules:@", NULL)
    SAME("additional_target", "modules_to_save")
    SAME("cutoff_len", "max_seq_length")
    MAP("quantization_bit", "4=load_in_4bit:true 8=load_in_8bit:true",
        "4 and 8 bits are what is quantized to while loading")
    SAME("quantization_type", "bnb_4bit_quant_type")
    SAME("double_quantization", "bnb_4bit_use_double_quant")
    MAP("quantization_method", "bnb= bitsandbytes=", "the bits are bitsandbytes'")
    NONE("quantization_device_map", NO_CARD)
    SAME("adapter_name_or_path", "adapter")
    DO("dataset", NAMED, "data", NULL)
    DO("eval_dataset", NAMED, "eval_data", NULL)
    NONE("dataset_dir", "data names the file itself")
    NONE("media_dir", ONLY_TEXT)
    MAP("stage", "sft=", "only supervised fine-tuning (sft) is done")
    MAP("finetuning_type", "lora=", ONLY_LORA)
    NONE("template", OWN_TEMPLATE)
    LOST("default_system", "write it into the records, as `system`")
    NONE("tool_format", OWN_TEMPLATE)
    MAP("enable_thinking",
        "true=chat_template_kwargs:{\"enable_thinking\":true} "
        "false=chat_template_kwargs:{\"enable_thinking\":false}", NULL)
    NONE("preserve_thinking", OWN_TEMPLATE)
    MAP("mask_history", "true=train_on_turns:last false=", "all turns are trained")
    LOST("max_samples", "cut the file: every record is trained")
    NONE("overwrite_cache", NO_LOADER)
    NONE("preprocessing_*", NO_LOADER)
    NONE("tokenized_path", NO_LOADER)
    NONE("streaming", NO_LOADER)
    NONE("buffer_size", NO_LOADER)
    NONE("data_shared_file_system", ONE_PROCESS)
    NONE("mix_strategy", "one data set is read: put the files into one folder")
    NONE("interleave_probs", "one data set is read: put the files into one folder")
    NONE("eval_on_each_dataset", "one data set is evaluated on")
    MAP("neat_packing", "true=packing:true false=", "packing is off")
    NONE("ignore_pad_token_for_loss", "batches are never padded")
    INVERSE("disable_shuffling", "shuffle")
    INVERSE("disable_gradient_checkpointing", "gradient_checkpointing")
    SAME("early_stopping_steps", "early_stopping_patience")
    MAP("pure_bf16", "true=compute_dtype:bfloat16 false=", "compute_dtype is auto")
    NONE("infer_dtype", GENERATES)
    NONE("flash_attn", ONE_ATTENTION)
    LOST("shift_attn", "shifted sparse attention " NOT_DONE)
    NONE("use_unsloth*", "there is one way to train, and it saves memory")
    NONE("enable_liger_kernel", "logits are never held whole anyway")
    NONE("use_reentrant_gc", "recomputing leaves the bits alone")
    NONE("upcast_layernorm", "norms are always computed in float32")
    NONE("upcast_lmhead_output", "the loss is always computed in float32")
    NONE("plot_loss", "report_to: tensorboard has the curve")
    NONE("compute_accuracy", "the loss is all that is evaluated")
    NONE("include_effective_tokens_per_second", "always reported")
    NONE("create_new_adapter", "adapter: DIR continues one; two at once are not trained")
    LOST("pissa_init", "init_lora_weights: pissa_niter_16 (pissa_iter's default), or pissa for -1")
    NONE("pissa_*", "a PiSSA adapter of a dense model is always written converted")
    LOST("use_galore", "GaLore " NOT_DONE)
    NONE("galore_*", "GaLore " NOT_DONE)
    LOST("use_apollo", "APOLLO " NOT_DONE)
    NONE("apollo_*", "APOLLO " NOT_DONE)
    LOST("use_badam", "BAdam " NOT_DONE)
    NONE("badam_*", "BAdam " NOT_DONE)
    LOST("use_adam_mini", "Adam-mini " NOT_DONE)
    LOST("use_muon", "Muon " NOT_DONE)
    LOST("use_dft_loss", "this loss " NOT_DONE)
    LOST("use_eaft_loss", "this loss " NOT_DONE)
    LOST("use_asft_loss", "this loss " NOT_DONE)
    LOST("use_llama_pro", ONLY_LORA)
    LOST("mixture_of_depths", "mixture of depths " NOT_DONE)
    NONE("use_v1_kernels", NO_CARD)
    NONE("use_kt", NO_CARD)
    NONE("kt_*", NO_CARD)
    NONE("fp8*", NO_CARD)
    NONE("freeze_*", ONLY_LORA)
    NONE("oft_*", ONLY_LORA)
    NONE("pref_*", "only supervised fine-tuning (sft) is done")
    NONE("ppo_*", "only supervised fine-tuning (sft) is done")
    NONE("reward_model*", "only supervised fine-tuning (sft) is done")
    NONE("ref_model*", "only supervised fine-tuning (sft) is done")
    NONE("swanlab_*", NO_TRACKER)
    NONE("use_swanlab", NO_TRACKER)
    NONE("ray_*", ONE_PROCESS)
    NONE("hf_hub_token", NO_HUB)
    NONE("ms_hub_token", NO_HUB)
    NONE("om_hub_token", NO_HUB)
    NONE("use_fast_tokenizer", "tokenizer.json is read")
    NONE("resize_vocab", "the vocabulary is the model's")
    NONE("add_tokens", "the vocabulary is the model's")
    NONE("add_special_tokens", "the vocabulary is the model's")
    NONE("split_special_tokens", "special tokens of a record are taken as such")
    LOST("rope_scaling", "write it into the model's config.json")
    LOST("moe_aux_loss_coef", "mixtures of experts are not trained here")
    NONE("model_max_length", "max_seq_length says where records are cut")
    NONE("print_param_status", "finetune prints what is trained")
    NONE("use_kv_cache", GENERATES)
    NONE("infer_backend", GENERATES)
    NONE("predict_with_generate", GENERATES)
    NONE("do_sample", GENERATES)
    NONE("temperature", GENERATES)
    NONE("top_p", GENERATES)
    NONE("top_k", GENERATES)
    NONE("max_new_tokens", GENERATES)
    NONE("repetition_penalty", GENERATES)
    NONE("image_*", ONLY_TEXT)
    NONE("video_*", ONLY_TEXT)
    NONE("export_*", "nibble merge writes a merged model")
    NONE("vllm_*", GENERATES)
#undef TOOL

#define TOOL NIB_TOOL_AXOLOTL
    SAME("base_model", "model_name_or_path")
    NONE("base_model_config", "config.json is the model's")
    NONE("model_type", "config.json names the architecture")
    NONE("type_of_model", "config.json names the architecture")
    NONE("tokenizer_*", "the tokenizer is the model's")
    NONE("is_llama_derived_model", "config.json names the architecture")
    NONE("is_mistral_derived_model", "config.json names the architecture")
    NONE("is_falcon_derived_model", "config.json names the architecture")
    NONE("is_qwen_derived_model", "config.json names the architecture")
    NONE("strict", "unknown keys are always refused; --strict does so with warnings")
    MAP("adapter", "qlora=load_in_4bit:true lora=", ONLY_LORA)
    SAME("lora_model_dir", "adapter")
    SAME("sequence_len", "max_seq_length")
    MAP("lora_target_linear", "true=target_modules:all-linear false=",
        "lora_target_modules says it")
    SAME("lora_target_modules", "target_modules")
    SAME("lora_modules_to_save", "modules_to_save")
    SAME("lora_rank_pattern", "rank_pattern")
    SAME("lora_alpha_pattern", "alpha_pattern")
    NONE("lora_fan_in_fan_out", "the layout of each linear is known")
    NONE("lora_mlp_kernel", NO_CARD)
    NONE("lora_qkv_kernel", NO_CARD)
    NONE("lora_o_kernel", NO_CARD)
    NONE("lora_embedding_kernel", NO_CARD)
    NONE("lora_on_cpu", "always so here")
    SAME("peft_layers_to_transform", "layers_to_transform")
    SAME("peft_layers_pattern", "layers_pattern")
    SAME("peft_use_rslora", "use_rslora")
    SAME("peft_init_lora_weights", "init_lora_weights")
    SAME("peft_use_dora", "use_dora")
    LOST("peft", "init_lora_weights: loftq, loftq_config: {loftq_bits: 4}")
    SAME("micro_batch_size", "per_device_train_batch_size")
    NONE("batch_size", "per_device_train_batch_size x gradient_accumulation_steps gives it")
    SAME("eval_batch_size", "per_device_eval_batch_size")
    SAME("num_epochs", "num_train_epochs")
    SAME("optimizer", "optim")
    SAME("lr_scheduler", "lr_scheduler_type")
    LOST("cosine_min_lr_ratio", "the cosine ends at 0 here")
    LOST("cosine_constant_lr_ratio", "the cosine reaches to the last step")
    LOST("lr_groups", "all of A and B have one rate; LoRA+ has two: loraplus_lr_ratio")
    NONE("embedding_lr*", "with LoRA+: loraplus_lr_embedding")
    SAME("val_set_size", "val_size")
    DO("datasets", FILES, "data", NULL)
    DO("test_datasets", FILES, "eval_data", NULL)
    NONE("pretraining_dataset", "nothing is streamed: data names a file")
    NONE("dataset_prepared_path", NO_LOADER)
    NONE("dataset_processes", NO_LOADER)
    NONE("dataset_keep_in_memory", NO_LOADER)
    NONE("dataset_exact_deduplication", "duplicates are counted, not left out")
    NONE("skip_prepare_dataset", NO_LOADER)
    NONE("push_dataset_to_hub", NO_HUB)
    NONE("hf_use_auth_token", NO_HUB)
    NONE("shuffle_merged_datasets", "shuffle says whether each epoch is shuffled")
    SAME("train_on_inputs", "train_on_prompt")
    MAP("sample_packing", "true=packing:true false=", "packing is off")
    NONE("sample_packing_*", "packing fills micro-batches with whole records")
    MAP("eval_sample_packing", "false= true=", "records are evaluated one by one")
    NONE("pad_to_sequence_len", "batches are never padded")
    NONE("excess_length_strategy", "longer records are cut, and counted")
    NONE("min_sample_len", "records without a trained token are counted and warned of")
    NONE("chat_template", OWN_TEMPLATE)
    SAME("chat_template_jinja", "chat_template")
    LOST("default_system_message", "write it into the records, as `system`")
    NONE("eot_tokens", "the end of a turn is the chat template's")
    NONE("special_tokens*", "special tokens are the tokenizer's")
    NONE("tokens", "the vocabulary is the model's")
    NONE("added_tokens_overrides", "the vocabulary is the model's")
    NONE("resize_token_embeddings_to_32x", "the vocabulary is the model's")
    NONE("flash_attention", ONE_ATTENTION)
    NONE("flash_attn_*", ONE_ATTENTION)
    NONE("xformers_attention", ONE_ATTENTION)
    NONE("sdp_attention", ONE_ATTENTION)
    NONE("flex_attention", ONE_ATTENTION)
    NONE("eager_attention", ONE_ATTENTION)
    NONE("sage_attention", ONE_ATTENTION)
    LOST("s2_attention", "shifted sparse attention " NOT_DONE)
    MAP("bf16", "true=bf16:true false= auto=compute_dtype:auto full=compute_dtype:bfloat16",
        "compute_dtype says it")
    MAP("fp16", "true=fp16:true false=", "compute_dtype says it")
    MAP("bfloat16", "true=compute_dtype:bfloat16 false=", "compute_dtype says it")
    MAP("float16", "true=compute_dtype:float16 false=", "compute_dtype says it")
    MAP("float32", "true=compute_dtype:float32 false=", "compute_dtype says it")
    NONE("tf32", NO_CARD)
    NONE("fp8*", NO_CARD)
    MAP("gradient_checkpointing",
        "true=gradient_checkpointing:true false=gradient_checkpointing:false "
        "offload=gradient_checkpointing:true", "layers are run again; nothing is moved elsewhere")
    DO("evals_per_epoch", RATE, "eval", NULL)
    DO("saves_per_epoch", RATE, "save", NULL)
    MAP("evaluation_strategy", "*=eval_strategy:@", NULL)
    MAP("eval_strategy", "*=eval_strategy:@", NULL)
    NONE("eval_table_size", GENERATES)
    NONE("eval_max_new_tokens", GENERATES)
    NONE("generate_samples", GENERATES)
    MAP("use_tensorboard", "true=report_to:tensorboard false=", "nothing is reported")
    NONE("wandb_*", NO_TRACKER)
    NONE("mlflow_*", NO_TRACKER)
    NONE("comet_*", NO_TRACKER)
    NONE("use_wandb", NO_TRACKER)
    NONE("loss_watchdog_*", "a loss that is not finite ends the run")
    NONE("auto_resume_from_checkpoints", "the same command resumes a run that was interrupted")
    NONE("save_first_step", "save_steps says when")
    NONE("world_size", ONE_PROCESS)
    NONE("ddp", ONE_PROCESS)
    NONE("fsdp_*", ONE_PROCESS)
    NONE("device", NO_CARD)
    NONE("gpu_memory_limit", "max_memory says how much memory may be used")
    NONE("processor_type", ONLY_TEXT)
    NONE("use_kernels", NO_CARD)
    NONE("fused_attn_kernel", ONE_ATTENTION)
    SAME("lora_target_parameters", "target_parameters")
    NONE("load_in_16bit", "weights are held as the file has them, unless quantized")
    NONE("gptq", "GPTQ models are not trained here")
    LOST("rl*", "only supervised fine-tuning is done")
    LOST("relora*", ONLY_LORA)
    LOST("unfrozen_parameters", ONLY_LORA)
    NONE("plugins", "no code of others is run")
    NONE("liger_*", "logits are never held whole anyway")
    NONE("chunked_cross_entropy*", "logits are never held whole anyway")
    NONE("cut_cross_entropy", "logits are never held whole anyway")
    NONE("noisy_embedding_alpha", "it is neftune_noise_alpha")
    NONE("merge_lora", "nibble merge writes a merged model")
    NONE("group_size", "bnb_4bit_blocksize is bitsandbytes' name")
    NONE("sequence_parallel_degree", ONE_PROCESS)
    NONE("context_parallel_size", ONE_PROCESS)
    NONE("tensor_parallel_size", ONE_PROCESS)
    NONE("weight_decay_*", "weight_decay says it")
#undef TOOL

#define TOOL NIB_TOOL_MLX_LM
    NEAR("model", "model_name_or_path",
         "a directory as on Hugging Face's hub; one that MLX quantized is read as it is")
    MAP("train", "true= false=", "finetune trains")
    MAP("test", "true= false=", "nibble evaluate tests")
    NONE("test_batches", "nibble evaluate takes all records")
    MAP("fine_tune_type", "lora=", ONLY_LORA)
    NOTED("optimizer", "adam=optim:adamw_torch,weight_decay:0 adamw=optim:adamw_torch",
          "AdamW is computed, also in 8 bits and paged",
          "mlx-lm's does not correct the bias of its first steps, this one does")
    SAME("optimizer_config.adamw.weight_decay", "weight_decay")
    NONE("optimizer_config*", ADAM)
    MAP("num_layers", "-1=",
        "layers_to_transform lists layers by their numbers from 0; without it all are trained")
    NONE("lora_layers", "it is num_layers, and here layers_to_transform")
    SAME("batch_size", "per_device_train_batch_size")
    DO("iters", ITERS, "max_steps", NULL)
    SAME("grad_accumulation_steps", "gradient_accumulation_steps")
    NONE("val_batches", "all records of eval_data or eval_split are evaluated")
    SAME("steps_per_report", "logging_steps")
    NEAR("steps_per_eval", "eval_steps", "with eval_strategy: steps, and eval_split: validation")
    SAME("save_every", "save_steps")
    NEAR("resume_adapter_file", "adapter", "a directory as PEFT writes it")
    SAME("adapter_path", "output_dir")
    NONE("config", "a recipe is one file")
    SAME("grad_checkpoint", "gradient_checkpointing")
    NONE("clear_cache_threshold", NO_CARD)
    SAME("lora_parameters.rank", "r")
    DO("lora_parameters.scale", SCALE, "lora_alpha", NULL)
    SAME("lora_parameters.alpha", "lora_alpha")
    SAME("lora_parameters.dropout", "lora_dropout")
    DO("lora_parameters.keys", LAST, "target_modules", "names without their place")
    NOTED("lr_schedule.name",
          "cosine_decay=lr_scheduler_type:cosine linear_schedule=lr_scheduler_type:linear",
          "lr_scheduler_type names what there is", "here it goes down to 0 over all steps")
    SAME("lr_schedule.warmup", "warmup_steps")
    NONE("lr_schedule.warmup_init", "the warm-up begins at 0")
    NONE("lr_schedule.arguments",
         "the first is learning_rate; the others: it goes down to 0 over all steps")
    MAP("mask_prompt",
        "true=train_on_prompt:false,train_on_turns:last "
        "false=train_on_prompt:true,train_on_turns:everything", NULL)
    NONE("project_name", NO_TRACKER)
    NONE("hf_dataset*", HUB_DATA)
    NONE("prompt_feature", FIELDS)
    NONE("completion_feature", FIELDS)
    NONE("wandb", NO_TRACKER)
#undef TOOL

#define TOOL NIB_TOOL_TORCHTUNE
    MAP("model._component_",
        "qlora_*=load_in_4bit:true,bnb_4bit_use_double_quant:true lora_*=", ONLY_LORA)
    SAME("model.lora_rank", "r")
    SAME("model.lora_alpha", "lora_alpha")
    SAME("model.lora_dropout", "lora_dropout")
    DO("model.lora_attn_modules", MODULES, "target_modules", NULL)
    MAP("model.apply_lora_to_mlp", "true= false=", "part of target_modules")
    MAP("model.apply_lora_to_output", "true= false=", "part of target_modules")
    SAME("model.use_dora", "use_dora")
    LOST("model.quantize_base", "a builder whose name begins with qlora_ is what is converted")
    NONE("model.*", "config.json of the model says it")
    SAME("checkpointer.checkpoint_dir", "model_name_or_path")
    NONE("checkpointer.output_dir", "output_dir says it")
    NONE("checkpointer.*", "the model's directory is read as Hugging Face's hub has it")
    SAME("tokenizer.max_seq_len", "max_seq_length")
    NONE("tokenizer.*", "tokenizer.json of the model is read")
    NONE("dataset._component_", "the shape of the records is found by their fields")
    SAME("dataset.data_files", "data")
    NOTED("dataset.source", "json= csv= text= parquet=", HUB_DATA,
          "the ending of the file's name says it")
    SAME("dataset.train_on_input", "train_on_prompt")
    SAME("dataset.packed", "packing")
    NONE("dataset.split", "split is of a folder's files")
    NONE("dataset.split_across_pack", "packing fills micro-batches with whole records")
    NONE("dataset.column_map*", FIELDS)
    NONE("dataset.conversation_*", FIELDS)
    LOST("dataset.new_system_prompt", "write it into the records, as `system`")
    NONE("dataset.*", "records are read as they are")
    NONE("collate_fn", "batches are never padded")
    LOST("kd_*", "distillation " NOT_DONE)
    LOST("teacher_*", "distillation " NOT_DONE)
    SAME("batch_size", "per_device_train_batch_size")
    SAME("epochs", "num_train_epochs")
    DO("max_steps_per_epoch", EACH, "max_steps", NULL)
    MAP("optimizer._component_",
        "AdamW=optim:adamw_torch AdamW8bit=optim:adamw_bnb_8bit "
        "PagedAdamW=optim:paged_adamw_32bit PagedAdamW8bit=optim:paged_adamw_8bit",
        "AdamW is computed, also in 8 bits and paged")
    SAME("optimizer.lr", "learning_rate")
    SAME("optimizer.weight_decay", "weight_decay")
    SAME("optimizer.eps", "adam_epsilon")
    NONE("optimizer.fused", "always so here")
    NONE("optimizer.betas", "adam_beta1 and adam_beta2 say them")
    NONE("optimizer.*", ADAM)
    NONE("optimizer_in_bwd", "the optimizer's step is a part of the memory plan")
    MAP("lr_scheduler._component_",
        "get_cosine_schedule_with_warmup=lr_scheduler_type:cosine "
        "get_linear_schedule_with_warmup=lr_scheduler_type:linear", NULL)
    SAME("lr_scheduler.num_warmup_steps", "warmup_steps")
    NONE("lr_scheduler.*", "lr_scheduler_kwargs has the waves of the cosines")
    MAP("loss._component_", "CEWithChunkedOutputLoss= LinearCrossEntropyLoss= CrossEntropyLoss=",
        "only the negative log-likelihood is trained")
    NONE("loss.*", "logits are never held whole anyway")
    SAME("clip_grad_norm", "max_grad_norm")
    NONE("compile", "nothing is compiled while running")
    MAP("metric_logger._component_",
        "TensorBoardLogger=report_to:tensorboard DiskLogger=report_to:jsonl StdoutLogger=",
        NO_TRACKER)
    SAME("metric_logger.log_dir", "logging_dir")
    NONE("metric_logger.*", NO_TRACKER)
    SAME("log_every_n_steps", "logging_steps")
    NONE("log_peak_memory_stats", "always reported")
    NONE("log_level", "progress is reported in nibble's own way")
    NONE("device", NO_CARD)
    MAP("dtype",
        "bf16=compute_dtype:bfloat16 fp32=compute_dtype:float32 fp16=compute_dtype:float16", NULL)
    SAME("enable_activation_checkpointing", "gradient_checkpointing")
    NONE("enable_activation_offloading", "memory is planned, and nothing is moved elsewhere")
    MAP("resume_from_checkpoint", "false= true=resume_from_checkpoint:last",
        "a new run is begun")
    NONE("save_adapter_weights_only", "the adapter is what is written")
    NONE("profiler*", "nothing is profiled")
    NONE("low_cpu_ram", "always so here")
    NONE("fsdp*", ONE_PROCESS)
    NONE("custom_sharded_layers", ONE_PROCESS)
    NONE("tensor_parallel*", ONE_PROCESS)
    NONE("cudnn_deterministic_mode", "always so here")
    NONE("quantizer*", "nibble quantize writes a quantized model")
#undef TOOL
};
const size_t nib_word_count = NIB_COUNT(nib_words);

#define GIVEN(tool, key, value) { NIB_TOOL_##tool, key, value, NULL, NULL },
const nib_word_default nib_word_defaults[] = {
    GIVEN(LLAMA_FACTORY, "target_modules", "all-linear")
    GIVEN(LLAMA_FACTORY, "lora_alpha", "2r")
    GIVEN(LLAMA_FACTORY, "learning_rate", "5e-5")
    GIVEN(LLAMA_FACTORY, "max_seq_length", "2048")
    { NIB_TOOL_LLAMA_FACTORY, "bnb_4bit_use_double_quant", "true", "load_in_4bit", NULL },
    GIVEN(AXOLOTL, "max_seq_length", "512")
    GIVEN(AXOLOTL, "per_device_train_batch_size", "1")
    GIVEN(AXOLOTL, "num_train_epochs", "1")
    GIVEN(AXOLOTL, "lr_scheduler_type", "cosine")
    { NIB_TOOL_AXOLOTL, "warmup_ratio", "0.03", "!warmup_steps", NULL },
    { NIB_TOOL_AXOLOTL, "bnb_4bit_use_double_quant", "true", "load_in_4bit", NULL },
    GIVEN(MLX_LM, "max_steps", "1000")
    GIVEN(MLX_LM, "per_device_train_batch_size", "4")
    GIVEN(MLX_LM, "lora_alpha", "20r")
    GIVEN(MLX_LM, "learning_rate", "1e-5")
    GIVEN(MLX_LM, "max_seq_length", "2048")
    GIVEN(MLX_LM, "lr_scheduler_type", "constant")
    GIVEN(MLX_LM, "max_grad_norm", "0")
    GIVEN(MLX_LM, "seed", "0")
    GIVEN(MLX_LM, "target_modules", "all-linear")
    GIVEN(MLX_LM, "train_on_prompt", "true")
    GIVEN(MLX_LM, "train_on_turns", "everything")
    { NIB_TOOL_MLX_LM, "weight_decay", "0.01", "optim", NULL },
    { NIB_TOOL_MLX_LM, "eval_strategy", "steps", "eval_steps", NULL },
    { NIB_TOOL_MLX_LM, "eval_split", "validation", "eval_steps", NULL },
    GIVEN(TORCHTUNE, "lr_scheduler_type", "constant")
    GIVEN(TORCHTUNE, "max_grad_norm", "0")
    GIVEN(TORCHTUNE, "weight_decay", "0.01")
    GIVEN(TORCHTUNE, "lora_alpha", "16")
    { NIB_TOOL_TORCHTUNE, "train_on_prompt", "true", "@dataset._component_ alpaca", NULL },
    { NIB_TOOL_TORCHTUNE, "max_seq_length", NULL, NULL,
      "torchtune cuts no record unless tokenizer.max_seq_len is given; here 1024 is the default" },
};
const size_t nib_word_default_count = NIB_COUNT(nib_word_defaults);

const char *nib_tool_name(nib_tool tool)
{
    static const char *const names[] = { [NIB_TOOL_LLAMA_FACTORY] = "LLaMA-Factory",
                                         [NIB_TOOL_AXOLOTL] = "axolotl",
                                         [NIB_TOOL_MLX_LM] = "mlx-lm",
                                         [NIB_TOOL_TORCHTUNE] = "torchtune" };
    return names[tool];
}

static bool is_named(const nib_word *w, const char *name)
{
    size_t n = strlen(w->name);

    return w->name[n - 1] == '*' ? strncmp(w->name, name, n - 1) == 0 : strcmp(w->name, name) == 0;
}

const nib_word *nib_word_find(nib_tool tool, const char *name)
{
    const nib_word *found = NULL;

    for (size_t i = 0; i < nib_word_count; i++) {
        const nib_word *w = &nib_words[i];
        const char *dot = strrchr(w->name, '.');
        bool same = w->how == NIB_WORD_SAME;

        if (tool != NIB_TOOLS ? tool == w->tool && is_named(w, name)
                              : same && (is_named(w, name) || (dot && strcmp(dot + 1, name) == 0)))
            return w;
        if (tool == NIB_TOOLS && !found && is_named(w, name)) found = w;
    }
    return found;
}

const char *nib_recipe_key_of_others(const char *name)
{
    const nib_word *w;
    char plain[64];

    if (strlen(name) >= sizeof plain) return NULL;
    for (size_t i = 0;; i++) {
        plain[i] = name[i] == '-' ? '_' : name[i];
        if (!name[i]) break;
    }
    w = nib_word_find(NIB_TOOLS, plain);
    return w && w->how == NIB_WORD_SAME ? w->key : NULL;
}
