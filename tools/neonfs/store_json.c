/* What the store says of itself, as JSON. */
#include "tools/neonfs/store_json.h"

#include <stdlib.h>

#include "blockdev/tier/status.h"
#include "tools/lib/proto.h"
#include "tools/neonfs/store_limit.h"

/* A number of a struct, under its own name. */
struct field {
	const char *name;
	uint64_t value;
};

static json_t *numbers(const struct field *fields, unsigned count)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < count && object != NULL; i++) {
		if (json_object_set_new(object, fields[i].name, json_integer((json_int_t)fields[i].value)) != 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

#define FIELD(from, name)                                                                                                        \
	{                                                                                                                        \
#name, (from)->name                                                                                              \
	}

json_t *store_status_json(const struct bd_status *status)
{
	const struct field fields[] = {
		FIELD(status, format_version),
		FIELD(status, size_limit_bytes),
		FIELD(status, extents),
		FIELD(status, extent_bytes),
		FIELD(status, live_bytes),
		FIELD(status, spare_bytes),
		FIELD(status, free_bytes),
		FIELD(status, log_bytes),
		FIELD(status, index_bytes),
		FIELD(status, memory_bytes),
		FIELD(status, memory_limit_bytes),
		FIELD(status, branches),
		FIELD(status, snapshots),
		FIELD(status, layers),
		FIELD(status, made_blocks),
		FIELD(status, inodes_in_memory),
		FIELD(status, blocks_in_memory),
		FIELD(status, reads),
		FIELD(status, writes),
		FIELD(status, fsyncs),
		FIELD(status, log_syncs),
		FIELD(status, checkpoints),
		FIELD(status, collected_extents),
		FIELD(status, collected_copied_bytes),
		FIELD(status, read_bytes),
		FIELD(status, written_bytes),
		FIELD(status, inline_bytes),
	};
	json_t *object = numbers(fields, NF_ARRAY_LEN(fields));
	if (object != NULL && status->error != 0)
		json_object_set_new(object, "error", tl_json_text(status->error_message));
	const char *full = store_limit_reached(status);
	if (object != NULL && full != NULL)
		json_object_set_new(object, "full", json_string(full));
	return object;
}

/* A text that is "" when there is nothing to say. */
static void set_text(json_t *object, const char *key, const char *text)
{
	if (text[0] != '\0')
		json_object_set_new(object, key, tl_json_text(text));
}

json_t *store_tier_json(struct bd_store *store)
{
	struct bd_tier_status *status = calloc(1, sizeof(*status));
	if (status == NULL || bd_store_tier_status(store, status) != 0) {
		free(status);
		return NULL;
	}
	const struct field fields[] = {
		FIELD(status, generation),	 FIELD(status, manifest),	   FIELD(status, unsafe_bytes),
		FIELD(status, waiting_extents),	 FIELD(status, waiting_bytes),	   FIELD(status, stored_extent_bytes),
		FIELD(status, put_requests),	 FIELD(status, put_bytes),	   FIELD(status, get_requests),
		FIELD(status, get_bytes),	 FIELD(status, deleted_objects),   FIELD(status, local_bytes),
		FIELD(status, local_limit_bytes), FIELD(status, cached_bytes),	   FIELD(status, extents_cold),
		FIELD(status, fetches),		 FIELD(status, fetched_bytes),	   FIELD(status, evicted_bytes),
		FIELD(status, waiting_reads),
	};
	json_t *object = numbers(fields, NF_ARRAY_LEN(fields));
	if (object != NULL) {
		set_text(object, "url", status->url);
		json_object_set_new(object, "read_only", json_boolean(status->read_only));
		/* Nanoseconds since 1970: until when everything is safe. null: nothing is yet, or nobody here uploads. */
		json_object_set_new(object, "safe_ns", status->ships && status->safe_ns != 0 ? json_integer(status->safe_ns) : json_null());
		set_text(object, "upload_error", status->ship_error);
		set_text(object, "trouble", status->trouble);
		if (status->has_lease)
			json_object_set_new(object, "lease",
					    json_pack("{s:s, s:I, s:o*}", "state",
						      status->lease_lost   ? "lost"
						      : status->lease_idle ? "idle"
						      : status->lease_held ? "held"
									   : "run out",
						      "left_ms", (json_int_t)status->lease_left_ms, "error",
						      status->lease_error[0] != '\0' ? tl_json_text(status->lease_error) : NULL));
	}
	free(status);
	return object;
}

json_t *store_check_json(const struct bd_check_result *result)
{
	const struct field fields[] = {
		FIELD(result, objects), FIELD(result, bytes),	FIELD(result, verified_bytes), FIELD(result, missing),
		FIELD(result, damaged), FIELD(result, orphans), FIELD(result, orphan_bytes),   FIELD(result, doomed),
	};
	return numbers(fields, NF_ARRAY_LEN(fields));
}

json_t *store_gc_json(struct bd_store *store, const struct bd_gc_result *result)
{
	struct bd_status status;
	if (bd_store_status(store, &status) != 0)
		status.layers = 0;
	const struct field fields[] = {
		FIELD(result, versions_dropped),
		FIELD(result, extents_freed),
		FIELD(result, bytes_freed),
		FIELD(result, bytes_copied),
		FIELD(&status, layers),
	};
	return numbers(fields, NF_ARRAY_LEN(fields));
}

json_t *store_scrub_json(const struct bd_scrub_result *result)
{
	const struct field fields[] = {
		FIELD(result, blocks_checked), FIELD(result, bytes_checked), FIELD(result, index_keys_checked),
		FIELD(result, bad_blocks),     FIELD(result, bad_keys),      FIELD(result, orphan_keys),
		FIELD(result, counters_corrected),
	};
	return numbers(fields, NF_ARRAY_LEN(fields));
}
