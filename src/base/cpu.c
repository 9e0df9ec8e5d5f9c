/* cpu.c - asks the processor what it can do and the system what it saves. */
#include "base/cpu.h"

#if NIB_ARCH_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The registers that the operating system saves on a switch (XCR0). */
static uint64_t saved_state(void)
{
    uint32_t lo, hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Linux lends the tiles to a process that asks (arch_prctl(2), ARCH_REQ_XCOMP_PERM): a thread that
 * uses them costs 8 KiB more to switch. */
static bool may_use_tiles(void)
{
#if defined(__linux__)
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* Intel's vdpbf16ps takes four times as long as a multiply-add of floats (measured on a Xeon of
 * 2024): alone it would halve the speed.  Its tiles are what pays there. */
static bool is_intel(void)
{
    uint32_t a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx;
}

uint32_t nib_cpu_detect(void)
{
    const uint32_t tiles = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    const uint32_t avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    uint32_t a, b, c, d, cpu = 0;
    uint64_t saved;
    bool has_tiles;

    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!(c & bit_OSXSAVE) || !(c & bit_AVX) || !(c & bit_FMA) || !(c & bit_F16C)) return 0;
    saved = saved_state();
    if ((saved & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    has_tiles = (d & tiles) == tiles;
    if (b & bit_AVX2) cpu |= NIB_CPU_AVX2;
    if (cpu && (saved & 0xe6) == 0xe6 && (b & avx512_f_dq_bw_vl) == avx512_f_dq_bw_vl)
        cpu |= NIB_CPU_AVX512;
    if ((cpu & NIB_CPU_AVX512) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5))
        cpu |= NIB_CPU_AVX512BF16;
    if ((cpu & NIB_CPU_AVX512BF16) && has_tiles && (saved & 0x60000) == 0x60000 && may_use_tiles())
        cpu |= NIB_CPU_AMX;
    if (is_intel() && !(cpu & NIB_CPU_AMX)) cpu &= ~(uint32_t)NIB_CPU_AVX512BF16;
#ifdef NIB_EMULATE_AVX512 /* a test's build: their kernels are made of AVX2 instructions */
    if (cpu) cpu |= NIB_CPU_AVX512 | NIB_CPU_AVX512BF16;
#endif
    return cpu;
}
#else
uint32_t nib_cpu_detect(void) { return 0; }
#endif

static const struct { const char *name; uint32_t cpu; } levels[] = {
    { "ref", 0 },
    { "avx2", NIB_CPU_AVX2 },
    { "avx512", NIB_CPU_AVX2 | NIB_CPU_AVX512 },
    { "avx512bf16", NIB_CPU_AVX2 | NIB_CPU_AVX512 | NIB_CPU_AVX512BF16 },
    { "amx", NIB_CPU_AVX2 | NIB_CPU_AVX512 | NIB_CPU_AVX512BF16 | NIB_CPU_AMX },
};

const char *nib_cpu_name(uint32_t cpu)
{
    const char *name = levels[0].name;
    for (size_t i = 0; i < NIB_COUNT(levels); i++)
        if ((cpu & levels[i].cpu) == levels[i].cpu) name = levels[i].name;
    return name;
}

bool nib_cpu_from_name(const char *name, uint32_t *cpu)
{
    for (size_t i = 0; i < NIB_COUNT(levels); i++)
        if (strcmp(name, levels[i].name) == 0) {
            *cpu = levels[i].cpu;
            return true;
        }
    return false;
}
