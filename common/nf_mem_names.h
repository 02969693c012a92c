/* Private to common/: directories of the memory backend, and their changes since the last sync.
 *
 * There are two trees over one set of nodes: the volatile one, which callers see, and the durable one,
 * which a power cut leaves. Each change of a name goes to the volatile tree at once and waits in one
 * list, in order, until a sync of its directory takes it to the durable tree.
 * Not thread-safe; the backend's lock guards all. Out of memory ends the process. */
#ifndef NF_MEM_NAMES_H
#define NF_MEM_NAMES_H

#include "common/nf_mem_content.h"

struct nf_mem_entry {
	char *name;
	struct nf_mem_node *node; /* holds a reference */
};

struct nf_mem_dir {
	struct nf_mem_entry *entries;
	size_t count;
	size_t room;
};

/* A file or a directory. Lives while a tree, a waiting change or an open file refers to it. */
struct nf_mem_node {
	unsigned refs;
	bool is_dir;
	struct nf_mem_node *durable_parent; /* where its name in the durable tree is; NULL: it has none */

	/* directory */
	struct nf_mem_dir entries;
	struct nf_mem_dir durable_entries;

	/* file */
	unsigned links; /* names in the volatile tree: 0 or 1 */
	unsigned opens;
	struct nf_mem_content content;
	struct nf_mem_content durable_content;
	struct nf_mem_change *changes; /* of the content since its last sync, oldest first */
	struct nf_mem_change **changes_end;
	uint64_t change_weight; /* how much memory they hold, in pages */
};

struct nf_mem_name_change;

struct nf_mem_names {
	struct nf_mem_node *root;
	struct nf_mem_name_change *changes; /* oldest first */
	struct nf_mem_name_change **changes_end;
	unsigned change_count;
};

void nf_mem_names_init(struct nf_mem_names *names);
void nf_mem_names_destroy(struct nf_mem_names *names);

/* With one reference, the caller's. */
struct nf_mem_node *nf_mem_node_new(bool is_dir);
void nf_mem_node_ref(struct nf_mem_node *node);
void nf_mem_node_unref(struct nf_mem_node *node);

/* The node at `path` ("." is the root) in the volatile tree, without a new reference, or NULL. */
struct nf_mem_node *nf_mem_find(struct nf_mem_names *names, const char *path);

/* Errors as open(O_EXCL), mkdir, unlink and rename give them. A directory is renamed within its parent
 * only: -EXDEV otherwise. ret_gone is the node that lost its name, or NULL; the caller releases it. */
NF_MUST_CHECK int nf_mem_link(struct nf_mem_names *names, const char *path, struct nf_mem_node *node);
NF_MUST_CHECK int nf_mem_unlink(struct nf_mem_names *names, const char *path, struct nf_mem_node **ret_gone);
NF_MUST_CHECK int nf_mem_rename(struct nf_mem_names *names, const char *from, const char *to, struct nf_mem_node **ret_gone);

/* Make the changes of directory `dir` durable. A rename between two directories is one change of both, so the sync of
 * either makes it durable, with what the other directory's part of it is built on. */
void nf_mem_sync_names(struct nf_mem_names *names, struct nf_mem_node *dir);

/* Each waiting change is taken or dropped: `kept_of_8` in 8 are taken. Then the durable tree is
 * the volatile one; `each_file` is called for every file left in it. */
void nf_mem_cut_names(struct nf_mem_names *names, struct nf_mem_random *random, unsigned kept_of_8,
		      void (*each_file)(void *arg, struct nf_mem_node *file), void *arg);

#endif
