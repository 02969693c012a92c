/* Memory for what must not be seen: in no core dump (MADV_DONTDUMP), in no swap where that is allowed (mlock), in no child (MADV_WIPEONFORK),
 * and zeroed before it goes. */
#ifndef OB_SECRET_H
#define OB_SECRET_H

#include "common/nf_base.h"

/* Zeroed pages for `size` bytes; NULL when there are none. */
void *ob_secret_alloc(size_t size);
void ob_secret_free(void *memory, size_t size); /* the same size; NULL is legal */
/* Zero memory that held a secret, whatever the compiler thinks of it. */
void ob_secret_wipe(void *memory, size_t size);

#endif
