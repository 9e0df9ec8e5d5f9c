KERNEL(adamw8, ref, 0)
#if NIB_ARCH_X86
KERNEL(adamw8, avx2, NIB_CPU_AVX2)
KERNEL(adamw8, avx512, NIB_CPU_AVX512)
#endif
