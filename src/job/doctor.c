/* doctor.c - what the machine has, and what of it is used. */
#include <stdio.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "job/memory.h"
#include "job/report.h"
#include "model/model.h"
#include "nibble/version.h"

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

static json_t *sets(void)
{
    json_t *list = json_array();
    const char *name;

    for (size_t i = 0; (name = nib_instruction_set(i)); i++)
        if (json_array_append_new(list, json_string(name))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* Each library with its version, as members of the report. */
static bool add_libraries(json_t *report)
{
    nib_library_version library;

    for (size_t i = 0; nib_library_at(i, &library); i++)
        if (json_object_set_new(report, library.name, json_string(library.version))) return false;
    return true;
}

static uint64_t memory_total(long page)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

static json_t *examine(nib_ctx *ctx)
{
    long page = sysconf(_SC_PAGESIZE);
    char name[256];
    json_t *report;

    processor_name(name, sizeof name);
    report = json_pack(
        "{s:s, s:s, s:s, s:o, s:s, s:s, s:i, s:I, s:I, s:I, s:I}", "nibble", nib_version(),
        "commit", nib_commit(), "processor", name, "instruction_sets", sets(), "kernels",
        nib_cpu_name(nib_ctx_cpu(ctx)), "compute_dtype",
        nib_dtype_name(nib_compute_type(ctx, NIB_COMPUTE_AUTO)), "threads", (int)nib_threads(ctx),
        "processors_online", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_total_bytes",
        (json_int_t)memory_total(page), "memory_free_bytes", (json_int_t)nib_memory_free(),
        "page_size_bytes", (json_int_t)page);
    if (report && add_libraries(report)) return report;
    json_decref(report);
    return NULL;
}

nib_status nib_doctor(nib_ctx *ctx, nib_report_form form, char **out, nib_error *err)
{
    json_t *report = examine(ctx);
    nib_status status = report ? nib_report_make(ctx, report, form, out, err)
                               : nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");

    json_decref(report);
    return status;
}
