/* gguf_rest.h - the keys of a GGUF's architecture that its family has not asked for.
 *
 * llama.cpp reads some keys for every architecture: what they say must be what the family computes,
 * else the file is refused.  Any other may change what llama.cpp computes, so it is named. */
#ifndef NIB_MODEL_GGUF_REST_H
#define NIB_MODEL_GGUF_REST_H

#include "model/gguf_family.h"

/* After all keys have been asked for that `f` reads.  c: fails with NIB_E_UNSUPPORTED. */
void nib_gguf_check_rest(nib_gguf_config *c, const nib_gguf_family *f);

#endif
