/* chat_turns.h - what the files that find the turns of a rendered chat have in common. */
#ifndef NIB_TEXT_CHAT_TURNS_H
#define NIB_TEXT_CHAT_TURNS_H

#include "text/chat.h"

#define NIB_NOWHERE SIZE_MAX

typedef struct nib_chat_text_piece {
    char *text; /* owned; NULL: none */
    size_t bytes;
    bool known;
} nib_chat_text_piece;

/* at[j] becomes where in the whole the text of message j ends (begins), NIB_NOWHERE where it cannot
 * be marked; at: as many as messages.  *found false: this template writes something else when texts
 * are marked, so nothing is known. */
nib_status nib_chat_locate(nib_chat *c, const nib_chat_turns *t, const nib_jinja_output *whole,
                           bool end, size_t *at, bool *found, nib_error *err);

/* What stands behind the text of `message` where the messages up to it are rendered alone, with the
 * generation prompt or without.  Not known: the template refuses them, or the mark is lost. */
nib_status nib_chat_tail(nib_chat *c, const nib_chat_turns *t, size_t message, bool prompt,
                         nib_chat_text_piece *tail, nib_error *err);

#endif
