// SPDX-License-Identifier: MIT
/* Fills a struct fault. */
#include "fault.h"

int fault_set(struct fault *reterr, int error, const char *code, const char *field, const char *fmt, ...)
{
	va_list ap;

	if (!reterr)
		return error;
	reterr->error = error;
	str_copy(reterr->code, code);
	str_copy(reterr->field, field);
	va_start(ap, fmt);
	vsnprintf(reterr->text, sizeof(reterr->text), fmt, ap);
	va_end(ap);
	return error;
}
