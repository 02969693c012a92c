/* The record of an inode: from memory into a commit, and back through a view's chain.
 *
 * Value of an 'I' key: mode, uid, gid, nlink, rdev u32; size u64; atime, mtime, ctime, btime i64; parent u64; base branch, base epoch,
 * allocated blocks u32; symlink target. An empty value is a removed inode. */
#include <stdlib.h>
#include <sys/stat.h>

#include "blockdev/file/inode.h"

#define INODE_VALUE_MAX (20 + 8 + 32 + 8 + 8 + 4 + BD_SYMLINK_MAX + BD_VALUE_CHECK)

void bd_inode_commit(struct bd_inode *inode, struct bd_commit *commit)
{
	struct bd_key key;
	uint8_t value[INODE_VALUE_MAX];
	struct nf_writer w = nf_writer_init(value, sizeof(value) - BD_VALUE_CHECK);
	const struct bd_attr *attr = &inode->attr;
	nf_write_u32(&w, attr->mode);
	nf_write_u32(&w, attr->uid);
	nf_write_u32(&w, attr->gid);
	nf_write_u32(&w, attr->nlink);
	nf_write_u32(&w, attr->rdev);
	nf_write_u64(&w, attr->size_bytes);
	nf_write_u64(&w, (uint64_t)attr->atime_ns);
	nf_write_u64(&w, (uint64_t)attr->mtime_ns);
	nf_write_u64(&w, (uint64_t)attr->ctime_ns);
	nf_write_u64(&w, (uint64_t)attr->btime_ns);
	nf_write_u64(&w, inode->parent);
	nf_write_u32(&w, inode->base_branch);
	nf_write_u32(&w, inode->base_epoch);
	nf_write_u32(&w, inode->allocated_blocks);
	if (inode->symlink_target != NULL)
		nf_write_bytes(&w, inode->symlink_target, strlen(inode->symlink_target));
	assert(!w.failed);
	bd_key_inode(&key, inode->branch->id, inode->file, inode->branch->epoch);
	bd_commit_put(commit, &key, value, w.offset);
	inode->attr_dirty = false;
	inode->committed_size = attr->size_bytes;
}

static int decode(struct bd_inode *inode, const uint8_t *value, size_t size)
{
	struct nf_reader r = nf_reader_init(value, size);
	struct bd_attr *attr = &inode->attr;
	attr->mode = nf_read_u32(&r);
	attr->uid = nf_read_u32(&r);
	attr->gid = nf_read_u32(&r);
	attr->nlink = nf_read_u32(&r);
	attr->rdev = nf_read_u32(&r);
	attr->size_bytes = nf_read_u64(&r);
	attr->atime_ns = (int64_t)nf_read_u64(&r);
	attr->mtime_ns = (int64_t)nf_read_u64(&r);
	attr->ctime_ns = (int64_t)nf_read_u64(&r);
	attr->btime_ns = (int64_t)nf_read_u64(&r);
	inode->parent = nf_read_u64(&r);
	inode->base_branch = nf_read_u32(&r);
	inode->base_epoch = nf_read_u32(&r);
	inode->allocated_blocks = nf_read_u32(&r);
	size_t target_size = nf_reader_left(&r);
	if (r.failed || target_size > BD_SYMLINK_MAX || attr->size_bytes > BD_FILE_SIZE_MAX)
		return -EUCLEAN;
	if (S_ISLNK(attr->mode)) {
		inode->symlink_target = calloc(1, target_size + 1);
		if (inode->symlink_target == NULL)
			return -ENOMEM;
		nf_read_copy(&r, inode->symlink_target, target_size);
	}
	inode->committed_size = attr->size_bytes;
	return 0;
}

int bd_chain_get(struct bd_store *store, struct bd_hops hops, char kind, uint64_t file, const char *name, void *buf,
		 size_t buf_size, size_t *ret_size)
{
	struct bd_index_iter *iter = bd_index_iter_new(store->index);
	if (iter == NULL)
		return -ENOMEM;
	struct bd_hop hop;
	int error = -ENOENT;
	for (unsigned i = 0; error == -ENOENT && bd_hop_at(&hops, i, &hop); i++) {
		struct bd_key key;
		if (name != NULL)
			bd_key_named(&key, kind, hop.branch, file, name);
		else
			bd_key_file_prefix(&key, kind, hop.branch, file);
		size_t prefix_size = key.size;
		bd_key_add_epoch(&key, hop.epoch);
		bd_index_iter_seek(iter, &key, prefix_size);
		if (!bd_index_iter_valid(iter)) {
			int status = bd_index_iter_status(iter);
			if (status != 0)
				error = status;
			continue;
		}
		size_t key_size, raw_size, size;
		const uint8_t *found = bd_index_iter_key(iter, &key_size);
		const uint8_t *value = bd_index_iter_value(iter, &raw_size);
		error = bd_value_check(found, key_size, value, raw_size, &size);
		if (error == 0 && size > buf_size)
			error = -EUCLEAN;
		if (error == 0) {
			memcpy(buf, value, size);
			*ret_size = size;
		}
	}
	bd_index_iter_free(iter);
	return error;
}

int inode_load_at(struct bd_inode *inode, struct bd_hops hops)
{
	uint8_t value[INODE_VALUE_MAX];
	size_t size;
	int error = bd_chain_get(inode->store, hops, 'I', inode->file, NULL, value, sizeof(value), &size);
	if (error == 0 && size == 0)
		error = -ENOENT;
	return error != 0 ? error : decode(inode, value, size);
}

int inode_load(struct bd_inode *inode)
{
	return inode_load_at(inode, (struct bd_hops){.branch = inode->branch, .view_epoch = inode->view_epoch});
}

int inode_size_at(struct bd_store *store, const struct bd_branch *branch, uint32_t epoch, uint64_t file, uint64_t *ret_size)
{
	struct bd_inode inode = {.store = store, .file = file};
	int error = inode_load_at(&inode, (struct bd_hops){.branch = branch, .view_epoch = epoch});
	free(inode.symlink_target);
	if (error == 0)
		*ret_size = S_ISREG(inode.attr.mode) ? inode.attr.size_bytes : 0;
	else if (error == -ENOENT)
		*ret_size = 0;
	return error == -ENOENT ? 0 : error;
}
