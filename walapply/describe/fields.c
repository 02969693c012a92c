/* Texts with fields in braces: the part of a description that a table can hold (describe_impl.h has the kinds). */
#include "describe_impl.h"

typedef void (*put_fn)(struct wa_describe *d, struct nf_reader *at);

static void put_u8(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%u", nf_read_u8(at));
}

static void put_u16(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%u", nf_read_u16(at));
}

static void put_u32(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%u", nf_read_u32(at));
}

static void put_u64(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%" PRIu64, nf_read_u64(at));
}

static void put_i8(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%d", (int8_t)nf_read_u8(at));
}

static void put_i32(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%d", (int32_t)nf_read_u32(at));
}

static void put_i64(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%" PRId64, (int64_t)nf_read_u64(at));
}

static void put_x8(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%02X", nf_read_u8(at));
}

static void put_tf(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%c", nf_read_u8(at) != 0 ? 'T' : 'F');
}

static void put_bool(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%s", nf_read_u8(at) != 0 ? "true" : "false");
}

static void put_on(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%s", nf_read_u8(at) != 0 ? "on" : "off");
}

static void put_lsn(struct wa_describe *d, struct nf_reader *at)
{
	struct nf_lsn lsn = {nf_read_u64(at)};
	wa_text_put(d->out, NF_LSN_FMT, NF_LSN_ARG(lsn));
}

static void put_fxid(struct wa_describe *d, struct nf_reader *at)
{
	uint64_t fxid = nf_read_u64(at);
	wa_text_put(d->out, "%u:%u", (uint32_t)(fxid >> 32), (uint32_t)fxid);
}

static void put_rel(struct wa_describe *d, struct nf_reader *at)
{
	struct wa_locator rel = wa_describe_locator(at);
	wa_text_put(d->out, "%u/%u/%u", rel.spc, rel.db, rel.rel);
}

static void put_path(struct wa_describe *d, struct nf_reader *at)
{
	wa_describe_path(d, wa_describe_locator(at), WA_FORK_MAIN);
}

static void put_time(struct wa_describe *d, struct nf_reader *at)
{
	wa_describe_time(d, (int64_t)nf_read_u64(at));
}

static void put_blk(struct wa_describe *d, struct nf_reader *at)
{
	uint32_t high = nf_read_u16(at);
	wa_text_put(d->out, "%u", high << 16 | nf_read_u16(at));
}

static void put_tid(struct wa_describe *d, struct nf_reader *at)
{
	put_blk(d, at);
	wa_text_put(d->out, "/%u", nf_read_u16(at));
}

static double read_double(struct nf_reader *at)
{
	uint64_t bits = nf_read_u64(at);
	double value;
	static_assert(sizeof(value) == sizeof(bits), "a double of the server is eight bytes");
	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void put_g(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%g", read_double(at));
}

static void put_f(struct wa_describe *d, struct nf_reader *at)
{
	wa_text_put(d->out, "%f", read_double(at));
}

/* WalLevel, src/include/access/xlog.h */
static void put_level(struct wa_describe *d, struct nf_reader *at)
{
	static const char *const names[] = {"minimal", "replica", "logical"};
	uint32_t level = nf_read_u32(at);
	wa_text_put(d->out, "%s", level < NF_ARRAY_LEN(names) ? names[level] : "?");
}

static const struct {
	const char *name;
	put_fn put;
} kinds[] = {
	{"u16", put_u16},   {"u32", put_u32},   {"x8", put_x8},       {"tf", put_tf},   {"i32", put_i32}, {"u8", put_u8},
	{"i8", put_i8},     {"u64", put_u64},   {"i64", put_i64},     {"rel", put_rel}, {"lsn", put_lsn}, {"fxid", put_fxid},
	{"path", put_path}, {"time", put_time}, {"tid", put_tid},     {"blk", put_blk}, {"g", put_g},     {"f", put_f},
	{"bool", put_bool}, {"on", put_on},     {"level", put_level},
};

static put_fn find_kind(const char *name, size_t length)
{
	for (size_t i = 0; i < NF_ARRAY_LEN(kinds); i++)
		if (strncmp(kinds[i].name, name, length) == 0 && kinds[i].name[length] == '\0')
			return kinds[i].put;
	assert(!"a kind of field that the table has");
	return NULL;
}

/* Append the field "OFFSET:KIND}" that `field` begins with; returns what follows it. */
static const char *put_field(struct wa_describe *d, const struct nf_reader *from, const char *field)
{
	size_t offset = 0;
	for (; *field != ':'; field++) {
		assert(*field >= '0' && *field <= '9');
		offset = offset * 10 + (size_t)(*field - '0');
	}
	const char *kind = field + 1, *end = strchr(kind, '}');
	assert(end != NULL);

	struct nf_reader at = *from;
	nf_read_bytes(&at, offset);
	find_kind(kind, (size_t)(end - kind))(d, &at);
	wa_describe_check(d, &at);
	return end + 1;
}

void wa_describe_fields(struct wa_describe *d, const struct nf_reader *from, const char *fields)
{
	while (*fields != '\0') {
		size_t plain = strcspn(fields, "{");
		wa_text_put_bytes(d->out, fields, plain);
		fields += plain;
		if (*fields == '{')
			fields = put_field(d, from, fields + 1);
	}
}
