/* WAL of full segments, without history's locks. A segment is in pg_wal until Postgres removes or renames it, and kept before that (keep.c). */
#include "walapply/pitr/hot_impl.h"

static void name_of(const struct hot_job *job, const struct hot_file *file, char name[WA_SEGMENT_NAME + 1])
{
	wa_segment_name(name, file->timeline, (struct nf_lsn){file->number * job->segment_size}, job->segment_size);
}

int wh_hot_open(const struct hot_job *job, struct hot_file *file)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_attr attr;
	name_of(job, file, name);
	file->is_live = false;
	int error = bd_lookup(job->kept, name, &file->file);
	if (error == 0) {
		bd_inode_attr(file->file, &attr);
		if ((attr.mode & 0200) == 0)
			return 0;
		bd_inode_unref(file->file, 1); /* a part of it only */
	}
	file->file = NULL;
	if (error != 0 && error != -ENOENT)
		return error;
	error = bd_lookup(job->live, name, &file->file);
	file->is_live = error == 0;
	return error;
}

bool wh_hot_still_there(const struct hot_job *job, const struct hot_file *file)
{
	char name[WA_SEGMENT_NAME + 1];
	struct bd_inode *now;
	if (!file->is_live)
		return true;
	name_of(job, file, name);
	if (bd_lookup(job->live, name, &now) != 0)
		return false;
	bool is_same = now == file->file;
	bd_inode_unref(now, 1);
	return is_same;
}

void wh_hot_close(struct hot_file *file)
{
	if (file->file != NULL)
		bd_inode_unref(file->file, 1);
	file->file = NULL;
}

int wh_hot_read(const struct hot_job *job, uint64_t number, uint32_t timeline, uint8_t *bytes, size_t size)
{
	for (unsigned tries = 0; tries < 3; tries++) {
		struct hot_file file = {.number = number, .timeline = timeline};
		int error = wh_hot_open(job, &file);
		if (error == -ENOENT)
			continue; /* on its way from one place to the other */
		if (error != 0)
			return error;
		ssize_t got = bd_read(file.file, 0, bytes, size);
		bool is_there = wh_hot_still_there(job, &file);
		wh_hot_close(&file);
		if (got < 0)
			return (int)got;
		if (is_there)
			return got == (ssize_t)size ? 0 : -ENODATA;
	}
	return -EAGAIN;
}
