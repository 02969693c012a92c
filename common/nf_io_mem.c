/* Block I/O in memory, with a model of power loss: see nf_io.h.
 *
 * What a power cut may do, as hard as the interface allows:
 *   - A change of a file's content (write, allocate, truncate, punch) since the last flush of that file is kept,
 *     lost or torn at a sector, each one for itself: later ones may be kept where earlier ones are lost.
 *   - A change of a name since the last nf_io_sync_dir of its directory is kept or lost, each for itself. Flushing a new file
 *     does not keep its name; syncing a directory does not keep the content of its files.
 *   - Ops of a batch that are not chained run in the order that is worst for the caller: flushes first, the rest from
 *     the last to the first. So a flush covers a write of its batch only when it is chained behind it.
 * What it never does: lose or tear what was flushed, tear a rename.
 *
 * As a kernel does, it makes old changes durable by itself when too many wait (WAITING_PAGES_MAX).
 * Space counts as used while a file has a name or is open.
 *
 * Threading: one lock for all; it is not held while `each` of nf_io_list is called. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/nf_io_impl.h"
#include "common/nf_mem_names.h"

#define WAITING_PAGES_MAX 16384 /* of one file: 64 MiB */
#define CHANGE_WEIGHT 1 /* a change weighs this and its pages */
#define NO_LIMIT_TOTAL (UINT64_C(1) << 50)

struct mem_io {
	struct nf_io base;
	pthread_mutex_t lock; /* guards all below, and all nodes */
	struct nf_mem_names names;
	uint64_t capacity_pages; /* UINT64_MAX: no limit */
	uint64_t used_pages;
	unsigned open_files;
};

struct mem_file {
	struct nf_file base;
	struct nf_mem_node *node; /* holds a reference and an open */
};

static struct mem_io *of(struct nf_io *io)
{
	return (struct mem_io *)io;
}

static struct nf_mem_node *node_of(const struct nf_file *file)
{
	return ((const struct mem_file *)file)->node;
}

/* ---- content ---- */

static uint64_t weight_of(const struct nf_mem_change *change)
{
	return CHANGE_WEIGHT + change->page_count;
}

/* Take the oldest waiting change off the list. */
static struct nf_mem_change *pop_change(struct nf_mem_node *node)
{
	struct nf_mem_change *change = node->changes;

	node->changes = change->next;
	if (node->changes == NULL)
		node->changes_end = &node->changes;
	node->change_weight -= weight_of(change);
	return change;
}

/* Make the oldest changes durable until what waits is no heavier than `weight`. */
static void write_back(struct nf_mem_node *node, uint64_t weight)
{
	while (node->changes != NULL && node->change_weight > weight) {
		struct nf_mem_change *change = pop_change(node);
		nf_mem_content_apply(&node->durable_content, change);
		nf_mem_change_free(change);
	}
}

/* Apply a change and let it wait for a flush. Takes it over, on error too. */
static int add_change(struct mem_io *io, struct nf_mem_node *node, struct nf_mem_change *change)
{
	uint64_t before = node->content.allocated;
	uint64_t need = 0;

	if (change->kind == NF_MEM_WRITE || change->kind == NF_MEM_ALLOCATE)
		need = nf_mem_content_holes(&node->content, change->offset, change->size);
	if (need > 0 && (io->used_pages > io->capacity_pages || need > io->capacity_pages - io->used_pages)) {
		nf_mem_change_free(change);
		return -ENOSPC;
	}
	nf_mem_content_apply(&node->content, change);
	io->used_pages += node->content.allocated - before; /* may fall: unsigned arithmetic wraps back */
	*node->changes_end = change;
	node->changes_end = &change->next;
	node->change_weight += weight_of(change);
	if (node->change_weight > WAITING_PAGES_MAX)
		write_back(node, WAITING_PAGES_MAX / 2);
	return 0;
}

static int change_range(struct nf_file *file, enum nf_mem_change_kind kind, uint64_t offset, uint64_t size)
{
	struct mem_io *io = of(file->io);

	if (size > NF_MEM_FILE_MAX || offset > NF_MEM_FILE_MAX - size)
		return -EFBIG;
	struct nf_mem_change *change = nf_mem_change_range(kind, offset, size);
	pthread_mutex_lock(&io->lock);
	int rc = add_change(io, node_of(file), change);
	pthread_mutex_unlock(&io->lock);
	return rc;
}

static int mem_allocate(struct nf_file *file, uint64_t offset, uint64_t size)
{
	return change_range(file, NF_MEM_ALLOCATE, offset, size);
}

