/* unpacked.c - whole packed files into anonymous memory, grown as they unpack. */
#include "format/unpacked.h"

#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

typedef struct unpacker {
    nib_ctx *ctx;
    const char *path;
    nib_filemap packed;
    size_t at;          /* of packed, read so far */
    uint8_t *base;      /* anonymous pages */
    size_t bytes, used;
} unpacker;

/* What one call of a decoder came to. */
typedef enum step { STEP_MORE, STEP_FRAME_ENDS, STEP_STUCK, STEP_DAMAGED, STEP_NO_MEMORY } step;

static nib_status no_memory(const unpacker *u, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory after %zu bytes", u->path, u->used);
}

static nib_status make_room(unpacker *u, nib_error *err)
{
    size_t bytes = u->bytes ? 2 * u->bytes : (size_t)1 << 20;
    void *base;

    if (u->used < u->bytes) return NIB_OK;
    if (u->used >= NIB_UNPACKED_MOST)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: more than %d GiB unpacked: unpack it first, then it is read in place",
                        u->path, (int)(NIB_UNPACKED_MOST >> 30));
    base = u->base ? mremap(u->base, u->bytes, bytes, MREMAP_MAYMOVE)
                   : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return no_memory(u, err);
    u->base = base;
    u->bytes = bytes;
    return NIB_OK;
}

/* --- gzip --- */

static void *zlib_alloc(void *ctx, unsigned count, unsigned bytes)
{
    return nib_new_array(ctx, count, bytes);
}

static void zlib_free(void *ctx, void *p)
{
    nib_free(ctx, p);
}

/* One call of inflate with as much of both ends as its 32 bits hold. */
static step step_gzip(unpacker *u, void *state)
{
    enum { PIECE = 1 << 30 };
    z_stream *z = state;
    size_t in = nib_min(u->packed.bytes - u->at, PIECE), out = nib_min(u->bytes - u->used, PIECE);
    int result;

    z->next_in = (Bytef *)(uintptr_t)u->packed.base + u->at;
    z->avail_in = (unsigned)in;
    z->next_out = u->base + u->used;
    z->avail_out = (unsigned)out;
    result = inflate(z, Z_NO_FLUSH);
    u->at += in - z->avail_in;
    u->used += out - z->avail_out;
    if (result == Z_STREAM_END) return inflateReset(z), STEP_FRAME_ENDS;
    if (result == Z_MEM_ERROR) return STEP_NO_MEMORY;
    return result == Z_OK ? STEP_MORE : result == Z_BUF_ERROR ? STEP_STUCK : STEP_DAMAGED;
}

/* --- Zstandard --- */

static step step_zstd(unpacker *u, void *state)
{
    ZSTD_inBuffer in = { u->packed.base, u->packed.bytes, u->at };
    ZSTD_outBuffer out = { u->base, u->bytes, u->used };
    size_t left = ZSTD_decompressStream(state, &out, &in);
    bool moved = in.pos > u->at || out.pos > u->used;

    if (ZSTD_isError(left)) return STEP_DAMAGED;
    u->at = in.pos;
    u->used = out.pos;
    return left == 0 ? STEP_FRAME_ENDS : moved ? STEP_MORE : STEP_STUCK;
}

/* --- both --- */

static nib_status run(unpacker *u, step (*next)(unpacker *, void *), void *state, const char *what,
                      nib_error *err)
{
    step now = STEP_MORE;
    nib_status status = NIB_OK;

    while (!status && !(now == STEP_FRAME_ENDS && u->at == u->packed.bytes)) {
        status = make_room(u, err);
        if (status) break;
        now = next(u, state);
        if (now == STEP_NO_MEMORY)
            status = no_memory(u, err);
        else if (now == STEP_DAMAGED)
            status = nib_fail(err, NIB_E_FORMAT,
                              "%s: damaged %s data at byte %zu: fetch or pack the file again",
                              u->path, what, u->at);
        else if (now != STEP_FRAME_ENDS && u->at == u->packed.bytes && u->used < u->bytes)
            status = nib_fail(err, NIB_E_FORMAT,
                              "%s: the %s data ends in the middle: is the file cut short?", u->path,
                              what);
    }
    return status;
}

static nib_status unpack_gzip(unpacker *u, nib_error *err)
{
    z_stream z = { .zalloc = zlib_alloc, .zfree = zlib_free, .opaque = u->ctx };
    nib_status status;

    if (inflateInit2(&z, 15 + 16) != Z_OK) return no_memory(u, err);
    status = run(u, step_gzip, &z, "gzip", err);
    inflateEnd(&z);
    return status;
}

static nib_status unpack_zstd(unpacker *u, nib_error *err)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    nib_status status = z ? run(u, step_zstd, z, "Zstandard", err) : no_memory(u, err);

    ZSTD_freeDStream(z);
    return status;
}

static bool begins(const nib_filemap *map, const char *bytes, size_t count)
{
    return map->bytes >= count && memcmp(map->base, bytes, count) == 0;
}

nib_status nib_unpacked_open(nib_ctx *ctx, const char *path, nib_filemap *out, nib_error *err)
{
    unpacker u = { .ctx = ctx, .path = path };
    nib_status status = nib_filemap_open(path, &u.packed, err);

    if (status) return status;
    if (begins(&u.packed, "\x1f\x8b", 2)) {
        status = unpack_gzip(&u, err);
    } else if (begins(&u.packed, "\x28\xb5\x2f\xfd", 4)) {
        status = unpack_zstd(&u, err);
    } else {
        *out = u.packed;
        return NIB_OK;
    }
    if (!status) {
        size_t page = 4096, kept = nib_round_up(nib_max(u.used, 1), page);
        if (kept < u.bytes) munmap(u.base + kept, u.bytes - kept);
        *out = (nib_filemap){ .base = u.used ? u.base : NULL,
                              .bytes = u.used,
                              .device = u.packed.device,
                              .inode = u.packed.inode,
                              .mtime_ns = u.packed.mtime_ns };
        if (!u.used) munmap(u.base, kept);
    } else if (u.base) {
        munmap(u.base, u.bytes);
    }
    nib_filemap_close(&u.packed);
    return status;
}
