/* Where a bucket is and who asks: the URL, the AWS_* variables, and the shared files ~/.aws/credentials and ~/.aws/config.
 *
 * URL: s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME][&style=path|virtual]
 *
 * what        first of
 * keys        AWS_ACCESS_KEY_ID + AWS_SECRET_ACCESS_KEY (+ AWS_SESSION_TOKEN); profile in credentials, then in config
 * region      URL; AWS_REGION; AWS_DEFAULT_REGION; profile; us-east-1
 * endpoint    URL; AWS_ENDPOINT_URL_S3; AWS_ENDPOINT_URL; profile (endpoint_url); https://s3.REGION.amazonaws.com
 * style       URL; virtual for Amazon's endpoint and buckets without dots, else path
 * CA bundle   AWS_CA_BUNDLE; profile (ca_bundle); the system's
 * profile     AWS_PROFILE; default. Files: AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE
 *
 * Keys from elsewhere (instance metadata, single sign-on, a process, a role to assume) are not known here. */
#ifndef OB_S3_SETTINGS_H
#define OB_S3_SETTINGS_H

#include <limits.h>

#include "blockdev/tier/object/object.h"

#define OB_HOST_MAX 256
#define OB_PROFILE_FILE_MAX (UINT64_C(1) << 20) /* bytes of a shared file */

struct ob_secrets {
	char access_key_id[132];
	char secret_key[260];
	char session_token[4100]; /* "" = none */
	/* The signing key of `key_scope` (a date), derived once a day. */
	char key_scope[12];
	uint8_t signing_key[32];
};

struct ob_s3_settings {
	char bucket[64];
	char prefix[OB_PREFIX_MAX + 2]; /* "" or ending in '/' */
	char region[64];
	bool https;
	bool virtual_host;
	char host[OB_HOST_MAX]; /* of the endpoint, with ":port" when it is not the scheme's own */
	char base_path[128]; /* of the endpoint: "" or "/..." without a '/' at its end */
	char ca_bundle[PATH_MAX]; /* "" = the system's */
	struct ob_secrets *secrets; /* ob_secret_alloc */
};

/* What is asked of the environment; getenv, or a test's. */
typedef const char *(*ob_env_fn)(void *arg, const char *name);

/* Returns 0; -EINVAL with a message what is wrong with which setting; -ENOENT no keys; -ENOMEM. `scheme` is "s3" or "s3v2". Free with
 * ob_s3_settings_free, also after an error. */
NF_MUST_CHECK int ob_s3_settings_load(const char *url, const char *scheme, ob_env_fn env, void *env_arg,
				      struct ob_s3_settings *ret_settings, char *message, size_t message_size);
void ob_s3_settings_free(struct ob_s3_settings *settings);
const char *ob_env_process(void *arg, const char *name);

/* The parts, for tests. */
NF_MUST_CHECK int ob_s3_parse_url(const char *url, const char *scheme, struct ob_s3_settings *settings, char endpoint[OB_URL_MAX],
				  char style[16], char *message, size_t message_size);
NF_MUST_CHECK int ob_s3_parse_endpoint(const char *endpoint, struct ob_s3_settings *settings, char *message, size_t message_size);

#endif