static int mem_truncate(struct nf_file *file, uint64_t size)
{
	return change_range(file, NF_MEM_TRUNCATE, 0, size);
}

static int mem_punch(struct nf_file *file, uint64_t offset, uint64_t size)
{
	if (offset >= NF_MEM_FILE_MAX)
		return 0;
	return change_range(file, NF_MEM_PUNCH, offset, NF_MIN(size, NF_MEM_FILE_MAX - offset));
}

static int mem_size(struct nf_file *file, uint64_t *ret_size)
{
	pthread_mutex_lock(&of(file->io)->lock);
	*ret_size = node_of(file)->content.size;
	pthread_mutex_unlock(&of(file->io)->lock);
	return 0;
}

/* ---- batches ---- */

static int do_read(struct mem_io *io, const struct nf_io_op *op)
{
	const struct nf_mem_content *content = &node_of(op->file)->content;
	int rc = -ENODATA;

	pthread_mutex_lock(&io->lock);
	if (op->offset + op->size <= content->size) {
		nf_mem_content_read(content, op->offset, op->buf, op->size);
		rc = 0;
	}
	pthread_mutex_unlock(&io->lock);
	return rc;
}

static int do_write(struct mem_io *io, const struct nf_io_op *op)
{
	if (op->size == 0)
		return 0;
	if (op->offset + op->size > NF_MEM_FILE_MAX)
		return -EFBIG;
	struct nf_mem_change *change = nf_mem_change_write(op->offset, op->buf, op->size);
	pthread_mutex_lock(&io->lock);
	int rc = add_change(io, node_of(op->file), change);
	pthread_mutex_unlock(&io->lock);
	return rc;
}

static int do_flush(struct mem_io *io, const struct nf_io_op *op)
{
	pthread_mutex_lock(&io->lock);
	write_back(node_of(op->file), 0);
	pthread_mutex_unlock(&io->lock);
	return 0;
}

static void run_chain(struct mem_io *io, struct nf_io_op *ops, unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++) {
		switch (ops[i].kind) {
		case NF_IO_READ: ops[i].result = do_read(io, &ops[i]); break;
		case NF_IO_WRITE: ops[i].result = do_write(io, &ops[i]); break;
		case NF_IO_FSYNC: ops[i].result = do_flush(io, &ops[i]); break;
		}
		if (ops[i].result != 0) {
			nf_io_chain_cancel(ops, i + 1, end);
			return;
		}
	}
}

static void mem_run(struct nf_io *io, struct nf_io_op *ops, unsigned count)
{
	for (unsigned first = 0; first < count; first = nf_io_chain_end(ops, count, first))
		if (ops[first].kind == NF_IO_FSYNC)
			run_chain(of(io), ops, first, nf_io_chain_end(ops, count, first));
	for (unsigned end = count; end > 0;) {
		unsigned first = end - 1;
		while (first > 0 && ops[first - 1].then_next)
			first--;
		if (ops[first].kind != NF_IO_FSYNC)
			run_chain(of(io), ops, first, end);
		end = first;
	}
}

/* ---- files ---- */

/* Nobody can reach the file any more unless a power cut brings its name back: give its space back. */
static void bury_if_dead(struct mem_io *io, struct nf_mem_node *node)
{
	if (node->is_dir || node->links > 0 || node->opens > 0)
		return;
	io->used_pages -= node->content.allocated;
	nf_mem_content_clear(&node->content);
}

static int find_or_make(struct mem_io *io, const char *path, unsigned flags, struct nf_mem_node **ret_node)
{
	if (flags & NF_OPEN_CREATE) {
		struct nf_mem_node *node = nf_mem_node_new(false);
		int rc = nf_mem_link(&io->names, path, node);
		if (rc != 0) {
			nf_mem_node_unref(node);
			return rc;
		}
		*ret_node = node;
		return 0;
	}
	struct nf_mem_node *node = nf_mem_find(&io->names, path);
	if (node == NULL)
		return -ENOENT;
	if (node->is_dir)
		return -EISDIR;
	nf_mem_node_ref(node);
	*ret_node = node;
	return 0;
}

static int mem_open(struct nf_io *io, const char *path, unsigned flags, struct nf_file **ret_file)
{
	struct mem_file *file = nf_mem_alloc(sizeof(*file));

	pthread_mutex_lock(&of(io)->lock);
	int rc = find_or_make(of(io), path, flags, &file->node);
	if (rc == 0) {
		file->node->opens++;
		of(io)->open_files++;
	}
	pthread_mutex_unlock(&of(io)->lock);
	if (rc != 0) {
		free(file);
		return rc;
	}
	*ret_file = &file->base;
	return 0;
}

