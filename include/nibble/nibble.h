/* nibble.h - all of the library: quantize, fine-tune, evaluate, merge, generate. */
#ifndef NIBBLE_NIBBLE_H
#define NIBBLE_NIBBLE_H

#include "nibble/add_tokens.h"
#include "nibble/context.h"
#include "nibble/embed.h"
#include "nibble/evaluate.h"
#include "nibble/export.h"
#include "nibble/finetune.h"
#include "nibble/generate.h"
#include "nibble/hub.h"
#include "nibble/inspect.h"
#include "nibble/judge.h"
#include "nibble/int8.h"
#include "nibble/merge.h"
#include "nibble/model.h"
#include "nibble/perplexity.h"
#include "nibble/predict.h"
#include "nibble/preview.h"
#include "nibble/quantize.h"
#include "nibble/recipe.h"
#include "nibble/runs.h"
#include "nibble/status.h"
#include "nibble/tokenize.h"
#include "nibble/version.h"

#endif
