/* The little XML that S3 answers with, from bytes that may be anything: a reader of elements and texts, one at a time.
 *
 * Attributes, comments, processing instructions and the declaration are passed over; a document type is refused, so nothing expands.
 * Entities are the five of XML and numbers. It checks that tags close in order and are no deeper than OB_XML_DEPTH_MAX; a
 * document that is cut off is an error, never an end. */
#ifndef OB_XML_H
#define OB_XML_H

#include "common/nf_cursor.h"

#define OB_XML_DEPTH_MAX 16
#define OB_XML_NAME_MAX 64 /* with its zero; of an element, without what stands before a colon */

enum ob_xml_event { OB_XML_OPEN, OB_XML_CLOSE, OB_XML_END, OB_XML_ERROR };

struct ob_xml {
	struct nf_reader in;
	unsigned depth;
	char names[OB_XML_DEPTH_MAX][OB_XML_NAME_MAX]; /* of the elements that are open */
	bool closes; /* the last tag was <X/>: its end comes next */
	bool leaves; /* the last event was a CLOSE */
	bool had_root;
	char *text; /* the caller's */
	size_t text_size;
	size_t text_used;
	bool text_cut; /* it did not fit */
};

struct ob_xml ob_xml_init(const void *bytes, size_t size);
/* Text between here and the next tag that opens, or the one behind the next that closes, is kept in `text` (NULL: it is passed over). */
void ob_xml_keep(struct ob_xml *xml, char *text, size_t size);
/* The next tag. After OPEN and CLOSE, xml->names[xml->depth - 1] is the innermost element (of CLOSE: the one that closes, which is left with the
 * next call). After CLOSE, `text` is what stood in it. */
enum ob_xml_event ob_xml_next(struct ob_xml *xml);
/* Name of the element at `level` from the root (0); "" when there is none. */
const char *ob_xml_name(const struct ob_xml *xml, unsigned level);

#endif
