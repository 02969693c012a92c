/* The lease on a directory as the object store: taken, renewed, idle, given back, taken over, raced for; what the store's directory remembers of it; an object store that does not answer. That it
 * holds in every interleaving is tier_lease_core.c's; here are threads, processes and files. */
#include "tier.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/tier/lease.h"

#define TTL_MS 400u
#define LONG_TTL_MS 20000u

static char directory[64], objects[96], url[128], store[96];
static char message[1024];

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	nanosleep(&pause, NULL);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/neonfs-lease-XXXXXX");
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(objects, sizeof(objects), "%s/objects", directory);
	snprintf(store, sizeof(store), "%s/store", directory);
	snprintf(url, sizeof(url), "file://%s", objects);
	return mkdir(objects, 0700) != 0 || mkdir(store, 0700) != 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
	(void)status, (void)flag, (void)walk;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct ob_client *open_client(void)
{
	const struct ob_options options = {.retry_first_ms = 20, .retry_max_ms = 100};
	struct ob_client *client;
	char why[OB_MESSAGE_MAX];
	assert_ok(ob_client_open(url, &options, &client, why, sizeof(why)));
	return client;
}

/* One machine. */
struct holder {
	struct ob_client *client;
	struct bd_lease *lease;
	_Atomic unsigned lost;
	char why[512];
};

static void on_lost(void *arg, const char *why)
{
	struct holder *holder = arg;
	holder->lost++;
	snprintf(holder->why, sizeof(holder->why), "%s", why);
}

static struct bd_lease_options options_of(struct holder *holder)
{
	return (struct bd_lease_options){.ttl_ms = TTL_MS, .lost = on_lost, .arg = holder};
}

static int take_with(struct holder *holder, const struct bd_lease_options *options)
{
	memset(holder, 0, sizeof(*holder));
	struct bd_lease_options ours = *options;
	ours.arg = holder;
	holder->client = open_client();
	message[0] = '\0';
	int rc = bd_lease_take(holder->client, &ours, &holder->lease, message, sizeof(message));
	if (rc != 0) {
		assert_true(message[0] != '\0');
		ob_client_close(holder->client);
		holder->client = NULL;
	}
	return rc;
}

static int take(struct holder *holder, bool take_over)
{
	struct bd_lease_options options = options_of(holder);
	options.take_over = take_over;
	return take_with(holder, &options);
}

static void let_go(struct holder *holder, bool release)
{
	bd_lease_close(holder->lease, release);
	ob_client_close(holder->client);
	memset(holder, 0, sizeof(*holder));
}

static void assert_state(const char *state, uint32_t generation)
{
	struct bd_lease_facts facts;
	struct ob_client *client = open_client();
	assert_ok(bd_lease_look(client, &facts, message, sizeof(message)));
	ob_client_close(client);
	assert_string_equal(facts.state, state);
	assert_int_equal(facts.generation, generation);
}

/* ----------------------------------------------------------------- cases */

static void taken_and_given_back(void **state)
{
	struct holder one;
	struct bd_lease_facts facts;
	struct bd_lease_status status;
	(void)state;
	struct ob_client *client = open_client();
	assert_int_equal(bd_lease_look(client, &facts, message, sizeof(message)), -ENOENT);
	ob_client_close(client);
	assert_ok(take(&one, false));
	assert_int_equal(bd_lease_generation(one.lease), 1);
	assert_ok(bd_lease_confirm(one.lease));
	bd_lease_status(one.lease, &status);
	assert_true(status.held && !status.lost && !status.idle && status.left_ms > 0 && status.left_ms <= TTL_MS);
	assert_string_equal(status.last_error, "");
	assert_state("held", 1);
	let_go(&one, true);
	assert_state("released", 1);
	int64_t began = now_ms();
	assert_ok(take(&one, false));
	assert_true(now_ms() - began < TTL_MS);
	assert_int_equal(bd_lease_generation(one.lease), 2);
	let_go(&one, true);
}

static void *confirm_on(void *arg)
{
	struct holder *holder = arg;
	while (bd_lease_confirm(holder->lease) == 0)
		pause_ms(5);
	return NULL;
}

