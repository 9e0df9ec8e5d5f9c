/* download.h - one file on its way: locked, resumed, hashed while it arrives, put in its place. */
#ifndef NIB_HUB_DOWNLOAD_H
#define NIB_HUB_DOWNLOAD_H

#include "hub/checksum.h"
#include "hub/http.h"
#include "hub/store.h"

typedef struct nib_download {
    const nib_hub_store *store;
    const nib_hub_file *file;
    char *url, *what;     /* the latter begins its errors */
    nib_hub_places places;
    nib_checksum *sum;
    int part, lock;       /* file descriptors, -1: none */
    uint64_t here;        /* bytes of it that are there and hashed */
    uint64_t fetched;     /* bytes that came from the hub */
    int restarts;         /* by servers that send all when the rest was asked for */
    bool resumed;         /* some of the bytes are of an earlier run */
    bool done;
} nib_download;

/* name: of the repository; address: of its files, "https://host/org/name/resolve/<commit>".  store
 * and file are borrowed.  Directories are made, nothing is read yet. */
nib_status nib_download_open(const nib_hub_store *store, const nib_hub_file *file,
                             const char *name, const char *address, nib_download *out,
                             nib_error *err);
void nib_download_close(nib_download *d);

/* Bytes of an earlier run, not yet looked at. */
uint64_t nib_download_there(const nib_download *d);

nib_http_job nib_download_job(nib_download *d);

#endif
