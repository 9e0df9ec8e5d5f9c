/* versions.c - see nibble/version.h.  The Makefile gives this file NIB_COMMIT. */
#include "nibble/version.h"

#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <brotli/decode.h>
#include <cblas.h>
#include <curl/curl.h>
#include <jansson.h>
#include <lapacke.h>
#include <lz4.h>
#include <openssl/crypto.h>
#include <pcre2.h>
#include <utf8proc.h>
#include <yaml.h>
#include <zlib.h>
#include <zstd.h>

#include "base/base.h"
#include "base/cpu.h"

const char *nib_version(void) { return NIB_VERSION; }
const char *nib_commit(void) { return NIB_COMMIT; }

const char *nib_instruction_set(size_t i)
{
    static const struct { uint32_t bit; const char *name; } known[] = {
        { NIB_CPU_AVX2, "avx2" }, { NIB_CPU_AVX512, "avx512" },
        { NIB_CPU_AVX512BF16, "avx512bf16" }, { NIB_CPU_AMX, "amx" },
    };
    uint32_t cpu = nib_cpu_detect();

    for (size_t k = 0; k < NIB_COUNT(known); k++)
        if ((cpu & known[k].bit) && i-- == 0) return known[k].name;
    return NULL;
}

/* Each writes into the room of a nib_library_version. */
static void text(char *to, const char *version, size_t length)
{
    enum { ROOM = sizeof ((nib_library_version *)0)->version };
    snprintf(to, ROOM, "%.*s", (int)(length < ROOM ? length : ROOM - 1), version);
}

static void whole(char *to, const char *version) { text(to, version, strlen(version)); }

static void jansson(char *to) { whole(to, jansson_version_str()); }
static void utf8proc(char *to) { whole(to, utf8proc_version()); }
static void yaml(char *to) { whole(to, yaml_get_version_string()); }
static void zlib(char *to) { whole(to, zlibVersion()); }
static void zstd(char *to) { whole(to, ZSTD_versionString()); }
static void lz4(char *to) { whole(to, LZ4_versionString()); }

static void curl(char *to) { whole(to, curl_version_info(CURLVERSION_NOW)->version); }
static void openssl(char *to) { whole(to, OpenSSL_version(OPENSSL_VERSION_STRING)); }

static void pcre2(char *to) /* "10.42 2022-12-11": at most 24 characters, pcre2api(3) */
{
    char version[64] = "";

    pcre2_config(PCRE2_CONFIG_VERSION, version);
    text(to, version, strcspn(version, " "));
}

static void brotli(char *to) /* 8 bits, 12 bits, 12 bits */
{
    uint32_t v = BrotliDecoderVersion();
    char version[32];

    snprintf(version, sizeof version, "%u.%u.%u", v >> 24, v >> 12 & 0xfff, v & 0xfff);
    whole(to, version);
}

static void openblas(char *to) /* "OpenBLAS 0.3.21 DYNAMIC_ARCH ..." */
{
    const char *config = openblas_get_config();

    config += strcspn(config, "0123456789");
    text(to, config, strcspn(config, " "));
}

static void lapack(char *to)
{
    lapack_int major = 0, minor = 0, patch = 0;
    char version[64];

    LAPACKE_ilaver(&major, &minor, &patch);
    snprintf(version, sizeof version, "%d.%d.%d", (int)major, (int)minor, (int)patch);
    whole(to, version);
}

bool nib_library_at(size_t i, nib_library_version *out)
{
    static const struct { const char *name; void (*version)(char *to); } libraries[] = {
        { "jansson", jansson }, { "pcre2", pcre2 }, { "utf8proc", utf8proc }, { "libyaml", yaml },
        { "zlib", zlib }, { "zstd", zstd }, { "lz4", lz4 }, { "brotli", brotli },
        { "openblas", openblas }, { "lapack", lapack }, { "curl", curl }, { "openssl", openssl },
    };

    if (i >= NIB_COUNT(libraries)) return false;
    out->name = libraries[i].name;
    libraries[i].version(out->version);
    return true;
}
