// SPDX-License-Identifier: MIT
/* A file of results that somebody else wrote: it is refused with a sentence, or shown; nothing in it steers a
 * terminal. */
#include <assert.h>
#include <sys/mman.h>

#include "dataset.h"
#include "render.h"
#include "fuzz.h"

static int file = -1;
static char path[64];

static void set_up(void)
{
	file = memfd_create("results", MFD_CLOEXEC);
	assert(file >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
}

static void check_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert((unsigned char)text[i] >= 0x20 || text[i] == '\n');
}

static void show(json_object *document)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	struct out out = {.f = open_memstream(&text, &len), .utf8 = true};

	assert(out.f);
	render_result(&out, document);
	render_trace(&out, document, NULL);
	render_watch(&out, document, NULL, true);
	fclose(out.f);
	check_text(text, len);
	result_status(document);
	free(result_sentence(document));
}

static void count(const struct dataset *d)
{
	for (size_t i = 0; i < d->n_cells; i++)
		for (size_t k = 0; measures[k].name; k++) {
			struct estimate e = cell_estimate(&d->cells[i], &measures[k], d->seed);

			assert(e.n <= d->cells[i].n_runs && (e.n || e.reason));
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cli cli = {.socket = "/nonexistent/socket"};
	struct dataset *d = NULL;
	struct fault fault = {};
	int r;

	if (file < 0)
		set_up();
	assert(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
	r = dataset_open(&cli, path, &d, &fault);
	if (r < 0) {
		assert(!d && fault.text[0]);
		return 0;
	}
	for (size_t i = 0; i < doc_length(d->documents); i++)
		show(json_object_array_get_idx(d->documents, i));
	count(d);
	dataset_free(d);
	return 0;
}
