KERNEL_OP(encode4) /* quant4.h */
KERNEL_OP(decode4)