static void who_is_alive_keeps_it(void **state)
{
	struct holder one, two;
	pthread_t thread;
	(void)state;
	assert_ok(take(&one, false));
	assert_int_equal(pthread_create(&thread, NULL, confirm_on, &one), 0);
	assert_int_equal(take(&two, false), -EBUSY);
	assert_non_null(strstr(message, "--take-over"));
	assert_non_null(strstr(message, "process"));
	assert_int_equal(one.lost, 0);
	assert_ok(bd_lease_confirm(one.lease));
	assert_state("held", 1);

	int64_t began = now_ms();
	assert_ok(take(&two, true));
	assert_true(now_ms() - began >= TTL_MS);
	assert_int_equal(bd_lease_generation(two.lease), 2);
	assert_ok(bd_lease_confirm(two.lease));
	pthread_join(thread, NULL);
	assert_int_equal(bd_lease_confirm(one.lease), -ESTALE);
	assert_true(bd_lease_is_lost(one.lease));
	assert_int_equal(one.lost, 1);
	assert_non_null(strstr(one.why, "another machine has taken this store over (lease 2)"));
	let_go(&one, true);
	assert_state("held", 2);
	let_go(&two, true);
}

/* A dead one is waited out. */
static void who_is_dead_does_not(void **state)
{
	struct holder one, two;
	(void)state;
	assert_ok(take(&one, false));
	let_go(&one, false);
	assert_state("held", 1);
	int64_t began = now_ms();
	assert_ok(take(&two, false));
	assert_true(now_ms() - began >= TTL_MS);
	let_go(&two, true);
}

static void idle_asks_nothing(void **state)
{
	struct holder one, two;
	struct bd_lease_status status;
	struct ob_stats before, after;
	(void)state;
	assert_ok(take(&one, false));
	assert_ok(bd_lease_confirm(one.lease));
	int64_t until = now_ms() + 20 * TTL_MS;
	for (status.idle = false; !status.idle && now_ms() < until; pause_ms(10))
		bd_lease_status(one.lease, &status);
	assert_true(status.idle);
	pause_ms(100);
	assert_state("idle", 1);
	ob_client_stats(one.client, &before);
	pause_ms(4 * TTL_MS);
	ob_client_stats(one.client, &after);
	assert_int_equal(after.tries, before.tries);
	bd_lease_status(one.lease, &status);
	assert_false(status.held);
	/* It is not taken from behind its back... */
	assert_int_equal(take(&two, false), -EBUSY);
	assert_non_null(strstr(message, "idle"));
	/* ... and goes on when it is needed. */
	assert_ok(bd_lease_confirm(one.lease));
	bd_lease_status(one.lease, &status);
	assert_true(status.held && !status.idle);
	let_go(&one, true);
}

/* An idle one that lost it finds out before it acknowledges. */
static void idle_and_taken_over(void **state)
{
	struct holder one, two;
	struct bd_lease_status status;
	(void)state;
	assert_ok(take(&one, false));
	int64_t until = now_ms() + 20 * TTL_MS;
	for (status.idle = false; !status.idle && now_ms() < until; pause_ms(10))
		bd_lease_status(one.lease, &status);
	assert_ok(take(&two, true));
	assert_int_equal(bd_lease_confirm(one.lease), -ESTALE);
	assert_int_equal(one.lost, 1);
	assert_ok(bd_lease_confirm(two.lease));
	let_go(&one, true);
	let_go(&two, true);
}

/* ---- the directory's record */

static int take_at(struct holder *holder, const char *path, bool adopt)
{
	struct bd_lease_options options = options_of(holder);
	options.store_path = path;
	options.adopt = adopt;
	return take_with(holder, &options);
}

static void own_is_followed_at_once(void **state)
{
	struct holder one;
	(void)state;
	for (unsigned i = 1; i <= 6; i++) {
		struct bd_lease_options options = options_of(&one);
		options.store_path = store;
		options.ttl_ms = LONG_TTL_MS;
		int64_t began = now_ms();
		assert_ok(take_with(&one, &options));
		assert_true(now_ms() - began < LONG_TTL_MS / 4);
		assert_int_equal(bd_lease_generation(one.lease), i);
		let_go(&one, false);
	}
}

