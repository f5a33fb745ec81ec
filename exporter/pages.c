// SPDX-License-Identifier: MIT
/* The paths as a table. */
#include <errno.h>
#include <stdbool.h>

#include "macro.h"
#include "metrics.h"
#include "pages.h"

#define PLAIN "text/plain; charset=utf-8"

static const char landing[] = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta "
			      "charset=\"utf-8\"><title>copyledger-exporter</title></head>\n"
			      "<body>\n<h1>copyledger-exporter " COPYLEDGER_VERSION "</h1>\n"
			      "<p>What copyledgerd has measured and watches, for Prometheus: <a "
			      "href=\"/metrics\">/metrics</a></p>\n"
			      "</body>\n</html>\n";

static void write_metrics(FILE *f, const char *accept, struct scraper *scraper, struct page *page)
{
	struct exposition e = {.f = f, .format = accept_format(accept)};
	_cleanup_scrape_ struct scrape scrape = {};

	scraper_scrape(scraper, &scrape);
	metrics_write(&e, &scrape);
	page->type = exposition_type(e.format);
}

static void write_landing(FILE *f, const char *accept, struct scraper *scraper, struct page *page)
{
	fputs(landing, f);
	page->type = "text/html; charset=utf-8";
}

static const struct path {
	const char *name;
	void (*write)(FILE *f, const char *accept, struct scraper *scraper, struct page *page);
} paths[] = {
	{"/", write_landing},
	{"/metrics", write_metrics},
};

static const struct path *find_path(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (str_eq(paths[i].name, name))
			return &paths[i];
	return NULL;
}

static void write_page(FILE *f, const char *method, const char *name, const char *accept,
	struct scraper *scraper, struct page *page)
{
	const struct path *path = find_path(name);

	page->type = PLAIN;
	if (!str_eq(method, "GET") && !str_eq(method, "HEAD")) {
		page->status = 405;
		page->allow = "GET, HEAD";
		fputs("Only GET and HEAD are answered.\n", f);
	} else if (!path) {
		page->status = 404;
		fputs("There is nothing here: try /metrics.\n", f);
	} else {
		page->status = 200;
		path->write(f, accept, scraper, page);
	}
}

int page_make(
	const char *method, const char *path, const char *accept, struct scraper *scraper, struct page *ret)
{
	struct page page = {};
	FILE *f = open_memstream(&page.body, &page.length);
	bool failed;

	if (!f)
		return -ENOMEM;
	write_page(f, method, path, accept, scraper, &page);
	failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(page.body);
		return -ENOMEM;
	}
	*ret = page;
	return 0;
}
