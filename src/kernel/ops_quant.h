KERNEL_OP(encode4) /* quant4.h */
KERNEL_OP(decode4)
KERNEL_OP(panel4_f32) /* panel4.h */
KERNEL_OP(panel4_bf16)
KERNEL_OP(panel4_back_f32)
KERNEL_OP(panel4_back_bf16)
