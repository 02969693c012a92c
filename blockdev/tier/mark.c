/* The object `store`. See mark.h. */
#include "blockdev/tier/mark.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_VERSION 1
#define MARK_MAX 4096u
#define MARK_DEADLINE_MS 30000u

int bd_mark_put(struct ob_client *client, const struct bd_mark *mark, bool conditional, char *message, size_t size)
{
	char id[17];
	snprintf(id, sizeof(id), "%016" PRIx64, mark->store_id);
	json_t *root = json_pack("{s:i, s:s, s:I}", "version", MARK_VERSION, "store_id", id, "created_s", (json_int_t)mark->created_s);
	char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
	json_decref(root);
	if (text == NULL) {
		snprintf(message, size, "out of memory");
		return -ENOMEM;
	}
	struct ob_op op = {.kind = OB_PUT,
			   .key = BD_MARK_KEY,
			   .data = text,
			   .size = strlen(text),
			   .if_none_match = conditional,
			   .deadline_ms = MARK_DEADLINE_MS};
	int error = ob_run(client, &op);
	free(text);
	if (error == -EALREADY) {
		/* Was it an earlier try of ours? */
		struct bd_mark there;
		error = bd_mark_get(client, &there, message, size);
		return error != 0 ? error : there.store_id == mark->store_id ? 0 : -EEXIST;
	}
	if (error != 0)
		snprintf(message, size, "object %s cannot be put: %s", BD_MARK_KEY, op.message);
	return error;
}

static int parse(const char *text, size_t text_size, struct bd_mark *ret_mark, char *message, size_t size)
{
	json_error_t where;
	json_t *root = json_loadb(text, text_size, JSON_REJECT_DUPLICATES, &where);
	json_int_t version = json_integer_value(json_object_get(root, "version"));
	const char *id = json_string_value(json_object_get(root, "store_id"));
	struct bd_mark mark = {.created_s = json_integer_value(json_object_get(root, "created_s"))};
	bool sound = id != NULL && strlen(id) == 16 && strspn(id, "0123456789abcdef") == 16;
	if (sound)
		mark.store_id = strtoull(id, NULL, 16);
	json_decref(root);
	if (version > MARK_VERSION) {
		snprintf(message, size, "what is there is of a newer neonfs (object %s); use that", BD_MARK_KEY);
		return -EPROTONOSUPPORT;
	}
	if (version != MARK_VERSION || !sound) {
		snprintf(message, size, "the object %s there is not a neonfs store's, or damaged", BD_MARK_KEY);
		return -EUCLEAN;
	}
	*ret_mark = mark;
	return 0;
}

int bd_mark_get(struct ob_client *client, struct bd_mark *ret_mark, char *message, size_t size)
{
	char text[MARK_MAX];
	struct ob_op op = {.kind = OB_GET,
			   .key = BD_MARK_KEY,
			   .buf = text,
			   .size = sizeof(text),
			   .may_be_short = true,
			   .deadline_ms = MARK_DEADLINE_MS};
	int error = ob_run(client, &op);
	if (error == 0)
		return parse(text, op.got, ret_mark, message, size);
	if (error == -ENOENT)
		snprintf(message, size, "there is no neonfs store at %s (no object %s)", ob_client_place(client), BD_MARK_KEY);
	else
		snprintf(message, size, "object %s cannot be read: %s", BD_MARK_KEY, op.message);
	return error;
}
