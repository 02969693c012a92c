/* Rows of a page of pg_class, pg_namespace or pg_database, and whether they are visible.
 *
 * Visible is what a snapshot taken at that moment would see: made by a transaction that has committed, and not removed by one that has. Hint bits
 * say so where they are set, the status log else. A remover that is a multixact, and the marks of VACUUM FULL before 9.0, leave a row in doubt. */
#include "walapply/catalog/wa_catalog.h"

#include "common/nf_cursor.h"

#define PAGE_HEADER 24u
#define POINTER 4u
#define POINTER_NORMAL 1u
#define TUPLE_HEADER 23u

#define FIRST_NORMAL_XID 3u

/* t_infomask */
#define XMAX_EXCL_LOCK 0x0040u
#define XMAX_LOCK_ONLY 0x0080u
#define XMIN_COMMITTED 0x0100u
#define XMIN_INVALID 0x0200u
#define XMAX_COMMITTED 0x0400u
#define XMAX_INVALID 0x0800u
#define XMAX_IS_MULTI 0x1000u
#define MOVED 0xC000u
#define XMAX_LOCK_MASK 0x0050u /* exclusive and key share */

struct tuple {
	uint32_t xmin, xmax;
	uint16_t infomask;
	struct nf_reader data;
};

enum verdict { NO, YES, DOUBT };

static int ask(const struct wa_catalog_hooks *hooks, uint32_t xid, enum verdict *ret_verdict)
{
	int status = xid < FIRST_NORMAL_XID ? WA_CATALOG_COMMITTED : hooks->status(hooks->arg, xid);
	if (status < 0)
		return status;
	*ret_verdict = status == WA_CATALOG_COMMITTED ? YES : status == WA_CATALOG_UNKNOWN ? DOUBT : NO;
	return 0;
}

static int is_made(const struct tuple *tuple, const struct wa_catalog_hooks *hooks, enum verdict *ret_verdict)
{
	if (tuple->infomask & XMIN_COMMITTED) { /* with XMIN_INVALID besides: frozen */
		*ret_verdict = YES;
		return 0;
	}
	if (tuple->infomask & XMIN_INVALID || tuple->xmin == 0) {
		*ret_verdict = NO;
		return 0;
	}
	return ask(hooks, tuple->xmin, ret_verdict);
}

static bool is_lock_only(const struct tuple *tuple)
{
	return (tuple->infomask & XMAX_LOCK_ONLY) || (tuple->infomask & (XMAX_IS_MULTI | XMAX_LOCK_MASK)) == XMAX_EXCL_LOCK;
}

static int is_removed(const struct tuple *tuple, const struct wa_catalog_hooks *hooks, enum verdict *ret_verdict)
{
	*ret_verdict = NO;
	if (tuple->infomask & XMAX_INVALID || tuple->xmax == 0 || is_lock_only(tuple))
		return 0;
	*ret_verdict = tuple->infomask & XMAX_IS_MULTI ? DOUBT : YES;
	if (tuple->infomask & (XMAX_IS_MULTI | XMAX_COMMITTED))
		return 0;
	return ask(hooks, tuple->xmax, ret_verdict);
}

static int is_visible(const struct tuple *tuple, const struct wa_catalog_hooks *hooks, enum verdict *ret_verdict)
{
	enum verdict made, removed = NO;
	int error = 0;
	if (tuple->infomask & MOVED) {
		*ret_verdict = DOUBT;
		return 0;
	}
	error = is_made(tuple, hooks, &made);
	if (error == 0 && made != NO)
		error = is_removed(tuple, hooks, &removed);
	if (error != 0)
		return error;
	*ret_verdict = made == NO || removed == YES ? NO : made == DOUBT || removed == DOUBT ? DOUBT : YES;
	return 0;
}

static bool read_tuple(const uint8_t *bytes, size_t size, struct tuple *ret_tuple)
{
	struct nf_reader r = nf_reader_init(bytes, size);
	ret_tuple->xmin = nf_read_u32(&r);
	ret_tuple->xmax = nf_read_u32(&r);
	(void)nf_read_bytes(&r, 12); /* t_field3, t_ctid, t_infomask2 */
	ret_tuple->infomask = nf_read_u16(&r);
	uint8_t start = nf_read_u8(&r);
	if (r.failed || start < TUPLE_HEADER || start > size)
		return false;
	ret_tuple->data = nf_reader_init(bytes + start, size - start);
	return true;
}

/* A name is padded with zeros, and ends in one. */
static bool read_name(struct nf_reader *r, char name[WA_CATALOG_NAME])
{
	nf_read_copy(r, name, WA_CATALOG_NAME);
	return !r->failed && memchr(name, 0, WA_CATALOG_NAME) != NULL && name[0] != '\0';
}

static bool read_row(enum wa_catalog catalog, struct nf_reader r, struct wa_catalog_row *ret_row)
{
	*ret_row = (struct wa_catalog_row){.oid = nf_read_u32(&r)};
	if (!read_name(&r, ret_row->name))
		return false;
	if (catalog == WA_CATALOG_CLASS) {
		ret_row->schema = nf_read_u32(&r);
		(void)nf_read_bytes(&r, 16); /* reltype, reloftype, relowner, relam */
		ret_row->filenode = nf_read_u32(&r);
		ret_row->tablespace = nf_read_u32(&r);
	}
	return !r.failed && ret_row->oid != 0;
}

static int give_row(enum wa_catalog catalog, const uint8_t *bytes, size_t size, const struct wa_catalog_hooks *hooks)
{
	struct tuple tuple;
	struct wa_catalog_row row;
	enum verdict verdict;
	if (!read_tuple(bytes, size, &tuple))
		return -EBADMSG;
	int error = is_visible(&tuple, hooks, &verdict);
	if (error != 0 || verdict == NO)
		return error;
	if (!read_row(catalog, tuple.data, &row))
		return -EBADMSG;
	row.is_doubtful = verdict == DOUBT;
	return hooks->row(hooks->arg, &row);
}

int wa_catalog_page(enum wa_catalog catalog, const uint8_t *page, const struct wa_catalog_hooks *hooks)
{
	struct nf_reader r = nf_reader_init(page, WA_PAGE_SIZE);
	(void)nf_read_bytes(&r, 12); /* LSN, checksum, flags */
	uint16_t lower = nf_read_u16(&r), upper = nf_read_u16(&r);
	if (upper == 0) /* a page that is not used yet */
		return lower == 0 ? 0 : -EBADMSG;
	if (lower < PAGE_HEADER || lower > upper || upper > WA_PAGE_SIZE || (lower - PAGE_HEADER) % POINTER != 0)
		return -EBADMSG;
	(void)nf_read_bytes(&r, PAGE_HEADER - 16); /* special, version, prune_xid */
	for (unsigned i = 0; i < (lower - PAGE_HEADER) / POINTER; i++) {
		/* ItemIdData: offset 15 bits, flags 2, length 15. */
		uint32_t pointer = nf_read_u32(&r), at = pointer & 0x7FFF, flags = pointer >> 15 & 3, size = pointer >> 17;
		if (flags != POINTER_NORMAL)
			continue;
		if (at < upper || at + size > WA_PAGE_SIZE)
			return -EBADMSG;
		int error = give_row(catalog, page + at, size, hooks);
		if (error != 0)
			return error;
	}
	return 0;
}
