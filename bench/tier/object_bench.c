/* Uploads or downloads through the object-store client as fast as it goes; one line of JSON.
 *
 * usage: object_bench put URL COUNT BYTES PARALLEL       COUNT objects bench-0, bench-1, ... of BYTES each
 *        object_bench get URL COUNT BYTES PARALLEL       bench-0 in COUNT ranges of BYTES */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "blockdev/tier/object/object.h"

struct slot {
	struct ob_op op;
	uint8_t *buf;
	char key[32];
};

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what)
{
	fprintf(stderr, "object_bench: %s\n", what);
	exit(1);
}

static void submit(struct ob_client *client, struct slot *slot, bool puts, uint64_t number, uint64_t size)
{
	snprintf(slot->key, sizeof(slot->key), "bench-%llu", puts ? (unsigned long long)number : 0ull);
	slot->op = (struct ob_op){.kind = puts ? OB_PUT : OB_GET,
				  .key = slot->key,
				  .data = slot->buf,
				  .buf = slot->buf,
				  .size = size,
				  .offset = puts ? 0 : number * size,
				  .arg = slot};
	if (ob_submit(client, &slot->op) != 0)
		die(slot->op.message);
}

int main(int argc, char **argv)
{
	char message[OB_MESSAGE_MAX];
	struct ob_client *client;
	struct slot slots[OB_PARALLEL_MAX] = {0};
	if (argc != 6)
		die("usage: object_bench put|get URL COUNT BYTES PARALLEL");
	bool puts = strcmp(argv[1], "put") == 0;
	uint64_t count = strtoull(argv[3], NULL, 10), size = strtoull(argv[4], NULL, 10), next = 0, done = 0;
	const struct ob_options options = {.parallel = (unsigned)strtoul(argv[5], NULL, 10)};
	if (ob_client_open(argv[2], &options, &client, message, sizeof(message)) != 0)
		die(message);
	for (unsigned i = 0; i < options.parallel; i++) {
		slots[i].buf = malloc(size);
		if (slots[i].buf == NULL)
			die("out of memory");
		memset(slots[i].buf, (int)i + 1, size);
	}
	double started = now_s(), cpu = cpu_s();
	for (; next < count && next < options.parallel; next++)
		submit(client, &slots[next], puts, next, size);
	while (done < count) {
		struct ob_op *op;
		if (ob_poll(client, &op, 1, -1) != 1 || op->result != 0)
			die(op->message);
		done++;
		if (next < count)
			submit(client, op->arg, puts, next++, size);
	}
	double seconds = now_s() - started;
	printf("{\"mb_s\": %.1f, \"cpu_s_a_gb\": %.2f}\n", (double)(count * size) / 1e6 / seconds,
	       (cpu_s() - cpu) / ((double)(count * size) / 1e9));
	ob_client_close(client);
	for (unsigned i = 0; i < options.parallel; i++)
		free(slots[i].buf);
	return 0;
}
