/* Dispatch of block I/O to a backend, and the checks common to all of them: see nf_io.h.
 *
 * Paths come from names in the index, so a bad one is -EINVAL, never an assertion. Alignment is the
 * programmer's promise and asserted. Threading: no state of its own. */
#include "common/nf_io.h"

#include <stdlib.h>
#include <string.h>

#include "common/nf_io_impl.h"

static bool legal_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* One or more components, single slashes between them, none of them "." or "..". */
static bool legal_path(const char *path)
{
	size_t total = strlen(path);

	if (total > NF_IO_PATH_MAX)
		return false;
	for (;;) {
		size_t size = 0;
		while (legal_char(path[size]))
			size++;
		if (size == 0 || size > NF_IO_NAME_MAX || (size <= 2 && strncmp(path, "..", size) == 0))
			return false;
		if (path[size] == '\0')
			return true;
		if (path[size] != '/')
			return false;
		path += size + 1;
	}
}

static bool legal_dir_path(const char *path)
{
	return strcmp(path, ".") == 0 || legal_path(path);
}

int nf_io_run(struct nf_io *io, struct nf_io_op *ops, unsigned count)
{
	assert(count <= NF_IO_MAX_BATCH);
	if (count == 0)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		assert(ops[i].file->io == io);
		if (ops[i].kind == NF_IO_FSYNC)
			continue;
		assert(ops[i].offset % NF_IO_ALIGN == 0);
		assert(ops[i].size % NF_IO_ALIGN == 0);
		assert((uintptr_t)ops[i].buf % NF_IO_ALIGN == 0);
		assert(ops[i].offset <= INT64_MAX && ops[i].size <= INT64_MAX - ops[i].offset);
		assert(ops[i].kind == NF_IO_READ || !ops[i].file->read_only);
	}
	io->ops->run(io, ops, count);
	for (unsigned i = 0; i < count; i++)
		if (ops[i].result != 0)
			return ops[i].result;
	return 0;
}

int nf_io_open(struct nf_io *io, const char *path, unsigned flags, struct nf_file **ret_file)
{
	struct nf_file *file;

	if (!legal_path(path))
		return -EINVAL;
	int rc = io->ops->open(io, path, flags, &file);
	if (rc != 0)
		return rc;
	file->io = io;
	file->read_only = (flags & NF_OPEN_READONLY) != 0;
	*ret_file = file;
	return 0;
}

void nf_io_close(struct nf_file *file)
{
	if (file != NULL)
		file->io->ops->close(file);
}

int nf_io_size(struct nf_file *file, uint64_t *ret_size)
{
	return file->io->ops->size(file, ret_size);
}

int nf_io_allocate(struct nf_file *file, uint64_t offset, uint64_t size)
{
	if (file->read_only)
		return -EBADF;
	if (size > INT64_MAX || offset > INT64_MAX - size)
		return -EFBIG;
	return size == 0 ? 0 : file->io->ops->allocate(file, offset, size);
}

int nf_io_truncate(struct nf_file *file, uint64_t size)
{
	if (file->read_only)
		return -EBADF;
	if (size > INT64_MAX)
		return -EFBIG;
	return file->io->ops->truncate(file, size);
}

int nf_io_punch(struct nf_file *file, uint64_t offset, uint64_t size)
{
	if (file->read_only)
		return -EBADF;
	if (size > INT64_MAX || offset > INT64_MAX - size)
		return -EFBIG;
	return size == 0 ? 0 : file->io->ops->punch(file, offset, size);
}

int nf_io_unlink(struct nf_io *io, const char *path)
{
	return legal_path(path) ? io->ops->unlink(io, path) : -EINVAL;
}

int nf_io_rename(struct nf_io *io, const char *from, const char *to)
{
	return legal_path(from) && legal_path(to) ? io->ops->rename(io, from, to) : -EINVAL;
}

int nf_io_sync_dir(struct nf_io *io, const char *path)
{
	return legal_dir_path(path) ? io->ops->sync_dir(io, path) : -EINVAL;
}

int nf_io_mkdir(struct nf_io *io, const char *path)
{
	return legal_path(path) ? io->ops->mkdir(io, path) : -EINVAL;
}

int nf_io_list(struct nf_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
	return legal_dir_path(path) ? io->ops->list(io, path, each, arg) : -EINVAL;
}

int nf_io_free_bytes(struct nf_io *io, uint64_t *ret_free, uint64_t *ret_total)
{
	return io->ops->free_bytes(io, ret_free, ret_total);
}

void nf_io_destroy(struct nf_io *io)
{
	if (io != NULL)
		io->ops->destroy(io);
}

void *nf_io_buffer(size_t size)
{
	return aligned_alloc(NF_IO_ALIGN, nf_round_up(NF_MAX(size, 1), NF_IO_ALIGN));
}
