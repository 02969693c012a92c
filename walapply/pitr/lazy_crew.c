#include "walapply/pitr/lazy_crew.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "walapply/pitr/history_impl.h"

struct lz_crew {
	pthread_t threads[LZ_CREW_MAX - 1];
	unsigned count; /* of threads */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* there are tasks, or it ends */
	pthread_cond_t idle; /* the last task is done */
	/* guarded by lock */
	int (*task)(void *arg, size_t i);
	void *arg;
	size_t next, end; /* tasks that nobody has taken */
	unsigned busy; /* who is at one */
	int error;
	bool is_ending;
};

/* Under the lock: tasks, as long as there are some. */
static void work(struct lz_crew *crew)
{
	while (crew->next < crew->end) {
		size_t i = crew->next++;
		crew->busy++;
		pthread_mutex_unlock(&crew->lock);
		int error = crew->task(crew->arg, i);
		pthread_mutex_lock(&crew->lock);
		crew->busy--;
		if (error != 0) {
			crew->error = crew->error == 0 ? error : crew->error;
			crew->next = crew->end;
		}
	}
	if (crew->busy == 0)
		pthread_cond_signal(&crew->idle);
}

static void *member(void *arg)
{
	struct lz_crew *crew = arg;
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WA_HISTORY_NICE);
	pthread_mutex_lock(&crew->lock);
	while (!crew->is_ending) {
		if (crew->next < crew->end)
			work(crew);
		else
			pthread_cond_wait(&crew->wake, &crew->lock);
	}
	pthread_mutex_unlock(&crew->lock);
	return NULL;
}

int lz_crew_new(unsigned threads, struct lz_crew **ret_crew)
{
	assert(threads > 0 && threads <= LZ_CREW_MAX);
	struct lz_crew *crew = calloc(1, sizeof(*crew));
	if (crew == NULL)
		return -ENOMEM;
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->wake, NULL);
	pthread_cond_init(&crew->idle, NULL);
	while (crew->count + 1 < threads && pthread_create(&crew->threads[crew->count], NULL, member, crew) == 0)
		crew->count++;
	*ret_crew = crew;
	return 0;
}

void lz_crew_free(struct lz_crew *crew)
{
	if (crew == NULL)
		return;
	pthread_mutex_lock(&crew->lock);
	crew->is_ending = true;
	pthread_cond_broadcast(&crew->wake);
	pthread_mutex_unlock(&crew->lock);
	for (unsigned i = 0; i < crew->count; i++)
		pthread_join(crew->threads[i], NULL);
	pthread_cond_destroy(&crew->idle);
	pthread_cond_destroy(&crew->wake);
	pthread_mutex_destroy(&crew->lock);
	free(crew);
}

int lz_crew_run(struct lz_crew *crew, size_t count, int (*task)(void *arg, size_t i), void *arg)
{
	pthread_mutex_lock(&crew->lock);
	crew->task = task;
	crew->arg = arg;
	crew->next = 0;
	crew->end = count;
	crew->error = 0;
	pthread_cond_broadcast(&crew->wake);
	work(crew);
	while (crew->busy > 0)
		pthread_cond_wait(&crew->idle, &crew->lock);
	int error = crew->error;
	pthread_mutex_unlock(&crew->lock);
	return error;
}
