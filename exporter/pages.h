/* SPDX-License-Identifier: MIT */
/* What is answered to a request; no socket is needed for it. */
#pragma once

#include "accept.h"
#include "scrape.h"

struct page {
	unsigned int status;
	const char *type;
	const char *allow; /* methods, with a 405; NULL: no such header */
	char *body;        /* owned */
	size_t length;
};

/* accept: that header's value, or NULL. -ENOMEM: *ret is untouched. */
int page_make(
	const char *method, const char *path, const char *accept, struct scraper *scraper, struct page *ret);
