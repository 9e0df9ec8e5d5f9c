/* table_source.c - what the readers of tables have in common. */
#include "format/table_source.h"

#include <utf8proc.h>

void nib_table_release(const nib_table_source *s, size_t begin, size_t end)
{
    if (s->map && end > begin) nib_filemap_release(s->map, s->data + begin, end - begin);
}

size_t nib_text_invalid(const uint8_t *text, size_t bytes)
{
    size_t i = 0;

    while (i < bytes) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = 1;

        if (text[i] == 0) return i;
        if (text[i] >= 0x80) {
            n = utf8proc_iterate(text + i, bytes - i > 4 ? 4 : (utf8proc_ssize_t)(bytes - i), &c);
            if (n <= 0) return i;
        }
        i += (size_t)n;
    }
    return bytes;
}
