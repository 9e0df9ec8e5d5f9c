/* test_tfevents.c - the bytes of formats.md 13, which torch's writer makes as well; files that
 * readers take in order; a writer whose disk is full. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>

#include "base/hash.h"
#include "format/tfevents.h"
#include "test.h"

static void test_hashes(void)
{
    /* FIPS 180-2, appendix B; RFC 3720, B.4 */
    static const struct { const char *text, *hex; } sha[] = {
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    static uint8_t large[100003];
    uint8_t million[1000], zeros[32] = { 0 };
    uint32_t pieces = 0;
    nib_sha256 h;
    char hex[65];

    for (size_t i = 0; i < NIB_COUNT(sha); i++) {
        nib_sha256_begin(&h);
        for (const char *p = sha[i].text; *p; p++) nib_sha256_add(&h, p, 1);
        nib_sha256_end(&h, hex);
        CHECK(strcmp(hex, sha[i].hex) == 0, "'%s': %s", sha[i].text, hex);
    }
    memset(million, 'a', sizeof million);
    nib_sha256_begin(&h);
    for (int i = 0; i < 1000; i++) nib_sha256_add(&h, million, sizeof million);
    nib_sha256_end(&h, hex);
    CHECK(strcmp(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") == 0,
          "%s", hex);

    CHECK(nib_crc32c(0, "123456789", 9) == 0xe3069283u, "%08x", nib_crc32c(0, "123456789", 9));
    CHECK(nib_crc32c(nib_crc32c(0, "1234", 4), "56789", 5) == 0xe3069283u, "in pieces");
    for (size_t i = 0; i < sizeof large; i++) large[i] = (uint8_t)test_rand();
    for (size_t i = 0; i < sizeof large; i += 997)
        pieces = nib_crc32c(pieces, large + i, i + 997 < sizeof large ? 997 : sizeof large - i);
    CHECK(nib_crc32c(0, large, sizeof large) == pieces, "a long piece");
    CHECK(nib_crc32c(0, zeros, 32) == 0x8a9136aau, "%08x", nib_crc32c(0, zeros, 32));
}

static void test_records(void)
{
    static const uint8_t version[] = { 0x18, 0,    0,    0,   0,   0,   0,    0,    0xa3, 0x7f,
                                       0x4b, 0x22, 0x09, 0,   0,   0,   0,    0x65, 0xcd, 0xcd,
                                       0x41, 0x1a, 0x0d, 'b', 'r', 'a', 'i',  'n',  '.',  'E',
                                       'v',  'e',  'n',  't', ':', '2', 0xf4, 0xeb, 0x19, 0x5e };
    static const uint8_t loss[] = { 0x20, 0,    0,    0,    0,    0,    0,    0,    0x29, 0xed,
                                    0xa9, 0x50, 0x09, 0,    0,    0,    0,    0x65, 0xcd, 0xcd,
                                    0x41, 0x10, 0x0a, 0x2a, 0x13, 0x0a, 0x11, 0x0a, 0x0a, 't',
                                    'r',  'a',  'i',  'n',  '/',  'l',  'o',  's',  's',  0x15,
                                    0,    0,    0xc0, 0x3f, 0xfe, 0x96, 0xd6, 0x67 };
    uint8_t out[NIB_TFEVENTS_RECORD];
    char tag[201];
    float value = 1.5f;
    size_t n = nib_tfevents_record(out, 1e9, 0, NULL, NULL);

    CHECK(n == sizeof version && memcmp(out, version, n) == 0, "the first record");
    n = nib_tfevents_record(out, 1e9, 10, "train/loss", &value);
    CHECK(n == sizeof loss && memcmp(out, loss, n) == 0, "a scalar");
    n = nib_tfevents_record(out, 1e9, 300, "", NULL);
    CHECK(n == 16 + 9 + 3 + 4 && memcmp(out + 12 + 9, "\x10\xac\x02\x3a\x02\x08\x01", 7) == 0,
          "a start");
    memset(tag, 'x', 200);
    tag[200] = 0;
    n = nib_tfevents_record(out, 1e9, UINT64_MAX >> 1, tag, &value);
    CHECK(n <= sizeof out, "the longest record has %zu bytes", n);
}

static void test_order(void)
{
    nib_tfevents *w = NULL;
    nib_error err;
    char names[3][300] = { "" };
    size_t count = 0;
    DIR *dir;

    for (int i = 0; i < 3; i++) { /* three within a second */
        REQUIRE_OK(nib_tfevents_create(test_ctx(), test_tmpdir(), &w, &err), err);
        REQUIRE_OK(nib_tfevents_scalar(w, 1.0, 5, "train/loss", (float)i, &err), err);
        REQUIRE_OK(nib_tfevents_sync(w, &err), err);
        nib_tfevents_close(w);
    }
    dir = opendir(test_tmpdir());
    REQUIRE(dir, "opendir");
    for (struct dirent *e; (e = readdir(dir));)
        if (strncmp(e->d_name, "events.out.tfevents.", 20) == 0 && count < 3)
            snprintf(names[count++], 300, "%s", e->d_name);
    closedir(dir);
    CHECK(count == 3, "%zu files", count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            CHECK(strncmp(names[i], names[k], 30) != 0, "%s and %s", names[i], names[k]);
    CHECK(nib_tfevents_create(test_ctx(), "/nowhere/at/all", &w, &err) == NIB_E_IO,
          "a directory that is not there");
}

static void test_full(void)
{
    struct rlimit old, low;
    nib_tfevents *w = NULL;
    nib_error err;
    nib_status status = NIB_OK;

    REQUIRE_OK(nib_tfevents_create(test_ctx(), test_tmpdir(), &w, &err), err);
    getrlimit(RLIMIT_FSIZE, &old);
    low = old;
    low.rlim_cur = 200;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &low);
    for (int i = 0; i < 9 && !status; i++)
        status = nib_tfevents_scalar(w, 1.0, 5, "train/loss", 1, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK(status == NIB_E_IO && strstr(err.message, "events.out.tfevents"), "%s",
          status ? err.message : "accepted");
    nib_tfevents_close(w);
}

int main(void)
{
    static const test_case cases[] = { { "hashes", test_hashes },
                                       { "records", test_records },
                                       { "order", test_order },
                                       { "full", test_full } };
    return test_main("tfevents", cases, NIB_COUNT(cases));
}
