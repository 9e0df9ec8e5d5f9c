/* formats.h - the formats there are, for the list of them. */
#ifndef NIB_QUANT_FORMATS_H
#define NIB_QUANT_FORMATS_H

#include "quant/format.h"

extern const nib_format nib_format_bnb4; /* format_bnb4.c */
extern const nib_format nib_format_int8; /* format_int8.c */
extern const nib_format nib_format_gptq; /* format_gptq.c */
extern const nib_format nib_format_awq;  /* format_awq.c */
extern const nib_format nib_format_packed; /* format_packed.c: compressed-tensors */
extern const nib_format nib_format_fp8, nib_format_modelopt; /* format_fp8.c */
extern const nib_format nib_format_mxfp4; /* format_mxfp4.c */
extern const nib_format nib_format_aqlm;  /* format_aqlm.c */
extern const nib_format nib_format_mlx;   /* format_mlx.c */

#endif
