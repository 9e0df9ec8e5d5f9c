/* doctor.c - what the machine has, and what of it is used. */
#include <stdio.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>
#include <yaml.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "job/memory.h"
#include "job/report.h"
#include "model/model.h"

/* "model name" of the first processor; "unknown" where the system does not say. */
static void processor_name(char *name, size_t room)
{
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "re");

    snprintf(name, room, "unknown");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon += strspn(colon, ": \t");
        snprintf(name, room, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    fclose(f);
}

static json_t *sets(uint32_t cpu)
{
    static const struct { uint32_t bit; const char *name; } known[] = {
        { NIB_CPU_AVX2, "avx2" }, { NIB_CPU_AVX512, "avx512" },
        { NIB_CPU_AVX512BF16, "avx512bf16" },
    };
    json_t *list = json_array();

    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if ((cpu & known[i].bit) && json_array_append_new(list, json_string(known[i].name))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static uint64_t memory_total(long page)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

static json_t *examine(nib_ctx *ctx)
{
    long page = sysconf(_SC_PAGESIZE);
    char name[256], pcre[64] = "";

    processor_name(name, sizeof name);
    pcre2_config(PCRE2_CONFIG_VERSION, pcre); /* at most 24 characters: pcre2api(3) */
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s}", "nibble",
        NIB_VERSION, "processor", name, "instruction_sets", sets(nib_cpu_detect()), "kernels",
        nib_cpu_name(nib_ctx_cpu(ctx)), "compute_dtype",
        nib_dtype_name(nib_compute_type(ctx, NIB_COMPUTE_AUTO)), "threads", (int)nib_threads(ctx),
        "processors_online", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_total_bytes",
        (json_int_t)memory_total(page), "memory_free_bytes", (json_int_t)nib_memory_free(),
        "page_size_bytes", (json_int_t)page, "jansson", jansson_version_str(), "pcre2", pcre,
        "utf8proc", utf8proc_version(), "libyaml", yaml_get_version_string());
}

nib_status nib_doctor(nib_ctx *ctx, nib_report_form form, char **out, nib_error *err)
{
    json_t *report = examine(ctx);
    nib_status status = report ? nib_report_make(ctx, report, form, out, err)
                               : nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");

    json_decref(report);
    return status;
}
