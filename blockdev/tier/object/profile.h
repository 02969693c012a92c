/* The shared credentials and config files: sections in brackets, lines of `name = value`. */
#ifndef OB_PROFILE_H
#define OB_PROFILE_H

#include "common/nf_base.h"

struct ob_profile_field {
	const char *name;
	char *value; /* filled when it is "" and the file has it */
	size_t size;
};

/* Fill the fields from section `profile` ("[NAME]", or "[profile NAME]") of these bytes. The first section of that name counts, and the last
 * line of a name in it. Lines that are indented belong to the value above them, and are left out.
 * Returns 0 the section was there; -ENOENT it was not; -EINVAL a line of it is not right or a value does not fit: *ret_line is its number. */
NF_MUST_CHECK int ob_profile_parse(const char *text, size_t size, const char *profile, struct ob_profile_field *fields,
				   unsigned count, unsigned *ret_line);

/* The same of a file. Returns also -ENOENT no such file; -EFBIG; -errno. */
NF_MUST_CHECK int ob_profile_read(const char *path, const char *profile, struct ob_profile_field *fields, unsigned count,
				  unsigned *ret_line);

#endif
