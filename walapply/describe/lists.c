/* Arrays as 16 and later print them. */
#include "describe_impl.h"

void wa_describe_offsets(struct wa_describe *d, struct nf_reader *from, uint32_t count)
{
	if (!wa_describe_has(d, from, count, 2))
		return;
	wa_text_put(d->out, " [");
	for (uint32_t i = 0; i < count; i++)
		wa_text_put(d->out, "%s%u", i > 0 ? ", " : "", nf_read_u16(from));
	wa_text_put(d->out, "]");
}

void wa_describe_oids(struct wa_describe *d, struct nf_reader *from, uint32_t count)
{
	if (!wa_describe_has(d, from, count, 4))
		return;
	wa_text_put(d->out, " [");
	for (uint32_t i = 0; i < count; i++)
		wa_text_put(d->out, "%s%u", i > 0 ? ", " : "", nf_read_u32(from));
	wa_text_put(d->out, "]");
}
