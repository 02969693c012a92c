/* What S3's answers say: lists, errors, ids of uploads. Foreign bytes through ob_xml. */
#ifndef OB_ANSWER_H
#define OB_ANSWER_H

#include "blockdev/tier/object/object.h"

struct ob_answer_error {
	char code[64];
	char message[256];
	char region[64]; /* the right one, where the store names it */
};

/* An <Error> document. False when it is none. */
bool ob_answer_read_error(const void *body, size_t size, struct ob_answer_error *ret_error);

/* A list of objects (version 2). Keys come without `prefix` of the URL; those that are no keys of ours are counted as foreign.
 * Returns 0; -EBADMSG not that document, or out of order; -ENOMEM. ret_list is freed with ob_op_clear. */
NF_MUST_CHECK int ob_answer_read_list(const void *body, size_t size, const char *prefix, struct ob_list *ret_list);

/* The text of element `name` directly below root element `root`. False when there is none, or it does not fit. */
bool ob_answer_read_text(const void *body, size_t size, const char *root, const char *name, char *text, size_t text_size);

/* "2009-10-12T17:50:30.000Z" as Unix time; 0 when it is none. */
int64_t ob_answer_time(const char *text);
/* `etag` without the quotes around it, in place. */
void ob_answer_unquote(char *etag);

#endif
