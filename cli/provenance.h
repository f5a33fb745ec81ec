/* SPDX-License-Identifier: MIT */
/* Where two sets of results come from, and what differs between the machines and the instruments. */
#pragma once

#include "dataset.h"

/*
 * {"same_host": bool, "differences": [{"what", "a", "b", "identity"}]}: every member of the documents' host
 * block, of their path's devices and of how they were measured whose values differ; a and b are texts,
 * several values with " | " between. What moves from run to run by itself (load, free memory, time) is left
 * out. identity: the difference makes it another machine. same_host is also false where one side's runs were
 * on several machines. The caller owns it; NULL without memory.
 */
json_object *provenance_compare(const struct dataset *a, const struct dataset *b);
