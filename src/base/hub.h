/* hub.h - names on the hub and their places in its cache, as huggingface_hub lays it out:
 *
 *     models--org--name/refs/main            a file: the commit that the branch stands at
 *     models--org--name/snapshots/<commit>   the files
 */
#ifndef NIB_BASE_HUB_H
#define NIB_BASE_HUB_H

#include "nibble/hub.h"

/* "org/name" or "name", "@revision" behind it or not: letters, digits, '-', '_' and '.' as the hub
 * allows them, and no path that begins with a dot. */
bool nib_hub_is_name(const char *name);

#endif