/* A copy of the directory may be used too: that its original's process has ended is not known, so it is waited for. */
static void copy_waits(void **state)
{
	struct holder one;
	char copy[112], from[160], to[160], text[4096];
	(void)state;
	assert_ok(take_at(&one, store, false));
	let_go(&one, false);
	snprintf(copy, sizeof(copy), "%s/copy", directory);
	assert_ok(mkdir(copy, 0700));
	snprintf(from, sizeof(from), "%s/" BD_LEASE_RECORD_FILE, store);
	snprintf(to, sizeof(to), "%s/" BD_LEASE_RECORD_FILE, copy);
	FILE *file = fopen(from, "r");
	assert_non_null(file);
	size_t size = fread(text, 1, sizeof(text), file);
	fclose(file);
	file = fopen(to, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	assert_ok(fclose(file));
	int64_t began = now_ms();
	assert_ok(take_at(&one, copy, false));
	assert_true(now_ms() - began >= TTL_MS);
	let_go(&one, true);
	/* And the original is not the newest any more. */
	assert_int_equal(take_at(&one, store, false), -ESTALE);
	assert_non_null(strstr(message, "not the newest"));
}

static void others_are_not_followed(void **state)
{
	struct holder one, two;
	char other[112];
	(void)state;
	snprintf(other, sizeof(other), "%s/other", directory);
	assert_ok(mkdir(other, 0700));
	assert_ok(take_at(&one, store, false));
	let_go(&one, true);
	assert_int_equal(take_at(&two, other, false), -ESTALE);
	assert_ok(take_at(&two, other, true));
	assert_int_equal(bd_lease_generation(two.lease), 2);
	let_go(&two, true);
	assert_int_equal(take_at(&one, store, false), -ESTALE);
	assert_non_null(strstr(message, "lease 2"));
	assert_ok(take_at(&two, other, false));
	let_go(&two, true);
}

static void emptied_place(void **state)
{
	struct holder one;
	char path[160];
	(void)state;
	assert_ok(take_at(&one, store, false));
	let_go(&one, true);
	snprintf(path, sizeof(path), "%s/lease/00000001", objects);
	assert_ok(unlink(path));
	assert_int_equal(take_at(&one, store, false), -ENOENT);
	assert_non_null(strstr(message, "emptied"));
}

static void damaged_record(void **state)
{
	struct holder one;
	char path[160];
	(void)state;
	assert_ok(take_at(&one, store, false));
	let_go(&one, true);
	snprintf(path, sizeof(path), "%s/" BD_LEASE_RECORD_FILE, store);
	assert_ok(truncate(path, 20));
	assert_int_equal(take_at(&one, store, false), -EUCLEAN);
	assert_non_null(strstr(message, BD_LEASE_RECORD_FILE));
}

static void damaged_lease(void **state)
{
	static const char *const texts[] = {"", "{", "[]", "{\"version\": 1}", "\xff\xff\xff\xff"};
	struct holder one;
	char path[160];
	(void)state;
	assert_ok(take(&one, false));
	let_go(&one, true);
	snprintf(path, sizeof(path), "%s/lease/00000001", objects);
	for (unsigned i = 0; i < NF_ARRAY_LEN(texts); i++) {
		FILE *file = fopen(path, "w");
		assert_non_null(file);
		fputs(texts[i], file);
		assert_ok(fclose(file));
		assert_int_equal(take(&one, true), -EUCLEAN);
		assert_non_null(strstr(message, "lease/00000001"));
	}
}

/* The holder's own, damaged on its way: it is put again. */
static void damaged_renewal(void **state)
{
	struct holder one;
	struct bd_lease_status status;
	char path[160];
	(void)state;
	assert_ok(take(&one, false));
	snprintf(path, sizeof(path), "%s/lease/00000001", objects);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("{\"version\": 1", file);
	assert_ok(fclose(file));
	int64_t until = now_ms() + 10 * TTL_MS;
	do
		bd_lease_status(one.lease, &status);
	while (status.held && now_ms() < until && !bd_lease_is_lost(one.lease));
	assert_ok(bd_lease_confirm(one.lease));
	assert_state("held", 1);
	let_go(&one, true);
}

/* ---- races and bad days */

struct racer {
	pthread_t thread;
	pthread_barrier_t *barrier;
	struct holder holder;
	int rc;
	char message[512];
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	struct bd_lease_options options = {.ttl_ms = TTL_MS, .take_over = true};
	racer->holder.client = open_client();
	pthread_barrier_wait(racer->barrier);
	racer->rc = bd_lease_take(racer->holder.client, &options, &racer->holder.lease, racer->message, sizeof(racer->message));
	return NULL;
}

static void one_winner(void **state)
{
	struct racer racers[4];
	pthread_barrier_t barrier;
	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		unsigned valid = 0;
		memset(racers, 0, sizeof(racers));
		pthread_barrier_init(&barrier, NULL, NF_ARRAY_LEN(racers));
		for (unsigned i = 0; i < NF_ARRAY_LEN(racers); i++) {
			racers[i].barrier = &barrier;
			assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
		}
		for (unsigned i = 0; i < NF_ARRAY_LEN(racers); i++)
			pthread_join(racers[i].thread, NULL);
		for (unsigned i = 0; i < NF_ARRAY_LEN(racers); i++) {
			assert_true(racers[i].rc == 0 || racers[i].rc == -EBUSY);
			valid += racers[i].rc == 0 && bd_lease_confirm(racers[i].holder.lease) == 0;
		}
		assert_int_equal(valid, 1);
		for (unsigned i = 0; i < NF_ARRAY_LEN(racers); i++) {
			if (racers[i].rc == 0)
				bd_lease_close(racers[i].holder.lease, true);
			ob_client_close(racers[i].holder.client);
		}
		pthread_barrier_destroy(&barrier);
	}
}

