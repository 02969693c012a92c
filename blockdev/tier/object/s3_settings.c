/* See s3_settings.h for what comes from where. */
#include "blockdev/tier/object/s3_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/tier/object/impl.h"
#include "blockdev/tier/object/profile.h"
#include "blockdev/tier/object/secret.h"

struct loader {
	struct ob_s3_settings *settings;
	ob_env_fn env;
	void *env_arg;
	char *message;
	size_t message_size;
	char endpoint[OB_URL_MAX];
	char style[16];
	char profile[128];
	char path[PATH_MAX];
};

const char *ob_env_process(void *arg NF_UNUSED, const char *name)
{
	return getenv(name);
}

#define REFUSE(what, ...) (snprintf(message, message_size, what, ##__VA_ARGS__), -EINVAL)

/* ------------------------------------------------------------------- URL */

static bool is_bucket(const char *name)
{
	size_t size = strlen(name);
	if (size < 3 || size > 63 || name[0] == '-' || name[0] == '.' || strstr(name, "..") != NULL)
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == size;
}

static bool is_region(const char *name)
{
	size_t size = strlen(name);
	return size > 0 && size < 64 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == size;
}

/* "name=value&name=value" */
static int parse_query(char *query, struct ob_s3_settings *settings, char *endpoint, char *style, char *message,
		       size_t message_size)
{
	char *rest = query, *word;
	while ((word = strsep(&rest, "&")) != NULL) {
		char *value = strchr(word, '=');
		if (value != NULL)
			*value++ = '\0';
		if (value == NULL || *value == '\0')
			return REFUSE("the URL's \"%s\" has no value", word);
		if (strcmp(word, "endpoint") == 0)
			snprintf(endpoint, OB_URL_MAX, "%s", value);
		else if (strcmp(word, "region") == 0 && is_region(value))
			snprintf(settings->region, sizeof(settings->region), "%s", value);
		else if (strcmp(word, "style") == 0 && (strcmp(value, "path") == 0 || strcmp(value, "virtual") == 0))
			snprintf(style, 16, "%s", value);
		else
			return REFUSE(
				"the URL's \"%s\" is not known, or its value is not right; there are endpoint=URL, region=NAME, "
				"style=path|virtual",
				word);
	}
	return 0;
}

static int set_prefix(const char *prefix, struct ob_s3_settings *settings, char *message, size_t message_size)
{
	size_t size = strlen(prefix);
	while (size > 0 && prefix[size - 1] == '/')
		size--;
	if (size > OB_PREFIX_MAX)
		return REFUSE("the URL's prefix is longer than %u bytes", OB_PREFIX_MAX);
	if (size == 0)
		return 0;
	memcpy(settings->prefix, prefix, size);
	settings->prefix[size] = '\0';
	if (!ob_key_is_valid(settings->prefix))
		return REFUSE("the URL's prefix is not valid: parts of A-Z a-z 0-9 . _ - with / between");
	settings->prefix[size] = '/';
	settings->prefix[size + 1] = '\0';
	return 0;
}

int ob_s3_parse_url(const char *url, const char *scheme, struct ob_s3_settings *settings, char endpoint[OB_URL_MAX],
		    char style[16], char *message, size_t message_size)
{
	char rest[OB_URL_MAX];
	size_t scheme_size = strlen(scheme);
	if (strncmp(url, scheme, scheme_size) != 0 || strncmp(url + scheme_size, "://", 3) != 0)
		return REFUSE("the URL does not begin with %s://", scheme);
	if (strlen(url) >= sizeof(rest))
		return REFUSE("the URL is too long");
	strcpy(rest, url + scheme_size + 3);
	if (strchr(rest, '@') != NULL)
		return REFUSE("keys do not belong into the URL; they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a "
			      "profile");
	char *query = strchr(rest, '?');
	if (query != NULL)
		*query++ = '\0';
	char *prefix = strchr(rest, '/');
	if (prefix != NULL)
		*prefix++ = '\0';
	if (!is_bucket(rest))
		return REFUSE("\"%.80s\" is no name of a bucket: 3 to 63 of a-z 0-9 . -", rest);
	strcpy(settings->bucket, rest);
	int rc = prefix != NULL ? set_prefix(prefix, settings, message, message_size) : 0;
	if (rc == 0 && query != NULL)
		rc = parse_query(query, settings, endpoint, style, message, message_size);
	return rc;
}

/* -------------------------------------------------------------- endpoint */

