KERNEL(conv, ref, 0)
KERNEL(conv_slope, ref, 0)
#if NIB_ARCH_X86
KERNEL(conv, avx2, NIB_CPU_AVX2)
KERNEL(conv_slope, avx2, NIB_CPU_AVX2)
KERNEL(conv, avx512, NIB_CPU_AVX512)
KERNEL(conv_slope, avx512, NIB_CPU_AVX512)
#endif