struct waiter {
	struct holder *holder;
	pthread_t thread;
	_Atomic bool is_done;
	int rc;
};

static void *wait_for_lease(void *arg)
{
	struct waiter *waiter = arg;
	waiter->rc = bd_lease_confirm(waiter->holder->lease);
	waiter->is_done = true;
	return NULL;
}

/* Nothing is put while somebody else holds the directory's lock. */
static int block_store(void)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/~lock", objects);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(flock(fd, LOCK_EX));
	return fd;
}

static void store_away(void **state)
{
	struct holder one;
	struct bd_lease_status status;
	struct waiter waiter = {.holder = &one};
	(void)state;
	assert_ok(take(&one, false));
	int fd = block_store();
	int64_t until = now_ms() + 10 * TTL_MS;
	do
		bd_lease_status(one.lease, &status);
	while (status.held && now_ms() < until);
	assert_false(status.held);
	assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_lease, &waiter), 0);
	pause_ms(2 * TTL_MS);
	assert_false(waiter.is_done);
	close(fd);
	pthread_join(waiter.thread, NULL);
	assert_ok(waiter.rc);
	assert_int_equal(one.lost, 0);
	let_go(&one, true);
}

static void waiting_can_be_ended(void **state)
{
	struct holder one;
	struct bd_lease_status status;
	struct waiter waiter = {.holder = &one};
	(void)state;
	assert_ok(take(&one, false));
	int fd = block_store();
	do
		bd_lease_status(one.lease, &status);
	while (status.held);
	assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_lease, &waiter), 0);
	pause_ms(50);
	bd_lease_stop_waiting(one.lease);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.rc, -ECANCELED);
	close(fd);
	let_go(&one, true);
	assert_state("released", 1);
}

/* ---- another process, stopped */

struct shared {
	_Atomic int confirmed, rc;
};

static void be_holder(struct shared *shared)
{
	struct holder holder;
	if (take(&holder, false) != 0)
		_exit(1);
	for (;;) {
		int rc = bd_lease_confirm(holder.lease);
		if (rc != 0) {
			shared->rc = rc;
			_exit(0);
		}
		shared->confirmed++;
	}
}

static void stopped_and_woken(void **state)
{
	struct holder two;
	(void)state;
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		be_holder(shared);
	int64_t until = now_ms() + 10000;
	while (shared->confirmed < 100 && now_ms() < until)
		pause_ms(5);
	assert_ok(kill(pid, SIGSTOP));
	assert_ok(take(&two, false)); /* it looks dead */
	int before = shared->confirmed;
	assert_ok(bd_lease_confirm(two.lease));
	assert_ok(kill(pid, SIGCONT));
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(shared->rc, -ESTALE);
	/* One that had looked at the clock before it was stopped is counted after. */
	assert_in_range(shared->confirmed, before, before + 1);
	let_go(&two, true);
	munmap(shared, sizeof(*shared));
}

static void without_one(void **state)
{
	struct holder one, two;
	struct bd_lease_options options = options_of(&one);
	(void)state;
	options.unsafe = true;
	assert_ok(take_with(&one, &options));
	assert_ok(take_with(&two, &options));
	assert_int_equal(bd_lease_generation(one.lease), 1);
	assert_int_equal(bd_lease_generation(two.lease), 2);
	assert_ok(bd_lease_confirm(one.lease));
	assert_ok(bd_lease_confirm(two.lease));
	let_go(&one, true);
	let_go(&two, true);
}

static void too_short(void **state)
{
	struct holder one;
	struct bd_lease_options options = options_of(&one);
	(void)state;
	options.ttl_ms = BD_LEASE_LEAST_TTL_MS - 1;
	assert_int_equal(take_with(&one, &options), -EINVAL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(taken_and_given_back),   CASE(who_is_alive_keeps_it),   CASE(who_is_dead_does_not),    CASE(idle_asks_nothing),
		CASE(idle_and_taken_over),    CASE(own_is_followed_at_once), CASE(copy_waits),		    CASE(others_are_not_followed),
		CASE(emptied_place),	      CASE(damaged_record),	     CASE(damaged_lease),	    CASE(one_winner),
		CASE(damaged_renewal),
		CASE(store_away),	      CASE(waiting_can_be_ended),    CASE(stopped_and_woken),	    CASE(without_one),
		CASE(too_short),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
