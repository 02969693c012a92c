/* s3:// over libcurl's multi interface: what its parts share.
 *
 *   s3.c           the backend: transfers, pauses for the rate limits, stalls
 *   s3_request.c   what is asked: method, path, query, headers, signature
 *   s3_answer.c    what an answer means */
#ifndef OB_S3_H
#define OB_S3_H

#include <curl/curl.h>

#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/s3_settings.h"

#define S3_ANSWER_MAX (UINT64_C(4) << 20) /* bytes of a document that is not an object */
#define S3_PATH_MAX (64 + 128 + 3 * (OB_PREFIX_MAX + OB_KEY_MAX) + 8)
#define S3_QUERY_MAX (3 * OB_UPLOAD_MAX + 3 * (OB_AFTER_MAX + OB_PREFIX_MAX) + 3 * (OB_PREFIX_MAX + OB_KEY_MAX) + 128)
#define S3_SLOW_BYTES_PER_S 1024

struct s3_backend {
	struct ob_backend base;
	struct ob_s3_settings settings;
	CURLM *multi;
	struct s3_transfer *transfers; /* running */
	bool woken; /* atomic */
};

/* What the headers of an answer said. */
struct s3_head {
	bool ranged; /* Content-Range was there */
	uint64_t range_start, range_total;
	bool has_length;
	uint64_t length;
	bool encrypted; /* the etag is no MD5 then */
	char checksum[64]; /* base64 of the SHA-256 of what the store has got; "" it does not say */
	int64_t modified_s, date_s;
	uint32_t retry_after_ms;
	char etag[OB_ETAG_MAX];
	char region[64];
};

struct s3_transfer {
	struct s3_backend *s3;
	struct ob_task *task;
	struct s3_transfer *next;
	CURL *easy;
	struct curl_slist *headers;
	const uint8_t *body; /* what is sent */
	uint64_t body_size, body_sent;
	char *document; /* a body of our own making, freed with the transfer */
	bool is_get; /* a good answer's body goes into the op's buffer */
	bool too_long; /* the answer has more bytes than it may have */
	bool paused_send, paused_receive;
	bool slowed; /* since the window began, our own limits held it up */
	int64_t window_ns; /* when the window began that bytes are counted in */
	uint64_t window_bytes;
	long status; /* of the headers that came last; 0 before */
	struct s3_head head;
	char *answer; /* a document's bytes */
	size_t answer_size;
	char curl_error[CURL_ERROR_SIZE];
};

/* Set method, URL, headers and body of transfer->easy for its task's step. Returns 0; -errno. */
NF_MUST_CHECK int s3_request_make(struct s3_transfer *transfer);
/* One line of an answer's headers. */
void s3_answer_header(struct s3_head *head, const char *line, size_t size);
/* The transfer has ended: call ob_tried with what that means. `stalled`: we gave it up ourselves. */
void s3_answer_settle(struct s3_transfer *transfer, CURLcode code, bool stalled);

#endif
