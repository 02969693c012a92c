/* pg_control from and to bytes: the table of places is in wa_control.h. */
#include "walapply/state/wa_control.h"

#include "common/nf_crc32c.h"
#include "common/nf_cursor.h"

#define CRC_AT_18 292u
#define CRC_AT 288u

/* A reader or writer at a place of the file; both stay inside, since the places are constants below the CRC's. */
static struct nf_reader from(const uint8_t *bytes, size_t place)
{
	return nf_reader_init(bytes + place, CRC_AT - place);
}

static struct nf_writer at(uint8_t *bytes, size_t place)
{
	return nf_writer_init(bytes + place, CRC_AT - place);
}

static size_t crc_place(int major)
{
	return major >= 18 ? CRC_AT_18 : CRC_AT;
}

static uint32_t control_version_of(int major)
{
	return major >= 17 ? (uint32_t)major * 100 : 1300;
}

static uint32_t load32_at(const uint8_t *bytes, size_t place)
{
	struct nf_reader reader = from(bytes, place);
	return nf_read_u32(&reader);
}

static int check(int major, const uint8_t *bytes, size_t size, struct wa_error *error)
{
	size_t place = crc_place(major);
	if (size < place + 4)
		return wa_bad(error, (struct nf_lsn){0}, "pg_control has only %zu bytes", size);
	uint32_t version = load32_at(bytes, 8);
	if (version != control_version_of(major))
		return wa_bad(error, (struct nf_lsn){0}, "pg_control has version %u, but Postgres %d writes %u", version, major,
			      control_version_of(major));
	struct nf_reader crc = nf_reader_init(bytes + place, 4);
	if (nf_read_u32(&crc) != nf_crc32c(bytes, place))
		return wa_bad(error, (struct nf_lsn){0}, "pg_control is damaged: its checksum does not fit");
	return 0;
}

static struct wa_parameters load_parameters(const uint8_t *bytes)
{
	struct nf_reader reader = from(bytes, 172);
	struct wa_parameters parameters = {.wal_level = (int32_t)nf_read_u32(&reader)};
	parameters.wal_log_hints = nf_read_u8(&reader) != 0;
	nf_read_bytes(&reader, 3);
	parameters.max_connections = (int32_t)nf_read_u32(&reader);
	parameters.max_worker_processes = (int32_t)nf_read_u32(&reader);
	parameters.max_wal_senders = (int32_t)nf_read_u32(&reader);
	parameters.max_prepared_xacts = (int32_t)nf_read_u32(&reader);
	parameters.max_locks_per_xact = (int32_t)nf_read_u32(&reader);
	parameters.track_commit_timestamp = nf_read_u8(&reader) != 0;
	return parameters;
}

static int check_sizes(const struct wa_control *control, struct wa_error *error)
{
	if (control->block_size != WA_PAGE_SIZE || control->wal_block_size != WA_PAGE_SIZE)
		return wa_bad(error, (struct nf_lsn){0},
			      "this cluster has pages of %u and WAL pages of %u bytes; only %u is supported", control->block_size,
			      control->wal_block_size, WA_PAGE_SIZE);
	if (control->segment_blocks == 0 || control->wal_segment_size == 0)
		return wa_bad(error, (struct nf_lsn){0}, "pg_control makes no sense: segments of 0 bytes");
	return 0;
}

int wa_control_load(int major, const uint8_t *bytes, size_t size, struct wa_control *ret_control, struct wa_error *error)
{
	int status = check(major, bytes, size, error);
	if (status < 0)
		return status;
	const struct wa_version version = {.major = major};
	struct nf_reader reader = from(bytes, 0);
	struct wa_control control = {
		.system_id = nf_read_u64(&reader), .version = nf_read_u32(&reader), .catalog = nf_read_u32(&reader)};
	control.state = (int32_t)nf_read_u32(&reader);
	nf_read_u32(&reader);
	control.time_s = (int64_t)nf_read_u64(&reader);
	control.checkpoint.v = nf_read_u64(&reader);
	status = wa_counters_load(&version, nf_read_bytes(&reader, WA_CHECKPOINT_SIZE), WA_CHECKPOINT_SIZE, &control.copy);
	if (status < 0)
		return status;
	nf_read_u64(&reader);
	control.min_recovery.v = nf_read_u64(&reader);
	control.min_recovery_timeline = nf_read_u32(&reader);
	nf_read_u32(&reader);
	control.backup_start.v = nf_read_u64(&reader);
	control.backup_end.v = nf_read_u64(&reader);
	control.backup_end_required = nf_read_u8(&reader) != 0;
	control.parameters = load_parameters(bytes);
	reader = from(bytes, 216);
	control.block_size = nf_read_u32(&reader);
	control.segment_blocks = nf_read_u32(&reader);
	control.wal_block_size = nf_read_u32(&reader);
	control.wal_segment_size = nf_read_u32(&reader);
	control.checksum_version = load32_at(bytes, 252);
	status = check_sizes(&control, error);
	if (status == 0)
		*ret_control = control;
	return status;
}

static void store_parameters(const struct wa_parameters *parameters, uint8_t *bytes)
{
	struct nf_writer writer = at(bytes, 172);
	nf_write_u32(&writer, (uint32_t)parameters->wal_level);
	nf_write_u32(&writer, parameters->wal_log_hints);
	nf_write_u32(&writer, (uint32_t)parameters->max_connections);
	nf_write_u32(&writer, (uint32_t)parameters->max_worker_processes);
	nf_write_u32(&writer, (uint32_t)parameters->max_wal_senders);
	nf_write_u32(&writer, (uint32_t)parameters->max_prepared_xacts);
	nf_write_u32(&writer, (uint32_t)parameters->max_locks_per_xact);
	nf_write_u32(&writer, parameters->track_commit_timestamp);
}

void wa_control_store(int major, const struct wa_control *control, uint8_t bytes[WA_CONTROL_FILE_SIZE])
{
	const struct wa_version version = {.major = major};
	struct nf_writer writer = at(bytes, 16);
	nf_write_u32(&writer, (uint32_t)control->state);
	nf_write_u32(&writer, 0);
	nf_write_u64(&writer, (uint64_t)control->time_s);
	nf_write_u64(&writer, control->checkpoint.v);
	wa_counters_store(&version, &control->copy, bytes + 40);
	writer = at(bytes, 136);
	nf_write_u64(&writer, control->min_recovery.v);
	nf_write_u32(&writer, control->min_recovery_timeline);
	nf_write_u32(&writer, 0);
	nf_write_u64(&writer, control->backup_start.v);
	nf_write_u64(&writer, control->backup_end.v);
	nf_write_u32(&writer, control->backup_end_required);
	store_parameters(&control->parameters, bytes);
	struct nf_writer crc = nf_writer_init(bytes + crc_place(major), 4);
	nf_write_u32(&crc, nf_crc32c(bytes, crc_place(major)));
}
