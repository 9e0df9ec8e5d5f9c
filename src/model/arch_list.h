/* arch_list.h - every architecture once.  arch.h makes the declarations of it, config_open.c the
 * list that model_type is looked up in. */
ARCH(llama)
ARCH(mistral)
ARCH(qwen2)
ARCH(gptj)
ARCH(falcon)
ARCH(gpt2)
ARCH(qwen3)
ARCH(gemma2)
ARCH(phi3)
ARCH(gemma3)
