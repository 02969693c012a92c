/* See xml.h. */
#include "blockdev/tier/object/xml.h"

#include <stdio.h>
#include <stdlib.h>

static int peek(const struct ob_xml *xml)
{
	return nf_reader_left(&xml->in) > 0 ? xml->in.data[xml->in.offset] : -1;
}

static int take(struct ob_xml *xml)
{
	return nf_reader_left(&xml->in) > 0 ? nf_read_u8(&xml->in) : -1;
}

static bool starts(const struct ob_xml *xml, const char *word)
{
	size_t size = strlen(word);
	return nf_reader_left(&xml->in) >= size && memcmp(xml->in.data + xml->in.offset, word, size) == 0;
}

/* Pass over everything up to and with `end`. */
static bool pass(struct ob_xml *xml, const char *end)
{
	const uint8_t *from = xml->in.data + xml->in.offset;
	size_t left = nf_reader_left(&xml->in);
	const uint8_t *found = left > 0 ? memmem(from, left, end, strlen(end)) : NULL;
	return found != NULL && nf_read_bytes(&xml->in, (size_t)(found - from) + strlen(end)) != NULL;
}

static bool is_blank(int c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void keep_byte(struct ob_xml *xml, char c)
{
	if (xml->text == NULL)
		return;
	if (xml->text_used + 1 >= xml->text_size) {
		xml->text_cut = true;
		return;
	}
	xml->text[xml->text_used++] = c;
	xml->text[xml->text_used] = '\0';
}

static bool keep_character(struct ob_xml *xml, unsigned long code)
{
	if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return false;
	if (code < 0x80) {
		keep_byte(xml, (char)code);
		return true;
	}
	unsigned more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
	keep_byte(xml, (char)(leads[more] | code >> (6 * more)));
	while (more-- > 0)
		keep_byte(xml, (char)(0x80 | (code >> (6 * more) & 0x3f)));
	return true;
}

/* Behind the '&'. */
static bool read_entity(struct ob_xml *xml)
{
	static const struct {
		const char *name;
		char c;
	} named[] = {{"lt;", '<'}, {"gt;", '>'}, {"amp;", '&'}, {"quot;", '"'}, {"apos;", '\''}};
	for (unsigned i = 0; i < NF_ARRAY_LEN(named); i++) {
		if (starts(xml, named[i].name)) {
			(void)nf_read_bytes(&xml->in, strlen(named[i].name));
			keep_byte(xml, named[i].c);
			return true;
		}
	}
	char digits[12];
	unsigned count = 0;
	int c;
	if (take(xml) != '#')
		return false;
	while ((c = take(xml)) >= 0 && c != ';' && count + 1 < sizeof(digits))
		digits[count++] = (char)c;
	digits[count] = '\0';
	bool hex = digits[0] == 'x';
	const char *allowed = hex ? "0123456789abcdefABCDEF" : "0123456789";
	if (c != ';' || digits[hex] == '\0' || strspn(digits + hex, allowed) != count - hex)
		return false;
	return keep_character(xml, strtoul(digits + hex, NULL, hex ? 16 : 10));
}

/* Text up to the next tag, which is left. */
static bool read_text(struct ob_xml *xml)
{
	int c;
	while ((c = peek(xml)) >= 0 && c != '<') {
		(void)take(xml);
		if (xml->depth == 0 && !is_blank(c))
			return false;
		if (c == '&' ? !read_entity(xml) : c == '\0')
			return false;
		if (c != '&')
			keep_byte(xml, (char)c);
	}
	return true;
}

static bool read_name(struct ob_xml *xml, char name[OB_XML_NAME_MAX])
{
	size_t used = 0;
	int c;
	while ((c = peek(xml)) >= 0 && !is_blank(c) && c != '/' && c != '>') {
		(void)take(xml);
		if (c == '<' || c == '\0' || used + 1 == OB_XML_NAME_MAX)
			return false;
		name[used++] = (char)c;
		if (c == ':')
			used = 0; /* a name space's short name */
	}
	name[used] = '\0';
	return used > 0;
}

/* The rest of an opening tag. */
static bool read_attributes(struct ob_xml *xml, bool *ret_empty)
{
	int c, quote = 0, last = 0;
	while ((c = take(xml)) >= 0) {
		if (quote != 0) {
			if (c == quote)
				quote = 0;
		} else if (c == '"' || c == '\'') {
			quote = c;
		} else if (c == '>') {
			*ret_empty = last == '/';
			return true;
		} else if (c == '<') {
			return false;
		}
		last = c;
	}
	return false;
}

static enum ob_xml_event read_close(struct ob_xml *xml)
{
	char name[OB_XML_NAME_MAX];
	if (xml->depth == 0 || !read_name(xml, name))
		return OB_XML_ERROR;
	while (is_blank(peek(xml)))
		(void)take(xml);
	if (take(xml) != '>' || strcmp(name, xml->names[xml->depth - 1]) != 0)
		return OB_XML_ERROR;
	return OB_XML_CLOSE;
}

static enum ob_xml_event read_open(struct ob_xml *xml)
{
	if (xml->depth == OB_XML_DEPTH_MAX || (xml->depth == 0 && xml->had_root))
		return OB_XML_ERROR;
	if (!read_name(xml, xml->names[xml->depth]) || !read_attributes(xml, &xml->closes))
		return OB_XML_ERROR;
	xml->had_root = true;
	xml->depth++;
	xml->text = NULL;
	return OB_XML_OPEN;
}

struct ob_xml ob_xml_init(const void *bytes, size_t size)
{
	struct ob_xml xml = {.in = nf_reader_init(bytes, size)};
	/* A byte order mark. */
	if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
		(void)nf_read_bytes(&xml.in, 3);
	return xml;
}

void ob_xml_keep(struct ob_xml *xml, char *text, size_t size)
{
	xml->text = text;
	xml->text_size = size;
	xml->text_used = 0;
	xml->text_cut = false;
	if (text != NULL)
		text[0] = '\0';
}

const char *ob_xml_name(const struct ob_xml *xml, unsigned level)
{
	return level < xml->depth ? xml->names[level] : "";
}

static enum ob_xml_event next(struct ob_xml *xml)
{
	if (xml->closes) {
		xml->closes = false;
		return OB_XML_CLOSE;
	}
	for (;;) {
		if (!read_text(xml))
			return OB_XML_ERROR;
		if (peek(xml) < 0)
			return xml->depth == 0 && xml->had_root ? OB_XML_END : OB_XML_ERROR;
		(void)take(xml);
		if (starts(xml, "/"))
			return take(xml), read_close(xml);
		if (starts(xml, "!--")) {
			if (!pass(xml, "-->"))
				return OB_XML_ERROR;
		} else if (starts(xml, "?")) {
			if (!pass(xml, "?>"))
				return OB_XML_ERROR;
		} else if (starts(xml, "!")) {
			return OB_XML_ERROR;
		} else {
			return read_open(xml);
		}
	}
}

enum ob_xml_event ob_xml_next(struct ob_xml *xml)
{
	/* What stands behind an element's end is not its text. */
	if (xml->leaves) {
		xml->depth--;
		xml->text = NULL;
	}
	xml->leaves = false;
	enum ob_xml_event event = next(xml);
	xml->leaves = event == OB_XML_CLOSE;
	return event;
}
