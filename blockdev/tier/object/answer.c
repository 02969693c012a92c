/* See answer.h. */
#include "blockdev/tier/object/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/xml.h"

bool ob_answer_read_text(const void *body, size_t size, const char *root, const char *name, char *text, size_t text_size)
{
	struct ob_xml xml = ob_xml_init(body, size);
	bool found = false;
	enum ob_xml_event event;
	while ((event = ob_xml_next(&xml)) == OB_XML_OPEN || event == OB_XML_CLOSE) {
		bool here = xml.depth == 2 && strcmp(ob_xml_name(&xml, 0), root) == 0 && strcmp(ob_xml_name(&xml, 1), name) == 0;
		if (here && event == OB_XML_OPEN)
			ob_xml_keep(&xml, text, text_size);
		else if (here)
			found = !xml.text_cut;
	}
	return found && event == OB_XML_END;
}

bool ob_answer_read_error(const void *body, size_t size, struct ob_answer_error *ret_error)
{
	*ret_error = (struct ob_answer_error){0};
	if (!ob_answer_read_text(body, size, "Error", "Code", ret_error->code, sizeof(ret_error->code)))
		return false;
	/* A text that is too long is shown cut. */
	(void)ob_answer_read_text(body, size, "Error", "Message", ret_error->message, sizeof(ret_error->message));
	if (!ob_answer_read_text(body, size, "Error", "Region", ret_error->region, sizeof(ret_error->region)))
		ret_error->region[0] = '\0';
	return true;
}

int64_t ob_answer_time(const char *text)
{
	struct tm utc = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
	if (end == NULL || (*end != '.' && *end != 'Z'))
		return 0;
	return timegm(&utc);
}

void ob_answer_unquote(char *etag)
{
	size_t size = strlen(etag);
	if (size < 2 || etag[0] != '"' || etag[size - 1] != '"')
		return;
	memmove(etag, etag + 1, size - 2);
	etag[size - 2] = '\0';
}

/* ------------------------------------------------------------------ list */

struct fields {
	char key[OB_AFTER_MAX], size[24], modified[40], etag[OB_ETAG_MAX], truncated[8];
	bool key_is_long;
};

struct reading {
	const char *prefix;
	struct ob_list *list;
	unsigned room;
	size_t names_used, names_size;
	struct fields fields;
	char last[OB_AFTER_MAX]; /* the last key, ours or not */
};

static bool read_size(const char *text, uint64_t *ret_size)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	*ret_size = value;
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

static const char *keep_text(struct reading *reading, const char *text)
{
	size_t size = strlen(text) + 1;
	assert(size <= reading->names_size - reading->names_used);
	char *kept = reading->list->names + reading->names_used;
	memcpy(kept, text, size);
	reading->names_used += size;
	return kept;
}

/* One <Contents> has ended. */
static int take_entry(struct reading *reading)
{
	struct ob_list *list = reading->list;
	struct fields *fields = &reading->fields;
	size_t prefix_size = strlen(reading->prefix);
	uint64_t size;
	if (list->count + list->foreign == reading->room || !read_size(fields->size, &size) || fields->key_is_long ||
	    strncmp(fields->key, reading->prefix, prefix_size) != 0)
		return -EBADMSG;
	/* In order, and none twice: paging goes by the last key. */
	if (strcmp(reading->last, fields->key) >= 0)
		return -EBADMSG;
	strcpy(reading->last, fields->key);
	const char *key = fields->key + prefix_size;
	if (!ob_key_is_valid(key)) {
		list->foreign++;
		return 0;
	}
	ob_answer_unquote(fields->etag);
	list->entries[list->count++] = (struct ob_entry){.key = keep_text(reading, key),
							 .size = size,
							 .modified_s = ob_answer_time(fields->modified),
							 .etag = keep_text(reading, fields->etag)};
	return 0;
}

static void open_field(struct ob_xml *xml, struct fields *fields)
{
	const char *name = ob_xml_name(xml, 2);
	if (strcmp(name, "Key") == 0)
		ob_xml_keep(xml, fields->key, sizeof(fields->key));
	else if (strcmp(name, "Size") == 0)
		ob_xml_keep(xml, fields->size, sizeof(fields->size));
	else if (strcmp(name, "LastModified") == 0)
		ob_xml_keep(xml, fields->modified, sizeof(fields->modified));
	else if (strcmp(name, "ETag") == 0)
		ob_xml_keep(xml, fields->etag, sizeof(fields->etag));
}

static int read_event(struct ob_xml *xml, enum ob_xml_event event, struct reading *reading)
{
	bool contents = strcmp(ob_xml_name(xml, 1), "Contents") == 0;
	if (strcmp(ob_xml_name(xml, 0), "ListBucketResult") != 0)
		return -EBADMSG;
	if (event == OB_XML_OPEN) {
		if (xml->depth == 2 && contents)
			reading->fields = (struct fields){.truncated = ""};
		else if (xml->depth == 2 && strcmp(ob_xml_name(xml, 1), "IsTruncated") == 0)
			ob_xml_keep(xml, reading->fields.truncated, sizeof(reading->fields.truncated));
		else if (xml->depth == 3 && contents)
			open_field(xml, &reading->fields);
		return 0;
	}
	if (xml->depth == 3 && contents && strcmp(ob_xml_name(xml, 2), "Key") == 0)
		reading->fields.key_is_long = xml->text_cut;
	if (xml->depth == 2 && strcmp(ob_xml_name(xml, 1), "IsTruncated") == 0)
		reading->list->more = strcmp(reading->fields.truncated, "true") == 0;
	return xml->depth == 2 && contents ? take_entry(reading) : 0;
}

/* How many <Contents> there may be: an upper bound from the bytes, so that nothing is allocated that they do not pay for. */
static unsigned count_contents(const void *body, size_t size)
{
	unsigned count = 0;
	const char *at = body;
	const char *end = at + size;
	while (at < end && count < OB_LIST_MAX && (at = memmem(at, (size_t)(end - at), "Contents", 8)) != NULL) {
		at += 8;
		count++;
	}
	return count;
}

int ob_answer_read_list(const void *body, size_t size, const char *prefix, struct ob_list *ret_list)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	if (reading == NULL)
		return -ENOMEM;
	*reading = (struct reading){.prefix = prefix, .list = ret_list, .room = count_contents(body, size)};
	reading->names_size = (size_t)reading->room * (OB_KEY_MAX + 1 + OB_ETAG_MAX);
	int rc = ob_list_begin(ret_list, reading->room, reading->names_size);
	struct ob_xml xml = ob_xml_init(body, size);
	enum ob_xml_event event = OB_XML_END;
	while (rc == 0 && ((event = ob_xml_next(&xml)) == OB_XML_OPEN || event == OB_XML_CLOSE))
		rc = read_event(&xml, event, reading);
	if (rc == 0 && (event != OB_XML_END || (ret_list->more && reading->last[0] == '\0')))
		rc = -EBADMSG;
	if (rc == 0 && ret_list->more)
		snprintf(ret_list->next_after, sizeof(ret_list->next_after), "%s", reading->last + strlen(prefix));
	free(reading);
	if (rc != 0) {
		struct ob_op op = {.list = *ret_list};
		ob_op_clear(&op);
		*ret_list = (struct ob_list){0};
	}
	return rc;
}
