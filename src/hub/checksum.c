/* checksum.c - see checksum.h. */
#include "hub/checksum.h"

#include <openssl/evp.h>
#include <stdio.h>

struct nib_checksum {
    nib_ctx *ctx;
    EVP_MD_CTX *digest;
    bool sha256;
    uint64_t size;
};

static nib_status fail(nib_error *err)
{
    return nib_fail(err, NIB_E_IO, "the library libcrypto cannot compute SHA-256 or SHA-1 here");
}

nib_status nib_checksum_create(nib_ctx *ctx, bool sha256, uint64_t size, nib_checksum **out,
                               nib_error *err)
{
    nib_checksum *c = nib_new(ctx, sizeof *c);
    nib_status status;

    if (!c) return nib_fail(err, NIB_E_NOMEM, "a file's hash: out of memory");
    *c = (nib_checksum){ ctx, EVP_MD_CTX_new(), sha256, size };
    status = c->digest ? nib_checksum_restart(c, err)
                       : nib_fail(err, NIB_E_NOMEM, "a file's hash: out of memory");
    if (status) nib_checksum_destroy(c);
    else *out = c;
    return status;
}

nib_status nib_checksum_restart(nib_checksum *c, nib_error *err)
{
    char head[32];
    int n;

    if (!EVP_DigestInit_ex(c->digest, c->sha256 ? EVP_sha256() : EVP_sha1(), NULL))
        return fail(err);
    if (c->sha256) return NIB_OK;
    n = snprintf(head, sizeof head, "blob %" PRIu64, c->size);
    return nib_checksum_add(c, head, (size_t)n + 1, err); /* with its zero */
}

nib_status nib_checksum_add(nib_checksum *c, const void *data, size_t bytes, nib_error *err)
{
    return EVP_DigestUpdate(c->digest, data, bytes) ? NIB_OK : fail(err);
}

nib_status nib_checksum_end(nib_checksum *c, char hash[NIB_HUB_HASH + 1], nib_error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!EVP_DigestFinal_ex(c->digest, bytes, &n) || n > NIB_HUB_HASH / 2) return fail(err);
    for (unsigned i = 0; i < n; i++) snprintf(hash + 2 * i, 3, "%02x", bytes[i]);
    return NIB_OK;
}

nib_status nib_checksum_short(const char *text, char out[NIB_HUB_SHORT + 1], nib_error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!EVP_Digest(text, strlen(text), bytes, &n, EVP_sha1(), NULL) || n != 20) return fail(err);
    EVP_EncodeBlock((unsigned char *)out, bytes, (int)n);
    for (char *p = out; *p; p++) *p = (char)(*p == '+' ? '-' : *p == '/' ? '_' : *p);
    return NIB_OK;
}

void nib_checksum_destroy(nib_checksum *c)
{
    if (!c) return;
    EVP_MD_CTX_free(c->digest);
    nib_free(c->ctx, c);
}
