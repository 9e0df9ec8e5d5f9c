KERNEL_OP(conv)
KERNEL_OP(conv_slope)
