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
KERNEL(panel4_f32, ref, 0)
KERNEL(panel4_bf16, ref, 0)
KERNEL(panel4_back_f32, ref, 0)
KERNEL(panel4_back_bf16, ref, 0)
#if NIB_ARCH_X86
KERNEL(panel4_f32, avx2, NIB_CPU_AVX2)
KERNEL(panel4_back_f32, avx2, NIB_CPU_AVX2)
KERNEL(panel4_f32, avx512, NIB_CPU_AVX512)
KERNEL(panel4_back_f32, avx512, NIB_CPU_AVX512)
KERNEL(panel4_bf16, avx512bf16, NIB_CPU_AVX512BF16)
KERNEL(panel4_back_bf16, avx512bf16, NIB_CPU_AVX512BF16)
#endif
KERNEL(arrange4, ref, 0)
KERNEL(arrange_row, ref, 0)
KERNEL(dot4, ref, 0)
KERNEL(dot_rows, ref, 0)
#if NIB_ARCH_X86
KERNEL(arrange4, avx2, NIB_CPU_AVX2)
KERNEL(arrange_row, avx2, NIB_CPU_AVX2)
KERNEL(dot4, avx2, NIB_CPU_AVX2)
KERNEL(dot_rows, avx2, NIB_CPU_AVX2)
KERNEL(arrange4_fixed, avx2, NIB_CPU_AVX2)
KERNEL(dot4_fixed, avx2, NIB_CPU_AVX2)
KERNEL(arrange4, avx512, NIB_CPU_AVX512)
KERNEL(arrange_row, avx512, NIB_CPU_AVX512)
KERNEL(dot4, avx512, NIB_CPU_AVX512)
KERNEL(dot4_fixed, avx512, NIB_CPU_AVX512)
KERNEL(dot_rows, avx512, NIB_CPU_AVX512)
KERNEL(arrange4_bf16, avx512bf16, NIB_CPU_AVX512BF16)
KERNEL(dot4_bf16, avx512bf16, NIB_CPU_AVX512BF16)
KERNEL(dot_rows_bf16, avx512bf16, NIB_CPU_AVX512BF16)
#endif
KERNEL(dot8, ref, 0)
KERNEL(encode8, ref, 0)
#if NIB_ARCH_X86
KERNEL(dot8, avx2, NIB_CPU_AVX2)
KERNEL(encode8, avx2, NIB_CPU_AVX2)
KERNEL(dot8, avx512, NIB_CPU_AVX512)
KERNEL(encode8, avx512, NIB_CPU_AVX512)
#endif
KERNEL(int8_products, ref, 0)
KERNEL(int8_encode, ref, 0)
KERNEL(int8_decode, ref, 0)
#if NIB_ARCH_X86
KERNEL(int8_products, avx2, NIB_CPU_AVX2)
KERNEL(int8_encode, avx2, NIB_CPU_AVX2)
KERNEL(int8_decode, avx2, NIB_CPU_AVX2)
KERNEL(int8_products, avx512, NIB_CPU_AVX512)
KERNEL(int8_encode, avx512, NIB_CPU_AVX512)
KERNEL(int8_decode, avx512, NIB_CPU_AVX512)
#endif
KERNEL(grouped_down, ref, 0)
KERNEL(grouped_across, ref, 0)
#if NIB_ARCH_X86
KERNEL(grouped_down, avx2, NIB_CPU_AVX2)
KERNEL(grouped_across, avx2, NIB_CPU_AVX2)
KERNEL(grouped_down, avx512, NIB_CPU_AVX512)
KERNEL(grouped_across, avx512, NIB_CPU_AVX512)
#endif
KERNEL(float8_decode, ref, 0)
KERNEL(float8_back, ref, 0)
#if NIB_ARCH_X86
KERNEL(float8_decode, avx2, NIB_CPU_AVX2)
KERNEL(float8_back, avx2, NIB_CPU_AVX2)
KERNEL(float8_decode, avx512, NIB_CPU_AVX512)
KERNEL(float8_back, avx512, NIB_CPU_AVX512)
#endif
KERNEL(float8_dot, ref, 0)
#if NIB_ARCH_X86
KERNEL(float8_dot, avx2, NIB_CPU_AVX2)
KERNEL(float8_dot, avx512, NIB_CPU_AVX512)
#endif
KERNEL(blocks_decode, ref, 0)
KERNEL(blocks_back, ref, 0)
KERNEL(blocks_dot, ref, 0)
#if NIB_ARCH_X86
KERNEL(blocks_decode, avx2, NIB_CPU_AVX2)
KERNEL(blocks_back, avx2, NIB_CPU_AVX2)
KERNEL(blocks_dot, avx2, NIB_CPU_AVX2)
KERNEL(blocks_decode, avx512, NIB_CPU_AVX512)
KERNEL(blocks_back, avx512, NIB_CPU_AVX512)
KERNEL(blocks_dot, avx512, NIB_CPU_AVX512)
#endif
KERNEL(fit_offsets, ref, 0)
KERNEL(code_offsets, ref, 0)
KERNEL(fit_signs, ref, 0)
KERNEL(code_signs, ref, 0)
KERNEL(fit_uneven, ref, 0)
KERNEL(encode_plain, ref, 0)
#if NIB_ARCH_X86
KERNEL(fit_offsets, avx2, NIB_CPU_AVX2)
KERNEL(code_offsets, avx2, NIB_CPU_AVX2)
KERNEL(fit_signs, avx2, NIB_CPU_AVX2)
KERNEL(code_signs, avx2, NIB_CPU_AVX2)
KERNEL(fit_uneven, avx2, NIB_CPU_AVX2)
KERNEL(encode_plain, avx2, NIB_CPU_AVX2)
#endif
KERNEL(arrange_fixed, ref, 0)
KERNEL(grouped_dot, ref, 0)
#if NIB_ARCH_X86
KERNEL(arrange_fixed, avx2, NIB_CPU_AVX2)
KERNEL(grouped_dot, avx2, NIB_CPU_AVX2)
KERNEL(arrange_fixed, avx512, NIB_CPU_AVX512)
KERNEL(grouped_dot, avx512, NIB_CPU_AVX512)
#endif
KERNEL(grouped_row_dot, ref, 0)
#if NIB_ARCH_X86
KERNEL(grouped_row_dot, avx2, NIB_CPU_AVX2)
KERNEL(grouped_row_dot, avx512, NIB_CPU_AVX512)
#endif
KERNEL(blocks_dot_bytes, ref, 0)
#if NIB_ARCH_X86
KERNEL(blocks_dot_bytes, avx2, NIB_CPU_AVX2)
KERNEL(blocks_dot_bytes, avx512, NIB_CPU_AVX512)
#endif
KERNEL(blocks_dot_fixed, ref, 0)
#if NIB_ARCH_X86
KERNEL(blocks_dot_fixed, avx2, NIB_CPU_AVX2)
KERNEL(blocks_dot_fixed, avx512, NIB_CPU_AVX512)
#endif
KERNEL(float4_decode, ref, 0)
KERNEL(float4_back, ref, 0)
KERNEL(float4_dot, ref, 0)
#if NIB_ARCH_X86
KERNEL(float4_decode, avx2, NIB_CPU_AVX2)
KERNEL(float4_back, avx2, NIB_CPU_AVX2)
KERNEL(float4_dot, avx2, NIB_CPU_AVX2)
KERNEL(float4_decode, avx512, NIB_CPU_AVX512)
KERNEL(float4_back, avx512, NIB_CPU_AVX512)
KERNEL(float4_dot, avx512, NIB_CPU_AVX512)
#endif
KERNEL(float4_dot_fixed, ref, 0)
#if NIB_ARCH_X86
KERNEL(float4_dot_fixed, avx2, NIB_CPU_AVX2)
KERNEL(float4_dot_fixed, avx512, NIB_CPU_AVX512)
#endif
KERNEL(additive_decode, ref, 0)
KERNEL(additive_back, ref, 0)
KERNEL(additive_dot, ref, 0)
#if NIB_ARCH_X86
KERNEL(additive_decode, avx2, NIB_CPU_AVX2)
KERNEL(additive_back, avx2, NIB_CPU_AVX2)
KERNEL(additive_dot, avx2, NIB_CPU_AVX2)
KERNEL(additive_decode, avx512, NIB_CPU_AVX512)
KERNEL(additive_back, avx512, NIB_CPU_AVX512)
KERNEL(additive_dot, avx512, NIB_CPU_AVX512)
#endif
KERNEL(awq_dot, ref, 0)
#if NIB_ARCH_X86
KERNEL(awq_dot, avx2, NIB_CPU_AVX2)
KERNEL(awq_dot, avx512, NIB_CPU_AVX512)
#endif
