KERNEL_OP(encode4) /* quant4.h */
KERNEL_OP(decode4)
KERNEL_OP(arrange4) /* dot4.h */
KERNEL_OP(arrange4_bf16)
KERNEL_OP(arrange_row)
KERNEL_OP(dot4)
KERNEL_OP(arrange4_fixed)
KERNEL_OP(dot4_fixed)
KERNEL_OP(dot4_bf16)
KERNEL_OP(dot_rows)
KERNEL_OP(dot_rows_bf16)
KERNEL_OP(dot8) /* dot8.h */
KERNEL_OP(encode8)
KERNEL_OP(panel4_f32) /* panel4.h */
KERNEL_OP(panel4_bf16)
KERNEL_OP(panel4_back_f32)
KERNEL_OP(panel4_back_bf16)
KERNEL_OP(int8_products) /* rows8.h */
KERNEL_OP(int8_encode)
KERNEL_OP(int8_decode)
KERNEL_OP(grouped_down) /* grouped_panel.h */
KERNEL_OP(grouped_across)
KERNEL_OP(float8_decode) /* float8.h */
KERNEL_OP(float8_back)
KERNEL_OP(float8_dot)
KERNEL_OP(blocks_decode) /* blocks.h */
KERNEL_OP(blocks_back)
KERNEL_OP(blocks_dot)
KERNEL_OP(blocks_dot_fixed)
KERNEL_OP(blocks_dot_bytes)
KERNEL_OP(fit_offsets) /* block_fit.h */
KERNEL_OP(code_offsets)
KERNEL_OP(fit_signs)
KERNEL_OP(code_signs)
KERNEL_OP(fit_uneven)
KERNEL_OP(encode_plain) /* block_plain.h */
KERNEL_OP(arrange_fixed) /* fixed.h */
KERNEL_OP(grouped_dot) /* grouped_dot.h */
KERNEL_OP(grouped_row_dot) /* grouped_row.h */
KERNEL_OP(float4_decode) /* float4.h */
KERNEL_OP(float4_back)
KERNEL_OP(float4_dot)
KERNEL_OP(float4_dot_fixed)
KERNEL_OP(additive_decode) /* additive.h */
KERNEL_OP(additive_back)
KERNEL_OP(additive_dot)
KERNEL_OP(awq_dot) /* awq_dot.h */
