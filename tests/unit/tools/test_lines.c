/* Lines over a socket: in pieces, several at once, too long, and cut off. */
#include "tests/unit/tools/fixture.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/lib/proto.h"

struct pair {
	int writer;
	struct tl_lines lines;
};

static int set_up(void **state)
{
	static struct pair pair;
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		return -1;
	pair.writer = fds[0];
	tl_lines_init(&pair.lines, fds[1], 100);
	*state = &pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;
	if (pair->writer >= 0)
		close(pair->writer);
	close(pair->lines.fd);
	tl_lines_free(&pair->lines);
	return 0;
}

static void put(struct pair *pair, const char *data, size_t size)
{
	assert_int_equal(send(pair->writer, data, size, MSG_NOSIGNAL), size);
}

static void expect(struct pair *pair, const char *line)
{
	char *text;
	size_t size;
	assert_int_equal(tl_lines_next(&pair->lines, &text, &size), 0);
	assert_int_equal(size, strlen(line));
	assert_string_equal(text, line);
}

static void expect_error(struct pair *pair, int error)
{
	char *text = NULL;
	size_t size;
	assert_int_equal(tl_lines_next(&pair->lines, &text, &size), error);
	assert_null(text);
}

static void several_at_once(void **state)
{
	struct pair *pair = *state;
	put(pair, "one\n\nthree\nfo", 13);
	expect(pair, "one");
	expect(pair, "");
	expect(pair, "three");
	put(pair, "ur\n", 3);
	expect(pair, "four");
}

static void end_between_lines_and_inside_one(void **state)
{
	struct pair *pair = *state;
	put(pair, "whole\n", 6);
	shutdown(pair->writer, SHUT_WR);
	expect(pair, "whole");
	expect_error(pair, -ENODATA);
}

static void end_inside_a_line(void **state)
{
	struct pair *pair = *state;
	put(pair, "whole\nhal", 9);
	shutdown(pair->writer, SHUT_WR);
	expect(pair, "whole");
	expect_error(pair, -EPIPE);
}

static void the_limit(void **state)
{
	struct pair *pair = *state;
	char line[102];
	memset(line, 'x', sizeof(line));
	line[100] = '\n';
	put(pair, line, 101);
	line[100] = '\0';
	expect(pair, line);
	line[100] = 'x';
	line[101] = '\n';
	put(pair, line, 102);
	expect_error(pair, -EMSGSIZE);
}

static void a_line_without_end(void **state)
{
	struct pair *pair = *state;
	char piece[1000];
	memset(piece, 'x', sizeof(piece));
	put(pair, piece, sizeof(piece));
	expect_error(pair, -EMSGSIZE);
}

static void values_are_sent_as_lines(void **state)
{
	struct pair *pair = *state;
	assert_int_equal(tl_send(pair->writer, json_pack("{s:i}", "v", 1)), 0);
	expect(pair, "{\"v\":1}");
	assert_int_equal(tl_send(pair->writer, json_pack("{s:s}", "text", "a\nb")), 0);
	expect(pair, "{\"text\":\"a\\nb\"}");
	assert_int_equal(tl_send(pair->writer, NULL), -ENOMEM);
	shutdown(pair->lines.fd, SHUT_RD);
	assert_int_equal(tl_send(pair->writer, json_null()), -ENOMEM); /* no line of its own: only arrays and objects are */
	assert_int_equal(tl_send(pair->writer, json_object()), -EPIPE);
}

static void file_names_become_json(void **state)
{
	(void)state;
	json_t *plain = tl_json_text("\xc3\xbc"), *odd = tl_json_text("a\xff");
	assert_string_equal(json_string_value(plain), "\xc3\xbc");
	assert_string_equal(json_string_value(odd), "a\\xff");
	json_decref(plain);
	json_decref(odd);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(several_at_once),
		WITH_PAIR(end_between_lines_and_inside_one),
		WITH_PAIR(end_inside_a_line),
		WITH_PAIR(the_limit),
		WITH_PAIR(a_line_without_end),
		WITH_PAIR(values_are_sent_as_lines),
		cmocka_unit_test(file_names_become_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
