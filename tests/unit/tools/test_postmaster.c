/* Whose server lives on after its postmaster has died. */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/lib/postmaster.h"

#define KEY 0x6E656F31

/* Dies, and leaves a child that is attached: its id and the segment's come through the pipe. */
static void be_postmaster(int to)
{
	int id = shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0600);
	if (id < 0 || shmat(id, NULL, 0) == (void *)-1)
		_exit(1);
	pid_t backend = fork();
	if (backend == 0) {
		for (;;)
			pause();
	}
	int words[2] = {id, (int)backend};
	_exit(write(to, words, sizeof(words)) == (ssize_t)sizeof(words) ? 0 : 1);
}

static void processes_that_outlive_their_postmaster_are_seen(void **state)
{
	int ends[2], words[2], status;
	char text[256], other[256], early[256];
	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid_t postmaster = fork();
	if (postmaster == 0)
		be_postmaster(ends[1]);
	assert_int_equal(waitpid(postmaster, &status, 0), postmaster);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], words, sizeof(words)), sizeof(words));
	snprintf(text, sizeof(text), "%d\n/data\n1700000000\n5432\n/tmp\n\n%9lu %9lu\nready   \n", postmaster, (unsigned long)KEY,
		 (unsigned long)words[0]);
	snprintf(other, sizeof(other), "%d\n/data\n1700000000\n5432\n/tmp\n\n%9lu %9lu\nready   \n", postmaster + 1,
		 (unsigned long)KEY, (unsigned long)words[0]);
	snprintf(early, sizeof(early), "%d\n/data\n1700000000\n", postmaster);
	bool lives = tl_server_lives_on(text), others = tl_server_lives_on(other), earlier = tl_server_lives_on(early);
	kill(words[1], SIGKILL);
	assert_int_equal(waitpid(words[1], &status, 0), words[1]);
	bool after = tl_server_lives_on(text);
	shmctl(words[0], IPC_RMID, NULL);
	assert_true(lives);
	assert_false(others);
	assert_false(earlier);
	assert_false(after);
	assert_false(tl_server_lives_on(text));
	assert_false(tl_server_lives_on(""));
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(processes_that_outlive_their_postmaster_are_seen)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