static void mem_close(struct nf_file *file)
{
	struct mem_io *io = of(file->io);
	struct nf_mem_node *node = node_of(file);

	pthread_mutex_lock(&io->lock);
	io->open_files--;
	node->opens--;
	bury_if_dead(io, node);
	nf_mem_node_unref(node);
	pthread_mutex_unlock(&io->lock);
	free(file);
}

/* ---- names ---- */

static void release_gone(struct mem_io *io, struct nf_mem_node *gone)
{
	if (gone == NULL)
		return;
	bury_if_dead(io, gone);
	nf_mem_node_unref(gone);
}

static int mem_unlink(struct nf_io *io, const char *path)
{
	struct nf_mem_node *gone;

	pthread_mutex_lock(&of(io)->lock);
	int rc = nf_mem_unlink(&of(io)->names, path, &gone);
	if (rc == 0)
		release_gone(of(io), gone);
	pthread_mutex_unlock(&of(io)->lock);
	return rc;
}

static int mem_rename(struct nf_io *io, const char *from, const char *to)
{
	struct nf_mem_node *gone;

	pthread_mutex_lock(&of(io)->lock);
	int rc = nf_mem_rename(&of(io)->names, from, to, &gone);
	if (rc == 0)
		release_gone(of(io), gone);
	pthread_mutex_unlock(&of(io)->lock);
	return rc;
}

static int mem_mkdir(struct nf_io *io, const char *path)
{
	pthread_mutex_lock(&of(io)->lock);
	struct nf_mem_node *node = nf_mem_node_new(true);
	int rc = nf_mem_link(&of(io)->names, path, node);
	nf_mem_node_unref(node);
	pthread_mutex_unlock(&of(io)->lock);
	return rc;
}

static int find_dir(struct mem_io *io, const char *path, struct nf_mem_node **ret_dir)
{
	struct nf_mem_node *node = nf_mem_find(&io->names, path);

	if (node == NULL)
		return -ENOENT;
	if (!node->is_dir)
		return -ENOTDIR;
	*ret_dir = node;
	return 0;
}

static int mem_sync_dir(struct nf_io *io, const char *path)
{
	struct nf_mem_node *dir;

	pthread_mutex_lock(&of(io)->lock);
	int rc = find_dir(of(io), path, &dir);
	if (rc == 0)
		nf_mem_sync_names(&of(io)->names, dir);
	pthread_mutex_unlock(&of(io)->lock);
	return rc;
}

/* A copy of the names in `path`, each with its terminating zero, `*ret_count` of them. */
static int copy_names(struct mem_io *io, const char *path, char **ret_names, size_t *ret_count)
{
	struct nf_mem_node *dir;
	size_t size = 0;
	int rc = find_dir(io, path, &dir);

	if (rc != 0)
		return rc;
	for (size_t i = 0; i < dir->entries.count; i++)
		size += strlen(dir->entries.entries[i].name) + 1;
	char *names = nf_mem_alloc(size + 1);
	char *at = names;
	for (size_t i = 0; i < dir->entries.count; i++)
		at = stpcpy(at, dir->entries.entries[i].name) + 1;
	*ret_names = names;
	*ret_count = dir->entries.count;
	return 0;
}

static int mem_list(struct nf_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg)
{
	char *names = NULL;
	size_t count = 0;

	pthread_mutex_lock(&of(io)->lock);
	int rc = copy_names(of(io), path, &names, &count);
	pthread_mutex_unlock(&of(io)->lock);
	const char *name = names;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = each(arg, name);
		name += strlen(name) + 1;
	}
	free(names);
	return rc;
}

/* ---- the backend ---- */

static int mem_free_bytes(struct nf_io *io, uint64_t *ret_free, uint64_t *ret_total)
{
	pthread_mutex_lock(&of(io)->lock);
	uint64_t total = NF_MIN(of(io)->capacity_pages, NO_LIMIT_TOTAL / NF_MEM_PAGE);
	uint64_t used = NF_MIN(of(io)->used_pages, total);
	pthread_mutex_unlock(&of(io)->lock);
	*ret_free = (total - used) * NF_MEM_PAGE;
	*ret_total = total * NF_MEM_PAGE;
	return 0;
}

