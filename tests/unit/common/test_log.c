/* The log: a message is one line with its level; levels drop; control characters and length are tamed. */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/nf_log.h"

struct fixture {
	char *dir;
	char *path;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->dir = make_tmpdir();
	assert_true(asprintf(&f->path, "%s/log", f->dir) > 0);
	assert_int_equal(nf_log_open(f->path), 0);
	nf_log_set_level(NF_LOG_INFO);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	remove_tree(f->dir);
	free(f->dir);
	free(f->path);
	free(f);
	return 0;
}

static char *read_log(const struct fixture *f)
{
	char *text = calloc(1, 1 << 20);
	FILE *in = fopen(f->path, "r");

	assert_non_null(in);
	assert_true(fread(text, 1, (1 << 20) - 1, in) < (1 << 20) - 1);
	fclose(in);
	return text;
}

static unsigned count_lines(const char *text)
{
	unsigned count = 0;

	for (; *text != '\0'; text++)
		count += *text == '\n';
	return count;
}

static void levels(void **state)
{
	nf_error("first %d", 1);
	nf_warn("second");
	nf_info("third");
	nf_debug("hidden");
	nf_log_set_level(NF_LOG_ERROR);
	nf_warn("hidden too");
	nf_log_set_level(NF_LOG_DEBUG);
	nf_debug("shown");

	char *text = read_log(*state);
	assert_int_equal(count_lines(text), 4);
	assert_non_null(strstr(text, "ERROR"));
	assert_non_null(strstr(text, " first 1\n"));
	assert_non_null(strstr(text, "WARN"));
	assert_non_null(strstr(text, " shown\n"));
	assert_null(strstr(text, "hidden"));
	assert_int_equal(text[4], '-');
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[23], 'Z');
	free(text);
}

static void one_line(void **state)
{
	nf_info("name \"a\nb\tc\x7f\" is bad");
	char *text = read_log(*state);
	assert_int_equal(count_lines(text), 1);
	assert_non_null(strstr(text, "\"a?b?c?\" is bad\n"));
	free(text);
}

static void long_message(void **state)
{
	char *message = malloc(10001);

	memset(message, 'x', 10000);
	message[10000] = '\0';
	nf_info("%s", message);
	free(message);

	char *text = read_log(*state);
	size_t size = strlen(text);
	assert_int_equal(count_lines(text), 1);
	assert_true(size > 1000 && size < 4096);
	assert_string_equal(text + size - 5, "x...\n");
	free(text);
}

static void keeps_errno(void **state)
{
	errno = ENOSPC;
	nf_info("%m");
	assert_int_equal(errno, ENOSPC);
	char *text = read_log(*state);
	assert_non_null(strstr(text, strerror(ENOSPC)));
	free(text);
}

static void *log_much(void *arg)
{
	for (int i = 0; i < 500; i++)
		nf_info("thread %s says %s", (const char *)arg, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	return NULL;
}

static void threads_do_not_mix(void **state)
{
	static char names[4][2] = {"0", "1", "2", "3"};
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_much, names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);

	char *text = read_log(*state);
	assert_int_equal(count_lines(text), 2000);
	char *save = NULL;
	for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
		assert_string_equal(line + strlen(line) - 4, "aaaa");
	free(text);
}

static void open_fails(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(nf_log_open(f->dir), -EISDIR);
	assert_int_equal(nf_log_open("/no/such/place"), -ENOENT);
	nf_info("still here");
	char *text = read_log(f);
	assert_non_null(strstr(text, "still here"));
	free(text);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(levels, setup, teardown),
		cmocka_unit_test_setup_teardown(one_line, setup, teardown),
		cmocka_unit_test_setup_teardown(long_message, setup, teardown),
		cmocka_unit_test_setup_teardown(keeps_errno, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_do_not_mix, setup, teardown),
		cmocka_unit_test_setup_teardown(open_fails, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
