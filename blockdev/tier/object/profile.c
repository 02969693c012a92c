/* See profile.h. The bytes of a file lie in secret memory while they are looked at. */
#include "blockdev/tier/object/profile.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/tier/object/s3_settings.h"
#include "blockdev/tier/object/secret.h"

struct text {
	const char *at;
	size_t size;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct text trim(struct text text)
{
	while (text.size > 0 && is_blank(text.at[0])) {
		text.at++;
		text.size--;
	}
	while (text.size > 0 && is_blank(text.at[text.size - 1]))
		text.size--;
	return text;
}

static bool is_word(struct text text, const char *word)
{
	return text.size == strlen(word) && memcmp(text.at, word, text.size) == 0;
}

/* "[NAME]" or "[profile NAME]" */
static bool names_profile(struct text line, const char *profile)
{
	static const char long_form[] = "profile";
	struct text name = trim((struct text){line.at + 1, line.size - 1});
	if (name.size == 0 || name.at[name.size - 1] != ']')
		return false;
	name = trim((struct text){name.at, name.size - 1});
	if (is_word(name, profile))
		return true;
	size_t size = sizeof(long_form) - 1;
	if (name.size <= size || memcmp(name.at, long_form, size) != 0 || !is_blank(name.at[size]))
		return false;
	return is_word(trim((struct text){name.at + size, name.size - size}), profile);
}

/* Keep "name = value" where it is wanted; `wanted` marks the fields that were empty at the beginning. */
static int take_line(struct text line, struct ob_profile_field *fields, unsigned count, uint64_t wanted)
{
	const char *equals = memchr(line.at, '=', line.size);
	if (equals == NULL)
		return -EINVAL;
	struct text name = trim((struct text){line.at, (size_t)(equals - line.at)});
	struct text value = trim((struct text){equals + 1, line.size - (size_t)(equals - line.at) - 1});
	for (unsigned i = 0; i < count; i++) {
		if (!is_word(name, fields[i].name) || (wanted & UINT64_C(1) << i) == 0)
			continue;
		if (value.size >= fields[i].size || memchr(value.at, '\0', value.size) != NULL)
			return -EINVAL;
		memcpy(fields[i].value, value.at, value.size);
		fields[i].value[value.size] = '\0';
	}
	return 0;
}

int ob_profile_parse(const char *text, size_t size, const char *profile, struct ob_profile_field *fields, unsigned count,
		     unsigned *ret_line)
{
	bool found = false, inside = false;
	uint64_t wanted = 0;
	assert(count <= 64);
	for (unsigned i = 0; i < count; i++)
		if (fields[i].value[0] == '\0')
			wanted |= UINT64_C(1) << i;
	unsigned number = 0;
	for (size_t at = 0; at < size;) {
		const char *end = memchr(text + at, '\n', size - at);
		struct text raw = {text + at, end != NULL ? (size_t)(end - text) - at : size - at};
		struct text line = trim(raw);
		at += raw.size + 1;
		number++;
		if (line.size == 0 || line.at[0] == '#' || line.at[0] == ';')
			continue;
		if (line.at[0] == '[') {
			inside = !found && names_profile(line, profile);
			found = found || inside;
		} else if (inside && !is_blank(raw.at[0]) && take_line(line, fields, count, wanted) != 0) {
			*ret_line = number;
			return -EINVAL;
		}
	}
	return found ? 0 : -ENOENT;
}

static int read_all(int fd, char *bytes, size_t room, size_t *ret_size)
{
	size_t size = 0;
	for (;;) {
		ssize_t count = read(fd, bytes + size, room - size);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			break;
		size += (size_t)count;
		if (size == room)
			return -EFBIG;
	}
	*ret_size = size;
	return 0;
}

int ob_profile_read(const char *path, const char *profile, struct ob_profile_field *fields, unsigned count, unsigned *ret_line)
{
	size_t size = 0;
	*ret_line = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	char *bytes = ob_secret_alloc(OB_PROFILE_FILE_MAX);
	int rc = bytes != NULL ? read_all(fd, bytes, OB_PROFILE_FILE_MAX, &size) : -ENOMEM;
	if (rc == 0)
		rc = ob_profile_parse(bytes, size, profile, fields, count, ret_line);
	ob_secret_free(bytes, OB_PROFILE_FILE_MAX);
	close(fd);
	return rc;
}