/* HOST or HOST:PORT or [IPv6] or [IPv6]:PORT, without the scheme's own port. */
static bool set_host(const char *host, size_t size, struct ob_s3_settings *settings)
{
	const char *own_port = settings->https ? ":443" : ":80";
	const char *colon;
	if (size == 0 || size >= sizeof(settings->host))
		return false;
	memcpy(settings->host, host, size);
	settings->host[size] = '\0';
	colon = strrchr(settings->host, ':');
	if (settings->host[0] == '[') {
		size_t inside = strspn(settings->host + 1, "0123456789abcdefABCDEF:.");
		if (inside < 2 || settings->host[1 + inside] != ']')
			return false;
		const char *behind = settings->host + inside + 2;
		colon = *behind == ':' ? behind : NULL;
		if (colon == NULL && *behind != '\0')
			return false;
	} else if (strspn(settings->host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") !=
		   (colon != NULL ? (size_t)(colon - settings->host) : size)) {
		return false;
	}
	if (colon == settings->host)
		return false;
	if (colon == NULL)
		return true;
	size_t digits = strspn(colon + 1, "0123456789");
	if (digits < 1 || digits > 5 || colon[1 + digits] != '\0' || atoi(colon + 1) < 1 || atoi(colon + 1) > 65535)
		return false;
	if (strcmp(colon, own_port) == 0)
		settings->host[colon - settings->host] = '\0';
	return true;
}

int ob_s3_parse_endpoint(const char *endpoint, struct ob_s3_settings *settings, char *message, size_t message_size)
{
	const char *host;
	if (strncmp(endpoint, "https://", 8) == 0) {
		settings->https = true;
		host = endpoint + 8;
	} else if (strncmp(endpoint, "http://", 7) == 0) {
		settings->https = false;
		host = endpoint + 7;
	} else {
		return REFUSE("the endpoint does not begin with http:// or https://");
	}
	size_t size = strcspn(host, "/?#");
	if (!set_host(host, size, settings))
		return REFUSE("the endpoint's host is not right: https://HOST or https://HOST:PORT");
	const char *path = host + size;
	size_t path_size = strlen(path);
	while (path_size > 0 && path[path_size - 1] == '/')
		path_size--;
	if (path_size >= sizeof(settings->base_path) ||
	    strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") < path_size)
		return REFUSE("the endpoint's path is not right");
	memcpy(settings->base_path, path, path_size);
	settings->base_path[path_size] = '\0';
	return 0;
}

/* ------------------------------------------------- environment and files */

static const char *env(const struct loader *loader, const char *name)
{
	const char *value = loader->env(loader->env_arg, name);
	return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Copy a variable into `to` when that is empty. */
static int take_env(struct loader *loader, const char *name, char *to, size_t size)
{
	char *message = loader->message;
	size_t message_size = loader->message_size;
	const char *value = env(loader, name);
	if (to[0] != '\0' || value == NULL)
		return 0;
	if (strlen(value) >= size)
		return REFUSE("%s is too long", name);
	strcpy(to, value);
	return 0;
}

static int load_env(struct loader *loader)
{
	struct ob_s3_settings *s = loader->settings;
	struct ob_secrets *keys = s->secrets;
	int rc = 0;
	const struct {
		const char *name;
		char *to;
		size_t size;
	} rows[] = {
		{"AWS_REGION", s->region, sizeof(s->region)},
		{"AWS_DEFAULT_REGION", s->region, sizeof(s->region)},
		{"AWS_ENDPOINT_URL_S3", loader->endpoint, sizeof(loader->endpoint)},
		{"AWS_ENDPOINT_URL", loader->endpoint, sizeof(loader->endpoint)},
		{"AWS_CA_BUNDLE", s->ca_bundle, sizeof(s->ca_bundle)},
		{"AWS_PROFILE", loader->profile, sizeof(loader->profile)},
	};
	for (unsigned i = 0; rc == 0 && i < NF_ARRAY_LEN(rows); i++)
		rc = take_env(loader, rows[i].name, rows[i].to, rows[i].size);
	if (rc != 0 || (env(loader, "AWS_ACCESS_KEY_ID") == NULL && env(loader, "AWS_SECRET_ACCESS_KEY") == NULL))
		return rc;
	rc = take_env(loader, "AWS_ACCESS_KEY_ID", keys->access_key_id, sizeof(keys->access_key_id));
	if (rc == 0)
		rc = take_env(loader, "AWS_SECRET_ACCESS_KEY", keys->secret_key, sizeof(keys->secret_key));
	if (rc == 0)
		rc = take_env(loader, "AWS_SESSION_TOKEN", keys->session_token, sizeof(keys->session_token));
	if (rc == 0 && (keys->access_key_id[0] == '\0' || keys->secret_key[0] == '\0')) {
		snprintf(loader->message, loader->message_size,
			 "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set only together");
		return -EINVAL;
	}
	return rc;
}

/* One shared file: `variable`, or HOME/.aws/`name`. */
static int load_file(struct loader *loader, const char *variable, const char *name)
{
	struct ob_s3_settings *s = loader->settings;
	struct ob_secrets *keys = s->secrets;
	const char *path = env(loader, variable), *home = env(loader, "HOME");
	bool wants_keys = keys->access_key_id[0] == '\0';
	unsigned line = 0;
	/* The settings first; the keys only where there are none yet, and all of one file. */
	struct ob_profile_field fields[] = {
		{"region", s->region, sizeof(s->region)},
		{"endpoint_url", loader->endpoint, sizeof(loader->endpoint)},
		{"ca_bundle", s->ca_bundle, sizeof(s->ca_bundle)},
		{"aws_access_key_id", keys->access_key_id, sizeof(keys->access_key_id)},
		{"aws_secret_access_key", keys->secret_key, sizeof(keys->secret_key)},
		{"aws_session_token", keys->session_token, sizeof(keys->session_token)},
	};
	if (path == NULL && home == NULL)
		return 0;
	if (snprintf(loader->path, sizeof(loader->path), path != NULL ? "%s" : "%s/.aws/%s", path != NULL ? path : home, name) >=
	    (int)sizeof(loader->path))
		return 0;
	int rc = ob_profile_read(loader->path, loader->profile, fields, wants_keys ? 6 : 3, &line);
	if (rc == 0 && wants_keys && (keys->access_key_id[0] == '\0') != (keys->secret_key[0] == '\0')) {
		snprintf(loader->message, loader->message_size, "%s: profile %s has only one of the two keys", loader->path,
			 loader->profile);
		return -EINVAL;
	}
	if (rc == 0 || rc == -ENOENT)
		return 0;
	if (line > 0)
		snprintf(loader->message, loader->message_size, "%s, line %u: not of the form \"name = value\", or too long",
			 loader->path, line);
	else
		snprintf(loader->message, loader->message_size, "%s: %s", loader->path, strerror(-rc));
	return rc;
}

static int finish(struct loader *loader)
{
	struct ob_s3_settings *s = loader->settings;
	char *message = loader->message;
	size_t message_size = loader->message_size;
	if (s->region[0] == '\0')
		strcpy(s->region, "us-east-1");
	if (!is_region(s->region))
		return REFUSE("the region is not right: like us-east-1");
	bool amazon = loader->endpoint[0] == '\0';
	if (amazon)
		snprintf(loader->endpoint, sizeof(loader->endpoint), "https://s3.%s.amazonaws.com%s", s->region,
			 strncmp(s->region, "cn-", 3) == 0 ? ".cn" : "");
	int rc = ob_s3_parse_endpoint(loader->endpoint, s, message, message_size);
	if (rc != 0)
		return rc;
	/* A certificate for *.s3.REGION... covers one name before the dot. */
	s->virtual_host =
		loader->style[0] != '\0' ? strcmp(loader->style, "virtual") == 0 : amazon && strchr(s->bucket, '.') == NULL;
	if (s->virtual_host && strlen(s->bucket) + 1 + strlen(s->host) >= sizeof(s->host))
		return REFUSE("bucket and host together are too long");
	if (s->secrets->access_key_id[0] != '\0')
		return 0;
	snprintf(message, message_size,
		 "no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put profile \"%s\" into ~/.aws/credentials",
		 loader->profile);
	return -ENOENT;
}

/* What goes into a header must not end it. */
static int check_keys(const struct loader *loader)
{
	const struct ob_secrets *keys = loader->settings->secrets;
	const char *const texts[] = {keys->access_key_id, keys->secret_key, keys->session_token};
	for (unsigned i = 0; i < NF_ARRAY_LEN(texts); i++) {
		for (const char *c = texts[i]; *c != '\0'; c++) {
			if (*c > ' ' && *c <= '~')
				continue;
			snprintf(loader->message, loader->message_size,
				 "a key or the session token holds a blank or another byte that none can have");
			return -EINVAL;
		}
	}
	return 0;
}

int ob_s3_settings_load(const char *url, const char *scheme, ob_env_fn env_fn, void *env_arg, struct ob_s3_settings *ret_settings,
			char *message, size_t message_size)
{
	memset(ret_settings, 0, sizeof(*ret_settings));
	struct loader *loader = calloc(1, sizeof(*loader));
	ret_settings->secrets = ob_secret_alloc(sizeof(*ret_settings->secrets));
	if (loader == NULL || ret_settings->secrets == NULL) {
		free(loader);
		snprintf(message, message_size, "no memory for the keys");
		return -ENOMEM;
	}
	*loader = (struct loader){
		.settings = ret_settings, .env = env_fn, .env_arg = env_arg, .message = message, .message_size = message_size};
	int rc = ob_s3_parse_url(url, scheme, ret_settings, loader->endpoint, loader->style, message, message_size);
	if (rc == 0)
		rc = load_env(loader);
	if (rc == 0 && loader->profile[0] == '\0')
		strcpy(loader->profile, "default");
	if (rc == 0)
		rc = load_file(loader, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
	if (rc == 0)
		rc = load_file(loader, "AWS_CONFIG_FILE", "config");
	if (rc == 0)
		rc = finish(loader);
	if (rc == 0)
		rc = check_keys(loader);
	free(loader);
	return rc;
}

void ob_s3_settings_free(struct ob_s3_settings *settings)
{
	ob_secret_free(settings->secrets, sizeof(*settings->secrets));
	settings->secrets = NULL;
}