static void mem_destroy(struct nf_io *io)
{
	assert(of(io)->open_files == 0);
	nf_mem_names_destroy(&of(io)->names);
	pthread_mutex_destroy(&of(io)->lock);
	free(io);
}

static const struct nf_io_ops mem_ops = {
	.run = mem_run,
	.open = mem_open,
	.close = mem_close,
	.size = mem_size,
	.allocate = mem_allocate,
	.truncate = mem_truncate,
	.punch = mem_punch,
	.unlink = mem_unlink,
	.rename = mem_rename,
	.sync_dir = mem_sync_dir,
	.mkdir = mem_mkdir,
	.list = mem_list,
	.free_bytes = mem_free_bytes,
	.destroy = mem_destroy,
};

static uint64_t pages_of_capacity(uint64_t capacity_bytes)
{
	return capacity_bytes == 0 ? UINT64_MAX : capacity_bytes / NF_MEM_PAGE;
}

int nf_io_mem_create(uint64_t capacity_bytes, struct nf_io **ret_io)
{
	struct mem_io *io = nf_mem_alloc(sizeof(*io));

	*io = (struct mem_io){.base.ops = &mem_ops, .capacity_pages = pages_of_capacity(capacity_bytes)};
	pthread_mutex_init(&io->lock, NULL);
	nf_mem_names_init(&io->names);
	*ret_io = &io->base;
	return 0;
}

void nf_io_mem_set_capacity(struct nf_io *io, uint64_t capacity_bytes)
{
	assert(io->ops == &mem_ops);
	pthread_mutex_lock(&of(io)->lock);
	of(io)->capacity_pages = pages_of_capacity(capacity_bytes);
	pthread_mutex_unlock(&of(io)->lock);
}

int nf_io_mem_corrupt(struct nf_io *io, const char *path, uint64_t offset, unsigned bit)
{
	int rc = 0;

	assert(io->ops == &mem_ops);
	assert(bit < 8);
	pthread_mutex_lock(&of(io)->lock);
	struct nf_mem_node *node = nf_mem_find(&of(io)->names, path);
	if (node == NULL)
		rc = -ENOENT;
	else if (node->is_dir)
		rc = -EISDIR;
	else if (offset >= node->content.size)
		rc = -EINVAL;
	if (rc == 0) {
		uint64_t before = node->content.allocated;
		nf_mem_content_flip(&node->content, &node->durable_content, node->changes, offset, bit);
		of(io)->used_pages += node->content.allocated - before;
	}
	pthread_mutex_unlock(&of(io)->lock);
	return rc;
}

/* ---- power cut ---- */

/* How kind the cut is, so that all-lost and all-kept are seen too, not only mixtures. */
struct cut {
	struct mem_io *io;
	struct nf_mem_random random;
	unsigned kept_of_8;
};

static unsigned draw_kindness(struct nf_mem_random *random)
{
	static const unsigned kindness[] = {0, 2, 4, 6, 8};

	return kindness[nf_mem_random_below(random, NF_ARRAY_LEN(kindness))];
}

/* The changes of one file that wait are kept, torn or lost; then its content is what is durable. */
static void cut_file(void *arg, struct nf_mem_node *node)
{
	struct cut *cut = arg;

	while (node->changes != NULL) {
		struct nf_mem_change *change = pop_change(node);
		if (nf_mem_random_below(&cut->random, 8) < cut->kept_of_8)
			nf_mem_content_apply(&node->durable_content, change);
		else if (cut->kept_of_8 > 0 && nf_mem_random_below(&cut->random, 2) == 0)
			nf_mem_content_apply_torn(&node->durable_content, change, &cut->random);
		nf_mem_change_free(change);
	}
	nf_mem_content_clear(&node->content);
	nf_mem_content_copy(&node->content, &node->durable_content);
	cut->io->used_pages += node->content.allocated;
}

void nf_io_mem_power_cut(struct nf_io *base, uint64_t seed)
{
	struct mem_io *io = of(base);
	struct cut cut = {.io = io, .random = {seed}};

	assert(base->ops == &mem_ops);
	pthread_mutex_lock(&io->lock);
	assert(io->open_files == 0);
	cut.kept_of_8 = draw_kindness(&cut.random);
	unsigned names_kept_of_8 = draw_kindness(&cut.random);
	io->used_pages = 0;
	nf_mem_cut_names(&io->names, &cut.random, names_kept_of_8, cut_file, &cut);
	pthread_mutex_unlock(&io->lock);
}
