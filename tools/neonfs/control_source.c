/* See control_source.h. The daemon serves one store, so what is under way is this file's own.
 *
 * Children may be made side by side; a change of the name is alone. Nobody holds a claim while waiting for another one. */
#include "tools/neonfs/control_source.h"

#include <pthread.h>
#include <time.h>

#define NAME_WAIT_S 5

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static struct ctl_claim *claims; /* guarded by lock */

static bool is_claimed(struct bd_branch_id branch, bool by_changes_only)
{
	for (const struct ctl_claim *claim = claims; claim != NULL; claim = claim->next)
		if (claim->branch.v == branch.v && (claim->changes_name || !by_changes_only))
			return true;
	return false;
}

static void begin(struct ctl_claim *claim, struct bd_branch_id branch, bool changes_name)
{
	*claim = (struct ctl_claim){.branch = branch, .changes_name = changes_name, .next = claims};
	claims = claim;
}

int ctl_claim_source(struct ctl_call *call, struct bd_branch_info *branch, struct ctl_claim *claim)
{
	pthread_mutex_lock(&lock);
	while (is_claimed(branch->id, true))
		pthread_cond_wait(&ended, &lock);
	begin(claim, branch->id, false);
	pthread_mutex_unlock(&lock);
	int rc = bd_branch_get(call->store, branch->id, branch);
	if (rc == 0)
		return 0;
	ctl_claim_end(claim);
	return ctl_store_error(call, rc, "cannot look the branch up again");
}

int ctl_claim_name(struct ctl_call *call, const struct bd_branch_info *branch, struct ctl_claim *claim)
{
	struct timespec until;
	int rc = 0;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += NAME_WAIT_S;
	pthread_mutex_lock(&lock);
	while (rc == 0 && is_claimed(branch->id, false))
		rc = pthread_cond_timedwait(&ended, &lock, &until);
	bool is_free = !is_claimed(branch->id, false);
	if (is_free)
		begin(claim, branch->id, true);
	pthread_mutex_unlock(&lock);
	if (is_free)
		return 0;
	return ctl_error(call, "busy",
			 "another branch is being made of \"%s\" at a point, and reads it by its name; try again when that is done",
			 branch->name);
}

void ctl_claim_end(struct ctl_claim *claim)
{
	pthread_mutex_lock(&lock);
	struct ctl_claim **at = &claims;
	while (*at != claim)
		at = &(*at)->next;
	*at = claim->next;
	pthread_cond_broadcast(&ended);
	pthread_mutex_unlock(&lock);
}
