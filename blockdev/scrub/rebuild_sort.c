/* Sorting candidates: runs of a fixed number of records, merged through a heap. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "blockdev/scrub/rebuild_impl.h"

#define RUN_RECORDS ((size_t)(48 << 20) / sizeof(struct candidate))
#define READ_RECORDS 1024u

struct sorter_run {
	uint64_t next, end; /* records in the file */
	struct candidate *buffer;
	size_t at, count;
};

static int compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order = memcmp(x->key, y->key, sizeof(x->key));
	if (order != 0)
		return order;
	if (x->sequence != y->sequence)
		return x->sequence > y->sequence ? -1 : 1;
	return (x->moves < y->moves) - (x->moves > y->moves);
}

int sorter_init(struct sorter *sorter, const char *dir)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/rebuild.tmp", dir);
	*sorter = (struct sorter){.fd = -1, .buffer = malloc(RUN_RECORDS * sizeof(struct candidate))};
	if (sorter->buffer == NULL)
		return -ENOMEM;
	sorter->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (sorter->fd < 0)
		return -errno;
	return unlink(path) != 0 ? -errno : 0;
}

void sorter_free(struct sorter *sorter)
{
	for (size_t i = 0; i < sorter->run_count; i++)
		free(sorter->runs[i].buffer);
	free(sorter->runs);
	free(sorter->buffer);
	if (sorter->fd >= 0)
		close(sorter->fd);
	*sorter = (struct sorter){.fd = -1};
}

static int write_all(int fd, const void *from, size_t size, uint64_t offset)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pwrite(fd, (const uint8_t *)from + done, size - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int read_all(int fd, void *to, size_t size, uint64_t offset)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(fd, (uint8_t *)to + done, size - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int write_run(struct sorter *sorter)
{
	if (sorter->count == 0)
		return 0;
	struct sorter_run *runs = realloc(sorter->runs, (sorter->run_count + 1) * sizeof(*runs));
	if (runs == NULL)
		return -ENOMEM;
	sorter->runs = runs;
	qsort(sorter->buffer, sorter->count, sizeof(*sorter->buffer), compare);
	int error = write_all(sorter->fd, sorter->buffer, sorter->count * sizeof(*sorter->buffer),
			      sorter->file_records * sizeof(*sorter->buffer));
	if (error != 0)
		return error;
	runs[sorter->run_count++] =
		(struct sorter_run){.next = sorter->file_records, .end = sorter->file_records + sorter->count};
	sorter->file_records += sorter->count;
	sorter->count = 0;
	return 0;
}

int sorter_add(struct sorter *sorter, const struct bd_block_id *id, struct bd_age age, uint64_t loc, uint64_t sum)
{
	if (sorter->count == RUN_RECORDS) {
		int error = write_run(sorter);
		if (error != 0)
			return error;
	}
	struct bd_key key;
	bd_key_block(&key, id);
	struct candidate *to = &sorter->buffer[sorter->count++];
	*to = (struct candidate){.moves = age.moves, .sequence = age.sequence, .loc = loc, .sum = sum};
	memcpy(to->key, key.bytes + 1, sizeof(to->key));
	return 0;
}

/* Make the run's next record ready. 1; 0 at the end; or an error. */
static int refill(struct sorter *sorter, struct sorter_run *run)
{
	if (run->at < run->count)
		return 1;
	if (run->next == run->end)
		return 0;
	run->at = 0;
	run->count = (size_t)NF_MIN(run->end - run->next, READ_RECORDS);
	int error = read_all(sorter->fd, run->buffer, run->count * sizeof(*run->buffer), run->next * sizeof(*run->buffer));
	run->next += run->count;
	return error != 0 ? error : 1;
}

static const struct candidate *head(const struct sorter_run *run)
{
	return &run->buffer[run->at];
}

static void sift_down(struct sorter_run **heap, size_t count, size_t at)
{
	for (;;) {
		size_t least = at, left = 2 * at + 1;
		for (size_t child = left; child < count && child <= left + 1; child++) {
			if (compare(head(heap[child]), head(heap[least])) < 0)
				least = child;
		}
		if (least == at)
			return;
		struct sorter_run *swap = heap[at];
		heap[at] = heap[least];
		heap[least] = swap;
		at = least;
	}
}

static int merge(struct sorter *sorter, struct sorter_run **heap, int (*each)(void *arg, const struct candidate *candidate),
		 void *arg)
{
	size_t count = 0;
	int error = 0;
	for (size_t i = 0; i < sorter->run_count && error == 0; i++) {
		struct sorter_run *run = &sorter->runs[i];
		run->buffer = malloc(READ_RECORDS * sizeof(*run->buffer));
		int more = run->buffer != NULL ? refill(sorter, run) : -ENOMEM;
		if (more < 0)
			error = more;
		else if (more == 1)
			heap[count++] = run;
	}
	for (size_t i = count; i > 0; i--)
		sift_down(heap, count, i - 1);
	while (error == 0 && count > 0) {
		error = each(arg, head(heap[0]));
		heap[0]->at++;
		int more = error == 0 ? refill(sorter, heap[0]) : 0;
		if (more < 0)
			error = more;
		else if (more == 0)
			heap[0] = heap[--count];
		sift_down(heap, count, 0);
	}
	return error;
}

int sorter_each(struct sorter *sorter, int (*each)(void *arg, const struct candidate *candidate), void *arg)
{
	int error = write_run(sorter);
	free(sorter->buffer);
	sorter->buffer = NULL;
	struct sorter_run **heap = malloc((sorter->run_count + 1) * sizeof(*heap));
	if (error == 0)
		error = heap != NULL ? merge(sorter, heap, each, arg) : -ENOMEM;
	free(heap);
	return error;
}
