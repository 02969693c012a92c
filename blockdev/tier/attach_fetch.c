/* Fetching for attach: whatever is referred to has to be there, whole. */
#include <stdarg.h>
#include <stdio.h>

#include "blockdev/tier/attach_impl.h"

struct fetching {
	struct attach *attach;
	const char *phase;
	bd_fetch_next_fn next;
	attach_got_fn got;
	void *arg;
	uint64_t bytes;
};

int attach_fail(struct attach *attach, int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(attach->message, attach->message_size, format, arguments);
	va_end(arguments);
	return error;
}

static int next_want(void *arg, struct bd_want *ret_want)
{
	struct fetching *fetching = arg;
	return fetching->next(fetching->arg, ret_want);
}

static int got_want(void *arg, const struct bd_want *want, int error, const char *why, const uint8_t *bytes)
{
	struct fetching *fetching = arg;
	struct attach *attach = fetching->attach;
	const struct bd_attach_options *options = attach->options;
	attach->result.objects_read++;
	if (error == -ENOENT) {
		attach->is_missing = true;
		return attach_fail(attach, -EUCLEAN, "object %s is missing in the object store", want->key);
	}
	if (error != 0)
		return attach_fail(attach, error, "object %s %s: %s", want->key, error == -EUCLEAN ? "is damaged" : "cannot be read", why);
	attach->result.bytes_read += want->size;
	fetching->bytes += want->size;
	error = fetching->got(fetching->arg, want, bytes);
	if (error == 0 && options->progress != NULL && options->progress(options->arg, fetching->phase, fetching->bytes, 0) != 0)
		error = attach_fail(attach, -ECANCELED, "given up");
	return error;
}

int attach_fetch(struct attach *attach, const char *phase, bd_fetch_next_fn next, attach_got_fn got, void *arg)
{
	struct fetching fetching = {.attach = attach, .phase = phase, .next = next, .got = got, .arg = arg};
	return bd_fetch(attach->client, next_want, got_want, &fetching);
}
