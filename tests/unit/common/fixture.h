/* What the tests of common/ share: cmocka's includes, a temporary directory, patterns in blocks. */
#ifndef UNIT_COMMON_FIXTURE_H
#define UNIT_COMMON_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/nf_io.h"

#define PAGE NF_IO_ALIGN
#define BLOCK NF_BLOCK_SIZE

/* A new directory under $TMPDIR (or /var/tmp, which is rarely memory). free() it after remove_tree(). */
char *make_tmpdir(void);
char *make_tmpdir_in(const char *base);
void remove_tree(const char *path);

/* Bytes that depend on `tag` and on their place, so that a moved or mixed block is noticed. */
void fill(void *buf, size_t size, uint32_t tag);
/* True when the bytes are those of fill(tag). */
bool is_filled(const void *buf, size_t size, uint32_t tag);
bool is_zero(const void *buf, size_t size);

void *buffer(size_t size); /* aligned; free() it */

/* One op that must succeed. */
void put(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size, uint32_t tag);
void flush_file(struct nf_io *io, struct nf_file *file);
/* Whether [offset, offset + size) is inside the file and holds fill(tag). */
bool holds(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size, uint32_t tag);
bool holds_zeros(struct nf_io *io, struct nf_file *file, uint64_t offset, size_t size);

struct nf_file *create_file(struct nf_io *io, const char *path);
struct nf_file *open_file(struct nf_io *io, const char *path);
bool exists(struct nf_io *io, const char *path);
uint64_t size_of(struct nf_file *file);

/* nf_io_list into sorted names, joined by spaces. */
void list_names(struct nf_io *io, const char *path, char *ret_names, size_t size);

#endif
