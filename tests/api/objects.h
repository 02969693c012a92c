/* An object store made by hand from a store's directory, with the encoders alone: what attach is given, without the uploader. */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "blockdev/bd.h"
#include "blockdev/tier/manifest.h"
#include "blockdev/tier/object/object.h"

/* Where it is made, and of what. */
struct objects {
	char dir[256]; /* of the objects; file:// */
	char url[300];
	struct ob_client *client;
	struct bd_manifest manifest;
	char base[256]; /* a copy of the store's directory as of its last checkpoint */
	unsigned extents_there, parts, pieces, blocks; /* how many were put */
};

struct objects_how {
	unsigned there_index;	/* so many extents have their record in the index, */
	unsigned there_log;	/* and so many in the log alone; the others are parts */
	uint64_t piece_bytes;	/* of log in each piece, about; 0: all in one */
	bool split_records;	/* pieces that are no end, cut inside of records */
	bool listed;		/* the manifest names the pieces */
};

/* The state of the open, quiet store at `path`: checkpointed, its directory copied. */
void objects_capture(struct objects *objects, struct bd_store *store, const char *path);
/* The store has gone on and was abandoned: everything is put. */
void objects_put(struct objects *objects, const char *path, const struct objects_how *how);
void objects_free(struct objects *objects);

/* Path of an object's file. */
void objects_path(const struct objects *objects, const char *key, char path[512]);

#endif
