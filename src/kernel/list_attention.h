KERNEL(attention_forward, ref, 0)
KERNEL(attention_backward, ref, 0)
#if NIB_ARCH_X86
KERNEL(attention_forward, avx2, NIB_CPU_AVX2)
KERNEL(attention_backward, avx2, NIB_CPU_AVX2)
KERNEL(attention_forward, avx512, NIB_CPU_AVX512)
KERNEL(attention_forward, amx, NIB_CPU_AMX)
KERNEL(attention_backward, avx512, NIB_CPU_AVX512)
KERNEL(attention_backward, amx, NIB_CPU_AMX)
#endif
