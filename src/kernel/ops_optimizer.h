KERNEL_OP(adamw8)
