KERNEL(encode4, ref, 0)
#if NIB_ARCH_X86
KERNEL(encode4, avx2, NIB_CPU_AVX2)
KERNEL(encode4, avx512, NIB_CPU_AVX512)
#endif
KERNEL(decode4, ref, 0)
#if NIB_ARCH_X86
KERNEL(decode4, avx2, NIB_CPU_AVX2)
KERNEL(decode4, avx512, NIB_CPU_AVX512)
#endif
