/* A layer hook of the tests: of the blocks whose number is a multiple of `every`, each byte b becomes b * 3 + add. */
#ifndef LAYERS_H
#define LAYERS_H

#include "api.h"

#include <pthread.h>

struct layers {
	pthread_mutex_t lock;
	unsigned opened, closed, applied; /* calls */
	int open_error, apply_error;
	void (*in_apply)(void *arg, uint64_t file, uint32_t block); /* called in the middle of apply, under no lock; or NULL */
	void *arg;
};

/* Zero-initialise with LAYERS_INIT; installed in a store that was just opened. */
#define LAYERS_INIT                                                                                                              \
	{                                                                                                                        \
		.lock = PTHREAD_MUTEX_INITIALIZER                                                                                \
	}
void layers_install(struct layers *layers, struct bd_store *store);
/* Lay a layer; returns its epoch. */
uint32_t layers_lay(struct api *api, struct bd_branch_id branch, uint8_t add, uint8_t every);

static inline int through(int byte, int add)
{
	return (uint8_t)(byte * 3 + add);
}

#endif
